//! Goes through the data section once and makes our own index of it.
//!
//! The file's chunk index is taken as permission to skip: where it has a believable entry for the very place
//! we stand at, the chunk and its message indexes are jumped over unread. Everything else is read: chunks
//! are unpacked, messages outside chunks are gathered. Without an index this same walk is the full scan.

use std::sync::Arc;

use ::mcap::MAGIC;
use ::mcap::records::op;

use super::CRC;
use super::chunk::{Damage, Extent, Unpacker};
use super::fields::{FRAME, frame};
use super::findings::counted;
use super::found::{DataEnd, End, Found, skipped};
use super::index::{ChannelSet, Counts, Span, SpanKind};
use super::records;
use super::registry::Origin;
use super::scan::{LooseRun, scan_records};
use super::summary::{ChunkEntry, Summary};
use super::window::Window;
use crate::recording::{Attachment, OpenContext, Place, ProblemKind, ScanProgress, Source};
use crate::time::Timestamp;

/// Progress is told once in so many bytes.
pub const PROGRESS_STEP: u64 = 4 * 1024 * 1024;
/// The largest metadata, schema, channel or header record that is read.
const SMALL_RECORD: u64 = 16 * 1024 * 1024;
/// The largest head of an attachment (its name and type) that is read.
const ATTACHMENT_HEAD: u64 = 64 * 1024;
/// What attachments' names and metadata may take in all. The limit is for hostile files.
const EXTRAS: u64 = 64 * 1024 * 1024;

/// The index contradicts the data, so none of it is believed.
#[derive(Debug)]
pub struct Distrust {
    pub at: u64,
    pub what: &'static str,
}

/// Which entries of the file's own index the walk goes by.
#[derive(Clone, Copy)]
pub struct Guide<'a> {
    pub summary: &'a Summary,
    /// Whether chunks may be jumped over. If not, the entries only help to go on behind damage.
    pub trusted: bool,
    /// Whether the statistics tell all channels, so that a chunk that does not may be believed.
    pub all_channels_known: bool,
}

/// One walk through the data section.
pub struct Walk<'a> {
    context: &'a OpenContext<'a>,
    source: Arc<dyn Source>,
    window: Window,
    unpacker: Unpacker,
    /// Where the data section ends at the latest.
    end: u64,
    guide: Option<Guide<'a>>,
    /// The first entry of the guide that is not behind us.
    next_entry: usize,
    /// Whether we came here by a jump.
    landed: bool,
    run: LooseRun,
    /// A damaged chunk whose message indexes may still come: its offset, what is wrong, messages so far.
    damaged: Option<(u64, Damage, u64)>,
    extras: u64,
    told: u64,
    /// Working memory for the messages of one chunk.
    tally: Counts,
    found: Found,
}

enum Step {
    To(u64),
    Stop(End),
}

impl<'a> Walk<'a> {
    /// Prepares a walk from the first record to `end`.
    pub fn new(
        source: &Arc<dyn Source>,
        context: &'a OpenContext<'a>,
        end: u64,
        guide: Option<Guide<'a>>,
    ) -> Self {
        let mut found = Found::new(context.path);
        if let Some(guide) = guide.filter(|guide| guide.trusted) {
            found.add_definitions(guide.summary);
        }
        Walk {
            context,
            source: Arc::clone(source),
            window: Window::new(Arc::clone(source)),
            unpacker: Unpacker::new(context.options.max_chunk_bytes, context.cache.buffers().clone()),
            end,
            guide,
            next_entry: 0,
            landed: false,
            run: LooseRun::default(),
            damaged: None,
            extras: 0,
            told: 0,
            tally: Counts::default(),
            found,
        }
    }

    /// Goes all the way.
    ///
    /// # Errors
    /// Where a trusted guide contradicts the data. Another walk without trust is in order then.
    pub fn go(mut self) -> Result<Found, Distrust> {
        let mut at = MAGIC.len() as u64;
        loop {
            match self.step(at)? {
                Step::To(next) => at = next,
                Step::Stop(end) => {
                    self.found.end = end;
                    break;
                }
            }
        }
        self.end_run();
        self.tell_damaged();
        if let Some(guide) = self.guide {
            if guide.trusted && self.next_entry < guide.summary.chunks.len() && self.found.end != End::Broken
            {
                return Err(Distrust { at, what: "it lists chunks where there is no data any more" });
            }
            // Copies of what the data describes, or channels that never had a message.
            self.found.add_definitions(guide.summary);
        }
        self.found.index.finish();
        Ok(self.found)
    }

    fn step(&mut self, at: u64) -> Result<Step, Distrust> {
        if at >= self.end {
            let file = self.end == self.source.len();
            return Ok(Step::Stop(if file { End::File } else { End::Data }));
        }
        if let Some(next) = self.jump(at)? {
            return Ok(Step::To(next));
        }
        let landed = std::mem::take(&mut self.landed);
        let left = self.end - at;
        let (op, length) = match self.window.bytes(at, left.min(FRAME) as usize) {
            // Too short for a frame, so it is too short for whatever length it would tell.
            Ok(bytes) => bytes.first_chunk().map_or((bytes[0], u64::MAX), frame),
            Err(error) => {
                return Ok(self.lose_way(at, &format!("nothing can be read from here on ({error})")));
            }
        };
        if op == 0 || length > left.saturating_sub(FRAME) {
            if landed {
                return Err(Distrust { at, what: "there is no record where a chunk should end" });
            }
            return Ok(self.broken(at, op, length));
        }
        self.tell_progress(at);
        Ok(self.record(at, op, length))
    }

    /// Where to go on, if the index allows to skip what stands at `at`.
    fn jump(&mut self, at: u64) -> Result<Option<u64>, Distrust> {
        let Some(guide) = self.guide else { return Ok(None) };
        let entries = &guide.summary.chunks;
        while let Some(entry) = entries.get(self.next_entry).filter(|entry| entry.offset < at) {
            if guide.trusted {
                return Err(Distrust {
                    at: entry.offset,
                    what: "it lists a chunk in the middle of something else",
                });
            }
            self.next_entry += 1;
        }
        let Some(entry) = entries.get(self.next_entry).filter(|entry| entry.offset == at) else {
            return Ok(None);
        };
        let ends = [0, entries.len() - 1].contains(&self.next_entry);
        self.next_entry += 1;
        if !guide.trusted {
            return Ok(None);
        }
        let end = entry.end_offset().filter(|&end| {
            let in_bounds = entry.length >= FRAME + records::CHUNK_HEADER && end <= self.end;
            in_bounds && entries.get(self.next_entry).is_none_or(|next| next.offset >= end)
        });
        let Some(end) = end else {
            return Err(Distrust {
                at,
                what: "it lists a chunk that lies outside the data or overlaps another",
            });
        };
        // One look at the first and the last chunk finds the index of another file.
        if ends && !chunk_is_at(&mut self.window, entry) {
            return Err(Distrust { at, what: "it describes a chunk in other words than the chunk itself" });
        }
        let Some(channels) = self.believe(guide, entry) else { return Ok(None) };
        self.end_run();
        self.tell_damaged();
        self.take_indexed(entry, channels);
        self.landed = true;
        // Progress is that of reading; what is jumped over is none.
        self.told += end - at;
        Ok(Some(end))
    }

    /// The channels of an entry that can be believed without a look at its chunk.
    fn believe(&mut self, guide: Guide<'_>, entry: &ChunkEntry) -> Option<ChannelSet> {
        // An empty chunk has the times 0 and 0; so has one with messages at 0. A look tells.
        if entry.start > entry.end || entry.end == 0 {
            return None;
        }
        let mut ids = guide.summary.channels_of(entry).ok()?;
        if ids.is_empty() {
            return guide.all_channels_known.then_some(ChannelSet::Any);
        }
        ids.sort_unstable();
        ids.dedup();
        ids.iter().all(|&id| self.found.registry.knows(id)).then(|| self.found.index.intern(&ids))
    }

    fn take_indexed(&mut self, entry: &ChunkEntry, channels: ChannelSet) {
        self.found.jumped += 1;
        self.found.totals.add(&entry.compression, entry.compressed, entry.uncompressed);
        if !matches!(&*entry.compression, "" | "none" | "lz4" | "zstd") {
            return self.found.add_unknown(&entry.compression, entry.offset);
        }
        self.found.push(Span {
            offset: entry.offset,
            length: entry.length,
            start: entry.start,
            end: entry.end,
            size: entry.uncompressed,
            index_length: entry.index_length,
            messages: None,
            channels,
            kind: SpanKind::Chunk,
        });
    }

    /// Takes the whole record at `at`.
    fn record(&mut self, at: u64, op: u8, length: u64) -> Step {
        let (content, next) = (at + FRAME, at + FRAME + length);
        if op != op::MESSAGE_INDEX {
            self.tell_damaged();
        }
        match op {
            op::MESSAGE => self.message(at, length),
            op::CHUNK => {
                self.end_run();
                self.chunk(at, length);
            }
            op::MESSAGE_INDEX => self.message_index(content, length),
            op::SCHEMA | op::CHANNEL | op::HEADER | op::METADATA => self.small(at, op, length),
            op::ATTACHMENT => {
                self.end_run();
                self.attachment(at, length);
            }
            op::DATA_END => {
                self.data_end(at, length);
                return Step::Stop(End::Data);
            }
            op::FOOTER => return Step::Stop(End::Data),
            _ => {}
        }
        Step::To(next)
    }

    fn data_end(&mut self, at: u64, length: u64) {
        let crc = self.window.bytes(at + FRAME, length.min(CRC) as usize).ok();
        let crc = crc.and_then(|bytes| bytes.first_chunk().copied()).map_or(0, u32::from_le_bytes);
        self.found.data_end = Some(DataEnd { at, crc });
    }

    fn message(&mut self, at: u64, length: u64) {
        let head = self.window.bytes(at + FRAME, length.min(records::MESSAGE_HEADER as u64) as usize);
        let header = match head.map(records::message) {
            Ok(Ok(header)) => header,
            Ok(Err(_)) => {
                return self.found.findings.lost(Place::Offset(at), "a message here is too short to be one");
            }
            Err(error) => {
                let text = format!("a message can't be read ({error}), so it is skipped");
                return self.found.findings.lost(Place::Offset(at), text);
            }
        };
        if length > self.unpacker.limit() {
            let text =
                format!("a message of {length} bytes is skipped: the limit is {}", self.unpacker.limit());
            return self.found.findings.lost(Place::Offset(at), text);
        }
        if !self.run.fits(at, FRAME + length) {
            self.end_run();
        }
        self.found.counts.add(header.channel_id, 1);
        if !self.found.registry.has_channel(header.channel_id) {
            self.found.undescribed.entry(header.channel_id).or_insert(at);
        }
        self.run.add(at, FRAME + length, header.channel_id, header.log_time);
    }

    fn end_run(&mut self) {
        if let Some(span) = self.run.take(&mut self.found.index) {
            self.found.read += 1;
            self.found.push(span);
        }
    }

    fn chunk(&mut self, at: u64, length: u64) {
        let content = if length > self.unpacker.limit().saturating_add(4096) {
            Err(Damage::TooLarge { size: length, limit: self.unpacker.limit() })
        } else {
            self.window.bytes(at + FRAME, length as usize).map_err(Damage::Io)
        };
        let scanned = content.and_then(|content| {
            if let Ok((header, _)) = records::chunk(content) {
                let (packed, unpacked) = (header.compressed_size, header.uncompressed_size);
                self.found.totals.add(&header.compression, packed, unpacked);
            }
            let records = self.unpacker.unpack(content, Extent::Whole)?;
            let scanned = scan_records(&records, Extent::Whole, &mut self.tally)?;
            self.found.define(&records, &scanned, at);
            Ok((scanned, records.len() as u64))
        });
        self.found.read += 1;
        match scanned {
            Ok((scanned, size)) => {
                let length = FRAME + length;
                self.found.take_scanned(&scanned, &self.tally, at, length, size, SpanKind::Chunk);
            }
            Err(Damage::Compression(name)) => self.found.add_unknown(&name, at),
            Err(damage) => self.damaged = Some((at, damage, 0)),
        }
    }

    /// Message indexes only matter here where they tell how many messages a damaged chunk had.
    fn message_index(&mut self, content: u64, length: u64) {
        if let Some((_, _, messages)) = &mut self.damaged
            && length <= SMALL_RECORD
            && let Ok(bytes) = self.window.bytes(content, length as usize)
            && let Ok((_, count)) = records::message_index_count(bytes)
        {
            *messages = messages.saturating_add(count);
        }
    }

    fn tell_damaged(&mut self) {
        if let Some((at, damage, messages)) = self.damaged.take() {
            let text = skipped(&damage.to_string(), messages);
            self.found.findings.lost_by(damage.kind(), Place::Offset(at), text);
        }
    }

    /// Takes a record that is read whole: a description, or a note.
    fn small(&mut self, at: u64, op: u8, length: u64) {
        let name = record_name(op);
        if length > SMALL_RECORD {
            let text = format!("a {name} record of {length} bytes is ignored: the limit is {SMALL_RECORD}");
            return self.found.findings.note(Place::Offset(at), text);
        }
        let content = match self.window.bytes(at + FRAME, length as usize) {
            Ok(content) => content,
            Err(error) => {
                let text = format!("a {name} record can't be read ({error}), so it is ignored");
                return self.found.findings.note(Place::Offset(at), text);
            }
        };
        let found = &mut self.found;
        match op {
            op::SCHEMA | op::CHANNEL => {
                found.registry.add(op, content, Origin::Data(at), &mut found.findings);
            }
            op::METADATA => {
                self.extras = self.extras.saturating_add(length.saturating_mul(2));
                found.add_metadata(content, at, self.extras <= EXTRAS);
            }
            _ => {
                if let Ok(header) = records::header(content) {
                    (found.profile, found.library) = (header.profile, header.library);
                }
            }
        }
    }

    fn attachment(&mut self, at: u64, length: u64) {
        let head = self.window.bytes(at + FRAME, length.min(ATTACHMENT_HEAD) as usize);
        let head = head.ok().and_then(|content| records::attachment_head(content).ok());
        let fits = |head: &records::AttachmentHead| head.data_length <= length - head.data_at.min(length);
        let Some(head) = head.filter(fits) else {
            let text = "an attachment here contradicts its own size, so it is not listed";
            return self.found.findings.note(Place::Offset(at), text);
        };
        self.extras = self.extras.saturating_add(head.data_at + 200);
        if self.extras > EXTRAS {
            let text = "there are too many attachments to list, from here on";
            return self.found.findings.note(Place::Offset(at), text);
        }
        self.found.attachments.push(Attachment {
            name: head.name,
            media_type: head.media_type,
            log_time: Timestamp::from_nanos(head.log_time),
            bytes: head.data_length,
            offset: at + FRAME + head.data_at,
            head_bytes: head.data_at,
        });
    }

    /// What stands at `at` is no whole record.
    fn broken(&mut self, at: u64, op: u8, length: u64) -> Step {
        self.end_run();
        self.tell_damaged();
        let left = self.end - at;
        let at_file_end = self.end == self.source.len();
        if !at_file_end || (left >= FRAME && !is_known(op)) {
            let what = match op {
                0 => "there are zeros where a record should be".to_owned(),
                _ if is_known(op) => {
                    let left = left.saturating_sub(FRAME);
                    format!("a {} record claims {length} bytes where {left} are left", record_name(op))
                }
                _ => "there is no record here".to_owned(),
            };
            return self.lose_way(at, &what);
        }
        if op == op::CHUNK && left > FRAME && self.salvage(at) {
            return Step::Stop(End::Broken);
        }
        let what = if is_known(op) { record_name(op) } else { "record" };
        let text = format!(
            "the file ends in the middle of a {what}, so its last {} are lost",
            counted(left, "byte")
        );
        // Nothing that plays is lost with the end of an index or of the summary.
        match op {
            op::MESSAGE_INDEX | op::DATA_END | op::FOOTER => {
                self.found.findings.note_of(ProblemKind::Damage, Place::Offset(at), text);
            }
            _ => self.found.findings.lost(Place::Offset(at), text),
        }
        Step::Stop(End::Broken)
    }

    /// Takes the whole messages at the front of the chunk that the end of the file cuts off.
    fn salvage(&mut self, at: u64) -> bool {
        let length = self.end - at;
        if length > self.unpacker.limit() {
            return false;
        }
        let Ok(content) = self.window.bytes(at + FRAME, (length - FRAME) as usize) else { return false };
        let scanned = self.unpacker.unpack(content, Extent::Front).and_then(|records| {
            let scanned = scan_records(&records, Extent::Front, &mut self.tally)?;
            self.found.define(&records, &scanned, at);
            Ok((scanned, records.len() as u64))
        });
        let whole = match &scanned {
            Ok((scanned, size)) => {
                self.found.read += 1;
                self.found.take_scanned(scanned, &self.tally, at, length, *size, SpanKind::CutChunk);
                self.tally.total()
            }
            Err(Damage::Compression(name)) => {
                self.found.add_unknown(name, at);
                0
            }
            Err(_) => 0,
        };
        let front = match whole {
            0 => "nothing of it can be played".to_owned(),
            _ => format!("{} at its front can be played, though not checked", counted(whole, "message")),
        };
        let last = counted(length, "byte");
        let text =
            format!("the file ends in the middle of a chunk, its last {last}: {front}, the rest is lost");
        self.found.findings.lost(Place::Offset(at), text);
        true
    }

    /// There is no way from here to the next record: goes on where the index knows the next chunk, or stops.
    fn lose_way(&mut self, at: u64, what: &str) -> Step {
        self.end_run();
        self.tell_damaged();
        let entries = self.guide.map_or(&[][..], |guide| &guide.summary.chunks);
        let ahead = entries.iter().enumerate().skip(self.next_entry).filter(|(_, entry)| entry.offset > at);
        for (place, entry) in ahead {
            if entry.offset < self.end && chunk_is_at(&mut self.window, entry) {
                self.next_entry = place;
                let lost = counted(entry.offset - at, "byte");
                let text =
                    format!("{what}, so {lost} are skipped, up to the next chunk at byte {}", entry.offset);
                self.found.findings.lost(Place::Offset(at), text);
                return Step::To(entry.offset);
            }
        }
        let text =
            format!("{what}, so the rest of the data, {}, is not read", counted(self.end - at, "byte"));
        self.found.findings.lost(Place::Offset(at), text);
        Step::Stop(End::Broken)
    }

    fn tell_progress(&mut self, at: u64) {
        if at >= self.told + PROGRESS_STEP {
            self.told = at;
            (self.context.progress)(ScanProgress {
                path: self.context.path,
                done: at,
                total: self.source.len(),
            });
        }
    }
}

/// Whether the chunk that an entry describes is where it says, and is what it says.
fn chunk_is_at(window: &mut Window, entry: &ChunkEntry) -> bool {
    let head = FRAME + records::CHUNK_HEADER + entry.compression.len() as u64;
    if head > entry.length || head > 4096 {
        return false;
    }
    let Ok(bytes) = window.bytes(entry.offset, head as usize) else { return false };
    let Some((head, content)) = bytes.split_first_chunk() else { return false };
    let Ok((header, _)) = records::chunk(content) else { return false };
    frame(head) == (op::CHUNK, entry.length - FRAME)
        && (header.message_start_time, header.message_end_time) == (entry.start, entry.end)
        && (header.compressed_size, header.uncompressed_size) == (entry.compressed, entry.uncompressed)
        && *header.compression == *entry.compression
}

fn is_known(op: u8) -> bool {
    (op::HEADER..=op::DATA_END).contains(&op)
}

fn record_name(op: u8) -> &'static str {
    match op {
        op::HEADER => "header",
        op::FOOTER => "footer",
        op::SCHEMA => "schema",
        op::CHANNEL => "channel",
        op::MESSAGE => "message",
        op::CHUNK => "chunk",
        op::MESSAGE_INDEX => "message index",
        op::ATTACHMENT => "attachment",
        op::METADATA => "metadata",
        op::DATA_END => "data end",
        _ => "summary",
    }
}
