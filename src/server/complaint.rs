//! Things that are said once in a while, however often they happen.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Whether to say something again that may be so for long, come and go, or be brought about by strangers.
#[derive(Debug)]
pub(super) struct Complaint {
    silence: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    said: Option<Instant>,
    /// How often it was not said since then.
    unsaid: u64,
}

impl Complaint {
    /// One that is said again only after a silence of that length.
    pub fn new(silence: Duration) -> Self {
        Complaint { silence, state: Mutex::default() }
    }

    /// Whether it is to be said now, and then how often it was not since the last time.
    pub fn is_due(&self, now: Instant) -> Option<u64> {
        // Nothing that holds it panics.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.said.is_some_and(|said| now.saturating_duration_since(said) < self.silence) {
            state.unsaid += 1;
            return None;
        }
        state.said = Some(now);
        Some(std::mem::take(&mut state.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_and_goes_is_told_once_in_a_while_and_counted() {
        let (complaint, start) = (Complaint::new(Duration::from_secs(600)), Instant::now());
        let seconds = [0, 1, 300, 599, 600, 601, 1300];
        let said = seconds.map(|second| complaint.is_due(start + Duration::from_secs(second)));
        assert_eq!(said, [Some(0), None, None, None, Some(3), None, Some(1)]);
    }
}
