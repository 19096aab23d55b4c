//! Reads a file from start to end and holds what it says of itself against what is in it.

use std::sync::Arc;

use ::mcap::records::op;

use super::fields::Records;
use super::findings::counted;
use super::found::DataEnd;
use super::index::{Index, Span};
use super::{CRC, McapReader, open_reader, records, walk};
use crate::recording::watch::Watch;
use crate::recording::{
    Attachment, OpenContext, OpenError, OpenOptions, Place, ProblemKind, Reader, ScanProgress, Source,
};
use crate::time::Timestamp;

/// How much is read at once for a checksum.
const BLOCK: u64 = 1024 * 1024;

/// Opens a file, and reads all of it: the messages are told to `watch` in file order, and whatever is wrong to the
/// problems of `context`. What it is opened with in the end is an index made from the data.
///
/// # Errors
/// As [`open`](super::open).
pub(in crate::recording) fn inspect(
    source: Arc<dyn Source>,
    context: &OpenContext<'_>,
    watch: &mut dyn Watch,
) -> Result<Box<dyn Reader>, OpenError> {
    let by_index = open_reader(Arc::clone(&source), context)?;
    let reader = if by_index.summary.indexed {
        let options = OpenOptions { ignore_index: true, ..context.options.clone() };
        let reader = open_reader(source, &context.with_options(&options))?;
        compare(&by_index, &reader, context);
        reader
    } else {
        by_index
    };
    verify_data_section(&reader, context);
    verify_attachments(&reader, context);
    visit(&reader, context, watch);
    Ok(Box::new(reader))
}

/// Tells every message of the file, in file order.
fn visit(reader: &McapReader, context: &OpenContext<'_>, watch: &mut dyn Watch) {
    let shared = &reader.shared;
    let mut places = vec![None; usize::from(u16::MAX) + 1];
    for (place, &id) in shared.ids.iter().enumerate() {
        places[usize::from(id)] = Some(place);
    }
    let mut told = 0;
    for (number, span) in (0..).zip(&shared.index.spans) {
        tell_progress(context, &mut told, span.offset, &*shared.source);
        let loaded = match shared.load(number) {
            Ok(loaded) => loaded,
            Err(damage) => {
                shared.tell_damage(span, &damage);
                continue;
            }
        };
        for record in Records::new(&loaded).filter(|record| record.op == op::MESSAGE) {
            let Ok(message) = records::message(record.content) else { continue };
            if let Some(channel) = places[usize::from(message.channel_id)] {
                watch.message(Place::Offset(span.offset), channel, Timestamp::from_nanos(message.log_time));
            }
        }
    }
}

/// Tells where the file's index gives other times, channels or counts than the data.
fn compare(by_index: &McapReader, by_data: &McapReader, context: &OpenContext<'_>) {
    let path = context.path;
    let (claimed, real) = (&by_index.shared, &by_data.shared);
    let pairs = || {
        let same = |span: &Span| {
            let place = real.index.spans.binary_search_by_key(&span.offset, |span| span.offset).ok()?;
            real.index.spans.get(place)
        };
        claimed.index.spans.iter().filter_map(move |claim| Some((claim, same(claim)?)))
    };
    let wrong_times = || pairs().filter(|(claim, span)| (claim.start, claim.end) != (span.start, span.end));
    if let Some((claim, span)) = wrong_times().next() {
        let others = others(wrong_times().count());
        let [says_first, says_last, first, last] =
            [claim.start, claim.end, span.start, span.end].map(Timestamp::from_nanos);
        let text = format!(
            "the file's index says that the messages of this chunk are from {says_first} to {says_last}, but they \
             are from {first} to {last}{others}; a start in the middle or a jump can miss messages"
        );
        context.problems.note_of(ProblemKind::Index, path, Place::Offset(span.offset), text);
    }
    let lacks = |claim: &Span, span: &Span| lacks_channels((&claimed.index, claim), (&real.index, span));
    let lacking = || pairs().filter(|(claim, span)| lacks(claim, span));
    if let Some((_, span)) = lacking().next() {
        let others = others(lacking().count());
        let text = format!(
            "the file's index does not name all channels that have messages in this chunk{others}; who plays only \
             these topics misses messages"
        );
        context.problems.note_of(ProblemKind::Index, path, Place::Offset(span.offset), text);
    }
    let (says, is) = (by_index.summary.message_count, by_data.summary.message_count);
    // What damage costs has been told.
    if says != is && !context.problems.data_lost() {
        let text = format!(
            "its index and statistics tell {}, but there are {is} in the data",
            counted(says, "message")
        );
        context.problems.note_of(ProblemKind::Index, path, Place::File, text);
    }
}

/// Whether a claim leaves out channels of the span.
fn lacks_channels((claims, claim): (&Index, &Span), (index, span): (&Index, &Span)) -> bool {
    match (claims.ids(claim.channels), index.ids(span.channels)) {
        (Some(claimed), Some(real)) => !real.iter().all(|id| claimed.binary_search(id).is_ok()),
        _ => false,
    }
}

fn others(count: usize) -> String {
    match count {
        0 | 1 => String::new(),
        2 => " (and 1 other chunk is like it)".into(),
        _ => format!(" (and {} other chunks are like it)", count - 1),
    }
}

/// Holds the data section against the CRC in the record that ends it. The CRC is that of all bytes before.
fn verify_data_section(reader: &McapReader, context: &OpenContext<'_>) {
    let Some(DataEnd { at, crc: claimed @ 1.. }) = reader.data_end else { return };
    match crc_of(context, &*reader.shared.source, 0, at) {
        Ok(got) if got == claimed => {}
        Ok(got) => {
            let text = format!(
                "the CRC of the data section is wrong ({got:08x}, recorded as {claimed:08x}): something before this \
                 byte is not what was written"
            );
            context.problems.note_of(ProblemKind::Crc, context.path, Place::Offset(at), text);
        }
        Err(error) => {
            let text = format!("the data section can't be read again to check its CRC ({error})");
            context.problems.note_of(ProblemKind::Damage, context.path, Place::Offset(at), text);
        }
    }
}

/// Holds every attachment against its CRC, in blocks: an attachment may be larger than the memory.
fn verify_attachments(reader: &McapReader, context: &OpenContext<'_>) {
    let source = &*reader.shared.source;
    for attachment in &reader.summary.attachments {
        let Attachment { offset, head_bytes, bytes, .. } = *attachment;
        let (start, end) = (offset.saturating_sub(head_bytes), offset.saturating_add(bytes));
        let Some(claimed) = read_crc(source, end) else {
            let text = format!("the attachment '{}' ends before its CRC does", attachment.name);
            context.problems.note_of(ProblemKind::Damage, context.path, Place::Offset(start), text);
            continue;
        };
        if claimed != 0 && crc_of(context, source, start, end).ok() != Some(claimed) {
            let text =
                format!("the CRC of the attachment '{}' is wrong, so it can't be fetched", attachment.name);
            context.problems.note_of(ProblemKind::Crc, context.path, Place::Offset(start), text);
        }
    }
}

fn read_crc(source: &dyn Source, at: u64) -> Option<u32> {
    let bytes = source.read_at(at, CRC as usize).ok()?;
    bytes.first_chunk().copied().map(u32::from_le_bytes)
}

fn crc_of(context: &OpenContext<'_>, source: &dyn Source, start: u64, end: u64) -> std::io::Result<u32> {
    let (mut hasher, mut at, mut told) = (crc32fast::Hasher::new(), start, start);
    let mut block = vec![0; end.saturating_sub(start).min(BLOCK) as usize];
    while at < end {
        let part = &mut block[..(end - at).min(BLOCK) as usize];
        source.read_exact_at(part, at)?;
        hasher.update(part);
        at += part.len() as u64;
        tell_progress(context, &mut told, at, source);
    }
    Ok(hasher.finalize())
}

fn tell_progress(context: &OpenContext<'_>, told: &mut u64, done: u64, source: &dyn Source) {
    if done >= *told + walk::PROGRESS_STEP {
        *told = done;
        (context.progress)(ScanProgress { path: context.path, done, total: source.len() });
    }
}
