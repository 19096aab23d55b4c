//! `--report`: what happened, as JSON.

use std::time::Duration;

use fgplay::playback::Range;
use fgplay::recording::{ChannelId, Problems};
use fgplay::server::{ClientRecord, Lateness, Records, Tally};
use serde_json::{Value, json};

/// How many clients a report has one by one.
pub(super) const CLIENTS: usize = 1000;

/// What a report tells beside what became of messages.
pub(super) struct Report<'a> {
    /// What was played.
    pub name: &'a str,
    /// The topic of each channel.
    pub topics: &'a [String],
    /// The part that was played.
    pub range: Range,
    /// How it ended, in a word.
    pub outcome: &'a str,
    /// With which exit code.
    pub exit_code: u8,
    /// Why it failed, where it did.
    pub error: Option<String>,
    /// How long it ran.
    pub elapsed: Duration,
}

impl Report<'_> {
    /// As JSON, with a line's end.
    pub fn to_json(&self, records: &Records, problems: &Problems) -> String {
        let clients: Vec<Value> = records.clients.iter().map(|client| self.client(client)).collect();
        let warnings: Vec<Value> = problems
            .list()
            .iter()
            .map(|problem| json!({"text": problem.to_string(), "data_lost": problem.data_lost}))
            .collect();
        let mut total = Tally::default();
        records.topics.values().for_each(|tally| total += *tally);
        let report = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "recording": self.name,
            "start": self.range.start.as_nanos().to_string(),
            "end": self.range.end.as_nanos().to_string(),
            "outcome": self.outcome,
            "exit_code": self.exit_code,
            "error": self.error,
            "elapsed_seconds": self.elapsed.as_secs_f64(),
            "messages": tally(&total),
            "unread_messages": problems.unread(),
            "lateness_ms": lateness(&records.lateness),
            "topics": self.topics(&records.topics),
            "clients": clients,
            "clients_beyond": records.beyond,
            "warnings": warnings,
            "warnings_beyond": problems.beyond(),
        });
        format!("{report:#}\n")
    }

    fn client(&self, client: &ClientRecord) -> Value {
        json!({
            "address": client.address.to_string(),
            "protocol": client.protocol.name(),
            "connected_seconds": client.connected.as_secs_f64(),
            "left": client.left,
            "messages": tally(&client.total()),
            "lateness_ms": lateness(&client.lateness),
            "topics": self.topics(&client.topics),
        })
    }

    fn topics<'a>(&self, topics: impl IntoIterator<Item = (&'a ChannelId, &'a Tally)>) -> Vec<Value> {
        let topic = |(channel, counts): (&ChannelId, &Tally)| {
            let mut value = tally(counts);
            value["id"] = channel.0.into();
            value["topic"] = self.topics.get(channel.0 as usize).map(String::as_str).into();
            value
        };
        topics.into_iter().map(topic).collect()
    }
}

fn tally(tally: &Tally) -> Value {
    json!({
        "sent": tally.sent,
        "sent_bytes": tally.sent_bytes,
        "dropped": tally.dropped,
        "skipped": tally.skipped,
        "undelivered": tally.undelivered,
    })
}

/// In milliseconds; `null` where no message had an instant at which it was due.
fn lateness(lateness: &Lateness) -> Value {
    let quantile = |part| lateness.quantile(part).map(|late| late.as_secs_f64() * 1e3);
    match lateness.count() {
        0 => Value::Null,
        count => json!({
            "count": count,
            "p50": quantile(0.5),
            "p90": quantile(0.9),
            "p99": quantile(0.99),
            "p99.9": quantile(0.999),
            "max": quantile(1.0),
        }),
    }
}
