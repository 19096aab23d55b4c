//! The robot's messages in Foxglove's own types.
//!
//! Numbers are rounded to what a sensor of that kind could know, which keeps the recordings small.

use foxglove::messages::packed_element_field::NumericType;
use foxglove::messages::{
    CameraCalibration, CompressedImage, FrameTransform, FrameTransforms, LaserScan, LocationFix,
    PackedElementField, PointCloud, Pose, PoseInFrame, Quaternion, Timestamp, Vector3, location_fix,
};

use super::camera::{FOCAL_LENGTH, HEIGHT, WIDTH};
use super::course::Solid;
use super::maths::{Noise, Rotation, direction, length, round, sin_cos, turns};
use super::rays::Slice;
use super::robot::{CAMERA, LIDAR, State, WHEELS};

/// The frames. The course does not move in `map`; the robot does.
pub const MAP: &str = "map";
pub const BASE: &str = "base_link";
pub const LIDAR_FRAME: &str = "lidar";
const CAMERA_FRAME: &str = "camera";
const OPTICAL_FRAME: &str = "camera_optical";

/// How far the lidar sees, in metres. The walls are nearer.
pub const LIDAR_RANGE: f64 = 25.0;
/// Steps per metre and per unit: a tenth of a millimetre, and a millionth.
const POSITION_STEPS: f64 = 1e4;
const ROTATION_STEPS: f64 = 1e6;
/// The fan of the point cloud: lowest and highest slope (metres per metre), and how many beams and columns.
const FAN: (f64, f64) = (-0.42, 0.2);
const FAN_BEAMS: u32 = 14;
const FAN_COLUMNS: u32 = 180;
/// Steps per metre in a point cloud: a power of two, because the floats then compress well.
const POINT_STEPS: f64 = 128.0;
/// Where the middle of the course lies on the globe (the old airfield of Tempelhof in Berlin), and how many
/// metres a degree of latitude and one of longitude have there.
const ORIGIN: (f64, f64) = (52.473_1, 13.403_9);
const DEGREE: (f64, f64) = (111_267.0, 67_938.0);

pub fn timestamp(state: &State) -> Timestamp {
    let (seconds, nanos) = state.stamp();
    Timestamp::new(seconds, nanos)
}

pub fn vector(x: f64, y: f64, z: f64) -> Vector3 {
    let [x, y, z] = [x, y, z].map(|value| round(value, POSITION_STEPS));
    Vector3 { x, y, z }
}

pub fn quaternion(rotation: Rotation) -> Quaternion {
    let [x, y, z, w] = rotation.0.map(|value| round(value, ROTATION_STEPS));
    Quaternion { x, y, z, w }
}

pub fn pose(x: f64, y: f64, z: f64, rotation: Rotation) -> Pose {
    Pose { position: Some(vector(x, y, z)), orientation: Some(quaternion(rotation)) }
}

fn transform(state: &State, parent: &str, child: &str, at: Vector3, rotation: Rotation) -> FrameTransform {
    FrameTransform {
        timestamp: Some(timestamp(state)),
        parent_frame_id: parent.into(),
        child_frame_id: child.into(),
        translation: Some(at),
        rotation: Some(quaternion(rotation)),
    }
}

/// Where the sensors are mounted: true once and for all.
pub fn mounts(state: &State) -> FrameTransforms {
    // An optical frame looks along z, with x to the right and y down.
    let optical = Rotation::yaw(turns(-0.25)).then(Rotation::roll(turns(-0.25)));
    let transforms = vec![
        transform(state, BASE, LIDAR_FRAME, vector(LIDAR.0, 0.0, LIDAR.1), Rotation::NONE),
        transform(state, BASE, CAMERA_FRAME, vector(CAMERA.0, 0.0, CAMERA.1), Rotation::NONE),
        transform(state, CAMERA_FRAME, OPTICAL_FRAME, vector(0.0, 0.0, 0.0), optical),
    ];
    FrameTransforms { transforms }
}

/// Where the robot is.
pub fn base_transform(state: &State) -> FrameTransform {
    transform(state, MAP, BASE, vector(state.x, state.y, 0.0), Rotation::yaw(state.heading))
}

/// How its wheels are turned.
pub fn wheel_transforms(state: &State) -> impl Iterator<Item = FrameTransform> {
    WHEELS.iter().zip(state.wheels).map(|(mount, wheel)| {
        let at = vector(mount.x, mount.y, wheel.radius);
        transform(
            state,
            BASE,
            mount.frame,
            at,
            Rotation::yaw(wheel.steering).then(Rotation::pitch(wheel.angle)),
        )
    })
}

pub fn pose_in_frame(state: &State) -> PoseInFrame {
    PoseInFrame {
        timestamp: Some(timestamp(state)),
        frame_id: MAP.into(),
        pose: Some(pose(state.x, state.y, 0.0, Rotation::yaw(state.heading))),
    }
}

/// Where the lidar is on the course.
fn lidar_place(state: &State) -> (f64, f64) {
    let (sin, cos) = sin_cos(state.heading);
    (state.x + LIDAR.0 * cos, state.y + LIDAR.0 * sin)
}

/// What the lidar measures with each beam of a turn, from straight behind over the right and the front: the
/// distance in metres, and how brightly the beam came back, from 0 to 255.
pub fn beams(state: &State, solids: &[Solid], count: u32, noise: &mut Noise) -> Vec<(f64, f64)> {
    let measure = |beam| {
        let (sin, cos) = sin_cos(state.heading + beam_angle(beam, count));
        let hit = Slice::cut(solids, lidar_place(state), (cos, sin)).look(LIDAR.1, 0.0);
        hit.map_or((LIDAR_RANGE, 0.0), |hit| {
            let [_, green, _] = hit.material.colour();
            (hit.distance + 0.008 * noise.next(), f64::from(green))
        })
    };
    (0..count).map(measure).collect()
}

/// Where a beam of a turn points, in radians.
pub fn beam_angle(beam: u32, beams: u32) -> f64 {
    turns(f64::from(beam) / f64::from(beams) - 0.5)
}

/// A turn of the lidar, its distances on steps of a part of a metre.
pub fn laser_scan(state: &State, solids: &[Solid], count: u32, steps: f64, noise: &mut Noise) -> LaserScan {
    let beams = beams(state, solids, count, noise);
    LaserScan {
        timestamp: Some(timestamp(state)),
        frame_id: LIDAR_FRAME.into(),
        pose: Some(pose(0.0, 0.0, 0.0, Rotation::NONE)),
        start_angle: round(beam_angle(0, count), ROTATION_STEPS),
        end_angle: round(beam_angle(count - 1, count), ROTATION_STEPS),
        ranges: beams.iter().map(|(range, _)| round(*range, steps)).collect(),
        intensities: beams.iter().map(|(_, intensity)| *intensity).collect(),
    }
}

/// All around in several heights, each point in the colour of what it fell on.
pub fn point_cloud(state: &State, solids: &[Solid]) -> PointCloud {
    let mut data = Vec::new();
    for column in 0..FAN_COLUMNS {
        let angle = beam_angle(column, FAN_COLUMNS);
        let (sin, cos) = sin_cos(state.heading + angle);
        let slice = Slice::cut(solids, lidar_place(state), (cos, sin));
        let (sin, cos) = sin_cos(angle);
        for beam in 0..FAN_BEAMS {
            let slope = FAN.0 + (FAN.1 - FAN.0) * f64::from(beam) / f64::from(FAN_BEAMS - 1);
            let Some(hit) = slice.look(LIDAR.1, slope) else { continue };
            for part in [hit.distance * cos, hit.distance * sin, hit.distance * slope] {
                data.extend((round(part, POINT_STEPS) as f32).to_le_bytes());
            }
            data.extend(hit.material.colour());
            data.push(255);
        }
    }
    let field = |name: &str, offset, kind: NumericType| PackedElementField {
        name: name.into(),
        offset,
        r#type: kind as i32,
    };
    let parts =
        ["x", "y", "z"].into_iter().zip([0, 4, 8]).map(|(name, at)| field(name, at, NumericType::Float32));
    let colours = ["red", "green", "blue", "alpha"].into_iter().zip(12..);
    let colours = colours.map(|(name, at)| field(name, at, NumericType::Uint8));
    PointCloud {
        timestamp: Some(timestamp(state)),
        frame_id: LIDAR_FRAME.into(),
        pose: Some(pose(0.0, 0.0, 0.0, Rotation::NONE)),
        point_stride: 16,
        fields: parts.chain(colours).collect(),
        data: data.into(),
    }
}

/// A PNG from the camera.
pub fn image(state: &State, png: Vec<u8>) -> CompressedImage {
    CompressedImage {
        timestamp: Some(timestamp(state)),
        frame_id: OPTICAL_FRAME.into(),
        data: png.into(),
        format: "png".into(),
    }
}

/// How the camera maps the world onto its images: a pinhole.
pub fn calibration(state: &State) -> CameraCalibration {
    let (f, cx, cy) = (FOCAL_LENGTH, WIDTH as f64 / 2.0, HEIGHT as f64 / 2.0);
    CameraCalibration {
        timestamp: Some(timestamp(state)),
        frame_id: OPTICAL_FRAME.into(),
        width: WIDTH as u32,
        height: HEIGHT as u32,
        distortion_model: "plumb_bob".into(),
        d: vec![0.0; 5],
        k: vec![f, 0.0, cx, 0.0, f, cy, 0.0, 0.0, 1.0],
        r: vec![1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
        p: vec![f, 0.0, cx, 0.0, 0.0, f, cy, 0.0, 0.0, 0.0, 1.0, 0.0],
    }
}

/// Where the robot is on the globe.
pub fn location(state: &State) -> LocationFix {
    let mut covariance = vec![0.0; 9];
    (covariance[0], covariance[4], covariance[8]) = (0.04, 0.04, 0.25);
    let (north, east) = sin_cos(state.heading);
    let velocity = vector(state.speed * east, state.speed * north, 0.0);
    LocationFix {
        timestamp: Some(timestamp(state)),
        frame_id: BASE.into(),
        latitude: round(ORIGIN.0 + state.y / DEGREE.0, 1e8),
        longitude: round(ORIGIN.1 + state.x / DEGREE.1, 1e8),
        altitude: 48.0,
        position_covariance: covariance,
        position_covariance_type: location_fix::PositionCovarianceType::DiagonalKnown as i32,
        // Clockwise from north.
        heading: Some(round(direction(north, east), ROTATION_STEPS)),
        velocity: Some(velocity),
        ..LocationFix::default()
    }
}

/// How far the middle of a thing is from the robot's front, in metres.
pub fn gap(state: &State, solid: &Solid) -> f64 {
    let (sin, cos) = sin_cos(state.heading);
    length(state.x + CAMERA.0 * cos - solid.x, state.y + CAMERA.0 * sin - solid.y)
}
