//! The end of a file: footer and summary section (MCAP specification, "Summary Section").

use ::mcap::MAGIC;
use ::mcap::records::{Footer, Statistics, op};
use bytes::Bytes;

use super::fields::{FRAME, Fields, Records, TooShort, frame};
use super::records;
use crate::recording::{ProblemKind, Source};

/// Bytes from the footer to the end of the file.
const TAIL: u64 = FRAME + records::FOOTER + MAGIC.len() as u64;

/// The largest summary that is read. A million chunks take about 100 MB.
const LIMIT: u64 = 512 * 1024 * 1024;

/// What the end of a file tells.
pub struct Ending {
    /// Where the data section ends at the latest.
    pub data_end: u64,
    /// The summary, as far as there is one to be believed.
    pub summary: Result<Summary, NoSummary>,
}

/// Why there is no summary to use.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum NoSummary {
    /// The file has no footer: recording was not finished, or the end is cut off.
    NoFooter,
    /// The footer says that there is none.
    None,
    /// There is one, and it is wrong: where, and what.
    Wrong { at: u64, what: String, kind: ProblemKind },
}

/// A summary section, its records still encoded where they may be many.
pub struct Summary {
    bytes: Bytes,
    /// The chunk index in file order, each chunk once.
    pub chunks: Vec<ChunkEntry>,
    pub statistics: Option<Statistics>,
}

/// Where a chunk is, and what is in it, as the summary says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ChunkEntry {
    pub offset: u64,
    pub length: u64,
    pub index_length: u64,
    pub start: u64,
    pub end: u64,
    pub compressed: u64,
    pub uncompressed: u64,
    pub compression: Box<str>,
    /// The pairs of channel id and offset: a range of the summary's bytes.
    offsets: (usize, usize),
}

impl ChunkEntry {
    /// Where the chunk and the message indexes behind it end; `None` where that is beyond all bounds.
    pub fn end_offset(&self) -> Option<u64> {
        self.offset.checked_add(self.length)?.checked_add(self.index_length)
    }
}

impl Summary {
    /// The channels that have messages in a chunk, as its message index offsets tell; empty where they
    /// don't. In the order in which they stand there.
    pub fn channels_of(&self, entry: &ChunkEntry) -> Result<Vec<u16>, TooShort> {
        let (start, length) = entry.offsets;
        let mut fields = Fields::new(self.bytes.get(start..start + length).ok_or(TooShort)?);
        let mut ids = Vec::with_capacity(length / 10);
        while !fields.rest().is_empty() {
            ids.push(fields.u16()?);
            fields.u64()?;
        }
        Ok(ids)
    }

    /// The contents of the schema and channel records, with their opcode.
    pub fn definitions(&self) -> impl Iterator<Item = (u8, &[u8])> {
        let wanted = |record: &super::fields::RawRecord<'_>| matches!(record.op, op::SCHEMA | op::CHANNEL);
        Records::new(&self.bytes).filter(wanted).map(|record| (record.op, record.content))
    }
}

/// Reads the end of a file. What can't be read counts as not there.
pub fn read(source: &dyn Source) -> Ending {
    let len = source.len();
    let Some((footer, at)) = footer(source) else {
        return Ending { data_end: len, summary: Err(NoSummary::NoFooter) };
    };
    let (start, ending) = (footer.summary_start, |data_end, summary| Ending { data_end, summary });
    if start == 0 {
        return ending(at, Err(NoSummary::None));
    }
    let wrong_by = |kind, what| ending(at, Err(NoSummary::Wrong { at: start, what, kind }));
    let wrong = |what: String| wrong_by(ProblemKind::Index, what);
    if start < MAGIC.len() as u64 || start > at {
        return wrong(format!("the footer says that the summary starts at byte {start}, which can't be"));
    }
    if at - start > LIMIT {
        return wrong(format!("the summary is larger than {LIMIT} bytes"));
    }
    let Ok(bytes) = source.read_at(start, (at - start) as usize) else {
        return wrong("the summary can't be read".into());
    };
    if footer.summary_crc != 0 && crc(&bytes, &footer) != footer.summary_crc {
        return wrong_by(ProblemKind::Crc, "the CRC of the summary is wrong".into());
    }
    match parse(bytes) {
        Some(summary) => ending(start, Ok(summary)),
        None => wrong("the summary holds something that does not belong there".into()),
    }
}

fn footer(source: &dyn Source) -> Option<(Footer, u64)> {
    let at = source.len().checked_sub(TAIL).filter(|&at| at >= MAGIC.len() as u64)?;
    let tail = source.read_at(at, TAIL as usize).ok()?;
    let (head, rest) = tail.split_first_chunk()?;
    if frame(head) != (op::FOOTER, records::FOOTER) || !rest.ends_with(MAGIC) {
        return None;
    }
    records::footer(rest).ok().map(|footer| (footer, at))
}

/// The CRC covers the summary and the footer up to the CRC itself.
fn crc(summary: &[u8], footer: &Footer) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(summary);
    hasher.update(&[op::FOOTER]);
    hasher.update(&records::FOOTER.to_le_bytes());
    hasher.update(&footer.summary_start.to_le_bytes());
    hasher.update(&footer.summary_offset_start.to_le_bytes());
    hasher.finalize()
}

fn parse(bytes: Bytes) -> Option<Summary> {
    let (mut chunks, mut statistics) = (Vec::new(), None);
    let mut records = Records::new(&bytes);
    for record in records.by_ref() {
        match record.op {
            op::CHUNK_INDEX => {
                let index = records::chunk_index(record.content).ok()?;
                // In front of the offsets: four numbers of 8 bytes, and their own length in 4.
                let place = record.at + 36;
                chunks.push(ChunkEntry {
                    offset: index.offset,
                    length: index.length,
                    index_length: index.message_index_length,
                    start: index.start_time,
                    end: index.end_time,
                    compressed: index.compressed_size,
                    uncompressed: index.uncompressed_size,
                    compression: index.compression.into(),
                    offsets: (place, index.message_index_offsets.len()),
                });
            }
            op::STATISTICS => statistics = Some(records::statistics(record.content).ok()?),
            // Records of the data section: the footer points to somewhere else.
            op::HEADER | op::MESSAGE | op::CHUNK | op::DATA_END => return None,
            _ => {}
        }
    }
    if !records.is_whole() {
        return None;
    }
    chunks.sort_by_key(|chunk| chunk.offset);
    // The same chunk indexed twice is one chunk; the offsets say where the entry stands, not what it says.
    chunks.dedup_by(|later, first| {
        let told = |chunk: &ChunkEntry| ChunkEntry { offsets: (0, 0), ..chunk.clone() };
        later.offset == first.offset && told(later) == told(first)
    });
    Some(Summary { bytes, chunks, statistics })
}
