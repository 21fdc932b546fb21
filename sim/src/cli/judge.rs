//! `plimsoll judge`: runs one history for a parent process, which ends it or reads its verdict. Also the parent's
//! side.

use std::process::Command;
use std::time::Duration;

use clap::Args;
use plimsoll_sim::schedule::Schedule;
use plimsoll_sim::search::child::{self, ChildError};
use plimsoll_sim::search::generate::Profile;
use plimsoll_sim::world::run::Outcome;

use super::files::Source;
use super::output::outln;
use super::{Problem, STATUS_CLEAN};

#[derive(Debug, Args)]
pub struct Judge {
    /// The CPU time in seconds that the history may use.
    #[arg(long, value_name = "N", value_parser = super::cpu_time)]
    cpu_seconds: Duration,
}

impl Judge {
    pub fn execute(self) -> Result<u8, Problem> {
        let schedule = Source::Input.schedule(Profile::default())?;
        outln!("{}", child::judge(&schedule, self.cpu_seconds));
        Ok(STATUS_CLEAN)
    }
}

/// Runs a history in a child process.
pub fn in_child(schedule: &Schedule, cpu_limit: Duration) -> Result<Outcome, ChildError> {
    let mut command =
        this_program().map_err(|source| ChildError::Run { program: "this program".to_owned(), source })?;
    command.args(["judge", "--cpu-seconds", &cpu_limit.as_secs_f64().to_string()]);
    child::run_in(command, schedule, cpu_limit)
}

/// A command that starts this program again.
#[expect(clippy::disallowed_methods, reason = "a history runs in a process of its own")]
pub fn this_program() -> std::io::Result<Command> {
    std::env::current_exe().map(Command::new)
}
