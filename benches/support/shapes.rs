//! The recordings that are played: always the same for the same shape.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;

use mcap::Compression;

use crate::file::{create, sync};

/// When all recordings start, in nanoseconds since 1970.
pub const START: u64 = 1_700_000_000_000_000_000;

/// A topic: how often it has a message, and of how many bytes.
#[derive(Clone, Copy)]
pub struct Topic {
    pub name: &'static str,
    /// Messages a second; 0 for a single one at the start.
    pub hertz: u64,
    pub bytes: usize,
}

const fn topic(name: &'static str, hertz: u64, bytes: usize) -> Topic {
    Topic { name, hertz, bytes }
}

/// A recording by its topics.
#[derive(Clone, Copy)]
pub struct Shape {
    pub name: &'static str,
    /// How its messages are encoded.
    pub encoding: Encoding,
    pub topics: &'static [Topic],
}

/// How messages are encoded.
#[derive(Clone, Copy, Eq, PartialEq)]
pub enum Encoding {
    /// Nobody looks at what is in them.
    Cdr,
    /// Nested objects, of about the size of the topic.
    Json,
}

pub const SMALL: Shape =
    Shape { name: "small", encoding: Encoding::Cdr, topics: &[topic("/small", 10_000, 100)] };
pub const BIG: Shape =
    Shape { name: "big", encoding: Encoding::Cdr, topics: &[topic("/big", 100, 1_000_000)] };
pub const IMU1K: Shape =
    Shape { name: "imu1k", encoding: Encoding::Cdr, topics: &[topic("/imu", 1000, 100)] };
pub const JSON: Shape =
    Shape { name: "json", encoding: Encoding::Json, topics: &[topic("/pose", 1000, 300)] };
pub const ROBOT: Shape = Shape {
    name: "robot",
    encoding: Encoding::Cdr,
    topics: &[
        topic("/tf_static", 0, 2_000),
        topic("/imu", 200, 300),
        topic("/tf", 100, 1_000),
        topic("/odom", 50, 700),
        topic("/joint_states", 100, 500),
        topic("/camera", 30, 120_000),
        topic("/lidar", 10, 1_000_000),
        topic("/log", 5, 200),
    ],
};
/// One of its large messages is more than what is read ahead for one viewer.
pub const CLOUD: Shape = Shape {
    name: "cloud",
    encoding: Encoding::Cdr,
    topics: &[topic("/imu", 200, 300), topic("/cloud", 10, 4_000_000)],
};

impl Shape {
    /// How many messages a recording of so many seconds has.
    pub fn messages(&self, seconds: u64) -> u64 {
        self.topics.iter().map(|topic| if topic.hertz == 0 { 1 } else { topic.hertz * seconds }).sum()
    }

    /// The topic (its place in the list) and the log time of each message of a recording of so many seconds.
    pub fn order(&self, seconds: u64) -> impl Iterator<Item = (usize, u64)> {
        let topics = self.topics;
        let mut next: Vec<u64> = vec![0; topics.len()];
        (0..self.messages(seconds)).map(move |_| {
            let due = |place: usize| match topics[place].hertz {
                0 if next[place] > 0 => u64::MAX,
                0 => 0,
                hertz if next[place] >= hertz * seconds => u64::MAX,
                // Topics a little apart, so that log times differ as they do on a robot.
                hertz => next[place] * 1_000_000_000 / hertz + place as u64 * 1_000,
            };
            let place = (0..next.len()).min_by_key(|&place| due(place)).expect("a topic");
            let log_time = START + due(place);
            next[place] += 1;
            (place, log_time)
        })
    }

    /// Writes a recording of so many seconds. Payloads begin with their number, counted over all topics
    /// ([`number`]); the rest is noise of four bits in each byte, so that compressing them halves them and
    /// decompressing them is work.
    pub fn write(&self, path: &Path, seconds: u64, compression: Option<Compression>) {
        let file = create(path);
        let options = mcap::WriteOptions::new().compression(compression).chunk_size(Some(1024 * 1024));
        let mut writer = options.create(file).expect("a writer");
        // Some players pass over channels without a schema.
        let (name, encoding, schema, messages) = match self.encoding {
            Encoding::Cdr => ("bench/msg/Bytes", "ros2msg", &b"uint8[] data"[..], "cdr"),
            Encoding::Json => ("bench.Object", "jsonschema", &br#"{"type":"object"}"#[..], "json"),
        };
        let schema = writer.add_schema(name, encoding, schema).expect("a schema");
        let channels: Vec<u16> = self
            .topics
            .iter()
            .map(|topic| {
                writer.add_channel(schema, topic.name, messages, &BTreeMap::new()).expect("a channel")
            })
            .collect();
        let mut next: Vec<u32> = vec![0; self.topics.len()];
        let mut noise = Noise(1);
        for (number, (place, log_time)) in self.order(seconds).enumerate() {
            let payload = self.payload(number as u64, self.topics[place].bytes, &mut noise);
            let header = mcap::records::MessageHeader {
                channel_id: channels[place],
                sequence: next[place],
                log_time,
                publish_time: log_time,
            };
            writer.write_to_known_channel(&header, &payload).expect("room on the disk");
            next[place] += 1;
        }
        writer.finish().expect("room on the disk");
        drop(writer);
        sync(path);
    }

    /// Writes the same messages as JSONL.
    pub fn write_lines(&self, path: &Path, seconds: u64) {
        let mut file = create(path);
        let mut noise = Noise(1);
        for (number, (place, log_time)) in self.order(seconds).enumerate() {
            let Topic { name, bytes, .. } = self.topics[place];
            let payload = self.payload(number as u64, bytes, &mut noise);
            write!(file, r#"{{"topic":"{name}","log_time":{log_time},"data":"#).expect("room on the disk");
            file.write_all(&payload).expect("room on the disk");
            file.write_all(b"}\n").expect("room on the disk");
        }
        file.flush().expect("room on the disk");
        sync(path);
    }

    fn payload(&self, number: u64, bytes: usize, noise: &mut Noise) -> Vec<u8> {
        if self.encoding == Encoding::Json {
            let x = number as f64 * 0.001;
            return format!(
                r#"{{"n":{number},"header":{{"frame_id":"base_link","stamp":{{"sec":{},"nanosec":{}}}}},"pose":{{"position":{{"x":{x:.6},"y":{:.6},"z":0.0}},"orientation":{{"x":0.0,"y":0.0,"z":{:.9},"w":{:.9}}}}},"covariance":[0.01,0.0,0.0,0.01,{x:.3},1.5e-3],"ok":true}}"#,
                number / 1000,
                number % 1000 * 1_000_000,
                x * 2.0,
                (x / 2.0).sin(),
                (x / 2.0).cos(),
            )
            .into_bytes();
        }
        let mut payload = vec![0; bytes.max(8)];
        payload[..8].copy_from_slice(&number.to_le_bytes());
        noise.fill(&mut payload[8..]);
        payload
    }
}

/// The number of a message, from the first bytes of its payload: eight of them, little-endian, or what JSON begins
/// with.
pub fn number(head: &[u8]) -> Option<u64> {
    match head.strip_prefix(br#"{"n":"#) {
        Some(digits) => {
            let digits = digits.split(|byte| !byte.is_ascii_digit()).next()?;
            std::str::from_utf8(digits).ok()?.parse().ok()
        }
        None => head.first_chunk().map(|number| u64::from_le_bytes(*number)),
    }
}

struct Noise(u64);

impl Noise {
    fn fill(&mut self, bytes: &mut [u8]) {
        for bytes in bytes.chunks_mut(8) {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            let nibbles = (mixed ^ (mixed >> 31)) & 0x0f0f_0f0f_0f0f_0f0f;
            bytes.copy_from_slice(&nibbles.to_be_bytes()[..bytes.len()]);
        }
    }
}
