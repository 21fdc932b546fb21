//! From one schedule to another, by one or a few changes that leave the rest its meaning.
//!
//! Steps and faults come from the generator, so that a schedule asks for nothing that the fault atlas makes no promise about; what is
//! searched is how they are put together. Everything is drawn from the bytes that the fuzzer gives.

use arbitrary::{Arbitrary, Unstructured};
use plimsoll_sim::search::generate::{Profile, generate};
use plimsoll_sim::schedule::{Schedule, Step};

/// More steps than that are no history that anybody would read, and slow.
pub const STEPS_MAX: usize = 40;
/// From how many generated schedules steps are taken.
const SEEDS: u64 = 1 << 20;

/// One change.
#[derive(Debug, Clone, Copy, Arbitrary)]
enum Change {
    /// Steps of a generated schedule come in.
    Splice { seed: u64, from: u8, count: u8, at: u8 },
    /// A step goes.
    Drop { at: u8 },
    /// A step happens once more.
    Repeat { at: u8, to: u8 },
    /// A step comes earlier or later.
    Move { at: u8, to: u8 },
    /// A step is struck as a generated one was.
    Strike { seed: u64, from: u8, at: u8 },
    /// A step's faults go.
    Spare { at: u8 },
    /// The options become a generated schedule's.
    Options { seed: u64 },
}

/// A schedule that is a little different, and never too long.
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

/// Steps of one and then of the other, under the first one's options.
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
            let injected: Vec<&Step> = donor.steps.iter().filter(|step| !step.faults.is_empty()).collect();
            if !struck.is_empty() {
                schedule.steps[index(at, count)].faults = struck[index(from, struck.len())].faults.clone();
            }
        }
        Change::Spare { at } => schedule.steps[index(at, count)].faults.clear(),
    }
}

fn donor(seed: u64) -> Schedule {
    generate(seed % SEEDS, Profile::Swarm)
}

/// An index below `count`, 0 if there is none.
fn index(drawn: u8, count: usize) -> usize {
    usize::from(drawn) % count.max(1)
}

/// Puts a step in under ids that nobody has, for clients that there are.
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
