//! What one line says: a message, a channel, or nothing that can be played.

use std::fmt;

use super::scan::{Fault, Ignore, Scanner, Text};
use crate::time::Timestamp;

/// What a line says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Record<'a> {
    Message(MessageLine<'a>),
    Channel(ChannelLine<'a>),
}

/// A line with a time.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct MessageLine<'a> {
    pub topic: Text<'a>,
    pub log_time: Timestamp,
    /// The log time as it stands in the line.
    pub time: &'a str,
    pub publish_time: Option<Timestamp>,
    pub sequence: Option<u32>,
    /// A JSON object, as it stands in the line.
    pub data: &'a str,
    /// Where `data` begins in the line, in bytes.
    pub data_at: usize,
    /// An optional key whose value can't be read. The message plays without it.
    pub odd: Option<&'static str>,
}

/// A line without a time: what is known of a topic.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct ChannelLine<'a> {
    pub topic: Text<'a>,
    pub schema_name: Option<Text<'a>>,
    /// A JSON object, as it stands in the line.
    pub schema: Option<&'a str>,
}

/// Why a line can't be played.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Reason {
    TooLong,
    NotUtf8 {
        column: usize,
    },
    Json {
        column: usize,
        fault: Fault,
    },
    NotANumber {
        column: usize,
        word: &'static str,
    },
    /// It ends within a value, and there is no newline behind it.
    CutOff,
    /// It ends within a value, and other lines follow.
    Incomplete,
    NotAnObject,
    NoTopic,
    TopicNotText,
    TopicTooLong,
    TooManyTopics,
    NoTime,
    BadTime {
        key: &'static str,
        why: String,
    },
    NoData,
    DataNotAnObject,
    SchemaNotAnObject,
    SchemaNameNotText,
    SchemaNameTooLong,
    TooMuchSchema,
    Nothing,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::TooLong => f.write_str("it is longer than 256 MiB"),
            Reason::NotUtf8 { column } => write!(f, "it is not UTF-8 at byte {column} of the line"),
            Reason::Json { column, fault } => {
                write!(f, "it is not JSON: {fault}, at byte {column} of the line")
            }
            Reason::NotANumber { column, word } => {
                write!(f, "it is not JSON, which has no {word} (write null), at byte {column} of the line")
            }
            Reason::CutOff => f.write_str("the file ends in the middle of it, as if its writer had died"),
            Reason::Incomplete => f.write_str("it ends in the middle of a value"),
            Reason::NotAnObject => f.write_str("it is no JSON object"),
            Reason::NoTopic => f.write_str("it has no \"topic\""),
            Reason::TopicNotText => f.write_str("its \"topic\" is no string"),
            Reason::TopicTooLong => f.write_str("its \"topic\" is longer than 1024 bytes"),
            Reason::TooManyTopics => f.write_str("there are more than 65536 topics"),
            Reason::NoTime => f.write_str("it has no time (\"log_time\", \"timestamp\" or \"time\")"),
            Reason::BadTime { key, why } => write!(f, "its \"{key}\" is no time: {why}"),
            Reason::NoData => f.write_str("it has no \"data\""),
            Reason::DataNotAnObject => f.write_str("its \"data\" is no JSON object"),
            Reason::SchemaNotAnObject => f.write_str("its \"schema\" is no JSON object"),
            Reason::SchemaNameNotText => f.write_str("its \"schema_name\" is no string"),
            Reason::SchemaNameTooLong => f.write_str("its \"schema_name\" is longer than 1024 bytes"),
            Reason::TooMuchSchema => f.write_str("the schemas of the file are larger than 64 MiB in all"),
            Reason::Nothing => f.write_str(
                "it is neither a message (\"topic\", \"log_time\", \"data\") nor a channel (\"topic\", \"schema\")",
            ),
        }
    }
}

/// Goes over the value of `data`, which is the value at which the scanner stands. The topic is there if it
/// came before.
pub(super) type DataVisit<'v, 'a> = dyn FnMut(&mut Scanner<'a>, Option<Text<'a>>) -> Result<(), Fault> + 'v;

/// A member's value as it stands in the line, and where.
#[derive(Clone, Copy, Default)]
struct Value<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Value<'a> {
    fn is_object(self) -> bool {
        self.text.starts_with('{')
    }

    fn string(self) -> Option<Text<'a>> {
        let raw = self.text.strip_prefix('"')?.strip_suffix('"')?;
        Some(Text { raw, escaped: raw.contains('\\') })
    }
}

/// The members that count. As everywhere in JSON, of several with the same key the last one counts; one
/// that is null is as good as not there.
#[derive(Default)]
struct Members<'a> {
    topic: Option<Value<'a>>,
    log_time: Option<Value<'a>>,
    timestamp: Option<Value<'a>>,
    time: Option<Value<'a>>,
    publish_time: Option<Value<'a>>,
    sequence: Option<Value<'a>>,
    data: Option<Value<'a>>,
    schema_name: Option<Value<'a>>,
    schema: Option<Value<'a>>,
    has_others: bool,
}

impl<'a> Members<'a> {
    fn slot(&mut self, key: &str) -> Option<&mut Option<Value<'a>>> {
        Some(match key {
            "topic" => &mut self.topic,
            "log_time" => &mut self.log_time,
            "timestamp" => &mut self.timestamp,
            "time" => &mut self.time,
            "publish_time" => &mut self.publish_time,
            "sequence" => &mut self.sequence,
            "data" => &mut self.data,
            "schema_name" => &mut self.schema_name,
            "schema" => &mut self.schema,
            _ => return None,
        })
    }
}

/// Reads a line that is not blank. One that ends too early is taken for [cut off](Reason::CutOff). Its `data` is given to `visit_data` as it comes, before it is known
/// whether the rest of the line is as it should be.
///
/// # Errors
/// Why the line can't be played.
pub(super) fn read<'a>(line: &'a [u8], visit_data: &mut DataVisit<'_, 'a>) -> Result<Record<'a>, Reason> {
    let text = std::str::from_utf8(line).map_err(|error| match error.error_len() {
        Some(_) => Reason::NotUtf8 { column: error.valid_up_to() + 1 },
        None => Reason::CutOff,
    })?;
    let mut scanner = Scanner::new(text);
    if scanner.peek() != Some(b'{') {
        let is_json = scanner.value(&mut Ignore, ()).and_then(|()| scanner.end());
        return Err(is_json.map_or_else(|fault| describe(text, &scanner, fault), |()| Reason::NotAnObject));
    }
    let members = read_members(&mut scanner, visit_data).map_err(|fault| describe(text, &scanner, fault))?;
    members.judge()
}

fn read_members<'a>(
    scanner: &mut Scanner<'a>,
    visit_data: &mut DataVisit<'_, 'a>,
) -> Result<Members<'a>, Fault> {
    let mut members = Members::default();
    let mut more = scanner.open_object()?;
    while more {
        let key = scanner.key()?;
        let decoded;
        let key = if key.escaped {
            decoded = key.decode().unwrap_or_default();
            &*decoded
        } else {
            key.raw
        };
        scanner.peek();
        let at = scanner.at();
        if key == "data" {
            visit_data(scanner, members.topic.and_then(Value::string))?;
        } else {
            scanner.value(&mut Ignore, ())?;
        }
        let text = scanner.since(at);
        match members.slot(key) {
            Some(slot) => *slot = (text != "null").then_some(Value { text, at }),
            None => members.has_others = true,
        }
        more = scanner.another_member()?;
    }
    scanner.end()?;
    Ok(members)
}

impl<'a> Members<'a> {
    fn judge(self) -> Result<Record<'a>, Reason> {
        let time = [("log_time", self.log_time), ("timestamp", self.timestamp), ("time", self.time)]
            .into_iter()
            .find_map(|(key, value)| Some((key, value?)));
        let topic = || {
            let topic = self.topic.ok_or(Reason::NoTopic)?;
            topic.string().ok_or(Reason::TopicNotText)
        };
        match (time, self.data) {
            (Some((key, time)), Some(data)) => {
                let topic = topic()?;
                let log_time = read_time(time.text).map_err(|why| Reason::BadTime { key, why })?;
                if !data.is_object() {
                    return Err(Reason::DataNotAnObject);
                }
                let publish_time = self.publish_time.map(|value| read_time(value.text).ok());
                let sequence = self.sequence.map(|value| value.text.parse().ok());
                let odd = match (publish_time, sequence) {
                    (Some(None), _) => Some("publish_time"),
                    (_, Some(None)) => Some("sequence"),
                    _ => None,
                };
                let (publish_time, sequence) = (publish_time.flatten(), sequence.flatten());
                let (data, data_at) = (data.text, data.at);
                Ok(Record::Message(MessageLine {
                    topic,
                    log_time,
                    time: time.text,
                    publish_time,
                    sequence,
                    data,
                    data_at,
                    odd,
                }))
            }
            (Some(_), None) => Err(topic().err().unwrap_or(Reason::NoData)),
            (None, Some(_)) => Err(topic().err().unwrap_or(Reason::NoTime)),
            (None, None) => self.judge_channel(),
        }
    }

    fn judge_channel(self) -> Result<Record<'a>, Reason> {
        let says_something = self.schema.is_some() || self.schema_name.is_some();
        // A line with keys of its own is rather a message in another form than a topic to be named.
        if !says_something && (self.topic.is_none() || self.has_others) {
            return Err(Reason::Nothing);
        }
        let topic = self.topic.ok_or(Reason::NoTopic)?.string().ok_or(Reason::TopicNotText)?;
        let schema_name = match self.schema_name {
            Some(name) => Some(name.string().ok_or(Reason::SchemaNameNotText)?),
            None => None,
        };
        if self.schema.is_some_and(|schema| !schema.is_object()) {
            return Err(Reason::SchemaNotAnObject);
        }
        Ok(Record::Channel(ChannelLine { topic, schema_name, schema: self.schema.map(|schema| schema.text) }))
    }
}

fn describe(text: &str, scanner: &Scanner<'_>, fault: Fault) -> Reason {
    let column = scanner.at() + 1;
    let rest = text.get(scanner.at()..).unwrap_or_default();
    let word = ["NaN", "Infinity"].into_iter().find(|word| rest.starts_with(word));
    match (fault, word) {
        (Fault::End, _) => Reason::CutOff,
        (_, Some(word)) => Reason::NotANumber { column, word },
        _ => Reason::Json { column, fault },
    }
}

/// A time as a JSON object.
#[derive(serde::Deserialize)]
struct SecondsAndNanoseconds {
    sec: Option<u64>,
    nsec: Option<u64>,
    nanosec: Option<u64>,
}

/// Reads a time from any of the JSON values that can mean one.
fn read_time(value: &str) -> Result<Timestamp, String> {
    if value.starts_with('{') {
        let wanted = || "an object needs whole numbers \"sec\" and \"nsec\" (or \"nanosec\")".to_owned();
        let time: SecondsAndNanoseconds = serde_json::from_str(value).map_err(|_| wanted())?;
        let (Some(sec), Some(nsec)) = (time.sec, time.nsec.or(time.nanosec)) else { return Err(wanted()) };
        if nsec >= 1_000_000_000 {
            return Err("\"nsec\" is a whole second or more".into());
        }
        return Timestamp::from_sec_nsec(sec, nsec).ok_or_else(|| "\"sec\" is too large".into());
    }
    match (Value { text: value, at: 0 }).string() {
        Some(text) => Timestamp::parse(&text.decode().unwrap_or_default()),
        None => Timestamp::parse_number(value),
    }
    .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Record<'_>, Reason> {
        read(line.as_bytes(), &mut |scanner, _| scanner.value(&mut Ignore, ()))
    }

    #[track_caller]
    fn message(line: &str) -> MessageLine<'_> {
        match parse(line) {
            Ok(Record::Message(message)) => message,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[track_caller]
    fn time(value: &str) -> u64 {
        message(&format!(r#"{{"topic":"t","log_time":{value},"data":{{}}}}"#)).log_time.as_nanos()
    }

    #[test]
    fn a_time_reads_in_every_form_exactly() {
        for same in [
            "1700000000123456789",
            "1700000000.123456789",
            "1.700000000123456789e9",
            "\"1700000000123456789\"",
            "\"1700000000.123456789\"",
            "\"2023-11-14T22:13:20.123456789Z\"",
            "\"2023-11-14T23:13:20.123456789+01:00\"",
            "\"2023-11-14T22:13:20.12345678\\u0039Z\"",
            r#"{"sec": 1700000000, "nsec": 123456789}"#,
            r#"{"nanosec": 123456789, "sec": 1700000000, "frame": "x"}"#,
        ] {
            assert_eq!(time(same), 1_700_000_000_123_456_789, "{same}");
        }
        assert_eq!(time("1700000000"), 1_700_000_000);
        assert_eq!(time("1700000000.0"), 1_700_000_000_000_000_000);
        assert_eq!(time("0"), 0);
        assert_eq!(time("18446744073709551615"), u64::MAX);
    }

    #[test]
    fn what_is_no_time_is_named() {
        for (value, word) in [
            ("-1", "nanoseconds"),
            ("18446744073709551616", "between"),
            ("1.0000000001", "9 decimals"),
            ("true", "nanoseconds"),
            ("[1]", "nanoseconds"),
            ("\"soon\"", "RFC 3339"),
            (r#""\ud800""#, "RFC 3339"),
            (r#"{"sec": 1}"#, "nsec"),
            (r#"{"sec": 1.5, "nsec": 0}"#, "whole"),
            (r#"{"sec": -1, "nsec": 0}"#, "whole"),
            (r#"{"sec": 1, "nsec": 1000000000}"#, "whole second"),
            (r#"{"sec": 99999999999, "nsec": 0}"#, "too large"),
        ] {
            let line = format!(r#"{{"topic":"t","time":{value},"data":{{}}}}"#);
            let reason = parse(&line).unwrap_err().to_string();
            assert!(reason.contains("\"time\" is no time") && reason.contains(word), "{value}: {reason}");
        }
    }

    #[test]
    fn of_several_time_keys_log_time_counts_then_timestamp() {
        let log_time = |line| message(line).log_time.as_nanos();
        assert_eq!(log_time(r#"{"time":1,"timestamp":2,"log_time":3,"topic":"t","data":{}}"#), 3);
        assert_eq!(log_time(r#"{"time":1,"timestamp":2,"topic":"t","data":{}}"#), 2);
        assert_eq!(log_time(r#"{"log_time":null,"time":1,"topic":"t","data":{}}"#), 1);
        assert_eq!(log_time(r#"{"log_time":3,"time":"noon","topic":"t","data":{}}"#), 3);
    }

    #[test]
    fn of_equal_keys_the_last_counts() {
        let line = r#"{"topic":"a","topic":"b","log_time":1,"log_time":2,"data":{"x":1},"data":{"y":2}}"#;
        let message = message(line);
        assert_eq!((message.topic.raw, message.log_time.as_nanos(), message.data), ("b", 2, r#"{"y":2}"#));
        assert_eq!(&line[message.data_at..][..7], message.data);
    }

    #[test]
    fn keys_come_in_any_order_and_spelling() {
        let line =
            "\t{ \"data\" : {\"a\": [1, {}]} , \"x\": [], \"\\u0074opic\": \"\\/t\", \"log_time\": 7 } \r";
        let message = message(line);
        assert_eq!(message.topic.decode().unwrap(), "/t");
        assert_eq!(message.data, "{\"a\": [1, {}]}");
        assert_eq!((message.publish_time, message.sequence, message.odd), (None, None, None));
    }

    #[test]
    fn optional_keys_are_kept_and_never_cost_the_message() {
        let read = |rest: &str| {
            let line = format!(r#"{{"topic":"t","log_time":1,"data":{{}},{rest}}}"#);
            let message = message(&line);
            (message.publish_time.map(Timestamp::as_nanos), message.sequence, message.odd)
        };
        assert_eq!(read(r#""publish_time":"0.5","sequence":7"#), (Some(500_000_000), Some(7), None));
        assert_eq!(read(r#""publish_time":null,"sequence":null"#), (None, None, None));
        assert_eq!(read(r#""publish_time":"x","sequence":7"#), (None, Some(7), Some("publish_time")));
        assert_eq!(read(r#""sequence":4294967296"#), (None, None, Some("sequence")));
        assert_eq!(read(r#""sequence":-1"#), (None, None, Some("sequence")));
    }

    #[test]
    fn a_line_without_a_time_names_a_channel() {
        let channel = |line| match parse(line) {
            Ok(Record::Channel(channel)) => (channel.schema_name.map(|name| name.raw), channel.schema),
            other => panic!("{line}: {other:?}"),
        };
        assert_eq!(
            channel(r#"{"topic":"/imu","schema_name":"Imu","schema":{"type":"object"}}"#),
            (Some("Imu"), Some(r#"{"type":"object"}"#))
        );
        assert_eq!(channel(r#"{"topic":"/imu","schema_name":"Imu","extra":1}"#), (Some("Imu"), None));
        assert_eq!(channel(r#"{"schema":{},"topic":"/imu"}"#), (None, Some("{}")));
        assert_eq!(channel(r#"{"topic":"/imu"}"#), (None, None));
    }

    #[test]
    fn what_can_t_be_played_has_a_reason() {
        let json = |column, fault| Reason::Json { column, fault };
        for (line, reason) in [
            ("[1]", Reason::NotAnObject),
            ("7", Reason::NotAnObject),
            ("hello", json(1, Fault::Value)),
            ("{\"a\" 1}", json(6, Fault::Colon)),
            ("{}x", json(3, Fault::Trailing)),
            (
                r#"{"topic":"t","log_time":1,"data":{"x":NaN}}"#,
                Reason::NotANumber { column: 39, word: "NaN" },
            ),
            (r#"{"topic":"t","log_time":1,"data":{"x":"#, Reason::CutOff),
            ("{}", Reason::Nothing),
            (r#"{"topic":"t","x":1.5}"#, Reason::Nothing),
            (r#"{"schema":{}}"#, Reason::NoTopic),
            (r#"{"log_time":1,"data":{}}"#, Reason::NoTopic),
            (r#"{"topic":null,"log_time":1,"data":{}}"#, Reason::NoTopic),
            (r#"{"topic":7,"log_time":1,"data":{}}"#, Reason::TopicNotText),
            (r#"{"topic":"t","data":{}}"#, Reason::NoTime),
            (r#"{"topic":"t","log_time":1}"#, Reason::NoData),
            (r#"{"topic":"t","log_time":1,"schema":{}}"#, Reason::NoData),
            (r#"{"topic":"t","log_time":1,"data":null}"#, Reason::NoData),
            (r#"{"topic":"t","log_time":1,"data":[]}"#, Reason::DataNotAnObject),
            (r#"{"topic":"t","log_time":1,"data":"{}"}"#, Reason::DataNotAnObject),
            (r#"{"topic":"t","schema":"{}"}"#, Reason::SchemaNotAnObject),
            (r#"{"topic":"t","schema_name":1}"#, Reason::SchemaNameNotText),
        ] {
            assert_eq!(parse(line), Err(reason), "{line}");
        }
        let ignore = &mut |scanner: &mut Scanner<'_>, _: Option<Text<'_>>| scanner.value(&mut Ignore, ());
        assert_eq!(read(b"{\"\xff\":1}", ignore), Err(Reason::NotUtf8 { column: 3 }));
        assert_eq!(read(b"{\"a\":\"\xe2\x82", ignore), Err(Reason::CutOff));
    }
}
