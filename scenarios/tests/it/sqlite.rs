//! A check by SQLite itself: it reads the files of finished histories and finds the same rows as the core.
//!
//! The tests compare every table and view of the remote and of each client, including those of the engine and
//! the core, value by value with its type. SQLite's integrity check must pass. The order of rows is not
//! compared.

use std::collections::BTreeMap;
use std::fs;

use plimsoll_sim::search::generate::{Profile, generate};
use plimsoll_sim::world::final_databases::FinalDatabase;
use plimsoll_sim::world::run::{RunOptions, run};
use rusqlite::types::Value as SqliteValue;
use rusqlite::{Connection, OpenFlags};
use turso_core::{Numeric, Value};

/// The number of seeds. One takes a few milliseconds.
const SEEDS: u64 = 120;

/// A value with its type.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Cell {
    Null,
    Integer(i64),
    /// A float, compared by its bits.
    Real(u64),
    Text(String),
    Blob(Vec<u8>),
}

/// The tables of a database with their rows, sorted.
type Tables = BTreeMap<String, Vec<Vec<Cell>>>;

fn as_the_core_reads(database: &FinalDatabase) -> Tables {
    let cell = |value: &Value| match value {
        Value::Null => Cell::Null,
        Value::Numeric(Numeric::Integer(integer)) => Cell::Integer(*integer),
        Value::Numeric(Numeric::Float(float)) => Cell::Real(f64::from(*float).to_bits()),
        Value::Text(text) => Cell::Text(text.as_str().to_owned()),
        Value::Blob(bytes) => Cell::Blob(bytes.to_vec()),
    };
    let sorted = |rows: &Vec<Vec<Value>>| {
        let mut rows: Vec<Vec<Cell>> = rows.iter().map(|row| row.iter().map(cell).collect()).collect();
        rows.sort_unstable();
        rows
    };
    database.tables.iter().map(|(name, rows)| (name.clone(), sorted(rows))).collect()
}

fn as_sqlite_reads(connection: &Connection) -> rusqlite::Result<Tables> {
    let cell = |value: SqliteValue| match value {
        SqliteValue::Null => Cell::Null,
        SqliteValue::Integer(integer) => Cell::Integer(integer),
        SqliteValue::Real(float) => Cell::Real(float.to_bits()),
        SqliteValue::Text(text) => Cell::Text(text),
        SqliteValue::Blob(bytes) => Cell::Blob(bytes),
    };
    let mut names = connection.prepare("SELECT name FROM sqlite_schema WHERE type IN ('table', 'view')")?;
    let names: Vec<String> = names.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    let mut tables = Tables::new();
    for name in names {
        let mut statement =
            connection.prepare(&format!("SELECT * FROM \"{}\"", name.replace('"', "\"\"")))?;
        let columns = statement.column_count();
        let rows =
            statement.query_map([], |row| (0..columns).map(|column| row.get(column).map(cell)).collect())?;
        let mut rows: Vec<Vec<Cell>> = rows.collect::<rusqlite::Result<_>>()?;
        rows.sort_unstable();
        tables.insert(name, rows);
    }
    Ok(tables)
}

/// SQLite's view of a database's files.
#[expect(clippy::disallowed_methods, reason = "SQLite reads real files")]
fn asked_of_sqlite(database: &FinalDatabase) -> rusqlite::Result<(Tables, Vec<String>)> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("final.db");
    fs::write(&path, &database.main).unwrap();
    fs::write(directory.path().join("final.db-wal"), &database.wal).unwrap();
    let connection = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let mut check = connection.prepare("PRAGMA integrity_check")?;
    let complaints: Vec<String> = check.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    Ok((as_sqlite_reads(&connection)?, complaints))
}

/// The same files without the last transaction of the WAL.
fn without_last_transaction(database: &FinalDatabase) -> FinalDatabase {
    const HEADER_BYTES: usize = 32;
    const FRAME_BYTES: usize = 4120;
    let frames = database.wal.get(HEADER_BYTES..).unwrap_or_default().chunks_exact(FRAME_BYTES);
    let is_commit = |(index, frame): (usize, &[u8])| (frame[4..8] != [0; 4]).then_some(index + 1);
    let commits: Vec<usize> = frames.enumerate().filter_map(is_commit).collect();
    let kept = commits.len().checked_sub(2).map_or(0, |before| commits[before]);
    FinalDatabase {
        owner: database.owner.clone(),
        main: database.main.clone(),
        wal: database.wal[..database.wal.len().min(HEADER_BYTES + kept * FRAME_BYTES)].to_vec(),
        tables: database.tables.clone(),
    }
}

#[test]
fn sqlite_reads_the_same_rows_from_the_same_files() {
    let mut rows_compared = 0;
    for seed in 0..SEEDS {
        let options = RunOptions { keep_databases: true, ..RunOptions::default() };
        let outcome = run(&generate(seed, Profile::Swarm), options);
        assert_eq!(outcome.violation, None, "seed {seed}");
        assert!(outcome.databases.len() >= 3, "seed {seed}: the remote and at least two clients");
        for database in &outcome.databases {
            let whose = format!("seed {seed}, {}", database.owner);
            let (tables, complaints) =
                asked_of_sqlite(database).unwrap_or_else(|error| panic!("{whose}: {error}"));
            assert_eq!(complaints, ["ok"], "{whose}");
            let expected = as_the_core_reads(database);
            // A commit whose sync failed stays in the file until the next one overwrites it. The core hides it, and
            // only another process, like SQLite here, would find it.
            let is_failed = |kind: &str| outcome.counts.injected.contains_key(&format!("{kind}/draft-wal"));
            let has_failed_sync = is_failed("sync-fails") || is_failed("sync-drops");
            let tables = if tables != expected && has_failed_sync {
                asked_of_sqlite(&without_last_transaction(database)).unwrap().0
            } else {
                tables
            };
            assert_eq!(tables, expected, "{whose}");
            rows_compared += tables.values().map(Vec::len).sum::<usize>();
        }
    }
    assert!(rows_compared > 10_000, "only {rows_compared} rows were compared");
}

#[test]
fn a_row_that_differs_is_seen() {
    let options = RunOptions { keep_databases: true, ..RunOptions::default() };
    let mut outcome = run(&generate(1, Profile::Calm), options);
    let database = &mut outcome.databases[0];
    let ballast = database.tables.get_mut("ballast").unwrap();
    ballast[0][0] = Value::from_i64(999);
    let (tables, _) = asked_of_sqlite(database).unwrap();
    assert_ne!(tables, as_the_core_reads(database));
}
