//! Finds the state before a log time: the last message of each channel.

use super::{ChannelId, Message};
use crate::time::Timestamp;

/// Looks for the last message of each of a file's channels before a log time, from there backwards, one piece
/// of the file after the other.
pub trait Search: Send {
    /// No message that was not found yet is later than this. `None` where there is none left.
    fn latest(&self) -> Option<Timestamp>;

    /// Looks through one more piece of the file, and appends the messages in it that are later than what was
    /// found before on their channels. A piece that has nothing but channels and log times which `is_open` calls
    /// useless is passed over.
    fn step(&mut self, is_open: &dyn Fn(ChannelId, Timestamp) -> bool, found: &mut Vec<Message>);
}

/// The search for the state of a whole recording before a log time. It goes on as far as it is let, so that
/// whoever needs what is near does not wait for what is far away.
pub struct StateSearch {
    files: Vec<Box<dyn Search>>,
    channels: Vec<Option<Found>>,
}

struct Found {
    message: Message,
    /// The place of its file. Where log times are equal, the later file's message comes later.
    file: usize,
    taken: bool,
}

impl StateSearch {
    /// A search in these files, for so many channels.
    pub(super) fn new(files: Vec<Box<dyn Search>>, channels: usize) -> Self {
        let channels = std::iter::repeat_with(|| None).take(channels).collect();
        StateSearch { files, channels }
    }

    /// Looks through one more piece of the recording: that in which the latest messages can be. Says whether there
    /// is more to look through.
    pub fn step(&mut self) -> bool {
        let files = self.files.iter().enumerate();
        let latest = files.filter_map(|(file, search)| Some((search.latest()?, file))).max();
        let Some((_, file)) = latest else { return false };
        let channels = &self.channels;
        let is_open = |channel: ChannelId, time| {
            let found = &channels[channel.0 as usize];
            found.as_ref().is_none_or(|found| (found.message.log_time, found.file) <= (time, file))
        };
        let mut messages = Vec::new();
        self.files[file].step(&is_open, &mut messages);
        for message in messages {
            let found = &mut self.channels[message.channel.0 as usize];
            let is_later = found
                .as_ref()
                .is_none_or(|found| (found.message.log_time, found.file) <= (message.log_time, file));
            if is_later {
                *found = Some(Found { message, file, taken: false });
            }
        }
        self.open_until().is_some()
    }

    /// No message that was not found yet is later than this.
    fn open_until(&self) -> Option<Timestamp> {
        self.files.iter().filter_map(|search| search.latest()).max()
    }

    /// Takes what was found and not taken before, as far as it is certain that nothing later comes on its channel;
    /// by log time.
    pub fn take_certain(&mut self) -> Vec<Message> {
        let open = self.open_until();
        let certain = self
            .channels
            .iter_mut()
            .flatten()
            .filter(|found| !found.taken && open.is_none_or(|open| found.message.log_time > open));
        let mut messages: Vec<Message> = certain
            .map(|found| {
                found.taken = true;
                found.message.clone()
            })
            .collect();
        messages.sort_by_key(|message| message.log_time);
        messages
    }

    /// The log time of the last message of all, once it is certain. [`None`] inside: there is no message.
    pub fn last(&self) -> Option<Option<Timestamp>> {
        let last = self.channels.iter().flatten().map(|found| found.message.log_time).max();
        let open = self.open_until();
        (open.is_none() || last > open).then_some(last)
    }

    /// All that was found, by log time.
    pub fn finish(mut self) -> Vec<Message> {
        while self.step() {}
        self.channels.iter_mut().flatten().for_each(|found| found.taken = false);
        self.take_certain()
    }
}
