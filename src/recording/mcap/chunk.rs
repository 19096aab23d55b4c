//! Loads a span: reads it, unpacks it, and checks that it is what it claims to be.

use std::fmt;
use std::io::{self, BufRead};
use std::ops::Deref;
use std::sync::Arc;

use ::mcap::records::op;
use bytes::Bytes;
use lz4_flex::frame::FrameDecoder;
use zstd::bulk::Decompressor;
use zstd::stream::raw::{Decoder, InBuffer, Operation, OutBuffer};

use super::fields::{FRAME, Records, TooShort, frame};
use super::index::{Span, SpanKind, compression_name};
use super::records;
use crate::recording::{Buffer, Buffers, NoMemory, ProblemKind, Source};

/// Why a span can't be played. As text: what is wrong, without what follows from it.
#[derive(Debug)]
pub enum Damage {
    /// The system does not give us its bytes.
    Io(io::Error),
    /// There is something else where the index says that the chunk is.
    NotAChunk,
    /// The chunk's own fields do not fit into it.
    Header,
    /// It is larger than we are willing to unpack.
    TooLarge { size: u64, limit: u64 },
    /// There is not enough memory for it.
    NoMemory { size: u64 },
    /// It is compressed in a way that we do not know.
    Compression(String),
    /// The decompressor refuses it.
    Unpack { compression: &'static str, error: String },
    /// It does not have the size that it claims. `got` stops just above `claimed`.
    Size { claimed: u64, got: u64 },
    /// It has other content than when it was written.
    Crc { claimed: u32, got: u32 },
    /// It holds something that is no record. `at` counts in its unpacked bytes.
    Records { at: usize },
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Damage::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                f.write_str("the file has become shorter and the chunk is not there any more")
            }
            Damage::Io(error) => write!(f, "the chunk can't be read ({error})"),
            Damage::NotAChunk => {
                f.write_str("the file's index says that a chunk is here, but there is none (--rescan plays without the index)")
            }
            Damage::Header => f.write_str("the chunk's header does not fit into it"),
            Damage::TooLarge { size, limit } => {
                write!(f, "the chunk claims to be {size} bytes large, and the limit is {limit}")
            }
            Damage::NoMemory { size } => {
                write!(f, "there is not enough memory for the chunk, which claims to be {size} bytes large")
            }
            Damage::Compression(name) => {
                write!(f, "the chunk is compressed with '{name}', and only lz4, zstd and none are known")
            }
            Damage::Unpack { compression, error } => {
                write!(f, "the chunk is no valid {compression} data ({error})")
            }
            Damage::Size { claimed, got } if got > claimed => {
                write!(f, "the chunk unpacks to more than the {claimed} bytes that it claims")
            }
            Damage::Size { claimed, got } => {
                write!(f, "the chunk unpacks to {got} bytes where it claims {claimed}")
            }
            Damage::Crc { claimed, got } => {
                write!(f, "the chunk's CRC is wrong ({got:08x}, recorded as {claimed:08x})")
            }
            Damage::Records { at } => {
                write!(f, "the chunk holds something that is no record at byte {at} of its content")
            }
        }
    }
}

impl Damage {
    /// What sort of problem it is.
    pub fn kind(&self) -> ProblemKind {
        if matches!(self, Damage::Crc { .. }) { ProblemKind::Crc } else { ProblemKind::Damage }
    }
}

impl From<TooShort> for Damage {
    fn from(TooShort: TooShort) -> Self {
        Damage::Header
    }
}

/// How much of a chunk is there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Extent {
    /// All of it: its size and its CRC have to be right.
    Whole,
    /// Only its front: what can be unpacked is taken, and its last record may be cut.
    Front,
}

impl SpanKind {
    /// How much of the span's records is there.
    pub fn extent(self) -> Extent {
        if self == SpanKind::CutChunk { Extent::Front } else { Extent::Whole }
    }
}

/// The largest size of unpacked chunks that we handle, whatever the options say: places in them are 32 bit.
const PLACES: u64 = u32::MAX as u64;

/// Memory that is taken for a chunk on its word alone, before there is output to show for it.
const TRUSTED_SIZE: u64 = 16 * 1024 * 1024;

/// Opens chunks. Keeps its working memory from one to the next.
pub struct Unpacker {
    limit: u64,
    /// Unpacks all of a chunk at once.
    zstd: Option<Decompressor<'static>>,
    /// Unpacks a chunk step by step.
    zstd_steps: Option<Decoder<'static>>,
    buffers: Buffers,
}

/// The records of a chunk.
#[derive(Debug)]
pub enum Unpacked<'a> {
    /// A part of the chunk itself, which is not compressed.
    Plain(&'a [u8]),
    /// What the chunk was unpacked to.
    Own(Buffer),
}

impl Deref for Unpacked<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Unpacked::Plain(bytes) => bytes,
            Unpacked::Own(buffer) => buffer,
        }
    }
}

impl Unpacker {
    /// Refuses what is larger than `limit` bytes, packed or unpacked. Unpacks into `buffers`.
    pub fn new(limit: u64, buffers: Buffers) -> Self {
        Unpacker { limit: limit.min(PLACES), zstd: None, zstd_steps: None, buffers }
    }

    /// The most bytes of one chunk or message.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// The records of a chunk: a slice of it where it is not compressed. `content` is the chunk record's
    /// content, or what is there of it.
    pub fn unpack<'a>(&mut self, content: &'a [u8], extent: Extent) -> Result<Unpacked<'a>, Damage> {
        let (header, rest) = records::chunk(content)?;
        let packed = match usize::try_from(header.compressed_size).ok().and_then(|size| rest.get(..size)) {
            Some(packed) => packed,
            None if extent == Extent::Front => rest,
            None => return Err(Damage::Header),
        };
        let size = header.uncompressed_size;
        if size.max(packed.len() as u64) > self.limit {
            return Err(Damage::TooLarge { size: size.max(packed.len() as u64), limit: self.limit });
        }
        let unpacked = match header.compression.as_str() {
            "" | "none" => Unpacked::Plain(packed),
            "zstd" => Unpacked::Own(self.unpack_zstd(packed, size as usize, extent)?),
            "lz4" => Unpacked::Own(self.unpack_lz4(packed, size as usize, extent)?),
            other => return Err(Damage::Compression(compression_name(other))),
        };
        if extent == Extent::Whole {
            check(&unpacked, size, header.uncompressed_crc)?;
        }
        Ok(unpacked)
    }

    /// Unpacks up to one byte more than `size`, so that too much is seen.
    fn unpack_zstd(&mut self, packed: &[u8], size: usize, extent: Extent) -> Result<Buffer, Damage> {
        if first_room(packed.len(), size) > size
            && extent == Extent::Whole
            && let Some(unpacked) = self.unpack_zstd_at_once(packed, size)
        {
            return Ok(unpacked);
        }
        self.unpack_zstd_in_steps(packed, size, extent)
    }

    /// Unpacks straight to where the records are to be, while the decoder that goes in steps copies everything there:
    /// most writers do not tell zstd beforehand how large a chunk will be. What is wrong with a chunk that can't be
    /// unpacked so is found by going in steps.
    fn unpack_zstd_at_once(&mut self, packed: &[u8], size: usize) -> Option<Buffer> {
        let decompressor = match &mut self.zstd {
            Some(decompressor) => decompressor,
            none => none.insert(Decompressor::new().ok()?),
        };
        let mut unpacked = self.buffers.take(size + 1).ok()?;
        let filled = decompressor.decompress_to_buffer(packed, &mut unpacked.memory()[..=size]).ok()?;
        unpacked.set_filled(filled);
        Some(unpacked)
    }

    fn unpack_zstd_in_steps(&mut self, packed: &[u8], size: usize, extent: Extent) -> Result<Buffer, Damage> {
        let wrong = |error: io::Error| Damage::Unpack { compression: "zstd", error: error.to_string() };
        let no_memory = |_: NoMemory| no_memory(size);
        let decoder = match &mut self.zstd_steps {
            Some(decoder) => decoder,
            none => none.insert(Decoder::new().map_err(wrong)?),
        };
        decoder.reinit().map_err(wrong)?;
        let mut room = first_room(packed.len(), size);
        let mut unpacked = self.buffers.take(room).map_err(no_memory)?;
        let mut input = InBuffer::around(packed);
        loop {
            if unpacked.len() == room {
                if room > size {
                    return Ok(unpacked);
                }
                room = (room * 2).max(1024).min(size + 1);
                unpacked.grow(room).map_err(no_memory)?;
            }
            let before = (input.pos(), unpacked.len());
            let mut output = OutBuffer::around_pos(&mut unpacked.memory()[..room], before.1);
            let result = decoder.run(&mut input, &mut output);
            let filled = output.pos();
            unpacked.set_filled(filled);
            if let Err(error) = result {
                // What came out before the error stays: only a cut chunk is taken so.
                return if extent == Extent::Front { Ok(unpacked) } else { Err(wrong(error)) };
            }
            let at_end = input.pos() == packed.len() && filled < room;
            if at_end || (input.pos(), filled) == before {
                return Ok(unpacked);
            }
        }
    }

    /// Unpacks LZ4 frames, up to a block more than `size`, so that too much is seen.
    fn unpack_lz4(&mut self, packed: &[u8], size: usize, extent: Extent) -> Result<Buffer, Damage> {
        let no_memory = |_: NoMemory| no_memory(size);
        let mut unpacked = self.buffers.take(first_room(packed.len(), size)).map_err(no_memory)?;
        let mut left = packed;
        while !left.is_empty() && unpacked.len() < size.max(1) {
            let before = left.len();
            let mut decoder = FrameDecoder::new(left);
            loop {
                match decoder.fill_buf() {
                    Ok([]) => break,
                    Ok(block) => {
                        let length = block.len();
                        unpacked.append(block).map_err(no_memory)?;
                        decoder.consume(length);
                    }
                    Err(_) if extent == Extent::Front => return Ok(unpacked),
                    Err(error) => {
                        return Err(Damage::Unpack { compression: "lz4", error: error.to_string() });
                    }
                }
                if unpacked.len() > size {
                    return Ok(unpacked);
                }
            }
            left = decoder.into_inner();
            if left.len() == before {
                break;
            }
        }
        Ok(unpacked)
    }
}

fn first_room(packed: usize, size: usize) -> usize {
    (size + 1).min((TRUSTED_SIZE as usize).max(packed.saturating_mul(8)))
}

fn check(unpacked: &[u8], claimed: u64, crc: u32) -> Result<(), Damage> {
    if unpacked.len() as u64 != claimed {
        return Err(Damage::Size { claimed, got: unpacked.len() as u64 });
    }
    if crc != 0 {
        let got = crc32fast::hash(unpacked);
        if got != crc {
            return Err(Damage::Crc { claimed: crc, got });
        }
    }
    Ok(())
}

/// Loads spans. The one place between a cursor and the file: whatever keeps loaded spans, or loads them
/// ahead of time on other threads, goes around this.
pub struct SpanLoader {
    source: Arc<dyn Source>,
    unpacker: Unpacker,
}

impl SpanLoader {
    /// Loads from `source` into `buffers`; refuses chunks that are larger than `limit` bytes.
    pub fn new(source: Arc<dyn Source>, limit: u64, buffers: Buffers) -> Self {
        SpanLoader { source, unpacker: Unpacker::new(limit, buffers) }
    }

    /// The records of a span, one after the other, checked against the chunk's size and CRC.
    pub fn load(&mut self, span: &Span) -> Result<Bytes, Damage> {
        let record = match span.kind {
            SpanKind::Loose => return self.read(span.offset, span.length),
            SpanKind::CutChunk => self.read(span.offset, span.length)?,
            SpanKind::Chunk => self.read_chunk(span)?,
        };
        let content = record.get(FRAME as usize..).ok_or(Damage::Header)?;
        Ok(match self.unpacker.unpack(content, span.kind.extent())? {
            // With more behind the records than there are records, these would keep all of that in memory.
            Unpacked::Plain(part) if part.len() < record.len() / 2 => {
                self.unpacker.buffers.copy(part).map_err(|_| no_memory(part.len()))?.share()
            }
            Unpacked::Plain(part) => record.slice_ref(part),
            Unpacked::Own(unpacked) => unpacked.share(),
        })
    }

    /// A chunk's record. Its own length counts where the index tells another.
    fn read_chunk(&self, span: &Span) -> Result<Bytes, Damage> {
        let read = self.read(span.offset, span.length);
        let mut head = [0; FRAME as usize];
        match &read {
            Ok(record) if record.len() >= head.len() => head.copy_from_slice(&record[..FRAME as usize]),
            Err(Damage::Io(_)) => return read,
            // What the index tells is less than a head, or may be more than there is.
            _ => self.source.read_exact_at(&mut head, span.offset).map_err(Damage::Io)?,
        }
        let (op, length) = frame(&head);
        let length = length.checked_add(FRAME).filter(|_| op == op::CHUNK).ok_or(Damage::NotAChunk)?;
        if length == span.length {
            return read;
        }
        drop(read);
        self.read(span.offset, length)
    }

    fn read(&self, offset: u64, length: u64) -> Result<Bytes, Damage> {
        let length = self.bounded(offset, length)?;
        let read = self.source.read_into(&self.unpacker.buffers, offset, length);
        read.map_err(|error| match error.kind() {
            io::ErrorKind::OutOfMemory => no_memory(length),
            _ => Damage::Io(error),
        })
    }

    /// Checks a length against the file and the limit before memory is taken for it.
    fn bounded(&self, offset: u64, length: u64) -> Result<usize, Damage> {
        if offset.checked_add(length).is_none_or(|end| end > self.source.len()) {
            return Err(Damage::NotAChunk);
        }
        // A chunk record is its records and a header of less than a page.
        let limit = self.unpacker.limit().saturating_add(4096);
        match usize::try_from(length) {
            Ok(bounded) if length <= limit => Ok(bounded),
            _ => Err(Damage::TooLarge { size: length, limit: self.unpacker.limit() }),
        }
    }
}

fn no_memory(size: usize) -> Damage {
    Damage::NoMemory { size: size as u64 }
}

/// How many messages the message index records in a piece of the file list: those behind a chunk.
/// `None` where the piece can't be read or is something else.
pub fn count_indexed(source: &dyn Source, offset: u64, length: u64) -> Option<Vec<(u16, u64)>> {
    // 16 bytes a message: room for the index of more messages than a chunk of 1 GiB holds.
    if length == 0 || length > (1 << 30) {
        return None;
    }
    let bytes = source.read_at(offset, usize::try_from(length).ok()?).ok()?;
    let mut records = Records::new(&bytes);
    let counts = records
        .by_ref()
        .map(|record| match record.op {
            op::MESSAGE_INDEX => records::message_index_count(record.content).ok(),
            _ => None,
        })
        .collect::<Option<Vec<_>>>()?;
    records.is_whole().then_some(counts)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::recording::mcap::index::ChannelSet;
    use crate::recording::mcap::testing::{Packing, chunk_content, compress};

    fn unpack(content: &[u8], extent: Extent) -> Result<Vec<u8>, Damage> {
        let mut unpacker = Unpacker::new(1 << 30, Buffers::default());
        unpacker.unpack(content, extent).map(|unpacked| unpacked.to_vec())
    }

    /// A megabyte of something that is neither constant nor noise.
    fn sample() -> Vec<u8> {
        (0..250_000u32).flat_map(|i| (i / 3 * 7919).to_le_bytes()).collect()
    }

    #[test]
    fn what_was_packed_comes_out_again() {
        for packing in Packing::ALL {
            for records in [Vec::new(), vec![7; 10], sample()] {
                let content = chunk_content(packing, &records);
                assert_eq!(unpack(&content, Extent::Whole).unwrap(), records, "{packing:?}");
            }
        }
    }

    /// Has memory for so many bytes at once. Counts what is read.
    struct Scarce {
        bytes: Bytes,
        memory: usize,
        reads: AtomicUsize,
    }

    impl Source for Scarce {
        fn len(&self) -> u64 {
            Source::len(&self.bytes)
        }

        fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
            self.reads.fetch_add(1, Ordering::Relaxed);
            if buffer.len() > self.memory {
                return Err(io::ErrorKind::OutOfMemory.into());
            }
            self.bytes.read_exact_at(buffer, offset)
        }
    }

    fn chunk_record(content: &[u8]) -> Vec<u8> {
        [&[op::CHUNK][..], &(content.len() as u64).to_le_bytes(), content].concat()
    }

    /// Loads a chunk record with this content, where there is memory for so many bytes at once.
    fn load(content: &[u8], buffers: &Buffers, memory: usize) -> Result<Bytes, Damage> {
        let record = chunk_record(content);
        let length = record.len() as u64;
        load_span(record, length, buffers, memory).0
    }

    /// Loads a chunk at the start of these bytes of which the index tells this length. Gives how often was read as well.
    fn load_span(
        bytes: Vec<u8>,
        length: u64,
        buffers: &Buffers,
        memory: usize,
    ) -> (Result<Bytes, Damage>, usize) {
        let span = Span {
            offset: 0,
            length,
            start: 0,
            end: 0,
            size: 0,
            index_length: 0,
            messages: None,
            channels: ChannelSet::Any,
            kind: SpanKind::Chunk,
        };
        let source = Arc::new(Scarce { bytes: bytes.into(), memory, reads: AtomicUsize::new(0) });
        let mut loader = SpanLoader::new(source.clone(), 1 << 20, buffers.clone());
        (loader.load(&span), source.reads.load(Ordering::Relaxed))
    }

    #[test]
    fn a_chunk_is_read_at_once_and_its_own_length_counts() {
        let mut bytes = chunk_record(&chunk_content(Packing::Zstd, &sample()));
        let own = bytes.len() as u64;
        bytes.resize(3 << 20, 9);
        let load = |bytes: &[u8], length| load_span(bytes.to_vec(), length, &Buffers::default(), usize::MAX);
        let (loaded, reads) = load(&bytes, own);
        assert!(loaded.unwrap() == sample() && reads == 1, "{reads}");
        for length in [0, 8, 9, own - 1, own + 1, 2 << 20, 4 << 20, u64::MAX] {
            let (loaded, reads) = load(&bytes, length);
            assert!(loaded.unwrap() == sample() && (2..=3).contains(&reads), "{length} {reads}");
        }
        for length in [0, own] {
            let cut = load(&bytes[..own as usize - 1], length).0;
            assert!(matches!(cut, Err(Damage::NotAChunk)), "{cut:?}");
            let other = load(&[&[op::MESSAGE], &bytes[1..]].concat(), length).0;
            assert!(matches!(other, Err(Damage::NotAChunk)), "{other:?}");
        }
    }

    #[test]
    fn what_lies_behind_the_records_of_a_plain_chunk_is_not_kept() {
        let mut content = chunk_content(Packing::None, b"records");
        content.resize(300_000, 9);
        let buffers = Buffers::default();
        let loaded = load(&content, &buffers, usize::MAX).unwrap();
        assert_eq!(&loaded[..], b"records");
        // The memory that the record was read to can be used again.
        assert_eq!(buffers.take(300_000).unwrap().memory()[200_000], 9);
    }

    #[test]
    fn where_memory_is_short_that_is_what_is_told() {
        let content = chunk_content(Packing::Zstd, &sample());
        let loaded = load(&content, &Buffers::default(), 100);
        assert!(matches!(loaded, Err(Damage::NoMemory { .. })), "{loaded:?}");
    }

    #[test]
    fn several_frames_in_one_chunk_are_read_as_one() {
        let (a, b) = (sample(), vec![3; 5000]);
        for packing in [Packing::Lz4, Packing::Zstd] {
            let mut content = chunk_content(packing, &[a.clone(), b.clone()].concat());
            let packed = [compress(packing, &a), compress(packing, &b)].concat();
            let at = 32 + packing.name().len();
            content.truncate(at);
            content.extend((packed.len() as u64).to_le_bytes());
            content.extend(packed);
            assert_eq!(unpack(&content, Extent::Whole).unwrap(), [a.clone(), b.clone()].concat());
        }
    }

    #[test]
    fn a_size_that_is_not_as_claimed_is_damage() {
        for packing in Packing::ALL {
            for claimed in [0u64, 1, 999_999, 1_000_001, 500_000_000] {
                let mut content = chunk_content(packing, &sample());
                content[16..24].copy_from_slice(&claimed.to_le_bytes());
                let damage = unpack(&content, Extent::Whole).unwrap_err();
                assert!(matches!(damage, Damage::Size { .. }), "{packing:?} {claimed}: {damage}");
            }
        }
    }

    #[test]
    fn a_bomb_costs_no_more_than_the_claimed_size() {
        let zeros = vec![0; 64 << 20];
        for packing in [Packing::Lz4, Packing::Zstd] {
            let mut content = chunk_content(packing, &zeros);
            content[16..24].copy_from_slice(&1000u64.to_le_bytes());
            let (header, packed) = records::chunk(&content).unwrap();
            let size = header.uncompressed_size as usize;
            let mut unpacker = Unpacker::new(1 << 30, Buffers::default());
            let unpacked = match packing {
                Packing::Zstd => unpacker.unpack_zstd(packed, size, Extent::Whole),
                _ => unpacker.unpack_lz4(packed, size, Extent::Whole),
            };
            assert!(unpacked.unwrap().room() < 10 << 20, "{packing:?}");
        }
    }

    #[test]
    fn a_claimed_size_above_the_limit_is_refused_before_it_is_taken() {
        for claimed in [(1 << 30) + 1, u64::MAX] {
            let mut content = chunk_content(Packing::Zstd, b"x");
            content[16..24].copy_from_slice(&u64::to_le_bytes(claimed));
            assert!(matches!(unpack(&content, Extent::Whole), Err(Damage::TooLarge { .. })));
        }
    }

    #[test]
    fn every_flipped_byte_of_a_packed_chunk_is_noticed_or_harmless() {
        let records: Vec<u8> = sample()[..3000].to_vec();
        for packing in Packing::ALL {
            let content = chunk_content(packing, &records);
            for at in 16..content.len() {
                let mut broken = content.clone();
                broken[at] ^= 0x11;
                if let Ok(unpacked) = unpack(&broken, Extent::Whole) {
                    assert_eq!(unpacked, records, "{packing:?} byte {at}");
                }
                let _ = unpack(&broken, Extent::Front);
            }
        }
    }

    #[test]
    fn the_front_of_a_cut_chunk_is_the_front_of_its_records() {
        let records = sample();
        for packing in Packing::ALL {
            let content = chunk_content(packing, &records);
            for cut in [40 + packing.name().len(), content.len() / 2, content.len() - 1] {
                let front = unpack(&content[..cut], Extent::Front).unwrap();
                assert!(records.starts_with(&front), "{packing:?} {cut}");
                assert!(cut < content.len() / 2 || front.len() > records.len() / 4, "{packing:?} {cut}");
            }
        }
    }
}
