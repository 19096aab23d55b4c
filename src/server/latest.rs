//! The last message of each channel, for who subscribes late.

use bytes::Bytes;

use super::held::Held;
use crate::recording::{ChannelId, Memory, Message};

/// How many bytes of chunks may be kept in memory by messages that are small slices of them. The payloads themselves come on
/// top of that: there are no more of them than channels.
const HELD_LIMIT: usize = 8 * 1024 * 1024;

/// The last message of each channel.
pub(super) struct Latest {
    channels: Vec<Entry>,
    /// The memory that messages are small slices of.
    held: Held,
    /// The channels that are `listed`.
    holders: Vec<ChannelId>,
}

#[derive(Clone, Default)]
struct Entry {
    message: Option<Message>,
    /// Where the memory begins that the payload is a small slice of, where it is.
    held: Option<usize>,
    /// Whether the channel is one of the `holders`, since `held` was something.
    listed: bool,
    /// Whether it was the last message of its channel in the last [`Latest::detach`] already.
    old: bool,
}

impl Latest {
    /// For so many channels, none of which had a message.
    pub fn new(channels: usize) -> Self {
        Latest { channels: vec![Entry::default(); channels], held: Held::default(), holders: Vec::new() }
    }

    /// The last message of a channel.
    pub fn get(&self, channel: ChannelId) -> Option<&Message> {
        self.channels[channel.0 as usize].message.as_ref()
    }

    /// This is the last message of its channel now. Where too much memory would be kept in use, the others give way: this
    /// one is more likely to be followed by another one soon.
    pub fn remember(&mut self, message: &Message) {
        let (channel, memory) = (message.channel, message.memory);
        let entry = &mut self.channels[channel.0 as usize];
        if let (Some(before), Some(place)) = (&entry.message, entry.held.take()) {
            self.held.remove(place, before.data.len());
        }
        let is_small = message.is_small_slice();
        let is_too_much = is_small && self.held.bytes_with(memory) > HELD_LIMIT;
        if is_too_much {
            for holder in std::mem::take(&mut self.holders) {
                self.let_go(holder);
                self.channels[holder.0 as usize].listed = false;
            }
        }
        let entry = &mut self.channels[channel.0 as usize];
        entry.old = false;
        entry.message = Some(message.clone());
        if is_small {
            self.held.add(memory, message.data.len());
            entry.held = Some(memory.place);
            if !std::mem::replace(&mut entry.listed, true) {
                self.holders.push(channel);
            }
        }
        if is_small && memory.bytes > HELD_LIMIT {
            self.let_go(channel);
        }
    }

    /// Time went to another place: no channel had a message yet.
    pub fn clear(&mut self) {
        *self = Latest::new(self.channels.len());
    }

    /// Lets the messages that are remembered since before the last call keep no chunk in memory: for them the next one is
    /// not to be expected soon.
    pub fn detach(&mut self) {
        for holder in std::mem::take(&mut self.holders) {
            if self.channels[holder.0 as usize].old {
                self.let_go(holder);
            }
            let entry = &mut self.channels[holder.0 as usize];
            entry.old = true;
            entry.listed = entry.held.is_some();
            if entry.listed {
                self.holders.push(holder);
            }
        }
    }

    /// Gives the last message of a channel memory of its own, if it is a small slice of some.
    fn let_go(&mut self, channel: ChannelId) {
        let entry = &mut self.channels[channel.0 as usize];
        if let (Some(message), Some(place)) = (&mut entry.message, entry.held.take()) {
            self.held.remove(place, message.data.len());
            message.data = Bytes::copy_from_slice(&message.data);
            message.memory = Memory::of(&message.data);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;

    fn chunk(size: usize) -> Bytes {
        Bytes::from(vec![7; size])
    }

    /// A message that is so many bytes of a chunk.
    fn slice(channel: u32, chunk: &Bytes, size: usize) -> Message {
        let time = Timestamp::from_nanos(1);
        let (memory, data) = (Memory::of(chunk), chunk.slice(..size));
        Message { channel: ChannelId(channel), sequence: 0, log_time: time, publish_time: time, data, memory }
    }

    fn message(channel: u32, size: usize) -> Message {
        slice(channel, &chunk(size), 10)
    }

    fn memory(latest: &Latest, channel: u32) -> usize {
        latest.get(ChannelId(channel)).unwrap().memory.bytes
    }

    fn held(latest: &Latest) -> usize {
        latest.held.bytes_with(Memory::default())
    }

    #[test]
    fn what_is_remembered_for_long_keeps_no_chunk_in_memory() {
        let mut latest = Latest::new(2);
        latest.remember(&message(0, 1000));
        latest.detach();
        assert_eq!(memory(&latest, 0), 1000);
        latest.remember(&message(1, 2000));
        latest.detach();
        assert_eq!((memory(&latest, 0), memory(&latest, 1)), (10, 2000));
        // A newer one gets no older by that.
        latest.remember(&message(1, 3000));
        latest.detach();
        assert_eq!((memory(&latest, 1), held(&latest)), (3000, 3000));
        latest.detach();
        assert_eq!((memory(&latest, 1), held(&latest)), (10, 0));
        assert_eq!(latest.get(ChannelId(1)).unwrap().data, vec![7; 10]);
    }

    #[test]
    fn chunks_are_kept_up_to_a_bound_and_the_newest_stays() {
        let size = HELD_LIMIT / 8;
        let mut latest = Latest::new(100);
        for channel in (0..100).chain(0..100) {
            latest.remember(&message(channel, size));
            assert_eq!(memory(&latest, channel), size);
            let kept: usize = latest
                .channels
                .iter()
                .flat_map(|entry| &entry.message)
                .map(|message| message.memory.bytes)
                .sum();
            assert!(kept <= HELD_LIMIT + 100 * 10 && held(&latest) <= HELD_LIMIT, "{kept}");
            assert!(latest.holders.len() <= 8);
        }
        latest.remember(&message(3, HELD_LIMIT + 1));
        assert_eq!((memory(&latest, 3), held(&latest)), (10, 0));
    }

    #[test]
    fn a_payload_that_is_most_of_its_chunk_is_not_copied() {
        let mut latest = Latest::new(1);
        let chunk = chunk(2 * HELD_LIMIT);
        latest.remember(&slice(0, &chunk, HELD_LIMIT + 1));
        latest.detach();
        latest.detach();
        assert_eq!(latest.get(ChannelId(0)).unwrap().data.as_ptr(), chunk.as_ptr());
    }

    #[test]
    fn who_is_followed_by_another_one_is_not_copied_before() {
        let chunk = chunk(1000);
        let mut latest = Latest::new(2);
        for message in
            [slice(0, &chunk, 10), slice(0, &chunk, 20), slice(1, &chunk, 0), slice(0, &chunk, 600)]
        {
            latest.remember(&message);
            assert_eq!(latest.get(message.channel).unwrap().data.as_ptr(), message.data.as_ptr());
        }
        assert_eq!(held(&latest), 0);
    }

    #[test]
    fn a_chunk_counts_once_for_all_its_messages_until_the_last_of_them_is_gone() {
        let (one, other) = (chunk(1000), chunk(500));
        let mut latest = Latest::new(3);
        (0..3).for_each(|channel| latest.remember(&slice(channel, &one, 10)));
        latest.remember(&slice(0, &one, 20));
        assert_eq!(held(&latest), 1000);
        latest.remember(&slice(0, &other, 10));
        assert_eq!(held(&latest), 1500);
        latest.detach();
        latest.remember(&slice(1, &other, 400));
        latest.detach();
        assert_eq!((held(&latest), latest.holders.len()), (0, 0));
        latest.remember(&slice(2, &one, 10));
        latest.clear();
        assert!(latest.get(ChannelId(2)).is_none());
        latest.remember(&slice(2, &one, 10));
        assert_eq!((held(&latest), latest.holders.len()), (1000, 1));
    }
}
