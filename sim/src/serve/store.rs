//! The remote behind the server: who may use it when.
//!
//! | request | waits for |
//! |---|---|
//! | a look at the log (`/info`, `/export`, `GET /sync`) | nothing but the remote itself, for the time of one look |
//! | SQL that only reads | a checkpoint; its statements run beside everything else |
//! | SQL that writes, `POST /sync` | the other writers |
//! | a checkpoint | the other writers, and all SQL |
//!
//! While a statement runs, nobody waits for it except the next writer.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use tokio::sync::Notify;
use turso_core::{Connection, IO, LimboError};

use crate::lock::lock;
use crate::text::error_chain;
use crate::world::remote::archive::{Archive, ArchiveError, ArchivedRemote};
use crate::world::remote::content::Content;
use crate::world::remote::{Script, ScriptError, StatementLimits, Watch};

/// The remote, for several requests at the same time. Locks are taken in the order of the fields.
pub(super) struct Store {
    /// A request that writes holds it.
    writer: Mutex<()>,
    /// Held for reading while SQL runs, and for writing while the database is checkpointed or opened again.
    sessions: RwLock<()>,
    archive: Mutex<Archive>,
    /// The IO through which the bodies of answers are read. The archive may be locked for long.
    io: Arc<dyn IO>,
    breakage: Breakage,
}

/// The first request during which the remote contradicted itself.
#[derive(Default)]
struct Breakage {
    request: Mutex<Option<String>>,
    has_broken: Notify,
}

impl Store {
    pub fn new(archive: Archive) -> Self {
        Self {
            writer: Mutex::default(),
            sessions: RwLock::default(),
            io: archive.io(),
            archive: Mutex::new(archive),
            breakage: Breakage::default(),
        }
    }

    /// The IO through which the bodies of answers are read.
    pub fn io(&self) -> &Arc<dyn IO> {
        &self.io
    }

    /// Answers a request that neither writes nor runs SQL.
    pub fn look_up(&self, request: &Request<Bytes>) -> Response<Content> {
        self.breaking_on_panic(request, || lock(&self.archive).remote_mut().answer(request))
    }

    /// Answers any other request.
    pub fn serve(
        &self,
        request: &Request<Bytes>,
        limits: &StatementLimits,
        watch: &Arc<dyn Watch>,
    ) -> Response<Content> {
        self.breaking_on_panic(request, || {
            let served = if ArchivedRemote::runs_sql(request) {
                self.serve_sql(request, limits, watch)
            } else {
                self.write(|| lock(&self.archive).remote_mut().answer(request))
            };
            served.unwrap_or_else(|error| answer(StatusCode::SERVICE_UNAVAILABLE, &error_chain(&error)))
        })
    }

    fn serve_sql(
        &self,
        request: &Request<Bytes>,
        limits: &StatementLimits,
        watch: &Arc<dyn Watch>,
    ) -> Result<Response<Content>, ArchiveError> {
        let script = match Script::parse(request.body(), limits) {
            Ok(script) => script,
            Err(error) => return Ok(refused(&error)),
        };
        let run = || self.run(request, &script, limits, watch);
        if script.writes() { self.write(run) } else { Ok(run()) }
    }

    fn run(
        &self,
        request: &Request<Bytes>,
        script: &Script,
        limits: &StatementLimits,
        watch: &Arc<dyn Watch>,
    ) -> Response<Content> {
        let _session = self.sessions.read().unwrap_or_else(PoisonError::into_inner);
        let session = match lock(&self.archive).remote_mut().connect(request, script) {
            Ok(session) => session,
            Err(response) => return *response,
        };
        let finished = session.run(script, limits, watch);
        lock(&self.archive).remote_mut().finish_pipeline(script, finished)
    }

    /// Does work that may write, as the only writer. Recovers from an earlier failure before it, and ends the
    /// generation after it if that is long enough.
    ///
    /// # Errors
    /// [`ArchiveError`] if a disk that has failed before still fails. The work was not done then.
    fn write<T>(&self, work: impl FnOnce() -> T) -> Result<T, ArchiveError> {
        let _writer = lock(&self.writer);
        if lock(&self.archive).needs_healing() {
            self.alone(Archive::heal)?;
        }
        let done = work();
        if lock(&self.archive).is_close_due() {
            self.alone(Archive::close_if_due);
        }
        Ok(done)
    }

    /// Does work during which no SQL may run.
    fn alone<T>(&self, work: impl FnOnce(&mut Archive) -> T) -> T {
        let _no_session = self.sessions.write().unwrap_or_else(PoisonError::into_inner);
        work(&mut lock(&self.archive))
    }

    /// Runs another writer's transaction.
    ///
    /// # Errors
    /// The error of `work` or of the commit, or of a disk that has failed before and still fails.
    pub fn transact<T>(
        &self,
        work: impl FnOnce(&Arc<Connection>) -> Result<T, LimboError>,
    ) -> Result<T, LimboError> {
        let done = self.write(|| lock(&self.archive).remote_mut().transact(work));
        done.unwrap_or_else(|error| Err(LimboError::InternalError(error_chain(&error))))
    }

    pub fn checkpoint(&self) -> Result<bool, ArchiveError> {
        let _writer = lock(&self.writer);
        self.alone(Archive::checkpoint)
    }

    pub fn archive(&self) -> MutexGuard<'_, Archive> {
        lock(&self.archive)
    }

    /// Resolves when the remote has contradicted itself.
    pub async fn broken(&self) {
        self.breakage.has_broken.notified().await;
    }

    /// The request during which the remote contradicted itself.
    pub fn broken_request(&self) -> Option<String> {
        lock(&self.breakage.request).clone()
    }

    fn breaking_on_panic<T>(&self, request: &Request<Bytes>, work: impl FnOnce() -> T) -> T {
        let breaks = BreaksUnlessDone { breakage: &self.breakage, request };
        let done = work();
        std::mem::forget(breaks);
        done
    }
}

/// Whether a request may take long or changes something.
pub(super) fn is_work(request: &Request<Bytes>) -> bool {
    request.method() == Method::POST
}

fn refused(error: &ScriptError) -> Response<Content> {
    let status = match error {
        ScriptError::Malformed(_) => StatusCode::BAD_REQUEST,
        ScriptError::TooManyStatements { .. } => StatusCode::PAYLOAD_TOO_LARGE,
    };
    answer(status, &error.to_string())
}

fn answer(status: StatusCode, text: &str) -> Response<Content> {
    let body = serde_json::json!({ "error": text }).to_string();
    let mut response = Response::new(Content::from(Bytes::from(body)));
    *response.status_mut() = status;
    response
}

/// Marks the remote as broken if a request ends in a panic.
struct BreaksUnlessDone<'a> {
    breakage: &'a Breakage,
    request: &'a Request<Bytes>,
}

impl Drop for BreaksUnlessDone<'_> {
    fn drop(&mut self) {
        let name = format!("{} {}", self.request.method(), self.request.uri().path());
        lock(&self.breakage.request).get_or_insert(name);
        self.breakage.has_broken.notify_one();
    }
}
