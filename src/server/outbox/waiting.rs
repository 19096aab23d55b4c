//! The messages that wait for a client: a queue for each channel, so that of any channel the oldest can be left
//! out, and an order over all of them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::ops::AddAssign;
use std::time::Instant;

use bytes::Bytes;

use super::SubscribeError;
use crate::foxglove::Subscription;
use crate::recording::{ChannelId, Memory};
use crate::server::held::Held;
use crate::time::Timestamp;

/// What a message costs beside its payload, in bytes.
pub(super) const OVERHEAD: usize = size_of::<WaitingMessage>();

/// A payload below this is copied when it is taken out, next to its header: that costs less than a part of its own.
const COPY_BELOW: usize = 1024;

/// Whether a payload of so many bytes is kept when it is taken out, and not copied.
pub(super) fn is_kept(payload: usize) -> bool {
    payload >= COPY_BELOW
}

/// A message that waits.
#[derive(Debug)]
pub(super) struct WaitingMessage {
    /// When it was put in.
    pub sequence: u64,
    /// The time that has to be told before it: its log time, or for one of the past the position at which it
    /// is sent.
    pub time: Timestamp,
    pub log_time: Timestamp,
    /// Since when it is due, where the clock said so.
    pub due: Option<Instant>,
    pub data: Bytes,
    /// Where the memory begins that `data` is a slice of, if it is not its own.
    pub held: Option<usize>,
}

/// A message that was taken out to be written.
#[derive(Clone, Copy, Debug)]
pub(in crate::server) struct Taken {
    pub channel: ChannelId,
    /// Size of its payload, in bytes.
    pub bytes: usize,
    /// Since when it is due, where the clock said so.
    pub due: Option<Instant>,
    /// Where the memory begins that its payload is a slice of, if it is not its own.
    held: Option<usize>,
}

/// What became of the messages of a topic.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Tally {
    /// How many were written to a socket.
    pub sent: u64,
    /// Their payload in bytes.
    pub sent_bytes: u64,
    /// How many were left out for clients that take less than is played.
    pub dropped: u64,
    /// How many were not sent since nobody wanted them any more: time went to another place, the client
    /// unsubscribed, left or was sent away, or playback was stopped.
    pub skipped: u64,
    /// How many clients that were still there did not take in time at the end.
    pub undelivered: u64,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Tally) {
        self.sent += other.sent;
        self.sent_bytes += other.sent_bytes;
        self.dropped += other.dropped;
        self.skipped += other.skipped;
        self.undelivered += other.undelivered;
    }
}

impl WaitingMessage {
    fn cost(&self) -> usize {
        self.data.len() + OVERHEAD
    }

    /// What remains to be known of it when it is taken out.
    pub fn taken(&self, channel: ChannelId) -> Taken {
        Taken { channel, bytes: self.data.len(), due: self.due, held: self.held }
    }

    /// Is left out, and keeps nothing more in use of what is `held`.
    fn let_go(&self, held: &mut Held) {
        self.held.into_iter().for_each(|place| held.remove(place, self.data.len()));
    }
}

/// A channel that is subscribed to.
#[derive(Debug)]
struct Topic {
    subscription: u32,
    messages: VecDeque<WaitingMessage>,
    bytes: usize,
    tally: Tally,
}

/// The messages that wait for a client.
#[derive(Debug)]
pub(super) struct Waiting {
    topics: Vec<Option<Box<Topic>>>,
    /// The first message of each channel that has one, and perhaps some that are no longer there.
    order: BinaryHeap<Reverse<(u64, u32)>>,
    bytes: usize,
    /// Payload of the messages that were taken out and are still kept, in bytes.
    taken_bytes: usize,
    /// The memory that the messages are slices of, those that were taken out included.
    held: Held,
    messages: u64,
    /// The message that was put in last; it is never left out.
    last: u64,
    /// What became of the messages of channels that are subscribed to no more.
    past: BTreeMap<ChannelId, Tally>,
}

impl Waiting {
    pub fn new(channels: usize) -> Self {
        Waiting {
            topics: std::iter::repeat_with(|| None).take(channels).collect(),
            order: BinaryHeap::new(),
            bytes: 0,
            taken_bytes: 0,
            held: Held::default(),
            messages: 0,
            last: 0,
            past: BTreeMap::new(),
        }
    }

    pub fn subscribe(&mut self, wanted: Subscription) -> Result<(), SubscribeError> {
        let channel = wanted.channel;
        let topic = self.topics.get_mut(channel.0 as usize).ok_or(SubscribeError::NoSuchChannel(channel))?;
        if topic.is_some() {
            return Err(SubscribeError::Again(channel));
        }
        *topic = Some(Box::new(Topic {
            subscription: wanted.id,
            messages: VecDeque::new(),
            bytes: 0,
            tally: Tally::default(),
        }));
        Ok(())
    }

    pub fn unsubscribe(&mut self, channel: ChannelId) {
        if let Some(mut topic) = self.topics[channel.0 as usize].take() {
            self.bytes -= topic.bytes;
            self.messages -= topic.messages.len() as u64;
            topic.tally.skipped += topic.messages.len() as u64;
            topic.messages.iter().for_each(|message| message.let_go(&mut self.held));
            *self.past.entry(channel).or_default() += topic.tally;
        }
    }

    /// Whether a channel is subscribed to.
    pub fn wants(&self, channel: ChannelId) -> bool {
        self.topics[channel.0 as usize].is_some()
    }

    /// Payload and overhead of the messages, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// How much memory is in use beside that, in bytes: the payload of what was taken out and is not
    /// [written](Self::written), and the rest of what all these messages are slices of.
    pub fn bytes_beside(&self) -> usize {
        self.taken_bytes + self.held.beyond_payloads()
    }

    /// The memory that these messages are slices of.
    pub fn held(&self) -> &Held {
        &self.held
    }

    pub fn len(&self) -> u64 {
        self.messages
    }

    pub fn is_empty(&self) -> bool {
        self.messages == 0
    }

    #[cfg(test)]
    pub fn order_len(&self) -> usize {
        self.order.len()
    }

    /// What became of the messages of each channel that is or was subscribed to.
    pub fn tallies(&self) -> BTreeMap<ChannelId, Tally> {
        let mut tallies = self.past.clone();
        for (channel, topic) in (0..).zip(&self.topics) {
            if let Some(topic) = topic {
                *tallies.entry(ChannelId(channel)).or_default() += topic.tally;
            }
        }
        tallies
    }

    /// Where to count what becomes of the messages of a channel.
    pub fn tally(&mut self, channel: ChannelId) -> &mut Tally {
        match self.topics[channel.0 as usize].as_deref_mut() {
            Some(topic) => &mut topic.tally,
            None => self.past.entry(channel).or_default(),
        }
    }

    /// Puts in a message of a channel that is [wanted](Self::wants), behind all others. `memory` is what it is a
    /// slice of, if that is not its own.
    pub fn push(&mut self, channel: ChannelId, memory: Option<Memory>, mut message: WaitingMessage) {
        let Some(topic) = &mut self.topics[channel.0 as usize] else { return };
        if let Some(memory) = memory {
            self.held.add(memory, message.data.len());
            message.held = Some(memory.place);
        }
        let first = topic.messages.is_empty().then_some(Reverse((message.sequence, channel.0)));
        self.last = message.sequence;
        self.bytes += message.cost();
        self.messages += 1;
        topic.bytes += message.cost();
        topic.messages.push_back(message);
        self.order.extend(first);
        if self.order.len() > 2 * self.topics.len() + 16 {
            self.order_again();
        }
    }

    /// Makes the order anew, without what is no longer there.
    fn order_again(&mut self) {
        let first = |(channel, topic): (u32, &Option<Box<Topic>>)| {
            Some(Reverse((topic.as_deref()?.messages.front()?.sequence, channel)))
        };
        self.order = (0..).zip(&self.topics).filter_map(first).collect();
    }

    /// When the first message was put in.
    pub fn first(&mut self) -> Option<u64> {
        while let Some(&Reverse((sequence, channel))) = self.order.peek() {
            let topic = self.topics[channel as usize].as_deref();
            match topic.and_then(|topic| topic.messages.front()) {
                Some(front) if front.sequence == sequence => return Some(sequence),
                // The one that was the first has been left out.
                Some(front) if front.sequence > sequence => {
                    let front = front.sequence;
                    self.order.pop();
                    self.order.push(Reverse((front, channel)));
                }
                _ => {
                    self.order.pop();
                }
            }
        }
        None
    }

    /// How many bytes the payload of the first message has, where that was put in as `sequence`; 0 if not.
    pub fn bytes_of(&mut self, sequence: u64) -> usize {
        if self.first() != Some(sequence) {
            return 0;
        }
        let topic =
            self.order.peek().and_then(|Reverse((_, channel))| self.topics[*channel as usize].as_deref());
        topic.and_then(|topic| topic.messages.front()).map_or(0, |message| message.data.len())
    }

    /// Takes out the first message, with its channel and subscription id. Where its payload [is kept](is_kept), it
    /// counts as something in memory until it is [written](Self::written).
    pub fn pop_first(&mut self) -> Option<(ChannelId, u32, WaitingMessage)> {
        self.first()?;
        let Reverse((_, channel)) = self.order.pop()?;
        let topic = self.topics[channel as usize].as_deref_mut()?;
        let message = topic.messages.pop_front()?;
        if let Some(next) = topic.messages.front() {
            self.order.push(Reverse((next.sequence, channel)));
        }
        topic.bytes -= message.cost();
        self.bytes -= message.cost();
        self.messages -= 1;
        if is_kept(message.data.len()) {
            self.taken_bytes += message.data.len();
        } else {
            message.let_go(&mut self.held);
        }
        Some((ChannelId(channel), topic.subscription, message))
    }

    /// A message that was taken out is written, and no longer in memory.
    pub fn written(&mut self, message: &Taken) {
        if is_kept(message.bytes) {
            self.taken_bytes -= message.bytes;
            message.held.into_iter().for_each(|place| self.held.remove(place, message.bytes));
        }
    }

    /// Leaves out all messages, which nobody wants any more.
    pub fn clear(&mut self) {
        self.empty(|tally| &mut tally.skipped);
    }

    /// Gives up all messages, although they were wanted.
    pub fn give_up(&mut self) {
        self.empty(|tally| &mut tally.undelivered);
    }

    fn empty(&mut self, count: impl Fn(&mut Tally) -> &mut u64) {
        for topic in self.topics.iter_mut().flatten() {
            *count(&mut topic.tally) += topic.messages.len() as u64;
            topic.messages.drain(..).for_each(|message| message.let_go(&mut self.held));
            topic.bytes = 0;
        }
        self.order.clear();
        self.bytes = 0;
        self.messages = 0;
    }

    /// Leaves out messages until no more than `target` bytes wait. Says how many.
    ///
    /// Fair to small topics: always the oldest message of the topic that holds most bytes goes first, and
    /// the newest message of each topic stays, so that a state which is recorded once a minute survives
    /// beside a camera. Only where the newest messages alone are too much, they go too, but for the last one:
    /// a message larger than the limit would otherwise never be sent.
    pub fn shed(&mut self, target: usize) -> u64 {
        self.shed_but_newest(target) + self.shed_heaviest(target, 0)
    }

    /// The same, but the newest message of each topic stays in any case.
    pub fn shed_but_newest(&mut self, target: usize) -> u64 {
        self.shed_heaviest(target, 1)
    }

    /// Leaves out messages until no more than `budget` bytes wait beside the newest message of each topic, in the
    /// same fair way. Says how many.
    pub fn thin_out(&mut self, budget: usize) -> u64 {
        let newest = |topic: &Topic| topic.messages.back().map_or(0, WaitingMessage::cost);
        let newest: usize = self.topics.iter().flatten().map(|topic| newest(topic)).sum();
        self.shed_but_newest(newest.saturating_add(budget))
    }

    /// Leaves out the oldest messages of whichever topic is heaviest, keeping the newest `keep` of each.
    fn shed_heaviest(&mut self, target: usize, keep: usize) -> u64 {
        if self.bytes <= target {
            return 0;
        }
        let weigh = |(channel, topic): (u32, &Option<Box<Topic>>)| {
            topic.as_deref().filter(|topic| topic.messages.len() > keep).map(|topic| (topic.bytes, channel))
        };
        let mut heaviest: BinaryHeap<(usize, u32)> = (0..).zip(&self.topics).filter_map(weigh).collect();
        let mut dropped = 0;
        while self.bytes > target
            && let Some((_, channel)) = heaviest.pop()
        {
            let Some(topic) = self.topics[channel as usize].as_deref_mut() else { continue };
            if topic.messages.front().is_none_or(|oldest| oldest.sequence == self.last) {
                continue;
            }
            let Some(oldest) = topic.messages.pop_front() else { continue };
            topic.bytes -= oldest.cost();
            self.bytes -= oldest.cost();
            self.messages -= 1;
            oldest.let_go(&mut self.held);
            dropped += 1;
            topic.tally.dropped += 1;
            if topic.messages.len() > keep {
                heaviest.push((topic.bytes, channel));
            }
        }
        dropped
    }
}
