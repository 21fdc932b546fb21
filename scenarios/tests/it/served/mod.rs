//! A served remote and clients that are hostile, clumsy or slow: what they do is bounded, refused by a clear
//! answer, and none of it reaches the next client.
#![expect(clippy::disallowed_methods, reason = "these tests use real files and real connections")]

mod access;
mod bounds;
mod sql;

use std::net::SocketAddr;
use std::time::Duration;

use plimsoll_sim::serve::{Limits, ServeError, ServedRemote, Server, Settings};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);
/// A time that no test reaches.
const LONG: Duration = Duration::from_secs(3600);
/// A time after which a test wants something to end.
const SHORT: Duration = Duration::from_millis(100);

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
        statement_memory_bytes: u64::MAX,
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
