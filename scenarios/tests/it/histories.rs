//! Hand-written histories with faults. The name of each test states what must not happen. A fault that is not
//! reached fails the test.

use plimsoll_scenarios::scenario::{A, B, Scenario, append, lose_request, lose_response, on};
use plimsoll_sim::fault::{NetworkFault, Route};
use plimsoll_sim::schedule::PushMode;

#[test]
fn a_push_whose_answer_was_lost_is_not_applied_twice() {
    let mut t = Scenario::with_clients(2);
    t.client(A).commits([append(10)]);
    t.client(A).pushes().faults([lose_response(Route::Pipeline, 1)]);
    t.remote().checkpoints();
    t.client(A).commits([append(10)]);
    t.client(A).pushes();
    t.run_and_check();
}

#[test]
fn a_push_that_never_arrived_is_sent_again() {
    let mut t = Scenario::with_clients(2);
    t.client(A).commits([append(10)]);
    t.client(A).pushes().faults([lose_request(Route::Pipeline, 1)]);
    t.client(A).syncs();
    t.run_and_check();
}

/// Every request and every response of a push as frames is lost once, including the last one, whose request
/// has taken effect.
#[test]
fn pushed_frames_whose_answer_was_lost_are_not_applied_twice() {
    for nth in 1..=3 {
        for fault in [NetworkFault::LoseRequest, NetworkFault::LoseResponse] {
            let mut t = Scenario::with_clients(2).with(|header| {
                header.push_mode = PushMode::Frames;
                header.push_batch_frames = 2;
                header.synced_wal_frames_max = 1_000;
            });
            t.remote().commits([append(5_000)]);
            t.client(A).syncs();
            t.client(A).commits([append(10)]);
            t.client(A).commits([append(10)]);
            t.client(A).pushes().faults([on(Route::PushFrames, nth, fault)]);
            t.remote().checkpoints();
            t.client(A).commits([append(10)]);
            t.client(A).syncs();
            t.run_and_check();
        }
    }
}

/// Synced's WAL has no remote frame after which the push could append: the generation has no frame yet, or a
/// checkpoint has moved the frames.
#[test]
fn where_the_replicas_log_has_no_frame_of_the_remotes_a_push_of_frames_goes_as_statements() {
    for (synced_wal_frames_max, is_young) in [(1_000, true), (1, false)] {
        let mut t = Scenario::with_clients(1).with(|header| {
            header.push_mode = PushMode::Frames;
            header.synced_wal_frames_max = synced_wal_frames_max;
        });
        t.remote().commits([append(10)]);
        if is_young {
            t.remote().checkpoints();
        }
        t.client(A).pulls();
        t.client(A).commits([append(10)]);
        t.client(A).pushes().faults([lose_response(Route::Pipeline, 1)]);
        t.run_and_check();
    }
}

#[test]
fn what_was_applied_before_a_generation_change_is_not_replayed_behind_it() {
    let mut t = Scenario::with_clients(2);
    t.client(A).commits([append(10)]);
    t.client(A).pushes().faults([lose_response(Route::Pipeline, 1)]);
    t.remote().checkpoints();
    t.remote().commits([append(5_000)]);
    t.remote().checkpoints();
    t.client(A).pulls();
    t.client(A).pushes();
    t.run_and_check();
}

#[test]
fn an_older_copy_of_the_directory_sends_nothing_twice() {
    let mut t = Scenario::with_clients(2);
    t.client(A).commits([append(10)]);
    t.client(A).syncs();
    t.client(A).commits([append(10)]);
    t.remote().commits([]);
    t.client(A).syncs();
    t.client(A).commits([append(10)]);
    t.client(A).syncs();
    t.client(A).gets_older_copy(3);
    t.client(A).syncs();
    t.client(A).commits([append(10)]);
    t.client(A).syncs();
    t.run_and_check();
}

#[test]
fn a_wrong_server_is_refused_every_time() {
    for restarts in [false, true] {
        let mut t = Scenario::with_clients(1);
        t.client(A).commits([append(10)]);
        t.client(A).syncs();
        t.client(A).commits([append(10)]);
        t.client(A).syncs_with_a_wrong_server(3, restarts);
        assert_eq!(t.run_and_check().errors_refused, 3);
    }
}

/// The application is asked through an error, and then follows the remote.
#[test]
fn an_application_that_is_asked_follows_a_restored_remote() {
    for keeps_name in [false, true] {
        let mut t = Scenario::with_clients(2).with(|header| header.asks_before_following = true);
        t.client(A).commits([append(10)]);
        t.client(A).syncs();
        t.client(B).syncs();
        if keeps_name {
            t.remote().is_restored_under_its_name(0, 1);
        } else {
            t.remote().is_restored(0, 1);
        }
        t.client(B).commits([append(10)]);
        t.client(B).syncs();
        let counts = t.run_and_check();
        assert_eq!((counts.rebootstraps, counts.errors_refused), (2, 0));
    }
}

/// Then only the page of the newest frame tells two logs apart.
#[test]
fn a_remote_without_checksums_is_followed_and_its_restore_is_recognized() {
    for push_mode in [PushMode::Statements, PushMode::Frames] {
        let mut t = Scenario::with_clients(2).with(|header| {
            header.remote_sends_checksums = false;
            header.push_mode = push_mode;
        });
        t.client(A).commits([append(10)]);
        t.client(A).syncs();
        t.client(A).commits([append(10)]);
        t.client(A).syncs();
        t.client(B).syncs();
        t.remote().is_restored_under_its_name(0, 1);
        t.remote().commits([append(10)]);
        t.client(B).syncs();
        assert_eq!(t.run_and_check().rebootstraps, 2);
    }
}
