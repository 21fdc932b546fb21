//! Runs histories. The input is a schedule file. The fuzzer prefers schedules that reach new parts of the
//! engine. A schedule that breaks an invariant becomes an artefact, which `plimsoll replay` and `plimsoll
//! shrink` accept.
#![no_main]
#![expect(clippy::disallowed_methods, reason = "the macro writes a file of its own where it is asked to")]

use libfuzzer_sys::{Corpus, fuzz_crossover, fuzz_mutator, fuzz_target};
use plimsoll_fuzz::{corpus, mutate, watchdog};
use plimsoll_sim::schedule::Schedule;
use plimsoll_sim::search::generate::{Profile, generate, is_within_limits};
use plimsoll_sim::world::run::{RunOptions, run};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// The number of generated schedules in the initial corpus. The schedules of `scenarios/corpus` are added.
const GENERATED: u64 = 16;

fuzz_target!(
    init: {
        let generated = (0..GENERATED).map(|seed| {
            (format!("seed-{seed}.jsonl"), generate(seed, Profile::Swarm).print().into_bytes())
        });
        corpus::seed("schedule", corpus::schedules().into_iter().chain(generated));
    },
    |bytes: &[u8]| -> Corpus {
        let Some(schedule) = read(bytes).filter(is_bounded) else { return Corpus::Reject };
        let outcome = watchdog::watch(|| run(&schedule, RunOptions::default()));
        if let Some(violation) = outcome.violation {
            panic!("{violation}\n  signature  {}\n{}", violation.signature(), schedule.print());
        }
        Corpus::Keep
    }
);

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let schedule = read(&data[..size]).unwrap_or_else(|| generate(u64::from(seed), Profile::Swarm));
    write(&mutate::mutated(schedule, &drawn(seed)), data, max_size)
});

fuzz_crossover!(|one: &[u8], other: &[u8], out: &mut [u8], seed: u32| {
    let (Some(one), Some(other)) = (read(one), read(other)) else { return 0 };
    let room = out.len();
    write(&mutate::crossed(one, &other, &drawn(seed)), out, room)
});

fn read(bytes: &[u8]) -> Option<Schedule> {
    Schedule::parse(std::str::from_utf8(bytes).ok()?).ok()
}

/// Whether the schedule stays within the limits of generated ones.
fn is_bounded(schedule: &Schedule) -> bool {
    (1..=4).contains(&schedule.header.clients)
        && schedule.all_steps().len() <= 3 * mutate::STEPS_MAX
        && is_within_limits(schedule)
}

/// Writes a schedule into libFuzzer's buffer, without its last steps if there is no room. Returns its length.
fn write(schedule: &Schedule, data: &mut [u8], size_max: usize) -> usize {
    let mut schedule = schedule.clone();
    loop {
        let text = schedule.print();
        if text.len() <= size_max.min(data.len()) {
            data[..text.len()].copy_from_slice(text.as_bytes());
            return text.len();
        }
        if schedule.steps.pop().is_none() {
            return 0;
        }
    }
}

/// Pseudo-random bytes, from which a mutation draws.
fn drawn(seed: u32) -> [u8; 128] {
    let mut bytes = [0; 128];
    ChaCha8Rng::seed_from_u64(u64::from(seed)).fill_bytes(&mut bytes);
    bytes
}
