//! What the server says as text: JSON with the field `op`.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Serialize, Serializer};

use super::{AdvertisedService, Parameter, ProvidedService, PublishedTopic, SubscribedTopic};
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
        /// The encodings in which services can be called, with [`Capability::Services`].
        #[serde(skip_serializing_if = "<[_]>::is_empty")]
        supported_encodings: &'a [&'a str],
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
    /// The values of parameters.
    ParameterValues {
        /// The parameters. One that is not set has no value.
        parameters: &'a [Parameter],
        /// The id of the request that this answers; none where they changed by themselves.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a str>,
    },
    /// Services that can be called from now on.
    AdvertiseServices {
        /// The services.
        services: &'a [AdvertisedService<'a>],
    },
    /// A service was called in vain.
    ServiceCallFailure {
        /// The id of the service, as in the request.
        service_id: u32,
        /// The id of the call, as in the request.
        call_id: u32,
        /// Why it failed.
        message: &'a str,
    },
    /// What changed in the connection graph; the first update tells everything.
    ConnectionGraphUpdate {
        /// Topics whose publishers changed, with all of their publishers.
        published_topics: &'a [PublishedTopic<'a>],
        /// Topics whose subscribers changed, with all of their subscribers.
        subscribed_topics: &'a [SubscribedTopic<'a>],
        /// Services whose providers changed, with all of their providers.
        advertised_services: &'a [ProvidedService<'a>],
        /// Topics that are gone.
        removed_topics: &'a [&'a str],
        /// Services that are gone.
        removed_services: &'a [&'a str],
    },
}

impl ServerMessage<'_> {
    /// The message as JSON.
    pub fn to_json(&self) -> String {
        // Strings, numbers, JSON values and string maps always serialise.
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
    /// Clients can get and set parameters.
    Parameters,
    /// It tells clients that ask for it when parameters change.
    ParametersSubscribe,
    /// Clients can call services.
    Services,
    /// It tells clients that ask for it who publishes and who subscribes.
    ConnectionGraph,
    /// Clients can fetch files.
    Assets,
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
mod tests;
