//! The MCAP project's conformance files, and a real recording, by both ways of opening them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fgplay::recording::{OpenOptions, Problems, Recording};
use fgplay::time::Timestamp;
use serde_json::Value;

/// Topic, sequence, log time, publish time, data.
type Message = (String, u32, u64, u64, Vec<u8>);

fn shared(name: &str) -> Option<PathBuf> {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared")).join(name);
    if !path.exists() {
        println!("skipped: {} is not there", path.display());
    }
    path.exists().then_some(path)
}

fn open(path: &Path, ignore_index: bool) -> Recording {
    let options = OpenOptions { ignore_index, ..OpenOptions::default() };
    Recording::open(&[path], &options, Arc::new(Problems::default()), &|_| {}).unwrap()
}

fn messages(recording: &Recording) -> Vec<Message> {
    let mut cursor = recording.cursor(Timestamp::MIN);
    std::iter::from_fn(|| cursor.next())
        .map(|message| {
            let topic = recording.channels()[message.channel.0 as usize].topic.clone();
            let (log, publish) = (message.log_time.as_nanos(), message.publish_time.as_nanos());
            (topic, message.sequence, log, publish, message.data.to_vec())
        })
        .collect()
}

/// The fields of the records of one type.
fn expected<'a>(json: &'a Value, kind: &str) -> Vec<BTreeMap<&'a str, &'a Value>> {
    let records = json["records"].as_array().unwrap().iter();
    let wanted = records.filter(|record| record["type"] == kind);
    wanted
        .map(|record| {
            let fields = record["fields"].as_array().unwrap().iter();
            fields.map(|field| (field[0].as_str().unwrap(), &field[1])).collect()
        })
        .collect()
}

fn number(value: &Value) -> u64 {
    value.as_str().unwrap().parse().unwrap()
}

fn expected_messages(json: &Value) -> Vec<Message> {
    let channels = expected(json, "Channel");
    let topic = |id: &Value| {
        let channel = channels.iter().find(|channel| channel["id"] == id).unwrap();
        channel["topic"].as_str().unwrap().to_owned()
    };
    let messages = expected(json, "Message");
    let mut messages: Vec<Message> = messages
        .iter()
        .map(|fields| {
            let data = fields["data"].as_array().unwrap().iter().map(|byte| number(byte) as u8).collect();
            let sequence = number(fields["sequence"]) as u32;
            let (log, publish) = (number(fields["log_time"]), number(fields["publish_time"]));
            (topic(fields["channel_id"]), sequence, log, publish, data)
        })
        .collect();
    messages.sort_by_key(|message| message.2);
    messages
}

fn check(path: &Path, ignore_index: bool) {
    let json = std::fs::read(path.with_extension("json")).unwrap();
    let json: Value = serde_json::from_slice(&json).unwrap();
    let recording = open(path, ignore_index);
    assert_eq!(messages(&recording), expected_messages(&json), "{}", path.display());
    let (_, summary) = recording.files().next().unwrap();
    let names = |kind: &str| {
        let all = expected(&json, kind);
        all.iter().map(|fields| fields["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let attachments: Vec<_> = summary.attachments.iter().map(|a| a.name.clone()).collect();
    let metadata: Vec<_> = summary.metadata.iter().map(|m| m.name.clone()).collect();
    assert_eq!((attachments, metadata), (names("Attachment"), names("Metadata")), "{}", path.display());
    assert!(!recording.problems().data_lost(), "{}: {:?}", path.display(), recording.problems());
}

fn assert_same_summaries(path: &Path) {
    let (indexed, scanned) = (open(path, false), open(path, true));
    let (a, b) = (indexed.files().next().unwrap().1, scanned.files().next().unwrap().1);
    assert_eq!(a.channels, b.channels, "{}", path.display());
    assert_eq!(
        (a.message_count, a.time_range, &a.chunks, &a.attachments, &a.metadata, &a.profile, &a.library),
        (b.message_count, b.time_range, &b.chunks, &b.attachments, &b.metadata, &b.profile, &b.library),
        "{}",
        path.display()
    );
    assert!(!b.indexed);
}

#[test]
fn every_conformance_file_gives_the_expected_messages_indexed_and_scanned() {
    let Some(root) = shared("mcap-conformance") else { return };
    let mut count = 0;
    for scenario in std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()) {
        let files = if scenario.is_dir() { Some(std::fs::read_dir(scenario).unwrap()) } else { None };
        for path in files.into_iter().flatten().map(|entry| entry.unwrap().path()) {
            if path.extension().is_some_and(|extension| extension == "mcap") {
                check(&path, false);
                check(&path, true);
                assert_same_summaries(&path);
                count += 1;
            }
        }
    }
    println!("{count} conformance files checked");
    assert_eq!(count, 416);
}

#[test]
fn a_real_recording_gives_all_its_messages_indexed_and_scanned() {
    let Some(path) = shared("recordings/nav2_turtlebot.mcap") else { return };
    let (indexed, scanned) = (open(&path, false), open(&path, true));
    let all = messages(&indexed);
    assert!(all == messages(&scanned));
    assert_eq!(all.len(), 8197);
    assert!(all.is_sorted_by_key(|message| message.2));
    for (topic, count) in [("/odom", 2639), ("/tf", 5422), ("/amcl_pose", 135), ("/tf_static", 1)] {
        assert_eq!(all.iter().filter(|message| message.0 == topic).count(), count);
        let channel = indexed.channels().iter().find(|channel| channel.topic == topic).unwrap();
        assert_eq!(channel.message_count, count as u64);
        assert_eq!(channel.is_latched(), ["/amcl_pose", "/tf_static"].contains(&topic), "{topic}");
    }
    assert_same_summaries(&path);
    // From any time on, the rest comes.
    let middle = all[4000].2;
    let rest = all.iter().filter(|message| message.2 >= middle).count();
    let mut cursor = indexed.cursor(Timestamp::from_nanos(middle));
    assert_eq!(std::iter::from_fn(|| cursor.next()).count(), rest);
}
