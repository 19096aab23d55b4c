//! Reads past the system's page cache, where that is faster.
//!
//! What is read in this way is copied by the disk and not by the processor. Usually the page cache is faster all the
//! same; but not with a fast disk where the file is not in it, nor on hosts that take memory away from the system while
//! it is not used. So both ways are tried and timed.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::recording::Buffers;

/// Places in the file and in memory are multiples of this many bytes, which all usual disks can do.
const ALIGNMENT: usize = 4096;

/// Less than this, in bytes, is not worth it.
const LEAST: usize = 128 * 1024;

/// How many times as fast it has to be: the page cache gives each read after the first without the disk.
const TIMES_FASTER: u64 = 2;

/// After so many reads in one way the other is tried again, after twice as many the next time, and so on up to the most.
const FIRST_TRIAL: u32 = 64;
const LAST_TRIAL: u32 = 1024;

/// A read that takes so much longer than a slow disk needs is the last one: a trial must not hold up playback often.
const TOO_LONG: Duration = Duration::from_millis(250);

/// What a slow disk gives, in bytes a second.
const SLOW: u64 = 100_000_000;

/// Reads one file, in the way that is faster.
#[derive(Debug)]
pub struct Direct {
    /// For messages.
    path: PathBuf,
    choice: Mutex<Choice>,
}

/// Which way that is.
#[derive(Debug, Default)]
struct Choice {
    state: State,
    direct: Recent,
    cached: Recent,
    /// How many reads there were in the faster way since the other was tried.
    since_trial: u32,
    /// After how many it is.
    next_trial: u32,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum State {
    #[default]
    Free,
    /// Somebody reads past the page cache. Others use it meanwhile: so not all of them wait where the disk takes long.
    Busy,
    /// The page cache is used for ever.
    Over,
}

/// What the last two reads took, in nanoseconds for each MiB. A busy machine makes one of them seem slow, rarely both.
#[derive(Debug, Default)]
struct Recent([Option<u64>; 2]);

impl Recent {
    fn add(&mut self, bytes: usize, time: Duration) {
        let scaled = (time.as_nanos() << 20) / (bytes as u128).max(1);
        self.0 = [Some(u64::try_from(scaled).unwrap_or(u64::MAX)), self.0[0]];
    }

    /// The shorter time. `None` where there are not two yet.
    fn shorter(&self) -> Option<u64> {
        Some(self.0[0]?.min(self.0[1]?))
    }
}

impl Direct {
    /// For a file that is not read yet.
    pub fn new(path: &Path) -> Self {
        Direct { path: path.to_owned(), choice: Mutex::default() }
    }

    /// The `length` bytes of the file from `offset` on, which `cached` reads through the page cache.
    ///
    /// # Errors
    /// Those of `cached`, which reads all that can't be read past it.
    pub fn read(
        &self,
        file: &File,
        buffers: &Buffers,
        offset: u64,
        length: usize,
        cached: impl FnOnce() -> io::Result<Bytes>,
    ) -> io::Result<Bytes> {
        if length < LEAST {
            return cached();
        }
        let is_direct = self.choice().begin();
        if is_direct {
            let start = Instant::now();
            let read = read(file, buffers, offset, length);
            let end = self.choice().end(length, read.as_ref().map(|_| start.elapsed()));
            if let Err(why) = end {
                let path = self.path.display();
                tracing::debug!("{path} is only read through the page cache from now on: {why}");
            }
            if let Ok(bytes) = read {
                return Ok(bytes);
            }
        }
        let start = Instant::now();
        let bytes = cached()?;
        self.choice().cached.add(length, start.elapsed());
        Ok(bytes)
    }

    fn choice(&self) -> MutexGuard<'_, Choice> {
        // It is whole between any two statements that change it, so a panic elsewhere spoils nothing.
        self.choice.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Choice {
    /// Whether the next read is to go past the page cache; then [`end`](Self::end) has to follow.
    fn begin(&mut self) -> bool {
        let is_direct = self.state == State::Free && self.is_direct();
        if is_direct {
            self.state = State::Busy;
        }
        is_direct
    }

    fn is_direct(&mut self) -> bool {
        let (Some(direct), Some(cached)) = (self.direct.shorter(), self.cached.shorter()) else {
            // First two in each way.
            return self.cached.0[0].is_some() && self.direct.shorter().is_none();
        };
        let is_faster = direct.saturating_mul(TIMES_FASTER) <= cached;
        self.since_trial += 1;
        if self.since_trial <= self.next_trial.max(FIRST_TRIAL) {
            return is_faster;
        }
        self.since_trial = 0;
        self.next_trial = (self.next_trial.max(FIRST_TRIAL) * 2).min(LAST_TRIAL);
        !is_faster
    }

    /// So many bytes took that time past the page cache, or could not be read so. Says why there are to be no more.
    fn end(&mut self, bytes: usize, took: Result<Duration, &io::Error>) -> Result<(), String> {
        let end = match took {
            Ok(time) => {
                self.direct.add(bytes, time);
                let slow = Duration::from_nanos((bytes as u64).saturating_mul(1_000_000_000 / SLOW));
                let is_too_long = time.saturating_sub(slow) > TOO_LONG;
                if is_too_long { Err(format!("{bytes} bytes took {time:?} from the disk")) } else { Ok(()) }
            }
            Err(error) => Err(error.to_string()),
        };
        self.state = if end.is_ok() { State::Free } else { State::Over };
        end
    }
}

/// Reads past the page cache. For that the file is opened once more, each time: that takes little of what is saved, and
/// no descriptor is kept.
fn read(file: &File, buffers: &Buffers, offset: u64, length: usize) -> io::Result<Bytes> {
    let front = (offset % ALIGNMENT as u64) as usize;
    let end = front.saturating_add(length);
    let room = end.checked_next_multiple_of(ALIGNMENT).ok_or(io::ErrorKind::OutOfMemory)?;
    let mut buffer = buffers.take(room).map_err(|_| io::ErrorKind::OutOfMemory)?;
    let file = open(file)?;
    fill(&file, &mut buffer.memory()[..room], offset - front as u64, end)?;
    buffer.set_filled(end);
    Ok(buffer.share().slice(front..))
}

/// Opens a file once more: by its descriptor, since there may be another one at its path by now.
fn open(file: &File) -> io::Result<File> {
    let flags = rustix::fs::OFlags::DIRECT.bits().cast_signed();
    let path = format!("/proc/thread-self/fd/{}", file.as_raw_fd());
    File::options().read(true).custom_flags(flags).open(path)
}

/// Fills memory with the bytes from `offset` on, until `end` there.
fn fill(file: &File, memory: &mut [u8], offset: u64, end: usize) -> io::Result<()> {
    debug_assert!(memory.as_ptr().addr().is_multiple_of(ALIGNMENT));
    let mut filled = 0;
    while filled < end {
        match file.read_at(&mut memory[filled..], offset + filled as u64) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(bytes) => filled += bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tempfile::NamedTempFile;

    use super::*;

    const SIZE: usize = 1_000_001;

    fn recording() -> (NamedTempFile, Vec<u8>) {
        let bytes: Vec<u8> = (0..SIZE).map(|place| (place / 7 % 251) as u8).collect();
        let file = NamedTempFile::new().unwrap();
        file.as_file().write_all_at(&bytes, 0).unwrap();
        file.as_file().sync_all().unwrap();
        (file, bytes)
    }

    /// Whether the file system reads anything past the page cache, by the file's path.
    fn can_be_read(file: &NamedTempFile) -> bool {
        let flags = rustix::fs::OFlags::DIRECT.bits().cast_signed();
        let direct = File::options().read(true).custom_flags(flags).open(file.path());
        let buffers = Buffers::default();
        let mut buffer = buffers.take(LEAST).unwrap();
        let can = direct.is_ok_and(|direct| direct.read_at(&mut buffer.memory()[..ALIGNMENT], 0).is_ok());
        if !can {
            println!("skipped: this file system reads nothing past the page cache");
        }
        can
    }

    #[test]
    fn what_is_read_is_what_the_file_holds() {
        let (file, bytes) = recording();
        if !can_be_read(&file) {
            return;
        }
        let buffers = Buffers::default();
        for offset in [0, 1, 511, 4096, 5000, SIZE - LEAST, SIZE - LEAST - 1] {
            for length in [LEAST, LEAST + 1, 500_000, SIZE - offset] {
                let got = read(file.as_file(), &buffers, offset as u64, length);
                match bytes.get(offset..offset + length) {
                    Some(expected) => assert!(got.unwrap() == expected, "{offset} {length}"),
                    None => assert_eq!(got.unwrap_err().kind(), io::ErrorKind::UnexpectedEof),
                }
            }
        }
    }

    /// Reads the file so many times. Gives how often the page cache was used.
    fn read_often(direct: &Direct, file: &NamedTempFile, length: usize, times: u32) -> u32 {
        let mut count = 0;
        for _ in 0..times {
            let cached = || {
                count += 1;
                Ok(Bytes::from(vec![7; length]))
            };
            let read = direct.read(file.as_file(), &Buffers::default(), 0, length, cached);
            assert_eq!(read.unwrap().len(), length);
        }
        count
    }

    #[test]
    fn both_ways_are_tried_first() {
        let (file, _) = recording();
        if can_be_read(&file) {
            assert_eq!(read_often(&Direct::new(file.path()), &file, LEAST, 4), 2);
        }
        let direct = Direct::new(file.path());
        assert_eq!(read_often(&direct, &file, LEAST - 1, 4), 4);
        assert!(direct.choice().cached.0[0].is_none());
    }

    #[test]
    fn what_fails_once_is_read_through_the_page_cache_for_ever() {
        let (file, _) = recording();
        let direct = Direct::new(file.path());
        file.as_file().set_len(LEAST as u64 / 2).unwrap();
        assert_eq!(read_often(&direct, &file, LEAST, 3), 3);
        assert_eq!(direct.choice().state, State::Over);
        file.as_file().set_len(SIZE as u64).unwrap();
        assert_eq!(read_often(&direct, &file, LEAST, 100), 100);
    }

    #[test]
    fn what_the_page_cache_cannot_read_is_an_error() {
        let (file, _) = recording();
        let cached = || Err(io::ErrorKind::BrokenPipe.into());
        let read = Direct::new(file.path()).read(file.as_file(), &Buffers::default(), 0, LEAST, cached);
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    /// Reads a megabyte so many times, which takes so many microseconds past the page cache and through it. Gives which
    /// reads went past it.
    fn past(choice: &mut Choice, times: u32, direct: u64, cached: u64) -> Vec<u32> {
        let reads = 0..times;
        reads
            .filter(|_| {
                let is_direct = choice.begin();
                if is_direct {
                    choice.end(1_000_000, Ok(Duration::from_micros(direct))).unwrap_or_default();
                } else {
                    choice.cached.add(1_000_000, Duration::from_micros(cached));
                }
                is_direct
            })
            .collect()
    }

    #[test]
    fn a_way_that_is_much_faster_is_taken() {
        let mut choice = Choice::default();
        // Two in each way, then the faster one but for trials that get rarer.
        let through: Vec<u32> = {
            let past = past(&mut choice, 300, 500, 2000);
            (0..300).filter(|number| !past.contains(number)).collect()
        };
        assert_eq!(through, [0, 3, 68, 197]);
        // The file is in the page cache now, which is seen at the next trial, and not for ever.
        assert!(past(&mut choice, 2000, 500, 150).len() < 300);
        assert!(past(&mut choice, 100, 500, 2000).len() > 90);
    }

    #[test]
    fn the_page_cache_is_used_where_it_is_not_much_slower() {
        assert_eq!(past(&mut Choice::default(), 300, 500, 900), [1, 2, 68, 197]);
    }

    #[test]
    fn one_slow_read_changes_nothing() {
        let mut choice = Choice::default();
        past(&mut choice, 10, 500, 2000);
        past(&mut choice, 1, 100_000, 2000);
        assert_eq!(past(&mut choice, 10, 500, 2000).len(), 10);
    }

    #[test]
    fn trials_get_rarer_but_never_end() {
        let trials = past(&mut Choice::default(), 100_000, 500, 500).len() as u32;
        assert!((100_000 / LAST_TRIAL - 1..100_000 / LAST_TRIAL + 10).contains(&trials), "{trials}");
    }

    #[test]
    fn a_read_that_takes_very_long_is_the_last() {
        let mut choice = Choice::default();
        // A disk that has to start first.
        assert_eq!(past(&mut choice, 2000, 3_000_000, 100), [1]);
        // A large chunk may take long.
        let mut choice = Choice::default();
        choice.end(150_000_000, Ok(Duration::from_millis(300))).unwrap();
        assert_eq!(choice.state, State::Free);
    }

    #[test]
    fn of_two_who_read_at_once_one_uses_the_page_cache() {
        let mut choice = Choice::default();
        past(&mut choice, 10, 500, 2000);
        assert!(choice.begin());
        assert!(!choice.begin());
        choice.end(SIZE, Ok(Duration::from_micros(500))).unwrap();
        assert!(choice.begin());
    }
}
