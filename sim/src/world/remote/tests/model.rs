//! Tests the log of the remote's states, and that the model detects a contradiction.

use super::*;
use crate::judge::format::DatabaseImage;
use crate::judge::remote_log::RemoteLog;
use crate::world::remote::files;

#[test]
fn the_image_at_a_generations_end_is_the_next_snapshot() {
    let mut remote = remote_with_rows(5);
    transact(&mut remote, &["UPDATE t SET v = zeroblob(3000)"]);
    let end = remote.frame_count();
    remote.checkpoint();
    let log = remote.log();
    let folded = log.image_at(0, 1, end).unwrap();
    assert_eq!(folded.first_difference(&DatabaseImage::of_main(log.current().snapshot())), None);
    assert_eq!(folded.first_difference(&log.image_at(0, 2, 0).unwrap()), None);
    assert!(folded.first_difference(&log.image_at(0, 1, 0).unwrap()).is_some());
    assert!(log.image_at(0, 1, end + 1).is_none());
    assert!(log.image_at(0, 0, 0).is_none());
    assert!(log.image_at(0, 3, 0).is_none());
}

#[test]
fn every_transaction_ends_at_a_commit_point() {
    let remote = remote_with_rows(3);
    let generation = remote.log().current();
    let points: Vec<u64> = generation.commit_points().collect();
    assert_eq!(points.len(), 1 + 4, "the snapshot, the table and three rows");
    assert_eq!(points.last(), Some(&generation.frame_count()));
    // Inside a transaction the image is that of the commit point before it.
    let first = points[1];
    assert!(first > 1);
    let before = remote.log().image_at(0, 1, first - 1).unwrap();
    assert_eq!(before.first_difference(&remote.log().image_at(0, 1, 0).unwrap()), None);
}

#[test]
fn a_failed_transaction_leaves_no_trace() {
    let mut remote = remote_with_rows(1);
    let count = remote.frame_count();
    let statements = ["INSERT INTO t VALUES (2, 'v2')", "INSERT INTO t VALUES (1, 'again')"];
    let error = remote
        .transact(|connection| statements.iter().try_for_each(|sql| connection.execute(sql)))
        .unwrap_err();
    assert!(matches!(error, turso_core::LimboError::Constraint(_)), "{error}");
    assert_eq!(remote.frame_count(), count);
    assert_eq!(rows(&remote, "SELECT * FROM t"), "1|v1");
}

#[test]
#[should_panic(expected = "the remote contradicts its own model")]
fn a_wal_rewritten_by_another_process_is_detected() {
    let io: Arc<dyn IO> = Arc::new(MemoryIO::new());
    let path = unique_path();
    let mut remote = Remote::create(io.clone(), &path);
    transact(&mut remote, &["CREATE TABLE t (v)"]);
    // Another process checkpoints and then writes.
    let other = open_unshared(&io, &path);
    other.execute("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    for v in 0..9 {
        other.execute(format!("INSERT INTO t VALUES ({v})")).unwrap();
    }
    transact(&mut remote, &["INSERT INTO t VALUES (10)"]);
}

#[test]
#[should_panic(expected = "its checkpoint differs from its frames")]
fn a_snapshot_that_differs_from_the_frames_is_detected() {
    let io: Arc<dyn IO> = Arc::new(MemoryIO::new());
    let path = unique_path();
    let mut remote = Remote::create(io.clone(), &path);
    let first = files::read_all(&io, &path).unwrap();
    let mut log = RemoteLog::begin(first.clone().into());
    transact(&mut remote, &["CREATE TABLE t (v)"]);
    let mut other = first;
    other[2000] ^= 1;
    log.close_generation(other.into());
}
