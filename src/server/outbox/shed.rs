//! What is left out for a client that takes less than is played.

use std::collections::{BTreeSet, HashMap, VecDeque};

use super::{Item, OVERHEAD, State};
use crate::recording::ChannelId;

impl State {
    /// Leaves out messages until an eighth of `limit` is free, so that this is not needed for every message.
    ///
    /// Fair to small topics: always the oldest message of the topic that holds most bytes goes first, and
    /// the newest message of each topic stays, so that a state which is recorded once a minute survives
    /// beside a camera. Only where the newest messages alone are too much, they go too, but for the last one:
    /// a message larger than the limit would otherwise never be sent.
    pub(super) fn shed(&mut self, limit: usize) {
        let target = limit - limit / 8;
        let mut waiting: HashMap<ChannelId, Waiting> = HashMap::new();
        for (index, item) in self.queue.iter().enumerate() {
            if let Item::Message { channel, data, .. } = item {
                let topic = waiting.entry(*channel).or_default();
                topic.bytes += data.len() + OVERHEAD;
                topic.messages.push_back((index, data.len() + OVERHEAD));
            }
        }
        let mut left_out = vec![false; self.queue.len()];
        self.shed_heaviest(target, 1, &mut waiting, &mut left_out);
        let last = self.queue.iter().rposition(|item| matches!(item, Item::Message { .. }));
        for topic in waiting.values_mut() {
            topic.messages.retain(|(index, _)| Some(*index) != last);
        }
        self.shed_heaviest(target, 0, &mut waiting, &mut left_out);
        let mut index = 0;
        self.queue.retain(|_| {
            index += 1;
            !left_out[index - 1]
        });
        self.merge_times();
    }

    /// Marks the oldest messages of whichever topic is heaviest, keeping the newest `keep` of each.
    fn shed_heaviest(
        &mut self,
        target: usize,
        keep: usize,
        waiting: &mut HashMap<ChannelId, Waiting>,
        left_out: &mut [bool],
    ) {
        let candidates = waiting.iter().filter(|(_, topic)| topic.messages.len() > keep);
        let mut heaviest: BTreeSet<(usize, ChannelId)> =
            candidates.map(|(channel, topic)| (topic.bytes, *channel)).collect();
        while self.message_bytes > target
            && let Some((_, channel)) = heaviest.pop_last()
            && let Some(topic) = waiting.get_mut(&channel)
            && let Some((index, bytes)) = topic.messages.pop_front()
        {
            left_out[index] = true;
            self.message_bytes -= bytes;
            topic.bytes -= bytes;
            *self.counts.dropped.entry(channel).or_default() += 1;
            if topic.messages.len() > keep {
                heaviest.insert((topic.bytes, channel));
            }
        }
    }

    /// Of several times in a row only the last one matters; without this they would pile up where the
    /// messages between them are left out.
    fn merge_times(&mut self) {
        let mut merged: VecDeque<Item> = VecDeque::with_capacity(self.queue.len());
        for item in self.queue.drain(..) {
            match (merged.back_mut(), item) {
                (Some(Item::Time(last)), Item::Time(time)) => *last = time,
                (_, item) => merged.push_back(item),
            }
        }
        self.queue = merged;
    }
}

/// The messages of one topic that wait.
#[derive(Default)]
struct Waiting {
    bytes: usize,
    /// Where in the queue they are, and what they cost in bytes; the oldest first.
    messages: VecDeque<(usize, usize)>,
}
