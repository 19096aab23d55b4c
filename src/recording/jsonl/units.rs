//! Times that were written in another unit than the one in which they are read.

use crate::time::Timestamp;

/// A message, and how its time is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Written {
    /// Its line, counted from 1.
    pub line: u64,
    pub log_time: Timestamp,
    /// Whether it is written as a whole number, which means nanoseconds.
    pub is_whole_number: bool,
}

/// How many of a unit a second has, and how many digits that is: whole seconds, milliseconds, microseconds.
const UNITS: [(u64, usize); 3] = [(1, 0), (1000, 3), (1_000_000, 6)];

/// The years from 2001 to 2099 in seconds. Recordings were made in them, and by their numbers of digits the units
/// are told apart.
const RECORDED: std::ops::Range<u64> = 978_307_200..4_102_444_800;

/// What is odd about the time of a file's first message, where the file was probably written in seconds (or
/// thousandths, or millionths) without a point. `last` is the latest log time of the file.
///
/// Times of a simulation begin near zero, and are nanoseconds all the same: they are told by not staying within
/// what would be a date.
pub(super) fn doubt(first: Written, last: Timestamp) -> Option<String> {
    let number = first.log_time.as_nanos();
    let is_date = |nanos: u64, per_second: u64| RECORDED.contains(&(nanos / per_second));
    let (per_second, digits) = UNITS.into_iter().find(|(per_second, _)| is_date(number, *per_second))?;
    let last = last.as_nanos();
    let is_mixed = is_date(last, 1_000_000_000);
    if !first.is_whole_number || !(is_date(last, per_second) || is_mixed) {
        return None;
    }
    let seconds = match digits {
        0 => format!("{number}.0"),
        digits => format!("{}.{:0digits$}", number / per_second, number % per_second),
    };
    let taken = first.log_time;
    Some(format!(
        "the time {number} is taken as nanoseconds, which is {taken}; seconds are written with a point ({seconds})"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn doubt_of(first: u64, last: u64) -> Option<String> {
        let time = Timestamp::from_nanos;
        doubt(Written { line: 1, log_time: time(first), is_whole_number: true }, time(last))
    }

    #[test]
    fn seconds_thousandths_and_millionths_without_a_point_are_told() {
        for (first, last, taken, seconds) in [
            (1_717_236_000, 1_717_236_060, "1970-01-01T00:00:01.717236Z", "(1717236000.0)"),
            (1_717_236_000_025, 1_717_236_060_000, "1970-01-01T00:28:37.236000025Z", "(1717236000.025)"),
            (
                1_717_236_000_000_250,
                1_717_236_060_000_000,
                "1970-01-20T21:00:36.00000025Z",
                "(1717236000.000250)",
            ),
            // One program writes seconds, and another one nanoseconds.
            (1_717_236_000, 1_717_236_000_000_000_000, "1970-01-01T00:00:01.717236Z", "(1717236000.0)"),
        ] {
            let text = doubt_of(first, last).unwrap();
            assert!(text.contains(&format!("which is {taken};")) && text.contains(seconds), "{text}");
        }
    }

    #[test]
    fn times_that_are_meant_so_are_not_told() {
        let nanos = 1_717_236_000_000_000_000;
        // The last of these is a simulation's, from its second second to its hundredth.
        for (first, last) in [(nanos, nanos + 9), (0, 60_000_000_000), (2_000_000_000, 100_000_000_000)] {
            assert_eq!(doubt_of(first, last), None);
        }
        let time = Timestamp::from_nanos(1_717_236_000);
        assert_eq!(doubt(Written { line: 1, log_time: time, is_whole_number: false }, time), None);
    }
}
