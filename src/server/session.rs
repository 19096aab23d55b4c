//! One client, from the end of its handshake to its last byte.

mod requests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use super::frame::{self, CloseCode};
use super::hub::Guest;
use super::outbox::Outbox;
use super::socket::{self, Ear};
use super::{Door, Shutdown};
use crate::foxglove::Subprotocol;

/// The largest message that is taken from a client, in bytes. Thousands of subscriptions fit.
const MESSAGE_LIMIT: usize = 4 * 1024 * 1024;

/// How much the WebSocket library may have to answer to pings that the client sends without reading, in bytes.
const UNANSWERED_LIMIT: usize = 64 * 1024;

/// How long a client may take for its part of the close handshake.
const CLOSE_TIME: Duration = Duration::from_secs(2);

/// How long a client that is to get everything may take nothing of it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why a session ends.
enum End {
    /// The client closed the connection.
    Left(String),
    /// The connection broke, so that nothing can be written to it.
    Broken(String),
    /// The client did something that can't be answered in any other way.
    Refused(CloseCode, String),
    /// The server ends.
    Shutdown(Shutdown),
}

/// Serves one client until it leaves or the server ends.
pub(super) async fn run(
    socket: TcpStream,
    first: Bytes,
    protocol: Subprotocol,
    address: SocketAddr,
    door: Door,
) {
    let Door { hub, stop, alive, .. } = door;
    let guest = hub.welcome(address, protocol);
    tracing::info!("client {address} connected ({})", protocol.name());
    let (read, write) = socket.into_split();
    let outbox = Arc::clone(guest.outbox());
    let mut writing = tokio::spawn(socket::drain(Arc::clone(&outbox), write));
    let config = WebSocketConfig::default()
        .read_buffer_size(4 * 1024)
        .write_buffer_size(0)
        .max_write_buffer_size(UNANSWERED_LIMIT)
        .max_message_size(Some(MESSAGE_LIMIT))
        .max_frame_size(Some(MESSAGE_LIMIT));
    let ear = Ear::new(first, read, Arc::clone(&outbox));
    let mut client = WebSocketStream::from_raw_socket(ear, Role::Server, Some(config)).await;

    let session = Session { guest: &guest, outbox: &outbox, stop: &stop };
    let end = session.listen(&mut client, &mut writing).await;
    let reason = session.close(end, &mut client, &mut writing).await;
    writing.abort();
    let counts = outbox.counts();
    tracing::info!(
        "client {address} left ({reason}): {} messages sent, {} not",
        counts.sent,
        counts.dropped + counts.undelivered
    );
    guest.leaves(reason);
    drop(guest);
    // From here on the server no longer waits for this session.
    drop(alive);
}

struct Session<'a> {
    guest: &'a Guest,
    outbox: &'a Outbox,
    stop: &'a watch::Receiver<Shutdown>,
}

type Writing = JoinHandle<std::io::Result<()>>;

impl Session<'_> {
    /// Takes what the client says, until there is a reason to end.
    async fn listen(&self, client: &mut WebSocketStream<Ear>, writing: &mut Writing) -> End {
        let mut stop = self.stop.clone();
        loop {
            tokio::select! {
                message = client.next() => match message {
                    Some(Ok(message)) => if let Some(end) = self.hear(message).await {
                        return end;
                    },
                    Some(Err(error)) => return end_of(error),
                    None => return End::Left("it closed the connection".into()),
                },
                written = &mut *writing => return End::Broken(match written {
                    Ok(Err(error)) => format!("the connection broke: {error}"),
                    _ => "the connection is closed".into(),
                }),
                shutdown = told_to_end(&mut stop) => return End::Shutdown(shutdown),
            }
        }
    }

    /// Ends the connection as the protocol has it, within bounded time, and says why it ended.
    async fn close(&self, end: End, client: &mut WebSocketStream<Ear>, writing: &mut Writing) -> String {
        let reason = match end {
            End::Broken(reason) => {
                self.outbox.hang_up(None);
                return reason;
            }
            End::Left(reason) => {
                // What the WebSocket library answered to a close frame still has to go out.
                self.outbox.hang_up(None);
                self.sent(writing, CLOSE_TIME).await;
                return reason;
            }
            End::Shutdown(Shutdown::WhenSent) => {
                let reason = "the recording is over";
                self.outbox.finish(frame::close(CloseCode::Normal, reason));
                if !self.everything_sent(writing).await {
                    return format!("{reason}; it took nothing for {} s", PATIENCE.as_secs());
                }
                reason.to_owned()
            }
            End::Shutdown(_) => {
                self.hang_up(CloseCode::GoingAway, "fgplay was stopped".into(), writing).await
            }
            End::Refused(code, reason) => self.hang_up(code, reason, writing).await,
        };
        // The end of what it sends says that it got everything. Without reading up to there, the system would
        // reset the connection, and what is on its way would be lost.
        let mut rest = [0; 1024];
        let over = async { while matches!(client.get_mut().read(&mut rest).await, Ok(1..)) {} };
        timeout(CLOSE_TIME, over).await.unwrap_or_default();
        reason
    }

    /// Closes the connection without what waits for the client.
    async fn hang_up(&self, code: CloseCode, reason: String, writing: &mut Writing) -> String {
        self.outbox.hang_up(Some(frame::close(code, &reason)));
        self.sent(writing, CLOSE_TIME).await;
        reason
    }

    /// Waits until the client took everything, or the server is told to end at once. Given up where it takes
    /// nothing for too long.
    async fn everything_sent(&self, writing: &mut Writing) -> bool {
        let mut stop = self.stop.clone();
        tokio::select! {
            sent = self.sent(writing, PATIENCE) => sent,
            () = told_to_end_now(&mut stop) => {
                self.outbox.hang_up(None);
                self.sent(writing, CLOSE_TIME).await
            }
        }
    }

    /// Waits until everything is written. Given up, and counted, when the client takes nothing for so long.
    async fn sent(&self, writing: &mut Writing, patience: Duration) -> bool {
        loop {
            let before = self.outbox.written();
            match timeout(patience, &mut *writing).await {
                Ok(Ok(Ok(()))) => return true,
                Err(_) if self.outbox.written() > before => {}
                _ => {
                    self.outbox.give_up();
                    return false;
                }
            }
        }
    }
}

/// Waits until the server ends without waiting for anybody.
async fn told_to_end_now(stop: &mut watch::Receiver<Shutdown>) {
    stop.wait_for(|shutdown| *shutdown == Shutdown::Now).await.map(drop).unwrap_or_default();
}

/// Waits until the server ends.
async fn told_to_end(stop: &mut watch::Receiver<Shutdown>) -> Shutdown {
    let shutdown = stop.wait_for(|shutdown| *shutdown != Shutdown::No).await;
    shutdown.map_or(Shutdown::Now, |shutdown| *shutdown)
}

/// What follows from an error of the WebSocket library.
fn end_of(error: Error) -> End {
    let reason = error.to_string();
    match error {
        Error::ConnectionClosed | Error::AlreadyClosed => End::Left("it closed the connection".into()),
        Error::Capacity(_) => {
            let reason = format!("a message is larger than {MESSAGE_LIMIT} bytes");
            End::Refused(CloseCode::TooBig, reason)
        }
        Error::Utf8(_) => End::Refused(CloseCode::NotUtf8, "a text message is not UTF-8".into()),
        Error::WriteBufferFull(_) => {
            End::Refused(CloseCode::Policy, "too many pings without reading the answers".into())
        }
        // The connection is gone, by the client's crash or the network.
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) | Error::Io(_) => {
            End::Left("the connection was lost".into())
        }
        Error::Protocol(_) | Error::AttackAttempt => End::Refused(CloseCode::Protocol, reason),
        _ => End::Left(reason),
    }
}
