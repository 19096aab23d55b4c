//! The player as a state machine: no I/O, no sleeping, no clock of its own.

use std::time::{Duration, Instant};

use super::{Clock, Range, Rate};
use crate::recording::Message;
use crate::time::Timestamp;

/// A delay up to this is caught up with, so that a busy machine causes no drift. After a longer one (the
/// process was stopped) the clock goes on from where it was: a burst of everything that was missed would be
/// no replay.
const CATCH_UP: Duration = Duration::from_millis(250);

/// How often the position is told while no message is due.
const TICK: Duration = Duration::from_millis(100);

/// The shortest time that one pass of a loop takes. A recording of one instant would otherwise be repeated
/// without end within an instant.
const SHORTEST_PASS: Duration = Duration::from_millis(1);

/// How many messages one [`Timeline::poll`] hands out, so that commands are heard in between.
const BATCH: usize = 1024;

/// Where a timeline gets its messages: at each place where it starts to read the state before that place,
/// then the messages of the pass in log time order, then the mark of its end.
pub trait Feed {
    /// What comes next.
    fn peek(&mut self) -> Peek;

    /// Takes the state that [`peek`](Self::peek) announced: the last message of each channel before the
    /// place where the messages that follow begin.
    fn take_lookback(&mut self) -> Vec<Message>;

    /// Takes the message that [`peek`](Self::peek) announced.
    fn take(&mut self) -> Option<Message>;

    /// Goes past the end of a pass, to the first message of the next one.
    fn next_pass(&mut self);

    /// Goes to the first message at or after `to`. Nothing from before the call comes after it.
    fn seek(&mut self, to: Timestamp);
}

/// What comes next in a [`Feed`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Peek {
    /// The state before the messages that follow.
    Lookback,
    /// A message with this log time.
    Message(Timestamp),
    /// The end of the pass.
    EndOfPass,
    /// That is not known yet: reading is behind.
    Pending,
}

/// How often the recording is played.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Repeat {
    /// That many times, at least once.
    Times(u64),
    /// Until it is stopped.
    Forever,
}

/// What a user can ask of a timeline.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Command {
    /// Play on; after the end, play again from the start.
    Play,
    /// Stand still.
    Pause,
    /// Go to a recorded time, and go on as before. Clamped to the played range.
    Seek(Timestamp),
    /// Play at this rate from now on.
    SetRate(Rate),
}

/// What happens on a timeline, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A message is due.
    Message(Message),
    /// Time went to another place: what is between is not played.
    Jumped(Timestamp),
    /// A pass is over, and time goes on at the start.
    Looped(Timestamp),
    /// The state at the place where time starts or went to: the last message of each channel before it.
    Lookback(Vec<Message>),
    /// Time passed without a message.
    Tick(Timestamp),
    /// The clock stood for so long since reading was behind or the process was stopped.
    Stalled(Duration),
    /// The last pass is over.
    Ended(Timestamp),
}

/// When to poll again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Wake {
    /// At this instant.
    At(Instant),
    /// When the feed has more.
    Fed,
    /// After a command.
    Commanded,
}

/// What a timeline is doing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum State {
    /// Time passes.
    Playing,
    /// Time would pass, but what comes next is not read yet.
    Buffering,
    /// Time stands.
    Paused,
    /// The last pass is over.
    Ended,
}

/// Where a timeline is and what it is doing, as of the last change. The position at any instant until the
/// next change follows from it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Position {
    /// What it is doing.
    pub state: State,
    /// How fast.
    pub rate: Rate,
    /// Which pass it is in, from 1.
    pub pass: u64,
    /// The recorded time that the clock stands at, while it stands.
    still: Timestamp,
    /// The clock, while it runs.
    clock: Option<Clock>,
    end: Timestamp,
}

impl Position {
    /// The recorded time at an instant.
    pub fn time_at(&self, now: Instant) -> Timestamp {
        self.clock.map_or(self.still, |clock| clock.time_at(now).min(self.end))
    }
}

#[derive(Clone, Copy, Debug)]
enum Mode {
    /// The clock stands, by command.
    Paused { at: Timestamp },
    /// The clock starts as soon as the feed has what comes next.
    Starting { at: Timestamp },
    /// The clock runs. `starved` once the feed had nothing when asked.
    Running { clock: Clock, starved: bool },
    /// The last pass is over.
    Ended,
}

/// Plays a [`Feed`]: says which messages are due, and when the next one will be.
#[derive(Debug)]
pub struct Timeline<F> {
    feed: F,
    range: Range,
    rate: Rate,
    /// How many passes are still to come after this one.
    more_passes: Repeat,
    pass: u64,
    mode: Mode,
    /// What time was last told, by a message, a jump or a tick: time is at least here.
    reached: Timestamp,
    /// When something was last told, for ticks.
    told: Option<Instant>,
}

impl<F: Feed> Timeline<F> {
    /// A timeline that stands at the start of `range`, which is where `feed` has to be.
    pub fn new(feed: F, range: Range, rate: Rate, repeat: Repeat) -> Self {
        let more_passes = match repeat {
            Repeat::Times(times) => Repeat::Times(times.saturating_sub(1)),
            Repeat::Forever => Repeat::Forever,
        };
        let mode = Mode::Paused { at: range.start };
        Timeline { feed, range, rate, more_passes, pass: 1, mode, reached: range.start, told: None }
    }

    /// Carries out a command. Messages that were due before are handed out by the next poll.
    pub fn apply(&mut self, command: Command, now: Instant, events: &mut Vec<Event>) {
        match (command, self.mode) {
            (Command::Play, Mode::Paused { at }) => self.mode = Mode::Starting { at },
            (Command::Play, Mode::Ended) => {
                self.jump(self.range.start, events);
                self.mode = Mode::Starting { at: self.range.start };
            }
            (Command::Play, Mode::Starting { .. } | Mode::Running { .. }) => {}
            (Command::Pause, Mode::Ended) => {}
            (Command::Pause, _) => self.mode = Mode::Paused { at: self.time_at(now) },
            (Command::Seek(to), mode) => {
                let at = to.clamp(self.range.start, self.range.end);
                self.jump(at, events);
                self.mode = match mode {
                    Mode::Paused { .. } | Mode::Ended => Mode::Paused { at },
                    Mode::Starting { .. } | Mode::Running { .. } => Mode::Starting { at },
                };
            }
            (Command::SetRate(rate), _) if rate == self.rate => {}
            (Command::SetRate(rate), mode) => {
                if let Mode::Running { starved, .. } = mode {
                    self.mode = Mode::Running { clock: Clock::new(now, self.time_at(now), rate), starved };
                }
                self.rate = rate;
            }
        }
    }

    fn jump(&mut self, to: Timestamp, events: &mut Vec<Event>) {
        self.feed.seek(to);
        self.reached = to;
        events.push(Event::Jumped(to));
    }

    /// Appends what is due at `now` to `events`, and says when to poll again.
    pub fn poll(&mut self, now: Instant, events: &mut Vec<Event>) -> Wake {
        let batch = events.len() + BATCH;
        let wake = loop {
            if events.len() >= batch {
                break Wake::At(now);
            }
            match (self.mode, self.feed.peek()) {
                (_, Peek::Lookback) => events.push(Event::Lookback(self.feed.take_lookback())),
                (Mode::Paused { .. } | Mode::Ended, _) => return Wake::Commanded,
                (Mode::Starting { .. }, Peek::Pending) => return Wake::Fed,
                (Mode::Running { clock, .. }, Peek::Pending) => {
                    self.mode = Mode::Running { clock, starved: true };
                    return Wake::Fed;
                }
                (Mode::Starting { at }, _) => {
                    let clock = Clock::new(now, at, self.rate);
                    self.mode = Mode::Running { clock, starved: false };
                }
                (Mode::Running { clock, starved }, Peek::Message(time)) => {
                    if let Some(wake) = self.wait_for(time, clock, starved, now, events) {
                        break wake;
                    }
                    let Some(message) = self.feed.take() else { return Wake::Fed };
                    self.reached = time;
                    events.push(Event::Message(message));
                }
                (Mode::Running { clock, starved }, Peek::EndOfPass) => {
                    if let Some(wake) = self.wait_for(self.end(), clock, starved, now, events) {
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

    /// Whether `time` has come: `None` if so, else when to ask again. Moves the clock where it waited for
    /// the feed, or where the delay is too long to be caught up with.
    fn wait_for(
        &mut self,
        time: Timestamp,
        clock: Clock,
        starved: bool,
        now: Instant,
        events: &mut Vec<Event>,
    ) -> Option<Wake> {
        let Some(due) = clock.instant_of(time) else {
            self.mode = Mode::Running { clock, starved: false };
            return Some(Wake::Commanded);
        };
        let late = now.saturating_duration_since(due);
        let waits = late > CATCH_UP || (starved && late > Duration::ZERO);
        let clock = if waits { Clock::new(now, time, self.rate) } else { clock };
        self.mode = Mode::Running { clock, starved: false };
        if waits {
            events.push(Event::Stalled(late));
        }
        (due > now).then_some(Wake::At(due))
    }

    /// Where the pass ends. A recording that is longer than it says is played to its true end.
    fn end(&self) -> Timestamp {
        self.range.end.max(self.reached)
    }

    /// Goes on with the next pass, or ends. The next pass begins at the instant at which this one was over,
    /// not at the one at which that was noticed.
    fn start_next_pass(&mut self, now: Instant, events: &mut Vec<Event>) -> bool {
        self.more_passes = match self.more_passes {
            Repeat::Times(0) => {
                self.mode = Mode::Ended;
                self.reached = self.end();
                events.push(Event::Ended(self.reached));
                return false;
            }
            Repeat::Times(more) => Repeat::Times(more - 1),
            Repeat::Forever => Repeat::Forever,
        };
        let end = self.end();
        self.pass += 1;
        self.feed.next_pass();
        self.reached = self.range.start;
        events.push(Event::Looped(self.range.start));
        self.mode = match self.mode {
            Mode::Running { clock, .. } => {
                let end = clock.instant_of(end).unwrap_or(now);
                let start = clock.instant_of(self.range.start).unwrap_or(now);
                let end = end.max(start + SHORTEST_PASS);
                Mode::Running { clock: Clock::new(end, self.range.start, self.rate), starved: false }
            }
            mode => mode,
        };
        true
    }

    /// Tells the position where nothing else did for a while.
    fn tick(&mut self, now: Instant, events: &mut Vec<Event>, wake: Wake) -> Wake {
        let told = match self.told {
            Some(told) if events.is_empty() => told,
            _ => *self.told.insert(now),
        };
        if now.saturating_duration_since(told) >= TICK {
            self.told = Some(now);
            events.push(Event::Tick(self.time_at(now)));
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
            Mode::Paused { at } | Mode::Starting { at } => at,
            Mode::Ended => self.reached,
            Mode::Running { clock, .. } => {
                let limit = match self.feed.peek() {
                    Peek::Message(time) => time,
                    Peek::EndOfPass => self.end(),
                    Peek::Pending | Peek::Lookback => self.reached,
                };
                // Once told, it stays: time does not go back because the feed has less to say.
                self.reached = clock.time_at(now).min(limit).max(self.reached);
                self.reached
            }
        }
    }

    /// Where it is and what it is doing.
    pub fn position(&self) -> Position {
        let (state, still, clock) = match self.mode {
            Mode::Paused { at } => (State::Paused, at, None),
            Mode::Starting { at } => (State::Buffering, at, None),
            Mode::Running { starved: true, .. } => (State::Buffering, self.reached, None),
            // What is reached is not told while the clock tells it, so that a message is no change.
            Mode::Running { clock, starved: false } => (State::Playing, self.range.start, Some(clock)),
            Mode::Ended => (State::Ended, self.reached, None),
        };
        Position { state, rate: self.rate, pass: self.pass, still, clock, end: self.end() }
    }
}

#[cfg(test)]
mod tests;
