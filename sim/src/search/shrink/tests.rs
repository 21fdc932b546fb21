//! Tests the search without running histories. Each test defines which schedules fail, so the expected result
//! is known.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::*;
use crate::fault::Fault;
use crate::fault::{CrashKind, CrashPoint, FileClass, Moment, OperationKind, OperationPlace, Survival};
use crate::judge::verdict::MONOTONE;
use crate::schedule::{Action, Header, Step, TransactionEnd};
use crate::search::generate::{Profile, generate};

static RUN: AtomicBool = AtomicBool::new(false);

fn shrink(schedule: &Schedule, jobs: usize, fails: impl Fn(&Schedule) -> bool + Sync) -> Option<Shrunk> {
    let pretended = |schedule: &Schedule| Outcome {
        violation: fails(schedule)
            .then(|| Violation::of(MONOTONE, format!("{} steps", schedule.steps.len()))),
        ..Outcome::default()
    };
    Shrink { jobs, runs_max: RUNS_MAX, stop: &RUN }.run_with(schedule, |_| (), pretended)
}

fn transactions(schedule: &Schedule) -> usize {
    schedule.steps.iter().filter(|step| matches!(step.action, Action::Transaction { .. })).count()
}

#[test]
fn only_what_the_failure_needs_is_left() {
    let schedule = (0..).map(|seed| generate(seed, Profile::Swarm)).find(|schedule| {
        transactions(schedule) >= 4 && schedule.header.clients == 3 && schedule.fault_count() >= 3
    });
    let schedule = schedule.expect("some seed has such a schedule");
    let needs = |schedule: &Schedule| transactions(schedule) >= 2 && schedule.fault_count() >= 1;
    let shrunk = shrink(&schedule, 2, needs).expect("the schedule fails");
    assert_eq!((transactions(&shrunk.schedule), shrunk.schedule.fault_count()), (2, 1));
    assert!(shrunk.schedule.steps.len() <= 3, "{}", shrunk.schedule.print());
    assert_eq!(shrunk.schedule.header, Header { clients: 1, ..Header::new(schedule.header.key) });
    assert!(shrunk.is_deterministic && !shrunk.is_cut_short);
    let is_bare = |step: &crate::schedule::Step| match &step.action {
        Action::Transaction { writes, .. } => writes.is_empty(),
        _ => true,
    };
    assert!(shrunk.schedule.steps.iter().all(is_bare));
}

#[test]
fn a_crash_that_may_happen_between_operations_becomes_a_step() {
    let place = OperationPlace { file: FileClass::DraftWal, operation: OperationKind::Sync, nth: 1 };
    let crash = Fault::Crash(CrashPoint { place, moment: Moment::Before, kind: CrashKind::Kill });
    let pull = Step { faults: vec![crash], ..Step::new(2, Action::Pull { client: 0 }) };
    let schedule = Schedule::new(Header::new(1), vec![Step::new(1, Action::Sync { client: 0 }), pull]);
    let crashes = |step: &Step| matches!(step.action, Action::Crash { .. }) || !step.faults.is_empty();
    let shrunk =
        shrink(&schedule, 1, |schedule| schedule.steps.iter().any(crashes)).expect("the schedule fails");
    let between = Step::new(2, Action::Crash { client: 0, kind: CrashKind::Kill });
    assert_eq!(shrunk.schedule.steps, [between]);
}

#[test]
fn the_result_does_not_depend_on_the_number_of_jobs() {
    let schedule = generate(3, Profile::Swarm);
    let print =
        |jobs| shrink(&schedule, jobs, |schedule| transactions(schedule) >= 2).map(|s| s.schedule.print());
    assert!(print(1).is_some());
    assert_eq!(print(1), print(7));
}

#[test]
fn a_schedule_that_does_not_fail_is_not_shrunk() {
    assert!(shrink(&generate(3, Profile::Swarm), 2, |_| false).is_none());
}

#[test]
fn another_failure_does_not_count_as_the_same() {
    let schedule = generate(3, Profile::Swarm);
    let pretended = |schedule: &Schedule| {
        let message = if schedule.steps.len() > 10 { "many" } else { "few" };
        Outcome { violation: Some(Violation::of(MONOTONE, message)), ..Outcome::default() }
    };
    let shrunk = Shrink { jobs: 2, runs_max: RUNS_MAX, stop: &RUN }.run_with(&schedule, |_| (), pretended);
    assert_eq!(shrunk.expect("the schedule fails").schedule.steps.len(), 11);
}

#[test]
fn the_number_of_runs_is_bounded_and_the_search_can_be_stopped() {
    let schedule = generate(3, Profile::Swarm);
    let runs = AtomicU64::new(0);
    let fails = |_: &Schedule| {
        runs.fetch_add(1, Ordering::Relaxed);
        Outcome { violation: Some(Violation::of(MONOTONE, "always")), ..Outcome::default() }
    };
    for (runs_max, stopped) in [(5, false), (RUNS_MAX, true)] {
        runs.store(0, Ordering::Relaxed);
        let stop = AtomicBool::new(stopped);
        let shrunk = Shrink { jobs: 1, runs_max, stop: &stop }.run_with(&schedule, |_| (), fails);
        assert!(shrunk.expect("the schedule fails").is_cut_short);
        assert!(runs.load(Ordering::Relaxed) <= 7);
    }
}

#[test]
fn a_subset_becomes_a_list_and_then_as_short_as_possible() {
    let kind = |survival| CrashKind::PowerLoss { survival, torn: None };
    let place = OperationPlace { file: FileClass::Any, operation: OperationKind::AnyMutation, nth: 9 };
    let point = CrashPoint {
        place,
        moment: Moment::After,
        kind: kind(Survival::Subset { keep_percent: 50, key: 4 }),
    };
    let mut schedule = generate(3, Profile::Calm);
    schedule.steps[0].faults.push(Fault::Crash(point));
    // The disk has eight unsynced operations. The failure needs the third to survive and the first to be
    // lost.
    let pretended = |schedule: &Schedule| {
        let mut outcome = Outcome::default();
        let Some(step) = schedule.steps.iter().find(|step| !step.faults.is_empty()) else { return outcome };
        let Fault::Crash(point) = &step.faults[0] else { return outcome };
        let CrashKind::PowerLoss { survival, .. } = &point.kind else { return outcome };
        let survivors = survival.survivors(8);
        if survivors.contains(&2) && !survivors.contains(&0) {
            outcome.violation = Some(Violation::of(MONOTONE, "gone"));
        }
        let report = crate::world::disk::CrashReport {
            path: String::new(),
            point: Some(point.clone()),
            place: Some(OperationPlace {
                file: FileClass::Metadata,
                operation: OperationKind::Rename,
                nth: 1,
            }),
            kind: point.kind.clone(),
            unsynced_operations: 8,
            survivors,
            event_count: 0,
        };
        outcome.fault_outcomes.crashes.push((step.id, report));
        outcome
    };
    let key = (0..).find(|key| {
        let survivors = Survival::Subset { keep_percent: 50, key: *key }.survivors(8);
        survivors.contains(&2) && !survivors.contains(&0) && survivors.len() > 3
    });
    let Fault::Crash(point) = &mut schedule.steps[0].faults[0] else {
        unreachable!("the fault was inserted above")
    };
    point.kind =
        kind(Survival::Subset { keep_percent: 50, key: key.expect("some key selects these survivors") });
    let shrunk = Shrink { jobs: 2, runs_max: RUNS_MAX, stop: &RUN }.run_with(&schedule, |_| (), pretended);
    let shrunk = shrunk.expect("the schedule fails").schedule;
    assert_eq!(shrunk.steps.len(), 1);
    let Fault::Crash(point) = &shrunk.steps[0].faults[0] else { panic!("{}", shrunk.print()) };
    assert_eq!(point.kind, kind(Survival::List { indices: vec![2] }));
    assert_eq!(
        point.to_string(),
        "power loss (unsynced operations [2] survive) after the 1st rename of metadata"
    );
}

#[test]
fn a_place_moves_when_a_dropped_step_made_earlier_operations() {
    let place = |nth| OperationPlace { file: FileClass::Metadata, operation: OperationKind::Sync, nth };
    let crash =
        |nth| Fault::Crash(CrashPoint { place: place(nth), moment: Moment::Before, kind: CrashKind::Kill });
    let step = |id, action, nth| Step { faults: vec![crash(nth)], ..Step::new(id, action) };
    let push = Action::Push { client: 0 };
    let steps =
        vec![Step::new(1, Action::Pull { client: 0 }), step(2, push.clone(), 2), step(3, push.clone(), 1)];
    // The schedule fails if the first push crashes at its 2nd sync of the metadata, and the second push at
    // its 1st. A push without a pull before it also makes the pull's two syncs. So it fails at its 4th sync,
    // and needs no other push.
    let fails = |schedule: &Schedule| {
        let nth = |step: &Step| {
            step.faults.first().map_or(0, |fault| match fault {
                Fault::Crash(point) => point.place.nth,
                _ => 0,
            })
        };
        match &schedule.steps[..] {
            [pull, first, second] => {
                matches!(pull.action, Action::Pull { .. }) && nth(first) == 2 && nth(second) == 1
            }
            [only] => only.action == push && nth(only) == 4,
            _ => false,
        }
    };
    let shrunk = shrink(&Schedule::new(Header::new(1), steps), 1, fails).expect("the schedule fails");
    assert_eq!(shrunk.schedule.steps, [step(2, push.clone(), 4)]);
}

#[test]
fn another_operation_reaches_a_place_after_a_fault_is_dropped() {
    let place = OperationPlace { file: FileClass::SyncedWal, operation: OperationKind::Sync, nth: 1 };
    let crash = Fault::Crash(CrashPoint { place, moment: Moment::Before, kind: CrashKind::Kill });
    let abandon = Fault::Abandon { nth: 1, arrives: false };
    let pull = Action::Pull { client: 0 };
    let write = Action::Transaction { client: 0, writes: Vec::new(), end: TransactionEnd::Commit };
    let step = |id, action: &Action, faults: &[&Fault]| Step {
        faults: faults.iter().map(|fault| (*fault).clone()).collect(),
        ..Step::new(id, action.clone())
    };
    let large = [step(1, &pull, &[&abandon]), step(2, &write, &[&crash])];
    let small = [step(1, &pull, &[]), step(2, &pull, &[&crash])];
    let fails = |schedule: &Schedule| schedule.steps == large || schedule.steps == small;
    let schedule = Schedule::new(Header::new(1), large.to_vec());
    assert_eq!(shrink(&schedule, 1, fails).expect("the schedule fails").schedule.steps, small);
}
