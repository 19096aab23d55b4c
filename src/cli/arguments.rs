//! What users type.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{OsStringValueParser, TypedValueParser as _};
use clap::error::ErrorKind;
use clap::{ArgMatches, Args, Command, CommandFactory as _, FromArgMatches as _, Parser, ValueEnum};
use clap_complete::Shell;

mod server;

pub(super) use server::ServerArguments;

use super::json_line;
use crate::terminal::{TerminalOptions, last_words};
use fgplay::playback::{Rate, Repeat};
use fgplay::recording::{OpenOptions, TopicError, TopicSelection};
use fgplay::time::{Timestamp, parse_duration};

/// Replays MCAP and JSONL recordings to Foxglove and Lichtblick over WebSocket, at their original times.
///
/// Open the printed link, or connect a viewer to ws://localhost:8765. Several recordings play on one
/// timeline.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
#[command(override_usage = "fgplay [OPTIONS] <RECORDING>...\n       fgplay <COMMAND>")]
#[command(
    after_help = "Exit codes: 0 done, 1 failed, 2 wrong arguments, 3 done but data was skipped or lost."
)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub subcommand: Option<Subcommand>,

    /// The recordings to play: MCAP or JSONL files, told apart by their content.
    // Required, but the only one may stand after --loop: see `Arguments::parse`.
    #[arg(value_name = "RECORDING")]
    pub recordings: Vec<PathBuf>,

    #[command(flatten)]
    pub playback: Playback,

    #[command(flatten)]
    pub topics: Topics,

    #[command(flatten)]
    pub server: ServerArguments,

    #[command(flatten)]
    pub reading: Reading,

    #[command(flatten)]
    pub output: Output,
}

#[derive(Debug, clap::Subcommand)]
pub(super) enum Subcommand {
    /// Tells what recordings hold: times, topics, types, rates, attachments, and what is wrong with them.
    Info(Info),
    /// Looks for what is wrong with recordings, for instance before tests rely on them.
    ///
    /// It reads every message, and tells of broken checksums and data, log times that go back, schemas that
    /// viewers can't read, and topics with two types.
    Check(Check),
    /// Prints a script that completes fgplay's options in a shell.
    Completions {
        /// The shell.
        shell: Shell,
    },
}

#[derive(Debug, Args)]
pub(super) struct Info {
    /// The recordings to look at.
    #[arg(required = true, value_name = "RECORDING")]
    pub recordings: Vec<PathBuf>,

    /// Print it as JSON.
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    pub reading: Reading,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 nothing found (or notes, or warnings without --strict), 1 a recording can't be read at \
                  all, 2 wrong arguments, 3 errors found (or warnings with --strict)."
)]
pub(super) struct Check {
    /// The recordings to check.
    #[arg(required = true, value_name = "RECORDING")]
    pub recordings: Vec<PathBuf>,

    /// Take warnings as seriously as errors.
    #[arg(long)]
    pub strict: bool,

    /// Print it as JSON.
    #[arg(long)]
    pub json: bool,

    /// Take it as an error when there is no message on any topic for longer than this (seconds, or like 1m30s).
    #[arg(long, value_name = "S", value_parser = longer_than_nothing, allow_hyphen_values = true)]
    pub max_gap: Option<Duration>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Playback")]
pub(super) struct Playback {
    /// How fast to play: 2 is twice as fast as it was recorded, max as fast as the viewers take it (as with
    /// --lossless).
    #[arg(short, long, value_name = "X", default_value = "1", value_parser = rate, allow_hyphen_values = true)]
    pub rate: Rate,

    /// Play again from the start at the end, N times in all, or without end.
    #[arg(short = 'l', long = "loop", value_name = "N", num_args = 0..=1, default_missing_value = FOREVER)]
    #[arg(value_parser = OsStringValueParser::new().try_map(Loop::parse))]
    pub repeat: Option<Loop>,

    /// What times viewers see after the first pass of a loop: the recorded ones again, or ones that go on rising.
    #[arg(long, value_name = "WHICH", value_enum, default_value_t)]
    pub loop_time: LoopTime,

    /// Wait that much recorded time between two passes of a loop (seconds, or like 1m30s).
    #[arg(long, value_name = "S", default_value = "0", value_parser = parse_duration, allow_hyphen_values = true)]
    pub loop_gap: Duration,

    /// Play silences that are longer than this as if they were this long (seconds, or like 1m30s).
    #[arg(long, value_name = "S", value_parser = longest_silence, allow_hyphen_values = true)]
    pub skip_gaps: Option<Duration>,

    /// Start that far into the recording (seconds, or like 1m30s).
    #[arg(long, value_name = "S", default_value = "0", value_parser = parse_duration, allow_hyphen_values = true)]
    pub start_offset: Duration,

    /// Play that much of the recording (seconds, or like 1m30s).
    #[arg(long, value_name = "S", value_parser = longer_than_nothing, allow_hyphen_values = true)]
    pub playback_duration: Option<Duration>,

    /// Play until this recorded time: seconds since 1970 (1717236010 or 1717236010.5), or a date with a zone, such as
    /// 2024-06-01T10:00:05Z.
    #[arg(long, value_name = "T", value_parser = recorded_time, allow_hyphen_values = true)]
    pub playback_until_sec: Option<Timestamp>,

    /// Wait that long before playback begins (seconds, or like 1m30s).
    #[arg(short, long, value_name = "S", default_value = "0", value_parser = parse_duration, allow_hyphen_values = true)]
    pub delay: Duration,

    /// Stand still at the start, until a viewer plays it.
    #[arg(long)]
    pub start_paused: bool,

    /// What playback waits for: nothing, the first client, or the first one that subscribes to a topic.
    #[arg(long, value_name = "WHEN", value_enum, default_value_t)]
    pub start: Start,

    /// Wait until that many viewers have subscribed to something, before playback begins.
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub wait_for_clients: usize,

    /// Wait until somebody has subscribed to every topic that matches one of these, before playback begins.
    #[arg(long, value_name = "GLOB", num_args = 1..)]
    pub wait_for_topics: Vec<String>,

    /// Give up with an error where those that playback waits for do not come within this time (seconds, or like
    /// 1m30s).
    #[arg(long, value_name = "S", value_parser = longer_than_nothing, allow_hyphen_values = true)]
    pub wait_timeout: Option<Duration>,

    /// Do not send the last message before a viewer's position on each topic to who subscribes late.
    #[arg(long)]
    pub no_lookback: bool,

    /// What to do at the end: stay, so that viewers keep what they show, or exit once everything is sent.
    #[arg(long, value_name = "WHAT", value_enum, default_value_t)]
    pub at_end: AtEnd,

    /// At the end, and when asked to terminate, wait that long for viewers to take what waits for them (seconds,
    /// or like 1m30s); by default as long as each takes something every ten seconds, and not at all when asked to
    /// terminate.
    #[arg(long, value_name = "S", value_parser = parse_duration, allow_hyphen_values = true)]
    pub linger: Option<Duration>,

    /// Give up with an error where it is not all over by then (seconds, or like 1m30s).
    #[arg(long, value_name = "S", value_parser = longer_than_nothing, allow_hyphen_values = true)]
    pub timeout: Option<Duration>,

    /// A file that is written at the end, with what became of the messages of each topic and client, as JSON.
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
}

/// What `--loop` means without a number.
const FOREVER: &str = "forever";

/// What stands after `--loop`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Loop {
    /// How often to play.
    Repeat(Repeat),
    /// No number, so it is a recording: `fgplay --loop demo.mcap`.
    Recording(PathBuf),
}

impl Loop {
    fn parse(value: OsString) -> Result<Self, String> {
        let Some(text) = value.to_str() else { return Ok(Loop::Recording(value.into())) };
        match text.parse() {
            _ if text == FOREVER => Ok(Loop::Repeat(Repeat::Forever)),
            Ok(0) => Err("--loop 0 would play nothing; without a number it plays without end".into()),
            Ok(times) => Ok(Loop::Repeat(Repeat::Times(times))),
            Err(_) if text.parse::<f64>().is_ok() => Err(format!(
                "--loop takes a whole number from 1 to {}; without one it plays without end",
                u64::MAX
            )),
            Err(_) => Ok(Loop::Recording(value.into())),
        }
    }
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub(super) enum Start {
    Now,
    Client,
    #[default]
    Subscriber,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub(super) enum LoopTime {
    #[default]
    Restart,
    Monotonic,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub(super) enum Session {
    #[default]
    Shared,
    Client,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub(super) enum AtEnd {
    #[default]
    Stay,
    Exit,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub(super) enum Control {
    #[default]
    All,
    None,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Topics")]
pub(super) struct Topics {
    /// Play only topics that match one of these (* is anything within a level of the name, ** any levels).
    #[arg(long, value_name = "GLOB", num_args = 1..)]
    pub topics: Vec<String>,

    /// Play only topics that match this regular expression (or one of --topics).
    #[arg(short = 'e', long, value_name = "RE")]
    pub regex: Option<String>,

    /// Leave out topics that match one of these.
    #[arg(long, value_name = "GLOB", num_args = 1..)]
    pub exclude_topics: Vec<String>,

    /// Leave out topics that match this regular expression.
    #[arg(short = 'x', long, value_name = "RE")]
    pub exclude_regex: Option<String>,

    /// Play topics under other names.
    #[arg(short = 'm', long, value_name = "OLD:=NEW", num_args = 1..)]
    pub remap: Vec<String>,
}

#[derive(Clone, Copy, Debug, Args)]
#[command(next_help_heading = "Reading")]
pub(super) struct Reading {
    /// Stop with an error where data would otherwise be skipped with a warning.
    #[arg(long)]
    pub strict: bool,

    /// Do not trust the recording's index: read it once from start to end and make a new one.
    #[arg(long)]
    pub rescan: bool,

    /// The largest chunk that is read, after decompression (bytes, or like 1GiB). Larger ones are skipped.
    #[arg(long, value_name = "BYTES", default_value = "1GiB", value_parser = byte_count)]
    pub max_chunk_size: usize,

    /// How much of what was decompressed is kept for whoever reads it next (bytes, or like 64MiB); by default
    /// 4MiB, and 64MiB with --session client.
    #[arg(long, value_name = "BYTES", value_parser = byte_count)]
    pub chunk_cache: Option<usize>,
}

impl Reading {
    pub fn open_options(self, session: Session) -> OpenOptions {
        let chunk_cache_bytes = self.chunk_cache.unwrap_or(match session {
            Session::Shared => OpenOptions::default().chunk_cache_bytes,
            // So that who watches a little later than another one finds what that one has read.
            Session::Client => 64 << 20,
        });
        let overlap_bytes = match session {
            Session::Shared => OpenOptions::default().overlap_bytes,
            // There may be many who read.
            Session::Client => OpenOptions::default().overlap_bytes / 4,
        };
        OpenOptions {
            overlap_bytes,
            strict: self.strict,
            ignore_index: self.rescan,
            max_chunk_bytes: self.max_chunk_size as u64,
            chunk_cache_bytes,
        }
    }
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub(super) struct Output {
    /// Print only warnings and errors, and take no keys.
    #[arg(short, long, conflicts_with = "verbose")]
    pub quiet: bool,

    /// Print also what matters only when looking for a fault.
    #[arg(short, long)]
    pub verbose: bool,

    /// How log lines are written.
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub log_format: LogFormat,

    /// Do not take keys from the terminal: space for pause, arrows, and so on (? lists them).
    #[arg(long)]
    pub disable_keyboard_controls: bool,

    /// When to use colour.
    #[arg(long, value_name = "WHEN", value_enum, default_value_t)]
    pub color: Color,
}

impl Output {
    /// Whether keys are taken. Not where nothing shows what they do.
    pub fn takes_keys(&self) -> bool {
        !self.disable_keyboard_controls && !self.quiet && self.log_format == LogFormat::Text
    }

    pub fn terminal_options(&self) -> TerminalOptions {
        TerminalOptions {
            quiet: self.quiet,
            verbose: self.verbose,
            json: self.log_format == LogFormat::Json,
            color: match self.color {
                Color::Auto => None,
                Color::Always => Some(true),
                Color::Never => Some(false),
            },
        }
    }
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub(super) enum LogFormat {
    #[default]
    Text,
    Json,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub(super) enum Color {
    #[default]
    Auto,
    Always,
    Never,
}

/// The command line, with help texts that are sentences: clap takes the full stop from those it finds.
pub(super) fn command() -> Command {
    fn with_full_stops(command: Command) -> Command {
        command
            .mut_args(|argument| match argument.get_help().map(ToString::to_string) {
                Some(help) if !help.ends_with('.') => argument.help(format!("{help}.")),
                _ => argument,
            })
            .mut_subcommands(|command| {
                let about = command.get_about().map(|about| format!("{about}.")).unwrap_or_default();
                with_full_stops(command.about(about))
            })
    }
    // It keeps nothing for later, so there it has nothing to do.
    let without_cache = |info: Command| info.mut_arg("chunk_cache", |argument| argument.hide(true));
    with_full_stops(Arguments::command().mut_subcommand("info", without_cache))
}

impl Arguments {
    /// Reads the command line of this process; ends it where that is not to be understood.
    pub fn read() -> Self {
        Arguments::parse(std::env::args_os()).unwrap_or_else(|error| {
            if !error.use_stderr() || !wants_json(std::env::args_os()) {
                error.exit()
            }
            last_words(json_line(&in_one_line(&error.to_string())));
            std::process::exit(error.exit_code())
        })
    }

    /// Whether log lines are JSON.
    pub fn logs_json(&self) -> bool {
        self.output.log_format == LogFormat::Json
    }

    /// Reads a command line, of which the first word is the program's name. A recording after `--loop` goes
    /// to the others, where it stands among them.
    fn parse<T: Into<OsString> + Clone>(words: impl IntoIterator<Item = T>) -> Result<Self, clap::Error> {
        let mut command = command();
        let matches = command.try_get_matches_from_mut(words)?;
        let mut arguments =
            Arguments::from_arg_matches(&matches).map_err(|error| error.format(&mut command))?;
        if let Some(Loop::Recording(path)) = &arguments.playback.repeat {
            let here = matches.index_of("repeat");
            let before = matches.indices_of("recordings").into_iter().flatten();
            let place = before.filter(|index| Some(*index) < here).count();
            arguments.recordings.insert(place, path.clone());
        }
        if arguments.subcommand.is_none() && arguments.recordings.is_empty() {
            let hint = takers(&matches).map(|hint| format!("\n\n{hint}")).unwrap_or_default();
            let message =
                format!("the following required arguments were not provided:\n  <RECORDING>...{hint}");
            return Err(command.error(ErrorKind::MissingRequiredArgument, message));
        }
        Ok(arguments)
    }
}

/// Options that take all values that follow, so that they may have taken the recordings too.
const TAKERS: [(&str, &str); 5] = [
    ("topics", "--topics"),
    ("exclude_topics", "--exclude-topics"),
    ("remap", "--remap"),
    ("wait_for_topics", "--wait-for-topics"),
    ("allow_origin", "--allow-origin"),
];

/// Where the recordings may have gone, if none is left.
fn takers(matches: &ArgMatches) -> Option<String> {
    let mut taken = TAKERS.iter().filter_map(|(id, option)| {
        let last = matches.get_many::<String>(id)?.next_back()?;
        Some(format!("{option} takes all that follows it, here up to {last}: put the recordings first, or -- before them"))
    });
    taken.next()
}

/// Whether log lines are to be JSON, by a command line that can't be read as a whole.
fn wants_json(words: impl Iterator<Item = OsString>) -> bool {
    let words: Vec<_> = words.collect();
    words.iter().any(|word| word == "--log-format=json")
        || words.windows(2).any(|pair| pair[0] == "--log-format" && pair[1] == "json")
}

/// What is wrong, of a text that goes on with how it is used.
fn in_one_line(error: &str) -> String {
    let what = error.split("\n\nUsage:").next().unwrap_or(error).trim_start_matches("error: ");
    what.split_whitespace().collect::<Vec<_>>().join(" ")
}

impl Playback {
    /// How often to play.
    pub fn repeat(&self) -> Repeat {
        match self.repeat {
            None => Repeat::Times(1),
            Some(Loop::Repeat(repeat)) => repeat,
            Some(Loop::Recording(_)) => Repeat::Forever,
        }
    }
}

impl Topics {
    pub fn selection(&self) -> Result<TopicSelection, TopicError> {
        let mut selection = TopicSelection::default()
            .including(&self.topics)?
            .excluding(&self.exclude_topics)?
            .renaming(&self.remap)?;
        if let Some(regex) = &self.regex {
            selection = selection.including_regex(regex)?;
        }
        if let Some(regex) = &self.exclude_regex {
            selection = selection.excluding_regex(regex)?;
        }
        Ok(selection)
    }
}

fn longer_than_nothing(text: &str) -> Result<Duration, String> {
    match parse_duration(text) {
        Ok(Duration::ZERO) => Err("it has to be longer than nothing".into()),
        Ok(time) => Ok(time),
        Err(error) => Err(error.to_string()),
    }
}

fn recorded_time(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse_seconds(text).map_err(|_| {
        "it takes seconds since 1970 (1717236010 or 1717236010.5), or a date with a zone, such as 2024-06-01T10:00:05Z"
            .into()
    })
}

fn longest_silence(text: &str) -> Result<Duration, String> {
    match parse_duration(text) {
        Ok(Duration::ZERO) => Err("without any silence everything would play at once; see --rate max".into()),
        Ok(longest) => Ok(longest),
        Err(error) => Err(error.to_string()),
    }
}

fn rate(text: &str) -> Result<Rate, String> {
    if text == "max" {
        return Ok(Rate::MAX);
    }
    let wrong = "the rate has to be a positive number such as 0.5, 1 or 20, or max";
    let factor = text.parse().map_err(|_| wrong.to_owned())?;
    Rate::new(factor).map_err(|error| error.to_string())
}

/// Reads `1000`, `64kB`, `32MiB`, `1GiB`.
fn byte_count(text: &str) -> Result<usize, String> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let factor: usize = match unit.trim() {
        "" | "B" => 1,
        "kB" | "KB" => 1000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" | "k" | "K" => 1 << 10,
        "MiB" | "M" => 1 << 20,
        "GiB" | "G" => 1 << 30,
        _ => return Err("a size is a number of bytes, or one with kB, MB, GB, KiB, MiB or GiB".into()),
    };
    number
        .parse::<usize>()
        .ok()
        .and_then(|number| number.checked_mul(factor))
        .filter(|bytes| *bytes > 0)
        .ok_or_else(|| "a size is a positive number of bytes, such as 1000 or 32MiB".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments, clap::Error> {
        Arguments::parse(line.split(' '))
    }

    #[test]
    fn the_command_line_contradicts_nothing() {
        command().debug_assert();
    }

    #[test]
    fn loop_takes_a_number_or_none() {
        let parsed = |line: &str| {
            let arguments = parse(line).unwrap();
            let recordings = arguments.recordings.iter().map(|path| path.display().to_string());
            (recordings.collect::<Vec<_>>().join(","), arguments.playback.repeat())
        };
        assert_eq!(parsed("fgplay a"), ("a".into(), Repeat::Times(1)));
        assert_eq!(parsed("fgplay a --loop"), ("a".into(), Repeat::Forever));
        assert_eq!(parsed("fgplay a -l 3 b"), ("a,b".into(), Repeat::Times(3)));
        assert_eq!(parsed("fgplay --loop a"), ("a".into(), Repeat::Forever));
        assert_eq!(parsed("fgplay --loop 2024.mcap -r 2"), ("2024.mcap".into(), Repeat::Forever));
        assert_eq!(parsed("fgplay a b --loop c d"), ("a,b,c,d".into(), Repeat::Forever));
        for number in ["0", "99999999999999999999", "1.5", "1e3"] {
            let error = parse(&format!("fgplay a --loop {number}")).unwrap_err();
            assert_eq!((error.exit_code(), error.kind()), (2, ErrorKind::ValueValidation), "{number}");
        }
    }

    #[test]
    fn a_recording_has_to_be_given_unless_there_is_a_subcommand() {
        for line in ["fgplay", "fgplay --loop", "fgplay --rate 2", "fgplay info"] {
            let error = parse(line).unwrap_err();
            assert_eq!((error.exit_code(), error.kind()), (2, ErrorKind::MissingRequiredArgument), "{line}");
            assert!(error.to_string().contains("<RECORDING>..."), "{error}");
        }
        assert!(parse("fgplay completions bash").is_ok());
        assert!(parse("fgplay info a").is_ok());
    }

    #[test]
    fn an_option_that_has_taken_the_recording_is_named() {
        for (_, option) in TAKERS {
            let value = if option == "--remap" { "/a:=/b" } else { "/a" };
            let error = parse(&format!("fgplay {option} {value} demo.mcap")).unwrap_err().to_string();
            assert!(
                error.contains(&format!("{option} takes all")) && error.contains("up to demo.mcap"),
                "{error}"
            );
            assert!(parse(&format!("fgplay {option} {value} -- demo.mcap")).is_ok());
        }
    }

    #[test]
    fn a_recorded_time_is_seconds_or_a_date() {
        let until = |time: &str| parse(&format!("fgplay a --playback-until-sec {time}"));
        for time in ["1717236005", "1717236005.0", "2024-06-01T10:00:05Z", "2024-06-01T12:00:05+02:00"] {
            let time = until(time).unwrap().playback.playback_until_sec.unwrap();
            assert_eq!(time.as_nanos(), 1_717_236_005_000_000_000);
        }
        for time in ["2024-06-01T10:00:05", "noon", "-1"] {
            let error = until(time).unwrap_err().to_string();
            assert!(error.contains("seconds since 1970 (1717236010"), "{error}");
        }
    }

    #[test]
    fn keys_are_taken_where_it_is_seen_what_they_do() {
        let takes = |options: &str| parse(&format!("fgplay a{options}")).unwrap().output.takes_keys();
        assert!(takes("") && takes(" -v"));
        assert!(!takes(" -q") && !takes(" --log-format json") && !takes(" --disable-keyboard-controls"));
    }

    #[test]
    fn info_offers_only_what_it_makes_use_of() {
        let help = parse("fgplay info --help").unwrap_err().to_string();
        assert!(help.contains("--rescan") && !help.contains("--chunk-cache"), "{help}");
        assert!(parse("fgplay info a --chunk-cache 1MB").is_ok());
    }

    #[test]
    fn rates_that_make_no_sense_are_wrong_arguments() {
        for rate in ["0", "-1", "nan", "inf", "-inf", "fast", ""] {
            let error = Arguments::parse(["fgplay", "a", "--rate", rate]).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{rate}");
            assert!(error.to_string().contains("positive number"), "{error}");
        }
        assert!(parse("fgplay a -r max").unwrap().playback.rate.is_max());
        assert_eq!(parse("fgplay a -r 0.01").unwrap().playback.rate.factor(), 0.01);
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(byte_count("1000"), Ok(1000));
        assert_eq!(byte_count("32MiB"), Ok(32 << 20));
        assert_eq!(
            byte_count("1.5GB"),
            Err("a size is a number of bytes, or one with kB, MB, GB, KiB, MiB or GiB".into())
        );
        for text in ["", "0", "-1", "MB", "99999999999999999999", "99999999999GiB"] {
            assert!(byte_count(text).is_err(), "{text}");
        }
    }
}
