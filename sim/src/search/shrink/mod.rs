//! Shrinks a failing schedule to a smaller one with the same failure.
//!
//! Guarantees:
//!
//! * The result has the same [`Signature`] as the original: it breaks the same invariant at the same place.
//! * The result is run a second time. [`Shrunk::is_deterministic`] tells whether the trace was the same.
//! * If the search was not cut short, every step and every fault in the result is needed: without it the
//!   failure is lost. In a short result, every pair of steps is needed as well.
//! * The result depends only on the schedule, not on the number of jobs.
//! * The search ends: each success makes the schedule smaller, and no schedule can become smaller without
//!   end. The number of runs is limited too.
//!
//! Not in this module: the candidates themselves (`reduce`, `weaken`, `moved`), and any knowledge of the
//! engine.

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

/// The options of a search.
#[derive(Debug, Clone, Copy)]
pub struct Shrink<'a> {
    /// The number of candidates that run at once.
    pub jobs: usize,
    /// The maximum number of histories to run.
    pub runs_max: u64,
    /// Ends the search when it is set from outside. The result is then the smallest schedule so far.
    pub stop: &'a AtomicBool,
}

/// The usual maximum. It is enough for every generated history. The planted bugs need a thirtieth of it.
pub const RUNS_MAX: u64 = 20_000;

/// The progress of a search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The number of histories run so far.
    pub runs: u64,
    /// The number of steps in the smallest schedule so far.
    pub steps: usize,
    /// The number of faults in that schedule.
    pub faults: usize,
}

/// The result of a search.
#[derive(Debug)]
pub struct Shrunk {
    pub schedule: Schedule,
    /// The violation of the smallest schedule.
    pub violation: Violation,
    /// The number of histories run.
    pub runs: u64,
    /// Whether the search ended before all candidates were tried.
    pub is_cut_short: bool,
    /// Whether the result had the same trace and the same violation in a second run.
    pub is_deterministic: bool,
}

impl Shrink<'_> {
    /// Shrinks `schedule`; `None` if it does not fail at all. Calls `on_progress` after each try.
    pub fn run(&self, schedule: &Schedule, on_progress: impl Fn(Progress) + Sync) -> Option<Shrunk> {
        self.run_with(schedule, on_progress, |schedule| run(schedule, RunOptions::default()))
    }

    /// Like [`run`](Self::run), with another function that runs a history.
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
            rejected: BTreeSet::new(),
        };
        search.exhaust_all();
        Some(search.finish())
    }
}

/// Smaller versions of a schedule that had this outcome, the most promising first. The caller must check
/// whether they still fail.
pub fn smaller(schedule: &Schedule, outcome: &Outcome) -> Vec<Schedule> {
    let passes = Pass::round(schedule.steps.len());
    passes.into_iter().flat_map(|pass| pass.candidates(schedule, outcome)).collect()
}

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
    /// Hashes of the candidates that passed or failed in another way.
    rejected: BTreeSet<u64>,
}

impl Search<'_> {
    /// Repeats all passes until none succeeds. Then tries [`Pass::Moved`], which has the most candidates, and
    /// starts again if it succeeds.
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

    /// Runs one pass from its first candidate to its last. A success gives a new schedule and so a new list
    /// of candidates. The pass continues in the new list, at the same index: the accepted candidate is gone,
    /// and the next one has moved up to its index.
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

    /// The first candidate with the same failure, and its index.
    #[expect(
        clippy::disallowed_methods,
        reason = "histories share nothing, so the thread does not affect the result"
    )]
    fn first_that_fails(&mut self, candidates: &[Schedule]) -> Option<(usize, Candidate)> {
        let mut fresh: Vec<(usize, u64, &Schedule)> = Vec::new();
        for (index, schedule) in candidates.iter().enumerate() {
            let hash = xxh3_64(schedule.print().as_bytes());
            if !self.rejected.contains(&hash) && fresh.iter().all(|(_, earlier, _)| *earlier != hash) {
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
                self.rejected.insert(*hash);
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
            violation: outcome.violation.expect("every kept candidate fails"),
            runs: self.runs + 1,
            is_cut_short,
        }
    }
}
