//! The thread that sleeps for timelines and hands out what is due.

mod alarm;
mod inbox;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use tokio::sync::watch;

use self::alarm::Alarm;
use self::inbox::{Heard, Inbox, Voice, inbox};
use super::{Command, Event, Feed, Position, Rate, Timeline, Wake};

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

enum Signal {
    Join(u64, Seat),
    Leave(u64),
    Commands(u64, Vec<Command>, Done),
    Fed(u64),
    GoOn(u64),
    Stop,
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
        let timeline = Box::new(timeline);
        let seat = Seat { timeline, audience, publish, wake: None, held: false, waiting: Vec::new() };
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

/// A timeline, whatever feeds it.
trait Driven: Send {
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
struct Seat {
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

struct Driver {
    seats: BTreeMap<u64, Seat>,
    /// When to poll which timeline, soonest first. What is not the `wake` of a seat holds no more.
    due: BinaryHeap<Reverse<(Instant, u64)>>,
    inbox: Inbox<Signal>,
    alarm: Alarm,
    /// When the thread was to be woken for what is due first, if it was.
    rang: Option<Instant>,
    /// To use again.
    events: Vec<Event>,
}

impl Driver {
    /// Drives no timeline yet.
    fn new(inbox: Inbox<Signal>) -> Self {
        Driver {
            seats: BTreeMap::new(),
            due: BinaryHeap::new(),
            inbox,
            alarm: Alarm::new(Instant::now()),
            rang: None,
            events: Vec::new(),
        }
    }

    fn run(mut self) {
        sleep_exactly();
        loop {
            match self.hear() {
                Heard::Nothing(now) => {
                    self.poll_first(now);
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
                self.poll_first(now);
            }
        }
    }

    /// Waits for a signal until something is due, or will be when it is prepared. What is said is heard also where
    /// something is always due.
    fn hear(&mut self) -> Heard<Signal> {
        let Some(due) = self.next_due() else { return self.inbox.hear() };
        let now = Instant::now();
        let alarm = self.alarm.set(due, now);
        let heard = self.inbox.hear_until(alarm.unwrap_or(now), now);
        if matches!(heard, Heard::Nothing(_)) {
            self.rang = alarm;
        }
        heard
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

    /// Polls the timeline that is due first, or will be in a moment. It is `now`.
    fn poll_first(&mut self, now: Instant) {
        if let Some(Reverse((at, id))) = self.due.pop() {
            self.poll(id, now, now.max(at));
        }
    }

    /// Polls a timeline for what is due now.
    fn poll_now(&mut self, id: u64) {
        let now = Instant::now();
        self.poll(id, now, now);
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
    fn poll(&mut self, id: u64, now: Instant, due: Instant) {
        let rang = self.rang.take();
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
                if let Some(alarm) = rang {
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

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{self, Receiver, Sender};
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;
    use crate::playback::{Lookback, Peek, Range, State, TimelineOptions};
    use crate::recording::{ChannelId, Memory, Message};
    use crate::time::Timestamp;

    /// A message every millisecond.
    struct Metronome {
        next: u64,
        end: u64,
        /// Hears whether everything is passed on.
        passed_on: Option<Sender<bool>>,
    }

    impl Feed for Metronome {
        fn peek(&mut self) -> Peek {
            if self.next > self.end {
                return Peek::EndOfPass;
            }
            Peek::Message(Timestamp::from_nanos(self.next * 1_000_000))
        }

        fn take_lookback(&mut self) -> Lookback {
            Lookback::default()
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
                memory: Memory::default(),
            })
        }

        fn next_pass(&mut self) {
            self.next = 0;
        }

        fn seek(&mut self, to: Timestamp, _: bool) {
            self.next = to.as_nanos().div_ceil(1_000_000);
        }

        fn hurry(&mut self, _: bool) {}

        fn passed_on(&mut self, everything: &dyn Fn() -> bool) {
            if let Some(passed_on) = &self.passed_on {
                passed_on.send(everything()).unwrap_or_default();
            }
        }
    }

    struct Listener(Sender<(Instant, Event)>);

    impl Audience for Listener {
        fn deliver(&mut self, events: &[Event], _: Instant, until_due: &mut dyn FnMut()) {
            until_due();
            for event in events {
                self.0.send((Instant::now(), event.clone())).unwrap_or_default();
            }
        }

        fn changed(&mut self, _: &Position) {}
    }

    struct Fixture {
        scheduler: Scheduler,
        player: Player,
        events: Receiver<(Instant, Event)>,
    }

    fn start(end: u64, rate: f64) -> Fixture {
        let scheduler = Scheduler::start().unwrap();
        let (player, events) = join(&scheduler, end, rate);
        Fixture { scheduler, player, events }
    }

    fn join(scheduler: &Scheduler, end: u64, rate: f64) -> (Player, Receiver<(Instant, Event)>) {
        let (sender, receiver) = mpsc::channel();
        let range = Range { start: Timestamp::MIN, end: Timestamp::from_nanos(end * 1_000_000) };
        let options = TimelineOptions { rate: Rate::new(rate).unwrap(), ..TimelineOptions::new(range) };
        let make = |_| Timeline::new(Metronome { next: 0, end, passed_on: None }, options);
        (scheduler.drive(make, Box::new(Listener(sender))), receiver)
    }

    #[test]
    fn nothing_is_handed_out_before_it_is_due() {
        let Fixture { scheduler: _scheduler, player, events } = start(50, 2.0);
        let before = Instant::now();
        player.remote().command(Command::Play);
        let mut count = 0;
        for (at, event) in events {
            match event {
                Event::Message(message, _) => {
                    assert!(at - before >= Duration::from_nanos(message.log_time.as_nanos() / 2));
                    count += 1;
                }
                Event::Ended(_) => break,
                _ => {}
            }
        }
        assert_eq!(count, 51);
    }

    /// Tells when what it is given is due, and when it might leave.
    struct Early(Sender<[Instant; 2]>);

    impl Audience for Early {
        fn deliver(&mut self, _: &[Event], due: Instant, until_due: &mut dyn FnMut()) {
            until_due();
            self.0.send([due, Instant::now()]).unwrap_or_default();
        }

        fn changed(&mut self, _: &Position) {}
    }

    #[test]
    fn what_is_prepared_waits_until_it_is_due() {
        let (sender, heard) = mpsc::channel();
        let range = Range { start: Timestamp::MIN, end: Timestamp::from_nanos(9_000_000) };
        let feed = Metronome { next: 0, end: 9, passed_on: None };
        let mut timeline = Timeline::new(feed, TimelineOptions::new(range));
        let publish = watch::Sender::new(timeline.position());
        timeline.apply(Command::Play, Instant::now(), &mut Vec::new());
        let (timeline, audience) = (Box::new(timeline), Box::new(Early(sender)));
        let seat = Seat { timeline, audience, publish, wake: None, held: false, waiting: Vec::new() };
        let mut driver = Driver::new(inbox().1);
        driver.seats.insert(0, seat);
        let now = Instant::now();
        // Far enough ahead that it can't be over by itself.
        driver.poll(0, now, now + Duration::from_millis(20));
        let [due, left] = heard.recv().unwrap();
        assert_eq!(due, now + Duration::from_millis(20));
        assert!(left >= due);
    }

    #[test]
    fn commands_take_effect_while_it_sleeps() {
        let Fixture { scheduler: _scheduler, player, events } = start(1000, 1e-6);
        player.remote().command(Command::Play);
        let first = events.recv().unwrap().1;
        assert!(matches!(first, Event::Message(..)));
        // The next message is due in a quarter of an hour.
        player.remote().command(Command::SetRate(Rate::new(1e6).unwrap()));
        let ended = events.iter().any(|(_, event)| matches!(event, Event::Ended(_)));
        assert!(ended);
    }

    /// Has passed on everything the second time that it is asked.
    struct Hesitant(AtomicU64);

    impl Audience for Hesitant {
        fn deliver(&mut self, _: &[Event], _: Instant, _: &mut dyn FnMut()) {}

        fn has_passed_on(&self) -> bool {
            self.0.fetch_add(1, Ordering::Relaxed) > 0
        }

        fn changed(&mut self, _: &Position) {}
    }

    #[test]
    fn who_goes_on_lets_the_feed_hear_that_everything_is_passed_on() {
        let scheduler = Scheduler::start().unwrap();
        let range = Range { start: Timestamp::MIN, end: Timestamp::from_nanos(1_000_000) };
        let (sender, heard) = mpsc::channel();
        let feed = Metronome { next: 0, end: 1, passed_on: Some(sender) };
        let make = |_| Timeline::new(feed, TimelineOptions::new(range));
        let player = scheduler.drive(make, Box::new(Hesitant(AtomicU64::new(0))));
        let hears = || heard.recv_timeout(Duration::from_secs(60)).unwrap();
        assert!(!hears());
        player.remote().go_on();
        assert!(hears());
    }

    #[test]
    fn many_timelines_go_their_own_ways_on_one_thread() {
        let scheduler = Scheduler::start().unwrap();
        let players: Vec<_> = (0..20).map(|n| join(&scheduler, 20 + n, 1.0 + n as f64)).collect();
        let (stands, _) = join(&scheduler, 10, 1.0);
        for (player, _) in &players {
            player.remote().command(Command::Play);
        }
        for (n, (_, events)) in players.iter().enumerate() {
            let ended = events.iter().take_while(|(_, event)| !matches!(event, Event::Ended(_)));
            let messages = ended.filter(|(_, event)| matches!(event, Event::Message(..))).count();
            assert_eq!(messages, 21 + n);
        }
        assert_eq!(stands.remote().position().state, State::Paused);
    }

    #[test]
    fn a_timeline_that_leaves_is_driven_no_more() {
        let Fixture { scheduler: _scheduler, player, events } = start(u64::MAX / 1_000_000, 1.0);
        player.remote().command(Command::Play);
        events.recv().unwrap();
        let remote = player.remote().clone();
        drop(player);
        // The audience goes with it, and so this ends.
        events.iter().for_each(drop);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut watch = remote.watch();
        runtime.block_on(async { while watch.changed().await.is_ok() {} });
    }

    #[test]
    fn a_request_is_done_when_its_steps_are() {
        let Fixture { scheduler: _scheduler, player, events } = start(5000, 1.0);
        let (sender, done) = mpsc::channel();
        let tell = move |position: &Position| sender.send(*position).unwrap_or_default();
        player.remote().request(vec![Command::Step(3000)], Box::new(tell));
        let position = done.recv().unwrap();
        assert_eq!((position.state, position.stepped), (State::Paused, 3000));
        assert_eq!(events.try_iter().filter(|(_, event)| matches!(event, Event::Message(..))).count(), 3000);
    }

    /// Takes nothing for so many times that it is asked.
    struct Busy(u64);

    impl Audience for Busy {
        fn deliver(&mut self, _: &[Event], _: Instant, _: &mut dyn FnMut()) {}

        fn takes_more(&mut self, _: Rate) -> bool {
            let busy = self.0 > 0;
            self.0 = self.0.saturating_sub(1);
            !busy
        }

        fn changed(&mut self, _: &Position) {}
    }

    /// What each of these requests is told of its steps, where none is played before the last one is made. There are
    /// ten messages.
    fn steps_told(requests: &[&[Command]]) -> Vec<u64> {
        let scheduler = Scheduler::start().unwrap();
        let range = Range { start: Timestamp::MIN, end: Timestamp::from_nanos(9_000_000) };
        let make =
            |_| Timeline::new(Metronome { next: 0, end: 9, passed_on: None }, TimelineOptions::new(range));
        // It is asked when the timeline joins, and with each request.
        let player = scheduler.drive(make, Box::new(Busy(1 + requests.len() as u64)));
        let (sender, told) = mpsc::channel();
        for commands in requests {
            let sender = sender.clone();
            let tell = move |position: &Position| sender.send(position.stepped).unwrap_or_default();
            player.remote().request(commands.to_vec(), Box::new(tell));
        }
        player.remote().go_on();
        drop(sender);
        told.iter().collect()
    }

    #[test]
    fn who_asks_for_steps_is_told_only_of_these() {
        use Command::{Pause, Step};
        assert_eq!(steps_told(&[&[Step(2)], &[Step(3)], &[], &[Step(1), Step(1)]]), [2, 3, 0, 2]);
        assert_eq!(steps_told(&[&[Step(7)], &[Step(7)], &[Step(7)]]), [7, 3, 0]);
        assert_eq!(steps_told(&[&[Step(5)], &[Pause, Step(1)], &[Step(2)]]), [0, 1, 2]);
        assert_eq!(steps_told(&[&[Step(2), Pause], &[Step(0)], &[Pause, Step(1)]]), [0, 0, 1]);
        assert_eq!(steps_told(&[&[Step(2)], &[Step(u64::MAX)], &[Step(u64::MAX)]]), [2, 8, 0]);
    }

    #[test]
    fn what_it_does_can_be_watched() {
        let Fixture { scheduler: _scheduler, player, .. } = start(3, 100.0);
        let mut watch = player.remote().watch();
        assert_eq!(watch.borrow_and_update().state, State::Paused);
        player.remote().command(Command::Play);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let ended = runtime.block_on(watch.wait_for(|position| position.state == State::Ended)).unwrap();
        assert_eq!(ended.time_at(Instant::now()), Timestamp::from_nanos(3_000_000));
    }
}
