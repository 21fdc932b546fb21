//! Tests a real database on the disk: acknowledged commits survive, and the same run leaves the same bytes.

use turso_core::{Connection, Database, OpenOptions, SqliteDialect};

use super::*;

const PATH: &str = "a-draft";

fn connect(disk: &Disk) -> Arc<Connection> {
    let io: Arc<dyn IO> = disk.io();
    let database =
        Database::open(io, PATH, OpenOptions::new(Arc::new(SqliteDialect))).expect("the database opens");
    database.connect().expect("the database accepts a connection")
}

/// Returns the first column of the first row.
fn query(connection: &Arc<Connection>, sql: &str) -> String {
    let rows = connection.prepare(sql).and_then(|mut statement| statement.run_collect_rows());
    rows.expect("the query runs")[0][0].to_string()
}

/// A database with an empty table `t`. The names of its files are durable; the core leaves the directory sync
/// to its user.
fn disk_with_table() -> (Disk, SharedTrace, ClockGuard) {
    let (disk, trace, guard) = new_disk();
    let connection = connect(&disk);
    connection
        .execute("CREATE TABLE t (id INTEGER PRIMARY KEY, at INTEGER, body BLOB)")
        .expect("the table is created");
    disk.io().sync_dir(PATH).expect("a directory sync succeeds");
    drop(connection);
    disk.restart();
    (disk, trace, guard)
}

fn insert(connection: &Arc<Connection>, id: u32) {
    let sql = format!("INSERT INTO t VALUES ({id}, unixepoch(), randomblob(700))");
    connection.execute(sql).expect("the row is inserted");
}

#[test]
fn sql_sees_virtual_time() {
    let (disk, _, _guard) = new_disk();
    let connection = connect(&disk);
    assert_eq!(query(&connection, "SELECT unixepoch()"), (clock::EPOCH_UNIX_MS / 1000).to_string());
    clock::advance(5_000);
    assert_eq!(query(&connection, "SELECT unixepoch()"), (clock::EPOCH_UNIX_MS / 1000 + 5).to_string());
}

#[test]
fn acknowledged_commits_survive_a_power_loss_that_nothing_unsynced_survives() {
    let (disk, _, _guard) = disk_with_table();
    let connection = connect(&disk);
    (0..20).for_each(|id| insert(&connection, id));
    disk.crash_now(&NOTHING);
    disk.restart();
    assert_eq!(query(&connect(&disk), "SELECT count(*) FROM t"), "20");
}

#[test]
fn without_a_directory_sync_the_whole_database_can_vanish() {
    let (disk, _, _guard) = new_disk();
    connect(&disk).execute("CREATE TABLE t (id INTEGER)").expect("the table is created");
    disk.crash_now(&NOTHING);
    assert_eq!(disk.paths(), Vec::<String>::new());
}

#[test]
fn a_crash_anywhere_keeps_the_acknowledged_rows_and_the_databases_integrity() {
    let mut crashes_reached = 0;
    for seed in 0..150 {
        let (disk, _, _guard) = disk_with_table();
        disk.begin_step(1);
        let moment = [Moment::Before, Moment::Inside { bytes: 5_000 }, Moment::After][seed as usize % 3];
        let survival = Survival::Subset { keep_percent: (seed * 7 % 101) as u8, key: seed };
        disk.arm(CrashPoint {
            place: OperationPlace {
                file: FileClass::Any,
                operation: OperationKind::AnyMutation,
                nth: seed as u32 % 40 + 1,
            },
            moment,
            kind: CrashKind::PowerLoss { survival, torn: (seed % 2 == 0).then_some(Tear::Bytes(1_000)) },
        });

        let connection = connect(&disk);
        let mut acknowledged = 0;
        for id in 0..16 {
            insert(&connection, id);
            if id == 9 {
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").expect("the checkpoint runs");
            }
            if disk.is_down() {
                break;
            }
            acknowledged = id + 1;
        }
        crashes_reached += u32::from(disk.is_down());
        drop(connection);
        disk.restart();

        let connection = connect(&disk);
        assert_eq!(query(&connection, "PRAGMA integrity_check"), "ok", "seed {seed}");
        let rows = query(&connection, "SELECT count(*) FROM t");
        // The interrupted commit may or may not have survived.
        assert!(
            [acknowledged, acknowledged + 1].map(|rows| rows.to_string()).contains(&rows),
            "seed {seed}: {rows}"
        );
    }
    assert!(crashes_reached > 100, "only {crashes_reached} of 150 crashes were reached");
}

/// Runs a history with two crashes and returns its hash.
fn history(key: u64) -> u64 {
    let (disk, trace, _guard) = disk_with_table();
    for step in 1..4 {
        disk.begin_step(step);
        clock::advance(1_000);
        let connection = connect(&disk);
        (0..5).for_each(|id| insert(&connection, step * 10 + id));
        disk.crash_now(&power_loss(Survival::Subset { keep_percent: 50, key }));
        disk.restart();
    }
    let trace = lock(&trace);
    assert!(trace.event_count() > 40);
    trace.hash()
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the test compares histories on several threads")]
fn the_same_history_has_the_same_hash_twice_and_on_two_threads_at_once() {
    let hash = history(1);
    assert_eq!(history(1), hash);
    let hashes = [0; 2].map(|_| std::thread::spawn(|| history(1)));
    for other in hashes {
        assert_eq!(other.join().expect("the history runs"), hash);
    }
}
