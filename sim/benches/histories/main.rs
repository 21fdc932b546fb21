//! Histories per second: calm and with all faults, each compared with its lower bound (see `floor`).
//!
//! Every measurement runs the same seeds, one after another on one core. Compare the ratios within one run.

mod floor;

use std::ops::Range;
use std::thread;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use plimsoll_sim::schedule::Schedule;
use plimsoll_sim::search::generate::{Profile, generate};
use plimsoll_sim::world::run::{RunOptions, run};

/// The same allocator as in the `plimsoll` command.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SEEDS: Range<u64> = 0..40;

#[expect(clippy::disallowed_methods, reason = "the floor runs on its own thread, as a history does")]
fn histories(criterion: &mut Criterion) {
    for (name, profile) in [("calm", Profile::Calm), ("swarm", Profile::Swarm)] {
        let schedules: Vec<Schedule> = SEEDS.map(|seed| generate(seed, profile)).collect();
        let mut group = criterion.benchmark_group(name);
        group.sample_size(10).throughput(Throughput::Elements(schedules.len() as u64));
        group.bench_function("simulated", |bencher| {
            bencher.iter(|| {
                for schedule in &schedules {
                    let outcome = run(schedule, RunOptions::default());
                    assert!(outcome.violation.is_none(), "only clean histories are measured");
                }
            });
        });
        group.bench_function("floor", |bencher| {
            bencher.iter(|| {
                for schedule in &schedules {
                    thread::scope(|scope| scope.spawn(|| floor::run(schedule)).join())
                        .expect("the floor has no faults");
                }
            });
        });
        group.finish();
    }
}

criterion_group!(benches, histories);
criterion_main!(benches);
