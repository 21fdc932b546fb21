//! Generations that are closed, pruned or restored, and the re-bootstrap. A re-bootstrap loses no local
//! transaction, sends none twice, and never happens if a walk is enough.

use bytes::Bytes;
use http::{Response, StatusCode};
use plimsoll_engine::{Error, InDoubt, RebootstrapReason};
use plimsoll_scenarios::lying::Lying;
use plimsoll_scenarios::sandbox::{Engine, Sandbox, rows};
use plimsoll_sim::world::in_process::block_on;
use plimsoll_sim::world::remote::Remote;

/// A place with a table `t (v)` on the remote and a client that has pulled it.
fn place() -> (Sandbox, Engine) {
    let place = Sandbox::simulated();
    place.remote_executes(&["CREATE TABLE t (v)"]);
    let engine = place.open("a").unwrap();
    (place, engine)
}

fn write(engine: &Engine, v: &str) {
    engine.connect().unwrap().execute(format!("INSERT INTO t VALUES ('{v}')")).unwrap();
}

fn local(engine: &Engine) -> Vec<String> {
    rows(&engine.connect().unwrap(), "SELECT v FROM t ORDER BY v")
}

fn remote(place: &Sandbox) -> Vec<String> {
    place.remote_rows("SELECT v FROM t ORDER BY v")
}

fn checkpoint(place: &Sandbox) {
    assert!(place.remote.with_remote(Remote::checkpoint));
}

#[test]
fn a_pull_does_not_end_before_the_newest_generation() {
    let (place, engine) = place();
    place.remote_executes(&["INSERT INTO t VALUES ('old')"]);
    checkpoint(&place);
    place.remote_executes(&["INSERT INTO t VALUES ('new')"]);
    assert_eq!(block_on(engine.pull()).unwrap().generations_crossed, 1);
    assert_eq!(local(&engine), ["new", "old"]);
}

#[test]
fn a_pruned_generation_does_not_stop_a_client_with_unpushed_rows() {
    let (place, engine) = place();
    write(&engine, "mine");
    for v in ["one", "two"] {
        place.remote_executes(&[&format!("INSERT INTO t VALUES ('{v}')")]);
        checkpoint(&place);
    }
    assert!(place.remote.with_remote(Remote::prune));
    let report = block_on(engine.pull()).unwrap();
    assert_eq!(report.rebootstrapped, Some(RebootstrapReason::GenerationPruned));
    assert_eq!((report.transactions_replayed, report.transactions_forgotten), (1, 0));
    assert_eq!(local(&engine), ["mine", "one", "two"]);
    block_on(engine.sync()).unwrap();
    assert_eq!(remote(&place), ["mine", "one", "two"]);
}

#[test]
fn what_a_restored_remote_has_forgotten_is_sent_again_if_it_is_still_there() {
    let (place, engine) = place();
    write(&engine, "mine");
    block_on(engine.push()).unwrap();
    assert_eq!(remote(&place), ["mine"]);
    place.remote.with_remote(|remote| remote.restore(0, 1, false));
    assert_eq!(remote(&place), Vec::<String>::new());
    let report = block_on(engine.sync()).unwrap();
    // The remote still has every frame that the client has received, so the replica stays.
    assert_eq!(report.push.rebootstrapped, None);
    assert_eq!(report.push.transactions, 1);
    assert_eq!(remote(&place), ["mine"]);
    assert_eq!(local(&engine), ["mine"]);
}

#[test]
fn what_is_lost_with_a_restored_remote_is_reported() {
    let (place, engine) = place();
    write(&engine, "mine");
    block_on(engine.sync()).unwrap();
    place.remote.with_remote(|remote| remote.restore(0, 1, false));
    let report = block_on(engine.pull()).unwrap();
    assert_eq!(report.transactions_forgotten, 1);
    assert_eq!(local(&engine), Vec::<String>::new());
    write(&engine, "next");
    block_on(engine.sync()).unwrap();
    assert_eq!(remote(&place), ["next"]);
}

/// The remote gets a second log with the same generation and the same number of frames. Only the history id,
/// or the frames themselves, distinguish the two logs.
fn restored_and_grown_again(names_history: bool) {
    let place = Sandbox::simulated();
    place.remote.with_remote(|remote| remote.set_names_history(names_history));
    place.remote_executes(&["CREATE TABLE t (v)"]);
    let engine = place.open("a").unwrap();
    place.remote_executes(&["INSERT INTO t VALUES ('before')"]);
    block_on(engine.pull()).unwrap();
    write(&engine, "mine");
    place.remote.with_remote(|remote| remote.restore(0, 1, false));
    place.remote_executes(&["INSERT INTO t VALUES ('after')"]);
    let (generation, frames) = place.remote.with_remote(|remote| (remote.generation(), remote.frame_count()));
    let metadata = engine.metadata().unwrap();
    assert_eq!((metadata.synced_generation, metadata.synced_frame_no), (generation, Some(frames)));
    let report = block_on(engine.pull()).unwrap();
    assert_eq!(report.rebootstrapped, Some(RebootstrapReason::HistoryChanged));
    assert_eq!(local(&engine), ["after", "mine"]);
    block_on(engine.sync()).unwrap();
    assert_eq!(remote(&place), ["after", "mine"]);
}

#[test]
fn a_restored_remote_of_the_same_length_is_told_apart_by_its_name() {
    restored_and_grown_again(true);
}

#[test]
fn a_restored_remote_without_a_name_is_told_apart_by_its_frames() {
    restored_and_grown_again(false);
}

#[test]
fn a_restored_remote_without_a_name_is_told_apart_also_when_it_has_grown_past_the_client() {
    let place = Sandbox::simulated();
    place.remote.with_remote(|remote| remote.set_names_history(false));
    place.remote_executes(&["CREATE TABLE t (v)", "CREATE TABLE u (v)"]);
    place.remote_executes(&["INSERT INTO t VALUES ('before')"]);
    let engine = place.open("a").unwrap();
    place.remote.with_remote(|remote| remote.restore(0, 1, false));
    // No new frame contains the page with the row `before`. If the new frames were appended to the client's
    // frames, this row would stay.
    for _ in 0..5 {
        place.remote_executes(&["INSERT INTO u VALUES ('after')"]);
    }
    let report = block_on(engine.pull()).unwrap();
    assert_eq!(report.rebootstrapped, Some(RebootstrapReason::HistoryChanged));
    assert_eq!(local(&engine), Vec::<String>::new());
}

/// The remote is restored to before three of four transactions while their first frames are being sent, and
/// then continues differently.
#[test]
fn a_remote_that_is_restored_in_the_middle_of_a_pull_is_followed() {
    let place = Sandbox::simulated();
    place.remote_executes(&["CREATE TABLE t (v)"]);
    let way = Lying::to(&place.remote);
    let engine = block_on(place.open_through("a", way.clone())).unwrap();
    engine.connect().unwrap().execute("INSERT INTO t VALUES ('mine')").unwrap();
    for v in 1..=4 {
        place.remote_executes(&[&format!("INSERT INTO t VALUES ('old {v}')")]);
    }
    let restored = place.remote.clone();
    let mut is_restored = false;
    way.answer_with(move |path, honest| {
        if path.starts_with("/sync/") && !std::mem::replace(&mut is_restored, true) {
            restored.with_remote(|remote| {
                remote.restore(0, 3, false);
                remote.transact(|connection| connection.execute("INSERT INTO t VALUES ('new')")).unwrap();
            });
        }
        Some(honest)
    });
    block_on(engine.sync()).unwrap();
    assert_eq!(rows(&engine.connect().unwrap(), "SELECT v FROM t ORDER BY v"), ["mine", "new", "old 1"]);
    assert_eq!(remote(&place), ["mine", "new", "old 1"]);
}

#[test]
fn a_remote_that_is_restored_again_and_again_ends_the_operation_and_loses_nothing() {
    for (restores_inside, is_settled) in [(2, true), (3, false)] {
        let place = Sandbox::simulated();
        place.remote_executes(&["CREATE TABLE t (v)", "CREATE TABLE u (v)"]);
        checkpoint(&place);
        place.remote_executes(&["INSERT INTO u VALUES ('lost')"]);
        let way = Lying::to(&place.remote);
        let engine = block_on(place.open_through("a", way.clone())).unwrap();
        engine.connect().unwrap().execute("INSERT INTO t VALUES ('mine')").unwrap();
        // The second generation begins after another frame each time.
        let restore = |remote: &mut Remote| {
            remote.restore(1, 0, false);
            remote.transact(|connection| connection.execute("INSERT INTO u VALUES ('new')")).unwrap();
            assert!(remote.checkpoint());
        };
        let restored = place.remote.clone();
        let mut exports = 0;
        way.answer_with(move |path, honest| {
            exports += u32::from(path.starts_with("/export/"));
            if path.starts_with("/export/") && exports <= restores_inside {
                restored.with_remote(restore);
            }
            Some(honest)
        });
        place.remote.with_remote(restore);
        match block_on(engine.sync()) {
            Ok(_) => assert!(is_settled),
            Err(error) => {
                assert!(!is_settled && error.is_retryable(), "{error}");
                assert!(matches!(error, Error::HistoryUnsettled { rebootstraps: 3 }), "{error}");
                block_on(engine.sync()).unwrap();
            }
        }
        assert_eq!(remote(&place), ["mine"]);
    }
}

/// The generation that `/info` named as the newest one is closed and pruned before its export is requested.
fn pruned_before_its_export(is_first: bool) {
    let place = Sandbox::simulated();
    place.remote_executes(&["CREATE TABLE t (v)", "INSERT INTO t VALUES ('one')"]);
    checkpoint(&place);
    let way = Lying::to(&place.remote);
    if !is_first {
        place.remote_executes(&["INSERT INTO t VALUES ('lost')"]);
        drop(block_on(place.open_through("a", way.clone())).unwrap());
        place.remote.with_remote(|remote| remote.restore(0, 1, false));
    }
    let pruned = place.remote.clone();
    let mut is_pruned = false;
    way.answer_with(move |path, honest| {
        if path == "/export/2" && !std::mem::replace(&mut is_pruned, true) {
            pruned.with_remote(|remote| {
                remote.transact(|connection| connection.execute("INSERT INTO t VALUES ('two')")).unwrap();
                assert!(remote.checkpoint() && remote.prune());
            });
            return answer(StatusCode::NOT_FOUND, "{}");
        }
        Some(honest)
    });
    let engine = block_on(place.open_through("a", way)).unwrap();
    block_on(engine.pull()).unwrap();
    assert_eq!(rows(&engine.connect().unwrap(), "SELECT v FROM t ORDER BY v"), ["one", "two"]);
}

#[test]
fn a_generation_that_is_pruned_before_its_export_does_not_stop_a_bootstrap() {
    pruned_before_its_export(true);
}

#[test]
fn a_generation_that_is_pruned_before_its_export_does_not_stop_a_re_bootstrap() {
    pruned_before_its_export(false);
}

#[test]
fn a_client_that_is_behind_the_restored_state_of_a_remote_without_a_name_walks_on() {
    let place = Sandbox::simulated();
    place.remote.with_remote(|remote| remote.set_names_history(false));
    place.remote_executes(&["CREATE TABLE t (v)"]);
    let engine = place.open("a").unwrap();
    for v in ["kept", "lost"] {
        place.remote_executes(&[&format!("INSERT INTO t VALUES ('{v}')")]);
    }
    place.remote.with_remote(|remote| remote.restore(0, 1, false));
    assert_eq!(block_on(engine.pull()).unwrap().rebootstrapped, None);
    assert_eq!(local(&engine), ["kept"]);
}

#[test]
fn a_table_that_a_restored_remote_has_forgotten_comes_back_with_the_rows_that_need_it() {
    let (place, engine) = place();
    let connection = engine.connect().unwrap();
    connection.execute("CREATE TABLE u (k INTEGER PRIMARY KEY, v)").unwrap();
    connection.execute("CREATE INDEX u_v ON u (v)").unwrap();
    block_on(engine.sync()).unwrap();
    connection.execute("INSERT INTO u VALUES (1, 'mine')").unwrap();
    place.remote.with_remote(|remote| remote.restore(0, 1, false));
    block_on(engine.sync()).unwrap();
    assert_eq!(place.remote_rows("SELECT * FROM u"), ["1|mine"]);
    assert_eq!(rows(&engine.connect().unwrap(), "SELECT * FROM u"), ["1|mine"]);
}

fn answer(status: StatusCode, body: &str) -> Option<Response<Bytes>> {
    Some(Response::builder().status(status).body(Bytes::copy_from_slice(body.as_bytes())).unwrap())
}

#[test]
fn one_wrong_answer_is_no_reason_to_re_bootstrap() {
    let place = Sandbox::simulated();
    place.remote_executes(&["CREATE TABLE t (v)"]);
    let way = Lying::to(&place.remote);
    let engine = block_on(place.open_through("a", way.clone())).unwrap();
    place.remote_executes(&["INSERT INTO t VALUES ('one')"]);
    checkpoint(&place);
    let went_back = r#"{"baton": null, "status": "checkpoint_needed", "generation": 1, "max_frame_no": 0}"#;
    for (status, body) in
        [(StatusCode::NOT_FOUND, "{}"), (StatusCode::GONE, "{}"), (StatusCode::BAD_REQUEST, went_back)]
    {
        let mut has_lied = false;
        way.answer_with(move |path, honest| {
            if path.starts_with("/sync/") && !std::mem::replace(&mut has_lied, true) {
                return answer(status, body);
            }
            Some(honest)
        });
        // The walk asks again, because the remote still has the client's newest frame.
        assert_eq!(block_on(engine.pull()).unwrap().rebootstrapped, None, "{status}");
    }
    way.tell_the_truth();
    assert_eq!(block_on(engine.pull()).unwrap().rebootstrapped, None);
}

/// Replaces an export by an invalid one. It must have no effect, and the next try must succeed.
#[test]
fn a_bad_export_is_refused_and_the_next_try_works() {
    let lies: [fn(Vec<u8>) -> Vec<u8>; 5] = [
        |export| export[..export.len() - 1].to_vec(),
        |export| export[..4096].to_vec(),
        |_| Vec::new(),
        |export| vec![7; export.len()],
        |mut export| {
            export[16..18].copy_from_slice(&[2, 0]); // pages of 512 bytes
            export
        },
    ];
    for is_first in [true, false] {
        for lie in lies {
            let place = Sandbox::simulated();
            place.remote_executes(&["CREATE TABLE t (v)", "INSERT INTO t VALUES ('one')"]);
            checkpoint(&place);
            let way = Lying::to(&place.remote);
            if !is_first {
                // The export of a re-bootstrap.
                let engine = block_on(place.open_through("a", way.clone())).unwrap();
                engine.connect().unwrap().execute("INSERT INTO t VALUES ('mine')").unwrap();
                place.remote_executes(&["INSERT INTO t VALUES ('lost')"]);
                block_on(engine.pull()).unwrap();
                place.remote.with_remote(|remote| remote.restore(0, 1, false));
            }
            way.answer_with(move |path, honest| {
                if !path.starts_with("/export/") {
                    return Some(honest);
                }
                Some(Response::new(lie(honest.body().to_vec()).into()))
            });
            let sync = || {
                let engine = block_on(place.open_through("a", way.clone()))?;
                block_on(engine.sync())?;
                Ok::<_, Error>(rows(&engine.connect()?, "SELECT v FROM t ORDER BY v"))
            };
            let error = sync().unwrap_err();
            assert!(matches!(error, Error::BadAnswer { .. }) && error.is_retryable(), "{error}");
            way.tell_the_truth();
            let expected: &[&str] = if is_first { &["one"] } else { &["mine", "one"] };
            assert_eq!(sync().unwrap(), expected);
        }
    }
}

#[test]
fn an_interrupted_first_pull_does_not_open_as_an_older_database() {
    let place = Sandbox::simulated();
    place.remote_executes(&["CREATE TABLE t (v)"]);
    for v in 0..5 {
        place.remote_executes(&[&format!("INSERT INTO t VALUES ({v})")]);
    }
    let way = Lying::to(&place.remote);
    let mut frames_answers = 0;
    way.answer_with(move |path, honest| {
        frames_answers += u32::from(path.starts_with("/sync/"));
        (frames_answers < 2).then_some(honest)
    });
    for _ in 0..2 {
        assert!(matches!(block_on(place.open_through("a", way.clone())), Err(Error::Unreachable { .. })));
    }
    way.tell_the_truth();
    let engine = block_on(place.open_through("a", way)).unwrap();
    assert_eq!(rows(&engine.connect().unwrap(), "SELECT count(*) FROM t"), ["5"]);
}

/// An older copy of a client. It has one transaction that the original has sent since then, and two that were
/// written into the copy.
fn older_copy_with_rows_in_doubt() -> (Sandbox, Engine) {
    let (mut place, engine) = place();
    write(&engine, "sent since");
    let copy = place.copy();
    block_on(engine.sync()).unwrap();
    write(&engine, "sent by the original");
    block_on(engine.sync()).unwrap();
    drop(engine);
    place.put_back(&copy);
    let engine = place.open("a").unwrap();
    for v in ["written into the copy", "and more"] {
        write(&engine, v);
    }
    (place, engine)
}

#[test]
fn an_older_copy_is_refused_until_the_user_decides_and_nothing_is_changed_by_it() {
    let (place, engine) = older_copy_with_rows_in_doubt();
    for _ in 0..2 {
        for error in [block_on(engine.pull()).unwrap_err(), block_on(engine.push()).unwrap_err()] {
            assert!(matches!(error, Error::ForeignAcknowledgement { .. }), "{error}");
            assert!(!error.is_retryable());
        }
    }
    assert_eq!(local(&engine), ["and more", "sent since", "written into the copy"]);
    assert_eq!(remote(&place), ["sent by the original", "sent since"]);
}

#[test]
fn what_is_in_doubt_is_discarded_if_the_user_says_so_and_the_rest_is_kept() {
    let (place, engine) = older_copy_with_rows_in_doubt();
    block_on(engine.adopt(InDoubt::Discard)).unwrap();
    // The remote has applied two transactions of this client, and the copy has three. So the third one
    // certainly belongs to the copy.
    assert_eq!(local(&engine), ["and more", "sent by the original", "sent since"]);
    block_on(engine.sync()).unwrap();
    assert_eq!(remote(&place), ["and more", "sent by the original", "sent since"]);
}

#[test]
fn what_is_in_doubt_is_sent_if_the_user_says_so() {
    let (place, engine) = older_copy_with_rows_in_doubt();
    block_on(engine.adopt(InDoubt::Resend)).unwrap();
    block_on(engine.sync()).unwrap();
    assert_eq!(
        remote(&place),
        ["and more", "sent by the original", "sent since", "sent since", "written into the copy"]
    );
    assert_eq!(local(&engine), remote(&place));
}

/// This is a limit of the engine: a copy cannot know under which identity its predecessor continued.
#[test]
fn a_copy_that_is_put_in_place_again_sends_again_what_it_has_sent_after_its_adoption() {
    let (mut place, engine) = place();
    drop(engine);
    let engine = place.open_with("a", |options| options.push_batch_statements_max(1)).unwrap();
    ["sent by the original", "sent by the copies"].iter().for_each(|v| write(&engine, v));
    let copy = place.copy();
    // The remote loses the original's second transaction.
    block_on(engine.sync()).unwrap();
    drop(engine);
    place.remote.with_remote(|remote| remote.restore(0, 1, false));
    for _ in 0..2 {
        place.put_back(&copy);
        let engine = place.open("a").unwrap();
        assert!(matches!(block_on(engine.sync()), Err(Error::ForeignAcknowledgement { .. })));
        block_on(engine.adopt(InDoubt::Discard)).unwrap();
        block_on(engine.sync()).unwrap();
    }
    assert_eq!(remote(&place), ["sent by the copies", "sent by the copies", "sent by the original"]);
}

#[test]
fn a_user_may_ask_for_a_re_bootstrap() {
    let (place, engine) = place();
    write(&engine, "mine");
    let report = block_on(engine.rebootstrap()).unwrap();
    assert_eq!(report.rebootstrapped, Some(RebootstrapReason::Requested));
    assert_eq!(local(&engine), ["mine"]);
    block_on(engine.push()).unwrap();
    assert_eq!(remote(&place), ["mine"]);
}
