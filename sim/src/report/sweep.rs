//! A sweep's result: as JSON, merged from shards, and as the summary that people read.
//!
//! Guarantees: merging the reports of N shards gives the report of the unsharded sweep, but for the time it took. What can't be
//! merged (two shards with one number, sweeps of different seeds) is refused.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use indicatif::HumanCount;
use serde::{Deserialize, Serialize};

use crate::fault::NetworkFaultKind;
use crate::fault::atlas::FaultKind;
use crate::judge::counts::Counts;
use crate::judge::marks::{MARKS, Mark};
use crate::judge::verdict::{Expectation, Signature};
use crate::search::generate::Profile;
use crate::search::sweep::{Failure, SEEDS_MAX, Shard, Sweep, SweepOutcome};
use crate::text::counted;

/// The version of the JSON that this simulator writes and reads.
pub const VERSION: u32 = 1;

/// What a sweep found, for machines.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SweepReport {
    /// Version of this format.
    pub version: u32,
    /// The seeds that were to be swept, shared out between all shards.
    pub seeds: Range<u64>,
    /// The shards that this report covers, ascending.
    pub shards: Vec<Shard>,
    /// Which faults they drew.
    pub profile: Profile,
    /// How long it took; of several shards the longest.
    pub seconds: f64,
    /// Histories that ran at once; of several shards the sum.
    pub jobs: u64,
    /// Per shard that was stopped early, the seed with which to go on.
    pub unfinished: BTreeMap<u64, u64>,
    /// What happened, counted.
    pub counts: Counts,
    /// The failures by signature, those with most first.
    pub failures: Vec<FailureReport>,
}

/// Failures with one signature.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FailureReport {
    /// What they have in common.
    pub signature: Signature,
    /// When the invariant should have held.
    pub expectation: Expectation,
    /// How many there are.
    pub count: u64,
    /// The lowest of their seeds, ascending, at most ten.
    pub seeds: Vec<u64>,
    /// The smallest example.
    pub smallest: Example,
}

/// One failure, and where to find it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Example {
    /// Its seed.
    pub seed: u64,
    /// The violation in one sentence.
    pub violation: String,
    /// Steps until the violation, and their faults.
    pub size: usize,
    /// Its schedule's file, relative to this report's.
    pub schedule: Option<String>,
    /// The shrunk schedule's, if it was shrunk.
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

/// Why reports can't be merged.
#[derive(Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum MergeError {
    /// There is nothing to merge.
    #[error("no report to merge")]
    Nothing,
    /// The sweeps were not parts of one.
    #[error("they are not shards of one sweep: {what} is {one} in one and {other} in another")]
    Different {
        /// What differs.
        what: &'static str,
        /// In the first report.
        one: String,
        /// In the one that does not fit.
        other: String,
    },
    /// One shard is there twice.
    #[error("shard {0} is there twice")]
    Twice(Shard),
}

impl SweepReport {
    /// The report of one sweep.
    pub fn new(sweep: &Sweep, outcome: &SweepOutcome, seconds: f64) -> Self {
        let failures = outcome.groups.iter().map(|(signature, group)| FailureReport {
            signature: signature.clone(),
            expectation: group.smallest.violation.expectation,
            count: group.count,
            seeds: group.seeds.clone(),
            smallest: Example::of(&group.smallest),
        });
        let mut report = Self {
            version: VERSION,
            seeds: sweep.seeds.clone(),
            shards: vec![sweep.shard],
            profile: sweep.profile,
            seconds,
            jobs: sweep.jobs as u64,
            unfinished: outcome.next_seed.map(|seed| (sweep.shard.index, seed)).into_iter().collect(),
            counts: outcome.counts.clone(),
            failures: failures.collect(),
        };
        report.sort();
        report
    }

    /// One report of all shards.
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
            ("the range of seeds", format!("{:?}", self.seeds), format!("{:?}", other.seeds)),
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
        self.shards.extend(other.shards);
        self.seconds = self.seconds.max(other.seconds);
        self.jobs += other.jobs;
        self.unfinished.extend(other.unfinished);
        self.counts.add(&other.counts);
        for failure in other.failures {
            match self.failures.iter_mut().find(|known| known.signature == failure.signature) {
                Some(known) => known.add(failure),
                None => self.failures.push(failure),
            }
        }
        Ok(())
    }

    fn sort(&mut self) {
        self.failures.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.signature.cmp(&b.signature)));
    }

    /// Shards that belong to the sweep and are not in this report.
    pub fn missing_shards(&self) -> Vec<Shard> {
        let count = self.shards.first().map_or(1, |shard| shard.count);
        (0..count).map(|index| Shard { index, count }).filter(|shard| !self.shards.contains(shard)).collect()
    }

    /// Failures of all signatures.
    pub fn failure_count(&self) -> u64 {
        self.failures.iter().map(|failure| failure.count).sum()
    }

    /// The worst that was found: a broken promise of safety before one of liveness.
    pub fn worst(&self) -> Option<Expectation> {
        self.failures.iter().map(|failure| failure.expectation).min()
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
        let of_seeds = if seeds.end == u64::MAX {
            format!("of seeds from {} on", seeds.start)
        } else {
            format!("of seeds {}..{}", seeds.start, seeds.end)
        };
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
            format_args!("{histories} {of_seeds}{shard}, {speed:.0} a second on {jobs} threads"),
        )?;
        let (steps, commits) = (HumanCount(counts.steps), HumanCount(counts.client_commits));
        line(f, "steps", format_args!("{steps}, {commits} transactions committed by clients"))?;
        line(
            f,
            "",
            format_args!(
                "{} steps inside others, {} transactions and {} readers held open; {} operations refused as the second, {} busy",
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
                "{}; {} lost, {} more applied but their response lost",
                HumanCount(counts.requests),
                HumanCount(counts.requests_lost),
                HumanCount(counts.responses_lost)
            ),
        )?;
        let struck =
            |kinds: &[FaultKind]| HumanCount(kinds.iter().map(|&kind| counts.injected_of(kind)).sum());
        line(
            f,
            "",
            format_args!(
                "{} delayed, {} duplicated; bodies: {} cut, {} in crumbs, {} garbage; {} wrong statuses, {} untrue answers",
                struck(&[FaultKind::Network(NetworkFaultKind::Delay)]),
                struck(&[FaultKind::Network(NetworkFaultKind::Duplicate)]),
                struck(&[
                    FaultKind::Network(NetworkFaultKind::Cut),
                    FaultKind::Network(NetworkFaultKind::EndEarly)
                ]),
                struck(&[FaultKind::Network(NetworkFaultKind::TinyChunks)]),
                struck(&[FaultKind::Network(NetworkFaultKind::Garbage)]),
                struck(&[
                    FaultKind::Network(NetworkFaultKind::WrongStatus),
                    FaultKind::Network(NetworkFaultKind::BlamingStatus)
                ]),
                struck(&[
                    FaultKind::Network(NetworkFaultKind::UntrueAnswer),
                    FaultKind::Network(NetworkFaultKind::StaleAnswer)
                ])
            ),
        )?;
        line(
            f,
            "",
            format_args!(
                "{} operations given up; the remote: {} restarts, {} crashes",
                struck(&[FaultKind::Abandon]),
                struck(&[FaultKind::RemoteRestart]),
                struck(&[FaultKind::RemoteCrash])
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
            format_args!("{errors}; {reported} operations reported an error, {refused} were refused"),
        )?;
        let struck = HumanCount(counts.injected.values().sum());
        let unreached = HumanCount(counts.faults_unreached);
        let percent = 100 * counts.histories_with_both / counts.histories.max(1);
        line(
            f,
            "faults",
            format_args!(
                "{struck} struck, {unreached} found no place; {percent}% of the histories saw both a crash and a network fault"
            ),
        )?;
        let (generations, prunes) = (HumanCount(counts.generations), HumanCount(counts.prunes));
        let restores = HumanCount(counts.remote_restores);
        line(
            f,
            "remote",
            format_args!(
                "{generations} generation changes, {prunes} prunes, {restores} restores to an older state"
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

    /// Names the marks that were never reached. Beside failures only their number: most such sweeps end early, and the list would hide
    /// the failure.
    fn write_marks(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let marks = &self.counts.marks;
        line(f, "marks", format_args!("{} of {} reached", marks.reached(), MARKS.len()))?;
        if self.failure_count() > 0 {
            return Ok(());
        }
        let missing: Vec<&Mark> = marks.missing().collect();
        for mark in missing.iter().take(MARKS_SHOWN_MAX) {
            line(f, "", format_args!("never: {}", mark.name))?;
        }
        match missing.len().saturating_sub(MARKS_SHOWN_MAX) {
            0 => Ok(()),
            more => line(f, "", format_args!("and {more} more")),
        }
    }
}

/// How many of the marks that were never reached are named.
const MARKS_SHOWN_MAX: usize = 8;
