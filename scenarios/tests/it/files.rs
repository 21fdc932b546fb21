//! Missing, foreign and damaged files are refused by name, and nothing is overwritten.

use std::sync::Arc;

use plimsoll_engine::{Error, RebootstrapReason};
use plimsoll_scenarios::sandbox::{Sandbox, rows};
use plimsoll_sim::world::in_process::block_on;
use turso_core::{Buffer, Completion, IO, OpenFlags};

fn length(io: &Arc<dyn IO>, path: &str) -> u64 {
    io.open_file(path, OpenFlags::None, false).unwrap().size().unwrap()
}

fn write(io: &Arc<dyn IO>, path: &str, offset: u64, bytes: &[u8]) {
    let file = io.open_file(path, OpenFlags::Create, false).unwrap();
    let completion = Completion::new_write(|_| {});
    io.wait_for_completion(file.pwrite(offset, Arc::new(Buffer::new(bytes.to_vec())), completion).unwrap())
        .unwrap();
}

/// A place with a client that has pulled a table and is closed.
fn place_with_client() -> Sandbox {
    let place = Sandbox::simulated();
    place.remote_executes(&["CREATE TABLE t (v)"]);
    drop(place.open("a").unwrap());
    place
}

fn refusal(place: &Sandbox) -> Error {
    match place.open("a") {
        Ok(_) => panic!("the files were accepted"),
        Err(error) => error,
    }
}

#[test]
fn a_database_that_is_not_the_engines_is_not_overwritten() {
    let place = Sandbox::simulated();
    let draft = format!("{}-draft", place.path("a"));
    write(place.io(), &draft, 0, b"somebody else's");
    assert!(matches!(refusal(&place), Error::ForeignFile { file } if file.path() == draft));
    assert_eq!(length(place.io(), &draft), 15);
}

#[test]
fn a_missing_draft_is_not_replaced_by_an_empty_one() {
    let place = place_with_client();
    let draft = format!("{}-draft", place.path("a"));
    place.io().remove_file(&draft).unwrap();
    assert!(matches!(refusal(&place), Error::MissingFile { file } if file.path() == draft));
    assert!(place.io().open_file(&draft, OpenFlags::None, false).is_err());
}

#[test]
fn damaged_metadata_is_refused_and_left_alone() {
    let place = place_with_client();
    let metadata = format!("{}-info", place.path("a"));
    write(place.io(), &metadata, 20, b"#");
    let before = length(place.io(), &metadata);
    let error = refusal(&place);
    assert!(matches!(error, Error::BadMetadata { .. }) && !error.is_retryable(), "{error}");
    assert_eq!(length(place.io(), &metadata), before);
}

fn truncate(io: &Arc<dyn IO>, path: &str, length: u64) {
    let file = io.open_file(path, OpenFlags::None, false).unwrap();
    let completion = file.truncate(length, Completion::new_trunc(|_| {})).unwrap();
    io.wait_for_completion(completion).unwrap();
}

/// Damages a replica while a local transaction is pending. The next sync must download a new replica and keep
/// the transaction.
fn is_healed(damage: impl Fn(&Sandbox, &str)) {
    for ending in ["-synced", "-synced-wal"] {
        let place = place_with_client();
        place.open("a").unwrap().connect().unwrap().execute("INSERT INTO t VALUES ('mine')").unwrap();
        damage(&place, &format!("{}{ending}", place.path("a")));
        place.remote_executes(&["INSERT INTO t VALUES ('theirs')"]);
        let engine = place.open("a").unwrap();
        assert_eq!(rows(&engine.connect().unwrap(), "SELECT v FROM t"), ["mine"], "{ending}");
        let report = block_on(engine.sync()).unwrap();
        assert_eq!(report.push.rebootstrapped, Some(RebootstrapReason::ReplicaDamaged), "{ending}");
        assert_eq!(rows(&engine.connect().unwrap(), "SELECT v FROM t ORDER BY v"), ["mine", "theirs"]);
        assert_eq!(place.remote_rows("SELECT v FROM t ORDER BY v"), ["mine", "theirs"]);
        assert_eq!(block_on(engine.sync()).unwrap().pull.rebootstrapped, None);
    }
}

#[test]
fn a_missing_replica_is_fetched_again() {
    is_healed(|place, path| place.io().remove_file(path).unwrap());
}

#[test]
fn a_replica_that_is_too_short_is_fetched_again() {
    is_healed(|place, path| truncate(place.io(), path, 100));
}

#[test]
fn an_empty_replica_is_fetched_again() {
    is_healed(|place, path| truncate(place.io(), path, 0));
}

#[test]
fn a_rotten_frame_of_the_replica_is_noticed_and_the_replica_fetched_again() {
    let place = place_with_client();
    let wal = format!("{}-synced-wal", place.path("a"));
    // The stamp of the last frame is still correct, but the chain of checksums does not reach it.
    write(place.io(), &wal, 32 + 24 + 2000, b"rot");
    let engine = place.open("a").unwrap();
    let report = block_on(engine.pull()).unwrap();
    assert_eq!(report.rebootstrapped, Some(RebootstrapReason::ReplicaDamaged));
}

#[test]
fn a_rotten_page_of_the_replica_is_noticed_when_it_is_read_and_the_replica_fetched_again() {
    let place = place_with_client();
    let engine = place.open_with("a", |options| options.synced_wal_frames_max(1)).unwrap();
    let commit =
        |v: &str| engine.connect().unwrap().execute(format!("INSERT INTO t VALUES ('{v}')")).unwrap();
    commit("pushed");
    assert!(block_on(engine.sync()).unwrap().pull.checkpointed, "the page must be in the main file");
    commit("pending");
    drop(engine);
    // The page of the remote's acknowledgement table. No header or stamp covers it.
    let sql = "SELECT rootpage FROM sqlite_schema WHERE name = 'turso_sync_last_change_id'";
    let root: u64 = place.remote_rows(sql)[0].parse().unwrap();
    write(place.io(), &format!("{}-synced", place.path("a")), (root - 1) * 4096, &[0xff]);
    let engine = place.open("a").unwrap();
    let report = block_on(engine.sync()).unwrap();
    assert_eq!(report.push.rebootstrapped, Some(RebootstrapReason::ReplicaDamaged));
    assert_eq!(place.remote_rows("SELECT v FROM t ORDER BY v"), ["pending", "pushed"]);
    assert_eq!(rows(&engine.connect().unwrap(), "SELECT v FROM t ORDER BY v"), ["pending", "pushed"]);
}

/// Only frames up to the watermark can be checked. Damage after it looks like the torn end that a crash
/// leaves.
#[test]
fn a_rotten_log_of_the_local_database_is_refused_by_name_and_left_alone() {
    for (what, offset) in [
        ("the magic number", 3),
        ("the page size", 10),
        ("a salt", 17),
        ("the header's checksum", 30),
        ("a frame's page number", 32 + 3),
        ("a page", 32 + 24 + 2000),
    ] {
        let place = place_with_client();
        let wal = format!("{}-draft-wal", place.path("a"));
        let before = place.length("a", "draft-wal");
        write(place.io(), &wal, offset, &[0x55]);
        for _ in 0..2 {
            let error = refusal(&place);
            assert!(
                matches!(&error, Error::Damaged { file, .. } if file.path() == wal) && !error.is_retryable(),
                "{what}: {error}"
            );
        }
        assert_eq!(place.length("a", "draft-wal"), before);
    }
}
