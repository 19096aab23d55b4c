//! Points in recorded time, and the one place that knows how times and durations are written as text.

use std::fmt;
use std::time::Duration;

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// A point in recorded time: nanoseconds since the Unix epoch, as MCAP and the Foxglove protocol count it.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Timestamp(u64);

/// Why a text is no time or no duration. The text says what was expected.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct ParseTimeError(&'static str);

const NOT_A_TIME: ParseTimeError = ParseTimeError(
    "a time is nanoseconds (digits), seconds with a point and up to 9 decimals, or an RFC 3339 date",
);
const OUT_OF_RANGE: ParseTimeError =
    ParseTimeError("a time lies between 1970-01-01 and 2554-07-21 (64 bits of nanoseconds)");
const NOT_A_DURATION: ParseTimeError =
    ParseTimeError("a duration is a number of seconds (90, 1.5) or has units (1m30s, 500ms)");

impl Timestamp {
    /// The earliest time there is: 1970-01-01T00:00:00Z.
    pub const MIN: Timestamp = Timestamp(0);
    /// The latest time there is.
    pub const MAX: Timestamp = Timestamp(u64::MAX);

    /// A time from nanoseconds since the epoch.
    pub const fn from_nanos(nanos: u64) -> Self {
        Timestamp(nanos)
    }

    /// A time from whole seconds and nanoseconds, or `None` where that does not fit into 64 bits.
    pub fn from_sec_nsec(sec: u64, nsec: u64) -> Option<Self> {
        sec.checked_mul(NANOS_PER_SECOND)?.checked_add(nsec).map(Timestamp)
    }

    /// Nanoseconds since the epoch.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// This time moved later, stopping at [`Timestamp::MAX`].
    pub fn saturating_add(self, duration: Duration) -> Self {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Timestamp(self.0.saturating_add(nanos))
    }

    /// This time moved earlier, stopping at [`Timestamp::MIN`].
    pub fn saturating_sub(self, duration: Duration) -> Self {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Timestamp(self.0.saturating_sub(nanos))
    }

    /// How long it is from `earlier` to this time; zero where `earlier` is not earlier.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// Reads a time as a JSON number spells it: an integer is nanoseconds, a number with a point or an
    /// exponent is seconds with up to 9 decimals. Read digit by digit, never through a float.
    ///
    /// # Errors
    /// Where the text is no such number, is negative, has more than 9 decimals, or does not fit 64 bits.
    pub fn parse_number(text: &str) -> Result<Self, ParseTimeError> {
        if let Some(nanos) = short_whole_number(text) {
            return Ok(Timestamp(nanos));
        }
        if text.bytes().all(|b| b.is_ascii_digit()) && !text.is_empty() {
            return text.parse().map(Timestamp).map_err(|_| OUT_OF_RANGE);
        }
        decimal_seconds_to_nanos(text).map(Timestamp)
    }

    /// Reads a time as people and tools write it: [a number](Self::parse_number), or RFC 3339 with any
    /// offset (`2023-11-14T22:13:20.123456789Z`).
    ///
    /// # Errors
    /// Where the text is neither.
    pub fn parse(text: &str) -> Result<Self, ParseTimeError> {
        match Self::parse_number(text) {
            Err(NOT_A_TIME) => {}
            number => return number,
        }
        let date: jiff::Timestamp = text.parse().map_err(|_| NOT_A_TIME)?;
        u64::try_from(date.as_nanosecond()).map(Timestamp).map_err(|_| OUT_OF_RANGE)
    }

    /// Reads a time in seconds since the epoch, with or without a point, or as RFC 3339.
    ///
    /// # Errors
    /// Where the text is neither.
    pub fn parse_seconds(text: &str) -> Result<Self, ParseTimeError> {
        match decimal_seconds_to_nanos(text) {
            Err(NOT_A_TIME) => Self::parse(text),
            seconds => seconds.map(Timestamp),
        }
    }
}

/// RFC 3339 in UTC, with as many decimals as there are.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_nanosecond(i128::from(self.0)) {
            Ok(date) => write!(f, "{date}"),
            Err(_) => write!(f, "{}.{:09}", self.0 / NANOS_PER_SECOND, self.0 % NANOS_PER_SECOND),
        }
    }
}

impl Timestamp {
    /// The recorded date and time in UTC to the millisecond, for people: `2023-11-14 22:13:20.123`.
    pub fn to_human(self) -> String {
        let seconds = (self.0 / NANOS_PER_SECOND) as i64;
        match jiff::Timestamp::from_second(seconds) {
            Ok(date) => {
                let date = date.strftime("%Y-%m-%d %H:%M:%S");
                format!("{date}.{:03}", self.0 % NANOS_PER_SECOND / 1_000_000)
            }
            Err(_) => self.to_string(),
        }
    }
}

/// Reads a duration: seconds (`90`, `1.5`) or a number with units (`1m30s`, `500ms`).
///
/// # Errors
/// Where the text is neither, is negative, or does not fit 64 bits of nanoseconds.
pub fn parse_duration(text: &str) -> Result<Duration, ParseTimeError> {
    match decimal_seconds_to_nanos(text) {
        Ok(nanos) => return Ok(Duration::from_nanos(nanos)),
        Err(NOT_A_TIME) => {}
        Err(_) => return Err(NOT_A_DURATION),
    }
    let signed: jiff::SignedDuration = text.parse().map_err(|_| NOT_A_DURATION)?;
    let duration = Duration::try_from(signed).map_err(|_| NOT_A_DURATION)?;
    u64::try_from(duration.as_nanos()).map_err(|_| NOT_A_DURATION)?;
    Ok(duration)
}

/// A duration for people, to a tenth of a second: `4.2s`, `1m 37.4s`, `2h 03m 20s`.
pub fn format_duration(duration: Duration) -> String {
    let tenths = (duration.as_nanos() + 50_000_000) / 100_000_000;
    let (seconds, tenth) = (tenths / 10, tenths % 10);
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 {
        format!("{hours}h {minutes:02}m {seconds:02}s")
    } else if minutes > 0 {
        format!("{minutes}m {seconds:02}.{tenth}s")
    } else {
        format!("{seconds}.{tenth}s")
    }
}

/// Reads digits that are few enough to fit without a check.
fn short_whole_number(digits: &str) -> Option<u64> {
    if !(1..=19).contains(&digits.len()) {
        return None;
    }
    digits
        .bytes()
        .try_fold(0, |number: u64, byte| byte.is_ascii_digit().then(|| number * 10 + u64::from(byte - b'0')))
}

/// Reads `123.456` as seconds where both parts are few enough digits to fit without a check. That is what
/// nearly every recording with decimal times has.
fn short_seconds_to_nanos(text: &str) -> Option<u64> {
    let (whole, decimals) = text.split_once('.')?;
    if whole.len() > 10 || decimals.len() > 9 {
        return None;
    }
    let nanos = short_whole_number(decimals)? * 10_u64.pow(9 - decimals.len() as u32);
    Some(short_whole_number(whole)? * NANOS_PER_SECOND + nanos)
}

/// Reads `123`, `123.456`, `1.5e9` as seconds, exactly.
fn decimal_seconds_to_nanos(text: &str) -> Result<u64, ParseTimeError> {
    if let Some(nanos) = short_seconds_to_nanos(text) {
        return Ok(nanos);
    }
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => {
            let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
            if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
                return Err(NOT_A_TIME);
            }
            (mantissa, exponent.parse::<i32>().map_err(|_| OUT_OF_RANGE)?)
        }
        None => (text, 0),
    };
    let (whole, decimals) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if !all_digits(whole) || !all_digits(decimals) {
        return Err(NOT_A_TIME);
    }
    let digits = format!("{whole}{}", decimals.trim_end_matches('0'));
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() {
        return Ok(0);
    }
    // digits * 10^shift are the nanoseconds.
    let shift = exponent.checked_add(9 - decimals.trim_end_matches('0').len() as i32).ok_or(OUT_OF_RANGE)?;
    if shift < 0 {
        let cut = digits.len().checked_sub(shift.unsigned_abs() as usize).ok_or(NOT_A_TIME)?;
        // Finer than a nanosecond: only zeros may be there, since a time is never rounded.
        if digits[cut..].bytes().any(|b| b != b'0') {
            return Err(NOT_A_TIME);
        }
        return digits[..cut].parse().or(Err(OUT_OF_RANGE));
    }
    let factor = 10u64.checked_pow(shift as u32).ok_or(OUT_OF_RANGE)?;
    let number: u64 = digits.parse().map_err(|_| OUT_OF_RANGE)?;
    number.checked_mul(factor).ok_or(OUT_OF_RANGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_integer_is_nanoseconds_and_a_decimal_is_seconds() {
        let same = Timestamp::from_nanos(1_700_000_000_123_456_789);
        assert_eq!(Timestamp::parse_number("1700000000123456789"), Ok(same));
        assert_eq!(Timestamp::parse_number("1700000000.123456789"), Ok(same));
        assert_eq!(Timestamp::parse_number("1.700000000123456789e9"), Ok(same));
        assert_eq!(Timestamp::parse_number("1.7E9"), Timestamp::parse_number("1700000000.0"));
        assert_eq!(Timestamp::parse_number("15000e-4"), Ok(Timestamp::from_nanos(1_500_000_000)));
        assert_eq!(Timestamp::parse_number("0.10"), Ok(Timestamp::from_nanos(100_000_000)));
        assert_eq!(Timestamp::parse_number("1.0000000000"), Ok(Timestamp::from_nanos(1_000_000_000)));
        assert_eq!(
            Timestamp::parse_number("9999999999.999999999"),
            Ok(Timestamp::from_nanos(9_999_999_999_999_999_999))
        );
        assert_eq!(Timestamp::parse_number("00000000001.50"), Ok(Timestamp::from_nanos(1_500_000_000)));
        assert_eq!(Timestamp::parse_number("0"), Ok(Timestamp::MIN));
        assert_eq!(Timestamp::parse_number("18446744073709551615"), Ok(Timestamp::MAX));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "-1",
            "+1",
            ".",
            "1.",
            ".5",
            "1e",
            "1e+",
            "e9",
            "1e9e9",
            "nan",
            "1.0000000001",
            "1e-10",
            "18446744073709551616",
            "18446744073.709551616",
            "1e99999999999",
            "1e300",
            "0x10",
            "1_000",
            " 1",
        ] {
            assert!(Timestamp::parse_number(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn rfc_3339_is_read_with_any_offset() {
        let same = Timestamp::from_nanos(1_700_000_000_123_456_789);
        assert_eq!(Timestamp::parse("2023-11-14T22:13:20.123456789Z"), Ok(same));
        assert_eq!(Timestamp::parse("2023-11-15T00:13:20.123456789+02:00"), Ok(same));
        assert!(Timestamp::parse("1969-12-31T23:59:59Z").is_err());
        assert!(Timestamp::parse("yesterday").is_err());
        assert_eq!(same.to_string(), "2023-11-14T22:13:20.123456789Z");
        assert_eq!(same.to_human(), "2023-11-14 22:13:20.123");
        assert_eq!(Timestamp::MAX.to_human(), "2554-07-21 23:34:33.709");
    }

    #[test]
    fn durations_are_seconds_or_have_units() {
        assert_eq!(parse_duration("90"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("1.5"), Ok(Duration::from_millis(1500)));
        assert_eq!(parse_duration("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("2h"), Ok(Duration::from_secs(7200)));
        for text in ["", "-1", "-5s", "abc", "1x", "nan", "inf"] {
            assert!(parse_duration(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn durations_print_for_people() {
        assert_eq!(format_duration(Duration::from_millis(4249)), "4.2s");
        assert_eq!(format_duration(Duration::from_millis(59_990)), "1m 00.0s");
        assert_eq!(format_duration(Duration::from_millis(97_400)), "1m 37.4s");
        assert_eq!(format_duration(Duration::from_secs(7400)), "2h 03m 20s");
    }
}
