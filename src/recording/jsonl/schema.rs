//! From a topic's [`Shape`] to a JSON Schema that Studio clients accept.
//!
//! Their reader knows objects with `properties`, booleans, strings, numbers, and arrays with elements of
//! one such kind, and refuses a whole channel for anything else. So what it can't take is left out here:
//!
//! - fields that hold values of several kinds, or never anything but null;
//! - arrays of arrays, arrays with elements of several kinds, arrays that are always empty;
//! - arrays in which objects and nulls stand side by side: the reader goes through the elements and stumbles
//!   over the nulls.
//!
//! The values are in the messages nevertheless. A field that is sometimes null and otherwise of one kind
//! has that kind, and is not `required`: values are not checked against the schema, and null is how JSON
//! writers spell a number that is not there (NaN). The same goes for nulls among plain elements of an array.
//! `properties` is always there, also where there are none: the reader takes it for granted.

use super::scan::Kind;
use super::shape::{Node, Shape};

/// The schema of the messages that have gone into `shape`, empty where there is none. Keys come in the order
/// in which the messages had them.
pub(super) fn json_schema(shape: &Shape) -> String {
    let mut out = String::new();
    if let Some(root) = shape.node(Shape::ROOT).filter(|root| root.kinds.contains(Kind::Object)) {
        write_object(shape, root, &mut out);
    }
    out
}

fn write_object(shape: &Shape, node: &Node, out: &mut String) {
    out.push_str(r#"{"type":"object","properties":{"#);
    let mut required = String::new();
    let mut separator = "";
    for field in &node.fields {
        let Some(value) = shape.node(field.node).filter(|value| is_expressible(shape, value)) else {
            continue;
        };
        let name = serde_json::Value::from(field.name()).to_string();
        out.push_str(separator);
        out.push_str(&name);
        out.push(':');
        write_value(shape, value, out);
        separator = ",";
        if !field.optional && !value.kinds.contains(Kind::Null) {
            required.push_str(if required.is_empty() { "" } else { "," });
            required.push_str(&name);
        }
    }
    out.push('}');
    // An empty list is not allowed in every draft of JSON Schema.
    if !required.is_empty() {
        out.push_str(r#","required":["#);
        out.push_str(&required);
        out.push(']');
    }
    out.push('}');
}

fn write_value(shape: &Shape, node: &Node, out: &mut String) {
    match node.kinds.only() {
        Some(Kind::Object) => write_object(shape, node, out),
        Some(Kind::Array) => {
            out.push_str(r#"{"type":"array","items":"#);
            if let Some(items) = shape.items(node) {
                write_value(shape, items, out);
            }
            out.push('}');
        }
        Some(Kind::Boolean) => out.push_str(r#"{"type":"boolean"}"#),
        Some(Kind::Number) => out.push_str(r#"{"type":"number"}"#),
        Some(Kind::String) => out.push_str(r#"{"type":"string"}"#),
        Some(Kind::Null) | None => {}
    }
}

fn is_expressible(shape: &Shape, node: &Node) -> bool {
    match node.kinds.only() {
        Some(Kind::Array) => shape.items(node).is_some_and(|items| match items.kinds.only() {
            Some(Kind::Object) => !items.kinds.contains(Kind::Null),
            Some(Kind::Boolean | Kind::Number | Kind::String) => true,
            Some(Kind::Array | Kind::Null) | None => false,
        }),
        Some(_) => true,
        None => false,
    }
}

/// The name of a schema that is made here: the levels of the topic's name, with points between them
/// (`/imu/data` is `imu.data`). A topic without any is called `message`.
pub(in crate::recording) fn name_from_topic(topic: &str) -> String {
    let levels: Vec<&str> = topic.split('/').filter(|level| !level.is_empty()).collect();
    if levels.is_empty() { "message".into() } else { levels.join(".") }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::super::shape::Budget;
    use super::*;

    fn inferred(messages: &[&str]) -> String {
        let (mut shape, mut budget) = (Shape::default(), Budget::default());
        messages.iter().for_each(|message| shape.learn(message, &mut budget));
        json_schema(&shape)
    }

    #[track_caller]
    fn infers(messages: &[&str], schema: &str) {
        assert_eq!(inferred(messages), schema);
    }

    #[test]
    fn every_plain_kind_of_field_is_described() {
        infers(
            &[r#"{"z":1,"on":true,"name":"x","at":{"x":1.5},"ids":[1,2],"legs":[{"a":1}]}"#],
            concat!(
                r#"{"type":"object","properties":{"z":{"type":"number"},"on":{"type":"boolean"},"#,
                r#""name":{"type":"string"},"at":{"type":"object","properties":{"x":{"type":"number"}},"#,
                r#""required":["x"]},"ids":{"type":"array","items":{"type":"number"}},"#,
                r#""legs":{"type":"array","items":{"type":"object","properties":{"a":{"type":"number"}},"#,
                r#""required":["a"]}}},"required":["z","on","name","at","ids","legs"]}"#,
            ),
        );
    }

    #[test]
    fn a_number_is_a_number_whether_it_was_written_as_an_integer_or_not() {
        infers(
            &[r#"{"x":1}"#, r#"{"x":1.5}"#, r#"{"x":1e999}"#],
            r#"{"type":"object","properties":{"x":{"type":"number"}},"required":["x"]}"#,
        );
    }

    #[test]
    fn a_field_that_is_sometimes_missing_is_not_required() {
        let schema = r#"{"type":"object","properties":{"a":{"type":"number"},"b":{"type":"number"},"c":{"type":"number"}},"required":["b"]}"#;
        infers(&[r#"{"a":1,"b":1}"#, r#"{"b":1,"c":1}"#], schema);
        infers(&[r#"{"a":1,"b":1}"#, r#"{"c":1,"b":1}"#, r#"{"c":1,"b":1,"a":1}"#], schema);
    }

    #[test]
    fn what_studio_does_not_take_is_left_out() {
        let empty = r#"{"type":"object","properties":{}}"#;
        infers(&[r#"{"x":null}"#], empty);
        infers(&[r#"{"x":1}"#, r#"{"x":"s"}"#], empty);
        infers(&[r#"{"x":true}"#, r#"{"x":1}"#], empty);
        infers(&[r#"{"x":{}}"#, r#"{"x":[]}"#], empty);
        infers(&[r#"{"x":[[1]]}"#], empty);
        infers(&[r#"{"x":[1,"s"]}"#], empty);
        infers(&[r#"{"x":[]}"#], empty);
        infers(&[r#"{"x":[null]}"#], empty);
        infers(&[r#"{"x":[{"a":1},null]}"#], empty);
        infers(&[r#"{"\ud800":1}"#], empty);
        infers(&["{}"], empty);
    }

    #[test]
    fn a_field_that_is_sometimes_null_has_the_kind_of_its_other_values() {
        let number = r#"{"type":"object","properties":{"x":{"type":"number"}}}"#;
        infers(&[r#"{"x":null}"#, r#"{"x":1}"#], number);
        infers(&[r#"{"x":1}"#, r#"{"x":null}"#], number);
        infers(
            &[r#"{"x":[1,null,2]}"#],
            r#"{"type":"object","properties":{"x":{"type":"array","items":{"type":"number"}}},"required":["x"]}"#,
        );
    }

    #[test]
    fn an_array_that_is_sometimes_empty_has_the_elements_of_the_others() {
        infers(
            &[r#"{"x":[]}"#, r#"{"x":["s"]}"#, r#"{"x":[]}"#],
            r#"{"type":"object","properties":{"x":{"type":"array","items":{"type":"string"}}},"required":["x"]}"#,
        );
    }

    #[test]
    fn objects_in_arrays_are_merged_over_all_elements() {
        let schema = inferred(&[r#"{"x":[{"a":1,"n":{"p":1}},{"b":"s","n":{}}]}"#, r#"{"x":[{"c":true}]}"#]);
        let items = &serde_json::from_str::<Value>(&schema).unwrap()["properties"]["x"]["items"];
        assert_eq!(
            *items,
            json!({"type": "object", "properties": {
                "a": {"type": "number"},
                "n": {"type": "object", "properties": {"p": {"type": "number"}}},
                "b": {"type": "string"},
                "c": {"type": "boolean"},
            }})
        );
    }

    #[test]
    fn a_topic_s_levels_make_the_schema_s_name() {
        for (topic, name) in
            [("/imu/data", "imu.data"), ("imu", "imu"), ("//a//b/", "a.b"), ("/", "message"), ("", "message")]
        {
            assert_eq!(name_from_topic(topic), name);
        }
    }

    /// What Studio's reader takes, and nothing else.
    fn assert_acceptable_object(schema: &Value) {
        let object = schema.as_object().unwrap();
        assert_eq!(object["type"], "object");
        assert!(object.keys().all(|key| ["type", "properties", "required"].contains(&key.as_str())));
        let properties = object["properties"].as_object().unwrap();
        for property in properties.values() {
            match property["type"].as_str().unwrap() {
                "boolean" | "string" | "number" => assert_eq!(property.as_object().unwrap().len(), 1),
                "object" => assert_acceptable_object(property),
                "array" => {
                    assert_eq!(property.as_object().unwrap().len(), 2);
                    match property["items"]["type"].as_str().unwrap() {
                        "boolean" | "string" | "number" => {}
                        "object" => assert_acceptable_object(&property["items"]),
                        other => panic!("{other}"),
                    }
                }
                other => panic!("{other}"),
            }
        }
        for name in object.get("required").map_or(&[][..], |list| list.as_array().unwrap()) {
            assert!(properties.contains_key(name.as_str().unwrap()));
        }
    }

    /// Whether a value is what the schema says, nulls aside where nothing is required.
    fn assert_fits(value: &Value, schema: &Value) {
        let properties = schema["properties"].as_object().unwrap();
        for required in schema.get("required").map_or(&[][..], |list| list.as_array().unwrap()) {
            assert!(!value[required.as_str().unwrap()].is_null());
        }
        for (name, property) in properties {
            let values = match value.get(name) {
                None | Some(Value::Null) => continue,
                Some(Value::Array(items)) if property["type"] == "array" => items.clone(),
                Some(other) => vec![other.clone()],
            };
            let schema = if property["type"] == "array" { &property["items"] } else { property };
            for value in values.iter().filter(|value| !value.is_null()) {
                match schema["type"].as_str().unwrap() {
                    "boolean" => assert!(value.is_boolean()),
                    "number" => assert!(value.is_number()),
                    "string" => assert!(value.is_string()),
                    _ => assert_fits(value, schema),
                }
            }
        }
    }

    fn message() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            1 => Just(Value::Null),
            1 => any::<bool>().prop_map(Value::from),
            4 => any::<i32>().prop_map(Value::from),
            4 => (-1e9..1e9).prop_map(|number: f64| Value::from(number)),
            2 => ".{0,3}".prop_map(Value::from),
        ];
        let value = leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-d\"\\\\]{1,2}", inner, 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        });
        prop::collection::btree_map("[a-f]", value, 0..6)
            .prop_map(|members| Value::Object(members.into_iter().collect()))
    }

    proptest! {
        #[test]
        fn what_two_shapes_know_together_is_what_one_learns_from_all_messages(
            messages in prop::collection::vec(message(), 0..12),
            cut in 0..12usize,
        ) {
            let texts: Vec<String> = messages.iter().map(Value::to_string).collect();
            let (mut whole, mut first, mut second) = (Shape::default(), Shape::default(), Shape::default());
            let mut budget = Budget::default();
            for (place, text) in texts.iter().enumerate() {
                whole.learn(text, &mut budget);
                if place < cut { &mut first } else { &mut second }.learn(text, &mut budget);
            }
            first.unite(&second, &mut budget);
            prop_assert_eq!(json_schema(&first), json_schema(&whole));
            for text in &texts {
                prop_assert!(first.compare(&mut super::super::scan::Scanner::new(text)).unwrap());
            }
        }

        #[test]
        fn an_inferred_schema_is_acceptable_and_true(messages in prop::collection::vec(message(), 1..12)) {
            let (mut shape, mut budget) = (Shape::default(), Budget::default());
            for message in &messages {
                let text = message.to_string();
                let known = shape.compare(&mut super::super::scan::Scanner::new(&text)).unwrap();
                let before = json_schema(&shape);
                shape.learn(&text, &mut budget);
                prop_assert!(!known || before == json_schema(&shape));
                prop_assert!(shape.compare(&mut super::super::scan::Scanner::new(&text)).unwrap());
            }
            let schema = serde_json::from_str(&json_schema(&shape)).unwrap();
            assert_acceptable_object(&schema);
            messages.iter().for_each(|message| assert_fits(message, &schema));
        }
    }
}
