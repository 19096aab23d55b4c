//! Random commands from several clients against a model that holds the whole recording in memory: what every
//! client gets is what the model says.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::json;

use crate::client::{Client, Received, service_call};
use crate::program::Server;
use crate::recordings::{MILLISECOND, START, file};

/// Services by their ids, in the order in which they are advertised.
const PAUSE: u32 = 1;
const RESUME: u32 = 2;
const SET_RATE: u32 = 5;
const SEEK: u32 = 7;
const PLAY_NEXT: u32 = 8;
const BURST: u32 = 9;

const CLIENTS: usize = 3;
const TOPICS: usize = 4;

/// A recorded message: when, in milliseconds, and on which topic. What it says is its place.
type Recorded = (u64, usize);

#[derive(Clone, Debug)]
enum Action {
    Seek(i64),
    Next,
    Burst(u64),
    Subscribe(BTreeSet<usize>),
    Unsubscribe(BTreeSet<usize>),
    Reconnect,
    Loop(bool),
    /// Play to the end.
    Finish,
    /// Play until so many messages have come, and pause then.
    Play(usize),
}

fn action() -> impl Strategy<Value = Action> {
    let topics = || prop::collection::btree_set(0..TOPICS, 0..=TOPICS);
    prop_oneof![
        4 => (-20..120i64).prop_map(Action::Seek),
        3 => Just(Action::Next),
        2 => (0..30u64).prop_map(Action::Burst),
        4 => topics().prop_map(Action::Subscribe),
        2 => topics().prop_map(Action::Unsubscribe),
        1 => Just(Action::Reconnect),
        1 => any::<bool>().prop_map(Action::Loop),
        1 => Just(Action::Finish),
        2 => (1..20usize).prop_map(Action::Play),
    ]
}

/// Where a timeline is: everything before `next` was played, or passed over.
#[derive(Clone, Debug, Default)]
struct Model {
    next: usize,
    loops: bool,
    ended: bool,
}

impl Model {
    /// The state at the position: the last message of each topic.
    fn state(&self, recording: &[Recorded], topics: &BTreeSet<usize>) -> Vec<usize> {
        let last = |topic: &usize| recording[..self.next].iter().rposition(|(_, other)| other == topic);
        topics.iter().filter_map(last).collect()
    }

    fn seek(&mut self, recording: &[Recorded], time: i64) {
        let end = recording.last().map_or(0, |last| last.0);
        let time = time.clamp(recording[0].0 as i64, end as i64) as u64;
        self.next = recording.partition_point(|message| message.0 < time);
        self.ended = false;
    }

    /// Plays so many messages, but not beyond the end of the pass. Gives their places.
    fn step(&mut self, recording: &[Recorded], count: usize) -> std::ops::Range<usize> {
        if self.ended {
            return 0..0;
        }
        let (from, to) = (self.next, recording.len().min(self.next + count));
        self.next = to;
        if count > to - from {
            self.ended = !self.loops;
            self.next = if self.loops { 0 } else { to };
        }
        from..to
    }
}

/// A client, and what came that was not compared yet.
struct Viewer {
    client: Client,
    topics: BTreeSet<usize>,
    /// The places of the messages, as they came.
    got: Vec<usize>,
    /// The last state of playback that was told: 3 is ended.
    status: u8,
}

impl Viewer {
    async fn connect(server: &Server) -> Self {
        let client = Client::connect_as(&server.url, "foxglove.sdk.v1").await.unwrap();
        Viewer { client, topics: BTreeSet::new(), got: Vec::new(), status: 1 }
    }

    /// Takes what comes up to what is waited for. A message says its place in the recording.
    async fn take(&mut self, is_last: impl Fn(&Received, &Self) -> bool) -> Received {
        loop {
            let received = self.client.next().await;
            match &received {
                Received::Message { data, .. } => {
                    let data: serde_json::Value = serde_json::from_slice(data).unwrap();
                    self.got.push(data["n"].as_u64().unwrap() as usize);
                }
                Received::State { status, .. } => self.status = *status,
                _ => {}
            }
            if is_last(&received, self) {
                return received;
            }
        }
    }

    async fn call(&mut self, service: u32, request: serde_json::Value) {
        self.client.send_raw(service_call("json", service, request.to_string().as_bytes())).await;
        self.take(|received, _| matches!(received, Received::Service { .. })).await;
    }

    async fn set(&mut self, name: &str, value: serde_json::Value) {
        let parameters = [json!({"name": name, "value": value})];
        self.client.send(json!({"op": "setParameters", "parameters": parameters, "id": "set"})).await;
        self.take(|received, _| matches!(received, Received::Text(text) if text["id"] == "set")).await;
    }

    /// Takes all that was on its way, and at least so many messages.
    async fn catch_up(&mut self, messages: usize) {
        while self.got.len() < messages {
            let before = self.got.len();
            self.take(|_, viewer| viewer.got.len() > before).await;
        }
        self.client.send(json!({"op": "getParameters", "parameterNames": [], "id": "here"})).await;
        self.take(|received, _| matches!(received, Received::Text(text) if text["id"] == "here")).await;
    }

    /// The ids of channels of these topics, of those that were recorded.
    fn channels(&self, topics: impl Iterator<Item = usize>) -> Vec<(usize, u64)> {
        let id = |topic: usize| {
            let name = format!("/{topic}");
            let channel = self.client.channels.iter().find(|channel| channel["topic"] == name.as_str())?;
            Some((topic, channel["id"].as_u64()?))
        };
        topics.filter_map(id).collect()
    }
}

struct World<'a> {
    server: &'a Server,
    recording: &'a [Recorded],
    shared: bool,
    /// One for all clients, or one for each.
    models: Vec<Model>,
    viewers: Vec<Viewer>,
}

impl World<'_> {
    fn model(&mut self, viewer: usize) -> &mut Model {
        let place = if self.shared { 0 } else { viewer };
        &mut self.models[place]
    }

    /// Those who watch the same timeline.
    fn audience(&self, viewer: usize) -> Vec<usize> {
        if self.shared { (0..CLIENTS).collect() } else { vec![viewer] }
    }

    /// All who watch the timeline get the state, in any order, and then the messages, as far as they are subscribed.
    async fn expect(&mut self, viewer: usize, state: bool, flow: &[usize]) {
        let model = self.model(viewer).clone();
        for watching in self.audience(viewer) {
            let recording = self.recording;
            let viewer = &mut self.viewers[watching];
            let mut expected = if state { model.state(recording, &viewer.topics) } else { Vec::new() };
            let states = expected.len();
            expected.extend(flow.iter().filter(|place| viewer.topics.contains(&recording[**place].1)));
            viewer.catch_up(expected.len()).await;
            let mut got = std::mem::take(&mut viewer.got);
            expected[..states].sort_unstable();
            got[..states].sort_unstable();
            assert_eq!(got, expected, "client {watching}");
        }
    }

    async fn act(&mut self, who: usize, action: &Action) {
        let recording = self.recording;
        match action {
            Action::Seek(time) => {
                let at = (START as i64 + time * MILLISECOND as i64) as u64;
                let time_of = json!({"sec": at / 1_000_000_000, "nanosec": at % 1_000_000_000});
                self.viewers[who].call(SEEK, json!({"time": time_of})).await;
                self.model(who).seek(recording, *time);
                self.expect(who, true, &[]).await;
            }
            Action::Next => {
                self.viewers[who].call(PLAY_NEXT, json!({})).await;
                let flow: Vec<usize> = self.model(who).step(recording, 1).collect();
                self.expect(who, false, &flow).await;
            }
            Action::Burst(count) => {
                self.viewers[who].call(BURST, json!({"num_messages": count})).await;
                let flow: Vec<usize> = self.model(who).step(recording, *count as usize).collect();
                self.expect(who, false, &flow).await;
            }
            Action::Subscribe(topics) => {
                let viewer = &mut self.viewers[who];
                let new = viewer.channels(topics.difference(&viewer.topics.clone()).copied());
                let subscriptions: Vec<_> =
                    new.iter().map(|(_, id)| json!({"id": id + 1000, "channelId": id})).collect();
                viewer.client.send(json!({"op": "subscribe", "subscriptions": subscriptions})).await;
                let new: BTreeSet<usize> = new.into_iter().map(|(topic, _)| topic).collect();
                let expected = self.model(who).state(recording, &new);
                let viewer = &mut self.viewers[who];
                viewer.topics.extend(new);
                viewer.catch_up(expected.len()).await;
                let mut got = std::mem::take(&mut viewer.got);
                got.sort_unstable();
                let mut expected = expected;
                expected.sort_unstable();
                assert_eq!(got, expected, "client {who} that subscribes");
            }
            Action::Unsubscribe(topics) => {
                let viewer = &mut self.viewers[who];
                let gone = viewer.channels(topics.intersection(&viewer.topics.clone()).copied());
                let ids: Vec<u64> = gone.iter().map(|(_, id)| id + 1000).collect();
                viewer.client.send(json!({"op": "unsubscribe", "subscriptionIds": ids})).await;
                viewer.topics.retain(|topic| !topics.contains(topic));
                viewer.catch_up(0).await;
            }
            Action::Reconnect => {
                self.viewers[who] = Viewer::connect(self.server).await;
                if !self.shared {
                    *self.model(who) = Model::default();
                }
            }
            Action::Loop(loops) => {
                self.viewers[who].set("/fgplay/loop", json!(loops)).await;
                self.model(who).loops = *loops;
            }
            Action::Finish => self.finish(who).await,
            Action::Play(count) => self.play(who, *count).await,
        }
    }

    async fn finish(&mut self, who: usize) {
        self.viewers[who].set("/fgplay/loop", json!(false)).await;
        self.viewers[who].call(SET_RATE, json!({"rate": 1000})).await;
        let recording = self.recording;
        let model = self.model(who);
        // After the end it starts over.
        let from = if model.ended { 0 } else { model.next };
        *model = Model { next: recording.len(), loops: false, ended: true };
        let flow: Vec<usize> = (from..recording.len()).collect();
        self.viewers[who].call(RESUME, json!({})).await;
        while self.viewers[who].status != 3 {
            self.viewers[who].take(|received, _| matches!(received, Received::State { .. })).await;
        }
        self.expect(who, false, &flow).await;
    }

    /// Plays for a moment. When exactly a pause takes hold, nobody can say beforehand; so the one who asks for it has to
    /// see everything, and what it sees has to go on from where the model is.
    async fn play(&mut self, who: usize, count: usize) {
        if self.recording[0].0 == self.recording[self.recording.len() - 1].0 {
            // Where start and end are the same instant, nobody can say in which pass of a loop it stands.
            return self.finish(who).await;
        }
        self.act_boxed(who, Action::Subscribe((0..TOPICS).collect())).await;
        self.viewers[who].call(SET_RATE, json!({"rate": 3.0})).await;
        let recording = self.recording;
        let model = self.model(who).clone();
        let left = recording.len() - if model.ended { 0 } else { model.next };
        let wanted = if model.loops { count } else { count.min(left) };
        let viewer = &mut self.viewers[who];
        viewer.status = 0;
        viewer.call(RESUME, json!({})).await;
        while viewer.got.len() < wanted {
            let before = viewer.got.len();
            viewer.take(|_, viewer| viewer.got.len() > before).await;
        }
        viewer.call(PAUSE, json!({})).await;
        viewer.catch_up(0).await;
        let flow = viewer.got.clone();
        let ended = viewer.status == 3;
        let mut next = if model.ended { 0 } else { model.next };
        for place in &flow {
            if next == recording.len() && model.loops {
                next = 0;
            }
            assert_eq!(*place, next, "client {who} that plays");
            next += 1;
        }
        assert!(!ended || next == recording.len());
        if next == recording.len() && model.loops && !ended {
            // Whether the next pass has begun is to be seen by its first message only.
            next = self.pass_begun(who).await;
        }
        let loops = model.loops;
        *self.model(who) = Model { next, loops, ended };
        self.expect(who, false, &flow).await;
    }

    /// Where playback stands that is at the seam of two passes: at its start or its end.
    async fn pass_begun(&mut self, who: usize) -> usize {
        let length = self.recording.last().unwrap().0 - self.recording[0].0;
        let viewer = &mut self.viewers[who];
        let request = json!({"op": "getParameters", "parameterNames": ["/fgplay/position"], "id": "seam"});
        viewer.client.send(request).await;
        let answer =
            viewer.take(|received, _| matches!(received, Received::Text(text) if text["id"] == "seam")).await;
        let Received::Text(answer) = answer else { unreachable!() };
        let position = answer["parameters"][0]["value"].as_f64().unwrap();
        if length > 0 && position * 1000.0 < length as f64 { 0 } else { self.recording.len() }
    }

    fn act_boxed(&mut self, who: usize, action: Action) -> std::pin::Pin<Box<dyn Future<Output = ()> + '_>> {
        Box::pin(async move { self.act(who, &action).await })
    }
}

/// A recording as JSONL.
fn lines(recording: &[Recorded]) -> String {
    let line = |(place, (time, topic)): (usize, &Recorded)| {
        let time = START + time * MILLISECOND;
        format!("{{\"topic\": \"/{topic}\", \"log_time\": {time}, \"data\": {{\"n\": {place}}}}}\n")
    };
    recording.iter().enumerate().map(line).collect()
}

async fn check(recording: &[Recorded], actions: &[(usize, Action)], shared: bool) {
    let file = file(lines(recording));
    let session = if shared { "shared" } else { "client" };
    let server = Server::start([file.path().to_str().unwrap(), "--start-paused", "--session", session]);
    let mut viewers = Vec::new();
    for _ in 0..CLIENTS {
        viewers.push(Viewer::connect(&server).await);
    }
    let models = vec![Model::default(); CLIENTS];
    let mut world = World { server: &server, recording, shared, models, viewers };
    for (who, action) in actions {
        world.act(*who, action).await;
    }
    // In the end nobody has got anything else.
    for (place, viewer) in world.viewers.iter_mut().enumerate() {
        viewer.catch_up(0).await;
        assert_eq!(viewer.got, [0; 0], "client {place} in the end");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_client_gets_what_the_model_says(
        mut recording in prop::collection::vec((0..100u64, 0..TOPICS), 1..80),
        actions in prop::collection::vec((0..CLIENTS, action()), 1..30),
        shared in any::<bool>(),
    ) {
        recording.sort_by_key(|message| message.0);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(check(&recording, &actions, shared));
    }
}
