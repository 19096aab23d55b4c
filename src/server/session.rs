//! One client, from the end of its handshake to its last byte.

mod requests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::io::AsyncReadExt as _;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::{Interval, MissedTickBehavior, interval_at, timeout, timeout_at};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use super::frame::{self, CloseCode};
use super::hub::Guest;
use super::limits::{Allowance, Place};
use super::outbox::Outbox;
use super::socket::{self, Ear};
use super::unfinished::{Begun, TooMuch};
use super::wire::Connection;
use super::{Door, Limits, Shutdown};
use crate::foxglove::Subprotocol;

/// How much the WebSocket library may have to answer to pings that the client sends without reading, in bytes.
const UNANSWERED_LIMIT: usize = 64 * 1024;

/// What clients are told where somebody ends it.
const STOPPED: &str = "fgplay was stopped";

/// How long it takes at the most to close a connection whose client is not to get everything: what is being written,
/// the close frame, and the client's part of the handshake.
const CLOSE_TIME: Duration = Duration::from_secs(2);

/// How long a client that is to get everything may take nothing of it.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many pings a client may leave without an answer.
const PINGS: u32 = 3;

/// What a ping and its frame may have, in bytes. A client that took more took something else as well.
const PING_BYTES: u64 = 16;

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
    connection: Connection,
    first: Bytes,
    protocol: Subprotocol,
    address: SocketAddr,
    door: Door,
    place: Place,
) {
    let Door { hub, stop, alive, unfinished, .. } = door;
    let guest = hub.welcome(address, protocol);
    let since = Instant::now();
    tracing::info!(
        event = "client_connected",
        %address,
        protocol = protocol.name(),
        "client {address} connected ({})",
        protocol.name()
    );
    let limits = hub.options().limits;
    let (read, write) = connection.into_split();
    let outbox = Arc::clone(guest.outbox());
    let mut writing = tokio::spawn(socket::drain(Arc::clone(&outbox), write));
    let config = WebSocketConfig::default()
        .read_buffer_size(4 * 1024)
        .write_buffer_size(0)
        .max_write_buffer_size(UNANSWERED_LIMIT)
        .max_message_size(Some(limits.message_bytes))
        .max_frame_size(Some(limits.message_bytes));
    let begun = Begun::new(limits.message_bytes, unfinished);
    let ear = Ear::new(first, read, Arc::clone(&outbox), begun);
    let mut client = WebSocketStream::from_raw_socket(ear, Role::Server, Some(config)).await;

    let session = Session { guest: &guest, outbox: &outbox, stop: &stop, limits };
    let end = session.listen(&mut client, &mut writing).await;
    let reason = session.close(end, &mut client, &mut writing).await;
    writing.abort();
    let counts = outbox.counts();
    tracing::info!(
        event = "client_left",
        %address,
        protocol = protocol.name(),
        reason,
        sent = counts.sent,
        dropped = counts.dropped,
        undelivered = counts.undelivered,
        seconds = since.elapsed().as_secs_f64(),
        "client {address} left ({reason}): {} messages sent, {} dropped, {} not delivered",
        counts.sent,
        counts.dropped,
        counts.undelivered
    );
    guest.leaves(reason);
    drop((guest, place));
    // From here on the server no longer waits for this session.
    drop(alive);
}

struct Session<'a> {
    guest: &'a Guest,
    outbox: &'a Outbox,
    stop: &'a watch::Receiver<Shutdown>,
    limits: Limits,
}

type Writing = JoinHandle<std::io::Result<()>>;

impl Session<'_> {
    /// Takes what the client says, until there is a reason to end.
    async fn listen(&self, client: &mut WebSocketStream<Ear>, writing: &mut Writing) -> End {
        let mut stop = self.stop.clone();
        let mut allowance = Allowance::new(self.limits.messages_per_second, Instant::now());
        let mut silence = Silence::new(self.limits.ping);
        loop {
            tokio::select! {
                message = client.next() => match message {
                    Some(Ok(message)) => {
                        client.get_mut().heard(&message);
                        silence.is_over();
                        if !allowance.take(Instant::now()) {
                            let most = self.limits.messages_per_second;
                            let reason = format!("more than {most} messages a second");
                            return End::Refused(CloseCode::Policy, reason);
                        }
                        // What it asks for may take long, and it may be gone meanwhile, or read nothing.
                        let end = tokio::select! {
                            end = self.hear(message) => end,
                            written = &mut *writing => Some(broken(written)),
                            end = self.too_silent(&mut silence, Sign::Takes) => Some(end),
                            shutdown = told_to_end(&mut stop) => Some(End::Shutdown(shutdown)),
                        };
                        if let Some(end) = end {
                            return end;
                        }
                    }
                    Some(Err(error)) => return end_of(error, &self.limits),
                    None => return End::Left("it closed the connection".into()),
                },
                written = &mut *writing => return broken(written),
                end = self.too_silent(&mut silence, Sign::Answers) => return end,
                shutdown = told_to_end(&mut stop) => return End::Shutdown(shutdown),
            }
        }
    }

    /// Pings the client while it says nothing, and waits until that lasts too long.
    async fn too_silent(&self, silence: &mut Silence, sign: Sign) -> End {
        loop {
            silence.lasts().await;
            if silence.goes_on(self.outbox.written(), sign) > PINGS {
                return End::Refused(CloseCode::Policy, "it answers no pings".into());
            }
            self.outbox.push_answer(frame::ping());
        }
    }

    /// Ends the connection as the protocol has it, and says why it ended. Only a client that is to get everything may
    /// take its time; any other end takes no longer than [`CLOSE_TIME`], however little the client takes.
    async fn close(&self, end: End, client: &mut WebSocketStream<Ear>, writing: &mut Writing) -> String {
        let mut deadline = in_close_time();
        let (reason, written) = match end {
            End::Broken(reason) => {
                self.outbox.abandon();
                (reason, false)
            }
            End::Left(reason) => {
                // What the WebSocket library answered to a close frame still has to go out.
                self.hang_up(None, writing, deadline).await;
                (reason, false)
            }
            End::Shutdown(Shutdown::WhenSent { over }) => {
                let (code, reason) = if over {
                    (CloseCode::Normal, "the recording is over")
                } else {
                    (CloseCode::GoingAway, STOPPED)
                };
                self.outbox.finish(frame::close(code, reason));
                let sent = self.everything_sent(writing).await;
                deadline = in_close_time();
                let written = sent.is_ok();
                (sent.map_or_else(|why| format!("{reason}; {why}"), |()| reason.to_owned()), written)
            }
            End::Shutdown(_) => {
                let reason = STOPPED.to_owned();
                let last = frame::close(CloseCode::GoingAway, &reason);
                (reason, self.hang_up(Some(last), writing, deadline).await)
            }
            End::Refused(code, reason) => {
                let last = frame::close(code, &reason);
                (reason, self.hang_up(Some(last), writing, deadline).await)
            }
        };
        if !written {
            return reason;
        }
        // The end of what it sends says that it got everything. Without reading up to there, the system would
        // reset the connection, and what is on its way would be lost.
        let mut rest = [0; 1024];
        let over = async { while matches!(client.get_mut().read(&mut rest).await, Ok(1..)) {} };
        timeout_at(deadline, over).await.unwrap_or_default();
        reason
    }

    /// Closes the connection without the messages that wait for the client, `last` being the last frame. Says whether
    /// that was written in time.
    async fn hang_up(&self, last: Option<Bytes>, writing: &mut Writing, deadline: Deadline) -> bool {
        self.outbox.hang_up(last);
        let written = matches!(timeout_at(deadline, &mut *writing).await, Ok(Ok(Ok(()))));
        if !written {
            self.outbox.abandon();
        }
        written
    }

    /// Waits until the client took everything, or the server is told to end at once. Where it did not get
    /// everything, says why.
    async fn everything_sent(&self, writing: &mut Writing) -> Result<(), String> {
        let mut stop = self.stop.clone();
        tokio::select! {
            sent = self.sent(writing) => sent,
            () = told_to_end_now(&mut stop) => {
                self.outbox.cut_off();
                match timeout_at(in_close_time(), &mut *writing).await {
                    Ok(written) => self.taken(written),
                    Err(_) => {
                        self.outbox.give_up();
                        Err("it did not take everything in time".into())
                    }
                }
            }
        }
    }

    /// Waits until everything is written. Given up, and counted, when the client takes nothing for too long.
    async fn sent(&self, writing: &mut Writing) -> Result<(), String> {
        loop {
            let before = self.outbox.written();
            match timeout(PATIENCE, &mut *writing).await {
                Ok(written) => return self.taken(written),
                Err(_) if self.outbox.written() > before => {}
                Err(_) => {
                    self.outbox.give_up();
                    return Err(format!("it took nothing for {} s", PATIENCE.as_secs()));
                }
            }
        }
    }

    /// Whether everything was taken, now that writing is over. Who is gone does not miss what it did not take.
    fn taken(&self, written: Result<std::io::Result<()>, JoinError>) -> Result<(), String> {
        if let Ok(Ok(())) = written {
            return Ok(());
        }
        self.outbox.abandon();
        Err("the connection was lost".into())
    }
}

/// When something has to be over.
type Deadline = tokio::time::Instant;

fn in_close_time() -> Deadline {
    Deadline::now() + CLOSE_TIME
}

/// By what a client that is pinged shows that it is there.
#[derive(Clone, Copy)]
enum Sign {
    /// It answers.
    Answers,
    /// It takes the pings. What it answers can't be heard while something else that it said is carried out, and that
    /// may take as long as others want.
    Takes,
}

/// How long a client has said nothing.
struct Silence {
    beat: Option<Interval>,
    /// How many beats it lasts.
    beats: u32,
    /// How many bytes the client had taken at the last one.
    taken: u64,
}

impl Silence {
    fn new(beat: Duration) -> Self {
        let beat = (!beat.is_zero()).then(|| {
            let mut beat = interval_at(tokio::time::Instant::now() + beat, beat);
            beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
            beat
        });
        Silence { beat, beats: 0, taken: 0 }
    }

    fn is_over(&mut self) {
        self.beats = 0;
        if let Some(beat) = &mut self.beat {
            beat.reset();
        }
    }

    /// Waits until it lasts another beat.
    async fn lasts(&mut self) {
        match &mut self.beat {
            Some(beat) => drop(beat.tick().await),
            None => std::future::pending().await,
        }
    }

    /// Counts a beat, and says how many it is. One in which the client took more than a ping does not count: there
    /// may be much before the ping that it is to answer.
    fn goes_on(&mut self, taken: u64, sign: Sign) -> u32 {
        let ping = match sign {
            Sign::Answers => PING_BYTES,
            Sign::Takes => 0,
        };
        let takes = taken > self.taken + ping;
        self.taken = taken;
        self.beats = if takes { 1 } else { self.beats + 1 };
        self.beats
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

/// What follows from the end of writing.
fn broken(written: Result<std::io::Result<()>, JoinError>) -> End {
    End::Broken(match written {
        Ok(Err(error)) => format!("the connection broke: {error}"),
        _ => "the connection is closed".into(),
    })
}

/// What follows from an error of the WebSocket library.
fn end_of(error: Error, limits: &Limits) -> End {
    let reason = error.to_string();
    match error {
        Error::ConnectionClosed | Error::AlreadyClosed => End::Left("it closed the connection".into()),
        Error::Capacity(_) => {
            let reason = format!("a message is larger than {} bytes", limits.message_bytes);
            End::Refused(CloseCode::TooBig, reason)
        }
        Error::Utf8(_) => End::Refused(CloseCode::NotUtf8, "a text message is not UTF-8".into()),
        Error::WriteBufferFull(_) => {
            End::Refused(CloseCode::Policy, "too many pings without reading the answers".into())
        }
        Error::Io(error) if error.get_ref().is_some_and(|error| error.is::<TooMuch>()) => {
            End::Refused(CloseCode::Policy, error.to_string())
        }
        // The connection is gone, by the client's crash or the network.
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) | Error::Io(_) => {
            End::Left("the connection was lost".into())
        }
        Error::Protocol(_) | Error::AttackAttempt => End::Refused(CloseCode::Protocol, reason),
        _ => End::Left(reason),
    }
}
