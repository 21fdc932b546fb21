//! `planted`: builds the engine with each planted bug and sweeps. Reports which invariant found the bug,
//! after how many seeds, and how small the shrunk schedule is.
//!
//! Guarantees: the command builds a copy of the sources and changes nothing in the working tree. Every bug is
//! swept over the same seeds as the unpatched engine, which must be clean on them. The exit status is 1 if a
//! bug was not found or the unpatched engine was not clean, and 2 if the command could not run.
//!
//! Not in this module: the definition of a bug (`plimsoll_scenarios::planted`).
#![expect(clippy::disallowed_methods, reason = "a command has real files, processes and real time")]

mod hunt;
mod scratch;
mod table;

use std::num::NonZero;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use plimsoll_scenarios::planted::{self, PatchError, PlantedBug};
use plimsoll_sim::search::generate::Profile;
use plimsoll_sim::search::sweep::Shard;

use hunt::{Found, Hunt, HuntError};
use scratch::{Scratch, ScratchError};
use table::{Baseline, Row, Table};

/// Builds the engine with each planted bug in a scratch copy and sweeps until it is found.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "\
Exit status: 0 all found and the unpatched engine clean; 1 otherwise; 2 a patch does not apply or build, or wrong usage.

Examples:
  cargo planted                                  all of them, about a minute each
  cargo planted watermark-off-by-one --bases 1   one of them, from one base seed
  cargo planted --list                           the list of bugs"
)]
struct Arguments {
    /// Only the bugs with these names
    names: Vec<String>,
    /// List the bugs and exit
    #[arg(long)]
    list: bool,
    /// Maximum number of seeds to sweep from each base
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..1_000_000))]
    seeds_budget: u64,
    /// Number of base seeds to start from
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..1_000))]
    bases: u64,
    /// Number of bases whose findings are shrunk
    #[arg(long, value_name = "N", default_value_t = 1)]
    shrinks: u64,
    /// How many histories run at the same time (default: one per core)
    #[arg(long, value_name = "N")]
    jobs: Option<NonZero<usize>>,
    /// Start no further bug after this many minutes
    #[arg(long, value_name = "N", value_parser = minutes)]
    minutes: Option<Duration>,
    /// This machine's share of the bugs
    #[arg(long, value_name = "I/N", default_value_t = Shard::WHOLE)]
    shard: Shard,
    /// Rotate the order of the bugs by N, so that each night can start with another bug
    #[arg(long, value_name = "N", default_value_t = 0)]
    rotate: u64,
    /// Do not sweep the unpatched engine
    #[arg(long)]
    skip_unpatched: bool,
    /// The directory for the copy and its build, which later runs reuse
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
    /// The directory for the table (planted.md, planted.json) and the schedules (default: beside the copy)
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print the table as JSON and nothing else
    #[arg(long)]
    json: bool,
}

/// The reason why the hunt could not run.
#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error("with the bug {name}")]
    Bug { name: String, source: ScratchError },
    #[error(transparent)]
    Patch(#[from] PatchError),
    #[error(transparent)]
    Scratch(#[from] ScratchError),
    #[error(transparent)]
    Hunt(#[from] HuntError),
    #[error("there is no planted bug {0}; --list prints all names")]
    UnknownName(String),
}

fn main() -> ExitCode {
    match Arguments::parse().execute() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(problem) => {
            eprintln!("planted: {}", plimsoll_sim::text::error_chain(&problem));
            ExitCode::from(2)
        }
    }
}

impl Arguments {
    /// Runs the command. Returns whether every bug was found and the unpatched engine was clean.
    fn execute(self) -> Result<bool, Problem> {
        let begin = Instant::now();
        let bugs = self.chosen()?;
        if self.list {
            for bug in &bugs {
                println!("{} ({}; {})\n  {}", bug.name, bug.area, bug.like, bug.what);
            }
            return Ok(true);
        }
        let root = planted::workspace();
        let directory = self.scratch.clone().unwrap_or_else(|| root.join("target/planted"));
        let mut scratch = Scratch::new(&root, &directory)?;
        let out = self.out.clone().unwrap_or_else(|| directory.join("found"));
        let hunt = Hunt {
            seeds_budget: self.seeds_budget,
            bases: self.bases,
            shrinks: self.shrinks,
            jobs: self.jobs.map_or_else(cores, NonZero::get),
            out: out.clone(),
        };
        let bar = progress_bar(bugs.len() + usize::from(!self.skip_unpatched));
        let mut table = Table::new(&hunt);
        if !self.skip_unpatched {
            bar.set_message("the unpatched engine");
            let plimsoll = scratch.build(&[])?;
            let mut outcomes = Outcomes::new();
            for profile in [Profile::default(), Profile::Archive] {
                if bugs.iter().any(|bug| bug.profile() == profile) {
                    let name = format!("unpatched-{}", profile.name());
                    outcomes.extend(hunt.sweep_all(&plimsoll, &name, profile, false)?);
                }
            }
            table.baseline = Some(Baseline::of(&outcomes));
            bar.inc(1);
        }
        for bug in &bugs {
            if self.minutes.is_some_and(|minutes| begin.elapsed() > minutes) {
                table.not_reached.push(bug.name.clone());
                continue;
            }
            bar.set_message(format!("{}: building", bug.name));
            let edited = bug.apply(|path| std::fs::read_to_string(root.join(path)))?;
            let plimsoll =
                scratch.build(&edited).map_err(|source| Problem::Bug { name: bug.name.clone(), source })?;
            bar.set_message(format!("{}: sweeping", bug.name));
            match hunt.check_calm(&plimsoll, &bug.name, bug.profile()) {
                Err(strawman @ HuntError::Strawman { .. }) => {
                    bar.suspend(|| eprintln!("{strawman}"));
                    table.strawmen.push(bug.name.clone());
                    table.write(&out)?;
                    bar.inc(1);
                    continue;
                }
                outcome => outcome?,
            }
            let found = hunt.sweep_all(&plimsoll, &bug.name, bug.profile(), true)?;
            let row = Row::new(bug, &found, self.seeds_budget);
            if bar.is_hidden() {
                eprintln!("{}", row.line());
            } else {
                bar.println(row.line());
            }
            table.rows.push(row);
            table.write(&out)?;
            bar.inc(1);
        }
        bar.finish_and_clear();
        table.write(&out)?;
        if self.json {
            println!("{}", table.json());
        } else {
            print!("{}", table.markdown());
            println!("\nwritten to {}", out.join("planted.md").display());
        }
        Ok(table.is_as_it_should_be())
    }

    fn chosen(&self) -> Result<Vec<PlantedBug>, Problem> {
        let all = planted::all()?;
        if self.names.is_empty() {
            let mut share: Vec<PlantedBug> = (0..)
                .zip(all)
                .filter(|(index, _)| index % self.shard.count == self.shard.index)
                .map(|(_, bug)| bug)
                .collect();
            let count = share.len().max(1) as u64;
            share.rotate_left((self.rotate % count) as usize);
            return Ok(share);
        }
        let by_name = |name: &String| {
            let bug = all.iter().find(|bug| bug.name == *name);
            bug.cloned().ok_or_else(|| Problem::UnknownName(name.clone()))
        };
        self.names.iter().map(by_name).collect()
    }
}

fn minutes(text: &str) -> Result<Duration, String> {
    let minutes: f64 = text.parse().map_err(|error| format!("{error}"))?;
    Duration::try_from_secs_f64(minutes * 60.0).map_err(|error| error.to_string())
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}

fn progress_bar(steps: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} {msg}, {elapsed}");
    ProgressBar::new(steps as u64).with_style(style.expect("the template is sound"))
}

/// For each base, its finding, if there is one.
type Outcomes = Vec<Option<Found>>;
