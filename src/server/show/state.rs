//! The clients that watch a show, and what each of them is given.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use crate::playback::Event;
use crate::server::budget::Budget;
use crate::server::latest::Latest;
use crate::server::outbox::{Delivery, LARGE, Outbox, ShareWatch};
use crate::server::parameters::Properties;
use crate::time::Timestamp;

/// For how many clients the scheduler itself writes what is small to the socket. For more, that would delay the last
/// ones; each further one is served by whoever waits for it.
const WRITTEN_LIGHT: usize = 64;

/// What is no larger than this the scheduler writes itself to a sole viewer, in bytes: that takes no longer than waking
/// somebody else.
const LIGHT_FOR_ONE: usize = 256 * 1024;

/// What is larger than this the scheduler writes to nobody, in bytes.
const LARGE_FOR_ONE: usize = 4 * 1024 * 1024;

/// The clients that watch a show, and what they share.
pub(super) struct State {
    pub viewers: BTreeMap<u64, Viewer>,
    /// How many deliveries there were.
    deliveries: u64,
    /// Whether they lose nothing now, and playback waits for them.
    pub lossless: bool,
    /// The time that was last told to everybody.
    pub time: Timestamp,
    /// The last message of each channel up to there, for who subscribes late.
    pub latest: Latest,
    /// Who has something left to be written, of those who had nothing waiting when it was delivered.
    pub shares: ShareWatch,
    /// The time that the scheduler may spend on writing what is large where it is [for one](State::is_one): to wake
    /// somebody else for that costs more, but something may be due meanwhile. `None` where each client has a timeline
    /// of its own.
    large: Option<Budget>,
}

/// A client that watches.
pub(super) struct Viewer {
    pub outbox: Arc<Outbox>,
    /// Whether it understands Playback State messages, also those that answer nothing it asked for.
    pub hears_states: bool,
    /// Whether the last events queued something for it, that was not passed on to be written yet.
    filled: bool,
    /// Whether messages were waiting for it before the last events.
    behind: bool,
    /// Whether it was subscribed to nothing.
    idle: bool,
    /// The last delivery that it got.
    delivery: u64,
    /// What it wants to hear of when it changes.
    pub parameters: Properties,
    pub missed: Missed,
}

/// News that a viewer did not take, since it had not read the answers before.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Missed {
    pub parameters: Properties,
    pub state: bool,
    /// Whether time went to another place, as the state would have said.
    pub jump: bool,
}

impl Viewer {
    /// To which nothing was delivered.
    pub fn new(outbox: Arc<Outbox>, hears_states: bool) -> Self {
        Viewer {
            outbox,
            hears_states,
            filled: false,
            behind: false,
            idle: true,
            delivery: 0,
            parameters: Properties::default(),
            missed: Missed::default(),
        }
    }

    /// Tells it these parameters.
    pub fn tell_parameters(&mut self, properties: Properties, frame: Bytes) {
        if !self.outbox.push_answer(frame) {
            self.missed.parameters = self.missed.parameters.with(properties);
        }
    }

    /// Tells it what playback does, and whether time went to another place.
    pub fn tell_state(&mut self, frame: Bytes, jumped: bool) {
        if !self.outbox.push_answer(frame) {
            self.missed.state = true;
            self.missed.jump |= jumped;
        }
    }
}

impl State {
    /// For so many channels, where time begins at `time`. `large` is the scheduler's time for what is large.
    pub fn new(channels: usize, time: Timestamp, lossless: bool, large: Option<Budget>) -> Self {
        State {
            viewers: BTreeMap::new(),
            deliveries: 0,
            lossless,
            time,
            latest: Latest::new(channels),
            shares: ShareWatch::default(),
            large,
        }
    }

    /// Queues these events for those who watch, and lets them be written. Who is behind comes last: what is queued for
    /// it may have to be copied, and it has something to read already. It is `due` when `until_due` returns: nothing is
    /// written before.
    pub fn deliver(
        &mut self,
        events: &[Event],
        before: Timestamp,
        due: Instant,
        until_due: &mut dyn FnMut(),
    ) {
        self.deliveries += 1;
        for behind in [false, true] {
            let mut filled = 0;
            for viewer in self.viewers.values_mut() {
                viewer.filled = false;
                if viewer.behind == behind && viewer.delivery < self.deliveries {
                    let delivery = viewer.outbox.deliver(events, before, due);
                    Delivery { filled: viewer.filled, behind: viewer.behind, idle: viewer.idle } = delivery;
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

    /// Whether a viewer is the only one, or of those who are not behind the only one that is subscribed to something. So
    /// no message comes meanwhile that another one would wait for.
    fn is_one(&self, behind: bool) -> bool {
        let served = self.viewers.values().filter(|viewer| !viewer.behind && !viewer.idle);
        self.viewers.len() == 1 || (!behind && served.take(2).count() == 1)
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
        // What is small goes first, so that nobody's small messages wait for another one's large ones.
        viewers.filter(|viewer| !write(viewer)).for_each(leave);
        self.shares = share.map_or_else(ShareWatch::default, |share| share.watch());
    }

    /// The queues of those who are behind and hear news of parameters, or have missed some news.
    pub fn behind_with_news(&self) -> Vec<Arc<Outbox>> {
        let hears = |viewer: &&Viewer| {
            viewer.missed.state || !viewer.parameters.is_empty() || !viewer.missed.parameters.is_empty()
        };
        let behind = self.viewers.values().filter(|viewer| viewer.behind).filter(hears);
        behind.map(|viewer| Arc::clone(&viewer.outbox)).collect()
    }

    /// Remembers the last message of each channel.
    pub fn remember(&mut self, events: &[Event]) {
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt as _;

    use super::*;
    use crate::foxglove::Subscription;
    use crate::recording::{ChannelId, Memory, Message};
    use crate::server::outbox::{Batch, Wrote};
    use crate::server::parameters::Property;
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
        let outbox = Arc::new(Outbox::new(2, LIMIT, Duration::MAX));
        outbox.subscribe(Subscription { id: 0, channel: ChannelId(0) }).unwrap();
        Viewer::new(outbox, false)
    }

    fn state(viewers: u64) -> State {
        let viewers = (0..viewers).map(|id| (id, viewer())).collect();
        State { viewers, ..State::new(2, Timestamp::MIN, false, None) }
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
        // The first viewer is behind, or wants nothing, or something else.
        #[derive(Clone, Copy, Eq, PartialEq)]
        enum First {
            Alike,
            Behind,
            Idle,
            Elsewhere,
        }
        use First::*;
        for (what, viewers, lossless, first, large, size, at_once) in [
            ("one", 1, false, Alike, budget(), LARGE, true),
            ("one of a timeline each", 1, false, Alike, None, LARGE, false),
            ("who loses nothing", 1, true, Alike, budget(), LARGE, false),
            ("who is behind", 1, false, Behind, budget(), LARGE, false),
            ("no time left", 1, false, Alike, spent(), LARGE, false),
            ("too large", 1, false, Alike, budget(), LARGE_FOR_ONE + 1, false),
            ("two", 2, false, Alike, budget(), LARGE, false),
            ("beside one who is behind", 2, false, Behind, budget(), LARGE, true),
            ("two beside one who is behind", 3, false, Behind, budget(), LARGE, false),
            ("beside one who wants nothing", 2, false, Idle, budget(), LARGE, true),
            ("beside one who wants something else", 2, false, Elsewhere, budget(), LARGE, false),
        ] {
            let mut state = State { lossless, large, ..state(viewers) };
            let mut clients = Vec::new();
            for (id, viewer) in &state.viewers {
                let (client, wire) = connection().await;
                viewer.outbox.set_limit(2 * LARGE_FOR_ONE);
                viewer.outbox.connect(wire);
                let first = if *id == 0 { first } else { Alike };
                if first == Idle || first == Elsewhere {
                    viewer.outbox.unsubscribe(0);
                    // It was told the time so late that it need not hear it again, however long this takes.
                    let later = Instant::now() + Duration::from_secs(3600);
                    viewer.outbox.deliver(&[Event::Tick(Timestamp::MIN)], Timestamp::MIN, later);
                }
                if first == Elsewhere {
                    let other = Subscription { id: 0, channel: ChannelId(1) };
                    viewer.outbox.subscribe(other).unwrap();
                }
                if first == Behind {
                    let before = Message { data: Bytes::from(vec![7; LARGE]), ..message(0) };
                    viewer.outbox.deliver(&[Event::Message(before, None)], Timestamp::MIN, Instant::now());
                }
                clients.push(client);
            }
            let message = Message { data: Bytes::from(vec![7; size]), ..message(1) };
            deliver(&mut state, &[Event::Message(message, None)], Timestamp::MIN);
            for (id, viewer) in &state.viewers {
                let first = if *id == 0 { first } else { Alike };
                let wants = first != Idle && first != Elsewhere;
                let at_once = at_once && wants && first != Behind;
                assert_eq!(viewer.outbox.written() > 0, at_once, "{what}");
                let woken = viewer.outbox.filled().now_or_never().is_some();
                assert!(woken || at_once || !wants, "{what}");
            }
        }
    }

    #[test]
    fn of_who_is_behind_those_are_known_who_are_told_news() {
        let mut state = state(5);
        let with_news = |state: &State| {
            let queues = state.behind_with_news();
            let is_among = |viewer: &Viewer| queues.iter().any(|queue| Arc::ptr_eq(queue, &viewer.outbox));
            state.viewers.iter().filter(|(_, viewer)| is_among(viewer)).map(|(id, _)| *id).collect::<Vec<_>>()
        };
        state.viewers.get_mut(&1).unwrap().missed.state = true;
        state.viewers.get_mut(&2).unwrap().parameters = [Property::Rate].into_iter().collect();
        state.viewers.get_mut(&3).unwrap().missed.parameters = [Property::Rate].into_iter().collect();
        state.viewers.get_mut(&4).unwrap().missed.state = true;
        deliver(&mut state, &[Event::Message(message(1), None)], Timestamp::MIN);
        assert!(with_news(&state).is_empty());
        state.viewers[&4].outbox.take_batch(&mut Batch::default());
        deliver(&mut state, &[Event::Message(message(2), None)], Timestamp::MIN);
        assert_eq!(with_news(&state), [1, 2, 3]);
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
