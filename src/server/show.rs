//! What is played at one time, and the clients that watch it together.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::budget::Budget;
use super::catalog::Catalog;
use super::control;
use super::happenings::{Happening, Happenings};
use super::latest::Latest;
use super::outbox::{LARGE, Outbox, ShareWatch, SubscribeError};
use super::parameters::{Properties, Property, is_paused};
use super::{ServerOptions, SessionMode};
use crate::foxglove::Subscription;
use crate::playback::{Audience, Event, Player, Position, Rate, Remote, State as PlaybackState};
use crate::recording::ChannelId;
use crate::time::Timestamp;

/// For how many clients the scheduler itself writes what is small to the socket. For more, that would delay the last
/// ones; each further one is served by whoever waits for it.
const WRITTEN_LIGHT: usize = 64;

/// What is no larger than this the scheduler writes itself to a sole viewer, in bytes: that takes no longer than waking
/// somebody else.
const LIGHT_FOR_ONE: usize = 256 * 1024;

/// What is larger than this the scheduler writes to nobody, in bytes.
const LARGE_FOR_ONE: usize = 4 * 1024 * 1024;

/// Who subscribes does not wait longer for the state at the start to be found.
const SLOW_START: Duration = Duration::from_secs(10);

/// Who watches a show, and has watched it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Visits {
    /// How many clients have connected to it.
    pub connected: u64,
    /// How many subscriptions were made.
    pub subscribed: u64,
    /// The channels to which each client is subscribed now, of those that are subscribed to any.
    subscribers: BTreeMap<u64, BTreeSet<ChannelId>>,
}

impl Visits {
    /// How many clients are subscribed to something now.
    pub fn subscribers(&self) -> usize {
        self.subscribers.len()
    }

    /// Whether a client is subscribed to this channel now.
    pub fn is_subscribed(&self, channel: ChannelId) -> bool {
        self.subscribers.values().any(|channels| channels.contains(&channel))
    }

    fn subscribe(&mut self, client: u64, channel: ChannelId) {
        self.subscribed += 1;
        self.subscribers.entry(client).or_default().insert(channel);
    }

    fn unsubscribe(&mut self, client: u64, channel: ChannelId) {
        if let Some(channels) = self.subscribers.get_mut(&client) {
            channels.remove(&channel);
            if channels.is_empty() {
                self.subscribers.remove(&client);
            }
        }
    }
}

/// Starts timelines: the one that all clients watch, or one for each client.
pub trait Stage: Send + Sync {
    /// Starts a timeline whose events `audience` hears. `visits` tells of those who watch it, so that it can
    /// begin to play when they are there.
    fn play(&self, audience: Box<dyn Audience>, visits: watch::Receiver<Visits>) -> Playing;

    /// Whether no timeline is driven any more, by a fault.
    fn is_broken(&self) -> bool;
}

/// A running timeline, and what begins to play it. Ends when dropped.
#[derive(Debug)]
pub struct Playing {
    /// The timeline.
    pub player: Player,
    /// Waits for the moment to begin.
    pub starting: JoinHandle<()>,
}

impl Drop for Playing {
    fn drop(&mut self) {
        self.starting.abort();
    }
}

/// A timeline and those who watch it: all clients, or a single one.
pub(super) struct Show {
    house: Arc<House>,
    playing: Playing,
}

/// Those who watch a show.
struct House {
    catalog: Arc<Catalog>,
    lookback: bool,
    control: bool,
    state: Mutex<State>,
    visits: watch::Sender<Visits>,
    /// Whether the state at the start is known.
    stands: watch::Sender<bool>,
    /// Counts the ends of timelines, of this one and others.
    endings: watch::Sender<u64>,
    happenings: Happenings,
}

struct State {
    viewers: BTreeMap<u64, Viewer>,
    /// How many deliveries there were.
    deliveries: u64,
    /// Whether they lose nothing now, and playback waits for them.
    lossless: bool,
    /// The time that was last told to everybody.
    time: Timestamp,
    /// The last message of each channel up to there, for who subscribes late.
    latest: Latest,
    /// Who has something left to be written, of those who had nothing waiting when it was delivered.
    shares: ShareWatch,
    /// The time that the scheduler may spend on writing what is large to a sole viewer, or the only one that is not
    /// behind: to wake somebody else for that costs more, but something may be due meanwhile. `None` where each client
    /// has a timeline of its own.
    large: Option<Budget>,
}

struct Viewer {
    outbox: Arc<Outbox>,
    /// Whether it understands Playback State messages, also those that answer nothing it asked for.
    hears_states: bool,
    /// Whether the last events queued something for it, that was not passed on to be written yet.
    filled: bool,
    /// Whether messages were waiting for it before the last events.
    behind: bool,
    /// The last delivery that it got.
    delivery: u64,
    /// What it wants to hear of when it changes.
    parameters: Properties,
    missed: Missed,
}

/// News that a viewer did not take, since it had not read the answers before.
#[derive(Clone, Copy, Debug, Default)]
struct Missed {
    parameters: Properties,
    state: bool,
    /// Whether time went to another place, as the state would have said.
    jump: bool,
}

impl Viewer {
    fn tell_parameters(&mut self, properties: Properties, frame: Bytes) {
        if !self.outbox.push_answer(frame) {
            self.missed.parameters = self.missed.parameters.with(properties);
        }
    }

    fn tell_state(&mut self, frame: Bytes, jumped: bool) {
        if !self.outbox.push_answer(frame) {
            self.missed.state = true;
            self.missed.jump |= jumped;
        }
    }
}

impl Show {
    /// Starts a timeline that nobody watches yet. `endings` is told when it ends.
    pub fn open(
        stage: &dyn Stage,
        catalog: &Arc<Catalog>,
        options: &ServerOptions,
        endings: watch::Sender<u64>,
        happenings: Happenings,
    ) -> Self {
        let state = State {
            viewers: BTreeMap::new(),
            deliveries: 0,
            lossless: options.lossless,
            time: catalog.range.start,
            latest: Latest::new(catalog.channels.len()),
            shares: ShareWatch::default(),
            // With a timeline for each client, the others would wait for it.
            large: (options.session == SessionMode::Shared).then(|| Budget::new(Instant::now())),
        };
        let house = Arc::new(House {
            catalog: Arc::clone(catalog),
            lookback: options.lookback,
            control: options.control,
            state: Mutex::new(state),
            visits: watch::Sender::default(),
            stands: watch::Sender::default(),
            endings,
            happenings,
        });
        let listener = Listener {
            house: Arc::clone(&house),
            always_lossless: options.lossless,
            lossless: options.lossless,
            told: None,
            jumped: false,
            parameters: None,
        };
        let playing = stage.play(Box::new(listener), house.visits.subscribe());
        Show { house, playing }
    }

    /// What commands the timeline.
    pub fn remote(&self) -> &Remote {
        self.playing.player.remote()
    }

    /// Whether the timeline waits for the moment to begin.
    pub fn is_waiting(&self) -> bool {
        !self.playing.starting.is_finished() && !self.remote().position().commanded
    }

    /// Takes in a client, and tells it what there is.
    pub fn join(&self, id: u64, outbox: Arc<Outbox>, hears_states: bool, statuses: &[Bytes]) {
        let hears_states = self.house.control && hears_states;
        let catalog = &self.house.catalog;
        let mut state = self.house.lock();
        let remote = self.remote().clone();
        outbox.when_it_may_go_on(Box::new(move || remote.go_on()));
        outbox.lose_nothing(state.lossless);
        outbox.greet(catalog.server_info.clone(), state.time, &catalog.advertise);
        for status in catalog.services.iter().chain(statuses) {
            outbox.push(status.clone());
        }
        if hears_states {
            outbox.push(control::state(&self.remote().position(), false, ""));
        }
        state.viewers.insert(
            id,
            Viewer {
                outbox,
                hears_states,
                filled: false,
                behind: false,
                delivery: 0,
                parameters: Properties::default(),
                missed: Missed::default(),
            },
        );
        drop(state);
        self.house.visits.send_modify(|visits| visits.connected += 1);
    }

    /// Takes no more care of a client.
    pub fn leave(&self, id: u64) {
        let mut state = self.house.lock();
        let left = state.viewers.remove(&id);
        let lossless = state.lossless;
        drop(state);
        self.house.visits.send_modify(|visits| drop(visits.subscribers.remove(&id)));
        // Perhaps it was the one that the others waited for.
        if let Some(viewer) = left {
            viewer.outbox.return_share();
        }
        if lossless {
            self.remote().go_on();
        }
    }

    /// Waits until the state at the start is known, for a while: who subscribes after that gets it in the order of
    /// its subscriptions, and so in every run the same.
    pub async fn stands(&self) {
        let mut stands = self.house.stands.subscribe();
        timeout(SLOW_START, stands.wait_for(|stands| *stands)).await.map(drop).unwrap_or_default();
    }

    /// Subscribes, and sends the last message of the channel. That and the flow of messages are under the
    /// same lock: what lookback sends is not sent again by the flow, and nothing between is lost.
    pub fn subscribe(&self, id: u64, outbox: &Outbox, wanted: Subscription) -> Result<(), SubscribeError> {
        let state = self.house.lock();
        outbox.subscribe(wanted)?;
        if self.house.lookback
            && let Some(message) = state.latest.get(wanted.channel)
        {
            outbox.deliver_past(state.time, message);
        }
        drop(state);
        self.house.visits.send_modify(|visits| visits.subscribe(id, wanted.channel));
        Ok(())
    }

    /// Unsubscribes. Gives the channel, if there was such a subscription.
    pub fn unsubscribe(&self, id: u64, outbox: &Outbox, subscription: u32) -> Option<ChannelId> {
        let channel = outbox.unsubscribe(subscription)?;
        self.house.visits.send_modify(|visits| visits.unsubscribe(id, channel));
        Some(channel)
    }

    /// Tells a client these parameters, and from now on whenever they change. Says whether it took that.
    pub fn subscribe_parameters(&self, id: u64, outbox: &Outbox, wanted: Properties) -> bool {
        let mut state = self.house.lock();
        if let Some(viewer) = state.viewers.get_mut(&id) {
            viewer.parameters = viewer.parameters.with(wanted);
        }
        // Changes are told under the same lock, so that none comes before what it changes.
        let frame = wanted.frame(&self.remote().position(), self.house.catalog.range, None);
        let taken = outbox.push_answer(frame);
        drop(state);
        taken
    }

    /// Tells a client these parameters, as the answer to the request `id`. Says whether it took that.
    pub fn push_parameters(&self, outbox: &Outbox, wanted: Properties, id: Option<&str>) -> bool {
        let state = self.house.lock();
        let frame = wanted.frame(&self.remote().position(), self.house.catalog.range, id);
        let taken = outbox.push_answer(frame);
        drop(state);
        taken
    }

    /// Tells a client these parameters no more.
    pub fn unsubscribe_parameters(&self, id: u64, unwanted: Properties) {
        if let Some(viewer) = self.house.lock().viewers.get_mut(&id) {
            viewer.parameters = viewer.parameters.without(unwanted);
        }
    }

    /// Tells those who want to hear of it where playback is, while it moves. Where it stands they know it.
    pub fn tell_position_where_time_passes(&self) {
        if self.remote().position().state == PlaybackState::Playing {
            let position = [Property::Position].into_iter().collect();
            self.house.tell_parameters(position, &|| self.remote().position());
        }
    }

    /// Tells those again who took no news while they had not read the answers before.
    pub fn tell_missed(&self) {
        let range = self.house.catalog.range;
        for viewer in self.house.lock().viewers.values_mut() {
            let missed = std::mem::take(&mut viewer.missed);
            if !missed.parameters.is_empty() {
                let wanted = viewer.parameters.common(missed.parameters);
                viewer.tell_parameters(wanted, wanted.frame(&self.remote().position(), range, None));
            }
            if missed.state {
                viewer.tell_state(control::state(&self.remote().position(), missed.jump, ""), missed.jump);
            }
        }
    }

    /// Lets what is remembered for a while already keep no chunk in memory.
    pub fn detach(&self) {
        self.house.lock().latest.detach();
    }
}

impl House {
    /// Lets no viewer lose anything from now on, or lets them lose what they can't take again.
    fn lose_nothing(&self, nothing: bool) {
        let mut state = self.lock();
        state.lossless = nothing;
        state.viewers.values().for_each(|viewer| viewer.outbox.lose_nothing(nothing));
    }

    /// Tells those who want to hear of these parameters what they are.
    fn tell_parameters(&self, changed: Properties, position: &dyn Fn() -> Position) {
        // One frame for all who want the same.
        let mut last: Option<(Properties, Bytes)> = None;
        for viewer in self.lock().viewers.values_mut() {
            let wanted = viewer.parameters.common(changed);
            if wanted.is_empty() {
                continue;
            }
            let frame = match last.take() {
                Some((properties, frame)) if properties == wanted => frame,
                _ => wanted.frame(&position(), self.catalog.range, None),
            };
            viewer.tell_parameters(wanted, frame.clone());
            last = Some((wanted, frame));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is whole between any two statements that change it, so a panic elsewhere spoils nothing.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Queues these events for those who watch, and lets them be written. Who is behind comes last: what is queued for
    /// it may have to be copied, and it has something to read already. It is `due` when `until_due` returns: nothing is
    /// written before.
    fn deliver(&mut self, events: &[Event], before: Timestamp, due: Instant, until_due: &mut dyn FnMut()) {
        self.deliveries += 1;
        for behind in [false, true] {
            let mut filled = 0;
            for viewer in self.viewers.values_mut() {
                viewer.filled = false;
                if viewer.behind == behind && viewer.delivery < self.deliveries {
                    let delivery = viewer.outbox.deliver(events, before, due);
                    (viewer.filled, viewer.behind) = (delivery.filled, delivery.behind);
                    viewer.delivery = self.deliveries;
                    filled += usize::from(viewer.filled);
                }
            }
            if !behind {
                until_due();
            }
            if filled > 0 {
                self.write(filled, behind);
            }
        }
    }

    /// Whether a viewer is the only one, or the only one that is not behind: then no other waits while it is served.
    fn is_one(&self, behind: bool) -> bool {
        let not_behind = self.viewers.values().filter(|viewer| !viewer.behind);
        self.viewers.len() == 1 || (!behind && not_behind.take(2).count() == 1)
    }

    /// Writes to those who have something to be written, or wakes who does; `filled` is how many have it, and they are
    /// those who are behind, or the other ones.
    fn write(&mut self, filled: usize, behind: bool) {
        let one = self.is_one(behind);
        let light = if one { LIGHT_FOR_ONE } else { LARGE };
        let mut large = if one && !self.lossless { self.large.as_mut() } else { None };
        let mut share = self.shares.another();
        let mut leave = |viewer: &Viewer| {
            if !viewer.behind && !self.lossless {
                viewer.outbox.take_share(share.get_or_insert_default().another());
            }
            viewer.outbox.wake();
        };
        let mut write = |viewer: &Viewer| {
            viewer.outbox.write_light(light)
                || large
                    .as_mut()
                    .filter(|_| !viewer.behind)
                    .and_then(|large| large.spend_on(|| viewer.outbox.write_large(LARGE_FOR_ONE)))
                    == Some(true)
        };
        let mut viewers = self.viewers.values().filter(|viewer| viewer.filled);
        // For the others somebody else writes meanwhile.
        let others = filled.saturating_sub(WRITTEN_LIGHT);
        viewers.by_ref().take(others).for_each(&mut leave);
        // What is small goes first, so that nobody's small messages wait for another one's large ones; and nothing that
        // is due meanwhile waits for these, where there are several viewers that are not behind.
        viewers.filter(|viewer| !write(viewer)).for_each(leave);
        self.shares = share.map_or_else(ShareWatch::default, |share| share.watch());
    }

    /// Remembers the last message of each channel.
    fn remember(&mut self, events: &[Event]) {
        for event in events {
            match event {
                Event::Message(message, _) => self.latest.remember(message),
                Event::Lookback(messages) => {
                    messages.iter().for_each(|message| self.latest.remember(message));
                }
                Event::Jumped(_) | Event::Looped(_) => self.latest.clear(),
                Event::Stalled(_) | Event::Skipped(_) | Event::Ended(_) | Event::Tick(_) => {}
            }
        }
    }
}

/// A house as the scheduler sees it.
struct Listener {
    house: Arc<House>,
    /// Whether nothing is to be lost at any rate.
    always_lossless: bool,
    /// Whether nothing is lost now.
    lossless: bool,
    /// What playback was last said to do.
    told: Option<(PlaybackState, Rate)>,
    /// Whether time went to another place since then.
    jumped: bool,
    /// Whether playback was last said to be paused, how fast it goes, and whether it loops.
    parameters: Option<(bool, Rate, bool)>,
}

impl Listener {
    /// Tells the parameters that have changed.
    fn tell_parameters(&mut self, position: &Position) {
        let now = (is_paused(position), position.rate, position.repeats);
        let before = self.parameters.replace(now);
        let stands = position.state == PlaybackState::Paused || position.state == PlaybackState::Ended;
        let changes = [
            (Property::Paused, before.is_none_or(|before| before.0 != now.0)),
            (Property::Rate, before.is_none_or(|before| before.1 != now.1)),
            (Property::Loop, before.is_none_or(|before| before.2 != now.2)),
            // While time passes, it is told from time to time.
            (Property::Position, self.jumped || stands),
        ];
        let changed: Properties =
            changes.into_iter().filter_map(|(property, changed)| changed.then_some(property)).collect();
        if !changed.is_empty() {
            self.house.tell_parameters(changed, &|| *position);
        }
    }

    /// Tells what playback does, if that has changed.
    fn tell_state(&mut self, position: &Position) {
        let told = Some((position.state, position.rate));
        let jumped = std::mem::take(&mut self.jumped);
        if !self.house.control || (self.told == told && !jumped) {
            return;
        }
        self.told = told;
        let frame = control::state(position, jumped, "");
        for viewer in self.house.lock().viewers.values_mut().filter(|viewer| viewer.hears_states) {
            viewer.tell_state(frame.clone(), jumped);
        }
    }
}

impl Audience for Listener {
    fn changed(&mut self, position: &Position) {
        self.tell_parameters(position);
        self.tell_state(position);
        // Last, since then connections may be closed.
        if position.state == PlaybackState::Ended {
            self.house.endings.send_modify(|endings| *endings += 1);
        }
    }

    fn takes_more(&mut self, rate: Rate) -> bool {
        let lossless = self.always_lossless || rate.is_max();
        if std::mem::replace(&mut self.lossless, lossless) != lossless {
            self.house.lose_nothing(lossless);
        }
        // Asks each of them, so that each that can't tells when it can.
        !lossless
            || self.house.lock().viewers.values().fold(true, |all, viewer| viewer.outbox.has_room() & all)
    }

    fn has_passed_on(&self) -> bool {
        self.house.lock().shares.is_written()
    }

    fn deliver(&mut self, events: &[Event], due: Instant, until_due: &mut dyn FnMut()) {
        for event in events {
            if let Event::Message(message, _) = event {
                self.house.catalog.count(message);
            }
        }
        self.jumped |= events.iter().any(|event| matches!(event, Event::Jumped(_) | Event::Looped(_)));
        let mut state = self.house.lock();
        let before = state.time;
        for event in events.iter().rev() {
            state.time = match event {
                Event::Message(message, _) => message.log_time,
                Event::Jumped(time) | Event::Looped(time) | Event::Tick(time) | Event::Ended(time) => *time,
                Event::Lookback(_) | Event::Stalled(_) | Event::Skipped(_) => continue,
            };
            break;
        }
        state.deliver(events, before, due, until_due);
        // Nobody asks for the last messages where these are not wanted.
        if self.house.lookback {
            state.remember(events);
        }
        drop(state);
        for event in events {
            match event {
                Event::Jumped(time) => self.house.happenings.tell(Happening::Jumped(*time)),
                Event::Looped(_) => self.house.happenings.tell(Happening::Looped),
                Event::Ended(_) => self.house.happenings.tell(Happening::Ended),
                Event::Stalled(time) => tracing::debug!("playback stood for {time:?}"),
                Event::Skipped(time) => tracing::debug!("a silence is cut short by {time:?}"),
                Event::Message(..) | Event::Lookback(_) | Event::Tick(_) => {}
            }
        }
        if events.iter().any(|event| matches!(event, Event::Lookback(_))) {
            self.house.stands.send_if_modified(|stands| !std::mem::replace(stands, true));
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;
    use crate::recording::{Memory, Message};
    use crate::server::outbox::{Batch, Wrote};
    use crate::server::wire::testing::connection;

    const LIMIT: usize = 1 << 20;

    fn message(time: u64) -> Message {
        let time = Timestamp::from_nanos(time);
        let chunk = Bytes::from(vec![7; 100]);
        Message {
            channel: ChannelId(0),
            sequence: 0,
            log_time: time,
            publish_time: time,
            memory: Memory::of(&chunk),
            data: chunk.slice(10..20),
        }
    }

    fn viewer() -> Viewer {
        let outbox = Arc::new(Outbox::new(1, LIMIT, Duration::MAX));
        outbox.subscribe(Subscription { id: 0, channel: ChannelId(0) }).unwrap();
        Viewer {
            outbox,
            hears_states: false,
            filled: false,
            behind: false,
            delivery: 0,
            parameters: Properties::default(),
            missed: Missed::default(),
        }
    }

    fn state(viewers: u64) -> State {
        State {
            viewers: (0..viewers).map(|id| (id, viewer())).collect(),
            deliveries: 0,
            lossless: false,
            time: Timestamp::MIN,
            latest: Latest::new(1),
            shares: ShareWatch::default(),
            large: None,
        }
    }

    /// Delivers what is due now.
    fn deliver(state: &mut State, events: &[Event], before: Timestamp) {
        state.deliver(events, before, Instant::now(), &mut || {});
    }

    #[test]
    fn where_nothing_can_be_written_at_once_somebody_else_writes_to_everybody() {
        for viewers in [1, 2, 2 * WRITTEN_LIGHT as u64] {
            let mut state = state(viewers);
            deliver(&mut state, &[Event::Message(message(1), None)], Timestamp::MIN);
            let woken = |viewer: &Viewer| viewer.outbox.filled().now_or_never().is_some();
            assert!(state.viewers.values().all(woken), "{viewers}");
            assert!(!state.viewers.values().any(woken), "{viewers}");
        }
    }

    #[tokio::test]
    async fn what_is_not_due_yet_is_queued_and_not_written() {
        let mut state = state(3);
        let outboxes: Vec<_> = state.viewers.values().map(|viewer| Arc::clone(&viewer.outbox)).collect();
        let mut clients = Vec::new();
        for outbox in &outboxes {
            let (client, wire) = connection().await;
            outbox.connect(wire);
            clients.push(client);
        }
        let (mut asked, later) = (0, Instant::now() + Duration::from_secs(3600));
        state.deliver(&[Event::Message(message(1), None)], Timestamp::MIN, later, &mut || {
            asked += 1;
            for outbox in &outboxes {
                // Whoever tries.
                assert_eq!(outbox.write_some().unwrap(), Wrote::Some);
                assert_eq!(outbox.written(), 0);
                assert!(outbox.load().1 > 0);
            }
        });
        assert_eq!(asked, 1);
        assert!(outboxes.iter().all(|outbox| outbox.filled().now_or_never().is_some()));
    }

    #[tokio::test]
    async fn what_is_large_is_written_at_once_to_a_sole_viewer_where_nothing_else_waits_for_that() {
        const LARGE: usize = LIGHT_FOR_ONE + 1;
        let spent = || {
            let mut budget = Budget::new(Instant::now());
            // An hour's debt.
            (0..3600).for_each(|_| budget.spend(Duration::from_secs(1)));
            Some(budget)
        };
        let budget = || Some(Budget::new(Instant::now()));
        for (what, viewers, lossless, behind, large, size, at_once) in [
            ("one", 1, false, 0, budget(), LARGE, true),
            ("one of a timeline each", 1, false, 0, None, LARGE, false),
            ("who loses nothing", 1, true, 0, budget(), LARGE, false),
            ("who is behind", 1, false, 1, budget(), LARGE, false),
            ("no time left", 1, false, 0, spent(), LARGE, false),
            ("too large", 1, false, 0, budget(), LARGE_FOR_ONE + 1, false),
            ("two", 2, false, 0, budget(), LARGE, false),
            ("beside one who is behind", 2, false, 1, budget(), LARGE, true),
            ("two beside one who is behind", 3, false, 1, budget(), LARGE, false),
        ] {
            let mut state = State { lossless, large, ..state(viewers) };
            let mut clients = Vec::new();
            for (id, viewer) in &state.viewers {
                let (client, wire) = connection().await;
                viewer.outbox.set_limit(2 * LARGE_FOR_ONE);
                viewer.outbox.connect(wire);
                if *id < behind {
                    let before = Message { data: Bytes::from(vec![7; LARGE]), ..message(0) };
                    viewer.outbox.deliver(&[Event::Message(before, None)], Timestamp::MIN, Instant::now());
                }
                clients.push(client);
            }
            let message = Message { data: Bytes::from(vec![7; size]), ..message(1) };
            deliver(&mut state, &[Event::Message(message, None)], Timestamp::MIN);
            for (id, viewer) in &state.viewers {
                let at_once = at_once && *id >= behind;
                assert_eq!(viewer.outbox.written() > 0, at_once, "{what}");
                assert!(at_once || viewer.outbox.filled().now_or_never().is_some(), "{what}");
            }
        }
    }

    #[test]
    fn what_is_left_to_others_is_waited_for_but_not_for_who_is_behind() {
        let mut crowd = state(3);
        let deliver = |crowd: &mut State, time| {
            deliver(crowd, &[Event::Message(message(time), None)], Timestamp::MIN);
            crowd.shares.is_written()
        };
        assert!(!deliver(&mut crowd, 1));
        crowd.viewers.values().for_each(|viewer| viewer.outbox.return_share());
        assert!(crowd.shares.is_written());
        // Now the first message still waits for all of them.
        assert!(deliver(&mut crowd, 2));
        // And then for two of them.
        crowd.viewers[&1].outbox.take_batch(&mut Batch::default());
        assert!(!deliver(&mut crowd, 3));
        crowd.viewers[&1].outbox.return_share();
        assert!(crowd.shares.is_written());
        // Where nothing may be lost, time waits anyway.
        let mut lossless = State { lossless: true, ..state(3) };
        assert!(deliver(&mut lossless, 1));
    }

    #[test]
    fn everybody_gets_everything_once_whoever_is_behind() {
        let mut state = state(4);
        for time in 0..100 {
            state.deliver(
                &[Event::Message(message(time), None)],
                Timestamp::from_nanos(time),
                Instant::now(),
                &mut || {},
            );
            // One takes everything, another nothing, and others some of it.
            for (id, viewer) in &state.viewers {
                if id.checked_sub(1).is_some_and(|every| time % (2 * every + 1) == 0) {
                    viewer.outbox.take_batch(&mut Batch::default());
                }
            }
        }
        for viewer in state.viewers.values() {
            for _ in 0..100 {
                viewer.outbox.take_batch(&mut Batch::default());
            }
            assert_eq!(viewer.outbox.taken(), 100);
            assert_eq!(viewer.outbox.counts().offered_bytes, 100 * 10);
        }
    }
}
