//! Where playback is.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::voice::Voice;
use super::{Terminal, bytes, count};
use fgplay::playback::{Position, Range, State};
use fgplay::replay::Replay;
use fgplay::server::Traffic;
use fgplay::time::format_duration;

/// How often the bar is drawn.
const FRAME: Duration = Duration::from_millis(100);

/// How often a line is logged where there is no bar.
const LINE: Duration = Duration::from_secs(10);

/// Over how long the speed is taken, unless it is looked at less often.
const SPEED_WINDOW: Duration = Duration::from_secs(2);

/// From how many columns on there is room for everything.
const WIDE_TERMINAL: usize = 110;

/// How many columns the bar itself has.
const WIDE_BAR: usize = 25;
const NARROW_BAR: usize = 10;

/// A bar that follows playback, or log lines in its place.
pub(crate) struct Progress {
    bar: ProgressBar,
    voice: Voice,
    animated: bool,
    colored: bool,
    /// How wide the bar itself is, in columns.
    bar_width: usize,
    /// The last line that was logged in place of a bar.
    logged: String,
    range: Range,
    /// When it was looked at, and what was sent by then.
    looks: VecDeque<(Instant, Traffic)>,
}

impl Progress {
    pub fn new(terminal: &Terminal, range: Range) -> Self {
        let length = range.end.since(range.start);
        let bar = ProgressBar::new(u64::try_from(length.as_millis()).unwrap_or(u64::MAX).max(1));
        let bar = terminal.bars.add(bar.with_style(style(WIDE_BAR, terminal.colored)));
        Progress {
            bar,
            voice: terminal.voice.clone(),
            animated: terminal.animated,
            colored: terminal.colored,
            bar_width: WIDE_BAR,
            logged: String::new(),
            range,
            looks: VecDeque::new(),
        }
    }

    /// Shows where playback is, for as long as it is polled.
    pub async fn follow(&mut self, replay: &Replay) {
        let mut beat = tokio::time::interval(if self.animated { FRAME } else { LINE });
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        self.looks.push_back((Instant::now(), replay.traffic()));
        if !self.animated {
            // There is nothing to tell yet.
            beat.tick().await;
        }
        loop {
            beat.tick().await;
            if self.animated {
                let narrow = usize::from(console::Term::stderr().size().1) < WIDE_TERMINAL;
                let line = self.describe(replay, narrow);
                self.fit(narrow);
                let bar = self.bar.clone();
                self.voice.draw(move || bar.set_message(line));
                continue;
            }
            let line = self.describe(replay, false);
            // Where nothing happens, there is nothing to log.
            if line != self.logged {
                tracing::info!("{line}");
                self.logged = line;
            }
        }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        let bar = self.bar.clone();
        self.voice.draw(move || bar.finish_and_clear());
    }

    /// Makes the bar narrow or wide.
    fn fit(&mut self, narrow: bool) {
        let width = if narrow { NARROW_BAR } else { WIDE_BAR };
        if width != self.bar_width {
            self.bar_width = width;
            let (bar, style) = (self.bar.clone(), style(width, self.colored));
            self.voice.draw(move || bar.set_style(style));
        }
    }

    /// "7.6s of 24.0s  2024-06-01 10:00:07.635 UTC  x2  paused  pass 2  3 clients  12 dropped  495 msg/s  13.9 MB/s"
    /// In a narrow terminal the date is left out.
    fn describe(&mut self, replay: &Replay, narrow: bool) -> String {
        let now = Instant::now();
        let mut parts = match &replay.positions()[..] {
            [position] => self.describe_position(position, replay.is_waiting(), now, narrow),
            [] => vec!["waiting for a viewer".into()],
            _ => vec!["each viewer on its own".into()],
        };
        parts.push(match replay.presence().clients {
            1 => "1 client".into(),
            clients => format!("{} clients", count(clients as u64)),
        });
        let traffic = replay.traffic();
        if traffic.dropped > 0 {
            parts.push(format!("{} dropped", count(traffic.dropped)));
        }
        let (messages_per_second, bytes_per_second) = self.speed(now, traffic);
        parts.push(format!("{} msg/s", count(messages_per_second)));
        parts.push(format!("{}/s", bytes(bytes_per_second)));
        parts.join("  ")
    }

    /// Where a timeline is and what it does, and the bar with it.
    fn describe_position(
        &self,
        position: &Position,
        is_waiting: bool,
        now: Instant,
        narrow: bool,
    ) -> Vec<String> {
        let time = position.time_at(now);
        let played = time.since(self.range.start);
        let (bar, millis) = (self.bar.clone(), u64::try_from(played.as_millis()).unwrap_or(u64::MAX));
        self.voice.draw(move || bar.set_position(millis));
        let mut parts = vec![
            format!(
                "{} of {}",
                format_duration(played),
                format_duration(self.range.end.since(self.range.start))
            ),
            if narrow {
                time_of_day(&time.to_human()).to_owned()
            } else {
                format!("{} UTC", time.to_human())
            },
            position.rate.to_string(),
        ];
        match position.state {
            State::Playing => {}
            State::Paused if is_waiting => parts.push("waiting for a viewer".into()),
            State::Paused => parts.push("paused".into()),
            State::Buffering => parts.push("buffering".into()),
            State::Ended => parts.push("ended".into()),
        }
        if let Some(to) = position.skips_to {
            parts.push(format!("skips a silence to {}", format_duration(to.since(self.range.start))));
        }
        if position.repeats {
            parts.push("loop".into());
        }
        if position.pass > 1 {
            parts.push(format!("pass {}", count(position.pass)));
        }
        parts
    }

    /// Messages and bytes that are sent in a second.
    fn speed(&mut self, now: Instant, traffic: Traffic) -> (u64, u64) {
        while self.looks.len() > 1 && now.duration_since(self.looks[0].0) > SPEED_WINDOW {
            self.looks.pop_front();
        }
        self.looks.push_back((now, traffic));
        let Some((then, before)) = self.looks.front() else { return (0, 0) };
        let seconds = now.duration_since(*then).as_secs_f64();
        let per_second = |count: u64| if seconds > 0.0 { (count as f64 / seconds).round() as u64 } else { 0 };
        let messages = traffic.sent.saturating_sub(before.sent);
        (per_second(messages), per_second(traffic.sent_bytes.saturating_sub(before.sent_bytes)))
    }
}

fn style(width: usize, colored: bool) -> ProgressStyle {
    let colors = if colored { ".cyan/black.bright" } else { "" };
    let template = format!("{{bar:{width}{colors}}} {{wide_msg}}");
    let style = ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar());
    style.progress_chars("━╸─")
}

/// "10:00:07.635" of "2024-06-01 10:00:07.635".
fn time_of_day(date: &str) -> &str {
    date.split_once(' ').map_or(date, |(_, time)| time)
}
