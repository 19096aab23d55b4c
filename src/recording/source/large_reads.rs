//! Large reads of a file on Linux: through the system's page cache, or past it where that costs the processor less.
//!
//! What is read past the page cache is copied by the disk and not by the processor. What the page cache has, it gives
//! sooner all the same nearly always; but not on virtual machines whose host takes back memory that is not used: there
//! the processor has to fetch each page that nobody touched for a few seconds, again and again. So both ways are timed,
//! and reads go past it where that costs much less and takes no longer. Nobody waits for the reads that try that out.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::ops::Range;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
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

/// After so many reads through the page cache the other way is tried, and after twice as many the next time, but no more
/// than so often twice as many: that is after 4096.
const FIRST_TRIAL: u32 = 2;
const MOST_DOUBLINGS: u32 = 11;

/// How many bytes are read to try it, at the most.
const TRIAL: usize = 1024 * 1024;

/// One of so many reads goes through the page cache where the others go past it, to see what that takes now.
const ONE_THROUGH: u32 = 256;

/// Reads one file in large pieces.
#[derive(Debug)]
pub struct LargeReads(Arc<Shared>);

/// What is shared with who tries to read past the page cache.
#[derive(Debug)]
struct Shared {
    file: Arc<File>,
    /// For messages.
    path: PathBuf,
    choice: Mutex<Choice>,
    /// The last one who tried.
    trial: Mutex<Option<JoinHandle<()>>>,
}

/// Which way is taken.
#[derive(Debug, Default)]
struct Choice {
    /// Whether somebody reads past the page cache. Others use it meanwhile, so not all of them wait where the disk takes
    /// long.
    is_busy: bool,
    /// Whether all reads go through the page cache, since the other way failed.
    is_over: bool,
    past: Recent,
    through: Recent,
    /// Whether reads go past the page cache, but for one now and then.
    is_past: bool,
    /// How many reads there were since the last trial of the other way, or since the way changed.
    since_trial: u32,
    /// How often it was time to try to read past the page cache, since that last was the way for long.
    trials: u32,
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
    /// Does something with so many bytes. Gives what that took for a MiB as well.
    fn of<T>(bytes: usize, work: impl FnOnce() -> T) -> (T, Self) {
        let (processor, start) = (processor_time(), Instant::now());
        let done = work();
        let [processor, time] = [processor_time().saturating_sub(processor), start.elapsed()].map(|time| {
            let nanos = (time.as_nanos() << 20) / (bytes as u128).max(1);
            Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
        });
        (done, Took { processor, time })
    }

    /// Whether reads past the page cache, which took this, are to be preferred to those through it.
    fn pays(self, through: Took) -> bool {
        // A coarse clock often shows no cost at all.
        let least = self.processor.saturating_mul(TIMES_CHEAPER).max(Duration::from_nanos(1));
        least <= through.processor && self.time <= through.time
    }
}

/// What this thread took of the processor so far; nothing where the system does not say.
fn processor_time() -> Duration {
    let clock = DynamicClockId::Known(ClockId::ThreadCPUTime);
    let time = clock_gettime_dynamic(clock).ok().and_then(|time| Duration::try_from(time).ok());
    time.unwrap_or_default()
}

/// What the last two reads in one way took. A busy machine makes one of them seem slow, rarely both.
#[derive(Debug, Default)]
struct Recent([Option<Took>; 2]);

impl Recent {
    fn add(&mut self, took: Took) {
        self.0 = [Some(took), self.0[0]];
    }

    /// The less of both. `None` where there are not two yet.
    fn least(&self) -> Option<Took> {
        let [last, before] = [self.0[0]?, self.0[1]?];
        Some(Took { processor: last.processor.min(before.processor), time: last.time.min(before.time) })
    }
}

impl LargeReads {
    /// Of the file, which is at `path`.
    pub fn new(file: Arc<File>, path: &Path) -> Self {
        let (choice, trial) = (Mutex::default(), Mutex::default());
        LargeReads(Arc::new(Shared { file, path: path.to_owned(), choice, trial }))
    }

    /// The `length` bytes of the file from `offset` on, [`LEAST`] or more.
    ///
    /// # Errors
    /// Those of reading through the page cache; what can't be read past it is read so.
    pub fn read(&self, buffers: &Buffers, offset: u64, length: usize) -> io::Result<Bytes> {
        let front = (offset % ALIGNMENT as u64) as usize;
        let end = front.saturating_add(length);
        let room = end.checked_next_multiple_of(ALIGNMENT).ok_or(io::ErrorKind::OutOfMemory)?;
        let mut buffer = buffers.take(room).map_err(|_| io::ErrorKind::OutOfMemory)?;
        debug_assert!(buffer.memory().as_ptr().addr().is_multiple_of(ALIGNMENT));
        let offset = offset - front as u64;
        let is_trial_due = self.0.fill(&mut buffer.memory()[..room], offset, front..end)?;
        if is_trial_due {
            self.start_trial(buffers, offset, end);
        }
        buffer.set_filled(end);
        Ok(buffer.share().slice(front..))
    }

    /// Lets another thread read past the page cache what was just read through it, to see what that takes: the disk may
    /// have to start first, or to write what was written to the file before.
    fn start_trial(&self, buffers: &Buffers, offset: u64, length: usize) {
        let mut last = self.0.trial.lock().unwrap_or_else(PoisonError::into_inner);
        if last.as_ref().is_some_and(|last| !last.is_finished()) {
            return;
        }
        let (shared, buffers) = (Arc::clone(&self.0), buffers.clone());
        let length = length.min(TRIAL);
        let trial = move || shared.try_past(&buffers, offset, length);
        // Where the system has no thread to spare, the next one may be tried.
        *last = thread::Builder::new().name("fgplay-trial".into()).spawn(trial).ok();
    }
}

impl Shared {
    /// Fills the part of the memory that is wanted with what the file has from `offset` on: an offset for all of the
    /// memory, both of them aligned. Gives whether reading past the page cache is to be tried.
    fn fill(&self, memory: &mut [u8], offset: u64, wanted: Range<usize>) -> io::Result<bool> {
        let bytes = wanted.len();
        let is_past = self.choice().begin();
        if is_past {
            let (read, took) = Took::of(bytes, || read_past(&self.file, memory, offset, wanted.end));
            match read {
                Ok(()) => {
                    self.choice().past_took(took);
                    return Ok(false);
                }
                Err(why) => {
                    self.choice().past_failed();
                    self.judge_failure(&why);
                }
            }
        }
        let offset = offset + wanted.start as u64;
        let (had_all, took) = Took::of(bytes, || read_through(&self.file, &mut memory[wanted], offset));
        Ok(self.choice().through_took(had_all?.then_some(took)))
    }

    /// Reads so many bytes past the page cache, only to see what that takes.
    fn try_past(&self, buffers: &Buffers, offset: u64, length: usize) {
        let room = length.next_multiple_of(ALIGNMENT);
        let Ok(mut buffer) = buffers.take(room) else { return };
        let memory = &mut buffer.memory()[..room];
        let (read, took) = Took::of(length, || read_past(&self.file, memory, offset, length));
        match read {
            Ok(()) => self.choice().trial_took(took),
            Err(why) => self.judge_failure(&why),
        }
    }

    /// What was to be read past the page cache could not be, and is not tried again, if it was not descriptors or memory
    /// that lacked.
    fn judge_failure(&self, why: &io::Error) {
        if !matches!(Errno::from_io_error(why), Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM)) {
            self.choice().is_over = true;
            let path = self.path.display();
            tracing::debug!("{path} is only read through the page cache from now on: {why}");
        }
    }

    fn choice(&self) -> MutexGuard<'_, Choice> {
        // It is whole between any two statements that change it, so a panic elsewhere spoils nothing.
        self.choice.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Choice {
    /// Whether the next read goes past the page cache; then [`past_took`](Self::past_took) or
    /// [`past_failed`](Self::past_failed) has to follow, and else [`through_took`](Self::through_took).
    fn begin(&mut self) -> bool {
        if !self.is_past || self.is_busy || self.is_over {
            return false;
        }
        self.since_trial += 1;
        if self.since_trial >= ONE_THROUGH {
            (self.since_trial, self.trials) = (0, 0);
            return false;
        }
        self.is_busy = true;
        true
    }

    /// A read past the page cache took that.
    fn past_took(&mut self, took: Took) {
        self.is_busy = false;
        self.past.add(took);
        self.check();
    }

    /// What was to be read past the page cache could not be.
    fn past_failed(&mut self) {
        self.is_busy = false;
        self.change(false);
    }

    /// A read through the page cache took that; nothing where it did not have all. Gives whether the other way is to be
    /// tried.
    fn through_took(&mut self, took: Option<Took>) -> bool {
        match took {
            Some(took) => self.through.add(took),
            // What it takes with this file has to be seen anew, when it has it.
            None => self.through = Recent::default(),
        }
        self.check();
        if self.is_past || self.is_over || took.is_none() {
            return false;
        }
        self.since_trial += 1;
        if self.since_trial < FIRST_TRIAL << self.trials.min(MOST_DOUBLINGS) {
            return false;
        }
        self.since_trial = 0;
        self.trials += 1;
        true
    }

    /// To try to read past the page cache took that. Only this makes it the usual way: it is as new as what reads
    /// through the page cache took.
    fn trial_took(&mut self, took: Took) {
        if !self.is_past && self.through.least().is_some_and(|through| took.pays(through)) {
            self.past = Recent([Some(took); 2]);
            self.change(true);
        }
    }

    /// Ends to read past the page cache where that does not pay any more.
    fn check(&mut self) {
        if let (Some(past), Some(through)) = (self.past.least(), self.through.least())
            && past.pays(through)
        {
            return;
        }
        if self.is_past {
            self.change(false);
        }
    }

    fn change(&mut self, is_past: bool) {
        self.is_past = is_past;
        self.since_trial = 0;
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

    fn reads(file: &NamedTempFile) -> LargeReads {
        LargeReads::new(Arc::new(file.reopen().unwrap()), file.path())
    }

    /// What reads past the page cache, if it can.
    fn reads_past(file: &NamedTempFile) -> LargeReads {
        let reads = reads(file);
        let recent = |micros| Recent([Some(took(micros)); 2]);
        *reads.0.choice() =
            Choice { past: recent(0), through: recent(u64::MAX), is_past: true, ..Choice::default() };
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
                    let reads = if *is_past { reads_past(&file) } else { reads(&file) };
                    let read = reads.read(&Buffers::default(), offset as u64, length);
                    let Some(expected) = bytes.get(offset..offset + length) else {
                        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::UnexpectedEof, "{case}");
                        continue;
                    };
                    assert!(read.unwrap() == expected, "{case}");
                    // It took that way, and was timed.
                    let choice = reads.0.choice();
                    assert!(!choice.is_busy && !choice.is_over, "{case}");
                    assert_eq!(choice.past.0[0].is_some_and(|took| !took.time.is_zero()), *is_past, "{case}");
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

    /// Whether the page cache has all of a file, and says so.
    fn is_in_page_cache(file: &NamedTempFile) -> bool {
        let mut memory = vec![0; file.as_file().metadata().unwrap().len() as usize];
        let is = (0..10).any(|_| read_through(file.as_file(), &mut memory, 0).unwrap());
        if !is {
            println!("skipped: the page cache does not have a file, or the file system does not say so");
        }
        is
    }

    #[test]
    fn what_the_page_cache_has_is_timed() {
        let (file, _) = recording();
        if !is_in_page_cache(&file) {
            return;
        }
        let reads = reads(&file);
        let is_timed = || {
            reads.read(&Buffers::default(), 0, SIZE).unwrap();
            reads.0.choice().through.least().is_some_and(|took| !took.time.is_zero())
        };
        // So often that memory that lacks for a moment makes no difference.
        assert!((0..1000).any(|_| is_timed()));
    }

    #[test]
    fn another_thread_tries_what_it_takes_to_read_past_the_page_cache() {
        let (file, _) = recording();
        file.as_file().set_len(3 * SIZE as u64).unwrap();
        let reads = reads(&file);
        if !is_in_page_cache(&file) {
            return;
        }
        let next_trial = || {
            reads.read(&Buffers::default(), 1, 2 * SIZE).unwrap();
            reads.0.trial.lock().unwrap().take()
        };
        // Later where the page cache does not have all for a moment.
        let trial = (0..1000).find_map(|_| next_trial());
        trial.unwrap().join().unwrap();
        reads.0.choice().through = Recent([Some(took(u64::MAX)); 2]);
        reads.start_trial(&Buffers::default(), 0, 2 * SIZE);
        reads.0.trial.lock().unwrap().take().unwrap().join().unwrap();
        assert!(if can_be_read_past(&file) { reads.0.choice().is_past } else { reads.0.choice().is_over });
        // While one lasts, there is no other.
        let (end, lasts) = std::sync::mpsc::channel::<()>();
        let lasting = thread::spawn(move || lasts.recv().unwrap_or_default());
        let id = lasting.thread().id();
        *reads.0.trial.lock().unwrap() = Some(lasting);
        reads.start_trial(&Buffers::default(), 0, SIZE);
        assert!(reads.0.trial.lock().unwrap().as_ref().is_some_and(|last| last.thread().id() == id));
        drop(end);
    }

    #[test]
    fn it_is_the_file_that_was_opened_whatever_lies_at_its_path() {
        let (file, bytes) = recording();
        if can_be_read_past(&file) {
            let reads = reads_past(&file);
            let (other, _) = recording();
            other.as_file().write_all_at(&vec![7; SIZE], 0).unwrap();
            std::fs::rename(other.path(), file.path()).unwrap();
            assert!(reads.read(&Buffers::default(), 0, SIZE).unwrap() == bytes);
            assert!(reads.0.choice().is_past && !reads.0.choice().is_over);
        }
    }

    #[test]
    fn what_cannot_be_read_past_the_page_cache_is_read_through_it() {
        let (file, bytes) = recording();
        let mut memory = vec![0; LEAST + 2 * ALIGNMENT];
        // At a place that is no multiple of anything, where a disk can't write to.
        let odd = memory.as_ptr().align_offset(ALIGNMENT) + 1;
        let reads = reads_past(&file);
        reads.0.fill(&mut memory[odd..odd + LEAST], 0, 0..LEAST).unwrap();
        assert!(memory[odd..odd + LEAST] == bytes[..LEAST]);
        assert!(!reads.0.choice().is_busy);
    }

    #[test]
    fn what_fails_is_not_tried_again_unless_something_lacks_for_a_moment() {
        let (file, _) = recording();
        let lacking = [Errno::MFILE, Errno::NFILE, Errno::NOMEM].map(|errno| (errno, false));
        for (errno, is_over) in lacking.into_iter().chain([(Errno::INVAL, true)]) {
            let reads = reads_past(&file);
            reads.0.judge_failure(&errno.into());
            let mut choice = reads.0.choice();
            assert_eq!((choice.is_over, choice.begin()), (is_over, !is_over));
            *choice = Choice { is_over, ..Choice::default() };
            assert_eq!(play(&mut choice, 100, took(500), Some(took(500))).trials.is_empty(), is_over);
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

    #[derive(Debug, Default)]
    struct Played {
        /// The numbers of the reads that went past the page cache.
        past: Vec<u32>,
        /// The numbers of the reads after which that was tried.
        trials: Vec<u32>,
    }

    /// Reads so many times, which takes so long past the page cache, and through it where that has all.
    fn play(choice: &mut Choice, times: u32, past: Took, through: Option<Took>) -> Played {
        let mut played = Played::default();
        for number in 0..times {
            if choice.begin() {
                choice.past_took(past);
                played.past.push(number);
            } else if choice.through_took(through) {
                choice.trial_took(past);
                played.trials.push(number);
            }
        }
        played
    }

    #[test]
    fn a_way_that_costs_half_as_much_is_taken() {
        let mut choice = Choice::default();
        let played = play(&mut choice, 1000, took(500), Some(took(1000)));
        assert_eq!(played.trials, [1]);
        // All but those that show what the other way takes now.
        let through: Vec<u32> = (0..1000).filter(|number| !played.past.contains(number)).collect();
        assert_eq!(through, [0, 1, 257, 513, 769]);
        // What the page cache has is at hand again, as one of these shows, and later it is not.
        assert!(play(&mut choice, 2000, took(500), Some(took(150))).past.len() < 256);
        assert!(play(&mut choice, 5000, took(500), Some(took(2000))).past.len() > 2000);
    }

    #[test]
    fn the_page_cache_is_used_where_it_costs_less_than_twice_as_much_or_does_not_have_the_file() {
        let played = play(&mut Choice::default(), 300, took(500), Some(took(999)));
        assert!(played.past.is_empty());
        assert_eq!(played.trials, [1, 5, 13, 29, 61, 125, 253]);
        let played = play(&mut Choice::default(), 300, took(500), None);
        assert!(played.past.is_empty() && played.trials.is_empty());
    }

    #[test]
    fn the_page_cache_is_used_once_it_does_not_have_the_file_until_it_does() {
        let mut choice = Choice::default();
        play(&mut choice, 10, took(500), Some(took(2000)));
        let played = play(&mut choice, 1000, took(500), None);
        assert_eq!(played.past.len(), ONE_THROUGH as usize - 1 - 8, "{played:?}");
        assert!(!play(&mut choice, 10, took(500), Some(took(2000))).past.is_empty());
    }

    #[test]
    fn a_disk_that_becomes_slow_is_left_alone() {
        let mut choice = Choice::default();
        play(&mut choice, 10, took(500), Some(took(2000)));
        assert_eq!(play(&mut choice, 50, took(10_000), Some(took(2000))).past, [0, 1]);
        // One that is slow now and then is used for less and less.
        let mut slow = 0;
        for _ in 0..1000 {
            play(&mut choice, 10, took(500), Some(took(2000)));
            slow += play(&mut choice, 10, took(10_000), Some(took(2000))).past.len();
        }
        assert!(slow < 30, "{slow}");
        // Until it is not for long.
        play(&mut choice, 10_000, took(500), Some(took(2000)));
        assert_eq!(choice.trials, 0);
    }

    #[test]
    fn waiting_for_the_disk_costs_nothing_while_it_takes_no_longer() {
        for (time, is_past) in [(1500, true), (1501, false)] {
            let mut choice = Choice::default();
            play(&mut choice, 10, waited(500, time), Some(waited(1000, 1500)));
            assert_eq!(choice.is_past, is_past, "{time}");
        }
    }

    #[test]
    fn where_the_clock_shows_no_cost_the_page_cache_is_used() {
        let mut choice = Choice::default();
        play(&mut choice, 10, waited(0, 500), Some(waited(0, 500)));
        assert!(!choice.is_past);
    }

    #[test]
    fn a_wait_is_no_time_of_the_processor() {
        let (done, took) = Took::of(1 << 20, || {
            thread::sleep(Duration::from_millis(100));
            7
        });
        assert_eq!(done, 7);
        assert!(
            took.time >= Duration::from_millis(100) && took.processor < Duration::from_millis(100),
            "{took:?}"
        );
        if processor_time().is_zero() {
            println!("skipped: the system does not say what a thread takes of the processor");
            return;
        }
        let (_, took) = Took::of(1 << 20, || {
            let start = processor_time();
            while processor_time() == start {}
        });
        assert!(took.processor > Duration::ZERO, "{took:?}");
    }

    #[test]
    fn reads_of_all_lengths_are_compared() {
        let work = || thread::sleep(Duration::from_millis(10));
        let [small, large] = [1 << 18, 1 << 30].map(|bytes| Took::of(bytes, work).1.time);
        assert!(small >= Duration::from_millis(40) && large < small, "{small:?} {large:?}");
    }

    #[test]
    fn only_a_way_that_was_taken_for_long_is_tried_again_soon() {
        let mut choice = Choice::default();
        play(&mut choice, 100, took(500), Some(took(500)));
        let trials = choice.trials;
        // One that began before it was known that the other way pays.
        assert!(!choice.begin());
        choice.trial_took(took(100));
        assert!(choice.is_past && !choice.through_took(Some(took(500))));
        assert_eq!(choice.trials, trials);
        assert!(choice.begin());
        choice.past_failed();
        assert!(!choice.begin());
        assert_eq!(choice.trials, trials);
    }

    #[test]
    fn one_slow_read_changes_nothing() {
        let mut choice = Choice::default();
        play(&mut choice, 10, took(500), Some(took(2000)));
        play(&mut choice, 1, took(100_000), Some(took(2000)));
        assert_eq!(play(&mut choice, 10, took(500), Some(took(2000))).past.len(), 10);
    }

    #[test]
    fn what_a_trial_took_long_ago_is_not_compared_with_what_the_page_cache_takes_now() {
        let mut choice = Choice::default();
        play(&mut choice, 10, took(500), Some(took(500)));
        // The machine is busy, and the next trial shows that the disk is as well.
        assert!(play(&mut choice, 100, took(5000), Some(took(5000))).past.is_empty());
    }

    #[test]
    fn trials_get_rarer_but_never_end() {
        let trials = play(&mut Choice::default(), 1_000_000, took(500), Some(took(500))).trials;
        let apart: Vec<u32> = trials.windows(2).map(|two| two[1] - two[0]).collect();
        assert_eq!(apart[..3], [4, 8, 16]);
        assert_eq!(apart.last(), Some(&4096));
    }

    #[test]
    fn of_two_who_read_at_once_one_uses_the_page_cache() {
        let mut choice = Choice::default();
        play(&mut choice, 10, took(500), Some(took(2000)));
        assert!(choice.begin());
        assert!(!choice.begin());
        choice.past_took(took(500));
        assert!(choice.begin());
    }
}
