//! The engine's information for the application: reports, statistics and progress.

use std::sync::{Arc, Mutex};

use plimsoll_engine::Progress;
use plimsoll_scenarios::sandbox::Sandbox;
use plimsoll_sim::world::in_process::block_on;

#[test]
fn reports_count_what_was_done() {
    let place = Sandbox::simulated();
    place.remote_executes(&["CREATE TABLE t (v)"]);
    let engine = place.open("a").unwrap();
    let connection = engine.connect().unwrap();
    connection.execute("BEGIN; INSERT INTO t VALUES (1); INSERT INTO t VALUES (2); COMMIT").unwrap();
    connection.execute("INSERT INTO t VALUES (3)").unwrap();
    place.remote_executes(&["INSERT INTO t VALUES (4)"]);
    let pull = block_on(engine.pull()).unwrap();
    assert_eq!((pull.transactions_replayed, pull.rebased), (2, true));
    assert!(pull.statements_replayed >= 3, "{pull:?}");
    assert!(pull.frames > 0 && pull.body_bytes == pull.frames * 4120, "{pull:?}");
    let push = block_on(engine.push()).unwrap();
    assert_eq!((push.transactions, push.requests), (2, 1));
    assert!(push.statements >= 3, "{push:?}");
    assert!(push.sent_bytes > 100 * push.statements, "{push:?}");
    let nothing = block_on(engine.push()).unwrap();
    assert_eq!((nothing.transactions, nothing.requests), (0, 0));
}

#[test]
fn asking_for_statistics_changes_nothing() {
    let place = Sandbox::simulated();
    place.remote_executes(&["CREATE TABLE t (v)"]);
    let engine = place.open("a").unwrap();
    let connection = engine.connect().unwrap();
    connection.execute("INSERT INTO t VALUES (1)").unwrap();
    connection.execute("INSERT INTO t VALUES (2)").unwrap();
    let metadata = engine.metadata().unwrap();
    let before = engine.stats().unwrap();
    assert_eq!(before.pending_transactions, 2);
    assert_eq!(before.draft_wal_bytes, place.length("a", "draft-wal"));
    assert_eq!(before.draft_wal_frames, (before.draft_wal_bytes - 32) / 4120);
    assert_eq!(engine.stats().unwrap(), before);
    assert_eq!(engine.metadata().unwrap(), metadata);
    block_on(engine.push()).unwrap();
    let after = engine.stats().unwrap();
    assert_eq!(
        (after.pending_transactions, after.attempted_transaction_no),
        (0, before.attempted_transaction_no + 2)
    );
}

#[test]
fn a_bootstrap_and_a_pull_report_their_progress() {
    let place = Sandbox::simulated();
    place.remote_executes(&["CREATE TABLE t (v)", "INSERT INTO t VALUES (zeroblob(50000))"]);
    place.remote.with_remote(plimsoll_sim::world::remote::Remote::checkpoint);
    let seen: Arc<Mutex<Vec<Progress>>> = Arc::default();
    let listener = {
        let seen = seen.clone();
        move |progress| seen.lock().unwrap().push(progress)
    };
    let engine = place.open_with("a", |options| options.on_progress(listener)).unwrap();
    let bootstrap = std::mem::take(&mut *seen.lock().unwrap());
    let Some(Progress::Bootstrap { bytes, bytes_total }) = bootstrap.last() else {
        panic!("{bootstrap:?}");
    };
    assert!(bootstrap.len() > 10 && *bytes > 50_000 && *bytes_total == Some(*bytes), "{bootstrap:?}");
    place.remote_executes(&["INSERT INTO t VALUES (zeroblob(50000))"]);
    let report = block_on(engine.pull()).unwrap();
    let pulled = std::mem::take(&mut *seen.lock().unwrap());
    assert!(pulled.len() > 2, "{pulled:?}");
    assert!(
        matches!(pulled.last(), Some(Progress::Pull { frames, .. }) if *frames == report.frames),
        "{pulled:?}"
    );
}
