//! The course and the robot as something to look at, in Foxglove's scene primitives.

use foxglove::messages::{
    ArrowPrimitive, Color, CubePrimitive, CylinderPrimitive, Duration, Point3, SceneEntity, SceneUpdate,
    TextPrimitive, TriangleListPrimitive,
};

use super::course::{HALF_LANE, HALF_SIZE, Material, Outline, Solid, walker};
use super::maths::{Rotation, round, sin_cos, turns};
use super::messages::{BASE, MAP, pose, timestamp, vector};
use super::robot::{CAMERA, EIGHT, LIDAR, State, WHEELBASE, WHEELS};

/// The lane is drawn with a corner every so many ticks of the lap.
const LANE_STEP: usize = 15;
const BODY: [u8; 3] = [52, 120, 246];
const DARK: [u8; 3] = [40, 42, 48];
const RIM: [u8; 3] = [210, 214, 220];
const GLASS: [u8; 3] = [24, 200, 220];

/// The course and the robot's body: all that keeps its looks. Sent once, it stays.
pub fn still(start: &State, solids: &[Solid], lap: &[State]) -> SceneUpdate {
    let mut entities = vec![ground(start), lane(start, lap)];
    let things = SceneEntity {
        cubes: solids.iter().filter_map(cube).collect(),
        cylinders: solids.iter().filter_map(cylinder).collect(),
        ..entity(start, MAP, "things")
    };
    entities.push(things);
    entities.push(robot(start));
    entities.extend(WHEELS.iter().zip(start.wheels).map(|(mount, wheel)| {
        // A wheel's frame turns with it; its axle is the y axis.
        let along_axle = Rotation::roll(turns(0.25));
        let tyre = upright((0.0, 0.0, 0.0), along_axle, [2.0 * wheel.radius, 2.0 * wheel.radius, 0.1], DARK);
        let hub = upright((0.0, 0.0, 0.0), along_axle, [wheel.radius, wheel.radius, 0.12], RIM);
        let spoke = block((0.0, 0.0, 0.0), [1.7 * wheel.radius, 0.11, 0.03], RIM);
        SceneEntity {
            cylinders: vec![tyre, hub],
            cubes: vec![spoke],
            ..entity(start, mount.frame, mount.frame)
        }
    }));
    SceneUpdate { deletions: Vec::new(), entities }
}

/// What moves: the walker, and an arrow over the robot that is as long as it is fast.
pub fn moving(state: &State) -> SceneUpdate {
    let walker = SceneEntity {
        cylinders: cylinder(&walker(state.time())).into_iter().collect(),
        ..entity(state, MAP, "walker")
    };
    let arrow = ArrowPrimitive {
        pose: Some(pose(LIDAR.0, 0.0, 0.85, Rotation::NONE)),
        shaft_length: round(0.5 * state.speed, 1e3),
        shaft_diameter: 0.05,
        head_length: 0.16,
        head_diameter: 0.14,
        color: Some(colour(GLASS)),
    };
    let label = TextPrimitive {
        pose: Some(pose(LIDAR.0, 0.0, 1.15, Rotation::NONE)),
        billboard: true,
        font_size: 0.22,
        scale_invariant: false,
        color: Some(colour([255, 255, 255])),
        text: format!("{:.1} m/s", state.speed),
    };
    let speed = SceneEntity { arrows: vec![arrow], texts: vec![label], ..entity(state, BASE, "speed") };
    SceneUpdate { deletions: Vec::new(), entities: vec![walker, speed] }
}

/// An entity without any shape yet, which stays until another with its id comes.
fn entity(state: &State, frame: &str, id: &str) -> SceneEntity {
    SceneEntity {
        timestamp: Some(timestamp(state)),
        frame_id: frame.into(),
        id: id.into(),
        lifetime: Some(Duration::new(0, 0)),
        frame_locked: true,
        ..SceneEntity::default()
    }
}

fn ground(start: &State) -> SceneEntity {
    let (x, y) = HALF_SIZE;
    let slab = block((0.0, 0.0, -0.03), [2.0 * x, 2.0 * y, 0.04], Material::FloorDark.colour());
    let banner = TextPrimitive {
        pose: Some(pose(EIGHT, 0.0, 2.15, Rotation::NONE)),
        billboard: true,
        font_size: 0.35,
        scale_invariant: false,
        color: Some(colour(Material::Paint.colour())),
        text: "START".into(),
    };
    SceneEntity { cubes: vec![slab], texts: vec![banner], ..entity(start, MAP, "ground") }
}

/// The lane as a ribbon on the floor, with a line of paint along each side.
fn lane(start: &State, lap: &[State]) -> SceneEntity {
    let ribbon = |(left, right): (f64, f64), height: f64, material: Material| {
        let edges = lap.iter().step_by(LANE_STEP).flat_map(|state| {
            let (sin, cos) = sin_cos(state.heading);
            [left, right].map(|aside| Point3 {
                x: round(state.x - aside * sin, 1e3),
                y: round(state.y + aside * cos, 1e3),
                z: height,
            })
        });
        let points: Vec<Point3> = edges.collect();
        let count = points.len() as u32;
        let quad = |at: u32| [0, 1, 2, 2, 1, 3].map(|corner| (at + corner) % count);
        TriangleListPrimitive {
            pose: Some(pose(0.0, 0.0, 0.0, Rotation::NONE)),
            indices: (0..count).step_by(2).flat_map(quad).collect(),
            points,
            color: Some(colour(material.colour())),
            colors: Vec::new(),
        }
    };
    let triangles = vec![
        ribbon((HALF_LANE, -HALF_LANE), 0.005, Material::Lane),
        ribbon((HALF_LANE + 0.08, HALF_LANE), 0.01, Material::Paint),
        ribbon((-HALF_LANE, -HALF_LANE - 0.08), 0.01, Material::Paint),
    ];
    SceneEntity { triangles, ..entity(start, MAP, "lane") }
}

fn robot(start: &State) -> SceneEntity {
    let middle = WHEELBASE / 2.0;
    let cubes = vec![
        block((middle, 0.0, 0.22), [0.86, 0.38, 0.16], BODY),
        block((middle - 0.08, 0.0, 0.36), [0.5, 0.34, 0.12], DARK),
        block((middle + 0.44, 0.0, 0.2), [0.04, 0.46, 0.08], RIM),
        block((CAMERA.0 - 0.06, 0.0, CAMERA.1), [0.1, 0.12, 0.08], DARK),
        block((CAMERA.0 - 0.06, 0.0, 0.36), [0.03, 0.03, 0.14], RIM),
    ];
    let cylinders = vec![
        upright((LIDAR.0, 0.0, LIDAR.1 - 0.07), Rotation::NONE, [0.14, 0.14, 0.14], RIM),
        upright((LIDAR.0, 0.0, LIDAR.1), Rotation::NONE, [0.145, 0.145, 0.04], DARK),
        upright((CAMERA.0, 0.0, CAMERA.1), Rotation::pitch(turns(0.25)), [0.06, 0.06, 0.03], GLASS),
    ];
    SceneEntity { cubes, cylinders, ..entity(start, BASE, "robot") }
}

fn cube(solid: &Solid) -> Option<CubePrimitive> {
    let Outline::Box { half_x, half_y, yaw } = solid.outline else { return None };
    let size = vector(2.0 * half_x, 2.0 * half_y, solid.top - solid.bottom);
    Some(CubePrimitive {
        pose: Some(pose(solid.x, solid.y, (solid.bottom + solid.top) / 2.0, Rotation::yaw(yaw))),
        size: Some(size),
        color: Some(colour(solid.material.colour())),
    })
}

fn cylinder(solid: &Solid) -> Option<CylinderPrimitive> {
    let Outline::Circle { radius } = solid.outline else { return None };
    let at = (solid.x, solid.y, (solid.bottom + solid.top) / 2.0);
    let size = [2.0 * radius, 2.0 * radius, solid.top - solid.bottom];
    Some(upright(at, Rotation::NONE, size, solid.material.colour()))
}

fn block((x, y, z): (f64, f64, f64), [length, width, height]: [f64; 3], rgb: [u8; 3]) -> CubePrimitive {
    CubePrimitive {
        pose: Some(pose(x, y, z, Rotation::NONE)),
        size: Some(vector(length, width, height)),
        color: Some(colour(rgb)),
    }
}

fn upright(
    (x, y, z): (f64, f64, f64),
    turned: Rotation,
    [length, width, height]: [f64; 3],
    rgb: [u8; 3],
) -> CylinderPrimitive {
    CylinderPrimitive {
        pose: Some(pose(x, y, z, turned)),
        size: Some(vector(length, width, height)),
        bottom_scale: 1.0,
        top_scale: 1.0,
        color: Some(colour(rgb)),
    }
}

fn colour(rgb: [u8; 3]) -> Color {
    let [r, g, b] = rgb.map(|channel| round(f64::from(channel) / 255.0, 1e3));
    Color { r, g, b, a: 1.0 }
}
