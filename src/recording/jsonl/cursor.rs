//! Goes through the messages of a file that is open.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::{Bytes, BytesMut};

use super::super::marks::Marks;
use super::super::{
    ChannelId, ChannelMap, Cursor, Memory, Message, Place, Problems, Search, Source, describe_loss,
};
use super::index::{Entry, Index};
use crate::time::Timestamp;

/// How many bytes of messages are fetched at once. A larger message is fetched alone.
const BATCH_BYTES: u64 = 1 << 20;
/// How many messages are fetched at once.
const BATCH_MESSAGES: usize = 16 * 1024;
/// Bytes that nobody wants are read along if they are not more than these: that is quicker than two reads.
const MAX_GAP: u64 = 64 * 1024;
/// How many bytes are read at once, gaps and all.
const MAX_READ: u64 = 2 << 20;

/// What is told where something else stands in the place of a message.
const CHANGED: &str = "the file has changed since it was opened; this message is skipped, and so is every other \
    that does not stand there any more; play it again once nothing writes to it";

/// How many entries of the index are looked at in one step of a search.
const SEARCH_ENTRIES: usize = 64 * 1024;

/// What the cursors of a file have in common.
pub(super) struct OpenFile {
    pub source: Arc<dyn Source>,
    pub path: PathBuf,
    pub problems: Arc<Problems>,
    pub index: Index,
    /// Whether it was told that messages can't be read any more.
    pub loss_told: AtomicBool,
    /// Which messages of the index could not be read, so that each is counted once.
    pub unread: Marks,
}

impl OpenFile {
    /// Tells once that a message can't be read.
    fn tell_loss(&self, entry: &Entry, text: &str) {
        if !self.loss_told.swap(true, Ordering::Relaxed) {
            self.problems.lost(&self.path, Place::Offset(entry.offset), text);
        }
    }

    /// Reads one message on its own.
    fn read_one(&self, entry: &Entry) -> Option<Bytes> {
        match self.source.read_at(entry.offset, entry.length as usize) {
            Ok(data) => Some(data),
            Err(error) => {
                self.tell_loss(entry, &describe_loss(&error, "message"));
                None
            }
        }
    }
}

impl OpenFile {
    fn message(&self, wanted: Wanted) -> Option<Message> {
        let data = wanted.data?;
        if !(data.starts_with(b"{") && data.ends_with(b"}")) {
            self.tell_loss(&wanted.entry, CHANGED);
            return None;
        }
        let extra = self.index.extra(wanted.position);
        Some(Message {
            channel: wanted.channel,
            sequence: extra.sequence,
            log_time: wanted.entry.log_time,
            publish_time: extra.publish_time,
            memory: wanted.memory.unwrap_or_else(|| Memory::of(&data)),
            data,
        })
    }
}

impl OpenFile {
    /// A message that is to be played. One that can't be read is counted, however often it is to be played.
    fn message_or_count(&self, wanted: Wanted) -> Option<Message> {
        let position = wanted.position;
        let message = self.message(wanted);
        if message.is_none() && self.unread.mark(position) {
            self.problems.count_unread(1);
        }
        message
    }
}

/// Looks for the last message of each wanted channel, through the index. Reads those messages only.
pub(super) struct JsonlSearch {
    file: Arc<OpenFile>,
    channels: ChannelMap,
    /// The channels without a found message.
    open: HashSet<ChannelId>,
    /// How many messages, from the start, were not looked at yet.
    left: usize,
}

impl JsonlSearch {
    pub fn new(file: Arc<OpenFile>, before: Timestamp, channels: ChannelMap) -> Self {
        let open = channels.iter().flatten().copied().collect();
        let left = file.index.position_from(before);
        JsonlSearch { file, channels, open, left }
    }
}

impl Search for JsonlSearch {
    fn latest(&self) -> Option<Timestamp> {
        let last = self.left.checked_sub(1).filter(|_| !self.open.is_empty())?;
        Some(self.file.index.entry(last).log_time)
    }

    fn step(&mut self, is_open: &dyn Fn(ChannelId, Timestamp) -> bool, found: &mut Vec<Message>) {
        let stop = self.left.saturating_sub(SEARCH_ENTRIES);
        while self.left > stop {
            self.left -= 1;
            let (position, entry) = (self.left, self.file.index.entry(self.left));
            let Some(&Some(channel)) = self.channels.get(entry.channel as usize) else { continue };
            if !self.open.remove(&channel) || !is_open(channel, entry.log_time) {
                continue;
            }
            let data = self.file.read_one(&entry);
            found.extend(self.file.message(Wanted { position, entry, channel, data, memory: None }));
            return;
        }
    }
}

/// Goes through the messages in log time order. It fetches them in batches: of each batch, what lies
/// together in the file is read together, whatever the order in which it plays.
pub(super) struct JsonlCursor {
    file: Arc<OpenFile>,
    channels: ChannelMap,
    /// The place in the index of the first message that is not in a batch yet.
    position: usize,
    batch: std::vec::IntoIter<Message>,
}

/// A message that is to be fetched.
struct Wanted {
    position: usize,
    entry: Entry,
    channel: ChannelId,
    data: Option<Bytes>,
    /// The block that `data` is a slice of, if it is no block of its own.
    memory: Option<Memory>,
}

impl Wanted {
    fn end(&self) -> u64 {
        self.entry.offset + u64::from(self.entry.length)
    }
}

impl JsonlCursor {
    pub fn new(file: Arc<OpenFile>, from: Timestamp, channels: ChannelMap) -> Self {
        let position = file.index.position_from(from);
        JsonlCursor { file, channels, position, batch: Vec::new().into_iter() }
    }

    /// Which messages come next.
    fn plan(&mut self) -> Vec<Wanted> {
        let mut plan = Vec::new();
        let mut bytes = 0;
        while self.position < self.file.index.len() && plan.len() < BATCH_MESSAGES {
            let entry = self.file.index.entry(self.position);
            if let Some(&Some(channel)) = self.channels.get(entry.channel as usize) {
                bytes += u64::from(entry.length);
                if bytes > BATCH_BYTES && !plan.is_empty() {
                    break;
                }
                plan.push(Wanted { position: self.position, entry, channel, data: None, memory: None });
            }
            self.position += 1;
        }
        plan
    }

    fn fetch(&self, mut plan: Vec<Wanted>) -> Vec<Message> {
        plan.sort_unstable_by_key(|wanted| wanted.entry.offset);
        let mut rest = &mut plan[..];
        while !rest.is_empty() {
            let (together, others) = rest.split_at_mut(length_of_run(rest));
            self.read(together);
            rest = others;
        }
        plan.sort_unstable_by_key(|wanted| wanted.position);
        plan.into_iter().filter_map(|wanted| self.file.message_or_count(wanted)).collect()
    }

    /// Reads messages that lie together, in one piece.
    fn read(&self, run: &mut [Wanted]) {
        let (Some(first), Some(last)) = (run.first(), run.last()) else { return };
        let (start, end) = (first.entry.offset, last.end());
        let wanted_bytes: u64 = run.iter().map(|wanted| u64::from(wanted.entry.length)).sum();
        match self.file.source.read_at(start, (end - start) as usize) {
            Ok(block) => {
                run.iter_mut().for_each(|wanted| wanted.memory = Some(Memory::of(&block)));
                let place =
                    |wanted: &Wanted| (wanted.entry.offset - start) as usize..(wanted.end() - start) as usize;
                if wanted_bytes < (end - start) / 4 {
                    // A block lives as long as any message in it, so one that is mostly gaps is not kept.
                    let mut compact = BytesMut::with_capacity(wanted_bytes as usize);
                    let memory = Memory { place: compact.as_ptr().addr(), bytes: wanted_bytes as usize };
                    for wanted in run {
                        compact.extend_from_slice(&block[place(wanted)]);
                        wanted.data = Some(compact.split().freeze());
                        wanted.memory = Some(memory);
                    }
                } else {
                    run.iter_mut().for_each(|wanted| wanted.data = Some(block.slice(place(wanted))));
                }
            }
            // What is still there of them is found one by one.
            Err(_) => run.iter_mut().for_each(|wanted| wanted.data = self.file.read_one(&wanted.entry)),
        }
    }
}

/// How many messages at the start of `plan`, which is in file order, are to be read in one piece.
fn length_of_run(plan: &[Wanted]) -> usize {
    let start = plan.first().map_or(0, |first| first.entry.offset);
    let belongs = |pair: &&[Wanted]| {
        pair[1].entry.offset - pair[0].end() <= MAX_GAP && pair[1].end() - start <= MAX_READ
    };
    1 + plan.windows(2).take_while(belongs).count()
}

impl Cursor for JsonlCursor {
    fn next(&mut self) -> Option<Message> {
        loop {
            if let Some(message) = self.batch.next() {
                return Some(message);
            }
            let plan = self.plan();
            if plan.is_empty() {
                return None;
            }
            self.batch = self.fetch(plan).into_iter();
        }
    }
}
