//! JSON Schema for Foxglove's messages, made from their protobuf descriptors, so that the same types can be
//! written in JSON.

use std::error::Error;

use foxglove::Encode;
use prost_reflect::{DescriptorPool, EnumValueDescriptor, FieldDescriptor, Kind, MessageDescriptor};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

/// The schema of a message type, in one line.
pub fn schema_of<M: Encode>() -> Result<Schema, Box<dyn Error>> {
    let protobuf = M::get_schema().ok_or("the message has no schema")?;
    let types = DescriptorPool::decode(&*protobuf.data)?;
    let descriptor = types.get_message_by_name(&protobuf.name).ok_or("the descriptors lack the message")?;
    Ok(Schema { name: protobuf.name, text: serde_json::to_string(&message(&descriptor))? })
}

/// A JSON Schema under the name of its type.
pub struct Schema {
    pub name: String,
    pub text: String,
}

/// A part of a schema.
enum Node {
    /// `boolean`, `string`, `number` or `integer`.
    Plain(&'static str),
    /// Bytes, as base64.
    Bytes,
    Choice(Vec<Choice>),
    List(Box<Node>),
    Object {
        title: String,
        properties: Properties,
    },
}

/// One value of an enumeration.
#[derive(Serialize)]
struct Choice {
    title: String,
    r#const: i32,
}

/// Name by name, in the order of the descriptor.
struct Properties(Vec<(String, Node)>);

impl Serialize for Properties {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, node)| (name, node)))
    }
}

impl Serialize for Node {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match self {
            Node::Plain(kind) => map.serialize_entry("type", kind)?,
            Node::Bytes => {
                map.serialize_entry("type", "string")?;
                map.serialize_entry("contentEncoding", "base64")?;
            }
            Node::Choice(choices) => map.serialize_entry("oneOf", choices)?,
            Node::List(items) => {
                map.serialize_entry("type", "array")?;
                map.serialize_entry("items", items)?;
            }
            Node::Object { title, properties } => {
                map.serialize_entry("title", title)?;
                map.serialize_entry("type", "object")?;
                map.serialize_entry("properties", properties)?;
            }
        }
        map.end()
    }
}

fn message(descriptor: &MessageDescriptor) -> Node {
    let part = |name: &str| (name.to_owned(), Node::Plain("integer"));
    let seconds = || vec![part("sec"), part("nsec")];
    let (title, properties) = match descriptor.full_name() {
        // These two have a form of their own in Foxglove's JSON.
        "google.protobuf.Timestamp" => ("time", seconds()),
        "google.protobuf.Duration" => ("duration", seconds()),
        name => (name, descriptor.fields().map(|field| (field.name().to_owned(), node(&field))).collect()),
    };
    Node::Object { title: title.to_owned(), properties: Properties(properties) }
}

fn node(field: &FieldDescriptor) -> Node {
    let node = match field.kind() {
        Kind::Message(descriptor) => message(&descriptor),
        Kind::Enum(choices) => Node::Choice(choices.values().map(choice).collect()),
        Kind::Bool => Node::Plain("boolean"),
        Kind::String => Node::Plain("string"),
        Kind::Bytes => Node::Bytes,
        Kind::Float | Kind::Double => Node::Plain("number"),
        _ => Node::Plain("integer"),
    };
    if field.is_list() { Node::List(Box::new(node)) } else { node }
}

fn choice(value: EnumValueDescriptor) -> Choice {
    Choice { title: value.name().to_owned(), r#const: value.number() }
}
