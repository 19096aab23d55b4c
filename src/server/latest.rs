//! The last message of each channel, for who subscribes late.

use bytes::Bytes;

use super::outbox::Held;
use crate::recording::{ChannelId, Memory, Message};

/// How many bytes of chunks may be kept in memory by messages that are slices of them.
const HELD_LIMIT: usize = 8 * 1024 * 1024;

/// The last message of each channel.
pub(super) struct Latest {
    channels: Vec<Entry>,
    /// The memory that the messages are slices of.
    held: Held,
}

#[derive(Clone, Default)]
struct Entry {
    message: Option<Message>,
    /// Where the memory begins that its payload is a slice of, if it is not its own.
    held: Option<usize>,
    /// Whether it was the last one of its channel in the last [`Latest::detach`] already.
    old: bool,
}

impl Latest {
    /// For so many channels, none of which had a message.
    pub fn new(channels: usize) -> Self {
        Latest { channels: vec![Entry::default(); channels], held: Held::default() }
    }

    /// The last message of a channel.
    pub fn get(&self, channel: ChannelId) -> Option<&Message> {
        self.channels[channel.0 as usize].message.as_ref()
    }

    /// This is the last message of its channel now. Where too much memory is kept in use already, its payload is
    /// copied.
    pub fn remember(&mut self, message: &Message) {
        let entry = &mut self.channels[message.channel.0 as usize];
        if let Some(place) = entry.held.take() {
            self.held.remove(place);
        }
        let Memory { place, bytes } = message.memory;
        let mut message = message.clone();
        if bytes > message.data.len() {
            if self.held.bytes_with(message.memory) > HELD_LIMIT {
                copy(&mut message);
            } else {
                self.held.add(message.memory);
                entry.held = Some(place);
            }
        }
        entry.message = Some(message);
        entry.old = false;
    }

    /// Time went to another place: no channel had a message yet.
    pub fn clear(&mut self) {
        self.channels.fill(Entry::default());
        self.held = Held::default();
    }

    /// Copies the payloads that are remembered since before the last call, so that they keep no chunk in memory: for them
    /// the next one is not to be expected soon.
    pub fn detach(&mut self) {
        for entry in &mut self.channels {
            if entry.old
                && let (Some(message), Some(place)) = (&mut entry.message, entry.held.take())
            {
                self.held.remove(place);
                copy(message);
            }
            entry.old = true;
        }
    }
}

/// Gives a message memory of its own.
fn copy(message: &mut Message) {
    message.data = Bytes::copy_from_slice(&message.data);
    message.memory = Memory::of(&message.data);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;

    /// A message of ten bytes in a chunk of its own.
    fn message(channel: u32, chunk: usize) -> Message {
        let time = Timestamp::from_nanos(1);
        let chunk = Bytes::from(vec![7; chunk]);
        let memory = Memory::of(&chunk);
        let data = chunk.slice(10..20);
        Message { channel: ChannelId(channel), sequence: 0, log_time: time, publish_time: time, data, memory }
    }

    fn memory(latest: &Latest, channel: u32) -> usize {
        latest.get(ChannelId(channel)).unwrap().memory.bytes
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
        assert_eq!(memory(&latest, 1), 3000);
        latest.detach();
        assert_eq!(memory(&latest, 1), 10);
        assert_eq!(latest.get(ChannelId(1)).unwrap().data, vec![7; 10]);
        assert_eq!(latest.held.bytes_with(Memory::default()), 0);
    }

    #[test]
    fn chunks_are_kept_up_to_a_bound_whatever_comes() {
        let chunk = HELD_LIMIT / 8;
        let mut latest = Latest::new(100);
        for round in 0..3 {
            for channel in 0..100 {
                latest.remember(&message(channel, chunk));
                let kept: usize =
                    latest.channels.iter().flat_map(|entry| &entry.message).map(|m| m.memory.bytes).sum();
                assert!(kept <= HELD_LIMIT + 100 * 10, "{kept}");
            }
            assert_eq!((0..100).filter(|channel| memory(&latest, *channel) == chunk).count(), 8, "{round}");
        }
        latest.clear();
        assert!(latest.get(ChannelId(0)).is_none());
        latest.remember(&message(0, chunk));
        assert_eq!(memory(&latest, 0), chunk);
    }
}
