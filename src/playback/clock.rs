//! Recorded time to real time.

use std::fmt;
use std::time::{Duration, Instant};

use crate::time::Timestamp;

/// How many seconds of the recording pass in one real second. Always positive and finite.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Rate(f64);

/// What can't be a rate.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum RateError {
    /// It is zero, negative or no finite number.
    #[error("the rate has to be a positive number such as 0.5, 1 or 20, and is {0}")]
    Nonsense(f64),
    /// It is more than viewers may ask for.
    #[error("the rate has to be a positive number up to 1000, and is {0}")]
    TooFast(f64),
}

impl Rate {
    /// As fast as it was recorded.
    pub const REAL_TIME: Rate = Rate(1.0);
    /// As fast as it goes, without waiting for anything but who listens: a billion times as fast as recorded.
    pub const MAX: Rate = Rate(1e9);

    /// The greatest factor that viewers may ask for: faster than anybody can look at, and not so fast that one of
    /// them keeps a processor busy.
    pub const MOST_ASKED: f64 = 1000.0;
    /// The least factor: a second takes 30 years. With less, the clock could not be computed.
    const LEAST: f64 = 1e-9;

    /// A rate from a factor. All from a billion on are [`Rate::MAX`], and all below a billionth are that.
    ///
    /// # Errors
    /// Where the factor is zero, negative, infinite or NaN.
    pub fn new(factor: f64) -> Result<Self, RateError> {
        if factor.is_finite() && factor > 0.0 {
            Ok(Rate(factor.clamp(Rate::LEAST, Rate::MAX.0)))
        } else {
            Err(RateError::Nonsense(factor))
        }
    }

    /// A rate from a factor that a viewer asks for.
    ///
    /// # Errors
    /// As [`new`](Self::new), and where it is more than [`MOST_ASKED`](Self::MOST_ASKED).
    pub fn asked(factor: f64) -> Result<Self, RateError> {
        let rate = Rate::new(factor)?;
        if factor > Rate::MOST_ASKED { Err(RateError::TooFast(factor)) } else { Ok(rate) }
    }

    /// Whether it is [`Rate::MAX`].
    pub fn is_max(self) -> bool {
        self == Rate::MAX
    }

    /// The factor.
    pub fn factor(self) -> f64 {
        self.0
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_max() { f.write_str("as fast as it goes") } else { write!(f, "x{}", self.0) }
    }
}

/// A running clock: at a certain instant it showed a certain recorded time, and goes on at a rate.
///
/// Everything is computed from that one anchor and never summed up, so the last message of a long recording
/// is as exact as the first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clock {
    anchor: Instant,
    anchor_time: Timestamp,
    rate: Rate,
}

/// Beyond this a clock is not computed: about 146 years of waiting.
const FOREVER_NANOS: f64 = (u64::MAX / 4) as f64;

impl Clock {
    /// A clock that shows `time` at the instant `anchor`.
    pub fn new(anchor: Instant, time: Timestamp, rate: Rate) -> Self {
        Clock { anchor, anchor_time: time, rate }
    }

    /// How fast it goes.
    pub fn rate(&self) -> Rate {
        self.rate
    }

    /// What it shows at an instant. Before its anchor it shows the anchor's time.
    pub fn time_at(&self, now: Instant) -> Timestamp {
        let elapsed = now.saturating_duration_since(self.anchor);
        self.anchor_time.saturating_add(scale(elapsed, self.rate.0))
    }

    /// When it shows `time`: the anchor for times before, `None` for those that never come in practice.
    pub fn instant_of(&self, time: Timestamp) -> Option<Instant> {
        let ahead = time.since(self.anchor_time);
        let wait = scale(ahead, 1.0 / self.rate.0);
        if wait == Duration::MAX { None } else { self.anchor.checked_add(wait) }
    }
}

/// `duration * factor`, to the nanosecond; `Duration::MAX` where that is beyond all reason.
fn scale(duration: Duration, factor: f64) -> Duration {
    if factor == 1.0 {
        return duration;
    }
    // Exact for 104 days (2^53 ns), and to a nanosecond's fraction for years.
    let nanos = duration.as_nanos() as f64 * factor;
    if nanos < FOREVER_NANOS { Duration::from_nanos(nanos.round() as u64) } else { Duration::MAX }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rate(factor: f64) -> Rate {
        Rate::new(factor).unwrap()
    }

    #[test]
    fn only_positive_finite_rates_exist() {
        for factor in [0.0, -0.0, -1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert!(Rate::new(factor).is_err(), "{factor}");
        }
        for factor in [0.01, 1.0, 1e6, 1e-9] {
            assert_eq!(Rate::new(factor).unwrap().factor(), factor);
            assert!(!rate(factor).is_max());
        }
        assert!([1e9, 2e9, f64::MAX].into_iter().all(|factor| rate(factor).is_max()));
        let slowest = Clock::new(Instant::now(), Timestamp::MIN, rate(f64::MIN_POSITIVE));
        assert_eq!(slowest.instant_of(Timestamp::MIN), Some(slowest.anchor));
        assert!(slowest.instant_of(Timestamp::from_nanos(1)).is_some());
    }

    #[test]
    fn viewers_may_ask_for_no_more_than_a_thousand() {
        assert_eq!(Rate::asked(1000.0), Ok(rate(1000.0)));
        assert_eq!(Rate::asked(1001.0), Err(RateError::TooFast(1001.0)));
        assert!(Rate::asked(-1.0).is_err());
    }

    #[test]
    fn at_rate_two_recorded_time_passes_twice_as_fast() {
        let start = Instant::now();
        let clock = Clock::new(start, Timestamp::from_nanos(1_000), rate(2.0));
        assert_eq!(clock.time_at(start + Duration::from_nanos(50)), Timestamp::from_nanos(1_100));
        assert_eq!(clock.instant_of(Timestamp::from_nanos(1_100)), Some(start + Duration::from_nanos(50)));
        assert_eq!(clock.instant_of(Timestamp::from_nanos(10)), Some(start));
    }

    #[test]
    fn the_last_of_a_billion_messages_is_as_exact_as_the_first() {
        // 1 kHz for eleven days, at a rate that no float holds exactly.
        let start = Instant::now();
        let clock = Clock::new(start, Timestamp::from_nanos(1_700_000_000_000_000_000), rate(0.1));
        let last = Timestamp::from_nanos(1_700_000_000_000_000_000 + 1_000_000_000 * 1_000_000);
        let due = clock.instant_of(last).unwrap() - start;
        assert!(due.abs_diff(Duration::from_secs(10_000_000)) <= Duration::from_nanos(2), "{due:?}");
    }

    #[test]
    fn extreme_rates_and_times_neither_overflow_nor_panic() {
        let start = Instant::now();
        for factor in [f64::MIN_POSITIVE, 1e-9, 1e9, f64::MAX] {
            let clock = Clock::new(start, Timestamp::MIN, rate(factor));
            clock.instant_of(Timestamp::MAX);
            clock.time_at(start + Duration::from_secs(1 << 40));
        }
        assert_eq!(Clock::new(start, Timestamp::MIN, rate(1e-9)).instant_of(Timestamp::MAX), None);
    }

    proptest! {
        #[test]
        fn a_later_time_is_never_due_earlier(
            a in any::<u64>(), b in any::<u64>(), anchor in any::<u64>(), factor in 1e-6..1e6f64
        ) {
            let clock = Clock::new(Instant::now(), Timestamp::from_nanos(anchor), rate(factor));
            let (a, b) = (Timestamp::from_nanos(a.min(b)), Timestamp::from_nanos(a.max(b)));
            match (clock.instant_of(a), clock.instant_of(b)) {
                (Some(a), Some(b)) => prop_assert!(a <= b),
                (None, Some(_)) => prop_assert!(false, "the earlier one never comes"),
                _ => {}
            }
        }
    }
}
