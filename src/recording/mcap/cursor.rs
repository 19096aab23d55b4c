//! Merges the spans of a file into one sequence of messages.
//!
//! Messages come by log time, and where log times are equal, in file order. A span is opened when the next
//! message could be in it, and closed after its last message, so that what is in memory are the spans that
//! overlap at the moment. Where those are too many, only windows of them are kept, and a chunk is unpacked
//! again for its next window.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use bytes::Bytes;

use super::Shared;
use super::entries::{Entry, Routes, Selected, gather, select};
use super::findings::counted;
use super::records::{self, MESSAGE_HEADER};
use crate::recording::{Cursor, Memory, Message, Place};
use crate::time::Timestamp;

/// What a span costs beside its bytes, roughly.
const OVERHEAD: u64 = 256;

/// The messages of one file.
pub struct McapCursor {
    shared: Arc<Shared>,
    routes: Routes,
    from: u64,
    /// The most bytes of unpacked spans that are kept while they overlap. One span is always kept.
    budget: u64,
    /// The first of the index's `by_start` that has not been opened or passed over.
    next_span: usize,
    /// The span that messages are taken from, and until when: until the key of the one that comes next.
    current: Option<Open>,
    until: Option<Key>,
    /// The other open spans.
    waiting: BinaryHeap<Reverse<Open>>,
    /// Bytes kept by open spans, and bytes that all of them would have if they were kept whole.
    kept: u64,
    open_size: u64,
    /// The log time of the last message.
    last_time: u64,
    /// An entry list to use again.
    spare: Vec<Entry>,
    /// How often a span was loaded.
    #[cfg(test)]
    loads: usize,
}

/// What messages are ordered by: log time, and the place of the span in the file. Within a span its entries
/// are in order.
type Key = (u64, u32);

/// A span of which messages are still to come.
struct Open {
    key: Key,
    /// Which entry is its next one, while it has no window; `None` before it was loaded at all.
    position: Option<usize>,
    window: Option<Window>,
}

/// What is loaded of a span: all that is left of it, or its next messages.
struct Window {
    bytes: Bytes,
    entries: Vec<Entry>,
    /// The next of `entries`.
    at: usize,
    /// How many entries the span has before these.
    before: usize,
    /// The log time of the first message behind the window, if there is one.
    beyond: Option<u64>,
    weight: u64,
}

impl PartialEq for Open {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for Open {}

impl PartialOrd for Open {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Open {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key.cmp(&other.key)
    }
}

impl Cursor for McapCursor {
    fn next(&mut self) -> Option<Message> {
        loop {
            if let Some(open) = &mut self.current
                && let Some(window) = &mut open.window
                && let Some(entry) = window.entries.get(window.at)
                && self.until.is_none_or(|until| (entry.log_time, open.key.1) < until)
            {
                let entry = *entry;
                window.at += 1;
                if let Some(message) = message(&window.bytes, entry, &self.routes) {
                    self.last_time = entry.log_time;
                    return Some(message);
                }
            } else if !self.advance() {
                return None;
            }
        }
    }
}

/// `None` never happens for an entry of [`select`], which has seen to its length and its channel.
#[inline]
pub(super) fn message(bytes: &Bytes, entry: Entry, routes: &Routes) -> Option<Message> {
    let start = entry.at as usize;
    let end = start + entry.length as usize;
    let header = records::message(bytes.get(start..end)?).ok()?;
    Some(Message {
        channel: routes.wanted(header.channel_id)?,
        sequence: header.sequence,
        log_time: Timestamp::from_nanos(header.log_time),
        publish_time: Timestamp::from_nanos(header.publish_time),
        data: bytes.slice(start + MESSAGE_HEADER..end),
        memory: Memory::of(bytes),
    })
}

impl McapCursor {
    /// Messages from the log time `from` on.
    pub(super) fn new(shared: Arc<Shared>, from: Timestamp, routes: Routes) -> Self {
        let budget = shared.overlap_bytes;
        McapCursor {
            shared,
            routes,
            from: from.as_nanos(),
            budget,
            next_span: 0,
            current: None,
            until: None,
            waiting: BinaryHeap::new(),
            kept: 0,
            open_size: 0,
            last_time: from.as_nanos(),
            spare: Vec::new(),
            #[cfg(test)]
            loads: 0,
        }
    }

    /// Finds the span with the next message, and makes it the current one. `false` where there is none.
    fn advance(&mut self) -> bool {
        if let Some(open) = self.current.take() {
            self.put_back(open);
        }
        self.open_due_spans();
        let Some(Reverse(open)) = self.waiting.pop() else { return false };
        let open = if open.window.is_some() { Some(open) } else { self.load(open) };
        let Some(open) = open else { return true };
        self.until = self.waiting.peek().map(|Reverse(open)| open.key);
        if let Some(start) = self.next_start() {
            // At the very start of the next span its messages could come first in the file.
            self.until = Some(self.until.map_or((start, 0), |until| until.min((start, 0))));
        }
        self.current = Some(open);
        true
    }

    /// Puts a span where its next message belongs, or closes it after its last one.
    fn put_back(&mut self, mut open: Open) {
        let Some(window) = &mut open.window else { return self.waiting.push(Reverse(open)) };
        if let Some(entry) = window.entries.get(window.at) {
            open.key.0 = entry.log_time;
            return self.waiting.push(Reverse(open));
        }
        let beyond = window.beyond;
        self.drop_window(&mut open);
        match beyond {
            Some(time) => {
                open.key.0 = time;
                self.waiting.push(Reverse(open));
            }
            None => self.close(&open),
        }
    }

    fn close(&mut self, open: &Open) {
        self.open_size = self.open_size.saturating_sub(self.size_of(open.key.1));
    }

    fn size_of(&self, span: u32) -> u64 {
        let size = self.shared.index.spans[span as usize].size;
        // A quarter more for its entries.
        size.saturating_add(size / 4).saturating_add(OVERHEAD)
    }

    /// Opens, without loading them, all spans in which the next message could be.
    fn open_due_spans(&mut self) {
        while let Some(start) = self.next_start() {
            if self.waiting.peek().is_some_and(|Reverse(open)| open.key.0 < start) {
                return;
            }
            let span = self.shared.index.by_start[self.next_span];
            self.next_span += 1;
            self.open_size = self.open_size.saturating_add(self.size_of(span));
            self.waiting.push(Reverse(Open { key: (start, span), position: None, window: None }));
        }
    }

    /// From when on the next span could have a message for us. Passes over those that have none.
    fn next_start(&mut self) -> Option<u64> {
        loop {
            let index = &self.shared.index;
            let span = &index.spans[*index.by_start.get(self.next_span)? as usize];
            let wanted = || index.ids(span.channels).is_none_or(|ids| self.routes.wants_any(ids));
            if span.end >= self.from && wanted() {
                return Some(span.start.max(self.from));
            }
            self.next_span += 1;
        }
    }

    /// Loads a span, or its next window. `None` where it turns out not to be the next one, or has nothing
    /// for us; then it has been put where it belongs.
    fn load(&mut self, mut open: Open) -> Option<Open> {
        #[cfg(test)]
        {
            self.loads += 1;
        }
        let span = &self.shared.index.spans[open.key.1 as usize];
        let loaded = self.shared.load(open.key.1);
        let selected = loaded.and_then(|bytes| {
            let spare = std::mem::take(&mut self.spare);
            Ok((select(&bytes, span.kind.extent(), &self.routes, spare)?, bytes))
        });
        let (selected, bytes) = match selected {
            Ok(selected) => selected,
            Err(damage) => {
                self.shared.tell_unplayed(span, &damage);
                self.shared.count_unread(open.key.1);
                self.close(&open);
                return None;
            }
        };
        let position = match open.position {
            Some(position) => position,
            None => self.first_position(open.key.1, &selected),
        };
        let Some(first) = selected.entries.get(position) else {
            self.spare = selected.entries;
            self.close(&open);
            return None;
        };
        open.key.0 = first.log_time;
        let window = self.window(bytes, selected, position);
        self.kept += window.weight;
        open.window = Some(window);
        let next = self.waiting.peek().map(|Reverse(open)| open.key);
        let start = self.next_start();
        if next.is_some_and(|next| next < open.key) || start.is_some_and(|start| start <= open.key.0) {
            self.waiting.push(Reverse(open));
            return None;
        }
        Some(open)
    }

    /// The first entry to play of a span that is loaded for the first time. What the index has hidden until
    /// it was too late to play it in order is told as lost.
    fn first_position(&self, place: u32, selected: &Selected) -> usize {
        let before = |time: u64| selected.entries.partition_point(|entry| entry.log_time < time);
        let position = before(self.last_time);
        // Who plays from the start as the index gives it wants what comes before that as well.
        let asked = if self.from <= self.shared.start { 0 } else { before(self.from) };
        let late = position - asked;
        let span = &self.shared.index.spans[place as usize];
        let mut wrongs = Vec::new();
        if late > 0 {
            let late = counted(late as u64, "message");
            wrongs.push(format!("{late} earlier than the file's index says"));
        } else {
            self.shared.note_wrong_times(span, selected);
        }
        if selected.unknown > 0 {
            let unknown = counted(selected.unknown, "message");
            wrongs.push(format!("{unknown} of channels that the file's index does not know"));
        }
        if !wrongs.is_empty() {
            let text = format!("skipped here: {} (--rescan plays them)", wrongs.join(", and "));
            self.lost(span.offset, text);
        }
        position
    }

    /// Keeps of a loaded span what there is room for: all that is left, or as much as is its share.
    fn window(&mut self, bytes: Bytes, selected: Selected, position: usize) -> Window {
        let Selected { mut entries, wanted_bytes, .. } = selected;
        let whole = bytes.len() as u64 + (entries.capacity() * size_of::<Entry>()) as u64 + OVERHEAD;
        let alone = self.waiting.is_empty();
        // Whether all open spans together fit, not just this one beside what happens to be loaded: else
        // spans would be loaded whole, only to be dropped for one another.
        if alone || self.open_size.max(self.kept.saturating_add(whole)) <= self.budget {
            // A small part would keep all of the chunk in memory, so it moves to a place of its own.
            let bytes =
                if wanted_bytes < bytes.len() as u64 / 4 { gather(&bytes, &mut entries) } else { bytes };
            let weight = bytes.len() as u64 + (entries.capacity() * size_of::<Entry>()) as u64 + OVERHEAD;
            return Window { bytes, entries, at: position, before: 0, beyond: None, weight };
        }
        // Half of the budget is shared out by size, so that in the long run nothing has to be dropped again.
        let share = u128::from(self.budget / 2) * u128::from(whole) / u128::from(self.open_size.max(1));
        let mut room = u64::try_from(share).unwrap_or(u64::MAX).min(self.budget / 2);
        let count = entries[position..].iter().take_while(|entry| {
            let fits = room > 0;
            room = room.saturating_sub(u64::from(entry.length) + size_of::<Entry>() as u64);
            fits
        });
        let end = position + count.count().max(1);
        let beyond = entries.get(end).map(|entry| entry.log_time);
        let mut part = entries[position..end].to_vec();
        self.spare = entries;
        let bytes = gather(&bytes, &mut part);
        let weight = bytes.len() as u64 + (part.capacity() * size_of::<Entry>()) as u64 + OVERHEAD;
        if self.kept.saturating_add(weight) > self.budget {
            self.make_room();
        }
        Window { bytes, entries: part, at: 0, before: position, beyond, weight }
    }

    /// Drops what is loaded of the open spans whose next messages are farthest away, down to half the budget.
    fn make_room(&mut self) {
        let mut spans = std::mem::take(&mut self.waiting).into_vec();
        spans.sort_unstable_by_key(|Reverse(open)| Reverse(open.key));
        for Reverse(open) in &mut spans {
            if self.kept <= self.budget / 2 {
                break;
            }
            self.drop_window(open);
        }
        self.waiting = spans.into();
    }

    /// Drops what is loaded of a span. It is loaded again when its next message is due.
    fn drop_window(&mut self, open: &mut Open) {
        let Some(mut window) = open.window.take() else { return };
        self.kept = self.kept.saturating_sub(window.weight);
        open.position = Some(window.before + window.at);
        if window.entries.capacity() > self.spare.capacity() {
            window.entries.clear();
            self.spare = window.entries;
        }
    }

    fn lost(&self, offset: u64, text: String) {
        self.shared.problems.lost(&self.shared.path, Place::Offset(offset), text);
    }
}

#[cfg(test)]
impl McapCursor {
    pub(super) fn with_budget(self, budget: u64) -> Self {
        McapCursor { budget, ..self }
    }

    pub(super) fn kept(&self) -> u64 {
        self.kept
    }

    pub(super) fn loads(&self) -> usize {
        self.loads
    }
}
