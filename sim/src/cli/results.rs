//! The result file of a sweep. A sweep into a directory that has the result of an earlier run adds to it.
//!
//! Guarantees: a file that the result cannot be added to, or that another run will write, is refused before the sweep
//! starts.

use std::fs::File;
use std::path::{Path, PathBuf};

use plimsoll_sim::report::sweep::{SweepReport, report_name};
use plimsoll_sim::search::seeds::SeedSet;
use plimsoll_sim::search::sweep::{Shard, Sweep};
use plimsoll_sim::text::counted;

use super::output::note;
use super::{Problem, files};

/// The result file of one sweep, and the result of earlier runs in it.
pub struct ResultFile {
    path: PathBuf,
    earlier: Option<SweepReport>,
    /// Keeps other runs out, whose results would be replaced.
    _lock: File,
}

impl ResultFile {
    /// Reads the result of earlier runs, if the directory has one. `build` is the hash of this program.
    pub fn open(directory: &Path, sweep: &Sweep, build: &str) -> Result<Self, Problem> {
        let path = directory.join(report_name(sweep.shard));
        let Some(lock) = files::lock(&path.with_extension("lock"))? else {
            return Err(Problem::Usage(format!(
                "another run writes its result to {}: wait until it has ended, or pass another --out",
                path.display()
            )));
        };
        let earlier = files::existing_report(&path)?;
        if let Some(earlier) = &earlier {
            let name = path.display().to_string();
            let results = counted(earlier.counts.histories, "result");
            earlier
                .check_continues(sweep, build)
                .map_err(|source| Problem::AnotherSweep { path: name.clone(), source })?;
            note!("plimsoll: adds to {results} in {name}; their seeds do not run again");
        }
        Ok(Self { path, earlier, _lock: lock })
    }

    /// The seeds that earlier runs have covered.
    pub fn done(&self, shard: Shard) -> SeedSet {
        self.earlier.as_ref().map(|earlier| earlier.done(shard)).unwrap_or_default()
    }

    /// The sum of the earlier runs and this one.
    pub fn sum(&self, report: &SweepReport) -> SweepReport {
        match &self.earlier {
            Some(earlier) => earlier.clone().continued(report.clone()),
            None => report.clone(),
        }
    }

    /// Writes the sum. Returns whether the file could be written.
    pub fn write(&self, sum: &SweepReport) -> bool {
        files::replace_or_print(&self.path, &json(sum))
    }
}

/// The report as its file has it.
pub fn json(report: &SweepReport) -> String {
    serde_json::to_string_pretty(report).expect("plain data serializes") + "\n"
}
