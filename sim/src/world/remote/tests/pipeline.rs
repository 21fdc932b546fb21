//! Tests `/v2/pipeline`.

use super::*;

#[test]
fn values_survive_the_round_trip() {
    let mut remote = remote();
    let args = json!([
        { "type": "null" },
        { "type": "integer", "value": "-9223372036854775808" },
        { "type": "float", "value": 1.5 },
        { "type": "text", "value": "é" },
        { "type": "blob", "base64": "AAEC/w" },
    ]);
    let select = "SELECT ?1 AS n, ?2 AS i, ?3 AS f, ?4 AS t, ?5 AS b";
    let results = pipeline(&mut remote, json!([{ "type": "execute", "stmt": stmt(select, args.clone()) }]));
    let names = ["n", "i", "f", "t", "b"].map(|name| json!({ "name": name }));
    let result = json!({ "cols": names, "rows": [args], "affected_row_count": 0, "last_insert_rowid": null });
    let response = json!({ "type": "execute", "result": result });
    assert_eq!(results, json!([{ "type": "ok", "response": response }]));
}

#[test]
fn an_insert_is_answered_with_its_rowid_and_bad_sql_with_an_error() {
    let mut remote = remote();
    let execute = |sql: &str| json!({ "type": "execute", "stmt": stmt(sql, json!([])) });
    let sql = ["CREATE TABLE t (k INTEGER PRIMARY KEY)", "INSERT INTO t VALUES (41), (42)", "SELEC 1"];
    let results = pipeline(&mut remote, json!(sql.map(execute)));
    assert_eq!(results[1]["response"]["result"]["last_insert_rowid"], "42", "{results}");
    assert_eq!(results[2]["error"]["code"], "SQLITE_ERROR", "{results}");
}

#[test]
fn requests_run_in_order_and_a_failure_stops_no_other() {
    let mut remote = remote_with_rows(1);
    let results = pipeline(
        &mut remote,
        json!([
            { "type": "execute", "stmt": stmt("INSERT INTO t VALUES (1, 'again')", json!([])) },
            { "type": "execute", "stmt": { "sql": "INSERT INTO t VALUES (2, 'v2'), (3, 'v3')" } },
            { "type": "execute", "stmt": { "sql": "SELECT * FROM t", "want_rows": false } },
            { "type": "close" },
        ]),
    );
    assert_eq!(results[0]["type"], "error");
    assert_eq!(results[0]["error"]["code"], "SQLITE_CONSTRAINT");
    assert!(results[0]["error"]["message"].as_str().unwrap().contains("UNIQUE"), "{results}");
    assert_eq!(results[1]["response"]["result"]["affected_row_count"], 2);
    assert_eq!(
        results[2]["response"]["result"]["rows"],
        json!([]),
        "rows are returned unless they are not wanted"
    );
    assert_eq!(results[3], json!({ "type": "ok", "response": { "type": "close" } }));
    assert_eq!(rows(&remote, "SELECT k FROM t ORDER BY k"), "1 2 3");
}

#[test]
fn an_open_transaction_ends_with_its_request() {
    let mut remote = remote_with_rows(1);
    let count = remote.frame_count();
    let begin = json!({ "type": "execute", "stmt": stmt("BEGIN IMMEDIATE", json!([])) });
    let insert = json!({ "type": "execute", "stmt": stmt("INSERT INTO t VALUES (9, 'v9')", json!([])) });
    let results = pipeline(&mut remote, json!([begin, insert]));
    assert_eq!(results[1]["type"], "ok");
    assert_eq!(remote.frame_count(), count);
    assert_eq!(rows(&remote, "SELECT count(*) FROM t"), "1");
    transact(&mut remote, &["INSERT INTO t VALUES (2, 'v2')"]);
}

/// A push as the engine sends it: each step runs only if the one before it succeeded, and a transaction that
/// is still open at the end is rolled back.
fn push(inserts: &[&str]) -> Json {
    let mut steps = vec![json!({ "stmt": stmt("BEGIN IMMEDIATE", json!([])) })];
    let mut after_ok = |sql: &str| {
        let ok = json!({ "type": "ok", "step": steps.len() - 1 });
        let inside = json!({ "type": "not", "cond": { "type": "is_autocommit" } });
        let condition = json!({ "type": "and", "conds": [ok, inside] });
        steps.push(json!({ "condition": condition, "stmt": stmt(sql, json!([])) }));
    };
    inserts.iter().for_each(|sql| after_ok(sql));
    after_ok("COMMIT");
    let open = json!({ "type": "not", "cond": { "type": "is_autocommit" } });
    steps.push(json!({ "condition": open, "stmt": stmt("ROLLBACK", json!([])) }));
    json!([{ "type": "batch", "batch": { "steps": steps } }])
}

fn shape(result: &Json) -> String {
    let (results, errors) = (&result["step_results"], &result["step_errors"]);
    let step = |index: usize| match (results[index].is_null(), errors[index].is_null()) {
        (false, true) => "ok",
        (true, false) => "error",
        (true, true) => "skipped",
        (false, false) => "both",
    };
    assert_eq!(results.as_array().unwrap().len(), errors.as_array().unwrap().len());
    (0..results.as_array().unwrap().len()).map(step).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_successful_batch_is_committed_as_a_whole() {
    let mut remote = remote_with_rows(1);
    let inserts = ["INSERT INTO t VALUES (2, 'v2')", "INSERT INTO t VALUES (3, 'v3')"];
    let results = pipeline(&mut remote, push(&inserts));
    assert_eq!(results[0]["response"]["type"], "batch");
    assert_eq!(shape(&results[0]["response"]["result"]), "ok ok ok ok skipped");
    assert_eq!(rows(&remote, "SELECT k FROM t ORDER BY k"), "1 2 3");
}

#[test]
fn a_failing_batch_stops_and_changes_nothing() {
    let mut remote = remote_with_rows(1);
    let count = remote.frame_count();
    let inserts =
        ["INSERT INTO t VALUES (2, 'v2')", "INSERT INTO t VALUES (1, 'x')", "INSERT INTO t VALUES (3, 'x')"];
    let results = pipeline(&mut remote, push(&inserts));
    assert_eq!(shape(&results[0]["response"]["result"]), "ok ok error skipped skipped ok");
    assert_eq!(rows(&remote, "SELECT * FROM t"), "1|v1");
    assert_eq!(remote.frame_count(), count);
}

#[test]
fn conditions_combine() {
    let mut remote = remote();
    let (yes, no) = (json!({ "type": "ok", "step": 0 }), json!({ "type": "error", "step": 0 }));
    let conditions = [
        (json!({ "type": "and", "conds": [yes, no] }), "skipped"),
        (json!({ "type": "or", "conds": [yes, no] }), "ok"),
        (json!({ "type": "and", "conds": [] }), "ok"),
        (json!({ "type": "or", "conds": [] }), "skipped"),
        (json!({ "type": "not", "cond": no }), "ok"),
        (json!({ "type": "is_autocommit" }), "ok"),
        (json!({ "type": "error", "step": 1 }), "skipped"), // a skipped step is not an error …
        (json!({ "type": "ok", "step": 1 }), "skipped"),    // … and not ok
        (Json::Null, "ok"),
    ];
    let mut steps = vec![json!({ "stmt": stmt("SELECT 1", json!([])) })];
    let select =
        |(condition, _): &(Json, _)| json!({ "condition": condition, "stmt": stmt("SELECT 2", json!([])) });
    steps.extend(conditions.iter().map(select));
    let results = pipeline(&mut remote, json!([{ "type": "batch", "batch": { "steps": steps } }]));
    let expected = conditions.map(|(_, expected)| expected).join(" ");
    assert_eq!(shape(&results[0]["response"]["result"]), format!("ok {expected}"));
}

fn store(id: i32, sql: &str) -> Json {
    json!({ "type": "store_sql", "sql_id": id, "sql": sql })
}

#[test]
fn a_batch_may_name_its_arguments_and_its_texts() {
    let mut remote = remote_with_rows(1);
    let named =
        |name: &str, value: &str| json!({ "name": name, "value": { "type": "text", "value": value } });
    let insert = |args: Json| json!({ "sql_id": 7, "args": [], "named_args": args });
    let step = |stmt: Json| json!({ "stmt": stmt });
    let both = json!([named("id", "2"), named("$v", "two")]);
    let steps = [
        step(json!({ "sql": "BEGIN", "want_rows": false })),
        step(insert(both)),
        step(insert(json!([named("unknown", "3")]))),
        step(json!({ "sql": "COMMIT" })),
    ];
    let requests = json!([
        store(7, "INSERT INTO t VALUES (:id, $v)"),
        { "type": "batch", "batch": { "steps": steps } },
        { "type": "close_sql", "sql_id": 7 },
        { "type": "execute", "stmt": { "sql": "SELECT v FROM t WHERE k = @id", "named_args": [named("@id", "2")] } },
        store(7, "SELECT 1"),
        { "type": "close" },
    ]);
    let results = pipeline(&mut remote, requests);
    assert_eq!(results[0]["response"]["type"], "store_sql");
    assert_eq!(shape(&results[1]["response"]["result"]), "ok ok error ok");
    assert_eq!(results[2]["response"]["type"], "close_sql");
    // Rows are wanted by default.
    assert_eq!(results[3]["response"]["result"]["rows"][0][0]["value"], "two", "{results}");
    assert_eq!(rows(&remote, "SELECT * FROM t ORDER BY k"), "1|v1 2|two");
}

#[test]
fn malformed_requests_run_nothing() {
    let mut remote = remote_with_rows(1);
    let insert = json!({ "type": "execute", "stmt": stmt("INSERT INTO t VALUES (2, 'v2')", json!([])) });
    let arg = |value: Json| json!([insert, { "type": "execute", "stmt": stmt("SELECT ?", json!([value])) }]);
    let stored = json!({ "sql_id": 1 });
    let forward = json!({ "condition": { "type": "ok", "step": 0 }, "stmt": stmt("SELECT 1", json!([])) });
    let bodies = [
        "".to_owned(),
        "{".to_owned(),
        json!({ "baton": "b1", "requests": [insert] }).to_string(),
        json!({ "requests": [insert, { "type": "sequence" }] }).to_string(),
        json!({ "requests": [insert, store(1, "SELECT 1"), store(1, "SELECT 2")] }).to_string(),
        json!({ "requests": [insert, { "type": "execute", "stmt": stored }] }).to_string(),
        json!({ "requests": [insert, { "type": "batch", "batch": { "steps": [forward] } }] }).to_string(),
        json!({ "requests": arg(json!({ "type": "integer", "value": 1 })) }).to_string(),
        json!({ "requests": arg(json!({ "type": "integer", "value": "1.5" })) }).to_string(),
        json!({ "requests": arg(json!({ "type": "blob", "base64": "AA==" })) }).to_string(),
    ];
    for body in bodies {
        let answer = post(&mut remote, "/v2/pipeline", body.clone());
        assert_eq!(answer.status(), 400, "{body}");
        assert!(json_of(&answer)["error"].is_string());
    }
    assert_eq!(rows(&remote, "SELECT * FROM t"), "1|v1");
}
