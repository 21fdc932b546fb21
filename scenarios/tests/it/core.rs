//! Bugs of turso_core that the engine or the simulator works around, each in its smallest form.
//!
//! A test here fails when the core fixes its bug. Then remove the workaround.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

use plimsoll_sim::fault::{DiskError, DiskErrorKind, FileClass, Lasts};
use plimsoll_sim::world::clock;
use plimsoll_sim::world::disk::Disk;
use plimsoll_sim::world::trace::{Lane, Trace};
use turso_core::types::{ImmutableRecord, ValueIterator};
use turso_core::{
    CheckpointMode, Connection, Database, DatabaseOpts, LimboError, MemoryIO, OpenOptions, SqliteDialect,
    ValueBlob,
};

fn connect(path: &str) -> Arc<Connection> {
    let options = OpenOptions::new(Arc::new(SqliteDialect));
    Database::open(Arc::new(MemoryIO::new()), path, options).unwrap().connect().unwrap()
}

/// The names of the workload's views need no quotes. If the name of an application's view needs quotes, the
/// application's own `ALTER TABLE` fails with the core's error. The replay of another client's `ALTER TABLE`
/// is refused and reported as a conflict.
#[test]
fn a_view_whose_name_needs_quotes_makes_the_core_refuse_every_drop_column() {
    for (view, is_refused) in [("w", false), ("\"a view\"", true)] {
        let connection = connect(&format!("drop-column-{is_refused}.db"));
        for sql in ["CREATE TABLE t (a, b)", "CREATE TABLE other (c)"] {
            connection.execute(sql).unwrap();
        }
        connection.execute(format!("CREATE VIEW {view} AS SELECT c FROM other")).unwrap();
        let dropped = connection.execute("ALTER TABLE t DROP COLUMN b");
        assert_eq!(dropped.is_err(), is_refused, "{view}: {dropped:?}");
    }
}

/// The engine compiles an application's prepared PRAGMA again for every run.
#[test]
fn a_prepared_pragma_goes_on_saying_what_it_said_when_it_was_compiled() {
    let connection = connect("pragma.db");
    connection.execute("CREATE TABLE t (a)").unwrap();
    let mut statements = ["PRAGMA table_info(t)", "SELECT name FROM pragma_table_info('t')"]
        .map(|sql| connection.prepare(sql).unwrap());
    let mut lengths = || {
        statements.each_mut().map(|statement| {
            let rows = statement.run_collect_rows().unwrap().len();
            statement.reset().unwrap();
            rows
        })
    };
    assert_eq!(lengths(), [1, 1]);
    connection.execute("ALTER TABLE t ADD COLUMN b").unwrap();
    assert_eq!(lengths(), [1, 2]);
}

/// The engine reads the images of the change log with the iterator, which returns an error and does not
/// panic. A property test of the change records found this bug.
#[test]
fn a_record_that_is_not_whole_is_an_error_for_the_iterator_and_a_panic_for_the_record() {
    assert!(matches!(ValueIterator::new(&[9]).map(|_| ()), Err(LimboError::Corrupt(_))));
    let mut payload = ValueBlob::default();
    payload.extend_from_slice(&[9]);
    let values = catch_unwind(|| ImmutableRecord::from_bin_record(payload).get_values_owned());
    assert!(values.is_err(), "{values:?}");
}

/// The pager keeps the failed completion (`header_ref_state`, `Pager::read_header_page`). Only aborting a
/// statement resets it, and here no statement runs. Each operation of the engine therefore opens its own
/// connections. A sweep found this, with a failed read in a rebase.
#[test]
fn a_read_of_page_1_that_failed_in_a_raw_session_is_reported_once_more() {
    let _in_virtual_time = clock::enter(0);
    let disk = Disk::new(Lane::Client(0), 1, Arc::new(Mutex::new(Trace::new(false))));
    let options = OpenOptions::new(Arc::new(SqliteDialect));
    let database = Database::open(disk.io(), "x-draft", options).unwrap();
    database.connect().unwrap().execute("CREATE TABLE t (v)").unwrap();

    let connection = database.connect().unwrap();
    disk.begin_step(1);
    disk.arm_error(DiskError {
        file: FileClass::DraftWal,
        nth: 1,
        error: DiskErrorKind::ReadFails,
        lasts: Lasts::Once,
        at_once: false,
    });
    let session = connection.wal_insert_begin().and_then(|()| connection.wal_insert_end(false));
    assert!(session.is_err());
    // The disk works again.
    assert!(connection.execute("SELECT v FROM t").is_err());
    connection.execute("SELECT v FROM t").unwrap();
}

/// Checkpoints a database whose WAL is not in the cache, while one of the reads fails in this way.
fn checkpoint_with(error: DiskErrorKind, nth: u32) -> std::thread::Result<Result<(), LimboError>> {
    let _in_virtual_time = clock::enter(0);
    let disk = Disk::new(Lane::Client(0), 1, Arc::new(Mutex::new(Trace::new(false))));
    let open = || {
        let options = OpenOptions::new(Arc::new(SqliteDialect));
        Database::open(disk.io(), "x-draft", options).unwrap().connect().unwrap()
    };
    for sql in ["CREATE TABLE t (v)", "INSERT INTO t VALUES (1)"] {
        open().execute(sql).unwrap();
    }
    disk.restart();
    let connection = open();
    disk.begin_step(1);
    disk.arm_error(DiskError { file: FileClass::DraftWal, nth, error, lasts: Lasts::Once, at_once: false });
    catch_unwind(AssertUnwindSafe(|| {
        connection.checkpoint(CheckpointMode::Truncate { upper_bound_inclusive: None }).map(drop)
    }))
}

/// A checkpoint asserts that a read of the WAL is as long as a page. A local file system returns fewer bytes only at the
/// end of a file, so a served remote is not protected against it, and its histories have no such error: there, a read
/// fails as a whole. A sweep of the profile `archive` found this.
#[test]
fn a_short_read_of_the_wal_is_a_panic_of_a_checkpoint() {
    let panics = |error| (1..9).any(|nth| checkpoint_with(error, nth).is_err());
    assert!(panics(DiskErrorKind::ShortRead));
    assert!(!panics(DiskErrorKind::ReadFails));
}

/// The core writes the two options without the comma between them, and cannot parse that. The statement fails, but if
/// its transaction is committed, no other connection can read the schema any more. The generator of programs
/// draws no such table.
#[test]
fn a_strict_table_without_rowid_makes_the_database_unreadable() {
    for (options, is_readable) in
        [("STRICT", true), ("WITHOUT ROWID", true), ("WITHOUT ROWID, STRICT", false)]
    {
        let experimental = DatabaseOpts::new().with_without_rowid(true);
        let open = OpenOptions::new(Arc::new(SqliteDialect)).db_opts(experimental);
        let path = format!("options-{}.db", options.len());
        let database = Database::open(Arc::new(MemoryIO::new()), &path, open).unwrap();
        let writer = database.connect().unwrap();
        writer.execute("BEGIN").unwrap();
        let created = writer.execute(format!("CREATE TABLE t (id TEXT PRIMARY KEY, v INT) {options}"));
        assert_eq!(created.is_ok(), is_readable, "{options}: {created:?}");
        writer.execute("COMMIT").unwrap();
        let reader = database.connect().unwrap();
        let read =
            reader.prepare("SELECT name FROM sqlite_schema").and_then(|mut names| names.run_collect_rows());
        assert_eq!(read.is_ok(), is_readable, "{options}: {read:?}");
    }
}

/// The automatic indexes of the table then have each other's content.
#[test]
fn an_added_column_changes_the_order_of_a_tables_keys() {
    let connection = connect("add-column.db");
    connection.execute("CREATE TABLE t (a TEXT, b TEXT, UNIQUE (a), PRIMARY KEY (b))").unwrap();
    connection.execute("ALTER TABLE t ADD COLUMN d TEXT").unwrap();
    let rows =
        connection.prepare("SELECT sql FROM sqlite_schema WHERE name = 't'").unwrap().run_collect_rows();
    let sql = rows.unwrap()[0][0].to_string();
    assert!(sql.find("PRIMARY KEY").unwrap() < sql.find("UNIQUE").unwrap(), "{sql}");
}

/// The capture decodes the image of a row that another row of the statement has left in its buffer.
#[test]
fn an_upsert_of_several_large_rows_fails_under_capture_alone() {
    for (capture, is_accepted) in [("off", true), ("full", false)] {
        let connection = connect(&format!("upsert-{capture}.db"));
        connection.execute("CREATE TABLE m (id INTEGER PRIMARY KEY, v TEXT)").unwrap();
        connection.execute(format!("PRAGMA capture_data_changes_conn('{capture}')")).unwrap();
        let upsert = |rows: &str| {
            connection
                .execute(format!("INSERT INTO m VALUES {rows} ON CONFLICT (id) DO UPDATE SET v = excluded.v"))
        };
        let large = "hex(zeroblob(5000))";
        upsert(&format!("(10, {large}), (20, {large})")).unwrap();
        upsert(&format!("(9, {large}), (10, {large})")).unwrap();
        upsert("(5, 'short'), (10, 'short')").unwrap();
        let upserted = upsert(&format!("(30, {large}), (10, {large})"));
        assert_eq!(upserted.is_ok(), is_accepted, "{capture}: {upserted:?}");
    }
}
