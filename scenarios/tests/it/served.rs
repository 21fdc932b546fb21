//! A served remote and clients that are hostile, clumsy or slow: what they do is bounded, refused by a clear
//! answer, and none of it reaches the next client.
#![expect(clippy::disallowed_methods, reason = "these tests use real files and real connections")]

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use plimsoll_sim::serve::{Limits, ServeError, ServedRemote, Server, Settings, Token};
use plimsoll_sim::world::remote::StatementLimits;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);
/// A time that no test reaches.
const LONG: Duration = Duration::from_secs(3600);
/// A time after which a test wants something to end.
const SHORT: Duration = Duration::from_millis(100);

/// A statement that runs until it is stopped.
const ENDLESS: &str =
    "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c";

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

struct Running {
    address: SocketAddr,
    remote: ServedRemote,
    directory: tempfile::TempDir,
    end: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<Result<(), ServeError>>,
}

/// Limits whose times no test reaches.
fn limits() -> Limits {
    Limits {
        head_time: LONG,
        body_idle_time: LONG,
        write_time: LONG,
        request_time: LONG,
        statement_time: LONG,
        ..Limits::default()
    }
}

impl Running {
    async fn start(limits: Limits) -> Self {
        Self::start_with(Settings { limits, ..Settings::default() }).await
    }

    async fn start_with(settings: Settings) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let server = Server::bind(&directory.path().join("remote"), ANY_PORT, settings).await.unwrap();
        let (address, remote) = (server.address(), server.remote());
        let (end, ended) = oneshot::channel::<()>();
        let task = tokio::spawn(server.run(async move { ended.await.unwrap_or(()) }));
        Self { address, remote, directory, end, task }
    }

    /// Stops it, and checks that it has contradicted nothing.
    async fn stop(self) {
        drop(self.end);
        self.task.await.unwrap().unwrap();
    }

    fn execute(&self, statements: &[&str]) {
        self.remote
            .transact(|connection| statements.iter().try_for_each(|sql| connection.execute(sql)))
            .unwrap();
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends a request on a new connection and returns the answer.
    async fn send(&self, request: impl AsRef<[u8]>) -> Answer {
        let mut stream = self.connect().await;
        // The server may answer before it has read everything.
        stream.write_all(request.as_ref()).await.unwrap_or(());
        Answer::read(&mut stream).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")).await
    }

    /// Sends each statement as one request of a pipeline, and returns their results.
    async fn pipeline(&self, statements: &[&str]) -> Value {
        let answer = self.send(pipeline_request(statements)).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json()["results"].clone()
    }

    /// The error code of a statement.
    async fn code_of(&self, statement: &str) -> String {
        self.pipeline(&[statement]).await[0]["error"]["code"].as_str().unwrap_or("none").to_owned()
    }

    async fn row_count(&self) -> String {
        let results = self.pipeline(&["SELECT count(*) FROM t"]).await;
        results[0]["response"]["result"]["rows"][0][0]["value"].as_str().unwrap().to_owned()
    }
}

fn pipeline_request(statements: &[&str]) -> String {
    let requests: Vec<Value> = statements
        .iter()
        .map(|sql| json!({ "type": "execute", "stmt": { "sql": sql, "want_rows": true } }))
        .collect();
    post("/v2/pipeline", "", &json!({ "requests": requests }).to_string())
}

fn post(path: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}content-length: {length}\r\n\r\n{body}"
    )
}

struct Answer {
    status: u16,
    /// Head and body.
    text: String,
}

impl Answer {
    /// Reads until the server closes the connection.
    async fn read(stream: &mut TcpStream) -> Self {
        let mut bytes = Vec::new();
        // A connection that was reset has still brought the answer.
        stream.read_to_end(&mut bytes).await.unwrap_or(0);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        Self { status, text }
    }

    fn json(&self) -> Value {
        let body = self.text.split_once("\r\n\r\n").unwrap().1;
        serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }
}

#[test]
fn a_request_for_another_host_is_refused() {
    runtime().block_on(async {
        let settings = Settings { hosts: vec!["db.example".into()], limits: limits(), ..Settings::default() };
        let server = Running::start_with(settings).await;
        for (host, status) in [
            ("localhost", 200),
            ("127.0.0.1:8080", 200),
            ("[::1]", 200),
            ("db.example", 200),
            ("evil.example", 421),
            ("localhost.evil.example", 421),
            ("", 421),
        ] {
            let request = format!("GET /info HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
            assert_eq!(server.send(request).await.status, status, "{host}");
        }
        let nameless = server.send("GET /info HTTP/1.0\r\n\r\n").await;
        assert_eq!(nameless.status, 400);
        let absolute =
            "GET http://evil.example/info HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        assert_eq!(server.send(absolute).await.status, 421);
        server.stop().await;
    });
}

#[test]
fn a_page_of_another_site_cannot_write() {
    let body = json!({ "requests": [{ "type": "execute", "stmt": { "sql": "INSERT INTO t VALUES (1)" } }] });
    let body = body.to_string();
    runtime().block_on(async {
        let server = Running::start(limits()).await;
        server.execute(&["CREATE TABLE t (v)"]);
        for (headers, status) in [
            ("content-type: application/x-www-form-urlencoded\r\n", 415),
            ("content-type: text/plain\r\n", 415),
            ("content-type: application/json\r\norigin: http://evil.example\r\n", 403),
            ("origin: null\r\n", 403),
            ("sec-fetch-site: cross-site\r\n", 403),
        ] {
            assert_eq!(server.send(post("/v2/pipeline", headers, &body)).await.status, status, "{headers}");
        }
        assert_eq!(server.row_count().await, "0");
        for headers in
            ["", "content-type: application/json; charset=utf-8\r\n", "origin: http://localhost\r\n"]
        {
            assert_eq!(server.send(post("/v2/pipeline", headers, &body)).await.status, 200, "{headers}");
        }
        assert_eq!(server.row_count().await, "3");
        server.stop().await;
    });
}

#[test]
fn other_machines_need_a_token() {
    runtime().block_on(async {
        let directory = tempfile::tempdir().unwrap();
        let every: SocketAddr = "0.0.0.0:0".parse().unwrap();
        let refused = Server::bind(directory.path(), every, Settings::default()).await.err().unwrap();
        assert!(matches!(refused, ServeError::NeedsToken { .. }), "{refused}");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "nothing was written");

        let file = directory.path().join("token");
        std::fs::write(&file, "short\n").unwrap();
        assert!(Token::read(&file).err().unwrap().to_string().contains("at least 16"));
        std::fs::write(&file, "0123456789abcdef\n").unwrap();
        let token = Some(Token::read(&file).unwrap());
        let server = Running::start_with(Settings { token, limits: limits(), ..Settings::default() }).await;
        let get = |path: &str, headers: &str| {
            format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}\r\n")
        };
        let bearer = "authorization: Bearer 0123456789abcdef\r\n";
        for path in ["/info", "/metrics", "/no-such-route"] {
            let answer = server.send(get(path, "")).await;
            assert_eq!(answer.status, 401, "{path}");
            assert!(answer.text.contains("www-authenticate: Bearer"), "{}", answer.text);
        }
        assert_eq!(server.send(get("/info", "authorization: Bearer 0123456789abcdeX\r\n")).await.status, 401);
        assert_eq!(server.send(get("/info", bearer)).await.status, 200);
        assert_eq!(server.send(get("/healthz", "")).await.status, 200);
        server.stop().await;
    });
}

#[test]
fn a_body_beyond_the_limit_is_answered_with_the_limit() {
    runtime().block_on(async {
        let server = Running::start(Limits { body_bytes: 1000, ..limits() }).await;
        let chunked = format!(
            "POST /v2/pipeline HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n\
             7d0\r\n{}\r\n0\r\n\r\n",
            " ".repeat(2000)
        );
        for request in [post("/v2/pipeline", "", &" ".repeat(1001)), post("/sync/1/1/2", "", &"x".repeat(4120)), chunked] {
            let answer = server.send(request).await;
            assert_eq!(answer.status, 413, "{}", answer.text);
            assert_eq!(answer.json()["limit_bytes"], 1000);
        }
        assert_eq!(server.get("/info").await.status, 200);
        server.stop().await;
    });
}

/// A request that has sent a part of its body and stops there.
async fn stalled(server: &Running, sent: usize, announced: usize) -> TcpStream {
    let mut stream = server.connect().await;
    let head =
        format!("POST /v2/pipeline HTTP/1.1\r\nhost: localhost\r\ncontent-length: {announced}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&vec![b' '; sent]).await.unwrap();
    stream
}

#[test]
fn bodies_share_a_limited_memory() {
    runtime().block_on(async {
        let server = Running::start(Limits { bodies_bytes: 100 << 10, ..limits() }).await;
        let first = stalled(&server, 90 << 10, 200 << 10).await;
        let used = |text: &str| {
            text.lines().find_map(|line| line.strip_prefix("plimsoll_bodies_bytes ")?.parse().ok())
        };
        while used(&server.get("/metrics").await.text).unwrap_or(0) < 90 << 10 {}
        let large = post("/v2/pipeline", "", &" ".repeat(20 << 10));
        let refused = server.send(&large).await;
        assert_eq!(refused.status, 503, "{}", refused.text);
        assert!(refused.text.contains("retry-after: 1"), "{}", refused.text);
        drop(first);
        while server.send(&large).await.status == 503 {}
        assert_eq!(server.send(large).await.status, 400, "its memory is free again; blanks are no JSON");
        server.stop().await;
    });
}

#[test]
fn a_head_or_body_that_does_not_go_on_is_cut_off() {
    runtime().block_on(async {
        let server = Running::start(Limits { head_time: SHORT, body_idle_time: SHORT, ..limits() }).await;
        let mut stream = server.connect().await;
        stream.write_all(b"GET /info HTTP/1.1\r\nhost: local").await.unwrap();
        assert_ne!(Answer::read(&mut stream).await.status, 200, "half a head");
        let mut stream = server.connect().await;
        stream.write_all(b"GET /info HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        assert_eq!(Answer::read(&mut stream).await.status, 200, "the unused connection is closed");
        let answer = Answer::read(&mut stalled(&server, 10, 20).await).await;
        assert_eq!(answer.status, 408, "{}", answer.text);
        server.stop().await;
    });
}

#[test]
fn a_head_without_measure_is_refused() {
    runtime().block_on(async {
        let server = Running::start(Limits { headers: 10, ..limits() }).await;
        let many = "x: y\r\n".repeat(20);
        let request = format!("GET /info HTTP/1.1\r\nhost: localhost\r\n{many}\r\n");
        assert_eq!(server.send(request).await.status, 431);
        let request = format!("GET /info HTTP/1.1\r\nhost: localhost\r\nx: {}\r\n\r\n", "y".repeat(200_000));
        assert_eq!(server.send(request).await.status, 431);
        assert_eq!(server.get("/info").await.status, 200);
        server.stop().await;
    });
}

#[test]
fn a_connection_beyond_the_limit_gets_a_clear_answer() {
    runtime().block_on(async {
        let server = Running::start(Limits { connections: 2, ..limits() }).await;
        let (first, second) = (server.connect().await, server.connect().await);
        // Connections are accepted in their order.
        let answer = server.get("/info").await;
        assert_eq!(answer.status, 503, "{}", answer.text);
        drop(first);
        while server.get("/info").await.status != 200 {}
        drop(second);
        server.stop().await;
    });
}

#[test]
fn a_reader_that_does_not_read_loses_its_connection() {
    runtime().block_on(async {
        let server = Running::start(Limits { write_time: SHORT, ..limits() }).await;
        let fill = "INSERT INTO t SELECT randomblob(4000) FROM generate_series(1, 4000)";
        server.execute(&["CREATE TABLE t (v)", fill]);
        assert!(server.remote.checkpoint().unwrap());
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let mut stream = socket.connect(server.address).await.unwrap();
        stream.write_all(b"GET /export/2 HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        // The connection that asks is the only one that is left.
        while !server.get("/metrics").await.text.contains("plimsoll_connections 1\n") {}
        let mut received = Vec::new();
        stream.read_to_end(&mut received).await.unwrap_or(0);
        assert!(received.len() < 16_000_000, "{}", received.len());
        server.stop().await;
    });
}

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
fn a_statement_ends_at_its_limits() {
    runtime().block_on(async {
        let statements =
            StatementLimits { rows: 10, answer_bytes: 5000, statements: 4, ..StatementLimits::default() };
        let server = Running::start(Limits { statement_time: SHORT, statements, ..limits() }).await;
        let results = server.pipeline(&[ENDLESS, "SELECT 1"]).await;
        assert_eq!(results[0]["error"]["code"], "SQLITE_INTERRUPT", "{results}");
        assert!(results[0]["error"]["message"].as_str().unwrap().contains("time limit"), "{results}");
        assert_eq!(results[1]["type"], "ok", "the limit is each statement's");
        assert_eq!(server.code_of("SELECT value FROM generate_series(1, 10)").await, "none");
        assert_eq!(server.code_of("SELECT value FROM generate_series(1, 11)").await, "SQLITE_TOOBIG");
        assert_eq!(server.code_of("SELECT hex(zeroblob(3000))").await, "SQLITE_TOOBIG");
        assert_eq!(server.code_of("SELECT zeroblob(1000000000)").await, "SQLITE_AUTH");
        let many = server.send(pipeline_request(&["SELECT 1"; 5])).await;
        assert_eq!(many.status, 413, "{}", many.text);
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
fn a_page_of_no_kind_is_not_appended() {
    runtime().block_on(async {
        let server = Running::start(limits()).await;
        let frame = |first: u8| {
            let mut frame = vec![0; 24];
            frame[3] = 2;
            frame[7] = 2;
            frame.extend([first; 4096]);
            let mut request =
                b"POST /sync/1/1/2 HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n".to_vec();
            request.extend(b"content-type: application/octet-stream\r\ncontent-length: 4120\r\n\r\n");
            request.extend(frame);
            request
        };
        for first in [0xff, 13] {
            let answer = server.send(frame(first)).await;
            assert_eq!(answer.status, 400, "{}", answer.text);
            assert_eq!(answer.json()["status"], "bad_body");
        }
        assert_eq!(server.send(frame(0)).await.status, 200, "an unused page");
        server.stop().await;
    });
}

#[test]
fn every_answer_is_counted_and_none_is_stored() {
    runtime().block_on(async {
        let server = Running::start(limits()).await;
        for (path, status) in [("/info", 200), ("/healthz", 200), ("/nowhere", 404), ("/export/9", 404)] {
            let answer = server.get(path).await;
            assert_eq!(answer.status, status, "{path}");
            assert!(answer.text.contains("cache-control: no-store\r\n"), "{}", answer.text);
        }
        let metrics = server.get("/metrics").await.text;
        for line in [
            "plimsoll_requests_total{method=\"GET\",route=\"/info\",status=\"200\"} 1\n",
            "plimsoll_requests_total{method=\"GET\",route=\"other\",status=\"404\"} 1\n",
            "plimsoll_request_duration_seconds_count{route=\"/info\"} 1\n",
            "plimsoll_generation 1\n",
            "plimsoll_frames 0\n",
        ] {
            assert!(metrics.contains(line), "{line}{metrics}");
        }
        server.stop().await;
    });
}
