//! Schemas that no line of a file holds, but its messages tell.

use super::super::Schema;
use super::schema::json_schema;
use super::shape::{Budget, Shape};

/// What the schema of a topic is made from, so that one can be made for the messages of several files.
#[derive(Clone, Debug)]
pub struct Inferred {
    pub(super) shape: Shape,
    /// The schema's name, if a line of the file gives it.
    pub(super) given_name: Option<String>,
}

impl Inferred {
    /// The schema's name, if the file gives it.
    pub fn given_name(&self) -> Option<&str> {
        self.given_name.as_deref()
    }

    /// The schema of all messages that these know of, as if they stood in one file, in this order. If none of
    /// them gives its name, `name` makes one up. `None` where there is no message and no name.
    pub fn schema(parts: &[&Inferred], name: impl FnOnce() -> String) -> Option<Schema> {
        let data = match parts {
            [only] => json_schema(&only.shape),
            _ => {
                let (mut whole, mut budget) = (Shape::default(), Budget::default());
                parts.iter().for_each(|part| whole.unite(&part.shape, &mut budget));
                json_schema(&whole)
            }
        };
        let given = parts.iter().find_map(|part| part.given_name()).map(str::to_owned);
        let name = given.or_else(|| (!data.is_empty()).then(name))?;
        let encoding = if data.is_empty() { "" } else { "jsonschema" };
        Some(Schema { name, encoding: encoding.into(), data: data.into() })
    }
}
