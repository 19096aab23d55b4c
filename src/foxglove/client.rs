//! What clients say.

mod text;

use super::{Parameter, PlaybackControlRequest, ServiceCallRequest};
use crate::recording::ChannelId;

/// A message from a client, as far as this server takes it.
#[derive(Clone, Debug, PartialEq)]
pub enum ClientMessage {
    /// Send the messages of these channels from now on.
    Subscribe(Vec<Subscription>),
    /// Send no more messages for these subscription ids.
    Unsubscribe(Vec<u32>),
    /// Play, pause, seek, or change the speed.
    PlaybackControl(PlaybackControlRequest),
    /// Tell the values of parameters.
    GetParameters {
        /// The names of the parameters; empty for all of them.
        names: Vec<String>,
        /// Comes back with the values.
        id: Option<String>,
    },
    /// Set parameters, or unset those without a value.
    SetParameters {
        /// The parameters.
        parameters: Vec<Parameter>,
        /// Comes back with the new values; without one, none are asked for.
        id: Option<String>,
    },
    /// Tell the values of these parameters whenever they change.
    SubscribeParameterUpdates(Vec<String>),
    /// Tell the values of these parameters no more.
    UnsubscribeParameterUpdates(Vec<String>),
    /// Call a service.
    ServiceCall(ServiceCallRequest),
    /// Tell who publishes, subscribes and provides services, now and whenever it changes.
    SubscribeConnectionGraph,
    /// Tell so no more.
    UnsubscribeConnectionGraph,
    /// Send a file.
    FetchAsset {
        /// The file, such as `package://robot/meshes/arm.stl`.
        uri: String,
        /// The client's own choice; comes back with the answer.
        request: u32,
    },
}

/// One subscription in a `subscribe` message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Subscription {
    /// The client's own choice; comes back with every message.
    pub id: u32,
    /// The channel, as it was advertised.
    pub channel: ChannelId,
}

/// Why a client's message can't be taken, in words for whoever wrote the client.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ClientMessageError {
    /// It is no JSON object with `op`.
    #[error("a text message has to be a JSON object with a string \"op\": {0}")]
    NotAnOperation(String),
    /// The protocol has no such operation.
    #[error("there is no operation '{0}' in the Foxglove WebSocket protocol")]
    UnknownOperation(String),
    /// The protocol has it, but this server did not offer it.
    #[error(
        "this server does not offer what '{0}' asks for; `capabilities` in serverInfo names what it offers"
    )]
    NotOffered(&'static str),
    /// The operation's fields are not what they should be.
    #[error("'{operation}' can't be read: {reason}")]
    BadFields {
        /// The operation.
        operation: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A binary message that is empty or has an unknown opcode.
    #[error("there is no binary message with {0} in the Foxglove WebSocket protocol")]
    UnknownOpcode(String),
}

impl ClientMessage {
    /// Reads a text message.
    ///
    /// # Errors
    /// Where it is none that can be taken.
    pub fn parse_text(text: &str) -> Result<Self, ClientMessageError> {
        text::parse(text)
    }

    /// Reads a binary message.
    ///
    /// # Errors
    /// Where it is none that can be taken.
    pub fn parse_binary(bytes: &[u8]) -> Result<Self, ClientMessageError> {
        Err(match bytes.split_first() {
            Some((1, _)) => ClientMessageError::NotOffered("Client Message Data"),
            Some((2, payload)) => return ServiceCallRequest::parse(payload).map(ClientMessage::ServiceCall),
            Some((3, payload)) => {
                return PlaybackControlRequest::parse(payload).map(ClientMessage::PlaybackControl);
            }
            Some((opcode, _)) => ClientMessageError::UnknownOpcode(format!("opcode {opcode}")),
            None => ClientMessageError::UnknownOpcode("no opcode (it is empty)".into()),
        })
    }

    /// The protocol's name for what is asked.
    pub fn operation(&self) -> &'static str {
        match self {
            ClientMessage::Subscribe(_) => "subscribe",
            ClientMessage::Unsubscribe(_) => "unsubscribe",
            ClientMessage::PlaybackControl(_) => "Playback Control Request",
            ClientMessage::GetParameters { .. } => "getParameters",
            ClientMessage::SetParameters { .. } => "setParameters",
            ClientMessage::SubscribeParameterUpdates(_) => "subscribeParameterUpdates",
            ClientMessage::UnsubscribeParameterUpdates(_) => "unsubscribeParameterUpdates",
            ClientMessage::ServiceCall(_) => "Service Call Request",
            ClientMessage::SubscribeConnectionGraph => "subscribeConnectionGraph",
            ClientMessage::UnsubscribeConnectionGraph => "unsubscribeConnectionGraph",
            ClientMessage::FetchAsset { .. } => "fetchAsset",
        }
    }
}

#[cfg(test)]
mod tests;
