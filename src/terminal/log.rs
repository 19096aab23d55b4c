//! Log lines, on stderr.

use std::io::{self, Write};

use indicatif::MultiProgress;
use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::cli::{LogFormat, Output};

/// From now on writes what the program logs.
pub(super) fn start(output: &Output, terminal: bool, colored: bool, bars: MultiProgress) {
    let level = match (output.quiet, output.verbose) {
        (true, _) => Level::WARN,
        (false, true) => Level::DEBUG,
        (false, false) => Level::INFO,
    };
    // What libraries have to say matters to their authors.
    let filter = Targets::new().with_target("fgplay", level);
    let lines =
        tracing_subscriber::fmt::layer().with_writer(AboveBars(bars)).with_ansi(colored).with_target(false);
    let lines = match (output.log_format, terminal) {
        (LogFormat::Json, _) => lines.json().flatten_event(true).with_ansi(false).boxed(),
        // Who watches knows what time it is.
        (LogFormat::Text, true) => lines.without_time().boxed(),
        (LogFormat::Text, false) => lines.boxed(),
    };
    let registry = tracing_subscriber::registry().with(lines.with_filter(filter));
    // Fails only where it was done before, and then there are log lines already.
    registry.try_init().unwrap_or_default();
}

/// Writes lines so that bars stay below them, whole.
#[derive(Clone)]
struct AboveBars(MultiProgress);

impl<'a> MakeWriter<'a> for AboveBars {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Write for AboveBars {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.suspend(|| io::stderr().write_all(line))?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
