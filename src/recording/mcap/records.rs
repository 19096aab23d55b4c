//! What the records of an MCAP file say, decoded (MCAP specification, "Records").
//!
//! Whatever follows the known fields of a record is padding, or of a later version, and not looked at.

use ::mcap::records::{Channel, ChunkHeader, Footer, Header, MessageHeader, Statistics};

use super::fields::{Fields, TooShort};
use crate::recording::Metadata;

/// Bytes of a message record's content before its data.
pub const MESSAGE_HEADER: usize = 22;
/// Bytes of a footer record's content.
pub const FOOTER: u64 = 20;
/// The least that a chunk record's content can be: its fields without compression name and records.
pub const CHUNK_HEADER: u64 = 40;

/// A schema as it stands in the file.
#[derive(Clone, Debug)]
pub struct SchemaRecord<'a> {
    pub name: String,
    pub encoding: String,
    pub data: &'a [u8],
}

/// Where a chunk is, and what is in it, as the summary says.
#[derive(Clone, Debug)]
pub struct ChunkIndex<'a> {
    pub start_time: u64,
    pub end_time: u64,
    pub offset: u64,
    pub length: u64,
    /// Pairs of channel id (16 bit) and offset (64 bit), still encoded.
    pub message_index_offsets: &'a [u8],
    pub message_index_length: u64,
    pub compression: String,
    pub compressed_size: u64,
    pub uncompressed_size: u64,
}

/// An attachment without its data.
#[derive(Clone, Debug)]
pub struct AttachmentHead {
    pub log_time: u64,
    pub name: String,
    pub media_type: String,
    pub data_length: u64,
    /// Where its data starts, in bytes from the start of the record's content.
    pub data_at: u64,
}

pub fn header(content: &[u8]) -> Result<Header, TooShort> {
    let mut fields = Fields::new(content);
    Ok(Header { profile: fields.string()?, library: fields.string()? })
}

pub fn footer(content: &[u8]) -> Result<Footer, TooShort> {
    let mut fields = Fields::new(content);
    Ok(Footer {
        summary_start: fields.u64()?,
        summary_offset_start: fields.u64()?,
        summary_crc: fields.u32()?,
    })
}

/// The schema, and whether one of its strings was not UTF-8.
pub fn schema(content: &[u8]) -> Result<(SchemaRecord<'_>, bool), TooShort> {
    let mut fields = Fields::new(content);
    fields.u16()?; // Its id, by which it was looked up.
    let (name, encoding) = (fields.string()?, fields.string()?);
    Ok((SchemaRecord { name, encoding, data: fields.short_bytes()? }, fields.lossy()))
}

/// The channel, and whether one of its strings was not UTF-8.
pub fn channel(content: &[u8]) -> Result<(Channel, bool), TooShort> {
    let mut fields = Fields::new(content);
    let channel = Channel {
        id: fields.u16()?,
        schema_id: fields.u16()?,
        topic: fields.string()?,
        message_encoding: fields.string()?,
        metadata: fields.string_map()?,
    };
    Ok((channel, fields.lossy()))
}

/// The fields of a message before its data.
#[inline]
pub fn message(content: &[u8]) -> Result<MessageHeader, TooShort> {
    let mut fields = Fields::new(content);
    Ok(MessageHeader {
        channel_id: fields.u16()?,
        sequence: fields.u32()?,
        log_time: fields.u64()?,
        publish_time: fields.u64()?,
    })
}

/// The fields of a chunk before its records, and what follows them in the record.
pub fn chunk(content: &[u8]) -> Result<(ChunkHeader, &[u8]), TooShort> {
    let mut fields = Fields::new(content);
    let header = ChunkHeader {
        message_start_time: fields.u64()?,
        message_end_time: fields.u64()?,
        uncompressed_size: fields.u64()?,
        uncompressed_crc: fields.u32()?,
        compression: fields.string()?,
        compressed_size: fields.u64()?,
    };
    Ok((header, fields.rest()))
}

/// How many messages a message index lists.
pub fn message_index_count(content: &[u8]) -> Result<(u16, u64), TooShort> {
    let mut fields = Fields::new(content);
    let channel = fields.u16()?;
    Ok((channel, fields.short_bytes()?.len() as u64 / 16))
}

/// The channel id, and its messages' log times and places, 16 bytes each.
pub fn message_index(content: &[u8]) -> Result<(u16, &[u8]), TooShort> {
    let mut fields = Fields::new(content);
    Ok((fields.u16()?, fields.short_bytes()?))
}

pub fn chunk_index(content: &[u8]) -> Result<ChunkIndex<'_>, TooShort> {
    let mut fields = Fields::new(content);
    Ok(ChunkIndex {
        start_time: fields.u64()?,
        end_time: fields.u64()?,
        offset: fields.u64()?,
        length: fields.u64()?,
        message_index_offsets: fields.short_bytes()?,
        message_index_length: fields.u64()?,
        compression: fields.string()?,
        compressed_size: fields.u64()?,
        uncompressed_size: fields.u64()?,
    })
}

/// `content` may be just the front of the record: the data is not looked at.
pub fn attachment_head(content: &[u8]) -> Result<AttachmentHead, TooShort> {
    let mut fields = Fields::new(content);
    let log_time = fields.u64()?;
    fields.u64()?; // The time when it was made, which nobody asks for.
    let (name, media_type, data_length) = (fields.string()?, fields.string()?, fields.u64()?);
    let data_at = (content.len() - fields.rest().len()) as u64;
    Ok(AttachmentHead { log_time, name, media_type, data_length, data_at })
}

pub fn statistics(content: &[u8]) -> Result<Statistics, TooShort> {
    let mut fields = Fields::new(content);
    let mut statistics = Statistics {
        message_count: fields.u64()?,
        schema_count: fields.u16()?,
        channel_count: fields.u32()?,
        attachment_count: fields.u32()?,
        metadata_count: fields.u32()?,
        chunk_count: fields.u32()?,
        message_start_time: fields.u64()?,
        message_end_time: fields.u64()?,
        ..Statistics::default()
    };
    let mut counts = Fields::new(fields.short_bytes()?);
    while !counts.rest().is_empty() {
        statistics.channel_message_counts.insert(counts.u16()?, counts.u64()?);
    }
    Ok(statistics)
}

/// The note, and whether one of its strings was not UTF-8.
pub fn metadata(content: &[u8]) -> Result<(Metadata, bool), TooShort> {
    let mut fields = Fields::new(content);
    let metadata = Metadata { name: fields.string()?, entries: fields.string_map()? };
    Ok((metadata, fields.lossy()))
}
