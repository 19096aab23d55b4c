//! What goes to the socket in one vectored write.

use std::io::{self, IoSlice};
use std::ops::Range;

use bytes::Bytes;

use super::pen::LARGE;
use super::waiting::{Taken, WaitingMessage, is_kept};
use crate::foxglove;
use crate::recording::ChannelId;
use crate::server::frame;
use crate::time::Timestamp;

/// A batch is full when it has so many bytes, beside what is large, or parts. Linux takes 1024 parts in one write.
const FULL_BYTES: usize = 256 * 1024;
const FULL_PARTS: usize = 1000;

/// How many parts are written at once.
const WRITE_PARTS: usize = 64;

/// Frames, ready to be written.
#[derive(Debug, Default)]
pub(in crate::server) struct Batch {
    /// Headers and small payloads, one after another.
    small: Vec<u8>,
    /// What is written, in this order.
    parts: Vec<Part>,
    /// How many parts were written, and how many bytes of the next one.
    written: usize,
    written_of_part: usize,
    bytes: usize,
    /// How many of these are of large payloads or frames.
    large_bytes: usize,
    messages: Vec<Taken>,
}

#[derive(Debug)]
enum Part {
    Small(Range<usize>),
    Payload(Bytes),
}

impl Part {
    fn bytes<'a>(&'a self, small: &'a [u8]) -> &'a [u8] {
        match self {
            Part::Small(range) => &small[range.clone()],
            Part::Payload(payload) => payload,
        }
    }
}

impl Batch {
    pub fn clear(&mut self) {
        self.written = 0;
        self.written_of_part = 0;
        self.small.clear();
        self.parts.clear();
        self.bytes = 0;
        self.large_bytes = 0;
        self.messages.clear();
    }

    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Whether it takes no more. What is small has room behind what is large: it need not wait for another turn.
    pub fn is_full(&self) -> bool {
        self.bytes - self.large_bytes >= FULL_BYTES || self.parts.len() >= FULL_PARTS
    }

    /// How many bytes it has.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many parts it has.
    pub fn parts(&self) -> usize {
        self.parts.len()
    }

    /// Its messages.
    pub fn messages(&self) -> &[Taken] {
        &self.messages
    }

    /// Whole frames, as they are.
    pub fn push_frames(&mut self, frames: Bytes) {
        self.push_payload(frames);
    }

    /// A Time message in its frame.
    pub fn push_time(&mut self, time: Timestamp) {
        self.push_small(|small| {
            let message = foxglove::time(time);
            frame::push_binary_header(small, message.len());
            small.extend_from_slice(&message);
        });
    }

    /// A Message Data message in its frame.
    pub(super) fn push_message(&mut self, channel: ChannelId, subscription: u32, message: WaitingMessage) {
        self.messages.push(message.taken(channel));
        let WaitingMessage { log_time, data, .. } = message;
        self.push_small(|small| {
            frame::push_binary_header(small, foxglove::MESSAGE_DATA_HEADER + data.len());
            small.extend_from_slice(&foxglove::message_data_header(subscription, log_time));
        });
        self.push_payload(data);
    }

    fn push_payload(&mut self, payload: Bytes) {
        if !is_kept(payload.len()) {
            return self.push_small(|small| small.extend_from_slice(&payload));
        }
        self.bytes += payload.len();
        if payload.len() > LARGE {
            self.large_bytes += payload.len();
        }
        self.parts.push(Part::Payload(payload));
    }

    fn push_small(&mut self, append: impl FnOnce(&mut Vec<u8>)) {
        let start = self.small.len();
        append(&mut self.small);
        let end = self.small.len();
        self.bytes += end - start;
        match self.parts.last_mut() {
            Some(Part::Small(range)) => range.end = end,
            _ => self.parts.push(Part::Small(start..end)),
        }
    }

    /// Whether all of it was written.
    pub fn is_written(&self) -> bool {
        self.written == self.parts.len()
    }

    /// Writes what is left once, with `write`, which gets the parts and says how many bytes it took.
    pub fn write_some(
        &mut self,
        write: impl FnOnce(&[IoSlice<'_>]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let mut slices = [IoSlice::new(&[]); WRITE_PARTS];
        let mut count = 0;
        for part in &self.parts[self.written..] {
            if count == WRITE_PARTS {
                break;
            }
            slices[count] = IoSlice::new(part.bytes(&self.small));
            count += 1;
        }
        // Of the first one, a front may be written already.
        slices[0].advance(self.written_of_part);
        let taken = write(&slices[..count])?;
        self.advance(taken);
        if taken == 0 { Err(io::ErrorKind::WriteZero.into()) } else { Ok(taken) }
    }

    /// Counts bytes as written.
    fn advance(&mut self, bytes: usize) {
        let mut left = self.written_of_part + bytes;
        while let Some(part) = self.parts.get(self.written) {
            let length = part.bytes(&self.small).len();
            if left < length {
                break;
            }
            left -= length;
            self.written += 1;
        }
        self.written_of_part = left;
    }
}
