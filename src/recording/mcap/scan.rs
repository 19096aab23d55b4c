//! Looks through records for what an index needs to know of them.

use ::mcap::records::op;

use super::chunk::{Damage, Extent};
use super::fields::Records;
use super::index::{Counts, Index, Span, SpanKind};
use super::records;

/// The most bytes of messages outside chunks that are loaded as one, unless one message alone has more.
const RUN_BYTES: u64 = 1024 * 1024;
/// The most bytes of other records between two messages of one run.
const RUN_GAP: u64 = 4 * 1024;

/// What the records of a chunk are.
#[derive(Debug, Default)]
pub struct Scanned {
    /// The earliest and the latest log time.
    pub times: Option<(u64, u64)>,
    /// Where the last schema or channel record ends; 0 where there is none.
    definitions_end: usize,
}

impl Scanned {
    /// The contents of the schema and channel records, with their opcode. `records` is what was scanned.
    pub fn definitions<'a>(&self, records: &'a [u8]) -> impl Iterator<Item = (u8, &'a [u8])> + use<'a> {
        let front = records.get(..self.definitions_end).unwrap_or_default();
        let wanted = |record: &super::fields::RawRecord<'_>| matches!(record.op, op::SCHEMA | op::CHANNEL);
        Records::new(front).filter(wanted).map(|record| (record.op, record.content))
    }
}

/// Looks through the records of a chunk, and counts its messages in `counts`, which it clears before.
///
/// # Errors
/// Where one of them is no record, unless it is just the front of a chunk: then what comes before counts.
pub fn scan_records(bytes: &[u8], extent: Extent, counts: &mut Counts) -> Result<Scanned, Damage> {
    counts.clear();
    let mut scanned = Scanned::default();
    let mut records = Records::new(bytes);
    while let Some(record) = records.next() {
        match record.op {
            op::MESSAGE => {
                let Ok(message) = records::message(record.content) else {
                    return if extent == Extent::Front {
                        Ok(scanned)
                    } else {
                        Err(Damage::Records { at: record.at })
                    };
                };
                let time = message.log_time;
                let (start, end) = scanned.times.unwrap_or((time, time));
                scanned.times = Some((start.min(time), end.max(time)));
                counts.add(message.channel_id, 1);
            }
            op::SCHEMA | op::CHANNEL => scanned.definitions_end = records.position(),
            _ => {}
        }
    }
    if extent == Extent::Whole && !records.is_whole() {
        return Err(Damage::Records { at: records.position() });
    }
    Ok(scanned)
}

/// Messages outside chunks that follow each other, gathered into a span.
#[derive(Debug, Default)]
pub struct LooseRun {
    offset: u64,
    /// Where its last message ends; 0 where it has none.
    end: u64,
    times: (u64, u64),
    messages: u64,
    /// The channels as they come; sorted out at the end.
    ids: Vec<u16>,
}

impl LooseRun {
    /// Whether a message at this place can be taken into the run.
    pub fn fits(&self, at: u64, length: u64) -> bool {
        self.messages == 0 || (at - self.end <= RUN_GAP && at + length - self.offset <= RUN_BYTES)
    }

    /// Takes a message that [`fits`](Self::fits). `length` is that of the whole record.
    pub fn add(&mut self, at: u64, length: u64, channel: u16, log_time: u64) {
        if self.messages == 0 {
            self.offset = at;
            self.times = (log_time, log_time);
        }
        self.messages += 1;
        self.end = at + length;
        self.times = (self.times.0.min(log_time), self.times.1.max(log_time));
        if self.ids.last() != Some(&channel) {
            self.ids.push(channel);
        }
    }

    /// Ends the run: its span, if it has a message.
    pub fn take(&mut self, index: &mut Index) -> Option<Span> {
        if self.messages == 0 {
            return None;
        }
        self.ids.sort_unstable();
        self.ids.dedup();
        let length = self.end - self.offset;
        let span = Span {
            offset: self.offset,
            length,
            start: self.times.0,
            end: self.times.1,
            size: length,
            index_length: 0,
            messages: Some(self.messages),
            channels: index.intern(&self.ids),
            kind: SpanKind::Loose,
        };
        self.ids.clear();
        self.messages = 0;
        Some(span)
    }
}
