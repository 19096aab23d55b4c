//! What waits for one client: an ordered queue, bounded in bytes, and what is left out where it is full.

mod batch;
mod shed;

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use tokio::sync::Notify;

pub(super) use batch::Batch;

use crate::foxglove::Subscription;
use crate::playback::Event;
use crate::recording::{ChannelId, Message};
use crate::time::Timestamp;

/// What a queued message costs beside its payload, in bytes.
const OVERHEAD: usize = size_of::<Item>();

/// How many bytes of answers may wait for a client before it has to read them to get more.
const ANSWERS_LIMIT: usize = 256 * 1024;

/// Above this backlog payloads are copied out of the chunks that they are slices of, unless they are as
/// large as chunks are: otherwise a slow client that waits for a small topic would keep whole chunks alive.
const DETACH_ABOVE: usize = 1024 * 1024;
const DETACH_BELOW: usize = 1024 * 1024;

/// The queue of one client.
///
/// Many hands put into it (the scheduler's messages, statuses, the WebSocket library's pongs and close
/// frames), one takes out of it and writes to the socket, so no frame is ever split by another.
pub(super) struct Outbox {
    state: Mutex<State>,
    /// Tells the one that takes out that there is something.
    filled: Notify,
    /// How many bytes of messages may wait.
    limit: usize,
}

struct State {
    queue: VecDeque<Item>,
    /// Payload and overhead of the messages in the queue, in bytes.
    message_bytes: usize,
    /// Size of the answers in the queue, in bytes.
    answer_bytes: usize,
    /// Wants to hear when there is room for answers again.
    answerer: Option<Waker>,
    /// The subscription id of each channel that is subscribed to.
    subscriptions: Vec<Option<u32>>,
    channels: HashMap<u32, ChannelId>,
    /// The time of the last Time message that was taken out.
    time: Option<Timestamp>,
    /// No more is put in; once the queue is empty, the connection is over.
    finished: bool,
    counts: Counts,
}

enum Item {
    /// Whole frames. Whether they answer the client, and so count against [`ANSWERS_LIMIT`].
    Frames { bytes: Bytes, answer: bool },
    /// The time went on or jumped.
    Time(Timestamp),
    /// A message, under the subscription id that it was queued for. One of the past comes with its own log
    /// time, but does not set the time back.
    Message { channel: ChannelId, subscription: u32, log_time: Timestamp, past: bool, data: Bytes },
}

/// What became of the messages that were meant for a client.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Counts {
    /// How many were written to the socket.
    pub sent: u64,
    /// Their payload in bytes.
    pub sent_bytes: u64,
    /// Payload of all that were meant for it, in bytes.
    pub offered_bytes: u64,
    /// How many were left out, by channel. Empty while there is none.
    pub dropped: HashMap<ChannelId, u64>,
}

impl Counts {
    /// How many were left out.
    pub fn dropped_total(&self) -> u64 {
        self.dropped.values().sum()
    }
}

/// Why a subscription is refused, in words for whoever wrote the client.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum SubscribeError {
    #[error("there is no channel {0}, so it can't be subscribed to")]
    NoSuchChannel(ChannelId),
    #[error("channel {0} is already subscribed to; there is one subscription for a channel")]
    Again(ChannelId),
    #[error("the subscription id {0} is already used for another channel")]
    IdInUse(u32),
}

impl Outbox {
    /// An empty queue for a client, for a recording with so many channels. `limit` is in bytes.
    pub fn new(channels: usize, limit: usize) -> Self {
        let state = State {
            queue: VecDeque::new(),
            message_bytes: 0,
            answer_bytes: 0,
            answerer: None,
            subscriptions: vec![None; channels],
            channels: HashMap::new(),
            time: None,
            finished: false,
            counts: Counts::default(),
        };
        Outbox { state: Mutex::new(state), filled: Notify::new(), limit }
    }

    /// Sends the messages of a channel from now on.
    pub fn subscribe(&self, wanted: Subscription) -> Result<(), SubscribeError> {
        let mut state = self.lock();
        let slot = state
            .subscriptions
            .get_mut(wanted.channel.0 as usize)
            .ok_or(SubscribeError::NoSuchChannel(wanted.channel))?;
        if slot.is_some() {
            return Err(SubscribeError::Again(wanted.channel));
        }
        if state.channels.contains_key(&wanted.id) {
            return Err(SubscribeError::IdInUse(wanted.id));
        }
        state.subscriptions[wanted.channel.0 as usize] = Some(wanted.id);
        state.channels.insert(wanted.id, wanted.channel);
        Ok(())
    }

    /// Sends no more for a subscription, also not what is queued for it. Says whether there was one.
    pub fn unsubscribe(&self, id: u32) -> bool {
        let mut state = self.lock();
        let Some(channel) = state.channels.remove(&id) else { return false };
        state.subscriptions[channel.0 as usize] = None;
        true
    }

    /// Queues what happens on the timeline, as far as the client subscribed to it.
    pub fn deliver(&self, events: &[Event]) {
        let mut state = self.lock();
        if state.finished {
            return;
        }
        let before = state.queue.len();
        for event in events {
            match event {
                Event::Message(message) => self.queue_message(&mut state, message, false),
                Event::Lookback(messages) => {
                    for message in messages {
                        self.queue_message(&mut state, message, true);
                    }
                }
                Event::Jumped(time) | Event::Ended(time) => state.queue_time(*time),
                // Who is behind hears of the time with the messages that come.
                Event::Tick(time) if state.queue.is_empty() => state.queue_time(*time),
                Event::Tick(_) | Event::Stalled(_) => {}
            }
        }
        let filled = state.queue.len() > before;
        drop(state);
        if filled {
            self.filled.notify_one();
        }
    }

    /// Queues a message from before the position, for a client that has just subscribed to its channel.
    pub fn deliver_past(&self, position: Timestamp, message: &Message) {
        let mut state = self.lock();
        if !state.finished {
            state.queue_time(position);
            self.queue_message(&mut state, message, true);
            drop(state);
            self.filled.notify_one();
        }
    }

    fn queue_message(&self, state: &mut State, message: &Message, past: bool) {
        let Some(subscription) = state.subscriptions[message.channel.0 as usize] else { return };
        let size = message.data.len();
        let detach = state.message_bytes > DETACH_ABOVE && size < DETACH_BELOW;
        let data = if detach { Bytes::copy_from_slice(&message.data) } else { message.data.clone() };
        let (channel, log_time) = (message.channel, message.log_time);
        state.queue.push_back(Item::Message { channel, subscription, log_time, past, data });
        state.message_bytes += size + OVERHEAD;
        state.counts.offered_bytes += size as u64;
        if state.message_bytes > self.limit {
            state.shed(self.limit);
        }
    }

    /// Queues what a client gets before anything else. It needs the time between the two: without it, its
    /// first state with channels has clock 0.
    pub fn greet(&self, server_info: Bytes, time: Timestamp, channels: &[Bytes]) {
        let mut state = self.lock();
        state.push(server_info, false);
        state.queue_time(time);
        for frame in channels {
            state.push(frame.clone(), false);
        }
        drop(state);
        self.filled.notify_one();
    }

    /// Queues whole frames.
    pub fn push(&self, frames: Bytes) {
        self.lock().push(frames, false);
        self.filled.notify_one();
    }

    /// Queues a frame that answers something the client sent. Where too many of them wait already, it is
    /// left out: says whether it was taken.
    pub fn push_answer(&self, frame: Bytes) -> bool {
        let mut state = self.lock();
        let room = state.answer_bytes < ANSWERS_LIMIT;
        if room {
            state.push(frame, true);
            drop(state);
            self.filled.notify_one();
        }
        room
    }

    /// As [`push_answer`](Self::push_answer), but is ready only when there is room.
    pub fn poll_push_answer(&self, context: &Context<'_>, frame: &[u8]) -> Poll<()> {
        let mut state = self.lock();
        if state.answer_bytes >= ANSWERS_LIMIT {
            state.answerer = Some(context.waker().clone());
            return Poll::Pending;
        }
        state.push(Bytes::copy_from_slice(frame), true);
        drop(state);
        self.filled.notify_one();
        Poll::Ready(())
    }

    /// Takes nothing more. What is queued is still sent, and then the connection is over.
    pub fn finish(&self) {
        self.lock().finished = true;
        self.filled.notify_one();
    }

    /// Leaves out all messages that are queued, but not the frames. They do not count as dropped: who hung
    /// up does not miss them.
    pub fn clear_messages(&self) {
        let mut state = self.lock();
        state.queue.retain(|item| matches!(item, Item::Frames { .. }));
        state.message_bytes = 0;
    }

    /// Takes out as much as one write should have; waits until there is something. `false` when the queue is
    /// [finished](Self::finish) and empty.
    pub async fn next_batch(&self, batch: &mut Batch) -> bool {
        loop {
            {
                let mut state = self.lock();
                state.take(batch);
                if !batch.is_empty() {
                    return true;
                }
                if state.finished {
                    return false;
                }
            }
            self.filled.notified().await;
        }
    }

    /// What became of the messages so far.
    pub fn counts(&self) -> Counts {
        self.lock().counts.clone()
    }

    /// Payload and overhead of the messages that wait, in bytes.
    pub fn waiting_bytes(&self) -> usize {
        self.lock().message_bytes
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is whole between any two statements that change it, so a panic elsewhere spoils nothing.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn push(&mut self, bytes: Bytes, answer: bool) {
        if self.finished {
            return;
        }
        if answer {
            self.answer_bytes += bytes.len();
        }
        self.queue.push_back(Item::Frames { bytes, answer });
    }

    fn queue_time(&mut self, time: Timestamp) {
        // Of several times in a row only the last one matters.
        match self.queue.back_mut() {
            Some(Item::Time(last)) => *last = time,
            _ => self.queue.push_back(Item::Time(time)),
        }
    }

    /// Moves items from the queue to `batch` until that is full.
    fn take(&mut self, batch: &mut Batch) {
        batch.clear();
        while !batch.is_full() {
            let Some(item) = self.queue.pop_front() else { break };
            match item {
                Item::Frames { bytes, answer } => {
                    if answer {
                        self.answer_bytes -= bytes.len();
                    }
                    batch.push_frames(bytes);
                }
                Item::Time(time) => self.put_time(batch, time),
                Item::Message { channel, subscription, log_time, past, data } => {
                    self.message_bytes -= data.len() + OVERHEAD;
                    if self.subscriptions[channel.0 as usize] != Some(subscription) {
                        continue;
                    }
                    if !past {
                        self.put_time(batch, log_time);
                    }
                    self.counts.sent += 1;
                    self.counts.sent_bytes += data.len() as u64;
                    batch.push_message(subscription, log_time, data);
                }
            }
        }
        if self.answer_bytes < ANSWERS_LIMIT
            && let Some(answerer) = self.answerer.take()
        {
            answerer.wake();
        }
    }

    /// A Time message, unless the last one said the same.
    fn put_time(&mut self, batch: &mut Batch, time: Timestamp) {
        if self.time != Some(time) {
            self.time = Some(time);
            batch.push_time(time);
        }
    }
}

#[cfg(test)]
mod tests;
