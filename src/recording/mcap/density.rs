//! Counts messages by the message indexes behind the chunks (MCAP specification, Message Index).

use ::mcap::records::op;

use super::Shared;
use super::entries::Routes;
use super::fields::Records;
use super::index::{Span, SpanKind};
use super::records;
use crate::recording::Density;
use crate::time::Timestamp;

/// The largest index of one chunk that is read, in bytes: 16 a message.
const INDEX_LIMIT: u64 = 64 * 1024 * 1024;

/// Counts the messages of a file.
pub fn count(shared: &Shared, routes: &Routes, density: &mut Density, cancelled: &dyn Fn() -> bool) {
    for span in &shared.index.spans {
        if cancelled() {
            return;
        }
        if count_indexed(shared, routes, span, density).is_none() {
            estimate(shared, routes, span, density);
        }
    }
}

/// Counts by the span's message indexes. `None` where there are none, or they can't be right.
fn count_indexed(shared: &Shared, routes: &Routes, span: &Span, density: &mut Density) -> Option<()> {
    if span.kind != SpanKind::Chunk || span.index_length == 0 || span.index_length > INDEX_LIMIT {
        return None;
    }
    let length = usize::try_from(span.index_length).ok()?;
    let bytes = shared.source.read_at(span.offset.checked_add(span.length)?, length).ok()?;
    let indexes = |bytes| {
        let mut records = Records::new(bytes);
        let indexes = records
            .by_ref()
            .map(|record| match record.op {
                op::MESSAGE_INDEX => records::message_index(record.content).ok(),
                _ => None,
            })
            .collect::<Option<Vec<_>>>()?;
        records.is_whole().then_some(indexes)
    };
    for (id, entries) in indexes(&bytes)? {
        let Some(channel) = routes.wanted(id) else { continue };
        // A log time, and a place in the chunk.
        for entry in entries.chunks_exact(16) {
            let time = entry[..8].iter().rev().fold(0, |time, byte| time << 8 | u64::from(*byte));
            density.add(channel, Timestamp::from_nanos(time), 1);
        }
    }
    Some(())
}

/// Spreads the span's messages over its channels and its time.
fn estimate(shared: &Shared, routes: &Routes, span: &Span, density: &mut Density) {
    let ids = shared.index.ids(span.channels).unwrap_or(&shared.ids);
    let (from, to) = (Timestamp::from_nanos(span.start), Timestamp::from_nanos(span.end));
    let each = span.messages.map_or(1, |messages| messages.div_ceil(ids.len().max(1) as u64));
    for channel in ids.iter().filter_map(|&id| routes.wanted(id)) {
        density.spread(channel, from, to, each);
    }
}
