//! Histories with faults, written by hand; each says what must not happen. A fault that finds no place fails the test.

use plimsoll_sim::disk::{CrashKind, CrashPoint, FileClass, Moment, OperationKind, Place, Survival};
use plimsoll_sim::network::{NetworkFault, RequestPlace, Route};
use plimsoll_sim::run::{RunOptions, run};
use plimsoll_sim::schedule::{Action, Fault, Header, PushMode, Schedule, Step, TransactionEnd};
use plimsoll_sim::workload::Write;

pub(crate) const NOTHING: CrashKind = CrashKind::PowerLoss { survival: Survival::Nothing, torn_bytes: None };
const EVERYTHING: CrashKind = CrashKind::PowerLoss { survival: Survival::Everything, torn_bytes: None };
const FIRST_PUSH: RequestPlace = RequestPlace { route: Route::Pipeline, nth: 1 };

pub(crate) fn commit(client: u8) -> Action {
    let writes = vec![Write::Append { payload_bytes: 10 }];
    Action::Transaction { client, writes, end: TransactionEnd::Commit }
}

pub(crate) fn remote_commit() -> Action {
    Action::RemoteTransaction { writes: vec![Write::Append { payload_bytes: 5_000 }] }
}

pub(crate) fn crash(
    moment: Moment,
    operation: OperationKind,
    file: FileClass,
    nth: u32,
    kind: CrashKind,
) -> Fault {
    Fault::Crash(CrashPoint { place: Place { file, operation, nth }, moment, kind })
}

/// Runs the steps; everything has to hold, and every fault to strike.
pub(crate) fn holds(steps: Vec<(Action, Vec<Fault>)>) {
    holds_with(PushMode::Statements, steps);
}

fn holds_with(push_mode: PushMode, steps: Vec<(Action, Vec<Fault>)>) {
    let steps =
        (1..).zip(steps).map(|(id, (action, faults))| Step { faults, ..Step::new(id, action) }).collect();
    let header = Header {
        push_mode,
        push_batch_frames: 2,
        pull_batch_frames: 2,
        synced_wal_frames_max: 20,
        ..Header::new(1)
    };
    let outcome = run(&Schedule::new(header, steps), RunOptions::default());
    assert_eq!(outcome.violation, None);
    assert_eq!(outcome.counts.faults_unreached, 0, "a fault found no place");
}

#[test]
fn a_push_whose_answer_was_lost_is_not_applied_twice() {
    let lost = Fault::Network { at: FIRST_PUSH, fault: NetworkFault::LoseResponse };
    holds(vec![
        (commit(0), vec![]),
        (Action::Push { client: 0 }, vec![lost]),
        (Action::RemoteCheckpoint, vec![]),
        (commit(0), vec![]),
        (Action::Push { client: 0 }, vec![]),
    ]);
}

#[test]
fn a_push_that_never_arrived_is_sent_again() {
    let lost = Fault::Network { at: FIRST_PUSH, fault: NetworkFault::LoseRequest };
    holds(vec![
        (commit(0), vec![]),
        (Action::Push { client: 0 }, vec![lost]),
        (Action::Sync { client: 0 }, vec![]),
    ]);
}

/// Runs a history again and again, each time with a crash at the next file operation of the marked step, until there is none left:
/// a kill, and power losses that nothing and everything unsynced survives. Returns how many crashes struck.
pub(crate) fn crash_everywhere(moment: Moment, actions: &[Action], struck_step: usize) -> u64 {
    crash_everywhere_with(|header| header, moment, actions, struck_step)
}

fn crash_everywhere_with(
    options: impl Fn(Header) -> Header,
    moment: Moment,
    actions: &[Action],
    struck_step: usize,
) -> u64 {
    let mut struck = 0;
    for nth in 1.. {
        let struck_before = struck;
        for kind in [CrashKind::Kill, NOTHING, EVERYTHING] {
            let fault = crash(moment, OperationKind::AnyMutation, FileClass::Any, nth, kind);
            let faults = |index| if index == struck_step { vec![fault.clone()] } else { vec![] };
            let steps = actions.iter().enumerate().map(|(index, action)| Step {
                faults: faults(index),
                ..Step::new(index as u32 + 1, action.clone())
            });
            let header = options(Header {
                clients: 1,
                push_batch_frames: 3,
                pull_batch_frames: 2,
                ..Header::new(u64::from(nth))
            });
            let outcome = run(&Schedule::new(header, steps.collect()), RunOptions::default());
            assert_eq!(outcome.violation, None, "operation {nth}");
            struck += outcome.counts.crashes_inside;
        }
        if struck == struck_before {
            break;
        }
    }
    struck
}

/// The pull rebases, crosses a generation and checkpoints.
#[test]
fn a_pull_survives_a_crash_at_every_operation() {
    let pull = Action::Pull { client: 0 };
    let sync = Action::Sync { client: 0 };
    let actions =
        [sync, remote_commit(), Action::RemoteCheckpoint, remote_commit(), commit(0), pull, commit(0)];
    let struck = crash_everywhere(Moment::After, &actions, 5);
    assert!(struck > 100, "only {struck} crashes struck");
}

/// Two compactions, one with a rebase after it: the first finds a watermark in the WAL, the second finds frame 0 and a set to add to.
#[test]
fn a_compaction_survives_a_crash_at_every_operation() {
    let compacting = |header| Header { draft_wal_frames_max: 1, ..header };
    let push = Action::Push { client: 0 };
    let pull = Action::Pull { client: 0 };
    let actions = [pull.clone(), remote_commit(), commit(0), pull, commit(0), push.clone(), commit(0), push];
    for (step, least) in [(3, 100), (5, 60), (7, 60)] {
        let mut steps = actions.to_vec();
        steps.extend([commit(0), remote_commit()]);
        let struck = crash_everywhere_with(compacting, Moment::After, &steps, step);
        assert!(struck > least, "only {struck} crashes struck step {step}");
    }
}

#[test]
fn a_bootstrap_survives_a_crash_at_every_operation() {
    let actions = [remote_commit(), Action::Pull { client: 0 }, commit(0)];
    let struck = crash_everywhere(Moment::Before, &actions, 1);
    assert!(struck > 50, "only {struck} crashes struck");
}

#[test]
fn a_push_survives_a_crash_at_every_operation() {
    let actions = [commit(0), remote_commit(), commit(0), Action::Push { client: 0 }, commit(0)];
    let struck = crash_everywhere(Moment::After, &actions, 3);
    assert!(struck > 20, "only {struck} crashes struck");
}

/// The push spans several requests and follows a generation change.
#[test]
fn a_push_of_frames_survives_a_crash_at_every_operation() {
    let push = Action::Push { client: 0 };
    let actions = [
        commit(0),
        push.clone(),
        Action::RemoteCheckpoint,
        remote_commit(),
        commit(0),
        commit(0),
        push,
        commit(0),
    ];
    for moment in [Moment::Before, Moment::After] {
        let struck = crash_everywhere_with(
            |header| Header { push_mode: PushMode::Frames, ..header },
            moment,
            &actions,
            6,
        );
        assert!(struck > 40, "only {struck} crashes struck");
    }
}

/// Every request and every response of a push in frames is lost once, also the last one, whose request has taken effect.
#[test]
fn pushed_frames_whose_answer_was_lost_are_not_applied_twice() {
    for nth in 1..=3 {
        let place = RequestPlace { route: Route::PushFrames, nth };
        for fault in [NetworkFault::LoseRequest, NetworkFault::LoseResponse] {
            let lost = Fault::Network { at: place, fault };
            holds_with(
                PushMode::Frames,
                vec![
                    (remote_commit(), vec![]),
                    (Action::Sync { client: 0 }, vec![]),
                    (commit(0), vec![]),
                    (commit(0), vec![]),
                    (Action::Push { client: 0 }, vec![lost]),
                    (Action::RemoteCheckpoint, vec![]),
                    (commit(0), vec![]),
                    (Action::Sync { client: 0 }, vec![]),
                ],
            );
        }
    }
}
