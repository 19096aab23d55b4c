//! When to wake up so as to be ready in time: the system takes a while to wake a thread that sleeps, and the thread to
//! prepare what is due.

use std::time::{Duration, Instant};

/// Nobody is woken earlier than this before something is due.
const EARLIEST: Duration = Duration::from_micros(100);

/// How far what was learned moves with each time that the system woke the thread: such that nine times of ten
/// it takes longer. So it is seldom too early, and awake for nothing.
const LONGER: Duration = Duration::from_nanos(220);
const SHORTER: Duration = Duration::from_nanos(2000);

/// A fiftieth of the time may be spent awake before something is due. What was not spent adds up to this.
const SHARE: u32 = 50;
const MOST_SAVED: Duration = Duration::from_millis(1);

/// Learns how long it takes from when a thread is to be woken until it is ready, and lets it be woken earlier by that.
/// Where it is ready too early for once, it has to wait awake; that is bounded, as a share of all time.
#[derive(Debug)]
pub struct Alarm {
    /// How long it takes at least, as a rule.
    takes: Duration,
    /// How long it may wait awake.
    saved: Duration,
    saved_at: Instant,
}

impl Alarm {
    pub fn new(now: Instant) -> Self {
        Alarm { takes: Duration::ZERO, saved: Duration::ZERO, saved_at: now }
    }

    /// Until when to sleep where something is `due`. `None` where it is too late for that.
    pub fn set(&mut self, due: Instant, now: Instant) -> Option<Instant> {
        let saved = now.saturating_duration_since(self.saved_at) / SHARE;
        self.saved = (self.saved + saved).min(MOST_SAVED);
        self.saved_at = now;
        let alarm = due.checked_sub(self.takes.min(self.saved)).unwrap_or(due);
        (alarm > now).then_some(alarm)
    }

    /// The thread was to be woken at the instant `alarm`, and is ready now.
    pub fn rang(&mut self, alarm: Instant, now: Instant) {
        let took = now.saturating_duration_since(alarm);
        self.takes = if took > self.takes {
            (self.takes + LONGER).min(EARLIEST)
        } else {
            self.takes.saturating_sub(SHORTER)
        };
    }

    /// The thread is awake for so long before something is due, if nothing else comes between.
    pub fn waited(&mut self, time: Duration) {
        self.saved = self.saved.saturating_sub(time);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MICROSECOND: Duration = Duration::from_micros(1);

    /// Lets something be due so often, in such distances, where the system takes from `least` to `least + 50` us to
    /// wake the thread. Gives, of the second half, how much of the time it waited awake, and how late it was in the
    /// mean.
    fn run(times: u32, distance: Duration, least: Duration) -> (f64, Duration) {
        let start = Instant::now();
        let (mut alarm, mut now) = (Alarm::new(start), start);
        let (mut awake, mut late) = (Duration::ZERO, Duration::ZERO);
        for time in 1..=times {
            let due = start + distance * time;
            if let Some(at) = alarm.set(due, now) {
                now = at + least + MICROSECOND * (time * 7 % 51);
                alarm.rang(at, now);
            }
            let wait = due.saturating_duration_since(now);
            alarm.waited(wait);
            now += wait;
            if time > times / 2 {
                awake += wait;
                late += now - due;
            }
        }
        let count = times - times / 2;
        (awake.as_secs_f64() / (distance * count).as_secs_f64(), late / count)
    }

    #[test]
    fn the_delay_of_the_system_is_learned_and_little_is_waited_awake() {
        let (awake, late) = run(4000, MICROSECOND * 1000, MICROSECOND * 40);
        assert!(awake < 0.001, "{awake}");
        assert!(late < MICROSECOND * 22, "{late:?}");
    }

    #[test]
    fn where_much_is_due_it_does_not_wait_awake_all_the_time() {
        let (awake, _) = run(40_000, MICROSECOND * 200, MICROSECOND * 40);
        assert!(awake <= 0.02, "{awake}");
    }

    #[test]
    fn it_wakes_no_earlier_than_what_is_saved() {
        let start = Instant::now();
        let mut alarm = Alarm::new(start);
        (0..100).for_each(|_| alarm.rang(start, start + MICROSECOND * 40));
        // A fiftieth of half a millisecond.
        let (now, due) = (start + MICROSECOND * 500, start + MICROSECOND * 1000);
        assert_eq!(alarm.set(due, now), Some(due - MICROSECOND * 10));
        alarm.waited(MICROSECOND * 10);
        assert_eq!(alarm.set(due, now), Some(due));
        assert_eq!(alarm.set(now, now), None);
    }

    #[test]
    fn a_system_that_takes_long_is_not_asked_for_too_much() {
        let (awake, late) = run(4000, MICROSECOND * 5000, MICROSECOND * 900);
        assert!(awake < 0.001, "{awake}");
        assert!(late > MICROSECOND * 790, "{late:?}");
    }
}
