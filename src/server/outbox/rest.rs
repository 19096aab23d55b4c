//! Tells when is written what was left for others to write.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

/// A share in what is left to be written to several clients: one for each of them that still has some of it.
#[derive(Debug, Default)]
pub(in crate::server) struct Rest {
    /// Whether somebody wants to hear when all of it is written.
    awaited: Arc<AtomicBool>,
}

impl Rest {
    /// Another share.
    pub fn share(&self) -> Self {
        Rest { awaited: Arc::clone(&self.awaited) }
    }

    /// What tells whether there are shares left.
    pub fn watch(&self) -> RestWatch {
        RestWatch(Arc::downgrade(&self.awaited))
    }

    /// Gives up a share: its client has nothing of it left. Says whether that was the last one, and somebody is to be
    /// told.
    pub fn give_up(self) -> bool {
        Arc::into_inner(self.awaited).is_some_and(AtomicBool::into_inner)
    }
}

/// Sees whether a [`Rest`] is written.
#[derive(Debug, Default)]
pub(in crate::server) struct RestWatch(Weak<AtomicBool>);

impl RestWatch {
    /// Another share of the same, where there are some left.
    pub fn share(&self) -> Option<Rest> {
        self.0.upgrade().map(|awaited| Rest { awaited })
    }

    /// Whether all of it is written. Where not, who gives up the last share is told that somebody waits for that.
    pub fn is_written(&self) -> bool {
        self.share().is_none_or(|rest| {
            rest.awaited.store(true, Ordering::Relaxed);
            // The last one may have been given up just now.
            rest.give_up()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_is_told_by_the_last_one() {
        let first = Rest::default();
        let watch = first.watch();
        let second = watch.share().unwrap();
        let third = first.share();
        assert!(!watch.is_written());
        assert!(!second.give_up());
        assert!(!first.give_up());
        assert!(!watch.is_written());
        assert!(third.give_up());
        assert!(watch.is_written());
        assert!(watch.share().is_none());
    }

    #[test]
    fn who_does_not_wait_is_not_told() {
        let rest = Rest::default();
        let watch = rest.watch();
        assert!(!rest.give_up());
        assert!(watch.is_written());
        assert!(RestWatch::default().is_written());
    }
}
