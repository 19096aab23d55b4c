//! What the server says as text: JSON with the field `op`.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Serialize, Serializer};

use crate::recording::{Channel, ChannelId, Schema};
use crate::time::Timestamp;

/// A message from the server, as text.
#[derive(Debug, Serialize)]
#[serde(tag = "op", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum ServerMessage<'a> {
    /// The first message of a connection.
    ServerInfo {
        /// What the user sees as the name of the source.
        name: &'a str,
        /// What the server can do beyond sending messages.
        capabilities: &'a [Capability],
        /// Notes to the client, such as `ROS_DISTRO`.
        metadata: &'a BTreeMap<String, String>,
        /// Changes when the client should forget what it knows.
        session_id: &'a str,
        /// The earliest time that can be played, with [`Capability::PlaybackControl`].
        #[serde(skip_serializing_if = "Option::is_none")]
        data_start_time: Option<WireTime>,
        /// The latest time that can be played, with [`Capability::PlaybackControl`].
        #[serde(skip_serializing_if = "Option::is_none")]
        data_end_time: Option<WireTime>,
    },
    /// Channels that can be subscribed to from now on.
    Advertise {
        /// The channels.
        channels: &'a [AdvertisedChannel<'a>],
    },
    /// Something for the user to read.
    Status {
        /// How bad it is.
        level: StatusLevel,
        /// The text.
        message: &'a str,
        /// A newer status with the same id replaces the older.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a str>,
    },
    /// Statuses that no longer hold.
    RemoveStatus {
        /// The ids of the statuses, at least one.
        status_ids: &'a [&'a str],
    },
}

impl ServerMessage<'_> {
    /// The message as JSON.
    pub fn to_json(&self) -> String {
        // Strings, numbers and string maps always serialise.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// What a server can do beyond sending messages.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Capability {
    /// It sends Time messages.
    Time,
    /// It takes Playback Control Requests.
    PlaybackControl,
}

/// A time in JSON.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub struct WireTime {
    sec: u32,
    nsec: u32,
}

impl From<Timestamp> for WireTime {
    /// Times after 2106 do not fit, and become the last one that does.
    fn from(time: Timestamp) -> Self {
        let sec = u32::try_from(time.as_nanos() / 1_000_000_000);
        WireTime { sec: sec.unwrap_or(u32::MAX), nsec: (time.as_nanos() % 1_000_000_000) as u32 }
    }
}

/// How bad a status is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StatusLevel {
    /// Good to know.
    Info,
    /// Something is not as it should be.
    Warning,
    /// Something failed.
    Error,
}

impl Serialize for StatusLevel {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(match self {
            StatusLevel::Info => 0,
            StatusLevel::Warning => 1,
            StatusLevel::Error => 2,
        })
    }
}

/// A channel as it is advertised.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AdvertisedChannel<'a> {
    id: u32,
    topic: &'a str,
    encoding: &'a str,
    schema_name: &'a str,
    schema: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    schema_encoding: &'a str,
}

impl<'a> AdvertisedChannel<'a> {
    /// A recorded channel as it is advertised.
    pub fn new(id: ChannelId, channel: &'a Channel) -> Self {
        AdvertisedChannel {
            id: id.0,
            topic: &channel.topic,
            encoding: &channel.message_encoding,
            schema_name: channel.schema_name(),
            schema: channel.schema.as_deref().map(schema_text).unwrap_or_default(),
            schema_encoding: channel.schema.as_deref().map_or("", |schema| &schema.encoding),
        }
    }
}

/// A schema as it goes into JSON: binary ones as base64, the others as text. Of an encoding that is not
/// known, what is valid UTF-8 counts as text.
fn schema_text(schema: &Schema) -> String {
    match schema.encoding.as_str() {
        "protobuf" | "flatbuffer" => BASE64.encode(&schema.data),
        "jsonschema" | "ros1msg" | "ros2msg" | "ros2idl" | "omgidl" => {
            String::from_utf8_lossy(&schema.data).into_owned()
        }
        _ => match std::str::from_utf8(&schema.data) {
            Ok(text) => text.to_owned(),
            Err(_) => BASE64.encode(&schema.data),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn channel(encoding: &str, schema_encoding: &str, data: &'static [u8]) -> Channel {
        let schema = Schema { name: "pkg.T".into(), encoding: schema_encoding.into(), data: data.into() };
        Channel {
            topic: "/t".into(),
            message_encoding: encoding.into(),
            schema: Some(Arc::new(schema)),
            ..Channel::default()
        }
    }

    #[test]
    fn server_info_is_what_the_protocol_says() {
        let metadata = BTreeMap::from([("ROS_DISTRO".to_owned(), "humble".to_owned())]);
        let info = ServerMessage::ServerInfo {
            name: "run.mcap",
            capabilities: &[Capability::Time],
            metadata: &metadata,
            session_id: "5",
            data_start_time: None,
            data_end_time: None,
        };
        assert_eq!(
            info.to_json(),
            r#"{"op":"serverInfo","name":"run.mcap","capabilities":["time"],"metadata":{"ROS_DISTRO":"humble"},"sessionId":"5"}"#
        );
        let info = ServerMessage::ServerInfo {
            name: "",
            capabilities: &[Capability::Time, Capability::PlaybackControl],
            metadata: &BTreeMap::new(),
            session_id: "5",
            data_start_time: Some(Timestamp::from_nanos(1_000_000_002).into()),
            data_end_time: Some(Timestamp::MAX.into()),
        };
        assert_eq!(
            info.to_json(),
            r#"{"op":"serverInfo","name":"","capabilities":["time","playbackControl"],"metadata":{},"sessionId":"5","dataStartTime":{"sec":1,"nsec":2},"dataEndTime":{"sec":4294967295,"nsec":709551615}}"#
        );
    }

    #[test]
    fn statuses_have_numbers_for_levels() {
        let status = ServerMessage::Status { level: StatusLevel::Error, message: "no \"x\"", id: None };
        assert_eq!(status.to_json(), r#"{"op":"status","level":2,"message":"no \"x\""}"#);
        let status = ServerMessage::Status { level: StatusLevel::Info, message: "", id: Some("a") };
        assert_eq!(status.to_json(), r#"{"op":"status","level":0,"message":"","id":"a"}"#);
        let gone = ServerMessage::RemoveStatus { status_ids: &["a"] };
        assert_eq!(gone.to_json(), r#"{"op":"removeStatus","statusIds":["a"]}"#);
    }

    #[test]
    fn binary_schemas_go_as_base64_and_the_others_as_text() {
        let text = |encoding: &str, data: &'static [u8]| {
            schema_text(channel("x", encoding, data).schema.as_deref().unwrap())
        };
        assert_eq!(text("protobuf", b"abc"), "YWJj");
        assert_eq!(text("flatbuffer", b"abc"), "YWJj");
        assert_eq!(text("ros2msg", b"int32 x"), "int32 x");
        assert_eq!(text("own", b"int32 x"), "int32 x");
        assert_eq!(text("own", b"\xff"), "/w==");
    }

    #[test]
    fn a_channel_without_schema_is_advertised_with_an_empty_one() {
        let with = channel("cdr", "ros2msg", b"int32 x");
        let without = Channel { schema: None, ..channel("json", "", b"") };
        let channels =
            [AdvertisedChannel::new(ChannelId(1), &with), AdvertisedChannel::new(ChannelId(2), &without)];
        assert_eq!(
            ServerMessage::Advertise { channels: &channels }.to_json(),
            concat!(
                r#"{"op":"advertise","channels":["#,
                r#"{"id":1,"topic":"/t","encoding":"cdr","schemaName":"pkg.T","schema":"int32 x","schemaEncoding":"ros2msg"},"#,
                r#"{"id":2,"topic":"/t","encoding":"json","schemaName":"","schema":""}]}"#
            )
        );
    }
}
