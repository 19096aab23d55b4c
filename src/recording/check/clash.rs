//! Topics that have more than one type. A viewer takes only one for a topic.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};

use super::findings::{Collector, Finding, FindingKind, Severity};
use crate::recording::{Channel, Reader};

/// How many types of a topic are named.
const NAMED: usize = 4;

/// The types of the topics of all files so far. A hash stands for each, so that no schema is kept for it.
#[derive(Debug, Default)]
pub(super) struct Types {
    topics: HashMap<String, Known>,
    hasher: RandomState,
}

/// The type of a topic, where it was met first.
#[derive(Debug)]
struct Known {
    file: PathBuf,
    label: String,
    identity: Identity,
}

/// What has to agree for two channels of a topic to be one.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Identity {
    /// The hash of message encoding and schema.
    Recorded(u64),
    /// The schema was inferred, so that it adapts to other inferred ones, unless both have names that differ.
    Inferred(Option<String>),
}

impl Identity {
    fn agrees(&self, other: &Identity) -> bool {
        match (self, other) {
            (Identity::Inferred(Some(a)), Identity::Inferred(Some(b))) => a == b,
            (Identity::Inferred(_), Identity::Inferred(_)) => true,
            (a, b) => a == b,
        }
    }
}

/// Looks for topics with several types in a file, and for those with other types than in the files before.
pub(super) fn check(path: &Path, reader: &dyn Reader, types: &mut Types, findings: &mut Collector) {
    let mut topics: BTreeMap<&str, Vec<(&Channel, Identity)>> = BTreeMap::new();
    for (place, channel) in reader.summary().channels.iter().enumerate() {
        let identity = match reader.inferred(place) {
            Some(inferred) => Identity::Inferred(inferred.given_name().map(str::to_owned)),
            None => Identity::Recorded(types.hasher.hash_one((&channel.message_encoding, &channel.schema))),
        };
        let kinds = topics.entry(&channel.topic).or_default();
        // Of a hostile number of types a few are enough to tell.
        if kinds.len() <= NAMED && !kinds.iter().any(|(_, known)| known.agrees(&identity)) {
            kinds.push((channel, identity));
        }
    }
    for (topic, kinds) in topics {
        findings.extend(within(&kinds).map(|finding| finding.on(topic)));
        if let [(channel, identity), ..] = &kinds[..] {
            findings.extend(types.across(path, channel, identity).map(|finding| finding.on(topic)));
        }
    }
}

fn within(kinds: &[(&Channel, Identity)]) -> Option<Finding> {
    let [(first, _), (second, _), ..] = kinds else { return None };
    let what = if label(first) == label(second) {
        format!("it is recorded with different definitions of the type {}", label(first))
    } else {
        let named: Vec<String> = kinds.iter().take(NAMED).map(|(channel, _)| label(channel)).collect();
        let others = if kinds.len() > NAMED { " and others" } else { "" };
        format!("it is recorded with different types: {}{others}", named.join(", "))
    };
    let text = format!(
        "{what}; a viewer takes only one for a topic, so all but one play under other names; record each type on a \
         topic of its own"
    );
    Some(Finding::new(FindingKind::Clash, Severity::Error, text))
}

impl Types {
    /// Takes the first type of a topic of a file. A note, where a file before has another one: files that are
    /// checked together need not be played together, and apart each of them is right.
    fn across(&mut self, path: &Path, channel: &Channel, identity: &Identity) -> Option<Finding> {
        let Some(known) = self.topics.get(&channel.topic) else {
            let known = Known { file: path.into(), label: label(channel), identity: identity.clone() };
            self.topics.insert(channel.topic.clone(), known);
            return None;
        };
        if known.identity.agrees(identity) {
            return None;
        }
        let (here, there, file) = (label(channel), &known.label, known.file.display());
        let what = if here == *there {
            format!("{here} is defined here in another way than in {file}")
        } else {
            format!("it is {here} here, and {there} in {file}")
        };
        let text = format!(
            "{what}; where both are played together, a viewer takes only one for a topic, so the other one plays under \
             another name; play them apart"
        );
        Some(Finding::new(FindingKind::Clash, Severity::Note, text))
    }
}

/// What a type is called: `sensor_msgs/msg/Imu (cdr)`.
fn label(channel: &Channel) -> String {
    match (channel.schema_name(), &*channel.message_encoding) {
        ("", "") => "one without schema and encoding".into(),
        ("", encoding) => format!("{encoding} without schema"),
        (name, "") => name.to_owned(),
        (name, encoding) => format!("{name} ({encoding})"),
    }
}
