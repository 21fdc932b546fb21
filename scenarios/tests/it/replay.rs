//! Rows of every shape, replayed in a rebase and by a push, and the reported conflicts.

use plimsoll_engine::{Conflict, LocalConnection};
use plimsoll_scenarios::sandbox::{Engine, Sandbox, rows};
use plimsoll_sim::world::in_process::block_on;

use crate::flows::everywhere;

/// Concurrent statements of a client and the remote on the same rows. Afterwards every database must have the
/// `expected` rows.
struct Meeting {
    schema: &'static [&'static str],
    local: &'static [&'static str],
    remote: &'static [&'static str],
    query: &'static str,
    expected: &'static [&'static str],
    conflicts: &'static [&'static str],
}

impl Meeting {
    /// Runs once with the pull first, so that a rebase replays, and once with the push first. Both follow the
    /// same policy.
    fn check(&self) {
        for pull_first in [true, false] {
            everywhere(|place| self.check_in(&place, pull_first));
        }
    }

    fn check_in(&self, place: &Sandbox, pull_first: bool) {
        place.remote_executes(self.schema);
        let (a, at_a) = client(place, "a");
        let (b, at_b) = client(place, "b");
        for sql in self.local {
            at_a.execute(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
        }
        if !self.remote.is_empty() {
            place.remote_executes(self.remote);
        }
        let conflicts = if pull_first {
            let pulled = block_on(a.pull()).unwrap();
            assert_eq!(rows(&at_a, self.query), self.expected, "after the rebase");
            assert_eq!(block_on(a.push()).unwrap().conflicts.total, 0, "reported by the pull already");
            pulled.conflicts
        } else {
            block_on(a.push()).unwrap().conflicts
        };
        assert_eq!(place.remote_rows(self.query), self.expected, "the remote, pull first: {pull_first}");
        assert_eq!(words(&conflicts.listed), self.conflicts, "pull first: {pull_first}");
        assert_eq!(conflicts.total, self.conflicts.len() as u64);
        for engine in [&a, &b] {
            block_on(engine.sync()).unwrap();
        }
        for connection in [&at_a, &at_b] {
            assert_eq!(rows(connection, self.query), self.expected, "a client");
        }
        assert_eq!(block_on(a.push()).unwrap().requests, 0);
    }
}

fn client(place: &Sandbox, name: &str) -> (Engine, LocalConnection) {
    let engine = place.open(name).unwrap();
    let connection = engine.connect().unwrap();
    (engine, connection)
}

/// Conflicts without their transaction numbers.
fn words(conflicts: &[Conflict]) -> Vec<String> {
    let without_number = |conflict: &Conflict| {
        let text = conflict.to_string();
        text.split_once(", ").map_or_else(|| text.clone(), |(_, rest)| rest.to_owned())
    };
    conflicts.iter().map(without_number).collect()
}

const KEYED: &[&str] = &[
    "CREATE TABLE t (k INTEGER PRIMARY KEY, a, b)",
    "INSERT INTO t VALUES (1, 'a1', 'b1'), (2, 'a2', 'b2'), (3, 'a3', 'b3')",
];
const ALL: &str = "SELECT * FROM t ORDER BY 1, 2, 3";

#[test]
fn an_update_of_a_row_that_the_remote_has_changed_sets_its_columns_and_is_reported() {
    Meeting {
        schema: KEYED,
        local: &["UPDATE t SET a = 'mine' WHERE k = 1"],
        remote: &["UPDATE t SET b = 'theirs' WHERE k = 1"],
        query: ALL,
        expected: &["1|mine|theirs", "2|a2|b2", "3|a3|b3"],
        conflicts: &["t k=1: the remote had changed the row"],
    }
    .check();
}

#[test]
fn an_update_of_a_row_that_the_remote_has_deleted_brings_it_back_and_is_reported() {
    Meeting {
        schema: KEYED,
        local: &["UPDATE t SET a = 'mine' WHERE k = 1", "UPDATE t SET b = 'mine too' WHERE k = 1"],
        remote: &["DELETE FROM t WHERE k = 1"],
        query: ALL,
        expected: &["1|mine|mine too", "2|a2|b2", "3|a3|b3"],
        conflicts: &["t k=1: the remote had deleted the row, it was inserted again"],
    }
    .check();
}

#[test]
fn an_insert_under_a_key_that_the_remote_has_used_replaces_the_row_and_is_reported() {
    Meeting {
        schema: KEYED,
        local: &["INSERT INTO t VALUES (4, 'mine', 'mine')", "INSERT INTO t VALUES (5, 'same', 'same')"],
        remote: &["INSERT INTO t VALUES (4, 'theirs', 'theirs'), (5, 'same', 'same')"],
        query: ALL,
        expected: &["1|a1|b1", "2|a2|b2", "3|a3|b3", "4|mine|mine", "5|same|same"],
        conflicts: &["t k=4: replaced the remote's row with the same key"],
    }
    .check();
}

#[test]
fn a_delete_of_a_row_that_the_remote_has_changed_stands_and_is_reported() {
    Meeting {
        schema: KEYED,
        local: &["DELETE FROM t WHERE k = 1", "DELETE FROM t WHERE k = 2"],
        remote: &["UPDATE t SET b = 'theirs' WHERE k = 1", "DELETE FROM t WHERE k = 2"],
        query: ALL,
        expected: &["3|a3|b3"],
        conflicts: &["t k=1: the remote had changed the row"],
    }
    .check();
}

#[test]
fn a_unique_value_that_the_remote_has_taken_goes_to_the_later_writer_and_is_reported() {
    Meeting {
        schema: &[
            "CREATE TABLE t (k INTEGER PRIMARY KEY, a, b UNIQUE)",
            "CREATE UNIQUE INDEX u ON t (a)",
            "INSERT INTO t VALUES (1, 'a1', 'b1')",
        ],
        local: &["INSERT INTO t VALUES (4, 'taken', 'b4')", "UPDATE t SET b = 'taken too' WHERE k = 1"],
        remote: &["INSERT INTO t VALUES (5, 'taken', 'b5')", "INSERT INTO t VALUES (6, 'a6', 'taken too')"],
        query: ALL,
        expected: &["1|a1|taken too", "4|taken|b4"],
        conflicts: &[
            "t k=4: replaced the remote's row with the same a",
            "t k=1: replaced the remote's row with the same b",
        ],
    }
    .check();
}

#[test]
fn nothing_is_reported_where_nobody_met() {
    Meeting {
        schema: KEYED,
        local: &[
            "UPDATE t SET a = 'mine' WHERE k = 1",
            "INSERT OR REPLACE INTO t VALUES (1, 'mine', 'again')",
            "DELETE FROM t WHERE k = 1",
            "INSERT INTO t VALUES (1, 'back', 'back')",
            "UPDATE t SET k = 7 WHERE k = 1",
            "UPDATE t SET a = 'no such row' WHERE k = 99",
        ],
        remote: &["UPDATE t SET a = 'theirs' WHERE k = 3"],
        query: ALL,
        expected: &["2|a2|b2", "3|theirs|b3", "7|back|back"],
        conflicts: &[],
    }
    .check();
}

#[test]
fn an_integer_key_that_was_changed_is_changed() {
    Meeting {
        schema: KEYED,
        local: &[
            "UPDATE t SET k = 10 WHERE k = 1",
            "UPDATE t SET k = k + 100, a = 'moved' WHERE k IN (2, 3)",
        ],
        remote: &["INSERT INTO t VALUES (4, 'a4', 'b4')"],
        query: ALL,
        expected: &["4|a4|b4", "10|a1|b1", "102|moved|b2", "103|moved|b3"],
        conflicts: &[],
    }
    .check();
}

#[test]
fn a_text_key_that_was_changed_is_changed() {
    Meeting {
        schema: &["CREATE TABLE t (k TEXT PRIMARY KEY, v)", "INSERT INTO t VALUES ('x', 1), ('y', 2)"],
        local: &["UPDATE t SET k = 'z' WHERE k = 'x'", "UPDATE t SET v = 3 WHERE k = 'z'"],
        remote: &["INSERT INTO t VALUES ('w', 0)"],
        query: "SELECT * FROM t ORDER BY k",
        expected: &["w|0", "y|2", "z|3"],
        conflicts: &[],
    }
    .check();
}

#[test]
fn swapped_keys_do_not_eat_each_other() {
    for (schema, local) in [
        (
            &[
                "CREATE TABLE t (k INTEGER PRIMARY KEY, v)",
                "INSERT INTO t VALUES (1, 'one'), (2, 'two'), (3, 'three')",
            ],
            &[
                "BEGIN",
                "UPDATE t SET k = -1 WHERE k = 1",
                "UPDATE t SET k = 1 WHERE k = 2",
                "UPDATE t SET k = 2 WHERE k = -1",
                "COMMIT",
            ],
        ),
        (
            &[
                "CREATE TABLE t (k TEXT PRIMARY KEY, v)",
                "INSERT INTO t VALUES ('1', 'one'), ('2', 'two'), ('3', 'three')",
            ],
            &[
                "BEGIN",
                "UPDATE t SET k = '-1' WHERE k = '1'",
                "UPDATE t SET k = '1' WHERE k = '2'",
                "UPDATE t SET k = '2' WHERE k = '-1'",
                "COMMIT",
            ],
        ),
    ] {
        Meeting {
            schema,
            local,
            remote: &["UPDATE t SET v = 'theirs' WHERE k = 3"],
            query: "SELECT * FROM t ORDER BY k",
            expected: &["1|two", "2|one", "3|theirs"],
            conflicts: &[],
        }
        .check();
    }
}

#[test]
fn rows_that_pass_a_unique_value_on_keep_it() {
    Meeting {
        schema: &[
            "CREATE TABLE t (k INTEGER PRIMARY KEY, u UNIQUE)",
            "INSERT INTO t VALUES (1, 'x'), (2, 'y')",
        ],
        local: &[
            "UPDATE t SET u = NULL WHERE k = 1",
            "UPDATE t SET u = 'x' WHERE k = 2",
            "UPDATE t SET u = 'y' WHERE k = 1",
        ],
        remote: &["INSERT INTO t VALUES (3, 'z')"],
        query: "SELECT * FROM t ORDER BY k",
        expected: &["1|y", "2|x", "3|z"],
        conflicts: &[],
    }
    .check();
}

#[test]
fn a_key_of_two_columns_is_one_key() {
    Meeting {
        schema: &[
            "CREATE TABLE t (a, b, v, PRIMARY KEY (b, a))",
            "INSERT INTO t VALUES (1, 1, 'x'), (1, 2, 'y'), (2, 1, 'z')",
        ],
        local: &[
            "UPDATE t SET v = 'mine' WHERE a = 1 AND b = 2",
            "DELETE FROM t WHERE a = 1 AND b = 1",
            "UPDATE t SET a = 5 WHERE a = 2",
        ],
        remote: &["INSERT INTO t VALUES (2, 2, 'w')"],
        query: ALL,
        expected: &["1|2|mine", "2|2|w", "5|1|z"],
        conflicts: &[],
    }
    .check();
}

#[test]
fn rows_without_a_key_are_updated_and_deleted_one_by_one() {
    Meeting {
        schema: &[
            "CREATE TABLE t (a, b COLLATE NOCASE, c)",
            "INSERT INTO t VALUES (1, 'x', NULL), (1, 'x', NULL), (1, 'X', NULL), (NULL, NULL, NULL), (2, 'y', 2)",
        ],
        local: &[
            "DELETE FROM t WHERE rowid = 3",
            "UPDATE t SET c = 'one of two' WHERE rowid = 1",
            "UPDATE t SET c = 'no longer null' WHERE a IS NULL",
            "UPDATE t SET c = 'gone there' WHERE a = 2",
        ],
        remote: &["DELETE FROM t WHERE a = 2", "INSERT INTO t VALUES (9, 'news', NULL)"],
        query: ALL,
        expected: &["||no longer null", "1|x|", "1|x|one of two", "2|y|gone there", "9|news|"],
        conflicts: &["t a=2 b=y c=2: the remote had deleted the row, it was inserted again"],
    }
    .check();
}

#[test]
fn rows_with_null_in_their_key_are_told_apart() {
    Meeting {
        schema: &[
            "CREATE TABLE t (k TEXT PRIMARY KEY, v)",
            "INSERT INTO t VALUES (NULL, 1), (NULL, 2), (NULL, 3), ('x', 4)",
        ],
        local: &[
            "DELETE FROM t WHERE v = 1",
            "UPDATE t SET v = 20 WHERE v = 2",
            "UPDATE t SET k = 'named' WHERE v = 3",
        ],
        remote: &["INSERT INTO t VALUES (NULL, 9)"],
        query: "SELECT k, v FROM t ORDER BY v",
        expected: &["named|3", "x|4", "|9", "|20"],
        conflicts: &[],
    }
    .check();
}

#[test]
fn keys_that_ignore_case_are_one_key() {
    Meeting {
        schema: &["CREATE TABLE t (k TEXT COLLATE NOCASE PRIMARY KEY, v)", "INSERT INTO t VALUES ('Ab', 1)"],
        local: &["UPDATE t SET k = 'aB' WHERE k = 'ab'", "UPDATE t SET v = 2 WHERE k = 'AB'"],
        remote: &["INSERT INTO t VALUES ('c', 3)"],
        query: "SELECT * FROM t ORDER BY k",
        expected: &["aB|2", "c|3"],
        conflicts: &[],
    }
    .check();
}

#[test]
fn an_upsert_sets_the_row_and_a_replacement_replaces_it() {
    Meeting {
        schema: &[
            "CREATE TABLE t (k INTEGER PRIMARY KEY, u UNIQUE, v)",
            "INSERT INTO t VALUES (1, 'x', 'old'), (2, 'y', 'old')",
        ],
        local: &[
            "INSERT INTO t VALUES (1, 'x', 'new') ON CONFLICT (k) DO UPDATE SET v = excluded.v",
            "INSERT INTO t VALUES (5, 'y', 'other') ON CONFLICT (u) DO UPDATE SET v = excluded.v",
            "INSERT INTO t VALUES (3, 'z', 'new') ON CONFLICT DO NOTHING",
            "INSERT OR REPLACE INTO t VALUES (4, 'z', 'replaced')",
        ],
        remote: &["INSERT INTO t VALUES (9, 'w', 'news')"],
        query: ALL,
        expected: &["1|x|new", "2|y|other", "4|z|replaced", "9|w|news"],
        conflicts: &[],
    }
    .check();
}

#[test]
fn values_of_every_kind_arrive_as_they_are() {
    Meeting {
        schema: &["CREATE TABLE t (k INTEGER PRIMARY KEY, v)"],
        local: &[
            "INSERT INTO t VALUES (1, 9e999), (2, -9e999), (3, 9e999 - 9e999), (4, 0.1 + 0.2), (5, 5e-324)",
            "INSERT INTO t VALUES (6, 9223372036854775807), (7, x'00ff'), (8, ''), (9, x'')",
            "INSERT INTO t VALUES (10, zeroblob(20000)), (11, 1.7976931348623157e308), (12, 2.2250738585072011e-308)",
            "UPDATE t SET v = -9e999 WHERE v = 9e999",
            "DELETE FROM t WHERE k = 2 AND v = -9e999",
        ],
        remote: &["INSERT INTO t VALUES (99, 'news')"],
        query: "SELECT k, typeof(v), CASE WHEN typeof(v) = 'blob' THEN length(v) WHEN v = -9e999 THEN '-inf' \
                WHEN v = 0.1 + 0.2 THEN 'sum' WHEN v = 5e-324 THEN 'least' WHEN v = 1.7976931348623157e308 THEN 'most' \
                WHEN v = 2.2250738585072011e-308 THEN 'odd' ELSE v END FROM t ORDER BY k",
        expected: &[
            "1|real|-inf",
            "3|null|",
            "4|real|sum",
            "5|real|least",
            "6|integer|9223372036854775807",
            "7|blob|2",
            "8|text|",
            "9|blob|0",
            "10|blob|20000",
            "11|real|most",
            "12|real|odd",
            "99|text|news",
        ],
        conflicts: &[],
    }
    .check();
}

#[test]
fn columns_that_follow_from_others_are_left_to_follow() {
    Meeting {
        schema: &[
            "CREATE TABLE t (k INTEGER PRIMARY KEY, a, twice AS (a * 2), b)",
            "INSERT INTO t (k, a, b) VALUES (1, 1, 'x'), (2, 2, 'y'), (3, 3, 'z')",
        ],
        local: &[
            "INSERT INTO t (k, a, b) VALUES (4, 4, 'mine')",
            "UPDATE t SET a = 10 WHERE k = 1",
            "UPDATE t SET k = 20 WHERE k = 2",
            "DELETE FROM t WHERE k = 3",
        ],
        remote: &["UPDATE t SET b = 'theirs' WHERE k = 1"],
        query: "SELECT k, a, twice, b FROM t ORDER BY k",
        expected: &["1|10|20|theirs", "4|4|8|mine", "20|2|4|y"],
        conflicts: &["t k=1: the remote had changed the row"],
    }
    .check();
}

#[test]
fn a_table_made_and_changed_before_the_first_push_arrives_as_it_is() {
    Meeting {
        schema: &["CREATE TABLE other (v)"],
        local: &[
            "CREATE TABLE t (k TEXT PRIMARY KEY, v)",
            "INSERT INTO t VALUES ('a', 1), ('b', 2)",
            "UPDATE t SET v = 3 WHERE k = 'a'",
            "UPDATE t SET k = 'c' WHERE k = 'b'",
            "DELETE FROM t WHERE k = 'a'",
        ],
        remote: &["INSERT INTO other VALUES (1)"],
        query: "SELECT * FROM t ORDER BY k",
        expected: &["c|2"],
        conflicts: &[],
    }
    .check();
}

#[test]
fn reports_name_the_first_conflicts_and_count_all() {
    let place = Sandbox::simulated();
    place.remote_executes(&["CREATE TABLE t (k INTEGER PRIMARY KEY, v)"]);
    let (a, at_a) = client(&place, "a");
    at_a.execute("BEGIN").unwrap();
    for k in 0..250 {
        at_a.execute(format!("INSERT INTO t VALUES ({k}, 'mine')")).unwrap();
        place.remote_executes(&[&format!("INSERT INTO t VALUES ({k}, 'theirs')")]);
    }
    at_a.execute("COMMIT").unwrap();
    let conflicts = block_on(a.pull()).unwrap().conflicts;
    assert_eq!((conflicts.listed.len(), conflicts.total), (plimsoll_engine::CONFLICTS_LISTED_MAX, 250));
}
