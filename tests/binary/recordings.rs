//! Recordings, made for a test.

use std::collections::BTreeMap;
use std::io::{Cursor, Write as _};

use tempfile::NamedTempFile;

pub const SECOND: u64 = 1_000_000_000;
pub const MILLISECOND: u64 = 1_000_000;

/// When all of them start: 2023-11-14T22:13:20Z.
pub const START: u64 = 1_700_000_000 * SECOND;

/// A file with this content.
pub fn file(content: impl AsRef<[u8]>) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(content.as_ref()).unwrap();
    file
}

/// A JSONL recording of one message on /once and then `count` messages on /tick, a millisecond apart.
pub fn ticks(count: u64) -> NamedTempFile {
    let mut lines = format!("{{\"topic\": \"/once\", \"log_time\": {START}, \"data\": {{}}}}\n");
    for tick in 0..count {
        let time = START + tick * MILLISECOND;
        lines += &format!("{{\"topic\": \"/tick\", \"log_time\": {time}, \"data\": {{\"tick\": {tick}}}}}\n");
    }
    file(lines)
}

/// One channel of an MCAP recording.
pub struct Topic {
    pub name: &'static str,
    pub encoding: &'static str,
    /// Name, encoding and data.
    pub schema: Option<(&'static str, &'static str, &'static [u8])>,
    /// When each message was recorded, in nanoseconds after [`START`], and its bytes.
    pub messages: Vec<(u64, Vec<u8>)>,
}

/// The bytes of an MCAP recording, its messages written topic by topic in chunks of 1 kB.
pub fn mcap(profile: &str, topics: &[Topic]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let options = mcap::WriteOptions::new().profile(profile).chunk_size(Some(1024));
    let mut writer = options.create(Cursor::new(&mut bytes)).unwrap();
    for topic in topics {
        let schema = match topic.schema {
            Some((name, encoding, data)) => writer.add_schema(name, encoding, data).unwrap(),
            None => 0,
        };
        // The writer takes equal channels for one; told apart by their metadata they stay apart.
        let metadata = BTreeMap::from([("bytes".to_owned(), format!("{:p}", topic))]);
        let channel = writer.add_channel(schema, topic.name, topic.encoding, &metadata).unwrap();
        for (sequence, (time, data)) in (0..).zip(&topic.messages) {
            let time = START + time;
            let header = mcap::records::MessageHeader {
                channel_id: channel,
                sequence,
                log_time: time,
                publish_time: time,
            };
            writer.write_to_known_channel(&header, data).unwrap();
        }
    }
    writer.finish().unwrap();
    drop(writer);
    bytes
}
