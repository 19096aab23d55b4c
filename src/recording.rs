//! Recordings, whatever their format, behind one face.
//!
//! [`Recording::open`] takes one or several files, finds out by their content what they are, and gives one
//! list of [`Channel`]s and one [`Cursor`] over all their messages in log time order. A format is a module
//! below this one that implements [`Reader`]; nothing above this room knows which formats there are.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use crate::time::Timestamp;

mod buffers;
pub mod check;
mod density;
pub mod jsonl;
mod kind;
mod lookback;
mod marks;
pub mod mcap;
mod merge;
mod problems;
mod source;
#[cfg(test)]
mod tests;
mod topics;
mod watch;

pub use buffers::{Buffer, Buffers, NoMemory};
pub use density::Density;
pub use kind::Kind;
pub use lookback::{Search, StateSearch};
pub use merge::Recording;
pub use problems::{Place, Problem, ProblemKind, Problems};
pub use source::{FileSource, Source};
pub use topics::{TopicError, TopicSelection};

/// What a message's bytes mean, as the recording says it.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Schema {
    /// The name of the type, such as `sensor_msgs/msg/Imu`.
    pub name: String,
    /// How `data` is written: `ros2msg`, `protobuf`, `jsonschema`, ... Empty where there is no schema data.
    pub encoding: String,
    /// The schema itself, as it stands in the recording.
    pub data: Bytes,
}

/// One recorded topic: where messages of one kind come from.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Channel {
    /// The name that the recording gives it.
    pub topic: String,
    /// How its messages are encoded: `cdr`, `json`, `protobuf`, ...
    pub message_encoding: String,
    /// The schema of its messages; `None` where the recording has none (MCAP specification, Channel:
    /// schema id 0).
    pub schema: Option<Arc<Schema>>,
    /// Whatever else the recorder noted about it.
    pub metadata: BTreeMap<String, String>,
    /// How many messages the recording says that it has.
    pub message_count: u64,
}

/// How many messages channels have together. Files say how many they have, and a wrong one says anything.
fn message_count(channels: &[Channel]) -> u64 {
    channels.iter().fold(0, |sum, channel| sum.saturating_add(channel.message_count))
}

impl Channel {
    /// The name of the schema, empty where there is none.
    pub fn schema_name(&self) -> &str {
        self.schema.as_ref().map_or("", |schema| &schema.name)
    }

    /// Whether its publisher kept the last message for late subscribers: ROS 2's durability
    /// `transient_local` in `offered_qos_profiles` (YAML; the name, or the number 1, by the recorder's
    /// version), or ROS 1's `latching` in the connection header.
    pub fn is_latched(&self) -> bool {
        if self.metadata.get("latching").is_some_and(|value| value.trim() == "1") {
            return true;
        }
        self.metadata.get("offered_qos_profiles").is_some_and(|profiles| {
            profiles.lines().any(|line| {
                let line = line.trim_start_matches([' ', '-', '\t']);
                line.strip_prefix("durability:")
                    .is_some_and(|value| matches!(value.trim(), "1" | "transient_local"))
            })
        })
    }
}

/// Which of a [`Recording`]'s channels a message belongs to: an index into [`Recording::channels`].
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ChannelId(pub u32);

/// One recorded message. It equals another one that says the same, wherever in memory that is.
#[derive(Clone, Debug)]
pub struct Message {
    /// Whose message it is.
    pub channel: ChannelId,
    /// The number that its publisher gave it; 0 where there is none.
    pub sequence: u32,
    /// When it was recorded. This is the time that playback follows.
    pub log_time: Timestamp,
    /// When it was published; the log time where the recording does not say.
    pub publish_time: Timestamp,
    /// Its bytes: a slice of what was read or decompressed, not a copy.
    pub data: Bytes,
    /// What `data` is a slice of.
    pub memory: Memory,
}

impl Message {
    /// Whether it keeps much more memory in use than its payload has: then a copy of that is the smaller burden.
    pub fn is_small_slice(&self) -> bool {
        !self.data.is_empty() && self.memory.bytes / 2 > self.data.len()
    }
}

impl Eq for Message {}

impl PartialEq for Message {
    fn eq(&self, other: &Self) -> bool {
        let head =
            |message: &Self| (message.channel, message.sequence, message.log_time, message.publish_time);
        head(self) == head(other) && self.data == other.data
    }
}

/// Memory that messages are slices of. All of it stays in use for as long as one of them does.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    /// Where it begins. As long as it is in use, other memory begins elsewhere.
    pub place: usize,
    /// Its size in bytes.
    pub bytes: usize,
}

impl Memory {
    /// The memory that slices of `bytes` are taken from.
    pub fn of(bytes: &Bytes) -> Self {
        Memory { place: bytes.as_ptr().addr(), bytes: bytes.len() }
    }
}

/// Which of one file's channels are wanted, and what they are called in the whole recording: at the place
/// of a channel in its file's [`Summary::channels`] stands its id in the recording, or `None` where it is
/// not to be played.
pub type ChannelMap = Arc<[Option<ChannelId>]>;

/// What is known of one file once it is open.
#[derive(Clone, Debug)]
pub struct Summary {
    /// The format.
    pub kind: Kind,
    /// Size of the file in bytes.
    pub bytes: u64,
    /// What wrote it (MCAP Header `library`), empty where it does not say.
    pub library: String,
    /// What conventions it follows (MCAP Header `profile`: `ros1`, `ros2`, ...), empty where it does not say.
    pub profile: String,
    /// Its channels, also those without a message. A [`ChannelMap`] follows this order.
    pub channels: Vec<Channel>,
    /// The log times of the first and the last message; `None` where there is no message.
    pub time_range: Option<(Timestamp, Timestamp)>,
    /// How many messages there are.
    pub message_count: u64,
    /// How the messages are packed; empty where the format has no chunks.
    pub chunks: Vec<ChunkSummary>,
    /// Files that the recording carries with it.
    pub attachments: Vec<Attachment>,
    /// Named notes that the recording carries (MCAP Metadata records).
    pub metadata: Vec<Metadata>,
    /// Whether it had an index that could be used; without one the file was read once from start to end.
    pub indexed: bool,
}

/// The chunks of one compression, added up.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ChunkSummary {
    /// `none`, `lz4`, `zstd`, or whatever the file names.
    pub compression: String,
    /// How many chunks there are.
    pub count: u64,
    /// Their size in the file, in bytes.
    pub compressed_bytes: u64,
    /// Their size as records, in bytes.
    pub uncompressed_bytes: u64,
}

/// A file inside a recording (MCAP specification, Attachment).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Attachment {
    /// Its name.
    pub name: String,
    /// Its MIME type.
    pub media_type: String,
    /// When it was recorded.
    pub log_time: Timestamp,
    /// Size of its data in bytes.
    pub bytes: u64,
    /// Where its data starts in the file, in bytes.
    pub offset: u64,
    /// How many bytes of its record stand before the data; its checksum covers both.
    pub head_bytes: u64,
}

/// A named note inside a recording (MCAP specification, Metadata).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Metadata {
    /// What the note is about.
    pub name: String,
    /// The note.
    pub entries: BTreeMap<String, String>,
}

/// One opened file, whatever its format.
pub trait Reader: Send + Sync {
    /// What is known of it.
    fn summary(&self) -> &Summary;

    /// What the schema of a channel (its place in [`Summary::channels`]) was inferred from; `None` where the
    /// file holds the schema, or says that there is none.
    fn inferred(&self, _channel: usize) -> Option<&jsonl::Inferred> {
        None
    }

    /// Counts its messages, those of the channels that `channels` names, by its index.
    fn density(&self, channels: &ChannelMap, density: &mut Density, cancelled: &dyn Fn() -> bool);

    /// The data of one of its attachments.
    ///
    /// # Errors
    /// Where it can't be read, or is not what was recorded.
    fn attachment(&self, _: &Attachment) -> io::Result<Bytes> {
        Err(io::ErrorKind::NotFound.into())
    }

    /// Its messages from the log time `from` on (inclusive), those of the channels that `channels` names.
    ///
    /// They come in log time order, and where log times are equal, in the order in which they stand in the
    /// file. What can't be read is skipped and told to the [`Problems`] that the file was opened with.
    fn cursor(&self, from: Timestamp, channels: ChannelMap) -> Box<dyn Cursor>;

    /// Looks for the last message before a log time on each of the channels that `channels` names, by the order
    /// in which a cursor gives them. Through the index, and without keeping what is read for it.
    fn search(&self, before: Timestamp, channels: ChannelMap) -> Box<dyn Search>;
}

/// Goes through messages in log time order, and where log times are equal, in file order.
pub trait Cursor: Send {
    /// The next message, or `None` after the last one.
    fn next(&mut self) -> Option<Message>;
}

/// How to open a recording.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// Take it as an error where otherwise something would be skipped with a warning.
    pub strict: bool,
    /// The largest chunk that is read, in bytes after decompression. A larger one is skipped.
    pub max_chunk_bytes: u64,
    /// Do not use the file's own index: read it whole, and make one.
    pub ignore_index: bool,
    /// How many bytes of decoded chunks are kept for whoever reads them next.
    pub chunk_cache_bytes: usize,
    /// How many bytes of decoded chunks one who reads keeps of a file while they overlap in time; one chunk in any
    /// case. Where more overlap, they are decoded again and again.
    pub overlap_bytes: u64,
}

impl Default for OpenOptions {
    fn default() -> Self {
        OpenOptions {
            strict: false,
            max_chunk_bytes: 1 << 30,
            ignore_index: false,
            chunk_cache_bytes: 4 << 20,
            overlap_bytes: 64 << 20,
        }
    }
}

/// How far the one reading of a file has come that a file without an index needs.
#[derive(Clone, Copy, Debug)]
pub struct ScanProgress<'a> {
    /// The file.
    pub path: &'a Path,
    /// Bytes read so far.
    pub done: u64,
    /// Size of the file in bytes.
    pub total: u64,
}

/// What opening a file needs from its surroundings.
pub(crate) struct OpenContext<'a> {
    /// The file's name, for messages.
    pub path: &'a Path,
    /// How to open it.
    pub options: &'a OpenOptions,
    /// Where to tell what is skipped.
    pub problems: Arc<Problems>,
    /// Keeps decoded chunks, for all files of the recording.
    pub cache: Arc<mcap::ChunkCache>,
    /// Whom to tell how far a scan has come; called every few megabytes.
    pub progress: &'a (dyn Fn(ScanProgress<'_>) + Sync),
}

impl OpenContext<'_> {
    /// The same surroundings, with other options.
    pub fn with_options<'a>(&'a self, options: &'a OpenOptions) -> OpenContext<'a> {
        let (problems, cache) = (Arc::clone(&self.problems), Arc::clone(&self.cache));
        OpenContext { path: self.path, options, problems, cache, progress: self.progress }
    }
}

/// Why a recording can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The system does not give us the file.
    #[error("can't open {}: {}", .path.display(), describe_io(.error))]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// It is no recording.
    #[error("{}: {reason}", .path.display())]
    NotARecording {
        /// The file.
        path: PathBuf,
        /// What it is, as far as can be seen, and what would have been right.
        reason: String,
    },
    /// With [`OpenOptions::strict`]: something would have been skipped.
    #[error("{0}")]
    Strict(Problem),
    /// It is a recording, but contradicts itself in a way that nothing can be played.
    #[error("{}: {reason}", .path.display())]
    Contradiction {
        /// The file.
        path: PathBuf,
        /// What contradicts what, and where.
        reason: String,
    },
}

/// What the system said, in words without its error number.
fn describe_io(error: &std::io::Error) -> String {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::NotFound => "there is no such file".into(),
        ErrorKind::PermissionDenied => "permission denied".into(),
        ErrorKind::IsADirectory => "it is a directory".into(),
        _ => {
            let text = error.to_string();
            text.split(" (os error").next().unwrap_or(&text).to_lowercase()
        }
    }
}

/// Why a message or a chunk (`what`) of an open file is not played, what follows, and what to do. To be told once:
/// it is said of all that can't be read.
fn describe_loss(error: &std::io::Error, what: &str) -> String {
    if error.kind() == std::io::ErrorKind::UnexpectedEof {
        return format!(
            "the file has become shorter since it was opened; this {what} is skipped, and so is every other that is \
             not there any more; play it again once nothing writes to it"
        );
    }
    format!(
        "the {what} can't be read ({}); it is skipped, and so is every other that can't be read; see whether the \
         disk is sound, and play a copy",
        describe_io(error)
    )
}

impl fmt::Display for ChannelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
