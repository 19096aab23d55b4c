//! Writes MCAP with the `mcap` crate, the same bytes every time.

use std::collections::BTreeMap;
use std::io::Cursor;

use mcap::records::{MessageHeader, Metadata};
use mcap::{Attachment, McapResult, WriteOptions, Writer};

use super::robot::{START_SECONDS, State};

/// What the files name as their maker.
const LIBRARY: &str = "fgplay testdata";

pub struct Recorder {
    writer: Writer<Cursor<Vec<u8>>>,
    sequences: BTreeMap<u16, u32>,
}

/// A channel of a recording under way.
#[derive(Clone, Copy)]
pub struct Topic(u16);

/// A schema as MCAP has it.
#[derive(Clone, Copy)]
pub struct Schema<'a> {
    pub name: &'a str,
    pub encoding: &'a str,
    pub data: &'a [u8],
}

impl Recorder {
    /// Begins a recording; compression, chunk size and profile are the caller's.
    pub fn new(options: WriteOptions) -> McapResult<Self> {
        // More than one thread may cut the compressed blocks elsewhere.
        let options = options.library(LIBRARY).compression_threads(0);
        let writer = options.create(Cursor::new(Vec::new()))?;
        Ok(Recorder { writer, sequences: BTreeMap::new() })
    }

    pub fn topic(
        &mut self,
        topic: &str,
        message_encoding: &str,
        schema: Schema<'_>,
        metadata: &BTreeMap<String, String>,
    ) -> McapResult<Topic> {
        let schema = self.writer.add_schema(schema.name, schema.encoding, schema.data)?;
        self.writer.add_channel(schema, topic, message_encoding, metadata).map(Topic)
    }

    /// Records a message at the time of a tick.
    pub fn write(&mut self, topic: Topic, state: &State, data: &[u8]) -> McapResult<()> {
        let sequence = self.sequences.entry(topic.0).or_default();
        let header = MessageHeader {
            channel_id: topic.0,
            sequence: *sequence,
            log_time: state.nanos(),
            publish_time: state.nanos(),
        };
        *sequence += 1;
        self.writer.write_to_known_channel(&header, data)
    }

    pub fn metadata(&mut self, name: &str, entries: &[(&str, &str)]) -> McapResult<()> {
        let entries = entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        self.writer.write_metadata(&Metadata { name: name.to_owned(), metadata: entries.collect() })
    }

    /// Attaches a file, as made when the recording began.
    pub fn attach(&mut self, name: &str, media_type: &str, data: &[u8]) -> McapResult<()> {
        let start = u64::from(START_SECONDS) * 1_000_000_000;
        self.writer.attach(&Attachment {
            log_time: start,
            create_time: start,
            name: name.to_owned(),
            media_type: media_type.to_owned(),
            data: data.into(),
        })
    }

    /// Ends the recording: its bytes.
    pub fn finish(mut self) -> McapResult<Vec<u8>> {
        self.writer.finish()?;
        Ok(self.writer.into_inner().into_inner())
    }
}
