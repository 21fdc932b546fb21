//! Tests the remote against the text of the wire protocol, on the core's own memory IO.

mod guard;
mod model;
mod pipeline;
mod properties;
mod routes;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::{Method, Request, Response};
use serde_json::{Value as Json, json};
use turso_core::{Connection, Database, IO, MemoryIO, OpenOptions, SqliteDialect};

use super::{Remote, store};

/// A path that no other test uses: the core's registry identifies a file in memory by its path, across the
/// whole process.
pub(crate) fn unique_path() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("plimsoll-test-{}.db", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A connection to a database that no remote has open, configured like the remote's connections.
pub(crate) fn open_unshared(io: &Arc<dyn IO>, path: &str) -> Arc<Connection> {
    let options = OpenOptions::new(Arc::new(SqliteDialect));
    let connection = Database::open(io.clone(), path, options).unwrap().connect().unwrap();
    store::configure(&connection);
    connection
}

fn remote() -> Remote {
    Remote::create(Arc::new(MemoryIO::new()), &unique_path())
}

/// A remote with a table t(k, v) and `rows` rows, each inserted by its own transaction.
fn remote_with_rows(rows: u32) -> Remote {
    let mut remote = remote();
    transact(&mut remote, &["CREATE TABLE t (k INTEGER PRIMARY KEY, v)"]);
    for k in 1..=rows {
        transact(&mut remote, &[&format!("INSERT INTO t VALUES ({k}, 'v{k}')")]);
    }
    remote
}

fn transact(remote: &mut Remote, statements: &[&str]) {
    remote.transact(|connection| statements.iter().try_for_each(|sql| connection.execute(sql))).unwrap();
}

fn rows(remote: &Remote, sql: &str) -> String {
    let rows = remote.query(sql);
    let row = |row: &Vec<turso_core::Value>| row.iter().map(|v| v.to_string()).collect::<Vec<_>>().join("|");
    rows.iter().map(row).collect::<Vec<_>>().join(" ")
}

fn request(remote: &mut Remote, method: Method, path: &str, body: impl Into<Bytes>) -> Response<Bytes> {
    let request = Request::builder().method(method).uri(path).body(body.into()).unwrap();
    let response = remote.serve(&request);
    assert_eq!(response.headers()["content-length"], response.body().len().to_string());
    response
}

fn get(remote: &mut Remote, path: &str) -> Response<Bytes> {
    request(remote, Method::GET, path, Bytes::new())
}

fn post(remote: &mut Remote, path: &str, body: impl Into<Bytes>) -> Response<Bytes> {
    request(remote, Method::POST, path, body)
}

fn json_of(response: &Response<Bytes>) -> Json {
    serde_json::from_slice(response.body()).unwrap()
}

/// Runs pipeline requests, which the server must accept, and returns the answer's `results`.
fn pipeline(remote: &mut Remote, requests: Json) -> Json {
    let body = json!({ "baton": null, "requests": requests }).to_string();
    let response = post(remote, "/v2/pipeline", body);
    assert_eq!(response.status(), 200, "{:?}", response.body());
    json_of(&response)["results"].clone()
}

fn stmt(sql: &str, args: Json) -> Json {
    json!({ "sql": sql, "args": args, "named_args": [], "want_rows": true })
}
