//! Schema changes while the other side has pending changes.

use plimsoll_engine::{Conflict, ConflictKind, Error, LocalConnection};
use plimsoll_scenarios::sandbox::{Engine, Sandbox, rows};
use plimsoll_sim::world::in_process::block_on;

use crate::flows::everywhere;

pub(crate) fn client(place: &Sandbox, name: &str) -> (Engine, LocalConnection) {
    let engine = place.open(name).unwrap();
    let connection = engine.connect().unwrap();
    (engine, connection)
}

pub(crate) fn run(connection: &LocalConnection, statements: &[&str]) {
    for sql in statements {
        connection.execute(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
}

/// Syncs until every client has everything, and expects the same rows everywhere.
pub(crate) fn expect_everywhere(
    place: &Sandbox,
    clients: &[&(Engine, LocalConnection)],
    sql: &str,
    expected: &[&str],
) {
    for _ in 0..2 {
        for (engine, _) in clients {
            block_on(engine.sync()).unwrap();
        }
    }
    assert_eq!(place.remote_rows(sql), expected, "the remote");
    for (number, (_, connection)) in clients.iter().enumerate() {
        assert_eq!(rows(connection, sql), expected, "client {number}");
    }
}

fn kinds(conflicts: &[Conflict]) -> Vec<&ConflictKind> {
    conflicts.iter().map(|conflict| &conflict.kind).collect()
}

#[test]
fn a_column_that_the_remote_has_added_does_not_stop_pending_inserts() {
    everywhere(|place| {
        place.remote_executes(&["CREATE TABLE t (k INTEGER PRIMARY KEY, v)"]);
        let a = client(&place, "a");
        run(&a.1, &["INSERT INTO t VALUES (1, 'mine')", "UPDATE t SET v = 'mine too' WHERE k = 1"]);
        place.remote_executes(&["ALTER TABLE t ADD COLUMN w DEFAULT 'theirs'"]);
        expect_everywhere(&place, &[&a], "SELECT * FROM t", &["1|mine too|theirs"]);
    });
}

#[test]
fn changes_from_before_and_after_a_local_alteration_are_replayed_in_their_own_shape() {
    everywhere(|place| {
        place.remote_executes(&["CREATE TABLE t (k INTEGER PRIMARY KEY, a, b)"]);
        let a = client(&place, "a");
        run(
            &a.1,
            &[
                "INSERT INTO t VALUES (1, 'a1', 'b1'), (2, 'a2', 'b2')",
                "ALTER TABLE t DROP COLUMN a",
                "INSERT INTO t VALUES (3, 'b3')",
                "UPDATE t SET b = 'b1 new' WHERE k = 1",
                "ALTER TABLE t ADD COLUMN c DEFAULT 'd'",
                "DELETE FROM t WHERE k = 2",
                "INSERT INTO t VALUES (4, 'b4', 'c4')",
                "ALTER TABLE t RENAME COLUMN b TO \"odd name\"",
                "UPDATE t SET \"odd name\" = 'b4 new' WHERE k = 4",
            ],
        );
        place.remote_executes(&["INSERT INTO t VALUES (9, 'a9', 'b9')"]);
        block_on(a.0.pull()).unwrap();
        let expected = ["1|b1 new|d", "3|b3|d", "4|b4 new|c4", "9|b9|d"];
        assert_eq!(rows(&a.1, "SELECT k, \"odd name\", c FROM t ORDER BY k"), expected);
        expect_everywhere(&place, &[&a], "SELECT k, \"odd name\", c FROM t ORDER BY k", &expected);
    });
}

#[test]
fn a_value_for_a_column_that_the_remote_has_dropped_is_left_out_and_reported() {
    everywhere(|place| {
        place.remote_executes(&["CREATE TABLE t (k INTEGER PRIMARY KEY, a, b)"]);
        let a = client(&place, "a");
        run(&a.1, &["INSERT INTO t VALUES (1, 'gone', 'kept')"]);
        place.remote_executes(&["ALTER TABLE t DROP COLUMN a"]);
        let report = block_on(a.0.sync()).unwrap();
        assert_eq!(kinds(&report.push.conflicts.listed), [&ConflictKind::ColumnGone { column: "a".into() }]);
        expect_everywhere(&place, &[&a], "SELECT * FROM t", &["1|kept"]);
    });
}

#[test]
fn a_column_added_on_both_sides_is_added_once() {
    everywhere(|place| {
        place.remote_executes(&["CREATE TABLE t (k INTEGER PRIMARY KEY)"]);
        let (a, b) = (client(&place, "a"), client(&place, "b"));
        for (index, (_, connection)) in [&a, &b].into_iter().enumerate() {
            run(
                connection,
                &["ALTER TABLE t ADD COLUMN v", &format!("INSERT INTO t VALUES ({index}, {index})")],
            );
        }
        expect_everywhere(&place, &[&a, &b], "SELECT * FROM t ORDER BY k", &["0|0", "1|1"]);
    });
}

#[test]
fn a_column_renamed_or_dropped_on_both_sides_stops_nobody() {
    everywhere(|place| {
        place.remote_executes(&["CREATE TABLE t (k INTEGER PRIMARY KEY, a, b)"]);
        let (a, b) = (client(&place, "a"), client(&place, "b"));
        for (index, (_, connection)) in [&a, &b].into_iter().enumerate() {
            let insert = format!("INSERT INTO t VALUES ({index}, 'v{index}')");
            run(connection, &["ALTER TABLE t RENAME COLUMN a TO c", "ALTER TABLE t DROP COLUMN b", &insert]);
        }
        expect_everywhere(&place, &[&a, &b], "SELECT k, c FROM t ORDER BY k", &["0|v0", "1|v1"]);
    });
}

#[test]
fn a_table_dropped_and_made_again_in_another_shape_is_the_new_one() {
    everywhere(|place| {
        place.remote_executes(&[
            "CREATE TABLE t (k INTEGER PRIMARY KEY, v)",
            "INSERT INTO t VALUES (1, 'old')",
        ]);
        let (a, b) = (client(&place, "a"), client(&place, "b"));
        run(
            &a.1,
            &[
                "INSERT INTO t VALUES (2, 'old too')",
                "DROP TABLE t",
                "CREATE TABLE t (name TEXT PRIMARY KEY, x, y)",
                "INSERT INTO t VALUES ('n', 1, 2)",
            ],
        );
        place.remote_executes(&["INSERT INTO t VALUES (3, 'late')"]);
        expect_everywhere(&place, &[&a, &b], "SELECT * FROM t", &["n|1|2"]);
    });
}

#[test]
fn rows_of_a_table_that_the_remote_has_dropped_are_left_out_and_reported() {
    everywhere(|place| {
        place.remote_executes(&["CREATE TABLE t (k INTEGER PRIMARY KEY)", "CREATE TABLE u (v)"]);
        let a = client(&place, "a");
        run(&a.1, &["INSERT INTO t VALUES (1)", "INSERT INTO u VALUES (1)", "CREATE INDEX i ON t (k)"]);
        place.remote_executes(&["DROP TABLE t"]);
        let report = block_on(a.0.pull()).unwrap();
        assert_eq!(kinds(&report.conflicts.listed), [&ConflictKind::TableGone, &ConflictKind::TableGone]);
        expect_everywhere(&place, &[&a], "SELECT v FROM u", &["1"]);
    });
}

#[test]
fn a_table_made_in_two_shapes_keeps_the_first_and_takes_the_rows_of_both() {
    everywhere(|place| {
        let (a, b) = (client(&place, "a"), client(&place, "b"));
        run(&a.1, &["CREATE TABLE t (k INTEGER PRIMARY KEY, a)", "INSERT INTO t VALUES (1, 'a')"]);
        run(&b.1, &["CREATE TABLE t (b, k INTEGER PRIMARY KEY)", "INSERT INTO t VALUES ('b', 2)"]);
        block_on(a.0.sync()).unwrap();
        let report = block_on(b.0.sync()).unwrap();
        assert_eq!(
            kinds(&report.push.conflicts.listed),
            [&ConflictKind::OtherDefinition, &ConflictKind::ColumnGone { column: "b".into() }]
        );
        expect_everywhere(&place, &[&a, &b], "SELECT k, a FROM t ORDER BY k", &["1|a", "2|"]);
    });
}

#[test]
fn what_the_remotes_rows_do_not_allow_is_reported_and_stops_nobody() {
    everywhere(|place| {
        place.remote_executes(&["CREATE TABLE t (k INTEGER PRIMARY KEY, v)"]);
        let (a, b) = (client(&place, "a"), client(&place, "b"));
        run(&a.1, &["CREATE UNIQUE INDEX u ON t (v)", "INSERT INTO t VALUES (1, 'mine')"]);
        place.remote_executes(&["INSERT INTO t VALUES (2, 'same'), (3, 'same')"]);
        let report = block_on(a.0.push()).unwrap();
        assert!(
            matches!(kinds(&report.conflicts.listed)[..], [ConflictKind::Refused { .. }]),
            "{:?}",
            report.conflicts
        );
        expect_everywhere(&place, &[&a, &b], "SELECT * FROM t ORDER BY k", &["1|mine", "2|same", "3|same"]);
    });
}

/// The core cannot change such a table and reports an error. Other changes are not blocked.
#[test]
fn a_table_without_row_numbers_is_read_and_a_write_to_it_is_refused() {
    everywhere(|place| {
        place.remote_executes(&[
            "CREATE TABLE bare (a TEXT, b, PRIMARY KEY (a)) WITHOUT ROWID",
            "CREATE TABLE t (v)",
            "INSERT INTO bare VALUES ('x', 1)",
        ]);
        let (a, b) = (client(&place, "a"), client(&place, "b"));
        for sql in ["INSERT INTO bare VALUES ('y', 2)", "UPDATE bare SET b = 2", "DELETE FROM bare"] {
            let error = a.1.execute(sql).unwrap_err();
            assert!(matches!(error, Error::Database { .. }) && !error.is_retryable(), "{sql}: {error:?}");
        }
        run(&a.1, &["INSERT INTO t VALUES ('mine')"]);
        place.remote_executes(&["INSERT INTO bare VALUES ('z', 3)"]);
        expect_everywhere(&place, &[&a, &b], "SELECT a, b FROM bare ORDER BY a", &["x|1", "z|3"]);
        expect_everywhere(&place, &[&a, &b], "SELECT v FROM t", &["mine"]);
        let error = a.1.execute("CREATE TABLE mine (a PRIMARY KEY) WITHOUT ROWID").unwrap_err();
        assert!(matches!(error, Error::Database { .. }) && !error.is_retryable(), "{error:?}");
    });
}

#[test]
fn names_that_need_quotes_are_carried_everywhere() {
    everywhere(|place| {
        let (a, b) = (client(&place, "a"), client(&place, "b"));
        run(
            &a.1,
            &[
                "CREATE TABLE \"order \"\"by\"\"\" (\"select\" TEXT PRIMARY KEY, \"from x\", [br], UNIQUE (\"from x\"))",
                "INSERT INTO \"order \"\"by\"\"\" VALUES ('k', 1, 2)",
                "CREATE INDEX \"in dex\" ON \"order \"\"by\"\"\" (\"from x\")",
                "CREATE VIEW \"vi ew\" AS SELECT \"from x\" FROM \"order \"\"by\"\"\"",
                "CREATE TRIGGER \"tri gger\" AFTER DELETE ON \"order \"\"by\"\"\" BEGIN SELECT 1; END",
                "ALTER TABLE \"order \"\"by\"\"\" ADD COLUMN \"a dd\" DEFAULT 5",
                "UPDATE \"order \"\"by\"\"\" SET \"from x\" = 7, \"select\" = 'k2'",
            ],
        );
        let table = "SELECT * FROM \"order \"\"by\"\"\"";
        expect_everywhere(&place, &[&a, &b], table, &["k2|7|2|5"]);
        expect_everywhere(&place, &[&a, &b], "SELECT * FROM \"vi ew\"", &["7"]);
        run(
            &b.1,
            &[
                "DROP VIEW \"vi ew\"",
                "DROP TRIGGER \"tri gger\"",
                "DROP INDEX \"in dex\"",
                "DELETE FROM \"order \"\"by\"\"\"",
            ],
        );
        expect_everywhere(&place, &[&a, &b], table, &[]);
    });
}
