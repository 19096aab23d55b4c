//! `demo.mcap`: the lap with everything that the robot measures, in protobuf and JSON.

use std::collections::BTreeMap;
use std::error::Error;

use foxglove::Encode;
use foxglove::messages::{
    CameraCalibration, CompressedImage, FrameTransforms, LaserScan, LocationFix, PointCloud, PoseInFrame,
    SceneUpdate,
};
use mcap::{Compression, WriteOptions};
use serde::Serialize;

use super::course::{Solid, solids, walker};
use super::jsonschema::{self, schema_of};
use super::maths::Noise;
use super::recorder::{Recorder, Schema, Topic};
use super::robot::{Lap, State};
use super::{camera, messages, plain, scene};

/// Small chunks, so that seeking has something to find.
const CHUNK_BYTES: u64 = 128 * 1024;
const BEAMS: u32 = 360;
/// Steps per metre of the lidar's distances: a power of two compresses well.
const RANGE_STEPS: f64 = 128.0;

type Outcome = Result<(), Box<dyn Error>>;

/// The recording's bytes.
pub fn recording(lap: &Lap) -> Result<Vec<u8>, Box<dyn Error>> {
    let options = WriteOptions::new()
        .compression(Some(Compression::Zstd))
        .compression_level(9)
        .chunk_size(Some(CHUNK_BYTES));
    let mut demo = Demo::new(options)?;
    demo.write_lap(lap)?;
    demo.recorder.metadata(
        "demo",
        &[
            ("course", "a figure of eight, 12 m by 6 m"),
            ("lap", "24 s; the end meets the start, so it can loop"),
            ("robot", "a car with four wheels, a lidar and a camera"),
        ],
    )?;
    demo.recorder.attach("course.png", "image/png", &camera::map(&solids())?)?;
    Ok(demo.recorder.finish()?)
}

struct Demo {
    recorder: Recorder,
    noise: Noise,
    topics: Topics,
}

/// In the order in which they are advertised.
struct Topics {
    tf_static: Topic,
    scene: Topic,
    tf: Topic,
    pose: Topic,
    drive: Topic,
    battery: Topic,
    scan: Topic,
    points: Topic,
    image: Topic,
    calibration: Topic,
    markers: Topic,
    gps: Topic,
    log: Topic,
}

impl Demo {
    fn new(options: WriteOptions) -> Result<Self, Box<dyn Error>> {
        let mut recorder = Recorder::new(options)?;
        let at = &mut recorder;
        let topics = Topics {
            tf_static: protobuf_topic::<FrameTransforms>(at, "/tf_static")?,
            scene: protobuf_topic::<SceneUpdate>(at, "/scene")?,
            tf: protobuf_topic::<FrameTransforms>(at, "/tf")?,
            pose: json_topic(at, "/pose", &schema_of::<PoseInFrame>()?)?,
            drive: json_topic(at, "/drive", &own_schema("demo.Drive", plain::DRIVE_SCHEMA))?,
            battery: json_topic(at, "/battery", &own_schema("demo.Battery", plain::BATTERY_SCHEMA))?,
            scan: protobuf_topic::<LaserScan>(at, "/scan")?,
            points: protobuf_topic::<PointCloud>(at, "/points")?,
            image: protobuf_topic::<CompressedImage>(at, "/camera/image")?,
            calibration: protobuf_topic::<CameraCalibration>(at, "/camera/calibration")?,
            markers: protobuf_topic::<SceneUpdate>(at, "/markers")?,
            gps: protobuf_topic::<LocationFix>(at, "/gps")?,
            log: json_topic(at, "/log", &schema_of::<foxglove::messages::Log>()?)?,
        };
        Ok(Demo { recorder, noise: Noise::seeded(1), topics })
    }

    fn write_lap(&mut self, lap: &Lap) -> Outcome {
        let states = lap.states();
        let mut before = &states[states.len() - 1];
        let mut solids = solids();
        self.protobuf(self.topics.tf_static, &states[0], &messages::mounts(&states[0]))?;
        self.protobuf(self.topics.scene, &states[0], &scene::still(&states[0], &solids, states))?;
        solids.push(walker(0.0));
        for state in states {
            if let Some(last) = solids.last_mut() {
                *last = walker(state.time());
            }
            self.write_motion(state)?;
            self.write_sensors(state, &solids)?;
            for line in plain::log(before, state) {
                self.json(self.topics.log, state, &plain::Log::new(state, &line))?;
            }
            before = state;
        }
        Ok(())
    }

    fn write_motion(&mut self, state: &State) -> Outcome {
        let mut transforms = vec![messages::base_transform(state)];
        transforms.extend(messages::wheel_transforms(state));
        self.protobuf(self.topics.tf, state, &FrameTransforms { transforms })?;
        if state.is_every(25) {
            self.json(self.topics.pose, state, &messages::pose_in_frame(state))?;
            self.json(self.topics.drive, state, &plain::drive(state))?;
        }
        if state.is_every(10) {
            self.protobuf(self.topics.markers, state, &scene::moving(state))?;
        }
        if state.is_every(2) {
            self.json(self.topics.battery, state, &plain::battery(state))?;
            self.protobuf(self.topics.gps, state, &messages::location(state))?;
        }
        Ok(())
    }

    fn write_sensors(&mut self, state: &State, solids: &[Solid]) -> Outcome {
        if state.is_every(10) {
            let scan = messages::laser_scan(state, solids, BEAMS, RANGE_STEPS, &mut self.noise);
            self.protobuf(self.topics.scan, state, &scan)?;
            let png = camera::photograph(state, solids)?;
            self.protobuf(self.topics.image, state, &messages::image(state, png))?;
        }
        if state.is_every(5) {
            self.protobuf(self.topics.points, state, &messages::point_cloud(state, solids))?;
        }
        if state.is_every(1) {
            self.protobuf(self.topics.calibration, state, &messages::calibration(state))?;
        }
        Ok(())
    }

    fn protobuf<M: prost::Message>(&mut self, topic: Topic, state: &State, message: &M) -> Outcome {
        Ok(self.recorder.write(topic, state, &message.encode_to_vec())?)
    }

    fn json<M: Serialize>(&mut self, topic: Topic, state: &State, message: &M) -> Outcome {
        Ok(self.recorder.write(topic, state, &serde_json::to_vec(message)?)?)
    }
}

fn protobuf_topic<M: Encode>(recorder: &mut Recorder, topic: &str) -> Result<Topic, Box<dyn Error>> {
    let schema = M::get_schema().ok_or("the message has no schema")?;
    let schema = Schema { name: &schema.name, encoding: &schema.encoding, data: &schema.data };
    Ok(recorder.topic(topic, "protobuf", schema, &BTreeMap::new())?)
}

fn json_topic(
    recorder: &mut Recorder,
    topic: &str,
    schema: &jsonschema::Schema,
) -> Result<Topic, Box<dyn Error>> {
    let schema = Schema { name: &schema.name, encoding: "jsonschema", data: schema.text.as_bytes() };
    Ok(recorder.topic(topic, "json", schema, &BTreeMap::new())?)
}

fn own_schema(name: &str, text: &str) -> jsonschema::Schema {
    jsonschema::Schema { name: name.to_owned(), text: text.to_owned() }
}
