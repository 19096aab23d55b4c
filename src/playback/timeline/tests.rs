mod mixed;
mod silence;
mod steps;

use bytes::Bytes;

use super::*;
use crate::playback::Range;
use crate::recording::ChannelId;

/// A recording in memory, and where in it the timeline reads. Each peek uses up one entry of `hiccups`;
/// where that is true, it says that reading is behind.
#[derive(Debug)]
struct Memory {
    messages: Vec<Message>,
    /// Where a pass begins.
    start: Timestamp,
    next: usize,
    /// The time before which the state was not taken yet.
    lookback: Option<Timestamp>,
    /// What of the state was found late.
    late: Vec<Message>,
    hiccups: Vec<bool>,
    hurries: bool,
}

impl Memory {
    fn new(times: &[u64]) -> Self {
        Memory {
            messages: times.iter().enumerate().map(message).collect(),
            start: nanos(times[0]),
            next: 0,
            lookback: Some(nanos(times[0])),
            late: Vec::new(),
            hiccups: Vec::new(),
            hurries: false,
        }
    }

    /// The last message of each channel before the n-th message's time.
    fn state_before(&self, time: Timestamp) -> Vec<Message> {
        let earlier = || self.messages.iter().filter(|message| message.log_time < time);
        let last = |channel| earlier().rfind(|message| message.channel == ChannelId(channel)).cloned();
        (0..CHANNELS).filter_map(last).collect()
    }
}

/// The n-th message, told apart by its sequence number.
fn message((sequence, &time): (usize, &u64)) -> Message {
    Message {
        channel: ChannelId(sequence as u32 % CHANNELS),
        sequence: sequence as u32,
        log_time: nanos(time),
        publish_time: nanos(time),
        data: Bytes::new(),
        memory: Default::default(),
    }
}

impl Feed for Memory {
    fn peek(&mut self) -> Peek {
        if self.hiccups.pop() == Some(true) {
            return Peek::Pending;
        }
        if self.lookback.is_some() || !self.late.is_empty() {
            return Peek::Lookback;
        }
        self.messages.get(self.next).map_or(Peek::EndOfPass, |message| Peek::Message(message.log_time))
    }

    fn take_lookback(&mut self) -> Lookback {
        let Some(before) = self.lookback.take() else {
            return Lookback { messages: std::mem::take(&mut self.late), last: None, late: true };
        };
        let messages = self.state_before(before);
        let last = messages.iter().map(|message| message.log_time).max();
        Lookback { messages, last, late: false }
    }

    fn last_ready_up_to(&self, time: Timestamp) -> Option<Timestamp> {
        let rest = self.messages[self.next..].iter().map(|message| message.log_time);
        rest.take_while(|log_time| *log_time <= time).last()
    }

    fn take(&mut self) -> Option<Message> {
        self.next += 1;
        self.messages.get(self.next - 1).cloned()
    }

    fn next_pass(&mut self) {
        self.seek(self.start, false);
    }

    fn seek(&mut self, to: Timestamp, _: bool) {
        self.next = self.messages.partition_point(|message| message.log_time < to);
        self.lookback = Some(to);
    }

    fn hurry(&mut self, hurries: bool) {
        self.hurries = hurries;
    }

    fn passed_on(&mut self, _: &dyn Fn() -> bool) {}
}

const MS: u64 = 1_000_000;
const CHANNELS: u32 = 3;

fn nanos(time: u64) -> Timestamp {
    Timestamp::from_nanos(time)
}

fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// A timeline over messages at these milliseconds, already told to play.
struct Player {
    timeline: Timeline<Memory>,
    start: Instant,
}

impl Player {
    fn new(times: &[u64], factor: f64, repeat: Repeat) -> Self {
        Self::with_unit(MS, times, factor, repeat)
    }

    /// The times are in units of so many nanoseconds.
    fn with_unit(unit: u64, times: &[u64], factor: f64, repeat: Repeat) -> Self {
        let times: Vec<u64> = times.iter().map(|time| time * unit).collect();
        let range = Range { start: nanos(times[0]), end: nanos(times[times.len() - 1]) };
        let rate = Rate::new(factor).unwrap();
        Self::with_options(&times, TimelineOptions { rate, repeat, ..TimelineOptions::new(range) })
    }

    fn with_options(times: &[u64], options: TimelineOptions) -> Self {
        let mut timeline = Timeline::new(Memory::new(times), options);
        let start = Instant::now();
        timeline.apply(Command::Play, start, &mut Vec::new());
        Player { timeline, start }
    }

    /// What happens at so many milliseconds after the start, ticks left out, and when to wake up.
    fn at(&mut self, offset: u64) -> (Vec<String>, Wake) {
        let mut events = Vec::new();
        let wake = self.timeline.poll(self.start + millis(offset), &mut events);
        (events.iter().filter_map(describe).collect(), wake)
    }

    fn command(&mut self, command: Command, offset: u64) -> Vec<String> {
        let mut events = Vec::new();
        self.timeline.apply(command, self.start + millis(offset), &mut events);
        events.iter().filter_map(describe).collect()
    }

    fn wake_at(&self, offset: u64) -> Wake {
        Wake::At(self.start + millis(offset))
    }
}

fn describe(event: &Event) -> Option<String> {
    match event {
        Event::Message(message, _) => Some(format!("m{}", message.sequence)),
        Event::Jumped(to) => Some(format!("to {}", to.as_nanos() / MS)),
        Event::Looped(to) => Some(format!("back to {}", to.as_nanos() / MS)),
        Event::Tick(_) => None,
        Event::Lookback(state) if state.is_empty() => None,
        Event::Lookback(state) => {
            let state: Vec<String> = state.iter().map(|message| message.sequence.to_string()).collect();
            Some(format!("state {}", state.join(",")))
        }
        Event::Skipped(time) => Some(format!("skipped {}", time.as_millis())),
        Event::Stalled(time) => Some(format!("stalled {}", time.as_millis())),
        Event::Ended(_) => Some("ended".into()),
    }
}

#[test]
fn messages_come_when_they_are_due_and_not_before() {
    let mut player = Player::new(&[1000, 1040, 1040, 1090], 1.0, Repeat::Times(1));
    assert_eq!(player.at(0), (vec!["m0".into()], player.wake_at(40)));
    assert_eq!(player.at(39), (vec![], player.wake_at(40)));
    assert_eq!(player.at(40), (vec!["m1".into(), "m2".into()], player.wake_at(90)));
    assert_eq!(player.at(95).0, ["m3", "ended"]);
    assert_eq!(player.timeline.position().state, State::Ended);
}

#[test]
fn at_rate_four_everything_is_due_four_times_as_early() {
    let mut player = Player::new(&[0, 40, 80], 4.0, Repeat::Times(1));
    player.at(0);
    assert_eq!(player.at(9).0, [""; 0]);
    assert_eq!(player.at(10).0, ["m1"]);
    assert_eq!(player.at(20).0, ["m2", "ended"]);
}

#[test]
fn messages_that_are_due_soon_after_each_other_come_together() {
    let times = [0, 100_000, 115_000, 120_000, 120_100, 500_000];
    // Ten times as fast, the next one is due within 20 us as well.
    for (rate, last) in [(1, 3), (10, 4)] {
        let range = Range { start: nanos(0), end: nanos(times[5]) };
        let options =
            TimelineOptions { rate: Rate::new(rate as f64).unwrap(), ..TimelineOptions::new(range) };
        let mut player = Player::with_options(&times, options);
        let due = times.map(|time| player.start + Duration::from_nanos(time / rate));
        let mut events = Vec::new();
        assert_eq!(player.timeline.poll(due[0], &mut events), Wake::At(due[last]));
        events.clear();
        assert_eq!(player.timeline.poll(due[last], &mut events), Wake::At(due[last + 1]));
        // How late each of them is counts from when it was due.
        let since = |event: &Event| match event {
            Event::Message(_, since) => *since,
            _ => None,
        };
        assert!(events.iter().map(since).eq(due[1..=last].iter().copied().map(Some)));
    }
}

#[test]
fn a_late_poll_does_not_shift_what_follows() {
    let mut player = Player::new(&[0, 40, 80], 1.0, Repeat::Times(1));
    player.at(0);
    assert_eq!(player.at(79), (vec!["m1".into()], player.wake_at(80)));
}

#[test]
fn after_a_long_stop_the_clock_goes_on_from_where_it_was() {
    let mut player = Player::new(&[0, 40, 80, 120], 1.0, Repeat::Times(1));
    player.at(0);
    assert_eq!(player.at(5040), (vec!["stalled 5000".into(), "m1".into()], player.wake_at(5080)));
    assert_eq!(player.at(5080).0, ["m2"]);
}

#[test]
fn as_fast_as_it_goes_it_plays_also_while_it_waits_for_what_is_read() {
    let mut player = Player::new(&[0, 10, 20], 1.0, Repeat::Times(1));
    assert!(!player.timeline.feed.hurries);
    player.at(0);
    player.command(Command::SetRate(Rate::MAX), 0);
    assert!(player.timeline.feed.hurries);
    player.timeline.feed.hiccups = vec![true];
    assert_eq!(player.at(1), (vec![], Wake::Fed));
    assert_eq!(player.timeline.position().state, State::Playing);
    player.command(Command::SetRate(Rate::REAL_TIME), 2);
    assert!(!player.timeline.feed.hurries);
}

#[test]
fn the_clock_waits_for_the_feed() {
    let mut player = Player::new(&[0, 40, 80], 1.0, Repeat::Times(1));
    player.at(0);
    player.timeline.feed.hiccups = vec![true];
    assert_eq!(player.at(40), (vec![], Wake::Fed));
    assert_eq!(player.timeline.position().state, State::Buffering);
    assert_eq!(player.at(100), (vec!["stalled 60".into(), "m1".into()], player.wake_at(140)));
}

#[test]
fn short_waits_for_the_feed_do_not_add_up() {
    let times: Vec<u64> = (0..100).map(|number| number * 40).collect();
    let mut player = Player::new(&times, 1.0, Repeat::Times(1));
    player.at(0);
    for (number, &time) in times.iter().enumerate().skip(1) {
        player.timeline.feed.hiccups = vec![true];
        assert_eq!(player.at(time), (vec![], Wake::Fed));
        assert_eq!(player.at(time + 30).0[0], format!("m{number}"));
    }
}

#[test]
fn waits_for_the_feed_that_add_up_to_more_put_the_clock_off() {
    let times: Vec<u64> = (0..100).map(|number| number * 10).collect();
    let mut player = Player::new(&times, 1.0, Repeat::Times(1));
    player.at(0);
    let mut stalls = 0;
    for number in 1..100 {
        // Each takes 30 ms to read, although one is due every 10 ms.
        player.timeline.feed.hiccups = vec![true, false];
        let (mut events, wake) = player.at(number * 30);
        assert_eq!((events.pop(), wake), (Some(format!("m{number}")), Wake::Fed));
        stalls += events.len();
    }
    // 20 ms later each time, after more than 50 ms from there on.
    assert_eq!(stalls, 33);
}

#[test]
fn an_end_that_is_found_late_puts_the_clock_off() {
    let mut player = Player::new(&[0, 40, 80], 1.0, Repeat::Times(2));
    player.at(0);
    player.at(40);
    // It is not known what comes after the last message.
    player.timeline.feed.hiccups = vec![true, false];
    assert_eq!(player.at(80), (vec!["m2".into()], Wake::Fed));
    assert_eq!(
        player.at(280),
        (vec!["back to 0".into(), "stalled 200".into(), "m0".into()], player.wake_at(320))
    );
}

#[test]
fn the_clock_starts_when_the_first_message_is_there() {
    let mut player = Player::new(&[0, 40], 1.0, Repeat::Times(1));
    player.timeline.feed.hiccups = vec![true];
    assert_eq!(player.at(0), (vec![], Wake::Fed));
    assert_eq!(player.at(900), (vec!["m0".into()], player.wake_at(940)));
}

#[test]
fn a_loop_starts_again_at_the_instant_at_which_the_pass_was_over() {
    let mut player = Player::new(&[1000, 1040], 1.0, Repeat::Times(3));
    player.at(0);
    assert_eq!(player.at(43), (vec!["m1".into(), "back to 1000".into(), "m0".into()], player.wake_at(80)));
    assert_eq!(player.at(80).0, ["m1", "back to 1000", "m0"]);
    assert_eq!(player.timeline.position().pass, 3);
    assert_eq!(player.at(120).0, ["m1", "ended"]);
    assert_eq!(player.at(500), (vec![], Wake::Commanded));
}

#[test]
fn a_loop_of_a_single_instant_does_not_run_wild() {
    let mut player = Player::new(&[1000], 1.0, Repeat::Forever);
    assert_eq!(player.at(0), (vec!["m0".into(), "back to 1000".into()], player.wake_at(1)));
    assert_eq!(player.at(1).0, ["m0", "back to 1000"]);
}

#[test]
fn pause_keeps_the_position_and_play_goes_on_from_it() {
    let mut player = Player::new(&[0, 40, 80], 1.0, Repeat::Times(1));
    player.at(0);
    player.command(Command::Pause, 30);
    assert_eq!(player.at(1000), (vec![], Wake::Commanded));
    assert_eq!(player.timeline.position().time_at(player.start), nanos(30 * MS));
    player.command(Command::Play, 2000);
    assert_eq!(player.at(2000), (vec![], player.wake_at(2010)));
    assert_eq!(player.at(2010).0, ["m1"]);
}

#[test]
fn a_pause_does_not_jump_over_messages_that_were_due() {
    let mut player = Player::new(&[0, 40, 80], 1.0, Repeat::Times(1));
    player.at(0);
    player.command(Command::Pause, 60);
    player.command(Command::Play, 1000);
    assert_eq!(player.at(1000), (vec!["m1".into()], player.wake_at(1040)));
}

#[test]
fn seeks_are_clamped_to_the_range() {
    let mut player = Player::new(&[1000, 1040, 1080], 1.0, Repeat::Times(1));
    player.at(0);
    assert_eq!(player.command(Command::Seek(nanos(1040 * MS)), 5), ["to 1040"]);
    assert_eq!(player.at(5), (vec!["state 0".into(), "m1".into()], player.wake_at(45)));
    assert_eq!(player.command(Command::Seek(Timestamp::MIN), 6), ["to 1000"]);
    assert_eq!(player.command(Command::Seek(Timestamp::MAX), 7), ["to 1080"]);
    assert_eq!(player.at(8).0, ["state 0,1", "m2", "ended"]);
}

#[test]
fn the_state_is_told_also_while_paused() {
    let mut player = Player::new(&[1000, 1040, 1080, 1120], 1.0, Repeat::Times(1));
    player.command(Command::Pause, 0);
    player.at(0);
    assert_eq!(player.command(Command::Seek(nanos(1100 * MS)), 10), ["to 1100"]);
    assert_eq!(player.at(10), (vec!["state 0,1,2".into()], Wake::Commanded));
    assert_eq!(player.at(20), (vec![], Wake::Commanded));
}

#[test]
fn playing_after_the_end_starts_over() {
    let mut player = Player::new(&[1000, 1040], 1.0, Repeat::Times(1));
    player.at(0);
    player.at(40);
    assert_eq!(player.command(Command::Play, 100), ["to 1000"]);
    assert_eq!(player.at(100).0, ["m0"]);
    assert_eq!(player.at(140).0, ["m1", "ended"]);
}

#[test]
fn a_new_rate_holds_from_now_on() {
    let mut player = Player::new(&[0, 40, 80], 1.0, Repeat::Times(1));
    player.at(0);
    player.command(Command::SetRate(Rate::new(0.5).unwrap()), 20);
    assert_eq!(player.at(20), (vec![], player.wake_at(60)));
    assert_eq!(player.at(60), (vec!["m1".into()], player.wake_at(140)));
}

#[test]
fn state_that_is_found_late_is_told_whatever_the_timeline_does_and_changes_nothing_else() {
    let mut player = Player::new(&[0, 40, 80, 120], 1.0, Repeat::Times(1));
    let late = || vec![message((9, &0))];
    player.at(0);
    player.timeline.feed.late = late();
    assert_eq!(player.at(50), (vec!["state 9".into(), "m1".into()], player.wake_at(80)));
    player.command(Command::Pause, 60);
    player.timeline.feed.late = late();
    assert_eq!(player.at(60), (vec!["state 9".into()], Wake::Commanded));
    player.command(Command::StepBack, 60);
    assert_eq!(
        player.at(60).0,
        ["to 0", "state 0"],
        "the message before the last one, as without late state"
    );
    player.command(Command::Stop, 70);
    player.timeline.feed.late = late();
    assert_eq!(player.at(70).0, ["state 9"]);
}

#[test]
fn playback_begins_by_itself_unless_somebody_has_commanded_it() {
    let mut player = Player::new(&[0, 40], 1.0, Repeat::Times(1));
    player.command(Command::Pause, 0);
    player.command(Command::Begin, 10);
    assert_eq!(player.at(10), (vec![], Wake::Commanded));
    assert_eq!(player.timeline.position().state, State::Paused);
    player.command(Command::Toggle, 20);
    assert_eq!(player.at(20).0, ["m0"]);
}

#[test]
fn what_is_stopped_has_ended() {
    let mut player = Player::new(&[0, 40, 80], 1.0, Repeat::Times(1));
    player.at(0);
    assert_eq!(player.command(Command::Stop, 30), ["ended"]);
    assert_eq!(player.at(1000), (vec![], Wake::Commanded));
    assert_eq!(player.timeline.position().state, State::Ended);
    assert_eq!(player.command(Command::Play, 1000), ["to 0"]);
}

fn options(times: &[u64]) -> TimelineOptions {
    TimelineOptions::new(Range { start: nanos(times[0]), end: nanos(times[times.len() - 1]) })
}

/// A timeline with options, told to play.
fn player_with(times: &[u64], change: impl Fn(&mut TimelineOptions)) -> Player {
    let times: Vec<u64> = times.iter().map(|time| time * MS).collect();
    let mut options = options(&times);
    change(&mut options);
    Player::with_options(&times, options)
}

#[test]
fn times_can_go_on_rising_in_a_loop() {
    let mut player = player_with(&[1000, 1040, 1100], |options| {
        options.repeat = Repeat::Forever;
        options.loop_time = LoopTime::Monotonic;
        options.loop_gap = millis(50);
    });
    let mut times = Vec::new();
    for offset in [0, 40, 100, 149, 150, 190, 250, 299, 300] {
        let mut events = Vec::new();
        player.timeline.poll(player.start + millis(offset), &mut events);
        for event in events {
            match event {
                Event::Message(message, _) => {
                    times.push((message.sequence, message.log_time.as_nanos() / MS))
                }
                Event::Looped(to) => times.push((99, to.as_nanos() / MS)),
                _ => {}
            }
        }
    }
    let expected = [(0, 1000), (1, 1040), (2, 1100), (99, 1150), (0, 1150), (1, 1190), (2, 1250), (99, 1300)];
    assert_eq!(times[..8], expected);
    // What is asked and told of the position stays in recorded time.
    assert_eq!(player.timeline.position().time_at(player.start + millis(310)), nanos(1010 * MS));
}

#[test]
fn as_fast_as_it_goes_nothing_is_waited_for() {
    let mut player = player_with(&[0, 10_000, 20_000], |options| options.rate = Rate::MAX);
    assert_eq!(player.at(1).0, ["m0", "m1", "m2", "ended"]);
    // Nor is it ever late.
    let mut player = player_with(&[0, 10_000, 20_000], |options| options.rate = Rate::MAX);
    player.timeline.feed.hiccups = vec![true, false, true, false];
    let events: Vec<_> = [0, 1000, 2000, 3000].into_iter().flat_map(|offset| player.at(offset).0).collect();
    assert_eq!(events, ["m0", "m1", "m2", "ended"]);
}

#[test]
fn time_stands_while_those_who_listen_take_no_more() {
    let mut player = Player::new(&[0, 40, 80], 1.0, Repeat::Times(1));
    player.at(0);
    player.timeline.hold(player.start + millis(30));
    assert_eq!(player.timeline.position().state, State::Buffering);
    assert_eq!(player.timeline.position().time_at(player.start + millis(900)), nanos(30 * MS));
    assert_eq!(player.at(1000), (vec![], player.wake_at(1010)));
}

#[test]
fn a_jump_to_where_it_stands_is_one() {
    let mut player = Player::new(&[1000, 1010], 1.0, Repeat::Times(1));
    player.command(Command::Pause, 0);
    let before = player.timeline.position();
    assert_eq!(player.command(Command::Seek(nanos(1000 * MS)), 0), ["to 1000"]);
    assert_ne!(player.timeline.position(), before);
}

#[test]
fn the_state_from_before_the_start_does_not_go_back_where_times_rise() {
    let times: Vec<u64> = [500, 1000, 1010].map(|time| time * MS).to_vec();
    let range = Range { start: nanos(1000 * MS), end: nanos(1010 * MS) };
    let options = TimelineOptions {
        repeat: Repeat::Times(2),
        loop_time: LoopTime::Monotonic,
        ..TimelineOptions::new(range)
    };
    let mut player = Player::with_options(&times, options);
    player.timeline.feed.start = range.start;
    player.timeline.feed.seek(range.start, false);
    let mut told = Vec::new();
    for offset in [0, 10, 20] {
        let mut events = Vec::new();
        player.timeline.poll(player.start + millis(offset), &mut events);
        for event in events {
            match event {
                Event::Lookback(state) => {
                    told.extend(state.iter().map(|message| message.log_time.as_nanos() / MS));
                }
                Event::Message(message, _) => told.push(message.log_time.as_nanos() / MS),
                _ => {}
            }
        }
    }
    assert_eq!(told, [500, 1000, 1010, 1010, 1010, 1020]);
}
