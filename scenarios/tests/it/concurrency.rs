//! Hand-written histories in which other actions run while an operation waits. A step or a fault that is not
//! reached fails the test.

use plimsoll_sim::fault::Fault;
use plimsoll_sim::fault::{CrashKind, Survival};
use plimsoll_sim::fault::{NetworkFault, RequestPlace, Route};
use plimsoll_sim::judge::counts::Counts;
use plimsoll_sim::schedule::workload::Write;
use plimsoll_sim::schedule::{Action, During, Header, Schedule, Step, TransactionEnd, Wait};
use plimsoll_sim::world::run::{RunOptions, run};

const PULL: Action = Action::Pull { client: 0 };
const PUSH: Action = Action::Push { client: 0 };
const SYNC: Action = Action::Sync { client: 0 };
const OTHER_SYNC: Action = Action::Sync { client: 1 };
const CHECKPOINT: Action = Action::RemoteCheckpoint;
const FIRST_PUSH: RequestPlace = RequestPlace { route: Route::Pipeline, nth: 1 };
const FIRST_PULL: RequestPlace = RequestPlace { route: Route::PullFrames, nth: 1 };

fn transaction(client: u8, end: TransactionEnd) -> Action {
    Action::Transaction { client, writes: vec![Write::Append { payload_bytes: 10 }], end }
}

fn commit() -> Action {
    transaction(0, TransactionEnd::Commit)
}

/// A remote transaction with more frames than a batch has.
fn remote_commit() -> Action {
    Action::RemoteTransaction { writes: vec![Write::Append { payload_bytes: 9_000 }; 3] }
}

/// The steps of a history, from actions with the actions that run inside them. The ids are assigned in order.
fn history(described: Vec<(Action, Vec<(Wait, Action)>)>) -> Vec<Step> {
    let mut ids = 1..;
    let mut step = |action| Step::new(ids.next().expect("the ids suffice"), action);
    described
        .into_iter()
        .map(|(action, inside)| {
            let outer = step(action);
            let during = inside.into_iter().map(|(at, action)| During { at, step: step(action) }).collect();
            Step { during, ..outer }
        })
        .collect()
}

/// Runs the steps. Every invariant must hold, and every fault and every inner step must be reached.
fn run_and_check_steps(steps: Vec<Step>) -> Counts {
    let header = Header { pull_batch_frames: 4, chunk_bytes: 4120, ..Header::new(5) };
    let outcome = run(&Schedule::new(header, steps), RunOptions::default());
    assert_eq!(outcome.violation, None);
    assert_eq!(outcome.counts.faults_unreached, 0, "some faults were not reached");
    outcome.counts
}

fn run_and_check(described: Vec<(Action, Vec<(Wait, Action)>)>) -> Counts {
    run_and_check_steps(history(described))
}

/// Runs the actions repeatedly, once for each suspension of the action number `interrupted`. At this
/// suspension the actions `inside` run. Returns the number of suspensions.
fn run_and_check_at_every_suspension(actions: &[Action], interrupted: usize, inside: &[Action]) -> u64 {
    let mut reached = 0;
    for nth in 1.. {
        let described = actions.iter().enumerate().map(|(index, action)| {
            let carried: Vec<_> = if index == interrupted {
                inside.iter().map(|action| (Wait::Suspension { nth }, action.clone())).collect()
            } else {
                vec![]
            };
            (action.clone(), carried)
        });
        let header = Header { pull_batch_frames: 4, synced_wal_frames_max: 5, ..Header::new(nth.into()) };
        let schedule = Schedule::new(header, history(described.collect()));
        let outcome = run(&schedule, RunOptions::default());
        assert_eq!(outcome.violation, None, "suspension {nth}");
        if outcome.counts.steps_inside == 0 {
            break;
        }
        reached += 1;
    }
    reached
}

#[test]
fn a_commit_while_a_push_waits_for_its_answer_goes_with_the_next_push() {
    for at in [Wait::Request(FIRST_PUSH), Wait::Response(FIRST_PUSH)] {
        let counts = run_and_check(vec![(commit(), vec![]), (PUSH, vec![(at, commit())]), (PUSH, vec![])]);
        assert_eq!((counts.steps_inside, counts.client_commits), (1, 2));
    }
}

#[test]
fn a_checkpoint_between_the_look_and_the_push_changes_nothing() {
    run_and_check(vec![
        (PULL, vec![]),
        (commit(), vec![]),
        (PUSH, vec![(Wait::Request(FIRST_PUSH), remote_commit()), (Wait::Request(FIRST_PUSH), CHECKPOINT)]),
        (commit(), vec![]),
        (SYNC, vec![]),
    ]);
}

#[test]
fn several_checkpoints_in_a_row_between_two_requests_of_a_pull_are_walked_through() {
    let at = Wait::Response(FIRST_PULL);
    let inside = [remote_commit(), CHECKPOINT, remote_commit(), CHECKPOINT, remote_commit(), CHECKPOINT];
    run_and_check(vec![
        (PULL, vec![]),
        (remote_commit(), vec![]),
        (commit(), vec![]),
        (PULL, inside.into_iter().map(|action| (at, action)).collect()),
        (SYNC, vec![]),
    ]);
}

#[test]
fn the_remote_goes_on_while_a_body_is_under_way() {
    let at = Wait::Chunk { of: FIRST_PULL, nth: 2 };
    run_and_check(vec![
        (PULL, vec![]),
        (remote_commit(), vec![]),
        (PULL, vec![(at, CHECKPOINT), (at, remote_commit()), (at, CHECKPOINT)]),
        (SYNC, vec![]),
    ]);
}

#[test]
fn another_client_syncs_in_the_middle_of_a_pull() {
    let at = Wait::Chunk { of: FIRST_PULL, nth: 1 };
    run_and_check(vec![
        (PULL, vec![]),
        (transaction(1, TransactionEnd::Commit), vec![]),
        (remote_commit(), vec![]),
        (commit(), vec![]),
        (PULL, vec![(at, OTHER_SYNC)]),
        (SYNC, vec![]),
        (OTHER_SYNC, vec![]),
    ]);
}

#[test]
fn another_client_pushes_between_a_push_and_its_guard() {
    run_and_check(vec![
        (PULL, vec![]),
        (transaction(1, TransactionEnd::Commit), vec![]),
        (commit(), vec![]),
        (PUSH, vec![(Wait::Request(FIRST_PUSH), OTHER_SYNC)]),
        (SYNC, vec![]),
    ]);
}

#[test]
fn a_second_operation_is_refused_and_the_first_goes_on() {
    let at = Wait::Request(FIRST_PULL);
    let counts = run_and_check(vec![
        (PULL, vec![]),
        (commit(), vec![]),
        (SYNC, vec![(at, PULL), (at, PUSH), (at, SYNC)]),
    ]);
    assert_eq!(counts.second_operations, 3);
}

#[test]
fn applications_commit_at_every_suspension_of_a_sync() {
    let actions = [SYNC, commit(), remote_commit(), CHECKPOINT, remote_commit(), SYNC, commit()];
    let reached = run_and_check_at_every_suspension(&actions, 5, &[commit(), commit()]);
    assert!(reached > 20, "only {reached} suspensions");
}

#[test]
fn machines_go_down_after_a_commit_at_every_suspension_of_a_sync() {
    let dark = CrashKind::PowerLoss { survival: Survival::Nothing, torn: None };
    let actions = [SYNC, commit(), remote_commit(), CHECKPOINT, remote_commit(), SYNC, commit()];
    for kind in [CrashKind::Kill, dark] {
        let reached =
            run_and_check_at_every_suspension(&actions, 5, &[commit(), Action::Crash { client: 0, kind }]);
        assert!(reached > 20, "only {reached} suspensions");
    }
}

#[test]
fn the_remote_goes_on_at_every_suspension_of_a_sync() {
    let actions = [SYNC, commit(), remote_commit(), SYNC, commit()];
    let reached = run_and_check_at_every_suspension(&actions, 3, &[remote_commit(), CHECKPOINT]);
    assert!(reached > 20, "only {reached} suspensions");
}

#[test]
fn a_transaction_that_is_held_open_makes_the_rebase_busy_and_is_not_lost() {
    let counts = run_and_check(vec![
        (SYNC, vec![]),
        (transaction(0, TransactionEnd::HeldOpen), vec![]),
        (remote_commit(), vec![]),
        (PULL, vec![]),
        (commit(), vec![]),
        (Action::EndTransaction { client: 0, end: TransactionEnd::Commit }, vec![]),
        (SYNC, vec![]),
    ]);
    assert_eq!((counts.held_open, counts.busy, counts.client_commits), (1, 2, 1));
}

#[test]
fn a_transaction_that_is_held_open_is_not_pushed() {
    let counts = run_and_check(vec![
        (commit(), vec![]),
        (transaction(0, TransactionEnd::HeldOpen), vec![]),
        (PUSH, vec![]),
        (Action::EndTransaction { client: 0, end: TransactionEnd::Rollback }, vec![]),
        (SYNC, vec![]),
    ]);
    assert_eq!((counts.held_open, counts.client_commits), (1, 1));
}

#[test]
fn a_reader_keeps_its_snapshot_across_rebases() {
    let counts = run_and_check(vec![
        (commit(), vec![]),
        (commit(), vec![]),
        (Action::OpenReader { client: 0 }, vec![]),
        (remote_commit(), vec![]),
        (SYNC, vec![]),
        (CHECKPOINT, vec![]),
        (remote_commit(), vec![]),
        (commit(), vec![]),
        (SYNC, vec![]),
        (Action::CloseReader { client: 0 }, vec![]),
    ]);
    assert_eq!(counts.readers_held, 1);
}

#[test]
fn a_reader_that_begins_inside_a_sync_keeps_its_snapshot() {
    let actions = [SYNC, commit(), remote_commit(), SYNC, Action::CloseReader { client: 0 }];
    let reached = run_and_check_at_every_suspension(&actions, 3, &[Action::OpenReader { client: 0 }]);
    assert!(reached > 20, "only {reached} suspensions");
}

#[test]
fn a_late_push_and_a_checkpoint_meet_inside_a_later_push() {
    let until = plimsoll_sim::fault::Arrival::AtStep(6);
    let late = Fault::Network { at: FIRST_PUSH, fault: NetworkFault::Delay { until } };
    let at = Wait::Request(FIRST_PUSH);
    let mut steps = history(vec![
        (commit(), vec![]),
        (PUSH, vec![]),
        (remote_commit(), vec![]),
        (commit(), vec![]),
        (PUSH, vec![(at, CHECKPOINT)]),
        (SYNC, vec![]),
    ]);
    steps[1].faults.push(late);
    run_and_check_steps(steps);
}
