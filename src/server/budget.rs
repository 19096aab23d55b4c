//! A share of the time for something that may be left out.

use std::time::{Duration, Instant};

/// A twentieth of all time may be spent.
const SHARE: u32 = 20;

/// To what time adds up that was not spent.
const MOST_SAVED: Duration = Duration::from_millis(3);

/// What took longer than this is charged as this: the whole machine may have stood.
const MOST_CHARGED: Duration = Duration::from_millis(50);

/// How much time was spent, beside what may be.
#[derive(Debug)]
pub struct Budget {
    /// Up to when the time is paid for that was spent: in the future where too much was.
    paid: Instant,
}

impl Budget {
    /// Of which nothing is saved or spent yet.
    pub fn new(now: Instant) -> Self {
        Budget { paid: now }
    }

    /// Does something, unless that took too long of late: then it gives nothing.
    pub fn spend_on<T>(&mut self, work: impl FnOnce() -> T) -> Option<T> {
        let now = Instant::now();
        self.can_afford(now).then(|| {
            let done = work();
            self.spend(now.elapsed());
            done
        })
    }

    /// Whether something may be done now.
    fn can_afford(&mut self, now: Instant) -> bool {
        self.paid = self.paid.max(now.checked_sub(MOST_SAVED * SHARE).unwrap_or(now));
        self.paid <= now
    }

    /// So much was spent.
    pub fn spend(&mut self, time: Duration) {
        self.paid += time.min(MOST_CHARGED) * SHARE;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Does something every 100 us, for so long each time, through a second after a silence. Gives how often, and how
    /// much of that time was spent.
    fn work(each: Duration) -> (u32, Duration) {
        let start = Instant::now();
        let mut budget = Budget::new(start);
        let mut now = start + Duration::from_secs(10);
        let end = now + Duration::from_secs(1);
        let (mut times, mut spent) = (0, Duration::ZERO);
        while now < end {
            if budget.can_afford(now) {
                budget.spend(each);
                (times, spent, now) = (times + 1, spent + each, now + each);
            }
            now += Duration::from_micros(100);
        }
        (times, spent)
    }

    #[test]
    fn what_costs_little_is_done_each_time() {
        assert_eq!(work(Duration::from_micros(1)), (9901, Duration::from_micros(9901)));
    }

    #[test]
    fn what_costs_much_is_done_for_a_share_of_the_time() {
        for each in [Duration::from_micros(100), Duration::from_millis(1), Duration::from_millis(4)] {
            let (_, spent) = work(each);
            assert!(spent <= Duration::from_millis(50) + MOST_SAVED + each, "{each:?}: {spent:?}");
            assert!(spent >= Duration::from_millis(45), "{each:?}: {spent:?}");
        }
    }

    #[test]
    fn a_machine_that_stood_is_forgotten_soon() {
        let start = Instant::now();
        let mut budget = Budget::new(start);
        budget.spend(Duration::from_secs(3600));
        assert!(!budget.can_afford(start));
        assert!(budget.can_afford(start + Duration::from_secs(1)));
    }
}
