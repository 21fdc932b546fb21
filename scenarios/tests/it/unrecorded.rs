//! Changes that the core's change log omits: views, triggers and their effects, and renames of tables and
//! columns.

use plimsoll_engine::Error;
use plimsoll_scenarios::sandbox::{Sandbox, rows};
use plimsoll_sim::world::in_process::block_on;

use crate::flows::everywhere;
use crate::schema_changes::{client, expect_everywhere, run};

const SCHEMA: &str = "SELECT type, name, tbl_name, sql FROM sqlite_schema \
     WHERE name NOT LIKE 'sqlite_%' AND name NOT LIKE 'turso_%' AND name NOT LIKE 'plimsoll_%' AND name NOT LIKE '__turso%' \
     ORDER BY name";

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
fn rows_that_a_table_got_under_a_name_in_between_are_its_rows() {
    everywhere(|place| {
        place.remote_executes(&["CREATE TABLE t (v)", "CREATE TABLE u (v)"]);
        let (a, b) = (client(&place, "a"), client(&place, "b"));
        run(
            &a.1,
            &[
                "ALTER TABLE t RENAME TO middle",
                "INSERT INTO middle VALUES ('of t')",
                "ALTER TABLE middle RENAME TO t3",
                "ALTER TABLE u RENAME TO middle",
                "INSERT INTO middle VALUES ('of u')",
                "ALTER TABLE middle RENAME TO u",
            ],
        );
        place.remote_executes(&["INSERT INTO u VALUES ('news')"]);
        expect_everywhere(&place, &[&a, &b], "SELECT v FROM t3", &["of t"]);
        expect_everywhere(&place, &[&a, &b], "SELECT v FROM u ORDER BY v", &["news", "of u"]);
    });
}

#[test]
fn a_column_renamed_twice_and_back_keeps_its_values() {
    everywhere(|place| {
        place.remote_executes(&["CREATE TABLE t (k INTEGER PRIMARY KEY, a, b)"]);
        let (a, b) = (client(&place, "a"), client(&place, "b"));
        run(
            &a.1,
            &[
                "ALTER TABLE t RENAME COLUMN a TO middle",
                "INSERT INTO t (k, middle, b) VALUES (1, 'a1', 'b1')",
                "ALTER TABLE t RENAME COLUMN b TO a",
                "ALTER TABLE t RENAME COLUMN middle TO b",
                "INSERT INTO t (k, b, a) VALUES (2, 'a2', 'b2')",
            ],
        );
        place.remote_executes(&["INSERT INTO t VALUES (9, 'a9', 'b9')"]);
        let expected = ["1|a1|b1", "2|a2|b2", "9|a9|b9"];
        expect_everywhere(&place, &[&a, &b], "SELECT k, b, a FROM t ORDER BY k", &expected);
    });
}

/// A view becomes visible to others together with the rows of its transaction, not before or after.
#[test]
fn what_the_core_does_not_record_belongs_to_the_transaction_that_did_it() {
    everywhere(|place| {
        place.remote_executes(&["CREATE TABLE t (k INTEGER PRIMARY KEY, v)", "CREATE TABLE audit (k)"]);
        let (a, b) = (client(&place, "a"), client(&place, "b"));
        run(
            &a.1,
            &[
                "BEGIN; INSERT INTO t VALUES (1, 'before'); CREATE VIEW w AS SELECT k FROM t; ALTER TABLE t RENAME COLUMN v TO x",
                "CREATE TRIGGER g AFTER INSERT ON t BEGIN INSERT INTO audit VALUES (NEW.k); END; INSERT INTO t VALUES (2, 'after')",
                "COMMIT",
            ],
        );
        run(
            &a.1,
            &["BEGIN; CREATE VIEW rolled_back AS SELECT 1; ALTER TABLE t RENAME TO elsewhere; ROLLBACK"],
        );
        let report = block_on(a.0.push()).unwrap();
        assert_eq!((report.transactions, report.schema_changes_deferred), (1, 0));
        assert_eq!(block_on(a.0.push()).unwrap().requests, 0);
        expect_everywhere(&place, &[&a, &b], "SELECT k, x FROM t ORDER BY k", &["1|before", "2|after"]);
        expect_everywhere(&place, &[&a, &b], "SELECT k FROM audit", &["2"]);
        let names = "SELECT name FROM sqlite_schema WHERE type IN ('view', 'trigger') ORDER BY name";
        expect_everywhere(&place, &[&a, &b], names, &["g", "w"]);
    });
}

#[test]
fn a_prepared_statement_that_changes_the_schema_is_written_down_each_time() {
    everywhere(|place| {
        place.remote_executes(&["CREATE TABLE t (v)"]);
        let (a, b) = (client(&place, "a"), client(&place, "b"));
        let mut make = a.1.prepare("CREATE VIEW IF NOT EXISTS w AS SELECT v FROM t").unwrap();
        let mut drop = a.1.prepare("DROP VIEW IF EXISTS w").unwrap();
        for transactions in [1, 1] {
            make.execute(&[]).unwrap();
            assert_eq!(block_on(a.0.push()).unwrap().transactions, transactions);
            expect_everywhere(&place, &[&a, &b], "SELECT count(*) FROM w", &["0"]);
            drop.query(&[]).unwrap();
            assert_eq!(block_on(a.0.push()).unwrap().transactions, transactions);
        }
        assert!(make.next_row().unwrap().is_none());
        assert!(make.next_row().unwrap().is_none());
        assert_eq!(block_on(a.0.push()).unwrap().transactions, 1);
        expect_everywhere(&place, &[&a, &b], "SELECT count(*) FROM w", &["0"]);
    });
}

/// Runs statements on a connection of the core. Their changes are captured, but the changes that the capture
/// omits are not recorded.
fn without_notes(place: &Sandbox, name: &str, statements: &[&str]) {
    let connection = place.raw_connection(&format!("{}-draft", place.path(name)));
    connection.wal_auto_actions_disable();
    connection.execute("PRAGMA capture_data_changes_conn('full,turso_cdc')").unwrap();
    for sql in statements {
        connection.execute(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
}

#[test]
fn a_rename_that_nobody_has_written_down_is_found_by_difference() {
    everywhere(|place| {
        place.remote_executes(&["CREATE TABLE t (k INTEGER PRIMARY KEY, v)", "CREATE TABLE u (v)"]);
        let (a, b) = (client(&place, "a"), client(&place, "b"));
        without_notes(
            &place,
            "a",
            &[
                "INSERT INTO t VALUES (1, 'before')",
                "ALTER TABLE t RENAME TO \"t 2\"",
                "INSERT INTO \"t 2\" VALUES (2, 'after')",
                "CREATE TABLE t (other)",
                "INSERT INTO t VALUES ('new table')",
                "ALTER TABLE u RENAME COLUMN v TO w",
                "CREATE VIEW x AS SELECT other FROM t",
            ],
        );
        place.remote_executes(&["INSERT INTO t VALUES (9, 'news')"]);
        expect_everywhere(
            &place,
            &[&a, &b],
            "SELECT * FROM \"t 2\" ORDER BY k",
            &["1|before", "2|after", "9|news"],
        );
        expect_everywhere(&place, &[&a, &b], "SELECT * FROM x", &["new table"]);
        expect_everywhere(&place, &[&a, &b], "SELECT count(w) FROM u", &["0"]);
    });
}

#[test]
fn a_difference_that_cannot_be_written_down_now_goes_with_a_later_push_and_holds_up_nothing() {
    everywhere(|place| {
        place.remote_executes(&["CREATE TABLE t (k INTEGER PRIMARY KEY, v)"]);
        let (engine, _) = client(&place, "a");
        without_notes(&place, "a", &["INSERT INTO t VALUES (1, 'a')", "CREATE VIEW w AS SELECT v FROM t"]);
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

#[test]
fn a_table_renamed_twice_without_notes_is_refused_with_a_way_out_and_not_lost() {
    everywhere(|place| {
        place.remote_executes(&["CREATE TABLE t (v)", "CREATE TABLE u (v)"]);
        let a = client(&place, "a");
        // Two tables of one shape were renamed, and no record says which of them was "middle".
        without_notes(
            &place,
            "a",
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
        without_notes(&place, "a", &["ALTER TABLE t3 RENAME TO middle"]);
        block_on(a.0.sync()).unwrap();
        run(&a.1, &["ALTER TABLE middle RENAME TO t3"]);
        expect_everywhere(&place, &[&a], "SELECT v FROM t3", &["precious"]);
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
        assert_eq!(first.transactions, 3);
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
        run(&a.1, &["DROP VIEW IF EXISTS another", "DROP VIEW w", "CREATE VIEW w AS SELECT v, v FROM t"]);
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

/// The core records such a row as deleted and then inserted, like a row that was replaced by an equal one.
#[test]
fn a_row_that_its_own_trigger_has_deleted_is_deleted_and_one_replaced_by_its_like_is_there() {
    everywhere(|place| {
        place.remote_executes(&[
            "CREATE TABLE t (k INTEGER PRIMARY KEY, v)",
            "CREATE TABLE p (k INTEGER PRIMARY KEY, v)",
            "CREATE TRIGGER g AFTER INSERT ON t WHEN NEW.v > 9 BEGIN UPDATE t SET v = -v WHERE k = NEW.k AND v > 99; \
             DELETE FROM t WHERE k = NEW.k; END",
        ]);
        let (a, b) = (client(&place, "a"), client(&place, "b"));
        run(
            &a.1,
            &[
                "INSERT INTO t VALUES (1, 1), (2, 10), (3, 100)",
                "INSERT OR REPLACE INTO t VALUES (1, 1)",
                "BEGIN; INSERT INTO t VALUES (4, 10); INSERT INTO t VALUES (5, 5); COMMIT",
                // Deleted and inserted again.
                "INSERT INTO t VALUES (6, 10); INSERT INTO t VALUES (6, 6)",
                // Replaced by an equal row, and changed.
                "INSERT INTO t VALUES (7, 7); INSERT OR REPLACE INTO t VALUES (7, 7); UPDATE t SET v = 8 WHERE k = 7",
                // Replaced by an equal row in the transaction that inserted it, and renamed.
                "BEGIN; INSERT INTO p VALUES (1, 10); UPDATE p SET v = 11; INSERT OR REPLACE INTO p VALUES (1, 10); COMMIT",
                "ALTER TABLE p RENAME TO q",
                "BEGIN; CREATE TABLE n (k INTEGER PRIMARY KEY, v); INSERT INTO n VALUES (1, 1); \
                 INSERT OR REPLACE INTO n VALUES (1, 1); COMMIT",
            ],
        );
        place.remote_executes(&["INSERT INTO t VALUES (9, 9)"]);
        let local = rows(&a.1, "SELECT * FROM t ORDER BY k");
        assert_eq!(local, ["1|1", "5|5", "6|6", "7|8"]);
        block_on(a.0.pull()).unwrap();
        expect_everywhere(
            &place,
            &[&a, &b],
            "SELECT * FROM t ORDER BY k",
            &["1|1", "5|5", "6|6", "7|8", "9|9"],
        );
        expect_everywhere(&place, &[&a, &b], "SELECT * FROM q", &["1|10"]);
        expect_everywhere(&place, &[&a, &b], "SELECT * FROM n", &["1|1"]);
    });
}
