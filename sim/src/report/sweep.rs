//! The result of a sweep: as JSON, merged from shards, and as a summary for people.
//!
//! Guarantees: merging the reports of N shards gives the report of the unsharded sweep, except for the
//! duration. Reports that do not fit together (one shard twice, sweeps of different seeds) are refused.
//! A sweep that ran in several parts has the same report as one that ran at once, except for the duration. No seed
//! counts twice.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use indicatif::HumanCount;
use serde::{Deserialize, Serialize};

use crate::fault::NetworkFaultKind;
use crate::fault::atlas::FaultKind;
use crate::judge::counts::Counts;
use crate::judge::marks::{ARCHIVE_MARKS, MARKS, Mark};
use crate::judge::verdict::{Expectation, Signature};
use crate::search::generate::Profile;
use crate::search::seeds::SeedSet;
use crate::search::sweep::{Failure, SEEDS_MAX, Shard, Sweep, SweepOutcome};
use crate::text::counted;

/// The version of the JSON that this simulator writes and reads.
pub const VERSION: u32 = 2;

/// The result of a sweep, as JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SweepReport {
    pub version: u32,
    /// Hashes of the programs that ran the histories. Another program may judge the same seed differently.
    pub builds: BTreeSet<String>,
    /// The seeds of the sweep, across all shards.
    pub seeds: SeedSet,
    /// The shards that this report covers, ascending.
    pub shards: Vec<Shard>,
    /// The faults that the seeds could draw.
    pub profile: Profile,
    /// The duration in seconds. For several shards, the longest duration; for several runs, the sum.
    pub seconds: f64,
    /// The number of histories that ran at once. For several shards, the sum of these numbers.
    pub jobs: u64,
    /// The seeds that are done, by the number of the shard: all of the shard's seeds in these ranges have run.
    pub done: BTreeMap<u64, SeedSet>,
    pub counts: Counts,
    /// The failures by signature, the most frequent first.
    pub failures: Vec<FailureReport>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FailureReport {
    /// The signature that the failures share.
    pub signature: Signature,
    /// When the invariant had to hold.
    pub expectation: Expectation,
    /// The number of failures.
    pub count: u64,
    /// The lowest seeds, ascending; at most ten.
    pub seeds: Vec<u64>,
    pub smallest: Example,
}

/// One failure, and where to find its files.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Example {
    pub seed: u64,
    /// The violation in one sentence.
    pub violation: String,
    /// The number of steps up to the violation plus the number of their faults.
    pub size: usize,
    /// The path of the failure's schedule file, relative to the report.
    pub schedule: Option<String>,
    /// The path of the shrunk schedule file, if it was shrunk.
    pub shrunk: Option<String>,
}

impl Example {
    fn of(failure: &Failure) -> Self {
        Self {
            seed: failure.seed,
            violation: failure.violation.to_string(),
            size: failure.size,
            schedule: None,
            shrunk: None,
        }
    }
}

/// The reason why reports cannot be merged.
#[derive(Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum MergeError {
    /// There are no reports.
    #[error("no report to merge")]
    Nothing,
    /// The reports belong to different sweeps.
    #[error("the reports are not shards of one sweep: {what} is {one} in one report and {other} in another")]
    Different {
        /// The member that differs.
        what: &'static str,
        /// Its value in the first report.
        one: String,
        /// Its value in the other report.
        other: String,
    },
    /// Two reports cover the same shard.
    #[error("two reports cover shard {0}; pass each report only once")]
    Twice(Shard),
}

/// The reason why a sweep cannot add its result to a report.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("{what} is {known} there and {asked} here")]
pub struct AnotherSweep {
    /// The property that differs.
    pub what: &'static str,
    /// Its value in the report.
    pub known: String,
    /// Its value in the new sweep.
    pub asked: String,
}

impl SweepReport {
    /// The result of a sweep by the program with the hash `build`.
    pub fn new(sweep: &Sweep, outcome: &SweepOutcome, seconds: f64, build: &str) -> Self {
        let failures = outcome.groups.iter().map(|(signature, group)| FailureReport {
            signature: signature.clone(),
            expectation: group.smallest.violation.expectation,
            count: group.count,
            seeds: group.seeds.clone(),
            smallest: Example::of(&group.smallest),
        });
        let end = outcome.next_seed.unwrap_or(sweep.seeds.end);
        let new = sweep.done.missing(&(sweep.seeds.start..end));
        let mut report = Self {
            version: VERSION,
            builds: [build.to_owned()].into(),
            seeds: sweep.seeds.clone().into(),
            shards: vec![sweep.shard],
            profile: sweep.profile,
            seconds,
            jobs: sweep.jobs as u64,
            done: [(sweep.shard.index, new.into())].into(),
            counts: outcome.counts.clone(),
            failures: failures.collect(),
        };
        report.sort();
        report
    }

    /// Merges the reports of several shards.
    ///
    /// # Errors
    /// If they are not different shards of one sweep.
    pub fn merge(reports: impl IntoIterator<Item = Self>) -> Result<Self, MergeError> {
        let mut reports = reports.into_iter();
        let mut merged = reports.next().ok_or(MergeError::Nothing)?;
        for report in reports {
            merged.add(report)?;
        }
        merged.shards.sort();
        merged.sort();
        Ok(merged)
    }

    fn add(&mut self, other: Self) -> Result<(), MergeError> {
        let count = |report: &Self| report.shards.first().map_or(1, |shard| shard.count).to_string();
        for (what, one, another) in [
            ("the range of seeds", self.seeds.to_string(), other.seeds.to_string()),
            ("the profile", format!("{:?}", self.profile), format!("{:?}", other.profile)),
            ("the number of shards", count(self), count(&other)),
        ] {
            if one != another {
                return Err(MergeError::Different { what, one, other: another });
            }
        }
        if let Some(twice) = other.shards.iter().find(|shard| self.shards.contains(shard)) {
            return Err(MergeError::Twice(*twice));
        }
        self.shards.extend(other.shards.iter().copied());
        self.seconds = self.seconds.max(other.seconds);
        self.jobs += other.jobs;
        self.add_histories(other);
        Ok(())
    }

    fn add_histories(&mut self, other: Self) {
        self.builds.extend(other.builds);
        for (shard, seeds) in &other.done {
            self.done.entry(*shard).or_default().add(seeds);
        }
        self.counts.add(&other.counts);
        for failure in other.failures {
            match self.failures.iter_mut().find(|known| known.signature == failure.signature) {
                Some(known) => known.add(failure),
                None => self.failures.push(failure),
            }
        }
    }

    /// Checks that the result of a sweep by the program with the hash `build` can be added to this report: it has
    /// the same shard and the same faults, and the program is the same. The seeds may be others.
    ///
    /// # Errors
    /// The property that differs.
    pub fn check_continues(&self, sweep: &Sweep, build: &str) -> Result<(), AnotherSweep> {
        let list = |shards: &[Shard]| {
            let names: Vec<String> = shards.iter().map(ToString::to_string).collect();
            names.join(", ")
        };
        let builds: Vec<&str> = self.builds.iter().map(String::as_str).collect();
        for (what, known, asked) in [
            ("the profile", format!("{:?}", self.profile), format!("{:?}", sweep.profile)),
            ("the shard", list(&self.shards), list(&[sweep.shard])),
            ("the build of this program", builds.join(", "), build.to_owned()),
        ] {
            if known != asked {
                return Err(AnotherSweep { what, known, asked });
            }
        }
        Ok(())
    }

    /// The seeds of a shard that are done.
    pub fn done(&self, shard: Shard) -> SeedSet {
        self.done.get(&shard.index).cloned().unwrap_or_default()
    }

    /// This report with the result of a later sweep, which has passed [`check_continues`](Self::check_continues).
    ///
    /// # Panics
    /// If a seed would count twice.
    #[must_use]
    pub fn continued(mut self, later: Self) -> Self {
        for (shard, seeds) in &later.done {
            let known = self.done.entry(*shard).or_default();
            let is_new = |range| known.missing(range) == std::slice::from_ref(range);
            assert!(seeds.ranges().iter().all(is_new), "seeds {seeds} of shard {shard} ran again");
        }
        self.seeds.add(&later.seeds);
        self.seconds += later.seconds;
        self.jobs = self.jobs.max(later.jobs);
        self.add_histories(later);
        self.sort();
        self
    }

    fn sort(&mut self) {
        self.failures.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.signature.cmp(&b.signature)));
    }

    /// The shards that stopped early, each with the seed to continue with.
    pub fn unfinished(&self) -> Vec<(Shard, u64)> {
        let next = |shard: Shard| {
            let done = self.done(shard);
            self.seeds.ranges().iter().find_map(|range| shard.first_missing(range, &done))
        };
        self.shards.iter().filter_map(|shard| Some((*shard, next(*shard)?))).collect()
    }

    /// The shards of the sweep that are not in this report.
    pub fn missing_shards(&self) -> Vec<Shard> {
        let count = self.shards.first().map_or(1, |shard| shard.count);
        (0..count).map(|index| Shard { index, count }).filter(|shard| !self.shards.contains(shard)).collect()
    }

    /// The marks that the sweep should reach.
    pub fn marks(&self) -> &'static [Mark] {
        if self.profile == Profile::Archive { &ARCHIVE_MARKS } else { &MARKS }
    }

    /// The marks that were never reached.
    pub fn missing_marks(&self) -> Vec<&'static Mark> {
        self.counts.marks.missing(self.marks()).collect()
    }

    /// The number of failures of all signatures.
    pub fn failure_count(&self) -> u64 {
        self.failures.iter().map(|failure| failure.count).sum()
    }

    /// The worst finding: a broken safety invariant before a broken liveness invariant.
    pub fn worst(&self) -> Option<Expectation> {
        self.failures.iter().map(|failure| failure.expectation).min()
    }
}

/// The name of the file for the report of a shard, in the directory of the sweep.
pub fn report_name(shard: Shard) -> String {
    match shard {
        Shard::WHOLE => "sweep.json".into(),
        Shard { index, count } => format!("sweep-{index}-of-{count}.json"),
    }
}

impl FailureReport {
    fn add(&mut self, other: Self) {
        self.count += other.count;
        self.seeds.extend(other.seeds);
        self.seeds.sort_unstable();
        self.seeds.truncate(SEEDS_MAX);
        if (other.smallest.size, other.smallest.seed) < (self.smallest.size, self.smallest.seed) {
            self.smallest = other.smallest;
        }
    }
}

/// The summary, one line per subject.
impl fmt::Display for SweepReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_histories(f)?;
        self.write_network(f)?;
        self.write_outcomes(f)?;
        self.write_marks(f)
    }
}

fn line(f: &mut fmt::Formatter<'_>, name: &str, text: fmt::Arguments<'_>) -> fmt::Result {
    writeln!(f, "{name:<12}{text}")
}

impl SweepReport {
    fn write_histories(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { counts, seeds, .. } = self;
        let shard = match self.shards[..] {
            [shard] if shard == Shard::WHOLE => String::new(),
            [shard] => format!(", shard {shard}"),
            _ => format!(", {} shards", self.shards.len()),
        };
        let histories = HumanCount(counts.histories);
        let speed = counts.histories as f64 / self.seconds.max(1e-9);
        let jobs = self.jobs;
        line(
            f,
            "histories",
            format_args!("{histories} of seeds {seeds}{shard}, {speed:.0} a second on {jobs} threads"),
        )?;
        let (steps, commits) = (HumanCount(counts.steps), HumanCount(counts.client_commits));
        line(f, "steps", format_args!("{steps}, {commits} transactions committed by clients"))?;
        line(
            f,
            "",
            format_args!(
                "{} steps inside others, {} transactions and {} readers held open; {} concurrent operations refused, {} busy",
                HumanCount(counts.steps_inside),
                HumanCount(counts.held_open),
                HumanCount(counts.readers_held),
                HumanCount(counts.second_operations),
                HumanCount(counts.busy)
            ),
        )?;
        let (kills, power_losses) = (HumanCount(counts.kills), HumanCount(counts.power_losses));
        let inside = HumanCount(counts.crashes_inside);
        line(
            f,
            "crashes",
            format_args!("{kills} kills, {power_losses} power losses; {inside} of them inside an operation"),
        )
    }

    fn write_network(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = &self.counts;
        line(
            f,
            "requests",
            format_args!(
                "{}; {} never arrived, another {} were applied but their response was lost",
                HumanCount(counts.requests),
                HumanCount(counts.requests_lost),
                HumanCount(counts.responses_lost)
            ),
        )?;
        let injected =
            |kinds: &[FaultKind]| HumanCount(kinds.iter().map(|&kind| counts.injected_of(kind)).sum());
        line(
            f,
            "",
            format_args!(
                "{} delayed, {} duplicated; bodies: {} cut, {} in tiny chunks, {} garbage; {} wrong statuses, {} untrue answers",
                injected(&[FaultKind::Network(NetworkFaultKind::Delay)]),
                injected(&[FaultKind::Network(NetworkFaultKind::Duplicate)]),
                injected(&[
                    FaultKind::Network(NetworkFaultKind::Cut),
                    FaultKind::Network(NetworkFaultKind::EndEarly)
                ]),
                injected(&[FaultKind::Network(NetworkFaultKind::TinyChunks)]),
                injected(&[FaultKind::Network(NetworkFaultKind::Garbage)]),
                injected(&[
                    FaultKind::Network(NetworkFaultKind::WrongStatus),
                    FaultKind::Network(NetworkFaultKind::BlamingStatus)
                ]),
                injected(&[
                    FaultKind::Network(NetworkFaultKind::UntrueAnswer),
                    FaultKind::Network(NetworkFaultKind::StaleAnswer)
                ])
            ),
        )?;
        line(
            f,
            "",
            format_args!(
                "{} operations abandoned; the remote: {} restarts, {} crashes",
                injected(&[FaultKind::Abandon]),
                injected(&[FaultKind::RemoteRestart]),
                injected(&[FaultKind::RemoteCrash])
            ),
        )
    }

    fn write_outcomes(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = &self.counts;
        let errors = HumanCount(counts.disk_errors);
        let (reported, refused) = (HumanCount(counts.errors_reported), HumanCount(counts.errors_refused));
        line(
            f,
            "disk errors",
            format_args!(
                "{errors}; {reported} operations ended with a retryable error, {refused} with a permanent one"
            ),
        )?;
        let injected = HumanCount(counts.injected.values().sum());
        let unreached = HumanCount(counts.faults_unreached);
        let percent = 100 * counts.histories_with_crash_and_network_fault / counts.histories.max(1);
        line(
            f,
            "faults",
            format_args!(
                "{injected} injected, {unreached} not reached; {percent}% of the histories had both a crash and a network fault"
            ),
        )?;
        let (generations, prunes) = (HumanCount(counts.generations), HumanCount(counts.prunes));
        let (restores, forks) = (HumanCount(counts.remote_restores), HumanCount(counts.remote_forks));
        line(
            f,
            "remote",
            format_args!(
                "{generations} generation changes, {prunes} prunes, {restores} restores to an older state, {forks} second servers on a copy"
            ),
        )?;
        let (rebootstraps, adoptions) = (HumanCount(counts.rebootstraps), HumanCount(counts.adoptions));
        line(
            f,
            "recoveries",
            format_args!("{rebootstraps} re-bootstraps, {adoptions} older copies adopted"),
        )?;
        let (judged, violations) =
            (counted(counts.checks, "time"), counted(self.failure_count(), "violation"));
        line(f, "judged", format_args!("{judged}; {violations}"))
    }

    /// Lists the marks that were never reached. A sweep with failures shows only their number, because most
    /// such sweeps end early and the list would hide the failure.
    fn write_marks(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let missing = self.missing_marks();
        let count = self.marks().len();
        line(f, "marks", format_args!("{} of {count} reached", count - missing.len()))?;
        if self.failure_count() > 0 {
            return Ok(());
        }
        for mark in missing.iter().take(MARKS_SHOWN_MAX) {
            line(f, "", format_args!("never: {}", mark.name))?;
        }
        match missing.len().saturating_sub(MARKS_SHOWN_MAX) {
            0 => Ok(()),
            more => line(f, "", format_args!("and {more} more")),
        }
    }
}

/// The maximum number of unreached marks that the summary lists.
const MARKS_SHOWN_MAX: usize = 8;
