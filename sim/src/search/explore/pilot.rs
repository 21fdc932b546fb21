//! The pilot of an explored history: at every place where something could strike, a process is forked in which it does.
//!
//! The history that began goes on undisturbed. A forked one has its fault, is told to its end by the ordinary code, is judged there,
//! and ends its process; on the way it forks again while it has faults left. A state that was visited before, by whichever
//! history, is not visited again: same disk, same remote, same acknowledgements, same point of the schedule.
//!
//! In a recovery it is the path that counts: which operations it has made since the crash, on which files. Of recoveries that have gone the
//! same way so far, the first is struck, whatever lay on their disks: how much of a log has survived to be written once more, and what a
//! recovery neither looks at nor overwrites, differ in thousands of ways.

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

/// A write of which everything has reached the disk but its beginning, which is the header of a frame, say.
const ALL_BUT_THE_FIRST_SECTOR: Tear = Tear::Sectors { sectors: !1 };

/// With which a forked process ends when the simulator panics.
const STATUS_PANICKED: i32 = 101;

/// A history that broke an invariant.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ExploredFailure {
    /// The name of the unit that it belongs to.
    pub unit: String,
    /// The history as a schedule that can be replayed.
    pub schedule: Schedule,
}

/// How finely the places of a crash are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Grain {
    /// Every survival, every sector.
    Fine,
    /// A kill, and a power loss that nothing unsynced survives.
    Coarse,
}

/// Where exploration stands in one history, and what it has decided for it.
pub struct Pilot {
    shared: Arc<Shared>,
    findings: Arc<File>,
    unit: String,
    schedule: Schedule,
    /// The step in which the first fault strikes.
    target_step: u32,
    step: u32,
    /// Hash of what the remote holds and what was acknowledged.
    context: u64,
    crashes: u32,
    crashes_max: u32,
    /// Hash of how the process went down, and of every operation since.
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

    /// The history is over. The process that began exploring goes on; others report and end here.
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
            // One call: other processes append to the same file.
            status = i32::from((&*self.findings).write_all(&line).is_err());
        }
        if self.is_child {
            fork::exit(status);
        }
    }

    /// The simulator has contradicted itself, which must not look like the end of a history.
    pub fn fail(&self, panic: Box<dyn Any + Send>) {
        if self.is_child {
            fork::exit(STATUS_PANICKED);
        }
        resume_unwind(panic);
    }

    /// How finely to look here; `None` where nothing is to strike.
    fn grain(&self) -> Option<Grain> {
        let is_in_reach =
            if self.crashes == 0 { self.step == self.target_step } else { self.step > self.target_step };
        let is_fine = self.crashes + self.request_faults == 0;
        let may_strike = is_in_reach && self.crashes < self.crashes_max && !self.shared.is_stopped();
        may_strike.then_some(if is_fine { Grain::Fine } else { Grain::Coarse })
    }

    /// Forks; in the child the fault is part of the schedule. Whether this is the child.
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

    /// Whether no history has been where this crash leads to; `place` is a hash of the disk that it leaves or of the way there.
    fn is_new(&self, place: u64) -> bool {
        self.shared.visit(self.state(place))
    }

    /// Whether this history has considered a crash already that these operations survive. A cheap answer to most of what would be found visited:
    /// from one operation to the next hardly anything is added to what can survive.
    fn is_considered(&mut self, survivors: Option<u64>) -> bool {
        survivors.is_some_and(|survivors| !self.considered.insert(self.state(survivors)))
    }

    /// A hash of `place` and of everything else that counts.
    fn state(&self, place: u64) -> u64 {
        let mut state = [0; 28];
        state[..8].copy_from_slice(&self.context.to_le_bytes());
        state[8..16].copy_from_slice(&place.to_le_bytes());
        state[16..20].copy_from_slice(&self.step.to_le_bytes());
        state[20..24].copy_from_slice(&(self.crashes + self.request_faults).to_le_bytes());
        state[24..].copy_from_slice(&self.target_step.to_le_bytes());
        xxh3_64(&state) ^ xxh3_64(self.unit.as_bytes())
    }

    /// Where the recovery stands at `site`, if there is one: a crash before the operation is where the way so far led to, one after it
    /// where it goes on to.
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
                let is_trodden = recovery.is_some_and(|path| {
                    !self.is_new(kind_hash(path[usize::from(moment == Moment::After)], &kind))
                });
                if is_trodden
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

/// A hash of going down at `place`: a killed process leaves what it wrote to the next one, a power loss does not.
fn kind_hash(place: u64, kind: &CrashKind) -> u64 {
    let mut state = [0; 9];
    state[..8].copy_from_slice(&place.to_le_bytes());
    state[8] = u8::from(matches!(kind, CrashKind::Kill));
    xxh3_64(&state)
}

/// Before, after, and inside a write after each of its sectors.
fn moments(site: &Site<'_>, grain: Grain) -> Vec<Moment> {
    let mut moments = vec![Moment::Before];
    if let (Some(bytes), Grain::Fine) = (site.write_bytes(), grain) {
        moments.extend(tears(bytes).map(|bytes| Moment::Inside { bytes }));
    }
    moments.push(Moment::After);
    moments
}

/// The sector boundaries inside a write.
fn tears(bytes: u32) -> impl Iterator<Item = u32> {
    (1..).map(|sector| sector * SECTOR_BYTES).take_while(move |torn| *torn < bytes)
}

/// Each way to go down at a moment with these unsynced operations. Inside a write a power loss is one that everything survives:
/// the others are those of the moment before.
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
    fn survivals_are_nothing_everything_each_prefix_and_each_single_omission() {
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
