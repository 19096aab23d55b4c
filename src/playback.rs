//! When each message is due, and the thread that sees to it.
//!
//! [`Clock`] maps recorded time to real time. [`Timeline`] is the player as a plain state machine: fed with
//! instants and commands, it says what is due and when to ask again. [`ReadAhead`] keeps it supplied from
//! the disk, and [`Scheduler`] is the thread that sleeps for all of them.

mod clock;
mod feed;
mod position;
mod read_ahead;
mod read_pool;
mod scheduler;
mod timeline;

pub use clock::{Clock, Rate, RateError};
pub use feed::{Feed, Lookback, Peek};
pub use position::{Position, State};
pub use read_ahead::{ReadAhead, ReadAheadOptions};
pub use read_pool::ReadPool;
pub use scheduler::{Audience, Done, Player, Remote, Scheduler};
pub use timeline::{Command, Event, LoopTime, Repeat, Timeline, TimelineOptions, Wake};

use crate::time::Timestamp;

/// The part of a recording that is played. Both ends belong to it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Range {
    /// Where playback starts, and where it starts again in a loop.
    pub start: Timestamp,
    /// Messages later than this are not played.
    pub end: Timestamp,
}
