//! `fgplay check`: what is wrong with recordings.

use serde_json::{Value, json};

use super::arguments::Check;
use super::{Failure, Outcome};
use crate::terminal::{ScanBar, Terminal, count, printable};
use fgplay::recording::check::{CheckOptions, CheckedFile, Finding, Report, Severity, Verdict, check};
use fgplay::time::{Timestamp, format_duration};

/// Prints what is wrong with recordings. What was found decides how it ends.
pub(super) fn run(arguments: &Check) -> Result<Outcome, Failure> {
    let terminal = Terminal::silent();
    let options = CheckOptions { max_gap: arguments.max_gap };
    let bar = ScanBar::reading(&terminal);
    let report = check(&arguments.recordings, &options, &|progress| bar.show(progress));
    bar.finish();
    let text = if arguments.json { format!("{:#}\n", as_json(&report)) } else { as_text(&report) };
    super::print(text.as_bytes())?;
    match report.verdict() {
        Verdict::Unreadable => Err(unreadable(&report).into()),
        Verdict::Errors => Ok(Outcome::Found),
        Verdict::Warnings if arguments.strict => Ok(Outcome::Found),
        Verdict::Warnings | Verdict::Ok => Ok(Outcome::Done),
    }
}

fn unreadable(report: &Report) -> anyhow::Error {
    let count = report.files.iter().filter(|file| file.verdict() == Verdict::Unreadable).count();
    match (count, report.files.len()) {
        (1, 1) => anyhow::anyhow!("the recording can't be read"),
        (count, files) => anyhow::anyhow!("{count} of {files} recordings can't be read"),
    }
}

fn as_text(report: &Report) -> String {
    report.files.iter().map(file_text).collect()
}

/// A line for each finding, and one for the file.
fn file_text(file: &CheckedFile) -> String {
    let path = printable(&file.path.display().to_string());
    let mut text = String::new();
    for finding in &file.findings {
        let separator = if has_place(finding) { ", " } else { ": " };
        text.push_str(&format!("{path}{separator}{}\n", printable(&finding.to_string())));
    }
    for more in &file.more {
        let (kind, severity) = (more.kind.name(), more.severity.name());
        let plural = if more.count == 1 { "" } else { "s" };
        text.push_str(&format!(
            "{path}: and {} more {severity}{plural} of this kind: {kind}\n",
            count(more.count)
        ));
    }
    text.push_str(&format!("{path}: {}; {}\n", verdict_text(file), content_text(file)));
    text
}

fn has_place(finding: &Finding) -> bool {
    finding.topic.is_some() || finding.line.is_some() || finding.offset.is_some() || finding.time.is_some()
}

/// `2 errors, 1 warning`.
fn verdict_text(file: &CheckedFile) -> String {
    let counted = [Severity::Error, Severity::Warning, Severity::Note].map(|severity| {
        let (number, plural) = (file.count(severity), if file.count(severity) == 1 { "" } else { "s" });
        (number > 0).then(|| format!("{} {}{plural}", count(number), severity.name()))
    });
    let counted: Vec<String> = counted.into_iter().flatten().collect();
    if counted.is_empty() { "nothing found".into() } else { counted.join(", ") }
}

/// `3,381 messages, 13 channels, 24.0s`.
fn content_text(file: &CheckedFile) -> String {
    if file.kind.is_none() {
        return "not checked any further".into();
    }
    let counted = |number: u64, noun: &str| {
        let plural = if number == 1 { "" } else { "s" };
        format!("{} {noun}{plural}", count(number))
    };
    let duration = file
        .time_range
        .map_or_else(|| "no duration".to_owned(), |(first, last)| format_duration(last.since(first)));
    format!("{}, {}, {duration}", counted(file.messages, "message"), counted(file.channels as u64, "channel"))
}

fn as_json(report: &Report) -> Value {
    let finding = |(file, finding): (&CheckedFile, &Finding)| {
        json!({
            "kind": finding.kind.name(),
            "severity": finding.severity.name(),
            "file": file.path.display().to_string(),
            "topic": finding.topic,
            "line": finding.line,
            "offset": finding.offset,
            "time": finding.time.map(time),
            "count": finding.count,
            "text": finding.text,
        })
    };
    let more = |file: &CheckedFile| {
        let path = file.path.display().to_string();
        let more = file.more.iter().map(move |more| {
            let (kind, severity) = (more.kind.name(), more.severity.name());
            json!({ "kind": kind, "severity": severity, "file": path, "count": more.count })
        });
        more.collect::<Vec<_>>()
    };
    let findings =
        report.files.iter().flat_map(|file| file.findings.iter().map(move |finding| (file, finding)));
    json!({
        "verdict": report.verdict().name(),
        "files": report.files.iter().map(file_json).collect::<Vec<_>>(),
        "findings": findings.map(finding).collect::<Vec<_>>(),
        "more_findings": report.files.iter().flat_map(more).collect::<Vec<_>>(),
    })
}

fn file_json(file: &CheckedFile) -> Value {
    json!({
        "path": file.path.display().to_string(),
        "verdict": file.verdict().name(),
        "format": file.kind.map(|kind| kind.to_string().to_lowercase()),
        "bytes": file.bytes,
        "messages": file.messages,
        "channels": file.channels,
        "start": file.time_range.map(|(first, _)| time(first)),
        "end": file.time_range.map(|(_, last)| time(last)),
        "duration_ns": file.time_range.map(|(first, last)| last.as_nanos() - first.as_nanos()),
        "errors": file.count(Severity::Error),
        "warnings": file.count(Severity::Warning),
        "notes": file.count(Severity::Note),
    })
}

fn time(time: Timestamp) -> Value {
    json!({ "ns": time.as_nanos(), "utc": time.to_string() })
}
