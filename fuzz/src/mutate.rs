//! Changes one schedule into another. It makes one or a few changes, which keep the meaning of the rest.
//!
//! Steps and faults come from the generator, so every fault has a row in the atlas. The search is over their
//! combinations. All draws come from the bytes of the fuzzer.

use arbitrary::{Arbitrary, Unstructured};
use plimsoll_sim::schedule::{Schedule, Step};
use plimsoll_sim::search::generate::{Profile, generate};

/// The maximum number of steps. Longer schedules are slow and hard to read.
pub const STEPS_MAX: usize = 40;
/// The number of generated schedules from which steps are taken.
const SEEDS: u64 = 1 << 20;

/// One change.
#[derive(Debug, Clone, Copy, Arbitrary)]
enum Change {
    /// Inserts steps of a generated schedule.
    Splice { seed: u64, from: u8, count: u8, at: u8 },
    /// Removes a step.
    Drop { at: u8 },
    /// Repeats a step.
    Repeat { at: u8, to: u8 },
    /// Moves a step.
    Move { at: u8, to: u8 },
    /// Gives a step the faults of a generated step.
    Strike { seed: u64, from: u8, at: u8 },
    /// Removes a step's faults.
    Spare { at: u8 },
    /// Replaces the header by that of a generated schedule.
    Options { seed: u64 },
}

/// A slightly different schedule of limited length.
pub fn mutated(mut schedule: Schedule, bytes: &[u8]) -> Schedule {
    let mut source = Unstructured::new(bytes);
    let changes = 1 + source.arbitrary::<u8>().unwrap_or_default() % 4;
    for _ in 0..changes {
        let Ok(change) = source.arbitrary() else { break };
        apply(&mut schedule, change);
    }
    schedule.steps.truncate(STEPS_MAX);
    schedule.comments = Default::default();
    schedule
}

/// The first steps of one schedule and then those of another, with the header of the first.
pub fn crossed(mut one: Schedule, other: &Schedule, bytes: &[u8]) -> Schedule {
    let mut source = Unstructured::new(bytes);
    let [cut, from]: [u8; 2] = source.arbitrary().unwrap_or_default();
    one.steps.truncate(index(cut, one.steps.len() + 1));
    let from = index(from, other.steps.len() + 1);
    for step in &other.steps[from..] {
        let at = one.steps.len();
        insert(&mut one, step.clone(), at);
    }
    one.steps.truncate(STEPS_MAX);
    one.comments = Default::default();
    one
}

fn apply(schedule: &mut Schedule, change: Change) {
    let count = schedule.steps.len();
    match change {
        Change::Splice { seed, from, count: taken, at } => {
            let donor = donor(seed);
            let from = index(from, donor.steps.len());
            let at = index(at, count + 1);
            let taken = donor.steps.into_iter().skip(from).take(1 + usize::from(taken % 4));
            for (offset, step) in taken.enumerate() {
                insert(schedule, step, at + offset);
            }
        }
        Change::Options { seed } => {
            let clients = schedule.header.clients;
            schedule.header = donor(seed).header;
            schedule.header.clients = schedule.header.clients.max(clients);
        }
        _ if count == 0 => {}
        Change::Drop { at } => drop(schedule.steps.remove(index(at, count))),
        Change::Repeat { at, to } => {
            let step = schedule.steps[index(at, count)].clone();
            insert(schedule, step, index(to, count + 1));
        }
        Change::Move { at, to } => {
            let step = schedule.steps.remove(index(at, count));
            schedule.steps.insert(index(to, count), step);
        }
        Change::Strike { seed, from, at } => {
            let donor = donor(seed);
            let faulty: Vec<&Step> = donor.steps.iter().filter(|step| !step.faults.is_empty()).collect();
            if !faulty.is_empty() {
                schedule.steps[index(at, count)].faults = faulty[index(from, faulty.len())].faults.clone();
            }
        }
        Change::Spare { at } => schedule.steps[index(at, count)].faults.clear(),
    }
}

fn donor(seed: u64) -> Schedule {
    generate(seed % SEEDS, Profile::Swarm)
}

/// An index below `count`. If `count` is 0, the index is 0.
fn index(drawn: u8, count: usize) -> usize {
    usize::from(drawn) % count.max(1)
}

/// Inserts a step with unused ids, for existing clients.
fn insert(schedule: &mut Schedule, mut step: Step, at: usize) {
    let mut next = 1 + schedule.all_steps().iter().map(|step| step.id).max().unwrap_or(0);
    rename(&mut step, schedule.header.clients, &mut next);
    schedule.steps.insert(at.min(schedule.steps.len()), step);
}

fn rename(step: &mut Step, clients: u8, next: &mut u32) {
    step.id = *next;
    *next = next.saturating_add(1);
    if let Some(client) = step.action.client_mut() {
        *client %= clients.max(1);
    }
    for during in &mut step.during {
        rename(&mut during.step, clients, next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_out_is_a_schedule_that_can_be_read_back() {
        let mut schedule = generate(1, Profile::Swarm);
        for round in 0..300_u32 {
            let bytes: Vec<u8> =
                (0..64).map(|at: u32| (round.wrapping_mul(2_654_435_761) >> (at % 24)) as u8).collect();
            schedule = mutated(schedule, &bytes);
            if round % 5 == 0 {
                schedule = crossed(schedule, &generate(u64::from(round), Profile::Swarm), &bytes);
            }
            assert!(schedule.steps.len() <= STEPS_MAX);
            assert_eq!(Schedule::parse(&schedule.print()).expect("it is sound"), schedule);
        }
    }
}
