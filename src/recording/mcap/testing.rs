//! Writes MCAP files in memory, right ones and wrong ones, and plays them. For tests only.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use ::mcap::MAGIC;
use ::mcap::records::op;
use bytes::Bytes;

use super::super::{
    ChannelId, ChannelMap, OpenContext, OpenError, OpenOptions, Problem, Problems, Source, Summary,
};
use super::open;
use crate::time::Timestamp;

/// How a chunk is compressed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Packing {
    None,
    Lz4,
    Zstd,
}

impl Packing {
    pub const ALL: [Packing; 3] = [Packing::None, Packing::Lz4, Packing::Zstd];

    pub fn name(self) -> &'static str {
        match self {
            Packing::None => "",
            Packing::Lz4 => "lz4",
            Packing::Zstd => "zstd",
        }
    }
}

pub fn compress(packing: Packing, data: &[u8]) -> Vec<u8> {
    match packing {
        Packing::None => data.to_vec(),
        Packing::Lz4 => {
            let info = lz4_flex::frame::FrameInfo::new().block_size(lz4_flex::frame::BlockSize::Max64KB);
            let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(info, Vec::new());
            encoder.write_all(data).unwrap();
            encoder.finish().unwrap()
        }
        Packing::Zstd => zstd::encode_all(data, 1).unwrap(),
    }
}

pub fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat()
}

pub fn record(op: u8, content: &[u8]) -> Vec<u8> {
    [&[op][..], &(content.len() as u64).to_le_bytes(), content].concat()
}

pub fn schema(id: u16, name: &str) -> Vec<u8> {
    let content = [&id.to_le_bytes()[..], &text(name), &text("ros2msg"), &text("int32 data")].concat();
    record(op::SCHEMA, &content)
}

pub fn channel(id: u16, schema: u16, topic: &str) -> Vec<u8> {
    let ids = [id.to_le_bytes(), schema.to_le_bytes()].concat();
    record(op::CHANNEL, &[&ids[..], &text(topic), &text("cdr"), &[0; 4]].concat())
}

pub fn message(channel: u16, sequence: u32, time: u64, data: &[u8]) -> Vec<u8> {
    let head = [&channel.to_le_bytes()[..], &sequence.to_le_bytes(), &time.to_le_bytes()].concat();
    record(op::MESSAGE, &[&head[..], &time.to_le_bytes(), data].concat())
}

pub fn attachment(name: &str, data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let content = [&[1; 16][..], &text(name), &text("text/plain"), &length, data, &[0; 4]].concat();
    record(op::ATTACHMENT, &content)
}

pub fn metadata(name: &str, value: &str) -> Vec<u8> {
    let pair = [text("key"), text(value)].concat();
    let length = (pair.len() as u32).to_le_bytes();
    record(op::METADATA, &[&text(name)[..], &length, &pair].concat())
}

/// The content of a chunk record whose times are 0.
pub fn chunk_content(packing: Packing, records: &[u8]) -> Vec<u8> {
    let packed = compress(packing, records);
    let mut content = vec![0; 16];
    content.extend((records.len() as u64).to_le_bytes());
    content.extend(crc32fast::hash(records).to_le_bytes());
    content.extend(text(packing.name()));
    content.extend((packed.len() as u64).to_le_bytes());
    content.extend(packed);
    content
}

/// An entry of the chunk index.
#[derive(Clone, Debug, Default)]
pub struct IndexEntry {
    pub start: u64,
    pub end: u64,
    pub offset: u64,
    pub length: u64,
    pub channels: BTreeMap<u16, u64>,
    pub index_length: u64,
    pub compression: String,
    pub compressed: u64,
    pub uncompressed: u64,
}

impl IndexEntry {
    fn record(&self) -> Vec<u8> {
        let mut content = Vec::new();
        for number in [self.start, self.end, self.offset, self.length] {
            content.extend(number.to_le_bytes());
        }
        content.extend((self.channels.len() as u32 * 10).to_le_bytes());
        for (id, offset) in &self.channels {
            content.extend(id.to_le_bytes());
            content.extend(offset.to_le_bytes());
        }
        content.extend(self.index_length.to_le_bytes());
        content.extend(text(&self.compression));
        content.extend(self.compressed.to_le_bytes());
        content.extend(self.uncompressed.to_le_bytes());
        record(op::CHUNK_INDEX, &content)
    }
}

/// A file that is being written. What its summary will say can be changed before it is finished.
pub struct Writer {
    pub bytes: Vec<u8>,
    pub index: Vec<IndexEntry>,
    /// Schema and channel records for the summary.
    pub definitions: Vec<u8>,
    pub counts: BTreeMap<u16, u64>,
    pub times: Option<(u64, u64)>,
    pub statistics: bool,
    pub message_indexes: bool,
}

impl Writer {
    pub fn new() -> Self {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(record(op::HEADER, &[text("ros2"), text("tests")].concat()));
        Writer {
            bytes,
            index: Vec::new(),
            definitions: Vec::new(),
            counts: BTreeMap::new(),
            times: None,
            statistics: true,
            message_indexes: true,
        }
    }

    /// A file with the schema 1 and the channels 1 (`/a`), 2 (`/b`), ... in data section and summary.
    pub fn with_channels(count: u16) -> Self {
        let mut writer = Writer::new();
        writer.definitions = definitions(count);
        writer.bytes.extend(definitions(count));
        writer
    }

    /// Where the next record goes.
    pub fn at(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Any record outside chunks. Messages are counted.
    pub fn record(&mut self, record: Vec<u8>) -> &mut Self {
        self.count(&record);
        self.bytes.extend(record);
        self
    }

    fn count(&mut self, records: &[u8]) -> (BTreeMap<u16, Vec<u64>>, (u64, u64)) {
        let mut by_channel: BTreeMap<u16, Vec<u64>> = BTreeMap::new();
        let mut times: Option<(u64, u64)> = None;
        for record in super::fields::Records::new(records).filter(|record| record.op == op::MESSAGE) {
            let message = super::records::message(record.content).unwrap();
            let time = message.log_time;
            by_channel.entry(message.channel_id).or_default().push(time);
            *self.counts.entry(message.channel_id).or_default() += 1;
            let widen = |times: Option<(u64, u64)>| {
                let (start, end) = times.unwrap_or((time, time));
                Some((start.min(time), end.max(time)))
            };
            times = widen(times);
            self.times = widen(self.times);
        }
        (by_channel, times.unwrap_or_default())
    }

    pub fn chunk(&mut self, packing: Packing, records: &[Vec<u8>]) -> &mut Self {
        let records = records.concat();
        let (by_channel, (start, end)) = self.count(&records);
        let mut content = chunk_content(packing, &records);
        content[..8].copy_from_slice(&start.to_le_bytes());
        content[8..16].copy_from_slice(&end.to_le_bytes());
        let offset = self.at();
        self.bytes.extend(record(op::CHUNK, &content));
        let (length, index_at) = (self.at() - offset, self.at());
        let mut channels = BTreeMap::new();
        if self.message_indexes {
            for (id, times) in by_channel {
                channels.insert(id, self.at());
                let mut content = id.to_le_bytes().to_vec();
                content.extend((times.len() as u32 * 16).to_le_bytes());
                times.iter().for_each(|time| content.extend([time.to_le_bytes(), [0; 8]].concat()));
                self.bytes.extend(record(op::MESSAGE_INDEX, &content));
            }
        }
        self.index.push(IndexEntry {
            start,
            end,
            offset,
            length,
            channels,
            index_length: self.at() - index_at,
            compression: packing.name().into(),
            compressed: content.len() as u64 - 40 - packing.name().len() as u64,
            uncompressed: records.len() as u64,
        });
        self
    }

    fn statistics_record(&self) -> Vec<u8> {
        let (start, end) = self.times.unwrap_or_default();
        let count = self.counts.values().fold(0u64, |sum, count| sum.saturating_add(*count));
        let mut content = count.to_le_bytes().to_vec();
        content.extend(1u16.to_le_bytes());
        content.extend([[1, 0, 0, 0], [0; 4], [0; 4]].concat());
        content.extend((self.index.len() as u32).to_le_bytes());
        content.extend([start.to_le_bytes(), end.to_le_bytes()].concat());
        content.extend((self.counts.len() as u32 * 10).to_le_bytes());
        for (id, count) in &self.counts {
            content.extend(id.to_le_bytes());
            content.extend(count.to_le_bytes());
        }
        record(op::STATISTICS, &content)
    }

    /// Ends the file with data end, summary and footer.
    pub fn finish(&mut self) -> Vec<u8> {
        let mut summary = self.definitions.clone();
        self.index.iter().for_each(|entry| summary.extend(entry.record()));
        if self.statistics {
            summary.extend(self.statistics_record());
        }
        self.finish_with(&summary)
    }

    /// Ends the file with data end, the summary as it is given, and footer.
    pub fn finish_with(&mut self, summary: &[u8]) -> Vec<u8> {
        self.bytes.extend(record(op::DATA_END, &[0; 4]));
        let start = if summary.is_empty() { 0 } else { self.at() };
        let front = [&[op::FOOTER, 20, 0, 0, 0, 0, 0, 0, 0][..], &start.to_le_bytes(), &[0; 8]].concat();
        let crc = crc32fast::hash(&[summary, &front].concat());
        [&self.bytes[..], summary, &front, &crc.to_le_bytes(), MAGIC].concat()
    }
}

/// The records of the schema 1 and the channels 1 (`/a`), 2 (`/b`), ...
pub fn definitions(channels: u16) -> Vec<u8> {
    let topic = |id: u16| format!("/{}", char::from_u32(96 + u32::from(id)).unwrap());
    let channels = (1..=channels).flat_map(|id| channel(id, 1, &topic(id)));
    schema(1, "T").into_iter().chain(channels).collect()
}

/// A message as tests compare it: place of the channel, sequence, log time, data.
pub type Got = (u32, u32, u64, Bytes);

/// What became of a file.
#[derive(Debug)]
pub struct Played {
    pub summary: Summary,
    pub messages: Vec<Got>,
    pub problems: Vec<Problem>,
}

impl Played {
    /// The sequence numbers of the messages.
    pub fn sequences(&self) -> Vec<u32> {
        self.messages.iter().map(|message| message.1).collect()
    }

    /// The problems as text, those by which data is lost with an exclamation mark in front.
    pub fn told(&self) -> Vec<String> {
        let mark = |problem: &Problem| if problem.data_lost { "! " } else { "" };
        self.problems.iter().map(|problem| format!("{}{problem}", mark(problem))).collect()
    }

    /// Whether nothing was told at all.
    pub fn is_quiet(&self) -> bool {
        self.problems.is_empty()
    }
}

pub fn scanning() -> OpenOptions {
    OpenOptions { ignore_index: true, ..OpenOptions::default() }
}

/// Opens a file, and reads all of it.
pub fn play(bytes: impl Into<Bytes>, options: &OpenOptions) -> Result<Played, OpenError> {
    play_source(Arc::new(bytes.into()), options, 0, |_| true)
}

/// Opens a file, and reads the channels that `wanted` names by their place, from a time on.
pub fn play_source(
    source: Arc<dyn Source>,
    options: &OpenOptions,
    from: u64,
    wanted: impl Fn(u32) -> bool,
) -> Result<Played, OpenError> {
    let problems = Arc::new(Problems::default());
    let context = OpenContext {
        cache: Arc::default(),
        path: Path::new("test.mcap"),
        options,
        problems: Arc::clone(&problems),
        progress: &|_| {},
    };
    let reader = open(source, &context)?;
    let count = reader.summary().channels.len() as u32;
    let map: ChannelMap = (0..count).map(|place| wanted(place).then_some(ChannelId(place))).collect();
    let mut cursor = reader.cursor(Timestamp::from_nanos(from), map);
    let messages = std::iter::from_fn(|| cursor.next())
        .map(|message| (message.channel.0, message.sequence, message.log_time.as_nanos(), message.data))
        .collect();
    Ok(Played { summary: reader.summary().clone(), messages, problems: problems.list() })
}

/// Plays a file by its index and by a scan, and checks that both give the same.
pub fn play_both(bytes: &[u8]) -> Played {
    let played = play(bytes.to_vec(), &OpenOptions::default()).unwrap();
    let scanned = play(bytes.to_vec(), &scanning()).unwrap();
    assert_eq!(played.messages, scanned.messages);
    assert_eq!(played.summary.channels, scanned.summary.channels);
    assert_eq!(played.summary.message_count, scanned.summary.message_count);
    assert_eq!(played.summary.time_range, scanned.summary.time_range);
    assert_eq!(played.summary.chunks, scanned.summary.chunks);
    assert_eq!(played.summary.attachments, scanned.summary.attachments);
    assert_eq!(played.summary.metadata, scanned.summary.metadata);
    played
}
