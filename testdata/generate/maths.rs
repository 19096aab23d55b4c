//! The arithmetic of the demo. Only operations that IEEE 754 defines exactly, and `libm` for the rest: the
//! standard library's `sin` may differ in the last bit from one machine to the next.

use std::f64::consts::TAU;

/// Sine and cosine of an angle in radians.
pub fn sin_cos(angle: f64) -> (f64, f64) {
    libm::sincos(angle)
}

/// The angle of a direction, in radians.
pub fn direction(x: f64, y: f64) -> f64 {
    libm::atan2(y, x)
}

/// The length of a vector.
pub fn length(x: f64, y: f64) -> f64 {
    (x * x + y * y).sqrt()
}

/// The value on the nearest of `steps` steps per unit, never minus zero.
///
/// `steps` as a power of ten gives short decimals; a power of two gives floats that compress well.
pub fn round(value: f64, steps: f64) -> f64 {
    (value * steps).round() / steps + 0.0
}

/// A rotation, as (x, y, z, w).
#[derive(Clone, Copy)]
pub struct Rotation(pub [f64; 4]);

impl Rotation {
    pub const NONE: Rotation = Rotation([0.0, 0.0, 0.0, 1.0]);

    /// Around x: rolling to the right.
    pub fn roll(angle: f64) -> Self {
        let (sin, cos) = sin_cos(angle / 2.0);
        Rotation([sin, 0.0, 0.0, cos])
    }

    /// Around y: nose down, and the way a wheel rolls forwards.
    pub fn pitch(angle: f64) -> Self {
        let (sin, cos) = sin_cos(angle / 2.0);
        Rotation([0.0, sin, 0.0, cos])
    }

    /// Around z: turning left.
    pub fn yaw(angle: f64) -> Self {
        let (sin, cos) = sin_cos(angle / 2.0);
        Rotation([0.0, 0.0, sin, cos])
    }

    /// This rotation, then `inner` inside the turned frame.
    pub fn then(self, inner: Rotation) -> Self {
        let ([ax, ay, az, aw], [bx, by, bz, bw]) = (self.0, inner.0);
        Rotation([
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
            aw * bw - ax * bx - ay * by - az * bz,
        ])
    }
}

/// Noise from a fixed seed: the SplitMix64 generator.
pub struct Noise(u64);

impl Noise {
    pub fn seeded(seed: u64) -> Self {
        Noise(seed)
    }

    /// The next value, even between -1 and 1.
    pub fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        (bits >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }
}

/// An angle as a share of the circle.
pub fn turns(share: f64) -> f64 {
    TAU * share
}
