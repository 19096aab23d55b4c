//! MCAP recordings (<https://mcap.dev/spec>).
//!
//! Opening a file makes an index of our own of it, by a walk that skips what
//! the file's index describes. A cursor then merges the spans of that index. Every
//! length in the file is checked against what is there before anything is allocated or skipped by it.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ::mcap::MAGIC;
use bytes::Bytes;

pub use self::cache::ChunkCache;
use self::chunk::{Damage, SpanLoader, count_indexed};
use self::cursor::McapCursor;
use self::entries::{Routes, Selected};
use self::findings::{Findings, counted};
use self::found::{DataEnd, End, Found, skipped};
use self::index::{Counts, Index, Span};
pub(super) use self::inspect::inspect;
use self::lookback::McapSearch;
use self::scan::scan_records;
use self::summary::{Ending, NoSummary, Summary as FileSummary};
use self::walk::{Guide, Walk};
use super::marks::Marks;
use super::{
    Attachment, ChannelMap, Cursor, Density, Kind, OpenContext, OpenError, Place, ProblemKind, Problems,
    Reader, ScanProgress, Search, Source, Summary, describe_loss, message_count,
};
use crate::time::Timestamp;

mod cache;
mod chunk;
mod cursor;
mod density;
mod entries;
mod fields;
mod findings;
mod found;
mod index;
mod inspect;
mod lookback;
mod records;
mod registry;
mod scan;
mod summary;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod walk;
mod window;

/// Size of the CRC at the end of an attachment, and of that in a data end record, in bytes.
const CRC: u64 = 4;

/// How many who decode keep their working memory for the next ones.
const LOADERS: usize = 4;

/// What reader and cursors have in common.
struct Shared {
    source: Arc<dyn Source>,
    index: Index,
    /// The channel ids in the file, in the order of [`Summary::channels`].
    ids: Vec<u16>,
    /// Channel ids with messages, but without a channel. It has been told.
    undescribed: Vec<u16>,
    max_chunk_bytes: u64,
    overlap_bytes: u64,
    path: PathBuf,
    problems: Arc<Problems>,
    /// The log time of the first message, in nanoseconds, as the index says it.
    start: u64,
    /// Whether it was told that the index has wrong times: a writer that makes one such entry mostly makes
    /// all so.
    wrong_times_told: AtomicBool,
    /// Whether it was told that spans can't be read any more.
    unreadable_told: AtomicBool,
    /// Which spans could not be read, so that their messages are counted once.
    unread: Marks,
    cache: Arc<ChunkCache>,
    /// The file's number in the cache.
    file: u32,
    /// Working memory for who decodes.
    loaders: Mutex<Vec<SpanLoader>>,
}

/// An open MCAP file.
struct McapReader {
    summary: Summary,
    shared: Arc<Shared>,
    data_end: Option<DataEnd>,
}

impl Reader for McapReader {
    fn summary(&self) -> &Summary {
        &self.summary
    }

    fn density(&self, channels: &ChannelMap, density: &mut Density, cancelled: &dyn Fn() -> bool) {
        let routes = Routes::new(&self.shared.ids, channels, &self.shared.undescribed);
        density::count(&self.shared, &routes, density, cancelled);
    }

    fn attachment(&self, attachment: &Attachment) -> io::Result<Bytes> {
        read_attachment(&*self.shared.source, attachment)
    }

    fn cursor(&self, from: Timestamp, channels: ChannelMap) -> Box<dyn Cursor> {
        let routes = Routes::new(&self.shared.ids, &channels, &self.shared.undescribed);
        Box::new(McapCursor::new(Arc::clone(&self.shared), from, routes))
    }

    fn search(&self, before: Timestamp, channels: ChannelMap) -> Box<dyn Search> {
        let routes = Routes::new(&self.shared.ids, &channels, &self.shared.undescribed);
        Box::new(McapSearch::new(Arc::clone(&self.shared), before.as_nanos(), routes))
    }
}

impl Shared {
    /// The records of a span, from where they are kept or from the file.
    fn load(&self, place: u32) -> Result<Bytes, Damage> {
        self.cache.get((self.file, place), || {
            let buffers = || self.cache.buffers().clone();
            let new = || SpanLoader::new(Arc::clone(&self.source), self.max_chunk_bytes, buffers());
            let mut loader = self.loaders().pop().unwrap_or_else(new);
            let loaded = loader.load(&self.index.spans[place as usize]);
            let mut loaders = self.loaders();
            if loaders.len() < LOADERS {
                loaders.push(loader);
            }
            loaded
        })
    }

    fn loaders(&self) -> MutexGuard<'_, Vec<SpanLoader>> {
        self.loaders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells that a span can't be played, and how many messages that costs, as far as it is known.
    fn tell_damage(&self, span: &Span, damage: &Damage) {
        let text = skipped(&damage.to_string(), self.messages_of(span).unwrap_or(0));
        self.problems.lost_by(damage.kind(), &self.path, Place::Offset(span.offset), text);
    }

    /// As [`tell_damage`](Self::tell_damage), while it plays: where the system does not give the bytes of one span,
    /// it mostly does not give those of the next ones either, and that is told once.
    fn tell_unplayed(&self, span: &Span, damage: &Damage) {
        let Damage::Io(error) = damage else { return self.tell_damage(span, damage) };
        if !self.unreadable_told.swap(true, Ordering::Relaxed) {
            let text = describe_loss(error, "chunk");
            self.problems.lost_by(damage.kind(), &self.path, Place::Offset(span.offset), text);
        }
    }

    /// Counts the messages of a span that can't be played, however often it is to be played. Where nothing says how
    /// many those are, it is one.
    fn count_unread(&self, place: u32) {
        if self.unread.mark(place as usize) {
            let messages = self.messages_of(&self.index.spans[place as usize]);
            self.problems.count_unread(messages.unwrap_or(1).max(1));
        }
    }

    /// How many messages a span has, as far as it is known.
    fn messages_of(&self, span: &Span) -> Option<u64> {
        span.messages.or_else(|| {
            let counts = count_indexed(&*self.source, span.offset + span.length, span.index_length)?;
            Some(counts.iter().map(|(_, count)| count).sum())
        })
    }

    /// Tells, once for the file, that a loaded span has messages at other times than the index says.
    fn note_wrong_times(&self, span: &Span, selected: &Selected) {
        let Some((first, last)) = selected.times else { return };
        let is_right = span.start <= first && last <= span.end;
        if is_right || self.wrong_times_told.swap(true, Ordering::Relaxed) {
            return;
        }
        let [says_first, says_last, first, last] =
            [span.start, span.end, first, last].map(Timestamp::from_nanos);
        let text = format!(
            "the file's index says that the messages of this chunk are from {says_first} to {says_last}, but \
             they are from {first} to {last}; where it is wrong, a start in the middle or a jump can miss \
             messages (--rescan makes a right index)"
        );
        self.problems.note_of(ProblemKind::Index, &self.path, Place::Offset(span.offset), text);
    }
}

/// The data of an attachment, checked against its CRC where it has one (MCAP specification, Attachment).
fn read_attachment(source: &dyn Source, attachment: &Attachment) -> io::Result<Bytes> {
    let Attachment { offset, head_bytes, bytes, .. } = *attachment;
    let wrong = |text: &str| io::Error::new(io::ErrorKind::InvalidData, text);
    let length = head_bytes.checked_add(bytes).and_then(|length| length.checked_add(CRC));
    let length = length.and_then(|length| usize::try_from(length).ok());
    let length = length.ok_or_else(|| wrong("the attachment is larger than this machine can address"))?;
    let record = source.read_at(offset - head_bytes, length)?;
    let (checked, crc) = record.split_at(length - CRC as usize);
    let claimed = crc.iter().rev().fold(0, |crc, byte| crc << 8 | u32::from(*byte));
    if claimed != 0 && claimed != crc32fast::hash(checked) {
        return Err(wrong("the attachment's CRC is wrong: it is not what was recorded"));
    }
    Ok(record.slice(head_bytes as usize..checked.len()))
}

/// Opens an MCAP file.
///
/// # Errors
/// Where it does not begin as one, and with [`OpenOptions::strict`](super::OpenOptions::strict) where
/// something of it is lost.
pub(super) fn open(source: Arc<dyn Source>, context: &OpenContext<'_>) -> Result<Box<dyn Reader>, OpenError> {
    let reader = open_reader(source, context)?;
    Ok(Box::new(reader))
}

fn open_reader(source: Arc<dyn Source>, context: &OpenContext<'_>) -> Result<McapReader, OpenError> {
    check_magic(&*source, context)?;
    let ending = summary::read(&*source);
    let mut findings = Findings::new(context.path);
    let mut found = walk(&source, context, &ending, &mut findings);
    let indexed =
        found.jumped > 0 || (found.read == 0 && ending.summary.is_ok() && !context.options.ignore_index);
    if found.jumped > 0 {
        count(&source, context, &ending, &mut found);
    }
    tell_unplayable(&mut found);
    tell_ending(&ending, &found, indexed, context, &mut findings);

    let undescribed: Vec<u16> = found.undescribed.keys().copied().collect();
    let (channels, ids) = found.registry.finish(&found.counts, &mut found.findings);
    let time = |nanos| Timestamp::from_nanos(nanos);
    let summary = Summary {
        kind: Kind::Mcap,
        bytes: source.len(),
        library: found.library,
        profile: found.profile,
        message_count: message_count(&channels),
        channels,
        time_range: found.index.time_range().map(|(start, end)| (time(start), time(end))),
        chunks: found.totals.into_list(),
        attachments: found.attachments,
        metadata: found.metadata,
        indexed,
    };
    findings.append(found.findings);
    let lost = findings.first_lost().filter(|_| context.options.strict).cloned();
    findings.report(&context.problems);
    if let Some(lost) = lost {
        return Err(OpenError::Strict(lost));
    }
    let shared = Shared {
        source,
        index: found.index,
        ids,
        undescribed,
        max_chunk_bytes: context.options.max_chunk_bytes,
        overlap_bytes: context.options.overlap_bytes,
        path: context.path.to_owned(),
        problems: Arc::clone(&context.problems),
        start: summary.time_range.map_or(0, |(start, _)| start.as_nanos()),
        wrong_times_told: AtomicBool::new(false),
        unreadable_told: AtomicBool::new(false),
        unread: Marks::default(),
        file: context.cache.file(),
        cache: Arc::clone(&context.cache),
        loaders: Mutex::default(),
    };
    Ok(McapReader { summary, shared: Arc::new(shared), data_end: found.data_end })
}

fn check_magic(source: &dyn Source, context: &OpenContext<'_>) -> Result<(), OpenError> {
    let path = || context.path.to_owned();
    let head = source.read_at(0, source.len().min(MAGIC.len() as u64) as usize);
    let head = head.map_err(|error| OpenError::Io { path: path(), error })?;
    if *head != *MAGIC {
        let reason = "this is no MCAP: it does not begin with the magic bytes of the format".into();
        return Err(OpenError::NotARecording { path: path(), reason });
    }
    Ok(())
}

/// Walks by the file's index, and where that proves wrong, without it.
fn walk(
    source: &Arc<dyn Source>,
    context: &OpenContext<'_>,
    ending: &Ending,
    findings: &mut Findings,
) -> Found {
    let mut trusted = !context.options.ignore_index;
    loop {
        let guide = ending.summary.as_ref().ok().map(|summary| Guide {
            summary,
            trusted,
            all_channels_known: tells_all_channels(summary),
        });
        match Walk::new(source, context, ending.data_end, guide).go() {
            Ok(found) => return found,
            // A walk that does not trust has nothing to distrust, so this happens once.
            Err(distrust) => {
                trusted = false;
                let text = format!(
                    "the index is wrong at byte {} ({}), so the file was read once from start to end",
                    distrust.at, distrust.what
                );
                findings.note_of(ProblemKind::Index, Place::File, text);
            }
        }
    }
}

/// Whether the statistics count the messages of every channel, and the summary describes all of these.
fn tells_all_channels(summary: &FileSummary) -> bool {
    let Some(statistics) = &summary.statistics else { return false };
    let mut registry = registry::Registry::default();
    let mut ignored = Findings::new("".as_ref());
    for (op, content) in summary.definitions() {
        registry.add(op, content, registry::Origin::Summary, &mut ignored);
    }
    adds_up(statistics) && statistics.channel_message_counts.keys().all(|&id| registry.knows(id))
}

fn adds_up(statistics: &::mcap::records::Statistics) -> bool {
    let mut counts = statistics.channel_message_counts.values();
    let sum = counts.try_fold(0u64, |sum, &count| sum.checked_add(count));
    sum == Some(statistics.message_count)
}

/// Counts the messages of chunks that were jumped over: from the statistics where they agree with
/// everything that is known, else from the message indexes, else by reading the chunks.
fn count(source: &Arc<dyn Source>, context: &OpenContext<'_>, ending: &Ending, found: &mut Found) {
    let statistics = ending.summary.as_ref().ok().and_then(|summary| summary.statistics.as_ref());
    if let Some(statistics) = statistics.filter(|statistics| agrees(statistics, found)) {
        let mut counts = Counts::default();
        for (&id, &count) in &statistics.channel_message_counts {
            counts.add(id, count);
        }
        found.counts = counts;
        return;
    }
    let buffers = context.cache.buffers().clone();
    let mut loader = SpanLoader::new(Arc::clone(source), context.options.max_chunk_bytes, buffers);
    let (mut tally, mut told) = (Counts::default(), 0);
    for span in &mut found.index.spans {
        if span.messages.is_some() {
            continue;
        }
        if span.offset >= told + walk::PROGRESS_STEP {
            told = span.offset;
            (context.progress)(ScanProgress { path: context.path, done: told, total: source.len() });
        }
        tally.clear();
        let indexed = count_indexed(&**source, span.offset + span.length, span.index_length);
        match indexed.filter(|counts| counts.iter().all(|&(id, _)| found.registry.has_channel(id))) {
            Some(indexed) => indexed.into_iter().for_each(|(id, count)| tally.add(id, count)),
            None => {
                let loaded = loader.load(span);
                let scanned = loaded.and_then(|bytes| scan_records(&bytes, span.kind.extent(), &mut tally));
                if let Err(damage) = scanned {
                    let text = skipped(&damage.to_string(), 0);
                    found.findings.lost_by(damage.kind(), Place::Offset(span.offset), text);
                    continue;
                }
            }
        }
        span.messages = Some(tally.total());
        for id in tally.ids() {
            found.counts.add(id, tally.get(id));
        }
    }
}

/// Whether statistics agree with each other, with the spans, and with what was counted.
fn agrees(statistics: &::mcap::records::Statistics, found: &Found) -> bool {
    let times = (statistics.message_start_time, statistics.message_end_time);
    let counts = &statistics.channel_message_counts;
    let at_least = |id: &u16| counts.get(id).is_some_and(|&count| count >= found.counts.get(*id));
    adds_up(statistics)
        && u64::from(statistics.chunk_count) == found.totals.count()
        && found.index.time_range() == Some(times)
        && found.unknown.is_empty()
        && found.counts.ids().iter().all(at_least)
        && counts.iter().all(|(&id, &count)| count == 0 || found.registry.has_channel(id))
}

/// Tells of messages that are there, but can't be played.
fn tell_unplayable(found: &mut Found) {
    for (name, &(first, chunks)) in &found.unknown {
        let skipped =
            if chunks == 1 { "it is skipped".into() } else { format!("{chunks} such chunks are skipped") };
        let text = format!(
            "this chunk is compressed with '{name}', and only lz4, zstd and none are known, so {skipped}"
        );
        found.findings.lost(Place::Offset(first), text);
    }
    found.undescribed.retain(|&id, _| !found.registry.has_channel(id));
    for (id, &offset) in &found.undescribed {
        let messages = counted(found.counts.get(*id), "message");
        let text =
            format!("skipped: {messages} from here on, of channel {id}, which the file does not describe");
        found.findings.lost_by(ProblemKind::Channel, Place::Offset(offset), text);
    }
}

/// Tells how the file ends, if not as it should, and why it was read from start to end.
fn tell_ending(
    ending: &Ending,
    found: &Found,
    indexed: bool,
    context: &OpenContext<'_>,
    findings: &mut Findings,
) {
    let ignored = context.options.ignore_index;
    let read = "so it was read once from start to end";
    match &ending.summary {
        Err(NoSummary::NoFooter) if ignored || found.end == End::Data => {
            let text = "it does not end as an MCAP should (the recorder may have been stopped)";
            findings.note_of(ProblemKind::Unfinished, Place::File, text);
        }
        Err(NoSummary::NoFooter) => {
            let text = format!("it has no index (the recorder may have been stopped), {read}");
            findings.note_of(ProblemKind::Unfinished, Place::File, text);
        }
        Err(NoSummary::Wrong { at, what, kind }) => {
            findings.note_of(*kind, Place::Offset(*at), format!("{what}, so its index is not used"));
        }
        Err(NoSummary::None) if !ignored => {
            findings.note_of(ProblemKind::NoIndex, Place::File, format!("it has no index, {read}"));
        }
        // Where the index was given up on, that has been told.
        Ok(summary) if !ignored && !indexed && findings.is_empty() => {
            let what = if summary.chunks.is_empty() { "it has no index" } else { "its index can't be used" };
            findings.note_of(ProblemKind::NoIndex, Place::File, format!("{what}, {read}"));
        }
        _ => {}
    }
}
