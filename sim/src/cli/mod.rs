//! Arguments, and what all subcommands share.

mod explore;
mod replay;
mod run;
#[cfg(feature = "serve")]
mod serve;

use std::path::Path;
use std::str::FromStr;
use std::thread;

use clap::{Parser, Subcommand};
use plimsoll_sim::atlas::ATLAS;
use plimsoll_sim::generate::{Profile, generate};
use plimsoll_sim::run::THREAD_NAME;
use plimsoll_sim::schedule::{Schedule, ScheduleError};
use plimsoll_sim::verdict::{Expectation, INVARIANTS, Violation};

/// Nothing found.
pub const STATUS_CLEAN: u8 = 0;
const STATUS_SAFETY: u8 = 1;
/// Wrong usage, or input that cannot be read.
pub const STATUS_USAGE: u8 = 2;
const STATUS_LIVENESS: u8 = 3;
const STATUS_NONDETERMINISM: u8 = 4;

/// Simulates the plimsoll sync engine through crashes, torn writes and lost messages.
#[derive(Debug, Parser)]
#[command(version, about, args_conflicts_with_subcommands = true)]
pub struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: run::Run,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Sweep many seeds and judge every history (the default).
    Run(run::Run),
    /// Run one history again, from its seed or its schedule file.
    Replay(replay::Replay),
    /// Print the FaultAtlas: what is promised under each fault, at each file and route.
    Atlas,
    /// Strike short schedules in every possible way.
    Explore(explore::Explore),
    /// Serve a remote over HTTP, on real files, to clients on this machine.
    #[cfg(feature = "serve")]
    Serve(serve::Serve),
    /// Print the invariants that every history is judged by.
    Invariants,
}

impl Arguments {
    /// Does what was asked for and returns the exit status.
    pub fn execute(self) -> Result<u8, Problem> {
        match self.command.unwrap_or(Command::Run(self.run)) {
            Command::Run(run) => run.execute(),
            Command::Replay(replay) => replay.execute(),
            Command::Atlas => {
                for row in ATLAS {
                    println!("{:<16}{:<20}{:<10}{}", row.kind, row.target, row.promise, row.reason);
                }
                Ok(STATUS_CLEAN)
            }
            Command::Explore(explore) => explore.execute(),
            #[cfg(feature = "serve")]
            Command::Serve(serve) => serve.execute(),
            Command::Invariants => {
                for invariant in INVARIANTS {
                    let when = format!("{:?}", invariant.expectation).to_lowercase();
                    println!("{:<18}{when:<12}{}", invariant.name, invariant.meaning);
                }
                Ok(STATUS_CLEAN)
            }
        }
    }
}

/// Why a command could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    #[error("cannot {what} {path}: {source}")]
    File { what: &'static str, path: String, source: std::io::Error },
    #[error("{path}: {source}")]
    Schedule { path: String, source: ScheduleError },
    #[error("exploring: {0}")]
    Explore(std::io::Error),
    #[error(
        "{path} broke an invariant while exploring and does not when it is run: the simulator contradicts itself"
    )]
    NotReproduced { path: String },
    #[cfg(feature = "serve")]
    #[error("the server: {0}")]
    Runtime(std::io::Error),
    #[cfg(feature = "serve")]
    #[error("{}", plimsoll_sim::world::error_chain(.0))]
    Serve(#[from] plimsoll_sim::serve::ServeError),
    #[error("the child process for the determinism check: {0}")]
    Child(String),
}

/// A seed, or the path of a schedule file.
#[derive(Debug, Clone)]
enum Source {
    Seed(u64),
    File(String),
}

impl FromStr for Source {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(text.parse().map_or_else(|_| Self::File(text.to_owned()), Self::Seed))
    }
}

impl Source {
    #[expect(clippy::disallowed_methods, reason = "the command reads real files, histories do not")]
    fn schedule(&self, profile: Profile) -> Result<Schedule, Problem> {
        match self {
            Self::Seed(seed) => Ok(generate(*seed, profile)),
            Self::File(path) => {
                let text = std::fs::read_to_string(path).map_err(|source| Problem::File {
                    what: "read",
                    path: path.clone(),
                    source,
                })?;
                Schedule::parse(&text).map_err(|source| Problem::Schedule { path: path.clone(), source })
            }
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the command writes real files, histories do not")]
fn write_schedule(directory: &Path, name: &str, schedule: &Schedule) -> Result<String, Problem> {
    let path = directory.join(name);
    let shown = path.display().to_string();
    std::fs::create_dir_all(directory)
        .and_then(|()| std::fs::write(&path, schedule.print()))
        .map_err(|source| Problem::File { what: "write", path: shown.clone(), source })?;
    Ok(shown)
}

fn status_of(violation: &Violation) -> u8 {
    match violation.expectation {
        Expectation::Always => STATUS_SAFETY,
        Expectation::Eventually => STATUS_LIVENESS,
    }
}

/// An engine's panic inside a history is a finding and reported as one; the default hook would print it besides.
pub fn quiet_histories() {
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if thread::current().name() != Some(THREAD_NAME) {
            default(panic);
        }
    }));
}
