//! Serves the remote over HTTP, on real files: for clients on this machine, and for tests that need a real
//! network.
//!
//! It resumes its directory after a restart. It needs the feature `serve`; the simulator does not use it.
//!
//! * [`Server`]: start here. `router`: the routes and the layers around them. `connections`: accepts and bounds
//!   connections.
//! * `access`: which requests are served at all. `receive`: the body of a request. `answer`: the body of an
//!   answer.
//! * `store`: the remote ([`ServedArchive`](crate::world::remote::archive::ServedArchive)). `watch`, `large_stack`: the
//!   time and the stack of its statements. `archive`: its files.
//! * [`Limits`]: how much a client may use. `metrics`: what the server counts.
//!
//! Not protected against: a client that has the token, or any program on this machine if there is no token. Such
//! a client may read and change everything in the database. It may also make the server use much memory with a
//! single function call in SQL (see [`Session`](crate::world::remote::Session)). There is no TLS: put a proxy in
//! front of a server that other machines use.

mod access;
mod answer;
mod archive;
mod connections;
mod large_stack;
mod limits;
mod metrics;
mod receive;
mod router;
mod store;
mod watch;

use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use tokio::net::TcpListener;
use turso_core::{Connection, LimboError};

pub use crate::world::remote::archive::ArchiveOptions;
use crate::world::remote::archive::ArchivedRemote;
pub use access::{Token, TokenError};
pub use archive::{ArchiveError, backup, import};
use connections::Connections;
pub use large_stack::WorkError;
pub use limits::Limits;
use router::State;
use store::Store;

/// The reason why a server could not be started or had to end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    #[error("cannot serve this directory")]
    Archive(#[from] ArchiveError),
    #[error("cannot open the directory: {0}")]
    Open(#[from] WorkError),
    #[error("cannot listen on {address}")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error("other machines can reach {address}: that needs a token (--token-file)")]
    NeedsToken { address: SocketAddr },
    /// The remote contradicted its own model while it served a request. Its later answers would be worthless.
    #[error("the remote contradicted its own model while it served {request}; restart the server")]
    Broken {
        /// Method and path.
        request: String,
    },
}

/// How to serve.
#[derive(Clone, Default)]
pub struct Settings {
    pub archive: ArchiveOptions,
    pub limits: Limits,
    /// The token that every request has to carry. Required for any address but loopback.
    pub token: Option<Token>,
    /// The names of this server, besides `localhost` and addresses.
    pub hosts: Vec<String>,
}

/// A listening server for the remote in a directory.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    state: State,
    limits: Limits,
}

/// The served remote, for code in the same process.
#[derive(Clone)]
pub struct ServedRemote {
    store: Arc<Store>,
}

impl Server {
    /// Resumes the remote in `directory`, or creates an empty one, and listens on `address`. Port 0 selects a
    /// free port.
    ///
    /// # Errors
    /// [`ServeError`] if the directory or the address cannot be used.
    pub async fn bind(directory: &Path, address: SocketAddr, settings: Settings) -> Result<Self, ServeError> {
        if !address.ip().is_loopback() && settings.token.is_none() {
            return Err(ServeError::NeedsToken { address });
        }
        let path = directory.to_owned();
        // The core reads the schema, which a client has written.
        let options = settings.archive.clone();
        let archive = large_stack::run(move || archive::open(&path, options)).await??;
        let listening = async {
            let listener = TcpListener::bind(address).await?;
            let address = listener.local_addr()?;
            Ok((listener, address))
        };
        let (listener, address) = listening.await.map_err(|source| ServeError::Listen { address, source })?;
        let limits = settings.limits.clone();
        let store = Store::new(archive, limits.batons.clone());
        Ok(Self { listener, address, state: State::new(store, settings), limits })
    }

    /// The address on which it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn remote(&self) -> ServedRemote {
        ServedRemote { store: self.state.store.clone() }
    }

    /// The request during which the remote contradicted its own model.
    pub fn broken_request(&self) -> Option<String> {
        self.state.store.broken_request()
    }

    /// The answers of this server, without a network.
    pub fn router(&self) -> axum::Router {
        router::router(self.state.clone())
    }

    /// Serves until `shutdown` resolves. Then interrupts the statements that run, and finishes the responses in
    /// progress.
    ///
    /// # Errors
    /// [`ServeError::Broken`].
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), ServeError> {
        let store = self.state.store.clone();
        Connections::new(self.state, &self.limits).serve(self.listener, shutdown).await;
        match store.broken_request() {
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
        self.store.archive.transact(work)
    }

    /// Ends the generation. Returns `false` if it had no frames.
    ///
    /// # Errors
    /// [`ArchiveError`] if the generation cannot be archived.
    pub fn checkpoint(&self) -> Result<bool, ArchiveError> {
        self.store.archive.checkpoint()
    }

    /// Calls `look` with the remote.
    pub fn with_remote<T>(&self, look: impl FnOnce(&ArchivedRemote) -> T) -> T {
        look(self.store.archive.archive().remote())
    }
}
