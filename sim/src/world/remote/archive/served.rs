//! A served archive: who may use it when. `plimsoll serve` and the histories of the profile `archive` answer through it.
//!
//! | request | waits for |
//! |---|---|
//! | a look at the log (`/info`, `/export`, `GET /sync`) | nothing but the remote itself, for the time of one look |
//! | SQL that only reads | the end of a checkpoint; its statements run beside everything else |
//! | SQL that writes, `POST /sync` | the other writers |
//! | a checkpoint | the other writers; its end also for all SQL |
//!
//! While a statement runs or a snapshot is written, nobody waits for it except the next writer.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use turso_core::{Connection, IO, LimboError};

use super::{Archive, ArchiveError, ArchivedRemote};
use crate::lock::lock;
use crate::text::error_chain;
use crate::world::remote::content::Content;
use crate::world::remote::routes::error;
use crate::world::remote::{BatonLimits, Script, ScriptError, StatementLimits, Watch};

/// An archive, for several requests at the same time. Locks are taken in the order of the fields.
pub struct ServedArchive {
    /// A request that writes holds it.
    writer: Mutex<()>,
    /// Held for reading while SQL runs, and for writing while the database is checkpointed or opened again.
    sessions: RwLock<()>,
    archive: Mutex<Archive>,
    /// The IO through which the contents of answers are read. The archive may be locked for long.
    io: Arc<dyn IO>,
}

impl ServedArchive {
    pub fn new(mut archive: Archive, baton_limits: BatonLimits) -> Self {
        archive.remote.set_baton_limits(baton_limits);
        Self {
            writer: Mutex::default(),
            sessions: RwLock::default(),
            io: archive.io(),
            archive: Mutex::new(archive),
        }
    }

    /// The IO through which the contents of answers are read.
    pub fn io(&self) -> &Arc<dyn IO> {
        &self.io
    }

    /// The archive, to look at.
    pub fn archive(&self) -> MutexGuard<'_, Archive> {
        lock(&self.archive)
    }

    /// Whether answering a request may take long or change something.
    pub fn is_work(request: &Request<Bytes>) -> bool {
        request.method() == Method::POST
    }

    /// Answers a request that neither writes nor runs SQL.
    pub fn look_up(&self, request: &Request<Bytes>) -> Response<Content> {
        self.archive().remote.answer(request)
    }

    /// Answers one request. A bad request gets a 4xx answer, a failing disk causes a 5xx answer.
    pub fn answer(
        &self,
        request: &Request<Bytes>,
        limits: &StatementLimits,
        watch: &Arc<dyn Watch>,
    ) -> Response<Content> {
        let answered = if !Self::is_work(request) {
            Ok(self.look_up(request))
        } else if ArchivedRemote::runs_sql(request) {
            self.answer_sql(request, limits, watch)
        } else {
            self.write(|| self.archive().remote.answer(request))
        };
        answered.unwrap_or_else(|failure| error(StatusCode::SERVICE_UNAVAILABLE, &error_chain(&failure)))
    }

    fn answer_sql(
        &self,
        request: &Request<Bytes>,
        limits: &StatementLimits,
        watch: &Arc<dyn Watch>,
    ) -> Result<Response<Content>, ArchiveError> {
        let script = match Script::parse(request.body(), limits) {
            Ok(script) => script,
            Err(reason) => return Ok(refused(&reason)),
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
        let session = match self.archive().remote.connect(request, script) {
            Ok(session) => session,
            Err(response) => return *response,
        };
        let finished = session.run(script, limits, watch);
        self.archive().remote.finish_pipeline(script, finished)
    }

    /// Does work that may write, as the only writer. Recovers from an earlier failure before it, and ends the
    /// generation after it if that is long enough.
    ///
    /// # Errors
    /// [`ArchiveError`] if a disk that has failed before still fails: the work was not done then. Or if the directory
    /// is gone: then it is unknown whether what was done is kept.
    fn write<T>(&self, work: impl FnOnce() -> T) -> Result<T, ArchiveError> {
        let _writer = lock(&self.writer);
        self.heal()?;
        let done = work();
        self.archive().check_in_place()?;
        if self.archive().is_close_due() {
            // An error is no error of the request, which has taken effect.
            let closed = self.close();
            self.archive().note_close(&closed);
        }
        Ok(done)
    }

    /// Recovers from an earlier failure before a write, if the directory is still in place.
    fn heal(&self) -> Result<(), ArchiveError> {
        self.archive().check_in_place()?;
        if self.archive().needs_healing() { self.alone(Archive::heal) } else { Ok(()) }
    }

    /// Ends the generation. The caller is the only writer.
    fn close(&self) -> Result<bool, ArchiveError> {
        self.heal()?;
        let begun = self.archive().begin_close()?;
        let Some(closing) = begun else { return Ok(false) };
        let next = closing.write_snapshot()?;
        self.alone(|archive| archive.finish_close(next))?;
        Ok(true)
    }

    /// Does work during which no SQL may run.
    fn alone<T>(&self, work: impl FnOnce(&mut Archive) -> T) -> T {
        let _no_session = self.sessions.write().unwrap_or_else(PoisonError::into_inner);
        work(&mut self.archive())
    }

    /// Why writes are refused, if they are. An archive in use is not asked: nobody waits here.
    ///
    /// # Errors
    /// [`ArchiveError::Gone`].
    pub fn check_health(&self) -> Result<(), ArchiveError> {
        self.archive.try_lock().map_or(Ok(()), |archive| archive.check_in_place())
    }

    /// Rolls back the open transaction if its time is over, unless the archive is in use.
    pub fn end_expired_baton(&self) {
        if let Ok(mut archive) = self.archive.try_lock() {
            archive.remote.end_expired_baton();
        }
    }

    /// Runs another writer's transaction.
    ///
    /// # Errors
    /// The error of `work` or of the commit, or of a disk that has failed before and still fails.
    pub fn transact<T>(
        &self,
        work: impl FnOnce(&Arc<Connection>) -> Result<T, LimboError>,
    ) -> Result<T, LimboError> {
        let done = self.write(|| self.archive().remote.transact(work));
        done.unwrap_or_else(|failure| Err(LimboError::InternalError(error_chain(&failure))))
    }

    /// Ends the generation, and prunes if there are more generations than the options allow. Returns `false` if the
    /// generation had no frames.
    ///
    /// # Errors
    /// [`ArchiveError`] if the generation could not be closed. It stays open, and nothing is lost.
    pub fn checkpoint(&self) -> Result<bool, ArchiveError> {
        let _writer = lock(&self.writer);
        self.close()
    }

    /// Removes the oldest generations until `count` are left. Returns whether there was one to remove.
    ///
    /// # Errors
    /// [`ArchiveError`]. The generations may or may not be served any more.
    pub fn prune(&self, count: u64) -> Result<bool, ArchiveError> {
        let _writer = lock(&self.writer);
        self.archive().check_in_place()?;
        self.archive().prune(count)
    }
}

fn refused(reason: &ScriptError) -> Response<Content> {
    let status = match reason {
        ScriptError::Malformed(_) => StatusCode::BAD_REQUEST,
        ScriptError::TooManyStatements { .. } => StatusCode::PAYLOAD_TOO_LARGE,
    };
    error(status, &reason.to_string())
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicBool, Ordering};

    use plimsoll_engine::{LockGuard, Storage};

    use super::super::{ArchiveOptions, DirectoryStorage, Identity, Place};
    use super::*;
    use crate::world::clock;
    use crate::world::disk::{Disk, SimIo};
    use crate::world::trace::{Lane, Trace};

    /// Looks at the locks whenever a directory is synced: a close does that after it has written the snapshot.
    struct Looking {
        io: Arc<SimIo>,
        served: OnceLock<Arc<ServedArchive>>,
        answers: AtomicBool,
    }

    impl Storage for Looking {
        fn rename(&self, from: &str, to: &str) -> io::Result<()> {
            self.io.rename(from, to)
        }

        fn sync_dir(&self, path: &str) -> io::Result<()> {
            if let Some(served) = self.served.get()
                && served.archive.try_lock().is_ok()
                && served.sessions.try_read().is_ok()
            {
                self.answers.store(true, Ordering::Relaxed);
            }
            self.io.sync_dir(path)
        }

        fn lock(&self, path: &str) -> io::Result<LockGuard> {
            self.io.lock(path)
        }
    }

    impl DirectoryStorage for Looking {
        fn list(&self, directory: &str) -> io::Result<Vec<String>> {
            self.io.list(directory)
        }

        fn identity(&self, path: &str) -> io::Result<Identity> {
            self.io.identity(path)
        }
    }

    #[test]
    fn readers_are_answered_while_the_next_snapshot_is_written() {
        let _in_virtual_time = clock::enter(0);
        let disk = Disk::new(Lane::Remote, 1, Arc::new(Mutex::new(Trace::new(false))));
        let storage =
            Arc::new(Looking { io: disk.io(), served: OnceLock::new(), answers: AtomicBool::new(false) });
        let place = Place { io: disk.io(), storage: storage.clone(), directory: "remote".to_owned() };
        let archive = Archive::open(place, ArchiveOptions::default()).unwrap();
        let served = Arc::new(ServedArchive::new(archive, BatonLimits::default()));
        served.transact(|connection| connection.execute("CREATE TABLE t (v)")).unwrap();
        assert!(storage.served.set(served.clone()).is_ok());
        assert!(served.checkpoint().unwrap());
        assert!(storage.answers.load(Ordering::Relaxed));
    }
}
