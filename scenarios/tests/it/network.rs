//! Trouble with the network, written by hand; each says what must not come of it. A fault that finds no place fails the test.

use plimsoll_sim::atlas::FaultKind;
use plimsoll_sim::disk::{CrashKind, Survival, Tear};
use plimsoll_sim::network::{Arrival, Contradiction, NetworkFault, RequestPlace, Route};
use plimsoll_sim::run::{RunOptions, run};
use plimsoll_sim::schedule::{Action, During, Fault, Header, PushMode, Schedule, Step, TransactionEnd, Wait};
use plimsoll_sim::verdict::Counts;
use plimsoll_sim::workload::Write;

const PULL: Action = Action::Pull { client: 0 };
const PUSH: Action = Action::Push { client: 0 };
const SYNC: Action = Action::Sync { client: 0 };
const CHECKPOINT: Action = Action::RemoteCheckpoint;

fn commit() -> Action {
    let writes = vec![Write::Append { payload_bytes: 10 }];
    Action::Transaction { client: 0, writes, end: TransactionEnd::Commit }
}

/// Of several frames.
fn remote_commit() -> Action {
    Action::RemoteTransaction { writes: vec![Write::Append { payload_bytes: 9_000 }] }
}

fn on(route: Route, nth: u32, fault: NetworkFault) -> Vec<Fault> {
    vec![Fault::Network { at: RequestPlace { route, nth }, fault }]
}

fn steps(steps: Vec<(Action, Vec<Fault>)>) -> Vec<Step> {
    (1..).zip(steps).map(|(id, (action, faults))| Step { faults, ..Step::new(id, action) }).collect()
}

/// Runs the steps; everything has to hold, and every fault to strike.
fn holds_with(header: Header, described: Vec<(Action, Vec<Fault>)>) -> Counts {
    let outcome = run(&Schedule::new(header, steps(described)), RunOptions::default());
    assert_eq!(outcome.violation, None);
    assert_eq!(outcome.counts.faults_unreached, 0, "a fault found no place");
    outcome.counts
}

fn holds(described: Vec<(Action, Vec<Fault>)>) -> Counts {
    holds_with(Header { pull_batch_frames: 4, ..Header::new(1) }, described)
}

#[test]
fn a_push_that_arrives_after_a_rebase_is_not_applied_twice() {
    let delay = NetworkFault::Delay { until: Arrival::AtStep(5) };
    holds(vec![
        (commit(), vec![]),
        (PUSH, on(Route::Pipeline, 1, delay)),
        (remote_commit(), vec![]),
        (PULL, vec![]),
        (SYNC, vec![]),
    ]);
}

#[test]
fn a_push_that_arrives_after_a_later_push_changes_nothing() {
    let delay = NetworkFault::Delay { until: Arrival::AtStep(6) };
    holds(vec![
        (commit(), vec![]),
        (PUSH, on(Route::Pipeline, 1, delay)),
        (commit(), vec![]),
        (PUSH, vec![]),
        (CHECKPOINT, vec![]),
        (commit(), vec![]),
        (SYNC, vec![]),
    ]);
}

#[test]
fn a_push_that_arrives_between_the_requests_of_a_later_push_is_noticed() {
    let delay = NetworkFault::Delay { until: Arrival::AfterRequests(2) };
    holds(vec![
        (PULL, vec![]),
        (commit(), vec![]),
        (PUSH, on(Route::Pipeline, 1, delay)),
        (commit(), vec![]),
        (PUSH, vec![]),
    ]);
}

#[test]
fn a_push_that_arrives_after_its_client_has_gone_is_found_when_it_is_back() {
    let delay = NetworkFault::Delay { until: Arrival::AfterNextStep };
    holds(vec![
        (commit(), vec![]),
        (PUSH, on(Route::Pipeline, 1, delay)),
        (Action::Crash { client: 0, kind: plimsoll_sim::disk::CrashKind::Kill }, vec![]),
        (commit(), vec![]),
        (SYNC, vec![]),
    ]);
}

#[test]
fn a_push_that_arrives_twice_is_applied_once() {
    for until in [Arrival::AtOnce, Arrival::AfterRequests(1), Arrival::AtStep(4), Arrival::AtStep(99)] {
        let counts = holds(vec![
            (commit(), vec![]),
            (PUSH, on(Route::Pipeline, 1, NetworkFault::Duplicate { until })),
            (commit(), vec![]),
            (SYNC, vec![]),
        ]);
        assert_eq!(counts.struck_by(FaultKind::Duplicate), 1);
    }
}

#[test]
fn a_body_that_is_cut_anywhere_is_never_taken_for_the_whole() {
    for content_length in [true, false] {
        let header = Header { pull_batch_frames: 4, content_length, chunk_bytes: 1000, ..Header::new(2) };
        for bytes in [0, 1, 23, 24, 4119, 4120, 4121, 8240, 3 * 4120 + 24] {
            for fault in [NetworkFault::Cut { bytes }, NetworkFault::EndEarly { bytes }] {
                holds_with(
                    header.clone(),
                    vec![
                        (PULL, vec![]),
                        (commit(), vec![]),
                        (remote_commit(), vec![]),
                        (remote_commit(), vec![]),
                        (PULL, on(Route::PullFrames, 1, fault)),
                        (SYNC, vec![]),
                    ],
                );
            }
        }
    }
}

#[test]
fn an_export_that_is_cut_anywhere_is_never_taken_for_the_whole() {
    for content_length in [true, false] {
        let header = Header { content_length, ..Header::new(3) };
        for bytes in [0, 1, 99, 100, 4095, 4096, 8192] {
            for fault in [NetworkFault::Cut { bytes }, NetworkFault::EndEarly { bytes }] {
                holds_with(
                    header.clone(),
                    vec![
                        (CHECKPOINT, vec![]),
                        (PULL, on(Route::Export, 1, fault)),
                        (commit(), vec![]),
                        (SYNC, vec![]),
                    ],
                );
            }
        }
    }
}

#[test]
fn an_answer_to_a_push_that_is_cut_anywhere_is_an_open_question_and_not_a_failure() {
    for content_length in [true, false] {
        let header = Header { content_length, ..Header::new(4) };
        for bytes in [0, 1, 30, 60] {
            for fault in [NetworkFault::Cut { bytes }, NetworkFault::EndEarly { bytes }] {
                holds_with(
                    header.clone(),
                    vec![
                        (commit(), vec![]),
                        (PUSH, on(Route::Pipeline, 1, fault)),
                        (commit(), vec![]),
                        (PUSH, vec![]),
                    ],
                );
            }
        }
    }
}

#[test]
fn bodies_in_crumbs_are_the_same_bodies() {
    for route in [Route::Info, Route::Export, Route::PullFrames] {
        let counts = holds(vec![
            (remote_commit(), vec![]),
            (SYNC, on(route, 1, NetworkFault::Chunks { bytes: 1 })),
            (commit(), vec![]),
            (PUSH, on(Route::Pipeline, 1, NetworkFault::Chunks { bytes: 1 })),
        ]);
        assert_eq!(counts.struck_by(FaultKind::TinyChunks), 2);
    }
}

#[test]
fn garbage_is_noticed_on_every_route() {
    for route in [Route::Info, Route::Export, Route::PullFrames] {
        for bytes in [0, 10, 5_000, 20_000] {
            let counts = holds(vec![
                (remote_commit(), vec![]),
                (SYNC, on(route, 1, NetworkFault::Garbage { bytes })),
                (commit(), vec![]),
                (PUSH, on(Route::Pipeline, 1, NetworkFault::Garbage { bytes })),
            ]);
            assert_eq!(counts.struck_by(FaultKind::Garbage), 2);
        }
    }
}

#[test]
fn a_status_of_some_machine_in_between_is_no_answer_of_the_remote() {
    for code in [400, 401, 404, 409, 429, 500, 503] {
        for takes_effect in [false, true] {
            let fault = NetworkFault::WrongStatus { code, takes_effect };
            holds(vec![
                (PULL, on(Route::Info, 1, fault.clone())),
                (PULL, on(Route::Export, 1, fault.clone())),
                (PULL, on(Route::PullFrames, 1, fault.clone())),
                (commit(), vec![]),
                (PUSH, on(Route::Pipeline, 1, fault)),
                (SYNC, vec![]),
            ]);
        }
    }
}

#[test]
fn a_remote_that_contradicts_itself_is_not_believed() {
    for how in [
        Contradiction::Generation(-1),
        Contradiction::Generation(2),
        Contradiction::MaxFrameNo(-1),
        Contradiction::MaxFrameNo(1),
        Contradiction::MaxFrameNo(100),
        Contradiction::Word,
    ] {
        let counts = holds(vec![
            (CHECKPOINT, vec![]),
            (remote_commit(), vec![]),
            (PULL, vec![]),
            (commit(), vec![]),
            (PUSH, on(Route::PullFrames, 1, NetworkFault::Contradict(how))),
            (PULL, on(Route::PullFrames, 1, NetworkFault::Contradict(how))),
            (SYNC, vec![]),
        ]);
        assert_eq!(counts.struck_by(FaultKind::UntrueAnswer), 2, "{how:?}");
    }
}

#[test]
fn an_answer_from_before_a_checkpoint_delays_and_destroys_nothing() {
    for (generations, transactions) in [(0, 1), (0, 2), (1, 0), (2, 0)] {
        let stale = NetworkFault::Stale { generations, transactions };
        let counts = holds(vec![
            (remote_commit(), vec![]),
            (CHECKPOINT, vec![]),
            (PULL, vec![]),
            (commit(), vec![]),
            (PUSH, vec![]),
            (remote_commit(), vec![]),
            (CHECKPOINT, vec![]),
            (remote_commit(), vec![]),
            (remote_commit(), vec![]),
            (remote_commit(), vec![]),
            (commit(), vec![]),
            (PULL, on(Route::PullFrames, 1, stale.clone())),
            (PUSH, on(Route::PullFrames, 1, stale)),
            (SYNC, vec![]),
        ]);
        assert_eq!(counts.struck_by(FaultKind::StaleAnswer), 2);
    }
}

fn power_loss(survival: Survival) -> CrashKind {
    CrashKind::PowerLoss { survival, torn: None }
}

fn remote_loses_power(operation: u32) -> NetworkFault {
    NetworkFault::RemoteCrash { operation, kind: power_loss(Survival::Nothing) }
}

#[test]
fn a_push_whose_server_lost_power_after_it_took_effect_is_not_applied_twice() {
    let counts = holds(vec![
        (commit(), vec![]),
        (PUSH, on(Route::Pipeline, 1, remote_loses_power(1000))),
        (commit(), vec![]),
        (SYNC, vec![]),
    ]);
    assert_eq!(counts.struck_by(FaultKind::RemoteCrash), 1);
}

#[test]
fn a_push_whose_server_lost_power_at_any_file_operation_arrives_once() {
    for mode in [PushMode::Statements, PushMode::Frames] {
        let route = if mode == PushMode::Frames { Route::PushFrames } else { Route::Pipeline };
        for operation in 1..12 {
            for kind in [
                CrashKind::Kill,
                power_loss(Survival::Nothing),
                power_loss(Survival::Prefix { operations: operation / 2 }),
                power_loss(Survival::Subset { keep_percent: 50, key: operation.into() }),
                CrashKind::PowerLoss { survival: Survival::Everything, torn: Some(Tear::Bytes(1000)) },
            ] {
                let header =
                    Header { pull_batch_frames: 4, push_mode: mode, ..Header::new(operation.into()) };
                holds_with(
                    header,
                    vec![
                        (commit(), vec![]),
                        (PUSH, on(route, 1, NetworkFault::RemoteCrash { operation, kind: kind.clone() })),
                        (commit(), vec![]),
                        (Action::RemoteCrash { kind }, vec![]),
                        (remote_commit(), vec![]),
                        (SYNC, vec![]),
                    ],
                );
            }
        }
    }
}

#[test]
fn a_push_in_frames_whose_baton_was_lost_with_the_server_is_built_anew() {
    let header =
        Header { pull_batch_frames: 4, push_mode: PushMode::Frames, push_batch_frames: 1, ..Header::new(1) };
    for down in [Action::RemoteRestart, Action::RemoteCrash { kind: power_loss(Survival::Nothing) }] {
        let mut described = steps(vec![
            (commit(), vec![]),
            (PUSH, vec![]),
            (SYNC, vec![]),
            (Action::RemoteCheckpoint, vec![]),
        ]);
        let second = RequestPlace { route: Route::PushFrames, nth: 2 };
        described[1].during = vec![During { at: Wait::Request(second), step: Step::new(9, down) }];
        let outcome = run(&Schedule::new(header.clone(), described), RunOptions::default());
        assert_eq!(outcome.violation, None);
        assert_eq!((outcome.counts.steps_inside, outcome.counts.faults_unreached), (1, 0));
    }
}

#[test]
fn an_answer_that_was_on_its_way_is_lost_with_the_remotes_machine() {
    let crash = Action::RemoteCrash { kind: CrashKind::Kill };
    let first = RequestPlace { route: Route::PullFrames, nth: 1 };
    for at in [Wait::Response(first), Wait::Chunk { of: first, nth: 2 }] {
        let mut described =
            steps(vec![(PULL, vec![]), (remote_commit(), vec![]), (PULL, vec![]), (SYNC, vec![])]);
        described[2].during = vec![During { at, step: Step::new(9, crash.clone()) }];
        let header = Header { chunk_bytes: 4120, ..Header::new(1) };
        let outcome = run(&Schedule::new(header, described), RunOptions::default());
        assert_eq!(outcome.violation, None);
        assert_eq!(outcome.counts.errors_reported, 1, "{at:?}");
        assert_eq!(outcome.counts.faults_unreached, 0, "{at:?}");
    }
}

#[test]
fn an_operation_may_be_given_up_at_every_suspension() {
    for mode in [PushMode::Statements, PushMode::Frames] {
        for arrives in [true, false] {
            let reached = (1..).take_while(|&nth| {
                let abandon = vec![Fault::Abandon { nth, arrives }];
                let header = Header {
                    pull_batch_frames: 4,
                    push_mode: mode,
                    synced_wal_frames_max: 5,
                    ..Header::new(nth.into())
                };
                let described = vec![
                    (PULL, vec![]),
                    (commit(), vec![]),
                    (remote_commit(), vec![]),
                    (SYNC, abandon),
                    (commit(), vec![]),
                    (CHECKPOINT, vec![]),
                    (SYNC, vec![]),
                ];
                let outcome = run(&Schedule::new(header, steps(described)), RunOptions::default());
                assert_eq!(outcome.violation, None, "suspension {nth}");
                outcome.counts.faults_unreached == 0
            });
            assert!(reached.count() > 20, "a sync suspends at least this often");
        }
    }
}
