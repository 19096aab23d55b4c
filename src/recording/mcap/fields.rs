//! Reads the fields of a record, one after the other, never beyond what is there.
//!
//! All numbers are little-endian (MCAP specification, "Serialization"). Nothing is allocated before its
//! bytes are known to be there.

use std::collections::BTreeMap;

/// A record ends before its fields do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TooShort;

/// What is left of a record's content.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a> {
    rest: &'a [u8],
    /// Whether a string was not UTF-8, so that some of its bytes were replaced.
    lossy: bool,
}

impl<'a> Fields<'a> {
    /// Starts at the first field.
    pub fn new(content: &'a [u8]) -> Self {
        Fields { rest: content, lossy: false }
    }

    /// What comes after the fields read so far.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Whether one of the strings read so far was not UTF-8.
    pub fn lossy(&self) -> bool {
        self.lossy
    }

    /// The next `length` bytes.
    pub fn bytes(&mut self, length: u64) -> Result<&'a [u8], TooShort> {
        let length = usize::try_from(length).map_err(|_| TooShort)?;
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(TooShort)?;
        self.rest = rest;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], TooShort> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(TooShort)?;
        self.rest = rest;
        Ok(*bytes)
    }

    /// A 16 bit number.
    pub fn u16(&mut self) -> Result<u16, TooShort> {
        self.array().map(u16::from_le_bytes)
    }

    /// A 32 bit number.
    pub fn u32(&mut self) -> Result<u32, TooShort> {
        self.array().map(u32::from_le_bytes)
    }

    /// A 64 bit number; also times, in nanoseconds since the Unix epoch.
    pub fn u64(&mut self) -> Result<u64, TooShort> {
        self.array().map(u64::from_le_bytes)
    }

    /// Bytes after their length in 32 bits.
    pub fn short_bytes(&mut self) -> Result<&'a [u8], TooShort> {
        let length = self.u32()?;
        self.bytes(length.into())
    }

    /// A string. What is not UTF-8 in it is replaced, and [`lossy`](Self::lossy) says so.
    pub fn string(&mut self) -> Result<String, TooShort> {
        let bytes = self.short_bytes()?;
        let text = String::from_utf8_lossy(bytes);
        self.lossy |= matches!(text, std::borrow::Cow::Owned(_));
        Ok(text.into_owned())
    }

    /// A map from strings to strings. Where a key comes twice, the later one counts.
    pub fn string_map(&mut self) -> Result<BTreeMap<String, String>, TooShort> {
        let mut pairs = Fields::new(self.short_bytes()?);
        let mut map = BTreeMap::new();
        while !pairs.rest.is_empty() {
            let key = pairs.string()?;
            map.insert(key, pairs.string()?);
        }
        self.lossy |= pairs.lossy;
        Ok(map)
    }
}

/// A record's frame: what it is, where its content starts, and the content.
#[derive(Clone, Copy, Debug)]
pub struct RawRecord<'a> {
    /// What it is (MCAP specification, "Records": opcodes).
    pub op: u8,
    /// Where its content starts, in bytes from the start of what was given to [`Records`].
    pub at: usize,
    /// Its fields.
    pub content: &'a [u8],
}

/// Bytes of a record before its content: opcode and length.
pub const FRAME: u64 = 9;

/// A record's opcode and the length of its content.
pub fn frame(bytes: &[u8; FRAME as usize]) -> (u8, u64) {
    let [op, length @ ..] = *bytes;
    (op, u64::from_le_bytes(length))
}

/// The records in a piece of memory, one after the other.
///
/// Ends after the first thing that is no whole record; [`is_whole`](Self::is_whole) tells whether there was
/// such a thing.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Records<'a> {
    /// Starts with the first record.
    pub fn new(bytes: &'a [u8]) -> Self {
        Records { bytes, at: 0 }
    }

    /// Whether everything so far was records. After the end: whether nothing is left over.
    pub fn is_whole(&self) -> bool {
        self.at == self.bytes.len()
    }

    /// Where the next record starts, or where what is no record starts.
    pub fn position(&self) -> usize {
        self.at
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = RawRecord<'a>;

    #[inline]
    fn next(&mut self) -> Option<RawRecord<'a>> {
        let (head, rest) = self.bytes.get(self.at..)?.split_first_chunk()?;
        let (op, length) = frame(head);
        // 0 is no opcode (MCAP specification, "Records"): it is what a crash leaves behind in a file.
        if op == 0 {
            return None;
        }
        let content = rest.get(..usize::try_from(length).ok()?)?;
        let at = self.at + FRAME as usize;
        self.at = at + content.len();
        Some(RawRecord { op, at, content })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_never_reach_beyond_the_record() {
        let mut fields = Fields::new(&[1, 0, 2]);
        assert_eq!(fields.u16(), Ok(1));
        assert_eq!(fields.u16(), Err(TooShort));
        assert_eq!(fields.rest(), [2]);
        assert_eq!(Fields::new(&[255, 255, 255, 255, 1]).string(), Err(TooShort));
        assert_eq!(Fields::new(b"ab").bytes(u64::MAX), Err(TooShort));
    }

    #[test]
    fn a_string_that_is_not_utf_8_is_read_with_replacements() {
        let mut fields = Fields::new(&[2, 0, 0, 0, b'a', 0xff]);
        assert_eq!(fields.string().unwrap(), "a\u{fffd}");
        assert!(fields.lossy());
    }

    #[test]
    fn a_map_that_does_not_end_with_a_whole_pair_is_too_short() {
        let mut bytes = vec![9, 0, 0, 0];
        bytes.extend([1, 0, 0, 0, b'k', 1, 0, 0, 0]);
        assert_eq!(Fields::new(&bytes).string_map(), Err(TooShort));
        bytes[0] = 10;
        bytes.push(b'v');
        let map = Fields::new(&bytes).string_map().unwrap();
        assert_eq!(map, BTreeMap::from([("k".into(), "v".into())]));
    }

    #[test]
    fn a_length_near_2_to_the_64_is_no_record() {
        for length in [u64::MAX, u64::MAX - 8, 1 << 63, 2] {
            let mut bytes = vec![5];
            bytes.extend(length.to_le_bytes());
            bytes.push(0);
            let mut records = Records::new(&bytes);
            assert!(records.next().is_none() && !records.is_whole(), "{length}");
        }
    }
}
