//! Schedules for property tests: generated like those of a sweep and shrunk like `plimsoll shrink` does.
//!
//! A failing property is reported with a schedule of a few steps, because the simulator's own shrinker
//! provides the candidates. It first removes whole steps, then faults, then the content of steps and faults.

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

/// A schedule that is being shrunk while the property fails.
#[derive(Debug)]
pub struct ShrinkingSchedule {
    /// The smallest failing schedule so far.
    best: Schedule,
    /// The current candidate; `None` before the first one.
    candidate: Option<Schedule>,
    /// The next candidates; `None` until they are needed.
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

    /// Called if the candidate fails too. It becomes the best, and a smaller one is tried.
    fn simplify(&mut self) -> bool {
        if let Some(candidate) = self.candidate.take() {
            self.best = candidate;
            self.rest = None;
        }
        self.try_next()
    }

    /// Called if the candidate passes. The next one is tried.
    fn complicate(&mut self) -> bool {
        self.try_next()
    }
}
