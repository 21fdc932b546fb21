//! A client of a served remote that sends valid requests, some of them changed.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use arbitrary::Arbitrary;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use plimsoll_sim::serve::{ArchiveOptions, Limits, Server, Settings};
use plimsoll_sim::world::remote::StatementLimits;
use tower::ServiceExt;

/// The statements that a request may contain.
const STATEMENTS: [&str; 24] = [
    "SELECT * FROM t",
    "INSERT INTO t VALUES (NULL, 'new')",
    "INSERT OR REPLACE INTO t SELECT id, v || v FROM t",
    "UPDATE t SET v = upper(v) WHERE id = 1",
    "DELETE FROM t WHERE id > 3",
    "BEGIN",
    "BEGIN IMMEDIATE",
    "COMMIT",
    "ROLLBACK",
    "SAVEPOINT s",
    "ROLLBACK TO s",
    "CREATE TABLE IF NOT EXISTS u (w UNIQUE, x CHECK (x > 0))",
    "CREATE VIEW IF NOT EXISTS d AS SELECT a.v FROM t a JOIN t b ON a.id = b.id",
    "CREATE TRIGGER IF NOT EXISTS r AFTER INSERT ON t BEGIN DELETE FROM t WHERE id > 50; END",
    "SELECT * FROM d ORDER BY v",
    "DROP TABLE IF EXISTS u",
    "ALTER TABLE t ADD COLUMN c DEFAULT 7",
    "CREATE INDEX IF NOT EXISTS i ON t (v)",
    "PRAGMA table_info(t)",
    "PRAGMA user_version = 9",
    "PRAGMA wal_checkpoint(TRUNCATE)",
    "WITH RECURSIVE c(x) AS (VALUES (1) UNION ALL SELECT x + 1 FROM c LIMIT 50) SELECT group_concat(x) FROM c",
    "SELECT json_group_array(v) FROM t GROUP BY length(v) HAVING count(*) > 0",
    "VACUUM INTO 'copy.db'",
];

/// Requests to one server, in order.
#[derive(Debug, Arbitrary)]
pub struct Conversation {
    generation_frames_max: u8,
    requests: Vec<Sent>,
}

#[derive(Debug, Arbitrary)]
struct Sent {
    valid: Valid,
    changes: Vec<Change>,
}

/// A request as a client of the protocol sends it.
#[derive(Debug, Arbitrary)]
enum Valid {
    Info,
    Export { generation: u8 },
    Frames { generation: u8, start: u8, end: u8 },
    Push { generation: u8, start: u8, pages: Vec<Page>, is_committed: bool, baton: Option<u8> },
    Sql { statements: Vec<Statement>, is_batch: bool },
    Metrics,
}

#[derive(Debug, Arbitrary)]
struct Statement {
    number: u8,
    edits: Vec<(u8, u8)>,
}

#[derive(Debug, Arbitrary)]
struct Page {
    number: u8,
    first: u8,
    edits: Vec<(u16, u8)>,
}

/// A change of a valid request.
#[derive(Debug, Arbitrary)]
enum Change {
    Method { number: u8 },
    PathByte { at: u8, byte: u8 },
    BodyByte { at: u16, byte: u8 },
    Cut { length: u16 },
    Repeat { from: u16, count: u8 },
    Header { number: u8, value: Vec<u8> },
}

/// Holds a conversation with a new server, and checks that the server still works after it.
///
/// # Panics
/// If the server has contradicted itself, or if it does not answer an honest client.
pub fn converse(conversation: &Conversation) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime can be started").block_on(hold(conversation));
}

async fn hold(conversation: &Conversation) {
    let directory = tempfile::tempdir().expect("there is a directory for temporary files");
    let settings = Settings {
        archive: ArchiveOptions {
            generation_frames_max: u64::from(conversation.generation_frames_max).max(5),
            keep_generations: None,
        },
        limits: Limits {
            body_bytes: 64 << 10,
            bodies_bytes: 1 << 20,
            statements: StatementLimits { rows: 1000, answer_bytes: 1 << 20, ..StatementLimits::default() },
            ..Limits::default()
        },
        ..Settings::default()
    };
    let any_port = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
    let server =
        Server::bind(directory.path(), any_port, settings).await.expect("a new directory can be served");
    let fill = server.remote().transact(|connection| {
        connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)")?;
        connection.execute("INSERT INTO t VALUES (1, 'one'), (2, 'two')")
    });
    fill.expect("the statements are sound");
    for sent in conversation.requests.iter().take(20) {
        if let Some(request) = sent.request() {
            let text = format!("{request:?}");
            answer(&server, request).await;
            assert_eq!(server.broken_request(), None, "after {text}");
        }
    }
    let (status, _) = answer(&server, honest("GET", "/info", "")).await;
    assert_eq!(status, StatusCode::OK, "an honest look");
    let write = r#"{"requests":[{"type":"execute","stmt":{"sql":"PRAGMA user_version = 5"}}]}"#;
    let (status, body) = answer(&server, honest("POST", "/v2/pipeline", write)).await;
    assert_eq!(status, StatusCode::OK, "an honest write: {}", String::from_utf8_lossy(&body));
    assert_eq!(server.broken_request(), None, "after an honest write");
}

fn honest(method: &str, path: &str, body: &str) -> Request<Full<Bytes>> {
    let request = Request::builder().method(method).uri(path).header("host", "localhost");
    request.body(Full::new(Bytes::from(body.to_owned()))).expect("the request is sound")
}

async fn answer(server: &Server, request: Request<Full<Bytes>>) -> (StatusCode, Bytes) {
    let response = server.router().oneshot(request).await.unwrap_or_else(|never| match never {});
    let status = response.status();
    let body = response.into_body().collect().await.map(|body| body.to_bytes());
    (status, body.expect("the body is in memory"))
}

impl Sent {
    /// The changed request; `None` if no HTTP client could send it.
    fn request(&self) -> Option<Request<Full<Bytes>>> {
        let (mut method, mut path, mut body) = self.valid.parts();
        let mut headers = vec![(HeaderName::from_static("host"), HeaderValue::from_static("localhost"))];
        for change in self.changes.iter().take(8) {
            match change {
                Change::Method { number } => {
                    let methods = [Method::GET, Method::POST, Method::PUT, Method::DELETE, Method::HEAD];
                    method = methods[usize::from(*number) % methods.len()].clone();
                }
                Change::PathByte { at, byte } => set(&mut path, usize::from(*at), *byte),
                Change::BodyByte { at, byte } => set(&mut body, usize::from(*at), *byte),
                Change::Cut { length } => body.truncate(usize::from(*length) % (body.len() + 1)),
                Change::Repeat { from, count } => {
                    let tail = body[usize::from(*from) % (body.len() + 1)..].to_vec();
                    for _ in 0..count % 8 {
                        body.extend_from_slice(&tail);
                    }
                }
                Change::Header { number, value } => {
                    let names = ["content-type", "origin", "host", "plimsoll-instance", "sec-fetch-site"];
                    let name = HeaderName::from_static(names[usize::from(*number) % names.len()]);
                    headers.push((name, HeaderValue::from_bytes(value).ok()?));
                }
            }
        }
        let path = Uri::try_from(path).ok()?;
        let mut request = Request::builder().method(method).uri(path).body(Full::new(body.into())).ok()?;
        for (name, value) in headers {
            request.headers_mut().append(name, value);
        }
        Some(request)
    }
}

fn set(bytes: &mut [u8], at: usize, byte: u8) {
    let length = bytes.len().max(1);
    if let Some(place) = bytes.get_mut(at % length) {
        *place = byte;
    }
}

impl Valid {
    fn parts(&self) -> (Method, Vec<u8>, Vec<u8>) {
        let get = |path: String| (Method::GET, path.into_bytes(), Vec::new());
        match self {
            Valid::Info => get("/info".into()),
            Valid::Metrics => get("/metrics".into()),
            Valid::Export { generation } => get(format!("/export/{}", generation % 4)),
            Valid::Frames { generation, start, end } => {
                get(format!("/sync/{}/{start}/{end}", generation % 4))
            }
            Valid::Push { generation, start, pages, is_committed, baton } => {
                let end = usize::from(*start) + pages.len();
                let baton = baton.map(|number| format!("/b{number}")).unwrap_or_default();
                let path = format!("/sync/{}/{start}/{end}{baton}", generation % 4);
                (Method::POST, path.into_bytes(), frames(pages, *is_committed))
            }
            Valid::Sql { statements, is_batch } => {
                (Method::POST, b"/v2/pipeline".to_vec(), pipeline(statements, *is_batch))
            }
        }
    }
}

fn frames(pages: &[Page], is_committed: bool) -> Vec<u8> {
    let mut body = Vec::new();
    for (index, page) in pages.iter().enumerate() {
        let is_last = index + 1 == pages.len();
        let size = if is_last && is_committed { u32::from(page.number).max(2) } else { 0 };
        body.extend(u32::from(page.number).to_be_bytes());
        body.extend(size.to_be_bytes());
        body.extend([0; 16]);
        let mut bytes = vec![0; 4096];
        bytes[0] = [0, 2, 5, 10, 13, page.first][usize::from(page.first) % 6];
        // An empty B-tree page: its cells would begin at its end.
        bytes[5] = 0x10;
        for (at, byte) in &page.edits {
            set(&mut bytes, usize::from(*at), *byte);
        }
        body.extend(bytes);
    }
    body
}

fn pipeline(statements: &[Statement], is_batch: bool) -> Vec<u8> {
    let texts = statements.iter().map(|statement| {
        let mut text = STATEMENTS[usize::from(statement.number) % STATEMENTS.len()].as_bytes().to_vec();
        for (at, byte) in &statement.edits {
            set(&mut text, usize::from(*at), *byte);
        }
        serde_json::json!({ "sql": String::from_utf8_lossy(&text), "want_rows": true })
    });
    let requests = if is_batch {
        let steps: Vec<_> = texts.map(|stmt| serde_json::json!({ "stmt": stmt })).collect();
        serde_json::json!([{ "type": "batch", "batch": { "steps": steps } }])
    } else {
        texts.map(|stmt| serde_json::json!({ "type": "execute", "stmt": stmt })).collect()
    };
    serde_json::json!({ "requests": requests }).to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use arbitrary::Unstructured;

    use super::*;
    use crate::corpus;

    #[test]
    fn a_server_survives_changed_requests() {
        for (name, bytes) in corpus::noise() {
            let conversation = Conversation::arbitrary(&mut Unstructured::new(&bytes));
            converse(&conversation.unwrap_or_else(|error| panic!("{name}: {error}")));
        }
    }
}
