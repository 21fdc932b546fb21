//! Decides whether a mutant of the engine is missed. A mutant is missed if it passes the corpus and the
//! sweeps in this file (`.cargo/mutants.toml`).
//!
//! In an ordinary test run the sweeps have only a few seeds. `PLIMSOLL_MUTANT_SEEDS` sets another number.
#![expect(
    clippy::disallowed_methods,
    reason = "the environment sets the number of seeds, and the corpus consists of real files"
)]

use std::sync::atomic::AtomicBool;

use plimsoll_sim::search::corpus::judge;
use plimsoll_sim::search::generate::Profile;
use plimsoll_sim::search::seeds::SeedSet;
use plimsoll_sim::search::sweep::{Shard, Sweep};

/// A history makes many small allocations.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The default number of seeds of each profile.
const SEEDS: u64 = 24;

fn seeds() -> u64 {
    match std::env::var("PLIMSOLL_MUTANT_SEEDS") {
        Ok(text) => text.parse().expect("PLIMSOLL_MUTANT_SEEDS is a number"),
        Err(_) => SEEDS,
    }
}

#[test]
fn the_corpus_is_clean() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/corpus");
    for entry in std::fs::read_dir(directory).expect("the corpus exists") {
        let path = entry.expect("the corpus can be listed").path();
        let text = std::fs::read_to_string(&path).expect("the corpus can be read");
        if let Err(defect) = judge(&text) {
            panic!("{}: {defect}", path.display());
        }
    }
}

#[test]
fn calm_histories_are_clean() {
    sweep(Profile::Calm);
}

#[test]
fn histories_with_every_fault_are_clean() {
    sweep(Profile::Swarm);
}

fn sweep(profile: Profile) {
    let (seeds, done) = (0..seeds(), SeedSet::default());
    let sweep = Sweep { seeds, done, shard: Shard::WHOLE, profile, jobs: 1, keep_going: false };
    let outcome = sweep.run(&AtomicBool::new(false), |_| ());
    if let Some(failure) = outcome.first_failure() {
        panic!("seed {}: {}", failure.seed, failure.violation);
    }
}
