//! The `fgplay` command.

mod cli;
mod terminal;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
