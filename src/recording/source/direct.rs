//! Reads past the system's page cache.
//!
//! What is read in this way is copied by the disk and not by the processor, and drives nothing of other programs out of the
//! page cache. But the page cache may have it already, so only a share of the time is for that: little is read so where
//! reading is all there is to do, and nothing from slow disks.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::budget::Budget;
use crate::recording::Buffers;

/// Places in the file and in memory are multiples of this many bytes, which all usual disks can do.
const ALIGNMENT: usize = 4096;

/// Less than this, in bytes, is not worth it.
const LEAST: usize = 128 * 1024;

/// What is saved of the time for such reads, for when several pieces are read at once.
const MOST_SAVED: Duration = Duration::from_millis(20);

/// A read that gives less than this, in bytes a second, is a slow one.
const SLOW: u64 = 200_000_000;

/// After so many slow reads more than others, there are no more of them.
const MOST_SLOW: u32 = 8;

/// A file that is read past the page cache.
#[derive(Debug)]
pub struct Direct {
    file: File,
    patience: Mutex<Patience>,
}

/// Whether it is worth it.
#[derive(Debug)]
struct Patience {
    /// The time for such reads.
    budget: Budget,
    /// How many were slow, less those that were not.
    slow: u32,
}

impl Direct {
    /// Opens once more what is at `path`, where that is the file that this was told of, and its file system can do it.
    pub fn open(path: &Path, metadata: &Metadata) -> Option<Self> {
        let flags = rustix::fs::OFlags::DIRECT.bits().cast_signed();
        let file = File::options().read(true).custom_flags(flags).open(path).ok()?;
        let place = |metadata: &Metadata| (metadata.dev(), metadata.ino());
        let same = file.metadata().is_ok_and(|other| place(&other) == place(metadata));
        same.then(|| Direct { file, patience: Mutex::new(Patience::new(Instant::now())) })
    }

    /// The `length` bytes from `offset` on. `None` where they are to be read in another way.
    pub fn read(&self, buffers: &Buffers, offset: u64, length: usize) -> Option<Bytes> {
        if length < LEAST || !self.patience().has_time(Instant::now()) {
            return None;
        }
        let front = (offset % ALIGNMENT as u64) as usize;
        let end = front.checked_add(length)?;
        let room = end.checked_next_multiple_of(ALIGNMENT)?;
        let mut buffer = buffers.take(room).ok()?;
        let memory = buffer.memory().get_mut(..room)?;
        if memory.as_ptr().addr() % ALIGNMENT != 0 {
            return None;
        }
        let start = Instant::now();
        let read = self.fill(memory, offset - front as u64, end);
        self.patience().spend(length, read.is_ok().then(|| start.elapsed()));
        read.ok()?;
        buffer.set_filled(end);
        Some(buffer.share().slice(front..))
    }

    /// Reads into memory, until `end` there.
    fn fill(&self, memory: &mut [u8], offset: u64, end: usize) -> io::Result<()> {
        let mut filled = 0;
        while filled < end {
            match self.file.read_at(&mut memory[filled..], offset + filled as u64) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(bytes) => filled += bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn patience(&self) -> MutexGuard<'_, Patience> {
        // It is whole between any two statements that change it, so a panic elsewhere spoils nothing.
        self.patience.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Patience {
    fn new(now: Instant) -> Self {
        Patience { budget: Budget::saved(now, MOST_SAVED), slow: 0 }
    }

    fn has_time(&mut self, now: Instant) -> bool {
        self.slow < MOST_SLOW && self.budget.can_afford(now)
    }

    /// So many bytes took that time, or could not be read.
    fn spend(&mut self, bytes: usize, time: Option<Duration>) {
        let Some(time) = time else {
            self.slow = MOST_SLOW;
            return;
        };
        self.budget.spend(time);
        let is_slow = time.as_nanos() * u128::from(SLOW) > bytes as u128 * 1_000_000_000;
        self.slow = if is_slow { self.slow + 1 } else { self.slow.saturating_sub(1) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: usize = 1_000_001;

    /// A file in the folder of the build, since that of the system for such files may be in memory.
    fn file() -> (tempfile::NamedTempFile, Vec<u8>) {
        let bytes: Vec<u8> = (0..SIZE).map(|place| (place / 7 % 251) as u8).collect();
        let file = tempfile::Builder::new().tempfile_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        std::fs::write(file.path(), &bytes).unwrap();
        file.as_file().sync_all().unwrap();
        (file, bytes)
    }

    fn open(file: &tempfile::NamedTempFile) -> Option<Direct> {
        let direct = Direct::open(file.path(), &file.as_file().metadata().unwrap());
        if direct.is_none() {
            println!("skipped: this file system reads nothing past the page cache");
        }
        direct
    }

    #[test]
    fn what_is_read_is_what_the_file_holds() {
        let (file, bytes) = file();
        let Some(direct) = open(&file) else { return };
        let buffers = Buffers::default();
        let mut read = 0;
        for offset in [0, 1, 511, 4096, 5000, SIZE - LEAST, SIZE - LEAST - 1] {
            for length in [LEAST - 1, LEAST, LEAST + 1, 500_000, SIZE - offset] {
                // However slow this machine is.
                *direct.patience() = Patience::new(Instant::now());
                let Some(got) = direct.read(&buffers, offset as u64, length) else { continue };
                assert!(offset + length <= SIZE, "{offset} {length}");
                assert!(got == bytes[offset..offset + length], "{offset} {length}");
                read += 1;
            }
        }
        println!("{read} pieces were read past the page cache");
    }

    #[test]
    fn what_is_missing_or_too_short_is_read_in_another_way() {
        let (file, _) = file();
        let Some(direct) = open(&file) else { return };
        let buffers = Buffers::default();
        assert_eq!(direct.read(&buffers, 0, LEAST - 1), None);
        assert_eq!(direct.patience().slow, 0);
        file.as_file().set_len(LEAST as u64 / 2).unwrap();
        assert_eq!(direct.read(&buffers, 0, LEAST), None);
        assert_eq!(direct.patience().slow, MOST_SLOW);
        file.as_file().set_len(SIZE as u64).unwrap();
        assert_eq!(direct.read(&buffers, 0, LEAST), None, "it is not tried again");
    }

    #[test]
    fn another_file_at_the_same_place_is_not_read() {
        let (first, second) = (file().0, file().0);
        assert!(Direct::open(first.path(), &second.as_file().metadata().unwrap()).is_none());
    }

    /// Reads a megabyte every so often, which takes so long, for ten seconds. Gives how often it was read past the page
    /// cache.
    fn reads(every: Duration, takes: Duration) -> u32 {
        let start = Instant::now();
        let mut patience = Patience::new(start);
        let count = (1..=(Duration::from_secs(10).as_nanos() / every.as_nanos()) as u32).filter(|number| {
            let has_time = patience.has_time(start + every * *number);
            if has_time {
                patience.spend(1_000_000, Some(takes));
            }
            has_time
        });
        count.count() as u32
    }

    #[test]
    fn it_takes_little_of_the_time_and_slow_disks_are_left_alone() {
        let micros = Duration::from_micros;
        // A fast disk at the rate of a robot, and as fast as it goes: a twentieth of the time.
        assert_eq!(reads(micros(100_000), micros(400)), 100);
        assert!((1250..1360).contains(&reads(micros(400), micros(400))));
        // A disk that turns.
        assert_eq!(reads(micros(1_000_000), micros(15_000)), MOST_SLOW);
    }

    #[test]
    fn a_slow_read_now_and_then_is_forgiven() {
        let start = Instant::now();
        let mut patience = Patience::new(start);
        for second in 1..1000 {
            assert!(patience.has_time(start + Duration::from_secs(second)), "{second}");
            let takes = if second % 3 == 0 { 40 } else { 1 };
            patience.spend(1_000_000, Some(Duration::from_millis(takes)));
        }
    }
}
