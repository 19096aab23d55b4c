//! What the bodies of commands ask for.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::foxglove::shortened;
use crate::playback::{Command, Position, Range, Rate};
use crate::server::parameters;
use crate::time::Timestamp;

/// What can be asked for with `POST /api/<name>`.
#[derive(Clone, Copy, Debug)]
pub(super) enum Action {
    Play,
    Pause,
    Toggle,
    Seek,
    Rate,
    Step,
    Loop,
}

impl Action {
    pub const ALL: [(&'static str, Action); 7] = [
        ("play", Action::Play),
        ("pause", Action::Pause),
        ("toggle", Action::Toggle),
        ("seek", Action::Seek),
        ("rate", Action::Rate),
        ("step", Action::Step),
        ("loop", Action::Loop),
    ];

    /// The command that a body asks for, or what is wrong with it.
    pub fn command(self, body: &Value, position: &Position, range: Range) -> Result<Command, String> {
        let field = |name: &str| Some(&body[name]).filter(|value| !value.is_null());
        match self {
            Action::Play => Ok(Command::Play),
            Action::Pause => Ok(Command::Pause),
            Action::Toggle => Ok(Command::Toggle),
            Action::Seek => seek(body, position, range),
            Action::Rate => {
                let wrong = |given: String| {
                    format!(
                        "\"rate\" has to be a positive number up to 1000, and is {given}; the old rate is kept"
                    )
                };
                let rate = field("rate").ok_or_else(|| wrong("missing".into()))?;
                let given = || shortened(&rate.to_string());
                let factor = rate.as_f64().ok_or_else(|| wrong(given()))?;
                Rate::asked(factor).map(Command::SetRate).map_err(|_| wrong(given()))
            }
            Action::Step => match field("count").map_or(Some(1), Value::as_i64) {
                Some(-1) => Ok(Command::StepBack),
                Some(count @ 1..) => Ok(Command::Step(count.unsigned_abs())),
                _ => Err("\"count\" has to be a number of messages from 1 on, or -1 for one back".into()),
            },
            Action::Loop => match field("loop").and_then(Value::as_bool) {
                Some(loops) => Ok(Command::SetLoop(loops)),
                None => Err("\"loop\" has to be true or false".into()),
            },
        }
    }
}

fn seek(body: &Value, position: &Position, range: Range) -> Result<Command, String> {
    let wrong = || {
        "it takes one of \"offset\" (seconds since the start), \"by\" (seconds from here) and \"time\" \
         (nanoseconds since 1970 as text, or like \"2023-11-14T22:13:20Z\")"
            .to_owned()
    };
    match (body["offset"].as_f64(), body["by"].as_f64(), &body["time"]) {
        (Some(offset), None, Value::Null) => Ok(parameters::seek(range, offset)),
        (None, Some(by), Value::Null) => {
            let now = position.time_at(Instant::now()).since(range.start).as_secs_f64();
            Ok(parameters::seek(range, now + by))
        }
        (None, None, Value::String(text)) => match text.parse::<u64>() {
            Ok(nanos) => Ok(Command::Seek(Timestamp::MIN.saturating_add(Duration::from_nanos(nanos)))),
            Err(_) => Timestamp::parse_seconds(text).map(Command::Seek).map_err(|_| wrong()),
        },
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::playback::{Feed, Lookback, Peek, Timeline, TimelineOptions};
    use crate::recording::Message;

    const RANGE: Range =
        Range { start: Timestamp::from_nanos(5_000_000_000), end: Timestamp::from_nanos(9_000_000_000) };

    struct Nothing;

    impl Feed for Nothing {
        fn peek(&mut self) -> Peek {
            Peek::EndOfPass
        }
        fn take_lookback(&mut self) -> Lookback {
            Lookback::default()
        }
        fn take(&mut self) -> Option<Message> {
            None
        }
        fn next_pass(&mut self) {}
        fn seek(&mut self, _: Timestamp, _: bool) {}
        fn hurry(&mut self, _: bool) {}
        fn passed_on(&mut self, _: &dyn Fn() -> bool) {}
    }

    fn command(action: Action, body: Value) -> Result<Command, String> {
        let position = Timeline::new(Nothing, TimelineOptions::new(RANGE)).position();
        action.command(&body, &position, RANGE)
    }

    #[test]
    fn bodies_become_commands() {
        let at = |seconds: f64| Ok(Command::Seek(Timestamp::from_nanos((seconds * 1e9) as u64)));
        assert_eq!(command(Action::Seek, json!({"offset": 1.5})), at(6.5));
        assert_eq!(command(Action::Seek, json!({"by": 2})), at(7.0));
        assert_eq!(command(Action::Seek, json!({"by": -2})), at(5.0));
        assert_eq!(command(Action::Seek, json!({"time": "6000000000"})), at(6.0));
        assert_eq!(command(Action::Seek, json!({"time": "1970-01-01T00:00:06Z"})), at(6.0));
        assert_eq!(command(Action::Rate, json!({"rate": 2})), Ok(Command::SetRate(Rate::new(2.0).unwrap())));
        assert_eq!(command(Action::Step, json!({})), Ok(Command::Step(1)));
        assert_eq!(command(Action::Step, json!({"count": 7})), Ok(Command::Step(7)));
        assert_eq!(command(Action::Step, json!({"count": -1})), Ok(Command::StepBack));
        assert_eq!(command(Action::Loop, json!({"loop": true})), Ok(Command::SetLoop(true)));
        assert_eq!(command(Action::Play, Value::Null), Ok(Command::Play));
    }

    #[test]
    fn what_makes_no_sense_is_explained() {
        for (action, body, word) in [
            (Action::Rate, json!({"rate": 0}), "old rate"),
            (Action::Rate, json!({"rate": -1}), "old rate"),
            (Action::Rate, json!({"rate": "fast"}), "old rate"),
            (Action::Rate, json!({}), "missing"),
            (Action::Rate, json!([]), "missing"),
            (Action::Seek, json!({}), "offset"),
            (Action::Seek, json!({"offset": 1, "by": 1}), "offset"),
            (Action::Seek, json!({"time": "soon"}), "offset"),
            (Action::Seek, json!({"time": 5}), "offset"),
            (Action::Step, json!({"count": 0}), "count"),
            (Action::Step, json!({"count": -2}), "count"),
            (Action::Step, json!({"count": "x"}), "count"),
            (Action::Loop, json!({"loop": 1}), "loop"),
        ] {
            let mistake = command(action, body).unwrap_err();
            assert!(mistake.contains(word), "{mistake}");
        }
    }
}
