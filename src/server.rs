//! The sockets: who connects, what they are told, and what they get.
//!
//! One listener takes every connection. HTTP is answered in `http`; an upgrade to WebSocket, on any path,
//! becomes a `session`, which the `hub` knows. What waits for a client is in its `outbox`.
//! `assets` finds the files that clients fetch.

mod accept;
mod access;
mod assets;
mod budget;
mod catalog;
mod complaint;
mod control;
mod courtesy;
mod frame;
#[cfg(fuzzing)]
pub mod fuzzing;
mod graph;
mod happenings;
mod held;
mod http;
mod hub;
mod latest;
mod limits;
mod links;
mod listen;
#[doc(hidden)]
pub mod measuring;
mod outbox;
mod parameters;
mod records;
mod services;
mod session;
mod show;
mod socket;
mod tls;
mod unfinished;
mod wire;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use std::time::Instant;

use tokio::net::TcpListener;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinHandle;

pub use access::{Access, EmptyToken, Origins, Token};
pub use assets::{AssetError, Assets, Attachments};
pub use happenings::Happening;
pub use hub::{Presence, Traffic};
pub use limits::Limits;
pub use links::{Links, ws_url};
pub use listen::{Reserved, listen, reserve};
pub use outbox::{Lateness, Tally};
pub use records::{ClientRecord, Records};
pub use show::{Playing, Stage, Visits};
pub use tls::{Tls, TlsError};

use crate::playback::{Position, Range, Rate, Remote};
use crate::recording::{Channel, Density, Problems};
use access::Refused;
use catalog::Catalog;
use complaint::Complaint;
use hub::Hub;
use limits::Places;
use unfinished::Unfinished;

/// How many connections may be open that are no clients, or not yet.
const CONNECTIONS: usize = 4096;

/// How many of them from one address, so that nobody can take them all. Clients don't count, so that many of them may
/// come through one proxy.
const CONNECTIONS_PER_ADDRESS: usize = CONNECTIONS / 4;

/// How many streams of events may be open at the same time.
const EVENT_STREAMS: usize = 64;

/// How many of them to one address.
const EVENT_STREAMS_PER_ADDRESS: usize = EVENT_STREAMS / 4;

/// How long nothing more is logged of requests that were refused: strangers send as many as they like.
const REFUSALS: Duration = Duration::from_secs(10);

/// What a server tells its clients, and what it grants them.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// The name that clients show.
    pub name: String,
    /// Notes to the clients, such as `ROS_DISTRO`.
    pub metadata: BTreeMap<String, String>,
    /// How many bytes of messages may wait for one client.
    pub client_buffer: usize,
    /// How long messages may wait for one client.
    pub client_lag: Duration,
    /// Whether who subscribes first gets the last message on the topic.
    pub lookback: bool,
    /// Whether playback waits for the slowest client where otherwise messages would be dropped for it. Always so while
    /// it plays at [`Rate::MAX`].
    pub lossless: bool,
    /// How fast playback begins, so that connections can be tuned for it.
    pub rate: Rate,
    /// Whether clients may control playback.
    pub control: bool,
    /// Whether clients watch the same timeline.
    pub session: SessionMode,
    /// How many clients that have left are remembered one by one, for [`Server::records`].
    pub remembered_clients: usize,
    /// How much clients may ask for.
    pub limits: Limits,
    /// Who may connect.
    pub access: Access,
    /// The certificate, where TLS is spoken.
    pub tls: Option<Arc<Tls>>,
}

/// Which clients watch the same timeline.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum SessionMode {
    /// All of them, as if they looked at one robot.
    #[default]
    Shared,
    /// None: every client has a timeline of its own.
    Client,
}

/// What is served.
pub struct Program {
    /// The channels that clients can subscribe to.
    pub channels: Vec<Channel>,
    /// The part of the recording that is played.
    pub range: Range,
    /// What clients are told of the recording.
    pub problems: Arc<Problems>,
    /// Starts the timelines that clients watch.
    pub stage: Box<dyn Stage>,
    /// Finds the files that clients fetch.
    pub assets: Assets,
    /// Knows what is when.
    pub archive: Arc<dyn Archive>,
}

/// Knows what a recording has at which times.
pub trait Archive: Send + Sync {
    /// How many messages each channel has in each of so many equal parts of the range that is played. May take a
    /// while.
    /// May give something else once it is cancelled.
    fn density(&self, parts: usize, cancelled: &dyn Fn() -> bool) -> Density;
}

/// Serves the channels of a recording to every client that connects.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    hub: Arc<Hub>,
    shutdown: watch::Sender<Shutdown>,
    accepting: JoinHandle<()>,
    watching: [JoinHandle<()>; 2],
    /// Closed once the last session is over.
    sessions: mpsc::Receiver<()>,
}

/// Whether and how sessions are to end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Shutdown {
    /// They go on.
    No,
    /// They end once their clients got everything that waits for them. May still become [`Shutdown::Now`].
    WhenSent {
        /// Since the recording is over, and not because somebody wants the end.
        over: bool,
    },
    /// They end now.
    Now,
}

impl Server {
    /// Starts to accept connections. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// Where the listener has no address.
    pub fn start(listener: TcpListener, program: Program, options: &ServerOptions) -> io::Result<Self> {
        let Program { channels, range, problems, stage, assets, archive } = program;
        let address = listener.local_addr()?;
        let catalog = Arc::new(Catalog::new(channels, range, options));
        let hub = Arc::new(Hub::new(catalog, problems, stage, assets, options));
        let (shutdown, stop) = watch::channel(Shutdown::No);
        let (alive, sessions) = mpsc::channel(1);
        let door = Door {
            hub: Arc::clone(&hub),
            stop,
            alive,
            archive,
            density: Arc::default(),
            streams: Places::new(EVENT_STREAMS, EVENT_STREAMS_PER_ADDRESS),
            listening: address,
            started: Instant::now(),
            access: Arc::new(options.access.clone()),
            tls: options.tls.clone(),
            not_accepted: Arc::default(),
            refusals: Arc::new(Refused::ALL.map(|_| Complaint::new(REFUSALS))),
            places: Places::new(options.limits.clients, options.limits.clients_per_address),
            unfinished: Unfinished::default(),
            connections: Places::new(CONNECTIONS, CONNECTIONS_PER_ADDRESS),
        };
        let accepting = tokio::spawn(accept::accept(listener, door));
        let watching =
            [tokio::spawn(hub::watch(Arc::clone(&hub))), tokio::spawn(hub::tell(Arc::clone(&hub)))];
        Ok(Server { address, hub, shutdown, accepting, watching, sessions })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What commands the timeline that all clients watch, where they do.
    pub fn remote(&self) -> Option<&Remote> {
        Some(self.hub.shared()?.remote())
    }

    /// Whether the timeline that all clients watch waits for the moment to begin.
    pub fn is_waiting(&self) -> bool {
        self.hub.shared().is_some_and(|show| show.is_waiting())
    }

    /// Where the timelines are: the one of all clients, or those of each.
    pub fn positions(&self) -> Vec<Position> {
        self.hub.positions()
    }

    /// Waits until every timeline that is watched has ended, at least one.
    pub fn ended(&self) -> impl Future<Output = ()> + use<> {
        let hub = Arc::clone(&self.hub);
        async move {
            let mut endings = hub.endings();
            // The hub lives as long as this, and so does what tells of endings.
            while !hub.all_ended() && endings.changed().await.is_ok() {}
        }
    }

    /// Hears of clients that come, subscribe and go.
    pub fn presence(&self) -> watch::Receiver<Presence> {
        self.hub.presence()
    }

    /// What was sent and dropped so far, to all clients together.
    pub fn traffic(&self) -> Traffic {
        self.hub.traffic()
    }

    /// Hears of what happens from now on.
    pub fn happenings(&self) -> broadcast::Receiver<Happening> {
        self.hub.happenings().listen()
    }

    /// What became of the messages of each client and topic so far.
    pub fn records(&self) -> Records {
        self.hub.records()
    }

    /// Gives every client what waits for it, closes the connections, and ends. A client that takes nothing
    /// for ten seconds is given up. They are told that the recording is `over`, or else that the server was stopped.
    ///
    /// Where this takes too long, it can be dropped, and the server [stopped](Self::stop).
    pub async fn finish(&mut self, over: bool) -> Traffic {
        self.end(Shutdown::WhenSent { over }).await
    }

    /// Closes the connections now, with a close frame for who takes it within two seconds, and ends.
    pub async fn stop(&mut self) -> Traffic {
        self.end(Shutdown::Now).await
    }

    async fn end(&mut self, how: Shutdown) -> Traffic {
        self.accepting.abort();
        self.shutdown.send_replace(how);
        while self.sessions.recv().await.is_some() {}
        self.hub.traffic()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
        self.watching.iter().for_each(JoinHandle::abort);
        self.shutdown.send_replace(Shutdown::Now);
    }
}

/// What a new connection needs.
#[derive(Clone)]
struct Door {
    hub: Arc<Hub>,
    stop: watch::Receiver<Shutdown>,
    /// Held by every session while it lives.
    alive: mpsc::Sender<()>,
    archive: Arc<dyn Archive>,
    /// How many messages there are at which times, once somebody has asked for it.
    density: Arc<OnceLock<watch::Receiver<Option<Arc<Density>>>>>,
    /// For streams of events.
    streams: Arc<Places>,
    /// Where the server listens, and since when.
    listening: SocketAddr,
    started: Instant,
    access: Arc<Access>,
    tls: Option<Arc<Tls>>,
    /// How often no connection could be accepted.
    not_accepted: Arc<AtomicU64>,
    /// Whether to log that somebody was refused, for each reason.
    refusals: Arc<[Complaint; Refused::ALL.len()]>,
    /// For clients.
    places: Arc<Places>,
    /// What clients have sent of messages that are not whole yet.
    unfinished: Unfinished,
    /// For connections that are no clients, or not yet.
    connections: Arc<Places>,
}
