//! Finds the last message of each channel before a time, through the index.

use std::cmp::Reverse;
use std::collections::HashMap;

use bytes::Bytes;

use super::Shared;
use super::cursor::message;
use super::entries::{Routes, Selected, select};
use super::findings::counted;
use super::index::Span;
use crate::recording::{ChannelId, Message, Place};

/// The last message of each wanted channel with a log time below `before`; where log times are equal, the one
/// that stands last in the file. In no particular order.
///
/// Spans are gone through from the latest backwards, and only those are loaded that can have the last message
/// of a channel. Payloads are copied, so that no chunk is kept for them.
pub fn last_before(shared: &Shared, before: u64, routes: &Routes) -> Vec<Message> {
    let mut search = Search { shared, routes, before, found: HashMap::new() };
    for (latest, place) in search.candidates() {
        if search.is_worth_loading(latest, place) {
            search.take(place);
        }
    }
    search.found.into_values().map(|(_, message)| message).collect()
}

/// What the last message is chosen by: log time, and the place of its span in the file.
type Key = (u64, u32);

struct Search<'a> {
    shared: &'a Shared,
    routes: &'a Routes,
    before: u64,
    found: HashMap<ChannelId, (Key, Message)>,
}

impl Search<'_> {
    /// The spans with messages before the time, each with the latest time that one of these can have. The
    /// latest come first.
    fn candidates(&self) -> Vec<Key> {
        let spans = (0..).zip(&self.shared.index.spans).filter(|(_, span)| span.start < self.before);
        let mut candidates: Vec<Key> =
            spans.map(|(place, span)| (span.end.min(self.before - 1), place)).collect();
        candidates.sort_unstable_by_key(|&key| Reverse(key));
        candidates
    }

    fn span(&self, place: u32) -> &Span {
        &self.shared.index.spans[place as usize]
    }

    /// Whether the span can have a message that comes after the one that was found for its channel.
    fn is_worth_loading(&self, latest: u64, place: u32) -> bool {
        let is_open = |id: u16| {
            self.routes
                .wanted(id)
                .is_some_and(|channel| self.found.get(&channel).is_none_or(|(key, _)| *key < (latest, place)))
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
    fn take(&mut self, place: u32) {
        let span = &self.shared.index.spans[place as usize];
        let loaded = self.shared.load(place).and_then(|bytes| {
            let selected = select(&bytes, span.kind.extent(), self.routes, Vec::new())?;
            Ok((bytes, selected))
        });
        let (bytes, selected) = match loaded {
            Ok(loaded) => loaded,
            Err(damage) => return self.shared.tell_damage(span, &damage),
        };
        let entries = &selected.entries;
        let earlier = entries.partition_point(|entry| entry.log_time < self.before);
        self.check_times(span, &selected, entries.len() - earlier);
        // Of each channel the first one that is met from behind is its last one.
        for entry in entries[..earlier].iter().rev() {
            let key = (entry.log_time, place);
            let Some(message) = message(&bytes, *entry, self.routes) else { continue };
            if self.found.get(&message.channel).is_none_or(|(found, _)| *found < key) {
                let data = Bytes::copy_from_slice(&message.data);
                self.found.insert(message.channel, (key, Message { footprint: data.len(), data, ..message }));
            }
        }
    }
}
