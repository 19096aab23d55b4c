//! The command line: what users type, turned into the plain options of the rooms below.

mod arguments;
mod check;
mod descriptors;
mod end;
mod files;
mod info;
mod paths;
mod play;
mod report;
mod signals;
mod together;

use std::fmt;
use std::io::{self, Write as _};
use std::process::ExitCode;

use clap_complete::Shell;

use crate::terminal::last_words;
use arguments::{Arguments, Subcommand};
use fgplay::recording::TopicError;
use fgplay::replay::RangeError;

/// How a run ended, as its exit code says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Outcome {
    /// Everything was done.
    Done,
    /// Everything was done, but data was skipped or lost.
    DataLost,
    /// A check has found something.
    Found,
    /// The user would not wait until everybody has heard that it ends.
    Abandoned,
}

/// Why a run ended early.
enum Failure {
    /// It could not be done.
    Failed(anyhow::Error),
    /// It was asked for in a way that can't be done.
    WrongArguments(anyhow::Error),
}

/// Parses the command line, runs it, and gives the exit code: 0 done, 1 failed, 2 wrong arguments, 3 done but
/// data was skipped or lost, or a check has found something; 130 where a second signal ended it.
pub(crate) fn main() -> ExitCode {
    let arguments = Arguments::read();
    let as_json = arguments.logs_json();
    let result = match &arguments.subcommand {
        Some(Subcommand::Info(info)) => info::run(info),
        Some(Subcommand::Check(check)) => check::run(check),
        Some(Subcommand::Completions { shell }) => completions(*shell),
        None => play::run(arguments),
    };
    if let Err(failure) = &result {
        let text = failure.to_string();
        last_words(if as_json { json_line(&text) } else { format!("fgplay: {text}") });
    }
    ExitCode::from(exit_code(&result))
}

/// The exit code of a run that ended like this.
fn exit_code(result: &Result<Outcome, Failure>) -> u8 {
    match result {
        Ok(Outcome::Done) => 0,
        Ok(Outcome::DataLost | Outcome::Found) => 3,
        Ok(Outcome::Abandoned) => 130,
        Err(failure) => failure.exit_code(),
    }
}

/// A line as `--log-format json` has them.
fn json_line(text: &str) -> String {
    let timestamp = jiff::Timestamp::now().to_string();
    serde_json::json!({"timestamp": timestamp, "level": "ERROR", "message": text}).to_string()
}

fn completions(shell: Shell) -> Result<Outcome, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut arguments::command(), "fgplay", &mut script);
    print(&script)?;
    Ok(Outcome::Done)
}

/// Writes a result to stdout. That nobody reads it to its end (`fgplay info ... | head`) is no failure.
fn print(result: &[u8]) -> Result<(), Failure> {
    let mut stdout = io::stdout();
    match stdout.write_all(result).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(anyhow::Error::new(error).context("can't write to stdout").into())
        }
        _ => Ok(()),
    }
}

impl Failure {
    fn exit_code(&self) -> u8 {
        match self {
            Failure::Failed(_) => 1,
            Failure::WrongArguments(_) => 2,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Failure::Failed(error) | Failure::WrongArguments(error)) = self;
        write!(f, "{error:#}")
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Failure::Failed(error)
    }
}

impl From<TopicError> for Failure {
    fn from(error: TopicError) -> Self {
        Failure::WrongArguments(error.into())
    }
}

impl From<RangeError> for Failure {
    fn from(error: RangeError) -> Self {
        match error {
            RangeError::NoMessages => Failure::Failed(error.into()),
            RangeError::OffsetPastEnd { .. } | RangeError::EndsBeforeStart { .. } => {
                Failure::WrongArguments(error.into())
            }
        }
    }
}
