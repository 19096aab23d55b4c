//! Whether viewers can read a ROS message definition (<https://wiki.ros.org/msg>,
//! <https://docs.ros.org/en/rolling/Concepts/Basic/About-Interfaces.html>), with the definitions of all types that
//! it uses behind it, each after a line of `=` and one that names it (`MSG: geometry_msgs/Point`).

use std::collections::HashSet;

use super::schema::Flaw;

/// Whose definitions they are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Version {
    Ros1,
    Ros2,
}

const PRIMITIVES: [&str; 16] = [
    "bool", "byte", "char", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64",
    "float32", "float64", "string", "time", "duration",
];

/// What ROS 2 has beyond those. Viewers know these two messages without their definitions.
const PRIMITIVES_2: [&str; 3] = ["wstring", "builtin_interfaces/Time", "builtin_interfaces/Duration"];

pub(super) fn check(data: &[u8], name: &str, version: Version) -> Result<(), Flaw> {
    let follows = "so viewers can't decode the messages";
    let text = std::str::from_utf8(data).map_err(|_| {
        Flaw::error(format!("is no UTF-8 text, {follows}; it has to be the message's definition"))
    })?;
    if text.trim().is_empty() {
        // The one message that needs no definition.
        let is_empty_by_name = name.rsplit('/').next().is_some_and(|name| name.starts_with("Empty"));
        let wrong = format!("is empty, {follows}; record it with the message's definition");
        return if is_empty_by_name { Ok(()) } else { Err(Flaw::error(wrong)) };
    }
    let mut names = Names::default();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if let Some(defined) = line.strip_prefix("MSG:") {
            names.define(defined);
        } else if !line.is_empty() && !line.starts_with(['#', '=']) {
            let Some(used) = field_type(line, version) else {
                let line: String = line.chars().take(60).collect();
                return Err(Flaw::error(format!(
                    "can't be read in line {number} of its definition ('{line}' is no field or constant), {follows}; \
                     record it with the message's definition"
                )));
            };
            names.used.insert(used);
        }
    }
    match names.undefined(version) {
        Some(used) => Err(Flaw::error(format!(
            "uses the type {used} without its definition, {follows}; the definitions of all types have to follow that \
             of the message"
        ))),
        None => Ok(()),
    }
}

/// The types that a text defines and uses.
#[derive(Debug, Default)]
struct Names<'a> {
    /// With package and without. The first definition is the message's own, which nothing refers to.
    defined: HashSet<String>,
    used: HashSet<&'a str>,
}

impl Names<'_> {
    fn define(&mut self, name: &str) {
        let name = without_kind(name.split_whitespace().next().unwrap_or_default());
        if let Some((_, last)) = name.rsplit_once('/') {
            self.defined.insert(last.to_owned());
        }
        self.defined.insert(name);
    }

    fn undefined(&self, version: Version) -> Option<&str> {
        let known = |used: &str| {
            let used = without_kind(used);
            PRIMITIVES.contains(&&*used)
                || (version == Version::Ros2 && PRIMITIVES_2.contains(&&*used))
                || self.defined.contains(&used)
        };
        // The least one, so that the same file gives the same words.
        self.used.iter().copied().filter(|used| !known(used)).min()
    }
}

/// `geometry_msgs/Point` for `geometry_msgs/msg/Point`: both are written.
fn without_kind(name: &str) -> String {
    name.replacen("/msg/", "/", 1)
}

/// The type of a field or a constant, without bounds: `float64` of `float64[<=3] values`.
fn field_type(line: &str, version: Version) -> Option<&str> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let rest = line.trim_start_matches(|c| is_name(c) || c == '/');
    let type_name = &line[..line.len() - rest.len()];
    let rest = skip_array(skip_bound(rest)?)?;
    let name = rest.trim_start();
    let rest = name.trim_start_matches(is_name);
    let has_name = rest.len() < name.len() && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let starts_well = type_name.starts_with(|c: char| c.is_ascii_alphabetic());
    let is_apart = name.len() < line.len() && line[..line.len() - name.len()].ends_with(char::is_whitespace);
    // What may follow: nothing, a comment, the value of a constant, and in ROS 2 a default value.
    let tail = rest.trim_start();
    let default = version == Version::Ros2 && tail.len() < rest.len();
    let ends_well = tail.is_empty() || tail.starts_with(['#', '=']) || default;
    (starts_well && is_apart && has_name && ends_well).then_some(type_name)
}

/// Passes over the bound of a string: `<=10`.
fn skip_bound(text: &str) -> Option<&str> {
    let Some(bound) = text.strip_prefix("<=") else { return Some(text) };
    let rest = bound.trim_start_matches(|c: char| c.is_ascii_digit());
    (rest.len() < bound.len()).then_some(rest)
}

/// Passes over what makes an array: `[]`, `[3]`, `[<=3]`.
fn skip_array(text: &str) -> Option<&str> {
    let Some(array) = text.strip_prefix('[') else { return Some(text) };
    let length = array.strip_prefix("<=").unwrap_or(array);
    length.trim_start_matches(|c: char| c.is_ascii_digit()).strip_prefix(']')
}
