//! The remote over HTTP on loopback, on real files. A history ends with the same content as in one process, and
//! the client reports the reason of a failure. The server's directory is in `archive`.
#![expect(clippy::disallowed_methods, reason = "these tests use real files and real connections")]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http_body::Body as _;
use plimsoll_engine::{Error, HttpRemote, LocalStorage, Options, Remote as _, SyncEngine};
use plimsoll_scenarios::sandbox::rows;
use plimsoll_sim::judge::ledger::Content;
use plimsoll_sim::schedule::Schedule;
use plimsoll_sim::search::generate::{Profile, generate};
use plimsoll_sim::serve::{ArchiveError, ArchiveOptions, ServeError, ServedRemote, Server, Settings};
use plimsoll_sim::text::error_chain;
use plimsoll_sim::world::driver::{Environment, Machine, run_steps};
use plimsoll_sim::world::in_process::{InProcess, block_on};
use plimsoll_sim::world::remote::Remote;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use turso_core::{Connection, MemoryIO, PlatformIO, Value};

const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

pub fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// A server that runs until it is dropped.
pub struct Running {
    url: String,
    pub remote: ServedRemote,
    end: Option<oneshot::Sender<()>>,
    task: Option<tokio::task::JoinHandle<Result<(), ServeError>>>,
}

impl Running {
    pub async fn start(directory: &Path) -> Result<Self, ServeError> {
        let options = ArchiveOptions { generation_frames_max: 1_000_000, keep_generations: None };
        Self::start_with(directory, options).await
    }

    pub async fn start_with(directory: &Path, archive: ArchiveOptions) -> Result<Self, ServeError> {
        Self::start_as(directory, Settings { archive, ..Settings::default() }).await
    }

    pub async fn start_as(directory: &Path, settings: Settings) -> Result<Self, ServeError> {
        let server = Server::bind(directory, ANY_PORT, settings).await?;
        let (url, remote) = (format!("http://{}", server.address()), server.remote());
        let (end, ended) = oneshot::channel::<()>();
        let task = tokio::spawn(server.run(async move { ended.await.unwrap_or(()) }));
        Ok(Self { url, remote, end: Some(end), task: Some(task) })
    }

    pub async fn stop(mut self) {
        drop(self.end.take());
        self.task.take().unwrap().await.unwrap().unwrap();
    }

    pub fn client(&self) -> HttpRemote {
        HttpRemote::builder(&self.url).build().unwrap()
    }

    pub fn execute(&self, statements: &[&str]) {
        self.remote
            .transact(|connection| statements.iter().try_for_each(|sql| connection.execute(sql)))
            .unwrap();
    }
}

/// Real files, and a remote of the given kind.
struct OnFiles<R> {
    directory: tempfile::TempDir,
    remote: R,
}

fn machine(directory: &Path, client: u8) -> Machine {
    Machine {
        io: Arc::new(PlatformIO::new().unwrap()),
        storage: Arc::new(LocalStorage),
        path: directory.join(format!("client-{client}")).display().to_string(),
    }
}

impl Environment for OnFiles<Running> {
    type Remote = HttpRemote;

    fn remote(&self) -> HttpRemote {
        self.remote.client()
    }

    fn machine(&self, client: u8) -> Machine {
        machine(self.directory.path(), client)
    }

    fn transact(&self, work: &dyn Fn(&Arc<Connection>) -> turso_core::Result<()>) {
        self.remote.remote.transact(work).unwrap();
    }

    fn checkpoint(&self) {
        self.remote.remote.checkpoint().unwrap();
    }

    fn query(&self, sql: &str) -> Vec<Vec<Value>> {
        self.remote.remote.with_remote(|remote| remote.query(sql))
    }
}

impl Environment for OnFiles<InProcess> {
    type Remote = InProcess;

    fn remote(&self) -> InProcess {
        self.remote.clone()
    }

    fn machine(&self, client: u8) -> Machine {
        machine(self.directory.path(), client)
    }

    fn transact(&self, work: &dyn Fn(&Arc<Connection>) -> turso_core::Result<()>) {
        self.remote.with_remote(|remote| remote.transact(work)).unwrap();
    }

    fn checkpoint(&self) {
        self.remote.with_remote(Remote::checkpoint);
    }

    fn query(&self, sql: &str) -> Vec<Vec<Value>> {
        self.remote.with_remote(|remote| remote.query(sql))
    }
}

async fn over_http(schedule: &Schedule) -> Vec<Content> {
    let directory = tempfile::tempdir().unwrap();
    let remote = Running::start(&directory.path().join("remote")).await.unwrap();
    let ground = OnFiles { directory, remote };
    let contents = run_steps(schedule, &ground).await.contents();
    ground.remote.stop().await;
    contents
}

fn in_process(schedule: &Schedule) -> Vec<Content> {
    let path = format!("conformance-{}.db", schedule.header.key);
    let remote = Remote::create(Arc::new(MemoryIO::new()), &path);
    let ground = OnFiles {
        directory: tempfile::tempdir().unwrap(),
        remote: InProcess::new(remote, schedule.header.chunk_bytes),
    };
    block_on(run_steps(schedule, &ground)).contents()
}

/// The seeds draw both push modes, and small and large batches.
#[test]
fn a_history_ends_over_http_as_it_ends_in_one_process() {
    let runtime = runtime();
    for seed in 7000..7008 {
        let schedule = generate(seed, Profile::Calm);
        let served = runtime.block_on(over_http(&schedule));
        let local = in_process(&schedule);
        assert_eq!(served, local, "seed {seed}");
        assert!(!served[0].log.is_empty(), "seed {seed} wrote nothing");
        assert!(served.iter().all(|content| *content == served[0]), "seed {seed} did not converge");
    }
}

/// The content of table `t` at a client of `server`.
pub async fn pulled(server: &Running, path: &Path) -> Vec<String> {
    let io = Arc::new(PlatformIO::new().unwrap());
    let options = Options::new("client");
    let path = path.display().to_string();
    let engine = SyncEngine::open(io, Arc::new(LocalStorage), server.client(), &path, options).await.unwrap();
    engine.pull().await.unwrap();
    rows(&engine.connect().unwrap(), "SELECT v FROM t ORDER BY v")
}

/// Two servers on one directory would answer with two logs and overwrite each other's files.
#[test]
fn a_second_server_on_a_directory_is_refused_until_the_first_has_stopped() {
    runtime().block_on(async {
        let directory = tempfile::tempdir().unwrap();
        let server = Running::start(directory.path()).await.unwrap();
        server.execute(&["CREATE TABLE t (v)", "INSERT INTO t VALUES ('kept')"]);
        let error = Running::start(directory.path()).await.err().unwrap();
        assert!(matches!(error, ServeError::Archive(ArchiveError::InUse { .. })), "{error:?}");
        server.stop().await;
        let server = Running::start(directory.path()).await.unwrap();
        server.execute(&["INSERT INTO t VALUES ('too')"]);
        server.stop().await;
    });
}

#[test]
fn a_run_of_the_server_refuses_what_is_meant_for_another_one() {
    async fn send(
        server: &Running,
        method: &str,
        instance: Option<&http::HeaderValue>,
    ) -> http::Response<()> {
        let path = if method == "POST" { "/v2/pipeline" } else { "/info" };
        let body = bytes::Bytes::from_static(br#"{"baton":null,"requests":[]}"#);
        let mut request = http::Request::builder().method(method).uri(path).body(body).unwrap();
        if let Some(instance) = instance {
            request.headers_mut().insert("plimsoll-instance", instance.clone());
        }
        server.client().send(request).await.unwrap().map(drop)
    }
    runtime().block_on(async {
        let directory = tempfile::tempdir().unwrap();
        let server = Running::start(directory.path()).await.unwrap();
        let first = send(&server, "GET", None).await.headers()["plimsoll-instance"].clone();
        assert_eq!(send(&server, "POST", Some(&first)).await.status(), 200);
        server.stop().await;
        let server = Running::start(directory.path()).await.unwrap();
        let second = send(&server, "GET", None).await.headers()["plimsoll-instance"].clone();
        assert_ne!(first, second);
        assert_eq!(send(&server, "POST", Some(&first)).await.status(), 412);
        assert_eq!(send(&server, "POST", Some(&second)).await.status(), 200);
        assert_eq!(send(&server, "POST", None).await.status(), 200, "other clients name no run");
        server.stop().await;
    });
}

async fn open(remote: HttpRemote, directory: &Path) -> Error {
    let io = Arc::new(PlatformIO::new().unwrap());
    let path = directory.join("client").display().to_string();
    match SyncEngine::open(io, Arc::new(LocalStorage), remote, &path, Options::new("client")).await {
        Ok(_) => panic!("there is no server"),
        Err(error) => error,
    }
}

/// Listens, and answers the first request of every connection with these bytes and nothing else. The
/// connection stays open or is closed.
async fn answering(bytes: &'static [u8], keeps_open: bool) -> String {
    listening(move |mut stream| async move {
        let mut request = [0; 1000];
        assert!(stream.read(&mut request).await.unwrap() > 0);
        stream.write_all(bytes).await.unwrap();
        if keeps_open {
            std::future::pending::<()>().await;
        }
    })
    .await
}

/// Listens, and handles all connections at once. Returns the URL.
async fn listening<F>(handle: impl Fn(TcpStream) -> F + Send + 'static) -> String
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind(ANY_PORT).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(handle(stream));
        }
    });
    url
}

#[test]
fn what_goes_wrong_on_the_way_is_said_with_its_causes() {
    const HALF: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 30\r\n\r\n{\"current_";
    runtime().block_on(async {
        let directory = tempfile::tempdir().unwrap();
        let nobody = {
            let listener = TcpListener::bind(ANY_PORT).await.unwrap();
            format!("http://{}", listener.local_addr().unwrap())
        };
        let short = Duration::from_millis(100);
        for (url, word) in [
            (nobody, "refused"),
            (answering(b"", true).await, "no answer within 100ms"),
            (answering(b"", false).await, "connection closed before message completed"),
            (answering(b"what?\r\n\r\n", true).await, "invalid HTTP"),
            (answering(HALF, true).await, "no more of the answer's body within 100ms"),
            (answering(HALF, false).await, "ended early"),
        ] {
            let remote =
                HttpRemote::builder(url).response_timeout(short).body_idle_timeout(short).build().unwrap();
            let error = open(remote, directory.path()).await;
            let chain = error_chain(&error);
            assert!(matches!(error, Error::Unreachable { .. }) && error.is_retryable(), "{chain}");
            assert!(chain.contains(word), "{chain}");
        }
    });
}

#[test]
fn headers_and_the_token_go_with_every_request() {
    runtime().block_on(async {
        let listener = TcpListener::bind(ANY_PORT).await.unwrap();
        let remote = HttpRemote::builder(format!("http://{}/base/", listener.local_addr().unwrap()))
            .bearer_token("secret")
            .header(http::HeaderName::from_static("x-tenant"), http::HeaderValue::from_static("one"))
            .build()
            .unwrap();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4000];
            let length = stream.read(&mut request).await.unwrap();
            stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
            String::from_utf8(request[..length].to_vec()).unwrap()
        });
        let request = http::Request::get("/info").body(bytes::Bytes::new()).unwrap();
        assert_eq!(remote.send(request).await.unwrap().status(), 204);
        let request = server.await.unwrap();
        assert!(request.starts_with("GET /base/info HTTP/1.1\r\n"), "{request}");
        for header in ["authorization: Bearer secret\r\n", "x-tenant: one\r\n"] {
            assert!(request.contains(header), "{request}");
        }
    });
}

/// Answers the first `count` requests of each connection with these bytes, and closes the connection on the next
/// one.
async fn closing_after(count: usize, answer: &'static [u8]) -> String {
    listening(move |mut stream| async move {
        let mut request = [0; 4000];
        for _ in 0..count {
            if stream.read(&mut request).await.unwrap() > 0 {
                stream.write_all(answer).await.unwrap();
            }
        }
        let _received = stream.read(&mut request).await;
    })
    .await
}

/// The status of an answer, whose body is read to its end, so that the connection can be used again.
async fn status(remote: &HttpRemote, request: http::request::Builder) -> Option<u16> {
    let request = request.body(bytes::Bytes::from_static(b"{}")).unwrap();
    let mut response = remote.send(request).await.ok()?;
    let body = response.body_mut();
    while let Some(frame) =
        std::future::poll_fn(|context| std::pin::Pin::new(&mut *body).poll_frame(context)).await
    {
        frame.unwrap();
    }
    Some(response.status().as_u16())
}

const INFO: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 25\r\n\r\n{\"current_generation\": 1}";

#[test]
fn a_kept_connection_that_the_server_closes_costs_no_get() {
    runtime().block_on(async {
        let url = closing_after(2, INFO).await;
        let remote = HttpRemote::builder(url).build().unwrap();
        for number in 0..8 {
            assert_eq!(status(&remote, http::Request::get("/info")).await, Some(200), "request {number}");
        }
    });
}

#[test]
fn a_push_that_a_closed_connection_swallows_is_not_sent_again() {
    runtime().block_on(async {
        let url = closing_after(0, INFO).await;
        let remote = HttpRemote::builder(url).build().unwrap();
        let pushed = status(&remote, http::Request::post("/v2/pipeline")).await;
        assert_eq!(pushed, None, "it is unknown whether the server has run it");
    });
}

#[test]
fn an_answer_of_something_in_between_is_called_what_it_is() {
    const HTML: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 29\r\n\r\n<!DOCTYPE html><title>Sign in";
    const GZIP: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n\x1f\x8b\x08\x00";
    const ENCODED: &[u8] =
        b"HTTP/1.1 200 OK\r\ncontent-encoding: br\r\ncontent-length: 4\r\n\r\n\x01\x02\x03\x04";
    const MOVED: &[u8] =
        b"HTTP/1.1 301 Moved Permanently\r\nlocation: https://new.example/\r\ncontent-length: 0\r\n\r\n";
    const BUSY: &[u8] = b"HTTP/1.1 503 Unavailable\r\nretry-after: 120\r\ncontent-length: 0\r\n\r\n";
    runtime().block_on(async {
        let directory = tempfile::tempdir().unwrap();
        for (answer, words, is_retryable) in [
            (HTML, "an HTML page instead of a body of the protocol", true),
            (GZIP, "gzip instead of a body of the protocol", true),
            (ENCODED, "a body with the encoding br", true),
            (MOVED, "301 (location: https://new.example/)", false),
            (BUSY, "503 (retry after: 120)", true),
        ] {
            let remote = HttpRemote::builder(answering(answer, true).await).build().unwrap();
            let error = open(remote, directory.path()).await;
            assert!(error.to_string().contains(words), "{error}");
            assert_eq!(error.is_retryable(), is_retryable, "{error}");
        }
    });
}
