//! Where a timeline is and what it is doing.

use std::time::Instant;

use super::{Clock, Rate};
use crate::time::Timestamp;

/// What a timeline is doing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum State {
    /// Time passes.
    Playing,
    /// Time would pass, but what comes next is not read yet; as fast as it goes, that is `Playing`.
    Buffering,
    /// Time stands.
    Paused,
    /// The last pass is over.
    Ended,
}

/// Where a timeline is and what it is doing, as of the last change. The position at any instant until the
/// next change follows from it. All times are those of the recording.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Position {
    /// What it is doing.
    pub state: State,
    /// How fast.
    pub rate: Rate,
    /// Which pass it is in, from 1.
    pub pass: u64,
    /// Whether another pass follows this one.
    pub repeats: bool,
    /// Whether somebody has said whether to play.
    pub commanded: bool,
    /// How many messages steps ([`Command::Step`](super::Command::Step)) have played so far. Who is answered
    /// ([`Done`](super::Done)) is told only of those that it asked for.
    pub stepped: u64,
    /// How often time went to another place by a command.
    pub jumps: u64,
    /// Where time will jump to, while it passes a silence that is cut short.
    pub skips_to: Option<Timestamp>,
    /// The recorded time that the clock stands at, while it stands.
    pub(super) still: Timestamp,
    /// The clock, while it runs.
    pub(super) clock: Option<Clock>,
    pub(super) end: Timestamp,
}

impl Position {
    /// At the start of a range, and not playing.
    #[cfg(fuzzing)]
    pub fn standing(range: super::Range) -> Self {
        Position {
            state: State::Paused,
            rate: Rate::REAL_TIME,
            pass: 1,
            repeats: false,
            commanded: false,
            stepped: 0,
            jumps: 0,
            skips_to: None,
            still: range.start,
            clock: None,
            end: range.end,
        }
    }

    /// The recorded time at an instant.
    pub fn time_at(&self, now: Instant) -> Timestamp {
        self.clock.map_or(self.still, |clock| clock.time_at(now).min(self.end))
    }
}
