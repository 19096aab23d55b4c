//! The player as a state machine: no I/O, no sleeping, no clock of its own.

mod terms;

use std::time::{Duration, Instant};

pub use self::terms::{Command, Event, LoopTime, Repeat, TimelineOptions, Wake};
use super::{Clock, Feed, Lookback, Peek, Position, Rate, State};
use crate::recording::Message;
use crate::time::Timestamp;

/// A delay up to this is caught up with, so that a busy machine causes no drift. After a longer one (the
/// process was stopped) the clock goes on from where it was: a burst of everything that was missed would be
/// no replay.
const CATCH_UP: Duration = Duration::from_millis(250);

/// The same where it was the feed that had nothing. Where that is often so, what comes late all at once is to be no more
/// than nobody sees; where it is so for a few milliseconds now and then, these must not add up.
const CATCH_UP_WITH_FEED: Duration = Duration::from_millis(50);

/// How often the position is told while no message is due.
const TICK: Duration = Duration::from_millis(100);

/// The shortest time that one pass of a loop takes. A recording of one instant would otherwise be repeated
/// without end within an instant.
const SHORTEST_PASS: Duration = Duration::from_millis(1);

/// Messages that are due within this time of each other are handed out together, when the last of them is due: so they need
/// not be written to each client one by one, which takes about as long.
const TOGETHER: Duration = Duration::from_micros(20);

/// How many messages, and bytes of them, one [`Timeline::poll`] hands out, so that commands are heard in
/// between, and those who can take no more.
const BATCH: usize = 1024;
const BATCH_BYTES: usize = 4 * 1024 * 1024;

#[derive(Clone, Copy, Debug)]
enum Mode {
    /// The clock stands, by command.
    Paused { at: Timestamp },
    /// The clock stands, and so many messages are still to be played without it.
    Stepping { at: Timestamp, left: u64 },
    /// The clock stands, and the feed looks for the message before. After that so many steps more are to be
    /// done.
    SteppingBack { at: Timestamp, more: u64, then: Then },
    /// The clock starts as soon as the feed has what comes next.
    Starting { at: Timestamp },
    /// The clock runs. `starved` once the feed had nothing when asked.
    Running { clock: Clock, starved: bool },
    /// The last pass is over.
    Ended,
}

/// What follows on steps back.
#[derive(Clone, Copy, Debug)]
enum Then {
    Pause,
    Step(u64),
    Play,
}

/// Plays a [`Feed`]: says which messages are due, and when the next one will be.
///
/// Everything in here is in recorded time; what it hands out is shifted by the passes that are over, where that
/// is wanted ([`LoopTime::Monotonic`]).
#[derive(Debug)]
pub struct Timeline<F> {
    feed: F,
    options: TimelineOptions,
    rate: Rate,
    /// How many passes are still to come after this one.
    more_passes: Repeat,
    pass: u64,
    mode: Mode,
    /// How much later than recorded everything is handed out.
    shift: Duration,
    /// Whether somebody has said whether to play.
    commanded: bool,
    /// What time was last told, by a message, a jump or a tick: time is at least here.
    reached: Timestamp,
    /// Since when no message is played: the log time of the last one, or the place where time went last.
    silent_since: Timestamp,
    /// The end of the silence that is being cut short.
    skips_to: Option<Timestamp>,
    /// How much of the gap between two passes was over when the clock was last stopped in it, in recorded time.
    gap: Duration,
    /// The log time of the last message that was handed out, where there is one.
    last: Option<Timestamp>,
    /// How many messages steps have played.
    stepped: u64,
    /// How often time went to another place by a command.
    jumps: u64,
    /// Whether the state that the feed gives next is that of a step back.
    looks_back: bool,
    /// When something was last told, for ticks.
    told: Option<Instant>,
    /// How many bytes of messages the last poll has handed out.
    batch_bytes: usize,
}

impl<F: Feed> Timeline<F> {
    /// A timeline that stands at the start of its range, which is where `feed` has to be.
    pub fn new(mut feed: F, options: TimelineOptions) -> Self {
        let start = options.range.start;
        feed.hurry(options.rate.is_max());
        Timeline {
            feed,
            options,
            rate: options.rate,
            more_passes: match options.repeat {
                Repeat::Times(times) => Repeat::Times(times.saturating_sub(1)),
                Repeat::Forever => Repeat::Forever,
            },
            pass: 1,
            mode: Mode::Paused { at: start },
            shift: Duration::ZERO,
            commanded: false,
            reached: start,
            silent_since: start,
            skips_to: None,
            gap: Duration::ZERO,
            last: None,
            stepped: 0,
            jumps: 0,
            looks_back: false,
            told: None,
            batch_bytes: 0,
        }
    }

    /// Carries out a command. Messages that were due before are handed out by the next poll.
    pub fn apply(&mut self, command: Command, now: Instant, events: &mut Vec<Event>) {
        match command {
            Command::Begin if self.commanded => {}
            Command::Begin | Command::Play => self.play(events),
            Command::Pause => self.pause(now),
            Command::Toggle => match self.mode {
                Mode::Starting { .. } | Mode::Running { .. } => self.pause(now),
                _ => self.play(events),
            },
            Command::Seek(to) => self.seek(to, events),
            Command::SetRate(rate) => self.set_rate(rate, now),
            Command::SetLoop(true) => self.more_passes = Repeat::Forever,
            Command::SetLoop(false) => self.more_passes = Repeat::Times(0),
            Command::Step(count) => self.step(count, now),
            Command::StepBack => self.step_back(now),
            Command::Stop => self.stop(now, events),
        }
        self.commanded |= !matches!(command, Command::Seek(_) | Command::SetRate(_) | Command::SetLoop(_));
    }

    fn play(&mut self, events: &mut Vec<Event>) {
        match self.mode {
            Mode::Paused { at } | Mode::Stepping { at, .. } => self.mode = Mode::Starting { at },
            Mode::SteppingBack { at, more, .. } => {
                self.mode = Mode::SteppingBack { at, more, then: Then::Play };
            }
            Mode::Ended => {
                let start = self.options.range.start;
                self.shift_pass();
                self.jump(start, events);
                self.mode = Mode::Starting { at: start };
            }
            Mode::Starting { .. } | Mode::Running { .. } => {}
        }
    }

    fn pause(&mut self, now: Instant) {
        match self.mode {
            Mode::Ended => {}
            Mode::SteppingBack { at, more, .. } => {
                self.mode = Mode::SteppingBack { at, more, then: Then::Pause };
            }
            _ => self.mode = Mode::Paused { at: self.stop_clock(now) },
        }
    }

    /// The recorded time at which the clock stands from now on. In the gap between two passes it was the clock that went
    /// on, although no time of the recording passes, and so it is to go on from there.
    fn stop_clock(&mut self, now: Instant) -> Timestamp {
        if let Mode::Running { clock, .. } = self.mode
            && self.is_in_gap()
        {
            self.gap = clock.time_at(now).since(self.end());
        }
        self.time_at(now)
    }

    /// A clock that goes on from where it was stopped.
    fn start_clock(&self, now: Instant, at: Timestamp) -> Clock {
        Clock::new(now, at.saturating_add(self.gap), self.rate)
    }

    fn seek(&mut self, to: Timestamp, events: &mut Vec<Event>) {
        let at = to.clamp(self.options.range.start, self.options.range.end);
        self.jump(at, events);
        self.mode = match self.mode {
            Mode::Starting { .. } | Mode::Running { .. } | Mode::SteppingBack { then: Then::Play, .. } => {
                Mode::Starting { at }
            }
            _ => Mode::Paused { at },
        };
    }

    fn jump(&mut self, to: Timestamp, events: &mut Vec<Event>) {
        self.looks_back = false;
        self.feed.seek(to, false);
        self.stand_at(to);
        self.last = None;
        self.jumps += 1;
        events.push(Event::Jumped(self.shown(to)));
    }

    /// Time is here now, wherever it was before.
    fn stand_at(&mut self, at: Timestamp) {
        self.reached = at;
        self.silent_since = at;
        self.skips_to = None;
        self.gap = Duration::ZERO;
    }

    fn set_rate(&mut self, rate: Rate, now: Instant) {
        if rate == self.rate {
            return;
        }
        let at = self.stop_clock(now);
        self.rate = rate;
        self.feed.hurry(rate.is_max());
        if let Mode::Running { starved, .. } = self.mode {
            self.mode = Mode::Running { clock: self.start_clock(now, at), starved };
        }
    }

    fn is_in_gap(&mut self) -> bool {
        self.more_passes != Repeat::Times(0)
            && !self.options.loop_gap.is_zero()
            && self.silent_since >= self.end()
            && self.feed.peek() == Peek::EndOfPass
    }

    /// What steps were asked for before is played as well.
    fn step(&mut self, count: u64, now: Instant) {
        self.mode = match self.mode {
            Mode::Stepping { at, left } => Mode::Stepping { at, left: left.saturating_add(count) },
            Mode::SteppingBack { at, more, then } => {
                let before = if let Then::Step(before) = then { before } else { 0 };
                Mode::SteppingBack { at, more, then: Then::Step(before.saturating_add(count)) }
            }
            _ => {
                self.pause(now);
                match self.mode {
                    Mode::Paused { at } if count > 0 => Mode::Stepping { at, left: count },
                    mode => mode,
                }
            }
        };
    }

    fn step_back(&mut self, now: Instant) {
        if let Mode::SteppingBack { at, more, .. } = self.mode {
            self.mode = Mode::SteppingBack { at, more: more.saturating_add(1), then: Then::Pause };
            return;
        }
        let at = self.time_at(now);
        self.look_back(self.last.unwrap_or(at));
        self.mode = Mode::SteppingBack { at, more: 0, then: Then::Pause };
    }

    /// Lets the feed look for the last message before `time`.
    fn look_back(&mut self, time: Timestamp) {
        self.looks_back = true;
        self.feed.seek(time.max(self.options.range.start), true);
    }

    fn stop(&mut self, now: Instant, events: &mut Vec<Event>) {
        if !matches!(self.mode, Mode::Ended) {
            self.reached = self.time_at(now);
            self.mode = Mode::Ended;
            events.push(Event::Ended(self.shown(self.reached)));
        }
    }

    /// Stands still until it is polled again, where playback would go on: those who listen can't take more.
    pub fn hold(&mut self, now: Instant) {
        if matches!(self.mode, Mode::Running { .. }) {
            self.mode = Mode::Starting { at: self.stop_clock(now) };
        }
    }

    /// How fast it plays.
    pub fn rate(&self) -> Rate {
        self.rate
    }

    /// Whether a step is still being carried out.
    pub fn is_stepping(&self) -> bool {
        matches!(self.mode, Mode::Stepping { .. } | Mode::SteppingBack { .. })
    }

    /// How many messages steps will have played in all, once those that were asked for are carried out.
    pub fn steps(&self) -> u64 {
        let left = match self.mode {
            Mode::Stepping { left, .. } | Mode::SteppingBack { then: Then::Step(left), .. } => left,
            _ => 0,
        };
        self.stepped.saturating_add(left)
    }

    /// Appends what is due at `now` to `events`, and says when to poll again. That may be a moment ahead, so that what
    /// is due then can be prepared: where there are events, nothing else may be asked of the timeline before it.
    pub fn poll(&mut self, now: Instant, events: &mut Vec<Event>) -> Wake {
        let batch = events.len() + BATCH;
        self.batch_bytes = 0;
        let wake = loop {
            if events.len() >= batch || self.batch_bytes >= BATCH_BYTES {
                break Wake::At(now);
            }
            match (self.mode, self.feed.peek()) {
                (_, Peek::Lookback) => self.take_lookback(events),
                (Mode::Paused { .. } | Mode::Ended, _) => return Wake::Commanded,
                (
                    Mode::Starting { .. } | Mode::Stepping { .. } | Mode::SteppingBack { .. },
                    Peek::Pending,
                ) => {
                    return Wake::Fed;
                }
                // The answer to a step back is always a lookback.
                (Mode::SteppingBack { at, .. }, _) => self.mode = Mode::Paused { at },
                (Mode::Running { clock, .. }, Peek::Pending) => {
                    self.mode = Mode::Running { clock, starved: true };
                    return Wake::Fed;
                }
                (Mode::Stepping { left, .. }, Peek::Message(time)) => {
                    let Some(message) = self.feed.take() else { return Wake::Fed };
                    self.hand_out(message, None, events);
                    self.stepped += 1;
                    self.mode = match left {
                        ..=1 => Mode::Paused { at: time },
                        left => Mode::Stepping { at: time, left: left - 1 },
                    };
                }
                (Mode::Stepping { .. }, Peek::EndOfPass) => {
                    self.start_next_pass(now, events);
                }
                (Mode::Starting { at }, _) => {
                    self.mode = Mode::Running { clock: self.start_clock(now, at), starved: false };
                }
                (Mode::Running { .. }, Peek::Message(time)) => {
                    if let Some(wake) = self.wait_through_silence(time, now, events) {
                        break self.wait_for_company(wake);
                    }
                    let Some(message) = self.feed.take() else { return Wake::Fed };
                    self.hand_out(message, self.due(time), events);
                }
                (Mode::Running { .. }, Peek::EndOfPass) => {
                    if let Some(wake) = self.wait_for_end(now, events) {
                        break wake;
                    }
                    if !self.start_next_pass(now, events) {
                        return Wake::Commanded;
                    }
                }
            }
        };
        self.tick(now, events, wake)
    }

    /// What the last poll gave is passed on ([`Feed::passed_on`]).
    pub fn passed_on(&mut self, everything: &dyn Fn() -> bool) {
        self.feed.passed_on(everything);
    }

    /// When the clock shows `time`, where it runs and anybody waits for it.
    fn due(&self, time: Timestamp) -> Option<Instant> {
        match self.mode {
            Mode::Running { clock, .. } if !self.rate.is_max() => clock.instant_of(time),
            _ => None,
        }
    }

    fn hand_out(&mut self, mut message: Message, due: Option<Instant>, events: &mut Vec<Event>) {
        self.stand_at(message.log_time);
        self.last = Some(message.log_time);
        self.batch_bytes += message.data.len();
        message.log_time = self.shown(message.log_time);
        events.push(Event::Message(message, due));
    }

    fn take_lookback(&mut self, events: &mut Vec<Event>) {
        let Lookback { mut messages, last, late } = self.feed.take_lookback();
        if !late {
            self.last = last;
            if !self.answer_step_back(events) {
                return;
            }
        }
        // Who can't go back in time is shown what is from before the start as of the start, in the passes after the
        // first.
        let earliest =
            if self.shift.is_zero() { Timestamp::MIN } else { self.shown(self.options.range.start) };
        for message in &mut messages {
            message.log_time = self.shown(message.log_time).max(earliest);
        }
        events.push(Event::Lookback(messages));
    }

    /// Goes to the last message, where a step back has asked for it. Says whether that was the last step.
    fn answer_step_back(&mut self, events: &mut Vec<Event>) -> bool {
        let Mode::SteppingBack { at, more, then } = self.mode else {
            // A state of before a place that playback never went to, since it ended meanwhile, is no news.
            return !matches!(self.mode, Mode::Ended) || !self.looks_back;
        };
        let start = self.options.range.start;
        if let (Some(last), 1..) = (self.last.filter(|last| *last > start), more) {
            self.look_back(last);
            self.mode = Mode::SteppingBack { at, more: more - 1, then };
            return false;
        }
        let at = self.last.unwrap_or(start).max(start);
        self.stand_at(at);
        self.mode = match then {
            Then::Pause | Then::Step(0) => Mode::Paused { at },
            Then::Step(left) => Mode::Stepping { at, left },
            Then::Play => Mode::Starting { at },
        };
        self.jumps += 1;
        events.push(Event::Jumped(self.shown(at)));
        true
    }

    /// A recorded time as it is handed out.
    fn shown(&self, time: Timestamp) -> Timestamp {
        time.saturating_add(self.shift)
    }

    /// Waits until the log time of the next message has come, or until the silence before it has lasted long
    /// enough. `None` if so, else when to ask again.
    fn wait_through_silence(
        &mut self,
        time: Timestamp,
        now: Instant,
        events: &mut Vec<Event>,
    ) -> Option<Wake> {
        let longest = self.options.skip_gaps.filter(|longest| time.since(self.silent_since) > *longest);
        let Some(longest) = longest else { return self.wait_for(time, now, events) };
        self.skips_to = Some(time);
        let over = self.silent_since.saturating_add(longest);
        let wake = self.wait_for(over, now, events);
        if wake.is_none() {
            self.move_clock(over, time, now);
            events.push(Event::Skipped(time.since(over)));
        }
        wake
    }

    /// Lets the clock show `to` at the instant at which it shows `from`.
    fn move_clock(&mut self, from: Timestamp, to: Timestamp, now: Instant) {
        if let Mode::Running { clock, starved } = self.mode {
            let at = clock.instant_of(from).unwrap_or(now);
            self.mode = Mode::Running { clock: Clock::new(at, to, self.rate), starved };
            self.stand_at(to);
        }
    }

    /// Waits until the pass is over, and the gap after it.
    fn wait_for_end(&mut self, now: Instant, events: &mut Vec<Event>) -> Option<Wake> {
        let end = self.end();
        if self.silent_since < end {
            if let Some(wake) = self.wait_through_silence(end, now, events) {
                return Some(wake);
            }
            self.silent_since = end;
        }
        if self.more_passes == Repeat::Times(0) || self.options.loop_gap.is_zero() {
            return None;
        }
        self.wait_for(end.saturating_add(self.options.loop_gap), now, events)
    }

    /// Whether `time` has come: `None` if so, else when to ask again. Moves the clock where the delay is too
    /// long to be caught up with.
    fn wait_for(&mut self, time: Timestamp, now: Instant, events: &mut Vec<Event>) -> Option<Wake> {
        let Mode::Running { clock, starved } = self.mode else { return None };
        // As fast as it goes, everything is due from the moment on at which the clock was set.
        let shown = if self.rate.is_max() { Timestamp::MIN } else { time };
        let Some(due) = clock.instant_of(shown) else {
            self.mode = Mode::Running { clock, starved: false };
            return Some(Wake::Commanded);
        };
        let late = now.saturating_duration_since(due);
        let behind = late > if starved { CATCH_UP_WITH_FEED } else { CATCH_UP };
        // Who goes as fast as it goes is never late.
        let waits = behind && !self.rate.is_max();
        let clock = if waits { Clock::new(now, time, self.rate) } else { clock };
        self.mode = Mode::Running { clock, starved: false };
        if waits {
            events.push(Event::Stalled(late));
        }
        (due > now).then_some(Wake::At(due))
    }

    /// Puts off what is to be done then until those messages are due as well that are ready and follow soon after it.
    fn wait_for_company(&self, wake: Wake) -> Wake {
        let (Wake::At(due), Mode::Running { clock, .. }) = (wake, self.mode) else { return wake };
        let last = self.feed.last_ready_up_to(clock.time_at(due + TOGETHER));
        Wake::At(last.and_then(|last| clock.instant_of(last)).unwrap_or(due).max(due))
    }

    /// Where the pass ends. A recording that is longer than it says is played to its true end.
    fn end(&self) -> Timestamp {
        self.options.range.end.max(self.reached)
    }

    /// Goes on with the next pass, or ends. The next pass begins at the instant at which this one was over,
    /// not at the one at which that was noticed. A step does not go beyond the start of the next pass.
    fn start_next_pass(&mut self, now: Instant, events: &mut Vec<Event>) -> bool {
        let end = self.end();
        self.more_passes = match self.more_passes {
            Repeat::Times(0) => {
                self.mode = Mode::Ended;
                self.reached = end;
                events.push(Event::Ended(self.shown(end)));
                return false;
            }
            Repeat::Times(more) => Repeat::Times(more - 1),
            Repeat::Forever => Repeat::Forever,
        };
        let start = self.options.range.start;
        let over = end.saturating_add(self.options.loop_gap);
        self.mode = match self.mode {
            Mode::Running { clock, starved } => {
                let earliest = clock.instant_of(start).unwrap_or(now) + SHORTEST_PASS;
                let over = clock.instant_of(over).unwrap_or(now).max(earliest);
                Mode::Running { clock: Clock::new(over, start, self.rate), starved }
            }
            _ => Mode::Paused { at: start },
        };
        self.shift_pass();
        self.feed.next_pass();
        self.stand_at(start);
        self.last = None;
        events.push(Event::Looped(self.shown(start)));
        true
    }

    /// Counts a pass as over.
    fn shift_pass(&mut self) {
        if self.options.loop_time == LoopTime::Monotonic {
            let length = self.end().since(self.options.range.start).saturating_add(self.options.loop_gap);
            self.shift = self.shift.saturating_add(length.max(SHORTEST_PASS));
        }
        self.pass += 1;
    }

    /// Tells the position where nothing else did for a while.
    fn tick(&mut self, now: Instant, events: &mut Vec<Event>, wake: Wake) -> Wake {
        let told = match self.told {
            Some(told) if events.is_empty() => told,
            _ => *self.told.insert(now),
        };
        if now.saturating_duration_since(told) >= TICK {
            self.told = Some(now);
            let time = self.time_at(now);
            events.push(Event::Tick(self.shown(time)));
        }
        let tick = self.told.unwrap_or(now) + TICK;
        match wake {
            Wake::At(due) => Wake::At(due.min(tick)),
            Wake::Fed | Wake::Commanded => Wake::At(tick),
        }
    }

    /// The recorded time at `now`. Never beyond a message that was not handed out yet.
    fn time_at(&mut self, now: Instant) -> Timestamp {
        match self.mode {
            Mode::Paused { at }
            | Mode::Stepping { at, .. }
            | Mode::SteppingBack { at, .. }
            | Mode::Starting { at } => at,
            Mode::Ended => self.reached,
            Mode::Running { clock, .. } => {
                let limit = match self.feed.peek() {
                    Peek::Message(time) => time,
                    Peek::EndOfPass => self.end(),
                    Peek::Pending | Peek::Lookback => self.reached,
                };
                let silence = self.skips_to.and(self.options.skip_gaps);
                let limit =
                    silence.map_or(limit, |longest| limit.min(self.silent_since.saturating_add(longest)));
                // Once told, it stays: time does not go back because the feed has less to say.
                self.reached = clock.time_at(now).min(limit).max(self.reached);
                self.reached
            }
        }
    }

    /// Where it is and what it is doing.
    pub fn position(&self) -> Position {
        let (state, still, clock) = match self.mode {
            Mode::Paused { at } | Mode::Stepping { at, .. } | Mode::SteppingBack { at, .. } => {
                (State::Paused, at, None)
            }
            Mode::Starting { at } => (State::Buffering, at, None),
            // As fast as it goes, it always waits for what is read.
            Mode::Running { .. } if self.rate.is_max() => (State::Playing, self.reached, None),
            Mode::Running { starved: true, .. } => (State::Buffering, self.reached, None),
            // What is reached is not told while the clock tells it, so that a message is no change.
            Mode::Running { clock, starved: false } => {
                (State::Playing, self.options.range.start, Some(clock))
            }
            Mode::Ended => (State::Ended, self.reached, None),
        };
        Position {
            state,
            rate: self.rate,
            pass: self.pass,
            repeats: self.more_passes != Repeat::Times(0),
            commanded: self.commanded,
            stepped: self.stepped,
            jumps: self.jumps,
            skips_to: self.skips_to,
            still,
            clock,
            end: self.end(),
        }
    }
}

#[cfg(test)]
mod tests;
