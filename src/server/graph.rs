//! Who is subscribed to what, for clients that want to know.
//!
//! Clients are told by number: where they are connected from is nothing that other clients have to know.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;

use super::catalog::Catalog;
use super::frame;
use super::happenings::{Happening, Happenings};
use super::outbox::Outbox;
use super::services;
use crate::foxglove::{ProvidedService, PublishedTopic, ServerMessage, SubscribedTopic};
use crate::recording::ChannelId;

/// Who publishes and serves everything.
const FGPLAY: &str = "fgplay";

/// After how long those are told again who took no news.
const LATER: Duration = Duration::from_secs(1);

/// Changes that come so soon after each other are told together.
const TOGETHER: Duration = Duration::from_millis(100);

/// A client that wants to hear of changes.
struct Listener {
    outbox: Arc<Outbox>,
    /// What it was not told, since it had not read the answers before.
    missed: BTreeSet<ChannelId>,
}

/// The subscriptions of all clients.
pub(super) struct Graph {
    catalog: Arc<Catalog>,
    services: bool,
    state: Mutex<State>,
    changed: Notify,
    happenings: Happenings,
}

#[derive(Default)]
struct State {
    subscribers: BTreeMap<ChannelId, BTreeSet<u64>>,
    /// Channels whose subscribers have changed since that was told.
    changed: BTreeSet<ChannelId>,
    /// Who wants to hear of it.
    listeners: BTreeMap<u64, Listener>,
}

impl State {
    /// Whether somebody who could not be told is to be told later.
    fn owes_news(&self) -> bool {
        self.listeners.values().any(|listener| !listener.missed.is_empty())
    }
}

impl Graph {
    /// Without subscriptions. `services` says whether clients can call services.
    pub fn new(catalog: Arc<Catalog>, services: bool, happenings: Happenings) -> Self {
        Graph { catalog, services, state: Mutex::default(), changed: Notify::new(), happenings }
    }

    /// A client has subscribed to a channel.
    pub fn add(&self, client: u64, channel: ChannelId) {
        let mut state = self.lock();
        let clients = state.subscribers.entry(channel).or_default();
        if clients.insert(client) && clients.len() == 1 {
            self.happenings.tell(Happening::Subscribed(channel));
        }
        self.note(&mut state, channel);
    }

    /// A client has unsubscribed from a channel.
    pub fn remove(&self, client: u64, channel: ChannelId) {
        let mut state = self.lock();
        if state.subscribers.get_mut(&channel).is_some_and(|clients| clients.remove(&client)) {
            self.note(&mut state, channel);
        }
    }

    /// A client is gone.
    pub fn leave(&self, client: u64) {
        let mut state = self.lock();
        state.listeners.remove(&client);
        let subscribed = state
            .subscribers
            .iter_mut()
            .filter_map(|(channel, clients)| clients.remove(&client).then_some(*channel));
        for channel in subscribed.collect::<Vec<_>>() {
            self.note(&mut state, channel);
        }
    }

    /// Tells a client everything, and from now on what changes.
    pub fn listen(&self, client: u64, outbox: &Arc<Outbox>) -> bool {
        let mut state = self.lock();
        let subscribed: Vec<ChannelId> = state.subscribers.keys().copied().collect();
        let taken = outbox.push_answer(self.update(&state, true, subscribed.into_iter()));
        state.listeners.insert(client, Listener { outbox: Arc::clone(outbox), missed: BTreeSet::new() });
        taken
    }

    /// Tells a client no more.
    pub fn stop_listening(&self, client: u64) {
        self.lock().listeners.remove(&client);
    }

    /// Tells what changes, for as long as it is polled.
    pub async fn tell(&self) {
        loop {
            let news = self.changed.notified();
            if self.lock().owes_news() {
                tokio::time::timeout(LATER, news).await.unwrap_or_default();
            } else {
                news.await;
            }
            tokio::time::sleep(TOGETHER).await;
            let mut state = self.lock();
            let changed = std::mem::take(&mut state.changed);
            let mut listeners = std::mem::take(&mut state.listeners);
            for listener in listeners.values_mut() {
                listener.missed.extend(&changed);
                if listener.missed.is_empty() {
                    continue;
                }
                let update = self.update(&state, false, listener.missed.iter().copied());
                if listener.outbox.push_answer(update) {
                    listener.missed.clear();
                }
            }
            state.listeners = listeners;
        }
    }

    fn note(&self, state: &mut State, channel: ChannelId) {
        if state.subscribers.get(&channel).is_some_and(BTreeSet::is_empty) {
            self.happenings.tell(Happening::Unsubscribed(channel));
        }
        // Who begins to listen is told everything.
        if !state.listeners.is_empty() {
            state.changed.insert(channel);
            self.changed.notify_one();
        }
    }

    /// A frame that tells who subscribes to these channels, and with `whole` also what there is.
    fn update(&self, state: &State, whole: bool, subscribed: impl Iterator<Item = ChannelId>) -> Bytes {
        let nobody = BTreeSet::new();
        let named: Vec<(&str, Vec<String>)> = subscribed
            .filter_map(|channel| {
                let clients = state.subscribers.get(&channel).unwrap_or(&nobody);
                let names = clients.iter().map(|client| format!("client-{client}")).collect();
                Some((self.catalog.topic(channel)?, names))
            })
            .collect();
        let subscribed: Vec<_> = named
            .iter()
            .map(|(name, clients)| SubscribedTopic {
                name,
                subscriber_ids: clients.iter().map(String::as_str).collect(),
            })
            .collect();
        let published = self
            .catalog
            .channels
            .iter()
            .filter(|_| whole)
            .map(|channel| PublishedTopic { name: &channel.topic, publisher_ids: vec![FGPLAY] });
        let services = services::names().filter(|_| whole && self.services);
        let services = services.map(|name| ProvidedService { name, provider_ids: vec![FGPLAY] });
        let update = ServerMessage::ConnectionGraphUpdate {
            published_topics: &published.collect::<Vec<_>>(),
            subscribed_topics: &subscribed,
            advertised_services: &services.collect::<Vec<_>>(),
            removed_topics: &[],
            removed_services: &[],
        };
        frame::text(&update.to_json())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is whole between any two statements that change it, so a panic elsewhere spoils nothing.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;
    use crate::playback::{Range, Rate};
    use crate::recording::Channel;
    use crate::server::outbox::Batch;
    use crate::server::{Access, Limits, ServerOptions, SessionMode};
    use crate::time::Timestamp;

    /// No test waits longer than this.
    const PATIENCE: Duration = Duration::from_secs(60);

    /// Of a recording with one channel.
    fn graph() -> Graph {
        let options = ServerOptions {
            name: String::new(),
            metadata: BTreeMap::new(),
            client_buffer: 1024,
            client_lag: Duration::MAX,
            lookback: true,
            lossless: false,
            rate: Rate::REAL_TIME,
            control: false,
            session: SessionMode::Shared,
            remembered_clients: 0,
            limits: Limits::default(),
            access: Access::default(),
            tls: None,
        };
        let range = Range { start: Timestamp::MIN, end: Timestamp::MAX };
        let channel = Channel { topic: "/x".into(), ..Channel::default() };
        Graph::new(Arc::new(Catalog::new(vec![channel], range, &options)), false, Happenings::new())
    }

    #[tokio::test]
    async fn who_reads_no_answers_is_told_later_although_nothing_changes_any_more() {
        let (graph, outbox) = (graph(), Arc::new(Outbox::new(1, 1024, Duration::MAX)));
        assert!(graph.listen(1, &outbox));
        while outbox.push_answer(Bytes::from(vec![0; 64 * 1024])) {}
        graph.add(2, ChannelId(0));
        let owes = async |owes| {
            while graph.lock().owes_news() != owes {
                tokio::task::yield_now().await;
            }
        };
        let reads = async {
            owes(true).await;
            outbox.take_batch(&mut Batch::default());
            owes(false).await;
        };
        tokio::select! {
            () = graph.tell() => unreachable!(),
            read = timeout(PATIENCE, reads) => read.expect("it is told"),
        }
    }
}
