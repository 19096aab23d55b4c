//! The committed demo recordings: that they are what the generator makes, and that they hold what their
//! README says. Read with the `mcap` crate's own reader, so that they can be trusted to test this one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use foxglove::Decode;
use foxglove::messages::{CameraCalibration, CompressedImage, FrameTransforms, LaserScan, Vector3};
use mcap::{Message, MessageStream, Summary};
use prost_reflect::{DescriptorPool, DynamicMessage};
use serde_json::Value;

#[path = "../testdata/generate/files.rs"]
mod files;

const NAMES: [&str; 3] = ["demo.mcap", "demo.jsonl", "ros2.mcap"];
const LAP_NANOS: u64 = 24_000_000_000;
const TICK_NANOS: u64 = 20_000_000;

fn read(name: &str) -> Vec<u8> {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata")).join(name);
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn messages(bytes: &[u8]) -> Vec<Message<'_>> {
    MessageStream::new(bytes).unwrap().collect::<Result<_, _>>().unwrap()
}

fn by_topic<'a, 'b>(messages: &'a [Message<'b>]) -> BTreeMap<&'a str, Vec<&'a Message<'b>>> {
    let mut topics: BTreeMap<&str, Vec<&Message<'_>>> = BTreeMap::new();
    for message in messages {
        topics.entry(&message.channel.topic).or_default().push(message);
    }
    topics
}

fn json_lines() -> Vec<Value> {
    let text = String::from_utf8(read("demo.jsonl")).unwrap();
    assert!(text.ends_with('\n'));
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn the_generator_makes_the_committed_files_to_the_byte() {
    let made = files::generate().unwrap();
    assert_eq!(made.iter().map(|file| file.name).collect::<Vec<_>>(), NAMES);
    for file in made {
        // Not assert_eq!, which would print megabytes.
        assert!(
            file.bytes == read(file.name),
            "{} differs from what the generator makes: `cargo run --example testdata` writes it again",
            file.name
        );
    }
}

#[test]
fn all_files_together_are_below_three_megabytes() {
    assert!(NAMES.iter().map(|name| read(name).len()).sum::<usize>() < 3_000_000);
    assert!(read("demo.jsonl").len() < 700_000);
}

#[test]
fn the_summary_counts_what_the_file_holds_and_chunks_are_many() {
    for (name, compression, profile) in [("demo.mcap", "zstd", ""), ("ros2.mcap", "lz4", "ros2")] {
        let bytes = read(name);
        let summary = Summary::read(&bytes).unwrap().unwrap();
        let statistics = summary.stats.unwrap();
        let messages = messages(&bytes);
        assert_eq!(statistics.message_count, messages.len() as u64, "{name}");
        assert!(messages.is_sorted_by_key(|message| message.log_time), "{name}");
        assert!(summary.chunk_indexes.len() > 10, "{name}");
        assert!(summary.chunk_indexes.iter().all(|chunk| chunk.compression == compression), "{name}");
        assert!(mcap_header(&bytes).profile == profile, "{name}");
        assert_eq!(summary.metadata_indexes.len(), 1, "{name}");
    }
}

fn mcap_header(bytes: &[u8]) -> mcap::records::Header {
    let first = mcap::read::LinearReader::new(bytes).unwrap().next().unwrap().unwrap();
    match first {
        mcap::records::Record::Header(header) => header,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_lap_ends_one_tick_before_it_begins_again() {
    let bytes = read("demo.mcap");
    let messages = messages(&bytes);
    let (first, last) = (messages[0].log_time, messages[messages.len() - 1].log_time);
    assert_eq!(last - first, LAP_NANOS - TICK_NANOS);
    let topics = by_topic(&messages);
    for (topic, per_lap) in
        [("/tf", 1200), ("/drive", 600), ("/scan", 240), ("/camera/image", 240), ("/points", 120)]
    {
        let messages = &topics[topic];
        assert_eq!(messages.len(), per_lap, "{topic}");
        let period = LAP_NANOS / per_lap as u64;
        assert!(messages.iter().zip(0..).all(|(message, index)| message.log_time == first + index * period));
    }
}

#[test]
fn the_state_after_the_last_tick_is_the_first_one() {
    let bytes = read("demo.mcap");
    let messages = messages(&bytes);
    let transforms: Vec<FrameTransforms> = by_topic(&messages)["/tf"]
        .iter()
        .map(|message| FrameTransforms::decode(&*message.data).unwrap())
        .collect();
    let [.., last] = &transforms[..] else { panic!("no transforms") };
    let (first, second) = (&transforms[0], &transforms[1]);
    for frame in 0..first.transforms.len() {
        let place = |message: &FrameTransforms| message.transforms[frame].translation.unwrap();
        let turn = |message: &FrameTransforms| {
            let rotation = message.transforms[frame].rotation.unwrap();
            [rotation.x, rotation.y, rotation.z, rotation.w]
        };
        let moved = |from: Vector3, to: Vector3| [to.x - from.x, to.y - from.y, to.z - from.z];
        let (over_the_end, from_the_start) =
            (moved(place(last), place(first)), moved(place(first), place(second)));
        for (end, start) in over_the_end.iter().zip(from_the_start) {
            assert!((end - start).abs() < 0.001, "{over_the_end:?} {from_the_start:?}");
        }
        let turned = |from: [f64; 4], to: [f64; 4]| {
            let cosine: f64 = from.iter().zip(to).map(|(from, to)| from * to).sum();
            2.0 * cosine.abs().min(1.0).acos()
        };
        let (end, start) = (turned(turn(last), turn(first)), turned(turn(first), turn(second)));
        assert!((end - start).abs() < 0.001, "{}: {end} {start}", first.transforms[frame].child_frame_id);
    }
}

#[test]
fn camera_images_are_pngs_of_the_size_that_the_calibration_says() {
    let bytes = read("demo.mcap");
    let messages = messages(&bytes);
    let topics = by_topic(&messages);
    let calibration = CameraCalibration::decode(&*topics["/camera/calibration"][0].data).unwrap();
    for message in &topics["/camera/image"] {
        let image = CompressedImage::decode(&*message.data).unwrap();
        assert_eq!(image.format, "png");
        let mut reader = png::Decoder::new(std::io::Cursor::new(image.data)).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        assert_eq!((info.width, info.height), (calibration.width, calibration.height));
        let colours: BTreeSet<u8> = pixels.into_iter().collect();
        assert!(colours.len() > 15, "an image of {} colours shows nothing", colours.len());
    }
}

#[test]
fn protobuf_messages_decode_by_the_descriptors_in_their_schema() {
    let bytes = read("demo.mcap");
    let mut kinds = BTreeMap::new();
    for message in messages(&bytes).iter().filter(|message| message.channel.message_encoding == "protobuf") {
        let schema = message.channel.schema.as_ref().unwrap();
        assert_eq!(schema.encoding, "protobuf");
        let descriptor = kinds.entry(schema.name.clone()).or_insert_with(|| {
            let types = DescriptorPool::decode(&*schema.data).unwrap();
            types.get_message_by_name(&schema.name).unwrap()
        });
        let decoded = DynamicMessage::decode(descriptor.clone(), &*message.data).unwrap();
        assert_eq!(decoded.unknown_fields().count(), 0);
        assert!(decoded.fields().count() > 0);
    }
    assert_eq!(kinds.len(), 7, "{:?}", kinds.keys());
}

#[test]
fn json_messages_have_every_property_of_their_schema() {
    let bytes = read("demo.mcap");
    let mut topics = BTreeSet::new();
    for message in messages(&bytes).iter().filter(|message| message.channel.message_encoding == "json") {
        let schema = message.channel.schema.as_ref().unwrap();
        assert_eq!(schema.encoding, "jsonschema");
        let schema: Value = serde_json::from_slice(&schema.data).unwrap();
        let value: Value = serde_json::from_slice(&message.data).unwrap();
        assert_fits(&value, &schema);
        topics.insert(message.channel.topic.clone());
    }
    assert_eq!(topics.len(), 4, "{topics:?}");
}

/// A value against the kinds of schema that the recordings have, and all that a client reads.
fn assert_fits(value: &Value, schema: &Value) {
    if let Some(choices) = schema["oneOf"].as_array() {
        assert!(choices.iter().any(|choice| choice["const"] == *value), "{value} {schema}");
        return;
    }
    match schema["type"].as_str().unwrap() {
        "object" => {
            let properties = schema["properties"].as_object().unwrap();
            let names: Vec<&String> = value.as_object().unwrap().keys().collect();
            assert_eq!(names.len(), properties.len(), "{names:?}");
            properties.iter().for_each(|(name, schema)| assert_fits(&value[name], schema));
        }
        "array" => value.as_array().unwrap().iter().for_each(|item| assert_fits(item, &schema["items"])),
        "string" => assert!(value.is_string(), "{value}"),
        "boolean" => assert!(value.is_boolean(), "{value}"),
        "number" => assert!(value.is_number(), "{value}"),
        "integer" => assert!(value.is_u64() || value.is_i64(), "{value}"),
        other => panic!("{other} {value}"),
    }
}

#[test]
fn a_scan_goes_all_around_and_meets_the_walls() {
    let bytes = read("demo.mcap");
    for message in &by_topic(&messages(&bytes))["/scan"] {
        let scan = LaserScan::decode(&*message.data).unwrap();
        assert_eq!(scan.ranges.len(), 360);
        assert!(scan.ranges.iter().all(|range| (0.4..20.0).contains(range)));
    }
}

#[test]
fn the_course_map_is_attached() {
    let bytes = read("demo.mcap");
    let summary = Summary::read(&bytes).unwrap().unwrap();
    let [index] = &summary.attachment_indexes[..] else { panic!("{:?}", summary.attachment_indexes) };
    let attachment = mcap::read::attachment(&bytes, index).unwrap();
    assert_eq!((attachment.name.as_str(), attachment.media_type.as_str()), ("course.png", "image/png"));
    png::Decoder::new(std::io::Cursor::new(&attachment.data)).read_info().unwrap();
}

#[test]
fn every_line_of_the_jsonl_file_is_a_channel_or_a_message_in_time_order() {
    let mut schemas = BTreeMap::new();
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    let mut before = 0;
    for line in json_lines() {
        let topic = line["topic"].as_str().unwrap().to_owned();
        if line.get("schema").is_some() {
            assert!(line["schema_name"].as_str().unwrap().starts_with("foxglove."));
            assert!(schemas.insert(topic, line["schema"].clone()).is_none());
            continue;
        }
        let time = line["log_time"].as_u64().unwrap();
        assert!(time >= before);
        before = time;
        assert!(line["data"].is_object());
        if let Some(schema) = schemas.get(&topic) {
            assert_fits(&line["data"], schema);
        }
        *counts.entry(topic).or_default() += 1;
    }
    let counts: Vec<(&str, u32)> = counts.iter().map(|(topic, count)| (topic.as_str(), *count)).collect();
    assert_eq!(
        counts,
        [
            ("/battery", 48),
            ("/drive", 240),
            ("/log", 19),
            ("/pose", 240),
            ("/scan", 48),
            ("/scene", 1),
            ("/tf", 840),
            ("/tf_static", 1)
        ]
    );
    assert!(!schemas.contains_key("/drive"), "its schema is there to be inferred");
}

#[test]
fn the_ros_2_sample_is_cdr_with_whole_definitions() {
    let bytes = read("ros2.mcap");
    let messages = messages(&bytes);
    for message in &messages {
        assert_eq!(message.channel.message_encoding, "cdr");
        assert_eq!(message.data[..4], [0, 1, 0, 0]);
        let schema = message.channel.schema.as_ref().unwrap();
        assert_eq!(schema.encoding, "ros2msg");
        let definition = std::str::from_utf8(&schema.data).unwrap();
        let used = definition.lines().filter_map(|line| line.split_once(' '));
        for (kind, _) in used.filter(|(kind, _)| kind.contains('/') && !kind.contains('=')) {
            let name = format!("MSG: {}\n", kind.trim_end_matches("[]"));
            assert!(definition.contains(&name), "{} does not define {kind}", schema.name);
        }
    }
    let topics = by_topic(&messages);
    let names: Vec<&str> = topics.keys().copied().collect();
    assert_eq!(names, ["/imu", "/odom", "/rosout", "/scan", "/tf", "/tf_static"]);
    let [latched] = &topics["/tf_static"][..] else { panic!("sent once") };
    assert!(latched.channel.metadata["offered_qos_profiles"].contains("durability: transient_local"));
    let summary = Summary::read(&bytes).unwrap().unwrap();
    let metadata = mcap::read::metadata(&bytes, &summary.metadata_indexes[0]).unwrap();
    assert_eq!(metadata.name, "rosbag2");
    assert!(metadata.metadata["serialized_metadata"].contains("ros_distro: jazzy"));
}

#[test]
fn odometry_in_cdr_agrees_with_the_pose_in_json() {
    // Behind the encapsulation: stamp (8), "odom" (4 + 5), padding, "base_link" (4 + 10), padding to 40.
    const POSITION: usize = 4 + 40;
    let (ros2, jsonl) = (read("ros2.mcap"), json_lines());
    let messages = messages(&ros2);
    let odometry: BTreeMap<u64, &[u8]> =
        by_topic(&messages)["/odom"].iter().map(|message| (message.log_time, &*message.data)).collect();
    let poses = jsonl.iter().filter(|line| line["topic"] == "/pose" && line.get("log_time").is_some());
    let mut compared = 0;
    for pose in poses {
        let Some(data) = odometry.get(&pose["log_time"].as_u64().unwrap()) else { continue };
        let number = |at: usize| f64::from_le_bytes(data[at..at + 8].try_into().unwrap());
        let position = &pose["data"]["pose"]["position"];
        assert_eq!(Some(number(POSITION)), position["x"].as_f64());
        assert_eq!(Some(number(POSITION + 8)), position["y"].as_f64());
        compared += 1;
    }
    // Every second one: ten in a second here, twenty-five there.
    assert_eq!(compared, 120);
}
