//! The robot and its lap: a car with four wheels that drives a figure of eight, again and again.
//!
//! The lap is a closed curve and every quantity on it is a smooth function of the lap time, so the moment
//! after the last tick is the first tick again. Even the wheels fit: their radii are chosen so that each makes
//! whole turns in a lap.

use super::maths::{direction, length, turns};

/// How long a lap takes, in seconds.
pub const LAP_SECONDS: f64 = 24.0;
/// The lap is cut into ticks; whatever is measured is measured on a tick.
pub const TICKS_PER_SECOND: u32 = 50;
/// Ticks in a lap.
pub const LAP_TICKS: u32 = LAP_SECONDS as u32 * TICKS_PER_SECOND;
/// When the lap begins: 2024-06-01T10:00:00Z, in seconds since the epoch.
pub const START_SECONDS: u32 = 1_717_236_000;

/// From the rear axle, where the robot's frame is, to the front axle, in metres.
pub const WHEELBASE: f64 = 0.6;
/// From the left wheels to the right ones, in metres.
pub const TRACK_WIDTH: f64 = 0.52;
/// Where the lidar is: in front of the rear axle, and above the ground, in metres.
pub const LIDAR: (f64, f64) = (0.28, 0.56);
/// The camera, likewise.
pub const CAMERA: (f64, f64) = (0.74, 0.46);

const WHEEL_RADIUS: f64 = 0.14;
/// Half the length of the eight, and its width, in metres.
pub const EIGHT: f64 = 6.0;

/// A wheel's place.
#[derive(Clone, Copy)]
pub struct Mount {
    pub frame: &'static str,
    /// Metres in front of the rear axle.
    pub x: f64,
    /// Metres left of the middle.
    pub y: f64,
}

pub const WHEELS: [Mount; 4] = [
    Mount { frame: "wheel_front_left", x: WHEELBASE, y: TRACK_WIDTH / 2.0 },
    Mount { frame: "wheel_front_right", x: WHEELBASE, y: -TRACK_WIDTH / 2.0 },
    Mount { frame: "wheel_rear_left", x: 0.0, y: TRACK_WIDTH / 2.0 },
    Mount { frame: "wheel_rear_right", x: 0.0, y: -TRACK_WIDTH / 2.0 },
];

/// What a wheel does at a moment.
#[derive(Clone, Copy, Default)]
pub struct Wheel {
    /// Where it points, in radians left of straight ahead.
    pub steering: f64,
    /// How far it has rolled since the lap began, in radians.
    pub angle: f64,
    /// How fast it rolls, in radians per second.
    pub speed: f64,
    /// In metres.
    pub radius: f64,
}

/// The robot at a moment. Metres, seconds, radians.
#[derive(Clone, Copy)]
pub struct State {
    pub tick: u32,
    pub x: f64,
    pub y: f64,
    /// Where it points, counted left from the x axis.
    pub heading: f64,
    pub speed: f64,
    pub acceleration: f64,
    /// One over the radius of the curve that it drives; positive to the left.
    pub curvature: f64,
    pub wheels: [Wheel; 4],
}

impl State {
    /// Seconds since the lap began.
    pub fn time(&self) -> f64 {
        f64::from(self.tick) / f64::from(TICKS_PER_SECOND)
    }

    /// Since the epoch: seconds, and nanoseconds beyond them.
    pub fn stamp(&self) -> (u32, u32) {
        let (seconds, ticks) = (self.tick / TICKS_PER_SECOND, self.tick % TICKS_PER_SECOND);
        (START_SECONDS + seconds, ticks * (1_000_000_000 / TICKS_PER_SECOND))
    }

    /// Nanoseconds since the epoch.
    pub fn nanos(&self) -> u64 {
        let (seconds, nanos) = self.stamp();
        u64::from(seconds) * 1_000_000_000 + u64::from(nanos)
    }

    /// How fast it turns left, in radians per second.
    pub fn yaw_rate(&self) -> f64 {
        self.speed * self.curvature
    }

    /// The steering angle of a single front wheel in the middle, in radians.
    pub fn steering(&self) -> f64 {
        direction(1.0, WHEELBASE * self.curvature)
    }

    /// What the motor draws, in amperes; negative where braking charges the battery.
    pub fn current(&self) -> f64 {
        2.5 + 1.8 * self.speed + 9.0 * self.acceleration + 2.0 * self.curvature * self.curvature
    }

    /// What the battery has left under that load, in volts.
    pub fn voltage(&self) -> f64 {
        25.2 - 0.045 * self.current()
    }

    /// Whether this tick is one of `per_second` in every second.
    pub fn is_every(&self, per_second: u32) -> bool {
        self.tick.is_multiple_of(TICKS_PER_SECOND / per_second)
    }
}

/// A whole lap.
pub struct Lap {
    states: Vec<State>,
}

impl Lap {
    /// Drives it.
    pub fn drive() -> Self {
        let rolled = roll();
        let mut states: Vec<State> = (0..LAP_TICKS).map(|tick| on_the_eight(tick, 0.0)).collect();
        for (index, mount) in WHEELS.iter().enumerate() {
            let lap_length = rolled[LAP_TICKS as usize][index];
            let whole_turns = (lap_length / turns(WHEEL_RADIUS)).round();
            let radius = lap_length / turns(whole_turns);
            for (state, rolled) in states.iter_mut().zip(&rolled) {
                let (ahead, aside) = ground_speed(state, mount);
                state.wheels[index] = Wheel {
                    steering: direction(ahead, aside),
                    angle: rolled[index] / radius,
                    speed: length(ahead, aside) / radius,
                    radius,
                };
            }
        }
        Lap { states }
    }

    /// The robot at every tick.
    pub fn states(&self) -> &[State] {
        &self.states
    }
}

/// Where the robot is at a tick and a fraction of one. The eight is x = a cos p, y = a/2 sin 2p.
fn on_the_eight(tick: u32, fraction: f64) -> State {
    let rate = turns(1.0 / LAP_SECONDS);
    let phase = turns((f64::from(tick) + fraction) / f64::from(LAP_TICKS));
    let ((sin, cos), (sin2, cos2)) = (libm::sincos(phase), libm::sincos(2.0 * phase));
    let (vx, vy) = (-EIGHT * sin * rate, EIGHT * cos2 * rate);
    let (ax, ay) = (-EIGHT * cos * rate * rate, -2.0 * EIGHT * sin2 * rate * rate);
    let speed = length(vx, vy);
    State {
        tick,
        x: EIGHT * cos,
        y: EIGHT / 2.0 * sin2,
        heading: direction(vx, vy),
        speed,
        acceleration: (vx * ax + vy * ay) / speed,
        curvature: (vx * ay - vy * ax) / (speed * speed * speed),
        wheels: [Wheel::default(); 4],
    }
}

/// How fast the ground passes under a wheel: ahead and to the left, in the robot's frame.
fn ground_speed(state: &State, mount: &Mount) -> (f64, f64) {
    (state.speed * (1.0 - state.curvature * mount.y), state.speed * state.curvature * mount.x)
}

/// How far each wheel has rolled at each tick, and at the end of the lap, in metres: Simpson's rule.
fn roll() -> Vec<[f64; 4]> {
    let speeds = |tick, fraction| {
        let state = on_the_eight(tick, fraction);
        WHEELS.map(|mount| {
            let (ahead, aside) = ground_speed(&state, &mount);
            length(ahead, aside)
        })
    };
    let mut rolled = vec![[0.0; 4]];
    for tick in 0..LAP_TICKS {
        let (from, middle, to) = (speeds(tick, 0.0), speeds(tick, 0.5), speeds(tick, 1.0));
        let mut so_far = rolled[tick as usize];
        for wheel in 0..4 {
            let mean = (from[wheel] + 4.0 * middle[wheel] + to[wheel]) / 6.0;
            so_far[wheel] += mean / f64::from(TICKS_PER_SECOND);
        }
        rolled.push(so_far);
    }
    rolled
}
