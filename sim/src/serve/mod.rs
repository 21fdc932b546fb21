//! Serves the remote over HTTP, on real files: for clients on this machine, and for tests that need a real
//! network.
//!
//! It answers like the simulated remote, one request at a time, and resumes its directory after a restart (see
//! `archive`). It needs the feature `serve`; the simulator does not use it.
//!
//! Not supported: TLS, authorization, and a limit on the number of clients. Use it only on loopback. SQL that
//! checkpoints the database ends the server, because it contradicts the model of the remote's log.

mod archive;

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use turso_core::{Connection, LimboError};

use crate::lock::lock;
pub use crate::world::remote::archive::ArchiveOptions;
use crate::world::remote::archive::{Archive, ArchivedRemote};
pub use archive::{ArchiveError, backup, import};

/// The maximum length of a request's body, in bytes.
const REQUEST_BYTES_MAX: usize = 256 << 20;
/// The time that responses in progress may still take after the server has stopped accepting connections.
const SHUTDOWN_MAX: Duration = Duration::from_secs(5);
/// The pause after a connection could not be accepted, for example because no file descriptor is free.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The reason why a server could not be started or had to end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    #[error("cannot serve this directory")]
    Archive(#[from] ArchiveError),
    #[error("cannot listen on {address}")]
    Listen { address: SocketAddr, source: std::io::Error },
    /// The remote contradicted its own model while it served a request. Its later answers would be worthless.
    #[error("the remote contradicted its own model while it served {request}; restart the server")]
    Broken {
        /// Method and path.
        request: String,
    },
}

/// A served request, for a log.
#[derive(Debug, Clone)]
pub struct Served {
    /// Method and path.
    pub request: String,
    /// Length of the request's body.
    pub request_bytes: usize,
    pub status: StatusCode,
    /// Length of the response's body.
    pub answer_bytes: usize,
}

/// A listening server for the remote in a directory.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    archive: Mutex<Archive>,
    log: Box<dyn Fn(&Served) + Send + Sync>,
    broken: Mutex<Option<String>>,
    has_broken: Notify,
}

/// The served remote, for code in the same process.
#[derive(Clone)]
pub struct ServedRemote {
    shared: Arc<Shared>,
}

impl Server {
    /// Resumes the remote in `directory`, or creates an empty one, and listens on `address`. Port 0 selects a
    /// free port. `log` is called for every request.
    ///
    /// # Errors
    /// [`ServeError`] if the directory or the address cannot be used.
    pub async fn bind(
        directory: &Path,
        address: SocketAddr,
        options: ArchiveOptions,
        log: impl Fn(&Served) + Send + Sync + 'static,
    ) -> Result<Self, ServeError> {
        let archive = Mutex::new(archive::open(directory, options)?);
        let listening = async {
            let listener = TcpListener::bind(address).await?;
            let address = listener.local_addr()?;
            Ok((listener, address))
        };
        let (listener, address) = listening.await.map_err(|source| ServeError::Listen { address, source })?;
        let shared = Arc::new(Shared {
            archive,
            log: Box::new(log),
            broken: Mutex::new(None),
            has_broken: Notify::new(),
        });
        Ok(Self { listener, address, shared })
    }

    /// The address on which it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn remote(&self) -> ServedRemote {
        ServedRemote { shared: self.shared.clone() }
    }

    /// Serves until `shutdown` resolves, then finishes the responses in progress.
    ///
    /// # Errors
    /// [`ServeError::Broken`].
    #[expect(clippy::disallowed_methods, reason = "a served remote runs in real time")]
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), ServeError> {
        let mut shutdown = pin!(shutdown);
        let graceful = GracefulShutdown::new();
        loop {
            tokio::select! {
                accepted = self.listener.accept() => {
                    let Ok((stream, _)) = accepted else {
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                        continue;
                    };
                    let shared = self.shared.clone();
                    let service = service_fn(move |request| answer(shared.clone(), request));
                    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                    let connection = graceful.watch(connection);
                    // A broken connection is an error of the client, not of the server.
                    tokio::spawn(async move { connection.await.ok() });
                }
                () = self.shared.has_broken.notified() => break,
                () = &mut shutdown => break,
            }
        }
        drop(self.listener);
        tokio::select! {
            () = graceful.shutdown() => {}
            () = tokio::time::sleep(SHUTDOWN_MAX) => {}
        }
        match lock(&self.shared.broken).take() {
            Some(request) => Err(ServeError::Broken { request }),
            None => Ok(()),
        }
    }
}

impl ServedRemote {
    /// Runs another writer's transaction.
    ///
    /// # Errors
    /// The error of `work` or of the commit.
    pub fn transact<T>(
        &self,
        work: impl FnOnce(&Arc<Connection>) -> Result<T, LimboError>,
    ) -> Result<T, LimboError> {
        lock(&self.shared.archive).transact(work)
    }

    /// Ends the generation. Returns `false` if it had no frames.
    ///
    /// # Errors
    /// [`ArchiveError`] if the generation cannot be archived.
    pub fn checkpoint(&self) -> Result<bool, ArchiveError> {
        lock(&self.shared.archive).checkpoint()
    }

    /// Calls `look` with the remote.
    pub fn with_remote<T>(&self, look: impl FnOnce(&ArchivedRemote) -> T) -> T {
        look(lock(&self.shared.archive).remote())
    }
}

async fn answer(
    shared: Arc<Shared>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let name = format!("{} {}", head.method, head.uri);
    let (request_bytes, response) = match Limited::new(body, REQUEST_BYTES_MAX).collect().await {
        Ok(body) => {
            let body = body.to_bytes();
            let length = body.len();
            let (shared, name) = (shared.clone(), name.clone());
            // Database calls block, and one connection must not block another.
            let serving =
                tokio::task::spawn_blocking(move || shared.serve(&name, &Request::from_parts(head, body)));
            let served = serving.await.unwrap_or_else(|_| plain(StatusCode::INTERNAL_SERVER_ERROR, "broken"));
            (length, served)
        }
        Err(error) => (0, plain(StatusCode::BAD_REQUEST, &error.to_string())),
    };
    (shared.log)(&Served {
        request: name,
        request_bytes,
        status: response.status(),
        answer_bytes: response.body().len(),
    });
    Ok(response.map(Full::new))
}

fn plain(status: StatusCode, text: &str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(text.to_owned()));
    *response.status_mut() = status;
    response
}

impl Shared {
    fn serve(&self, name: &str, request: &Request<Bytes>) -> Response<Bytes> {
        let breaks = BreaksUnlessDone { shared: self, name };
        let mut archive = lock(&self.archive);
        let (parts, content) = archive.serve(request).into_parts();
        let response = match content.read(&archive.io()) {
            Ok(body) => Response::from_parts(parts, body),
            Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
        };
        std::mem::forget(breaks);
        response
    }
}

/// Ends the server if a request ends in a panic.
struct BreaksUnlessDone<'a> {
    shared: &'a Shared,
    name: &'a str,
}

impl Drop for BreaksUnlessDone<'_> {
    fn drop(&mut self) {
        *lock(&self.shared.broken) = Some(self.name.to_owned());
        self.shared.has_broken.notify_one();
    }
}
