//! Sweeps with a patched `plimsoll` from several base seeds, and shrinks the findings.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use plimsoll_scenarios::commands::{self, Ended};
use plimsoll_sim::report::sweep::{SweepReport, report_name};
use plimsoll_sim::schedule::Schedule;
use plimsoll_sim::search::generate::Profile;
use plimsoll_sim::search::sweep::Shard;

use crate::Outcomes;

/// The distance between two base seeds.
const BASE_STEP: u64 = 1_000_000;
/// The time limit of one command, after which it counts as hung.
const COMMAND_LIMIT: Duration = Duration::from_secs(1800);
/// The time limit for shrinking.
const SHRINK_SECONDS: &str = "300";

/// A history without faults in which two clients meet. A bug that makes this history fail is too easy to
/// find.
const CALM: &str = r#"{"format":1,"key":1,"clients":2,"pull_batch_frames":64,"push_batch_statements_max":1000,"synced_wal_frames_max":1000,"chunk_bytes":16384}
{"id":1,"action":{"transaction":{"client":0,"writes":[{"append":{"payload_bytes":10}}],"end":"commit"}}}
{"id":2,"action":{"push":{"client":0}}}
{"id":3,"action":{"pull":{"client":1}}}
{"id":4,"action":{"transaction":{"client":1,"writes":[{"append":{"payload_bytes":10}}],"end":"commit"}}}
{"id":5,"action":{"sync":{"client":1}}}
{"id":6,"action":{"pull":{"client":0}}}
"#;

/// The same for the archive behind `plimsoll serve`.
const CALM_ARCHIVE: &str = r#"{"format":1,"system":{"archive":{"generation_frames_max":4,"keep_generations":2}},"key":1,"clients":1,"pull_batch_frames":64,"push_batch_statements_max":1000,"synced_wal_frames_max":1000,"chunk_bytes":16384}
{"id":1,"action":{"remote_archive":{"write":{"rows":1,"payload_bytes":10}}}}
{"id":2,"action":"remote_checkpoint"}
{"id":3,"action":{"remote_archive":{"write":{"rows":2,"payload_bytes":5000}}}}
{"id":4,"action":"remote_restart"}
{"id":5,"action":{"remote_archive":{"write":{"rows":1,"payload_bytes":10}}}}
"#;

/// The invariants of the files. An application does not see that one of them is broken.
const BENEATH: &[&str] =
    &["synced-prefix", "no-local-residue", "watermark", "durable-first", "named-intact", "monotone"];

/// The options of a hunt.
pub struct Hunt {
    pub seeds_budget: u64,
    pub bases: u64,
    pub shrinks: u64,
    pub jobs: usize,
    /// The directory for schedules.
    pub out: PathBuf,
}

/// The finding of one base.
#[derive(Debug, Clone)]
pub struct Found {
    pub invariant: String,
    /// The violation in one sentence.
    pub violation: String,
    /// The number of seeds up to the finding.
    pub seeds: u64,
    /// The time up to the finding, in seconds.
    pub seconds: f64,
    pub shrunk: Option<Shrunk>,
}

/// The size of a shrunk schedule, and the time for shrinking it.
#[derive(Debug, Clone)]
pub struct Shrunk {
    pub steps: usize,
    pub faults: usize,
    pub seconds: f64,
}

/// The reason why a hunt has no result.
#[derive(Debug, thiserror::Error)]
pub enum HuntError {
    #[error("cannot run {command}")]
    Run { command: String, source: io::Error },
    #[error("{command} ended with {status}:\n{output}")]
    Command { command: String, status: String, output: String },
    #[error("{command} printed no report")]
    Report { command: String, source: serde_json::Error },
    #[error("cannot use {path}")]
    File { path: String, source: io::Error },
    #[error("{path} is not a schedule")]
    Schedule { path: String, source: plimsoll_sim::schedule::ScheduleError },
    #[error("{name} fails in a history without faults, so it cannot be a planted bug: {finding}")]
    Strawman { name: String, finding: String },
}

impl Hunt {
    /// Sweeps from every base, each up to its first failure. If `may_shrink` is set, shrinks the first
    /// `shrinks` findings.
    pub fn sweep_all(
        &self,
        plimsoll: &Path,
        name: &str,
        profile: Profile,
        may_shrink: bool,
    ) -> Result<Outcomes, HuntError> {
        let mut shrinks_left = if may_shrink { self.shrinks } else { 0 };
        let mut outcomes = Outcomes::new();
        for base in 1..=self.bases {
            let directory = self.out.join(name).join(base.to_string());
            let mut found = self.sweep(plimsoll, profile, base * BASE_STEP, &directory)?;
            if let Some((found, schedule)) = &mut found
                && shrinks_left > 0
            {
                shrinks_left -= 1;
                found.shrunk = Some(self.shrink(plimsoll, schedule)?);
            }
            outcomes.push(found.map(|(found, _)| found));
        }
        Ok(outcomes)
    }

    /// Checks that the history without faults passes. Violations of the file invariants are allowed, because
    /// only the simulator finds them.
    pub fn check_calm(&self, plimsoll: &Path, name: &str, profile: Profile) -> Result<(), HuntError> {
        let calm = if profile == Profile::Archive { CALM_ARCHIVE } else { CALM };
        let directory = self.out.join(name);
        let path = directory.join("calm.jsonl");
        let failed = |source| HuntError::File { path: path.display().to_string(), source };
        std::fs::create_dir_all(&directory).map_err(failed)?;
        std::fs::write(&path, calm).map_err(failed)?;
        let ended = run(Command::new(plimsoll).arg("replay").arg(&path))?;
        let signature = ended.stdout.lines().find_map(|line| line.strip_prefix("signature: "));
        match signature {
            _ if ended.code() == Some(0) => Ok(()),
            None => Err(self::failed(ended)),
            Some(finding)
                if finding.split(' ').next().is_some_and(|invariant| BENEATH.contains(&invariant)) =>
            {
                Ok(())
            }
            Some(finding) => Err(HuntError::Strawman { name: name.into(), finding: finding.into() }),
        }
    }

    fn sweep(
        &self,
        plimsoll: &Path,
        profile: Profile,
        first: u64,
        directory: &Path,
    ) -> Result<Option<(Found, PathBuf)>, HuntError> {
        let earlier = directory.join(report_name(Shard::WHOLE));
        commands::remove_result(&earlier)
            .map_err(|source| HuntError::File { path: earlier.display().to_string(), source })?;
        let mut command = Command::new(plimsoll);
        command
            .args([
                "run",
                "--json",
                "--no-shrink",
                "--seeds",
                &format!("{first}..{}", first + self.seeds_budget),
            ])
            .args(["--jobs", &self.jobs.to_string()])
            .args(["--profile", &profile.name()])
            .arg("--out")
            .arg(directory);
        let ended = run(&mut command)?;
        if !matches!(ended.code(), Some(0 | 1 | 3)) {
            return Err(failed(ended));
        }
        let report: SweepReport = serde_json::from_str(&ended.stdout)
            .map_err(|source| HuntError::Report { command: ended.command, source })?;
        let first_failure = report.failures.iter().min_by_key(|failure| failure.smallest.seed);
        Ok(first_failure.map(|failure| {
            let found = Found {
                invariant: failure.signature.invariant.clone(),
                violation: failure.smallest.violation.clone(),
                seeds: failure.smallest.seed - first + 1,
                seconds: report.seconds,
                shrunk: None,
            };
            let name = failure.smallest.schedule.clone().unwrap_or_default();
            (found, directory.join(name))
        }))
    }

    fn shrink(&self, plimsoll: &Path, schedule: &Path) -> Result<Shrunk, HuntError> {
        let path = schedule.with_extension("min.jsonl");
        let mut command = Command::new(plimsoll);
        command.arg("shrink").arg(schedule).arg("-o").arg(&path);
        command.args(["--jobs", &self.jobs.to_string(), "--seconds", SHRINK_SECONDS]);
        let ended = run(&mut command)?;
        if !matches!(ended.code(), Some(1 | 3)) {
            return Err(failed(ended));
        }
        let name = path.display().to_string();
        let text = std::fs::read_to_string(&path)
            .map_err(|source| HuntError::File { path: name.clone(), source })?;
        let smaller: Schedule =
            Schedule::parse(&text).map_err(|source| HuntError::Schedule { path: name, source })?;
        Ok(Shrunk { steps: smaller.steps.len(), faults: smaller.fault_count(), seconds: ended.seconds })
    }
}

fn run(command: &mut Command) -> Result<Ended, HuntError> {
    let program = command.get_program().to_string_lossy().into_owned();
    commands::run(command, COMMAND_LIMIT).map_err(|source| HuntError::Run { command: program, source })
}

fn failed(ended: Ended) -> HuntError {
    HuntError::Command { status: ended.describe(), output: ended.output(), command: ended.command }
}
