//! Reads a recording ahead of time, on threads of its own, so that neither the disk nor decompression
//! delays a message.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Feed, Lookback, Peek, Range, ReadPool};
use crate::recording::{Cursor, Message, Recording};
use crate::time::Timestamp;

/// What a message costs in memory beside its payload, in bytes.
const OVERHEAD: usize = size_of::<Message>();

/// A batch is handed over when it has so many messages or bytes: one lock for many messages.
const BATCH_MESSAGES: usize = 256;
const BATCH_BYTES: usize = 256 * 1024;

/// How many passes of a short loop are read ahead at the most.
const PASSES_AHEAD: usize = 4;

/// What to read, and how much of it ahead of time.
#[derive(Clone, Copy, Debug)]
pub struct ReadAheadOptions {
    /// The part of the recording that is read.
    pub range: Range,
    /// Whether all that comes after the start is read, whatever the range says of its end.
    pub open_end: bool,
    /// How many bytes of messages are kept ready.
    pub limit: usize,
    /// Whether the state before each place where reading starts is found as well.
    pub lookback: bool,
}

/// A queue between the threads that read and the timeline that plays, bounded in bytes.
#[derive(Debug)]
pub struct ReadAhead {
    pool: ReadPool,
    reader: Arc<Reader>,
    /// The batch that is being taken from. It still counts as queued, until it is used up.
    batch: VecDeque<Message>,
    batch_bytes: usize,
    lookback: Option<Lookback>,
    end_of_pass: bool,
}

#[derive(Debug)]
struct State {
    queue: VecDeque<Item>,
    bytes: usize,
    /// Where to read from next, if not on from where the reader is.
    seek: Option<Seek>,
    /// How many seeks there were. What was read before the last one is stale.
    generation: u64,
    /// Someone found the queue empty and wants to hear when it no longer is.
    hungry: bool,
    /// Whether a thread reads, or soon will.
    reading: bool,
    closed: bool,
    /// Reading ended by a fault.
    broken: bool,
}

#[derive(Clone, Copy, Debug)]
struct Seek {
    time: Timestamp,
    back: bool,
}

#[derive(Debug)]
enum Item {
    Lookback { state: Lookback, bytes: usize },
    Batch { messages: VecDeque<Message>, bytes: usize },
    EndOfPass { bytes: usize },
}

impl ReadAhead {
    /// Starts to read a recording on the threads of `pool`. At the end it goes on with the start, so that a loop
    /// has no seam. `fed` is called when there is something after there was nothing.
    pub fn start(
        pool: ReadPool,
        recording: Arc<Recording>,
        options: ReadAheadOptions,
        fed: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        let ReadAheadOptions { mut range, open_end, .. } = options;
        if open_end {
            range.end = Timestamp::MAX;
        }
        let state = State {
            queue: VecDeque::new(),
            bytes: 0,
            seek: Some(Seek { time: range.start, back: false }),
            generation: 0,
            hungry: false,
            reading: true,
            closed: false,
            broken: false,
        };
        let work = Work { cursor: None, generation: 0, batch_limit: 1, before_start: None };
        let reader = Arc::new(Reader {
            recording,
            options: ReadAheadOptions { range, ..options },
            fed: Box::new(fed),
            state: Mutex::new(state),
            work: Mutex::new(work),
        });
        reader.schedule(&pool);
        ReadAhead { pool, reader, batch: VecDeque::new(), batch_bytes: 0, lookback: None, end_of_pass: false }
    }

    /// Takes the next batch from the queue, if there is one.
    fn refill(&mut self) {
        let mut state = self.reader.state();
        // Who waits for more would wait for ever. A fault here is a fault of the whole playback.
        assert!(!state.broken, "reading the recording ended by the fault above");
        state.bytes -= std::mem::take(&mut self.batch_bytes);
        match state.queue.pop_front() {
            Some(Item::Batch { messages, bytes }) => {
                self.batch = messages;
                self.batch_bytes = bytes;
            }
            Some(Item::Lookback { state, bytes }) => {
                self.lookback = Some(state);
                self.batch_bytes = bytes;
            }
            Some(Item::EndOfPass { bytes }) => {
                self.end_of_pass = true;
                self.batch_bytes = bytes;
            }
            None => state.hungry = true,
        }
        self.wake(state);
    }

    /// Lets a thread read where there is something to do.
    fn wake(&self, mut state: MutexGuard<'_, State>) {
        let idle = !state.reading && (state.seek.is_some() || state.bytes < self.reader.options.limit);
        if idle {
            state.reading = true;
            drop(state);
            self.reader.schedule(&self.pool);
        }
    }
}

impl Feed for ReadAhead {
    fn peek(&mut self) -> Peek {
        if self.batch.is_empty() && self.lookback.is_none() && !self.end_of_pass {
            self.refill();
        }
        if self.lookback.is_some() {
            return Peek::Lookback;
        }
        match self.batch.front() {
            Some(message) => Peek::Message(message.log_time),
            None if self.end_of_pass => Peek::EndOfPass,
            None => Peek::Pending,
        }
    }

    fn take_lookback(&mut self) -> Lookback {
        self.lookback.take().unwrap_or_default()
    }

    fn take(&mut self) -> Option<Message> {
        self.batch.pop_front()
    }

    fn next_pass(&mut self) {
        self.end_of_pass = false;
    }

    fn seek(&mut self, to: Timestamp, back: bool) {
        self.batch.clear();
        self.batch_bytes = 0;
        self.lookback = None;
        self.end_of_pass = false;
        let mut state = self.reader.state();
        state.queue.clear();
        state.bytes = 0;
        state.seek = Some(Seek { time: to, back });
        state.generation += 1;
        self.wake(state);
    }
}

impl Drop for ReadAhead {
    /// What is being read is not waited for: it may be stuck in a read from a disk that is gone.
    fn drop(&mut self) {
        let mut state = self.reader.state();
        state.closed = true;
        state.queue.clear();
    }
}

/// What the threads that read share with the timeline.
struct Reader {
    recording: Arc<Recording>,
    options: ReadAheadOptions,
    fed: Box<dyn Fn() + Send + Sync>,
    state: Mutex<State>,
    work: Mutex<Work>,
}

/// Where reading is. Only one thread at a time has it.
struct Work {
    cursor: Option<Box<dyn Cursor>>,
    generation: u64,
    batch_limit: usize,
    /// The state before the start, which is needed for every pass, once it is known.
    before_start: Option<Lookback>,
}

/// What is to be done next.
enum Next {
    ReadOn,
    ReadFrom(Seek, u64),
    Rest,
}

impl Reader {
    fn schedule(self: &Arc<Self>, pool: &ReadPool) {
        let reader = Arc::clone(self);
        pool.run(Box::new(move |pool| reader.read(pool)));
    }

    /// Reads until there is no room, or until others wait for the thread.
    fn read(self: Arc<Self>, pool: &ReadPool) {
        let _watch = FaultWatch(&self);
        let mut work = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match self.next() {
                Next::Rest => return,
                Next::ReadFrom(seek, generation) => self.start_from(&mut work, seek, generation),
                Next::ReadOn => {}
            }
            self.read_on(&mut work);
            if pool.is_wanted() {
                drop(work);
                return self.schedule(pool);
            }
        }
    }

    fn next(&self) -> Next {
        let mut state = self.state();
        if state.closed {
            return Next::Rest;
        }
        if let Some(seek) = state.seek.take() {
            return Next::ReadFrom(seek, state.generation);
        }
        if state.bytes < self.options.limit {
            return Next::ReadOn;
        }
        state.reading = false;
        Next::Rest
    }

    fn start_from(&self, work: &mut Work, seek: Seek, generation: u64) {
        let at_start = seek.time == self.options.range.start && !seek.back;
        let state = if at_start { self.before_start(work) } else { self.state_before(seek) };
        self.hand_over_lookback(generation, state);
        work.cursor = Some(self.recording.cursor(seek.time));
        work.generation = generation;
        // The first message after a seek should not wait for others to keep it company.
        work.batch_limit = 1;
    }

    fn read_on(&self, work: &mut Work) {
        let start = self.options.range.start;
        let cursor = work.cursor.get_or_insert_with(|| self.recording.cursor(start));
        let (messages, bytes, pass_over) = self.read_batch(&mut **cursor, work.batch_limit);
        self.hand_over(work.generation, messages, bytes, pass_over);
        if pass_over {
            // The next pass begins when there is room for it.
            work.cursor = None;
            let state = self.before_start(work);
            self.hand_over_lookback(work.generation, state);
        }
        work.batch_limit = (work.batch_limit * 2).min(BATCH_MESSAGES);
    }

    fn before_start(&self, work: &mut Work) -> Lookback {
        let seek = Seek { time: self.options.range.start, back: false };
        work.before_start.get_or_insert_with(|| self.state_before(seek)).clone()
    }

    fn state_before(&self, seek: Seek) -> Lookback {
        if !self.options.lookback && !seek.back {
            return Lookback::default();
        }
        let messages = self.recording.last_before(seek.time);
        let last = messages.iter().map(|message| message.log_time).max();
        Lookback { messages: if self.options.lookback { messages } else { Vec::new() }, last }
    }

    /// Reads one batch. Gives its messages, what they cost in bytes, and whether the pass is over.
    fn read_batch(&self, cursor: &mut dyn Cursor, limit: usize) -> (VecDeque<Message>, usize, bool) {
        let mut messages = VecDeque::with_capacity(limit);
        let mut bytes = 0;
        while messages.len() < limit && bytes < BATCH_BYTES {
            match cursor.next().filter(|message| message.log_time <= self.options.range.end) {
                Some(message) => {
                    bytes += message.data.len() + OVERHEAD;
                    messages.push_back(message);
                }
                None => return (messages, bytes, true),
            }
        }
        (messages, bytes, false)
    }

    fn hand_over_lookback(&self, generation: u64, state: Lookback) {
        let bytes = state.messages.iter().map(|message| message.data.len() + OVERHEAD).sum();
        self.hand_over_items(generation, [Item::Lookback { state, bytes }]);
    }

    fn hand_over(&self, generation: u64, messages: VecDeque<Message>, bytes: usize, pass_over: bool) {
        let batch = (!messages.is_empty()).then_some(Item::Batch { messages, bytes });
        // Charged so that a recording of a few bytes is not read thousands of passes ahead.
        let end = pass_over.then_some(Item::EndOfPass { bytes: self.options.limit / PASSES_AHEAD });
        self.hand_over_items(generation, batch.into_iter().chain(end));
    }

    fn hand_over_items(&self, generation: u64, items: impl IntoIterator<Item = Item>) {
        let mut state = self.state();
        if generation != state.generation {
            return;
        }
        for item in items {
            state.bytes += item.bytes();
            state.queue.push_back(item);
        }
        let hungry = std::mem::take(&mut state.hungry);
        drop(state);
        if hungry {
            (self.fed)();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The state is whole between any two statements that change it, so a panic elsewhere spoils nothing.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells the timeline where reading ends by a fault.
struct FaultWatch<'a>(&'a Reader);

impl Drop for FaultWatch<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.state().broken = true;
            (self.0.fed)();
        }
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Item {
    /// What it counts for in the queue.
    fn bytes(&self) -> usize {
        match self {
            Item::Lookback { bytes, .. } | Item::Batch { bytes, .. } | Item::EndOfPass { bytes } => *bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::sync::mpsc;

    use super::*;
    use crate::recording::{OpenOptions, Problems};

    /// A recording of `count` messages, a microsecond apart.
    fn recording(count: u64) -> Arc<Recording> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        for time in 0..count {
            writeln!(file, r#"{{"topic": "/t", "log_time": {}, "data": {{"n": {time}}}}}"#, time * 1000)
                .unwrap();
        }
        let problems = Arc::new(Problems::default());
        Arc::new(Recording::open(&[file.path()], &OpenOptions::default(), problems, &|_| {}).unwrap())
    }

    struct Fixture {
        feed: ReadAhead,
        fed: mpsc::Receiver<()>,
        /// The last lookback.
        state: Vec<Message>,
    }

    impl Fixture {
        fn new(count: u64, limit: usize) -> Self {
            let (sender, fed) = mpsc::channel();
            let range = Range { start: Timestamp::MIN, end: Timestamp::MAX };
            let options = ReadAheadOptions { range, open_end: false, limit, lookback: true };
            let fed_again = move || sender.send(()).unwrap_or_default();
            Fixture {
                feed: ReadAhead::start(ReadPool::new(2).unwrap(), recording(count), options, fed_again),
                fed,
                state: Vec::new(),
            }
        }

        /// Waits until it is known what comes next.
        fn peek(&mut self) -> Peek {
            loop {
                match self.feed.peek() {
                    Peek::Pending => self.fed.recv().unwrap(),
                    Peek::Lookback => self.state = self.feed.take_lookback().messages,
                    known => return known,
                }
            }
        }

        fn times_to_end_of_pass(&mut self) -> Vec<u64> {
            let mut times = Vec::new();
            while let Peek::Message(time) = self.peek() {
                assert_eq!(self.feed.take().unwrap().log_time, time);
                times.push(time.as_nanos() / 1000);
            }
            times
        }
    }

    #[test]
    fn every_pass_brings_every_message_in_order() {
        let mut fixture = Fixture::new(2000, 10_000);
        for _ in 0..3 {
            assert_eq!(fixture.times_to_end_of_pass(), (0..2000).collect::<Vec<_>>());
            fixture.feed.next_pass();
        }
    }

    #[test]
    fn after_a_seek_nothing_from_before_it_comes() {
        let mut fixture = Fixture::new(2000, 10_000);
        for target in [1500, 3, 1999, 0, 700] {
            fixture.peek();
            fixture.feed.seek(Timestamp::from_nanos(target * 1000), false);
            fixture.peek();
            let state: Vec<u64> = fixture.state.iter().map(|m| m.log_time.as_nanos() / 1000).collect();
            assert_eq!(state, target.checked_sub(1).into_iter().collect::<Vec<_>>());
            assert_eq!(fixture.times_to_end_of_pass(), (target..2000).collect::<Vec<_>>());
        }
    }

    #[test]
    fn what_is_read_ahead_is_bounded_in_bytes() {
        let mut fixture = Fixture::new(20_000, 100_000);
        fixture.peek();
        // The reader is at rest once there is no room; until then it may only come closer to the limit.
        let mut state = fixture.feed.reader.state();
        while state.bytes < 100_000 {
            drop(state);
            std::thread::yield_now();
            state = fixture.feed.reader.state();
        }
        assert!(state.bytes < 100_000 + BATCH_BYTES + OVERHEAD, "{}", state.bytes);
    }
}
