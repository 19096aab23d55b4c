//! What a check finds: collected, and bounded in number.

use std::collections::BTreeMap;
use std::fmt;

use crate::recording::Place;
use crate::time::Timestamp;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Severity {
    /// Good to know.
    Note,
    /// It plays, but not every viewer or tool will make of it what was meant.
    Warning,
    /// Data is lost, or viewers can't show it.
    Error,
}

/// What to think of a file.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Verdict {
    /// Nothing was found, but perhaps notes.
    Ok,
    /// There are warnings.
    Warnings,
    /// There are errors.
    Errors,
    /// It can't be read at all.
    Unreadable,
}

/// What sort of thing a finding is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum FindingKind {
    /// The file can't be read at all.
    Unreadable,
    /// A checksum is wrong.
    Crc,
    /// Something is broken or cut off.
    Damage,
    /// Messages whose channel is missing.
    Channel,
    /// The index is wrong or missing.
    Index,
    /// Lines are no messages, or not all of a message.
    Line,
    /// There is no message.
    Empty,
    /// Log times go back.
    Order,
    /// A silence is longer than allowed.
    Gap,
    /// A schema is missing, or viewers can't read it.
    Schema,
    /// Viewers don't know the encoding.
    Encoding,
    /// A topic has two types.
    Clash,
    /// Something else is odd.
    Other,
}

impl Severity {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Error => "error",
        }
    }
}

impl Verdict {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Ok => "ok",
            Verdict::Warnings => "warnings",
            Verdict::Errors => "errors",
            Verdict::Unreadable => "unreadable",
        }
    }
}

impl FindingKind {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            FindingKind::Unreadable => "unreadable",
            FindingKind::Crc => "crc",
            FindingKind::Damage => "damage",
            FindingKind::Channel => "channel",
            FindingKind::Index => "index",
            FindingKind::Line => "line",
            FindingKind::Empty => "empty",
            FindingKind::Order => "order",
            FindingKind::Gap => "gap",
            FindingKind::Schema => "schema",
            FindingKind::Encoding => "encoding",
            FindingKind::Clash => "clash",
            FindingKind::Other => "other",
        }
    }
}

/// One thing that is not as it should be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Finding {
    /// What sort of thing it is.
    pub kind: FindingKind,
    /// How bad it is.
    pub severity: Severity,
    /// The topic, where it is about one.
    pub topic: Option<String>,
    /// The line where it is, or begins, counted from 1.
    pub line: Option<u64>,
    /// The byte where it is, or begins, counted from 0.
    pub offset: Option<u64>,
    /// The recorded time at which it is, or begins.
    pub time: Option<Timestamp>,
    /// How often the same was found.
    pub count: u64,
    /// What is wrong, what follows, and what to do, as a sentence without a full stop.
    pub text: String,
}

impl Finding {
    pub(super) fn new(kind: FindingKind, severity: Severity, text: impl Into<String>) -> Self {
        let (topic, line, offset, time) = (None, None, None, None);
        Finding { kind, severity, topic, line, offset, time, count: 1, text: text.into() }
    }

    pub(super) fn at(mut self, place: Place) -> Self {
        match place {
            Place::File => {}
            Place::Offset(offset) => self.offset = Some(offset),
            Place::Line(line) => self.line = Some(line),
            Place::Topic(topic) => self.topic = Some(topic),
        }
        self
    }

    pub(super) fn on(self, topic: &str) -> Self {
        Finding { topic: Some(topic.to_owned()), ..self }
    }

    pub(super) fn from(self, time: Timestamp) -> Self {
        Finding { time: Some(time), ..self }
    }

    pub(super) fn times(self, count: u64) -> Self {
        Finding { count, ..self }
    }
}

/// Where it is, how bad it is, and what it is, without the file's name:
/// `line 7: error: it has no "topic"; ...`.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places = [
            self.topic.as_ref().map(|topic| format!("topic {topic}")),
            self.line.map(|line| format!("line {line}")),
            self.offset.map(|offset| format!("byte {offset}")),
            self.time.map(|time| format!("at {time}")),
        ];
        let places: Vec<String> = places.into_iter().flatten().collect();
        let separator = if places.is_empty() { "" } else { ": " };
        write!(f, "{}{separator}{}: {}", places.join(", "), self.severity.name(), self.text)
    }
}

/// Findings of one sort that are not listed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct More {
    /// What sort of thing they are.
    pub kind: FindingKind,
    /// How bad they are.
    pub severity: Severity,
    /// How many there are.
    pub count: u64,
}

/// How many findings of a sort are listed for a file. Those beyond are counted.
const LISTED: usize = 20;

/// Collects the findings of a file.
#[derive(Debug, Default)]
pub(super) struct Collector {
    list: Vec<Finding>,
    /// By sort, how many are listed, and how many are not.
    counts: BTreeMap<(FindingKind, Severity), (usize, u64)>,
}

impl Collector {
    pub fn add(&mut self, finding: Finding) {
        let (listed, more) = self.counts.entry((finding.kind, finding.severity)).or_default();
        if *listed < LISTED {
            *listed += 1;
            self.list.push(finding);
        } else {
            *more += 1;
        }
    }

    pub fn extend(&mut self, findings: impl IntoIterator<Item = Finding>) {
        findings.into_iter().for_each(|finding| self.add(finding));
    }

    /// Adds findings of which only the number is known.
    pub fn add_unlisted(&mut self, kind: FindingKind, severity: Severity, count: u64) {
        if count > 0 {
            self.counts.entry((kind, severity)).or_default().1 += count;
        }
    }

    /// The findings, the worst first, and what there is beyond them.
    pub fn into_lists(mut self) -> (Vec<Finding>, Vec<More>) {
        // Stable, so that findings of a severity stay in the order in which they were made.
        self.list.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        let more = self.counts.into_iter().filter(|(_, (_, more))| *more > 0);
        let more = more.map(|((kind, severity), (_, count))| More { kind, severity, count });
        (self.list, more.collect())
    }
}
