//! What a ray meets. Everything on the course stands upright, so a ray is followed in two steps: a [`Slice`]
//! cuts the course along one direction, once, and every height is then looked up in that slice. A column of
//! the camera's image, a lidar's beam and a whole fan of beams are each one slice.

use super::course::{Material, Outline, Solid, floor};
use super::maths::{length, sin_cos};

/// A vertical cut through the course, from a place outwards.
pub struct Slice<'a> {
    x: f64,
    y: f64,
    dx: f64,
    dy: f64,
    crossings: Vec<Crossing<'a>>,
}

/// Where the cut goes through one thing: from and to, in metres along it, and which way the face looks.
struct Crossing<'a> {
    from: f64,
    to: f64,
    normal: (f64, f64),
    solid: &'a Solid,
}

/// What a ray met.
#[derive(Clone, Copy)]
pub struct Hit {
    /// Metres from the start, measured along the floor.
    pub distance: f64,
    /// Which way the surface looks.
    pub normal: [f64; 3],
    pub material: Material,
}

impl<'a> Slice<'a> {
    /// Cuts along the direction (`dx`, `dy`), of length one.
    pub fn cut(solids: &'a [Solid], (x, y): (f64, f64), (dx, dy): (f64, f64)) -> Self {
        let crossings = solids.iter().filter_map(|solid| cross(solid, (x, y), (dx, dy))).collect();
        Slice { x, y, dx, dy, crossings }
    }

    /// Follows a ray that starts at `height` and climbs `slope` metres per metre. `None` is the sky.
    pub fn look(&self, height: f64, slope: f64) -> Option<Hit> {
        let mut nearest = (slope < 0.0).then(|| self.floor_at(-height / slope));
        for crossing in &self.crossings {
            let limit = nearest.map_or(f64::INFINITY, |hit| hit.distance);
            if crossing.from < limit
                && let Some(hit) = crossing.meet(height, slope)
                && hit.distance < limit
            {
                nearest = Some(hit);
            }
        }
        nearest
    }

    fn floor_at(&self, distance: f64) -> Hit {
        let (x, y) = (self.x + distance * self.dx, self.y + distance * self.dy);
        Hit { distance, normal: [0.0, 0.0, 1.0], material: floor(x, y) }
    }
}

impl Crossing<'_> {
    fn meet(&self, height: f64, slope: f64) -> Option<Hit> {
        let Solid { bottom, top, material, .. } = *self.solid;
        let arrival = height + slope * self.from;
        if bottom <= arrival && arrival <= top {
            let normal = [self.normal.0, self.normal.1, 0.0];
            return Some(Hit { distance: self.from, normal, material });
        }
        let (lid, up) = if arrival > top { (top, 1.0) } else { (bottom, -1.0) };
        // The ray must come towards the lid, and reach it before it is past the thing.
        let distance = (lid - height) / slope;
        let meets = slope * up < 0.0 && self.from <= distance && distance < self.to;
        meets.then_some(Hit { distance, normal: [0.0, 0.0, up], material })
    }
}

fn cross<'a>(solid: &'a Solid, (x, y): (f64, f64), (dx, dy): (f64, f64)) -> Option<Crossing<'a>> {
    let (x, y) = (x - solid.x, y - solid.y);
    let (from, to, normal) = match solid.outline {
        Outline::Circle { radius } => cross_circle(radius, (x, y), (dx, dy))?,
        Outline::Box { half_x, half_y, yaw } => {
            let (sin, cos) = sin_cos(yaw);
            let into = |(x, y): (f64, f64)| (x * cos + y * sin, y * cos - x * sin);
            let (from, to, (nx, ny)) = cross_box((half_x, half_y), into((x, y)), into((dx, dy)))?;
            (from, to, (nx * cos - ny * sin, nx * sin + ny * cos))
        }
    };
    (from > 0.0).then_some(Crossing { from, to, normal, solid })
}

type Span = (f64, f64, (f64, f64));

fn cross_circle(radius: f64, (x, y): (f64, f64), (dx, dy): (f64, f64)) -> Option<Span> {
    let towards = -(x * dx + y * dy);
    let depth = radius * radius - (x * x + y * y - towards * towards);
    if depth <= 0.0 {
        return None;
    }
    let half = depth.sqrt();
    let from = towards - half;
    let (nx, ny) = (x + from * dx, y + from * dy);
    let size = length(nx, ny);
    Some((from, towards + half, (nx / size, ny / size)))
}

fn cross_box(half: (f64, f64), at: (f64, f64), along: (f64, f64)) -> Option<Span> {
    let slab = |half: f64, at: f64, along: f64| match along {
        // Parallel to the slab: inside it all the way, or never.
        0.0 if at.abs() < half => (f64::NEG_INFINITY, f64::INFINITY),
        0.0 => (f64::INFINITY, f64::NEG_INFINITY),
        _ => {
            let (a, b) = ((-half - at) / along, (half - at) / along);
            (a.min(b), a.max(b))
        }
    };
    let (from_x, to_x) = slab(half.0, at.0, along.0);
    let (from_y, to_y) = slab(half.1, at.1, along.1);
    let (from, to) = (from_x.max(from_y), to_x.min(to_y));
    if from >= to {
        return None;
    }
    let normal = if from_x > from_y { (-along.0.signum(), 0.0) } else { (0.0, -along.1.signum()) };
    Some((from, to, normal))
}
