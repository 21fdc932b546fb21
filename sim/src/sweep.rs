//! Many seeds over all cores, until they are done or one has failed.

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use crate::generate::{Profile, generate};
use crate::lock::lock;
use crate::run::{RunOptions, run};
use crate::verdict::{Counts, Violation};

/// What to sweep.
#[derive(Debug, Clone)]
pub struct Sweep {
    /// The seeds.
    pub seeds: Range<u64>,
    /// Which faults they may draw.
    pub profile: Profile,
    /// How many histories run at once.
    pub jobs: usize,
    /// Go on after a failure.
    pub keep_going: bool,
}

/// A seed whose history broke an invariant.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// What it broke.
    pub violation: Violation,
}

/// What a sweep ends with.
#[derive(Debug, Default)]
pub struct SweepOutcome {
    /// All histories' counts, added up.
    pub counts: Counts,
    /// The failures, by seed.
    pub failures: Vec<Failure>,
}

impl Sweep {
    /// Runs the seeds in order, `jobs` at a time; `on_done` is called after each, from the thread that ran it. Stops handing out
    /// seeds after the first failure unless told to go on; seeds below a failing one are always finished.
    pub fn run(&self, on_done: impl Fn(u64) + Sync) -> SweepOutcome {
        let next = AtomicU64::new(self.seeds.start);
        let stop = AtomicBool::new(false);
        let outcome = Mutex::new(SweepOutcome::default());
        let work = || {
            while !stop.load(Ordering::Relaxed) {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= self.seeds.end {
                    break;
                }
                let history = run(&generate(seed, self.profile), RunOptions::default());
                let mut outcome = lock(&outcome);
                outcome.counts.add(&history.counts);
                if let Some(violation) = history.violation {
                    outcome.failures.push(Failure { seed, violation });
                    stop.store(!self.keep_going, Ordering::Relaxed);
                }
                drop(outcome);
                on_done(seed);
            }
        };
        thread::scope(|scope| {
            for _ in 0..self.jobs.max(1) {
                scope.spawn(work);
            }
        });
        let mut outcome = outcome.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        outcome.failures.sort_by_key(|failure| failure.seed);
        outcome
    }
}
