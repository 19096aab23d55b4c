//! Reads a recording ahead of time, on a thread of its own, so that neither the disk nor decompression
//! delays a message.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::{Feed, Peek, Range};
use crate::recording::{Cursor, Message, Recording};
use crate::time::Timestamp;

/// What a message costs in memory beside its payload, in bytes.
const OVERHEAD: usize = size_of::<Message>();

/// A batch is handed over when it has so many messages or bytes: one lock for many messages.
const BATCH_MESSAGES: usize = 256;
const BATCH_BYTES: usize = 256 * 1024;

/// How many passes of a short loop are read ahead at the most.
const PASSES_AHEAD: usize = 4;

/// A queue between the thread that reads and the timeline that plays, bounded in bytes.
#[derive(Debug)]
pub struct ReadAhead {
    shared: Arc<Shared>,
    /// The batch that is being taken from. It still counts as queued, until it is used up.
    batch: VecDeque<Message>,
    batch_bytes: usize,
    lookback: Option<Vec<Message>>,
    end_of_pass: bool,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Tells the reading thread that there is room, or something else to do.
    room: Condvar,
}

#[derive(Debug)]
struct State {
    queue: VecDeque<Item>,
    bytes: usize,
    /// Where to read from next, if not on from where the reader is.
    seek: Option<Timestamp>,
    /// How many seeks there were. What was read before the last one is stale.
    generation: u64,
    /// Someone found the queue empty and wants to hear when it no longer is.
    hungry: bool,
    closed: bool,
}

#[derive(Debug)]
enum Item {
    Lookback { messages: Vec<Message>, bytes: usize },
    Batch { messages: VecDeque<Message>, bytes: usize },
    EndOfPass { bytes: usize },
}

impl ReadAhead {
    /// Starts to read `range` of a recording (with an `open_end`, all that comes after its start), and keeps up to `limit` bytes of it in memory. At its end it
    /// goes on with its start, so that a loop has no seam. With `lookback` it also finds the state before each
    /// place where it starts to read. `fed` is called when there is something after there was nothing.
    ///
    /// # Errors
    /// Where the system gives no thread.
    pub fn start(
        recording: Arc<Recording>,
        range: Range,
        open_end: bool,
        limit: usize,
        lookback: bool,
        fed: impl Fn() + Send + 'static,
    ) -> io::Result<Self> {
        let state = State {
            queue: VecDeque::new(),
            bytes: 0,
            seek: Some(range.start),
            generation: 0,
            hungry: false,
            closed: false,
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), room: Condvar::new() });
        let fed = Box::new(fed);
        let end = if open_end { Timestamp::MAX } else { range.end };
        let range = Range { end, ..range };
        let reader = Reader { recording, range, limit, lookback, shared: Arc::clone(&shared), fed };
        std::thread::Builder::new().name("fgplay-reader".into()).spawn(move || reader.run())?;
        Ok(ReadAhead { shared, batch: VecDeque::new(), batch_bytes: 0, lookback: None, end_of_pass: false })
    }

    /// Takes the next batch from the queue, if there is one.
    fn refill(&mut self) {
        let mut state = self.shared.lock();
        state.bytes -= std::mem::take(&mut self.batch_bytes);
        match state.queue.pop_front() {
            Some(Item::Batch { messages, bytes }) => {
                self.batch = messages;
                self.batch_bytes = bytes;
            }
            Some(Item::Lookback { messages, bytes }) => {
                self.lookback = Some(messages);
                self.batch_bytes = bytes;
            }
            Some(Item::EndOfPass { bytes }) => {
                self.end_of_pass = true;
                self.batch_bytes = bytes;
            }
            None => state.hungry = true,
        }
        drop(state);
        self.shared.room.notify_one();
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

    fn take_lookback(&mut self) -> Vec<Message> {
        self.lookback.take().unwrap_or_default()
    }

    fn take(&mut self) -> Option<Message> {
        self.batch.pop_front()
    }

    fn next_pass(&mut self) {
        self.end_of_pass = false;
    }

    fn seek(&mut self, to: Timestamp) {
        self.batch.clear();
        self.batch_bytes = 0;
        self.lookback = None;
        self.end_of_pass = false;
        let mut state = self.shared.lock();
        state.queue.clear();
        state.bytes = 0;
        state.seek = Some(to);
        state.generation += 1;
        drop(state);
        self.shared.room.notify_one();
    }
}

impl Drop for ReadAhead {
    /// Lets the thread end. It is not waited for: it may be stuck in a read from a disk that is gone.
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.room.notify_one();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is whole between any two statements that change it, so a panic elsewhere spoils nothing.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the reading thread has.
struct Reader {
    recording: Arc<Recording>,
    range: Range,
    limit: usize,
    lookback: bool,
    shared: Arc<Shared>,
    fed: Box<dyn Fn() + Send>,
}

/// What the reading thread does next.
enum Next {
    ReadOn,
    ReadFrom { time: Timestamp, generation: u64 },
    Stop,
}

impl Reader {
    fn run(self) {
        let mut cursor: Option<Box<dyn Cursor>> = None;
        let mut current = 0;
        let mut batch_limit = 1;
        // The state before the start, which is needed for every pass.
        let before_start = self.state_before(self.range.start);
        loop {
            match self.wait_for_room() {
                Next::Stop => return,
                Next::ReadFrom { time, generation } => {
                    let state =
                        if time == self.range.start { before_start.clone() } else { self.state_before(time) };
                    cursor = Some(self.recording.cursor(time));
                    current = generation;
                    self.hand_over_lookback(current, state);
                    // The first message after a seek should not wait for others to keep it company.
                    batch_limit = 1;
                }
                Next::ReadOn => {}
            }
            let open = cursor.get_or_insert_with(|| self.recording.cursor(self.range.start));
            let (messages, bytes, pass_over) = self.read_batch(&mut **open, batch_limit);
            self.hand_over(current, messages, bytes, pass_over);
            if pass_over {
                // The next pass begins when there is room for it.
                cursor = None;
                self.hand_over_lookback(current, before_start.clone());
            }
            batch_limit = (batch_limit * 2).min(BATCH_MESSAGES);
        }
    }

    fn state_before(&self, time: Timestamp) -> Vec<Message> {
        if self.lookback { self.recording.last_before(time) } else { Vec::new() }
    }

    fn wait_for_room(&self) -> Next {
        let mut state = self.shared.lock();
        loop {
            if state.closed {
                return Next::Stop;
            }
            if let Some(time) = state.seek.take() {
                return Next::ReadFrom { time, generation: state.generation };
            }
            if state.bytes < self.limit {
                return Next::ReadOn;
            }
            state = self.shared.room.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Reads one batch. Gives its messages, what they cost in bytes, and whether the pass is over.
    fn read_batch(&self, cursor: &mut dyn Cursor, limit: usize) -> (VecDeque<Message>, usize, bool) {
        let mut messages = VecDeque::with_capacity(limit);
        let mut bytes = 0;
        while messages.len() < limit && bytes < BATCH_BYTES {
            match cursor.next().filter(|message| message.log_time <= self.range.end) {
                Some(message) => {
                    bytes += message.data.len() + OVERHEAD;
                    messages.push_back(message);
                }
                None => return (messages, bytes, true),
            }
        }
        (messages, bytes, false)
    }

    fn hand_over_lookback(&self, generation: u64, messages: Vec<Message>) {
        let bytes = messages.iter().map(|message| message.data.len() + OVERHEAD).sum();
        self.hand_over_items(generation, [Item::Lookback { messages, bytes }]);
    }

    fn hand_over(&self, generation: u64, messages: VecDeque<Message>, bytes: usize, pass_over: bool) {
        let batch = (!messages.is_empty()).then_some(Item::Batch { messages, bytes });
        // Charged so that a recording of a few bytes is not read thousands of passes ahead.
        let end = pass_over.then_some(Item::EndOfPass { bytes: self.limit / PASSES_AHEAD });
        self.hand_over_items(generation, batch.into_iter().chain(end));
    }

    fn hand_over_items(&self, generation: u64, items: impl IntoIterator<Item = Item>) {
        let mut state = self.shared.lock();
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
            let fed_again = move || sender.send(()).unwrap_or_default();
            Fixture {
                feed: ReadAhead::start(recording(count), range, false, limit, true, fed_again).unwrap(),
                fed,
                state: Vec::new(),
            }
        }

        /// Waits until it is known what comes next.
        fn peek(&mut self) -> Peek {
            loop {
                match self.feed.peek() {
                    Peek::Pending => self.fed.recv().unwrap(),
                    Peek::Lookback => self.state = self.feed.take_lookback(),
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
            fixture.feed.seek(Timestamp::from_nanos(target * 1000));
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
        let mut state = fixture.feed.shared.lock();
        while state.bytes < 100_000 {
            drop(state);
            std::thread::yield_now();
            state = fixture.feed.shared.lock();
        }
        assert!(state.bytes < 100_000 + BATCH_BYTES + OVERHEAD, "{}", state.bytes);
    }
}
