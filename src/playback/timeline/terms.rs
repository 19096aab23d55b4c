//! What a timeline is told, and what it tells.

use std::time::{Duration, Instant};

use crate::playback::{Range, Rate};
use crate::recording::Message;
use crate::time::Timestamp;

/// How often the recording is played.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Repeat {
    /// That many times, at least once.
    Times(u64),
    /// Until it is stopped.
    Forever,
}

/// What times a client sees in the second pass of a loop, and in those after it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum LoopTime {
    /// The recorded ones: time goes back to the start.
    #[default]
    Restart,
    /// The recorded ones plus the length of the passes before: time goes on, for who can't go back.
    Monotonic,
}

/// How a timeline plays.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TimelineOptions {
    /// The part of the recording that is played.
    pub range: Range,
    /// How fast.
    pub rate: Rate,
    /// How often.
    pub repeat: Repeat,
    /// What times clients see after the first pass.
    pub loop_time: LoopTime,
    /// How much recorded time passes between the end of a pass and the start of the next one.
    pub loop_gap: Duration,
    /// A silence of all topics that is longer takes this long, in recorded time, and time jumps to its end.
    pub skip_gaps: Option<Duration>,
}

impl TimelineOptions {
    /// Plays `range` once, as fast as it was recorded.
    pub fn new(range: Range) -> Self {
        TimelineOptions {
            range,
            rate: Rate::REAL_TIME,
            repeat: Repeat::Times(1),
            loop_time: LoopTime::Restart,
            loop_gap: Duration::ZERO,
            skip_gaps: None,
        }
    }
}

/// What a user can ask of a timeline.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Command {
    /// Play, unless somebody has asked for something else before.
    Begin,
    /// Play on; after the end, play again from the start.
    Play,
    /// Stand still.
    Pause,
    /// Play if it stands, stand still if it plays.
    Toggle,
    /// Go to a recorded time, and go on as before. Clamped to the played range.
    Seek(Timestamp),
    /// Play at this rate from now on.
    SetRate(Rate),
    /// Start again at the end without end, or end with this pass.
    SetLoop(bool),
    /// Stand still, and play that many messages at once, not beyond the end of the pass.
    Step(u64),
    /// Stand still, where time was at the message before the one played last. Messages of the same log time
    /// count as one.
    StepBack,
    /// End here.
    Stop,
}

/// What happens on a timeline, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A message is due, since this instant where it is the clock that says so, and not a step or the greatest rate.
    Message(Message, Option<Instant>),
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
    /// So much of a silence was not played.
    Skipped(Duration),
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
