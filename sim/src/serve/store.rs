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

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use tokio::sync::Notify;
use turso_core::{Connection, LimboError};

use super::archive::{Archive, ArchiveError};
use crate::lock::lock;
use crate::text::error_chain;
use crate::world::remote::{Remote, Script, ScriptError, StatementLimits, Watch};

/// The remote, for several requests at the same time. Locks are taken in the order of the fields.
pub(super) struct Store {
    /// Held by whoever writes.
    writer: Mutex<()>,
    /// Held for reading while SQL runs, and for writing during a checkpoint.
    sessions: RwLock<()>,
    archive: Mutex<Archive>,
    /// The number of frames at which a generation is ended.
    generation_frames_max: u64,
    breakage: Breakage,
}

/// The first request during which the remote contradicted itself.
#[derive(Default)]
struct Breakage {
    request: Mutex<Option<String>>,
    has_broken: Notify,
}

impl Store {
    pub fn new(archive: Archive, generation_frames_max: u64) -> Self {
        Self {
            writer: Mutex::default(),
            sessions: RwLock::default(),
            archive: Mutex::new(archive),
            generation_frames_max: generation_frames_max.max(1),
            breakage: Breakage::default(),
        }
    }

    /// Answers a request that neither writes nor runs SQL.
    pub fn look_up(&self, request: &Request<Bytes>) -> Response<Bytes> {
        self.breaking_on_panic(request, || lock(&self.archive).remote().serve(request))
    }

    /// Answers any other request.
    pub fn serve(
        &self,
        request: &Request<Bytes>,
        limits: &StatementLimits,
        watch: &Arc<dyn Watch>,
    ) -> Response<Bytes> {
        self.breaking_on_panic(request, || {
            if !Remote::runs_sql(request) {
                let _writer = lock(&self.writer);
                let response = lock(&self.archive).remote().serve(request);
                return self.end_generation_if_due().unwrap_or(response);
            }
            let script = match Script::parse(request.body(), limits) {
                Ok(script) => script,
                Err(error) => return refused(&error),
            };
            let _writer = script.writes().then(|| lock(&self.writer));
            let answer = self.run(request, &script, limits, watch);
            let ended = script.writes().then(|| self.end_generation_if_due()).flatten();
            ended.unwrap_or(answer)
        })
    }

    fn run(
        &self,
        request: &Request<Bytes>,
        script: &Script,
        limits: &StatementLimits,
        watch: &Arc<dyn Watch>,
    ) -> Response<Bytes> {
        let _session = self.session();
        let session = match lock(&self.archive).remote().connect(request, script) {
            Ok(session) => session,
            Err(response) => return *response,
        };
        let finished = session.run(script, limits, watch);
        lock(&self.archive).remote().finish_pipeline(script, finished)
    }

    fn session(&self) -> RwLockReadGuard<'_, ()> {
        self.sessions.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends a generation that is long enough. The caller is the writer. Returns the answer if that fails: the
    /// request has taken effect all the same.
    fn end_generation_if_due(&self) -> Option<Response<Bytes>> {
        let is_due = {
            let mut archive = lock(&self.archive);
            let remote = archive.remote();
            remote.frame_count() >= self.generation_frames_max && !remote.is_held_open()
        };
        let ended = is_due.then(|| self.end_generation())?;
        ended.err().map(|error| answer(StatusCode::INTERNAL_SERVER_ERROR, &error_chain(&error)))
    }

    fn end_generation(&self) -> Result<bool, ArchiveError> {
        let _no_session = self.sessions.write().unwrap_or_else(PoisonError::into_inner);
        lock(&self.archive).checkpoint()
    }

    /// Runs another writer's transaction.
    pub fn transact<T>(
        &self,
        work: impl FnOnce(&Arc<Connection>) -> Result<T, LimboError>,
    ) -> Result<T, LimboError> {
        let _writer = lock(&self.writer);
        self.archive().remote().transact(work)
    }

    pub fn checkpoint(&self) -> Result<bool, ArchiveError> {
        let _writer = lock(&self.writer);
        self.end_generation()
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

fn refused(error: &ScriptError) -> Response<Bytes> {
    let status = match error {
        ScriptError::Malformed(_) => StatusCode::BAD_REQUEST,
        ScriptError::TooManyStatements { .. } => StatusCode::PAYLOAD_TOO_LARGE,
    };
    answer(status, &error.to_string())
}

fn answer(status: StatusCode, text: &str) -> Response<Bytes> {
    let body = serde_json::json!({ "error": text }).to_string();
    let mut response = Response::new(Bytes::from(body));
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
