//! Tests the statement that guards a push: it fails exactly if the acknowledgement row is not the expected
//! one.

use super::*;

const TABLE: &str = "turso_sync_last_change_id";

/// Inserts two rows with the same key, and so fails, unless the row exists with the expected change id.
const EXPECTED: &str = "INSERT INTO turso_sync_last_change_id(client_id,pull_gen,change_id) \
    SELECT ?1,0,0 FROM (SELECT 1 UNION ALL SELECT 1) WHERE NOT EXISTS \
    (SELECT 1 FROM turso_sync_last_change_id WHERE client_id=?1 AND change_id=?2)";

/// Inserts two rows with the same key, and so fails, unless there is no row.
const ABSENT: &str = "INSERT INTO turso_sync_last_change_id(client_id,pull_gen,change_id) \
    SELECT ?1,0,0 FROM (SELECT 1 UNION ALL SELECT 1) WHERE EXISTS \
    (SELECT 1 FROM turso_sync_last_change_id WHERE client_id=?1)";

fn remote_with_acknowledgements(values: &str) -> Remote {
    let mut remote = remote();
    let table = "(client_id TEXT PRIMARY KEY, pull_gen INTEGER, change_id INTEGER)";
    transact(&mut remote, &[&format!("CREATE TABLE {TABLE} {table}")]);
    if !values.is_empty() {
        transact(&mut remote, &[&format!("INSERT INTO {TABLE} VALUES {values}")]);
    }
    remote
}

/// Sends the guard alone, and then as the first statement of a transaction that inserts a row.
fn check(acknowledgements: &str, guard: &str, args: Json, passes: bool) {
    let mut remote = remote_with_acknowledgements(acknowledgements);
    transact(&mut remote, &["CREATE TABLE t (v)"]);
    let before = rows(&remote, &format!("SELECT * FROM {TABLE} ORDER BY client_id"));
    let count = remote.frame_count();

    let results = pipeline(&mut remote, json!([{ "type": "execute", "stmt": stmt(guard, args.clone()) }]));
    assert_eq!(results[0]["type"] == "ok", passes, "{results}");
    if passes {
        assert_eq!(results[0]["response"]["result"]["affected_row_count"], 0);
    } else {
        assert_eq!(results[0]["error"]["code"], "SQLITE_CONSTRAINT", "{results}");
    }
    assert_eq!(rows(&remote, &format!("SELECT * FROM {TABLE} ORDER BY client_id")), before);
    assert_eq!(remote.frame_count(), count, "the guard writes nothing, whether it fails or passes");

    let after_ok = |step: usize| json!({ "type": "ok", "step": step });
    let steps = json!([
        { "stmt": stmt("BEGIN IMMEDIATE", json!([])) },
        { "condition": after_ok(0), "stmt": stmt(guard, args) },
        { "condition": after_ok(1), "stmt": stmt("INSERT INTO t VALUES (1)", json!([])) },
        { "condition": after_ok(2), "stmt": stmt("COMMIT", json!([])) },
    ]);
    pipeline(&mut remote, json!([{ "type": "batch", "batch": { "steps": steps } }]));
    assert_eq!(rows(&remote, &format!("SELECT * FROM {TABLE} ORDER BY client_id")), before);
    assert_eq!(rows(&remote, "SELECT count(*) FROM t"), if passes { "1" } else { "0" });
    assert_eq!(rows(&remote, "PRAGMA integrity_check"), "ok");
}

fn args(change_id: &str) -> Json {
    json!([{ "type": "text", "value": "a" }, { "type": "integer", "value": change_id }])
}

#[test]
fn the_expected_row_passes() {
    check("('a', 3, 7)", EXPECTED, args("7"), true);
    check("('a', 3, 7), ('b', 1, 9)", EXPECTED, args("7"), true);
}

#[test]
fn a_different_row_fails() {
    check("('a', 3, 8)", EXPECTED, args("7"), false);
    check("('a', 3, 8), ('b', 3, 7)", EXPECTED, args("7"), false);
}

#[test]
fn an_absent_row_fails_where_one_is_expected() {
    check("", EXPECTED, args("7"), false);
    check("('b', 3, 7)", EXPECTED, args("7"), false);
}

#[test]
fn an_absent_row_passes_where_none_is_expected() {
    let client = json!([{ "type": "text", "value": "a" }]);
    check("", ABSENT, client.clone(), true);
    check("('b', 3, 7)", ABSENT, client.clone(), true);
    check("('a', 0, 0)", ABSENT, client.clone(), false);
    check("('a', 3, 7), ('b', 3, 7)", ABSENT, client, false);
}
