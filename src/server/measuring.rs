//! A door for the benches: the queue of a client, without a client.

use std::fmt;
use std::time::{Duration, Instant};

use super::outbox::{Batch, Outbox};
use crate::foxglove::Subscription;
use crate::playback::Event;
use crate::recording::ChannelId;
use crate::time::Timestamp;

/// The queue of a client that is subscribed to every channel.
pub struct Queue(Outbox);

impl Queue {
    /// For so many channels, and so many bytes of messages.
    pub fn new(channels: u32, limit: usize) -> Self {
        let outbox = Outbox::new(channels as usize, limit, Duration::MAX);
        for channel in 0..channels {
            let wanted = Subscription { id: channel, channel: ChannelId(channel) };
            // Each channel once, each under its own id.
            outbox.subscribe(wanted).unwrap_or_default();
        }
        Queue(outbox)
    }

    /// Puts in what happens.
    pub fn deliver(&self, events: &[Event]) {
        self.0.deliver(events, Timestamp::MIN, Instant::now());
    }

    /// Takes out as much as one write has. Says how many parts that are.
    pub fn take(&self) -> usize {
        let mut batch = Batch::default();
        self.0.take_batch(&mut batch);
        let parts = batch.parts();
        self.0.count_sent(&mut batch);
        parts
    }

    /// How many messages were taken out.
    pub fn taken(&self) -> u64 {
        self.0.taken()
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").finish_non_exhaustive()
    }
}
