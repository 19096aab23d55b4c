//! The thread that sleeps for a timeline and hands out what is due.

use std::io;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, TryRecvError};
use std::thread::JoinHandle;
use std::time::Instant;

use tokio::sync::watch;

use super::{Command, Event, Feed, Position, Timeline, Wake};

/// Who hears what happens on a timeline.
pub trait Audience: Send + 'static {
    /// Takes what is due now. Called on the scheduler's thread, so it must not wait for anything.
    fn deliver(&mut self, events: &[Event]);

    /// Hears of a change of what the timeline does, after the events that led to it.
    fn changed(&mut self, position: &Position);
}

/// What is called when commands are carried out, with what the timeline does since then.
pub type Done = Box<dyn FnOnce(&Position) + Send>;

/// Drives a timeline on a thread of its own, with sleeps exact to microseconds.
#[derive(Debug)]
pub struct Scheduler {
    remote: Remote,
    thread: Option<JoinHandle<()>>,
}

/// Commands a running timeline, and tells where it is. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Remote {
    signals: Sender<Signal>,
    position: watch::Receiver<Position>,
}

enum Signal {
    Commands(Vec<Command>, Done),
    Fed,
    Stop,
}

impl Scheduler {
    /// Starts to drive a timeline. `make` builds it, and gets a function to be called when its feed has
    /// something after it had nothing.
    ///
    /// # Errors
    /// Where the system gives no thread, or `make` fails.
    pub fn start<F: Feed + Send + 'static>(
        make: impl FnOnce(Box<dyn Fn() + Send>) -> io::Result<Timeline<F>>,
        audience: Box<dyn Audience>,
    ) -> io::Result<Self> {
        let (signals, inbox) = mpsc::channel();
        let feeder = signals.clone();
        // Where the scheduler is gone, nobody is hungry.
        let timeline = make(Box::new(move || feeder.send(Signal::Fed).unwrap_or_default()))?;
        let (publish, position) = watch::channel(timeline.position());
        let driver = Driver { timeline, audience, inbox, publish };
        let thread = std::thread::Builder::new().name("fgplay-scheduler".into()).spawn(|| driver.run())?;
        Ok(Scheduler { remote: Remote { signals, position }, thread: Some(thread) })
    }

    /// What commands the timeline.
    pub fn remote(&self) -> &Remote {
        &self.remote
    }
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        self.remote.send(Signal::Stop);
        if let Some(thread) = self.thread.take() {
            // It can't panic by contract; if it did, the panic was already printed.
            thread.join().unwrap_or_default();
        }
    }
}

impl Remote {
    /// Commands the timeline. Takes effect at once; [`position`](Self::position) shows it soon after.
    pub fn command(&self, command: Command) {
        self.send(Signal::Commands(vec![command], Box::new(|_| {})));
    }

    /// Commands the timeline several things at once. `done` is called on the scheduler's thread, so it must not
    /// wait for anything.
    pub fn request(&self, commands: Vec<Command>, done: Done) {
        self.send(Signal::Commands(commands, done));
    }

    /// Where the timeline is, as of its last change.
    pub fn position(&self) -> Position {
        *self.position.borrow()
    }

    /// Hears of every change of what the timeline does.
    pub fn watch(&self) -> watch::Receiver<Position> {
        self.position.clone()
    }

    fn send(&self, signal: Signal) {
        // Where the scheduler is gone, there is nothing left to command.
        self.signals.send(signal).unwrap_or_default();
    }
}

struct Driver<F> {
    timeline: Timeline<F>,
    audience: Box<dyn Audience>,
    inbox: Receiver<Signal>,
    publish: watch::Sender<Position>,
}

impl<F: Feed> Driver<F> {
    fn run(mut self) {
        sleep_exactly();
        let mut events = Vec::new();
        loop {
            let heard = match self.wake(&mut events) {
                Wake::At(due) => {
                    let wait = due.saturating_duration_since(Instant::now());
                    if wait.is_zero() {
                        self.inbox.try_recv().map_err(|error| match error {
                            TryRecvError::Empty => RecvTimeoutError::Timeout,
                            TryRecvError::Disconnected => RecvTimeoutError::Disconnected,
                        })
                    } else {
                        self.inbox.recv_timeout(wait)
                    }
                }
                Wake::Fed | Wake::Commanded => self.inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match heard {
                Ok(Signal::Commands(commands, done)) => {
                    let now = Instant::now();
                    for command in commands {
                        self.timeline.apply(command, now, &mut events);
                    }
                    self.wake(&mut events);
                    done(&self.timeline.position());
                }
                Ok(Signal::Fed) | Err(RecvTimeoutError::Timeout) => {}
                Ok(Signal::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Hands out what is due, and says when to come again.
    fn wake(&mut self, events: &mut Vec<Event>) -> Wake {
        let wake = self.timeline.poll(Instant::now(), events);
        if !events.is_empty() {
            self.audience.deliver(events);
            events.clear();
        }
        let position = self.timeline.position();
        let changed = self.publish.send_if_modified(|published| {
            let changed = *published != position;
            *published = position;
            changed
        });
        if changed {
            self.audience.changed(&position);
        }
        wake
    }
}

/// Asks the system to end this thread's sleeps on time. By default Linux may let them last 50 us longer.
fn sleep_exactly() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1)) {
        tracing::debug!("the system keeps its timer slack: {error}");
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;
    use crate::playback::{Peek, Range, Rate, Repeat, State};
    use crate::recording::{ChannelId, Message};
    use crate::time::Timestamp;

    /// A message every millisecond.
    struct Metronome {
        next: u64,
        end: u64,
    }

    impl Feed for Metronome {
        fn peek(&mut self) -> Peek {
            if self.next > self.end {
                return Peek::EndOfPass;
            }
            Peek::Message(Timestamp::from_nanos(self.next * 1_000_000))
        }

        fn take_lookback(&mut self) -> Vec<Message> {
            Vec::new()
        }

        fn take(&mut self) -> Option<Message> {
            let time = Timestamp::from_nanos(self.next * 1_000_000);
            self.next += 1;
            let channel = ChannelId(0);
            Some(Message {
                channel,
                sequence: 0,
                log_time: time,
                publish_time: time,
                data: Bytes::new(),
                footprint: 0,
            })
        }

        fn next_pass(&mut self) {
            self.next = 0;
        }

        fn seek(&mut self, to: Timestamp) {
            self.next = to.as_nanos().div_ceil(1_000_000);
        }
    }

    struct Listener(Sender<(Instant, Event)>);

    impl Audience for Listener {
        fn deliver(&mut self, events: &[Event]) {
            for event in events {
                self.0.send((Instant::now(), event.clone())).unwrap_or_default();
            }
        }

        fn changed(&mut self, _: &Position) {}
    }

    fn start(end: u64, rate: f64) -> (Scheduler, Receiver<(Instant, Event)>) {
        let (sender, receiver) = mpsc::channel();
        let range = Range { start: Timestamp::MIN, end: Timestamp::from_nanos(end * 1_000_000) };
        let make = |_| {
            let rate = Rate::new(rate).unwrap();
            Ok(Timeline::new(Metronome { next: 0, end }, range, rate, Repeat::Times(1)))
        };
        (Scheduler::start(make, Box::new(Listener(sender))).unwrap(), receiver)
    }

    #[test]
    fn nothing_is_handed_out_before_it_is_due() {
        let (scheduler, events) = start(50, 2.0);
        let before = Instant::now();
        scheduler.remote().command(Command::Play);
        let mut count = 0;
        for (at, event) in events {
            match event {
                Event::Message(message) => {
                    assert!(at - before >= Duration::from_nanos(message.log_time.as_nanos() / 2));
                    count += 1;
                }
                Event::Ended(_) => break,
                _ => {}
            }
        }
        assert_eq!(count, 51);
    }

    #[test]
    fn commands_take_effect_while_it_sleeps() {
        let (scheduler, events) = start(1000, 1e-6);
        scheduler.remote().command(Command::Play);
        let first = events.recv().unwrap().1;
        assert!(matches!(first, Event::Message(_)));
        // The next message is due in a quarter of an hour.
        scheduler.remote().command(Command::SetRate(Rate::new(1e6).unwrap()));
        let ended = events.iter().any(|(_, event)| matches!(event, Event::Ended(_)));
        assert!(ended);
    }

    #[test]
    fn what_it_does_can_be_watched() {
        let (scheduler, _events) = start(3, 100.0);
        let mut watch = scheduler.remote().watch();
        assert_eq!(watch.borrow_and_update().state, State::Paused);
        scheduler.remote().command(Command::Play);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let ended = runtime.block_on(watch.wait_for(|position| position.state == State::Ended)).unwrap();
        assert_eq!(ended.time_at(Instant::now()), Timestamp::from_nanos(3_000_000));
    }
}
