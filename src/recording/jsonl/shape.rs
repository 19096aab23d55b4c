//! What the messages of a topic have in common: which fields, of which kinds, and which of them are
//! sometimes missing.
//!
//! Messages of one topic mostly look alike. So a message is first only compared with what is known, while
//! its line is checked ([`Shape::compare`]); only one that adds something is gone through a second time
//! ([`Shape::learn`]), when it is sure that its line is whole.

use super::scan::{Fault, Kind, Scanner, Text, Visitor};

/// How many properties an object may have. One with more is a map, not a record, and its properties are
/// left alone.
const MAX_FIELDS: usize = 1000;
/// How many values a topic's shape may tell apart.
const MAX_NODES: usize = 10_000;
/// How many bytes the names of a topic's properties may have.
const MAX_NAME_BYTES: usize = 1 << 20;

/// What all shapes of a file together may use up, so that a hostile file does not fill the memory.
#[derive(Debug)]
pub(super) struct Budget {
    nodes: usize,
    name_bytes: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Budget { nodes: 500_000, name_bytes: 64 << 20 }
    }
}

/// Which kinds of values were seen at one place.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Kinds(u8);

impl Kinds {
    fn insert(&mut self, kind: Kind) {
        self.0 |= 1 << kind as u8;
    }

    fn insert_all(&mut self, other: Kinds) {
        self.0 |= other.0;
    }

    pub fn contains(self, kind: Kind) -> bool {
        self.0 & (1 << kind as u8) != 0
    }

    /// The one kind that was seen, nulls aside; `None` where there were several or none.
    pub fn only(self) -> Option<Kind> {
        let kinds = [Kind::Boolean, Kind::Number, Kind::String, Kind::Object, Kind::Array];
        let mut seen = kinds.into_iter().filter(|&kind| self.contains(kind));
        seen.next().filter(|_| seen.next().is_none())
    }
}

/// What is known of a topic's messages. Node 0 is the message itself.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    nodes: Vec<Node>,
    name_bytes: usize,
    /// How many objects were begun, in all: tells in which of them a field was seen last.
    objects: u64,
}

/// What is known of the values at one place.
#[derive(Clone, Debug, Default)]
pub(super) struct Node {
    pub kinds: Kinds,
    /// Whether its properties are not looked at, because there are too many of them.
    opaque: bool,
    /// Where the elements of arrays are described.
    items: Option<NodeId>,
    /// In the order in which they were first seen.
    pub fields: Vec<Field>,
    /// Indices into `fields`, sorted by name.
    by_name: Vec<u32>,
    /// How many of the fields were in every object.
    required: u32,
}

/// A property of an object.
#[derive(Clone, Debug)]
pub(super) struct Field {
    /// The name, and a quote: what stands in a file behind the opening quote.
    quoted: Box<str>,
    /// Whether a file can hold the name without escapes.
    plain: bool,
    /// Whether there was an object without it.
    pub optional: bool,
    /// Where its values are described.
    pub node: NodeId,
    /// The object in which it was seen last.
    seen_in: u64,
}

impl Field {
    pub fn name(&self) -> &str {
        &self.quoted[..self.quoted.len() - 1]
    }
}

/// A place in a [`Shape`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct NodeId(u32);

/// The place of all that is not looked at.
const NOWHERE: NodeId = NodeId(u32::MAX);

impl Default for Shape {
    fn default() -> Self {
        Shape { nodes: vec![Node::default()], name_bytes: 0, objects: 0 }
    }
}

impl Shape {
    /// The place of the messages themselves.
    pub const ROOT: NodeId = NodeId(0);

    /// Goes through the value at which `scanner` stands. The answer is whether it adds nothing to what is
    /// known.
    pub fn compare(&mut self, scanner: &mut Scanner<'_>) -> Result<bool, Fault> {
        let mut nothing = Budget { nodes: 0, name_bytes: 0 };
        let mut observer = Observer::<false> { shape: self, budget: &mut nothing, unchanged: true };
        scanner.value(&mut observer, Self::ROOT)?;
        Ok(observer.unchanged)
    }

    /// Adds what is new in a message.
    pub fn learn(&mut self, data: &str, budget: &mut Budget) {
        let mut observer = Observer::<true> { shape: self, budget, unchanged: true };
        // It was gone through before, so it is correct.
        let _ = Scanner::new(data).value(&mut observer, Self::ROOT);
    }

    /// Adds what another shape knows, as if its messages had come after those of this one.
    pub fn unite(&mut self, other: &Shape, budget: &mut Budget) {
        self.unite_place(Self::ROOT, other, Self::ROOT, budget);
    }

    fn unite_place(&mut self, place: NodeId, other: &Shape, theirs: NodeId, budget: &mut Budget) {
        let (Some(node), Some(theirs)) = (self.node_mut(place), other.node(theirs)) else { return };
        let known_here = node.kinds.contains(Kind::Object);
        node.kinds.insert_all(theirs.kinds);
        if let Some(their_items) = theirs.items {
            let items = node.items.or_else(|| self.add_node(0, budget));
            if let (Some(items), Some(node)) = (items, self.node_mut(place)) {
                node.items = Some(items);
                self.unite_place(items, other, their_items, budget);
            }
        }
        self.unite_fields(place, other, theirs, known_here, budget);
    }

    /// `known_here`: whether this shape had an object at the place before.
    fn unite_fields(
        &mut self,
        place: NodeId,
        other: &Shape,
        theirs: &Node,
        known_here: bool,
        budget: &mut Budget,
    ) {
        let Some(node) = self.node_mut(place) else { return };
        if theirs.opaque {
            return node.become_opaque();
        }
        if node.opaque || !theirs.kinds.contains(Kind::Object) {
            return;
        }
        for field in &mut node.fields {
            field.optional |= theirs.find(field.name()).is_err();
        }
        for field in &theirs.fields {
            let Some(node) = self.node_mut(place) else { return };
            let value = match node.find(field.name()) {
                Ok(rank) => {
                    let ours = &mut node.fields[node.by_name[rank] as usize];
                    ours.optional |= field.optional;
                    Some(ours.node)
                }
                Err(rank) => {
                    self.add_field(place, rank, field.name(), field.optional || known_here, 0, budget)
                }
            };
            // There was no room, and the place is not looked into any more.
            let Some(value) = value else { return };
            self.unite_place(value, other, field.node, budget);
        }
        if let Some(node) = self.node_mut(place) {
            node.required = node.fields.iter().filter(|field| !field.optional).count() as u32;
        }
    }

    /// Adds a field, `rank` being its place by name. `None` where there is no room for it; then the place
    /// is not looked into any more.
    fn add_field(
        &mut self,
        place: NodeId,
        rank: usize,
        name: &str,
        optional: bool,
        seen_in: u64,
        budget: &mut Budget,
    ) -> Option<NodeId> {
        let fields = self.node(place)?.fields.len();
        let room = (fields < MAX_FIELDS).then(|| self.add_node(name.len() + 1, budget)).flatten();
        let node = self.node_mut(place)?;
        let Some(value) = room else {
            node.become_opaque();
            return None;
        };
        node.by_name.insert(rank, fields as u32);
        node.fields.push(Field {
            quoted: format!("{name}\"").into(),
            plain: !name.bytes().any(|byte| byte < 0x20 || byte == b'"' || byte == b'\\'),
            optional,
            node: value,
            seen_in,
        });
        node.required += u32::from(!optional);
        Some(value)
    }

    /// What is known of a place.
    pub fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(id.0 as usize)
    }

    /// What is known of the elements of the arrays at a place.
    pub fn items(&self, node: &Node) -> Option<&Node> {
        self.node(node.items?)
    }

    fn node_mut(&mut self, id: NodeId) -> Option<&mut Node> {
        self.nodes.get_mut(id.0 as usize)
    }

    fn add_node(&mut self, name_bytes: usize, budget: &mut Budget) -> Option<NodeId> {
        if self.nodes.len() >= MAX_NODES || self.name_bytes + name_bytes > MAX_NAME_BYTES {
            return None;
        }
        budget.nodes = budget.nodes.checked_sub(1)?;
        budget.name_bytes = budget.name_bytes.checked_sub(name_bytes)?;
        self.name_bytes += name_bytes;
        let id = NodeId(self.nodes.len() as u32);
        self.nodes.push(Node::default());
        Some(id)
    }
}

impl Node {
    fn find(&self, name: &str) -> Result<usize, usize> {
        self.by_name.binary_search_by(|&index| self.fields[index as usize].name().cmp(name))
    }

    fn become_opaque(&mut self) {
        *self = Node { kinds: self.kinds, opaque: true, items: self.items, ..Node::default() };
    }
}

/// Compares a message with a shape, or lets the shape learn from it.
struct Observer<'a, const LEARN: bool> {
    shape: &'a mut Shape,
    budget: &'a mut Budget,
    unchanged: bool,
}

/// An object that is open.
struct OpenObject {
    /// Where it is described; [`NOWHERE`] if its fields are not looked at.
    node: NodeId,
    /// Its number.
    number: u64,
    /// The field that probably comes next.
    next: usize,
    /// How many of the fields that every object has were seen in this one.
    required: u32,
    /// Whether it is the first one at its place.
    first: bool,
}

impl<const LEARN: bool> Observer<'_, LEARN> {
    /// Notes that there is a value of a kind. The answer is whether that was known.
    #[inline(always)]
    fn note(&mut self, place: NodeId, kind: Kind) -> bool {
        let Some(node) = self.shape.node_mut(place) else { return true };
        let known = node.kinds.contains(kind);
        if !known {
            self.unchanged = false;
            if LEARN {
                node.kinds.insert(kind);
            }
        }
        known
    }

    #[inline(always)]
    fn came(&mut self, object: &mut OpenObject, index: usize) -> NodeId {
        let node = self.shape.nodes.get_mut(object.node.0 as usize);
        let Some(field) = node.and_then(|node| node.fields.get_mut(index)) else { return NOWHERE };
        if field.seen_in != object.number {
            field.seen_in = object.number;
            object.required += u32::from(!field.optional);
        }
        object.next = index + 1;
        field.node
    }

    fn add_field(&mut self, object: &mut OpenObject, rank: usize, name: &str) -> NodeId {
        let Some(node) = self.shape.node(object.node) else { return NOWHERE };
        let next = node.fields.len() + 1;
        let added = self.shape.add_field(object.node, rank, name, !object.first, object.number, self.budget);
        let Some(value) = added else {
            object.node = NOWHERE;
            return NOWHERE;
        };
        object.required += u32::from(object.first);
        object.next = next;
        value
    }
}

impl<const LEARN: bool> Visitor for Observer<'_, LEARN> {
    type Place = NodeId;
    type Object = OpenObject;

    #[inline(always)]
    fn scalar(&mut self, place: NodeId, kind: Kind) {
        self.note(place, kind);
    }

    fn array(&mut self, place: NodeId) -> NodeId {
        self.note(place, Kind::Array);
        let Some(node) = self.shape.node(place) else { return NOWHERE };
        if let Some(items) = node.items {
            return items;
        }
        if LEARN && let Some(items) = self.shape.add_node(0, self.budget) {
            if let Some(node) = self.shape.node_mut(place) {
                node.items = Some(items);
            }
            return items;
        }
        NOWHERE
    }

    fn open(&mut self, place: NodeId) -> OpenObject {
        let first = !self.note(place, Kind::Object);
        self.shape.objects += 1;
        let opaque = self.shape.node(place).is_none_or(|node| node.opaque);
        let node = if opaque { NOWHERE } else { place };
        OpenObject { node, number: self.shape.objects, next: 0, required: 0, first }
    }

    #[inline(always)]
    fn expected(&self, object: &OpenObject) -> Option<&str> {
        let field = self.shape.node(object.node)?.fields.get(object.next)?;
        field.plain.then_some(&field.quoted)
    }

    #[inline(always)]
    fn expected_came(&mut self, object: &mut OpenObject) -> NodeId {
        self.came(object, object.next)
    }

    fn field(&mut self, object: &mut OpenObject, key: Text<'_>) -> NodeId {
        let Some(node) = self.shape.node(object.node) else { return NOWHERE };
        // A name that is no text can't be written down in a schema either.
        let Some(name) = key.decode() else { return NOWHERE };
        match node.find(&name) {
            Ok(rank) => {
                let index = node.by_name[rank] as usize;
                self.came(object, index)
            }
            Err(rank) => {
                self.unchanged = false;
                if LEARN { self.add_field(object, rank, &name) } else { NOWHERE }
            }
        }
    }

    fn close(&mut self, object: OpenObject) {
        let Some(node) = self.shape.node_mut(object.node) else { return };
        if object.required == node.required {
            return;
        }
        self.unchanged = false;
        if LEARN {
            for field in node.fields.iter_mut().filter(|field| field.seen_in != object.number) {
                node.required -= u32::from(!field.optional);
                field.optional = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learned(messages: &[&str]) -> Shape {
        let (mut shape, mut budget) = (Shape::default(), Budget::default());
        messages.iter().for_each(|message| shape.learn(message, &mut budget));
        shape
    }

    fn is_known(shape: &mut Shape, message: &str) -> bool {
        shape.compare(&mut Scanner::new(message)).unwrap()
    }

    #[test]
    fn a_message_that_adds_nothing_is_known() {
        let mut shape = learned(&[r#"{"a":1,"b":{"c":"x","d":[1]},"e":[{"f":1},{"g":2}]}"#]);
        for known in [
            r#"{"a":2.5,"b":{"c":"y","d":[]},"e":[]}"#,
            r#"{ "e":[{"f":1},{}] ,"b":{"d":[1,2],"c":""},"a":0}"#,
            r#"{"\u0061":2.5,"b":{"c":"y","d":[]},"e":[]}"#,
            r#"{"a":1,"a":2,"b":{"c":"y","d":[]},"e":[]}"#,
        ] {
            assert!(is_known(&mut shape, known), "{known}");
        }
        for new in [
            r#"{"b":{"c":"y","d":[]},"e":[]}"#,
            r#"{"a":1,"a":2,"b":{"c":"y","d":[]}}"#,
            r#"{"a":null,"b":{"c":"y","d":[]},"e":[]}"#,
            r#"{"a":1,"b":{"c":"y"},"e":[]}"#,
            r#"{"a":1,"b":{"c":"y","d":["s"]},"e":[]}"#,
            r#"{"a":1,"b":{"c":"y","d":[]},"e":[],"h":1}"#,
        ] {
            assert!(!is_known(&mut shape, new), "{new}");
            let mut then = learned(&[r#"{"a":1,"b":{"c":"x","d":[1]},"e":[{"f":1},{"g":2}]}"#, new]);
            assert!(is_known(&mut then, new), "{new}");
        }
    }

    #[test]
    fn comparing_changes_nothing() {
        let mut shape = learned(&[r#"{"a":1}"#]);
        for _ in 0..2 {
            assert!(!is_known(&mut shape, r#"{"b":[1],"c":{}}"#));
        }
        assert_eq!(shape.nodes.len(), 2);
        assert!(!shape.nodes[0].fields[0].optional);
    }

    #[test]
    fn a_name_with_a_quote_in_it_is_never_taken_for_the_end_of_a_key() {
        let mut shape = learned(&[r#"{"a\":1,\"b":1}"#]);
        assert_eq!(shape.nodes[0].fields[0].name(), r#"a":1,"b"#);
        assert!(is_known(&mut shape, r#"{"a\":1,\"b":1}"#));
        assert!(!is_known(&mut shape, r#"{"a":1,"b":1}"#));
    }

    #[test]
    fn an_object_used_as_a_map_is_not_looked_into() {
        let mut shape = Shape::default();
        let mut budget = Budget::default();
        for number in 0..MAX_FIELDS {
            shape.learn(&format!(r#"{{"map":{{"key{number}":{number}}},"x":1}}"#), &mut budget);
        }
        assert_eq!(shape.nodes[1].fields.len(), MAX_FIELDS);
        shape.learn(r#"{"map":{"one more":1,"and more":{"deep":[1]}},"x":1}"#, &mut budget);
        assert!(shape.nodes[1].fields.is_empty() && shape.nodes[1].opaque);
        assert!(is_known(&mut shape, r#"{"map":{"any":null},"x":1}"#));
        assert_eq!(shape.nodes[0].fields.len(), 2);
    }

    #[test]
    fn memory_is_bounded_whatever_the_names_are() {
        let mut budget = Budget { nodes: 50, name_bytes: 1000 };
        let mut shape = Shape::default();
        for number in 0..100 {
            shape.learn(&format!(r#"{{"o{number}":{{"p":[{number}]}}}}"#), &mut budget);
        }
        assert!(shape.nodes.len() <= 51);
        let long = format!(r#"{{"{}":1}}"#, "n".repeat(MAX_NAME_BYTES));
        let mut shape = learned(&[&long]);
        assert!(shape.nodes[0].opaque && is_known(&mut shape, r#"{"x":1}"#));
    }
}
