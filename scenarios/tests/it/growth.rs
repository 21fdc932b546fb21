//! Files and logs that must not grow without bound on a long-running client.

use plimsoll_engine::events::EventName;
use plimsoll_scenarios::sandbox::{Engine, Sandbox, rows};
use plimsoll_scenarios::scenario::{A, Scenario, append, reported};
use plimsoll_sim::schedule::{Action, TransactionEnd};
use plimsoll_sim::world::in_process::block_on;

const WAL_FRAMES_MAX: u64 = 40;

fn open_small(place: &Sandbox) -> Engine {
    place.open_with("a", |options| options.draft_wal_frames_max(WAL_FRAMES_MAX)).unwrap()
}

/// The size of a WAL with twice the number of frames at which it is moved.
const WAL_BYTES_BOUND: u64 = 2 * WAL_FRAMES_MAX * 4120;

#[test]
fn drafts_log_does_not_grow_with_the_number_of_pulls() {
    for place in [Sandbox::simulated(), Sandbox::real()] {
        place.remote_executes(&["CREATE TABLE t (v)"]);
        let engine = open_small(&place);
        let connection = engine.connect().unwrap();
        let mut compactions = 0;
        for round in 0..60 {
            place.remote_executes(&[&format!("INSERT INTO t VALUES ({round})")]);
            compactions += u32::from(block_on(engine.pull()).unwrap().compacted);
            assert!(place.length("a", "draft-wal") < WAL_BYTES_BOUND, "round {round}");
        }
        assert!(compactions > 3, "{compactions} compactions");
        assert_eq!(rows(&connection, "SELECT count(*) FROM t"), ["60"]);
        assert_eq!(rows(&connection, "PRAGMA integrity_check"), ["ok"]);
    }
}

#[test]
fn drafts_log_does_not_grow_under_a_client_that_only_pushes() {
    let place = Sandbox::simulated();
    place.remote_executes(&["CREATE TABLE t (v)"]);
    let engine = open_small(&place);
    let connection = engine.connect().unwrap();
    for round in 0..60 {
        connection.execute(format!("INSERT INTO t VALUES ({round})")).unwrap();
        block_on(engine.push()).unwrap();
        assert!(place.length("a", "draft-wal") < WAL_BYTES_BOUND, "round {round}");
    }
    block_on(engine.sync()).unwrap();
    assert_eq!(place.remote_rows("SELECT count(*), count(DISTINCT v) FROM t"), ["60|60"]);
    assert_eq!(rows(&connection, "SELECT count(*), count(DISTINCT v) FROM t"), ["60|60"]);
}

#[test]
fn the_change_log_does_not_grow_under_a_client_that_only_pushes() {
    let place = Sandbox::simulated();
    place.remote_executes(&["CREATE TABLE t (v)"]);
    let engine = place.open_with("a", |options| options.change_log_records_max(10)).unwrap();
    let connection = engine.connect().unwrap();
    let mut pulls = 0;
    for round in 0..40 {
        connection.execute(format!("INSERT INTO t VALUES ({round})")).unwrap();
        pulls += u32::from(block_on(engine.push()).unwrap().pull.is_some());
        let records = engine.stats().unwrap().change_log_records;
        assert!(records < 20, "{records} records after round {round}");
    }
    assert!((3..30).contains(&pulls), "{pulls} pulls");
    block_on(engine.sync()).unwrap();
    assert_eq!(place.remote_rows("SELECT count(*), count(DISTINCT v) FROM t"), ["40|40"]);
    assert_eq!(rows(&connection, "SELECT count(*), count(DISTINCT v) FROM t"), ["40|40"]);
}

/// The rebase restores pages that local transactions changed before the compaction, although Draft's old WAL
/// is gone.
#[test]
fn a_local_change_from_before_a_compaction_does_not_outlive_its_rebase() {
    let place = Sandbox::simulated();
    place.remote_executes(&["CREATE TABLE t (k INTEGER PRIMARY KEY, v)", "INSERT INTO t VALUES (1, 'old')"]);
    let engine = place.open_with("a", |options| options.draft_wal_frames_max(1)).unwrap();
    let connection = engine.connect().unwrap();
    connection.execute("UPDATE t SET v = 'mine'").unwrap();
    connection.execute("CREATE TABLE u (v)").unwrap();
    assert!(block_on(engine.push()).unwrap().compacted);
    place.remote_executes(&["UPDATE t SET v = 'theirs'", "DROP TABLE u"]);
    block_on(engine.pull()).unwrap();
    assert_eq!(rows(&connection, "SELECT v FROM t"), ["theirs"]);
    assert!(rows(&connection, "SELECT name FROM sqlite_schema WHERE name = 'u'").is_empty());
    assert_eq!(rows(&connection, "PRAGMA integrity_check"), ["ok"]);
}

#[test]
fn a_reader_delays_a_compaction_and_a_pull_succeeds_all_the_same() {
    let place = Sandbox::simulated();
    place.remote_executes(&["CREATE TABLE t (v)", "INSERT INTO t VALUES (1)"]);
    let engine = place.open_with("a", |options| options.draft_wal_frames_max(1)).unwrap();
    let (reader, writer) = (engine.connect().unwrap(), engine.connect().unwrap());
    reader.execute("BEGIN").unwrap();
    assert_eq!(rows(&reader, "SELECT v FROM t"), ["1"]);
    for v in [2, 3] {
        place.remote_executes(&[&format!("INSERT INTO t VALUES ({v})")]);
        assert!(!block_on(engine.pull()).unwrap().compacted);
    }
    assert_eq!(rows(&reader, "SELECT v FROM t"), ["1"]);
    assert_eq!(rows(&writer, "SELECT v FROM t"), ["1", "2", "3"]);
    reader.execute("COMMIT").unwrap();
    place.remote_executes(&["INSERT INTO t VALUES (4)"]);
    assert!(block_on(engine.pull()).unwrap().compacted);
    assert_eq!(place.length("a", "draft-wal"), 0);
    assert_eq!(rows(&reader, "SELECT v FROM t"), ["1", "2", "3", "4"]);
}

/// The compaction records the pages that changed before it. If another program moves pages into the main file
/// without recording them, no rebase restores them.
#[test]
fn a_transaction_that_slips_into_a_compaction_outlives_it_and_its_rebase() {
    let mut t = Scenario::with_clients(2).with(|header| header.draft_wal_frames_max = 1);
    t.client(A).syncs();
    t.remote().commits([append(10)]);
    let slips_in =
        Action::Transaction { client: A, writes: vec![append(9_000)], end: TransactionEnd::Commit };
    t.client(A).pulls().meanwhile(reported(EventName::CompactionAnnounced, 1), slips_in);
    t.remote().commits([append(10)]);
    t.client(A).syncs();
    t.run_and_check();
}
