//! Who is connected, and what all of them hear.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{BuildHasher as _, Hasher as _};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::watch;

use super::ServerOptions;
use super::control;
use super::frame;
use super::outbox::{Counts, Outbox, SubscribeError};
use crate::foxglove::{AdvertisedChannel, Capability, ServerMessage, StatusLevel, Subprotocol, Subscription};
use crate::playback::{Audience, Event, Position, Range, Rate, State as PlaybackState};
use crate::recording::{Channel, ChannelId, Message, Problem, Problems};
use crate::time::Timestamp;

/// A batch of advertised channels is full when it has so many bytes of JSON.
const ADVERTISE_BYTES: usize = 256 * 1024;

/// How often clients are told of what changed beside the messages.
const NEWS: Duration = Duration::from_secs(1);

/// For how many such rounds a client has to keep up before it counts as having caught up.
const CALM_ROUNDS: u32 = 5;

/// How many of the recording's problems a client is told one by one.
const TOLD_PROBLEMS: usize = 20;

/// Identifies the status about dropped messages, so that each replaces the last one.
const DROPPED: &str = "fgplay/dropped";

/// How many clients there are.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Presence {
    /// How many are connected.
    pub clients: usize,
    /// How many have connected since the start.
    pub connected: u64,
    /// How many subscriptions were made since the start.
    pub subscribed: u64,
}

/// What became of messages, for all clients together.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Traffic {
    /// How many were written to a socket.
    pub sent: u64,
    /// Their payload in bytes.
    pub sent_bytes: u64,
    /// How many were left out for clients that take less than is played.
    pub dropped: u64,
    /// How many were not sent at the end, to clients that took nothing any more.
    pub undelivered: u64,
}

/// All clients, and what they have in common.
pub(super) struct Hub {
    name: String,
    channels: usize,
    topics: Vec<String>,
    /// Frames that every client gets when it connects.
    server_info: Bytes,
    advertise: Vec<Bytes>,
    problems: Arc<Problems>,
    client_buffer: usize,
    lookback: bool,
    control: bool,
    state: Mutex<State>,
    presence: watch::Sender<Presence>,
}

struct State {
    guests: BTreeMap<u64, Entry>,
    next_guest: u64,
    /// The time that was last told to everybody.
    time: Timestamp,
    /// The last message of each channel up to there, for who subscribes late.
    latest: Vec<Latest>,
    /// What those who left got.
    past: Traffic,
    /// How many of the recording's problems are known to the clients, and the frames that tell of them.
    problems: usize,
    problem_statuses: Vec<Bytes>,
}

/// The last message of a channel.
#[derive(Clone, Default)]
struct Latest {
    message: Option<Message>,
    /// Whether its payload is a copy of its own, so that it keeps no chunk in memory.
    detached: bool,
}

struct Entry {
    outbox: Arc<Outbox>,
    /// Whether it understands Playback State messages, also those that answer nothing it asked for.
    hears_states: bool,
    /// The counts as of the last round of news, and how many rounds ago something was dropped.
    last: Counts,
    calm_rounds: Option<u32>,
}

impl Hub {
    pub fn new(channels: &[Channel], range: Range, problems: Arc<Problems>, options: &ServerOptions) -> Self {
        let capabilities: &[Capability] = if options.control {
            &[Capability::Time, Capability::PlaybackControl]
        } else {
            &[Capability::Time]
        };
        let info = ServerMessage::ServerInfo {
            name: &options.name,
            capabilities,
            supported_encodings: &[],
            metadata: &options.metadata,
            session_id: &random_id(),
            data_start_time: options.control.then(|| range.start.into()),
            data_end_time: options.control.then(|| range.end.into()),
        };
        let known = problems.list();
        let state = State {
            guests: BTreeMap::new(),
            next_guest: 0,
            time: range.start,
            latest: vec![Latest::default(); channels.len()],
            past: Traffic::default(),
            problems: known.len(),
            problem_statuses: problem_statuses(&known, 0),
        };
        Hub {
            name: options.name.clone(),
            channels: channels.len(),
            topics: channels.iter().map(|channel| channel.topic.clone()).collect(),
            server_info: frame::text(&info.to_json()),
            advertise: advertise(channels),
            problems,
            client_buffer: options.client_buffer,
            lookback: options.lookback,
            control: options.control,
            state: Mutex::new(state),
            presence: watch::Sender::default(),
        }
    }

    /// Whether clients may control playback.
    pub fn control(&self) -> bool {
        self.control
    }

    /// The name that clients show.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn presence(&self) -> watch::Receiver<Presence> {
        self.presence.subscribe()
    }

    /// Takes in a new client, and tells it what there is.
    pub fn welcome(
        self: &Arc<Self>,
        address: SocketAddr,
        protocol: Subprotocol,
        position: &Position,
    ) -> Guest {
        let outbox = Arc::new(Outbox::new(self.channels, self.client_buffer));
        let mut state = self.lock();
        let id = state.next_guest;
        state.next_guest += 1;
        outbox.greet(self.server_info.clone(), state.time, &self.advertise);
        for status in &state.problem_statuses {
            outbox.push(status.clone());
        }
        let hears_states = self.control && protocol == Subprotocol::SdkV1;
        if hears_states {
            outbox.push(control::state(position, false, ""));
        }
        let entry =
            Entry { outbox: Arc::clone(&outbox), hears_states, last: Counts::default(), calm_rounds: None };
        state.guests.insert(id, entry);
        drop(state);
        self.presence.send_modify(|presence| {
            presence.clients += 1;
            presence.connected += 1;
        });
        Guest { hub: Arc::clone(self), id, address, outbox }
    }

    /// What was sent and dropped so far.
    pub fn traffic(&self) -> Traffic {
        let (past, outboxes) = {
            let state = self.lock();
            (state.past, state.outboxes())
        };
        outboxes.iter().map(|outbox| outbox.counts()).fold(past, |mut sum, counts| {
            sum.add(&counts);
            sum
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is whole between any two statements that change it, so a panic elsewhere spoils nothing.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Traffic {
    fn add(&mut self, counts: &Counts) {
        self.sent += counts.sent;
        self.sent_bytes += counts.sent_bytes;
        self.dropped += counts.dropped;
        self.undelivered += counts.undelivered;
    }
}

/// The hub as the scheduler sees it.
#[derive(Debug)]
pub(super) struct Listener {
    hub: Arc<Hub>,
    /// What playback was last said to do.
    told: Option<(PlaybackState, Rate)>,
    /// Whether time went to another place since then.
    jumped: bool,
}

impl Listener {
    pub fn new(hub: Arc<Hub>) -> Self {
        Listener { hub, told: None, jumped: false }
    }
}

impl Audience for Listener {
    fn changed(&mut self, position: &Position) {
        let told = Some((position.state, position.rate));
        if !self.hub.control || (self.told == told && !self.jumped) {
            return;
        }
        self.told = told;
        let frame = control::state(position, std::mem::take(&mut self.jumped), "");
        for guest in self.hub.lock().guests.values().filter(|guest| guest.hears_states) {
            guest.outbox.push_answer(frame.clone());
        }
    }

    fn deliver(&mut self, events: &[Event]) {
        self.jumped |= events.iter().any(|event| matches!(event, Event::Jumped(_) | Event::Looped(_)));
        let mut state = self.hub.lock();
        let before = state.time;
        for event in events.iter().rev() {
            state.time = match event {
                Event::Message(message) => message.log_time,
                Event::Jumped(time) | Event::Looped(time) | Event::Tick(time) | Event::Ended(time) => *time,
                Event::Lookback(_) | Event::Stalled(_) => continue,
            };
            break;
        }
        let now = Instant::now();
        for guest in state.guests.values() {
            guest.outbox.deliver(events, before, now);
        }
        for event in events {
            match event {
                Event::Message(message) => state.remember(message),
                Event::Lookback(messages) => messages.iter().for_each(|message| state.remember(message)),
                Event::Jumped(_) | Event::Looped(_) => state.latest.fill(Latest::default()),
                Event::Stalled(time) => tracing::debug!("playback stood for {time:?}"),
                Event::Tick(_) | Event::Ended(_) => {}
            }
        }
    }
}

impl State {
    /// Of all clients, so that what takes time can be done without the lock.
    fn outboxes(&self) -> Vec<Arc<Outbox>> {
        self.guests.values().map(|guest| Arc::clone(&guest.outbox)).collect()
    }

    fn remember(&mut self, message: &Message) {
        let latest = &mut self.latest[message.channel.0 as usize];
        *latest = Latest { message: Some(message.clone()), detached: false };
    }

    /// Copies the payloads that are remembered for a while already, so that they keep no chunk in memory.
    fn detach(&mut self) {
        for latest in self.latest.iter_mut().filter(|latest| !latest.detached) {
            if let Some(message) = &mut latest.message {
                if message.footprint > message.data.len() {
                    message.data = Bytes::copy_from_slice(&message.data);
                    message.footprint = message.data.len();
                }
                latest.detached = true;
            }
        }
    }
}

/// One client's place in the hub; gives it up when dropped.
pub(super) struct Guest {
    hub: Arc<Hub>,
    id: u64,
    address: SocketAddr,
    outbox: Arc<Outbox>,
}

impl Guest {
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn outbox(&self) -> &Arc<Outbox> {
        &self.outbox
    }

    /// Subscribes, and sends the last message of the channel. That and the flow of messages are under the
    /// same lock: what lookback sends is not sent again by the flow, and nothing between is lost.
    pub fn subscribe(&self, wanted: Subscription) -> Result<(), SubscribeError> {
        let state = self.hub.lock();
        self.outbox.subscribe(wanted)?;
        if self.hub.lookback
            && let Some(message) = &state.latest[wanted.channel.0 as usize].message
        {
            self.outbox.deliver_past(state.time, message);
        }
        drop(state);
        self.hub.presence.send_modify(|presence| presence.subscribed += 1);
        Ok(())
    }

    /// Says whether there was such a subscription.
    pub fn unsubscribe(&self, id: u32) -> bool {
        self.outbox.unsubscribe(id)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut state = self.hub.lock();
        if let Some(entry) = state.guests.remove(&self.id) {
            state.past.add(&entry.outbox.counts());
        }
        drop(state);
        self.hub.presence.send_modify(|presence| presence.clients -= 1);
    }
}

/// Tells clients from time to time what is new beside the messages: problems that were met in the recording,
/// and what was dropped for them.
pub(super) async fn watch(hub: Arc<Hub>) {
    let mut rounds = tokio::time::interval(NEWS);
    rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        rounds.tick().await;
        let problems = hub.problems.list();
        let mut state = hub.lock();
        state.detach();
        let known = std::mem::replace(&mut state.problems, problems.len());
        let news = if known < problems.len() { problem_statuses(&problems, known) } else { Vec::new() };
        state.problem_statuses.extend(news.iter().cloned());
        for guest in state.guests.values_mut() {
            for status in &news {
                guest.outbox.push_answer(status.clone());
            }
            if let Some(status) = guest.dropped_status(&hub.topics) {
                guest.outbox.push_answer(status);
            }
        }
    }
}

/// Frames that tell of the recording's problems from the `first` on.
fn problem_statuses(problems: &[Problem], first: usize) -> Vec<Bytes> {
    let status = |level, message: &str, id: &str| {
        frame::text(&ServerMessage::Status { level, message, id: Some(id) }.to_json())
    };
    let new = problems.iter().enumerate().take(TOLD_PROBLEMS).skip(first);
    let mut statuses: Vec<Bytes> = new
        .map(|(index, problem)| {
            let level = if problem.data_lost { StatusLevel::Warning } else { StatusLevel::Info };
            status(level, &problem.to_string(), &format!("fgplay/problem/{index}"))
        })
        .collect();
    if problems.len() > TOLD_PROBLEMS && first <= TOLD_PROBLEMS {
        let more = "there are more problems of this kind; fgplay's log has them all";
        statuses.push(status(StatusLevel::Warning, more, "fgplay/problem/more"));
    }
    statuses
}

impl Entry {
    /// A frame that tells what was dropped, or that it is over, if there is news of that.
    fn dropped_status(&mut self, topics: &[String]) -> Option<Bytes> {
        let counts = self.outbox.counts();
        let last = std::mem::replace(&mut self.last, counts);
        let counts = &self.last;
        if counts.dropped == last.dropped {
            let rounds = self.calm_rounds? + 1;
            self.calm_rounds = Some(rounds);
            if rounds < CALM_ROUNDS {
                return None;
            }
            self.calm_rounds = None;
            return Some(frame::text(&ServerMessage::RemoveStatus { status_ids: &[DROPPED] }.to_json()));
        }
        self.calm_rounds = Some(0);
        let message = describe_dropped(counts, &last, &self.outbox.dropped(), topics);
        let status =
            ServerMessage::Status { level: StatusLevel::Warning, message: &message, id: Some(DROPPED) };
        Some(frame::text(&status.to_json()))
    }
}

/// "312 messages were dropped for this connection so far, 298 of them on /lidar/points: it takes 2.1 MB/s of
/// 13.6"
fn describe_dropped(
    counts: &Counts,
    last: &Counts,
    dropped: &BTreeMap<ChannelId, u64>,
    topics: &[String],
) -> String {
    let megabytes = |now: u64, before: u64| (now - before) as f64 / NEWS.as_secs_f64() / 1e6;
    let (worst, most) = dropped
        .iter()
        .max_by_key(|(_, count)| **count)
        .and_then(|(channel, count)| Some((topics.get(channel.0 as usize)?.as_str(), *count)))
        .unwrap_or_default();
    format!(
        "{} messages were dropped for this connection so far, {most} of them on {worst}: it takes {:.1} MB/s of {:.1}",
        counts.dropped,
        megabytes(counts.sent_bytes, last.sent_bytes),
        megabytes(counts.offered_bytes, last.offered_bytes),
    )
}

/// The channels as frames, in batches: a client takes in thousands of channels better in several messages
/// than in one of many megabytes.
fn advertise(channels: &[Channel]) -> Vec<Bytes> {
    let mut frames = Vec::new();
    let mut batch = Vec::new();
    let mut bytes = 0;
    let mut flush = |batch: &mut Vec<AdvertisedChannel<'_>>| {
        if !batch.is_empty() {
            frames.push(frame::text(&ServerMessage::Advertise { channels: batch }.to_json()));
            batch.clear();
        }
    };
    for (id, channel) in (0..).zip(channels) {
        bytes += 200 + channel.topic.len() + channel.schema.as_ref().map_or(0, |schema| schema.data.len());
        batch.push(AdvertisedChannel::new(ChannelId(id), channel));
        if bytes >= ADVERTISE_BYTES {
            flush(&mut batch);
            bytes = 0;
        }
    }
    flush(&mut batch);
    frames
}

/// New for every run, so that clients know that they have to forget what they saw.
fn random_id() -> String {
    let mut hasher = std::hash::RandomState::new().build_hasher();
    hasher.write_u32(std::process::id());
    format!("{:016x}", hasher.finish())
}
