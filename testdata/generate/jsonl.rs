//! `demo.jsonl`: the lap as lines of JSON, one message each.
//!
//! Foxglove's types have a line that tells their schema. The robot's own topics, `/drive` and `/battery`,
//! have none: their schema is left to whoever reads the file.

use std::error::Error;
use std::io::Write;

use foxglove::Encode;
use foxglove::messages::{FrameTransforms, LaserScan, PoseInFrame, SceneUpdate};
use serde::Serialize;
use serde_json::value::RawValue;

use super::course::{Solid, solids, walker};
use super::jsonschema::schema_of;
use super::maths::Noise;
use super::robot::{Lap, State};
use super::{messages, plain, scene};

const BEAMS: u32 = 120;
/// Steps per metre of the lidar's distances: two decimals.
const RANGE_STEPS: f64 = 100.0;

type Outcome = Result<(), Box<dyn Error>>;

#[derive(Serialize)]
struct MessageLine<'a, M> {
    topic: &'a str,
    log_time: u64,
    data: &'a M,
}

#[derive(Serialize)]
struct ChannelLine<'a> {
    topic: &'a str,
    schema_name: &'a str,
    schema: &'a RawValue,
}

/// The recording's bytes.
pub fn recording(lap: &Lap) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut lines = Lines { bytes: Vec::new(), noise: Noise::seeded(2) };
    lines.channel::<FrameTransforms>("/tf_static")?;
    lines.channel::<FrameTransforms>("/tf")?;
    lines.channel::<SceneUpdate>("/scene")?;
    lines.channel::<PoseInFrame>("/pose")?;
    lines.channel::<LaserScan>("/scan")?;
    lines.channel::<foxglove::messages::Log>("/log")?;
    lines.write_lap(lap)?;
    Ok(lines.bytes)
}

struct Lines {
    bytes: Vec<u8>,
    noise: Noise,
}

impl Lines {
    fn channel<M: Encode>(&mut self, topic: &str) -> Outcome {
        let schema = schema_of::<M>()?;
        let text = RawValue::from_string(schema.text)?;
        self.line(&ChannelLine { topic, schema_name: &schema.name, schema: &text })
    }

    fn message<M: Serialize>(&mut self, topic: &str, state: &State, data: &M) -> Outcome {
        self.line(&MessageLine { topic, log_time: state.nanos(), data })
    }

    fn line<L: Serialize>(&mut self, line: &L) -> Outcome {
        serde_json::to_writer(&mut self.bytes, line)?;
        Ok(self.bytes.write_all(b"\n")?)
    }

    fn write_lap(&mut self, lap: &Lap) -> Outcome {
        let states = lap.states();
        let mut before = &states[states.len() - 1];
        let solids = solids();
        self.message("/tf_static", &states[0], &messages::mounts(&states[0]))?;
        self.message("/scene", &states[0], &scene::still(&states[0], &solids, states))?;
        for state in states {
            self.write_state(state, &solids)?;
            for line in plain::log(before, state) {
                self.message("/log", state, &plain::Log::new(state, &line))?;
            }
            before = state;
        }
        Ok(())
    }

    fn write_state(&mut self, state: &State, solids: &[Solid]) -> Outcome {
        if state.is_every(25) {
            self.message(
                "/tf",
                state,
                &FrameTransforms { transforms: vec![messages::base_transform(state)] },
            )?;
        }
        if state.is_every(10) {
            let transforms = messages::wheel_transforms(state).collect();
            self.message("/tf", state, &FrameTransforms { transforms })?;
            self.message("/pose", state, &messages::pose_in_frame(state))?;
            self.message("/drive", state, &plain::drive(state))?;
        }
        if state.is_every(2) {
            let mut solids = solids.to_vec();
            solids.push(walker(state.time()));
            let scan = messages::laser_scan(state, &solids, BEAMS, RANGE_STEPS, &mut self.noise);
            self.message("/scan", state, &scan)?;
            self.message("/battery", state, &plain::battery(state))?;
        }
        Ok(())
    }
}
