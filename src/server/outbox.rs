//! What waits for one client: in the order in which it came, bounded in bytes, and fair to small topics where
//! it is too much.

mod aside;
mod batch;
mod lag;
mod lateness;
mod pen;
mod share;
mod state;
mod waiting;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::Notify;

use aside::Aside;
pub(super) use batch::Batch;
pub use lateness::Lateness;
pub(super) use pen::{LARGE, Wrote};
use pen::{Load, Pen};
pub(super) use share::{Share, ShareWatch};
use state::{ANSWERS_LIMIT, State};
pub use waiting::Tally;

use super::frame;
use crate::foxglove::{self, Subscription};
use crate::playback::Event;
use crate::recording::{ChannelId, Message};
use crate::time::Timestamp;

/// How long a client hears nothing of the time, before it is told what time it is although none of its topics
/// has a message. A little less than the rhythm in which the timeline tells the time when nothing happens.
const QUIET: Duration = Duration::from_millis(90);

/// How many bytes of chunks may be kept in memory by small messages that wait, so that these need not be copied.
const HELD_LIMIT: usize = 8 * 1024 * 1024;

/// Which part of what may be kept for a client is at the most for what is being written, and for the rest of the chunks
/// that its messages keep in memory, where messages are left out.
const HELD_PART: usize = 3;

/// Which part of it that may be chunks that are kept by small slices: since what is large is left out first, it is soon
/// nothing else that keeps them.
const SMALL_PART: usize = 16;

/// How much memory messages that wait may keep in use, before the next one gets memory of its own.
#[derive(Clone, Copy, Debug)]
struct MayHold {
    /// How much there may be in all where it is a [small slice](Message::is_small_slice), in bytes.
    for_small: usize,
    /// How much of it may be no payload where it is not, in bytes.
    beyond_payloads: usize,
}

impl MayHold {
    const ANYTHING: MayHold = MayHold { for_small: usize::MAX, beyond_payloads: usize::MAX };
}

/// How many bytes of messages wait at the most where nothing is left out. Playback waits anyway, and what waits for long
/// has gone from the processor's caches when it is sent.
const LOSSLESS_LIMIT: usize = 4 * 1024 * 1024;

/// The queue of one client.
///
/// Many hands put into it (the scheduler's messages, statuses, the WebSocket library's pongs and close
/// frames), one takes out of it and writes to the socket, so no frame is ever split by another.
pub(super) struct Outbox {
    state: Mutex<State>,
    /// What is to be queued yet, while the client is far behind.
    aside: Aside,
    /// Tells the one that takes out that there is something.
    filled: Notify,
    /// Tells the one that puts in large frames that the last one is taken out.
    large_taken: Notify,
    /// How many bytes of messages may wait.
    limit: AtomicUsize,
    /// What is being written, and where to.
    pen: Mutex<Pen>,
    /// Whether nothing may be left out now.
    loses_nothing: AtomicBool,
    /// Lets playback go on that waits for this client.
    go_on: OnceLock<Box<dyn Fn() + Send + Sync>>,
    /// How many bytes the socket has taken.
    written: AtomicU64,
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
    /// How many were left out since it takes less than is played.
    pub dropped: u64,
    /// How many a client that was still there did not take in time at the end.
    pub undelivered: u64,
}

/// What a delivery meant for a client.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Delivery {
    /// Something was queued.
    pub filled: bool,
    /// Messages were waiting before, or the client is far behind.
    pub behind: bool,
    /// The client is subscribed to nothing, or leaves; not said of one that is far behind.
    pub idle: bool,
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
    /// An empty queue for a client, for a recording with so many channels, in which so many bytes of messages may
    /// wait, and each of them so long.
    pub fn new(channels: usize, limit: usize, lag: Duration) -> Self {
        Outbox {
            state: Mutex::new(State::new(channels, lag)),
            aside: Aside::default(),
            filled: Notify::new(),
            large_taken: Notify::new(),
            loses_nothing: AtomicBool::new(false),
            go_on: OnceLock::new(),
            pen: Mutex::default(),
            limit: AtomicUsize::new(limit),
            written: AtomicU64::new(0),
        }
    }

    /// Lets so many bytes of messages wait from now on.
    pub fn set_limit(&self, bytes: usize) {
        self.limit.store(bytes, Ordering::Relaxed);
    }

    fn limit(&self) -> usize {
        let most = if self.loses_nothing() { LOSSLESS_LIMIT } else { usize::MAX };
        // With no room at all nothing would ever be taken.
        self.limit.load(Ordering::Relaxed).clamp(1, most)
    }

    /// What messages that wait may hold, where others wait already: so chunks stay within their part of what may be
    /// kept. More where nothing is left out: a copy of everything would cost more.
    fn may_hold(&self) -> MayHold {
        let limit = self.limit.load(Ordering::Relaxed);
        if self.loses_nothing() {
            return MayHold { for_small: HELD_LIMIT.min(limit), beyond_payloads: usize::MAX };
        }
        let for_small = HELD_LIMIT.min(limit / SMALL_PART);
        MayHold { for_small, beyond_payloads: limit / HELD_PART - for_small }
    }

    /// Calls this when playback may go on that waited for this client: there is room for more messages, after
    /// [`has_room`](Self::has_room) said that there is none, or the last [`Share`] is returned for which somebody waits.
    pub fn when_it_may_go_on(&self, go_on: Box<dyn Fn() + Send + Sync>) {
        // It is asked for once, when the client comes.
        self.go_on.set(go_on).unwrap_or_default();
    }

    /// Leaves out no messages from now on, however many wait; or may do so again.
    pub fn lose_nothing(&self, nothing: bool) {
        self.loses_nothing.store(nothing, Ordering::Relaxed);
    }

    /// Whether nothing may be left out now.
    pub fn loses_nothing(&self) -> bool {
        self.loses_nothing.load(Ordering::Relaxed)
    }

    /// Whether there is room for more messages. Where not, it will be told when there is.
    pub fn has_room(&self) -> bool {
        let mut state = self.lock();
        let room = state.closing || state.waiting.bytes() < self.limit();
        state.awaited |= !room;
        room
    }

    /// Sends the messages of a channel from now on.
    pub fn subscribe(&self, wanted: Subscription) -> Result<(), SubscribeError> {
        let mut state = self.lock();
        if state.channels.contains_key(&wanted.id) {
            return Err(SubscribeError::IdInUse(wanted.id));
        }
        state.waiting.subscribe(wanted)?;
        state.channels.insert(wanted.id, wanted.channel);
        self.aside.set_wanted(wanted.channel, true);
        Ok(())
    }

    /// Sends no more for a subscription, also not what waits for it. Gives its channel, if there was one.
    pub fn unsubscribe(&self, id: u32) -> Option<ChannelId> {
        let mut state = self.lock();
        let channel = state.channels.remove(&id)?;
        state.waiting.unsubscribe(channel);
        self.aside.set_wanted(channel, false);
        self.queue_aside_in(&mut state);
        self.tell_room(&mut state);
        Some(channel)
    }

    /// Queues what happens on the timeline, as far as the client subscribed to it. `position` is where time was
    /// before that, and `at` is when it is to be written, now or in a moment, for which whoever writes waits awake.
    /// Where something was queued, who called has to see to it that it is written ([`write_light`](Self::write_light),
    /// [`wake`](Self::wake)); for a client that is far behind it is only put [aside], and the one who writes sees to it.
    pub fn deliver(&self, events: &[Event], position: Timestamp, at: Instant) -> Delivery {
        if self.put_aside(events, position, at) {
            return Delivery { filled: false, behind: true, idle: false };
        }
        let mut state = self.lock();
        let delivery = self.queue_events(&mut state, events, position, at, self.written());
        // For what is put aside there is less room now.
        self.queue_aside_in(&mut state);
        delivery
    }

    /// As [`deliver`](Self::deliver), whether the client is far behind or not. `written` is how many bytes the socket had
    /// taken when it happened.
    fn queue_events(
        &self,
        state: &mut State,
        events: &[Event],
        mut position: Timestamp,
        at: Instant,
        written: u64,
    ) -> Delivery {
        if state.closing {
            return Delivery { idle: true, ..Delivery::default() };
        }
        let before = state.sequence;
        let mut passed = false;
        let (limit, loses_nothing) = (self.limit_queued(state), self.loses_nothing());
        let behind = !state.waiting.is_empty();
        let may_hold = if behind { self.may_hold() } else { MayHold::ANYTHING };
        for event in events {
            match event {
                Event::Message(message, due) => {
                    position = message.log_time;
                    passed = true;
                    state.queue(message, message.log_time, *due, may_hold);
                }
                Event::Lookback(messages) => {
                    for message in messages {
                        state.queue(message, position, None, may_hold);
                    }
                }
                Event::Looped(time) | Event::Ended(time) => {
                    position = *time;
                    state.queue_time(*time);
                }
                Event::Jumped(time) => {
                    // Nobody wants to see the rest of where time was.
                    state.waiting.clear();
                    position = *time;
                    state.queue_time(*time);
                }
                Event::Tick(time) => {
                    position = *time;
                    passed = true;
                }
                Event::Stalled(_) | Event::Skipped(_) => {}
            }
            if !loses_nothing {
                state.shed(limit);
            }
        }
        if !loses_nothing {
            state.heed_lag(at, written);
        }
        // Whose topics are silent hears that time passes. Who is behind hears it with the messages that wait.
        let quiet = state.told_at.is_none_or(|told| at.saturating_duration_since(told) >= QUIET);
        if state.sequence == before && quiet && !behind && passed {
            state.queue_time(position);
        }
        let filled = state.sequence > before;
        if filled {
            state.told_at = Some(at);
            state.not_before = Some(at);
        }
        self.note_behind(state, behind, at);
        // After a jump nothing waits.
        self.tell_room(state);
        Delivery { filled, behind, idle: state.channels.is_empty() }
    }

    /// Queues a message from before the position, for a client that has just subscribed to its channel.
    pub fn deliver_past(&self, position: Timestamp, message: &Message) {
        let mut state = self.lock();
        if !state.closing {
            state.queue(message, position, None, self.may_hold());
            self.queue_aside_in(&mut state);
            drop(state);
            self.filled.notify_one();
        }
    }

    /// Queues what a client gets before anything else. It needs the time between the two: without it, its
    /// first state with channels has clock 0.
    pub fn greet(&self, server_info: Bytes, time: Timestamp, channels: &[Bytes]) {
        let mut state = self.lock();
        state.push(server_info, false);
        state.push(frame::binary(&foxglove::time(time)), false);
        state.told = Some(time);
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

    /// Queues a frame that answers something the client sent, or tells it something. Where too many of them
    /// wait already, it is left out: says whether it was taken.
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

    /// Queues frames, however large, once those that were queued in this way before are taken out: of what
    /// is too large for the other answers one waits at a time.
    pub async fn push_large(&self, frames: impl IntoIterator<Item = Bytes>) {
        self.large_are_taken().await;
        let mut state = self.lock();
        for frame in frames {
            state.push(frame, false);
        }
        state.large = Some(state.sequence);
        drop(state);
        self.filled.notify_one();
    }

    /// Waits until no large frame waits, so that the next one can be made.
    pub async fn large_are_taken(&self) {
        loop {
            let taken = self.large_taken.notified();
            {
                let state = self.lock();
                if state.large.is_none() || state.finished {
                    return;
                }
            }
            taken.await;
        }
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

    /// Takes no more messages, and leaves out those that wait: who hangs up does not miss them. Answers are still
    /// taken.
    pub fn stop_messages(&self) {
        let mut state = self.lock();
        state.waiting.clear();
        self.close(&mut state);
    }

    /// Takes nothing more after `last`. What waits is still sent before it, and then the connection is over.
    pub fn finish(&self, last: Bytes) {
        let mut state = self.lock();
        state.push(last, false);
        state.finished = true;
        self.close(&mut state);
        drop(state);
        self.filled.notify_one();
    }

    /// Takes nothing more, and leaves out all messages that wait. The frames that wait are sent, then `last`, and
    /// then the connection is over.
    pub fn hang_up(&self, last: Option<Bytes>) {
        let mut state = self.lock();
        state.waiting.clear();
        if let Some(last) = last {
            state.push(last, false);
        }
        self.end(&mut state);
    }

    /// Leaves out all messages that wait, and counts them as undelivered. The frames that wait are sent, and then the
    /// connection is over.
    pub fn cut_off(&self) {
        let mut state = self.lock();
        state.counts.undelivered += state.waiting.len();
        state.waiting.give_up();
        self.end(&mut state);
    }

    /// Gives up everything, and counts what is not sent as undelivered: the client did not take it in time.
    pub fn give_up(&self) {
        let mut pen = self.pen();
        let mut state = self.lock();
        state.counts.undelivered += state.waiting.len() + state.taken - state.counts.sent;
        state.waiting.give_up();
        for message in pen.batch.messages() {
            state.waiting.tally(message.channel).undelivered += 1;
        }
        pen.drop_rest();
        self.end(&mut state);
    }

    /// Gives up everything for a client that is gone, or has to go: it misses nothing.
    pub fn abandon(&self) {
        let mut pen = self.pen();
        let mut state = self.lock();
        state.waiting.clear();
        for message in pen.batch.messages() {
            state.waiting.tally(message.channel).skipped += 1;
        }
        pen.drop_rest();
        self.end(&mut state);
    }

    /// Takes nothing more.
    fn end(&self, state: &mut State) {
        state.finished = true;
        self.close(state);
        self.give_share_back(state);
        self.filled.notify_one();
    }

    /// Takes no more messages.
    fn close(&self, state: &mut State) {
        state.closing = true;
        self.queue_aside_in(state);
        self.tell_room(state);
    }

    /// Takes out as much as one write should have, instead of writing it; [`count_sent`](Self::count_sent) has to
    /// follow. `false` when the queue is finished and empty.
    pub fn take_batch(&self, batch: &mut Batch) -> bool {
        let mut state = self.lock();
        self.take(&mut state, batch, Load::Any);
        !batch.is_empty() || !state.finished
    }

    /// Moves to `batch` what is to be written next, and tells those who wait for that.
    fn take(&self, state: &mut State, batch: &mut Batch, load: Load) {
        if state.take(batch, load) {
            self.large_taken.notify_one();
        }
        self.tell_room(state);
    }

    /// How many messages were taken out so far.
    pub fn taken(&self) -> u64 {
        self.lock().taken
    }

    /// As [`take_batch`](Self::take_batch), but waits until there is something.
    #[cfg(test)]
    pub async fn next_batch(&self, batch: &mut Batch) -> bool {
        loop {
            if !self.take_batch(batch) {
                return false;
            }
            if !batch.is_empty() {
                return true;
            }
            self.filled.notified().await;
        }
    }

    /// How many bytes the socket has taken so far.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// How many channels are subscribed to, and how many bytes of messages wait.
    pub fn load(&self) -> (usize, usize) {
        let state = self.lock();
        (state.channels.len(), state.waiting.bytes())
    }

    /// What became of the messages so far.
    pub fn counts(&self) -> Counts {
        self.lock().counts.clone()
    }

    /// What became of the messages so far, and by channel as well, if more than `before` were dropped in all.
    pub fn counts_of_dropped(&self, before: u64) -> (Counts, Option<BTreeMap<ChannelId, Tally>>) {
        let state = self.lock();
        let tallies = (state.counts.dropped > before).then(|| state.waiting.tallies());
        (state.counts.clone(), tallies)
    }

    /// What became of the messages so far, by channel.
    pub fn tallies(&self) -> BTreeMap<ChannelId, Tally> {
        self.lock().waiting.tallies()
    }

    /// How late messages were written so far.
    pub fn lateness(&self) -> Lateness {
        self.lock().lateness.clone()
    }

    /// Takes a share in what is left to be written, and keeps it until nothing is queued, or the socket takes nothing more
    /// for now; where that is so already, it takes none. Who called has to [`wake`](Self::wake) the one who writes after that.
    pub fn take_share(&self, share: Share) {
        let mut state = self.lock();
        if !state.closing && !state.blocked {
            state.share = Some(share);
        }
    }

    /// Returns its share, if it has one: the client leaves.
    pub fn return_share(&self) {
        self.give_share_back(&mut self.lock());
    }

    /// Nothing is left to be written for now.
    fn give_share_back(&self, state: &mut State) {
        if state.share.take().is_some_and(Share::give_back) {
            self.let_go_on();
        }
    }

    /// Tells who waits for room that there is some: a half, so that playback does not stop and go with every
    /// message.
    fn tell_room(&self, state: &mut State) {
        let enough = state.closing || state.waiting.bytes() <= self.limit() / 2;
        if state.awaited && enough {
            state.awaited = false;
            self.let_go_on();
        }
    }

    fn let_go_on(&self) {
        if let Some(go_on) = self.go_on.get() {
            go_on();
        }
    }

    /// The queue, with all that belongs there: what is put aside is queued first.
    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is whole between any two statements that change it, so a panic elsewhere spoils nothing.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.queue_aside_in(&mut state);
        state
    }
}

#[cfg(test)]
mod tests;
