//! Hand-written histories with network faults. The name of each test states what must or must not happen. A
//! fault that is not reached fails the test.

use plimsoll_scenarios::scenario::{A, KILL, NOTHING_SURVIVES, Scenario, append, on};
use plimsoll_sim::fault::Fault;
use plimsoll_sim::fault::{Arrival, Contradiction, NetworkFault, NetworkFaultKind, RequestPlace, Route};
use plimsoll_sim::fault::{CrashKind, Survival, Tear};
use plimsoll_sim::schedule::{Action, PushMode, Wait};

/// Two clients whose pulls request a few frames at a time. All other limits are wide.
fn scenario() -> Scenario {
    Scenario::with_clients(2).with(|header| {
        header.pull_batch_frames = 4;
        header.push_batch_frames = 256;
        header.synced_wal_frames_max = 1000;
    })
}

#[test]
fn a_push_that_arrives_after_a_rebase_is_not_applied_twice() {
    let delay = NetworkFault::Delay { until: Arrival::AtStep(5) };
    let mut t = scenario();
    t.client(A).commits([append(10)]);
    t.client(A).pushes().faults([on(Route::Pipeline, 1, delay)]);
    t.remote().commits([append(9_000)]);
    t.client(A).pulls();
    t.client(A).syncs();
    t.run_and_check();
}

#[test]
fn a_push_that_arrives_after_a_later_push_changes_nothing() {
    let delay = NetworkFault::Delay { until: Arrival::AtStep(6) };
    let mut t = scenario();
    t.client(A).commits([append(10)]);
    t.client(A).pushes().faults([on(Route::Pipeline, 1, delay)]);
    t.client(A).commits([append(10)]);
    t.client(A).pushes();
    t.remote().checkpoints();
    t.client(A).commits([append(10)]);
    t.client(A).syncs();
    t.run_and_check();
}

#[test]
fn a_push_that_arrives_between_the_requests_of_a_later_push_is_noticed() {
    let delay = NetworkFault::Delay { until: Arrival::AfterRequests(2) };
    let mut t = scenario();
    t.client(A).pulls();
    t.client(A).commits([append(10)]);
    t.client(A).pushes().faults([on(Route::Pipeline, 1, delay)]);
    t.client(A).commits([append(10)]);
    t.client(A).pushes();
    t.run_and_check();
}

#[test]
fn a_push_that_arrives_after_its_client_has_gone_is_found_when_it_is_back() {
    let delay = NetworkFault::Delay { until: Arrival::AfterNextStep };
    let mut t = scenario();
    t.client(A).commits([append(10)]);
    t.client(A).pushes().faults([on(Route::Pipeline, 1, delay)]);
    t.client(A).crashes(KILL);
    t.client(A).commits([append(10)]);
    t.client(A).syncs();
    t.run_and_check();
}

#[test]
fn a_push_that_arrives_twice_is_applied_once() {
    for until in [Arrival::AtOnce, Arrival::AfterRequests(1), Arrival::AtStep(4), Arrival::AtStep(99)] {
        let mut t = scenario();
        t.client(A).commits([append(10)]);
        t.client(A).pushes().faults([on(Route::Pipeline, 1, NetworkFault::Duplicate { until })]);
        t.client(A).commits([append(10)]);
        t.client(A).syncs();
        let counts = t.run_and_check();
        assert_eq!(counts.injected_of(NetworkFaultKind::Duplicate), 1);
    }
}

#[test]
fn a_body_that_is_cut_anywhere_is_never_taken_for_the_whole() {
    for content_length in [true, false] {
        for bytes in [0, 1, 23, 24, 4119, 4120, 4121, 8240, 3 * 4120 + 24] {
            for fault in [NetworkFault::Cut { bytes }, NetworkFault::EndEarly { bytes }] {
                let mut t = scenario()
                    .with(|header| (header.content_length, header.chunk_bytes) = (content_length, 1000));
                t.client(A).pulls();
                t.client(A).commits([append(10)]);
                t.remote().commits([append(9_000)]);
                t.remote().commits([append(9_000)]);
                t.client(A).pulls().faults([on(Route::PullFrames, 1, fault)]);
                t.client(A).syncs();
                t.run_and_check();
            }
        }
    }
}

#[test]
fn an_export_that_is_cut_anywhere_is_never_taken_for_the_whole() {
    for content_length in [true, false] {
        for bytes in [0, 1, 99, 100, 4095, 4096, 8192] {
            for fault in [NetworkFault::Cut { bytes }, NetworkFault::EndEarly { bytes }] {
                let mut t = scenario().with(|header| header.content_length = content_length);
                t.remote().checkpoints();
                t.client(A).pulls().faults([on(Route::Export, 1, fault)]);
                t.client(A).commits([append(10)]);
                t.client(A).syncs();
                t.run_and_check();
            }
        }
    }
}

#[test]
fn an_answer_to_a_push_that_is_cut_anywhere_is_an_open_question_and_not_a_failure() {
    for content_length in [true, false] {
        for bytes in [0, 1, 30, 60] {
            for fault in [NetworkFault::Cut { bytes }, NetworkFault::EndEarly { bytes }] {
                let mut t = scenario().with(|header| header.content_length = content_length);
                t.client(A).commits([append(10)]);
                t.client(A).pushes().faults([on(Route::Pipeline, 1, fault)]);
                t.client(A).commits([append(10)]);
                t.client(A).pushes();
                t.run_and_check();
            }
        }
    }
}

#[test]
fn bodies_in_crumbs_are_the_same_bodies() {
    for route in [Route::Info, Route::Export, Route::PullFrames] {
        let mut t = scenario();
        t.remote().commits([append(9_000)]);
        t.client(A).syncs().faults([on(route, 1, NetworkFault::Chunks { bytes: 1 })]);
        t.client(A).commits([append(10)]);
        t.client(A).pushes().faults([on(Route::Pipeline, 1, NetworkFault::Chunks { bytes: 1 })]);
        let counts = t.run_and_check();
        assert_eq!(counts.injected_of(NetworkFaultKind::TinyChunks), 2);
    }
}

#[test]
fn garbage_is_noticed_on_every_route() {
    for route in [Route::Info, Route::Export, Route::PullFrames] {
        for bytes in [0, 10, 5_000, 20_000] {
            let mut t = scenario();
            t.remote().commits([append(9_000)]);
            t.client(A).syncs().faults([on(route, 1, NetworkFault::Garbage { bytes })]);
            t.client(A).commits([append(10)]);
            t.client(A).pushes().faults([on(Route::Pipeline, 1, NetworkFault::Garbage { bytes })]);
            let counts = t.run_and_check();
            assert_eq!(counts.injected_of(NetworkFaultKind::Garbage), 2);
        }
    }
}

#[test]
fn a_status_of_some_machine_in_between_is_no_answer_of_the_remote() {
    for code in [400, 401, 404, 409, 429, 500, 503] {
        for takes_effect in [false, true] {
            let fault = NetworkFault::WrongStatus { code, takes_effect };
            let mut t = scenario();
            t.client(A).pulls().faults([on(Route::Info, 1, fault.clone())]);
            t.client(A).pulls().faults([on(Route::Export, 1, fault.clone())]);
            t.client(A).pulls().faults([on(Route::PullFrames, 1, fault.clone())]);
            t.client(A).commits([append(10)]);
            t.client(A).pushes().faults([on(Route::Pipeline, 1, fault)]);
            t.client(A).syncs();
            t.run_and_check();
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
        Contradiction::StatusWord,
    ] {
        let mut t = scenario();
        t.remote().checkpoints();
        t.remote().commits([append(9_000)]);
        t.client(A).pulls();
        t.client(A).commits([append(10)]);
        t.client(A).pushes().faults([on(Route::PullFrames, 1, NetworkFault::Contradict(how))]);
        t.client(A).pulls();
        t.client(A).pulls().faults([on(Route::PullFrames, 1, NetworkFault::Contradict(how))]);
        t.client(A).syncs();
        let counts = t.run_and_check();
        assert_eq!(counts.injected_of(NetworkFaultKind::UntrueAnswer), 2, "{how:?}");
    }
}

#[test]
fn an_answer_from_before_a_checkpoint_delays_and_destroys_nothing() {
    for (generations, transactions) in [(0, 1), (0, 2), (1, 0), (2, 0)] {
        let stale = NetworkFault::Stale { generations, transactions };
        let mut t = scenario();
        t.remote().commits([append(9_000)]);
        t.remote().checkpoints();
        t.client(A).pulls();
        t.client(A).commits([append(10)]);
        t.client(A).pushes();
        t.remote().commits([append(9_000)]);
        t.remote().checkpoints();
        t.remote().commits([append(9_000)]);
        t.remote().commits([append(9_000)]);
        t.remote().commits([append(9_000)]);
        t.client(A).commits([append(10)]);
        t.client(A).pulls().faults([on(Route::PullFrames, 1, stale.clone())]);
        t.client(A).pushes().faults([on(Route::PullFrames, 1, stale)]);
        t.client(A).syncs();
        let counts = t.run_and_check();
        assert_eq!(counts.injected_of(NetworkFaultKind::StaleAnswer), 2);
    }
}

fn power_loss(survival: Survival) -> CrashKind {
    CrashKind::PowerLoss { survival, torn: None }
}

fn remote_loses_power(operation: u32) -> NetworkFault {
    NetworkFault::RemoteCrash { operation, kind: NOTHING_SURVIVES }
}

#[test]
fn a_push_whose_server_lost_power_after_it_took_effect_is_not_applied_twice() {
    let mut t = scenario();
    t.client(A).commits([append(10)]);
    t.client(A).pushes().faults([on(Route::Pipeline, 1, remote_loses_power(1000))]);
    t.client(A).commits([append(10)]);
    t.client(A).syncs();
    let counts = t.run_and_check();
    assert_eq!(counts.injected_of(NetworkFaultKind::RemoteCrash), 1);
}

#[test]
fn a_push_whose_server_lost_power_at_any_file_operation_arrives_once() {
    for mode in [PushMode::Statements, PushMode::Frames] {
        let route = if mode == PushMode::Frames { Route::PushFrames } else { Route::Pipeline };
        for operation in 1..12 {
            for kind in [
                KILL,
                NOTHING_SURVIVES,
                power_loss(Survival::Prefix { operations: operation / 2 }),
                power_loss(Survival::Subset { keep_percent: 50, key: operation.into() }),
                CrashKind::PowerLoss { survival: Survival::Everything, torn: Some(Tear::Bytes(1000)) },
            ] {
                let mut t =
                    scenario().with(|header| (header.push_mode, header.key) = (mode, operation.into()));
                t.client(A).commits([append(10)]);
                t.client(A).pushes().faults([on(
                    route,
                    1,
                    NetworkFault::RemoteCrash { operation, kind: kind.clone() },
                )]);
                t.client(A).commits([append(10)]);
                t.remote().crashes(kind);
                t.remote().commits([append(9_000)]);
                t.client(A).syncs();
                t.run_and_check();
            }
        }
    }
}

#[test]
fn a_push_in_frames_whose_baton_was_lost_with_the_server_is_built_anew() {
    for down in [Action::RemoteRestart, Action::RemoteCrash { kind: NOTHING_SURVIVES }] {
        let second = RequestPlace { route: Route::PushFrames, nth: 2 };
        let mut t =
            scenario().with(|header| (header.push_mode, header.push_batch_frames) = (PushMode::Frames, 1));
        t.client(A).commits([append(10)]);
        t.client(A).pushes().meanwhile(Wait::Request(second), down);
        t.client(A).syncs();
        t.remote().checkpoints();
        assert_eq!(t.run_and_check().steps_inside, 1);
    }
}

#[test]
fn an_answer_that_was_on_its_way_is_lost_with_the_remotes_machine() {
    let first = RequestPlace { route: Route::PullFrames, nth: 1 };
    for at in [Wait::Response(first), Wait::Chunk { of: first, nth: 2 }] {
        let mut t = scenario().with(|header| (header.pull_batch_frames, header.chunk_bytes) = (64, 4120));
        t.client(A).pulls();
        t.remote().commits([append(9_000)]);
        t.client(A).pulls().meanwhile(at, Action::RemoteCrash { kind: KILL });
        t.client(A).syncs();
        assert_eq!(t.run_and_check().errors_reported, 1, "{at:?}");
    }
}

#[test]
fn an_operation_may_be_given_up_at_every_suspension() {
    for mode in [PushMode::Statements, PushMode::Frames] {
        for arrives in [true, false] {
            let reached = (1..).take_while(|&nth| {
                let mut t = scenario().with(|header| {
                    (header.push_mode, header.synced_wal_frames_max, header.key) = (mode, 5, nth.into());
                });
                t.client(A).pulls();
                t.client(A).commits([append(10)]);
                t.remote().commits([append(9_000)]);
                t.client(A).syncs().faults([Fault::Abandon { nth, arrives }]);
                t.client(A).commits([append(10)]);
                t.remote().checkpoints();
                t.client(A).syncs();
                let outcome = t.run();
                assert_eq!(outcome.violation, None, "suspension {nth}");
                outcome.counts.faults_unreached == 0
            });
            assert!(reached.count() > 20, "a sync suspends at least this often");
        }
    }
}
