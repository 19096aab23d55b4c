//! The topics of a file, and what becomes known of them while it is read.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use super::super::{Channel, Schema};
use super::envelope::{ChannelLine, Reason};
use super::inferred::Inferred;
use super::scan::{Fault, Ignore, Scanner, Text};
use super::schema;
use super::shape::{Budget, Shape};

/// How many topics a file may have.
const MAX_TOPICS: usize = 65_536;
/// How long a topic's name may be, and that of its schema, in bytes.
const MAX_NAME: usize = 1024;
/// How large the schemas that a file holds may be in all, in bytes.
const MAX_SCHEMA_BYTES: usize = 64 << 20;

/// Which topic of the file: an index in order of first appearance.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct TopicId(pub u32);

/// All topics of a file.
#[derive(Default)]
pub(super) struct Topics {
    list: Vec<Topic>,
    by_name: HashMap<Arc<str>, TopicId>,
    /// The topic of the last message.
    last: TopicId,
    budget: Budget,
    schema_bytes: usize,
}

struct Topic {
    name: Arc<str>,
    messages: u64,
    /// The topic that came after it the last time: recordings repeat themselves.
    followed_by: TopicId,
    shape: Shape,
    schema_name: Option<Given<String>>,
    schema: Option<Given<Bytes>>,
}

/// Something that a channel line gives.
struct Given<T> {
    what: T,
    line: u64,
}

/// Two channel lines say different things of a topic. The text names both.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Contradiction(pub String);

/// Why a channel line can't be taken.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Refused {
    Line(Reason),
    File(Contradiction),
}

impl Topics {
    /// Goes over a message's data while its line is not checked to the end. The answer is whether the data
    /// is known to add nothing to what the topic's schema says, and which topic that is true for.
    pub fn compare(
        &mut self,
        topic: Option<Text<'_>>,
        scanner: &mut Scanner<'_>,
    ) -> Result<Option<TopicId>, Fault> {
        let known = match topic {
            Some(topic) if !topic.escaped => self.find(topic.raw),
            // The topic is only known behind the data. A wrong guess costs a second look at the data.
            _ => self.guess().map(|(id, _)| id),
        };
        let entry = known.and_then(|id| Some((id, self.list.get_mut(id.0 as usize)?)));
        let Some((id, topic)) = entry else { return scanner.value(&mut Ignore, ()).map(|()| None) };
        if topic.schema.is_some() {
            return scanner.value(&mut Ignore, ()).map(|()| Some(id));
        }
        topic.shape.compare(scanner).map(|adds_nothing| adds_nothing.then_some(id))
    }

    /// Takes a message. `compared` is what [`compare`](Self::compare) has answered for its data.
    pub fn add_message(
        &mut self,
        topic: Text<'_>,
        data: &str,
        compared: Option<TopicId>,
    ) -> Result<TopicId, Reason> {
        let id = self.find_or_add(topic)?;
        if let Some(last) = self.list.get_mut(self.last.0 as usize) {
            last.followed_by = id;
        }
        self.last = id;
        let topic = &mut self.list[id.0 as usize];
        topic.messages += 1;
        if compared != Some(id) && topic.schema.is_none() {
            topic.shape.learn(data, &mut self.budget);
        }
        Ok(id)
    }

    /// Takes a channel line.
    pub fn add_channel(&mut self, line: u64, channel: &ChannelLine<'_>) -> Result<(), Refused> {
        let name = channel.schema_name.map(|name| name.decode().ok_or(Reason::SchemaNameNotText));
        let name = name.transpose().map_err(Refused::Line)?;
        let new_bytes = channel.schema.map_or(0, str::len);
        if name.as_ref().is_some_and(|name| name.len() > MAX_NAME) {
            return Err(Refused::Line(Reason::SchemaNameTooLong));
        }
        if self.schema_bytes + new_bytes > MAX_SCHEMA_BYTES {
            return Err(Refused::Line(Reason::TooMuchSchema));
        }
        let id = self.find_or_add(channel.topic).map_err(Refused::Line)?;
        let topic = &mut self.list[id.0 as usize];
        let contradiction = |what: &str, first: u64| {
            Refused::File(Contradiction(format!(
                "lines {first} and {line} give the topic {} two different {what}; delete one of the lines",
                topic.name
            )))
        };
        if let (Some(first), Some(second)) = (&topic.schema_name, &name)
            && first.what != *second
        {
            return Err(contradiction("schema names", first.line));
        }
        if let (Some(first), Some(second)) = (&topic.schema, channel.schema)
            && !is_same_json(&first.what, second.as_bytes())
        {
            return Err(contradiction("schemas", first.line));
        }
        if topic.schema_name.is_none() {
            topic.schema_name = name.map(|name| Given { what: name.into_owned(), line });
        }
        if let (None, Some(schema)) = (&topic.schema, channel.schema) {
            topic.schema = Some(Given { what: Bytes::copy_from_slice(schema.as_bytes()), line });
            topic.shape = Shape::default();
            self.schema_bytes += new_bytes;
        }
        Ok(())
    }

    /// The channels, in order of first appearance, and beside them what their schemas were inferred from.
    pub fn into_channels(self) -> (Vec<Channel>, Vec<Option<Inferred>>) {
        let given = self.list.iter().filter_map(|topic| Some(topic.schema_name.as_ref()?.what.clone()));
        let mut names: HashSet<String> = given.collect();
        self.list.into_iter().map(|topic| topic.into_channel(&mut names)).unzip()
    }

    fn find_or_add(&mut self, topic: Text<'_>) -> Result<TopicId, Reason> {
        let name = topic.decode().ok_or(Reason::TopicNotText)?;
        if let Some(id) = self.find(&name) {
            return Ok(id);
        }
        if name.len() > MAX_NAME {
            return Err(Reason::TopicTooLong);
        }
        if self.list.len() >= MAX_TOPICS {
            return Err(Reason::TooManyTopics);
        }
        let id = TopicId(self.list.len() as u32);
        let name: Arc<str> = name.into();
        self.by_name.insert(Arc::clone(&name), id);
        let shape = Shape::default();
        let (schema_name, schema) = (None, None);
        self.list.push(Topic { name, messages: 0, followed_by: id, shape, schema_name, schema });
        Ok(id)
    }

    /// The topic that probably comes next.
    fn guess(&self) -> Option<(TopicId, &Topic)> {
        let id = self.list.get(self.last.0 as usize)?.followed_by;
        Some((id, self.list.get(id.0 as usize)?))
    }

    fn find(&self, name: &str) -> Option<TopicId> {
        let (guess, topic) = self.guess()?;
        if *topic.name == *name { Some(guess) } else { self.by_name.get(name).copied() }
    }
}

impl Topic {
    /// `names` are those of the schemas so far. Studio clients keep one definition for a name, so a name
    /// that is made here must be nobody else's.
    fn into_channel(self, names: &mut HashSet<String>) -> (Channel, Option<Inferred>) {
        let given_name = self.schema_name.map(|name| name.what);
        let make_name = || unused_name(schema::name_from_topic(&self.name), names);
        let (schema, inferred) = match self.schema {
            Some(Given { what: data, .. }) => {
                let name = given_name.unwrap_or_else(make_name);
                (Some(Schema { name, encoding: "jsonschema".into(), data }), None)
            }
            None => {
                let inferred = Inferred { shape: self.shape, given_name };
                (Inferred::schema(&[&inferred], make_name), Some(inferred))
            }
        };
        let channel = Channel {
            topic: (*self.name).to_owned(),
            message_encoding: "json".into(),
            schema: schema.map(Arc::new),
            message_count: self.messages,
            ..Channel::default()
        };
        (channel, inferred)
    }
}

/// The name, with a number added to it if it is taken. It is taken from now on.
pub(in crate::recording) fn unused_name(name: String, names: &mut HashSet<String>) -> String {
    let numbered = (2_u32..).map(|number| format!("{name}_{number}"));
    let free = std::iter::once(name.clone()).chain(numbered).find(|name| !names.contains(name));
    let free = free.unwrap_or(name);
    names.insert(free.clone());
    free
}

/// Whether two texts are the same JSON value, however they are spelled.
fn is_same_json(a: &[u8], b: &[u8]) -> bool {
    let value = |text| serde_json::from_slice::<Value>(text).ok();
    a == b || value(a).is_some_and(|a| value(b) == Some(a))
}
