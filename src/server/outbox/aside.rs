//! What happens on the timeline while a client is far behind.
//!
//! The scheduler only puts that aside. It is queued by whoever looks at the client's queue next: by the one who writes
//! to it, about every [`ROUND`], if by nobody else. Most of it is left out then, and what that takes would delay the
//! scheduler's next message for everybody.

use std::convert::Infallible;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::Outbox;
use super::state::State;
use super::waiting::OVERHEAD;
use crate::playback::Event;
use crate::recording::ChannelId;
use crate::time::Timestamp;

/// How long the one who writes leaves aside what happens.
const ROUND: Duration = Duration::from_millis(100);

/// After how long a client that always had messages waiting is far behind.
const FAR_BEHIND: Duration = Duration::from_millis(250);

/// Which part of what may wait for a client is put aside at the most.
pub(super) const ASIDE_PART: usize = 8;

/// Which part of it is kept free for that, so that messages are left out when they are queued by the one who writes.
pub(super) const FREE_PART: usize = 16;

/// What is put aside for a client, in the order in which it happened.
#[derive(Debug, Default)]
pub(super) struct Aside {
    shelf: Mutex<Shelf>,
    /// Wakes the one who writes: things are put aside from now on, or again after a silence, or there is much of it.
    news: Notify,
}

#[derive(Debug, Default)]
struct Shelf {
    /// Whether things are put aside now. It is changed together with [`State::far_behind`], and is not the same only so
    /// that the scheduler need not lock the queue to put something aside, nor who looks at the queue the shelf.
    open: bool,
    /// Which channels are subscribed to; beyond these, none is. The queue knows it too, but is not locked for this.
    wanted: Vec<bool>,
    happened: Vec<Happened>,
    /// Whether there is to be `news` of the next thing that is put aside.
    awaited: bool,
    /// How much memory `happened` takes and keeps, without the rest of chunks, in bytes.
    bytes: usize,
    /// How much it may, in bytes.
    room: usize,
}

/// What happened at an instant.
#[derive(Debug)]
struct Happened {
    events: Vec<Event>,
    /// Where time was before that.
    before: Timestamp,
    at: Instant,
    /// How many bytes the socket had taken.
    written: u64,
}

impl Happened {
    /// Whether only time passed.
    fn is_tick(&self) -> bool {
        matches!(self.events[..], [Event::Tick(_)])
    }
}

/// What is to be put aside of some events.
struct Selection {
    /// How many messages are wanted, and how much memory these take, in bytes.
    messages: usize,
    bytes: usize,
    /// Up to where time passes.
    time: Option<Timestamp>,
}

impl Shelf {
    fn wants(&self, channel: ChannelId) -> bool {
        self.wanted.get(channel.0 as usize).is_some_and(|wanted| *wanted)
    }

    /// What is to be put aside of these events. `None` where there are others than messages and time that passes: that
    /// concerns what is queued, and nobody is to wait for it.
    fn select(&self, events: &[Event]) -> Option<Selection> {
        let mut selection = Selection { messages: 0, bytes: 0, time: None };
        for event in events {
            match event {
                Event::Message(message, _) => {
                    selection.time = Some(message.log_time);
                    if self.wants(message.channel) {
                        selection.messages += 1;
                        selection.bytes += message.data.len();
                    }
                }
                Event::Tick(time) => selection.time = Some(*time),
                Event::Stalled(_) | Event::Skipped(_) => {}
                Event::Jumped(_) | Event::Looped(_) | Event::Lookback(_) | Event::Ended(_) => return None,
            }
        }
        // No less than what it takes when it is queued.
        selection.bytes +=
            selection.messages.max(1) * size_of::<Event>().max(OVERHEAD) + size_of::<Happened>();
        Some(selection)
    }

    /// Those of these events that are selected: messages, or where there are none, that time passes.
    fn pick(&self, events: &[Event], selection: &Selection) -> Vec<Event> {
        if selection.messages == 0 {
            return selection.time.map(Event::Tick).into_iter().collect();
        }
        let mut picked = Vec::with_capacity(selection.messages);
        let is_wanted =
            |event: &&Event| matches!(event, Event::Message(message, _) if self.wants(message.channel));
        picked.extend(events.iter().filter(is_wanted).cloned());
        picked
    }
}

impl Aside {
    /// From now on things are put aside that take so many bytes in all.
    fn open(&self, room: usize) {
        let mut shelf = self.lock();
        shelf.open = true;
        shelf.room = room;
        self.news.notify_one();
    }

    /// Says whether a channel is subscribed to.
    pub fn set_wanted(&self, channel: ChannelId, wanted: bool) {
        let (mut shelf, channel) = (self.lock(), channel.0 as usize);
        if shelf.wanted.len() <= channel {
            shelf.wanted.resize(channel + 1, false);
        }
        shelf.wanted[channel] = wanted;
    }

    /// Puts events aside, where there is room for that. Says whether it did.
    fn put(&self, events: &[Event], before: Timestamp, at: Instant, written: u64) -> bool {
        let mut shelf = self.lock();
        let Some(selection) = shelf.open.then(|| shelf.select(events)).flatten() else { return false };
        let bytes = shelf.bytes + selection.bytes;
        if bytes > shelf.room {
            return false;
        }
        let happened = Happened { events: shelf.pick(events, &selection), before, at, written };
        if happened.events.is_empty() {
            return true;
        }
        if let Some(last) = shelf.happened.last_mut().filter(|last| last.is_tick() && happened.is_tick()) {
            *last = happened;
            return true;
        }
        let much = shelf.room / 2;
        if std::mem::take(&mut shelf.awaited) || (bytes >= much && shelf.bytes < much) {
            self.news.notify_one();
        }
        shelf.bytes = bytes;
        shelf.happened.push(happened);
        true
    }

    /// Takes what was put aside. While that is being queued, the rest of the room is all there is for what comes, so that
    /// it ends. Where there was nothing, nothing is put aside from now on if it is to `close`, and else so many bytes.
    fn take(&self, close: bool, room: usize) -> Vec<Happened> {
        let mut shelf = self.lock();
        if shelf.happened.is_empty() {
            shelf.open = !close;
            shelf.room = room;
        } else {
            shelf.room -= shelf.bytes;
            shelf.bytes = 0;
        }
        std::mem::take(&mut shelf.happened)
    }

    /// Waits until things are put aside, then for a [`ROUND`] or until there is much of it, and longer where nothing is
    /// there after that.
    async fn round(&self) {
        self.until(|shelf| shelf.open).await;
        let much = self.until(|shelf| shelf.bytes > 0 && shelf.bytes >= shelf.room / 2);
        tokio::time::timeout(ROUND, much).await.unwrap_or_default();
        self.until(|shelf| {
            shelf.awaited = shelf.happened.is_empty();
            !shelf.awaited
        })
        .await;
    }

    /// Waits until that is so; there is to be `news` where it may be.
    async fn until(&self, is_so: impl Fn(&mut Shelf) -> bool) {
        while !is_so(&mut self.lock()) {
            self.news.notified().await;
        }
    }

    /// How many messages were put aside.
    #[cfg(test)]
    pub fn messages(&self) -> usize {
        let messages = |happened: &Happened| {
            happened.events.iter().filter(|event| matches!(event, Event::Message(..))).count()
        };
        self.lock().happened.iter().map(messages).sum()
    }

    /// How much memory they take.
    #[cfg(test)]
    pub fn bytes(&self) -> usize {
        self.lock().bytes
    }

    /// Whether somebody waits for the next thing that is put aside.
    #[cfg(test)]
    pub fn is_awaited(&self) -> bool {
        self.lock().awaited
    }

    fn lock(&self) -> MutexGuard<'_, Shelf> {
        // The shelf is whole between any two statements that change it, so a panic elsewhere spoils nothing.
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outbox {
    /// Puts aside what happens, where the client is far behind and may lose messages. Says whether it did.
    pub(super) fn put_aside(&self, events: &[Event], before: Timestamp, at: Instant) -> bool {
        !self.loses_nothing() && self.aside.put(events, before, at, self.written())
    }

    /// Queues from time to time what is put aside, for ever: for the one who writes, while the socket takes nothing.
    pub async fn queue_in_rounds(&self) -> Infallible {
        loop {
            self.aside.round().await;
            self.queue_aside();
        }
    }

    /// Queues what is put aside. For who is about to look at the queue under a lock for which the scheduler waits.
    pub fn queue_aside(&self) {
        drop(self.lock());
    }

    /// Queues what is put aside, before anybody can see that it is missing.
    pub(super) fn queue_aside_in(&self, state: &mut State) {
        while state.far_behind {
            let caught_up = state.waiting.is_empty() || state.closing || self.loses_nothing();
            let happened = self.aside.take(caught_up, self.room_aside(state));
            if happened.is_empty() {
                state.far_behind = !caught_up;
                return;
            }
            for Happened { events, before, at, written } in happened {
                self.queue_events(state, &events, before, at, written);
            }
        }
    }

    /// How many bytes may be put aside: together with what waits no more than may wait, or might when this was last asked.
    fn room_aside(&self, state: &State) -> usize {
        let limit = self.limit();
        (limit / ASIDE_PART).min(state.room(limit))
    }

    /// How many bytes of messages may be queued, so that there is room for what is put aside.
    pub(super) fn limit_queued(&self, state: &State) -> usize {
        let limit = self.limit();
        if state.far_behind { limit - limit / FREE_PART } else { limit }
    }

    /// Takes note of whether messages were waiting `at` this instant. Where that is so for long, what happens is put
    /// aside from now on.
    pub(super) fn note_behind(&self, state: &mut State, behind: bool, at: Instant) {
        let since = behind.then(|| state.behind_since.unwrap_or(at));
        state.behind_since = since;
        let far = since.is_some_and(|since| at.saturating_duration_since(since) >= FAR_BEHIND);
        if far && !state.far_behind && !self.loses_nothing() {
            state.far_behind = true;
            self.aside.open(self.room_aside(state));
        }
    }
}
