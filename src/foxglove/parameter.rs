//! Parameters: named values that clients may read and set.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A parameter, as client and server write it.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Parameter {
    /// Its name.
    pub name: String,
    /// Its value; without one it is not set, or to be unset. A `null` counts as none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
    /// What the value is meant to be, where JSON does not tell: `float64`, `float64_array`, or `byte_array`
    /// (a string in base64). Not checked against the value.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub value_type: Option<String>,
}

#[cfg(test)]
pub(super) mod tests {
    use foxglove::ws_protocol::parameter as sdk;
    use serde_json::json;

    use super::*;

    /// The same parameters, written by the SDK and by this module.
    pub(in crate::foxglove) fn examples() -> Vec<(sdk::Parameter, Parameter)> {
        let own = |name: &str, value: Option<Value>, value_type: Option<&str>| Parameter {
            name: name.into(),
            value,
            value_type: value_type.map(Into::into),
        };
        let nested = sdk::ParameterValue::Dict([("b".into(), sdk::ParameterValue::Bool(false))].into());
        let dict = sdk::Parameter::dict("dict", [("nested".into(), nested)].into());
        vec![
            (sdk::Parameter::empty("unset"), own("unset", None, None)),
            (sdk::Parameter::integer("int", -5), own("int", Some(json!(-5)), None)),
            (sdk::Parameter::integer_array("ints", [1, 2]), own("ints", Some(json!([1, 2])), None)),
            (sdk::Parameter::float64("float", 1.0), own("float", Some(json!(1.0)), Some("float64"))),
            (
                sdk::Parameter::float64_array("floats", [0.5, 2.0]),
                own("floats", Some(json!([0.5, 2.0])), Some("float64_array")),
            ),
            (sdk::Parameter::string("text", "é"), own("text", Some(json!("é")), None)),
            (
                sdk::Parameter::byte_array("bytes", b"abc"),
                own("bytes", Some(json!("YWJj")), Some("byte_array")),
            ),
            (sdk::Parameter::bool("bool", true), own("bool", Some(json!(true)), None)),
            (dict, own("dict", Some(json!({"nested": {"b": false}})), None)),
        ]
    }

    #[test]
    fn parameters_are_written_and_read_as_the_sdk_does() {
        for (sdk, own) in examples() {
            let written = serde_json::to_value(&sdk).unwrap();
            assert_eq!(serde_json::to_value(&own).unwrap(), written);
            assert_eq!(serde_json::from_value::<Parameter>(written).unwrap(), own);
            let read: sdk::Parameter = serde_json::from_str(&serde_json::to_string(&own).unwrap()).unwrap();
            assert_eq!(read, sdk);
        }
    }

    #[test]
    fn null_is_no_value() {
        let read: Parameter = serde_json::from_str(r#"{"name":"a","value":null,"type":null}"#).unwrap();
        assert_eq!(read, Parameter { name: "a".into(), value: None, value_type: None });
    }
}
