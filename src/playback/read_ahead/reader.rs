//! What the threads that read do for one timeline.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::ReadAheadOptions;
use crate::playback::{Lookback, ReadPool};
use crate::recording::{Cursor, Message, Recording, StateSearch};
use crate::time::Timestamp;

/// What a message costs in memory beside its payload, in bytes.
pub(super) const OVERHEAD: usize = size_of::<Message>();

/// A batch is handed over when it has so many messages or bytes: one lock for many messages.
const BATCH_MESSAGES: usize = 256;
pub(super) const BATCH_BYTES: usize = 256 * 1024;

/// How many bytes of messages are kept ready, beside one that is larger, where they are taken as fast as they come: what
/// was read just before is still in the processor's caches when it is sent, and nothing is late that is not due.
pub(super) const HURRIED_LIMIT: usize = 2 * 1024 * 1024;

/// One item beside what is kept ready may be so many times as large: beyond that, memory matters more than time.
pub(super) const LARGEST_BESIDE: usize = 8;

/// How many passes of a short loop are read ahead at the most.
const PASSES_AHEAD: usize = 4;

/// What the threads that read share with the timeline.
pub(super) struct Reader {
    recording: Arc<Recording>,
    options: ReadAheadOptions,
    fed: Box<dyn Fn() + Send + Sync>,
    state: Mutex<State>,
    work: Mutex<Work>,
    /// Whether there is something in the state's `late`, or its search has ended.
    late: AtomicBool,
}

#[derive(Debug)]
pub(super) struct State {
    queue: VecDeque<Item>,
    /// How many bytes are kept ready, in the queue, in what is being taken from, and in `late`.
    pub bytes: usize,
    /// How many of these are of the item that is being taken from.
    taken: usize,
    /// How many bytes are kept ready at the most, beside one large item.
    limit: usize,
    /// Where to read from next, if not on from where the reader is.
    seek: Option<Seek>,
    /// How many seeks there were. What was read before the last one is stale.
    generation: u64,
    /// Someone found the queue empty and wants to hear when it no longer is.
    pub hungry: bool,
    /// Whether messages are read while the state before them is not whole.
    pub searching: bool,
    /// What was found of that state since.
    late: Vec<Message>,
    /// Whether a thread reads, or soon will.
    pub reading: bool,
    closed: bool,
    /// Reading ended by a fault.
    pub broken: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Seek {
    pub time: Timestamp,
    pub back: bool,
}

#[derive(Debug)]
pub(super) enum Item {
    Lookback { state: Lookback, bytes: usize },
    Batch { messages: VecDeque<Message>, bytes: usize },
    EndOfPass { bytes: usize },
}

/// Where reading is. Only one thread at a time has it.
struct Work {
    cursor: Option<Box<dyn Cursor>>,
    generation: u64,
    batch_limit: usize,
    /// The search for the rest of the state, while messages are read.
    search: Option<(StateSearch, Seek)>,
    /// Whether all messages of the pass are read.
    pass_over: bool,
    /// The state before the start, which is needed for every pass, once it is known.
    before_start: Option<Lookback>,
}

/// What is to be done next.
enum Next {
    ReadOn,
    /// There is no room for more messages.
    Search,
    ReadFrom(Seek, u64),
    Rest,
}

impl Reader {
    pub fn new(
        recording: Arc<Recording>,
        mut options: ReadAheadOptions,
        fed: Box<dyn Fn() + Send + Sync>,
    ) -> Self {
        if options.open_end {
            options.range.end = Timestamp::MAX;
        }
        // With no room at all nothing would ever be read.
        options.limit = options.limit.max(1);
        let state = State {
            queue: VecDeque::new(),
            bytes: 0,
            taken: 0,
            limit: options.limit,
            seek: Some(Seek { time: options.range.start, back: false }),
            generation: 0,
            hungry: false,
            searching: false,
            late: Vec::new(),
            reading: true,
            closed: false,
            broken: false,
        };
        let work = Work {
            cursor: None,
            generation: 0,
            batch_limit: 1,
            search: None,
            pass_over: false,
            before_start: None,
        };
        let (state, work) = (Mutex::new(state), Mutex::new(work));
        Reader { recording, options, fed, state, work, late: AtomicBool::new(false) }
    }

    pub fn schedule(self: &Arc<Self>, pool: &ReadPool) {
        let reader = Arc::clone(self);
        pool.run(Box::new(move |pool| reader.read(pool)));
    }

    /// Lets a thread read where there is something to do.
    pub fn wake(self: &Arc<Self>, mut state: MutexGuard<'_, State>, pool: &ReadPool) {
        let idle = !state.reading && (state.seek.is_some() || state.has_room());
        if idle {
            state.reading = true;
            drop(state);
            self.schedule(pool);
        }
    }

    /// Reads from somewhere else. What was read before is gone.
    pub fn seek(self: &Arc<Self>, to: Seek, pool: &ReadPool) {
        let mut state = self.state();
        state.queue.clear();
        state.bytes = 0;
        state.taken = 0;
        state.searching = false;
        state.late.clear();
        self.late.store(false, Ordering::Release);
        state.seek = Some(to);
        state.generation += 1;
        self.wake(state, pool);
    }

    /// Keeps less ready while messages are taken as fast as they come. Gives how many bytes.
    pub fn hurry(&self, hurries: bool) -> usize {
        let limit = self.options.limit;
        let limit = if hurries { limit.min(HURRIED_LIMIT) } else { limit };
        self.state().limit = limit;
        limit
    }

    /// Whether no more than half of what may be is kept ready, beside what is being taken.
    pub fn is_short(&self) -> bool {
        let state = self.state();
        let (ready, half) = (state.bytes - state.taken, state.limit / 2);
        ready <= half || ready - state.beside(0) <= half
    }

    pub fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        state.queue.clear();
    }

    /// Whether [`take_late`](Self::take_late) has something to give. Without a lock: it is asked before each
    /// message.
    pub fn has_late(&self) -> bool {
        self.late.load(Ordering::Acquire)
    }

    /// Takes what was found of the state since messages go on without it, if there is something, and whether that
    /// was all.
    pub fn take_late(&self, state: &mut State) -> Option<(Vec<Message>, bool)> {
        if !self.late.swap(false, Ordering::AcqRel) {
            return None;
        }
        let messages = std::mem::take(&mut state.late);
        state.bytes = state.bytes.saturating_sub(cost(&messages));
        Some((messages, !state.searching))
    }

    /// Reads until there is no room, or until others wait for the thread.
    fn read(self: Arc<Self>, pool: &ReadPool) {
        let _watch = FaultWatch(&self);
        let mut work = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match self.next(&work) {
                Next::Rest => return,
                Next::ReadFrom(seek, generation) => self.start_from(&mut work, seek, generation),
                Next::ReadOn => self.read_on(&mut work),
                Next::Search => {}
            }
            self.search_on(&mut work);
            if pool.is_wanted() {
                drop(work);
                return self.schedule(pool);
            }
        }
    }

    fn next(&self, work: &Work) -> Next {
        let mut state = self.state();
        if state.closed {
            return Next::Rest;
        }
        if let Some(seek) = state.seek.take() {
            return Next::ReadFrom(seek, state.generation);
        }
        let is_searching = work.search.is_some();
        if state.has_room() && !(is_searching && work.pass_over) {
            return Next::ReadOn;
        }
        if is_searching {
            return Next::Search;
        }
        state.reading = false;
        Next::Rest
    }

    /// Whether what is being done is of no use any more.
    fn is_overtaken(&self) -> bool {
        let state = self.state();
        state.closed || state.seek.is_some()
    }

    fn start_from(&self, work: &mut Work, seek: Seek, generation: u64) {
        work.generation = generation;
        work.cursor = None;
        if self.find_state(work, seek) {
            work.cursor = Some(self.recording.cursor(seek.time));
        }
    }

    /// Finds the state before a place, as far as there is time for it, and hands it over. What is left to be
    /// found is found while messages are read. `false` where a seek came between.
    fn find_state(&self, work: &mut Work, seek: Seek) -> bool {
        work.search = None;
        work.pass_over = false;
        // The first message after a seek should not wait for others to keep it company.
        work.batch_limit = 1;
        if !self.options.lookback && !seek.back {
            self.hand_over_lookback(work.generation, Lookback::default(), false);
            return true;
        }
        if let Some(known) = work.before_start.as_ref().filter(|_| self.is_start(seek)) {
            self.hand_over_lookback(work.generation, known.clone(), false);
            return true;
        }
        let mut search = self.recording.state_before(seek.time);
        let began = Instant::now();
        let is_whole = loop {
            if !search.step() {
                break true;
            }
            if self.is_overtaken() {
                return false;
            }
            let is_enough = if self.options.lookback {
                began.elapsed() >= self.options.patience && (!seek.back || search.last().is_some())
            } else {
                search.last().is_some()
            };
            if is_enough {
                break !self.options.lookback;
            }
        };
        let last = search.last().flatten();
        let mut messages = search.take_certain();
        if !self.options.lookback {
            // The messages that a step goes back to, and no others.
            messages.retain(|message| Some(message.log_time) == last);
        }
        let state = Lookback { messages, last, late: false };
        if !is_whole {
            work.search = Some((search, seek));
        } else if self.is_start(seek) {
            work.before_start = Some(state.clone());
        }
        self.hand_over_lookback(work.generation, state, !is_whole);
        true
    }

    fn is_start(&self, seek: Seek) -> bool {
        seek.time == self.options.range.start && !seek.back
    }

    /// Goes on with the search for the state, where it was not whole when messages began.
    fn search_on(&self, work: &mut Work) {
        let Some((mut search, seek)) = work.search.take() else { return };
        let goes_on = search.step();
        self.hand_over_late(work.generation, search.take_certain(), goes_on);
        if goes_on {
            work.search = Some((search, seek));
            return;
        }
        if self.is_start(seek) {
            let last = search.last().flatten();
            work.before_start = Some(Lookback { messages: search.finish(), last, late: false });
        }
        if std::mem::take(&mut work.pass_over) {
            self.end_pass(work);
        }
    }

    fn read_on(&self, work: &mut Work) {
        let start = self.options.range.start;
        let cursor = work.cursor.get_or_insert_with(|| self.recording.cursor(start));
        let (messages, bytes, pass_over) = self.read_batch(&mut **cursor, work.batch_limit);
        work.batch_limit = (work.batch_limit * 2).min(BATCH_MESSAGES);
        if !messages.is_empty() {
            self.hand_over(work.generation, Item::Batch { messages, bytes });
        }
        if pass_over {
            // What is found later belongs before the end.
            work.pass_over = work.search.is_some();
            if !work.pass_over {
                self.end_pass(work);
            }
        }
    }

    fn end_pass(&self, work: &mut Work) {
        // Charged so that a recording of a few bytes is not read thousands of passes ahead.
        let bytes = (self.state().limit / PASSES_AHEAD).max(1);
        self.hand_over(work.generation, Item::EndOfPass { bytes });
        // The next pass begins when there is room for it.
        work.cursor = None;
        self.find_state(work, Seek { time: self.options.range.start, back: false });
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

    fn hand_over_lookback(&self, generation: u64, state: Lookback, searching: bool) {
        let bytes = cost(&state.messages);
        self.hand_over_with(generation, |shared| {
            shared.searching = searching;
            shared.push(Item::Lookback { state, bytes });
        });
    }

    /// Hands over what was found of the state after messages began.
    fn hand_over_late(&self, generation: u64, messages: Vec<Message>, searching: bool) {
        if messages.is_empty() && searching {
            return;
        }
        self.hand_over_with(generation, |shared| {
            shared.searching = searching;
            let bytes = cost(&messages);
            shared.bytes += bytes;
            // The last one is that of the pass that is read.
            let untaken = shared.queue.iter_mut().rev().find_map(|item| match item {
                Item::Lookback { state, bytes } => Some((state, bytes)),
                _ => None,
            });
            if let Some((state, total)) = untaken {
                state.messages.extend(messages);
                state.messages.sort_by_key(|message| message.log_time);
                *total += bytes;
                return;
            }
            shared.late.extend(messages);
            shared.hungry = true;
            self.late.store(true, Ordering::Release);
        });
    }

    fn hand_over(&self, generation: u64, item: Item) {
        self.hand_over_with(generation, |shared| shared.push(item));
    }

    fn hand_over_with(&self, generation: u64, hand_over: impl FnOnce(&mut State)) {
        let mut state = self.state();
        if generation != state.generation {
            return;
        }
        hand_over(&mut state);
        let hungry = std::mem::take(&mut state.hungry);
        drop(state);
        if hungry {
            (self.fed)();
        }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        // The state is whole between any two statements that change it, so a panic elsewhere spoils nothing.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn push(&mut self, item: Item) {
        self.bytes += item.bytes();
        self.queue.push_back(item);
    }

    /// What was taken is used up. Gives how many bytes that were.
    pub fn use_up(&mut self) -> usize {
        self.bytes -= self.taken;
        std::mem::take(&mut self.taken)
    }

    /// Takes what is next, after what was taken before is [used up](Self::use_up).
    pub fn take(&mut self) -> Option<Item> {
        debug_assert_eq!(self.taken, 0);
        let item = self.queue.pop_front()?;
        self.taken = item.bytes();
        Some(item)
    }

    /// Whether more may be read.
    fn has_room(&self) -> bool {
        self.bytes < self.limit || self.bytes - self.beside(self.taken) < self.limit
    }

    /// How many bytes of what is in the queue, and of so many that are `taken`, do not count: the largest item, where it
    /// would fill most of the room by itself. While a large message waits for its time, what comes after it is read.
    fn beside(&self, taken: usize) -> usize {
        let largest = self.queue.iter().map(Item::bytes).fold(taken, usize::max);
        let large = self.limit / 2 + 1..=self.limit.saturating_mul(LARGEST_BESIDE);
        if large.contains(&largest) { largest } else { 0 }
    }
}

/// What messages count for in the queue, in bytes.
fn cost(messages: &[Message]) -> usize {
    messages.iter().map(|message| message.data.len() + OVERHEAD).sum()
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
