//! JSONL recordings: one JSON object a line.
//!
//! A line is a message (`{"topic": ..., "log_time": ..., "data": {...}}`), or it names the schema of a topic
//! (`{"topic": ..., "schema_name": ..., "schema": {...}}`). The lines that `mcap cat --json` and
//! `mcap cat --format ndjson` print are messages.
//!
//! A file is read once from start to end when it is opened. That leaves an index of 24 bytes a message (40
//! where lines have a `publish_time` or a `sequence`), and for each topic without a schema of its own one
//! that was inferred from all its messages. Playing then reads the data as it stands in the file.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use self::cursor::{JsonlCursor, JsonlSearch, OpenFile};
pub use self::inferred::Inferred;
use self::opening::Contents;
pub(super) use self::schema::name_from_topic;
pub(super) use self::topics::unused_name;
use super::marks::Marks;
use super::watch::{Unwatched, Watch};
use super::{ChannelMap, Cursor, Density, Kind, OpenContext, OpenError, Reader, Search, Source, Summary};
use crate::time::Timestamp;

mod cursor;
mod envelope;
mod index;
mod inferred;
mod lines;
mod opening;
mod scan;
mod schema;
mod shape;
#[cfg(test)]
mod tests;
mod topics;
mod units;

/// Opens a JSONL file. One without a message opens too; why there is none is told as a problem.
///
/// # Errors
/// Where the file can't be read, where two lines give a topic different schemas, and with
/// [`strict`](super::OpenOptions::strict) where a line would be skipped.
pub(super) fn open(source: Arc<dyn Source>, context: &OpenContext<'_>) -> Result<Box<dyn Reader>, OpenError> {
    inspect(source, context, &mut Unwatched)
}

/// Opens a JSONL file as [`open`] does, and tells `watch` of all that is met on the way.
///
/// # Errors
/// As [`open`].
pub(super) fn inspect(
    source: Arc<dyn Source>,
    context: &OpenContext<'_>,
    watch: &mut dyn Watch,
) -> Result<Box<dyn Reader>, OpenError> {
    let Contents { channels, inferred, index } = opening::read_whole(&*source, context, watch)?;
    let summary = Summary {
        kind: Kind::Jsonl,
        bytes: source.len(),
        library: String::new(),
        profile: String::new(),
        channels,
        time_range: index.time_range(),
        message_count: index.len() as u64,
        chunks: Vec::new(),
        attachments: Vec::new(),
        metadata: Vec::new(),
        indexed: false,
    };
    let file = Arc::new(OpenFile {
        source,
        path: context.path.into(),
        problems: Arc::clone(&context.problems),
        index,
        loss_told: AtomicBool::new(false),
        unread: Marks::default(),
    });
    Ok(Box::new(JsonlReader { summary, inferred, file }))
}

struct JsonlReader {
    summary: Summary,
    inferred: Vec<Option<Inferred>>,
    file: Arc<OpenFile>,
}

impl Reader for JsonlReader {
    fn summary(&self) -> &Summary {
        &self.summary
    }

    fn inferred(&self, channel: usize) -> Option<&Inferred> {
        self.inferred.get(channel)?.as_ref()
    }

    fn cursor(&self, from: Timestamp, channels: ChannelMap) -> Box<dyn Cursor> {
        Box::new(JsonlCursor::new(Arc::clone(&self.file), from, channels))
    }

    fn density(&self, channels: &ChannelMap, density: &mut Density, cancelled: &dyn Fn() -> bool) {
        for position in 0..self.file.index.len() {
            if position % 65_536 == 0 && cancelled() {
                return;
            }
            let entry = self.file.index.entry(position);
            if let Some(&Some(channel)) = channels.get(entry.channel as usize) {
                density.add(channel, entry.log_time, 1);
            }
        }
    }

    fn search(&self, before: Timestamp, channels: ChannelMap) -> Box<dyn Search> {
        Box::new(JsonlSearch::new(Arc::clone(&self.file), before, channels))
    }
}
