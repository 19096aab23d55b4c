//! What clients say.

use super::PlaybackControlRequest;
use serde::Deserialize;
use serde::de::DeserializeOwned;

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

/// Operations that belong to capabilities which are not offered.
const NOT_OFFERED: &[&str] = &[
    "advertise",
    "unadvertise",
    "getParameters",
    "setParameters",
    "subscribeParameterUpdates",
    "unsubscribeParameterUpdates",
    "subscribeConnectionGraph",
    "unsubscribeConnectionGraph",
    "fetchAsset",
];

impl ClientMessage {
    /// Reads a text message.
    ///
    /// # Errors
    /// Where it is none that can be taken.
    pub fn parse_text(text: &str) -> Result<Self, ClientMessageError> {
        #[derive(Deserialize)]
        struct Operation {
            op: String,
        }
        #[derive(Deserialize)]
        struct Subscribe {
            subscriptions: Vec<Wanted>,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Wanted {
            id: u32,
            channel_id: u32,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Unsubscribe {
            subscription_ids: Vec<u32>,
        }

        let Operation { op } = serde_json::from_str(text)
            .map_err(|error| ClientMessageError::NotAnOperation(shortened(error.to_string())))?;
        match op.as_str() {
            "subscribe" => {
                let Subscribe { subscriptions } = fields("subscribe", text)?;
                let subscription =
                    |wanted: Wanted| Subscription { id: wanted.id, channel: ChannelId(wanted.channel_id) };
                Ok(ClientMessage::Subscribe(subscriptions.into_iter().map(subscription).collect()))
            }
            "unsubscribe" => {
                let Unsubscribe { subscription_ids } = fields("unsubscribe", text)?;
                Ok(ClientMessage::Unsubscribe(subscription_ids))
            }
            _ => Err(match NOT_OFFERED.iter().find(|name| **name == op) {
                Some(name) => ClientMessageError::NotOffered(name),
                None => ClientMessageError::UnknownOperation(shortened(op)),
            }),
        }
    }

    /// Reads a binary message.
    ///
    /// # Errors
    /// Where it is none that can be taken.
    pub fn parse_binary(bytes: &[u8]) -> Result<Self, ClientMessageError> {
        Err(match bytes.split_first() {
            Some((1, _)) => ClientMessageError::NotOffered("Client Message Data"),
            Some((2, _)) => ClientMessageError::NotOffered("Service Call Request"),
            Some((3, payload)) => {
                return PlaybackControlRequest::parse(payload).map(ClientMessage::PlaybackControl);
            }
            Some((opcode, _)) => ClientMessageError::UnknownOpcode(format!("opcode {opcode}")),
            None => ClientMessageError::UnknownOpcode("no opcode (it is empty)".into()),
        })
    }
}

fn fields<T: DeserializeOwned>(operation: &'static str, text: &str) -> Result<T, ClientMessageError> {
    serde_json::from_str(text)
        .map_err(|error| ClientMessageError::BadFields { operation, reason: shortened(error.to_string()) })
}

/// So that a client can't have its own megabytes sent back to it.
fn shortened(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(120) {
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subscriptions_are_read() {
        let text =
            r#"{"op":"subscribe","subscriptions":[{"id":0,"channelId":3},{"id":9,"channelId":0,"x":1}]}"#;
        let expected =
            [(0, 3), (9, 0)].map(|(id, channel)| Subscription { id, channel: ChannelId(channel) }).to_vec();
        assert_eq!(ClientMessage::parse_text(text), Ok(ClientMessage::Subscribe(expected)));
        let text = r#"{"subscriptionIds":[1,2],"op":"unsubscribe"}"#;
        assert_eq!(ClientMessage::parse_text(text), Ok(ClientMessage::Unsubscribe(vec![1, 2])));
    }

    #[test]
    fn what_can_not_be_taken_is_explained() {
        let error = |text: &str| ClientMessage::parse_text(text).unwrap_err();
        for text in ["", "{", "[]", "1", r#"{"op":5}"#, r#"{"subscriptions":[]}"#, "\u{0}"] {
            assert!(matches!(error(text), ClientMessageError::NotAnOperation(_)), "{text:?}");
        }
        assert_eq!(error(r#"{"op":"fly"}"#), ClientMessageError::UnknownOperation("fly".into()));
        assert_eq!(error(r#"{"op":"fetchAsset","uri":"x"}"#), ClientMessageError::NotOffered("fetchAsset"));
        for text in [
            r#"{"op":"subscribe"}"#,
            r#"{"op":"subscribe","subscriptions":[{"id":-1,"channelId":3}]}"#,
            r#"{"op":"subscribe","subscriptions":[{"id":1}]}"#,
            r#"{"op":"unsubscribe","subscriptionIds":[4294967296]}"#,
        ] {
            assert!(matches!(error(text), ClientMessageError::BadFields { .. }), "{text}");
        }
        let long = format!(r#"{{"op":"{}"}}"#, "é".repeat(1000));
        assert!(error(&long).to_string().len() < 400);
        let long = format!(r#"{{"op":"subscribe","subscriptions":"{}"}}"#, "x".repeat(1000));
        assert!(error(&long).to_string().len() < 400);
    }

    #[test]
    fn binary_messages_are_refused_by_name() {
        let error = |bytes: &[u8]| ClientMessage::parse_binary(bytes).unwrap_err().to_string();
        assert!(error(&[3, 0]).contains("Playback Control Request"));
        assert!(error(&[77]).contains("opcode 77"));
        assert!(error(&[]).contains("empty"));
    }
}
