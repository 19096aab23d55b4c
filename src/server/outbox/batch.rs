//! What goes to the socket in one vectored write.

use std::io::{self, IoSlice};
use std::ops::Range;

use bytes::Bytes;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use crate::foxglove;
use crate::server::frame;
use crate::time::Timestamp;

/// A batch is full when it has so many bytes or parts. Linux takes 1024 parts in one write.
const FULL_BYTES: usize = 256 * 1024;
const FULL_PARTS: usize = 1000;

/// A payload below this is copied next to its header: that costs less than a part of its own.
const COPY_BELOW: usize = 1024;

/// Frames, ready to be written.
#[derive(Debug, Default)]
pub(in crate::server) struct Batch {
    /// Headers and small payloads, one after another.
    small: Vec<u8>,
    /// What is written, in this order.
    parts: Vec<Part>,
    bytes: usize,
    messages: u64,
    payload_bytes: u64,
}

#[derive(Debug)]
enum Part {
    Small(Range<usize>),
    Payload(Bytes),
}

impl Batch {
    pub fn clear(&mut self) {
        self.small.clear();
        self.parts.clear();
        self.bytes = 0;
        self.messages = 0;
        self.payload_bytes = 0;
    }

    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    pub fn is_full(&self) -> bool {
        self.bytes >= FULL_BYTES || self.parts.len() >= FULL_PARTS
    }

    /// How many messages it has.
    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// Their payload in bytes.
    pub fn payload_bytes(&self) -> u64 {
        self.payload_bytes
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
    pub fn push_message(&mut self, subscription: u32, log_time: Timestamp, data: Bytes) {
        self.messages += 1;
        self.payload_bytes += data.len() as u64;
        self.push_small(|small| {
            frame::push_binary_header(small, foxglove::MESSAGE_DATA_HEADER + data.len());
            small.extend_from_slice(&foxglove::message_data_header(subscription, log_time));
        });
        self.push_payload(data);
    }

    fn push_payload(&mut self, payload: Bytes) {
        if payload.len() < COPY_BELOW {
            self.push_small(|small| small.extend_from_slice(&payload));
        } else {
            self.bytes += payload.len();
            self.parts.push(Part::Payload(payload));
        }
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

    /// Writes everything to `socket`; `note` hears how many bytes it took each time.
    pub async fn write_to(
        &self,
        socket: &mut (impl AsyncWrite + Unpin),
        note: impl Fn(usize),
    ) -> io::Result<()> {
        let mut slices: Vec<IoSlice<'_>> = self
            .parts
            .iter()
            .map(|part| match part {
                Part::Small(range) => IoSlice::new(&self.small[range.clone()]),
                Part::Payload(payload) => IoSlice::new(payload),
            })
            .collect();
        let mut left = &mut slices[..];
        while !left.is_empty() {
            match socket.write_vectored(left).await? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                written => {
                    note(written);
                    IoSlice::advance_slices(&mut left, written);
                }
            }
        }
        Ok(())
    }
}
