//! Looks for what is wrong with recordings: what a viewer would not see, or see otherwise than it was recorded.
//!
//! Every file is read from start to end, through the readers that also play it, one file after the other. What
//! these skip with a warning is a [`Finding`] here, and so is what they make good in silence: messages that stand
//! out of order, schemas that viewers can't read, topics with two types.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use self::clash::Types;
use self::course::Course;
use self::findings::Collector;
pub use self::findings::{Finding, FindingKind, More, Severity, Verdict};
use super::merge::identify;
use super::problems::Sort;
use super::watch::Watch;
use super::{
    ChannelId, ChannelMap, Kind, OpenContext, OpenError, OpenOptions, Place, Problem, ProblemKind, Problems,
    Reader, ScanProgress, describe_io, jsonl, mcap,
};
use crate::time::Timestamp;

mod clash;
mod course;
mod findings;
mod jsonschema;
mod protobuf;
mod rosmsg;
mod schema;
#[cfg(test)]
mod tests;

/// What to look for, beyond what is wrong in any case.
#[derive(Clone, Copy, Debug, Default)]
pub struct CheckOptions {
    /// The longest time without any message that is not a finding; `None` where silences may have any length.
    pub max_gap: Option<Duration>,
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The files, in the order in which they were given.
    pub files: Vec<CheckedFile>,
}

/// One file, and what was found in it.
#[derive(Clone, Debug)]
pub struct CheckedFile {
    /// The file.
    pub path: PathBuf,
    /// The format; `None` where it could not be read.
    pub kind: Option<Kind>,
    /// Size of the file in bytes.
    pub bytes: u64,
    /// How many messages of it can be played.
    pub messages: u64,
    /// How many channels it has, also those without a message.
    pub channels: usize,
    /// The log times of the first and the last message.
    pub time_range: Option<(Timestamp, Timestamp)>,
    /// What was found, the worst first.
    pub findings: Vec<Finding>,
    /// What there is beyond these, where one sort of thing was found very often.
    pub more: Vec<More>,
}

impl Report {
    /// What to think of all files together: what is to be thought of the worst of them.
    pub fn verdict(&self) -> Verdict {
        self.files.iter().map(CheckedFile::verdict).max().unwrap_or(Verdict::Ok)
    }
}

impl CheckedFile {
    /// What to think of it.
    pub fn verdict(&self) -> Verdict {
        let unreadable = self.findings.iter().any(|finding| finding.kind == FindingKind::Unreadable);
        let listed = self.findings.iter().map(|finding| finding.severity);
        match listed.chain(self.more.iter().map(|more| more.severity)).max() {
            _ if unreadable => Verdict::Unreadable,
            Some(Severity::Error) => Verdict::Errors,
            Some(Severity::Warning) => Verdict::Warnings,
            Some(Severity::Note) | None => Verdict::Ok,
        }
    }

    /// How many findings of a severity there are, listed or not.
    pub fn count(&self, severity: Severity) -> u64 {
        let listed = self.findings.iter().filter(|finding| finding.severity == severity).count() as u64;
        let more = self.more.iter().filter(|more| more.severity == severity);
        listed + more.map(|more| more.count).sum::<u64>()
    }
}

/// Checks recordings. Files that can't be read are findings as well, so that the others are checked nevertheless.
/// `progress` hears how far each reading of a file has come.
pub fn check<P: AsRef<Path>>(
    paths: &[P],
    options: &CheckOptions,
    progress: &(dyn Fn(ScanProgress<'_>) + Sync),
) -> Report {
    let mut types = Types::default();
    let files = paths.iter().map(|path| check_file(path.as_ref(), options, progress, &mut types));
    Report { files: files.collect() }
}

fn check_file(
    path: &Path,
    options: &CheckOptions,
    progress: &(dyn Fn(ScanProgress<'_>) + Sync),
    types: &mut Types,
) -> CheckedFile {
    // Everything is read once and nothing twice, so that nothing need be kept for later.
    let open_options = OpenOptions { chunk_cache_bytes: 0, ..OpenOptions::default() };
    let context = OpenContext {
        path,
        options: &open_options,
        problems: Arc::new(Problems::default()),
        cache: Arc::new(mcap::ChunkCache::new(0)),
        progress,
    };
    let mut findings = Collector::default();
    let reader = look(&context, options, types, &mut findings);
    let summary = reader.as_ref().map(|reader| reader.summary());
    let (findings, more) = findings.into_lists();
    CheckedFile {
        path: path.to_owned(),
        kind: summary.map(|summary| summary.kind),
        bytes: summary.map_or(0, |summary| summary.bytes),
        messages: summary.map_or(0, |summary| summary.message_count),
        channels: summary.map_or(0, |summary| summary.channels.len()),
        time_range: summary.and_then(|summary| summary.time_range),
        findings,
        more,
    }
}

/// Reads a file and collects what is wrong with it. `None` where it can't be opened.
fn look(
    context: &OpenContext<'_>,
    options: &CheckOptions,
    types: &mut Types,
    findings: &mut Collector,
) -> Option<Box<dyn Reader>> {
    let mut watcher = Watcher { course: Course::new(options.max_gap), findings };
    let opened = identify(context).and_then(|(kind, source)| match kind {
        Kind::Mcap => mcap::inspect(source, context, &mut watcher),
        Kind::Jsonl => jsonl::inspect(source, context, &mut watcher),
    });
    let Watcher { mut course, .. } = watcher;
    let reader = match opened {
        Ok(reader) => reader,
        Err(error) => {
            findings.add(unopened(error));
            return None;
        }
    };
    let summary = reader.summary();
    if course.needs_order() {
        let map: ChannelMap =
            (0..summary.channels.len() as u32).map(|place| Some(ChannelId(place))).collect();
        let mut cursor = reader.cursor(Timestamp::MIN, map);
        let messages = std::iter::from_fn(|| cursor.next());
        course.listen_again(messages.map(|message| (message.log_time, message.channel.0 as usize)));
    }
    let problems = context.problems.list();
    problems.iter().filter_map(|problem| from_problem(problem, summary.kind)).for_each(|finding| {
        findings.add(finding);
    });
    for (sort, count) in context.problems.beyond_of() {
        if let Some((kind, severity, _)) = class_of(sort, summary.kind) {
            findings.add_unlisted(kind, severity, count);
        }
    }
    if summary.message_count == 0 {
        let text =
            "it has no message that can be played, so fgplay refuses to play it alone; record it again";
        findings.add(Finding::new(FindingKind::Empty, Severity::Error, text));
    }
    course.report(summary, findings);
    let without_schema: HashSet<&str> = problems.iter().filter_map(lacks_schema).collect();
    schema::check(&*reader, &without_schema, findings);
    clash::check(context.path, &*reader, types, findings);
    Some(reader)
}

/// The topic of which a schema is missing, where that is the problem.
fn lacks_schema(problem: &Problem) -> Option<&str> {
    match &problem.place {
        Place::Topic(topic) if problem.kind == ProblemKind::Schema => Some(topic),
        _ => None,
    }
}

fn unopened(error: OpenError) -> Finding {
    let reason = match error {
        OpenError::Io { error, .. } => describe_io(&error),
        OpenError::NotARecording { reason, .. } => reason,
        OpenError::Contradiction { reason, .. } => {
            let text = format!("nothing of it can be played: {reason}");
            return Finding::new(FindingKind::Schema, Severity::Error, text);
        }
        // Nothing is opened so here.
        OpenError::Strict(problem) => problem.text,
    };
    Finding::new(FindingKind::Unreadable, Severity::Error, format!("it can't be read: {reason}"))
}

/// What the readers tell, with what can be done about it. Lines are told by the [`Watcher`].
fn from_problem(problem: &Problem, format: Kind) -> Option<Finding> {
    let (kind, severity, advice) = class_of(problem.sort(), format)?;
    Some(Finding::new(kind, severity, format!("{}; {advice}", problem.text)).at(problem.place.clone()))
}

/// What to think of problems of a sort, and what can be done about them.
fn class_of((kind, data_lost): Sort, format: Kind) -> Option<(FindingKind, Severity, &'static str)> {
    let recover = match format {
        Kind::Mcap => "`mcap recover in.mcap -o out.mcap` copies what is whole",
        Kind::Jsonl => "record it again",
    };
    Some(match kind {
        ProblemKind::Line => return None,
        ProblemKind::Crc => (FindingKind::Crc, Severity::Error, recover),
        ProblemKind::Damage => (FindingKind::Damage, Severity::Error, recover),
        ProblemKind::Channel => {
            (FindingKind::Channel, Severity::Error, "write a channel record in front of its messages")
        }
        ProblemKind::Schema => (FindingKind::Schema, Severity::Error, "write a schema record for it"),
        ProblemKind::Index => {
            (FindingKind::Index, Severity::Error, "`mcap recover in.mcap -o out.mcap` writes a right one")
        }
        // Nobody knows what came after.
        ProblemKind::Unfinished => (
            FindingKind::Damage,
            Severity::Error,
            "`mcap recover in.mcap -o out.mcap` finishes what is there",
        ),
        ProblemKind::NoIndex => {
            let advice = "`mcap recover in.mcap -o out.mcap` writes a copy with one";
            (FindingKind::Index, Severity::Note, advice)
        }
        ProblemKind::Doubt => (FindingKind::Line, Severity::Warning, "correct the times"),
        ProblemKind::Other if data_lost => (FindingKind::Damage, Severity::Error, recover),
        ProblemKind::Other => {
            (FindingKind::Other, Severity::Warning, "write it as the specification of MCAP says")
        }
    })
}

/// Hears what stands in a file.
struct Watcher<'a> {
    course: Course,
    findings: &'a mut Collector,
}

impl Watch for Watcher<'_> {
    fn message(&mut self, place: Place, channel: usize, log_time: Timestamp) {
        self.course.message(place, channel, log_time);
    }

    fn lines_skipped(&mut self, first: u64, reason: String, count: u64) {
        let others = match count {
            0 | 1 => String::new(),
            2 => "; 1 other line is skipped for the same sort of reason".into(),
            _ => format!("; {} other lines are skipped for the same sort of reason", count - 1),
        };
        let text = format!("{reason}; the line is skipped{others}; correct or delete it");
        let finding = Finding::new(FindingKind::Line, Severity::Error, text);
        self.findings.add(finding.at(Place::Line(first)).times(count));
    }

    fn lines_odd(&mut self, first: u64, key: &'static str, count: u64) {
        let others = match count {
            0 | 1 => String::new(),
            2 => "; so is 1 other line".into(),
            _ => format!("; so are {} other lines", count - 1),
        };
        let text =
            format!("its \"{key}\" can't be read, so the message plays without it{others}; correct it");
        let finding = Finding::new(FindingKind::Line, Severity::Warning, text);
        self.findings.add(finding.at(Place::Line(first)).times(count));
    }
}
