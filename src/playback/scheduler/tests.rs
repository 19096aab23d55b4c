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
    let seat = Seat::new(Box::new(timeline), Box::new(Early(sender)), publish);
    let mut driver = Driver::new(inbox().1);
    driver.seats.insert(0, seat);
    let now = Instant::now();
    // Far enough ahead that it can't be over by itself.
    driver.poll(0, now, now + Duration::from_millis(20), None);
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
    let make = |_| Timeline::new(Metronome { next: 0, end: 9, passed_on: None }, TimelineOptions::new(range));
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
