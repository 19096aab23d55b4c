//! A recording, a timeline and a server, put together.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::FutureExt as _;
use tokio::net::TcpListener;
use tokio::sync::{broadcast, watch};

use crate::playback::{
    Audience, Command, LoopTime, Position, Range, Rate, ReadAhead, ReadAheadOptions, ReadPool, Remote,
    Repeat, Scheduler, Timeline, TimelineOptions,
};
use crate::recording::{ChannelId, Density, Recording};
use crate::server::{
    Access, Archive, Assets, Attachments, Happening, Limits, Playing, Presence, Program, Records, Server,
    ServerOptions, SessionMode, Stage, Tls, Traffic, Visits,
};
use crate::time::Timestamp;

/// A viewer subscribes to its topics one after another. Playback that waits for a subscriber begins when
/// none came for this long, so that the first messages are not missed on the topics that come second.
const SETTLED: Duration = Duration::from_millis(50);

/// It does not wait longer than this for them to settle.
const SETTLED_AT_LAST: Duration = Duration::from_secs(2);

/// How long messages wait for the state before them. What takes longer to find comes after the first of them.
const PATIENCE: Duration = Duration::from_millis(100);

/// Which part of the read-ahead a timeline gets that only one client watches: there may be many of them.
const OWN_SHARE: usize = 4;

/// How many threads read the recording. Two, so that who seeks does not wait for who reads far ahead.
const READERS: usize = 2;

/// What playback waits for.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Start {
    /// For nothing.
    Now,
    /// For the first client that connects.
    Client,
    /// For the first client that subscribes to a topic.
    #[default]
    Subscriber,
}

/// Who has to be there before playback begins, where all clients watch the same.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct WaitFor {
    /// So many clients that are subscribed to something.
    pub clients: usize,
    /// To each of these channels some client is subscribed.
    pub channels: Vec<ChannelId>,
    /// How long that may take, counted from the start; without end where it is not set.
    pub patience: Option<Duration>,
}

/// Playback is to wait for clients where each has a timeline of its own.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("where every client has a timeline of its own, none waits for others")]
pub struct WaitsAlone;

impl WaitFor {
    /// Whether this can be waited for where clients watch that.
    ///
    /// # Errors
    /// Where each of them has a timeline of its own: it has one client, and would never begin.
    pub fn check(&self, session: SessionMode) -> Result<(), WaitsAlone> {
        let waits = *self != WaitFor::default();
        if waits && session == SessionMode::Client { Err(WaitsAlone) } else { Ok(()) }
    }

    fn is_met(&self, visits: &Visits) -> bool {
        visits.subscribers() >= self.clients
            && self.channels.iter().all(|channel| visits.is_subscribed(*channel))
    }
}

/// Playback did not begin, since those that it waits for did not come in time.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("playback did not begin within {:.1} s: {missing}", .patience.as_secs_f64())]
pub struct WaitedTooLong {
    /// How long it waited.
    pub patience: Duration,
    /// Who did not come, in words.
    pub missing: String,
}

/// How to replay a recording.
#[derive(Clone, Debug)]
pub struct ReplayOptions {
    /// How fast.
    pub rate: Rate,
    /// How often.
    pub repeat: Repeat,
    /// How far into the recording to start.
    pub start_offset: Duration,
    /// How much of the recording to play, from where it starts.
    pub duration: Option<Duration>,
    /// The recorded time at which to stop.
    pub until: Option<Timestamp>,
    /// How long to wait before playback begins, after what it waits for has come.
    pub delay: Duration,
    /// Stand still at the start until told to play.
    pub start_paused: bool,
    /// What playback waits for.
    pub start: Start,
    /// Who has to be there as well.
    pub wait_for: WaitFor,
    /// The name that clients show.
    pub name: String,
    /// Whether who subscribes or seeks first gets the last message before that moment on each topic.
    pub lookback: bool,
    /// Whether playback waits for the slowest client where otherwise messages would be dropped for it. Always
    /// so while it plays at [`Rate::MAX`].
    pub lossless: bool,
    /// Whether clients may control playback.
    pub control: bool,
    /// Whether clients watch the same timeline.
    pub session: SessionMode,
    /// What times clients see after the first pass of a loop.
    pub loop_time: LoopTime,
    /// How much recorded time passes between two passes.
    pub loop_gap: Duration,
    /// A silence that is longer takes this long.
    pub skip_gaps: Option<Duration>,
    /// A directory with files that clients may fetch.
    pub assets: Option<PathBuf>,
    /// How many bytes of the recording are read ahead of time, beside one message that is larger than half of that and no
    /// more than eight times as large; a quarter of that for each timeline where every client has its own.
    pub read_ahead: usize,
    /// How many bytes of messages may wait for one client.
    pub client_buffer: usize,
    /// How long messages may wait for one client.
    pub client_lag: Duration,
    /// How many clients that have left are remembered one by one, for [`Replay::records`].
    pub remembered_clients: usize,
    /// How much clients may ask for.
    pub limits: Limits,
    /// Who may connect.
    pub access: Access,
    /// The certificate, where TLS is spoken.
    pub tls: Option<Arc<Tls>>,
}

impl Default for ReplayOptions {
    fn default() -> Self {
        ReplayOptions {
            rate: Rate::REAL_TIME,
            repeat: Repeat::Times(1),
            start_offset: Duration::ZERO,
            duration: None,
            until: None,
            delay: Duration::ZERO,
            start_paused: false,
            start: Start::default(),
            wait_for: WaitFor::default(),
            name: "fgplay".into(),
            lookback: true,
            lossless: false,
            control: true,
            session: SessionMode::Shared,
            loop_time: LoopTime::Restart,
            loop_gap: Duration::ZERO,
            skip_gaps: None,
            assets: None,
            read_ahead: 8 * 1024 * 1024,
            client_buffer: 32 * 1024 * 1024,
            client_lag: Duration::from_secs(2),
            remembered_clients: 0,
            limits: Limits::default(),
            access: Access::default(),
            tls: None,
        }
    }
}

impl ReplayOptions {
    /// Whether playback begins so that it waits for the slowest client.
    fn loses_nothing(&self) -> bool {
        self.lossless || self.rate.is_max()
    }
}

/// Why a recording can't be replayed as asked.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RangeError {
    /// There is nothing in it.
    #[error("the recording has no messages")]
    NoMessages,
    /// Playback would start after the end.
    #[error("the start offset {:.3} s is past the end: the recording is {:.3} s long", .offset.as_secs_f64(), .length.as_secs_f64())]
    OffsetPastEnd {
        /// The offset.
        offset: Duration,
        /// How long the recording is.
        length: Duration,
    },
    /// Playback would end before it starts.
    #[error("playback would end at {until}, before it starts at {start}")]
    EndsBeforeStart {
        /// The time at which to stop.
        until: Timestamp,
        /// The time at which to start.
        start: Timestamp,
    },
}

/// Playback ended by a fault of the program.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "playback broke off by a fault in fgplay, so the rest of the recording is not played; please report what is printed above"
)]
pub struct BrokenOff;

/// A recording that is being served.
#[derive(Debug)]
pub struct Replay {
    server: Server,
    scheduler: Arc<Scheduler>,
    range: Range,
    gave_up: watch::Receiver<Option<WaitedTooLong>>,
}

/// Starts timelines over a recording.
struct Theatre {
    recording: Arc<Recording>,
    range: Range,
    options: ReplayOptions,
    pool: ReadPool,
    scheduler: Arc<Scheduler>,
    /// Tells that those playback waits for did not come in time.
    give_up: watch::Sender<Option<WaitedTooLong>>,
}

/// What a recording has in the part that is played.
struct Dated {
    recording: Arc<Recording>,
    range: Range,
}

impl Archive for Dated {
    fn density(&self, parts: usize, cancelled: &dyn Fn() -> bool) -> Density {
        self.recording.density((self.range.start, self.range.end), parts, cancelled)
    }
}

/// The files that a recording carries with it.
struct Attached(Arc<Recording>);

impl Attachments for Attached {
    fn size(&self, name: &str) -> Option<u64> {
        self.0.attachment_size(name)
    }

    fn read(&self, name: &str) -> io::Result<Bytes> {
        self.0.attachment(name)
    }
}

impl Stage for Theatre {
    fn play(&self, audience: Box<dyn Audience>, visits: watch::Receiver<Visits>) -> Playing {
        let options = &self.options;
        let reading = ReadAheadOptions {
            range: self.range,
            // Without an end of the user's, all that the files hold is played, whatever they say of their end.
            open_end: options.until.is_none() && options.duration.is_none(),
            limit: match options.session {
                SessionMode::Shared => options.read_ahead,
                SessionMode::Client => options.read_ahead / OWN_SHARE,
            },
            lookback: options.lookback,
            // Two runs that lose nothing send the same in the same order.
            patience: if options.loses_nothing() { Duration::MAX } else { PATIENCE },
        };
        let timeline = TimelineOptions {
            range: self.range,
            rate: options.rate,
            repeat: options.repeat,
            loop_time: options.loop_time,
            loop_gap: options.loop_gap,
            skip_gaps: options.skip_gaps,
        };
        let make = |fed: Box<dyn Fn() + Send + Sync>| {
            let recording = Arc::clone(&self.recording);
            let feed = ReadAhead::start(self.pool.clone(), recording, reading, fed);
            let mut timeline = Timeline::new(feed, timeline);
            if self.options.start_paused {
                // Standing still already, it has nothing to tell.
                timeline.apply(Command::Pause, Instant::now(), &mut Vec::new());
            }
            timeline
        };
        let player = self.scheduler.drive(make, audience);
        let remote = player.remote().clone();
        let (recording, options) = (Arc::clone(&self.recording), options.clone());
        let give_up = self.give_up.clone();
        let starting = tokio::spawn(async move {
            if let Err(too_long) = begin(&recording, &options, visits, remote).await {
                give_up.send_replace(Some(too_long));
            }
        });
        Playing { player, starting }
    }

    fn is_broken(&self) -> bool {
        // It waits for nothing where the thread is gone already.
        self.scheduler.gone().now_or_never().is_some()
    }
}

/// The part of a recording that the options choose.
///
/// # Errors
/// Where that is no part of it.
pub fn range(recording: &Recording, options: &ReplayOptions) -> Result<Range, RangeError> {
    let (first, last) = recording.time_range().ok_or(RangeError::NoMessages)?;
    let start = first.saturating_add(options.start_offset);
    if start > last {
        return Err(RangeError::OffsetPastEnd { offset: options.start_offset, length: last.since(first) });
    }
    let until = options.until.unwrap_or(last);
    if until < start {
        return Err(RangeError::EndsBeforeStart { until, start });
    }
    let end = options.duration.map_or(last, |duration| start.saturating_add(duration));
    Ok(Range { start, end: end.min(until).min(last) })
}

impl Replay {
    /// Serves a recording to whoever connects. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// Where the system gives no thread, or the listener has no address.
    pub fn serve(
        recording: Recording,
        range: Range,
        options: &ReplayOptions,
        listener: TcpListener,
    ) -> io::Result<Self> {
        let metadata = recording.ros_distro().map(|distro| ("ROS_DISTRO".to_owned(), distro));
        let server_options = ServerOptions {
            name: options.name.clone(),
            metadata: BTreeMap::from_iter(metadata),
            client_buffer: options.client_buffer,
            client_lag: options.client_lag,
            lookback: options.lookback,
            lossless: options.lossless,
            rate: options.rate,
            control: options.control,
            session: options.session,
            remembered_clients: options.remembered_clients,
            limits: options.limits,
            access: options.access.clone(),
            tls: options.tls.clone(),
        };
        let recording = Arc::new(recording);
        let attachments = Attached(Arc::clone(&recording));
        let assets = Assets::new(Box::new(attachments), options.assets.as_deref())?;
        let scheduler = Arc::new(Scheduler::start()?);
        let (give_up, gave_up) = watch::channel(None);
        let program = Program {
            channels: recording.channels().to_vec(),
            range,
            problems: Arc::clone(recording.problems()),
            assets,
            archive: Arc::new(Dated { recording: Arc::clone(&recording), range }),
            stage: Box::new(Theatre {
                recording,
                range,
                options: options.clone(),
                pool: ReadPool::new(READERS)?,
                scheduler: Arc::clone(&scheduler),
                give_up,
            }),
        };
        let server = Server::start(listener, program, &server_options)?;
        Ok(Replay { server, scheduler, range, gave_up })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// The part of the recording that is played.
    pub fn range(&self) -> Range {
        self.range
    }

    /// What commands the timeline that all clients watch; `None` where each has its own.
    pub fn remote(&self) -> Option<&Remote> {
        self.server.remote()
    }

    /// Where the timelines are: the one of all clients, or those of each.
    pub fn positions(&self) -> Vec<Position> {
        self.server.positions()
    }

    /// Whether playback waits for something to begin.
    pub fn is_waiting(&self) -> bool {
        self.server.is_waiting()
    }

    /// Who is connected.
    pub fn presence(&self) -> Presence {
        *self.watch_presence().borrow()
    }

    /// Hears of clients that come, subscribe and go.
    pub fn watch_presence(&self) -> watch::Receiver<Presence> {
        self.server.presence()
    }

    /// What was sent and dropped so far, to all clients together.
    pub fn traffic(&self) -> Traffic {
        self.server.traffic()
    }

    /// Waits until the last pass is over; where each client has its own timeline, until that is so for all that
    /// are connected, and for one at least.
    ///
    /// # Errors
    /// Where it can't be over any more, since the thread that plays is gone.
    pub fn ended(&self) -> impl Future<Output = Result<(), BrokenOff>> + use<> {
        let (ended, broken_off) = (self.server.ended(), self.broken_off());
        async move {
            tokio::select! {
                () = ended => Ok(()),
                broken_off = broken_off => Err(broken_off),
            }
        }
    }

    /// Waits until those that playback waits for did not come in time ([`WaitFor::patience`]). Without end where
    /// they came.
    pub fn gave_up(&self) -> impl Future<Output = WaitedTooLong> + use<> {
        let mut gave_up = self.gave_up.clone();
        async move {
            match gave_up.wait_for(Option::is_some).await.map(|too_long| too_long.clone()) {
                Ok(Some(too_long)) => too_long,
                _ => std::future::pending().await,
            }
        }
    }

    /// Waits until the thread that plays is gone, which does not happen unless there is a fault.
    pub fn broken_off(&self) -> impl Future<Output = BrokenOff> + use<> {
        let gone = self.scheduler.gone();
        async move {
            gone.await;
            BrokenOff
        }
    }

    /// Gives every client what waits for it, then closes the connections and ends. A client that takes nothing
    /// for ten seconds is given up. They are told that the recording is `over`, or else that it was stopped.
    ///
    /// Where this takes too long, it can be dropped, and the rest [stopped](Self::stop).
    pub async fn finish(&mut self, over: bool) -> Traffic {
        self.server.finish(over).await
    }

    /// Hears of what happens from now on.
    pub fn happenings(&self) -> broadcast::Receiver<Happening> {
        self.server.happenings()
    }

    /// What became of the messages of each client and topic so far.
    pub fn records(&self) -> Records {
        self.server.records()
    }

    /// Closes the connections and ends.
    pub async fn stop(&mut self) -> Traffic {
        self.server.stop().await
    }
}

/// Begins playback when what it waits for has come.
async fn begin(
    recording: &Recording,
    options: &ReplayOptions,
    mut visits: watch::Receiver<Visits>,
    remote: Remote,
) -> Result<(), WaitedTooLong> {
    if options.start_paused {
        return Ok(());
    }
    let wait_for = &options.wait_for;
    let come = visits.wait_for(|visits| match options.start {
        Start::Now => wait_for.is_met(visits),
        Start::Client => visits.connected > 0 && wait_for.is_met(visits),
        Start::Subscriber => visits.subscribed > 0 && wait_for.is_met(visits),
    });
    let come = match wait_for.patience {
        None => Ok(come.await.is_ok()),
        Some(patience) => match tokio::time::timeout(patience, come).await {
            Ok(come) => Ok(come.is_ok()),
            Err(_) => Err(patience),
        },
    };
    match come {
        Ok(true) => {}
        // Nobody watches any more.
        Ok(false) => return Ok(()),
        // Somebody plays it without waiting for the others.
        Err(_) if remote.position().commanded => return Ok(()),
        Err(patience) => {
            let missing = describe_missing(recording, wait_for, &visits.borrow());
            return Err(WaitedTooLong { patience, missing });
        }
    }
    if options.start == Start::Subscriber {
        tokio::time::timeout(SETTLED_AT_LAST, settled(&mut visits)).await.unwrap_or_default();
    }
    tokio::time::sleep(options.delay).await;
    remote.command(Command::Begin);
    Ok(())
}

/// "1 of 2 clients has subscribed, and nobody to /odom and 2 more topics"
fn describe_missing(recording: &Recording, wait_for: &WaitFor, visits: &Visits) -> String {
    let clients = match (visits.subscribers(), wait_for.clients) {
        (0, _) => "no client has subscribed to anything".to_owned(),
        (1, wanted) => format!("1 of {} clients has subscribed", wanted.max(1)),
        (there, wanted) => format!("{there} of {} clients have subscribed", wanted.max(there)),
    };
    let open = |channel: &&ChannelId| !visits.is_subscribed(**channel);
    let mut topics = wait_for
        .channels
        .iter()
        .filter(open)
        .filter_map(|channel| recording.channels().get(channel.0 as usize))
        .map(|channel| channel.topic.as_str());
    match (topics.next(), topics.count()) {
        (None, _) => clients,
        (Some(topic), 0) => format!("{clients}, and nobody to {topic}"),
        (Some(topic), 1) => format!("{clients}, and nobody to {topic} and 1 more topic"),
        (Some(topic), more) => format!("{clients}, and nobody to {topic} and {more} more topics"),
    }
}

/// Waits until nobody has come or subscribed for a moment.
async fn settled(visits: &mut watch::Receiver<Visits>) {
    visits.mark_unchanged();
    while let Ok(Ok(())) = tokio::time::timeout(SETTLED, visits.changed()).await {}
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use super::*;
    use crate::playback;
    use crate::recording::{OpenOptions, Problems};

    /// A recording with one message.
    fn recording() -> Recording {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"{\"topic\": \"/a\", \"log_time\": 1, \"data\": {}}\n").unwrap();
        let problems = Arc::new(Problems::default());
        Recording::open(&[file.path()], &OpenOptions::default(), problems, &|_| {}).unwrap()
    }

    async fn serve(options: &ReplayOptions) -> Replay {
        let recording = recording();
        let range = range(&recording, options).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Replay::serve(recording, range, options, listener).unwrap()
    }

    struct Nobody;

    impl Audience for Nobody {
        fn deliver(&mut self, _: &[playback::Event], _: Instant, _: &mut dyn FnMut()) {}

        fn changed(&mut self, _: &Position) {}
    }

    /// The status of an answer.
    async fn health(address: SocketAddr) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer[..12].to_owned()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn that_the_thread_that_plays_is_gone_is_seen_also_where_nobody_watches() {
        let options = ReplayOptions { session: SessionMode::Client, ..ReplayOptions::default() };
        let replay = serve(&options).await;
        assert_eq!(health(replay.address()).await, "HTTP/1.1 200");
        let theatre = Theatre {
            recording: Arc::new(recording()),
            range: replay.range,
            options,
            pool: ReadPool::new(1).unwrap(),
            scheduler: Arc::clone(&replay.scheduler),
            give_up: watch::Sender::default(),
        };
        let playing = theatre.play(Box::new(Nobody), watch::Sender::default().subscribe());
        playing.player.remote().request(Vec::new(), Box::new(|_| panic!("a fault, on purpose")));
        assert_eq!(replay.broken_off().await, BrokenOff);
        assert_eq!(health(replay.address()).await, "HTTP/1.1 503");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn that_the_thread_that_plays_is_gone_is_not_the_end() {
        let replay = serve(&ReplayOptions::default()).await;
        let (ended, broken_off) = (replay.ended(), replay.broken_off());
        replay.remote().unwrap().request(Vec::new(), Box::new(|_| panic!("a fault, on purpose")));
        assert_eq!(ended.await, Err(BrokenOff));
        assert_eq!(broken_off.await, BrokenOff);
    }
}
