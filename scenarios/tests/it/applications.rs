//! What applications do on their connections, and the statements that the engine refuses.

use plimsoll_engine::Error;
use plimsoll_scenarios::sandbox::{Sandbox, rows};
use plimsoll_sim::world::in_process::block_on;
use turso_core::Value;

#[test]
fn a_statement_that_would_break_the_engine_is_refused_and_nothing_of_its_text_runs() {
    let place = Sandbox::simulated();
    place.remote_executes(&["CREATE TABLE t (v)"]);
    let engine = place.open("a").unwrap();
    let connection = engine.connect().unwrap();
    for sql in ["PRAGMA wal_checkpoint(TRUNCATE)", "PRAGMA journal_mode", "DELETE FROM turso_cdc", "VACUUM"] {
        let text = format!("INSERT INTO t VALUES ('half'); {sql}");
        for error in [connection.execute(text).unwrap_err(), connection.query(sql, &[]).unwrap_err()] {
            assert!(matches!(&error, Error::StatementRefused { .. }), "{sql}: {error}");
            assert!(!error.is_retryable() && error.to_string().contains(sql), "{error}");
        }
    }
    connection.execute("INSERT INTO t VALUES ('whole')").unwrap();
    place.remote_executes(&["INSERT INTO t VALUES ('theirs')"]);
    block_on(engine.sync()).unwrap();
    assert_eq!(place.remote_rows("SELECT v FROM t ORDER BY v"), ["theirs", "whole"]);
}

#[test]
fn a_prepared_statement_sees_schemas_change_locally_and_remotely() {
    let place = Sandbox::simulated();
    place.remote_executes(&["CREATE TABLE t (v)", "INSERT INTO t VALUES (1)"]);
    let engine = place.open("a").unwrap();
    let connection = engine.connect().unwrap();
    let mut statement = connection.prepare("SELECT * FROM t WHERE v = ?").unwrap();
    let mut columns = connection.prepare("PRAGMA table_info(t)").unwrap();
    assert_eq!(statement.query(&[Value::from_i64(1)]).unwrap(), [[Value::from_i64(1)]]);
    assert_eq!(columns.query(&[]).unwrap().len(), 1);
    engine.connect().unwrap().execute("ALTER TABLE t ADD COLUMN local_column DEFAULT 2").unwrap();
    assert_eq!(statement.query(&[Value::from_i64(1)]).unwrap()[0].len(), 2);
    assert_eq!(columns.query(&[]).unwrap().len(), 2);
    block_on(engine.sync()).unwrap();
    place.remote_executes(&["ALTER TABLE t ADD COLUMN remote_column DEFAULT 3"]);
    block_on(engine.pull()).unwrap();
    let row = statement.query(&[Value::from_i64(1)]).unwrap().remove(0);
    assert_eq!(row, [1, 2, 3].map(Value::from_i64));
    assert_eq!(std::iter::from_fn(|| columns.next_row().unwrap()).count(), 3);
    assert_eq!(statement.column_names(), ["v", "local_column", "remote_column"]);
    connection.execute("ALTER TABLE t DROP COLUMN local_column").unwrap();
    assert_eq!(std::iter::from_fn(|| columns.next_row().unwrap()).count(), 2);
}

/// The table is created again, renamed, and gets other columns, locally and remotely. A statement that was
/// prepared before adapts to it.
#[test]
fn a_prepared_write_goes_where_the_schema_has_gone_and_nothing_of_it_is_lost() {
    let place = Sandbox::simulated();
    place.remote_executes(&["CREATE TABLE t (k INTEGER PRIMARY KEY, a, b)"]);
    let engine = place.open("a").unwrap();
    let connection = engine.connect().unwrap();
    let mut insert = connection.prepare("INSERT INTO t (b, k) VALUES (?1, ?2)").unwrap();
    let mut number = 0;
    let mut write = || {
        number += 1;
        insert.execute(&[Value::build_text("new"), Value::from_i64(number)]).unwrap();
    };
    write();
    place.remote_executes(&["ALTER TABLE t DROP COLUMN a"]);
    block_on(engine.pull()).unwrap();
    write();
    connection.execute("ALTER TABLE t ADD COLUMN c DEFAULT 'c'").unwrap();
    write();
    block_on(engine.sync()).unwrap();
    place.remote_executes(&["ALTER TABLE t RENAME TO away", "CREATE TABLE t (c, k INTEGER PRIMARY KEY, b)"]);
    block_on(engine.pull()).unwrap();
    write();
    block_on(engine.sync()).unwrap();
    assert_eq!(place.remote_rows("SELECT k, b, c FROM away ORDER BY k"), ["1|new|c", "2|new|c", "3|new|c"]);
    for rows in [place.remote_rows("SELECT k, b, c FROM t"), rows(&connection, "SELECT k, b, c FROM t")] {
        assert_eq!(rows, ["4|new|"]);
    }
}

#[test]
fn an_application_uses_parameters_and_transactions() {
    let place = Sandbox::simulated();
    place.remote_executes(&["CREATE TABLE t (k INTEGER PRIMARY KEY, v TEXT)"]);
    let engine = place.open("a").unwrap();
    let connection = engine.connect().unwrap();
    let mut insert = connection.prepare("INSERT INTO t (v) VALUES (:text)").unwrap();
    assert_eq!(insert.parameter_index(":text"), Some(0));
    let transaction = connection.begin().unwrap();
    assert_eq!(insert.execute(&[Value::build_text("kept")]).unwrap(), 1);
    transaction.commit().unwrap();
    {
        let _abandoned = connection.begin().unwrap();
        assert!(!connection.is_autocommit());
        insert.execute(&[Value::build_text("rolled back")]).unwrap();
    }
    assert!(connection.is_autocommit());
    assert!(insert.execute(&[]).is_err(), "an argument is missing");
    assert!(connection.prepare("SELECT 1; SELECT 2").is_err());
    block_on(engine.push()).unwrap();
    assert_eq!(place.remote_rows("SELECT v FROM t"), ["kept"]);
}

/// A program that opens the file without the engine can change anything. The engine then reports it.
#[test]
fn a_checkpoint_behind_the_engines_back_is_an_error_and_no_panic() {
    let place = Sandbox::simulated();
    place.remote_executes(&["CREATE TABLE t (v)"]);
    let engine = place.open("a").unwrap();
    let connection = engine.connect().unwrap();
    connection.execute("INSERT INTO t VALUES (1)").unwrap();
    let raw = place.raw_connection(&format!("{}-draft", place.path("a")));
    raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    place.remote_executes(&["INSERT INTO t VALUES (2)"]);
    let error = block_on(engine.pull()).unwrap_err();
    assert!(!error.is_retryable(), "{error}");
    assert_eq!(rows(&connection, "SELECT v FROM t"), ["1"]);
}
