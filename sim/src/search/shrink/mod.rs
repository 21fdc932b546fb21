//! From a schedule that fails to a smaller one that fails the same way.
//!
//! Guarantees: what comes out breaks the same invariant at the same place as what went in ([`Signature`]), was run again and had the
//! same trace; every step and fault in it is needed, as far as taking away one, or a pair of steps, can tell. The result depends on
//! the schedule alone, not on how many candidates are tried at once. It ends: each candidate is smaller by a measure that cannot
//! fall for ever, and the number of runs is bounded besides.
//!
//! Left out: which candidates there are (`reduce`, `weaken`, `moved`), and any knowledge of what the engine does.

mod moved;
mod reduce;
#[cfg(test)]
mod tests;
mod weaken;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use xxhash_rust::xxh3::xxh3_64;

use crate::judge::verdict::{Signature, Violation};
use crate::schedule::Schedule;
use crate::world::fault_outcomes::FaultOutcomes;
use crate::world::run::{Outcome, RunOptions, run};
use reduce::Pass;

/// How to shrink.
#[derive(Debug, Clone, Copy)]
pub struct Shrink<'a> {
    /// How many candidates run at once.
    pub jobs: usize,
    /// How many histories to run at most.
    pub runs_max: u64,
    /// Set from outside, it ends the search; what was found so far is the result.
    pub stop: &'a AtomicBool,
}

/// Enough for every generated history; thirty times what the planted bugs need.
pub const RUNS_MAX: u64 = 20_000;

/// How far a search has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Histories run.
    pub runs: u64,
    /// Steps of the smallest schedule so far.
    pub steps: usize,
    /// Its faults.
    pub faults: usize,
}

/// What a search ends with.
#[derive(Debug)]
pub struct Shrunk {
    /// The smallest schedule that was found.
    pub schedule: Schedule,
    /// What it breaks.
    pub violation: Violation,
    /// Histories run.
    pub runs: u64,
    /// Whether the search was ended before nothing could go any more.
    pub is_cut_short: bool,
    /// Whether the result, run again, had the same trace and the same violation.
    pub is_deterministic: bool,
}

impl Shrink<'_> {
    /// Shrinks `schedule`; `None` if it does not fail at all. `on_progress` is called whenever something was tried.
    pub fn run(&self, schedule: &Schedule, on_progress: impl Fn(Progress) + Sync) -> Option<Shrunk> {
        self.run_with(schedule, on_progress, |schedule| run(schedule, RunOptions::default()))
    }

    /// The same with another way to run a history.
    pub fn run_with(
        &self,
        schedule: &Schedule,
        on_progress: impl Fn(Progress) + Sync,
        history: impl Fn(&Schedule) -> Outcome + Sync,
    ) -> Option<Shrunk> {
        let outcome = history(schedule);
        let signature = outcome.violation.as_ref()?.signature();
        let mut search = Search {
            shrink: *self,
            history: &history,
            on_progress: &on_progress,
            signature,
            best: Candidate { schedule: schedule.clone(), outcome },
            runs: 1,
            tried: BTreeSet::new(),
        };
        search.exhaust_all();
        Some(search.finish())
    }
}

/// Schedules that are smaller than one that has had this outcome, the most promising first. Whether they still fail is for the caller to find
/// out.
pub fn smaller(schedule: &Schedule, outcome: &Outcome) -> Vec<Schedule> {
    let passes = Pass::round(schedule.steps.len());
    passes.into_iter().flat_map(|pass| pass.candidates(schedule, outcome)).collect()
}

/// A schedule, and what came of it.
struct Candidate {
    schedule: Schedule,
    outcome: Outcome,
}

struct Search<'a> {
    shrink: Shrink<'a>,
    history: &'a (dyn Fn(&Schedule) -> Outcome + Sync),
    on_progress: &'a (dyn Fn(Progress) + Sync),
    signature: Signature,
    best: Candidate,
    runs: u64,
    /// Hashes of what was tried in vain.
    tried: BTreeSet<u64>,
}

impl Search<'_> {
    /// All passes again and again, until none finds anything, nor that with the most candidates.
    fn exhaust_all(&mut self) {
        loop {
            let mut found = false;
            for pass in Pass::round(self.best.schedule.steps.len()) {
                found |= self.exhaust(pass);
            }
            if !(found || self.exhaust(Pass::Moved)) || self.is_over() {
                return;
            }
        }
    }

    /// One pass from its first candidate to its last. After a success it goes on at the same number: what stood there is gone, and the
    /// next has moved up.
    fn exhaust(&mut self, pass: Pass) -> bool {
        let mut found = false;
        let mut number = 0;
        while !self.is_over() {
            let candidates = pass.candidates(&self.best.schedule, &self.best.outcome);
            let Some(rest) = candidates.get(number..) else { break };
            let Some((index, candidate)) = self.first_that_fails(rest) else { break };
            self.best = candidate;
            self.report();
            number += index;
            found = true;
        }
        found
    }

    /// The first of the candidates that fails in the same way, with its index.
    #[expect(
        clippy::disallowed_methods,
        reason = "histories share nothing; which thread runs one makes no difference to it"
    )]
    fn first_that_fails(&mut self, candidates: &[Schedule]) -> Option<(usize, Candidate)> {
        let mut fresh: Vec<(usize, u64, &Schedule)> = Vec::new();
        for (index, schedule) in candidates.iter().enumerate() {
            let hash = xxh3_64(schedule.print().as_bytes());
            if !self.tried.contains(&hash) && fresh.iter().all(|(_, earlier, _)| *earlier != hash) {
                fresh.push((index, hash, schedule));
            }
        }
        for batch in fresh.chunks(self.shrink.jobs.max(1)) {
            if self.is_over() {
                return None;
            }
            let history = self.history;
            let outcomes: Vec<Outcome> = thread::scope(|scope| {
                let running: Vec<_> =
                    batch.iter().map(|(_, _, schedule)| scope.spawn(|| history(schedule))).collect();
                running
                    .into_iter()
                    .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                    .collect()
            });
            self.runs += batch.len() as u64;
            self.report();
            for ((index, hash, schedule), outcome) in batch.iter().zip(outcomes) {
                let signature = outcome.violation.as_ref().map(Violation::signature);
                if signature.as_ref() == Some(&self.signature) {
                    return Some((*index, Candidate { schedule: (*schedule).clone(), outcome }));
                }
                self.tried.insert(*hash);
            }
        }
        None
    }

    fn is_over(&self) -> bool {
        self.runs >= self.shrink.runs_max || self.shrink.stop.load(Ordering::Relaxed)
    }

    fn report(&self) {
        let Schedule { steps, .. } = &self.best.schedule;
        let faults = self.best.schedule.fault_count();
        (self.on_progress)(Progress { runs: self.runs, steps: steps.len(), faults });
    }

    fn finish(self) -> Shrunk {
        let is_cut_short = self.is_over();
        let again = (self.history)(&self.best.schedule);
        let Candidate { schedule, outcome } = self.best;
        Shrunk {
            schedule,
            is_deterministic: again.hash == outcome.hash && again.violation == outcome.violation,
            violation: outcome.violation.expect("every candidate that is kept fails"),
            runs: self.runs + 1,
            is_cut_short,
        }
    }
}
