//! Temporary tables, whose rows the core records like rows of the database's tables.

use plimsoll_engine::{Error, LocalConnection};
use plimsoll_scenarios::sandbox::rows;
use plimsoll_sim::world::in_process::block_on;

use crate::flows::everywhere;
use crate::schema_changes::{client, expect_everywhere, run};

#[test]
fn a_temporary_table_that_is_dropped_takes_no_other_table_along() {
    everywhere(|place| {
        place.remote_executes(&["CREATE TABLE t (v)", "CREATE TABLE u (v)"]);
        let (a, b) = (client(&place, "a"), client(&place, "b"));
        for number in 0..12 {
            run(
                &a.1,
                &[&format!(
                    "CREATE TEMP TABLE scratch_{number} (v); INSERT INTO scratch_{number} VALUES ({number})"
                )],
            );
        }
        for number in 0..12 {
            run(&a.1, &[&format!("INSERT INTO t VALUES ({number}); DROP TABLE scratch_{number}")]);
        }
        place.remote_executes(&["INSERT INTO u VALUES ('news')"]);
        expect_everywhere(&place, &[&a, &b], "SELECT count(*) FROM t", &["12"]);
        let names =
            "SELECT name FROM sqlite_schema WHERE name IN ('t', 'u') OR name LIKE 'scratch%' ORDER BY name";
        expect_everywhere(&place, &[&a, &b], names, &["t", "u"]);
    });
}

/// The change log has only a table's bare name. With two tables of one name, their rows would be
/// indistinguishable.
#[test]
fn a_temporary_table_and_a_lasting_one_never_have_one_name() {
    everywhere(|place| {
        place.remote_executes(&["CREATE TABLE t (v)"]);
        let (engine, connection) = client(&place, "a");
        let other = engine.connect().unwrap();
        let refuses = |connection: &LocalConnection, sql: &str| {
            let error = connection.execute(sql).unwrap_err();
            assert!(matches!(error, Error::StatementRefused { .. }), "{sql}: {error}");
        };
        refuses(&connection, "CREATE TEMP TABLE T (v)");
        refuses(&connection, "CREATE TABLE temp.t (v)");
        run(&connection, &["CREATE TEMP TABLE scratch (v)", "INSERT INTO scratch VALUES (1)"]);
        for connection in [&connection, &other] {
            refuses(connection, "CREATE TABLE Scratch (v)");
            refuses(connection, "CREATE VIEW scratch AS SELECT v FROM t");
            refuses(connection, "ALTER TABLE t RENAME TO scratch");
        }
        refuses(&connection, "ALTER TABLE scratch RENAME TO elsewhere");
        assert_eq!(rows(&connection, "SELECT v FROM scratch"), ["1"]);
        place.remote_executes(&["CREATE TABLE scratch (v)", "INSERT INTO scratch VALUES ('theirs')"]);
        let error = block_on(engine.pull()).unwrap_err();
        assert!(matches!(&error, Error::HiddenByTemporary { table, .. } if table == "scratch"), "{error}");
        run(&connection, &["DROP TABLE scratch"]);
        block_on(engine.pull()).unwrap();
        run(&other, &["INSERT INTO scratch VALUES ('mine')"]);
        block_on(engine.sync()).unwrap();
        assert_eq!(place.remote_rows("SELECT v FROM scratch ORDER BY v"), ["mine", "theirs"]);
    });
}

/// After its connection is closed, its creation is rolled back, or the process ends, the temporary table is
/// gone and its name is free.
#[test]
fn a_name_that_a_temporary_table_had_is_a_name_like_any_other() {
    everywhere(|place| {
        place.remote_executes(&["CREATE TABLE t (v)"]);
        let (engine, connection) = client(&place, "a");
        run(&connection, &["CREATE TEMP TABLE one (v); INSERT INTO one VALUES ('scratch')"]);
        run(&connection, &["BEGIN; CREATE TEMP TABLE two (v); INSERT INTO two VALUES ('scratch'); ROLLBACK"]);
        run(&connection, &["CREATE TABLE two (v); INSERT INTO two VALUES ('mine')"]);
        drop(connection);
        place.remote_executes(&["CREATE TABLE one (v)"]);
        block_on(engine.sync()).unwrap();
        let connection = engine.connect().unwrap();
        run(&connection, &["INSERT INTO one VALUES ('mine')", "CREATE TEMP TABLE three (v)"]);
        run(&connection, &["INSERT INTO three VALUES ('scratch')"]);
        drop((connection, engine));
        let (engine, connection) = client(&place, "a");
        run(&connection, &["CREATE TABLE three (v)", "INSERT INTO three VALUES ('mine')"]);
        place.remote_executes(&["INSERT INTO t VALUES ('news')"]);
        block_on(engine.sync()).unwrap();
        for table in ["one", "two", "three"] {
            assert_eq!(place.remote_rows(&format!("SELECT v FROM {table}")), ["mine"], "{table}");
        }
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
