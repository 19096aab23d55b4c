//! Which schemas viewers can read.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::rosmsg::Version;
use super::schema::Flaw;
use super::{CheckedFile, FindingKind, Kind, More, Severity, Verdict, jsonschema, protobuf, rosmsg};

#[track_caller]
fn refused(checked: Result<(), Flaw>, severity: Severity, words: &str) {
    let flaw = checked.unwrap_err();
    assert_eq!(flaw.severity, severity, "{}", flaw.text);
    assert!(flaw.text.contains(words), "{}", flaw.text);
}

#[test]
fn what_is_not_listed_counts_for_the_verdict() {
    let more = |severity| More { kind: FindingKind::Damage, severity, count: 1 };
    let verdict = |severity| CheckedFile { more: vec![more(severity)], ..checked_file() }.verdict();
    let verdicts = [Severity::Note, Severity::Warning, Severity::Error].map(verdict);
    assert_eq!(verdicts, [Verdict::Ok, Verdict::Warnings, Verdict::Errors]);
}

fn checked_file() -> CheckedFile {
    CheckedFile {
        path: "a.mcap".into(),
        kind: Some(Kind::Mcap),
        bytes: 0,
        messages: 0,
        channels: 0,
        time_range: None,
        findings: Vec::new(),
        more: Vec::new(),
    }
}

#[test]
fn a_json_schema_has_to_be_that_of_an_object() {
    let check = |text: &str| jsonschema::check(text.as_bytes());
    assert_eq!(check(r#"{"type": "object", "properties": {}}"#), Ok(()));
    refused(check("{"), Severity::Error, "is not JSON");
    refused(check("[]"), Severity::Error, "it has none");
    refused(check("{}"), Severity::Error, "it has none");
    refused(check(r#"{"type": "array"}"#), Severity::Error, "it is \"array\"");
    refused(check(r#"{"type": ["object", "null"]}"#), Severity::Error, "it is [\"object\",\"null\"]");
    refused(check(&"[".repeat(100_000)), Severity::Error, "is not JSON");
}

#[test]
fn properties_that_some_viewers_refuse_are_named() {
    let check = |property: &str| {
        let text = format!(r#"{{"type": "object", "properties": {{"x": {property}}}}}"#);
        jsonschema::check(text.as_bytes())
    };
    for property in [
        r#"{"type": "boolean"}"#,
        r#"{"type": "string", "contentEncoding": "base64"}"#,
        r#"{"type": "object", "properties": {"y": {"type": "integer"}}}"#,
        r#"{"type": "array", "items": {"type": "number"}}"#,
        r#"{"type": "array", "items": {"type": "object", "properties": {}}}"#,
        r#"{"oneOf": [{"title": "A", "const": 1}, {"title": "B", "const": 2}]}"#,
    ] {
        assert_eq!(check(property), Ok(()), "{property}");
    }
    for (property, words) in [
        (r#"{"type": "null"}"#, "'x' has the type \"null\""),
        (r#"{"type": ["number", "null"]}"#, "'x' has the type [\"number\",\"null\"]"),
        ("{}", "'x' has no type"),
        ("3", "'x' is no object"),
        (r#"{"type": "object"}"#, "'x' has no \"properties\""),
        (r#"{"type": "array"}"#, "'x' is an array without \"items\""),
        (r#"{"type": "array", "items": {"type": "array"}}"#, "'x' is an array of \"array\""),
        (r#"{"oneOf": [{"type": "number"}]}"#, "'x' is one of several things"),
        (r#"{"type": "string", "contentEncoding": "hex"}"#, "'x' has the contentEncoding \"hex\""),
    ] {
        refused(check(property), Severity::Warning, words);
    }
}

#[test]
fn a_ros_definition_has_to_have_all_its_types() {
    let check = |text: &str| rosmsg::check(text.as_bytes(), "a_msgs/msg/A", Version::Ros2);
    let whole = "# a comment\nstd_msgs/Header header\nfloat64[3] xs # three\nstring<=10[<=5] names\n\
                 uint8 KIND=1\nstring NAME = \"a # b\"\nint32 count 7\nPoint[] points\n\n\
                 ================\nMSG: std_msgs/Header\nbuiltin_interfaces/Time stamp\nstring frame_id\n\
                 ================\nMSG: geometry_msgs/msg/Point\nfloat64 x\n";
    assert_eq!(check(whole), Ok(()));
    assert_eq!(rosmsg::check(b" \n", "std_msgs/msg/Empty", Version::Ros2), Ok(()));
    refused(check(""), Severity::Error, "is empty");
    refused(check("float64 x\nPoint p"), Severity::Error, "uses the type Point without its definition");
    refused(check("float64 x\nsyntax = \"proto3\";"), Severity::Error, "in line 2");
    refused(check("{\"type\": \"object\"}"), Severity::Error, "in line 1");
    refused(check("float64"), Severity::Error, "in line 1");
    refused(rosmsg::check(b"\xff\xfe", "A", Version::Ros2), Severity::Error, "no UTF-8");
    let ros1 = |text: &str| rosmsg::check(text.as_bytes(), "a_msgs/A", Version::Ros1);
    assert_eq!(ros1("Header header\ntime t\n===\nMSG: std_msgs/Header\nuint32 seq\n"), Ok(()));
    refused(ros1("int32 count 7"), Severity::Error, "in line 1");
    refused(ros1("wstring name"), Severity::Error, "wstring");
}

/// A field with a length.
fn field(number: u8, content: impl AsRef<[u8]>) -> Vec<u8> {
    let content = content.as_ref();
    assert!(content.len() < 128);
    [&[number << 3 | 2, content.len() as u8][..], content].concat()
}

/// The descriptors of `p.A`, with a nested message and a field of the type `used`.
fn descriptors(used: &str) -> Vec<u8> {
    let of_type = [field(1, "f"), field(6, used)].concat();
    let nested = field(1, "Inner");
    let message = [field(1, "A"), field(2, of_type), field(3, nested)].concat();
    field(1, [field(1, "p.proto"), field(2, "p"), field(4, message)].concat())
}

#[test]
fn a_protobuf_schema_has_to_describe_the_message_and_all_it_refers_to() {
    for used in [".p.A.Inner", ".p.A", "Inner", "A.Inner", "p.A"] {
        assert_eq!(protobuf::check(&descriptors(used), "p.A"), Ok(()), "{used}");
    }
    assert_eq!(protobuf::check(&descriptors(".p.A"), "A"), Ok(()));
    refused(protobuf::check(b"", "p.A"), Severity::Error, "is empty");
    refused(protobuf::check(&descriptors(".p.A"), "p.B"), Severity::Error, "(but p.A, p.A.Inner)");
    refused(protobuf::check(&descriptors(".p.B"), "p.A"), Severity::Error, "refers to .p.B (in p.A)");
    refused(protobuf::check(&descriptors("Outer"), "p.A"), Severity::Error, "refers to Outer");
    let text = STANDARD.encode(descriptors(".p.A"));
    refused(protobuf::check(text.as_bytes(), "p.A"), Severity::Error, "base64");
    let source = b"syntax = \"proto3\";\nmessage A {}\n";
    refused(protobuf::check(source, "A"), Severity::Error, "the text of a .proto file");
    refused(protobuf::check(&[0xff; 30], "A"), Severity::Error, "no FileDescriptorSet");
}

#[test]
fn hostile_descriptors_cost_bounded_memory_and_time() {
    // Nested far deeper than any compiler allows, each level with a name of its own.
    let long = |number: u8, content: &[u8]| {
        let (length, mut bytes) = (content.len(), vec![number << 3 | 2]);
        bytes.extend([(length & 0x7f) as u8 | 0x80, (length >> 7 & 0x7f) as u8 | 0x80, (length >> 14) as u8]);
        [bytes, content.to_vec()].concat()
    };
    let mut message = field(1, "A");
    for _ in 0..1000 {
        message = [field(1, "A"), long(3, &message)].concat();
    }
    refused(protobuf::check(&long(1, &long(4, &message)), "A"), Severity::Warning, "too large");
    // A name that is repeated in each of many.
    let many: Vec<u8> = (0..5000).flat_map(|_| field(3, field(1, "B"))).collect();
    let message = [long(1, &[b'A'; 5000]), many].concat();
    refused(protobuf::check(&long(1, &long(4, &message)), "A"), Severity::Warning, "too large");
    // Any front of a whole one.
    let whole = descriptors(".p.A");
    (0..whole.len()).for_each(|cut| drop(protobuf::check(&whole[..cut], "p.A")));
}
