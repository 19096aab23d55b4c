//! What the scheduler's thread does.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::ops::Range;
use std::time::Instant;

use tokio::sync::watch;

use super::alarm::Alarm;
use super::inbox::{Heard, Inbox};
use super::{Audience, Done};
use crate::playback::{Command, Event, Feed, Position, Rate, Timeline, Wake};

/// What is said to the thread.
pub enum Signal {
    Join(u64, Seat),
    Leave(u64),
    Commands(u64, Vec<Command>, Done),
    Fed(u64),
    GoOn(u64),
    Stop,
}

/// A timeline, whatever feeds it.
pub trait Driven: Send {
    fn apply(&mut self, command: Command, now: Instant, events: &mut Vec<Event>);
    fn poll(&mut self, now: Instant, events: &mut Vec<Event>) -> Wake;
    fn position(&self) -> Position;
    fn rate(&self) -> Rate;
    fn is_stepping(&self) -> bool;
    fn steps(&self) -> u64;
    fn hold(&mut self, now: Instant);
    fn passed_on(&mut self, everything: &dyn Fn() -> bool);
}

impl<F: Feed + Send> Driven for Timeline<F> {
    fn apply(&mut self, command: Command, now: Instant, events: &mut Vec<Event>) {
        Timeline::apply(self, command, now, events);
    }

    fn poll(&mut self, now: Instant, events: &mut Vec<Event>) -> Wake {
        Timeline::poll(self, now, events)
    }

    fn position(&self) -> Position {
        Timeline::position(self)
    }

    fn rate(&self) -> Rate {
        Timeline::rate(self)
    }

    fn is_stepping(&self) -> bool {
        Timeline::is_stepping(self)
    }

    fn steps(&self) -> u64 {
        Timeline::steps(self)
    }

    fn hold(&mut self, now: Instant) {
        Timeline::hold(self, now);
    }

    fn passed_on(&mut self, everything: &dyn Fn() -> bool) {
        Timeline::passed_on(self, everything);
    }
}

/// A timeline and those who watch it.
pub struct Seat {
    timeline: Box<dyn Driven>,
    audience: Box<dyn Audience>,
    publish: watch::Sender<Position>,
    /// When it is to be polled, if not only after a signal.
    wake: Option<Instant>,
    /// Whether it stands since the audience takes no more.
    held: bool,
    /// Who waits for its commands to be carried out, in the order in which they came.
    waiting: Vec<Waiting>,
}

/// Who waits for its commands to be carried out.
struct Waiting {
    /// The steps that it asked for, counted over all steps of the timeline: they are played one after another.
    steps: Range<u64>,
    done: Done,
}

impl Waiting {
    /// Steps beyond this one will not be played, since something else was commanded meanwhile or the pass is over.
    fn cut(&mut self, end: u64) {
        self.steps = self.steps.start.min(end)..self.steps.end.min(end);
    }

    fn tell(self, mut position: Position) {
        position.stepped = self.steps.end - self.steps.start;
        (self.done)(&position);
    }
}

/// The thread's timelines, and when each is due.
pub struct Driver {
    pub(super) seats: BTreeMap<u64, Seat>,
    /// When to poll which timeline, soonest first. What is not the `wake` of a seat holds no more.
    due: BinaryHeap<Reverse<(Instant, u64)>>,
    inbox: Inbox<Signal>,
    alarm: Alarm,
    /// To use again.
    events: Vec<Event>,
}

impl Driver {
    /// Drives no timeline yet.
    pub fn new(inbox: Inbox<Signal>) -> Self {
        Driver {
            seats: BTreeMap::new(),
            due: BinaryHeap::new(),
            inbox,
            alarm: Alarm::new(Instant::now()),
            events: Vec::new(),
        }
    }

    /// Drives them until it is told to stop.
    pub fn run(mut self) {
        sleep_exactly();
        loop {
            let (heard, alarm) = self.hear();
            match heard {
                Heard::Nothing(now) => {
                    self.poll_first(now, alarm);
                    continue;
                }
                Heard::Said(Signal::Join(id, seat)) => {
                    self.seats.insert(id, seat);
                    self.poll_now(id);
                }
                Heard::Said(Signal::Leave(id)) => drop(self.seats.remove(&id)),
                Heard::Said(Signal::Commands(id, commands, done)) => self.carry_out(id, commands, done),
                Heard::Said(Signal::Fed(id)) => self.poll_now(id),
                Heard::Said(Signal::GoOn(id)) => self.go_on(id),
                Heard::Said(Signal::Stop) | Heard::Over => return,
            }
            // However much is said, what is due is handed out in between.
            let now = Instant::now();
            if self.next_due().is_some_and(|at| at <= now) {
                self.poll_first(now, None);
            }
        }
    }

    /// Waits for a signal until something is due, or will be when it is prepared. What is said is heard also where
    /// something is always due. Gives as well until when it was to sleep, if it was.
    fn hear(&mut self) -> (Heard<Signal>, Option<Instant>) {
        let Some(due) = self.next_due() else { return (self.inbox.hear(), None) };
        let now = Instant::now();
        let alarm = self.alarm.set(due, now);
        (self.inbox.hear_until(alarm.unwrap_or(now), now), alarm)
    }

    /// When something is due next.
    fn next_due(&mut self) -> Option<Instant> {
        loop {
            let &Reverse((at, id)) = self.due.peek()?;
            if self.seats.get(&id).is_some_and(|seat| seat.wake == Some(at)) {
                return Some(at);
            }
            self.due.pop();
        }
    }

    /// Polls the timeline that is due first, or will be in a moment. It is `now`; the thread was woken by the `alarm`, if
    /// by one.
    fn poll_first(&mut self, now: Instant, alarm: Option<Instant>) {
        if let Some(Reverse((at, id))) = self.due.pop() {
            self.poll(id, now, now.max(at), alarm);
        }
    }

    /// Polls a timeline for what is due now.
    fn poll_now(&mut self, id: u64) {
        let now = Instant::now();
        self.poll(id, now, now, None);
    }

    fn carry_out(&mut self, id: u64, commands: Vec<Command>, done: Done) {
        let Some(seat) = self.seats.get_mut(&id) else { return };
        let now = Instant::now();
        let mut first = seat.timeline.steps();
        for command in commands {
            seat.timeline.apply(command, now, &mut self.events);
            first = first.min(seat.cut_steps());
        }
        seat.waiting.push(Waiting { steps: first..seat.timeline.steps(), done });
        self.poll_now(id);
    }

    /// The audience takes more, or has passed on what it was given.
    fn go_on(&mut self, id: u64) {
        match self.seats.get_mut(&id) {
            Some(seat) if seat.held => self.poll_now(id),
            // What is due is handed out in its time.
            Some(seat) => seat.passed_on(),
            None => {}
        }
    }

    /// Hands out what is `due` on a timeline, now or in a moment. What is said in that moment is heard after it.
    pub(super) fn poll(&mut self, id: u64, now: Instant, due: Instant, alarm: Option<Instant>) {
        let Some(seat) = self.seats.get_mut(&id) else { return };
        seat.held = !seat.audience.takes_more(seat.timeline.rate());
        let wake = if seat.held {
            seat.timeline.hold(now);
            Wake::Commanded
        } else {
            seat.timeline.poll(due, &mut self.events)
        };
        if !self.events.is_empty() {
            let mut until_due = || {
                let mut now = Instant::now();
                if let Some(alarm) = alarm {
                    self.alarm.rang(alarm, now);
                }
                self.alarm.waited(due.saturating_duration_since(now));
                while now < due {
                    std::hint::spin_loop();
                    now = Instant::now();
                }
            };
            seat.audience.deliver(&self.events, due, &mut until_due);
            self.events.clear();
        }
        seat.passed_on();
        seat.wake = match wake {
            Wake::At(at) => Some(at),
            Wake::Fed | Wake::Commanded => None,
        };
        if let Some(at) = seat.wake {
            self.due.push(Reverse((at, id)));
        }
        seat.tell();
    }
}

impl Seat {
    /// For a timeline that is to be polled for the first time.
    pub fn new(
        timeline: Box<dyn Driven>,
        audience: Box<dyn Audience>,
        publish: watch::Sender<Position>,
    ) -> Self {
        Seat { timeline, audience, publish, wake: None, held: false, waiting: Vec::new() }
    }

    /// Lets the feed hear that what was taken is passed on.
    fn passed_on(&mut self) {
        self.timeline.passed_on(&|| self.audience.has_passed_on());
    }

    /// Tells what the timeline does, where that has changed.
    fn tell(&mut self) {
        let position = self.timeline.position();
        let changed = self.publish.send_if_modified(|published| {
            let changed = *published != position;
            *published = position;
            changed
        });
        if changed {
            self.audience.changed(&position);
        }
        if !self.timeline.is_stepping() {
            self.cut_steps();
            self.waiting.drain(..).for_each(|waiting| waiting.tell(position));
        }
    }

    /// Takes note of where the steps end that will be played. Gives that, counted over all steps.
    fn cut_steps(&mut self) -> u64 {
        let end = self.timeline.steps();
        self.waiting.iter_mut().for_each(|waiting| waiting.cut(end));
        end
    }
}

/// Asks the system to end this thread's sleeps on time. By default Linux may let them last 50 us longer.
fn sleep_exactly() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1)) {
        tracing::debug!("the system keeps its timer slack: {error}");
    }
}
