//! The one reading of a whole file that makes its index.

use std::mem::{Discriminant, discriminant};

use super::super::watch::Watch;
use super::super::{Channel, OpenContext, OpenError, Place, Problem, ProblemKind, ScanProgress, Source};
use super::envelope::{self, MessageLine, Reason, Record};
use super::index::{Entry, Index};
use super::inferred::Inferred;
use super::lines::{Line, Lines};
use super::topics::{Refused, Topics};
use super::units::{self, Written};

/// After how many bytes of reading the progress is told.
const PROGRESS_STEP: u64 = 8 << 20;

/// What a file holds.
pub(super) struct Contents {
    pub channels: Vec<Channel>,
    /// What the channels' schemas were inferred from; `None` for those that have one of their own.
    pub inferred: Vec<Option<Inferred>>,
    pub index: Index,
}

/// Reads a file from start to end, and tells `watch` what stands there.
pub(super) fn read_whole(
    source: &dyn Source,
    context: &OpenContext<'_>,
    watch: &mut dyn Watch,
) -> Result<Contents, OpenError> {
    let mut opening = Opening::new(context, watch);
    let mut lines = Lines::new(source);
    let mut told = 0;
    loop {
        let line = lines.next().map_err(|error| OpenError::Io { path: context.path.into(), error })?;
        let Some(line) = line else { break };
        opening.take(line)?;
        let done = lines.bytes_read();
        if done - told >= PROGRESS_STEP {
            (context.progress)(ScanProgress { path: context.path, done, total: source.len() });
            told = done;
        }
    }
    (context.progress)(ScanProgress { path: context.path, done: source.len(), total: source.len() });
    opening.index.finish();
    opening.tell_problems();
    let (channels, inferred) = opening.topics.into_channels();
    Ok(Contents { channels, inferred, index: opening.index })
}

struct Opening<'c> {
    context: &'c OpenContext<'c>,
    watch: &'c mut dyn Watch,
    topics: Topics,
    index: Index,
    /// The first message. One is enough to tell in which unit a program writes times.
    first: Option<Written>,
    /// Lines that can't be played.
    skipped: Lot<Reason>,
    /// The same lines, by the sort of reason.
    by_reason: Vec<(Discriminant<Reason>, Lot<Reason>)>,
    /// Messages that play without one of their optional keys.
    odd: Lot<&'static str>,
}

/// Lines that have the same fate: the first one with what is wrong with it, and how many there are.
struct Lot<T> {
    first: Option<(u64, T)>,
    count: u64,
}

impl<T> Default for Lot<T> {
    fn default() -> Self {
        Lot { first: None, count: 0 }
    }
}

impl<T> Lot<T> {
    fn add(&mut self, line: u64, what: T) {
        self.first.get_or_insert((line, what));
        self.count += 1;
    }

    /// How to speak of those after the first.
    fn others(&self) -> String {
        match self.count {
            0 | 1 => String::new(),
            2 => ", and so is 1 other line".into(),
            count => format!(", and so are {} other lines", count - 1),
        }
    }
}

impl<'c> Opening<'c> {
    fn new(context: &'c OpenContext<'c>, watch: &'c mut dyn Watch) -> Self {
        let (topics, index) = (Topics::default(), Index::default());
        let (skipped, by_reason, odd) = (Lot::default(), Vec::new(), Lot::default());
        Opening { context, watch, topics, index, first: None, skipped, by_reason, odd }
    }

    fn take(&mut self, line: Line<'_>) -> Result<(), OpenError> {
        let Some(bytes) = line.bytes else { return self.skip(line.number, Reason::TooLong) };
        if bytes.trim_ascii().is_empty() {
            return Ok(());
        }
        let (topics, mut compared) = (&mut self.topics, None);
        let record = envelope::read(bytes, &mut |scanner, topic| {
            compared = topics.compare(topic, scanner)?;
            Ok(())
        });
        match record {
            Ok(Record::Message(message)) => {
                match self.topics.add_message(message.topic, message.data, compared) {
                    Ok(topic) => self.add_to_index(&line, &message, topic.0),
                    Err(reason) => return self.skip(line.number, reason),
                }
            }
            Ok(Record::Channel(channel)) => match self.topics.add_channel(line.number, &channel) {
                Ok(()) => {}
                Err(Refused::Line(reason)) => return self.skip(line.number, reason),
                Err(Refused::File(contradiction)) => {
                    let path = self.context.path.into();
                    return Err(OpenError::Contradiction { path, reason: contradiction.0 });
                }
            },
            Err(Reason::CutOff) if line.ended => return self.skip(line.number, Reason::Incomplete),
            Err(reason) => return self.skip(line.number, reason),
        }
        Ok(())
    }

    fn add_to_index(&mut self, line: &Line<'_>, message: &MessageLine<'_>, channel: u32) {
        if let Some(key) = message.odd {
            self.odd.add(line.number, key);
        }
        self.first.get_or_insert_with(|| Written {
            line: line.number,
            log_time: message.log_time,
            is_whole_number: message.time.trim_matches('"').bytes().all(|byte| byte.is_ascii_digit()),
        });
        let entry = Entry {
            log_time: message.log_time,
            offset: line.offset + message.data_at as u64,
            // A line is not longer than 256 MiB.
            length: message.data.len() as u32,
            channel,
        };
        self.index.push(entry, message.publish_time, message.sequence);
        self.watch.message(Place::Line(line.number), channel as usize, message.log_time);
    }

    fn skip(&mut self, line: u64, reason: Reason) -> Result<(), OpenError> {
        if self.context.options.strict {
            return Err(OpenError::Strict(Problem {
                path: self.context.path.into(),
                place: Place::Line(line),
                kind: ProblemKind::Line,
                text: format!("{reason}; without --strict, the line would be skipped"),
                data_lost: true,
            }));
        }
        let sort = discriminant(&reason);
        let known = self.by_reason.iter().position(|(known, _)| *known == sort);
        let place = known.unwrap_or_else(|| {
            self.by_reason.push((sort, Lot::default()));
            self.by_reason.len() - 1
        });
        self.by_reason[place].1.add(line, reason.clone());
        self.skipped.add(line, reason);
        Ok(())
    }

    fn tell_problems(&mut self) {
        self.tell_watch();
        let (problems, path) = (&self.context.problems, self.context.path);
        let is_empty = self.index.len() == 0;
        match &self.skipped.first {
            Some((line, reason)) if is_empty => {
                let text = format!("{reason}; no line of the file is a message");
                problems.lost_by(ProblemKind::Line, path, Place::Line(*line), text);
            }
            Some((line, reason)) => {
                let text = format!("{reason}; the line is skipped{}", self.skipped.others());
                problems.lost_by(ProblemKind::Line, path, Place::Line(*line), text);
            }
            None if is_empty => {
                problems.note_of(ProblemKind::Line, path, Place::File, "no line of the file is a message");
            }
            None => {}
        }
        if let Some((line, key)) = &self.odd.first {
            let others = self.odd.others();
            let text = format!("its \"{key}\" can't be read; the message is played without it{others}");
            problems.note_of(ProblemKind::Line, path, Place::Line(*line), text);
        }
        let last = self.index.time_range().map(|(_, last)| last);
        if let (Some(first), Some(last)) = (self.first, last)
            && let Some(text) = units::doubt(first, last)
        {
            problems.note_of(ProblemKind::Doubt, path, Place::Line(first.line), text);
        }
    }

    fn tell_watch(&mut self) {
        for (_, lot) in &self.by_reason {
            if let Some((line, reason)) = &lot.first {
                self.watch.lines_skipped(*line, reason.to_string(), lot.count);
            }
        }
        if let Some((line, key)) = self.odd.first {
            self.watch.lines_odd(line, key, self.odd.count);
        }
    }
}
