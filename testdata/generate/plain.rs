//! What the robot says in JSON, in types of its own, and its log.

use serde::Serialize;

use super::course::walker;
use super::maths::round;
use super::messages::gap;
use super::robot::{LAP_TICKS, State, TICKS_PER_SECOND};

/// The schemas of [`Drive`] and [`Battery`].
pub const DRIVE_SCHEMA: &str = include_str!("schemas/drive.json");
pub const BATTERY_SCHEMA: &str = include_str!("schemas/battery.json");

const STEPS: f64 = 1e4;
/// From this steering angle on, in radians, the robot is in a curve.
const CURVE: f64 = 0.12;
/// How near the walker may come before the robot says so, in metres.
const NEAR: f64 = 3.2;

#[derive(Serialize)]
struct Time {
    sec: u32,
    nsec: u32,
}

fn time(state: &State) -> Time {
    let (sec, nsec) = state.stamp();
    Time { sec, nsec }
}

/// How the robot drives: numbers to plot, and states.
#[derive(Serialize)]
pub struct Drive {
    timestamp: Time,
    mode: &'static str,
    speed: f64,
    acceleration: f64,
    steering: f64,
    yaw_rate: f64,
    brake: bool,
    wheel_speeds: WheelSpeeds,
    motor: Motor,
}

#[derive(Serialize)]
struct WheelSpeeds {
    front_left: f64,
    front_right: f64,
    rear_left: f64,
    rear_right: f64,
}

#[derive(Serialize)]
struct Motor {
    current: f64,
    voltage: f64,
}

pub fn drive(state: &State) -> Drive {
    let round = |value| round(value, STEPS);
    let [front_left, front_right, rear_left, rear_right] = state.wheels.map(|wheel| round(wheel.speed));
    Drive {
        timestamp: time(state),
        mode: mode(state),
        speed: round(state.speed),
        acceleration: round(state.acceleration),
        steering: round(state.steering()),
        yaw_rate: round(state.yaw_rate()),
        brake: state.acceleration < -0.1,
        wheel_speeds: WheelSpeeds { front_left, front_right, rear_left, rear_right },
        motor: Motor { current: round(state.current()), voltage: round(state.voltage()) },
    }
}

fn mode(state: &State) -> &'static str {
    match state.steering() {
        angle if angle > CURVE => "left",
        angle if angle < -CURVE => "right",
        _ => "straight",
    }
}

/// How the battery is. It does not run down, so that the lap can begin again.
#[derive(Serialize)]
pub struct Battery {
    timestamp: Time,
    percentage: f64,
    voltage: f64,
    current: f64,
    temperature: f64,
    cell_voltages: [f64; 6],
}

pub fn battery(state: &State) -> Battery {
    let cell = state.voltage() / 6.0;
    Battery {
        timestamp: time(state),
        percentage: round(87.0 + 4.0 * (state.voltage() - 25.0), 1e1),
        voltage: round(state.voltage(), 1e3),
        current: round(state.current(), 1e3),
        temperature: round(31.0 + 0.25 * state.current(), 1e1),
        cell_voltages: [0.004, -0.002, 0.001, 0.0, -0.005, 0.002].map(|off| round(cell + off, 1e3)),
    }
}

/// How serious a line of the log is.
#[derive(Clone, Copy)]
pub enum Level {
    Debug,
    Info,
    Warning,
}

impl Level {
    /// The number of the level in `foxglove.Log`.
    fn foxglove(self) -> u8 {
        match self {
            Level::Debug => 1,
            Level::Info => 2,
            Level::Warning => 3,
        }
    }

    /// The number of the level in `rcl_interfaces/msg/Log`.
    pub fn ros(self) -> u8 {
        self.foxglove() * 10
    }
}

/// A line of the robot's log.
pub struct Line {
    pub level: Level,
    pub name: &'static str,
    pub text: String,
}

/// What the robot has to say at a moment, seeing how it was one tick before.
pub fn log(before: &State, state: &State) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut say = |level, name, text| lines.push(Line { level, name, text });
    if state.tick == 0 {
        say(Level::Info, "mission", "Lap started: 24 s, 8 waypoints".to_owned());
    } else if state.tick.is_multiple_of(LAP_TICKS / 8) {
        let number = state.tick / (LAP_TICKS / 8);
        let (x, y) = (round(state.x, 1e1), round(state.y, 1e1));
        say(Level::Info, "mission", format!("Waypoint {number} of 8 at ({x:.1}, {y:.1})"));
    }
    if mode(before) != mode(state) {
        let text = match mode(state) {
            "straight" => format!("Going straight at {:.2} m/s", state.speed),
            side => format!("Turning {side} at {:.2} m/s", state.speed),
        };
        say(Level::Debug, "planner", text);
    }
    let (was, is) = (gap(before, &walker(before.time())), gap(state, &walker(state.time())));
    if was >= NEAR && is < NEAR {
        say(Level::Warning, "safety", format!("Somebody is near: {is:.1} m"));
    } else if was < NEAR && is >= NEAR {
        say(Level::Info, "safety", "The way is clear".to_owned());
    }
    if state.tick == LAP_TICKS - TICKS_PER_SECOND / 2 {
        say(Level::Info, "mission", "The start line is ahead, another lap".to_owned());
    }
    lines
}

/// A `foxglove.Log` in JSON, where the level is a number.
#[derive(Serialize)]
pub struct Log<'a> {
    timestamp: Time,
    level: u8,
    message: &'a str,
    name: &'a str,
    file: &'a str,
    line: u32,
}

impl<'a> Log<'a> {
    pub fn new(state: &State, line: &'a Line) -> Self {
        Log {
            timestamp: time(state),
            level: line.level.foxglove(),
            message: &line.text,
            name: line.name,
            file: "",
            line: 0,
        }
    }
}
