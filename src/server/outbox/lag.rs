//! How far a client is behind, in time: whether messages wait longer than they may, and how many bytes its
//! connection takes meanwhile.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Into how many steps the longest time to wait is divided.
const STEPS: u32 = 16;

/// What a socket may take at once after it took nothing for a while, in bytes: so much is never too much to wait.
const LUMP: u64 = 256 * 1024;

/// Watches how long messages wait.
#[derive(Debug)]
pub(super) struct Lag {
    /// How long a message may wait.
    longest: Duration,
    /// What had been queued and written at some moments: one at least that long ago, and then one for each step.
    marks: VecDeque<Mark>,
    /// What waited yet when messages were last left out.
    thinned: Option<Thinned>,
}

/// What waited yet when messages were left out.
#[derive(Clone, Copy, Debug)]
struct Thinned {
    at: Instant,
    /// The last message that had been queued.
    sequence: u64,
    /// How many bytes waited.
    bytes: usize,
}

#[derive(Clone, Copy, Debug)]
struct Mark {
    at: Instant,
    sequence: u64,
    written: u64,
}

impl Lag {
    pub fn new(longest: Duration) -> Self {
        Lag { longest, marks: VecDeque::new(), thinned: None }
    }

    /// Notes that everything up to this sequence number is queued, and how many bytes the socket has taken.
    pub fn note(&mut self, now: Instant, sequence: u64, written: u64) {
        let step = self.longest / STEPS;
        if self.marks.back().is_none_or(|last| now.saturating_duration_since(last.at) >= step) {
            self.marks.push_back(Mark { at: now, sequence, written });
        }
        while self.marks.get(1).is_some_and(|next| self.is_long_ago(next, now)) {
            self.marks.pop_front();
        }
    }

    /// Where some of the `waiting` bytes of messages are to be left out, `first` being the sequence number of the first
    /// message: how many bytes may wait, which is what the socket takes in the longest time that a message may.
    ///
    /// That is so where messages have waited too long, but not again before a quarter of that time, so that what was done
    /// about it can show. Where the client has not even taken what was left then, it is so as soon as more than a
    /// [`LUMP`] beyond that waits: it would be left out in the end, and take memory until then.
    pub fn excess(&self, first: u64, waiting: usize, now: Instant, written: u64) -> Option<u64> {
        let then = *self.marks.front()?;
        let too_long = self.is_long_ago(&then, now) && first <= then.sequence;
        let excessive = match &self.thinned {
            Some(last) if first <= last.sequence && waiting > last.bytes + LUMP as usize => true,
            Some(last) => too_long && now.saturating_duration_since(last.at) >= self.longest / 4,
            None => too_long,
        };
        excessive.then(|| {
            let waited = now.saturating_duration_since(then.at).as_secs_f64();
            let taken = ((written - then.written) as f64 * self.longest.as_secs_f64() / waited) as u64;
            taken.max(LUMP)
        })
    }

    /// Notes that messages were left out, and how many bytes of them wait yet, up to this sequence number.
    pub fn thinned_out(&mut self, sequence: u64, bytes: usize, now: Instant) {
        self.thinned = Some(Thinned { at: now, sequence, bytes });
    }

    fn is_long_ago(&self, mark: &Mark, now: Instant) -> bool {
        now.saturating_duration_since(mark.at) >= self.longest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: Duration = Duration::from_secs(2);

    /// How many bytes wait.
    const MUCH: usize = 100_000_000;

    #[test]
    fn finds_what_waits_too_long_and_how_much_is_taken_in_that_time() {
        let (start, mut lag) = (Instant::now(), Lag::new(LONGEST));
        let at = |millis| start + Duration::from_millis(millis);
        for step in 0..40 {
            // 100 messages and 500,000 bytes a second.
            lag.note(at(step * 100), 1 + step * 10, step * 50_000);
            assert!(lag.marks.len() <= STEPS as usize + 2);
            assert_eq!(lag.excess(1 + step * 10, MUCH, at(step * 100), step * 50_000), None);
        }
        // Of these, all that were queued in the first 1.9 s have waited too long.
        assert_eq!(lag.excess(200, MUCH, at(3_900), 1_950_000), None);
        assert_eq!(lag.excess(180, MUCH, at(3_900), 1_950_000), Some(1_000_000));
        // What is done about it is not done again at once.
        lag.thinned_out(391, MUCH, at(3_900));
        assert_eq!(lag.excess(180, MUCH, at(4_000), 2_000_000), None);
        assert!(lag.excess(180, MUCH, at(4_400), 2_000_000).is_some());
    }

    #[test]
    fn who_has_not_taken_what_was_left_need_not_wait_too_long_again() {
        let (start, mut lag) = (Instant::now(), Lag::new(LONGEST));
        let at = |millis| start + Duration::from_millis(millis);
        lag.note(start, 1, 0);
        assert_eq!(lag.excess(1, MUCH, at(2_000), 600_000), Some(600_000));
        lag.thinned_out(100, 600_000, at(2_000));
        let more = 600_000 + LUMP as usize;
        for (first, waiting, excess) in [
            (50, more, None),
            // Of the rest that was left, something waits, and much more came.
            (100, more + 1, Some(600_000)),
            // All of it was taken.
            (101, MUCH, None),
        ] {
            assert_eq!(lag.excess(first, waiting, at(2_010), 603_000), excess, "{first}");
        }
    }

    #[test]
    fn after_a_pause_it_knows_what_is_taken_in_the_time_that_a_message_may_wait() {
        let (start, mut lag) = (Instant::now(), Lag::new(LONGEST));
        lag.note(start, 1, 0);
        let now = start + 10 * LONGEST;
        assert_eq!(lag.excess(1, MUCH, now, 10_000_000), Some(1_000_000));
        lag.note(now, 2, 10_000_000);
        assert_eq!(lag.excess(2, MUCH, now, 10_000_000), None);
    }

    #[test]
    fn who_takes_nothing_keeps_what_a_socket_takes_at_once() {
        let (start, mut lag) = (Instant::now(), Lag::new(LONGEST));
        lag.note(start, 1, 0);
        assert_eq!(lag.excess(1, MUCH, start + LONGEST, 0), Some(LUMP));
    }
}
