//! Schedules for property tests: generated like a sweep's, shrunk like `plimsoll shrink` shrinks them.
//!
//! A property over schedules that fails is reported with a schedule of a few steps, because the candidates are the simulator's own: whole
//! steps go first, then faults, then what is inside them.

use std::collections::VecDeque;

use plimsoll_sim::schedule::Schedule;
use plimsoll_sim::search::generate::{Profile, generate};
use plimsoll_sim::search::shrink::smaller;
use plimsoll_sim::world::run::{RunOptions, run};
use proptest::prelude::any;
use proptest::strategy::{NewTree, Strategy, ValueTree};
use proptest::test_runner::TestRunner;

/// The schedules of a profile's seeds.
pub fn schedules(profile: Profile) -> Schedules {
    Schedules { profile }
}

/// A strategy that generates schedules.
#[derive(Debug, Clone, Copy)]
pub struct Schedules {
    profile: Profile,
}

impl Strategy for Schedules {
    type Tree = ShrinkingSchedule;
    type Value = Schedule;

    fn new_tree(&self, runner: &mut TestRunner) -> NewTree<Self> {
        let seed = any::<u64>().new_tree(runner)?.current();
        Ok(ShrinkingSchedule::new(generate(seed, self.profile)))
    }
}

/// A schedule on its way to the smallest one with which the property still fails.
#[derive(Debug)]
pub struct ShrinkingSchedule {
    /// The smallest so far.
    best: Schedule,
    /// The one that is being tried.
    candidate: Option<Schedule>,
    /// What else could be; `None` until asked for.
    rest: Option<VecDeque<Schedule>>,
}

impl ShrinkingSchedule {
    fn new(schedule: Schedule) -> Self {
        Self { best: schedule, candidate: None, rest: None }
    }

    fn try_next(&mut self) -> bool {
        let best = &self.best;
        let rest = self.rest.get_or_insert_with(|| smaller(best, &run(best, RunOptions::default())).into());
        self.candidate = rest.pop_front();
        self.candidate.is_some()
    }
}

impl ValueTree for ShrinkingSchedule {
    type Value = Schedule;

    fn current(&self) -> Schedule {
        self.candidate.as_ref().unwrap_or(&self.best).clone()
    }

    /// What was tried still fails: it is the best, and something smaller is tried.
    fn simplify(&mut self) -> bool {
        if let Some(candidate) = self.candidate.take() {
            self.best = candidate;
            self.rest = None;
        }
        self.try_next()
    }

    /// What was tried holds: something else is.
    fn complicate(&mut self) -> bool {
        self.try_next()
    }
}
