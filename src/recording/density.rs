//! How many messages there are at which times.

use super::ChannelId;
use crate::time::Timestamp;

/// The most parts into which a range is divided.
const MOST_PARTS: usize = 1000;

/// The most counts in all: 16 MB.
const MOST_COUNTS: usize = 4_000_000;

/// How many messages each channel has in each of the equal parts of a range of log times. Counted by indexes,
/// without unpacking anything.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Density {
    start: Timestamp,
    /// The length of the range in nanoseconds, its last one included.
    length: u128,
    parts: usize,
    counts: Vec<Vec<u32>>,
    exact: bool,
}

impl Density {
    /// Nothing counted yet. There are fewer parts where so many would take too much memory. Both ends belong to the
    /// range.
    pub fn new(range: (Timestamp, Timestamp), channels: usize, parts: usize) -> Self {
        let parts = parts.clamp(1, MOST_PARTS).min((MOST_COUNTS / channels.max(1)).max(1));
        let length = range.1.since(range.0).as_nanos() + 1;
        Density { start: range.0, length, parts, counts: vec![vec![0; parts]; channels], exact: true }
    }

    /// The counts of each part, by channel.
    pub fn counts(&self) -> &[Vec<u32>] {
        &self.counts
    }

    /// Whether everything was counted; where not, what is known was spread over the time in which it is.
    pub fn is_exact(&self) -> bool {
        self.exact
    }

    /// Counts messages at a log time. Those outside of the range are left out.
    pub(super) fn add(&mut self, channel: ChannelId, time: Timestamp, count: u32) {
        let after = time.since(self.start).as_nanos();
        if time < self.start || after >= self.length {
            return;
        }
        let part = (after * self.parts as u128 / self.length) as usize;
        if let Some(cell) = self.counts.get_mut(channel.0 as usize).and_then(|counts| counts.get_mut(part)) {
            *cell = cell.saturating_add(count);
        }
    }

    /// Spreads messages evenly over a time, since it is not known when each is.
    pub(super) fn spread(&mut self, channel: ChannelId, from: Timestamp, to: Timestamp, count: u64) {
        self.exact = false;
        let steps = count.min(self.parts as u64);
        for step in 0..steps {
            let share = count * (step + 1) / steps - count * step / steps;
            let offset = (to.since(from).as_nanos() * (2 * u128::from(step) + 1)) / (2 * u128::from(steps));
            let offset = std::time::Duration::from_nanos(u64::try_from(offset).unwrap_or(u64::MAX));
            self.add(channel, from.saturating_add(offset), u32::try_from(share).unwrap_or(u32::MAX));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nanos(time: u64) -> Timestamp {
        Timestamp::from_nanos(time)
    }

    #[test]
    fn both_ends_belong_to_the_range() {
        let mut density = Density::new((nanos(10), nanos(19)), 1, 5);
        for time in 0..40 {
            density.add(ChannelId(0), nanos(time), 1);
        }
        assert_eq!(density.counts(), [[2; 5]]);
        assert!(density.is_exact());
    }

    #[test]
    fn what_is_spread_keeps_its_count() {
        let mut density = Density::new((nanos(0), nanos(99)), 1, 10);
        density.spread(ChannelId(0), nanos(0), nanos(99), 25);
        assert_eq!(density.counts()[0].iter().sum::<u32>(), 25);
        assert!(density.counts()[0].iter().all(|count| (2..=3).contains(count)));
        assert!(!density.is_exact());
    }

    #[test]
    fn many_channels_get_fewer_parts_and_extreme_ranges_do_not_overflow() {
        assert_eq!(Density::new((nanos(0), nanos(9)), 1_000_000, 1000).counts()[0].len(), 4);
        let mut density = Density::new((Timestamp::MIN, Timestamp::MAX), 1, 1000);
        density.add(ChannelId(0), Timestamp::MAX, 1);
        density.spread(ChannelId(0), Timestamp::MIN, Timestamp::MAX, u64::MAX / 1001);
        assert!(density.counts()[0][999] > 0);
    }
}
