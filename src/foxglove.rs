//! The Foxglove WebSocket protocol: typed messages to bytes and JSON, and back.
//!
//! Pure functions and plain types: no sockets, no clocks, no async. The messages are the same under both
//! names of the protocol, `foxglove.websocket.v1` (<https://github.com/foxglove/ws-protocol>, `docs/spec.md`)
//! and `foxglove.sdk.v1` (Foxglove SDK).

mod asset;
mod binary;
mod client;
mod graph;
mod parameter;
mod playback;
mod server;
mod service;
mod text;

pub use asset::{ASSET_HEADER, asset_error, asset_header};
pub use binary::{MESSAGE_DATA_HEADER, message_data_header, time};
pub use client::{ClientMessage, ClientMessageError, Subscription};
pub use graph::{ProvidedService, PublishedTopic, SubscribedTopic};
pub use parameter::Parameter;
pub use playback::{PlaybackCommand, PlaybackControlRequest, PlaybackState, PlaybackStatus};
pub use server::{AdvertisedChannel, Capability, ServerMessage, StatusLevel, WireTime};
pub use service::{AdvertisedService, ServiceCallRequest, ServiceCallResponse, ServiceMessage};
pub(crate) use text::shortened;

/// A name under which client and server agree to speak this protocol (`Sec-WebSocket-Protocol`).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Subprotocol {
    /// Open Studio, Lichtblick, `@foxglove/ws-protocol`.
    WebsocketV1,
    /// The current Foxglove app.
    SdkV1,
}

impl Subprotocol {
    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Subprotocol::WebsocketV1 => "foxglove.websocket.v1",
            Subprotocol::SdkV1 => "foxglove.sdk.v1",
        }
    }

    /// Chooses among the names that a client offers, each a `Sec-WebSocket-Protocol` header's value (a list
    /// with commas). The newer one wins where both are offered.
    pub fn choose<'a>(offers: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let (mut websocket, mut sdk) = (false, false);
        for name in offers.into_iter().flat_map(|offer| offer.split(',')).map(str::trim) {
            websocket |= name == Subprotocol::WebsocketV1.name();
            sdk |= name == Subprotocol::SdkV1.name();
        }
        match (sdk, websocket) {
            (true, _) => Some(Subprotocol::SdkV1),
            (false, true) => Some(Subprotocol::WebsocketV1),
            (false, false) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newer_subprotocol_wins() {
        assert_eq!(Subprotocol::choose(["foxglove.websocket.v1"]), Some(Subprotocol::WebsocketV1));
        let both = Subprotocol::choose(["foxglove.websocket.v1 , foxglove.sdk.v1"]);
        assert_eq!(both, Some(Subprotocol::SdkV1));
        assert_eq!(Subprotocol::choose(["chat", "foxglove.sdk.v1"]), Some(Subprotocol::SdkV1));
        assert_eq!(Subprotocol::choose(["chat", "foxglove.sdk.v10"]), None);
        assert_eq!(Subprotocol::choose([]), None);
    }
}
