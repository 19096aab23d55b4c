//! What happens, told to whoever runs the server.

use std::net::SocketAddr;

use tokio::sync::broadcast;

use crate::recording::ChannelId;
use crate::time::Timestamp;

/// How many happenings are kept for a listener that is behind.
const KEPT: usize = 4096;

/// Something that happened.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Happening {
    /// A client has connected.
    Came {
        /// Its number, counted from 0.
        client: u64,
        /// Where from.
        address: SocketAddr,
    },
    /// A client is gone.
    Left {
        /// Its number.
        client: u64,
        /// Why, in words.
        reason: String,
    },
    /// A channel got its first subscriber.
    Subscribed(ChannelId),
    /// A channel lost its last subscriber.
    Unsubscribed(ChannelId),
    /// Time went to another place.
    Jumped(Timestamp),
    /// A pass is over, and another one begins.
    Looped,
    /// The last pass is over.
    Ended,
}

/// Tells what happens to all who listen.
#[derive(Clone, Debug)]
pub(super) struct Happenings(broadcast::Sender<Happening>);

impl Happenings {
    pub fn new() -> Self {
        Happenings(broadcast::Sender::new(KEPT))
    }

    pub fn tell(&self, happening: Happening) {
        // It may be that nobody listens.
        self.0.send(happening).map(drop).unwrap_or_default();
    }

    pub fn listen(&self) -> broadcast::Receiver<Happening> {
        self.0.subscribe()
    }
}
