//! The server as JSON and as metrics.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::playback::{Position, State};
use crate::recording::ChannelId;
use crate::server::hub::{Client, Hub};
use crate::server::show::Show;
use crate::server::{Door, Lateness, Links, SessionMode, Tally};

/// What is played.
pub(super) fn recording(hub: &Hub, host: &str) -> Value {
    let catalog = hub.catalog();
    let Links { ws, foxglove, lichtblick, .. } = Links::new(host, hub.options().tls.is_some());
    let topics: Vec<Value> = (0u32..)
        .zip(&catalog.channels)
        .map(|(id, channel)| {
            json!({
                "id": id,
                "topic": channel.topic,
                "type": channel.schema_name(),
                "encoding": channel.message_encoding,
                "messages": channel.message_count,
                "latched": channel.is_latched(),
            })
        })
        .collect();
    json!({
        "name": catalog.name,
        "start": catalog.range.start.as_nanos().to_string(),
        "end": catalog.range.end.as_nanos().to_string(),
        "duration": catalog.range.end.since(catalog.range.start).as_secs_f64(),
        "session": match hub.options().session { SessionMode::Shared => "shared", SessionMode::Client => "client" },
        "control": hub.control(),
        "version": env!("CARGO_PKG_VERSION"),
        "links": {"ws": ws, "foxglove": foxglove, "lichtblick": lichtblick},
        "topics": topics,
    })
}

/// Where a timeline is.
pub(super) fn timeline(hub: &Hub, position: &Position, is_waiting: bool) -> Value {
    let range = hub.catalog().range;
    let time = position.time_at(Instant::now());
    json!({
        "state": match position.state {
            State::Paused if is_waiting => "waiting",
            State::Paused => "paused",
            State::Playing => "playing",
            State::Buffering => "buffering",
            State::Ended => "ended",
        },
        "time": time.as_nanos().to_string(),
        "offset": time.since(range.start).as_secs_f64(),
        "rate": position.rate.factor(),
        "pass": position.pass,
        "loop": position.repeats,
        "skips_to": position.skips_to.map(|to| to.since(range.start).as_secs_f64()),
    })
}

fn show(hub: &Hub, show: &Show) -> Value {
    timeline(hub, &show.remote().position(), show.is_waiting())
}

/// What is going on.
pub(super) fn state(hub: &Hub) -> Value {
    let mut state = hub.shared().map_or_else(|| json!({}), |shared| show(hub, shared));
    let clients: Vec<Value> = hub.clients().iter().map(|client| describe(hub, client)).collect();
    let traffic = hub.traffic();
    let topics: Vec<Value> = (0u32..)
        .zip(hub.catalog().played().zip(hub.speeds()))
        .filter(|(_, ((messages, _), _))| *messages > 0)
        .map(|(id, ((messages, bytes), (hz, bytes_per_second)))| {
            json!({"id": id, "messages": messages, "bytes": bytes, "hz": hz, "bytes_per_second": bytes_per_second})
        })
        .collect();
    state["clients"] = clients.into();
    state["topics"] = topics.into();
    state["sent"] = json!({
        "messages": traffic.sent,
        "bytes": traffic.sent_bytes,
        "dropped": traffic.dropped,
    });
    state
}

fn describe(hub: &Hub, client: &Client) -> Value {
    let counts = client.outbox.counts();
    let (subscriptions, waiting) = client.outbox.load();
    let mut value = json!({
        "id": client.id,
        // On a server for everybody, where each comes from is nobody else's business.
        "address": hub.control().then(|| client.address.to_string()),
        "protocol": client.protocol.name(),
        "connected": client.since.elapsed().as_secs_f64(),
        "subscriptions": subscriptions,
        "sent": counts.sent,
        "sent_bytes": counts.sent_bytes,
        "dropped": counts.dropped,
        "waiting_bytes": waiting,
    });
    if hub.shared().is_none() {
        value["timeline"] = show(hub, &client.show);
    }
    value
}

/// What became of the messages of each client and topic.
pub(super) fn clients(hub: &Hub) -> Value {
    let topics = |tallies: &BTreeMap<ChannelId, Tally>| -> Vec<Value> {
        tallies
            .iter()
            .map(|(channel, tally)| {
                json!({
                    "id": channel.0,
                    "topic": hub.catalog().topic(*channel),
                    "sent": tally.sent,
                    "sent_bytes": tally.sent_bytes,
                    "dropped": tally.dropped,
                    "skipped": tally.skipped,
                })
            })
            .collect()
    };
    let client = |client: &Client| {
        let mut value = describe(hub, client);
        let lateness = client.outbox.lateness();
        value["topics"] = topics(&client.outbox.tallies()).into();
        value["lateness_ms"] = json!({
            "p50": milliseconds(&lateness, 0.5),
            "p99": milliseconds(&lateness, 0.99),
            "max": milliseconds(&lateness, 1.0),
        });
        value
    };
    hub.clients().iter().map(client).collect::<Vec<Value>>().into()
}

fn milliseconds(lateness: &Lateness, part: f64) -> Option<f64> {
    lateness.quantile(part).map(|late| late.as_secs_f64() * 1e3)
}

/// Metrics in the text format of Prometheus
/// (<https://prometheus.io/docs/instrumenting/exposition_formats/>, version 0.0.4).
pub(super) fn metrics(door: &Door) -> String {
    let hub = &*door.hub;
    let mut text = Metrics(String::new());
    let traffic = hub.traffic();
    let presence = *hub.presence().borrow();
    text.family("fgplay_info", "gauge", "What runs here.");
    text.sample(
        "fgplay_info",
        &[("version", env!("CARGO_PKG_VERSION")), ("recording", &hub.catalog().name)],
        1.0,
    );
    text.single(
        "fgplay_uptime_seconds",
        "gauge",
        "For how long it runs.",
        door.started.elapsed().as_secs_f64(),
    );
    text.single("fgplay_clients", "gauge", "How many clients are connected.", presence.clients as f64);
    text.single(
        "fgplay_clients_total",
        "counter",
        "How many clients have connected.",
        presence.connected as f64,
    );
    text.single("fgplay_sent_messages_total", "counter", "Messages sent to clients.", traffic.sent as f64);
    text.single(
        "fgplay_sent_bytes_total",
        "counter",
        "Payload of the messages sent.",
        traffic.sent_bytes as f64,
    );
    text.single(
        "fgplay_dropped_messages_total",
        "counter",
        "Messages left out for clients that take less than is played.",
        traffic.dropped as f64,
    );
    text.single(
        "fgplay_undelivered_messages_total",
        "counter",
        "Messages that clients did not take before they were given up.",
        traffic.undelivered as f64,
    );
    text.single(
        "fgplay_unread_messages_total",
        "counter",
        "Messages that were to be played and could not be read, each counted once.",
        hub.problems().unread() as f64,
    );
    text.single(
        "fgplay_failed_accepts_total",
        "counter",
        "How often no connection could be accepted, mostly for want of file descriptors.",
        door.not_accepted.load(Ordering::Relaxed) as f64,
    );
    let waiting: usize = hub.clients().iter().map(|client| client.outbox.load().1).sum();
    text.single("fgplay_waiting_bytes", "gauge", "Bytes that wait for clients.", waiting as f64);
    if let Some(shared) = hub.shared() {
        let position = shared.remote().position();
        let offset = position.time_at(Instant::now()).since(hub.catalog().range.start);
        text.single(
            "fgplay_position_seconds",
            "gauge",
            "Where playback is, from the start.",
            offset.as_secs_f64(),
        );
        text.single("fgplay_rate", "gauge", "How fast it plays.", position.rate.factor());
        text.single("fgplay_pass", "counter", "Which pass of a loop it is in.", position.pass as f64);
        let playing = matches!(position.state, State::Playing | State::Buffering);
        text.single("fgplay_playing", "gauge", "Whether it plays.", f64::from(u8::from(playing)));
    }
    let length = hub.catalog().range.end.since(hub.catalog().range.start);
    text.single("fgplay_duration_seconds", "gauge", "How long the recording is.", length.as_secs_f64());
    let played: Vec<_> = hub.catalog().played().collect();
    for (name, help, value) in [
        ("fgplay_played_messages_total", "Messages played, by topic.", 0),
        ("fgplay_played_bytes_total", "Payload played, by topic.", 1),
    ] {
        text.family(name, "counter", help);
        for (id, (messages, bytes)) in (0u32..).zip(&played) {
            let topic = hub.catalog().topic(ChannelId(id)).unwrap_or_default();
            text.sample(name, &[("topic", topic)], [*messages, *bytes][value] as f64);
        }
    }
    let sums = hub.sums();
    type Count = fn(&Tally) -> u64;
    let tallies: [(&str, &str, Count); 3] = [
        ("fgplay_topic_sent_messages_total", "Messages sent to clients, by topic.", |tally| tally.sent),
        ("fgplay_topic_sent_bytes_total", "Payload of the messages sent, by topic.", |tally| {
            tally.sent_bytes
        }),
        ("fgplay_topic_dropped_messages_total", "Messages left out for slow clients, by topic.", |tally| {
            tally.dropped
        }),
    ];
    for (name, help, value) in tallies {
        text.family(name, "counter", help);
        for (channel, tally) in &sums.topics {
            let topic = hub.catalog().topic(*channel).unwrap_or_default();
            text.sample(name, &[("topic", topic)], value(tally) as f64);
        }
    }
    let help = "How long after they were due messages were written to clients.";
    text.family("fgplay_lateness_seconds", "summary", help);
    for (label, part) in [("0.5", 0.5), ("0.99", 0.99), ("0.999", 0.999)] {
        let late = sums.lateness.quantile(part).map_or(f64::NAN, |late| late.as_secs_f64());
        text.sample("fgplay_lateness_seconds", &[("quantile", label)], late);
    }
    text.sample("fgplay_lateness_seconds_count", &[], sums.lateness.count() as f64);
    text.0
}

struct Metrics(String);

impl Metrics {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a text can't fail.
        write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n").unwrap_or_default();
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        let labels: Vec<String> =
            labels.iter().map(|(label, value)| format!("{label}=\"{}\"", escaped(value))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        writeln!(self.0, "{name}{labels} {value}").unwrap_or_default();
    }

    fn single(&mut self, name: &str, kind: &str, help: &str, value: f64) {
        self.family(name, kind, help);
        self.sample(name, &[], value);
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// How many parts the density has.
pub(super) const PARTS: usize = 240;

/// How often playback is told where nothing else happens.
pub(super) const BEAT: Duration = Duration::from_millis(500);
