//! Who is connected, and what all of them hear.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::watch;

use super::assets::Assets;
use super::catalog::Catalog;
use super::frame;
use super::graph::Graph;
use super::happenings::{Happening, Happenings};
use super::outbox::{Counts, Outbox, SubscribeError, Tally};
use super::parameters::Properties;
use super::records::{Archives, ClientRecord, Records, Sums, record};
use super::show::{Show, Stage};
use super::{ServerOptions, SessionMode};
use crate::foxglove::{ServerMessage, StatusLevel, Subprotocol, Subscription};
use crate::playback::{Position, Range, Remote, State as PlaybackState};
use crate::recording::{ChannelId, Problem, Problems};

/// How often the position is told to those who want to hear of it.
const POSITION: Duration = Duration::from_millis(500);

/// How often clients are told of what changed beside the messages.
const NEWS: Duration = Duration::from_secs(1);

/// Over how many such rounds the speed of topics is taken.
const SAMPLES: usize = 3;

/// For how many such rounds a client has to keep up before it counts as having caught up.
const CALM_ROUNDS: u32 = 5;

/// Over how many rounds a client is told how much it takes, and how much is dropped for it.
const DROPPED_ROUNDS: usize = 10;

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
    /// How many clients that were still there did not take in time at the end.
    pub undelivered: u64,
}

/// All clients, and what they have in common.
pub(super) struct Hub {
    catalog: Arc<Catalog>,
    options: ServerOptions,
    problems: Arc<Problems>,
    stage: Box<dyn Stage>,
    assets: Arc<Assets>,
    graph: Graph,
    /// What everybody watches, unless every client has a timeline of its own.
    shared: Option<Arc<Show>>,
    state: Mutex<State>,
    presence: watch::Sender<Presence>,
    endings: watch::Sender<u64>,
    happenings: Happenings,
    /// What was played of each channel, as of the last rounds of news.
    samples: Mutex<VecDeque<Sample>>,
}

/// When, and how many messages and bytes of each channel were played by then.
type Sample = (Instant, Vec<(u64, u64)>);

struct State {
    guests: BTreeMap<u64, Entry>,
    next_guest: u64,
    /// What those who left got.
    past: Traffic,
    archives: Archives,
    /// How many of the recording's problems are known to the clients, and the frames that tell of them.
    problems: usize,
    problem_statuses: Vec<Bytes>,
}

struct Entry {
    address: SocketAddr,
    protocol: Subprotocol,
    since: Instant,
    outbox: Arc<Outbox>,
    show: Arc<Show>,
    /// The counts as of the last rounds of news, and how many rounds ago something was dropped.
    rounds: VecDeque<Counts>,
    calm_rounds: Option<u32>,
    /// Whether the last status told that it is over.
    removing: bool,
    /// How many of the statuses about the recording's problems it was told.
    told_problems: usize,
}

/// A client as it is told of to others.
pub(super) struct Client {
    pub id: u64,
    pub address: SocketAddr,
    pub protocol: Subprotocol,
    pub since: Instant,
    pub outbox: Arc<Outbox>,
    pub show: Arc<Show>,
}

impl Hub {
    pub fn new(
        catalog: Arc<Catalog>,
        problems: Arc<Problems>,
        stage: Box<dyn Stage>,
        assets: Assets,
        options: &ServerOptions,
    ) -> Self {
        let known = problems.list();
        let state = State {
            guests: BTreeMap::new(),
            next_guest: 0,
            past: Traffic::default(),
            archives: Archives::new(options.remembered_clients),
            problems: known.len(),
            problem_statuses: problem_statuses(&known, 0),
        };
        let endings = watch::Sender::default();
        let happenings = Happenings::new();
        let shared = (options.session == SessionMode::Shared)
            .then(|| Arc::new(Show::open(&*stage, &catalog, options, endings.clone(), happenings.clone())));
        Hub {
            graph: Graph::new(Arc::clone(&catalog), options.control, happenings.clone()),
            assets: Arc::new(assets),
            catalog,
            options: options.clone(),
            problems,
            stage,
            shared,
            state: Mutex::new(state),
            presence: watch::Sender::default(),
            endings,
            happenings,
            samples: Mutex::default(),
        }
    }

    /// Whether clients may control playback.
    pub fn control(&self) -> bool {
        self.options.control
    }

    /// What clients are told and granted.
    pub fn options(&self) -> &ServerOptions {
        &self.options
    }

    /// How many messages and bytes of each channel were played in a second of the last few.
    pub fn speeds(&self) -> Vec<(f64, f64)> {
        let samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        let (Some((from, before)), Some((to, after))) = (samples.front(), samples.back()) else {
            return vec![(0.0, 0.0); self.catalog.channels.len()];
        };
        let seconds = to.duration_since(*from).as_secs_f64();
        let per_second = |count: u64| if seconds > 0.0 { count as f64 / seconds } else { 0.0 };
        let pairs = before.iter().zip(after);
        pairs
            .map(|(before, after)| (per_second(after.0 - before.0), per_second(after.1 - before.1)))
            .collect()
    }

    fn sample(&self) {
        let mut samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        samples.push_back((Instant::now(), self.catalog.played().collect()));
        if samples.len() > SAMPLES {
            samples.pop_front();
        }
    }

    /// What is played.
    pub fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }

    /// What everybody watches, unless every client has a timeline of its own.
    pub fn shared(&self) -> Option<&Arc<Show>> {
        self.shared.as_ref()
    }

    /// Whether nothing plays any more, by a fault.
    pub fn is_broken(&self) -> bool {
        self.stage.is_broken()
    }

    /// What is wrong with the recording, as far as it is known.
    pub fn problems(&self) -> &Problems {
        &self.problems
    }

    pub fn presence(&self) -> watch::Receiver<Presence> {
        self.presence.subscribe()
    }

    /// Takes in a new client, and tells it what there is.
    pub fn welcome(self: &Arc<Self>, address: SocketAddr, protocol: Subprotocol) -> Guest {
        let endings = || self.endings.clone();
        let happenings = || self.happenings.clone();
        let open =
            || Arc::new(Show::open(&*self.stage, &self.catalog, &self.options, endings(), happenings()));
        let show = self.shared.clone().unwrap_or_else(open);
        let ServerOptions { client_buffer, client_lag, .. } = self.options;
        let outbox = Arc::new(Outbox::new(self.catalog.channels.len(), client_buffer, client_lag));
        let mut state = self.lock();
        let id = state.next_guest;
        state.next_guest += 1;
        let hears_states = protocol == Subprotocol::SdkV1;
        show.join(id, Arc::clone(&outbox), hears_states, &state.problem_statuses);
        let entry = Entry {
            address,
            protocol,
            since: Instant::now(),
            outbox: Arc::clone(&outbox),
            show: Arc::clone(&show),
            rounds: VecDeque::from([Counts::default()]),
            calm_rounds: None,
            removing: false,
            told_problems: state.problem_statuses.len(),
        };
        state.guests.insert(id, entry);
        state.share_out(&self.options);
        drop(state);
        self.presence.send_modify(|presence| {
            presence.clients += 1;
            presence.connected += 1;
        });
        self.happenings.tell(Happening::Came { client: id, address });
        Guest { hub: Arc::clone(self), id, address, outbox, show, left: OnceLock::new() }
    }

    /// All clients, in the order in which they came.
    pub fn clients(&self) -> Vec<Client> {
        let client = |(&id, entry): (&u64, &Entry)| Client {
            id,
            address: entry.address,
            protocol: entry.protocol,
            since: entry.since,
            outbox: Arc::clone(&entry.outbox),
            show: Arc::clone(&entry.show),
        };
        self.lock().guests.iter().map(client).collect()
    }

    /// What is watched: by all clients the same, or by each its own.
    pub fn shows(&self) -> Vec<Arc<Show>> {
        match &self.shared {
            Some(show) => vec![Arc::clone(show)],
            None => self.lock().guests.values().map(|entry| Arc::clone(&entry.show)).collect(),
        }
    }

    /// Where the timelines are: the one of all clients, or those of each.
    pub fn positions(&self) -> Vec<Position> {
        self.shows().iter().map(|show| show.remote().position()).collect()
    }

    /// Counts whenever a timeline ends, or a client leaves after that.
    pub fn endings(&self) -> watch::Receiver<u64> {
        self.endings.subscribe()
    }

    /// Whether a timeline has ended, and no other that somebody watches has not.
    pub fn all_ended(&self) -> bool {
        *self.endings.borrow() > 0
            && self.positions().iter().all(|position| position.state == PlaybackState::Ended)
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

    /// Tells what happens.
    pub fn happenings(&self) -> &Happenings {
        &self.happenings
    }

    /// What became of the messages of each topic so far, for all clients together. Costs the same however many clients
    /// have left.
    pub fn sums(&self) -> Sums {
        let (mut sums, outboxes) = {
            let state = self.lock();
            (state.archives.sums().clone(), state.outboxes())
        };
        outboxes.iter().for_each(|outbox| sums.add(&outbox.tallies(), &outbox.lateness()));
        sums
    }

    /// What became of the messages of each client and topic so far.
    pub fn records(&self) -> Records {
        let state = self.lock();
        state.archives.records(state.guests.values().map(|guest| guest.record(None)))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is whole between any two statements that change it, so a panic elsewhere spoils nothing.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").field("options", &self.options).finish_non_exhaustive()
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

impl State {
    /// Lets as much wait for each client as is its share.
    fn share_out(&self, options: &ServerOptions) {
        let share = options.limits.share(self.guests.len(), options.client_buffer);
        self.guests.values().for_each(|guest| guest.outbox.set_limit(share));
    }

    /// Of all clients, so that what takes time can be done without the lock.
    fn outboxes(&self) -> Vec<Arc<Outbox>> {
        self.guests.values().map(|guest| Arc::clone(&guest.outbox)).collect()
    }
}

/// One client's place in the hub; gives it up when dropped.
pub(super) struct Guest {
    hub: Arc<Hub>,
    id: u64,
    address: SocketAddr,
    outbox: Arc<Outbox>,
    show: Arc<Show>,
    /// Why it leaves.
    left: OnceLock<String>,
}

impl Guest {
    /// Says why it leaves.
    pub fn leaves(&self, reason: String) {
        // There is one reason, and it is told once.
        self.left.set(reason).unwrap_or_default();
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn outbox(&self) -> &Arc<Outbox> {
        &self.outbox
    }

    /// What commands the timeline that this client watches, where it may.
    pub fn remote(&self) -> Option<&Remote> {
        self.hub.control().then(|| self.show.remote())
    }

    /// The timeline that this client watches.
    pub fn show(&self) -> &Show {
        &self.show
    }

    /// The part of the recording that is played.
    pub fn range(&self) -> Range {
        self.hub.catalog.range
    }

    /// Finds the files that clients fetch.
    pub fn assets(&self) -> &Arc<Assets> {
        &self.hub.assets
    }

    /// Subscribes, and sends the last message of the channel.
    pub fn subscribe(&self, wanted: Subscription) -> Result<(), SubscribeError> {
        self.show.subscribe(self.id, &self.outbox, wanted)?;
        self.hub.graph.add(self.id, wanted.channel);
        Ok(())
    }

    /// Says whether there was such a subscription.
    pub fn unsubscribe(&self, id: u32) -> bool {
        let channel = self.show.unsubscribe(self.id, &self.outbox, id);
        if let Some(channel) = channel {
            self.hub.graph.remove(self.id, channel);
        }
        channel.is_some()
    }

    /// Tells this client the parameters, and from now on whenever they change. Says whether it took that.
    pub fn subscribe_parameters(&self, wanted: Properties) -> bool {
        self.show.subscribe_parameters(self.id, &self.outbox, wanted)
    }

    /// Tells this client the parameters no more.
    pub fn unsubscribe_parameters(&self, unwanted: Properties) {
        self.show.unsubscribe_parameters(self.id, unwanted);
    }

    /// Tells this client who is subscribed to what, now and whenever it changes. Says whether it took that.
    pub fn subscribe_graph(&self) -> bool {
        self.hub.graph.listen(self.id, &self.outbox)
    }

    /// Tells this client no more who is subscribed.
    pub fn unsubscribe_graph(&self) {
        self.hub.graph.stop_listening(self.id);
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.show.leave(self.id);
        self.hub.graph.leave(self.id);
        let reason = self.left.take();
        let happenings = self.hub.happenings();
        happenings.tell(Happening::Left { client: self.id, reason: reason.clone().unwrap_or_default() });
        let mut state = self.hub.lock();
        let left = state.guests.remove(&self.id);
        if let Some(entry) = &left {
            state.past.add(&entry.outbox.counts());
            state.archives.remember(entry.record(reason));
        }
        state.share_out(&self.hub.options);
        drop(state);
        // Perhaps the only one that did not end.
        self.hub.endings.send_if_modified(|endings| *endings > 0);
        self.hub.presence.send_modify(|presence| presence.clients -= 1);
    }
}

/// Tells clients what they asked to hear of: where playback is, and who subscribes to what.
pub(super) async fn tell(hub: Arc<Hub>) {
    let positions = async {
        let mut beat = tokio::time::interval(POSITION);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            beat.tick().await;
            for show in hub.shows() {
                show.tell_missed();
                show.tell_position_where_time_passes();
            }
        }
    };
    tokio::join!(positions, hub.graph.tell());
}

/// Tells clients from time to time what is new beside the messages: problems that were met in the recording,
/// and what was dropped for them.
pub(super) async fn watch(hub: Arc<Hub>) {
    let mut rounds = tokio::time::interval(NEWS);
    rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        rounds.tick().await;
        hub.sample();
        let problems = hub.problems.list();
        let mut state = hub.lock();
        let State { guests, problems: known, problem_statuses: statuses, .. } = &mut *state;
        let known = std::mem::replace(known, problems.len());
        if known < problems.len() {
            statuses.extend(problem_statuses(&problems, known));
        }
        for guest in guests.values_mut() {
            tell_problems(&guest.outbox, statuses, &mut guest.told_problems);
            if let Some(status) = guest.dropped_status(&hub.catalog) {
                let taken = guest.outbox.push_answer(status);
                guest.retry_unless(taken);
            }
        }
        drop(state);
        hub.shows().iter().for_each(|show| show.detach());
    }
}

/// Tells a client of those problems that it was not told of. What it does not take now, since it reads no answers, it
/// is told in a later round.
fn tell_problems(outbox: &Outbox, statuses: &[Bytes], told: &mut usize) {
    let new = statuses.iter().skip(*told);
    *told += new.take_while(|status| outbox.push_answer(Bytes::clone(status))).count();
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
    fn record(&self, left: Option<String>) -> ClientRecord {
        record(self.address, self.protocol, self.since.elapsed(), left, &self.outbox)
    }

    /// Where the client did not take the last status, and it was that all is over, it is told again.
    fn retry_unless(&mut self, taken: bool) {
        if !taken && self.removing {
            self.calm_rounds = Some(CALM_ROUNDS - 1);
        }
    }

    /// A frame that tells what was dropped, or that it is over, if there is news of that.
    fn dropped_status(&mut self, catalog: &Catalog) -> Option<Bytes> {
        let before = self.rounds.back().map_or(0, |last| last.dropped);
        let (counts, dropped) = self.outbox.counts_of_dropped(before);
        self.rounds.push_back(counts);
        if self.rounds.len() > DROPPED_ROUNDS + 1 {
            self.rounds.pop_front();
        }
        let Some(topics) = dropped else {
            let rounds = self.calm_rounds? + 1;
            self.calm_rounds = Some(rounds);
            if rounds < CALM_ROUNDS {
                return None;
            }
            self.calm_rounds = None;
            self.removing = true;
            return Some(frame::text(&ServerMessage::RemoveStatus { status_ids: &[DROPPED] }.to_json()));
        };
        self.calm_rounds = Some(0);
        self.removing = false;
        let message = describe_dropped(&self.rounds, &topics, catalog);
        let status =
            ServerMessage::Status { level: StatusLevel::Warning, message: &message, id: Some(DROPPED) };
        Some(frame::text(&status.to_json()))
    }
}

/// "312 messages were dropped for this connection so far, 298 of them on /lidar/points, and 40 in the last 10 s:
/// it takes 2.1 MB/s of 13.6". `rounds` are the counts of the last seconds.
fn describe_dropped(
    rounds: &VecDeque<Counts>,
    topics: &BTreeMap<ChannelId, Tally>,
    catalog: &Catalog,
) -> String {
    let (Some(first), Some(last)) = (rounds.front(), rounds.back()) else { return String::new() };
    let seconds = (rounds.len() - 1) as f64 * NEWS.as_secs_f64();
    let megabytes = |from: u64, to: u64| (to - from) as f64 / seconds / 1e6;
    let (worst, most) = topics
        .iter()
        .max_by_key(|(_, tally)| tally.dropped)
        .and_then(|(channel, tally)| Some((catalog.topic(*channel)?, tally.dropped)))
        .unwrap_or_default();
    format!(
        "{} messages were dropped for this connection so far, {most} of them on {worst}, and {} in the last \
         {seconds:.0} s: it takes {:.1} MB/s of {:.1}",
        last.dropped,
        last.dropped - first.dropped,
        megabytes(first.sent_bytes, last.sent_bytes),
        megabytes(first.offered_bytes, last.offered_bytes),
    )
}

#[cfg(test)]
mod tests {
    use super::super::outbox::Batch;
    use super::*;

    #[test]
    fn who_reads_no_answers_is_told_of_problems_later() {
        let outbox = Outbox::new(0, 1024, Duration::MAX);
        let statuses = ["first", "second"].map(|text| Bytes::from_static(text.as_bytes()));
        let mut told = 0;
        tell_problems(&outbox, &statuses[..1], &mut told);
        assert_eq!(told, 1);
        while outbox.push_answer(Bytes::from(vec![0; 64 * 1024])) {}
        tell_problems(&outbox, &statuses, &mut told);
        assert_eq!(told, 1, "nothing more is taken");
        outbox.take_batch(&mut Batch::default());
        tell_problems(&outbox, &statuses, &mut told);
        assert_eq!(told, 2);
        tell_problems(&outbox, &statuses, &mut told);
        assert_eq!(told, 2, "each is told once");
    }
}
