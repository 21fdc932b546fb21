//! Smaller schedules in which a remaining fault moves to another place.
//!
//! If a step is dropped, the client's next step also does the dropped step's work, for example a bootstrap. A
//! fault in that next step then needs another number to hit the same place. If a fault is dropped, its step
//! may finish work that a later step did before. A fault in that later step then needs another action to
//! reach its place.
//!
//! Guarantees: each candidate has fewer steps or fewer faults than its original.

use super::reduce::{edited, without_chunks, without_each_fault, without_pairs};
use crate::fault::Fault;
use crate::schedule::{Action, Schedule};

/// The maximum number of steps of a schedule for which this is tried. A longer one has too many candidates.
const STEPS_MAX: usize = 8;
/// The numbers that are added to the number of a fault's place.
const SHIFTS: [i32; 7] = [0, 1, 2, 3, 4, -1, -2];

pub(super) fn with_moved_faults(schedule: &Schedule) -> Vec<Schedule> {
    if schedule.steps.len() > STEPS_MAX {
        return Vec::new();
    }
    let mut bases = without_chunks(schedule, 1);
    bases.extend(without_each_fault(schedule));
    bases.extend(without_pairs(schedule));
    bases.iter().flat_map(with_one_moved).collect()
}

fn with_one_moved(schedule: &Schedule) -> Vec<Schedule> {
    let mut candidates = Vec::new();
    for step in schedule.all_steps() {
        for number in 0..step.faults.len() {
            for action in alternatives(&step.action) {
                for shift in SHIFTS {
                    candidates.push(edited(schedule, step.id, |step| {
                        step.action = action.clone();
                        shift_place(&mut step.faults[number], shift);
                    }));
                }
            }
        }
    }
    candidates
}

/// The action itself, and other actions of its client that may reach the place of a fault.
fn alternatives(action: &Action) -> Vec<Action> {
    let mut actions = vec![action.clone()];
    if let Some(client) = action.client() {
        let others = [Action::Pull { client }, Action::Push { client }, Action::Sync { client }];
        actions.extend(others.into_iter().filter(|other| other != action));
    }
    actions
}

fn shift_place(fault: &mut Fault, shift: i32) {
    let nth = match fault {
        Fault::Crash(point) => &mut point.place.nth,
        Fault::CrashSuspended { nth, .. } | Fault::Abandon { nth, .. } => nth,
        Fault::Disk(error) => &mut error.nth,
        Fault::Network { at, .. } => &mut at.nth,
    };
    *nth = nth.saturating_add_signed(shift).max(1);
}
