//! `ros2.mcap`: the lap as rosbag2 would have recorded it, in CDR.

use std::collections::BTreeMap;
use std::error::Error;

use foxglove::messages::{FrameTransform, Quaternion, Vector3};
use mcap::{Compression, McapResult, WriteOptions};

use super::cdr::Cdr;
use super::course::{Solid, solids, walker};
use super::maths::{Noise, Rotation, round};
use super::messages::{self, BASE, LIDAR_FRAME, LIDAR_RANGE, MAP, beam_angle, beams, quaternion, vector};
use super::plain::{self, Line};
use super::recorder::{Recorder, Schema, Topic};
use super::robot::{Lap, State};
use super::ros2_types::{IMU, LASER_SCAN, LOG, MessageType, ODOMETRY, TF_MESSAGE};

const CHUNK_BYTES: u64 = 64 * 1024;
/// How often transforms, odometry and the inertial sensor speak, per second.
const RATE: u32 = 25;
const BEAMS: u32 = 180;
/// Steps of the inertial sensor, per unit.
const IMU_STEPS: f64 = 1e4;
const GRAVITY: f64 = 9.81;
/// The frame that odometry counts from. It began in the middle of the map and has not drifted.
const ODOM: &str = "odom";

/// The recording's bytes.
pub fn recording(lap: &Lap) -> Result<Vec<u8>, Box<dyn Error>> {
    let options =
        WriteOptions::new().profile("ros2").compression(Some(Compression::Lz4)).chunk_size(Some(CHUNK_BYTES));
    let mut bag = Bag::new(options)?;
    bag.write_lap(lap)?;
    bag.recorder.metadata("rosbag2", &[("serialized_metadata", &bag_metadata(lap))])?;
    Ok(bag.recorder.finish()?)
}

/// Quality of service with which a topic was offered.
#[derive(Clone, Copy)]
struct Qos {
    depth: u32,
    reliability: &'static str,
    durability: &'static str,
}

const VOLATILE: Qos = Qos { depth: 10, reliability: "reliable", durability: "volatile" };
const LATCHED: Qos = Qos { depth: 1, reliability: "reliable", durability: "transient_local" };
const SENSOR: Qos = Qos { depth: 5, reliability: "best_effort", durability: "volatile" };

impl Qos {
    /// As rosbag2 of ROS 2 Jazzy writes it: a YAML list with one profile.
    fn yaml(self) -> String {
        let Qos { depth, reliability, durability } = self;
        let forever = |name: &str| format!("  {name}:\n    sec: 9223372036\n    nsec: 854775807\n");
        format!(
            "- history: keep_last\n  depth: {depth}\n  reliability: {reliability}\n  durability: {durability}\n\
             {}{}  liveliness: automatic\n{}  avoid_ros_namespace_conventions: false\n",
            forever("deadline"),
            forever("lifespan"),
            forever("liveliness_lease_duration"),
        )
    }
}

struct Bag {
    recorder: Recorder,
    noise: Noise,
    tf_static: Topic,
    tf: Topic,
    odom: Topic,
    scan: Topic,
    imu: Topic,
    rosout: Topic,
}

impl Bag {
    fn new(options: WriteOptions) -> McapResult<Self> {
        let mut recorder = Recorder::new(options)?;
        let mut topic = |name: &str, kind: &MessageType, qos: Qos| {
            let definition = kind.definition();
            let schema = Schema { name: kind.name, encoding: "ros2msg", data: definition.as_bytes() };
            let metadata = BTreeMap::from([("offered_qos_profiles".to_owned(), qos.yaml())]);
            recorder.topic(name, "cdr", schema, &metadata)
        };
        Ok(Bag {
            tf_static: topic("/tf_static", &TF_MESSAGE, LATCHED)?,
            tf: topic("/tf", &TF_MESSAGE, VOLATILE)?,
            odom: topic("/odom", &ODOMETRY, VOLATILE)?,
            scan: topic("/scan", &LASER_SCAN, SENSOR)?,
            imu: topic("/imu", &IMU, SENSOR)?,
            rosout: topic("/rosout", &LOG, LATCHED)?,
            noise: Noise::seeded(3),
            recorder,
        })
    }

    fn write_lap(&mut self, lap: &Lap) -> McapResult<()> {
        let states = lap.states();
        let mut before = &states[states.len() - 1];
        let solids = solids();
        self.recorder.write(self.tf_static, &states[0], &tf_static(&states[0]))?;
        for state in states {
            self.write_state(state, &solids)?;
            for line in plain::log(before, state) {
                self.recorder.write(self.rosout, state, &log(state, &line))?;
            }
            before = state;
        }
        Ok(())
    }

    fn write_state(&mut self, state: &State, solids: &[Solid]) -> McapResult<()> {
        if state.is_every(RATE) {
            let mut base = messages::base_transform(state);
            base.parent_frame_id = ODOM.into();
            self.recorder.write(self.tf, state, &tf(state, &[base]))?;
            self.recorder.write(self.odom, state, &odometry(state))?;
            let imu = imu(state, &mut self.noise);
            self.recorder.write(self.imu, state, &imu)?;
        }
        if state.is_every(5) {
            let mut solids = solids.to_vec();
            solids.push(walker(state.time()));
            let scan = scan(state, &solids, &mut self.noise);
            self.recorder.write(self.scan, state, &scan)?;
        }
        Ok(())
    }
}

fn header(cdr: &mut Cdr, state: &State, frame: &str) {
    stamp(cdr, state);
    cdr.string(frame);
}

fn stamp(cdr: &mut Cdr, state: &State) {
    let (seconds, nanos) = state.stamp();
    // The lap lies before 2038.
    cdr.i32(seconds.cast_signed());
    cdr.u32(nanos);
}

fn put_vector(cdr: &mut Cdr, Vector3 { x, y, z }: &Vector3) {
    cdr.f64s(&[*x, *y, *z]);
}

fn put_quaternion(cdr: &mut Cdr, Quaternion { x, y, z, w }: &Quaternion) {
    cdr.f64s(&[*x, *y, *z, *w]);
}

/// A square matrix with the same value all along its diagonal.
fn put_covariance(cdr: &mut Cdr, size: usize, variance: f64) {
    for index in 0..size * size {
        cdr.f64(if index % (size + 1) == 0 { variance } else { 0.0 });
    }
}

fn tf_static(start: &State) -> Vec<u8> {
    let mut transforms = messages::mounts(start).transforms;
    let mut map_to_odom = messages::base_transform(start);
    (map_to_odom.parent_frame_id, map_to_odom.child_frame_id) = (MAP.into(), ODOM.into());
    map_to_odom.translation = Some(vector(0.0, 0.0, 0.0));
    map_to_odom.rotation = Some(quaternion(Rotation::NONE));
    transforms.push(map_to_odom);
    tf(start, &transforms)
}

fn tf(state: &State, transforms: &[FrameTransform]) -> Vec<u8> {
    let mut cdr = Cdr::new();
    cdr.count(transforms.len());
    for transform in transforms {
        header(&mut cdr, state, &transform.parent_frame_id);
        cdr.string(&transform.child_frame_id);
        put_vector(&mut cdr, &transform.translation.unwrap_or_default());
        put_quaternion(&mut cdr, &transform.rotation.unwrap_or_default());
    }
    cdr.finish()
}

fn odometry(state: &State) -> Vec<u8> {
    let mut cdr = Cdr::new();
    header(&mut cdr, state, ODOM);
    cdr.string(BASE);
    put_vector(&mut cdr, &vector(state.x, state.y, 0.0));
    put_quaternion(&mut cdr, &quaternion(Rotation::yaw(state.heading)));
    put_covariance(&mut cdr, 6, 0.0025);
    put_vector(&mut cdr, &vector(state.speed, 0.0, 0.0));
    put_vector(&mut cdr, &vector(0.0, 0.0, state.yaw_rate()));
    put_covariance(&mut cdr, 6, 0.0004);
    cdr.finish()
}

fn imu(state: &State, noise: &mut Noise) -> Vec<u8> {
    let mut cdr = Cdr::new();
    let sideways = state.speed * state.yaw_rate();
    let mut measure = |value: f64, error: f64| round(value + error * noise.next(), IMU_STEPS);
    header(&mut cdr, state, BASE);
    put_quaternion(&mut cdr, &quaternion(Rotation::yaw(state.heading)));
    put_covariance(&mut cdr, 3, 0.0001);
    cdr.f64s(&[measure(0.0, 0.004), measure(0.0, 0.004), measure(state.yaw_rate(), 0.004)]);
    put_covariance(&mut cdr, 3, 0.00002);
    cdr.f64s(&[measure(state.acceleration, 0.05), measure(sideways, 0.05), measure(GRAVITY, 0.05)]);
    put_covariance(&mut cdr, 3, 0.0025);
    cdr.finish()
}

fn scan(state: &State, solids: &[Solid], noise: &mut Noise) -> Vec<u8> {
    let (first, second, last) = (beam_angle(0, BEAMS), beam_angle(1, BEAMS), beam_angle(BEAMS - 1, BEAMS));
    let beams = beams(state, solids, BEAMS, noise);
    let ranges: Vec<f32> = beams.iter().map(|(range, _)| round(*range, 128.0) as f32).collect();
    let intensities: Vec<f32> = beams.iter().map(|(_, intensity)| *intensity as f32).collect();
    let mut cdr = Cdr::new();
    header(&mut cdr, state, LIDAR_FRAME);
    for value in [first, last, second - first, 0.0, 0.2, 0.05, LIDAR_RANGE] {
        cdr.f32(value as f32);
    }
    cdr.f32_sequence(&ranges);
    cdr.f32_sequence(&intensities);
    cdr.finish()
}

fn log(state: &State, line: &Line) -> Vec<u8> {
    let mut cdr = Cdr::new();
    stamp(&mut cdr, state);
    cdr.u8(line.level.ros());
    cdr.string(line.name);
    cdr.string(&line.text);
    cdr.string("");
    cdr.string("");
    cdr.u32(0);
    cdr.finish()
}

/// What rosbag2 notes about a bag, shortened to what it says of the whole.
fn bag_metadata(lap: &Lap) -> String {
    let mut recorded = lap.states().iter().filter(|state| state.is_every(RATE)).map(State::nanos);
    let start = recorded.next().unwrap_or_default();
    let duration = recorded.next_back().unwrap_or_default() - start;
    format!(
        "version: 9\nstorage_identifier: mcap\nduration:\n  nanoseconds: {duration}\nstarting_time:\n  \
         nanoseconds_since_epoch: {start}\ncompression_format: \"\"\ncompression_mode: \"\"\n\
         ros_distro: jazzy\n",
    )
}
