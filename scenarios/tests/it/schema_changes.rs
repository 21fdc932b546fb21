//! The schema changes while there are pending changes on the other side.

use plimsoll_engine::{Conflict, ConflictKind, Error, LocalConnection};
use plimsoll_scenarios::place::{Engine, Place, rows};
use plimsoll_sim::in_process::block_on;

use crate::flows::everywhere;

fn client(place: &Place, name: &str) -> (Engine, LocalConnection) {
    let engine = place.open(name).unwrap();
    let connection = engine.connect().unwrap();
    (engine, connection)
}

fn run(connection: &LocalConnection, statements: &[&str]) {
    for sql in statements {
        connection.execute(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
}

/// Syncs until everybody has everything, and expects the same rows everywhere.
fn expect_everywhere(place: &Place, clients: &[&(Engine, LocalConnection)], sql: &str, expected: &[&str]) {
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

const SCHEMA: &str = "SELECT type, name, tbl_name, sql FROM sqlite_schema \
     WHERE name NOT LIKE 'sqlite_%' AND name NOT LIKE 'turso_%' AND name NOT LIKE 'plimsoll_%' AND name NOT LIKE '__turso%' \
     ORDER BY name";

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
fn a_renamed_table_takes_its_rows_along() {
    everywhere(|place| {
        place.remote_executes(&[
            "CREATE TABLE t (k INTEGER PRIMARY KEY, v)",
            "INSERT INTO t VALUES (1, 'old')",
        ]);
        let (a, b) = (client(&place, "a"), client(&place, "b"));
        run(
            &a.1,
            &[
                "INSERT INTO t VALUES (2, 'before')",
                "ALTER TABLE t RENAME TO \"t 2\"",
                "INSERT INTO \"t 2\" VALUES (3, 'after')",
                "UPDATE \"t 2\" SET v = 'changed' WHERE k = 1",
                "CREATE TABLE t (other)",
                "INSERT INTO t VALUES ('new table')",
            ],
        );
        place.remote_executes(&["INSERT INTO t VALUES (9, 'news')"]);
        let expected = ["1|changed", "2|before", "3|after", "9|news"];
        block_on(a.0.pull()).unwrap();
        assert_eq!(rows(&a.1, "SELECT * FROM \"t 2\" ORDER BY k"), expected);
        expect_everywhere(&place, &[&a, &b], "SELECT * FROM \"t 2\" ORDER BY k", &expected);
        expect_everywhere(&place, &[&a, &b], "SELECT * FROM t", &["new table"]);
    });
}

#[test]
fn a_table_that_was_only_renamed_is_renamed_everywhere() {
    everywhere(|place| {
        place.remote_executes(&["CREATE TABLE t (v)", "INSERT INTO t VALUES (1)"]);
        let (a, b) = (client(&place, "a"), client(&place, "b"));
        run(&a.1, &["ALTER TABLE t RENAME TO u"]);
        expect_everywhere(&place, &[&a, &b], "SELECT * FROM u", &["1"]);
        assert!(place.remote_rows("SELECT name FROM sqlite_schema WHERE name = 't'").is_empty());
    });
}

#[test]
fn a_table_renamed_twice_is_refused_with_a_way_out_and_not_lost() {
    everywhere(|place| {
        place.remote_executes(&["CREATE TABLE t (v)", "CREATE TABLE u (v)"]);
        let a = client(&place, "a");
        // Two tables of one shape got other names, and which of them was "middle" is recorded nowhere.
        run(
            &a.1,
            &[
                "ALTER TABLE t RENAME TO middle",
                "INSERT INTO middle VALUES ('precious')",
                "ALTER TABLE middle RENAME TO t3",
                "ALTER TABLE u RENAME TO u2",
            ],
        );
        let error = block_on(a.0.sync()).unwrap_err();
        assert!(matches!(&error, Error::UnknownTable { table, .. } if table == "middle"), "{error}");
        assert!(!error.is_retryable());
        assert_eq!(rows(&a.1, "SELECT v FROM t3"), ["precious"]);
        run(&a.1, &["ALTER TABLE t3 RENAME TO middle"]);
        block_on(a.0.sync()).unwrap();
        run(&a.1, &["ALTER TABLE middle RENAME TO t3"]);
        expect_everywhere(&place, &[&a], "SELECT v FROM t3", &["precious"]);
    });
}

#[test]
fn rows_of_a_table_that_has_its_old_name_again_are_not_lost() {
    everywhere(|place| {
        place.remote_executes(&["CREATE TABLE t (v)"]);
        let a = client(&place, "a");
        run(
            &a.1,
            &["ALTER TABLE t RENAME TO u", "INSERT INTO u VALUES ('precious')", "ALTER TABLE u RENAME TO t"],
        );
        let error = block_on(a.0.sync()).unwrap_err();
        assert!(matches!(&error, Error::UnknownTable { table, .. } if table == "u"), "{error}");
        run(&a.1, &["ALTER TABLE t RENAME TO u"]);
        block_on(a.0.sync()).unwrap();
        run(&a.1, &["ALTER TABLE u RENAME TO t"]);
        expect_everywhere(&place, &[&a], "SELECT v FROM t", &["precious"]);
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
fn local_views_and_triggers_survive_a_rebase_and_reach_the_remote_once() {
    everywhere(|place| {
        place.remote_executes(&["CREATE TABLE t (k INTEGER PRIMARY KEY, v)", "CREATE TABLE audit (k)"]);
        let (a, b) = (client(&place, "a"), client(&place, "b"));
        run(
            &a.1,
            &[
                "CREATE VIEW \"my view\" AS SELECT v FROM t",
                "CREATE TRIGGER \"my trigger\" AFTER INSERT ON t BEGIN INSERT INTO audit VALUES (NEW.k); END",
                "INSERT INTO t VALUES (1, 'one')",
            ],
        );
        place.remote_executes(&["INSERT INTO t VALUES (9, 'news')"]);
        block_on(a.0.pull()).unwrap();
        assert_eq!(rows(&a.1, "SELECT * FROM \"my view\" ORDER BY v"), ["news", "one"]);
        let first = block_on(a.0.push()).unwrap();
        assert_eq!(first.transactions, 2);
        assert_eq!(block_on(a.0.push()).unwrap().requests, 0);
        expect_everywhere(&place, &[&a, &b], "SELECT * FROM \"my view\" ORDER BY v", &["news", "one"]);
        expect_everywhere(&place, &[&a, &b], "SELECT k FROM audit", &["1"]);
        run(&b.1, &["INSERT INTO t VALUES (2, 'two')"]);
        expect_everywhere(&place, &[&a, &b], "SELECT k FROM audit ORDER BY k", &["1", "2"]);
    });
}

#[test]
fn a_view_alone_is_pushed_and_then_there_is_nothing_to_push() {
    everywhere(|place| {
        place.remote_executes(&["CREATE TABLE t (v)"]);
        let (a, b) = (client(&place, "a"), client(&place, "b"));
        run(&a.1, &["CREATE VIEW w AS SELECT v FROM t"]);
        assert_eq!(block_on(a.0.push()).unwrap().transactions, 1);
        assert_eq!(block_on(a.0.push()).unwrap().requests, 0);
        run(&a.1, &["DROP VIEW w", "CREATE VIEW w AS SELECT v, v FROM t"]);
        block_on(a.0.sync()).unwrap();
        block_on(b.0.sync()).unwrap();
        for connection in [&a.1, &b.1] {
            assert_eq!(rows(connection, SCHEMA), place.remote_rows(SCHEMA));
        }
        run(&b.1, &["DROP VIEW w"]);
        expect_everywhere(&place, &[&a, &b], SCHEMA, &["table|t|t|CREATE TABLE t (v)"]);
        assert_eq!(block_on(a.0.push()).unwrap().requests, 0);
    });
}

#[test]
fn what_the_remote_does_to_views_and_triggers_is_not_undone() {
    everywhere(|place| {
        place.remote_executes(&[
            "CREATE TABLE t (v)",
            "CREATE VIEW dropped AS SELECT v FROM t",
            "CREATE VIEW replaced AS SELECT v FROM t",
            "CREATE TRIGGER gone AFTER INSERT ON t BEGIN DELETE FROM t; END",
        ]);
        let a = client(&place, "a");
        place.remote_executes(&[
            "DROP VIEW dropped",
            "DROP VIEW replaced",
            "CREATE VIEW replaced AS SELECT v, v FROM t",
            "CREATE VIEW added AS SELECT v FROM t",
            "DROP TRIGGER gone",
        ]);
        run(&a.1, &["DROP VIEW dropped"]);
        let remote = place.remote_rows(SCHEMA);
        let remote: Vec<&str> = remote.iter().map(String::as_str).collect();
        expect_everywhere(&place, &[&a], SCHEMA, &remote);
    });
}

#[test]
fn a_trigger_does_not_fire_again_for_what_is_replayed() {
    everywhere(|place| {
        place.remote_executes(&[
            "CREATE TABLE t (k INTEGER PRIMARY KEY, v, changed)",
            "CREATE TABLE audit (what)",
            "CREATE TRIGGER i AFTER INSERT ON t BEGIN INSERT INTO audit VALUES ('insert'); \
             UPDATE t SET changed = 'by trigger' WHERE k = NEW.k; END",
            "CREATE TRIGGER d AFTER DELETE ON t BEGIN INSERT INTO audit VALUES ('delete'); END",
        ]);
        let (a, b) = (client(&place, "a"), client(&place, "b"));
        run(
            &a.1,
            &[
                "BEGIN",
                "INSERT INTO t VALUES (1, 'x', NULL)",
                "INSERT INTO t VALUES (2, 'x', NULL)",
                "COMMIT",
            ],
        );
        run(&a.1, &["DELETE FROM t WHERE k = 2"]);
        place.remote_executes(&["INSERT INTO audit VALUES ('news')"]);
        block_on(a.0.pull()).unwrap();
        expect_everywhere(&place, &[&a, &b], "SELECT * FROM t", &["1|x|by trigger"]);
        let audit = ["delete", "insert", "insert", "news"];
        expect_everywhere(&place, &[&a, &b], "SELECT what FROM audit ORDER BY what", &audit);
        run(&b.1, &["INSERT INTO t VALUES (3, 'y', NULL)"]);
        let audit = ["delete", "insert", "insert", "insert", "news"];
        expect_everywhere(&place, &[&a, &b], "SELECT what FROM audit ORDER BY what", &audit);
        assert_eq!(
            place.remote_rows("SELECT name FROM sqlite_schema WHERE type = 'trigger' ORDER BY 1"),
            ["d", "i"]
        );
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

#[test]
fn a_temporary_table_stays_where_it_is() {
    everywhere(|place| {
        place.remote_executes(&["CREATE TABLE t (v)"]);
        let (a, b) = (client(&place, "a"), client(&place, "b"));
        run(
            &a.1,
            &[
                "CREATE TEMP TABLE scratch (x)",
                "INSERT INTO scratch VALUES (1)",
                "INSERT INTO t SELECT x FROM scratch",
            ],
        );
        expect_everywhere(&place, &[&a, &b], "SELECT v FROM t", &["1"]);
        run(&a.1, &["INSERT INTO scratch VALUES (2)", "INSERT INTO t VALUES (2)"]);
        expect_everywhere(&place, &[&a, &b], "SELECT v FROM t ORDER BY v", &["1", "2"]);
        assert!(place.remote_rows("SELECT name FROM sqlite_schema WHERE name = 'scratch'").is_empty());
        assert_eq!(rows(&a.1, "SELECT x FROM scratch ORDER BY x"), ["1", "2"]);
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

#[test]
fn a_view_made_while_another_connection_writes_goes_with_a_later_push_and_holds_up_nothing() {
    everywhere(|place| {
        place.remote_executes(&["CREATE TABLE t (k INTEGER PRIMARY KEY, v)"]);
        let (engine, connection) = client(&place, "a");
        run(&connection, &["INSERT INTO t VALUES (1, 'a')", "CREATE VIEW w AS SELECT v FROM t"]);
        let writer = engine.connect().unwrap();
        run(&writer, &["BEGIN", "INSERT INTO t VALUES (2, 'open')"]);
        let report = block_on(engine.push()).unwrap();
        assert_eq!((report.transactions, report.schema_changes_deferred), (1, 1));
        assert_eq!(place.remote_rows("SELECT * FROM t"), ["1|a"]);
        run(&writer, &["COMMIT"]);
        let report = block_on(engine.push()).unwrap();
        assert_eq!((report.transactions, report.schema_changes_deferred), (2, 0));
        assert_eq!(place.remote_rows("SELECT * FROM w"), ["a", "open"]);
    });
}
