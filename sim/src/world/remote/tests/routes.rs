//! Tests `/info`, `/export` and `/sync`.

use std::time::Duration;

use super::*;
use crate::judge::format::{DatabaseHeader, FRAME_BYTES, FRAME_HEADER_BYTES, FrameHeader};
use crate::world::remote::BatonLimits;

/// Frames `start..end` of a generation, which must exist.
fn frames(remote: &mut Remote, generation: u64, start: u64, end: u64) -> Bytes {
    let response = get(remote, &format!("/sync/{generation}/{start}/{end}"));
    assert_eq!(response.status(), 200);
    response.into_body()
}

fn status(response: &Response<Bytes>) -> (u16, String, u64, u64) {
    let json = json_of(response);
    assert!(json["baton"].is_null());
    let word = json["status"].as_str().unwrap().to_owned();
    (
        response.status().as_u16(),
        word,
        json["generation"].as_u64().unwrap(),
        json["max_frame_no"].as_u64().unwrap(),
    )
}

#[test]
fn a_new_remote_is_one_empty_page() {
    let mut remote = remote();
    assert_eq!((remote.generation(), remote.frame_count()), (1, 0));
    let info = get(&mut remote, "/info");
    assert_eq!(json_of(&info), json!({ "current_generation": 1, "history_id": "h1" }));
    let export = get(&mut remote, "/export/1").into_body();
    assert_eq!(export.len(), 4096);
    let header = DatabaseHeader::parse(&export).unwrap();
    assert_eq!((header.page_count, header.write_version, header.read_version), (1, 2, 2));
    assert_eq!(rows(&remote, "SELECT * FROM sqlite_schema"), "");
    assert!(!remote.checkpoint(), "a generation without frames does not end");
}

#[test]
fn unknown_routes_and_methods_are_refused() {
    let mut remote = remote();
    for path in ["/", "/inf", "/info/1", "/export/x", "/export/2", "/export/0", "/sync/1/1", "/sync/2/1/2"] {
        assert_eq!(get(&mut remote, path).status(), 404, "{path}");
    }
    assert_eq!(post(&mut remote, "/info", "").status(), 405);
    assert_eq!(get(&mut remote, "/v2/pipeline").status(), 405);
    assert_eq!(get(&mut remote, "/sync/1/1/2/baton").status(), 405);
}

#[test]
fn a_range_may_start_and_end_inside_a_transaction() {
    let mut remote = remote();
    transact(&mut remote, &["CREATE TABLE t (v)", "CREATE TABLE u (v)"]);
    let all = frames(&mut remote, 1, 1, 1000);
    let count = remote.frame_count();
    assert!(count >= 3);
    assert_eq!(all.len() as u64, count * FRAME_BYTES as u64);
    let first_two = frames(&mut remote, 1, 1, 3);
    assert_eq!(first_two, all[..2 * FRAME_BYTES]);
    assert!(!FrameHeader::parse(&first_two[FRAME_BYTES..]).unwrap().is_commit());
    assert_eq!(frames(&mut remote, 1, 2, u64::MAX), all[FRAME_BYTES..]);
}

#[test]
fn a_status_marks_the_end_of_a_generation() {
    let mut remote = remote_with_rows(2);
    let old_count = remote.frame_count();
    let end = format!("/sync/1/{}/{}", old_count + 1, old_count + 9);
    assert_eq!(status(&get(&mut remote, &end)), (400, "checkpoint_needed".to_owned(), 1, old_count));
    for path in ["/sync/1/0/5", "/sync/1/2/2", "/sync/1/3/2"] {
        assert_eq!(status(&get(&mut remote, path)), (400, "bad_range".to_owned(), 1, old_count), "{path}");
    }

    let archived = frames(&mut remote, 1, 1, old_count + 1);
    assert!(remote.checkpoint());
    assert_eq!((remote.generation(), remote.frame_count()), (2, 0));
    transact(&mut remote, &["INSERT INTO t VALUES (3, 'v3')"]);
    assert_eq!(frames(&mut remote, 1, 1, old_count + 5), archived);
    assert_eq!(
        status(&get(&mut remote, &end)),
        (400, "checkpoint_needed".to_owned(), 2, remote.frame_count())
    );
    let export = |remote: &mut Remote, generation| get(remote, &format!("/export/{generation}")).into_body();
    assert_eq!(export(&mut remote, 1).len(), 4096, "the archive keeps the first snapshot");
    assert!(export(&mut remote, 2).len() > 4096);
}

#[test]
fn the_frames_of_one_remote_build_another() {
    let mut source = remote_with_rows(3);
    let count = source.frame_count();
    let body = frames(&mut source, 1, 1, count + 1);

    let mut target = remote();
    let path = format!("/sync/1/1/{}", count + 1);
    assert_eq!(status(&post(&mut target, &path, body.clone())), (200, "ok".to_owned(), 1, count));
    assert_eq!(rows(&target, "SELECT * FROM t ORDER BY k"), "1|v1 2|v2 3|v3");
    // Repeated: equal frames are not a conflict and change nothing, alone or before new ones.
    assert_eq!(status(&post(&mut target, &path, body)), (200, "ok".to_owned(), 1, count));
    transact(&mut source, &["INSERT INTO t VALUES (4, 'v4')"]);
    let more = source.frame_count();
    let body = frames(&mut source, 1, 2, more + 1);
    let path = format!("/sync/1/2/{}", more + 1);
    assert_eq!(status(&post(&mut target, &path, body)), (200, "ok".to_owned(), 1, more));
    assert_eq!(rows(&target, "SELECT count(*) FROM t"), "4");
    assert!(target.checkpoint());
    transact(&mut target, &["INSERT INTO t VALUES (5, 'v5')"]);
    assert_eq!(rows(&target, "PRAGMA integrity_check"), "ok");
}

#[test]
fn different_frames_at_the_same_numbers_are_a_conflict() {
    let mut remote = remote_with_rows(2);
    let count = remote.frame_count();
    let body = frames(&mut remote, 1, count, count + 1);
    let path = format!("/sync/1/{count}/{}", count + 1);
    for byte in [3, 7, FRAME_BYTES - 1] {
        let mut other = body.to_vec(); // page number, database size, page
        other[byte] ^= 1;
        let answer = post(&mut remote, &path, other);
        assert_eq!(status(&answer), (200, "conflict".to_owned(), 1, count), "byte {byte}");
    }
    let mut salted = body.to_vec();
    salted[8] ^= 1;
    assert_eq!(status(&post(&mut remote, &path, salted)), (200, "ok".to_owned(), 1, count));
}

#[test]
fn malformed_or_misplaced_frames_are_refused() {
    let mut remote = remote_with_rows(1);
    let count = remote.frame_count();
    let body = frames(&mut remote, 1, count, count + 1);
    let next = count + 1;
    let mut page_zero = body.to_vec();
    page_zero[..4].fill(0);
    let mut no_database = body.to_vec();
    no_database[..4].copy_from_slice(&1_u32.to_be_bytes());
    let one = format!("/sync/1/{next}/{}", next + 1);
    let refused = [
        (format!("/sync/1/{}/{}", next + 1, next + 2), body.to_vec(), "bad_range"),
        ("/sync/1/0/1".to_owned(), body.to_vec(), "bad_range"),
        (format!("/sync/1/{next}/{}", next + 2), body.to_vec(), "bad_body"),
        (one.clone(), body[1..].to_vec(), "bad_body"),
        (one.clone(), page_zero, "bad_body"),
        (one.clone(), no_database, "bad_body"),
    ];
    for (path, body, word) in refused {
        assert_eq!(status(&post(&mut remote, &path, body)), (400, word.to_owned(), 1, count), "{path}");
    }
    remote.checkpoint();
    assert_eq!(status(&post(&mut remote, &one, body)), (200, "checkpoint_needed".to_owned(), 2, 0));
}

/// A transaction of at least three frames that a source has and its copy lacks. Returns the copy, the bytes
/// of the frames and their first number.
fn a_long_transaction() -> (Remote, Bytes, u64) {
    let mut source = remote_with_rows(1);
    let count = source.frame_count();
    let mut copy = remote();
    let path = format!("/sync/1/1/{}", count + 1);
    let body = frames(&mut source, 1, 1, count + 1);
    assert_eq!(post(&mut copy, &path, body).status(), 200);
    transact(&mut source, &["CREATE TABLE u (v)", "CREATE TABLE w (v)", "INSERT INTO t VALUES (2, 'v2')"]);
    let body = frames(&mut source, 1, count + 1, u64::MAX);
    assert!(body.len() >= 3 * FRAME_BYTES);
    (copy, body, count + 1)
}

/// Posts frames `from..to` of the transaction, counted from 0. Returns the status word, the baton and the
/// remote's last frame.
fn post_part(
    remote: &mut Remote,
    (body, first): (&Bytes, u64),
    (from, to): (usize, usize),
    baton: &str,
) -> (String, Option<String>, u64) {
    let path = format!("/sync/1/{}/{}{baton}", first + from as u64, first + to as u64);
    let answer = json_of(&post(remote, &path, body.slice(from * FRAME_BYTES..to * FRAME_BYTES)));
    (
        answer["status"].as_str().unwrap().to_owned(),
        answer["baton"].as_str().map(str::to_owned),
        answer["max_frame_no"].as_u64().unwrap(),
    )
}

#[test]
fn a_transaction_may_span_requests_by_its_baton() {
    let (mut remote, body, first) = a_long_transaction();
    let count = body.len() / FRAME_BYTES;
    let ok = |baton: Option<&str>, max| ("ok".to_owned(), baton.map(str::to_owned), max);
    let part = (&body, first);
    assert_eq!(post_part(&mut remote, part, (0, 1), ""), ok(Some("b2"), first - 1));
    assert_eq!(rows(&remote, "SELECT count(*) FROM t"), "1", "an open transaction is not visible");
    // A client that has not seen the answer repeats its request.
    assert_eq!(post_part(&mut remote, part, (0, 1), ""), ok(Some("b2"), first - 1));
    assert_eq!(post_part(&mut remote, part, (1, 2), "/b2"), ok(Some("b2"), first - 1));
    assert_eq!(post_part(&mut remote, part, (1, 2), "/b2"), ok(Some("b2"), first - 1));
    let end = first - 1 + count as u64;
    assert_eq!(post_part(&mut remote, part, (2, count), "/b2"), ok(None, end));
    assert_eq!(
        post_part(&mut remote, part, (2, count), "/b2"),
        ok(None, end),
        "the frames are in the log by now"
    );
    assert_eq!(rows(&remote, "SELECT count(*) FROM t"), "2");
    assert_eq!(rows(&remote, "PRAGMA integrity_check"), "ok");
}

#[test]
fn an_open_transaction_that_grows_too_long_is_refused_and_not_held() {
    let (mut remote, body, first) = a_long_transaction();
    let (count, limit) = (body.len() / FRAME_BYTES, 2 * FRAME_BYTES);
    remote.set_baton_limits(BatonLimits { bytes: limit, ..BatonLimits::default() });
    assert_eq!(post_part(&mut remote, (&body, first), (0, 2), "").1.as_deref(), Some("b2"));
    // A page that nobody uses, so that the transaction does not end.
    let mut more = vec![0; FRAME_BYTES];
    more[3] = 9;
    let path = format!("/sync/1/{}/{}/b2", first + 2, first + 3);
    let refused = post(&mut remote, &path, more);
    assert_eq!(refused.status(), 413);
    assert_eq!(json_of(&refused)["limit_bytes"], limit);
    assert!(!remote.is_held_open());
    // Complete transactions are not held.
    let end = first - 1 + count as u64;
    assert_eq!(post_part(&mut remote, (&body, first), (0, count), ""), ("ok".to_owned(), None, end));
}

#[test]
fn an_open_transaction_that_takes_too_long_is_rolled_back() {
    let (mut remote, body, first) = a_long_transaction();
    let count = body.len() / FRAME_BYTES;
    remote.set_baton_limits(BatonLimits { time: Duration::ZERO, ..BatonLimits::default() });
    assert_eq!(post_part(&mut remote, (&body, first), (0, 2), "").1.as_deref(), Some("b2"));
    let gone = ("conflict".to_owned(), None, first - 1);
    assert_eq!(post_part(&mut remote, (&body, first), (2, count), "/b2"), gone);
    assert!(!remote.is_held_open());
}

#[test]
fn a_root_page_stays_one_of_its_kind() {
    let mut remote = remote_with_rows(1);
    transact(&mut remote, &["CREATE INDEX i ON t (v)", "INSERT INTO t VALUES (2, 'v2')"]);
    let root = |remote: &Remote, name: &str| -> u32 {
        rows(remote, &format!("SELECT rootpage FROM sqlite_schema WHERE name = '{name}'")).parse().unwrap()
    };
    // The first bytes of leaf pages.
    let (of_index, of_table) = (10, 13);
    for (name, wrong, right) in [("t", of_index, of_table), ("i", of_table, of_index)] {
        let number = root(&remote, name);
        let count = remote.frame_count();
        let all = frames(&mut remote, 1, 1, u64::MAX);
        let known = all.as_chunks::<FRAME_BYTES>().0;
        let header = |frame: &[u8; FRAME_BYTES]| FrameHeader::parse(frame).unwrap();
        let mut frame = known.iter().rfind(|frame| header(frame).page_no == number).unwrap().to_vec();
        frame[4..8].copy_from_slice(&header(known.last().unwrap()).db_size.to_be_bytes());
        assert_eq!(frame[FRAME_HEADER_BYTES], right, "{name}");
        let path = format!("/sync/1/{}/{}", count + 1, count + 2);
        frame[FRAME_HEADER_BYTES] = wrong;
        assert_eq!(status(&post(&mut remote, &path, frame.clone())), (400, "bad_body".into(), 1, count));
        frame[FRAME_HEADER_BYTES] = right;
        assert_eq!(status(&post(&mut remote, &path, frame)).0, 200);
    }
}

#[test]
fn an_open_transaction_ends_with_the_next_writer() {
    type Writer = fn(&mut Remote);
    let writers: [(Writer, &str); 3] = [
        (|remote| transact(remote, &["INSERT INTO t VALUES (7, 'seven')"]), "conflict"),
        (|remote| drop(pipeline(remote, json!([{ "type": "close" }]))), "conflict"),
        (|remote| assert!(remote.checkpoint()), "checkpoint_needed"),
    ];
    for (write, word) in writers {
        let (mut remote, body, first) = a_long_transaction();
        let count = body.len() / FRAME_BYTES;
        assert_eq!(post_part(&mut remote, (&body, first), (0, 1), "").1.as_deref(), Some("b2"));
        write(&mut remote);
        let end = remote.frame_count();
        let gone = (word.to_owned(), None, end);
        assert_eq!(post_part(&mut remote, (&body, first), (1, count), "/b2"), gone);
        assert_eq!(rows(&remote, "SELECT count(*) FROM sqlite_schema WHERE name = 'u'"), "0");
    }
}

/// The end of the open transaction equals frames that another writer has appended meanwhile, but its
/// beginning does not.
#[test]
fn an_open_transaction_is_not_completed_by_frames_of_another() {
    let (mut remote, body, first) = a_long_transaction();
    let count = body.len() / FRAME_BYTES;
    assert_eq!(post_part(&mut remote, (&body, first), (0, 1), "").1.as_deref(), Some("b2"));
    // The first frame has page 1, whose header contains the application id.
    const APPLICATION_ID: usize = FRAME_HEADER_BYTES + 68;
    let mut other = body.to_vec();
    other[APPLICATION_ID] ^= 1;
    let (_, baton, end) = post_part(&mut remote, (&other.into(), first), (0, count), "");
    assert_eq!((baton, end), (None, first - 1 + count as u64));
    let gone = ("conflict".to_owned(), None, end);
    assert_eq!(post_part(&mut remote, (&body, first), (1, count), "/b2"), gone);
}

#[test]
fn an_open_transaction_ends_when_another_starts() {
    let (mut remote, body, first) = a_long_transaction();
    let count = body.len() / FRAME_BYTES;
    assert_eq!(post_part(&mut remote, (&body, first), (0, 2), "").1.as_deref(), Some("b2"));
    // The second transaction is shorter, so it is not a repetition of the first.
    let mut other = body[..FRAME_BYTES].to_vec();
    other[FRAME_BYTES - 1] ^= 1;
    assert_eq!(post_part(&mut remote, (&other.into(), first), (0, 1), "").1.as_deref(), Some("b3"));
    let gone = ("conflict".to_owned(), None, first - 1);
    assert_eq!(post_part(&mut remote, (&body, first), (2, count), "/b2"), gone);
}

/// A client crashes in the middle of a push and then builds another push with the same beginning.
#[test]
fn an_open_transaction_is_not_confused_with_one_that_starts_alike() {
    let (mut remote, body, first) = a_long_transaction();
    let count = body.len() / FRAME_BYTES;
    let part = (&body, first);
    assert_eq!(post_part(&mut remote, part, (0, 1), "").1.as_deref(), Some("b2"));
    assert_eq!(post_part(&mut remote, part, (1, 2), "/b2").1.as_deref(), Some("b2"));
    let mut other = body.to_vec();
    other[2 * FRAME_BYTES - 1] ^= 1;
    let other = Bytes::from(other);
    assert_eq!(post_part(&mut remote, (&other, first), (0, 1), "").1.as_deref(), Some("b3"));
    assert_eq!(post_part(&mut remote, (&other, first), (1, 2), "/b3").1.as_deref(), Some("b3"));
    let gone = ("conflict".to_owned(), None, first - 1);
    assert_eq!(post_part(&mut remote, part, (2, count), "/b2"), gone);
}
