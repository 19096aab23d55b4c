//! Whether viewers take a JSON Schema.
//!
//! The root has to be an object. Beyond that, the reader of Lichtblick (and of Foxglove, before it was closed) knows
//! booleans, strings, numbers, objects, arrays of one of these, and enumerations of numbers; anything else makes it
//! refuse the whole topic.

use serde_json::{Map, Value};

use super::schema::Flaw;

pub(super) fn check(data: &[u8]) -> Result<(), Flaw> {
    let schema: Value = serde_json::from_slice(data).map_err(|error| {
        Flaw::error(format!("is not JSON ({error}), so viewers refuse the topic; correct it"))
    })?;
    let kind = schema.get("type");
    let Some(root) = schema.as_object().filter(|_| kind.and_then(Value::as_str) == Some("object")) else {
        let is = kind.map_or_else(|| "it has none".to_owned(), |kind| format!("it is {}", short(kind)));
        return Err(Flaw::error(format!(
            "needs \"type\": \"object\" at its root ({is}), so viewers refuse the topic; describe the messages as objects"
        )));
    };
    check_object(root, "its root").map_err(|what| {
        Flaw::warning(format!(
            "has something that some viewers refuse the whole topic for: {what}; leave that out of the schema"
        ))
    })
}

/// The depth of the recursion is that of the JSON, which its parser limits.
fn check_object(schema: &Map<String, Value>, path: &str) -> Result<(), String> {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
        return Err(format!("{path} has no \"properties\""));
    };
    properties.iter().try_for_each(|(name, property)| check_property(property, name))
}

fn check_property(property: &Value, name: &str) -> Result<(), String> {
    let Some(property) = property.as_object() else {
        return Err(format!("'{name}' is no object"));
    };
    if let Some(alternatives) = property.get("oneOf").and_then(Value::as_array) {
        let numbers =
            alternatives.iter().all(|alternative| alternative.get("const").is_some_and(Value::is_number));
        return if numbers { Ok(()) } else { Err(format!("'{name}' is one of several things (oneOf)")) };
    }
    match kind(property) {
        Some("boolean" | "number" | "integer") => Ok(()),
        Some("string") => match property.get("contentEncoding") {
            None => Ok(()),
            Some(encoding) if encoding == "base64" => Ok(()),
            Some(encoding) => Err(format!("'{name}' has the contentEncoding {}", short(encoding))),
        },
        Some("object") => check_object(property, &format!("'{name}'")),
        Some("array") => check_items(property, name),
        _ => match property.get("type") {
            Some(other) => Err(format!("'{name}' has the type {}", short(other))),
            None => Err(format!("'{name}' has no type")),
        },
    }
}

fn check_items(property: &Map<String, Value>, name: &str) -> Result<(), String> {
    let Some(items) = property.get("items").and_then(Value::as_object) else {
        return Err(format!("'{name}' is an array without \"items\""));
    };
    match kind(items) {
        Some("boolean" | "number" | "integer" | "string") => Ok(()),
        Some("object") => check_object(items, &format!("'{name}'")),
        _ => Err(format!("'{name}' is an array of {}", items.get("type").map_or("anything".into(), short))),
    }
}

fn kind(schema: &Map<String, Value>) -> Option<&str> {
    schema.get("type").and_then(Value::as_str)
}

/// The start of a value as JSON.
fn short(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}
