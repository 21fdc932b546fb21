//! Exhaustive exploration: for a short schedule, every crash at every file operation of a step, with every survival, and every fate
//! of its requests; then another crash at every operation of the recovery.
//!
//! Nothing is told twice: a history forks its process wherever something could strike (see `pilot`), so what lies before is
//! shared, half-done operations included. States that were visited are not visited again, nor are recoveries struck again that make the
//! same operations on the same files as another one.
//!
//! What is distinguished, for the step that is injected: each of its mutating file operations on the client's machine; before, after and
//! inside it, a write torn at each sector; a kill, and power losses that nothing, everything, each prefix, and everything but one of the
//! unsynced operations survive, the last write of each prefix torn at each sector; each request lost, or its response. Where a
//! request was lost, and in the steps that recover from a crash, crashes are kills and power losses that nothing survives.
//!
//! Left out: crashes of the remote's machine, disk errors; those are drawn by seeds.

mod fork;
mod pilot;
mod set;

use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

pub use pilot::{ExploredFailure, Pilot};
pub use set::{default_set, of_length, of_schedule};

use crate::lock::lock;
use crate::schedule::Schedule;
use crate::world::pilot::SharedPilot;
use crate::world::run::run_piloted;
use fork::{Child, Shared, Side, count};

/// One step of one schedule, to be struck in every way.
#[derive(Debug, Clone)]
pub struct Unit {
    /// What it is called in reports.
    pub name: String,
    /// The schedule; the steps behind the struck one are the recovery.
    pub schedule: Schedule,
    /// The id of the step to be struck; a client's.
    pub target_step: u32,
}

/// How much to explore at once, and how deep.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Processes that explore.
    pub jobs: usize,
    /// Crashes of one history at most: 2 with those of the recovery.
    pub crashes_max: u32,
}

/// How far an exploration has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Units that are done.
    pub units_done: u64,
    /// Histories that were run to their end and judged.
    pub histories: u64,
    /// Of them, those with a second crash.
    pub crashed_twice: u64,
    /// Variants that were not run because they lead to a state that had been visited.
    pub deduplicated: u64,
    /// Histories that broke an invariant.
    pub violations: u64,
    /// Sum of the histories' trace hashes.
    pub hash: u64,
    /// Sum of their hashes over bytes alone.
    pub bytes_hash: u64,
}

/// Explores the units, or as much of them as there is time for until `stop` is set; `on_progress` is called now and then.
///
/// # Errors
/// When a process cannot be forked, or ends in another way than it should: then the simulator has contradicted itself.
pub fn explore(
    units: &[Unit],
    options: Options,
    stop: &AtomicBool,
    mut on_progress: impl FnMut(Progress),
) -> io::Result<(Progress, Vec<ExploredFailure>)> {
    let shared = Arc::new(Shared::new()?);
    let findings = Arc::new(tempfile::tempfile()?);
    let mut workers = Vec::new();
    for _ in 0..options.jobs.max(1) {
        match fork::fork()? {
            Side::Child => {
                work(units, options, &shared, &findings);
                fork::exit(0);
            }
            Side::Parent(worker) => workers.push(worker),
        }
    }
    while let Some(worker) = workers.pop() {
        wait_for(worker, || {
            if stop.load(Ordering::Relaxed) {
                shared.stop();
            }
            on_progress(progress(&shared));
        })?;
    }
    let broken = shared.totals().broken.load(Ordering::Relaxed);
    if broken > 0 {
        return Err(io::Error::other(format!("{broken} histories ended in another way than they should")));
    }
    Ok((progress(&shared), read_findings(&findings)?))
}

/// Takes units until there is none left.
fn work(units: &[Unit], options: Options, shared: &Arc<Shared>, findings: &Arc<File>) {
    let totals = shared.totals();
    while let Some(unit) = units.get(totals.next_unit.fetch_add(1, Ordering::Relaxed) as usize) {
        let struck = unit.schedule.steps.iter().find(|step| step.id == unit.target_step);
        let client = struck.and_then(|step| step.action.client()).expect("a unit strikes a client's step");
        let pilot = Pilot::new(shared.clone(), findings.clone(), unit, options.crashes_max);
        let pilot = Arc::new(Mutex::new(pilot));
        let steering: SharedPilot = pilot.clone();
        run_piloted(&unit.schedule, &steering, client, |ended| match ended {
            Ok(outcome) => lock(&pilot).finish(&outcome),
            Err(panic) => lock(&pilot).fail(panic),
        });
        if shared.is_stopped() {
            return;
        }
        count(&totals.units_done);
    }
}

#[expect(clippy::disallowed_methods, reason = "the thread waits for a process, no history runs on it")]
fn wait_for(worker: Child, mut meanwhile: impl FnMut()) -> io::Result<()> {
    const PAUSE: Duration = Duration::from_millis(100);
    let waiting = thread::spawn(move || worker.wait());
    while !waiting.is_finished() {
        meanwhile();
        thread::park_timeout(PAUSE);
    }
    match waiting.join() {
        Ok(Ok(true)) => Ok(()),
        Ok(Ok(false)) => Err(io::Error::other("a process that explores has died")),
        Ok(Err(error)) => Err(error),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

fn progress(shared: &Shared) -> Progress {
    let totals = shared.totals();
    Progress {
        units_done: totals.units_done.load(Ordering::Relaxed),
        histories: totals.histories.load(Ordering::Relaxed),
        crashed_twice: totals.crashed_twice.load(Ordering::Relaxed),
        deduplicated: totals.deduplicated.load(Ordering::Relaxed),
        violations: totals.violations.load(Ordering::Relaxed),
        hash: totals.hash.load(Ordering::Relaxed),
        bytes_hash: totals.bytes_hash.load(Ordering::Relaxed),
    }
}

fn read_findings(mut file: &File) -> io::Result<Vec<ExploredFailure>> {
    let mut text = String::new();
    file.rewind()?;
    file.read_to_string(&mut text)?;
    let findings = text.lines().map(|line| serde_json::from_str(line).expect("a finding is written whole"));
    Ok(findings.collect())
}
