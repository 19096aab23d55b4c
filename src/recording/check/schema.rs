//! Whether viewers can read the schemas, and with them the messages.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::findings::{Collector, Finding, FindingKind, Severity};
use super::{jsonschema, protobuf, rosmsg};
use crate::recording::{Channel, Reader, Schema};

/// The largest schema that is looked into, in bytes. What it takes in memory to do so is a multiple of it.
const LARGEST: usize = 4 * 1024 * 1024;

/// The encodings of messages that viewers decode, each with those of the schemas that belong to it.
const DECODED: [(&str, &[&str]); 5] = [
    ("json", &["jsonschema"]),
    ("protobuf", &["protobuf"]),
    ("flatbuffer", &["flatbuffer"]),
    ("ros1", &["ros1msg"]),
    ("cdr", &["ros2msg", "ros2idl", "omgidl"]),
];

/// What is wrong with a schema.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Flaw {
    pub severity: Severity,
    /// What is wrong and what to do, without a full stop.
    pub text: String,
}

impl Flaw {
    /// No viewer can read it.
    pub fn error(text: impl Into<String>) -> Self {
        Flaw { severity: Severity::Error, text: text.into() }
    }

    /// Some viewers can't read it.
    pub fn warning(text: impl Into<String>) -> Self {
        Flaw { severity: Severity::Warning, text: text.into() }
    }
}

/// Looks at the schema of every channel. Of the topics in `told` it is known that a schema is missing.
pub(super) fn check(reader: &dyn Reader, told: &HashSet<&str>, findings: &mut Collector) {
    // Channels share schemas, so that each is looked into once.
    let mut flaws: HashMap<*const Schema, Option<Flaw>> = HashMap::new();
    for channel in &reader.summary().channels {
        if channel.schema.is_none() && told.contains(channel.topic.as_str()) {
            continue;
        }
        findings.extend(check_channel(channel, &mut flaws).map(|finding| finding.on(&channel.topic)));
    }
}

fn check_channel(channel: &Channel, flaws: &mut HashMap<*const Schema, Option<Flaw>>) -> Option<Finding> {
    let encoding = channel.message_encoding.as_str();
    let Some((_, schema_encodings)) = DECODED.iter().find(|(known, _)| *known == encoding) else {
        let known: Vec<&str> = DECODED.iter().map(|(known, _)| *known).collect();
        let text = format!(
            "its messages are encoded as '{encoding}', which viewers do not know (they do: {}); it is served as it \
             is, for clients that can read it",
            known.join(", ")
        );
        return Some(Finding::new(FindingKind::Encoding, Severity::Note, text));
    };
    let schema =
        channel.schema.as_ref().filter(|schema| !(schema.encoding.is_empty() && schema.data.is_empty()));
    let Some(schema) = schema else {
        // JSON is readable without.
        let text = format!(
            "it has no schema, without which viewers can't decode {encoding}; record it with one ({})",
            schema_encodings.join(", ")
        );
        return (encoding != "json").then(|| Finding::new(FindingKind::Schema, Severity::Error, text));
    };
    if !schema_encodings.contains(&&*schema.encoding) {
        return Some(wrong_pair(encoding, &schema.encoding, schema_encodings));
    }
    let flaw = flaws.entry(Arc::as_ptr(schema)).or_insert_with(|| look_into(schema)).as_ref()?;
    let text = format!("its schema {} {}", name(schema), flaw.text);
    Some(Finding::new(FindingKind::Schema, flaw.severity, text))
}

fn wrong_pair(encoding: &str, schema_encoding: &str, wanted: &[&str]) -> Finding {
    let wanted = wanted.join(", ");
    let is_known = DECODED.iter().any(|(_, schemas)| schemas.contains(&schema_encoding));
    if is_known {
        let text = format!(
            "its messages are {encoding} and its schema is {schema_encoding}, which do not go together, so viewers \
             can't decode it; to {encoding} belongs {wanted}"
        );
        return Finding::new(FindingKind::Schema, Severity::Error, text);
    }
    let text = format!(
        "its schema is encoded as '{schema_encoding}', which viewers do not know (for {encoding} they know {wanted}); \
         it is served as it is, for clients that can read it"
    );
    Finding::new(FindingKind::Encoding, Severity::Note, text)
}

fn name(schema: &Schema) -> String {
    if schema.name.is_empty() { "(without a name)".into() } else { schema.name.clone() }
}

/// What is wrong with the data of a schema whose encoding viewers know.
fn look_into(schema: &Schema) -> Option<Flaw> {
    let data = &*schema.data;
    if data.len() > LARGEST {
        let text = format!("has {} bytes, which is too much to check; make it smaller", data.len());
        return Some(Flaw::warning(text));
    }
    let checked = match &*schema.encoding {
        // Viewers take an empty one for none, which JSON does not need.
        "jsonschema" if data.is_empty() => Ok(()),
        "jsonschema" => jsonschema::check(data),
        "protobuf" => protobuf::check(data, &schema.name),
        "ros1msg" => rosmsg::check(data, &schema.name, rosmsg::Version::Ros1),
        "ros2msg" => rosmsg::check(data, &schema.name, rosmsg::Version::Ros2),
        "flatbuffer" if data.is_empty() => Err(Flaw::error("is empty, so viewers can't decode the messages")),
        "ros2idl" | "omgidl" if data.trim_ascii().is_empty() => {
            Err(Flaw::error("is empty, so viewers can't decode the messages"))
        }
        "ros2idl" | "omgidl" if std::str::from_utf8(data).is_err() => {
            Err(Flaw::error("is no UTF-8 text, so viewers can't decode the messages"))
        }
        _ => Ok(()),
    };
    checked.err()
}
