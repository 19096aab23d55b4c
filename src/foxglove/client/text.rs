//! Text messages: JSON with the field `op`.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{ClientMessage, ClientMessageError, Subscription};
use crate::foxglove::Parameter;
use crate::foxglove::text::shortened;
use crate::recording::ChannelId;

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

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GetParameters {
    parameter_names: Vec<String>,
    id: Option<String>,
}

#[derive(Deserialize)]
struct SetParameters {
    parameters: Vec<Parameter>,
    id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ParameterNames {
    parameter_names: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FetchAsset {
    uri: String,
    request_id: u32,
}

/// Reads a text message.
pub(super) fn parse(text: &str) -> Result<ClientMessage, ClientMessageError> {
    let Operation { op } = serde_json::from_str(text)
        .map_err(|error| ClientMessageError::NotAnOperation(shortened(&error.to_string())))?;
    Ok(match op.as_str() {
        "subscribe" => {
            let Subscribe { subscriptions } = fields("subscribe", text)?;
            let subscription =
                |wanted: Wanted| Subscription { id: wanted.id, channel: ChannelId(wanted.channel_id) };
            ClientMessage::Subscribe(subscriptions.into_iter().map(subscription).collect())
        }
        "unsubscribe" => {
            let Unsubscribe { subscription_ids } = fields("unsubscribe", text)?;
            ClientMessage::Unsubscribe(subscription_ids)
        }
        "getParameters" => {
            let GetParameters { parameter_names: names, id } = fields("getParameters", text)?;
            ClientMessage::GetParameters { names, id }
        }
        "setParameters" => {
            let SetParameters { parameters, id } = fields("setParameters", text)?;
            ClientMessage::SetParameters { parameters, id }
        }
        "subscribeParameterUpdates" => {
            let ParameterNames { parameter_names } = fields("subscribeParameterUpdates", text)?;
            ClientMessage::SubscribeParameterUpdates(parameter_names)
        }
        "unsubscribeParameterUpdates" => {
            let ParameterNames { parameter_names } = fields("unsubscribeParameterUpdates", text)?;
            ClientMessage::UnsubscribeParameterUpdates(parameter_names)
        }
        "subscribeConnectionGraph" => ClientMessage::SubscribeConnectionGraph,
        "unsubscribeConnectionGraph" => ClientMessage::UnsubscribeConnectionGraph,
        "fetchAsset" => {
            let FetchAsset { uri, request_id: request } = fields("fetchAsset", text)?;
            ClientMessage::FetchAsset { uri, request }
        }
        "advertise" => return Err(ClientMessageError::NotOffered("advertise")),
        "unadvertise" => return Err(ClientMessageError::NotOffered("unadvertise")),
        _ => return Err(ClientMessageError::UnknownOperation(shortened(&op))),
    })
}

fn fields<T: DeserializeOwned>(operation: &'static str, text: &str) -> Result<T, ClientMessageError> {
    serde_json::from_str(text)
        .map_err(|error| ClientMessageError::BadFields { operation, reason: shortened(&error.to_string()) })
}
