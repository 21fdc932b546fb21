//! Explores units exhaustively. A unit is one step of a short schedule. The step runs once for each crash
//! that is possible in it, and once for each message that can be lost. After each crash, the recovery runs
//! again with another crash at each of its file operations.
//!
//! A history forks its process wherever a fault could be injected (see `pilot`). So all variants share the
//! events before the fault, and also the operations that are unfinished at that moment. A state that a
//! history has visited is not explored again. Of several recoveries that make the same operations on the same
//! files, only the first is crashed again.
//!
//! The variants of the target step:
//!
//! * The client's machine crashes at each file operation that changes something: before the operation, after
//!   it, and, if it is a write, inside it after each sector.
//! * Each of these crashes is a kill or a power loss. There is one power loss for each of these sets of
//!   unsynced operations that survive it: none, all, each prefix, and all but one operation. For each prefix
//!   that ends with a write there are more power losses, which tear this write after each sector, or lose its
//!   first sector.
//! * Each request is lost, or its response is lost.
//!
//! After a lost request or response, and in the recovery, there are only two kinds of crash: a kill, and a
//! power loss that no unsynced operation survives.
//!
//! Not in this module: crashes of the remote's machine and disk errors. The generator draws those.

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

/// One step of one schedule, which is explored with every fault.
#[derive(Debug, Clone)]
pub struct Unit {
    /// The name in reports.
    pub name: String,
    /// The schedule. The steps after the target step are the recovery.
    pub schedule: Schedule,
    /// The id of the target step, which is a client's step.
    pub target_step: u32,
}

/// The extent of an exploration.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// The number of processes.
    pub jobs: usize,
    /// The maximum number of crashes in one history. With 2, the recovery is crashed as well.
    pub crashes_max: u32,
}

/// The progress of an exploration.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    pub units_done: u64,
    /// The number of histories that ran to their end and were judged.
    pub histories: u64,
    /// The number of these histories with a second crash.
    pub crashed_twice: u64,
    /// The number of variants that were skipped because their state had been visited before.
    pub deduplicated: u64,
    pub violations: u64,
    /// The sum of the histories' trace hashes.
    pub hash: u64,
    /// The sum of `Outcome::bytes_hash` over all histories.
    pub bytes_hash: u64,
}

/// Explores the units until all are done or `stop` is set. Calls `on_progress` from time to time.
///
/// # Errors
/// If a process cannot be forked, or ends with an unexpected status because the simulator has panicked.
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
        return Err(io::Error::other(format!("{broken} histories ended with an unexpected status")));
    }
    Ok((progress(&shared), read_findings(&findings)?))
}

/// Takes units until none is left.
fn work(units: &[Unit], options: Options, shared: &Arc<Shared>, findings: &Arc<File>) {
    let totals = shared.totals();
    while let Some(unit) = units.get(totals.next_unit.fetch_add(1, Ordering::Relaxed) as usize) {
        let target = unit.schedule.steps.iter().find(|step| step.id == unit.target_step);
        let client = target.and_then(|step| step.action.client()).expect("the target step is a client's");
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

#[expect(clippy::disallowed_methods, reason = "the thread waits for a process; no history runs on it")]
fn wait_for(worker: Child, mut meanwhile: impl FnMut()) -> io::Result<()> {
    const PAUSE: Duration = Duration::from_millis(100);
    let waiting = thread::spawn(move || worker.wait());
    while !waiting.is_finished() {
        meanwhile();
        thread::park_timeout(PAUSE);
    }
    match waiting.join() {
        Ok(Ok(true)) => Ok(()),
        Ok(Ok(false)) => Err(io::Error::other("a process of the exploration ended with an error")),
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
