//! The command-line arguments, and code that the subcommands share. Each subcommand has its own file. The
//! library's module `report` renders the output.

mod atlas;
#[cfg(feature = "serve")]
mod backup;
mod corpus;
mod determinism;
mod explore;
mod failure;
mod files;
mod fingerprint;
mod interrupt;
mod invariants;
mod judge;
mod marks;
mod merge;
pub mod output;
mod replay;
mod results;
mod run;
mod schedule;
#[cfg(feature = "serve")]
mod serve;
mod shard;
mod shrink;

use std::io::IsTerminal;
use std::num::NonZero;
use std::thread;
use std::time::Duration;

use clap::{Parser, Subcommand};
use plimsoll_sim::judge::verdict::Expectation;
use plimsoll_sim::report::sweep::AnotherSweep;
use plimsoll_sim::schedule::ScheduleError;
use plimsoll_sim::search::child::ChildError;
use plimsoll_sim::world::run::{CPU_LIMIT, THREAD_NAME};

pub const STATUS_CLEAN: u8 = 0;
const STATUS_SAFETY: u8 = 1;
/// Wrong usage, or unreadable input.
pub const STATUS_USAGE: u8 = 2;
const STATUS_LIVENESS: u8 = 3;
const STATUS_NONDETERMINISM: u8 = 4;
/// A mark was not reached, and `--require-marks` was given.
const STATUS_MARKS: u8 = 5;
/// A signal ended the command before everything was done, and nothing was found so far.
const STATUS_INTERRUPTED: u8 = 130;

/// Simulates the plimsoll sync engine through crashes, torn writes and lost messages.
#[derive(Debug, Parser)]
#[command(
    version,
    about,
    args_conflicts_with_subcommands = true,
    after_help = "\
Exit status: 0 nothing found; 1 a safety violation; 2 wrong usage or unreadable input; 3 a liveness violation;
4 nondeterminism; 5 a mark was not reached (with --require-marks); 130 interrupted.
`replay` and `shrink` return the status of their history.

Examples:
  plimsoll                                   sweep seeds 0..1000
  plimsoll run --minutes 30 --keep-going     sweep for half an hour, group the failures
  plimsoll replay findings/seed-7.min.jsonl  the timeline of a failure
  plimsoll replay 7 --html seed-7.html       the same as a self-contained page"
)]
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
    /// Run one history again, from its seed or its schedule file, and show what happened.
    Replay(replay::Replay),
    /// Reduce a failing schedule to a small one that fails in the same way.
    Shrink(shrink::Shrink),
    /// Keep a schedule that found something as a test.
    Corpus(corpus::Corpus),
    /// Combine the results of several shards into one report.
    Merge(merge::Merge),
    /// Print the FaultAtlas: the engine's promise under each fault, at each file and route.
    Atlas,
    /// Inject every possible crash and lost message into short schedules.
    Explore(explore::Explore),
    #[cfg(feature = "serve")]
    Serve(Box<serve::Serve>),
    /// Copy the directory of a served remote. The server may be running.
    #[cfg(feature = "serve")]
    Backup(backup::Backup),
    /// Run a history from standard input for a parent process, and print its verdict.
    #[command(hide = true)]
    Judge(judge::Judge),
    /// Print the hashes of many histories, to compare two builds.
    Fingerprint(fingerprint::Fingerprint),
    /// Print the invariants that every history is judged by.
    Invariants,
    /// Print the schedule of a seed: the file that `replay` runs.
    Schedule(schedule::Show),
    /// Print the marks: the situations that a sweep should reach.
    Marks,
}

impl Arguments {
    /// Runs the command and returns the exit status.
    pub fn execute(self) -> Result<u8, Problem> {
        match self.command.unwrap_or(Command::Run(self.run)) {
            Command::Run(run) => run.execute(),
            Command::Replay(replay) => replay.execute(),
            Command::Shrink(shrink) => shrink.execute(),
            Command::Corpus(corpus) => corpus.execute(),
            Command::Merge(merge) => merge.execute(),
            Command::Atlas => Ok(atlas::print()),
            Command::Explore(explore) => explore.execute(),
            #[cfg(feature = "serve")]
            Command::Serve(serve) => serve.execute(),
            #[cfg(feature = "serve")]
            Command::Backup(backup) => backup.execute(),
            Command::Judge(judge) => judge.execute(),
            Command::Fingerprint(fingerprint) => fingerprint.execute(),
            Command::Invariants => Ok(invariants::print()),
            Command::Schedule(show) => show.execute(),
            Command::Marks => Ok(marks::print()),
        }
    }
}

/// The reason why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    #[error("cannot {what} {path}: {source}")]
    File { what: &'static str, path: String, source: std::io::Error },
    #[error("{path}: {source}")]
    Schedule { path: String, source: ScheduleError },
    #[error("cannot explore: {0}")]
    Explore(std::io::Error),
    #[error(
        "{path} broke an invariant during exploration but does not when it is replayed: this is a bug of the simulator"
    )]
    NotReproduced { path: String },
    #[cfg(feature = "serve")]
    #[error("the server failed: {0}")]
    Runtime(std::io::Error),
    #[cfg(feature = "serve")]
    #[error("{}", plimsoll_sim::text::error_chain(.0))]
    Serve(#[from] plimsoll_sim::serve::ServeError),
    #[error("{path}: {message}")]
    Report { path: String, message: String },
    #[error(
        "{path} is the result of another sweep, to which this one cannot be added: {source}; pass another --out, or remove the file"
    )]
    AnotherSweep { path: String, source: AnotherSweep },
    #[error("{0}")]
    Usage(String),
    #[error("the determinism check's child process failed: {0}")]
    Determinism(String),
    #[error("a history in a child process has no outcome: {0}")]
    Child(#[from] ChildError),
    #[error("cannot listen for signals: {0}")]
    Signals(#[from] ctrlc::Error),
}

fn status_of(expectation: Expectation) -> u8 {
    match expectation {
        Expectation::Always => STATUS_SAFETY,
        Expectation::Eventually => STATUS_LIVENESS,
    }
}

/// Parses a time limit in minutes.
fn minutes(text: &str) -> Result<Duration, String> {
    let minutes: f64 = text.parse().map_err(|error| format!("{error}"))?;
    match Duration::try_from_secs_f64(minutes * 60.0) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        Ok(_) => Err("expected more than 0 minutes, for instance 30 or 0.5".into()),
        Err(error) => Err(format!("expected a number of minutes, for instance 30 or 0.5: {error}")),
    }
}

/// Parses an amount of CPU time in seconds.
fn cpu_time(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|error| format!("{error}"))?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(time) if !time.is_zero() && time <= CPU_LIMIT => Ok(time),
        _ => Err(format!("expected more than 0 and at most {} seconds", CPU_LIMIT.as_secs())),
    }
}

/// Parses a number of jobs.
fn job_count(text: &str) -> Result<NonZero<usize>, String> {
    /// More threads or processes than this take gigabytes and make nothing faster.
    const JOBS_MAX: usize = 512;
    match text.parse::<NonZero<usize>>() {
        Ok(jobs) if jobs.get() <= JOBS_MAX => Ok(jobs),
        _ => Err(format!("expected a number from 1 to {JOBS_MAX}")),
    }
}

/// Borrows the words of a command line.
fn words(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}

/// The requested number of jobs. Defaults to one per core.
#[expect(clippy::disallowed_methods, reason = "the number of threads does not affect any history")]
fn jobs(requested: Option<NonZero<usize>>) -> usize {
    requested.or_else(|| thread::available_parallelism().ok()).map_or(1, NonZero::get)
}

/// Whether to colour standard output: it is a terminal, and `NO_COLOR` is not set.
#[expect(clippy::disallowed_methods, reason = "a command reads its environment, histories do not")]
fn in_colour() -> bool {
    let is_forbidden = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    std::io::stdout().is_terminal() && !is_forbidden
}

/// A shell line that runs this program with `arguments`, in the same way as it was started.
#[expect(clippy::disallowed_methods, reason = "a command reads its environment, histories do not")]
fn shell_line(arguments: &[&str]) -> String {
    let program = if std::env::var_os("CARGO").is_some() {
        "cargo run --release --".to_owned()
    } else {
        quoted(&std::env::args().next().unwrap_or_else(|| "plimsoll".into()))
    };
    let words = arguments.iter().map(|argument| quoted(argument));
    [program].into_iter().chain(words).collect::<Vec<_>>().join(" ")
}

/// Quotes a word for the shell.
fn quoted(word: &str) -> String {
    // An argument of this process has no NUL byte.
    shlex::try_quote(word).map_or_else(|_| word.to_owned(), std::borrow::Cow::into_owned)
}

/// Keeps the default panic hook from printing panics in histories. An engine's panic is a finding and is
/// reported as one.
#[expect(clippy::disallowed_methods, reason = "the hook compares the name of the panicking thread")]
pub fn quiet_histories() {
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if thread::current().name() != Some(THREAD_NAME) {
            default(panic);
        }
    }));
}
