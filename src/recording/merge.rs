//! One recording from one or several files.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::topics::{PlayedChannels, Recorded, matching, play_channels};
use super::{
    Attachment, Channel, ChannelId, ChannelMap, Cursor, Density, FileSource, Kind, Message, OpenContext,
    OpenError, OpenOptions, Place, ProblemKind, Problems, Reader, ScanProgress, Source, StateSearch, Summary,
    TopicError, TopicSelection, jsonl, kind, mcap, message_count,
};
use crate::time::Timestamp;

/// One or several files on one timeline.
pub struct Recording {
    files: Vec<RecordedFile>,
    channels: Vec<Channel>,
    maps: Vec<ChannelMap>,
    problems: Arc<Problems>,
}

struct RecordedFile {
    path: PathBuf,
    reader: Arc<dyn Reader>,
}

impl RecordedFile {
    fn channels(&self) -> Vec<Recorded<'_>> {
        let channels = self.reader.summary().channels.iter().enumerate();
        channels.map(|(place, channel)| (channel, self.reader.inferred(place))).collect()
    }
}

impl Recording {
    /// Opens files and puts them on one timeline. What can't be played in them is told to `problems`, now
    /// and while they are read later. `progress` hears of the one reading that a file without index needs.
    ///
    /// All topics are played under their own names, until [`select`](Self::select) chooses. It is `select`
    /// that tells what is to be known of the played topics, so who wants that told calls it in any case.
    ///
    /// # Errors
    /// Where a file can't be read, or is no recording.
    pub fn open<P: AsRef<Path>>(
        paths: &[P],
        options: &OpenOptions,
        problems: Arc<Problems>,
        progress: &(dyn Fn(ScanProgress<'_>) + Sync),
    ) -> Result<Self, OpenError> {
        let open = |path: &P| {
            let path = path.as_ref().to_owned();
            match FileSource::open(&path) {
                Ok(source) => Ok((path, Arc::new(source) as Arc<dyn Source>)),
                Err(error) => Err(OpenError::Io { path, error }),
            }
        };
        let sources = paths.iter().map(open).collect::<Result<Vec<_>, OpenError>>()?;
        Self::from_sources(sources, options, problems, progress)
    }

    /// As [`open`](Self::open), with bytes that come from somewhere else than files, such as from memory. Each
    /// source has a name by which problems call it.
    ///
    /// # Errors
    /// Where a source can't be read, or is no recording.
    pub fn from_sources(
        sources: Vec<(PathBuf, Arc<dyn Source>)>,
        options: &OpenOptions,
        problems: Arc<Problems>,
        progress: &(dyn Fn(ScanProgress<'_>) + Sync),
    ) -> Result<Self, OpenError> {
        let cache = Arc::new(mcap::ChunkCache::new(options.chunk_cache_bytes));
        let open = |(path, source): (PathBuf, Arc<dyn Source>)| {
            let (problems, cache) = (Arc::clone(&problems), Arc::clone(&cache));
            let context = OpenContext { path: &path, options, problems, cache, progress };
            let reader = open_source(source, &context)?.into();
            Ok(RecordedFile { path, reader })
        };
        let files = sources.into_iter().map(open).collect::<Result<Vec<_>, OpenError>>()?;
        let mut recording = Recording { files, channels: Vec::new(), maps: Vec::new(), problems };
        // No selection, no renaming: nothing can go wrong with it.
        if let Ok(played) = recording.play_channels(&TopicSelection::default()) {
            recording.adopt(played);
        }
        Ok(recording)
    }

    /// Narrows the recording to some of its topics, and gives topics other names. What is to be known of the
    /// topics that are left is told to the recording's problems, such as that one of them has messages of
    /// different types, which play under different names.
    ///
    /// # Errors
    /// Where no topic is left, or two would have the same name.
    pub fn select(&mut self, selection: &TopicSelection) -> Result<(), TopicError> {
        let mut played = self.play_channels(selection)?;
        for note in played.notes.drain(..) {
            let file = self.files.get(note.file.unwrap_or(0));
            let path = file.map_or(Path::new(""), |file| &file.path);
            // What is asked for and not there was mostly misspelt.
            match note.file {
                None => self.problems.note_of(ProblemKind::Doubt, path, Place::Topic(note.topic), note.text),
                Some(_) => self.problems.note(path, Place::Topic(note.topic), note.text),
            }
        }
        self.adopt(played);
        Ok(())
    }

    fn play_channels(&self, selection: &TopicSelection) -> Result<PlayedChannels, TopicError> {
        let files: Vec<_> = self.files.iter().map(RecordedFile::channels).collect();
        play_channels(&files, selection)
    }

    fn adopt(&mut self, played: PlayedChannels) {
        self.channels = played.channels;
        self.maps = played.maps;
    }

    /// The channels that are played, each with a topic name of its own. A
    /// [`ChannelId`] is an index into them.
    pub fn channels(&self) -> &[Channel] {
        &self.channels
    }

    /// Which channels one of these globs matches.
    ///
    /// # Errors
    /// Where a glob can't be read, or matches no channel.
    pub fn channels_matching<S: AsRef<str>>(&self, globs: &[S]) -> Result<Vec<ChannelId>, TopicError> {
        matching(&self.channels, globs)
    }

    /// The files, in the order in which they were given, and what is known of them.
    pub fn files(&self) -> impl Iterator<Item = (&Path, &Summary)> {
        self.files.iter().map(|file| (file.path.as_path(), file.reader.summary()))
    }

    /// The log times of the first and the last message, of all topics; `None` where there is no message.
    pub fn time_range(&self) -> Option<(Timestamp, Timestamp)> {
        let ranges = self.files().filter_map(|(_, summary)| summary.time_range);
        ranges.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
    }

    /// How many messages of the played channels there are.
    pub fn message_count(&self) -> u64 {
        message_count(&self.channels)
    }

    /// What can't be played.
    pub fn problems(&self) -> &Arc<Problems> {
        &self.problems
    }

    /// The ROS distribution that recorded it (`humble`, `noetic`, ...), where one of the files says it.
    pub fn ros_distro(&self) -> Option<String> {
        self.files().find_map(|(_, summary)| summary.ros_distro())
    }

    /// How many messages each played channel has in each of so many equal parts of a range of log times, by the
    /// files' indexes. May read a few bytes of every chunk; `cancelled` is asked from time to time.
    pub fn density(
        &self,
        range: (Timestamp, Timestamp),
        parts: usize,
        cancelled: &dyn Fn() -> bool,
    ) -> Density {
        let mut density = Density::new(range, self.channels.len(), parts);
        for (file, map) in self.files.iter().zip(&self.maps) {
            file.reader.density(map, &mut density, cancelled);
        }
        density
    }

    /// The attachment of this name: the first one, where several have it.
    fn find_attachment(&self, name: &str) -> Option<(&RecordedFile, &Attachment)> {
        self.files.iter().find_map(|file| {
            let attachments = &file.reader.summary().attachments;
            Some((file, attachments.iter().find(|attachment| attachment.name == name)?))
        })
    }

    /// Size in bytes of the attachment of this name, where there is one: the first of all files.
    pub fn attachment_size(&self, name: &str) -> Option<u64> {
        Some(self.find_attachment(name)?.1.bytes)
    }

    /// The attachment of this name: the first of all files. How large it is, and whether that is too much, is up
    /// to the caller.
    ///
    /// # Errors
    /// Where there is none, or it can't be read, or is not what was recorded.
    pub fn attachment(&self, name: &str) -> io::Result<Bytes> {
        let (file, attachment) = self.find_attachment(name).ok_or(io::ErrorKind::NotFound)?;
        file.reader.attachment(attachment)
    }

    /// The messages of the played channels from the log time `from` on (inclusive), in log time order;
    /// where log times are equal, in the order of the files, and within a file in the order in which they
    /// stand there.
    pub fn cursor(&self, from: Timestamp) -> Box<dyn Cursor> {
        if let ([only], [map]) = (&self.files[..], &self.maps[..]) {
            return only.reader.cursor(from, Arc::clone(map));
        }
        let files = self.files.iter().map(|file| Arc::clone(&file.reader));
        Box::new(MergeCursor::new(from, files.zip(self.maps.iter().cloned())))
    }

    /// Looks for the state before a log time: the last message before it on each played channel.
    pub fn state_before(&self, before: Timestamp) -> StateSearch {
        let files = self.files.iter().zip(&self.maps);
        let searches = files.map(|(file, map)| file.reader.search(before, Arc::clone(map))).collect();
        StateSearch::new(searches, self.channels.len())
    }
}

fn open_source(source: Arc<dyn Source>, context: &OpenContext<'_>) -> Result<Box<dyn Reader>, OpenError> {
    match kind_of(&*source, context)? {
        Kind::Mcap => mcap::open(source, context),
        Kind::Jsonl => jsonl::open(source, context),
    }
}

/// Opens a file as bytes, and finds out what it is.
pub(super) fn identify(context: &OpenContext<'_>) -> Result<(Kind, Arc<dyn Source>), OpenError> {
    let io_error = |error| OpenError::Io { path: context.path.to_owned(), error };
    let source: Arc<dyn Source> = Arc::new(FileSource::open(context.path).map_err(io_error)?);
    Ok((kind_of(&*source, context)?, source))
}

fn kind_of(source: &dyn Source, context: &OpenContext<'_>) -> Result<Kind, OpenError> {
    let io_error = |error| OpenError::Io { path: context.path.to_owned(), error };
    let not_one = |reason| OpenError::NotARecording { path: context.path.to_owned(), reason };
    kind::detect(source).map_err(io_error)?.map_err(not_one)
}

/// Merges files by log time; where log times are equal, the earlier file comes first.
///
/// A file is opened when the next message could be in it, and closed after its last one: of a hundred parts
/// of a recording one after the other, what is in memory is the one that plays.
pub(super) struct MergeCursor {
    parts: Vec<Part>,
    /// The parts that are not over: from when on one can have a message, and its place in `parts`.
    order: BinaryHeap<Reverse<(Timestamp, usize)>>,
    /// The log time of the last message; before the first, the time to begin with.
    last_time: Timestamp,
}

/// One file in a [`MergeCursor`].
enum Part {
    /// It does not begin before the time at which it stands in the order.
    Waiting { reader: Arc<dyn Reader>, channels: ChannelMap },
    /// Its next message stands in the order.
    Open { cursor: Box<dyn Cursor>, next: Message },
    /// It has no more messages.
    Over,
}

impl MergeCursor {
    pub fn new(from: Timestamp, files: impl Iterator<Item = (Arc<dyn Reader>, ChannelMap)>) -> Self {
        let mut merge = MergeCursor { parts: Vec::new(), order: BinaryHeap::new(), last_time: from };
        for (place, (reader, channels)) in files.enumerate() {
            // When a file ends is not asked: by a wrong index it could have messages beyond, and opening one
            // that has none costs no reading.
            let start = reader.summary().time_range.map_or(from, |(start, _)| start.max(from));
            merge.order.push(Reverse((start, place)));
            merge.parts.push(Part::Waiting { reader, channels });
        }
        merge
    }

    /// Puts a part where its next message belongs.
    fn go_on(&mut self, place: usize, mut cursor: Box<dyn Cursor>) {
        if let Some(next) = cursor.next() {
            self.order.push(Reverse((next.log_time, place)));
            self.parts[place] = Part::Open { cursor, next };
        }
    }
}

impl Cursor for MergeCursor {
    fn next(&mut self) -> Option<Message> {
        loop {
            let Reverse((_, place)) = self.order.pop()?;
            match std::mem::replace(&mut self.parts[place], Part::Over) {
                // A file may begin earlier than its index says. From here on it can still play in order; the
                // file's own cursor tells of what is too late.
                Part::Waiting { reader, channels } => {
                    self.go_on(place, reader.cursor(self.last_time, channels));
                }
                Part::Open { cursor, next } => {
                    self.last_time = next.log_time;
                    self.go_on(place, cursor);
                    return Some(next);
                }
                Part::Over => {}
            }
        }
    }
}

impl Summary {
    /// The ROS distribution that the recording names: in rosbag2's metadata record (key
    /// `serialized_metadata`, YAML, field `ros_distro`), or by the profile.
    ///
    /// The profile `ros1` is taken as `noetic`, the last ROS 1 there is. The profile `ros2` without a named
    /// distribution is taken as `humble`: rosbag2 began to note the distribution only after that release, so
    /// that a recording without it is mostly from there. It costs little to be wrong: a viewer needs some
    /// name to switch to ROS and its common types, and reads messages by the recording's own schemas.
    pub fn ros_distro(&self) -> Option<String> {
        let notes = self.metadata.iter().filter(|note| note.name == "rosbag2");
        let yaml = notes.filter_map(|note| note.entries.get("serialized_metadata"));
        let distro = yaml.flat_map(|yaml| yaml.lines()).find_map(|line| {
            let value = line.trim().strip_prefix("ros_distro:")?.trim().trim_matches(['"', '\'']);
            (!value.is_empty() && value != "unknown" && value != "rosbags").then(|| value.to_owned())
        });
        distro.or_else(|| match self.profile.as_str() {
            "ros1" => Some("noetic".into()),
            "ros2" => Some("humble".into()),
            _ => None,
        })
    }
}
