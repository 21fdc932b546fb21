//! The SQL of a request: it reaches nothing but the database, ends at its limits, and holds up nobody.

use std::fmt::Write as _;

use plimsoll_sim::serve::Limits;
use plimsoll_sim::world::remote::StatementLimits;
use tokio::io::AsyncWriteExt;

use super::{Answer, Running, SHORT, limits, pipeline_request, runtime};

/// A statement that runs until it is stopped.
const ENDLESS: &str =
    "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c";

#[test]
fn what_one_request_leaves_behind_is_gone_for_the_next() {
    runtime().block_on(async {
        let server = Running::start(limits()).await;
        server.execute(&["CREATE TABLE t (v)"]);
        let results = server
            .pipeline(&[
                "PRAGMA foreign_keys = ON",
                "PRAGMA foreign_keys",
                "BEGIN IMMEDIATE",
                "INSERT INTO t VALUES (1)",
            ])
            .await;
        assert_eq!(results[1]["response"]["result"]["rows"][0][0]["value"], "1", "{results}");
        assert_eq!(results[3]["type"], "ok", "{results}");
        let results = server.pipeline(&["PRAGMA foreign_keys", "INSERT INTO t VALUES (2)"]).await;
        assert_eq!(results[0]["response"]["result"]["rows"][0][0]["value"], "0", "{results}");
        assert_eq!(server.row_count().await, "1", "the open transaction was rolled back");
        server.stop().await;
    });
}

#[test]
fn a_statement_that_reaches_beyond_its_request_is_refused_and_the_others_run() {
    runtime().block_on(async {
        let server = Running::start(limits()).await;
        server.execute(&["CREATE TABLE t (v)"]);
        let copy = server.directory.path().join("copy.db").display().to_string();
        let into = format!("VACUUM INTO '{copy}'");
        let attach = format!("ATTACH '{copy}' AS copy");
        let hostile = [
            into.as_str(),
            attach.as_str(),
            "CREATE TEMP TABLE t (v)",
            "CREATE TABLE temp.t (v)",
            "PRAGMA wal_checkpoint(TRUNCATE)",
            "PRAGMA journal_mode = 'mvcc'",
            "PRAGMA synchronous = OFF",
            "PRAGMA query_only = ON",
            "PRAGMA max_page_count = 1",
        ];
        let with_insert: Vec<&str> = hostile.iter().copied().chain(["INSERT INTO t VALUES (1)"]).collect();
        let results = server.pipeline(&with_insert).await;
        for (index, sql) in hostile.iter().enumerate() {
            assert_eq!(results[index]["error"]["code"], "SQLITE_AUTH", "{sql}: {results}");
        }
        assert_eq!(results[hostile.len()]["type"], "ok", "{results}");
        assert_eq!(server.row_count().await, "1");
        assert!(!std::path::Path::new(&copy).exists());
        assert!(server.remote.checkpoint().unwrap(), "the log is still the model's");
        server.stop().await;
    });
}

#[test]
fn while_a_statement_runs_others_are_answered_and_a_shutdown_stops_it() {
    runtime().block_on(async {
        let server = Running::start(limits()).await;
        server.execute(&["CREATE TABLE t (v)"]);
        let endless_write =
            format!("INSERT INTO t SELECT x FROM ({}) WHERE x < 0", ENDLESS.replace("count(*)", "x"));
        let mut waiting = Vec::new();
        for statement in [ENDLESS, endless_write.as_str()] {
            let mut stream = server.connect().await;
            stream.write_all(pipeline_request(&[statement]).as_bytes()).await.unwrap();
            waiting.push(stream);
        }
        for path in ["/info", "/healthz", "/metrics", "/export/1", "/sync/1/1/2"] {
            assert_eq!(server.get(path).await.status, 200, "{path}");
        }
        assert_eq!(server.row_count().await, "0", "other SQL reads");
        server.stop().await;
        for mut stream in waiting {
            let answer = Answer::read(&mut stream).await;
            assert_eq!(answer.json()["results"][0]["error"]["code"], "SQLITE_INTERRUPT", "{}", answer.text);
        }
    });
}

#[test]
fn a_client_that_hangs_up_stops_its_statement() {
    runtime().block_on(async {
        let server = Running::start(Limits { requests_at_once: 1, ..limits() }).await;
        let mut stream = server.connect().await;
        stream.write_all(pipeline_request(&[ENDLESS]).as_bytes()).await.unwrap();
        drop(stream);
        assert_eq!(server.code_of("SELECT 1").await, "none", "the only place is free again");
        server.stop().await;
    });
}

#[test]
fn a_statement_ends_at_its_limits() {
    runtime().block_on(async {
        let statements =
            StatementLimits { rows: 10, answer_bytes: 5000, statements: 4, ..StatementLimits::default() };
        let server = Running::start(Limits { statement_time: SHORT, statements, ..limits() }).await;
        let results = server.pipeline(&[ENDLESS, "SELECT 1"]).await;
        assert_eq!(results[0]["error"]["code"], "SQLITE_INTERRUPT", "{results}");
        assert!(results[0]["error"]["message"].as_str().unwrap().contains("time limit"), "{results}");
        assert_eq!(results[1]["type"], "ok", "the limit is each statement's");
        let results = server.pipeline(&["BEGIN IMMEDIATE", ENDLESS]).await;
        assert_eq!(
            results[1]["error"]["code"], "SQLITE_INTERRUPT",
            "its transaction is rolled back: {results}"
        );
        assert_eq!(server.code_of("SELECT value FROM generate_series(1, 10)").await, "none");
        assert_eq!(server.code_of("SELECT value FROM generate_series(1, 11)").await, "SQLITE_TOOBIG");
        assert_eq!(server.code_of("SELECT hex(zeroblob(3000))").await, "SQLITE_TOOBIG");
        assert_eq!(server.code_of("SELECT zeroblob(1000000000)").await, "SQLITE_AUTH");
        let many = server.send(pipeline_request(&["SELECT 1"; 5])).await;
        assert_eq!(many.status, 413, "{}", many.text);
        server.stop().await;
    });
}

#[cfg(target_os = "linux")]
#[test]
fn a_statement_that_doubles_its_memory_is_stopped() {
    runtime().block_on(async {
        let server = Running::start(Limits { statement_memory_bytes: 32 << 20, ..limits() }).await;
        let doubling =
            "WITH RECURSIVE c(x) AS (SELECT 'a' UNION ALL SELECT x || x FROM c) SELECT count(*) FROM c";
        let results = server.pipeline(&[doubling]).await;
        assert_eq!(results[0]["error"]["code"], "SQLITE_INTERRUPT", "{results}");
        assert!(results[0]["error"]["message"].as_str().unwrap().contains("memory"), "{results}");
        server.stop().await;
    });
}

#[test]
fn a_deep_statement_is_refused_and_the_deepest_allowed_one_runs() {
    runtime().block_on(async {
        let server = Running::start(limits()).await;
        let views: Vec<String> =
            (1..3000).map(|n| format!("CREATE VIEW v{n} AS SELECT x FROM v{}", n - 1)).collect();
        server.execute(&["CREATE VIEW v0 AS SELECT 1 AS x"]);
        for view in views.iter().take(60) {
            server.execute(&[view]);
        }
        let limits = StatementLimits::default();
        let union = |count: usize| vec!["SELECT 1"; count].join(" UNION ALL ");
        let ctes = |count: usize| {
            let mut sql = "WITH c0 AS (SELECT 1 AS x)".to_owned();
            for n in 1..count {
                write!(sql, ", c{n} AS (SELECT x FROM c{})", n - 1).unwrap();
            }
            format!("{sql} SELECT x FROM c{}", count - 1)
        };
        let subqueries = |depth: usize| {
            format!(
                "SELECT * FROM {}(SELECT 1){}",
                "(SELECT * FROM ".repeat(depth - 1),
                ")".repeat(depth - 1)
            )
        };
        let parentheses = |depth: usize| format!("SELECT {}1{}", "(".repeat(depth), ")".repeat(depth));
        for sql in [
            union(20_000),
            ctes(1500),
            subqueries(10_000),
            parentheses(100_000),
            "SELECT x FROM v59".to_owned(),
            format!("CREATE VIEW w AS {}", union(300)),
        ] {
            assert_eq!(server.code_of(&sql).await, "SQLITE_AUTH", "{}", &sql[..60.min(sql.len())]);
        }
        let deepest_view = format!("SELECT x FROM v{}", limits.nesting - 2);
        for sql in [
            union(limits.selects),
            ctes(limits.selects - 1),
            subqueries(limits.nesting - 1),
            parentheses(limits.nesting),
            deepest_view,
        ] {
            assert_eq!(server.code_of(&sql).await, "none", "{}", &sql[..60.min(sql.len())]);
        }
        let unary = format!("SELECT {}1", "- ".repeat(400_000));
        assert_ne!(server.code_of(&unary).await, "none");
        server.stop().await;
    });
}

#[test]
fn cascades_of_foreign_keys_and_triggers_have_a_limit() {
    runtime().block_on(async {
        let server = Running::start(limits()).await;
        server.execute(&[
            "CREATE TABLE node (id INTEGER PRIMARY KEY, parent REFERENCES node ON DELETE CASCADE)",
            "CREATE INDEX by_parent ON node (parent)",
            "INSERT INTO node SELECT value, nullif(value - 1, 0) FROM generate_series(1, 30000)",
            "CREATE TABLE d0 (id INTEGER PRIMARY KEY)",
        ]);
        for n in 1..40 {
            let parent = format!("REFERENCES d{} ON DELETE CASCADE", n - 1);
            server.execute(&[&format!("CREATE TABLE d{n} (id INTEGER PRIMARY KEY, a {parent}, b {parent})")]);
        }
        let results = server.pipeline(&["PRAGMA foreign_keys = ON", "DELETE FROM d0"]).await;
        assert_eq!(results[1]["error"]["code"], "SQLITE_AUTH", "{results}");
        let results = server.pipeline(&["PRAGMA foreign_keys = ON", "DELETE FROM node WHERE id = 1"]).await;
        assert_eq!(results[1]["error"]["code"], "SQLITE_INTERRUPT", "{results}");
        assert!(results[1]["error"]["message"].as_str().unwrap().contains("nested too deep"), "{results}");
        let results =
            server.pipeline(&["PRAGMA foreign_keys = ON", "DELETE FROM node WHERE id = 29990"]).await;
        assert_eq!(results[1]["type"], "ok", "{results}");
        let results = server.pipeline(&["SELECT count(*) FROM node", "DELETE FROM d0"]).await;
        assert_eq!(results[0]["response"]["result"]["rows"][0][0]["value"], "29989", "{results}");
        assert_eq!(results[1]["type"], "ok", "without foreign keys nothing cascades: {results}");
        server.stop().await;
    });
}
