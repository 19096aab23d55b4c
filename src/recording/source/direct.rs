//! Reads past the system's page cache.
//!
//! What is read in this way is copied by the disk and not by the processor, and drives nothing of other programs out of the
//! page cache. But the page cache may have it already, so only a share of the time is for that: little is read so where
//! reading is all there is to do, and nothing from slow disks.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::recording::Buffers;
use crate::time::Budget;

/// Places in the file and in memory are multiples of this many bytes, which all usual disks can do.
const ALIGNMENT: usize = 4096;

/// Less than this, in bytes, is not worth it. What is no less lies on pages of its own in memory.
const LEAST: usize = 128 * 1024;

/// What is saved of the time for such reads, for when several pieces are read at once.
const MOST_SAVED: Duration = Duration::from_millis(5);

/// A read that gives less than this, in bytes a second, is a slow one.
const SLOW: u64 = 200_000_000;

/// How many others make up for a slow one.
const FAST_FOR_SLOW: u32 = 4;

/// After so many slow ones more than others make up for, there are no more such reads; nor after one that took so long.
const MOST_SLOW: u32 = 8;
const TOO_LONG: Duration = Duration::from_millis(250);

/// How many descriptors may be open for this: others are needed more.
const MOST_OPEN: usize = 64;

/// A file that may be read past the page cache.
#[derive(Debug)]
pub struct Direct(Mutex<Patience>);

/// Whether it is worth it.
#[derive(Debug)]
struct Patience {
    file: State,
    /// The time for such reads.
    budget: Budget,
    /// How many others have yet to make up for the slow ones.
    owed: u32,
}

#[derive(Debug)]
enum State {
    /// Not opened for this yet.
    Closed,
    Open(Descriptor),
    /// Somebody reads. Others use the page cache meanwhile: so not all of them wait where the disk takes long.
    Busy,
    /// It is not, and will not be.
    Over,
}

/// A file that is open for this.
#[derive(Debug)]
struct Descriptor(File);

static OPEN: AtomicUsize = AtomicUsize::new(0);

impl Descriptor {
    /// Opens a file once more, if its file system can do that.
    fn open(file: &File) -> Option<Self> {
        if OPEN.fetch_add(1, Ordering::Relaxed) >= MOST_OPEN {
            OPEN.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        let flags = rustix::fs::OFlags::DIRECT.bits().cast_signed();
        // By its descriptor, since there may be another file at its path by now.
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let direct = File::options().read(true).custom_flags(flags).open(path);
        if direct.is_err() {
            OPEN.fetch_sub(1, Ordering::Relaxed);
        }
        direct.ok().map(Descriptor)
    }

    /// Fills memory with the bytes from `offset` on, until `end` there.
    fn fill(&self, memory: &mut [u8], offset: u64, end: usize) -> io::Result<()> {
        let mut filled = 0;
        while filled < end {
            match self.0.read_at(&mut memory[filled..], offset + filled as u64) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(bytes) => filled += bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Direct {
    /// For a file that is not read yet.
    pub fn new() -> Self {
        Direct(Mutex::new(Patience::new(Instant::now())))
    }

    /// The `length` bytes of the file from `offset` on. `None` where they are to be read in another way.
    pub fn read(&self, file: &File, buffers: &Buffers, offset: u64, length: usize) -> Option<Bytes> {
        if length < LEAST {
            return None;
        }
        let front = (offset % ALIGNMENT as u64) as usize;
        let end = front.checked_add(length)?;
        let room = end.checked_next_multiple_of(ALIGNMENT)?;
        let direct = self.patience().begin(file, Instant::now())?;
        let Ok(mut buffer) = buffers.take(room) else {
            self.patience().file = State::Open(direct);
            return None;
        };
        let memory = &mut buffer.memory()[..room];
        debug_assert!(memory.as_ptr().addr().is_multiple_of(ALIGNMENT));
        let start = Instant::now();
        let read = direct.fill(memory, offset - front as u64, end);
        let took = start.elapsed();
        self.patience().end(direct, length, read.as_ref().map(|()| took));
        read.ok()?;
        buffer.set_filled(end);
        Some(buffer.share().slice(front..))
    }

    fn patience(&self) -> MutexGuard<'_, Patience> {
        // It is whole between any two statements that change it, so a panic elsewhere spoils nothing.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Patience {
    fn new(now: Instant) -> Self {
        Patience { file: State::Closed, budget: Budget::full(now, MOST_SAVED), owed: 0 }
    }

    /// Gives what is to be read, if it is worth it now; [`end`](Self::end) has to follow.
    fn begin(&mut self, file: &File, now: Instant) -> Option<Descriptor> {
        if !self.budget.can_afford(now) {
            return None;
        }
        match std::mem::replace(&mut self.file, State::Busy) {
            State::Open(direct) => Some(direct),
            State::Closed => {
                let direct = Descriptor::open(file);
                if direct.is_none() {
                    self.file = State::Over;
                }
                direct
            }
            other => {
                self.file = other;
                None
            }
        }
    }

    /// So many bytes took that time, or could not be read.
    fn end(&mut self, file: Descriptor, bytes: usize, took: Result<Duration, &io::Error>) {
        let is_over = match took {
            Ok(time) => self.spend(bytes, time),
            Err(error) => {
                tracing::debug!("nothing more is read past the page cache: {error}");
                true
            }
        };
        self.file = if is_over { State::Over } else { State::Open(file) };
    }

    /// So many bytes took that time. Says whether that was too slow once too often.
    fn spend(&mut self, bytes: usize, time: Duration) -> bool {
        self.budget.spend(time);
        let is_slow = time.as_nanos() * u128::from(SLOW) > bytes as u128 * 1_000_000_000;
        self.owed = if is_slow { self.owed + FAST_FOR_SLOW } else { self.owed.saturating_sub(1) };
        let is_over = time > TOO_LONG || self.owed >= MOST_SLOW * FAST_FOR_SLOW;
        if is_over {
            tracing::debug!("nothing more is read past the page cache: {bytes} bytes took {time:?}");
        }
        is_over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: usize = 1_000_001;

    fn file() -> (File, Vec<u8>) {
        let bytes: Vec<u8> = (0..SIZE).map(|place| (place / 7 % 251) as u8).collect();
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&bytes, 0).unwrap();
        file.sync_all().unwrap();
        (file, bytes)
    }

    /// Whether the file system reads anything past the page cache.
    fn can_be_read(file: &File) -> bool {
        let buffers = Buffers::default();
        let mut buffer = buffers.take(LEAST).unwrap();
        let direct = Descriptor::open(file);
        let can =
            direct.is_some_and(|direct| direct.fill(&mut buffer.memory()[..ALIGNMENT], 0, ALIGNMENT).is_ok());
        if !can {
            println!("skipped: this file system reads nothing past the page cache");
        }
        can
    }

    #[test]
    fn what_is_read_is_what_the_file_holds() {
        let (file, bytes) = file();
        if !can_be_read(&file) {
            return;
        }
        let buffers = Buffers::default();
        for offset in [0, 1, 511, 4096, 5000, SIZE - LEAST, SIZE - LEAST - 1] {
            for length in [LEAST, LEAST + 1, 500_000, SIZE - offset] {
                // However slow this machine is.
                let got = Direct::new().read(&file, &buffers, offset as u64, length);
                let expected = bytes.get(offset..offset + length);
                assert!(got.as_deref() == expected, "{offset} {length}");
            }
        }
        assert_eq!(Direct::new().read(&file, &buffers, 0, LEAST - 1), None);
    }

    #[test]
    fn what_fails_once_is_not_tried_again() {
        let (file, _) = file();
        let (direct, buffers) = (Direct::new(), Buffers::default());
        file.set_len(LEAST as u64 / 2).unwrap();
        assert_eq!(direct.read(&file, &buffers, 0, LEAST), None);
        assert!(matches!(direct.patience().file, State::Over));
        file.set_len(SIZE as u64).unwrap();
        assert_eq!(direct.read(&file, &buffers, 0, LEAST), None);
    }

    #[test]
    fn of_two_who_read_at_once_one_uses_the_page_cache() {
        let (file, _) = file();
        if !can_be_read(&file) {
            return;
        }
        let now = Instant::now();
        let mut patience = Patience::new(now);
        let direct = patience.begin(&file, now).unwrap();
        assert!(patience.begin(&file, now).is_none());
        patience.end(direct, SIZE, Ok(Duration::from_micros(100)));
        assert!(patience.begin(&file, now).is_some());
    }

    /// Reads a megabyte every so often, which takes so long, for ten seconds. Gives how often it was read past the page
    /// cache.
    fn reads(every: Duration, takes: Duration) -> u32 {
        let start = Instant::now();
        let mut patience = Patience::new(start);
        let (mut count, mut is_over) = (0, false);
        for number in 1..=(Duration::from_secs(10).as_nanos() / every.as_nanos()) as u32 {
            if !is_over && patience.budget.can_afford(start + every * number) {
                is_over = patience.spend(1_000_000, takes);
                count += 1;
            }
        }
        count
    }

    #[test]
    fn it_takes_little_of_the_time_and_slow_disks_are_left_alone() {
        let micros = Duration::from_micros;
        // A fast disk at the rate of a robot, and as fast as it goes: a twentieth of the time.
        assert_eq!(reads(micros(100_000), micros(400)), 100);
        assert!((1250..1280).contains(&reads(micros(400), micros(400))));
        // A disk that turns, and one that has to start for that first.
        assert_eq!(reads(micros(1_000_000), micros(15_000)), MOST_SLOW);
        assert_eq!(reads(micros(1_000_000), micros(3_000_000)), 1);
    }

    #[test]
    fn a_slow_read_now_and_then_is_forgiven_but_not_often() {
        let lasts = |every: u32| {
            let mut patience = Patience::new(Instant::now());
            let takes = |number| Duration::from_millis(if number % every == 0 { 40 } else { 1 });
            (1..1000).position(|number| patience.spend(1_000_000, takes(number)))
        };
        assert_eq!(lasts(10), None);
        assert!(lasts(3).is_some());
    }
}
