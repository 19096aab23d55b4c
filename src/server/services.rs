//! Playback as services, with the names and fields that rosbag2's player has
//! (<https://github.com/ros2/rosbag2>, `rosbag2_interfaces/srv`), in JSON.

use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::parameters::{self, is_paused};
use crate::foxglove::{AdvertisedService, ServiceMessage, shortened};
use crate::playback::{Command, Position, Range, Rate};
use crate::time::Timestamp;

/// The encoding of what services take and answer.
pub(super) const ENCODING: &str = "json";

/// A service.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Service {
    Pause,
    Resume,
    TogglePaused,
    IsPaused,
    SetRate,
    GetRate,
    Seek,
    PlayNext,
    Burst,
    Stop,
    Play,
}

const EMPTY: &str = r#"{"type":"object","properties":{}}"#;
const SUCCESS: &str = r#"{"type":"object","properties":{"success":{"type":"boolean"}}}"#;
const RATE: &str = r#"{"type":"object","properties":{"rate":{"type":"number"}}}"#;
const PAUSED: &str = r#"{"type":"object","properties":{"paused":{"type":"boolean"}}}"#;
const SEEK: &str = r#"{"type":"object","properties":{"time":{"type":"object","properties":{"sec":{"type":"integer"},"nanosec":{"type":"integer"}}},"offset":{"type":"number"}}}"#;
const PLAY: &str = r#"{"type":"object","properties":{"start_offset":{"type":"object","properties":{"sec":{"type":"integer"},"nanosec":{"type":"integer"}}}}}"#;
const BURST: &str = r#"{"type":"object","properties":{"num_messages":{"type":"integer"}}}"#;
const BURST_DONE: &str = r#"{"type":"object","properties":{"actually_burst":{"type":"integer"}}}"#;

impl Service {
    const ALL: [Service; 11] = [
        Service::Pause,
        Service::Resume,
        Service::TogglePaused,
        Service::IsPaused,
        Service::SetRate,
        Service::GetRate,
        Service::Seek,
        Service::PlayNext,
        Service::Burst,
        Service::Stop,
        Service::Play,
    ];

    /// Its name, its type in rosbag2, and the schemas of its request and its response.
    const fn description(self) -> [&'static str; 4] {
        match self {
            Service::Pause => ["/fgplay/pause", "Pause", EMPTY, EMPTY],
            Service::Resume => ["/fgplay/resume", "Resume", EMPTY, EMPTY],
            Service::TogglePaused => ["/fgplay/toggle_paused", "TogglePaused", EMPTY, EMPTY],
            Service::IsPaused => ["/fgplay/is_paused", "IsPaused", EMPTY, PAUSED],
            Service::SetRate => ["/fgplay/set_rate", "SetRate", RATE, SUCCESS],
            Service::GetRate => ["/fgplay/get_rate", "GetRate", EMPTY, RATE],
            Service::Seek => ["/fgplay/seek", "Seek", SEEK, SUCCESS],
            Service::PlayNext => ["/fgplay/play_next", "PlayNext", EMPTY, SUCCESS],
            Service::Burst => ["/fgplay/burst", "Burst", BURST, BURST_DONE],
            Service::Stop => ["/fgplay/stop", "Stop", EMPTY, EMPTY],
            Service::Play => ["/fgplay/play", "Play", PLAY, SUCCESS],
        }
    }

    /// The service's name.
    pub const fn name(self) -> &'static str {
        self.description()[0]
    }

    /// The service of this id.
    pub fn with_id(id: u32) -> Option<Self> {
        Self::ALL.get(usize::try_from(id).ok()?.checked_sub(1)?).copied()
    }

    /// What a call asks of the timeline, or what is wrong with it.
    pub fn commands(self, request: &[u8], range: Range) -> Result<Vec<Command>, String> {
        #[derive(Deserialize)]
        struct Nothing {}
        #[derive(Deserialize)]
        struct SetRate {
            rate: f64,
        }
        #[derive(Deserialize)]
        struct Seek {
            time: Option<RosTime>,
            offset: Option<f64>,
        }
        #[derive(Deserialize)]
        struct Burst {
            num_messages: u64,
        }
        #[derive(Deserialize)]
        struct Play {
            #[serde(default)]
            start_offset: RosTime,
            #[serde(default)]
            playback_duration: Value,
            #[serde(default)]
            playback_until_timestamp: Value,
        }
        Ok(match self {
            Service::SetRate => {
                let SetRate { rate } = read(request)?;
                let kept = |error| format!("the old rate is kept: {error}");
                vec![Command::SetRate(Rate::asked(rate).map_err(|error| kept(error.to_string()))?)]
            }
            Service::Seek => vec![match read(request)? {
                Seek { time: Some(time), offset: None } => Command::Seek(time.timestamp()),
                Seek { time: None, offset: Some(offset) } => parameters::seek(range, offset),
                _ => {
                    return Err("it takes either \"time\" (sec and nanosec since 1970) or \"offset\" \
                                (seconds since the start)"
                        .into());
                }
            }],
            Service::Burst => {
                let Burst { num_messages } = read(request)?;
                vec![Command::Step(num_messages)]
            }
            Service::Play => {
                let Play { start_offset, playback_duration, playback_until_timestamp } = read(request)?;
                if [playback_duration, playback_until_timestamp].iter().any(is_set) {
                    return Err("where playback ends is said at the start of fgplay \
                                (--playback-duration, --playback-until-sec)"
                        .into());
                }
                let start = range.start.saturating_add(start_offset.offset());
                vec![Command::Seek(start), Command::Play]
            }
            plain => {
                let Nothing {} = read(request)?;
                match plain {
                    Service::Pause => vec![Command::Pause],
                    Service::Resume => vec![Command::Play],
                    Service::TogglePaused => vec![Command::Toggle],
                    Service::PlayNext => vec![Command::Step(1)],
                    Service::Stop => vec![Command::Stop],
                    _ => Vec::new(),
                }
            }
        })
    }

    /// What a call is answered with, once its commands are carried out.
    pub fn response(self, position: &Position) -> Value {
        match self {
            Service::Pause | Service::Resume | Service::TogglePaused | Service::Stop => json!({}),
            Service::IsPaused => json!({"paused": is_paused(position)}),
            Service::GetRate => json!({"rate": position.rate.factor()}),
            Service::SetRate | Service::Seek | Service::Play => json!({"success": true}),
            Service::PlayNext => json!({"success": position.stepped > 0}),
            Service::Burst => json!({"actually_burst": position.stepped}),
        }
    }
}

/// All services, as they are advertised. The types are built once, so that the messages can refer to them.
pub(super) fn with_advertised<T>(tell: impl FnOnce(&[AdvertisedService<'_>]) -> T) -> T {
    let types = Service::ALL.map(|service| format!("rosbag2_interfaces/srv/{}", service.description()[1]));
    let names = types.each_ref().map(|name| [format!("{name}_Request"), format!("{name}_Response")]);
    let message = |schema_name, schema| ServiceMessage {
        encoding: ENCODING,
        schema_name,
        schema_encoding: "jsonschema",
        schema,
    };
    let advertised = (1..).zip(Service::ALL).zip(types.iter().zip(&names));
    let services: Vec<_> = advertised
        .map(|((id, service), (service_type, [request, response]))| {
            let [name, _, request_schema, response_schema] = service.description();
            AdvertisedService {
                id,
                name,
                service_type,
                request: message(request, request_schema),
                response: message(response, response_schema),
            }
        })
        .collect();
    tell(&services)
}

/// The names of all services.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    Service::ALL.into_iter().map(Service::name)
}

/// `builtin_interfaces/Time` of ROS 2.
#[derive(Clone, Copy, Default, Deserialize)]
struct RosTime {
    #[serde(default)]
    sec: u64,
    #[serde(default, alias = "nsec")]
    nanosec: u32,
}

impl RosTime {
    fn offset(self) -> Duration {
        Duration::from_secs(self.sec).saturating_add(Duration::from_nanos(self.nanosec.into()))
    }

    fn timestamp(self) -> Timestamp {
        Timestamp::MIN.saturating_add(self.offset())
    }
}

/// Whether a field that is not taken says something: rosbag2's clients send zeros for what they leave open.
fn is_set(field: &Value) -> bool {
    match field {
        Value::Null => false,
        Value::Number(number) => number.as_f64() > Some(0.0),
        Value::Object(fields) => fields.values().any(is_set),
        _ => true,
    }
}

/// A request's fields. An empty payload counts as an empty object.
fn read<T: DeserializeOwned>(request: &[u8]) -> Result<T, String> {
    let request = if request.is_empty() { &b"{}"[..] } else { request };
    serde_json::from_slice(request)
        .map_err(|error| format!("the request can't be read as JSON: {}", shortened(&error.to_string())))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANGE: Range =
        Range { start: Timestamp::from_nanos(5_000_000_000), end: Timestamp::from_nanos(9_000_000_000) };

    #[test]
    fn calls_become_commands() {
        let commands = |service: Service, request: &str| service.commands(request.as_bytes(), RANGE).unwrap();
        let at = |seconds: f64| Command::Seek(Timestamp::from_nanos((seconds * 1e9) as u64));
        assert_eq!(commands(Service::Pause, ""), [Command::Pause]);
        assert_eq!(commands(Service::Resume, "{}"), [Command::Play]);
        assert_eq!(
            commands(Service::TogglePaused, r#"{"structure_needs_at_least_one_member":0}"#),
            [Command::Toggle]
        );
        assert_eq!(commands(Service::IsPaused, "{}"), []);
        assert_eq!(
            commands(Service::SetRate, r#"{"rate":0.5}"#),
            [Command::SetRate(Rate::new(0.5).unwrap())]
        );
        assert_eq!(commands(Service::Seek, r#"{"time":{"sec":7,"nanosec":500000000}}"#), [at(7.5)]);
        assert_eq!(commands(Service::Seek, r#"{"offset":1}"#), [at(6.0)]);
        assert_eq!(commands(Service::Burst, r#"{"num_messages":9}"#), [Command::Step(9)]);
        assert_eq!(commands(Service::PlayNext, "{}"), [Command::Step(1)]);
        assert_eq!(commands(Service::Play, "{}"), [at(5.0), Command::Play]);
        let zeros = r#"{"start_offset":{"sec":2},"playback_duration":{"sec":0,"nanosec":0},"playback_until_timestamp":{"sec":0}}"#;
        assert_eq!(commands(Service::Play, zeros), [at(7.0), Command::Play]);
    }

    #[test]
    fn a_call_that_can_not_be_read_is_explained() {
        for (service, request, word) in [
            (Service::Pause, "[", "JSON"),
            (Service::Pause, "7", "JSON"),
            (Service::SetRate, "{}", "rate"),
            (Service::SetRate, r#"{"rate":0}"#, "old rate"),
            (Service::SetRate, r#"{"rate":-1}"#, "old rate"),
            (Service::Seek, "{}", "offset"),
            (Service::Seek, r#"{"time":{"sec":-1}}"#, "JSON"),
            (Service::Burst, r#"{"num_messages":-1}"#, "JSON"),
            (Service::Play, r#"{"playback_duration":{"sec":1}}"#, "--playback-duration"),
            (Service::Burst, "\u{0}", "JSON"),
        ] {
            let mistake = service.commands(request.as_bytes(), RANGE).unwrap_err();
            assert!(mistake.contains(word), "{mistake}");
        }
    }

    #[test]
    fn services_are_found_by_the_id_under_which_they_are_advertised() {
        with_advertised(|services| {
            assert_eq!(services.len(), Service::ALL.len());
            for advertised in services {
                assert_eq!(Service::with_id(advertised.id).unwrap().name(), advertised.name);
                for message in [&advertised.request, &advertised.response] {
                    let schema: Value = serde_json::from_str(message.schema).unwrap();
                    assert_eq!(schema["type"], "object");
                }
            }
        });
        assert_eq!(Service::with_id(0), None);
        assert_eq!(Service::with_id(12), None);
        assert_eq!(Service::with_id(u32::MAX), None);
    }
}
