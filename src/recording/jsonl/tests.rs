//! Whole files, from their bytes to the messages that are played.

use std::io;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::{Channel, ChannelId, Message, OpenOptions, Place, Problems};
use super::*;

struct Opened {
    reader: Box<dyn Reader>,
    problems: Arc<Problems>,
}

fn open_source(source: Arc<dyn Source>, strict: bool) -> Result<Opened, OpenError> {
    let problems = Arc::new(Problems::default());
    let options = OpenOptions { strict, ..OpenOptions::default() };
    let context = OpenContext {
        cache: Arc::default(),
        path: Path::new("test.jsonl"),
        options: &options,
        problems: Arc::clone(&problems),
        progress: &|_| {},
    };
    Ok(Opened { reader: open(source, &context)?, problems })
}

fn try_open(file: impl AsRef<[u8]>) -> Result<Opened, OpenError> {
    open_source(Arc::new(Bytes::copy_from_slice(file.as_ref())), false)
}

#[track_caller]
fn opened(file: impl AsRef<[u8]>) -> Opened {
    try_open(file).unwrap()
}

impl Opened {
    fn channels(&self) -> &[Channel] {
        &self.reader.summary().channels
    }

    fn from(&self, from: u64, wanted: impl Fn(usize) -> bool) -> Vec<Message> {
        let map = (0..self.channels().len()).map(|id| wanted(id).then_some(ChannelId(id as u32)));
        let mut cursor = self.reader.cursor(Timestamp::from_nanos(from), map.collect());
        std::iter::from_fn(|| cursor.next()).collect()
    }

    fn messages(&self) -> Vec<Message> {
        self.from(0, |_| true)
    }

    /// What plays, as `time:data`.
    fn played(&self) -> Vec<String> {
        let text = |message: &Message| {
            format!("{}:{}", message.log_time.as_nanos(), str::from_utf8(&message.data).unwrap())
        };
        self.messages().iter().map(text).collect()
    }

    fn problems(&self) -> Vec<String> {
        self.problems.list().iter().map(ToString::to_string).collect()
    }

    fn schema(&self, channel: usize) -> (&str, Value) {
        let schema = self.channels()[channel].schema.as_ref().unwrap();
        assert_eq!(schema.encoding, "jsonschema");
        (&schema.name, serde_json::from_slice(&schema.data).unwrap())
    }
}

#[test]
fn messages_come_with_their_bytes_as_they_stand_in_the_file() {
    let data = r#"{ "x":1.50e0, "x" : 1E0,"b":"\u00e9", "a":[ ] }"#;
    let file = opened(format!(r#"{{"topic":"/imu","log_time":5,"data":{data},"seq":1}}"#));
    assert_eq!(file.played(), [format!("5:{data}")]);
    let summary = file.reader.summary();
    assert_eq!((summary.message_count, summary.kind, summary.indexed), (1, Kind::Jsonl, false));
    assert_eq!(summary.time_range, Some((Timestamp::from_nanos(5), Timestamp::from_nanos(5))));
    assert_eq!(file.channels()[0].message_encoding, "json");
    assert!(file.problems().is_empty());
}

#[test]
fn lines_printed_by_mcap_cat_json_are_messages() {
    let file = opened(concat!(
        r#"{"topic":"/diagnostics","sequence":51,"log_time":1490149580.103843113,"publish_time":1490149580.103843112,"data":{"header":{"seq":51,"stamp":1490149580.113375944,"frame_id":""},"status":[]}}"#,
        "\n",
        r#"{"topic":"/tf","sequence":0,"log_time":0.000000042,"publish_time":0.000000000,"data":{"value":1}}"#,
        "\n",
    ));
    let messages = file.messages();
    assert_eq!(messages[1].log_time.as_nanos(), 1_490_149_580_103_843_113);
    assert_eq!(messages[1].publish_time.as_nanos(), 1_490_149_580_103_843_112);
    assert_eq!((messages[1].sequence, messages[1].channel), (51, ChannelId(0)));
    assert_eq!((messages[0].log_time.as_nanos(), messages[0].publish_time.as_nanos()), (42, 0));
    assert_eq!(file.schema(0).1["properties"]["header"]["required"], json!(["seq", "stamp", "frame_id"]));
    assert!(file.problems().is_empty());
}

#[test]
fn lines_printed_by_mcap_cat_ndjson_are_messages_whatever_its_time_format() {
    for time in ["2017-03-22T02:26:20.103843113Z", "1490149580.103843113", "1490149580103843113"] {
        let file = opened(format!(
            "{{\"topic\":\"/demo\",\"sequence\":1,\"log_time\":\"{time}\",\"publish_time\":\"{time}\",\"data\":{{\"value\":1}}}}\n"
        ));
        let messages = file.messages();
        assert_eq!(messages[0].log_time.as_nanos(), 1_490_149_580_103_843_113);
        assert_eq!(messages[0].publish_time, messages[0].log_time);
        assert_eq!((messages[0].sequence, &messages[0].data[..]), (1, &br#"{"value":1}"#[..]));
        assert!(file.problems().is_empty());
    }
}

#[test]
fn a_byte_order_mark_blank_lines_and_crlf_are_fine() {
    let file = opened(
        "\u{feff}\r\n \t\r\n{\"topic\":\"a\",\"log_time\":1,\"data\":{}}\r\n\n\n{\"topic\":\"a\",\"log_time\":2,\"data\":{\"x\":1}}\r\n\r\n",
    );
    assert_eq!(file.played(), ["1:{}", "2:{\"x\":1}"]);
    let file = opened("\u{feff}{\"topic\":\"a\",\"log_time\":1,\"data\":{}}");
    assert_eq!(file.played(), ["1:{}"]);
    assert!(file.problems().is_empty());
}

#[test]
fn lines_that_can_t_be_played_are_skipped_and_told_of_once() {
    let good = r#"{"topic":"a","log_time":1,"data":{"x":1}}"#;
    let file =
        opened([good, "nonsense", good, r#"{"topic":"a","log_time":1,"data":3}"#, "[]", good].join("\n"));
    assert_eq!(file.played().len(), 3);
    assert_eq!(
        file.problems(),
        [
            "test.jsonl, line 2: it is not JSON: a value was expected, at byte 1 of the line; the line is skipped, and so are 2 other lines"
        ]
    );
    assert!(file.problems.data_lost());
    assert_eq!(file.problems.list()[0].place, Place::Line(2));

    let strict = open_source(Arc::new(Bytes::from(format!("{good}\n\n{{}}\n"))), true);
    let error = strict.err().unwrap();
    assert!(matches!(error, OpenError::Strict(_)));
    assert!(error.to_string().starts_with("test.jsonl, line 3: it is neither a message"), "{error}");
}

#[test]
fn a_last_line_that_was_cut_off_is_skipped_and_one_without_a_newline_plays() {
    let first = "{\"topic\":\"a\",\"log_time\":1,\"data\":{\"x\":\"\u{e9}\"}}\n";
    let second = "{\"topic\":\"a\",\"log_time\":2,\"data\":{\"new\":\"\u{e9}\",\"y\":[12]}}";
    let file = opened(format!("{first}{second}"));
    assert_eq!((file.played().len(), file.problems().len()), (2, 0));
    for end in 1..second.len() {
        let file = opened([first.as_bytes(), &second.as_bytes()[..end]].concat());
        assert_eq!(file.played().len(), 1);
        assert_eq!(
            file.problems(),
            [
                "test.jsonl, line 2: the file ends in the middle of it, as if its writer had died; the line is skipped"
            ]
        );
        // What was in the broken line has not touched the schema.
        assert_eq!(file.schema(0).1["required"], json!(["x"]));
        assert_eq!(file.schema(0).1["properties"], json!({"x": {"type": "string"}}));
    }
    let file = opened(format!("{}\n{first}", &second[..20]));
    assert!(file.problems()[0].contains("line 1: it ends in the middle of a value"), "{:?}", file.problems());
}

#[test]
fn a_file_without_a_message_says_why() {
    let file = opened("{\"a\":1}\n{\"b\":2}\n");
    assert_eq!(file.reader.summary().message_count, 0);
    assert_eq!(file.reader.summary().time_range, None);
    assert!(file.problems()[0].ends_with("no line of the file is a message"), "{:?}", file.problems());
    assert_eq!(file.messages(), []);
    let file = opened("{\"topic\":\"a\"}\n");
    assert_eq!(file.problems(), ["test.jsonl: no line of the file is a message"]);
    assert!(!file.problems.data_lost());
}

#[test]
fn an_optional_key_that_can_t_be_read_is_noted() {
    let file = opened(r#"{"topic":"a","log_time":1,"publish_time":"?","sequence":2,"data":{}}"#);
    assert_eq!(file.messages()[0].publish_time.as_nanos(), 1);
    assert_eq!(file.messages()[0].sequence, 2);
    let problem = "test.jsonl, line 1: its \"publish_time\" can't be read; the message is played without it";
    assert_eq!(file.problems(), [problem]);
    assert!(!file.problems.data_lost());
}

#[test]
fn a_channel_line_anywhere_names_the_schema() {
    let message = r#"{"topic":"/imu","log_time":1,"data":{"x":1}}"#;
    let channel = r#"{"topic":"/imu","schema_name":"sensor.Imu","schema":{"type":"object","properties":{"x":{"type":"integer"}}}}"#;
    let again = r#"{ "schema":{"properties":{"x":{"type":"integer"}}, "type":"object"},"topic":"/imu"}"#;
    for lines in [[channel, message, again], [message, channel, again], [again, message, channel]] {
        let file = opened(lines.join("\n"));
        let (name, schema) = file.schema(0);
        assert_eq!(name, "sensor.Imu");
        assert_eq!(schema, json!({"type": "object", "properties": {"x": {"type": "integer"}}}));
        assert_eq!(file.channels().len(), 1);
        assert!(file.problems().is_empty());
    }
}

#[test]
fn a_channel_line_may_give_only_a_name_or_a_topic_without_messages() {
    let file = opened(concat!(
        "{\"topic\":\"/a\",\"schema_name\":\"A\"}\n{\"topic\":\"/b\"}\n{\"topic\":\"/c\",\"schema_name\":\"C\"}\n",
        "{\"topic\":\"/d\",\"schema\":{\"type\":\"object\"}}\n{\"topic\":\"/a\",\"log_time\":1,\"data\":{\"x\":1}}\n",
    ));
    assert_eq!(
        file.schema(0),
        ("A", json!({"type": "object", "properties": {"x": {"type": "number"}}, "required": ["x"]}))
    );
    assert_eq!(file.channels()[1].schema, None);
    let named = file.channels()[2].schema.as_ref().unwrap();
    assert_eq!((&*named.name, &*named.encoding, named.data.len()), ("C", "", 0));
    assert_eq!(file.schema(3), ("d", json!({"type": "object"})));
    let counts: Vec<u64> = file.channels().iter().map(|channel| channel.message_count).collect();
    assert_eq!(counts, [1, 0, 0, 0]);
}

#[test]
fn two_channel_lines_that_differ_are_an_error_that_names_both() {
    for (first, second, what) in [
        (r#""schema":{"type":"object"}"#, r#""schema":{"type":"object","title":"x"}"#, "schemas"),
        (r#""schema_name":"A""#, r#""schema_name":"B""#, "schema names"),
    ] {
        let file = format!("{{\"topic\":\"/a\",{first}}}\n\n{{\"topic\":\"/a\",{second}}}\n");
        let error = try_open(file).err().unwrap();
        assert!(matches!(error, OpenError::Contradiction { .. }));
        assert_eq!(
            error.to_string(),
            format!(
                "test.jsonl: lines 1 and 3 give the topic /a two different {what}; delete one of the lines"
            )
        );
    }
}

#[test]
fn schemas_are_inferred_from_all_messages_of_a_topic_whatever_the_order_of_the_keys() {
    let file = opened(
        [
            r#"{"topic":"/a/b","log_time":1,"data":{"x":1,"n":null}}"#,
            r#"{"data":{"x":2,"y":true},"topic":"/a/b","log_time":2}"#,
            r#"{"topic":"\/c","data":{"z":[]},"log_time":2}"#,
            r#"{"topic":"\/c","data":{"z":["s"]},"log_time":2}"#,
            r#"{"topic":"/a/b","data":{"x":"lost","w":1},"log_time":null}"#,
            r#"{"topic":"/a/b","data":{"lost":1},"data":{"x":1},"log_time":3}"#,
            r#"{"topic":"/a/b","data":{"x":1,"c":{}},"log_time":3,"topic":"/c"}"#,
        ]
        .join("\n"),
    );
    let (name, schema) = file.schema(0);
    assert_eq!(name, "a.b");
    let properties = json!({"x": {"type": "number"}, "y": {"type": "boolean"}});
    assert_eq!(schema, json!({"type": "object", "properties": properties, "required": ["x"]}));
    let (name, schema) = file.schema(1);
    assert_eq!(name, "c");
    let items = json!({"type": "array", "items": {"type": "string"}});
    let object = json!({"type": "object", "properties": {}});
    assert_eq!(schema["properties"], json!({"z": items, "x": {"type": "number"}, "c": object}));
}

#[test]
fn no_two_topics_share_a_schema_name_that_was_made_here() {
    let line = |topic| format!("{{\"topic\":\"{topic}\",\"log_time\":1,\"data\":{{}}}}\n");
    let channel = "{\"topic\":\"/other\",\"schema_name\":\"a.b_2\"}\n";
    let file = opened([line("/a/b"), line("/a.b"), line("a/b"), channel.into(), line("/other")].concat());
    let names: Vec<&str> = file.channels().iter().map(Channel::schema_name).collect();
    assert_eq!(names, ["a.b", "a.b_3", "a.b_4", "a.b_2"]);
}

#[test]
fn topics_are_limited_in_number_and_length() {
    let line = |topic: &str| format!("{{\"topic\":\"{topic}\",\"log_time\":1,\"data\":{{}}}}\n");
    let mut file: String = (0..65_540).map(|number| line(&number.to_string())).collect();
    file.push_str(&line("7"));
    let file = opened(file);
    assert_eq!(file.channels().len(), 65_536);
    assert_eq!(file.reader.summary().message_count, 65_537);
    assert!(file.problems()[0].contains("line 65537: there are more than 65536 topics"));
    let file = opened(line(&"t".repeat(1025)));
    assert!(file.problems()[0].contains("longer than 1024 bytes"));
}

#[test]
fn only_the_wanted_channels_are_fetched_and_thinly_sown_ones_do_not_pin_blocks() {
    let filler = "x".repeat(900);
    let lines = (0..5000).map(|number| {
        let topic = if number % 40 == 0 { "rare" } else { "often" };
        format!(
            "{{\"topic\":\"{topic}\",\"log_time\":{number},\"data\":{{\"n\":{number},\"f\":\"{filler}\"}}}}\n"
        )
    });
    let file = opened(lines.collect::<String>());
    for (wanted, count) in [(0, 125), (1, 4875)] {
        let messages = file.from(0, |channel| channel == wanted);
        assert_eq!(messages.len(), count);
        for message in &messages {
            assert!(message.data.starts_with(format!("{{\"n\":{},", message.log_time.as_nanos()).as_bytes()));
        }
    }
    assert_eq!(file.from(0, |_| false), []);
    assert_eq!(file.from(4999, |_| true).len(), 1);
    assert_eq!(file.from(5000, |_| true), []);
}

/// A source that counts how often it is read, and whose bytes can be changed.
struct Fickle {
    bytes: Mutex<Vec<u8>>,
    len: u64,
    reads: AtomicUsize,
}

impl Fickle {
    fn new(bytes: Vec<u8>) -> Arc<Self> {
        Arc::new(Fickle { len: bytes.len() as u64, bytes: bytes.into(), reads: AtomicUsize::new(0) })
    }
}

impl Source for Fickle {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let bytes = self.bytes.lock().unwrap();
        let found = bytes.get(offset as usize..offset as usize + buffer.len());
        buffer.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

fn numbered(count: u64, time: impl Fn(u64) -> u64) -> Vec<u8> {
    let lines = (0..count).map(|number| {
        let time = time(number);
        format!("{{\"topic\":\"t\",\"log_time\":{time},\"data\":{{\"number\":\"{number:06}\"}}}}\n")
    });
    lines.collect::<String>().into_bytes()
}

#[test]
fn messages_that_lie_together_are_read_together_even_if_they_play_in_another_order() {
    for time in [|number| number, |number| number ^ 5, |number| 40_000 - number] {
        let source = Fickle::new(numbered(40_000, time));
        let file = open_source(source.clone(), false).unwrap();
        source.reads.store(0, Ordering::Relaxed);
        assert_eq!(file.messages().len(), 40_000);
        let reads = source.reads.load(Ordering::Relaxed);
        assert!(reads <= 8, "{reads}");
    }
}

#[test]
fn what_changed_in_the_file_since_it_was_opened_is_skipped_and_told_of_once() {
    let source = Fickle::new(numbered(1000, |number| number));
    let file = open_source(source.clone(), false).unwrap();
    source.bytes.lock().unwrap().truncate(10_000);
    let whole = file.messages().len();
    assert!((100..300).contains(&whole), "{whole}");
    assert_eq!(file.messages().len(), whole);
    assert_eq!(file.problems().len(), 1);
    assert!(file.problems()[0].contains("the file has become shorter since it was opened"));

    let source = Fickle::new(numbered(1000, |number| number));
    let file = open_source(source.clone(), false).unwrap();
    source.bytes.lock().unwrap()[5000..6000].fill(b'\n');
    assert!((970..995).contains(&file.messages().len()));
    assert!(file.problems()[0].contains("the file has changed since it was opened"));
    assert!(file.problems.data_lost());
}

#[test]
fn a_file_that_shrinks_while_it_is_opened_is_an_error() {
    let source = Fickle::new(numbered(1000, |number| number));
    source.bytes.lock().unwrap().truncate(100);
    assert!(matches!(open_source(source, false).err(), Some(OpenError::Io { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn from_any_time_messages_come_in_log_time_order_and_then_in_file_order(
        lines in prop::collection::vec((0_u64..12, 0_usize..3, 0_usize..4), 0..60),
        from in 0_u64..14,
        wanted in prop::collection::vec(any::<bool>(), 3),
    ) {
        let size = [0, 10, 70_000, 600_000];
        let mut names = Vec::new();
        let mut text = String::new();
        let mut expected = Vec::new();
        for (number, &(time, topic, length)) in lines.iter().enumerate() {
            if !names.contains(&topic) {
                names.push(topic);
            }
            let id = names.iter().position(|&name| name == topic).unwrap();
            let data = format!("{{\"n\":{number},\"f\":\"{}\"}}", "x".repeat(size[length]));
            text.push_str(&format!("{{\"topic\":\"{topic}\",\"time\":{time},\"data\":{data}}}\n"));
            if time >= from && wanted[id] {
                expected.push((time, number, data));
            }
        }
        expected.sort();
        let file = opened(text);
        let messages = file.from(from, |id| wanted[id]);
        prop_assert_eq!(messages.len(), expected.len());
        for (message, (time, _, data)) in messages.iter().zip(&expected) {
            prop_assert_eq!(message.log_time.as_nanos(), *time);
            prop_assert!(message.data == data.as_bytes());
        }
    }

    #[test]
    fn arbitrary_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(file) = try_open(bytes) {
            file.messages();
        }
    }

    #[test]
    fn a_damaged_recording_plays_what_is_whole(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0_usize..20), 1..6),
    ) {
        let mut bytes = concat!(
            "{\"topic\":\"/a\",\"schema_name\":\"A\",\"schema\":{\"type\":\"object\"}}\n",
            "{\"topic\":\"/a\",\"log_time\":1700000000.5,\"publish_time\":\"1\",\"sequence\":3,\"data\":{\"x\":[1,2,{\"y\":null}]}}\n",
            "{\"topic\":\"/b\\u0041\",\"time\":{\"sec\":1,\"nsec\":2},\"data\":{\"x\":{\"y\":\"\u{e9}\",\"z\":[[true]]}}}\n",
            "{\"data\":{\"a\\n\":-0.5e+3},\"topic\":\"/c\",\"timestamp\":\"2023-11-14T22:13:20Z\"}\n",
        ).repeat(3).into_bytes();
        for (index, byte, cut) in edits {
            let at = index.index(bytes.len());
            bytes[at] = byte;
            if cut < 3 {
                bytes.drain(at..(at + cut * 7).min(bytes.len()));
            }
        }
        if let Ok(file) = try_open(&bytes) {
            let messages = file.messages();
            prop_assert_eq!(messages.len() as u64, file.reader.summary().message_count);
            for message in messages {
                prop_assert!(serde_json::from_slice::<serde::de::IgnoredAny>(&message.data).is_ok());
            }
            for channel in file.channels() {
                if let Some(schema) = channel.schema.as_ref().filter(|schema| !schema.data.is_empty()) {
                    prop_assert!(serde_json::from_slice::<serde::de::IgnoredAny>(&schema.data).is_ok());
                }
            }
        }
    }
}
