//! From the channels that files hold to the channels that are played: which topics are wanted, what they
//! are called, and which channels are one.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use regex::Regex;

use super::jsonl::{self, Inferred};
use super::{Channel, ChannelId, ChannelMap, Schema};

/// Which topics are played, and under which names.
#[derive(Clone, Debug, Default)]
pub struct TopicSelection {
    include_globs: Option<GlobSet>,
    /// Every glob on its own, to tell of those that match nothing.
    globs: Vec<(String, GlobSet)>,
    include_regex: Option<Regex>,
    exclude_globs: GlobSet,
    exclude_regex: Option<Regex>,
    renames: BTreeMap<String, String>,
}

/// What is wrong with a selection of topics.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TopicError {
    /// A pattern can't be read.
    #[error("the pattern '{pattern}' can't be read: {reason}")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// Why not.
        reason: String,
    },
    /// A renaming is not of the form OLD:=NEW.
    #[error("'{0}' is not of the form OLD:=NEW")]
    Rename(String),
    /// Nothing is left to play.
    #[error(
        "the topic filters leave no topic of {available}; `fgplay info` lists them (names begin with /, and ** matches any)"
    )]
    NothingLeft {
        /// How many topics the recording has.
        available: usize,
    },
    /// No topic that is played is meant.
    #[error(
        "no topic that is played matches '{0}'; `fgplay info` lists them (names begin with /, and ** matches any)"
    )]
    NoMatch(String),
    /// Two topics would have the same name.
    #[error("topic {from} can't be remapped to {to}: {other} has that name already")]
    NameTaken {
        /// The topic that was to be renamed.
        from: String,
        /// The name it was to get.
        to: String,
        /// The topic of the recording that has the name.
        other: String,
    },
}

impl TopicSelection {
    /// Plays only the topics that one of these globs, or the [regex](Self::including_regex), matches. `*`
    /// stands for anything within one level of a name, `**` for any number of levels.
    ///
    /// # Errors
    /// Where a glob can't be read.
    pub fn including<S: AsRef<str>>(mut self, globs: &[S]) -> Result<Self, TopicError> {
        self.include_globs = if globs.is_empty() { None } else { Some(glob_set(globs)?) };
        self.note_globs(globs)?;
        Ok(self)
    }

    /// Plays only the topics that this regular expression, or one of the [globs](Self::including), matches
    /// anywhere in the name.
    ///
    /// # Errors
    /// Where it can't be read.
    pub fn including_regex(mut self, regex: &str) -> Result<Self, TopicError> {
        self.include_regex = Some(parse_regex(regex)?);
        Ok(self)
    }

    /// Leaves out the topics that one of these globs matches, whatever else includes them.
    ///
    /// # Errors
    /// Where a glob can't be read.
    pub fn excluding<S: AsRef<str>>(mut self, globs: &[S]) -> Result<Self, TopicError> {
        self.exclude_globs = glob_set(globs)?;
        self.note_globs(globs)?;
        Ok(self)
    }

    /// Leaves out the topics that this regular expression matches, whatever else includes them.
    ///
    /// # Errors
    /// Where it can't be read.
    pub fn excluding_regex(mut self, regex: &str) -> Result<Self, TopicError> {
        self.exclude_regex = Some(parse_regex(regex)?);
        Ok(self)
    }

    /// Plays topics under other names, each given as `OLD:=NEW`. Filters see the old name.
    ///
    /// # Errors
    /// Where one is not of that form, or one topic is given two new names.
    pub fn renaming<S: AsRef<str>>(mut self, renames: &[S]) -> Result<Self, TopicError> {
        for rename in renames.iter().map(AsRef::as_ref) {
            let bad = || TopicError::Rename(rename.to_owned());
            let (old, new) = rename.split_once(":=").ok_or_else(bad)?;
            if old.is_empty() || new.is_empty() {
                return Err(bad());
            }
            if let Some(taken) = self.renames.insert(old.into(), new.into())
                && taken != new
            {
                let reason = format!("{old} is already remapped to {taken}");
                return Err(TopicError::Pattern { pattern: rename.into(), reason });
            }
        }
        Ok(self)
    }

    fn note_globs<S: AsRef<str>>(&mut self, globs: &[S]) -> Result<(), TopicError> {
        for glob in globs {
            self.globs.push((glob.as_ref().to_owned(), glob_set(&[glob])?));
        }
        Ok(())
    }

    fn wants(&self, topic: &str) -> bool {
        let includes_all = self.include_globs.is_none() && self.include_regex.is_none();
        let included = includes_all
            || self.include_globs.as_ref().is_some_and(|globs| globs.is_match(topic))
            || self.include_regex.as_ref().is_some_and(|regex| regex.is_match(topic));
        included
            && !self.exclude_globs.is_match(topic)
            && !self.exclude_regex.as_ref().is_some_and(|regex| regex.is_match(topic))
    }

    fn rename<'a>(&'a self, topic: &'a str) -> &'a str {
        self.renames.get(topic).map_or(topic, String::as_str)
    }
}

fn glob_set<S: AsRef<str>>(globs: &[S]) -> Result<GlobSet, TopicError> {
    let error = |pattern: &str, error: &globset::Error| TopicError::Pattern {
        pattern: pattern.into(),
        reason: error.kind().to_string(),
    };
    let mut set = GlobSetBuilder::new();
    for pattern in globs.iter().map(AsRef::as_ref) {
        let glob = GlobBuilder::new(pattern)
            .literal_separator(true)
            .backslash_escape(true)
            .build()
            .map_err(|e| error(pattern, &e))?;
        set.add(glob);
    }
    set.build().map_err(|e| error("", &e))
}

fn parse_regex(pattern: &str) -> Result<Regex, TopicError> {
    Regex::new(pattern).map_err(|error| {
        // The last line of its error says what is wrong, the others draw where.
        let text = error.to_string();
        let reason = text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
        TopicError::Pattern { pattern: pattern.into(), reason }
    })
}

/// Which of these channels one of the globs matches, by the names under which they are played.
///
/// # Errors
/// Where a glob can't be read, or matches none of them.
pub(super) fn matching<S: AsRef<str>>(
    channels: &[Channel],
    globs: &[S],
) -> Result<Vec<ChannelId>, TopicError> {
    let mut found = BTreeSet::new();
    for glob in globs {
        let set = glob_set(&[glob])?;
        let matched = (0..).zip(channels).filter(|(_, channel)| set.is_match(&channel.topic));
        let mut matched = matched.map(|(id, _)| ChannelId(id)).peekable();
        if matched.peek().is_none() {
            return Err(TopicError::NoMatch(glob.as_ref().to_owned()));
        }
        found.extend(matched);
    }
    Ok(found.into_iter().collect())
}

/// The channels to play, and how the channels of each file map to them.
#[derive(Debug)]
pub(super) struct PlayedChannels {
    pub channels: Vec<Channel>,
    pub maps: Vec<ChannelMap>,
    pub notes: Vec<Note>,
}

/// Something about a topic that the user should know.
#[derive(Debug)]
pub(super) struct Note {
    /// Which of the files it is about; `None` where it is none of them.
    pub file: Option<usize>,
    /// The topic, by the name that it was recorded with.
    pub topic: String,
    /// A sentence, as in [`Problem::text`](super::Problem::text).
    pub text: String,
}

/// A channel as a file has it, and what its schema was inferred from, if it was.
pub(super) type Recorded<'a> = (&'a Channel, Option<&'a Inferred>);

/// Where a played channel comes from.
struct Origin<'a> {
    /// The first file with it.
    file: usize,
    /// What it was recorded as.
    topic: &'a str,
    /// What its schema was inferred from, in each of the files; empty where it was not.
    inferred: Vec<&'a Inferred>,
}

/// What has to agree for two channels of a topic to be one.
#[derive(Clone, Eq, Hash, PartialEq)]
struct Identity<'a> {
    topic: &'a str,
    message_encoding: &'a str,
    schema: SchemaIdentity<'a>,
}

#[derive(Clone, Eq, Hash, PartialEq)]
enum SchemaIdentity<'a> {
    Recorded(Option<&'a Schema>),
    /// It was inferred, so it is that of all messages of the topic; the name is what one of the files gives.
    Inferred(Option<&'a str>),
}

/// Chooses, names and unites the channels of several files.
///
/// Channels with the same topic, message encoding and schema become one; so do those of a topic whose schemas
/// were inferred, unless their files give these different names. Where channels of a topic differ
/// in these, the one with most messages keeps the name (Studio refuses a second channel of a topic), and
/// the others get their schema's name added to it.
pub(super) fn play_channels(
    files: &[Vec<Recorded<'_>>],
    selection: &TopicSelection,
) -> Result<PlayedChannels, TopicError> {
    check_renames(files, selection)?;
    let names = given_names(files);
    let mut channels: Vec<Channel> = Vec::new();
    let mut origins: Vec<Origin<'_>> = Vec::new();
    let mut ids: HashMap<Identity<'_>, ChannelId> = HashMap::new();
    let mut maps = Vec::with_capacity(files.len());
    for (number, file) in files.iter().enumerate() {
        let map = file.iter().map(|&(channel, inferred)| {
            if !selection.wants(&channel.topic) {
                return None;
            }
            let id = *ids.entry(identity(channel, inferred, &names)).or_insert_with(|| {
                let topic = selection.rename(&channel.topic).to_owned();
                channels.push(Channel { topic, message_count: 0, ..channel.clone() });
                origins.push(Origin { file: number, topic: &channel.topic, inferred: Vec::new() });
                ChannelId(channels.len() as u32 - 1)
            });
            unite(&mut channels[id.0 as usize], channel);
            origins[id.0 as usize].inferred.extend(inferred);
            Some(id)
        });
        maps.push(map.collect::<ChannelMap>());
    }

    let available: HashSet<&str> =
        files.iter().flatten().map(|(channel, _)| channel.topic.as_str()).collect();
    if channels.is_empty() && !available.is_empty() {
        return Err(TopicError::NothingLeft { available: available.len() });
    }
    unite_inferred(&mut channels, &origins);
    let mut notes = tell_apart(&mut channels, &origins);
    for (glob, matcher) in &selection.globs {
        if !available.iter().any(|topic| matcher.is_match(topic)) {
            let text = "no topic of the recording matches this pattern".into();
            notes.push(Note { file: None, topic: glob.clone(), text });
        }
    }
    for old in selection.renames.keys().filter(|old| !available.contains(old.as_str())) {
        let text = "it is remapped, but the recording has no topic of that name".into();
        notes.push(Note { file: None, topic: old.clone(), text });
    }
    Ok(PlayedChannels { channels, maps, notes })
}

fn identity<'a>(
    channel: &'a Channel,
    inferred: Option<&'a Inferred>,
    names: &HashMap<&str, &'a str>,
) -> Identity<'a> {
    let (topic, message_encoding) = (channel.topic.as_str(), channel.message_encoding.as_str());
    let schema = match inferred {
        Some(inferred) => SchemaIdentity::Inferred(inferred.given_name().or(names.get(topic).copied())),
        None => SchemaIdentity::Recorded(channel.schema.as_deref()),
    };
    Identity { topic, message_encoding, schema }
}

/// By topic, the first name that a file gives an inferred schema.
fn given_names<'a>(files: &[Vec<Recorded<'a>>]) -> HashMap<&'a str, &'a str> {
    let mut names = HashMap::new();
    for &(channel, inferred) in files.iter().flatten() {
        if let Some(name) = inferred.and_then(Inferred::given_name) {
            names.entry(channel.topic.as_str()).or_insert(name);
        }
    }
    names
}

/// Gives channels whose schemas were inferred one that is true for the messages of all files. Viewers keep one
/// definition for a schema's name, so a name that is made up is nobody else's.
fn unite_inferred(channels: &mut [Channel], origins: &[Origin<'_>]) {
    let name = |(channel, origin): (&Channel, &Origin<'_>)| match &origin.inferred[..] {
        [] => Some(channel.schema_name().to_owned()),
        parts => parts.iter().find_map(|part| part.given_name()).map(str::to_owned),
    };
    let mut taken: HashSet<String> = channels.iter().zip(origins).filter_map(name).collect();
    for (channel, origin) in channels.iter_mut().zip(origins) {
        if !origin.inferred.is_empty() {
            let make_name = || jsonl::unused_name(jsonl::name_from_topic(origin.topic), &mut taken);
            channel.schema = Inferred::schema(&origin.inferred, make_name).map(Arc::new);
        }
    }
}

/// Adds what is known of `other` to `channel`, of which it is a part.
fn unite(channel: &mut Channel, other: &Channel) {
    // Files say how many they have, and a wrong one says anything.
    channel.message_count = channel.message_count.saturating_add(other.message_count);
    if !channel.is_latched() && other.is_latched() {
        channel.metadata.clone_from(&other.metadata);
    }
}

/// Refuses to give two topics the same name.
fn check_renames(files: &[Vec<Recorded<'_>>], selection: &TopicSelection) -> Result<(), TopicError> {
    let mut owners: HashMap<&str, &str> = HashMap::new();
    let wanted = || {
        let topics = files.iter().flatten().map(|(channel, _)| channel.topic.as_str());
        topics.filter(|topic| selection.wants(topic))
    };
    for topic in wanted().filter(|topic| !selection.renames.contains_key(*topic)) {
        owners.insert(topic, topic);
    }
    for topic in wanted().filter(|topic| selection.renames.contains_key(*topic)) {
        let to = selection.rename(topic);
        let other = *owners.entry(to).or_insert(topic);
        if other != topic {
            let (from, to, other) = (topic.to_owned(), to.to_owned(), other.to_owned());
            return Err(TopicError::NameTaken { from, to, other });
        }
    }
    Ok(())
}

/// Gives channels of the same topic names of their own, and says which.
fn tell_apart(channels: &mut [Channel], origins: &[Origin<'_>]) -> Vec<Note> {
    let mut by_topic: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (index, channel) in channels.iter().enumerate() {
        by_topic.entry(channel.topic.clone()).or_default().push(index);
    }
    let mut taken: HashSet<String> = by_topic.keys().cloned().collect();
    let mut notes = Vec::new();
    for (topic, mut indices) in by_topic {
        // Stable, so that of equals the first one in the file keeps the name.
        indices.sort_by_key(|&index| std::cmp::Reverse(channels[index].message_count));
        for &index in &indices[1..] {
            let channel = &mut channels[index];
            let kind = match channel.schema_name() {
                "" => channel.message_encoding.as_str(),
                name => name,
            };
            let base = format!("{topic} ({kind})");
            let numbered = (2..).map(|number| format!("{base} #{number}"));
            let name = std::iter::once(base.clone()).chain(numbered).find(|name| !taken.contains(name));
            channel.topic = name.unwrap_or(base);
            taken.insert(channel.topic.clone());
            let text = format!(
                "it was recorded with different types, and a viewer takes only one for a topic, so {} of its \
                 messages play as '{}'",
                channel.message_count, channel.topic
            );
            let origin = &origins[index];
            notes.push(Note { file: Some(origin.file), topic: origin.topic.to_owned(), text });
        }
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel(topic: &str, schema: &str, message_count: u64) -> Channel {
        let schema =
            Schema { name: schema.into(), encoding: "ros2msg".into(), data: schema.to_owned().into() };
        Channel {
            topic: topic.into(),
            message_encoding: "cdr".into(),
            schema: Some(Arc::new(schema)),
            message_count,
            ..Channel::default()
        }
    }

    fn names(played: &PlayedChannels) -> Vec<&str> {
        played.channels.iter().map(|channel| channel.topic.as_str()).collect()
    }

    fn play(channels: &[Channel], selection: &TopicSelection) -> Result<PlayedChannels, TopicError> {
        play_files(&[channels], selection)
    }

    fn play_files(files: &[&[Channel]], selection: &TopicSelection) -> Result<PlayedChannels, TopicError> {
        let files: Vec<Vec<Recorded<'_>>> =
            files.iter().map(|file| file.iter().map(|channel| (channel, None)).collect()).collect();
        play_channels(&files, selection)
    }

    #[test]
    fn equal_channels_of_several_files_are_one() {
        let (first, second) = ([channel("/tf", "TF", 3)], [channel("/a", "A", 1), channel("/tf", "TF", 4)]);
        let played = play_files(&[&first[..], &second[..]], &TopicSelection::default()).unwrap();
        assert_eq!(names(&played), ["/tf", "/a"]);
        assert_eq!(played.channels[0].message_count, 7);
        assert_eq!(*played.maps[1], [Some(ChannelId(1)), Some(ChannelId(0))]);
        assert!(played.notes.is_empty());
    }

    #[test]
    fn files_may_say_that_they_have_any_number_of_messages() {
        let file = [channel("/a", "A", u64::MAX), channel("/b", "B", u64::MAX)];
        let played = play_files(&[&file, &file], &TopicSelection::default()).unwrap();
        assert_eq!(played.channels[0].message_count, u64::MAX);
        assert_eq!(crate::recording::message_count(&played.channels), u64::MAX);
    }

    #[test]
    fn of_different_channels_the_one_with_most_messages_keeps_the_topic() {
        let channels = [channel("/x", "A", 1), channel("/x", "B", 5), channel("/x (A)", "C", 1)];
        let played = play(&channels, &TopicSelection::default()).unwrap();
        assert_eq!(names(&played), ["/x (A) #2", "/x", "/x (A)"]);
        assert_eq!(played.notes.len(), 1);
        assert!(played.notes[0].text.contains("'/x (A) #2'"), "{}", played.notes[0].text);
    }

    #[test]
    fn a_note_names_the_file_with_the_channel_that_differs_and_the_topic_as_recorded() {
        let (first, second) = ([channel("/x", "A", 5)], [channel("/x", "B", 2)]);
        let renamed = TopicSelection::default().renaming(&["/x:=/y"]).unwrap();
        let played = play_files(&[&first[..], &second[..]], &renamed).unwrap();
        assert_eq!(names(&played), ["/y", "/y (B)"]);
        let [note] = &played.notes[..] else { panic!("{:?}", played.notes) };
        assert_eq!((note.file, &*note.topic), (Some(1), "/x"));
        assert!(note.text.ends_with("2 of its messages play as '/y (B)'"), "{}", note.text);
    }

    #[test]
    fn globs_and_regexes_choose_topics() {
        let channels =
            ["/camera/left/image", "/camera/info", "/tf", "/odom"].map(|topic| channel(topic, "T", 1));
        let left = |selection: TopicSelection| {
            let played = play(&channels, &selection).unwrap();
            names(&played).join(" ")
        };
        let all = TopicSelection::default;
        assert_eq!(left(all().including(&["/camera/*"]).unwrap()), "/camera/info");
        assert_eq!(left(all().including(&["/camera/**"]).unwrap()), "/camera/left/image /camera/info");
        let or = all().including(&["/tf"]).unwrap().including_regex("^/od").unwrap();
        assert_eq!(left(or), "/tf /odom");
        let not = all().excluding(&["/camera/**"]).unwrap().excluding_regex("tf$").unwrap();
        assert_eq!(left(not), "/odom");
        let none = all().including(&["/nothing"]).unwrap();
        assert_eq!(play(&channels, &none).unwrap_err(), TopicError::NothingLeft { available: 4 });
        assert!(all().including(&["/a[b"]).is_err());
        assert!(all().including_regex("(").is_err());
    }

    #[test]
    fn a_topic_is_renamed_unless_the_name_is_taken() {
        let channels = [channel("/a", "A", 1), channel("/b", "B", 1)];
        let rename =
            |renames: &[&str]| play(&channels, &TopicSelection::default().renaming(renames).unwrap());
        assert_eq!(names(&rename(&["/a:=/c"]).unwrap()), ["/c", "/b"]);
        assert_eq!(names(&rename(&["/a:=/b", "/b:=/a"]).unwrap()), ["/b", "/a"]);
        assert!(matches!(rename(&["/a:=/b"]), Err(TopicError::NameTaken { .. })));
        assert!(matches!(rename(&["/a:=/c", "/b:=/c"]), Err(TopicError::NameTaken { .. })));
        assert_eq!(rename(&["/z:=/y"]).unwrap().notes.len(), 1);
        let typo = TopicSelection::default().including(&["/a", "/typo/*"]).unwrap();
        assert_eq!(play(&channels, &typo).unwrap().notes[0].topic, "/typo/*");
        assert!(TopicSelection::default().renaming(&["/a=/b"]).is_err());
    }
}
