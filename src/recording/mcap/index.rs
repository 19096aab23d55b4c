//! Our own index of a file: where its messages are, in pieces that are loaded as one.

use std::collections::BTreeMap;

use crate::recording::ChunkSummary;

/// The most spans that an index holds. It bounds the memory that a file of nothing but tiny chunks can
/// take: about 90 bytes each.
pub const MAX_SPANS: usize = 4_000_000;

/// A piece of the file that holds messages: a chunk, or a run of messages outside chunks.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Span {
    /// Where its (first) record starts in the file.
    pub offset: u64,
    /// Its bytes in the file, from the first record's opcode to the end of the last.
    pub length: u64,
    /// The log time of its earliest message, in nanoseconds.
    pub start: u64,
    /// The log time of its latest message, in nanoseconds.
    pub end: u64,
    /// Its bytes once it is unpacked.
    pub size: u64,
    /// Bytes of the message index records right behind it; 0 where there are none or it is not known.
    pub index_length: u64,
    /// How many messages it holds; `None` where nobody has counted them.
    pub messages: Option<u64>,
    /// Which channels have messages in it.
    pub channels: ChannelSet,
    /// What it is.
    pub kind: SpanKind,
}

/// What a [`Span`] is made of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SpanKind {
    /// One chunk record.
    Chunk,
    /// The front of a chunk record that the end of the file cuts off.
    CutChunk,
    /// Records one after the other, among them messages.
    Loose,
}

/// The channels of a [`Span`]: a slice of [`Index::channel_ids`], or all.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ChannelSet {
    /// It is not known, so it may be any.
    Any,
    /// These.
    Of { first: u32, count: u32 },
}

/// All spans of a file.
#[derive(Debug, Default)]
pub struct Index {
    /// In file order.
    pub spans: Vec<Span>,
    /// The places in `spans`, by the time at which they start; equal ones in file order.
    pub by_start: Vec<u32>,
    channel_ids: Vec<u16>,
    last_set: Option<ChannelSet>,
}

impl Index {
    /// Remembers a set of channel ids, sorted. Spans that follow each other mostly have the same.
    pub fn intern(&mut self, ids: &[u16]) -> ChannelSet {
        if let Some(last) = self.last_set
            && self.ids(last) == Some(ids)
        {
            return last;
        }
        let (Ok(first), Ok(count)) = (u32::try_from(self.channel_ids.len()), u32::try_from(ids.len())) else {
            return ChannelSet::Any;
        };
        self.channel_ids.extend_from_slice(ids);
        let set = ChannelSet::Of { first, count };
        self.last_set = Some(set);
        set
    }

    /// The channel ids of a set; `None` where it may be any.
    pub fn ids(&self, set: ChannelSet) -> Option<&[u16]> {
        match set {
            ChannelSet::Any => None,
            ChannelSet::Of { first, count } => {
                self.channel_ids.get(first as usize..first as usize + count as usize)
            }
        }
    }

    /// Takes a span that stands behind all others in the file. Says whether there was room for it.
    pub fn push(&mut self, span: Span) -> bool {
        let room = self.spans.len() < MAX_SPANS;
        if room {
            self.spans.push(span);
        }
        room
    }

    /// To be called when all spans are there.
    pub fn finish(&mut self) {
        self.spans.shrink_to_fit();
        self.channel_ids.shrink_to_fit();
        // MAX_SPANS fits into 32 bits.
        self.by_start = (0..self.spans.len() as u32).collect();
        self.by_start.sort_by_key(|&span| self.spans[span as usize].start);
    }

    /// The log times of the first and the last message.
    pub fn time_range(&self) -> Option<(u64, u64)> {
        let ranges = self.spans.iter().map(|span| (span.start, span.end));
        ranges.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
    }
}

/// How many messages each channel has, by channel id.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    by_id: Vec<u64>,
    /// The ids that have a count, in the order in which they got it.
    counted: Vec<u16>,
    total: u64,
}

impl Counts {
    pub fn add(&mut self, id: u16, count: u64) {
        let place = usize::from(id);
        if place >= self.by_id.len() {
            self.by_id.resize(place + 1, 0);
        }
        if self.by_id[place] == 0 && count > 0 {
            self.counted.push(id);
        }
        self.by_id[place] = self.by_id[place].saturating_add(count);
        self.total = self.total.saturating_add(count);
    }

    pub fn get(&self, id: u16) -> u64 {
        self.by_id.get(usize::from(id)).copied().unwrap_or(0)
    }

    pub fn total(&self) -> u64 {
        self.total
    }

    /// The channels that have messages, sorted by id.
    pub fn ids(&self) -> Vec<u16> {
        let mut ids = self.counted.clone();
        ids.sort_unstable();
        ids
    }

    /// Starts again from nothing. Costs as much as there are channels with messages, not as there are ids.
    pub fn clear(&mut self) {
        for id in self.counted.drain(..) {
            self.by_id[usize::from(id)] = 0;
        }
        self.total = 0;
    }
}

/// Different names of compressions that are listed. A hostile file could have one for each chunk.
const NAMES: usize = 16;

/// Adds up the chunks of each compression.
#[derive(Clone, Debug, Default)]
pub struct ChunkTotals(BTreeMap<String, ChunkSummary>);

impl ChunkTotals {
    pub fn add(&mut self, compression: &str, compressed: u64, uncompressed: u64) {
        let name = compression_name(compression);
        let name = if self.0.len() < NAMES || self.0.contains_key(&name) { name } else { "others".into() };
        let total = self.0.entry(name).or_insert_with_key(|name| ChunkSummary {
            compression: name.clone(),
            count: 0,
            compressed_bytes: 0,
            uncompressed_bytes: 0,
        });
        total.count += 1;
        total.compressed_bytes = total.compressed_bytes.saturating_add(compressed);
        total.uncompressed_bytes = total.uncompressed_bytes.saturating_add(uncompressed);
    }

    pub fn count(&self) -> u64 {
        self.0.values().map(|total| total.count).sum()
    }

    pub fn into_list(self) -> Vec<ChunkSummary> {
        self.0.into_values().collect()
    }
}

/// What a compression is called for people: `none` for the empty name, and a name of any length cut short.
pub fn compression_name(name: &str) -> String {
    if name.is_empty() { "none".into() } else { name.chars().take(40).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_sets_of_neighbours_are_kept_once() {
        let mut index = Index::default();
        let (a, b) = (index.intern(&[1, 2]), index.intern(&[1, 2]));
        let c = index.intern(&[3]);
        assert_eq!((a, index.ids(a)), (b, Some(&[1, 2][..])));
        assert_eq!((index.ids(c), index.channel_ids.len()), (Some(&[3][..]), 3));
    }

    #[test]
    fn a_hostile_number_of_compression_names_is_bounded() {
        let mut totals = ChunkTotals::default();
        for i in 0..100 {
            totals.add(&format!("{i:0100}"), u64::MAX, 1);
        }
        assert_eq!(totals.count(), 100);
        assert!(totals.into_list().len() <= NAMES + 1);
    }
}
