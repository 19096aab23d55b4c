//! What waits for a client, in the order in which it was put in.

use std::collections::{HashMap, VecDeque};
use std::task::Waker;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::batch::Batch;
use super::lag::Lag;
use super::lateness::Lateness;
use super::pen::{LARGE, Load};
use super::share::Share;
use super::waiting::{Waiting, WaitingMessage};
use super::{Counts, HELD_PART, MayHold};
use crate::recording::{ChannelId, Message};
use crate::time::Timestamp;

/// How many bytes of answers may wait for a client before it has to read them to get more.
pub(super) const ANSWERS_LIMIT: usize = 256 * 1024;

/// What a queued frame costs beside its bytes.
const FRAME_OVERHEAD: usize = size_of::<Frames>();

/// The queue of one client, and what was counted of it.
pub(super) struct State {
    /// Counts what was put in, so that what waits in different places comes out in order.
    pub sequence: u64,
    /// Whole frames that are no messages: what the client is told first, statuses, answers.
    frames: VecDeque<Frames>,
    /// The messages, by channel.
    pub waiting: Waiting,
    /// Where time went last, and when that was put in. Messages bring their own time, so that no other than the
    /// last one matters.
    time: Option<(u64, Timestamp)>,
    /// Size of the answers in `frames`, in bytes.
    pub answer_bytes: usize,
    /// Wants to hear when there is room for answers again.
    pub answerer: Option<Waker>,
    /// The channel of each subscription id.
    pub channels: HashMap<u32, ChannelId>,
    /// The time of the last Time message that was taken out.
    pub told: Option<Timestamp>,
    /// When what was queued last is due, where that was a moment later: nothing is written before.
    pub not_before: Option<Instant>,
    /// When something was last queued that tells the time.
    pub told_at: Option<Instant>,
    /// Somebody waits for room for more messages.
    pub awaited: bool,
    /// The sequence number of a large frame that waits.
    pub large: Option<u64>,
    /// No more messages are put in.
    pub closing: bool,
    /// Nothing more is put in; once everything is taken out, the connection is over.
    pub finished: bool,
    /// Its share in what is left to be written.
    pub share: Option<Share>,
    /// Whether the socket took nothing more when something was last written.
    pub blocked: bool,
    /// How many messages were taken out.
    pub taken: u64,
    pub counts: Counts,
    pub lateness: Lateness,
    /// Since when messages have been waiting whenever others came.
    pub behind_since: Option<Instant>,
    /// Whether what happens is put [aside](super::aside) first.
    pub far_behind: bool,
    lag: Lag,
}

/// Whole frames that wait.
struct Frames {
    sequence: u64,
    bytes: Bytes,
    /// Whether they answer the client, and so count against [`ANSWERS_LIMIT`].
    answer: bool,
}

impl State {
    /// For so many channels, where messages may wait so long.
    pub fn new(channels: usize, lag: Duration) -> Self {
        State {
            sequence: 0,
            frames: VecDeque::new(),
            waiting: Waiting::new(channels),
            time: None,
            answer_bytes: 0,
            answerer: None,
            channels: HashMap::new(),
            told: None,
            not_before: None,
            told_at: None,
            awaited: false,
            large: None,
            closing: false,
            finished: false,
            share: None,
            blocked: false,
            taken: 0,
            counts: Counts::default(),
            lateness: Lateness::default(),
            behind_since: None,
            far_behind: false,
            lag: Lag::new(lag),
        }
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty() && self.waiting.is_empty() && self.time.is_none()
    }

    /// Whether what was queued last is due only in a moment. The scheduler prepares it, and sees to it that it is written
    /// then.
    pub fn is_early(&mut self) -> bool {
        let early = !self.closing && self.not_before.is_some_and(|due| Instant::now() < due);
        if !early {
            self.not_before = None;
        }
        early
    }

    fn next_sequence(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    pub fn push(&mut self, bytes: Bytes, answer: bool) {
        if self.finished {
            return;
        }
        if answer {
            self.answer_bytes += bytes.len() + FRAME_OVERHEAD;
        }
        let sequence = self.next_sequence();
        self.frames.push_back(Frames { sequence, bytes, answer });
    }

    pub fn queue_time(&mut self, time: Timestamp) {
        self.time = Some((self.next_sequence(), time));
    }

    /// Queues a message that is to be preceded by this time. While it waits, it keeps alive what its payload is a
    /// slice of: where that is more than messages `may_hold`, it gets a copy.
    pub fn queue(&mut self, message: &Message, time: Timestamp, due: Option<Instant>, may_hold: MayHold) {
        if !self.waiting.wants(message.channel) {
            return;
        }
        let size = message.data.len();
        let memory = message.memory;
        let held = self.waiting.held();
        let copy = if message.is_small_slice() {
            held.bytes_with(memory) > may_hold.for_small
        } else {
            memory.bytes > size && held.beyond_payloads_with(memory, size) > may_hold.beyond_payloads
        };
        let data = if copy { Bytes::copy_from_slice(&message.data) } else { message.data.clone() };
        let sequence = self.next_sequence();
        self.counts.offered_bytes += size as u64;
        let log_time = message.log_time;
        let waiting = WaitingMessage { sequence, time, log_time, due, data, held: None };
        let held = (!copy && size > 0 && memory.bytes > size).then_some(memory);
        self.waiting.push(message.channel, held, waiting);
    }

    /// Leaves out messages where more waits than `limit`, until an eighth of that is free, so that this is not needed
    /// for every message. What is being written, and what else these messages keep in memory, counts as well, up to a
    /// part of `limit`; but for that alone the newest message of a topic is not left out.
    pub fn shed(&mut self, limit: usize) {
        let target = limit - limit / 8;
        let beside = self.bytes_beside(limit);
        if self.waiting.bytes() + beside > limit {
            self.counts.dropped += self.waiting.shed_but_newest(target - beside);
        }
        if self.waiting.bytes() > limit {
            self.counts.dropped += self.waiting.shed(target);
        }
    }

    /// What counts beside the messages that wait, in bytes.
    fn bytes_beside(&self, limit: usize) -> usize {
        self.waiting.bytes_beside().min(limit / HELD_PART)
    }

    /// How many more bytes may wait, where that is `limit` in all, before messages are left out.
    pub fn room(&self, limit: usize) -> usize {
        limit.saturating_sub(self.waiting.bytes() + self.bytes_beside(limit))
    }

    /// Leaves out messages where some wait too long, or will ([`Lag::excess`]): more than the connection takes in that
    /// time. The newest of each topic stays in any case.
    pub fn heed_lag(&mut self, now: Instant, written: u64) {
        self.lag.note(now, self.sequence, written);
        if let Some(first) = self.waiting.first()
            && let Some(budget) = self.lag.excess(first, self.waiting.bytes(), now, written)
        {
            self.counts.dropped += self.waiting.thin_out(budget as usize);
            self.lag.thinned_out(self.sequence, self.waiting.bytes(), now);
        }
    }

    /// Moves what waits to `batch`, in order, until that is full or has all that is wanted. Says whether there
    /// is room for a large frame again.
    pub fn take(&mut self, batch: &mut Batch, load: Load) -> bool {
        batch.clear();
        let mut large_taken = false;
        while !batch.is_full() {
            let frames = self.frames.front().map_or(u64::MAX, |frames| frames.sequence);
            let time = self.time.map_or(u64::MAX, |(sequence, _)| sequence);
            let message = self.waiting.first().unwrap_or(u64::MAX);
            let first = frames.min(time).min(message);
            if first == u64::MAX || self.is_too_much(first, batch, load) {
                break;
            } else if first == message
                && let Some((channel, subscription, message)) = self.waiting.pop_first()
            {
                self.put_time(batch, message.time);
                self.taken += 1;
                batch.push_message(channel, subscription, message);
            } else if first == time
                && let Some((_, time)) = self.time.take()
            {
                self.put_time(batch, time);
            } else if let Some(frames) = self.frames.pop_front() {
                if frames.answer {
                    self.answer_bytes -= frames.bytes.len() + FRAME_OVERHEAD;
                }
                if self.large == Some(frames.sequence) {
                    self.large = None;
                    large_taken = true;
                }
                batch.push_frames(frames.bytes);
            }
        }
        if self.answer_bytes < ANSWERS_LIMIT
            && let Some(answerer) = self.answerer.take()
        {
            answerer.wake();
        }
        large_taken
    }

    /// Whether what comes out next, with this sequence number, is not to be written together with what is in the batch
    /// already ([`Load`]).
    fn is_too_much(&mut self, sequence: u64, batch: &Batch, load: Load) -> bool {
        match load {
            Load::UpTo(most) => batch.bytes() > most || self.first_bytes(sequence) > most,
            Load::Large(most) if self.first_bytes(sequence) > most => true,
            Load::Large(_) | Load::Any => batch.bytes() > LARGE && self.first_bytes(sequence) > LARGE,
        }
    }

    /// The size of what comes out next, which has this sequence number, in bytes.
    fn first_bytes(&mut self, sequence: u64) -> usize {
        match self.frames.front() {
            Some(frames) if frames.sequence == sequence => frames.bytes.len(),
            _ => self.waiting.bytes_of(sequence),
        }
    }

    /// A Time message, unless the last one said the same.
    fn put_time(&mut self, batch: &mut Batch, time: Timestamp) {
        if self.told != Some(time) {
            self.told = Some(time);
            batch.push_time(time);
        }
    }
}
