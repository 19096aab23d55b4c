//! `fgplay check`: good recordings pass, and of others it tells what is wrong, where, and how bad it is.

use std::path::Path;

use serde_json::Value;

use crate::program::run;
use crate::recordings::{MILLISECOND, SECOND, START, Topic, file, mcap, ticks};

const IMU: &[u8] = br#"{"type": "object", "properties": {"x": {"type": "number"}}}"#;

/// A topic with a JSON message at each of these milliseconds.
fn topic(name: &'static str, milliseconds: &[u64]) -> Topic {
    let messages = milliseconds.iter().map(|time| (time * MILLISECOND, br#"{"x":1}"#.to_vec()));
    Topic {
        name,
        encoding: "json",
        schema: Some(("sensor.Imu", "jsonschema", IMU)),
        messages: messages.collect(),
    }
}

fn path(file: &tempfile::NamedTempFile) -> &str {
    file.path().to_str().unwrap()
}

/// Checks a file, and gives the exit code and what it says as text and as JSON.
fn check(arguments: &[&str]) -> (Option<i32>, String, Value) {
    let (code, text, stderr) = run([&["check"], arguments].concat());
    assert!(!stderr.contains("panicked"), "{stderr}");
    let (json_code, json, _) = run([&["check", "--json"], arguments].concat());
    assert_eq!(code, json_code);
    (code, text, serde_json::from_str(&json).unwrap())
}

/// Kind and severity of all findings.
fn kinds(json: &Value) -> Vec<String> {
    let findings = json["findings"].as_array().unwrap().iter();
    let word = |value: &Value| value.as_str().unwrap().to_owned();
    findings.map(|finding| format!("{} {}", word(&finding["kind"]), word(&finding["severity"]))).collect()
}

/// Checks bytes as a file, and expects one finding, which has these words.
#[track_caller]
fn finds(bytes: impl AsRef<[u8]>, kind: &str, words: &str) -> Value {
    let recording = file(bytes);
    let (code, text, json) = check(&[path(&recording)]);
    assert_eq!(kinds(&json), [kind], "{text}");
    assert!(text.lines().next().unwrap().contains(words), "{text}");
    assert_eq!(code, Some(if kind.ends_with("error") { 3 } else { 0 }));
    let (code, ..) = run(["check", "--strict", path(&recording)]);
    assert_eq!(code, Some(if kind.ends_with("note") { 0 } else { 3 }));
    json["findings"][0].clone()
}

#[test]
fn good_recordings_pass() {
    let root = env!("CARGO_MANIFEST_DIR");
    for name in ["demo.mcap", "demo.jsonl", "ros2.mcap"] {
        let (code, text, json) = check(&["--strict", &format!("{root}/testdata/{name}")]);
        assert_eq!((code, &json["verdict"]), (Some(0), &"ok".into()), "{text}");
        assert_eq!((text.lines().count(), kinds(&json).len()), (1, 0), "{text}");
        assert!(text.contains(": nothing found; "), "{text}");
    }
    let (good, lines) = (file(mcap("", &[topic("/imu", &[0, 10, 20])])), ticks(1001));
    let (code, text, json) = check(&["--strict", path(&good), path(&lines)]);
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.contains("3 messages, 1 channel, 0.0s") && text.contains("1,002 messages, 2 channels, 1.0s")
    );
    let files = json["files"].as_array().unwrap();
    assert_eq!((&files[0]["format"], &files[1]["format"]), (&"mcap".into(), &"jsonl".into()));
    assert_eq!((&files[1]["messages"], &files[1]["duration_ns"]), (&1002.into(), &SECOND.into()));
    assert_eq!(files[1]["start"]["ns"], START);
}

#[test]
fn what_is_no_recording_does_not_keep_others_from_being_checked() {
    let (text, lines) = (file("hello\n"), ticks(10));
    let (code, stdout, json) = check(&["/no/such/file.mcap", path(&text), path(&lines)]);
    assert_eq!((code, &json["verdict"]), (Some(1), &"unreadable".into()));
    assert_eq!(kinds(&json), ["unreadable error"; 2]);
    assert!(
        stdout.contains("/no/such/file.mcap: error: it can't be read: there is no such file"),
        "{stdout}"
    );
    assert!(stdout.contains("text without JSON objects") && stdout.contains("nothing found"), "{stdout}");
    assert_eq!(json["files"][2]["verdict"], "ok");
    let (code, _, stderr) = run(["check", path(&text)]);
    assert_eq!((code, &*stderr), (Some(1), "fgplay: the recording can't be read\n"));
    assert_eq!(run(["check"]).0, Some(2));
    assert_eq!(run(["check", path(&lines), "--max-gap", "0"]).0, Some(2));
}

#[test]
fn a_recording_without_messages_is_an_error() {
    let recording = file(mcap("", &[topic("/imu", &[])]));
    let (code, text, json) = check(&[path(&recording)]);
    assert_eq!((code, &*kinds(&json)[0]), (Some(3), "empty error"));
    assert!(text.contains("it has no message"), "{text}");
}

#[test]
fn wrong_checksums_are_told() {
    let good = mcap("", &[topic("/imu", &[0, 10, 20])]);
    // The library's name stands in the data section, outside of chunks.
    let at = good.windows(4).position(|bytes| bytes == b"mcap").unwrap();
    let mut bytes = good.clone();
    bytes[at] = b'M';
    finds(&bytes, "crc error", "the CRC of the data section is wrong");

    let mut bytes = good.clone();
    let name = bytes.windows(10).rposition(|bytes| bytes == b"sensor.Imu").unwrap();
    bytes[name] = b'S';
    let finding = finds(&bytes, "crc error", "the CRC of the summary is wrong");
    assert!(finding["offset"].as_u64().unwrap() < name as u64);

    // Not compressed, so that a changed byte changes nothing but itself.
    let mut bytes = Vec::new();
    let options = ::mcap::WriteOptions::new().compression(None);
    let mut writer = options.create(std::io::Cursor::new(&mut bytes)).unwrap();
    let schema = writer.add_schema("sensor.Imu", "jsonschema", IMU).unwrap();
    let channel = writer.add_channel(schema, "/imu", "json", &std::collections::BTreeMap::new()).unwrap();
    let header =
        ::mcap::records::MessageHeader { channel_id: channel, sequence: 0, log_time: 1, publish_time: 1 };
    writer.write_to_known_channel(&header, br#"{"x":12345}"#).unwrap();
    writer.finish().unwrap();
    drop(writer);
    let data = bytes.windows(5).position(|bytes| bytes == b"12345").unwrap();
    bytes[data] = b'9';
    let recording = file(bytes);
    let (code, text, json) = check(&[path(&recording)]);
    assert_eq!(code, Some(3));
    assert!(text.contains("the chunk's CRC is wrong") && text.contains("its 1 message is skipped"), "{text}");
    assert_eq!(kinds(&json), ["crc error", "crc error", "empty error"]);
}

#[test]
fn a_recording_that_is_cut_off_is_told() {
    let good = mcap("", &[topic("/imu", &(0..500).collect::<Vec<_>>())]);
    let recording = file(&good[..good.len() / 2]);
    let (code, text, json) = check(&[path(&recording)]);
    assert_eq!(code, Some(3), "{text}");
    assert_eq!(kinds(&json), ["damage error", "damage error"]);
    assert!(text.contains("the file ends in the middle of") && text.contains("mcap recover"), "{text}");
}

#[test]
fn log_times_that_go_back_are_counted_and_told_once() {
    let finding = finds(
        mcap("", &[topic("/imu", &[0, 10, 5, 20, 15, 30])]),
        "order warning",
        "the log times go back 2 times, by up to 5 ms",
    );
    assert_eq!((&finding["topic"], &finding["count"]), (&"/imu".into(), &2.into()));
    assert_eq!(finding["time"]["ns"], START + 5 * MILLISECOND);
    let finding =
        finds(mcap("", &[topic("/a", &[0, 10]), topic("/b", &[5, 20])]), "order warning", "one topic's");
    assert_eq!(finding["topic"], Value::Null);

    let line = |topic, time| format!("{{\"topic\": \"{topic}\", \"log_time\": {time}, \"data\": {{}}}}\n");
    let finding = finds(line("/a", 3) + &line("/a", 1), "order warning", "go back once");
    assert_eq!(finding["line"], 2);
}

#[test]
fn silences_are_told_where_they_are_asked_for() {
    // In the second file they can be seen in the order of time only.
    for topics in [vec![topic("/a", &[0, 10, 5000, 5010])], vec![topic("/a", &[0, 5000]), topic("/b", &[10])]]
    {
        let recording = file(mcap("", &topics));
        let (_, _, json) = check(&[path(&recording)]);
        assert!(!kinds(&json).contains(&"gap error".into()));
        let (code, text, json) = check(&[path(&recording), "--max-gap", "2"]);
        assert_eq!(code, Some(3));
        assert_eq!(kinds(&json)[0], "gap error");
        assert!(text.contains("no message on any topic for 4.99 s"), "{text}");
        assert_eq!(json["findings"][0]["time"]["ns"], START + 10 * MILLISECOND);
        assert_eq!(check(&[path(&recording), "--max-gap", "5s"]).0, Some(0));
    }
}

#[test]
fn many_findings_of_a_kind_are_counted() {
    let recording = ticks(100);
    let (code, text, json) = check(&[path(&recording), "--max-gap", "0.0005"]);
    assert_eq!(code, Some(3));
    assert_eq!(kinds(&json).len(), 20);
    let more = &json["more_findings"][0];
    assert_eq!((&more["kind"], &more["count"]), (&"gap".into(), &79.into()));
    assert!(text.contains("and 79 more errors of this kind: gap"), "{text}");
    assert!(text.ends_with(": 99 errors; 101 messages, 2 channels, 0.1s\n"), "{text}");
}

#[test]
fn schemas_that_viewers_can_not_read_are_told() {
    let with = |encoding, schema| mcap("", &[Topic { encoding, schema, ..topic("/imu", &[0]) }]);
    for (encoding, schema, kind, words) in [
        ("json", Some(("A", "jsonschema", &b"{\"type\": 3}"[..])), "schema error", "\"type\": \"object\""),
        ("json", Some(("A", "jsonschema", b"type: object")), "schema error", "is not JSON"),
        (
            "json",
            Some(("A", "jsonschema", br#"{"type":"object","properties":{"x":{"type":"null"}}}"#)),
            "schema warning",
            "'x' has the type \"null\"",
        ),
        ("json", Some(("A", "ros2msg", b"int32 x")), "schema error", "do not go together"),
        ("cdr", None, "schema error", "has no schema"),
        ("cdr", Some(("a/msg/A", "ros2msg", b"")), "schema error", "is empty"),
        ("cdr", Some(("a/msg/A", "ros2msg", b"Point p")), "schema error", "uses the type Point"),
        ("ros1", Some(("a/A", "ros1msg", b"{}")), "schema error", "in line 1"),
        ("cdr", Some(("a/msg/A", "ros2idl", b" ")), "schema error", "is empty"),
        ("protobuf", Some(("p.A", "protobuf", b"\xff\xff")), "schema error", "no FileDescriptorSet"),
        ("protobuf", Some(("p.A", "protobuf", b"message A {}")), "schema error", "the text of a .proto file"),
        ("cbor", Some(("A", "cddl", b"a")), "encoding note", "encoded as 'cbor'"),
        ("json", Some(("A", "yaml", b"a")), "encoding note", "encoded as 'yaml'"),
    ] {
        let finding = finds(with(encoding, schema), kind, words);
        assert_eq!(finding["topic"], "/imu");
    }
    let none = file(with("json", None));
    assert_eq!(kinds(&check(&[path(&none)]).2), [""; 0]);
}

#[test]
fn topics_with_two_types_are_told() {
    let other = |name: &'static str, schema: &'static [u8], messages: &[u64]| Topic {
        schema: Some((name, "jsonschema", schema)),
        ..topic("/imu", messages)
    };
    let mine = || topic("/imu", &[0]);
    let empty = br#"{"type": "object", "properties": {}}"#;
    let both = mcap("", &[mine(), other("sensor.Gps", IMU, &[1])]);
    let finding = finds(both, "clash error", "sensor.Imu (json), sensor.Gps (json)");
    assert_eq!(finding["topic"], "/imu");
    finds(mcap("", &[mine(), other("sensor.Imu", empty, &[1])]), "clash error", "different definitions");
    // Two publishers of one type are one topic.
    let two = file(mcap("", &[mine(), topic("/imu", &[1])]));
    assert_eq!(kinds(&check(&[path(&two)]).2), [""; 0]);

    let (first, second) = (file(mcap("", &[mine()])), file(mcap("", &[other("sensor.Gps", IMU, &[1])])));
    let (code, text, json) = check(&[path(&first), path(&second)]);
    // Files that are checked together need not be played together.
    assert_eq!((code, kinds(&json)), (Some(0), vec!["clash note".to_owned()]), "{text}");
    assert_eq!((&json["verdict"], &json["findings"][0]["file"]), (&"ok".into(), &path(&second).into()));
    assert_eq!(run(["check", "--strict", path(&first), path(&second)]).0, Some(0));
    // Schemas that were inferred adapt to each other.
    let numbers = file("{\"topic\": \"/x\", \"log_time\": 1, \"data\": {\"x\": 1}}\n");
    let texts = file("{\"topic\": \"/x\", \"log_time\": 1, \"data\": {\"x\": \"y\"}}\n");
    assert_eq!(kinds(&check(&[path(&numbers), path(&texts)]).2), [""; 0]);
}

#[test]
fn lines_that_are_no_messages_are_told_by_reason() {
    let good = "{\"topic\": \"/a\", \"log_time\": 1, \"data\": {}}\n";
    let no_time = "{\"topic\": \"/a\", \"data\": {}}\n";
    let odd = "{\"topic\": \"/a\", \"log_time\": 1, \"sequence\": \"x\", \"data\": {}}\n";
    let recording = file([good, no_time, "nothing\n", no_time, no_time, odd, good].concat());
    let (code, text, json) = check(&[path(&recording)]);
    assert_eq!(code, Some(3), "{text}");
    assert_eq!(kinds(&json), ["line error", "line error", "line warning"]);
    let findings = json["findings"].as_array().unwrap();
    let places: Vec<_> = findings.iter().map(|finding| (&finding["line"], &finding["count"])).collect();
    assert_eq!(places, [(&2.into(), &3.into()), (&3.into(), &1.into()), (&6.into(), &1.into())]);
    assert!(text.contains("line 2: error: it has no time") && text.contains("2 other lines"), "{text}");
    assert!(text.contains("line 3: error: it is not JSON"), "{text}");
    assert!(text.contains("line 6: warning: its \"sequence\" can't be read"), "{text}");

    let schema = |name: &str| format!("{{\"topic\": \"/a\", \"schema_name\": \"{name}\"}}\n");
    let contradiction = [good, &schema("A"), &schema("B")].concat();
    finds(contradiction, "schema error", "lines 2 and 3 give the topic /a two different schema names");
}

#[test]
fn seconds_without_a_point_are_told_everywhere_and_once() {
    let line = |time| format!("{{\"topic\": \"/a\", \"timestamp\": {time}, \"data\": {{}}}}\n");
    let seconds = [line(1_717_236_000), line(1_717_236_060)].concat();
    let words = "the time 1717236000 is taken as nanoseconds, which is 1970-01-01T00:00:01.717236Z; seconds are \
                 written with a point (1717236000.0)";
    let finding = finds(&seconds, "line warning", words);
    assert_eq!(finding["line"], 1);
    let recording = file(&seconds);
    let (code, text, _) = run(["info", path(&recording)]);
    assert_eq!((code, text.matches(words).count()), (Some(0), 1), "{text}");
    let (code, _, stderr) =
        run([path(&recording), "--quiet", "--strict", "--start", "now", "--at-end", "exit", "--port", "0"]);
    assert_eq!((code, stderr.matches(words).count()), (Some(0), 1), "{stderr}");
    assert!(stderr.contains("WARN"), "{stderr}");
}

#[test]
fn messages_without_a_channel_are_told() {
    let mut bytes = mcap("", &[topic("/imu", &[0, 10])]);
    // Message records that belong to a channel which nothing describes, in front of the data end record.
    let end = bytes.windows(9).rposition(|bytes| bytes == [15, 4, 0, 0, 0, 0, 0, 0, 0]).unwrap();
    bytes.truncate(end);
    let content = [&[9, 0][..], &[0; 4], &START.to_le_bytes(), &START.to_le_bytes()].concat();
    bytes.extend([&[5][..], &(content.len() as u64).to_le_bytes(), &content].concat());
    let recording = file(bytes);
    let (code, text, json) = check(&[path(&recording)]);
    assert_eq!(code, Some(3));
    assert_eq!(kinds(&json), ["damage error", "channel error"]);
    assert!(text.contains("1 message from here on, of channel 9"), "{text}");
    assert_eq!(json["findings"][1]["offset"], end as u64);
}

#[test]
fn many_oddities_hide_no_error_and_are_none() {
    let mut bytes = mcap("", &[topic("/imu", &[0, 10])]);
    let end = bytes.windows(9).rposition(|bytes| bytes == [15, 4, 0, 0, 0, 0, 0, 0, 0]).unwrap();
    bytes.truncate(end);
    let record =
        |op: u8, content: &[u8]| [&[op][..], &(content.len() as u64).to_le_bytes(), content].concat();
    // Channels that are cut off are odd, but nothing is lost by them.
    bytes.extend((0..1500).flat_map(|_| record(4, &[7, 0])));
    let ended =
        |data: &[u8]| file([data, &record(15, &[0; 4]), &record(2, &[0; 20]), ::mcap::MAGIC].concat());
    let odd = ended(&bytes);
    let (code, text, json) = check(&[path(&odd)]);
    assert_eq!((code, &json["verdict"]), (Some(0), &"warnings".into()), "{text}");
    assert_eq!((&json["files"][0]["warnings"], &json["files"][0]["errors"]), (&1500.into(), &0.into()));

    let message = [&[9, 0][..], &[0; 4], &START.to_le_bytes(), &START.to_le_bytes()].concat();
    let lossy = ended(&[&bytes[..], &record(5, &message)].concat());
    let (code, text, json) = check(&[path(&lossy)]);
    assert_eq!((code, &json["files"][0]["errors"]), (Some(3), &1.into()), "{text}");
    assert!(text.contains("1 message from here on, of channel 9"), "{text}");
}

#[test]
fn what_a_file_says_does_not_control_the_terminal() {
    let recording = file("{\"topic\": \"/\\u001b[2J\", \"log_time\": 2, \"data\": {}}\n".repeat(2) + "{\n");
    let (_, text, _) = check(&[path(&recording), "--max-gap", "1"]);
    assert!(!text.contains('\u{1b}'), "{text}");
}

#[test]
fn every_conformance_file_is_checked_without_an_error() {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/mcap-conformance"));
    if !root.exists() {
        println!("skipped: {} is not there", root.display());
        return;
    }
    let mut count = 0;
    for scenario in std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()) {
        let files = if scenario.is_dir() { Some(std::fs::read_dir(&scenario).unwrap()) } else { None };
        let files = files.into_iter().flatten().map(|entry| entry.unwrap().path());
        let files: Vec<_> =
            files.filter(|path| path.extension().is_some_and(|extension| extension == "mcap")).collect();
        if files.is_empty() {
            continue;
        }
        let mut arguments = vec!["check".into(), "--json".into()];
        arguments.extend(files.iter().map(|path| path.display().to_string()));
        let (code, stdout, stderr) = run(arguments);
        let json: Value = serde_json::from_str(&stdout).unwrap();
        assert_eq!((json["files"].as_array().unwrap().len(), &*stderr), (files.len(), ""));
        count += files.len();
        let has_messages = json["files"][0]["messages"] != 0;
        assert_eq!(code, Some(if has_messages { 0 } else { 3 }), "{}", scenario.display());
        let wrong = kinds(&json).into_iter().filter(|kind| kind.ends_with("error") && kind != "empty error");
        assert_eq!(wrong.count(), 0, "{}: {stdout}", scenario.display());
    }
    println!("{count} conformance files checked");
    assert_eq!(count, 416);
}
