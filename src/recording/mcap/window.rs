//! A buffered view of a file for one reader that mostly goes forward.

use std::io;
use std::sync::Arc;

use crate::recording::Source;

/// Read after a jump: a record's head is wanted, and perhaps no more.
const AHEAD_MIN: usize = 4 * 1024;
/// Read where it goes on and on.
const AHEAD_MAX: usize = 1024 * 1024;
/// A gap up to this size is read rather than jumped over.
const GAP: u64 = 64 * 1024;

/// Gives any bytes of a file, and reads ahead: little after a jump, more and more where it goes on.
pub struct Window {
    source: Arc<dyn Source>,
    buffer: Vec<u8>,
    filled: usize,
    start: u64,
    ahead: usize,
}

impl Window {
    pub fn new(source: Arc<dyn Source>) -> Self {
        Window { source, buffer: Vec::new(), filled: 0, start: 0, ahead: AHEAD_MIN }
    }

    /// The `length` bytes from `at` on. Nothing is allocated for what lies beyond the end of the file.
    ///
    /// # Errors
    /// Whatever the system says; `UnexpectedEof` where the file has no such bytes.
    pub fn bytes(&mut self, at: u64, length: usize) -> io::Result<&[u8]> {
        let left = self.source.len().checked_sub(at).ok_or(io::ErrorKind::UnexpectedEof)?;
        if length as u64 > left {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let within = at.checked_sub(self.start).filter(|&skip| skip + length as u64 <= self.filled as u64);
        if within.is_none() {
            self.move_to(at, length, left)?;
        }
        let skip = (at - self.start) as usize;
        Ok(&self.buffer[skip..skip + length])
    }

    fn move_to(&mut self, at: u64, length: usize, left: u64) -> io::Result<()> {
        let end = self.start + self.filled as u64;
        let goes_on = self.filled > 0 && at >= self.start && at <= end + GAP;
        self.ahead = if goes_on { (self.ahead * 2).min(AHEAD_MAX) } else { AHEAD_MIN };
        let kept = if goes_on && at < end { (end - at) as usize } else { 0 };
        self.buffer.copy_within(self.filled - kept..self.filled, 0);
        self.start = at;
        self.filled = kept;
        let want = length.max(self.ahead).min(usize::try_from(left).unwrap_or(usize::MAX));
        // What lies ahead may be unreadable (a bad sector) where what is asked for is not.
        self.fill(want).or_else(|error| if want > length { self.fill(length) } else { Err(error) })
    }

    fn fill(&mut self, want: usize) -> io::Result<()> {
        if want > self.filled {
            if self.buffer.len() < want {
                self.buffer.resize(want, 0);
            }
            let target = &mut self.buffer[self.filled..want];
            self.source.read_exact_at(target, self.start + self.filled as u64)?;
            self.filled = want;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn any_bytes_are_given_in_any_order() {
        let all: Vec<u8> = (0..300_000u32).flat_map(u32::to_le_bytes).collect();
        let mut window = Window::new(Arc::new(Bytes::from(all.clone())));
        for (at, length) in
            [(0, 8), (4, 4000), (4096, 1), (4097, 500_000), (3, 2), (1_199_999, 1), (900_000, 300_000)]
        {
            assert_eq!(window.bytes(at, length).unwrap(), &all[at as usize..at as usize + length]);
        }
        assert!(window.bytes(1_199_999, 2).is_err());
        assert!(window.bytes(u64::MAX, 2).is_err());
        assert!(window.bytes(0, usize::MAX).is_err());
    }
}
