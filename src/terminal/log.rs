//! Log lines, on stderr.

use std::fmt;
use std::io::{self, Write};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::field::{RecordFields, VisitOutput as _};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::{DefaultVisitor, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::TerminalOptions;
use super::voice::Voice;

/// From now on writes what the program logs.
pub(super) fn start(options: &TerminalOptions, terminal: bool, colored: bool, voice: Voice) {
    let level = match (options.quiet, options.verbose) {
        (true, _) => Level::WARN,
        (false, true) => Level::DEBUG,
        (false, false) => Level::INFO,
    };
    // What libraries have to say matters to their authors.
    let filter = Targets::new().with_target("fgplay", level);
    let lines =
        tracing_subscriber::fmt::layer().with_writer(Lines(voice)).with_ansi(colored).with_target(false);
    let lines = match (options.json, terminal) {
        (true, _) => lines.json().flatten_event(true).with_ansi(false).boxed(),
        (false, true) => lines.event_format(ForPeople).fmt_fields(MessageAlone).boxed(),
        (false, false) => lines.fmt_fields(MessageAlone).boxed(),
    };
    let registry = tracing_subscriber::registry().with(lines.with_filter(filter));
    // Fails only where it was done before, and then there are log lines already.
    registry.try_init().unwrap_or_default();
}

/// The message without the fields beside it: it says the same, in words.
struct MessageAlone;

impl<'w> FormatFields<'w> for MessageAlone {
    fn format_fields<R: RecordFields>(&self, line: Writer<'w>, fields: R) -> fmt::Result {
        let mut visitor = MessageVisitor(DefaultVisitor::new(line, true));
        fields.record(&mut visitor);
        visitor.0.finish()
    }
}

struct MessageVisitor<'a>(DefaultVisitor<'a>);

impl Visit for MessageVisitor<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0.record_debug(field, value);
        }
    }
}

/// Lines for someone who watches, and so knows what time it is: what is normal is said plainly, and what is
/// not stands out.
struct ForPeople;

impl<S, N> FormatEvent<S, N> for ForPeople
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut line: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let (color, word) = match *event.metadata().level() {
            Level::ERROR => ("\x1b[31m", "error: "),
            Level::WARN => ("\x1b[33m", "warning: "),
            Level::INFO => ("", ""),
            Level::DEBUG | Level::TRACE => ("\x1b[2m", "debug: "),
        };
        if line.has_ansi_escapes() && !word.is_empty() {
            write!(line, "{color}{word}\x1b[0m")?;
        } else {
            write!(line, "{word}")?;
        }
        context.field_format().format_fields(line.by_ref(), event)?;
        writeln!(line)
    }
}

/// Hands lines on, whole.
#[derive(Clone)]
struct Lines(Voice);

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.line(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
