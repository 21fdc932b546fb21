//! The `plimsoll` command. Without a subcommand it sweeps.
//!
//! Exit status: 0 nothing found · 1 a safety violation · 2 wrong usage or unreadable input · 3 a liveness violation ·
//! 4 nondeterminism.

mod cli;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    cli::quiet_histories();
    let command = cli::Arguments::parse();
    match command.execute() {
        Ok(status) => ExitCode::from(status),
        Err(problem) => {
            eprintln!("plimsoll: {problem}");
            ExitCode::from(cli::STATUS_USAGE)
        }
    }
}
