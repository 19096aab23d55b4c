//! The connection graph: who publishes, subscribes and provides services.

use serde::Serialize;

/// A topic and who publishes on it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PublishedTopic<'a> {
    /// The topic.
    pub name: &'a str,
    /// The names of the publishers.
    pub publisher_ids: Vec<&'a str>,
}

/// A topic and who is subscribed to it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SubscribedTopic<'a> {
    /// The topic.
    pub name: &'a str,
    /// The names of the subscribers.
    pub subscriber_ids: Vec<&'a str>,
}

/// A service and who provides it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProvidedService<'a> {
    /// The service.
    pub name: &'a str,
    /// The names of its providers.
    pub provider_ids: Vec<&'a str>,
}
