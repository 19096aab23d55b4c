//! Where playback is.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::{Terminal, bytes, count};
use fgplay::playback::{Range, State};
use fgplay::replay::Replay;
use fgplay::server::Traffic;
use fgplay::time::format_duration;

/// How often the bar is drawn.
const FRAME: Duration = Duration::from_millis(100);

/// How often a line is logged where there is no bar.
const LINE: Duration = Duration::from_secs(10);

/// Over how long the speed is taken, unless it is looked at less often.
const SPEED_WINDOW: Duration = Duration::from_secs(2);

/// A bar that follows playback, or log lines in its place.
pub(crate) struct Progress {
    bar: ProgressBar,
    animated: bool,
    range: Range,
    /// When it was looked at, and what was sent by then.
    looks: VecDeque<(Instant, Traffic)>,
}

impl Progress {
    pub fn new(terminal: &Terminal, range: Range) -> Self {
        let length = range.end.since(range.start);
        let bar = ProgressBar::new(u64::try_from(length.as_millis()).unwrap_or(u64::MAX).max(1));
        let template = match terminal.colored {
            true => "{bar:25.cyan/black.bright} {wide_msg}",
            false => "{bar:25} {wide_msg}",
        };
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = terminal.bars.add(bar.with_style(style.progress_chars("━╸─")));
        Progress { bar, animated: terminal.animated, range, looks: VecDeque::new() }
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
            let line = self.describe(replay);
            if self.animated {
                self.bar.set_message(line);
            } else {
                tracing::info!("{line}");
            }
        }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }

    /// "7.6s of 24.0s  2024-06-01 10:00:07.635 UTC  x2  paused  pass 2  3 clients  495 msg/s  13.9 MB/s  12 dropped"
    fn describe(&mut self, replay: &Replay) -> String {
        let (now, position, presence) = (Instant::now(), replay.position(), replay.presence());
        let time = position.time_at(now);
        let played = time.since(self.range.start);
        self.bar.set_position(u64::try_from(played.as_millis()).unwrap_or(u64::MAX));
        let mut parts = vec![
            format!(
                "{} of {}",
                format_duration(played),
                format_duration(self.range.end.since(self.range.start))
            ),
            format!("{} UTC", time.to_human()),
            position.rate.to_string(),
        ];
        match position.state {
            State::Playing => {}
            State::Paused if presence.subscribed == 0 => parts.push("waiting for a viewer".into()),
            State::Paused => parts.push("paused".into()),
            State::Buffering => parts.push("buffering".into()),
            State::Ended => parts.push("ended".into()),
        }
        if position.pass > 1 {
            parts.push(format!("pass {}", count(position.pass)));
        }
        parts.push(match presence.clients {
            1 => "1 client".into(),
            clients => format!("{} clients", count(clients as u64)),
        });
        let (messages_per_second, bytes_per_second) = self.speed(now, replay.traffic());
        parts.push(format!("{} msg/s", count(messages_per_second)));
        parts.push(format!("{}/s", bytes(bytes_per_second)));
        let dropped = replay.traffic().dropped;
        if dropped > 0 {
            parts.push(format!("{} dropped", count(dropped)));
        }
        parts.join("  ")
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
