//! Accepts connections and serves them: at most so many at once, none without progress.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_io_timeout::TimeoutStream;

use super::answer::problem;
use super::limits::Limits;
use super::router::{State, router};

/// The time that responses in progress may still take after the server has stopped accepting connections.
const SHUTDOWN_MAX: Duration = Duration::from_secs(5);
/// The time between two looks at the posted transaction that is held open.
const BATON_LOOK: Duration = Duration::from_secs(1);
/// The pause after a connection could not be accepted, for example because no file descriptor is free.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Connections beyond the limit that are answered at the same time. More are closed without an answer.
const REFUSALS_MAX: usize = 32;
/// The size of the buffers of a connection, in bytes, if the limit for a head is smaller.
const BUFFER_BYTES: usize = 64 << 10;

/// The connections of a server.
pub(super) struct Connections {
    state: State,
    limits: Limits,
    tasks: JoinSet<Kind>,
    served: usize,
    refused: usize,
    graceful: GracefulShutdown,
}

/// How a connection is answered.
#[derive(Clone, Copy)]
enum Kind {
    Served,
    Refused,
}

impl Connections {
    pub fn new(state: State, limits: &Limits) -> Self {
        let limits = Limits { connections: limits.connections.min(connections_max()), ..limits.clone() };
        let graceful = GracefulShutdown::new();
        Self { state, limits, tasks: JoinSet::new(), served: 0, refused: 0, graceful }
    }

    /// Serves until `shutdown` resolves or the remote contradicts itself. Then statements are interrupted, and
    /// the responses in progress get a bounded time.
    pub async fn serve(mut self, listener: TcpListener, shutdown: impl Future<Output = ()>) {
        let mut shutdown = pin!(shutdown);
        let router = router(self.state.clone());
        let store = self.state.store.clone();
        let mut look = tokio::time::interval(BATON_LOOK);
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => self.start(stream, &router),
                    Err(error) => {
                        tracing::warn!(%error, "a connection cannot be accepted");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
                Some(ended) = self.tasks.join_next() => self.end(ended.ok()),
                _ = look.tick() => store.archive.end_expired_baton(),
                () = store.broken() => break,
                () = &mut shutdown => break,
            }
        }
        drop(listener);
        self.state.ending.begin();
        let graceful = self.graceful.shutdown();
        if tokio::time::timeout(SHUTDOWN_MAX, graceful).await.is_err() {
            tracing::warn!("{} connections are closed in the middle of a request", self.tasks.len());
        }
        self.tasks.shutdown().await;
    }

    fn start(&mut self, stream: TcpStream, router: &Router) {
        let kind = if self.served < self.limits.connections {
            self.served += 1;
            Kind::Served
        } else {
            self.state.metrics.refused_connections.inc();
            if self.refused >= REFUSALS_MAX {
                return;
            }
            self.refused += 1;
            Kind::Refused
        };
        self.state.metrics.connections.set(self.tasks.len() as i64 + 1);
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(self.limits.write_time));
        let stream = TokioIo::new(Box::pin(stream));
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.head_time)
            .max_headers(self.limits.headers)
            .max_buf_size(self.limits.head_bytes.max(BUFFER_BYTES));
        match kind {
            Kind::Served => {
                let service = TowerToHyperService::new(router.clone());
                let connection = self.graceful.watch(builder.serve_connection(stream, service));
                self.tasks.spawn(async move { ended(connection.await, kind) });
            }
            Kind::Refused => {
                let service =
                    hyper::service::service_fn(|_| async { Ok::<_, std::convert::Infallible>(full()) });
                let connection = self.graceful.watch(builder.serve_connection(stream, service));
                self.tasks.spawn(async move { ended(connection.await, kind) });
            }
        }
    }

    fn end(&mut self, kind: Option<Kind>) {
        match kind {
            Some(Kind::Refused) => self.refused -= 1,
            // A task that has panicked has served a connection: a refusal runs no code of ours.
            Some(Kind::Served) | None => self.served -= 1,
        }
        self.state.metrics.connections.set(self.tasks.len() as i64);
    }
}

/// A broken connection is an error of the client, not of the server.
fn ended(outcome: Result<(), hyper::Error>, kind: Kind) -> Kind {
    if let Err(error) = outcome {
        tracing::debug!(error = crate::text::error_chain(&error), "a connection has ended");
    }
    kind
}

/// The answer to a connection beyond the limit.
fn full() -> Response {
    let mut response = problem(StatusCode::SERVICE_UNAVAILABLE, "the server has too many connections");
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The number of connections for which the process has file descriptors: each may read a file.
#[cfg(unix)]
fn connections_max() -> usize {
    /// Standard streams, the runtime, the database, and connections that are refused.
    const OTHERS: u64 = 24 + REFUSALS_MAX as u64;
    use nix::sys::resource::{Resource, getrlimit};
    let descriptors = getrlimit(Resource::RLIMIT_NOFILE).map_or(256, |(soft, _)| soft);
    usize::try_from(descriptors.saturating_sub(OTHERS) / 2).unwrap_or(usize::MAX).max(1)
}

#[cfg(not(unix))]
fn connections_max() -> usize {
    usize::MAX
}
