//! What the walk through a file has found.

use std::collections::BTreeMap;
use std::path::Path;

use super::findings::Findings;
use super::index::{ChunkTotals, Counts, Index, Span, SpanKind, compression_name};
use super::records;
use super::registry::{Origin, Registry};
use super::scan::Scanned;
use super::summary::Summary;
use crate::recording::{Attachment, Metadata, Place};

/// How the walk came to its end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum End {
    /// At the data end record, or where the summary or the footer starts.
    Data,
    /// At the end of the file, after a whole record.
    File,
    /// In the middle of something.
    Broken,
}

/// The record that ends the data section (MCAP specification, Data End).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DataEnd {
    /// Where it stands, in bytes.
    pub at: u64,
    /// The CRC of all bytes before it; 0 where the writer made none.
    pub crc: u32,
}

/// What the walk found.
pub struct Found {
    pub profile: String,
    pub library: String,
    pub registry: Registry,
    pub index: Index,
    /// Messages of the spans that were read, not of those jumped over.
    pub counts: Counts,
    pub totals: ChunkTotals,
    pub attachments: Vec<Attachment>,
    pub metadata: Vec<Metadata>,
    pub findings: Findings,
    /// Chunks that the index allowed to jump over.
    pub jumped: u64,
    /// Spans that were read.
    pub read: u64,
    /// Chunks by compressions that we do not know: by name, where the first is, and how many.
    pub unknown: BTreeMap<String, (u64, u64)>,
    /// Channels with messages that were not described when they were met, and where.
    pub undescribed: BTreeMap<u16, u64>,
    pub end: End,
    /// The data end record, if the walk came to it.
    pub data_end: Option<DataEnd>,
}

impl Found {
    /// Nothing yet.
    pub fn new(path: &Path) -> Self {
        Found {
            profile: String::new(),
            library: String::new(),
            registry: Registry::default(),
            index: Index::default(),
            counts: Counts::default(),
            totals: ChunkTotals::default(),
            attachments: Vec::new(),
            metadata: Vec::new(),
            findings: Findings::new(path),
            jumped: 0,
            read: 0,
            unknown: BTreeMap::new(),
            undescribed: BTreeMap::new(),
            end: End::Data,
            data_end: None,
        }
    }

    pub fn add_definitions(&mut self, summary: &Summary) {
        for (op, content) in summary.definitions() {
            self.registry.add(op, content, Origin::Summary, &mut self.findings);
        }
    }

    /// Takes the schemas and channels of a chunk.
    pub fn define(&mut self, records: &[u8], scanned: &Scanned, at: u64) {
        for (op, content) in scanned.definitions(records) {
            self.registry.add(op, content, Origin::Data(at), &mut self.findings);
        }
    }

    /// Takes a chunk that was read: what `scanned` and `tally` tell of it.
    pub fn take_scanned(
        &mut self,
        scanned: &Scanned,
        tally: &Counts,
        offset: u64,
        length: u64,
        size: u64,
        kind: SpanKind,
    ) {
        let Some((start, end)) = scanned.times else { return };
        let ids = tally.ids();
        for &id in &ids {
            self.counts.add(id, tally.get(id));
            if !self.registry.has_channel(id) {
                self.undescribed.entry(id).or_insert(offset);
            }
        }
        let channels = self.index.intern(&ids);
        let messages = Some(tally.total());
        self.push(Span { offset, length, start, end, size, index_length: 0, messages, channels, kind });
    }

    pub fn push(&mut self, span: Span) {
        let offset = span.offset;
        if !self.index.push(span) {
            let text = format!(
                "the file has more than {} chunks; what is in the others is not played",
                super::index::MAX_SPANS
            );
            self.findings.lost(Place::Offset(offset), text);
        }
    }

    pub fn add_unknown(&mut self, compression: &str, at: u64) {
        let name = compression_name(compression);
        // A hostile file could name a new one with each chunk.
        let name = if self.unknown.len() < 16 { name } else { "other names".into() };
        self.unknown.entry(name).or_insert((at, 0)).1 += 1;
    }

    pub fn add_metadata(&mut self, content: &[u8], at: u64, room: bool) {
        let text = match records::metadata(content) {
            _ if !room => "there is too much metadata to keep, from here on",
            Err(_) => "a metadata record here ends before its fields do, so it is ignored",
            Ok((metadata, lossy)) => {
                self.metadata.push(metadata);
                if !lossy {
                    return;
                }
                "metadata here has text that is not UTF-8; what is not is replaced"
            }
        };
        self.findings.note(Place::Offset(at), text);
    }
}

/// What is wrong with a chunk, and how many messages go with it; 0 where nobody knows.
pub fn skipped(what: &str, messages: u64) -> String {
    match messages {
        0 => format!("{what}, so it is skipped"),
        1 => format!("{what}, so its 1 message is skipped"),
        _ => format!("{what}, so its {messages} messages are skipped"),
    }
}
