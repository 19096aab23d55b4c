//! Whether viewers can read a Protobuf schema: a `FileDescriptorSet` (`google/protobuf/descriptor.proto`) that holds
//! the message and every type it refers to.
//!
//! Only names are read, straight from the bytes: a decoded descriptor takes hundreds of bytes for an empty message
//! of two, and a schema may be hostile.

use std::collections::{HashMap, HashSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::schema::Flaw;

/// How deep messages may be nested.
const DEPTH: usize = 64;
/// The longest full name, in bytes.
const NAME: usize = 4096;
/// The most bytes of full names that are kept. Those of nested types repeat the names around them.
const NAMES: usize = 32 * 1024 * 1024;

pub(super) fn check(data: &[u8], name: &str) -> Result<(), Flaw> {
    let follows = "so viewers can't decode the messages";
    if data.is_empty() {
        return Err(Flaw::error(format!("is empty, {follows}; write the message's FileDescriptorSet")));
    }
    let name = name.strip_prefix('.').unwrap_or(name);
    let names = match Names::read(data) {
        Ok(names) => names,
        Err(Unreadable::TooMuch) => return Err(Flaw::warning("is too large to check; make it smaller")),
        Err(Unreadable::Malformed) => {
            let what = what_else(data);
            return Err(Flaw::error(format!(
                "is no FileDescriptorSet{what}, {follows}; `protoc --include_imports --descriptor_set_out` writes one"
            )));
        }
    };
    if !names.has_message(name) {
        return Err(Flaw::error(format!(
            "does not describe the message of that name{}, {follows}; the schema's name has to be the message's full \
             name",
            names.some_messages()
        )));
    }
    match names.undefined() {
        Some((used, user)) => Err(Flaw::error(format!(
            "refers to {used} (in {user}), but does not describe it, {follows}; write it with all that it imports, as \
             `protoc --include_imports` does"
        ))),
        None => Ok(()),
    }
}

/// What people write in its place.
fn what_else(data: &[u8]) -> &'static str {
    let Ok(text) = std::str::from_utf8(data) else { return "" };
    let decoded = STANDARD.decode(text.split_whitespace().collect::<String>());
    if decoded.is_ok_and(|decoded| !decoded.is_empty() && Names::read(&decoded).is_ok()) {
        return " but base64 of one, where its bytes belong as they are";
    }
    if text.contains("message ") { " but the text of a .proto file" } else { "" }
}

/// Why names can't be read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Unreadable {
    Malformed,
    TooMuch,
}

/// The types that a schema describes and refers to, by their full names without a point in front.
#[derive(Debug, Default)]
struct Names {
    /// Whether they are messages; if not, enumerations.
    defined: HashMap<String, bool>,
    /// What is referred to, as it is written, and the message in which that is.
    used: HashSet<(String, String)>,
    bytes: usize,
}

impl Names {
    fn read(data: &[u8]) -> Result<Self, Unreadable> {
        let mut names = Names::default();
        let mut files = 0;
        for field in Fields(data) {
            // FileDescriptorSet: file = 1.
            if let (1, Some(file)) = field? {
                names.file(file)?;
                files += 1;
            }
        }
        if files == 0 { Err(Unreadable::Malformed) } else { Ok(names) }
    }

    /// FileDescriptorProto: package = 2, message_type = 4, enum_type = 5, extension = 7.
    fn file(&mut self, data: &[u8]) -> Result<(), Unreadable> {
        let package = text_field(data, 2)?.unwrap_or_default();
        for field in Fields(data) {
            match field? {
                (4, Some(message)) => self.message(message, package, DEPTH)?,
                (5, Some(enumeration)) => self.define(enumeration, package, false).map(drop)?,
                (7, Some(extension)) => self.refer(extension, package)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// DescriptorProto: field = 2, nested_type = 3, enum_type = 4, extension = 6.
    fn message(&mut self, data: &[u8], scope: &str, depth: usize) -> Result<(), Unreadable> {
        let depth = depth.checked_sub(1).ok_or(Unreadable::TooMuch)?;
        let name = self.define(data, scope, true)?;
        for field in Fields(data) {
            match field? {
                (2 | 6, Some(field)) => self.refer(field, &name)?,
                (3, Some(nested)) => self.message(nested, &name, depth)?,
                (4, Some(enumeration)) => self.define(enumeration, &name, false).map(drop)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Takes a type by its name = 1, and gives its full name.
    fn define(&mut self, data: &[u8], scope: &str, is_message: bool) -> Result<String, Unreadable> {
        let name = text_field(data, 1)?.ok_or(Unreadable::Malformed)?;
        let name = joined(scope, name);
        self.count(name.len())?;
        self.defined.insert(name.clone(), is_message);
        Ok(name)
    }

    /// Takes the type of a field. FieldDescriptorProto: type_name = 6.
    fn refer(&mut self, data: &[u8], scope: &str) -> Result<(), Unreadable> {
        if let Some(used) = text_field(data, 6)? {
            let reference = (used.to_owned(), scope.to_owned());
            if !self.used.contains(&reference) {
                self.count(used.len() + scope.len())?;
                self.used.insert(reference);
            }
        }
        Ok(())
    }

    /// Counts a name that is to be kept, with what it takes beside its bytes.
    fn count(&mut self, length: usize) -> Result<(), Unreadable> {
        self.bytes = self.bytes.saturating_add(length).saturating_add(64);
        if length > NAME || self.bytes > NAMES { Err(Unreadable::TooMuch) } else { Ok(()) }
    }

    /// Viewers also find a message by the end of its full name.
    fn has_message(&self, name: &str) -> bool {
        let ends = |full: &str| full.strip_suffix(name).is_some_and(|scope| scope.ends_with('.'));
        self.defined.get(name) == Some(&true)
            || (!name.is_empty() && self.defined.iter().any(|(full, is_message)| *is_message && ends(full)))
    }

    /// A few of the messages that are there.
    fn some_messages(&self) -> String {
        let mut messages: Vec<&str> =
            self.defined.iter().filter(|(_, is)| **is).map(|(name, _)| &**name).collect();
        messages.sort_unstable();
        match &messages[..] {
            [] => " or any other".into(),
            [.., _, _, _, _] => {
                format!(" (but {}, {} and {} others)", messages[0], messages[1], messages.len() - 2)
            }
            few => format!(" (but {})", few.join(", ")),
        }
    }

    /// A type that is referred to and not described, and the message that does so: the least one, so that the same
    /// schema gives the same words.
    fn undefined(&self) -> Option<(&str, &str)> {
        let used = self.used.iter().map(|(used, scope)| (used.as_str(), scope.as_str()));
        used.filter(|(used, scope)| !self.resolves(used, scope)).min()
    }

    /// A name with a point in front is a full one; others are looked for in the scopes around, from the inside.
    fn resolves<'a>(&self, used: &str, scope: &'a str) -> bool {
        if let Some(full) = used.strip_prefix('.') {
            return self.defined.contains_key(full);
        }
        // Packages have levels as well, so that there may be more of them than messages are nested.
        let outer = |scope: &&'a str| match scope.rsplit_once('.') {
            Some((outer, _)) => Some(outer),
            None => (!scope.is_empty()).then_some(""),
        };
        let scopes = std::iter::successors(Some(scope), outer).take(2 * DEPTH);
        scopes.map(|scope| joined(scope, used)).any(|name| self.defined.contains_key(&name))
    }
}

fn joined(scope: &str, name: &str) -> String {
    if scope.is_empty() { name.to_owned() } else { format!("{scope}.{name}") }
}

/// The last field of a number that is text, as Protobuf wants it.
fn text_field(data: &[u8], wanted: u64) -> Result<Option<&str>, Unreadable> {
    let mut found = None;
    for field in Fields(data) {
        if let (number, Some(bytes)) = field?
            && number == wanted
        {
            found = Some(std::str::from_utf8(bytes).map_err(|_| Unreadable::Malformed)?);
        }
    }
    Ok(found)
}

/// The fields of an encoded message (<https://protobuf.dev/programming-guides/encoding/>): their numbers, and the
/// bytes of those that have a length.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn field(&mut self) -> Option<(u64, Option<&'a [u8]>)> {
        let tag = self.varint()?;
        let (number, bytes) = match tag & 7 {
            0 => (tag >> 3, self.varint().map(|_| None)?),
            1 => (tag >> 3, self.take(8).map(|_| None)?),
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                (tag >> 3, Some(self.take(length)?))
            }
            5 => (tag >> 3, self.take(4).map(|_| None)?),
            // Groups, which descriptors do not have, and what is no wire type.
            _ => return None,
        };
        (number != 0).then_some((number, bytes))
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = *self.take(1)?.first()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Option<&'a [u8]>), Unreadable>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field().ok_or(Unreadable::Malformed);
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}
