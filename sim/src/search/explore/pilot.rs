//! The pilot of an explored history. At every place where a fault could be injected, it forks a process and
//! injects the fault there.
//!
//! The original history continues without the fault. The forked history has the fault, runs to its end in the
//! ordinary code, is judged there, and ends its process. On the way it forks again while it may have another
//! fault. A state that any history has visited is not explored again. Two states are equal if disk, remote,
//! acknowledgements and the position in the schedule are equal.
//!
//! In a recovery, two states also count as equal if their paths are equal. A path is the list of the
//! operations since the crash, with their files. The content of the disks is ignored then, because the disks
//! differ in thousands of irrelevant ways: in a part of a log that the recovery writes again anyway, and in
//! bytes that the recovery neither reads nor overwrites.

use std::any::Any;
use std::collections::BTreeSet;
use std::fs::File;
use std::hash::Hasher as _;
use std::io::Write as _;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::Unit;
use super::fork::{self, Shared, Side, count};
use crate::fault::Fault;
use crate::fault::{CrashKind, CrashPoint, Moment, SECTOR_BYTES, Survival, Tear};
use crate::fault::{NetworkFault, RequestPlace};
use crate::schedule::Schedule;
use crate::world::disk::Site;
use crate::world::pilot;
use crate::world::run::Outcome;

/// A write that reached the disk except for its first sector. That sector may contain the header of a frame.
const ALL_BUT_THE_FIRST_SECTOR: Tear = Tear::Sectors { sectors: !1 };

/// The exit status of a forked process after a panic of the simulator.
const STATUS_PANICKED: i32 = 101;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ExploredFailure {
    /// The name of the unit.
    pub unit: String,
    /// The history as a schedule that can be replayed.
    pub schedule: Schedule,
}

/// How finely the pilot distinguishes the places of a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Grain {
    Fine,
    /// A kill, and a power loss after which nothing unsynced survives.
    Coarse,
}

/// The position of an exploration in one history, and the faults that it has chosen.
pub struct Pilot {
    shared: Arc<Shared>,
    findings: Arc<File>,
    unit: String,
    schedule: Schedule,
    /// The step in which the first fault is injected.
    target_step: u32,
    step: u32,
    /// A hash of the remote's content and of the acknowledgements.
    context: u64,
    crashes: u32,
    crashes_max: u32,
    /// A hash of the last crash's kind and of every operation since that crash.
    recovery: u64,
    request_faults: u32,
    is_child: bool,
    considered: BTreeSet<u64>,
}

impl Pilot {
    pub(super) fn new(shared: Arc<Shared>, findings: Arc<File>, unit: &Unit, crashes_max: u32) -> Self {
        Self {
            shared,
            findings,
            unit: unit.name.clone(),
            schedule: unit.schedule.clone(),
            target_step: unit.target_step,
            step: 0,
            context: 0,
            crashes: 0,
            crashes_max,
            recovery: 0,
            request_faults: 0,
            is_child: false,
            considered: BTreeSet::new(),
        }
    }

    /// Ends the history, and reports it if it has failed. The process that started the exploration continues;
    /// a forked one exits.
    pub fn finish(&mut self, outcome: &Outcome) {
        let totals = self.shared.totals();
        count(&totals.histories);
        totals.hash.fetch_add(outcome.hash, Ordering::Relaxed);
        totals.bytes_hash.fetch_add(outcome.bytes_hash, Ordering::Relaxed);
        if self.crashes > 1 {
            count(&totals.crashed_twice);
        }
        let mut status = 0;
        if outcome.violation.is_some() {
            count(&totals.violations);
            let finding = ExploredFailure { unit: self.unit.clone(), schedule: self.schedule.clone() };
            let mut line = serde_json::to_vec(&finding).expect("plain data serializes");
            line.push(b'\n');
            // The line is written in a single call, because other processes append to the same file.
            status = i32::from((&*self.findings).write_all(&line).is_err());
        }
        if self.is_child {
            fork::exit(status);
        }
    }

    /// Ends a forked process after a panic of the simulator, so that it does not count as the end of a
    /// history.
    pub fn fail(&self, panic: Box<dyn Any + Send>) {
        if self.is_child {
            fork::exit(STATUS_PANICKED);
        }
        resume_unwind(panic);
    }

    /// How finely to explore this place; `None` if no fault may be injected here.
    fn grain(&self) -> Option<Grain> {
        let is_in_reach =
            if self.crashes == 0 { self.step == self.target_step } else { self.step > self.target_step };
        let is_fine = self.crashes + self.request_faults == 0;
        let may_inject = is_in_reach && self.crashes < self.crashes_max && !self.shared.is_stopped();
        may_inject.then_some(if is_fine { Grain::Fine } else { Grain::Coarse })
    }

    /// Forks, and adds the fault to the child's schedule. Returns whether this process is the child.
    fn fork(&mut self, fault: Fault) -> bool {
        match fork::fork().expect("a process can be forked") {
            Side::Child => {
                self.is_child = true;
                let step = self.schedule.steps.iter_mut().find(|step| step.id == self.step);
                step.expect("a running step is in the schedule").faults.push(fault);
                true
            }
            Side::Parent(child) => {
                if !child.wait().expect("a child can be waited for") {
                    count(&self.shared.totals().broken);
                }
                false
            }
        }
    }

    /// Whether no history has visited the state that this crash leads to. `place` is a hash of the
    /// resulting disk or of the path.
    fn is_new(&self, place: u64) -> bool {
        self.shared.visit(self.state(place))
    }

    /// Whether this history has already considered a crash with the same surviving operations. This is a
    /// cheap filter before the set of visited states: the crashes at one operation leave almost the same sets
    /// of survivors as the crashes at the operation before.
    fn is_considered(&mut self, survivors: Option<u64>) -> bool {
        survivors.is_some_and(|survivors| !self.considered.insert(self.state(survivors)))
    }

    /// A hash of `place` and of the rest of the state.
    fn state(&self, place: u64) -> u64 {
        let mut state = [0; 28];
        state[..8].copy_from_slice(&self.context.to_le_bytes());
        state[8..16].copy_from_slice(&place.to_le_bytes());
        state[16..20].copy_from_slice(&self.step.to_le_bytes());
        state[20..24].copy_from_slice(&(self.crashes + self.request_faults).to_le_bytes());
        state[24..].copy_from_slice(&self.target_step.to_le_bytes());
        xxh3_64(&state) ^ xxh3_64(self.unit.as_bytes())
    }

    /// Extends the path of the recovery by the operation at `site`. Returns the hashes of the path without
    /// and with this operation, for crashes before and after it; `None` if there is no recovery.
    fn advance_recovery(&mut self, site: &Site<'_>) -> Option<[u64; 2]> {
        if self.crashes == 0 {
            return None;
        }
        let before = self.recovery;
        let mut hasher = Xxh3::new();
        hasher.write_u64(before);
        site.hash_into(&mut hasher);
        self.recovery = hasher.finish();
        Some([before, self.recovery])
    }
}

impl pilot::Pilot for Pilot {
    fn begin_step(&mut self, step: u32) {
        self.step = step;
    }

    fn set_context(&mut self, context: u64) {
        self.context = context;
    }

    fn consider_request(&mut self, place: RequestPlace) -> Option<Fault> {
        if self.step != self.target_step || self.crashes + self.request_faults > 0 || self.shared.is_stopped()
        {
            return None;
        }
        let request_faults = [NetworkFault::LoseRequest, NetworkFault::LoseResponse];
        request_faults.into_iter().map(|fault| Fault::Network { at: place, fault }).find(|fault| {
            let is_child = self.fork(fault.clone());
            self.request_faults += u32::from(is_child);
            is_child
        })
    }

    fn consider(&mut self, site: &Site<'_>) -> Option<CrashPoint> {
        let recovery = self.advance_recovery(site);
        let grain = self.grain()?;
        for moment in moments(site, grain) {
            let aftermath = site.at(moment);
            for kind in kinds(&aftermath.unsynced(), moment, grain) {
                let is_known_path = recovery.is_some_and(|path| {
                    !self.is_new(kind_hash(path[usize::from(moment == Moment::After)], &kind))
                });
                if is_known_path
                    || self.is_considered(aftermath.hash_of_survivors(&kind))
                    || !self.is_new(aftermath.hash_after(&kind))
                {
                    self.shared.totals().deduplicated.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
                let point = CrashPoint { place: site.place(), moment, kind };
                if self.fork(Fault::Crash(point.clone())) {
                    self.crashes += 1;
                    self.recovery = kind_hash(0, &point.kind);
                    return Some(point);
                }
            }
        }
        None
    }
}

/// A hash of a crash at `place`. A kill and a power loss have different hashes, because only a kill leaves
/// the written data to the next process.
fn kind_hash(place: u64, kind: &CrashKind) -> u64 {
    let mut state = [0; 9];
    state[..8].copy_from_slice(&place.to_le_bytes());
    state[8] = u8::from(matches!(kind, CrashKind::Kill));
    xxh3_64(&state)
}

/// The moments before the operation, after it, and inside a write after each of its sectors.
fn moments(site: &Site<'_>, grain: Grain) -> Vec<Moment> {
    let mut moments = vec![Moment::Before];
    if let (Some(bytes), Grain::Fine) = (site.write_bytes(), grain) {
        moments.extend(tears(bytes).map(|bytes| Moment::Inside { bytes }));
    }
    moments.push(Moment::After);
    moments
}

fn tears(bytes: u32) -> impl Iterator<Item = u32> {
    (1..).map(|sector| sector * SECTOR_BYTES).take_while(move |torn| *torn < bytes)
}

/// Every crash at a moment with these unsynced operations. Inside a write, the only power loss is the one that
/// all operations survive. Without the unfinished write, the result would be that of a power loss before the
/// write.
fn kinds(unsynced: &[Option<u32>], moment: Moment, grain: Grain) -> Vec<CrashKind> {
    let power_loss = |survival| CrashKind::PowerLoss { survival, torn: None };
    let operation_count = unsynced.len() as u32;
    let mut kinds = vec![CrashKind::Kill];
    match (grain, moment) {
        (Grain::Coarse, _) => kinds.push(power_loss(Survival::Nothing)),
        (Grain::Fine, Moment::Inside { .. }) => kinds.push(power_loss(Survival::Everything)),
        (Grain::Fine, Moment::Before | Moment::After) => {
            kinds.extend(Survival::variants(operation_count).into_iter().map(power_loss));
            for (last, bytes) in (0..).zip(unsynced) {
                let torn = |tear| CrashKind::PowerLoss {
                    survival: Survival::Prefix { operations: last + 1 },
                    torn: Some(tear),
                };
                let bytes = bytes.unwrap_or(0);
                kinds.extend(tears(bytes).map(Tear::Bytes).map(torn));
                if bytes > SECTOR_BYTES {
                    kinds.push(torn(ALL_BUT_THE_FIRST_SECTOR));
                }
            }
        }
    }
    kinds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_is_torn_at_each_sector_inside_it() {
        assert_eq!(tears(1100).collect::<Vec<_>>(), [512, 1024]);
        assert_eq!(tears(512).count(), 0);
    }

    #[test]
    fn survivals_are_nothing_and_everything_and_each_prefix_and_each_single_omission() {
        let survivors: Vec<Vec<u32>> =
            Survival::variants(3).iter().map(|survival| survival.survivors(3)).collect();
        assert_eq!(survivors, [vec![], vec![0, 1, 2], vec![0], vec![0, 1], vec![1, 2], vec![0, 2]]);
    }

    #[test]
    fn power_losses_tear_the_last_write_of_every_prefix() {
        let kinds = kinds(&[Some(1030), None], Moment::Before, Grain::Fine);
        let torn = |kind: &&CrashKind| matches!(kind, CrashKind::PowerLoss { torn: Some(_), .. });
        assert_eq!(kinds.iter().filter(torn).count(), 3);
        assert!(kinds.contains(&CrashKind::Kill));
    }
}
