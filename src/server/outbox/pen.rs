//! Writes what waits for a client to its socket.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Instant;

use super::Outbox;
use super::batch::Batch;
use super::waiting::Taken;
use crate::server::wire::Wire;

/// A message or frame of more bytes is a large one.
pub(in crate::server) const LARGE: usize = 64 * 1024;

/// What is to be written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Load {
    /// What comes before the first message or frame of more bytes than that, and about as many in all.
    UpTo(usize),
    /// As `Any`, but nothing of more bytes than that.
    Large(usize),
    /// Whatever comes; but of two large ones each has a turn of its own, so that other clients have theirs between.
    Any,
}

/// Who has it writes to the socket. So no frame is ever split by another, whoever writes.
#[derive(Default)]
pub(super) struct Pen {
    pub batch: Batch,
    socket: Option<Arc<Wire>>,
}

impl Pen {
    /// Writes nothing more, not even the rest of a frame: what is given up is not sent as well.
    pub fn drop_rest(&mut self) {
        self.batch.clear();
        self.socket = None;
    }
}

/// What became of an attempt to write.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::server) enum Wrote {
    /// Everything that was queued.
    Everything,
    /// Everything, and there will be no more.
    AllThereWillBe,
    /// Not everything; the rest when the socket takes it, when the turn comes of what is large, or in a moment, when it
    /// is due.
    Some,
}

impl Outbox {
    /// Lets what is queued be written to this socket.
    pub fn connect(&self, socket: Arc<Wire>) {
        self.pen().socket = Some(socket);
    }

    /// Writes to the socket what it takes without waiting: a batch, so that others get their turn.
    pub fn write_some(&self) -> io::Result<Wrote> {
        self.write(&mut self.pen(), Load::Any)
    }

    /// Writes what was queued right now, where nobody else is writing and the socket takes it, up to the first message
    /// or frame of more than `most` bytes. For the scheduler, since waking somebody else takes time. Says whether
    /// everything is written; where not, who called has to [`wake`](Self::wake) the one who writes the rest.
    pub fn write_light(&self, most: usize) -> bool {
        self.write_now(Load::UpTo(most))
    }

    /// As [`write_light`](Self::write_light), but also one that is [large](LARGE).
    pub fn write_large(&self, most: usize) -> bool {
        self.write_now(Load::Large(most))
    }

    fn write_now(&self, load: Load) -> bool {
        match self.pen.try_lock() {
            // An error is met again by the one who is woken, and told there.
            Ok(mut pen) => matches!(self.write(&mut pen, load), Ok(Wrote::Everything)),
            Err(_) => false,
        }
    }

    /// Wakes the one who writes.
    pub fn wake(&self) {
        self.filled.notify_one();
    }

    /// Waits until something is queued, or something was left for another one to write.
    pub async fn filled(&self) {
        self.filled.notified().await;
    }

    /// Gives up the socket.
    pub fn disconnect(&self) {
        self.pen().socket = None;
    }

    /// Writes what is left of a batch, and then another one.
    fn write(&self, pen: &mut Pen, load: Load) -> io::Result<Wrote> {
        let Pen { batch, socket } = pen;
        let Some(socket) = socket else { return Ok(Wrote::Some) };
        if load != Load::Any && !batch.is_written() {
            // Nobody knows how large the rest is, and somebody waits already until the socket takes it.
            return Ok(Wrote::Some);
        }
        let mut begun = false;
        loop {
            if batch.is_written() {
                let mut state = self.lock();
                if begun && !state.is_empty() {
                    return Ok(Wrote::Some);
                }
                if state.is_early() {
                    return Ok(Wrote::Some);
                }
                begun = true;
                self.take(&mut state, batch, load);
                if batch.is_empty() {
                    let (finished, rest) = (state.finished, !state.is_empty());
                    if !rest {
                        self.give_share_back(&mut state);
                    }
                    drop(state);
                    return match socket.try_flush() {
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Wrote::Some),
                        Err(error) => Err(error),
                        Ok(()) if rest => Ok(Wrote::Some),
                        Ok(()) if finished => Ok(Wrote::AllThereWillBe),
                        Ok(()) => Ok(Wrote::Everything),
                    };
                }
            }
            match batch.write_some(|parts| socket.try_write_vectored(parts)) {
                Ok(bytes) => self.written.fetch_add(bytes as u64, Ordering::Relaxed),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let mut state = self.lock();
                    state.blocked = true;
                    self.give_share_back(&mut state);
                    return Ok(Wrote::Some);
                }
                Err(error) => return Err(error),
            };
            if batch.is_written() {
                self.count_sent(batch);
            }
        }
    }

    /// All of a batch was written. It keeps nothing of that in memory.
    pub fn count_sent(&self, batch: &mut Batch) {
        let now = Instant::now();
        let mut state = self.lock();
        state.blocked = false;
        for message @ &Taken { channel, bytes, due, .. } in batch.messages() {
            state.waiting.written(message);
            state.counts.sent += 1;
            state.counts.sent_bytes += bytes as u64;
            let tally = state.waiting.tally(channel);
            tally.sent += 1;
            tally.sent_bytes += bytes as u64;
            if let Some(due) = due {
                state.lateness.record(now.saturating_duration_since(due));
            }
        }
        drop(state);
        batch.clear();
    }

    pub(super) fn pen(&self) -> MutexGuard<'_, Pen> {
        // What was written is noted after it was, so a panic in between could repeat it; but nothing there panics.
        self.pen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
