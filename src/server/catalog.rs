//! What every client is told of the recording, and what was played of it so far.

use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use super::ServerOptions;
use super::frame;
use super::services;
use crate::foxglove::{AdvertisedChannel, Capability, ServerMessage};
use crate::playback::Range;
use crate::recording::{Channel, ChannelId, Message};

/// A batch of advertised channels is full when it has so many bytes of JSON.
const ADVERTISE_BYTES: usize = 256 * 1024;

/// The channels of a recording, and the frames that tell clients of them.
pub(super) struct Catalog {
    pub name: String,
    pub range: Range,
    pub channels: Vec<Channel>,
    /// Frames that every client gets when it connects.
    pub server_info: Bytes,
    pub advertise: Vec<Bytes>,
    /// Tells of the services, where they are offered.
    pub services: Option<Bytes>,
    played: Vec<Played>,
}

/// How much of a channel was played, for all timelines together.
#[derive(Default)]
struct Played {
    messages: AtomicU64,
    bytes: AtomicU64,
}

impl Catalog {
    pub fn new(channels: Vec<Channel>, range: Range, options: &ServerOptions) -> Self {
        let run_id = random_id();
        Catalog {
            name: options.name.clone(),
            range,
            server_info: server_info(&run_id, range, options),
            advertise: advertise(&channels),
            services: options.control.then(|| {
                services::with_advertised(|services| {
                    frame::text(&ServerMessage::AdvertiseServices { services }.to_json())
                })
            }),
            played: channels.iter().map(|_| Played::default()).collect(),
            channels,
        }
    }

    /// The name of a channel's topic.
    pub fn topic(&self, channel: ChannelId) -> Option<&str> {
        Some(&self.channels.get(channel.0 as usize)?.topic)
    }

    /// Counts a message as played.
    pub fn count(&self, message: &Message) {
        if let Some(played) = self.played.get(message.channel.0 as usize) {
            played.messages.fetch_add(1, Ordering::Relaxed);
            played.bytes.fetch_add(message.data.len() as u64, Ordering::Relaxed);
        }
    }

    /// How many messages of each channel were played so far, and how many bytes they have.
    pub fn played(&self) -> impl Iterator<Item = (u64, u64)> {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        self.played.iter().map(move |played| (load(&played.messages), load(&played.bytes)))
    }
}

fn server_info(run_id: &str, range: Range, options: &ServerOptions) -> Bytes {
    let mut capabilities = vec![
        Capability::Time,
        Capability::Parameters,
        Capability::ParametersSubscribe,
        Capability::ConnectionGraph,
        Capability::Assets,
    ];
    if options.control {
        capabilities.extend([Capability::PlaybackControl, Capability::Services]);
    }
    let info = ServerMessage::ServerInfo {
        name: &options.name,
        capabilities: &capabilities,
        supported_encodings: if options.control { &[services::ENCODING] } else { &[] },
        metadata: &options.metadata,
        session_id: run_id,
        data_start_time: options.control.then(|| range.start.into()),
        data_end_time: options.control.then(|| range.end.into()),
    };
    frame::text(&info.to_json())
}

/// The channels as frames, in batches: a client takes in thousands of channels better in several messages
/// than in one of many megabytes.
fn advertise(channels: &[Channel]) -> Vec<Bytes> {
    let mut frames = Vec::new();
    let mut batch = Vec::new();
    let mut bytes = 0;
    let mut flush = |batch: &mut Vec<AdvertisedChannel<'_>>| {
        if !batch.is_empty() {
            frames.push(frame::text(&ServerMessage::Advertise { channels: batch }.to_json()));
            batch.clear();
        }
    };
    for (id, channel) in (0..).zip(channels) {
        bytes += 200 + channel.topic.len() + channel.schema.as_ref().map_or(0, |schema| schema.data.len());
        batch.push(AdvertisedChannel::new(ChannelId(id), channel));
        if bytes >= ADVERTISE_BYTES {
            flush(&mut batch);
            bytes = 0;
        }
    }
    flush(&mut batch);
    frames
}

/// New for every run, so that clients know that they have to forget what they saw.
fn random_id() -> String {
    let mut hasher = std::hash::RandomState::new().build_hasher();
    hasher.write_u32(std::process::id());
    format!("{:016x}", hasher.finish())
}
