//! What is played at one time, and the clients that watch it together.

mod listener;
mod state;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use self::listener::Listener;
use self::state::{State, Viewer};
use super::budget::Budget;
use super::catalog::Catalog;
use super::control;
use super::happenings::Happenings;
use super::outbox::{Outbox, SubscribeError};
use super::parameters::{Properties, Property};
use super::{ServerOptions, SessionMode};
use crate::foxglove::Subscription;
use crate::playback::{Audience, Player, Position, Remote, State as PlaybackState};
use crate::recording::ChannelId;

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

impl Show {
    /// Starts a timeline that nobody watches yet. `endings` is told when it ends.
    pub fn open(
        stage: &dyn Stage,
        catalog: &Arc<Catalog>,
        options: &ServerOptions,
        endings: watch::Sender<u64>,
        happenings: Happenings,
    ) -> Self {
        // With a timeline for each client, the others would wait for it.
        let large = (options.session == SessionMode::Shared).then(|| Budget::new(Instant::now()));
        let state = State::new(catalog.channels.len(), catalog.range.start, options.lossless, large);
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
        let listener = Listener::new(Arc::clone(&house), options.lossless);
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
        state.viewers.insert(id, Viewer::new(outbox, hears_states));
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
        outbox.queue_aside();
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
        outbox.queue_aside();
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
        outbox.queue_aside();
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
            self.house.queue_aside_before_news();
            self.house.tell_parameters(position, &|| self.remote().position());
        }
    }

    /// Tells those again who took no news while they had not read the answers before.
    pub fn tell_missed(&self) {
        let range = self.house.catalog.range;
        self.house.queue_aside_before_news();
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

    /// Queues what is put aside for those who are told news next, before that is under the lock for which the scheduler
    /// waits.
    fn queue_aside_before_news(&self) {
        let behind = self.lock().behind_with_news();
        behind.iter().for_each(|outbox| outbox.queue_aside());
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
