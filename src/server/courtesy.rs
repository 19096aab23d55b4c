//! Lets other threads go first, as far as that costs little.

use std::cell::RefCell;
use std::time::{Duration, Instant};

/// A twentieth of all time may be spent on that. What was not spent adds up to this.
const SHARE: u32 = 20;
const MOST_SAVED: Duration = Duration::from_millis(3);

/// What took longer than this is charged as this: the whole machine may have stood.
const MOST_CHARGED: Duration = Duration::from_millis(50);

thread_local! {
    /// Of each thread that writes to clients.
    static COURTESY: RefCell<Courtesy> = RefCell::new(Courtesy::new(Instant::now()));
}

/// Gives way after a large write: to clients on the same machine above all, who would otherwise not begin to read before
/// everything is written to everybody. Where the processors are busy with something else, that takes long, and is done
/// seldom: what is due has to be written.
pub(super) fn give_way() {
    COURTESY.with_borrow_mut(Courtesy::give_way);
}

/// How much time a thread has spent on giving way, beside what it may.
#[derive(Debug)]
struct Courtesy {
    /// Up to when the time is paid for that was spent: in the future where too much was.
    paid: Instant,
}

impl Courtesy {
    fn new(now: Instant) -> Self {
        Courtesy { paid: now }
    }

    /// Gives way, unless that took too long of late.
    fn give_way(&mut self) {
        let now = Instant::now();
        if self.can_afford(now) {
            std::thread::yield_now();
            self.spend(now.elapsed());
        }
    }

    fn can_afford(&mut self, now: Instant) -> bool {
        self.paid = self.paid.max(now.checked_sub(MOST_SAVED * SHARE).unwrap_or(now));
        self.paid <= now
    }

    fn spend(&mut self, time: Duration) {
        self.paid += time.min(MOST_CHARGED) * SHARE;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives way every 100 us, for so long each time, through a second after a silence. Gives how often, and how much of
    /// that time was spent.
    fn give_way(each: Duration) -> (u32, Duration) {
        let start = Instant::now();
        let mut courtesy = Courtesy::new(start);
        let mut now = start + Duration::from_secs(10);
        let end = now + Duration::from_secs(1);
        let (mut times, mut spent) = (0, Duration::ZERO);
        while now < end {
            if courtesy.can_afford(now) {
                courtesy.spend(each);
                (times, spent, now) = (times + 1, spent + each, now + each);
            }
            now += Duration::from_micros(100);
        }
        (times, spent)
    }

    #[test]
    fn what_costs_little_is_done_each_time() {
        assert_eq!(give_way(Duration::from_micros(1)), (9901, Duration::from_micros(9901)));
    }

    #[test]
    fn what_costs_much_is_done_for_a_share_of_the_time() {
        for each in [Duration::from_micros(100), Duration::from_millis(1), Duration::from_millis(4)] {
            let (_, spent) = give_way(each);
            assert!(spent <= Duration::from_millis(50) + MOST_SAVED + each, "{each:?}: {spent:?}");
            assert!(spent >= Duration::from_millis(45), "{each:?}: {spent:?}");
        }
    }

    #[test]
    fn a_machine_that_stood_is_forgotten_soon() {
        let start = Instant::now();
        let mut courtesy = Courtesy::new(start);
        courtesy.spend(Duration::from_secs(3600));
        assert!(!courtesy.can_afford(start));
        assert!(courtesy.can_afford(start + Duration::from_secs(1)));
    }
}
