//! Who wants to hear what a file holds, in the order in which it stands there.

use super::Place;
use crate::time::Timestamp;

/// Hears of everything that one reading of a whole file meets. A [`Cursor`](super::Cursor) gives messages in the
/// order in which they play; this is the order of the file.
pub(super) trait Watch {
    /// A message of a channel (its place in [`Summary::channels`](super::Summary::channels)). `place` is its line,
    /// its own offset, or that of the chunk that it is in.
    fn message(&mut self, place: Place, channel: usize, log_time: Timestamp);

    /// So many lines can't be played for the same sort of reason. `first` is the number of the first one, `reason`
    /// what is wrong with that.
    fn lines_skipped(&mut self, first: u64, reason: String, count: u64);

    /// So many messages are played without the value of an optional key that can't be read. `first` is the line of
    /// the first one.
    fn lines_odd(&mut self, first: u64, key: &'static str, count: u64);
}

/// Nobody wants to hear it.
pub(super) struct Unwatched;

impl Watch for Unwatched {
    fn message(&mut self, _: Place, _: usize, _: Timestamp) {}

    fn lines_skipped(&mut self, _: u64, _: String, _: u64) {}

    fn lines_odd(&mut self, _: u64, _: &'static str, _: u64) {}
}
