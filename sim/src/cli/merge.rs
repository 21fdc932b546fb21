//! `plimsoll merge`: combines the results of several shards into one report.

use std::path::PathBuf;

use clap::Args;
use plimsoll_sim::report::sweep::SweepReport;

use super::output::{note, out, outln};
use super::{Problem, STATUS_CLEAN, STATUS_USAGE, failure, files, status_of};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  plimsoll merge results              the output of all shards of a sweep
  plimsoll merge a b c --json         from several places, as JSON")]
pub struct Merge {
    /// Directories that `plimsoll run --out` wrote, their parent directory, or the sweep*.json files
    /// themselves.
    #[arg(required = true, value_name = "DIR")]
    directories: Vec<PathBuf>,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
    /// Exit cleanly even if shards are missing.
    #[arg(long)]
    allow_missing: bool,
}

impl Merge {
    pub fn execute(self) -> Result<u8, Problem> {
        let mut reports = Vec::new();
        for directory in &self.directories {
            reports.extend(files::reports(directory)?);
        }
        let report = SweepReport::merge(reports).map_err(|error| Problem::Usage(error.to_string()))?;
        if self.json {
            outln!("{}", serde_json::to_string_pretty(&report).expect("plain data serializes"));
        } else {
            print(&report);
        }
        let missing: Vec<String> = report.missing_shards().iter().map(ToString::to_string).collect();
        if !missing.is_empty() {
            note!("plimsoll: shards without a result: {}", missing.join(", "));
        }
        Ok(match report.worst() {
            Some(expectation) => status_of(expectation),
            None if missing.is_empty() || self.allow_missing => STATUS_CLEAN,
            None => STATUS_USAGE,
        })
    }
}

fn print(report: &SweepReport) {
    out!("{report}");
    report.failures.iter().for_each(failure::print_kept);
    for (shard, seed) in report.unfinished() {
        outln!("\nshard {shard} ended before seed {seed}");
    }
}
