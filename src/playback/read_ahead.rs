//! Reads a recording ahead of time, on threads of its own, so that neither the disk nor decompression
//! delays a message.

mod reader;
#[cfg(test)]
mod tests;

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use self::reader::{Item, Reader, Seek};
use super::{Feed, Lookback, Peek, Range, ReadPool};
use crate::recording::{ChannelId, Message, Recording};
use crate::time::Timestamp;

/// The threads that read are told of room once half of what is kept ready is taken. A thread that has slept is slow at
/// first, so that to read an eighth at a time takes a tenth more of the processor.
const ROOM_PARTS: usize = 2;

/// The same where messages are taken as fast as they come: waking a thread for less costs more than what it reads.
const HURRIED_ROOM_PARTS: usize = 8;

/// What to read, and how much of it ahead of time.
#[derive(Clone, Copy, Debug)]
pub struct ReadAheadOptions {
    /// The part of the recording that is read.
    pub range: Range,
    /// Whether all that comes after the start is read, whatever the range says of its end.
    pub open_end: bool,
    /// How many bytes of messages are kept ready, at the most, beside one message that is larger than half of that and no
    /// more than eight times as large: fewer while they are taken as fast as they come.
    pub limit: usize,
    /// Whether the state before each place where reading starts is found as well.
    pub lookback: bool,
    /// How long messages wait for the state before them. What takes longer to find comes among them.
    pub patience: Duration,
}

/// A queue between the threads that read and the timeline that plays, bounded in bytes.
#[derive(Debug)]
pub struct ReadAhead {
    pool: ReadPool,
    reader: Arc<Reader>,
    /// The batch that is being taken from. It still counts as kept ready, until it is used up.
    batch: VecDeque<Message>,
    lookback: Option<Lookback>,
    end_of_pass: bool,
    /// The channels that had a message since the state before it was taken, while more of that state is looked
    /// for: what is found for them is no longer the last message.
    played: Option<HashSet<ChannelId>>,
    /// How many bytes there is room for since something was taken, of which the threads that read were not told yet.
    room: usize,
    /// Of how many bytes of room they are told at the least.
    enough_room: usize,
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
        let reader = Arc::new(Reader::new(recording, options, Box::new(fed)));
        reader.schedule(&pool);
        ReadAhead {
            pool,
            reader,
            batch: VecDeque::new(),
            lookback: None,
            end_of_pass: false,
            played: None,
            room: 0,
            enough_room: enough_room(options.limit, false),
        }
    }

    /// Takes what is next in the queue. `false` where it is empty.
    fn refill(&mut self) -> bool {
        let mut state = self.reader.state();
        // Who waits for more would wait for ever. A fault here is a fault of the whole playback.
        assert!(!state.broken, "reading the recording ended by the fault above");
        self.room = self.room.saturating_add(state.use_up());
        // Where the end of the pass is in the queue, all of its state was found before.
        if let Some((messages, over)) = self.reader.take_late(&mut state) {
            drop(state);
            self.add_late(messages, over);
            return true;
        }
        match state.take() {
            Some(Item::Batch { messages, .. }) => self.batch = messages,
            Some(Item::Lookback { state: lookback, .. }) => {
                // From here on, what is found later comes by itself.
                self.played = state.searching.then(HashSet::new);
                self.lookback = Some(lookback);
            }
            Some(Item::EndOfPass { .. }) => self.end_of_pass = true,
            None => state.hungry = true,
        }
        if state.hungry {
            self.reader.wake(state, &self.pool);
            return false;
        }
        true
    }

    /// Adds to the state what was found of it since messages go on without it.
    fn add_late(&mut self, mut messages: Vec<Message>, over: bool) {
        // It may have been much.
        self.room = usize::MAX;
        let Some(played) = &self.played else { return };
        messages.retain(|message| !played.contains(&message.channel));
        if !messages.is_empty() {
            self.lookback = Some(Lookback { messages, last: None, late: true });
        }
        if over {
            self.played = None;
        }
    }
}

impl Feed for ReadAhead {
    fn peek(&mut self) -> Peek {
        if self.played.is_some() && self.lookback.is_none() && self.reader.has_late() {
            let late = self.reader.take_late(&mut self.reader.state());
            late.into_iter().for_each(|(messages, over)| self.add_late(messages, over));
        }
        while self.batch.is_empty() && self.lookback.is_none() && !self.end_of_pass {
            if !self.refill() {
                break;
            }
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

    fn last_ready_up_to(&self, time: Timestamp) -> Option<Timestamp> {
        self.batch.iter().map(|message| message.log_time).take_while(|log_time| *log_time <= time).last()
    }

    fn take(&mut self) -> Option<Message> {
        let message = self.batch.pop_front();
        if let (Some(played), Some(message)) = (&mut self.played, &message) {
            played.insert(message.channel);
        }
        message
    }

    fn next_pass(&mut self) {
        self.end_of_pass = false;
    }

    fn seek(&mut self, to: Timestamp, back: bool) {
        self.batch.clear();
        self.lookback = None;
        self.end_of_pass = false;
        self.played = None;
        self.reader.seek(Seek { time: to, back }, &self.pool);
    }

    fn hurry(&mut self, hurries: bool) {
        self.enough_room = enough_room(self.reader.hurry(hurries), hurries);
        // Perhaps for more than before.
        self.room = usize::MAX;
    }

    fn passed_on(&mut self, everything: &dyn Fn() -> bool) {
        // A thread that reads would take a processor from those that send what was taken, and receive it.
        if self.room >= self.enough_room && (self.reader.is_short() || everything()) {
            self.room = 0;
            self.reader.wake(self.reader.state(), &self.pool);
        }
    }
}

/// Of how many bytes of room the threads that read are told at the least, where so many bytes are kept ready.
fn enough_room(limit: usize, hurries: bool) -> usize {
    let parts = if hurries { HURRIED_ROOM_PARTS } else { ROOM_PARTS };
    (limit / parts).max(1)
}

impl Drop for ReadAhead {
    /// What is being read is not waited for: it may be stuck in a read from a disk that is gone.
    fn drop(&mut self) {
        self.reader.close();
    }
}
