//! Drives timelines: a thread of its own sleeps for them and hands out what is due.

mod alarm;
mod driver;
mod inbox;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use tokio::sync::watch;

use self::driver::{Driver, Seat, Signal};
use self::inbox::{Voice, inbox};
use super::{Command, Event, Feed, Position, Rate, Timeline};

/// Who hears what happens on a timeline.
pub trait Audience: Send + 'static {
    /// Takes what is `due`, now or in a moment, and calls `until_due` once before any of it leaves: that returns when
    /// it is due, and at once where it is already. Called on the scheduler's thread, so it must not wait for anything
    /// else.
    fn deliver(&mut self, events: &[Event], due: Instant, until_due: &mut dyn FnMut());

    /// Whether it takes more now, at this rate. While it does not, time stands; who makes it take more again tells
    /// the scheduler so ([`Remote::go_on`]).
    fn takes_more(&mut self, _rate: Rate) -> bool {
        true
    }

    /// Whether what was delivered is passed on, as far as it can be. Where not, who passes on the last of it tells the
    /// scheduler so ([`Remote::go_on`]).
    fn has_passed_on(&self) -> bool {
        true
    }

    /// Hears of a change of what the timeline does, after the events that led to it.
    fn changed(&mut self, position: &Position);
}

/// What is called when commands are carried out, with what the timeline does since then, and how many messages were
/// played by the steps among them.
pub type Done = Box<dyn FnOnce(&Position) + Send>;

/// Drives timelines, all on one thread, with sleeps exact to microseconds.
#[derive(Debug)]
pub struct Scheduler {
    voice: Voice<Signal>,
    next_id: Arc<AtomicU64>,
    /// Closed once the thread is gone.
    alive: watch::Receiver<()>,
    thread: Option<JoinHandle<()>>,
}

/// A timeline that a [`Scheduler`] drives, until this is dropped.
#[derive(Debug)]
pub struct Player {
    remote: Remote,
}

/// Commands a running timeline, and tells where it is. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Remote {
    id: u64,
    voice: Voice<Signal>,
    position: watch::Receiver<Position>,
}

impl Scheduler {
    /// Starts the thread.
    ///
    /// # Errors
    /// Where the system gives none.
    pub fn start() -> io::Result<Self> {
        let (sender, inbox) = inbox();
        let (alive_sender, alive) = watch::channel(());
        let run = move || {
            let _alive: watch::Sender<()> = alive_sender;
            Driver::new(inbox).run();
        };
        let thread = std::thread::Builder::new().name("fgplay-scheduler".into()).spawn(run)?;
        let voice = Voice::new(sender, thread.thread().clone());
        Ok(Scheduler { voice, next_id: Arc::default(), alive, thread: Some(thread) })
    }

    /// Drives a timeline. `make` builds it, and gets a function to be called when its feed has something after it
    /// had nothing.
    pub fn drive<F: Feed + Send + 'static>(
        &self,
        make: impl FnOnce(Box<dyn Fn() + Send + Sync>) -> Timeline<F>,
        audience: Box<dyn Audience>,
    ) -> Player {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let feeder = self.voice.clone();
        let timeline = make(Box::new(move || feeder.say(Signal::Fed(id))));
        let (publish, position) = watch::channel(timeline.position());
        let seat = Seat::new(Box::new(timeline), audience, publish);
        let remote = Remote { id, voice: self.voice.clone(), position };
        self.voice.say(Signal::Join(id, seat));
        Player { remote }
    }

    /// Waits until the thread is gone. Before the scheduler is dropped, that happens only by a fault.
    pub fn gone(&self) -> impl Future<Output = ()> + use<> {
        let mut alive = self.alive.clone();
        async move { while alive.changed().await.is_ok() {} }
    }
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        self.voice.say(Signal::Stop);
        if let Some(thread) = self.thread.take() {
            // It can't panic by contract; if it did, the panic was already printed.
            thread.join().unwrap_or_default();
        }
    }
}

impl Player {
    /// What commands the timeline.
    pub fn remote(&self) -> &Remote {
        &self.remote
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        self.remote.voice.say(Signal::Leave(self.remote.id));
    }
}

impl Remote {
    /// Commands the timeline. Takes effect at once; [`position`](Self::position) shows it soon after.
    pub fn command(&self, command: Command) {
        self.request(vec![command], Box::new(|_| {}));
    }

    /// Commands the timeline several things at once. `done` is called when they are carried out, also the steps
    /// among them for which something has to be read first. That is on the scheduler's thread, so it must not wait
    /// for anything.
    pub fn request(&self, commands: Vec<Command>, done: Done) {
        self.voice.say(Signal::Commands(self.id, commands, done));
    }

    /// Lets the timeline go on that stood since its audience took no more, or its feed that waited until everything was
    /// passed on.
    pub fn go_on(&self) {
        self.voice.say(Signal::GoOn(self.id));
    }

    /// Where the timeline is, as of its last change.
    pub fn position(&self) -> Position {
        *self.position.borrow()
    }

    /// Hears of every change of what the timeline does. Closed once it is driven no more.
    pub fn watch(&self) -> watch::Receiver<Position> {
        self.position.clone()
    }
}

#[cfg(test)]
mod tests;
