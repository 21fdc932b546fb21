//! Properties of whole histories.

use plimsoll_scenarios::property::schedules;
use plimsoll_sim::schedule::{Action, Schedule};
use plimsoll_sim::search::generate::Profile;
use plimsoll_sim::world::run::{RunOptions, run};
use proptest::prelude::*;
use proptest::test_runner::{TestError, TestRunner};

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Every invariant holds for every schedule. A printed and parsed schedule gives the same history, byte
    /// for byte.
    #[test]
    fn every_history_holds_and_is_what_its_file_says(schedule in schedules(Profile::Swarm)) {
        let outcome = run(&schedule, RunOptions::default());
        prop_assert_eq!(&outcome.violation, &None);
        let read = Schedule::parse(&schedule.print()).expect("a printed schedule can be parsed");
        prop_assert_eq!(run(&read, RunOptions::default()).hash, outcome.hash);
    }
}

#[test]
fn a_failing_property_is_shrunk_to_the_step_that_it_is_about() {
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = TestRunner::new_with_rng(config, deterministic());
    let is_checkpoint = |action: &Action| matches!(action, Action::RemoteCheckpoint);
    let failed = runner.run(&schedules(Profile::Swarm), |schedule| {
        prop_assert!(!schedule.steps.iter().any(|step| is_checkpoint(&step.action)));
        Ok(())
    });
    let Err(TestError::Fail(_, schedule)) = failed else { panic!("no seed has a checkpoint: {failed:?}") };
    let [step] = schedule.steps.as_slice() else { panic!("{}", schedule.print()) };
    assert!(is_checkpoint(&step.action) && step.faults.is_empty() && step.during.is_empty());
}

fn deterministic() -> proptest::test_runner::TestRng {
    proptest::test_runner::TestRng::deterministic_rng(proptest::test_runner::RngAlgorithm::ChaCha)
}
