//! What is shown while it runs: log lines, and below them a bar.

mod keys;
mod log;
mod progress;
mod scan;
mod voice;

use std::io::IsTerminal as _;

use indicatif::{MultiProgress, ProgressDrawTarget};

pub(crate) use keys::{HELP, HELP_WITHOUT_TIMELINE, Key, Keys, Suspension};
pub(crate) use progress::Progress;
pub(crate) use scan::ScanBar;
use voice::Voice;
pub(crate) use voice::last_words;

/// What is shown, and how.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TerminalOptions {
    /// Only warnings and errors, and no bars.
    pub quiet: bool,
    /// Also what matters only when looking for a fault.
    pub verbose: bool,
    /// Log lines as JSON, and no bars.
    pub json: bool,
    /// Whether to use colour. By default where there is a terminal, and no `NO_COLOR` in the environment.
    pub color: Option<bool>,
}

/// The user's terminal, or what stands in its place.
pub(crate) struct Terminal {
    /// Draws the bars, and lets log lines pass above them.
    bars: MultiProgress,
    voice: Voice,
    /// Whether there are bars. Where there are none, log lines tell how far it is.
    animated: bool,
    colored: bool,
}

impl Terminal {
    /// Sets up bars and log lines on stderr.
    pub fn start(options: &TerminalOptions) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let colored = options
            .color
            .unwrap_or_else(|| terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()));
        let animated = terminal && !options.quiet && !options.json;
        let target =
            if animated { ProgressDrawTarget::stderr_with_hz(10) } else { ProgressDrawTarget::hidden() };
        let bars = MultiProgress::with_draw_target(target);
        let voice = Voice::start(bars.clone());
        log::start(options, terminal, colored, voice.clone());
        Terminal { bars, voice, animated, colored }
    }

    /// A terminal with a bar for what takes long, and without log lines.
    pub fn silent() -> Self {
        let animated = std::io::stderr().is_terminal();
        let target =
            if animated { ProgressDrawTarget::stderr_with_hz(10) } else { ProgressDrawTarget::hidden() };
        let bars = MultiProgress::with_draw_target(target);
        let voice = Voice::start(bars.clone());
        Terminal { bars, voice, animated, colored: false }
    }
}

impl Terminal {
    /// Waits until all is written that was said, not for long.
    pub fn flush(&self) {
        self.voice.flush();
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.flush();
    }
}

/// A number with its thousands apart: `8,197`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A size for people: `505.4 kB`.
pub(crate) fn bytes(number: u64) -> String {
    let mut value = number as f64;
    let mut units = ["B", "kB", "MB", "GB", "TB", "PB", "EB"].into_iter();
    let mut unit = units.next().unwrap_or_default();
    for next in units {
        if value < 999.95 {
            break;
        }
        value /= 1000.0;
        unit = next;
    }
    if unit == "B" { format!("{number} B") } else { format!("{value:.1} {unit}") }
}

/// Text from a recording, without what could control a terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        assert_eq!(["0", "999", "1,000", "1,234,567"], [0, 999, 1000, 1_234_567].map(count).as_slice());
        let sizes = [0, 999, 1000, 505_395, 999_960, 2_000_000_000].map(bytes);
        assert_eq!(sizes, ["0 B", "999 B", "1.0 kB", "505.4 kB", "1.0 MB", "2.0 GB"]);
    }

    #[test]
    fn text_from_a_recording_can_not_control_the_terminal() {
        assert_eq!(printable("/a\u{1b}[2J\n"), "/a\u{fffd}[2J\u{fffd}");
    }
}
