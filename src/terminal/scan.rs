//! How far the reading of a file has come, of one without index or for a check.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::Terminal;
use fgplay::recording::ScanProgress;

/// What is read in a moment needs no bar.
const MOMENT: Duration = Duration::from_millis(300);

/// A bar that appears when opening takes longer than a moment.
pub(crate) struct ScanBar<'a> {
    terminal: &'a Terminal,
    started: Instant,
    /// Whether it is read because it has no index.
    no_index: bool,
    bar: OnceLock<ProgressBar>,
}

impl<'a> ScanBar<'a> {
    pub fn new(terminal: &'a Terminal) -> Self {
        ScanBar { terminal, started: Instant::now(), no_index: true, bar: OnceLock::new() }
    }

    /// For files that are read in any case.
    pub fn reading(terminal: &'a Terminal) -> Self {
        ScanBar { no_index: false, ..ScanBar::new(terminal) }
    }

    pub fn show(&self, progress: ScanProgress<'_>) {
        if self.bar.get().is_none() && self.started.elapsed() < MOMENT {
            return;
        }
        let bar = self.bar.get_or_init(|| {
            if !self.terminal.animated && self.no_index {
                tracing::info!("{} has no index and is read once", progress.path.display());
            }
            self.terminal.bars.add(ProgressBar::new(progress.total).with_style(self.style()))
        });
        let why = if self.no_index { ", which has no index" } else { "" };
        bar.set_message(format!("reading {}{why}", progress.path.display()));
        bar.set_length(progress.total);
        bar.set_position(progress.done);
    }

    pub fn finish(&self) {
        if let Some(bar) = self.bar.get() {
            bar.finish_and_clear();
        }
    }

    fn style(&self) -> ProgressStyle {
        let template = "{msg}: {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
    }
}
