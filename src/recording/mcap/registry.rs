//! The channels and schemas of a file, from wherever in it they are described.

use std::collections::BTreeMap;
use std::sync::Arc;

use ::mcap::records::op;
use bytes::Bytes;

use super::fields::TooShort;
use super::findings::Findings;
use super::index::Counts;
use super::records;
use crate::recording::{Channel, Place, ProblemKind, Schema};

/// The most bytes of channel and schema records that are kept. The limit is for hostile files: a chunk of a
/// kilobyte can unpack to a million of them.
const KEPT_BYTES: usize = 256 * 1024 * 1024;

/// Where a description stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Origin {
    /// In the summary: a copy, which counts until the data says something else.
    Summary,
    /// In the data section (or in the chunk) at this byte of the file.
    Data(u64),
}

/// All channels and schemas that were seen. Where two describe the same id differently, the first one in
/// the data section counts.
#[derive(Debug, Default)]
pub struct Registry {
    channels: BTreeMap<u16, Described<::mcap::records::Channel>>,
    schemas: BTreeMap<u16, Described<Arc<Schema>>>,
    kept: usize,
}

#[derive(Debug)]
struct Described<T> {
    /// The record as it stands in the file: repeats are mostly equal to the byte, and need no parsing then.
    raw: Box<[u8]>,
    value: T,
    origin: Origin,
    /// Whether a different description of the same id has been told of.
    told: bool,
}

impl Registry {
    /// Takes a schema or a channel record, as its opcode says; any other describes nothing.
    pub fn add(&mut self, op: u8, content: &[u8], origin: Origin, findings: &mut Findings) {
        match op {
            op::SCHEMA => self.add_schema(content, origin, findings),
            op::CHANNEL => self.add_channel(content, origin, findings),
            _ => {}
        }
    }

    fn add_channel(&mut self, content: &[u8], origin: Origin, findings: &mut Findings) {
        let Some(id) = id_of(content) else { return unreadable("channel", origin, findings) };
        if self.channels.get(&id).is_some_and(|known| *known.raw == *content) {
            self.channels.entry(id).and_modify(|known| known.confirm(origin));
            return;
        }
        match records::channel(content) {
            Ok((channel, lossy)) => {
                let what = format!("channel {id} ({})", channel.topic);
                let new = Described { raw: content.into(), value: channel, origin, told: false };
                take(&mut self.channels, &mut self.kept, id, new, &what, lossy, findings);
            }
            Err(TooShort) => unreadable("channel", origin, findings),
        }
    }

    /// Schema id 0 means "no schema", so that a record with it is none.
    fn add_schema(&mut self, content: &[u8], origin: Origin, findings: &mut Findings) {
        let Some(id) = id_of(content) else { return unreadable("schema", origin, findings) };
        if id == 0 {
            return;
        }
        if self.schemas.get(&id).is_some_and(|known| *known.raw == *content) {
            self.schemas.entry(id).and_modify(|known| known.confirm(origin));
            return;
        }
        match records::schema(content) {
            Ok((schema, lossy)) => {
                let what = format!("schema {id} ({})", schema.name);
                let data = Bytes::copy_from_slice(schema.data);
                let schema = Arc::new(Schema { name: schema.name, encoding: schema.encoding, data });
                let new = Described { raw: content.into(), value: schema, origin, told: false };
                take(&mut self.schemas, &mut self.kept, id, new, &what, lossy, findings);
            }
            Err(TooShort) => unreadable("schema", origin, findings),
        }
    }

    /// Whether a channel is described, its schema included.
    pub fn knows(&self, id: u16) -> bool {
        self.channels.get(&id).is_some_and(|channel| {
            let schema = channel.value.schema_id;
            schema == 0 || self.schemas.contains_key(&schema)
        })
    }

    /// Whether a channel is described, with or without its schema.
    pub fn has_channel(&self, id: u16) -> bool {
        self.channels.contains_key(&id)
    }

    /// The channels by id, and their ids.
    pub fn finish(self, counts: &Counts, findings: &mut Findings) -> (Vec<Channel>, Vec<u16>) {
        let schemas = self.schemas;
        let mut channels = Vec::with_capacity(self.channels.len());
        let mut ids = Vec::with_capacity(self.channels.len());
        for (id, described) in self.channels {
            let record = described.value;
            let schema = schemas.get(&record.schema_id).map(|described| Arc::clone(&described.value));
            if schema.is_none() && record.schema_id != 0 {
                let text =
                    format!("its schema (id {}) is not in the file, so it plays without", record.schema_id);
                findings.note_of(ProblemKind::Schema, Place::Topic(record.topic.clone()), text);
            }
            ids.push(id);
            channels.push(Channel {
                topic: record.topic,
                message_encoding: record.message_encoding,
                schema,
                metadata: record.metadata,
                message_count: counts.get(id),
            });
        }
        (channels, ids)
    }
}

impl<T> Described<T> {
    fn confirm(&mut self, origin: Origin) {
        if self.origin == Origin::Summary {
            self.origin = origin;
        }
    }
}

fn id_of(content: &[u8]) -> Option<u16> {
    content.first_chunk().copied().map(u16::from_le_bytes)
}

fn place(origin: Origin) -> Place {
    match origin {
        Origin::Summary => Place::File,
        Origin::Data(offset) => Place::Offset(offset),
    }
}

fn unreadable(what: &str, origin: Origin, findings: &mut Findings) {
    findings.note(place(origin), format!("a {what} record here ends before its fields do, so it is ignored"));
}

fn take<T: PartialEq>(
    known: &mut BTreeMap<u16, Described<T>>,
    kept: &mut usize,
    id: u16,
    new: Described<T>,
    what: &str,
    lossy: bool,
    findings: &mut Findings,
) {
    let size = new.raw.len().saturating_mul(2);
    let replaces = match known.get_mut(&id) {
        // Padding may differ where what it says does not.
        Some(old) if old.value == new.value => return old.confirm(new.origin),
        Some(old) => {
            let replaces = old.origin == Origin::Summary && new.origin != Origin::Summary;
            if !old.told {
                old.told = true;
                let which =
                    if replaces { "what the data says counts" } else { "the first description counts" };
                findings.note(place(new.origin), format!("{what} is described in different ways; {which}"));
            }
            if !replaces {
                return;
            }
            true
        }
        None => false,
    };
    if kept.saturating_add(size) > KEPT_BYTES {
        let text = format!("{what} is ignored: channels and schemas take more than {KEPT_BYTES} bytes");
        return findings.note(place(new.origin), text);
    }
    *kept += size;
    if lossy {
        let text = format!("{what} has text that is not UTF-8; what is not is replaced");
        findings.note(place(new.origin), text);
    }
    let new = Described { told: replaces, ..new };
    known.insert(id, new);
}
