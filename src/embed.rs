//! The front door of the library: what a test needs to replay a recording in its own process.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{broadcast, oneshot};

use crate::playback::{self, Command, Range, Repeat};
use crate::recording::{ChannelId, OpenOptions, Problems, Recording, TopicSelection};
use crate::replay::{self, ReplayOptions, Start, WaitFor};
use crate::server::{self, Happening, SessionMode, Tally, ws_url};

/// Why something could not be done, in words.
#[derive(Debug)]
pub struct Error(Box<dyn std::error::Error + Send + Sync>);

impl Error {
    fn new(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Error(error.into())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}

/// How fast to play.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum Rate {
    /// As fast as it was recorded.
    #[default]
    RealTime,
    /// So many times as fast; positive and finite.
    Times(f64),
    /// As fast as the clients take it, and nothing is dropped for any of them.
    Max,
}

impl Rate {
    fn playback(self) -> Result<playback::Rate, Error> {
        match self {
            Rate::RealTime => Ok(playback::Rate::REAL_TIME),
            Rate::Times(factor) => playback::Rate::new(factor).map_err(Error::new),
            Rate::Max => Ok(playback::Rate::MAX),
        }
    }

    fn of(rate: playback::Rate) -> Self {
        match rate {
            rate if rate.is_max() => Rate::Max,
            playback::Rate::REAL_TIME => Rate::RealTime,
            rate => Rate::Times(rate.factor()),
        }
    }
}

/// A recorded topic.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Topic {
    /// The name under which it is played.
    pub name: String,
    /// The name of its type, empty where it has none.
    pub schema_name: String,
    /// How its messages are encoded: `cdr`, `json`, `protobuf`, ...
    pub encoding: String,
    /// How many messages the recording says that it has.
    pub messages: u64,
}

/// A recording, and how it is to be replayed.
///
/// ```
/// use fgplay::Replay;
///
/// let replay = Replay::open("testdata/demo.mcap")?.wait_for_clients(2).topics(["/pose"])?;
/// assert_eq!(replay.topic_list()[0].name, "/pose");
/// # Ok::<(), fgplay::Error>(())
/// ```
pub struct Replay {
    recording: Recording,
    rate: Rate,
    options: ReplayOptions,
    wait_for: Vec<String>,
}

impl Replay {
    /// Opens an MCAP or JSONL file.
    ///
    /// # Errors
    /// Where it can't be read, or is no recording.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        Self::open_all([path])
    }

    /// Opens several files, which play on one timeline.
    ///
    /// # Errors
    /// Where one can't be read, or is no recording.
    pub fn open_all<P: AsRef<Path>>(paths: impl IntoIterator<Item = P>) -> Result<Self, Error> {
        let paths: Vec<PathBuf> = paths.into_iter().map(|path| path.as_ref().to_owned()).collect();
        let problems = Arc::new(Problems::default());
        let recording =
            Recording::open(&paths, &OpenOptions::default(), problems, &|_| {}).map_err(Error::new)?;
        let name = paths.first().and_then(|path| path.file_name()).unwrap_or_default();
        let options = ReplayOptions { name: name.to_string_lossy().into_owned(), ..ReplayOptions::default() };
        Ok(Replay { recording, rate: Rate::RealTime, options, wait_for: Vec::new() })
    }

    /// Plays only topics that match one of these globs.
    ///
    /// # Errors
    /// Where a glob can't be read, or none matches anything.
    pub fn topics<S: Into<String>>(mut self, globs: impl IntoIterator<Item = S>) -> Result<Self, Error> {
        let globs: Vec<String> = globs.into_iter().map(Into::into).collect();
        let selection = TopicSelection::default().including(&globs).map_err(Error::new)?;
        self.recording.select(&selection).map_err(Error::new)?;
        Ok(self)
    }

    /// Plays at this rate.
    pub fn rate(mut self, rate: Rate) -> Self {
        self.rate = rate;
        self
    }

    /// Plays that many times, at least once.
    pub fn times(mut self, times: u64) -> Self {
        self.options.repeat = Repeat::Times(times);
        self
    }

    /// Plays again and again until it is stopped.
    pub fn looping(mut self) -> Self {
        self.options.repeat = Repeat::Forever;
        self
    }

    /// Starts that far into the recording.
    pub fn start_offset(mut self, offset: Duration) -> Self {
        self.options.start_offset = offset;
        self
    }

    /// Plays that much of it.
    pub fn duration(mut self, duration: Duration) -> Self {
        self.options.duration = Some(duration);
        self
    }

    /// Stands still at the start until it is told to play.
    pub fn start_paused(mut self) -> Self {
        self.options.start_paused = true;
        self
    }

    /// Begins when that many clients have subscribed to something; by default when the first one has.
    pub fn wait_for_clients(mut self, clients: usize) -> Self {
        self.options.wait_for.clients = clients;
        self
    }

    /// Begins when somebody has subscribed to every topic that one of these globs matches.
    pub fn wait_for_topics<S: Into<String>>(mut self, globs: impl IntoIterator<Item = S>) -> Self {
        self.wait_for = globs.into_iter().map(Into::into).collect();
        self
    }

    /// Begins at once, whoever is there.
    pub fn wait_for_nobody(mut self) -> Self {
        self.options.start = Start::Now;
        self
    }

    /// Drops nothing for slow clients: playback waits for the slowest. Always so at [`Rate::Max`].
    pub fn lossless(mut self) -> Self {
        self.options.lossless = true;
        self
    }

    /// Gives every client a timeline of its own. None waits for others then: [`serve`](Self::serve) gives an error
    /// with [`wait_for_clients`](Self::wait_for_clients) or [`wait_for_topics`](Self::wait_for_topics).
    pub fn session_per_client(mut self) -> Self {
        self.options.session = SessionMode::Client;
        self
    }

    /// Lets no client pause, seek or change the speed. The [`Server`] still can.
    pub fn no_client_control(mut self) -> Self {
        self.options.control = false;
        self
    }

    /// The name that clients see; by default that of the file.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.options.name = name.into();
        self
    }

    /// The topics that are played.
    pub fn topic_list(&self) -> Vec<Topic> {
        let channels = self.recording.channels().iter();
        channels
            .map(|channel| Topic {
                name: channel.topic.clone(),
                schema_name: channel.schema_name().to_owned(),
                encoding: channel.message_encoding.clone(),
                messages: channel.message_count,
            })
            .collect()
    }

    /// Serves it on an address such as `127.0.0.1:0`, where port 0 is any that is free. Has to be called inside a
    /// tokio runtime.
    ///
    /// # Errors
    /// Where the address can't be listened on, or the options ask for something that is not in the recording.
    pub async fn serve(self, address: &str) -> Result<Server, Error> {
        let Replay { recording, rate, mut options, wait_for } = self;
        options.rate = rate.playback()?;
        let channels = recording.channels_matching(&wait_for).map_err(Error::new)?;
        options.wait_for = WaitFor { channels, ..options.wait_for };
        options.wait_for.check(options.session).map_err(Error::new)?;
        let range = replay::range(&recording, &options).map_err(Error::new)?;
        let listener = server::listen(address)
            .await
            .map_err(|error| Error::new(format!("can't listen on {address}: {error}")))?;
        let topics: Arc<[String]> =
            recording.channels().iter().map(|channel| channel.topic.clone()).collect();
        let problems = Arc::clone(recording.problems());
        let replay = replay::Replay::serve(recording, range, &options, listener).map_err(Error::new)?;
        Ok(Server { replay, range, topics, problems })
    }
}

impl fmt::Debug for Replay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replay")
            .field("rate", &self.rate)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// What playback does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Status {
    /// It waits for clients before it begins.
    Waiting,
    /// Time passes.
    Playing,
    /// Time would pass, but what comes next is not there yet, or a client takes no more. (As fast as it goes, it is
    /// always what is read that time waits for; that is `Playing`.)
    Buffering,
    /// Time stands.
    Paused,
    /// The last pass is over.
    Ended,
}

/// Where playback is.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct State {
    /// What it does.
    pub status: Status,
    /// How far from the start of what is played it is.
    pub offset: Duration,
    /// How fast it plays.
    pub rate: Rate,
    /// Which pass it is in, from 1.
    pub pass: u64,
}

/// What became of the messages of a topic, for all clients together.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Counts {
    /// The topic.
    pub topic: String,
    /// How many were sent.
    pub sent: u64,
    /// How many were dropped for clients that take less than is played.
    pub dropped: u64,
    /// How many were not sent since nobody wanted them any more: time went to another place, the client
    /// unsubscribed, left or was sent away, or playback was stopped.
    pub skipped: u64,
    /// How many clients that were still there did not take in time at the end.
    pub undelivered: u64,
}

/// Something that happened.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A client has connected.
    ClientCame {
        /// Its number, counted from 0.
        client: u64,
        /// Where from.
        address: SocketAddr,
    },
    /// A client is gone.
    ClientLeft {
        /// Its number.
        client: u64,
        /// Why, in words.
        reason: String,
    },
    /// A topic got its first subscriber.
    Subscribed(String),
    /// A topic lost its last subscriber.
    Unsubscribed(String),
    /// Time went to another place, so far from the start.
    Sought(Duration),
    /// A pass is over, and another one begins.
    Looped,
    /// The last pass is over.
    Ended,
    /// So many events happened before this that were not taken in time.
    Missed(u64),
}

/// A recording that is being served. It ends when this is dropped; [`finish`](Self::finish) and
/// [`stop`](Self::stop) also close the connections properly.
///
/// ```
/// use std::time::Duration;
/// use fgplay::{Replay, Status};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), fgplay::Error> {
/// let server = Replay::open("testdata/demo.mcap")?.start_paused().serve("127.0.0.1:0").await?;
/// server.seek(Duration::from_secs(3)).await?;
/// let state = server.state();
/// assert_eq!((state.status, state.offset), (Status::Paused, Duration::from_secs(3)));
/// # server.stop().await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Server {
    replay: replay::Replay,
    range: Range,
    topics: Arc<[String]>,
    problems: Arc<Problems>,
}

impl Server {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.replay.address()
    }

    /// The address that clients connect to, such as `ws://127.0.0.1:41397/`.
    pub fn url(&self) -> String {
        ws_url(&self.address().to_string(), false)
    }

    /// Where playback is; where every client has a timeline of its own, that of the first one.
    pub fn state(&self) -> State {
        let position = self.replay.positions().into_iter().next();
        let Some(position) = position else {
            let offset = Duration::ZERO;
            return State { status: Status::Waiting, offset, rate: Rate::RealTime, pass: 1 };
        };
        State {
            status: match position.state {
                playback::State::Paused if self.replay.is_waiting() => Status::Waiting,
                playback::State::Paused => Status::Paused,
                playback::State::Playing => Status::Playing,
                playback::State::Buffering => Status::Buffering,
                playback::State::Ended => Status::Ended,
            },
            offset: position.time_at(Instant::now()).since(self.range.start),
            rate: Rate::of(position.rate),
            pass: position.pass,
        }
    }

    /// Plays, also again from the start after the end.
    ///
    /// # Errors
    /// This one and all other commands: where every client has a timeline of its own.
    pub async fn play(&self) -> Result<(), Error> {
        self.command(Command::Play).await
    }

    /// Stands still.
    ///
    /// # Errors
    /// As [`play`](Self::play).
    pub async fn pause(&self) -> Result<(), Error> {
        self.command(Command::Pause).await
    }

    /// Goes to a place so far from the start, and goes on as before.
    ///
    /// # Errors
    /// As [`play`](Self::play).
    pub async fn seek(&self, offset: Duration) -> Result<(), Error> {
        self.command(Command::Seek(self.range.start.saturating_add(offset))).await
    }

    /// Stands still, and plays that many messages at once.
    ///
    /// # Errors
    /// As [`play`](Self::play).
    pub async fn step(&self, messages: u64) -> Result<(), Error> {
        self.command(Command::Step(messages)).await
    }

    /// Plays at this rate from now on.
    ///
    /// # Errors
    /// As [`play`](Self::play), and where the rate is not positive and finite.
    pub async fn set_rate(&self, rate: Rate) -> Result<(), Error> {
        self.command(Command::SetRate(rate.playback()?)).await
    }

    /// Carries it out, and waits until it is.
    async fn command(&self, command: Command) -> Result<(), Error> {
        let remote = self
            .replay
            .remote()
            .ok_or_else(|| Error::new("every client has a timeline of its own, and controls it itself"))?;
        let (done, carried_out) = oneshot::channel();
        remote.request(vec![command], Box::new(move |_| done.send(()).unwrap_or_default()));
        carried_out.await.map_err(|_| Error::new(replay::BrokenOff))
    }

    /// Hears of what happens from now on.
    pub fn events(&self) -> Events {
        let happenings = self.replay.happenings();
        Events { happenings, range: self.range, topics: Arc::clone(&self.topics) }
    }

    /// Waits until the last pass is over.
    ///
    /// # Errors
    /// Where that can't be any more, by a fault in this crate.
    pub async fn ended(&self) -> Result<(), Error> {
        self.replay.ended().await.map_err(Error::new)
    }

    /// What became of the messages so far, of each topic that somebody was subscribed to.
    pub fn counts(&self) -> Vec<Counts> {
        let records = self.replay.records();
        let counts = |(channel, tally): (&ChannelId, &Tally)| Counts {
            topic: self.topics.get(channel.0 as usize).cloned().unwrap_or_default(),
            sent: tally.sent,
            dropped: tally.dropped,
            skipped: tally.skipped,
            undelivered: tally.undelivered,
        };
        records.topics.iter().map(counts).collect()
    }

    /// What could not be played of the recording so far, or is good to know of it, in sentences.
    pub fn warnings(&self) -> Vec<String> {
        self.problems.list().iter().map(ToString::to_string).collect()
    }

    /// Gives every client what waits for it, closes the connections, and ends. A client that takes nothing for ten
    /// seconds is given up. Gives what became of the messages.
    pub async fn finish(mut self) -> Vec<Counts> {
        self.replay.finish(true).await;
        self.counts()
    }

    /// Closes the connections now, and ends.
    pub async fn stop(mut self) -> Vec<Counts> {
        self.replay.stop().await;
        self.counts()
    }
}

/// What happens on a [`Server`].
#[derive(Debug)]
pub struct Events {
    happenings: broadcast::Receiver<Happening>,
    range: Range,
    topics: Arc<[String]>,
}

impl Events {
    /// What happens next. `None` once the server is gone.
    pub async fn next(&mut self) -> Option<Event> {
        let topic = |channel: ChannelId| self.topics.get(channel.0 as usize).cloned().unwrap_or_default();
        Some(match self.happenings.recv().await {
            Ok(Happening::Came { client, address }) => Event::ClientCame { client, address },
            Ok(Happening::Left { client, reason }) => Event::ClientLeft { client, reason },
            Ok(Happening::Subscribed(channel)) => Event::Subscribed(topic(channel)),
            Ok(Happening::Unsubscribed(channel)) => Event::Unsubscribed(topic(channel)),
            Ok(Happening::Jumped(time)) => Event::Sought(time.since(self.range.start)),
            Ok(Happening::Looped) => Event::Looped,
            Ok(Happening::Ended) => Event::Ended,
            Err(broadcast::error::RecvError::Lagged(missed)) => Event::Missed(missed),
            Err(broadcast::error::RecvError::Closed) => return None,
        })
    }
}
