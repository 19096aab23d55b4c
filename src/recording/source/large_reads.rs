//! Large reads of a file on Linux: through the system's page cache, or past it where that costs the processor less.
//!
//! What is read past the page cache is copied by the disk and not by the processor. What the page cache has, it gives
//! sooner all the same nearly always; but not on virtual machines whose host takes back memory that is not used: there
//! the processor has to fetch each page that nobody touched for a few seconds, again and again. So both ways are tried
//! and timed, and reads go past it where that costs much less and takes no longer.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::ops::Range;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustix::io::{Errno, ReadWriteFlags};
use rustix::time::{ClockId, DynamicClockId, clock_gettime_dynamic};

use crate::recording::Buffers;

/// Less than this, in bytes, is not worth the trouble. What is no less lies on pages of its own in memory.
pub const LEAST: usize = 128 * 1024;

/// Places in the file and in memory are multiples of this many bytes, which all usual disks can do.
const ALIGNMENT: usize = 4096;

/// How many times as much of the processor's time the page cache has to take, since disks are wanted by others too.
const TIMES_CHEAPER: u32 = 2;

/// After so many reads in one way the other is tried again, after twice as many the next time, and so on up to the
/// most.
const FIRST_TRIAL: u32 = 64;
const MOST_BETWEEN_TRIALS: u32 = 1024;

/// A trial that takes so much longer than with a slow disk held up playback, perhaps because the disk had to start.
/// Then there are so many times as many reads before the next one, and so on up to the most.
const TOO_LONG: Duration = Duration::from_millis(250);
const RARER: u32 = 64;
const MOST_AFTER_TOO_LONG: u32 = RARER * MOST_BETWEEN_TRIALS;

/// What a slow disk gives, in bytes a second.
const SLOW: u64 = 100_000_000;

/// Reads one file in large pieces.
#[derive(Debug)]
pub struct LargeReads {
    /// For messages.
    path: PathBuf,
    choice: Mutex<Choice>,
}

/// Which way is taken.
#[derive(Debug)]
struct Choice {
    state: State,
    past: Recent,
    through: Recent,
    /// Whether reads go past the page cache, but for trials.
    is_past: bool,
    /// How many reads were decided on since the last trial, or since the way changed, and after how many the next one
    /// is.
    since_trial: u32,
    next_trial: u32,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Free,
    /// Somebody reads past the page cache. Others use it meanwhile: so not all of them wait where the disk takes long.
    Busy,
    /// All reads go through the page cache.
    Over,
}

/// What a read took.
#[derive(Clone, Copy, Debug)]
struct Took {
    /// Of the processor, in this thread: what the system does elsewhere, perhaps to decrypt, is only in the other one.
    processor: Duration,
    /// From its start to its end.
    time: Duration,
}

impl Took {
    /// Does something. Gives what that took as well.
    fn of<T>(work: impl FnOnce() -> T) -> (T, Self) {
        let (processor, start) = (processor_time(), Instant::now());
        let done = work();
        (done, Took { processor: processor_time().saturating_sub(processor), time: start.elapsed() })
    }

    /// What a MiB takes, where so many bytes took this.
    fn per_mib(self, bytes: usize) -> Self {
        let [processor, time] = [self.processor, self.time].map(|time| {
            let nanos = (time.as_nanos() << 20) / (bytes as u128).max(1);
            Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
        });
        Took { processor, time }
    }
}

/// What this thread took of the processor so far; nothing where the system does not say.
fn processor_time() -> Duration {
    let clock = DynamicClockId::Known(ClockId::ThreadCPUTime);
    let time = clock_gettime_dynamic(clock).ok().and_then(|time| Duration::try_from(time).ok());
    time.unwrap_or_default()
}

/// What a MiB took in the last two reads in one way. A busy machine makes one of them seem slow, rarely both.
#[derive(Debug, Default)]
struct Recent([Option<Took>; 2]);

impl Recent {
    fn add(&mut self, bytes: usize, took: Took) {
        self.0 = [Some(took.per_mib(bytes)), self.0[0]];
    }

    /// The less of both. `None` where there are not two yet.
    fn least(&self) -> Option<Took> {
        let [last, before] = [self.0[0]?, self.0[1]?];
        Some(Took { processor: last.processor.min(before.processor), time: last.time.min(before.time) })
    }
}

impl LargeReads {
    /// Of the file at `path`, which is not read yet.
    pub fn new(path: &Path) -> Self {
        LargeReads { path: path.to_owned(), choice: Mutex::new(Choice::new()) }
    }

    /// The `length` bytes of the file from `offset` on, [`LEAST`] or more.
    ///
    /// # Errors
    /// Those of reading through the page cache; what can't be read past it is read so.
    pub fn read(&self, file: &File, buffers: &Buffers, offset: u64, length: usize) -> io::Result<Bytes> {
        let front = (offset % ALIGNMENT as u64) as usize;
        let end = front.saturating_add(length);
        let room = end.checked_next_multiple_of(ALIGNMENT).ok_or(io::ErrorKind::OutOfMemory)?;
        let mut buffer = buffers.take(room).map_err(|_| io::ErrorKind::OutOfMemory)?;
        debug_assert!(buffer.memory().as_ptr().addr().is_multiple_of(ALIGNMENT));
        self.fill(file, &mut buffer.memory()[..room], offset - front as u64, front..end)?;
        buffer.set_filled(end);
        Ok(buffer.share().slice(front..))
    }

    /// Fills the part of the memory that is wanted with what the file has from `offset` on: an offset for all of the
    /// memory, both of them aligned.
    fn fill(&self, file: &File, memory: &mut [u8], offset: u64, wanted: Range<usize>) -> io::Result<()> {
        let bytes = wanted.len();
        let is_past = self.choice().begin();
        if is_past {
            let (read, took) = Took::of(|| read_past(file, memory, offset, wanted.end));
            match read {
                Ok(()) => {
                    self.choice().past_took(bytes, took);
                    return Ok(());
                }
                Err(why) => {
                    if self.choice().failed(&why) == State::Over {
                        let path = self.path.display();
                        tracing::debug!("{path} is only read through the page cache from now on: {why}");
                    }
                }
            }
        }
        let offset = offset + wanted.start as u64;
        let (had_all, took) = Took::of(|| read_through(file, &mut memory[wanted], offset));
        self.choice().through_took(bytes, had_all?.then_some(took));
        Ok(())
    }

    fn choice(&self) -> MutexGuard<'_, Choice> {
        // It is whole between any two statements that change it, so a panic elsewhere spoils nothing.
        self.choice.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Choice {
    fn new() -> Self {
        Choice {
            state: State::Free,
            past: Recent::default(),
            through: Recent::default(),
            is_past: false,
            since_trial: 0,
            next_trial: FIRST_TRIAL,
        }
    }

    /// Whether the next read goes past the page cache; then [`past_took`](Self::past_took) or [`failed`](Self::failed)
    /// has to follow.
    fn begin(&mut self) -> bool {
        let goes_past = self.state == State::Free && self.choose();
        if goes_past {
            self.state = State::Busy;
        }
        goes_past
    }

    fn choose(&mut self) -> bool {
        if self.through.least().is_none() || self.past.least().is_none() {
            // First two in each way.
            return self.through.least().is_some();
        }
        self.since_trial += 1;
        if self.since_trial <= self.next_trial {
            return self.is_past;
        }
        self.since_trial = 0;
        self.next_trial = self.next_trial.max((self.next_trial * 2).min(MOST_BETWEEN_TRIALS));
        !self.is_past
    }

    /// So many bytes took that past the page cache.
    fn past_took(&mut self, bytes: usize, took: Took) {
        self.state = State::Free;
        self.past.add(bytes, took);
        self.compare();
        let slow = Duration::from_nanos((bytes as u64).saturating_mul(1_000_000_000 / SLOW));
        if !self.is_past && took.time.saturating_sub(slow) > TOO_LONG {
            self.next_trial = self.next_trial.saturating_mul(RARER).min(MOST_AFTER_TOO_LONG);
        }
    }

    /// So many bytes took that through the page cache, or it did not have them all.
    fn through_took(&mut self, bytes: usize, took: Option<Took>) {
        match took {
            Some(took) => self.through.add(bytes, took),
            // What it takes with this file has to be seen anew, when it has it.
            None => self.through = Recent::default(),
        }
        self.compare();
    }

    fn compare(&mut self) {
        let is_past = match (self.past.least(), self.through.least()) {
            (Some(past), Some(through)) => {
                // A coarse clock often shows no cost at all.
                let least = past.processor.saturating_mul(TIMES_CHEAPER).max(Duration::from_nanos(1));
                least <= through.processor && past.time <= through.time
            }
            _ => false,
        };
        if is_past != self.is_past {
            self.is_past = is_past;
            (self.since_trial, self.next_trial) = (0, FIRST_TRIAL);
        }
    }

    /// What was to be read past the page cache could not be. Gives what follows.
    fn failed(&mut self, why: &io::Error) -> State {
        let lacks_descriptors = matches!(Errno::from_io_error(why), Some(Errno::MFILE | Errno::NFILE));
        self.state = if lacks_descriptors { State::Free } else { State::Over };
        self.state
    }
}

/// Fills memory through the page cache. Gives whether that had all of it.
fn read_through(file: &File, memory: &mut [u8], offset: u64) -> io::Result<bool> {
    let at_once = rustix::io::preadv2(file, &mut [IoSliceMut::new(memory)], offset, ReadWriteFlags::NOWAIT);
    let had = at_once.unwrap_or(0);
    file.read_exact_at(&mut memory[had..], offset + had as u64)?;
    Ok(had == memory.len())
}

/// Fills memory past the page cache with the bytes from `offset` on, until `end` there. For that the file is opened
/// once more, each time: that takes little of what is saved, and no descriptor is kept.
fn read_past(file: &File, memory: &mut [u8], offset: u64, end: usize) -> io::Result<()> {
    let file = open(file)?;
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

/// Opens a file once more: by its descriptor, since there may be another one at its path by now.
fn open(file: &File) -> io::Result<File> {
    let flags = rustix::fs::OFlags::DIRECT.bits().cast_signed();
    let path = format!("/proc/thread-self/fd/{}", file.as_raw_fd());
    File::options().read(true).custom_flags(flags).open(path)
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
    fn can_be_read_past(file: &NamedTempFile) -> bool {
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

    /// What reads in one way the next time.
    fn reads(file: &NamedTempFile, is_past: bool) -> LargeReads {
        let reads = LargeReads::new(file.path());
        let recent = |is_slow| {
            let time = Duration::from_nanos(u64::from(is_slow));
            Recent([Some(Took { processor: time, time }); 2])
        };
        *reads.choice() =
            Choice { past: recent(!is_past), through: recent(is_past), is_past, ..Choice::new() };
        reads
    }

    #[test]
    fn what_is_read_is_what_the_file_holds() {
        let (file, bytes) = recording();
        let ways: &[bool] = if can_be_read_past(&file) { &[false, true] } else { &[false] };
        for offset in [0, 1, 511, 4096, 5000, SIZE - LEAST, SIZE - LEAST - 1] {
            for length in [LEAST, LEAST + 1, 500_000, SIZE - offset] {
                for is_past in ways {
                    let case = format!("{offset} {length} {is_past}");
                    let reads = reads(&file, *is_past);
                    let read = reads.read(file.as_file(), &Buffers::default(), offset as u64, length);
                    let Some(expected) = bytes.get(offset..offset + length) else {
                        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::UnexpectedEof, "{case}");
                        continue;
                    };
                    assert!(read.unwrap() == expected, "{case}");
                    // It took that way, and was timed.
                    let choice = reads.choice();
                    assert_eq!(choice.state, State::Free, "{case}");
                    assert_eq!(
                        choice.past.0[0].is_some_and(|took| took.time.as_nanos() > 1),
                        *is_past,
                        "{case}"
                    );
                }
            }
        }
    }

    /// Whether the page cache has the first byte of a file; `None` where it does not say.
    fn is_cached(file: &File) -> Option<bool> {
        let mut byte = [0];
        match rustix::io::preadv2(file, &mut [IoSliceMut::new(&mut byte)], 0, ReadWriteFlags::NOWAIT) {
            Ok(count) => Some(count == 1),
            Err(Errno::AGAIN) => Some(false),
            Err(_) => None,
        }
    }

    #[test]
    fn what_the_page_cache_does_not_have_is_not_timed() {
        let (file, bytes) = recording();
        let file = file.as_file();
        rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
        for _ in 0..2 {
            let Some(is_cached) = is_cached(file) else {
                println!("skipped: this file system does not say what the page cache has");
                return;
            };
            let mut memory = vec![0; SIZE];
            assert_eq!(read_through(file, &mut memory, 0).unwrap(), is_cached);
            assert!(memory == bytes);
        }
    }

    #[test]
    fn what_the_page_cache_has_is_timed() {
        let (file, _) = recording();
        let all = read_through(file.as_file(), &mut vec![0; SIZE], 0).unwrap();
        if !all {
            println!("skipped: the page cache does not have a file, or the file system does not say so");
            return;
        }
        let reads = LargeReads::new(file.path());
        // So often that memory that lacks for a moment makes no difference.
        for _ in 0..10 {
            reads.read(file.as_file(), &Buffers::default(), 0, SIZE).unwrap();
        }
        let choice = reads.choice();
        assert!(choice.through.least().is_some_and(|took| took.time.as_nanos() > 1));
        assert!(choice.state == State::Over || choice.past.least().is_some());
    }

    #[test]
    fn it_is_the_file_that_was_opened_whatever_lies_at_its_path() {
        let (file, bytes) = recording();
        if can_be_read_past(&file) {
            let (other, _) = recording();
            other.as_file().write_all_at(&vec![7; SIZE], 0).unwrap();
            std::fs::rename(other.path(), file.path()).unwrap();
            let reads = reads(&file, true);
            assert!(reads.read(file.as_file(), &Buffers::default(), 0, SIZE).unwrap() == bytes);
            assert_eq!(reads.choice().state, State::Free);
        }
    }

    #[test]
    fn what_cannot_be_read_past_the_page_cache_is_read_through_it() {
        let (file, bytes) = recording();
        let mut memory = vec![0; LEAST + 2 * ALIGNMENT];
        // At a place that is no multiple of anything, where a disk can't write to.
        let odd = memory.as_ptr().align_offset(ALIGNMENT) + 1;
        let reads = reads(&file, true);
        reads.fill(file.as_file(), &mut memory[odd..odd + LEAST], 0, 0..LEAST).unwrap();
        assert!(memory[odd..odd + LEAST] == bytes[..LEAST]);
        assert_ne!(reads.choice().state, State::Busy);
    }

    #[test]
    fn what_fails_is_not_tried_again_unless_descriptors_lack_for_a_moment() {
        for (errno, state) in
            [(Errno::INVAL, State::Over), (Errno::MFILE, State::Free), (Errno::NFILE, State::Free)]
        {
            let mut choice = Choice::new();
            past(&mut choice, 10, 500, Some(2000));
            assert!(choice.begin());
            assert_eq!(choice.failed(&errno.into()), state);
            assert_eq!(choice.begin(), state == State::Free);
        }
    }

    /// So many microseconds, without a wait.
    fn took(micros: u64) -> Took {
        waited(micros, micros)
    }

    /// So many microseconds of the processor, and in all.
    fn waited(processor: u64, time: u64) -> Took {
        let [processor, time] = [processor, time].map(Duration::from_micros);
        Took { processor, time }
    }

    /// Reads a megabyte so many times, which takes so many microseconds past the page cache, and through it where that
    /// has all. Gives which reads went past it.
    fn past(choice: &mut Choice, times: u32, past: u64, through: Option<u64>) -> Vec<u32> {
        let reads = 0..times;
        let reads = reads.filter(|_| {
            let goes_past = choice.begin();
            if goes_past {
                choice.past_took(1_000_000, took(past));
            } else {
                choice.through_took(1_000_000, through.map(took));
            }
            goes_past
        });
        reads.collect()
    }

    #[test]
    fn a_way_that_costs_half_as_much_is_taken() {
        let mut choice = Choice::new();
        // Two in each way, then the cheaper one but for trials that get rarer.
        let went_past = past(&mut choice, 300, 500, Some(1000));
        let through: Vec<u32> = (0..300).filter(|number| !went_past.contains(number)).collect();
        assert_eq!(through, [0, 1, 68, 197]);
        // What the page cache has is at hand again, as the next trial shows, and later it is not.
        assert!(past(&mut choice, 2000, 500, Some(150)).len() < 300);
        assert!(past(&mut choice, 100, 500, Some(2000)).len() > 90);
    }

    #[test]
    fn the_page_cache_is_used_where_it_costs_less_than_twice_as_much_or_does_not_have_the_file() {
        assert_eq!(past(&mut Choice::new(), 300, 500, Some(999)), [2, 3, 68, 197]);
        assert!(past(&mut Choice::new(), 300, 500, None).is_empty());
    }

    #[test]
    fn the_page_cache_is_used_once_it_does_not_have_the_file_until_it_does() {
        let mut choice = Choice::new();
        past(&mut choice, 10, 500, Some(2000));
        let went_past = past(&mut choice, 300, 500, None);
        assert_eq!(went_past.last(), Some(&57), "{went_past:?}");
        assert_eq!(past(&mut choice, 10, 500, Some(2000)).first(), Some(&2));
    }

    #[test]
    fn a_disk_that_becomes_slow_is_left_alone() {
        let mut choice = Choice::new();
        past(&mut choice, 10, 500, Some(2000));
        assert_eq!(past(&mut choice, 50, 10_000, Some(2000)), [0, 1]);
    }

    #[test]
    fn waiting_for_the_disk_costs_nothing_while_it_takes_no_longer() {
        for (time, is_past) in [(1500, true), (1501, false)] {
            let mut choice = Choice::new();
            for _ in 0..2 {
                choice.past_took(1_000_000, waited(500, time));
                choice.through_took(1_000_000, Some(waited(1000, 1500)));
            }
            assert_eq!(choice.is_past, is_past, "{time}");
        }
    }

    #[test]
    fn where_the_clock_shows_no_cost_the_page_cache_is_used() {
        let mut choice = Choice::new();
        for _ in 0..2 {
            choice.past_took(1_000_000, waited(0, 500));
            choice.through_took(1_000_000, Some(waited(0, 500)));
        }
        assert!(!choice.is_past);
    }

    #[test]
    fn a_wait_is_no_time_of_the_processor() {
        let (done, took) = Took::of(|| {
            std::thread::sleep(Duration::from_millis(100));
            7
        });
        assert_eq!(done, 7);
        assert!(
            took.time >= Duration::from_millis(100) && took.processor < Duration::from_millis(100),
            "{took:?}"
        );
        let start = processor_time();
        let (_, took) = Took::of(|| while processor_time() == start {});
        assert!(took.processor > Duration::ZERO, "{took:?}");
    }

    #[test]
    fn reads_of_all_lengths_are_compared() {
        let mut choice = Choice::new();
        for _ in 0..2 {
            choice.past_took(150_000, took(100));
            choice.through_took(10_000_000, Some(took(2000)));
        }
        assert!(!choice.is_past);
    }

    #[test]
    fn one_slow_read_changes_nothing() {
        let mut choice = Choice::new();
        past(&mut choice, 10, 500, Some(2000));
        past(&mut choice, 1, 100_000, Some(2000));
        assert_eq!(past(&mut choice, 10, 500, Some(2000)).len(), 10);
    }

    #[test]
    fn trials_get_rarer_but_never_end() {
        let trials = past(&mut Choice::new(), 100_000, 500, Some(500)).len() as u32;
        let least = 100_000 / MOST_BETWEEN_TRIALS - 1;
        assert!((least..least + 10).contains(&trials), "{trials}");
    }

    #[test]
    fn after_a_read_that_takes_very_long_trials_are_much_rarer() {
        let mut choice = Choice::new();
        past(&mut choice, 10, 500, Some(500));
        // A disk that has to start first.
        let trials = past(&mut choice, 10_000, 251_000 + 10_000, Some(500));
        assert_eq!(trials.len(), 2, "{trials:?}");
        assert_eq!(past(&mut choice, 200_000, 251_000 + 10_000, Some(500)).len(), 3);
        // Where it is the usual way one changes nothing.
        let mut choice = Choice::new();
        past(&mut choice, 10, 500, Some(2000));
        choice.past_took(1_000_000, waited(100, 3_000_000));
        assert_eq!(choice.next_trial, FIRST_TRIAL);
        // A large chunk may take long.
        let mut choice = Choice::new();
        choice.past_took(150_000_000, waited(100, 1_750_000));
        assert_eq!(choice.next_trial, FIRST_TRIAL);
        choice.past_took(150_000_000, waited(100, 1_751_000));
        assert_eq!(choice.next_trial, FIRST_TRIAL * RARER);
    }

    #[test]
    fn of_two_who_read_at_once_one_uses_the_page_cache() {
        let mut choice = Choice::new();
        past(&mut choice, 10, 500, Some(2000));
        assert!(choice.begin());
        assert!(!choice.begin());
        choice.past_took(SIZE, took(500));
        assert!(choice.begin());
    }
}
