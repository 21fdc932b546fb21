//! `nightly`: runs every search for bugs for a given time, and writes one report.
//!
//! Guarantees: the time is divided among the parts, and a part is ended when its share is over. `nightly.md`
//! and `nightly.json` list every finding of the parts once, with its files beside the report. The night's
//! number determines the seeds, so every night searches other seeds, and any night can be repeated. The exit
//! status is 1 if there are findings, and 2 if a part could not run.
//!
//! Not in this module: the parts' own work (`parts`), and notifications (`.ci/report-findings`).
#![expect(clippy::disallowed_methods, reason = "a command has real files, processes and real time")]

mod findings;
mod fuzz;
mod parts;
mod report;

use std::num::NonZero;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::{Parser, ValueEnum};
use plimsoll_sim::search::sweep::Shard;

use parts::{Ground, PartError};
use report::{PartReport, Report, Status};

/// Sweeps, explores, fuzzes, plants bugs and mutates the engine, for a given time.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "\
Exit status: 0 nothing found; 1 something found; 2 a part could not run, or wrong usage.

Examples:
  cargo run --release -p plimsoll-scenarios --bin nightly -- --minutes 60
  cargo run --release -p plimsoll-scenarios --bin nightly -- --minutes 30 --only fuzz"
)]
struct Arguments {
    /// Time for all parts, not counting builds
    #[arg(long, value_name = "N", default_value_t = 60)]
    minutes: u64,
    /// Run only these parts; they get all the time
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PART,…")]
    only: Vec<Part>,
    /// Run only these fuzz targets
    #[arg(long, value_delimiter = ',', value_name = "NAME,…")]
    fuzz_targets: Vec<String>,
    /// This machine's share of the sweep, the planted bugs and the mutants
    #[arg(long, value_name = "I/N", default_value_t = Shard::WHOLE)]
    shard: Shard,
    /// The night's number, which determines the seeds (default: today's)
    #[arg(long, value_name = "N")]
    night: Option<u64>,
    /// How many histories run at the same time (default: one per core)
    #[arg(long, value_name = "N")]
    jobs: Option<NonZero<usize>>,
    /// The directory for the report and the findings
    #[arg(long, value_name = "DIR", default_value = "nightly")]
    out: PathBuf,
}

/// A search for bugs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Part {
    /// Generated histories. A sweep that is not sharded also reports the marks that it did not reach
    Sweep,
    /// Generated histories of the directory of a served remote, in the same way
    Archive,
    /// Short schedules, with a fault injected at every possible place
    Explore,
    /// The fuzz targets
    Fuzz,
    /// Planted bugs, as many as the time allows
    Planted,
    /// The property tests, with other cases than in every change
    Properties,
    /// Mutants of the engine, as many as the time allows
    Mutants,
}

impl Part {
    const ALL: [Self; 7] = [
        Self::Sweep,
        Self::Archive,
        Self::Explore,
        Self::Fuzz,
        Self::Planted,
        Self::Properties,
        Self::Mutants,
    ];

    /// The part's share of the time, relative to the others.
    fn weight(self) -> u32 {
        match self {
            Self::Sweep => 30,
            Self::Fuzz => 25,
            Self::Planted => 20,
            Self::Explore => 15,
            Self::Mutants => 10,
            Self::Archive | Self::Properties => 5,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Sweep => "sweep",
            Self::Archive => "archive",
            Self::Explore => "explore",
            Self::Fuzz => "fuzz",
            Self::Planted => "planted",
            Self::Properties => "properties",
            Self::Mutants => "mutants",
        }
    }
}

fn main() -> ExitCode {
    match Arguments::parse().execute() {
        Ok(report) if report.has_failed() => ExitCode::from(2),
        Ok(report) if report.findings.is_empty() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("nightly: {}", plimsoll_sim::text::error_chain(&error));
            ExitCode::from(2)
        }
    }
}

impl Arguments {
    fn execute(self) -> Result<Report, PartError> {
        let mut chosen = if self.only.is_empty() { Part::ALL.to_vec() } else { self.only.clone() };
        chosen.sort_unstable();
        chosen.dedup();
        let night = self.night.unwrap_or_else(today);
        let ground = Ground::prepare(&self.out, self.shard, night, self.jobs, &self.fuzz_targets)?;
        let mut report = Report::new(night, self.shard, self.minutes);
        let total = Duration::from_secs(self.minutes * 60);
        let begin = Instant::now();
        for (index, part) in chosen.iter().enumerate() {
            // If this part does not use all its time, the later parts get the rest.
            let weight_left: u32 = chosen[index..].iter().map(|part| part.weight()).sum();
            let limit = total.saturating_sub(begin.elapsed()) * part.weight() / weight_left;
            eprintln!("{}: up to {} minutes", part.name(), limit.as_secs().div_ceil(60));
            let part_begin = Instant::now();
            let outcome = ground.run(*part, limit);
            let seconds = part_begin.elapsed().as_secs_f64();
            let (part_report, findings) = match outcome {
                Ok((status, lines, findings)) => {
                    (PartReport::new(part.name(), status, seconds, lines), findings)
                }
                Err(error) => {
                    let message = plimsoll_sim::text::error_chain(&error);
                    (PartReport::new(part.name(), Status::Failed, seconds, vec![message]), Vec::new())
                }
            };
            eprintln!("{}: {}", part.name(), part_report.describe());
            report.add(part_report, findings);
            report
                .write(&self.out)
                .map_err(|source| PartError::File { path: self.out.display().to_string(), source })?;
        }
        print!("{}", report.markdown());
        println!("\nwritten to {}", self.out.join("nightly.md").display());
        Ok(report)
    }
}

/// Days since 1970-01-01.
fn today() -> u64 {
    const DAY: u64 = 24 * 60 * 60;
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs() / DAY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_runs_unless_others_are_chosen() {
        assert_eq!(Part::value_variants(), Part::ALL);
        assert!(Part::ALL.contains(&Part::Archive));
    }
}
