//! The place where the robot drives: a floor with a lane painted on it, walls around it, and things that
//! stand in it. Metres, x to the east, y to the north, z up; the middle of the course is the origin.

use super::maths::{length, sin_cos, turns};
use super::robot::{EIGHT, LAP_SECONDS};

/// Half the size of the course inside its walls.
pub const HALF_SIZE: (f64, f64) = (8.5, 5.5);
/// Half the width of the lane.
pub const HALF_LANE: f64 = 0.55;

const WALL_HEIGHT: f64 = 0.8;
const WALL_HALF_THICKNESS: f64 = 0.1;

/// What a surface is made of. The number is its place in the camera's palette.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Material {
    Sky,
    FloorLight,
    FloorDark,
    Lane,
    Paint,
    NorthWall,
    EastWall,
    SouthWall,
    WestWall,
    Silo,
    Crate,
    Barrel,
    Post,
    Banner,
    Walker,
    Text,
}

impl Material {
    pub const ALL: [Material; 16] = [
        Material::Sky,
        Material::FloorLight,
        Material::FloorDark,
        Material::Lane,
        Material::Paint,
        Material::NorthWall,
        Material::EastWall,
        Material::SouthWall,
        Material::WestWall,
        Material::Silo,
        Material::Crate,
        Material::Barrel,
        Material::Post,
        Material::Banner,
        Material::Walker,
        Material::Text,
    ];

    /// Its colour in full light: red, green, blue.
    pub fn colour(self) -> [u8; 3] {
        match self {
            Material::Sky => [126, 182, 232],
            Material::FloorLight => [148, 176, 118],
            Material::FloorDark => [132, 162, 104],
            Material::Lane => [104, 108, 118],
            Material::Paint => [244, 244, 238],
            Material::NorthWall => [214, 92, 92],
            Material::EastWall => [232, 190, 84],
            Material::SouthWall => [92, 132, 214],
            Material::WestWall => [96, 186, 150],
            Material::Silo => [196, 204, 214],
            Material::Crate => [178, 128, 78],
            Material::Barrel => [255, 120, 40],
            Material::Post => [236, 236, 240],
            Material::Banner => [44, 46, 56],
            Material::Walker => [176, 88, 200],
            Material::Text => [255, 255, 255],
        }
    }
}

/// The outline of a thing, seen from above.
#[derive(Clone, Copy)]
pub enum Outline {
    /// Half its length and width, and how far it is turned left, in radians.
    Box {
        half_x: f64,
        half_y: f64,
        yaw: f64,
    },
    Circle {
        radius: f64,
    },
}

/// A thing that stands on the course, or hangs over it.
#[derive(Clone, Copy)]
pub struct Solid {
    pub x: f64,
    pub y: f64,
    pub bottom: f64,
    pub top: f64,
    pub outline: Outline,
    pub material: Material,
}

impl Solid {
    /// Whether it stands on or above a place.
    pub fn covers(&self, x: f64, y: f64) -> bool {
        let (x, y) = (x - self.x, y - self.y);
        match self.outline {
            Outline::Circle { radius } => length(x, y) < radius,
            Outline::Box { half_x, half_y, yaw } => {
                let (sin, cos) = sin_cos(yaw);
                (x * cos + y * sin).abs() < half_x && (y * cos - x * sin).abs() < half_y
            }
        }
    }
}

/// Everything that does not move.
pub fn solids() -> Vec<Solid> {
    let mut solids = Vec::new();
    for (height, material) in [((0.0, 0.66), None), ((0.66, WALL_HEIGHT), Some(Material::Paint))] {
        solids.extend(walls(height, material));
    }
    solids.push(pillar((3.7, 0.0), 0.85, (0.0, 2.4), Material::Silo));
    solids.extend(crates());
    solids.extend(gate());
    // Barrels stand where the curves are tightest.
    for place in [(4.3, 4.1), (-4.3, 4.1), (-4.3, -4.1), (4.3, -4.1), (7.3, 1.2), (7.3, -1.2)] {
        solids.push(pillar(place, 0.16, (0.0, 0.22), Material::Barrel));
        solids.push(pillar(place, 0.16, (0.22, 0.38), Material::Paint));
        solids.push(pillar(place, 0.16, (0.38, 0.6), Material::Barrel));
    }
    solids
}

/// The four walls between two heights, each in its own colour or all in one.
fn walls((bottom, top): (f64, f64), material: Option<Material>) -> [Solid; 4] {
    let (x, y) = HALF_SIZE;
    let thick = WALL_HALF_THICKNESS;
    let wall = |(x, y), (half_x, half_y), own| Solid {
        x,
        y,
        bottom,
        top,
        outline: Outline::Box { half_x, half_y, yaw: 0.0 },
        material: material.unwrap_or(own),
    };
    [
        wall((0.0, y + thick), (x + 2.0 * thick, thick), Material::NorthWall),
        wall((x + thick, 0.0), (thick, y), Material::EastWall),
        wall((0.0, -y - thick), (x + 2.0 * thick, thick), Material::SouthWall),
        wall((-x - thick, 0.0), (thick, y), Material::WestWall),
    ]
}

fn crates() -> [Solid; 8] {
    let crate_at = |x, y, bottom: f64, half: f64, yaw| Solid {
        x,
        y,
        bottom,
        top: bottom + 2.0 * half,
        outline: Outline::Box { half_x: half, half_y: half, yaw },
        material: Material::Crate,
    };
    [
        crate_at(-3.5, 0.35, 0.0, 0.5, 0.35),
        crate_at(-4.2, -0.75, 0.0, 0.45, -0.2),
        crate_at(-3.65, 0.2, 1.0, 0.3, 0.9),
        crate_at(0.0, 4.2, 0.0, 0.55, 0.6),
        crate_at(1.3, 4.6, 0.0, 0.35, 0.1),
        crate_at(7.4, 4.4, 0.0, 0.6, 0.2),
        crate_at(-7.5, -4.5, 0.0, 0.5, -0.3),
        crate_at(-7.4, 4.3, 0.0, 0.4, 0.7),
    ]
}

/// The gate over the line where a lap begins.
fn gate() -> [Solid; 3] {
    [
        pillar((EIGHT - 0.9, 0.0), 0.07, (0.0, 1.8), Material::Post),
        pillar((EIGHT + 0.9, 0.0), 0.07, (0.0, 1.8), Material::Post),
        Solid {
            x: EIGHT,
            y: 0.0,
            bottom: 1.4,
            top: 1.8,
            outline: Outline::Box { half_x: 0.83, half_y: 0.04, yaw: 0.0 },
            material: Material::Banner,
        },
    ]
}

/// The one that walks up and down in the south, twice a lap.
pub fn walker(time: f64) -> Solid {
    let (sin, _) = sin_cos(turns(2.0 * time / LAP_SECONDS));
    pillar((2.6 * sin, -4.1), 0.25, (0.0, 1.5), Material::Walker)
}

fn pillar((x, y): (f64, f64), radius: f64, (bottom, top): (f64, f64), material: Material) -> Solid {
    Solid { x, y, bottom, top, outline: Outline::Circle { radius }, material }
}

/// How far a place is from the middle of the lane, to first order: the eight is where
/// y² = x² (1 - x² / a²).
fn lane_distance(x: f64, y: f64) -> f64 {
    let square = EIGHT * EIGHT;
    let value = y * y - x * x * (1.0 - x * x / square);
    let slope = length(2.0 * x * (2.0 * x * x / square - 1.0), 2.0 * y);
    if slope > 0.0 { value.abs() / slope } else { 0.0 }
}

/// What is painted on the floor at a place.
pub fn floor(x: f64, y: f64) -> Material {
    let checker = |size: f64| ((x / size).floor() + (y / size).floor()).rem_euclid(2.0) == 0.0;
    let distance = lane_distance(x, y);
    if distance < HALF_LANE {
        let on_start_line = y.abs() < 0.24 && (x - EIGHT).abs() < HALF_LANE;
        match (on_start_line, checker(0.12)) {
            (true, true) => Material::Paint,
            (true, false) => Material::Banner,
            (false, _) => Material::Lane,
        }
    } else if distance < HALF_LANE + 0.08 {
        Material::Paint
    } else if checker(1.0) {
        Material::FloorLight
    } else {
        Material::FloorDark
    }
}
