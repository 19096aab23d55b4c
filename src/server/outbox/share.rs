//! Tells when is written what was left for others to write.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

/// A share in what is left to be written to several clients: one for each of them that still has some of it.
///
/// Where a share is dropped and not returned, nobody is told. Only the scheduler may do so, which asks after that.
#[derive(Debug, Default)]
pub(in crate::server) struct Share {
    /// Whether somebody wants to hear when all of it is written.
    awaited: Arc<AtomicBool>,
}

impl Share {
    /// Another share in the same.
    pub fn another(&self) -> Self {
        Share { awaited: Arc::clone(&self.awaited) }
    }

    /// What tells whether there are shares left.
    pub fn watch(&self) -> ShareWatch {
        ShareWatch(Arc::downgrade(&self.awaited))
    }

    /// Returns a share: its client has nothing left to be written. Says whether that was the last one, and somebody is to
    /// be told.
    pub fn give_back(self) -> bool {
        Arc::into_inner(self.awaited).is_some_and(AtomicBool::into_inner)
    }
}

/// Sees whether all shares are returned.
#[derive(Debug, Default)]
pub(in crate::server) struct ShareWatch(Weak<AtomicBool>);

impl ShareWatch {
    /// Another share in the same, where there are some left.
    pub fn another(&self) -> Option<Share> {
        self.0.upgrade().map(|awaited| Share { awaited })
    }

    /// Whether all of it is written. Where not, who returns the last share is told that somebody waits for that.
    pub fn is_written(&self) -> bool {
        self.another().is_none_or(|share| {
            share.awaited.store(true, Ordering::Relaxed);
            // The last one may have been returned just now.
            share.give_back()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_is_told_by_the_last_one() {
        let first = Share::default();
        let watch = first.watch();
        let second = watch.another().unwrap();
        let third = first.another();
        assert!(!watch.is_written());
        assert!(!second.give_back());
        assert!(!first.give_back());
        assert!(!watch.is_written());
        assert!(third.give_back());
        assert!(watch.is_written());
        assert!(watch.another().is_none());
    }

    #[test]
    fn who_does_not_wait_is_not_told() {
        let share = Share::default();
        let watch = share.watch();
        assert!(!share.give_back());
        assert!(watch.is_written());
        assert!(ShareWatch::default().is_written());
    }
}
