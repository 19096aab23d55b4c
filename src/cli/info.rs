//! `fgplay info`: what recordings hold.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use super::arguments::{Info, Session};
use super::{Failure, Outcome, play};
use crate::terminal::{Terminal, bytes, count, printable};
use fgplay::recording::{Channel, Recording, Summary, TopicSelection};
use fgplay::time::{Timestamp, format_duration};

/// Prints what recordings hold. Warnings are part of it, so they are not logged as well.
pub(super) fn run(arguments: &Info) -> Result<Outcome, Failure> {
    let terminal = Terminal::silent();
    let mut recording = play::open(
        &arguments.recordings,
        &arguments.reading.open_options(Session::default()),
        &terminal,
        Arc::default(),
    )?;
    recording.select(&TopicSelection::default())?;
    let text = if arguments.json { format!("{:#}\n", as_json(&recording)) } else { as_text(&recording) };
    super::print(text.as_bytes())?;
    Ok(if recording.problems().data_lost() { Outcome::DataLost } else { Outcome::Done })
}

fn as_text(recording: &Recording) -> String {
    let mut text = String::new();
    for (path, summary) in recording.files() {
        text.push_str(&file_text(path, summary));
        text.push('\n');
    }
    let several = recording.files().count() > 1;
    if several && let Some((first, last)) = recording.time_range() {
        let rows = [
            ["together".into(), format!("{} recordings on one timeline", recording.files().count())],
            ["start".into(), first.to_string()],
            ["end".into(), last.to_string()],
            ["duration".into(), format_duration(last.since(first))],
            ["messages".into(), count(recording.message_count())],
        ];
        text.push_str(&table(&rows, &[]));
        text.push('\n');
    }
    text.push_str(&topics_text(recording));
    let problems = recording.problems().list();
    if !problems.is_empty() {
        text.push_str("\nwarnings\n");
        for problem in &problems {
            text.push_str(&format!("  {}\n", printable(&problem.to_string())));
        }
        if recording.problems().beyond() > 0 {
            text.push_str(&format!("  and {} more\n", count(recording.problems().beyond())));
        }
    }
    text
}

fn file_text(path: &Path, summary: &Summary) -> String {
    let mut rows: Vec<[String; 2]> = Vec::new();
    let mut row = |key: &str, value: String| rows.push([key.into(), value]);
    row("file", printable(&path.display().to_string()));
    let index = if summary.indexed { "with index" } else { "without index" };
    row("format", format!("{}, {index}, {}", summary.kind, bytes(summary.bytes)));
    if !summary.library.is_empty() {
        row("library", printable(&summary.library));
    }
    if !summary.profile.is_empty() {
        row("profile", printable(&summary.profile));
    }
    if let Some(distro) = summary.ros_distro() {
        row("ROS distro", printable(&distro));
    }
    if let Some((first, last)) = summary.time_range {
        row("start", first.to_string());
        row("end", last.to_string());
        row("duration", format_duration(last.since(first)));
    }
    row("messages", count(summary.message_count));
    for chunks in &summary.chunks {
        row(
            "chunks",
            format!(
                "{} {}, {} from {}",
                count(chunks.count),
                printable(&chunks.compression),
                bytes(chunks.compressed_bytes),
                bytes(chunks.uncompressed_bytes)
            ),
        );
    }
    for attachment in &summary.attachments {
        row(
            "attachment",
            format!(
                "{} ({}, {})",
                printable(&attachment.name),
                printable(&attachment.media_type),
                bytes(attachment.bytes)
            ),
        );
    }
    for note in &summary.metadata {
        let keys: Vec<String> = note.entries.keys().map(|key| printable(key)).collect();
        row("metadata", format!("{} ({})", printable(&note.name), keys.join(", ")));
    }
    table(&rows, &[])
}

fn topics_text(recording: &Recording) -> String {
    let head = ["topic", "type", "encoding", "messages", "Hz", ""].map(String::from);
    let mut rows = vec![head];
    let mut channels: Vec<&Channel> = recording.channels().iter().collect();
    channels.sort_by(|a, b| a.topic.cmp(&b.topic));
    for channel in channels {
        let latched = if channel.is_latched() { "latched" } else { "" };
        rows.push([
            printable(&channel.topic),
            printable(if channel.schema_name().is_empty() { "-" } else { channel.schema_name() }),
            printable(&channel.message_encoding),
            count(channel.message_count),
            hertz(recording, channel).map_or_else(|| "-".into(), |hertz| format!("{hertz:.1}")),
            latched.into(),
        ]);
    }
    table(&rows, &[3, 4])
}

/// How often a channel has a message, over the whole recording.
fn hertz(recording: &Recording, channel: &Channel) -> Option<f64> {
    let (first, last) = recording.time_range()?;
    let seconds = last.since(first).as_secs_f64();
    let intervals = channel.message_count.checked_sub(1)?;
    (intervals > 0 && seconds > 0.0).then(|| intervals as f64 / seconds)
}

/// Columns as wide as what stands in them; those in `right` are flush right.
fn table<const N: usize>(rows: &[[String; N]], right: &[usize]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let width = widths[column];
            let cell =
                if right.contains(&column) { format!("{cell:>width$}") } else { format!("{cell:<width$}") };
            line.push_str(&cell);
            line.push_str("  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn as_json(recording: &Recording) -> Value {
    let time = |time: Timestamp| json!({ "ns": time.as_nanos(), "utc": time.to_string() });
    let span = |range: Option<(Timestamp, Timestamp)>| match range {
        Some((first, last)) => json!({
            "start": time(first),
            "end": time(last),
            "duration_ns": last.as_nanos() - first.as_nanos(),
        }),
        None => Value::Null,
    };
    let file = |(path, summary): (&Path, &Summary)| {
        json!({
            "path": path.display().to_string(),
            "format": summary.kind.to_string().to_lowercase(),
            "indexed": summary.indexed,
            "bytes": summary.bytes,
            "library": summary.library,
            "profile": summary.profile,
            "ros_distro": summary.ros_distro(),
            "time": span(summary.time_range),
            "messages": summary.message_count,
            "chunks": summary.chunks.iter().map(|chunks| json!({
                "compression": chunks.compression,
                "count": chunks.count,
                "compressed_bytes": chunks.compressed_bytes,
                "uncompressed_bytes": chunks.uncompressed_bytes,
            })).collect::<Vec<_>>(),
            "attachments": summary.attachments.iter().map(|attachment| json!({
                "name": attachment.name,
                "media_type": attachment.media_type,
                "log_time": time(attachment.log_time),
                "bytes": attachment.bytes,
            })).collect::<Vec<_>>(),
            "metadata": summary.metadata.iter().map(|note| json!({
                "name": note.name,
                "entries": note.entries,
            })).collect::<Vec<_>>(),
        })
    };
    let topic = |channel: &Channel| {
        json!({
            "topic": channel.topic,
            "schema_name": channel.schema_name(),
            "schema_encoding": channel.schema.as_ref().map(|schema| schema.encoding.as_str()),
            "message_encoding": channel.message_encoding,
            "messages": channel.message_count,
            "hz": hertz(recording, channel),
            "latched": channel.is_latched(),
            "metadata": channel.metadata,
        })
    };
    let problems = recording.problems();
    json!({
        "files": recording.files().map(file).collect::<Vec<_>>(),
        "time": span(recording.time_range()),
        "messages": recording.message_count(),
        "topics": recording.channels().iter().map(topic).collect::<Vec<_>>(),
        "warnings": problems.list().iter().map(|problem| json!({
            "text": problem.to_string(),
            "data_lost": problem.data_lost,
        })).collect::<Vec<_>>(),
        "more_warnings": problems.beyond(),
    })
}
