//! A broken or hostile server: it cannot fill the disk, keep an operation busy for ever, or make a directory
//! unusable.

use bytes::Bytes;
use http::Response;
use plimsoll_engine::{Error, SyncEngine};
use plimsoll_scenarios::lying::Lying;
use plimsoll_scenarios::sandbox::{Sandbox, rows};
use plimsoll_sim::world::clock;
use plimsoll_sim::world::in_process::block_on;

const LIMIT: u64 = 200_000;

fn place() -> Sandbox {
    let place = Sandbox::simulated();
    place.remote_executes(&["CREATE TABLE t (v)", "INSERT INTO t VALUES ('theirs')"]);
    place
}

fn open(place: &Sandbox, way: &Lying) -> Result<SyncEngine<Lying>, Error> {
    block_on(place.open_as("a", way.clone(), |options| options.operation_bytes_max(LIMIT)))
}

/// Brings the client to the start of a generation, in which it has seen no checksums yet.
fn begin_generation(place: &Sandbox, engine: &SyncEngine<Lying>) {
    place.remote.with_remote(|remote| assert!(remote.checkpoint()));
    block_on(engine.pull()).unwrap();
}

fn with_body(answer: &Response<Bytes>, body: Vec<u8>) -> Response<Bytes> {
    let mut changed = Response::new(Bytes::from(body));
    *changed.status_mut() = answer.status();
    changed
}

/// Answers each request for frames with the first frame that the honest server sends, as a part of a transaction
/// that goes on. Each answer takes this many milliseconds. The checksums of these frames do not chain, also if the
/// client requests two frames at once to see that.
fn transaction_without_end(
    milliseconds: u64,
) -> impl FnMut(&str, Response<Bytes>) -> Option<Response<Bytes>> + Send {
    let mut first: Option<Response<Bytes>> = None;
    move |path, answer| {
        clock::advance(milliseconds);
        if !path.starts_with("/sync/") {
            return Some(answer);
        }
        let mut frame = first.get_or_insert(answer).body()[..4120].to_vec();
        // The number of pages after the transaction. 0 means that it goes on.
        frame[4..8].fill(0);
        let range: Vec<u64> = path.split('/').filter_map(|number| number.parse().ok()).collect();
        let is_pair = matches!(range[..], [_, start, end] if end - start == 2);
        Some(Response::new(Bytes::from(frame.repeat(if is_pair { 2 } else { 1 }))))
    }
}

#[test]
fn an_export_that_claims_to_be_huge_is_given_up_and_leaves_no_file_behind() {
    let place = place();
    let way = Lying::to(&place.remote);
    way.answer_with(|path, answer| {
        if !path.starts_with("/export/") {
            return Some(answer);
        }
        let mut huge = answer.body().to_vec();
        huge[28..32].copy_from_slice(&u32::MAX.to_be_bytes());
        huge.resize(10 * LIMIT as usize, 0);
        Some(with_body(&answer, huge))
    });
    let error = open(&place, &way).err().unwrap();
    assert!(matches!(error, Error::TooManyBytes { bytes_max: LIMIT, .. }), "{error}");
    assert_eq!((place.length("a", "draft"), place.length("a", "synced")), (0, 0));
    way.tell_the_truth();
    let engine = open(&place, &way).unwrap();
    assert_eq!(rows(&engine.connect().unwrap(), "SELECT v FROM t"), ["theirs"]);
}

#[test]
fn a_transaction_without_end_is_given_up_and_what_the_client_had_is_kept() {
    let place = place();
    let way = Lying::to(&place.remote);
    let engine = open(&place, &way).unwrap();
    begin_generation(&place, &engine);
    let before = place.length("a", "synced-wal");
    place.remote_executes(&["INSERT INTO t VALUES ('news')"]);
    way.answer_with(transaction_without_end(0));
    let error = block_on(engine.pull()).unwrap_err();
    assert!(matches!(error, Error::TooManyBytes { .. }) && error.is_retryable(), "{error}");
    way.tell_the_truth();
    let grown = place.length("a", "synced-wal") - before;
    assert!(grown < 2 * LIMIT, "{grown} bytes");
    block_on(engine.pull()).unwrap();
    assert_eq!(rows(&engine.connect().unwrap(), "SELECT v FROM t"), ["theirs", "news"]);
}

#[test]
fn an_operation_that_a_slow_server_keeps_busy_ends() {
    let place = place();
    let way = Lying::to(&place.remote);
    let engine =
        block_on(place.open_as("a", way.clone(), |options| options.operation_seconds_max(3600))).unwrap();
    begin_generation(&place, &engine);
    place.remote_executes(&["INSERT INTO t VALUES ('news')"]);
    way.answer_with(transaction_without_end(60_000));
    let error = block_on(engine.pull()).unwrap_err();
    assert!(matches!(error, Error::TookTooLong { seconds_max: 3600, .. }) && error.is_retryable(), "{error}");
    way.tell_the_truth();
    block_on(engine.pull()).unwrap();
    assert_eq!(rows(&engine.connect().unwrap(), "SELECT v FROM t"), ["theirs", "news"]);
}

#[test]
fn a_first_export_with_a_damaged_tree_is_downloaded_again() {
    let place = place();
    let way = Lying::to(&place.remote);
    way.answer_with(|path, answer| {
        if !path.starts_with("/export/") {
            return Some(answer);
        }
        let mut damaged = answer.body().to_vec();
        // The schema's tree, after the file's header.
        damaged[100..200].fill(0xff);
        Some(with_body(&answer, damaged))
    });
    for _ in 0..2 {
        let error = open(&place, &way).err().unwrap();
        assert!(!error.is_retryable(), "{error}");
    }
    way.tell_the_truth();
    let engine = open(&place, &way).unwrap();
    assert_eq!(rows(&engine.connect().unwrap(), "SELECT v FROM t"), ["theirs"]);
}
