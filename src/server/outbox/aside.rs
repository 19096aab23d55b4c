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
use crate::playback::Event;
use crate::time::Timestamp;

/// How long the one who writes leaves aside what happens.
const ROUND: Duration = Duration::from_millis(100);

/// After how long a client that always had messages waiting is far behind.
const FAR_BEHIND: Duration = Duration::from_millis(250);

/// Which part of what may be kept for a client is at the most for what is put aside, messages that it did not subscribe to
/// included, since nobody looks at them before. Where more comes in a round, the scheduler queues that, and all that
/// is put aside already.
const ASIDE_PART: usize = 8;

/// What is put aside for a client, in the order in which it happened.
#[derive(Debug, Default)]
pub(super) struct Aside {
    shelf: Mutex<Shelf>,
    /// Wakes the one who writes: things are put aside from now on, or again after a silence.
    news: Notify,
}

#[derive(Debug, Default)]
struct Shelf {
    /// Whether things are put aside now. It is changed together with [`State::far_behind`], and is not the same only so
    /// that the scheduler need not lock the queue to put something aside, nor who looks at the queue the shelf.
    open: bool,
    happened: Vec<Happened>,
    /// Whether there is to be `news` of the next thing that is put aside.
    awaited: bool,
    /// How much memory it takes and keeps, without the rest of chunks, in bytes.
    bytes: usize,
}

/// What happened at an instant.
#[derive(Debug)]
struct Happened {
    events: Vec<Event>,
    /// Where time was before that.
    before: Timestamp,
    at: Instant,
}

impl Aside {
    fn open(&self) {
        self.lock().open = true;
        self.news.notify_one();
    }

    /// Puts events aside that take no more than so many bytes together with what is there already. Says whether it did.
    fn put(&self, events: &[Event], before: Timestamp, at: Instant, room: usize) -> bool {
        let mut shelf = self.lock();
        let Some(bytes) = shelf.open.then(|| size(events)).flatten() else { return false };
        if shelf.bytes + bytes > room {
            return false;
        }
        shelf.bytes += bytes;
        shelf.happened.push(Happened { events: events.to_vec(), before, at });
        if std::mem::take(&mut shelf.awaited) {
            self.news.notify_one();
        }
        true
    }

    /// Takes what was put aside. Where that is nothing, nothing is put aside from now on if it is to `close`.
    fn take(&self, close: bool) -> Vec<Happened> {
        let mut shelf = self.lock();
        if shelf.happened.is_empty() && close {
            shelf.open = false;
        }
        shelf.bytes = 0;
        std::mem::take(&mut shelf.happened)
    }

    /// Waits until things are put aside, then for a [`ROUND`], and longer where nothing is there after that.
    async fn round(&self) {
        while !self.lock().open {
            self.news.notified().await;
        }
        tokio::time::sleep(ROUND).await;
        while self.awaits() {
            self.news.notified().await;
        }
    }

    /// Whether nothing is put aside. Then the next one is told.
    fn awaits(&self) -> bool {
        let mut shelf = self.lock();
        shelf.awaited = shelf.happened.is_empty();
        shelf.awaited
    }

    /// How many messages were put aside.
    #[cfg(test)]
    pub fn messages(&self) -> usize {
        let messages = |happened: &Happened| {
            happened.events.iter().filter(|event| matches!(event, Event::Message(..))).count()
        };
        self.lock().happened.iter().map(messages).sum()
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

/// How many bytes these events take. `None` where there are others than messages and time that passes: these concern
/// what is queued, and nobody is to wait for that.
fn size(events: &[Event]) -> Option<usize> {
    let size = |event: &Event| match event {
        Event::Message(message, _) => Some(size_of::<Event>() + message.data.len()),
        Event::Tick(_) | Event::Stalled(_) | Event::Skipped(_) => Some(size_of::<Event>()),
        Event::Jumped(_) | Event::Looped(_) | Event::Lookback(_) | Event::Ended(_) => None,
    };
    events.iter().map(size).sum::<Option<usize>>().map(|bytes| bytes + size_of::<Happened>())
}

impl Outbox {
    /// Puts aside what happens, where the client is far behind and may lose messages. Says whether it did.
    pub(super) fn put_aside(&self, events: &[Event], before: Timestamp, at: Instant) -> bool {
        !self.loses_nothing() && self.aside.put(events, before, at, self.limit() / ASIDE_PART)
    }

    /// Queues from time to time what is put aside, for ever: for the one who writes, while the socket takes nothing.
    pub async fn queue_in_rounds(&self) -> Infallible {
        loop {
            self.aside.round().await;
            drop(self.lock());
        }
    }

    /// Queues what is put aside, before anybody can see that it is missing.
    pub(super) fn queue_put_aside(&self, state: &mut State) {
        while state.far_behind {
            let caught_up = state.waiting.is_empty() || state.closing || self.loses_nothing();
            let happened = self.aside.take(caught_up);
            if happened.is_empty() {
                state.far_behind = !caught_up;
                return;
            }
            for Happened { events, before, at } in happened {
                self.queue_events(state, &events, before, at);
            }
        }
    }

    /// How many bytes of messages may wait for a client, beside what is put aside.
    pub(super) fn limit_beside_aside(&self, state: &State) -> usize {
        let limit = self.limit();
        if state.far_behind { limit - limit / ASIDE_PART } else { limit }
    }

    /// Takes note of whether messages were waiting `at` this instant. Where that is so for long, what happens is put
    /// aside from now on.
    pub(super) fn note_behind(&self, state: &mut State, behind: bool, at: Instant) {
        let since = behind.then(|| state.behind_since.unwrap_or(at));
        state.behind_since = since;
        let far = since.is_some_and(|since| at.saturating_duration_since(since) >= FAR_BEHIND);
        if far && !state.far_behind && !self.loses_nothing() {
            state.far_behind = true;
            self.aside.open();
        }
    }
}
