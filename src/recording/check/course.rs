//! The course of a recording's time: where it goes back, and where nothing happens for long.

use std::collections::BTreeMap;
use std::time::Duration;

use super::findings::{Collector, Finding, FindingKind, Severity};
use crate::recording::{Kind, Place, Summary};
use crate::time::{Timestamp, format_duration};

/// How many silences are described. Those beyond are counted.
const DESCRIBED: usize = 20;

/// Follows the log times of a file.
#[derive(Debug)]
pub(super) struct Course {
    /// The time of the message before, in file order.
    last: Option<Timestamp>,
    /// The same by channel; channels without a message so far may be missing.
    by_channel: Vec<Option<Timestamp>>,
    /// Where it goes back within a channel; a channel is added when that happens to it.
    channel_backs: BTreeMap<usize, Backs>,
    /// Where it goes back from one channel to another.
    backs: Backs,
    silences: Option<Silences>,
}

/// Steps back in time.
#[derive(Debug, Default)]
struct Backs {
    count: u64,
    /// The first one: where it leads to, and the times it goes from and to.
    first: Option<(Place, Timestamp, Timestamp)>,
    largest: Duration,
}

impl Backs {
    fn add(&mut self, place: Place, from: Timestamp, to: Timestamp) {
        self.count += 1;
        self.largest = self.largest.max(from.since(to));
        self.first.get_or_insert((place, from, to));
    }
}

impl Course {
    /// With a `max_gap` it also looks for silences that are longer than this.
    pub fn new(max_gap: Option<Duration>) -> Self {
        Course {
            last: None,
            by_channel: Vec::new(),
            channel_backs: BTreeMap::new(),
            backs: Backs::default(),
            silences: max_gap.map(Silences::new),
        }
    }

    /// Takes the message that comes next in the file.
    pub fn message(&mut self, place: Place, channel: usize, log_time: Timestamp) {
        if channel >= self.by_channel.len() {
            self.by_channel.resize(channel + 1, None);
        }
        let own = self.by_channel[channel].replace(log_time);
        match (own, self.last.replace(log_time)) {
            (Some(own), _) if log_time < own => {
                self.channel_backs.entry(channel).or_default().add(place, own, log_time);
            }
            (_, Some(last)) if log_time < last => self.backs.add(place, last, log_time),
            _ => {}
        }
        if let Some(silences) = &mut self.silences {
            silences.message(log_time, channel);
        }
    }

    /// Whether silences are looked for, and can't be seen in the order of the file.
    pub fn needs_order(&self) -> bool {
        self.silences.is_some() && (self.backs.count > 0 || !self.channel_backs.is_empty())
    }

    /// Looks for silences once more, in messages that come in order of their times.
    pub fn listen_again(&mut self, messages: impl Iterator<Item = (Timestamp, usize)>) {
        if let Some(silences) = &mut self.silences {
            *silences = Silences::new(silences.max_gap);
            messages.for_each(|(log_time, channel)| silences.message(log_time, channel));
        }
    }

    /// Adds what was found.
    pub fn report(&self, summary: &Summary, findings: &mut Collector) {
        let topic = |channel: usize| summary.channels.get(channel).map_or("", |channel| &channel.topic);
        let sort = match summary.kind {
            Kind::Mcap => "`mcap sort in.mcap -o out.mcap` puts them in order",
            Kind::Jsonl => "sort the lines by time",
        };
        for (channel, backs) in &self.channel_backs {
            let text = "fgplay plays its messages by time, but what reads the file as it stands sees time run \
                        backwards";
            findings.extend(backs.finding(text, sort).map(|finding| finding.on(topic(*channel))));
        }
        let text = "one topic's messages stand behind later ones of another; fgplay plays them by time, but what reads \
                    the file as it stands gets them in another order";
        findings.extend(self.backs.finding(text, sort));
        if let Some(silences) = &self.silences {
            silences.report(topic, findings);
        }
    }
}

impl Backs {
    fn finding(&self, follows: &str, sort: &str) -> Option<Finding> {
        let (place, from, to) = self.first.clone()?;
        let how_often = match self.count {
            1 => format!("once, from {from} to {to}"),
            count => {
                let largest = lasting(self.largest);
                format!("{count} times, by up to {largest}, first from {from} to {to}")
            }
        };
        let text = format!("the log times go back {how_often}: {follows}; {sort}");
        let finding = Finding::new(FindingKind::Order, Severity::Warning, text);
        Some(finding.at(place).from(to).times(self.count))
    }
}

/// Looks for times without a message.
#[derive(Debug)]
struct Silences {
    max_gap: Duration,
    /// The last message's time, and its channel.
    last: Option<(Timestamp, usize)>,
    /// Since when, until when, and the channels of the messages before and behind.
    found: Vec<[(Timestamp, usize); 2]>,
    count: u64,
}

impl Silences {
    fn new(max_gap: Duration) -> Self {
        Silences { max_gap, last: None, found: Vec::new(), count: 0 }
    }

    fn message(&mut self, log_time: Timestamp, channel: usize) {
        let here = (log_time, channel);
        let Some(last) = self.last.replace(here) else { return };
        if log_time.since(last.0) > self.max_gap {
            self.count += 1;
            if self.found.len() < DESCRIBED {
                self.found.push([last, here]);
            }
        }
    }

    fn report<'a>(&self, topic: impl Fn(usize) -> &'a str, findings: &mut Collector) {
        for [(since, before), (until, behind)] in &self.found {
            let text = format!(
                "no message on any topic for {}, until {until} (--max-gap allows {}); {} was the last topic before, \
                 {} comes first after it; see whether the recorder stood still (--skip-gaps plays over it)",
                lasting(until.since(*since)),
                lasting(self.max_gap),
                topic(*before),
                topic(*behind),
            );
            findings.add(Finding::new(FindingKind::Gap, Severity::Error, text).from(*since));
        }
        let more = self.count - self.found.len() as u64;
        findings.add_unlisted(FindingKind::Gap, Severity::Error, more);
    }
}

/// A duration for people, also a short one: `350 ns`, `4.25 ms`, `12.3s`.
fn lasting(duration: Duration) -> String {
    let short = |value: f64, unit: &str| {
        let digits = format!("{value:.3}");
        format!("{} {unit}", digits.trim_end_matches('0').trim_end_matches('.'))
    };
    let nanos = duration.as_nanos();
    match nanos {
        0..1_000 => format!("{nanos} ns"),
        1_000..1_000_000 => short(nanos as f64 / 1e3, "us"),
        1_000_000..1_000_000_000 => short(nanos as f64 / 1e6, "ms"),
        1_000_000_000..60_000_000_000 => short(nanos as f64 / 1e9, "s"),
        _ => format_duration(duration),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_durations_are_told_exactly() {
        let texts =
            [0, 350, 4_250_000, 12_500_000_000, 7_384_000_000_000].map(Duration::from_nanos).map(lasting);
        assert_eq!(texts, ["0 ns", "350 ns", "4.25 ms", "12.5 s", "2h 03m 04s"]);
    }
}
