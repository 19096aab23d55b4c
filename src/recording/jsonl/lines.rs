//! A file's lines, one after the other, read in big blocks into one buffer.

use std::io;

use memchr::{memchr, memrchr};

use super::super::Source;

/// How much is read at once.
const BLOCK: usize = 1 << 20;
/// The longest line that is looked at. One that is longer is passed over without being kept.
pub(super) const MAX_LINE: usize = 256 << 20;

/// One line.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Line<'a> {
    /// Its number, counted from 1.
    pub number: u64,
    /// Where `bytes` begin in the file.
    pub offset: u64,
    /// The line without its end; `None` if it is longer than [`MAX_LINE`].
    pub bytes: Option<&'a [u8]>,
    /// Whether a newline ends it. Only the last line may lack it.
    pub ended: bool,
}

/// Reads lines.
pub(super) struct Lines<'a> {
    source: &'a dyn Source,
    max_line: usize,
    buffer: Vec<u8>,
    /// What of the buffer has not been handed out.
    start: usize,
    /// Up to where the buffer is filled.
    end: usize,
    /// Where in the buffer the last newline ends; up to there is nothing but whole lines.
    whole: usize,
    /// How much has been read of the file.
    read: u64,
    number: u64,
}

impl<'a> Lines<'a> {
    pub fn new(source: &'a dyn Source) -> Self {
        Lines::with_max_line(source, MAX_LINE)
    }

    fn with_max_line(source: &'a dyn Source, max_line: usize) -> Self {
        Lines { source, max_line, buffer: Vec::new(), start: 0, end: 0, whole: 0, read: 0, number: 0 }
    }

    /// How many bytes of the file were read.
    pub fn bytes_read(&self) -> u64 {
        self.read
    }

    /// The next line, or `None` at the end of the file. A UTF-8 byte order mark at the start of the file is
    /// no part of the first line.
    ///
    /// # Errors
    /// Where the file can't be read.
    pub fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        let too_long = if self.start == self.whole { !self.fill()? } else { false };
        if too_long {
            return self.pass_over().map(Some);
        }
        if self.start == self.end {
            return Ok(None);
        }
        if self.number == 0 && self.buffer[self.start..self.end].starts_with(b"\xef\xbb\xbf") {
            self.start += 3;
        }
        self.number += 1;
        let rest = &self.buffer[self.start..self.end];
        let newline = memchr(b'\n', rest);
        let bytes = &rest[..newline.unwrap_or(rest.len())];
        let offset = self.read - rest.len() as u64;
        self.start += bytes.len() + usize::from(newline.is_some());
        self.whole = self.whole.max(self.start);
        Ok(Some(Line { number: self.number, offset, bytes: Some(bytes), ended: newline.is_some() }))
    }

    /// Reads until there is a whole line in the buffer, or the end of the file. `false` if the line is too
    /// long.
    fn fill(&mut self) -> io::Result<bool> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if self.buffer.len() > 4 * BLOCK && self.end < BLOCK {
            // A long line is over.
            self.buffer.truncate(2 * BLOCK);
            self.buffer.shrink_to_fit();
        }
        loop {
            let left = usize::try_from(self.source.len() - self.read).unwrap_or(usize::MAX);
            if left == 0 {
                self.whole = self.end;
                return Ok(true);
            }
            if self.end > self.max_line {
                self.whole = 0;
                return Ok(false);
            }
            let length = BLOCK.min(left);
            if self.buffer.len() < self.end + length {
                // Doubled, so that a long line is not copied for each of its blocks.
                let room = (self.end + length).max((2 * self.buffer.len()).min(self.max_line + BLOCK));
                self.buffer.reserve_exact(room - self.buffer.len());
                self.buffer.resize(room, 0);
            }
            let block = &mut self.buffer[self.end..self.end + length];
            self.source.read_exact_at(block, self.read)?;
            self.read += length as u64;
            let newline = memrchr(b'\n', block);
            self.end += length;
            if let Some(newline) = newline {
                self.whole = self.end - length + newline + 1;
                return Ok(true);
            }
        }
    }

    /// Drops what is there of a line, and reads on to its end.
    fn pass_over(&mut self) -> io::Result<Line<'_>> {
        self.number += 1;
        let offset = self.read - (self.end - self.start) as u64;
        self.start = 0;
        loop {
            self.end = 0;
            let left = usize::try_from(self.source.len() - self.read).unwrap_or(usize::MAX);
            let length = BLOCK.min(left);
            let block = &mut self.buffer[..length];
            self.source.read_exact_at(block, self.read)?;
            self.read += length as u64;
            if let Some(newline) = memchr(b'\n', block) {
                (self.start, self.end) = (newline + 1, length);
                self.whole = memrchr(b'\n', block).map_or(0, |last| last + 1);
                return Ok(Line { number: self.number, offset, bytes: None, ended: true });
            }
            if length == left {
                self.whole = 0;
                return Ok(Line { number: self.number, offset, bytes: None, ended: false });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    type Owned = (u64, u64, Option<Vec<u8>>, bool);

    fn lines_of(file: &[u8], max_line: usize) -> Vec<Owned> {
        let source = Bytes::copy_from_slice(file);
        let mut lines = Lines::with_max_line(&source, max_line);
        let mut all = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            all.push((line.number, line.offset, line.bytes.map(<[u8]>::to_vec), line.ended));
        }
        assert_eq!(lines.bytes_read(), file.len() as u64);
        all
    }

    fn expected(file: &[u8]) -> Vec<Owned> {
        let mut offset = 0;
        let mut all = Vec::new();
        for (number, line) in (1..).zip(file.split_inclusive(|&byte| byte == b'\n')) {
            let text = line.strip_suffix(b"\n").unwrap_or(line);
            all.push((number, offset, Some(text.to_vec()), text.len() < line.len()));
            offset += line.len() as u64;
        }
        all
    }

    #[test]
    fn lines_have_numbers_and_places() {
        assert_eq!(lines_of(b"", 100), []);
        for file in [&b"a\n"[..], b"a", b"\n", b"\n\nab\ncd", b"a\r\nb\r\n"] {
            assert_eq!(lines_of(file, 100), expected(file));
        }
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_first_line() {
        assert_eq!(
            lines_of(b"\xef\xbb\xbfa\n\xef\xbb\xbfb", 100),
            [(1, 3, Some(b"a".to_vec()), true), (2, 5, Some(b"\xef\xbb\xbfb".to_vec()), false)]
        );
        assert_eq!(lines_of(b"\xef\xbb\xbf", 100), [(1, 3, Some(vec![]), false)]);
    }

    #[test]
    fn a_line_that_is_too_long_is_passed_over() {
        let long = vec![b'x'; 5 * BLOCK + 17];
        for tail in [&b""[..], b"\n", b"\nlast", b"\na\nb\n"] {
            let file = [b"first\n", &long[..], tail].concat();
            let mut should = expected(&file);
            should[1].2 = None;
            assert_eq!(lines_of(&file, 3 * BLOCK), should);
            assert_eq!(lines_of(&file, 6 * BLOCK), expected(&file));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]

        #[test]
        fn lines_are_whole_wherever_blocks_end(lengths in prop::collection::vec(0_usize..(BLOCK * 5 / 2), 1..6), ended: bool) {
            let mut file = lengths.iter().map(|&length| vec![b'x'; length]).collect::<Vec<_>>().join(&b'\n');
            if ended {
                file.push(b'\n');
            }
            prop_assert!(lines_of(&file, MAX_LINE) == expected(&file));
        }
    }
}
