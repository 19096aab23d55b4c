//! Finds the last message of each channel before a time, through the index.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use super::Shared;
use super::cursor::message;
use super::entries::{Routes, Selected, select};
use super::findings::counted;
use super::index::Span;
use crate::recording::{ChannelId, Memory, Message, Place, Search};
use crate::time::Timestamp;

/// What the last message is chosen by: log time, and the place of its span in the file.
type Key = (u64, u32);

/// Looks for the last message of each wanted channel with a log time below `before`; where log times are equal,
/// for the one that stands last in the file.
///
/// Spans are gone through from the latest backwards, and only those are loaded that can have the last message
/// of a channel. Payloads are copied, so that no chunk is kept for them.
pub struct McapSearch {
    shared: Arc<Shared>,
    routes: Routes,
    before: u64,
    /// The spans with messages before the time that were not looked through yet, each with the latest time that
    /// one of these can have. The latest are at the end.
    candidates: Vec<Key>,
    found: HashMap<ChannelId, Key>,
}

impl Search for McapSearch {
    fn latest(&self) -> Option<Timestamp> {
        self.candidates.last().map(|(latest, _)| Timestamp::from_nanos(*latest))
    }

    fn step(&mut self, is_open: &dyn Fn(ChannelId, Timestamp) -> bool, found: &mut Vec<Message>) {
        while let Some((latest, place)) = self.candidates.pop() {
            if self.is_worth_loading(latest, place, is_open) {
                return self.take(place, found);
            }
        }
    }
}

impl McapSearch {
    pub fn new(shared: Arc<Shared>, before: u64, routes: Routes) -> Self {
        let spans = (0..).zip(&shared.index.spans).filter(|(_, span)| span.start < before);
        let mut candidates: Vec<Key> = spans.map(|(place, span)| (span.end.min(before - 1), place)).collect();
        candidates.sort_unstable();
        McapSearch { shared, routes, before, candidates, found: HashMap::new() }
    }

    fn span(&self, place: u32) -> &Span {
        &self.shared.index.spans[place as usize]
    }

    /// Whether the span can have a message that comes after the one that was found for its channel.
    fn is_worth_loading(
        &self,
        latest: u64,
        place: u32,
        is_open: &dyn Fn(ChannelId, Timestamp) -> bool,
    ) -> bool {
        let time = Timestamp::from_nanos(latest);
        let is_open = |id: u16| {
            self.routes.wanted(id).is_some_and(|channel| {
                self.found.get(&channel).is_none_or(|key| *key < (latest, place)) && is_open(channel, time)
            })
        };
        match self.shared.index.ids(self.span(place).channels) {
            Some(ids) => ids.iter().any(|&id| is_open(id)),
            None => self.shared.ids.iter().any(|&id| is_open(id)),
        }
    }

    /// Tells where the index has wrong times for a span. By such an index, whoever plays from the time on takes
    /// the span for over, and passes over its `later` messages.
    fn check_times(&self, span: &Span, selected: &Selected, later: usize) {
        if later == 0 || span.end >= self.before {
            return self.shared.note_wrong_times(span, selected);
        }
        let text = format!(
            "skipped here: {} later than the file's index says (--rescan plays them)",
            counted(later as u64, "message")
        );
        self.shared.problems.lost(&self.shared.path, Place::Offset(span.offset), text);
    }

    /// Takes from a span what comes after that which was found so far.
    fn take(&mut self, place: u32, found: &mut Vec<Message>) {
        let span = &self.shared.index.spans[place as usize];
        let loaded = self.shared.load(place).and_then(|bytes| {
            let selected = select(&bytes, span.kind.extent(), &self.routes, Vec::new())?;
            Ok((bytes, selected))
        });
        let (bytes, selected) = match loaded {
            Ok(loaded) => loaded,
            Err(damage) => return self.shared.tell_unplayed(span, &damage),
        };
        let entries = &selected.entries;
        let earlier = entries.partition_point(|entry| entry.log_time < self.before);
        self.check_times(span, &selected, entries.len() - earlier);
        // Of each channel the first one that is met from behind is its last one.
        for entry in entries[..earlier].iter().rev() {
            let key = (entry.log_time, place);
            let Some(message) = message(&bytes, *entry, &self.routes) else { continue };
            if self.found.get(&message.channel).is_none_or(|found| *found < key) {
                let data = Bytes::copy_from_slice(&message.data);
                self.found.insert(message.channel, key);
                found.push(Message { memory: Memory::of(&data), data, ..message });
            }
        }
    }
}
