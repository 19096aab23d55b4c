//! Where a timeline gets its messages.

use crate::recording::Message;
use crate::time::Timestamp;

/// A source of messages for a timeline: at each place where it starts to read the state before that place,
/// then the messages of the pass in log time order, then the mark of its end. What of the state takes long to find
/// comes among the messages.
pub trait Feed {
    /// What comes next.
    fn peek(&mut self) -> Peek;

    /// Takes the state that [`peek`](Self::peek) announced.
    fn take_lookback(&mut self) -> Lookback;

    /// The log time of the last message up to `time`, of some that are ready; `None` where there is none, or where that is
    /// not known.
    fn last_ready_up_to(&self, _time: Timestamp) -> Option<Timestamp> {
        None
    }

    /// Takes the message that [`peek`](Self::peek) announced.
    fn take(&mut self) -> Option<Message>;

    /// Goes past the end of a pass, to the first message of the next one.
    fn next_pass(&mut self);

    /// Goes to the first message at or after `to`. Nothing from before the call comes after it. With `back`
    /// the [`Lookback`] that follows says in any case when the last message before `to` is.
    fn seek(&mut self, to: Timestamp, back: bool);

    /// Hears whether messages are taken as fast as they come from now on, or each in its time.
    fn hurry(&mut self, hurries: bool);

    /// Hears that what was taken is passed on, and may ask whether everything is, also what others do meanwhile: reading more
    /// does not hold that up any more.
    fn passed_on(&mut self, everything: &dyn Fn() -> bool);
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

/// The state before a place in the recording.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lookback {
    /// The last message of each channel before the place; none where lookback is not wanted.
    pub messages: Vec<Message>,
    /// The log time of the last message of all before the place, where it is known and there is one.
    pub last: Option<Timestamp>,
    /// Whether this adds to the state that was given before: it took long to find, and the channels had no message
    /// since.
    pub late: bool,
}
