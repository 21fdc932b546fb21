//! Servers that are copied, restored under their name, forked, cached, or wrong. Frames prove which log an answer is
//! from; a name does not.

use bytes::Bytes;
use http::Response;
use plimsoll_engine::{Error, HistoryChange, PushMode, RebootstrapReason, Remote, SyncEngine};
use plimsoll_scenarios::lying::Lying;
use plimsoll_scenarios::sandbox::{Engine, Sandbox, rows};
use plimsoll_sim::world::in_process::{InProcess, block_on};
use plimsoll_sim::world::memory::Memory;
use plimsoll_sim::world::remote::Remote as Server;

const FRAME_BYTES: usize = 4120;

/// A remote with the tables `t` and `u`, and a client that has pulled `first` from `t`.
fn place(sends_proofs: bool) -> (Sandbox, Engine) {
    let place = Sandbox::simulated();
    place.remote.with_remote(|remote| remote.set_sends_proofs(sends_proofs));
    place.remote_executes(&["CREATE TABLE t (v)", "CREATE TABLE u (v)", "INSERT INTO t VALUES ('first')"]);
    let engine = place.open("a").unwrap();
    (place, engine)
}

fn write<R: Remote>(engine: &SyncEngine<R>, v: &str) {
    engine.connect().unwrap().execute(format!("INSERT INTO t VALUES ('{v}')")).unwrap();
}

fn local<R: Remote>(engine: &SyncEngine<R>) -> Vec<String> {
    rows(&engine.connect().unwrap(), "SELECT v FROM t ORDER BY v")
}

fn remote(place: &Sandbox) -> Vec<String> {
    place.remote_rows("SELECT v FROM t ORDER BY v")
}

fn check_intact<R: Remote>(engine: &SyncEngine<R>) {
    assert_eq!(rows(&engine.connect().unwrap(), "PRAGMA integrity_check"), ["ok"]);
}

#[test]
fn a_restored_copy_that_has_outgrown_the_client_is_recognized_although_it_keeps_its_name() {
    for sends_proofs in [true, false] {
        let (place, engine) = place(sends_proofs);
        for v in ["lost 1", "lost 2"] {
            place.remote_executes(&[&format!("INSERT INTO t VALUES ('{v}')")]);
        }
        block_on(engine.pull()).unwrap();
        write(&engine, "mine");
        place.remote.with_remote(|remote| remote.restore(0, 2, true));
        // No new frame has the page of `t`: mixed with the client's frames, it would keep the lost rows.
        for _ in 0..8 {
            place.remote_executes(&["INSERT INTO u VALUES ('new')"]);
        }
        let report = block_on(engine.sync()).unwrap();
        assert_eq!(report.push.rebootstrapped, Some(RebootstrapReason::HistoryChanged));
        assert_eq!(local(&engine), ["first", "mine"]);
        assert_eq!(remote(&place), ["first", "mine"]);
        check_intact(&engine);
    }
}

#[test]
fn a_restored_copy_that_is_behind_the_client_is_followed_at_once() {
    for sends_proofs in [true, false] {
        let (place, engine) = place(sends_proofs);
        place.remote_executes(&["INSERT INTO t VALUES ('lost')"]);
        block_on(engine.pull()).unwrap();
        place.remote.with_remote(|remote| remote.restore(0, 1, true));
        let report = block_on(engine.sync()).unwrap();
        assert_eq!(report.push.rebootstrapped, Some(RebootstrapReason::HistoryChanged));
        assert_eq!(local(&engine), ["first"]);
    }
}

#[test]
fn a_copy_whose_next_generation_begins_elsewhere_is_recognized() {
    let (place, engine) = place(true);
    place.remote.with_remote(|remote| assert!(remote.checkpoint()));
    block_on(engine.pull()).unwrap();
    place.remote.with_remote(|remote| remote.restore(1, 0, true));
    place.remote_executes(&["INSERT INTO t VALUES ('between')"]);
    place.remote.with_remote(|remote| assert!(remote.checkpoint()));
    place.remote_executes(&["INSERT INTO u VALUES ('after')"]);
    block_on(engine.pull()).unwrap();
    assert_eq!(local(&engine), ["between", "first"]);
    check_intact(&engine);
}

/// Two servers on copies of the same files answer in turn, then one is shut down.
fn forked(sends_proofs: bool, mode: PushMode) {
    let (place, engine) = place(sends_proofs);
    drop(engine);
    let way = Lying::to(&place.remote);
    let engine = block_on(place.open_as("a", way.clone(), |options| options.push_mode(mode))).unwrap();
    write(&engine, "before");
    block_on(engine.sync()).unwrap();
    place.remote.with_remote(Server::fork);
    place.remote_executes(&["INSERT INTO u VALUES ('only here')"]);
    let turned = place.remote.clone();
    way.answer_with(move |_, answer| {
        turned.with_remote(Server::switch);
        Some(answer)
    });
    for round in 0..10 {
        write(&engine, &format!("round {round}"));
        if let Err(error) = block_on(engine.sync()) {
            assert!(error.is_retryable(), "{error}");
        }
        check_intact(&engine);
    }
    way.tell_the_truth();
    place.remote.with_remote(Server::join);
    block_on(engine.sync()).unwrap();
    block_on(engine.sync()).unwrap();
    assert_eq!(local(&engine), remote(&place));
    assert_eq!(place.remote_rows("PRAGMA integrity_check"), ["ok"]);
}

#[test]
fn two_servers_on_copies_that_answer_in_turn_corrupt_nobody() {
    forked(true, PushMode::Statements);
    forked(true, PushMode::Frames);
    forked(false, PushMode::Statements);
}

#[test]
fn an_old_answer_to_info_from_a_cache_changes_nothing() {
    for sends_proofs in [true, false] {
        let (place, engine) = place(sends_proofs);
        drop(engine);
        let way = Lying::to(&place.remote);
        let engine = block_on(place.open_through("a", way.clone())).unwrap();
        place.remote_executes(&["INSERT INTO t VALUES ('lost')"]);
        block_on(engine.pull()).unwrap();
        let info = http::Request::get("/info").body(Bytes::new()).unwrap();
        let kept = place.remote.with_remote(|remote| remote.serve(&info)).into_body();
        way.answer_with(move |path, answer| match path {
            "/info" => Some(Response::new(kept.clone())),
            _ => Some(answer),
        });
        place.remote.with_remote(|remote| remote.restore(0, 1, false));
        for _ in 0..6 {
            place.remote_executes(&["INSERT INTO u VALUES ('new')"]);
        }
        block_on(engine.pull()).unwrap();
        let connection = engine.connect().unwrap();
        assert_eq!(rows(&connection, "SELECT v FROM t"), ["first"]);
        assert_eq!(rows(&connection, "PRAGMA integrity_check"), ["ok"]);
        way.tell_the_truth();
        // The name that the client has stored is the old one. It is only a hint.
        assert_eq!(block_on(engine.pull()).unwrap().rebootstrapped, None);
    }
}

#[test]
fn a_wrong_empty_server_is_refused_until_the_application_confirms_it() {
    let (right, engine) = place(true);
    write(&engine, "mine");
    drop(engine);
    let wrong = InProcess::new(Server::create(Memory::create(), "wrong.db"), 1000);
    let engine = block_on(right.open_through("a", wrong.clone())).unwrap();
    for _ in 0..2 {
        let error = block_on(engine.sync()).unwrap_err();
        assert!(matches!(error, Error::UnrelatedServer { .. }) && !error.is_retryable(), "{error}");
        assert!(error.to_string().contains("probably another server"), "{error}");
    }
    assert_eq!(local(&engine), ["first", "mine"]);
    assert!(wrong.with_remote(|remote| remote.query("SELECT name FROM sqlite_schema")).is_empty());
    drop(engine);
    // Back at the right one, nothing is lost.
    let engine = right.open("a").unwrap();
    block_on(engine.sync()).unwrap();
    assert_eq!(remote(&right), ["first", "mine"]);
    drop(engine);
    let engine = block_on(right.open_through("a", wrong.clone())).unwrap();
    block_on(engine.sync()).unwrap_err();
    block_on(engine.rebootstrap()).unwrap();
    block_on(engine.sync()).unwrap();
}

#[test]
fn a_wrong_server_is_refused_even_if_the_replica_is_lost() {
    let (right, engine) = place(true);
    write(&engine, "mine");
    block_on(engine.sync()).unwrap();
    drop(engine);
    right.io().remove_file(&format!("{}-synced", right.path("a"))).unwrap();
    let wrong = InProcess::new(Server::create(Memory::create(), "wrong.db"), 1000);
    let engine = block_on(right.open_through("a", wrong)).unwrap();
    let error = block_on(engine.sync()).unwrap_err();
    assert!(matches!(error, Error::UnrelatedServer { .. }), "{error}");
    drop(engine);
    let engine = right.open("a").unwrap();
    block_on(engine.sync()).unwrap();
    assert_eq!(local(&engine), ["first", "mine"]);
}

#[test]
fn an_application_that_wants_to_be_asked_is_asked_before_a_restored_server_is_followed() {
    let (place, engine) = place(true);
    drop(engine);
    let engine = place.open_with("a", |options| options.history_change(HistoryChange::Ask)).unwrap();
    place.remote_executes(&["INSERT INTO t VALUES ('lost')"]);
    block_on(engine.pull()).unwrap();
    place.remote.with_remote(|remote| remote.restore(0, 1, true));
    for _ in 0..2 {
        let error = block_on(engine.sync()).unwrap_err();
        assert!(matches!(error, Error::HistoryChanged { generation: 1, .. }), "{error}");
        assert!(!error.is_retryable(), "{error}");
        assert_eq!(local(&engine), ["first", "lost"]);
    }
    block_on(engine.rebootstrap()).unwrap();
    assert_eq!(local(&engine), ["first"]);
    block_on(engine.sync()).unwrap();
}

/// The application's answer is a re-bootstrap for another reason than the restore. A table that the restore lost must not
/// be taken for one that another client has dropped.
#[test]
fn a_row_that_waits_for_a_table_is_kept_when_the_application_follows_a_restored_server() {
    let (place, engine) = place(true);
    drop(engine);
    let engine = place.open_with("a", |options| options.history_change(HistoryChange::Ask)).unwrap();
    engine.connect().unwrap().execute("CREATE TABLE late (v)").unwrap();
    block_on(engine.sync()).unwrap();
    place.remote.with_remote(|remote| remote.restore(0, 1, true));
    engine.connect().unwrap().execute("INSERT INTO late VALUES ('waiting')").unwrap();
    let error = block_on(engine.sync()).unwrap_err();
    assert!(matches!(error, Error::HistoryChanged { .. }), "{error}");
    block_on(engine.rebootstrap()).unwrap();
    block_on(engine.sync()).unwrap();
    assert_eq!(rows(&engine.connect().unwrap(), "SELECT v FROM late"), ["waiting"]);
    assert_eq!(place.remote_rows("SELECT v FROM late"), ["waiting"]);
}

/// The server is restored while a client has only an export of it, which proves nothing. The client remembers
/// what its lost replica had.
#[test]
fn an_application_is_asked_even_if_the_replica_is_lost_before_the_server_is_restored() {
    let (place, engine) = place(true);
    drop(engine);
    let way = Lying::to(&place.remote);
    let open =
        || block_on(place.open_as("a", way.clone(), |options| options.history_change(HistoryChange::Ask)));
    let engine = open().unwrap();
    engine.connect().unwrap().execute("CREATE TABLE late (v)").unwrap();
    block_on(engine.sync()).unwrap();
    engine.connect().unwrap().execute("INSERT INTO late VALUES ('waiting')").unwrap();
    drop(engine);
    place.io().remove_file(&format!("{}-synced", place.path("a"))).unwrap();
    way.answer_with(|path, answer| (!path.starts_with("/sync/1/1/")).then_some(answer));
    let engine = open().unwrap();
    let error = block_on(engine.pull()).unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    way.tell_the_truth();
    place.remote.with_remote(|remote| remote.restore(0, 1, true));
    for _ in 0..2 {
        let error = block_on(engine.sync()).unwrap_err();
        assert!(matches!(error, Error::HistoryChanged { .. }), "{error}");
        assert_eq!(rows(&engine.connect().unwrap(), "SELECT v FROM late"), ["waiting"]);
    }
    block_on(engine.rebootstrap()).unwrap();
    block_on(engine.sync()).unwrap();
    assert_eq!(rows(&engine.connect().unwrap(), "SELECT v FROM late"), ["waiting"]);
    assert_eq!(place.remote_rows("SELECT v FROM late"), ["waiting"]);
}

fn without_chain(path: &str, answer: Response<Bytes>) -> Option<Response<Bytes>> {
    let is_of_frames = path.starts_with("/sync/") && answer.body().len().is_multiple_of(FRAME_BYTES);
    if !is_of_frames {
        return Some(answer);
    }
    let mut body = answer.body().to_vec();
    body.chunks_exact_mut(FRAME_BYTES).for_each(|frame| frame[16..24].fill(7));
    Some(answer.map(|_| Bytes::from(body)))
}

/// What is known about the checksums of one server says nothing about the next one, in the same generation.
#[test]
fn after_a_re_bootstrap_the_checksums_of_the_new_server_are_looked_at_again() {
    let (place, engine) = place(false);
    drop(engine);
    let way = Lying::to(&place.remote);
    let engine = block_on(place.open_through("b", way.clone())).unwrap();
    place.remote_executes(&["INSERT INTO t VALUES ('lost')"]);
    block_on(engine.pull()).unwrap();
    place.remote.with_remote(|remote| remote.restore(0, 1, true));
    place.remote_executes(&["INSERT INTO t VALUES ('new')"]);
    way.answer_with(without_chain);
    block_on(engine.pull()).unwrap();
    assert_eq!(local(&engine), ["first", "new"]);
}

#[test]
fn a_server_whose_checksums_never_chain_is_followed_by_its_newest_frame() {
    let (place, engine) = place(false);
    drop(engine);
    let way = Lying::to(&place.remote);
    way.answer_with(without_chain);
    let engine = block_on(place.open_through("b", way.clone())).unwrap();
    for round in 0..3 {
        place.remote_executes(&[&format!("INSERT INTO t VALUES ('{round}')")]);
        block_on(engine.sync()).unwrap();
        place.remote.with_remote(|remote| remote.checkpoint());
        block_on(engine.sync()).unwrap();
    }
    let connection = engine.connect().unwrap();
    assert_eq!(rows(&connection, "SELECT v FROM t ORDER BY v"), ["0", "1", "2", "first"]);
    place.remote_executes(&["INSERT INTO t VALUES ('lost')"]);
    block_on(engine.sync()).unwrap();
    place.remote.with_remote(|remote| remote.restore(0, 1, true));
    place.remote_executes(&["INSERT INTO t VALUES ('new')"]);
    block_on(engine.sync()).unwrap();
    assert_eq!(rows(&connection, "SELECT v FROM t ORDER BY v"), ["0", "1", "2", "first", "new"]);
}
