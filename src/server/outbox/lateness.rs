//! How late messages are written.

use std::time::Duration;

use hdrhistogram::Histogram;

/// The longest delay that is told apart, an hour; all beyond it counts as that.
const LONGEST_MICROS: u64 = 3_600_000_000;

/// How late messages were written to sockets: when the last byte of one was, minus when it was due. To two
/// digits; whatever is not late counts as a microsecond.
#[derive(Clone, Debug, Default)]
pub struct Lateness(
    // Clients that got nothing have none, since it takes some kilobytes.
    Option<Box<Histogram<u64>>>,
);

impl Lateness {
    /// Counts a message that was so late.
    pub(super) fn record(&mut self, late: Duration) {
        let micros = u64::try_from(late.as_micros()).unwrap_or(LONGEST_MICROS);
        if let Some(histogram) = self.histogram() {
            histogram.saturating_record(micros);
        }
    }

    /// Counts also what another one has counted.
    pub(in crate::server) fn add(&mut self, other: &Lateness) {
        if let Some(other) = other.0.as_deref()
            && let Some(histogram) = self.histogram()
        {
            // Both have the same bounds, so that everything finds its place.
            histogram.add(other).unwrap_or_default();
        }
    }

    /// How many messages were counted.
    pub fn count(&self) -> u64 {
        self.0.as_deref().map_or(0, |histogram| histogram.len())
    }

    /// How late a message was of which this part of all (0 to 1) was not later. `None` before the first one.
    pub fn quantile(&self, part: f64) -> Option<Duration> {
        let histogram = self.0.as_deref().filter(|histogram| !histogram.is_empty())?;
        Some(Duration::from_micros(histogram.value_at_quantile(part)))
    }

    fn histogram(&mut self) -> Option<&mut Histogram<u64>> {
        if self.0.is_none() {
            // These bounds are valid ones.
            self.0 = Histogram::new_with_max(LONGEST_MICROS, 2).ok().map(Box::new);
        }
        self.0.as_deref_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_exact_to_two_digits() {
        let mut lateness = Lateness::default();
        assert_eq!(lateness.quantile(0.5), None);
        (1..=1000).for_each(|micros| lateness.record(Duration::from_micros(micros)));
        let mut sum = Lateness::default();
        sum.add(&lateness);
        sum.add(&Lateness::default());
        assert_eq!(sum.count(), 1000);
        for (part, micros) in [(0.5, 500), (0.99, 990), (1.0, 1000)] {
            let told = sum.quantile(part).unwrap().as_micros();
            assert!(told.abs_diff(micros) <= micros / 100, "{part}: {told}");
        }
    }

    #[test]
    fn what_is_beyond_all_bounds_is_counted_too() {
        let mut lateness = Lateness::default();
        lateness.record(Duration::ZERO);
        lateness.record(Duration::MAX);
        assert_eq!(lateness.count(), 2);
        assert!(lateness.quantile(1.0).unwrap() >= Duration::from_secs(3600));
    }
}
