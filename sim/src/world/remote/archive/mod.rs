//! The archive: a remote that keeps its log in the files of one directory. `plimsoll serve` runs on it.
//!
//! ```text
//!   lock               locked while a server uses the directory; empty
//!   manifest           which of the following files there must be, and the content of those that do not change any more
//!   current.db, -wal   the core's database
//!   generation-N.db    the snapshot at the start of generation N
//!   generation-N.wal   its log; that of the current generation follows the core's WAL
//!   manifest.tmp       the next manifest
//! ```
//!
//! Guarantees:
//!
//! * A transaction that was acknowledged is there after every crash, and no position of the log changes its content. If
//!   a write or a sync fails, the request is answered with an error, and its transactions are undone.
//! * At the start, a directory that differs from its manifest is refused by name. Nothing is written then. No file is
//!   overwritten, cut or removed that the manifest does not account for.
//! * An error while a generation is closed loses nothing. The generation stays open and is closed later.
//! * In memory are a few pieces of files and, while a log is read, the number of the last frame of each page that it
//!   writes.
//!
//! A copy of a directory begins a new history: the manifest notes the identity of its own file (see
//! [`place::Identity`]). So clients of the original do not take the copy for it.
//!
//! | module | holds |
//! |---|---|
//! | `check` | compares a directory with its manifest |
//! | `begin` | new directories, imports, and directories from before there were manifests |
//! | `close` | ends generations, prunes, and recovers from failed writes |
//! | `backup` | copies the directory of a running server |
//! | `served` | answers requests, several at the same time: start here |
//! | `log` | the log that answers are read from |
//! | `manifest`, `place` | the manifest; the directory and the names of its files |
//! | `scan` | reads logs and databases piece by piece |
//! | `shared` | opens each file of the core's database only once |
//!
//! Not supported: noticing that a file was changed while the server runs. A file's content is checked at the start.

mod backup;
mod begin;
mod check;
mod close;
mod error;
mod log;
mod manifest;
mod place;
mod scan;
mod served;
mod shared;

use std::num::NonZero;
use std::sync::Arc;

use plimsoll_engine::LockGuard;
use turso_core::{IO, LimboError};

use super::Remote;
use super::proof::Instance;
use super::store::Store;
use check::{Checked, State, check_database, check_files};
pub use error::ArchiveError;
pub use log::ArchivedLog;
use manifest::{Manifest, Stage};
use place::{CURRENT, CURRENT_WAL};
pub use place::{DirectoryStorage, Identity, Place};
pub use served::ServedArchive;
use shared::{SharedHandles, Watch};

/// The remote of an archive.
pub type ArchivedRemote = Remote<ArchivedLog>;

/// The options of an archive.
#[derive(Debug, Clone)]
pub struct ArchiveOptions {
    /// The number of frames after which a generation ends.
    pub generation_frames_max: u64,
    /// The number of generations to keep, the current one included. `None` keeps all.
    pub keep_generations: Option<NonZero<u64>>,
}

/// A remote in a directory. [`ServedArchive`] works with it: it recovers from failures before a write, and sees to it that
/// no other connection is in use while the database is opened again or its WAL is emptied.
pub struct Archive {
    remote: ArchivedRemote,
    options: ArchiveOptions,
    watch: Watch,
    /// The manifest of the next generation, if it is in place and the core has not emptied its WAL yet.
    closing: Option<Manifest>,
    /// The number of frames at which the next attempt to close the generation is made.
    close_at: u64,
    /// The identity of the core's main file at the start.
    main: Identity,
    /// The last field, because fields are dropped in order: the lock ends when the files are closed.
    _lock: LockGuard,
}

impl Default for ArchiveOptions {
    fn default() -> Self {
        Self { generation_frames_max: 1000, keep_generations: None }
    }
}

impl Archive {
    /// Resumes the remote in the directory, or creates an empty one.
    ///
    /// # Errors
    /// [`ArchiveError`] names the file that does not allow it. Nothing was changed then, unless writing failed.
    pub fn open(place: Place, options: ArchiveOptions) -> Result<Self, ArchiveError> {
        let (place, watch) = watched(place);
        let lock = place.lock()?;
        let names = place.names()?;
        let mut manifest = match Manifest::read(&place, &names)? {
            Some(manifest) => match manifest.stage {
                Stage::Serving if manifest.is_original(&place)? => manifest,
                Stage::Serving => Manifest { history_id: begin::new_history_id(&place), ..manifest },
                Stage::Beginning => begin::create(&place, manifest.history_id, &names)?,
                Stage::Importing => {
                    return Err(ArchiveError::ImportInterrupted { path: place.directory });
                }
            },
            None => match begin::adopt(&place, &names)? {
                Some(manifest) => manifest,
                None => begin::create(&place, begin::new_history_id(&place), &names)?,
            },
        };
        manifest.starts += 1;
        let names = place.names()?;
        check_files(&place, &manifest, &names)?;
        let checked = check_database(&place, manifest, &names)?;
        Self::resume(place, checked, options, watch, lock)
    }

    /// Creates a remote from a database that SQLite has written. The directory must be new.
    ///
    /// # Errors
    /// [`ArchiveError::Import`] says why the database is not accepted. Then nothing is left in the directory but its
    /// lock.
    pub fn import(place: Place, source: &str, options: ArchiveOptions) -> Result<Self, ArchiveError> {
        let (watched, _) = watched(place.clone());
        let lock = watched.lock()?;
        begin::import(&watched, source)?;
        drop((lock, watched));
        Self::open(place, options)
    }

    /// Continues a directory that was checked. From here on it is written.
    fn resume(
        place: Place,
        checked: Checked,
        options: ArchiveOptions,
        watch: Watch,
        lock: LockGuard,
    ) -> Result<Self, ArchiveError> {
        let Checked { mut manifest, log, has_wal, wal_frames, state, main } = checked;
        manifest.put(&place)?;
        let path = place.path(CURRENT);
        let failed = |operation| {
            let path = path.clone();
            move |source: LimboError| ArchiveError::Database { operation, path, source }
        };
        if has_wal {
            // A sync of an earlier process may have failed, of its header too.
            let wal = place.open_shared(CURRENT_WAL)?;
            place.rewrite(CURRENT_WAL, &wal, place.size(CURRENT_WAL, &wal)?)?;
        }
        let store = Store::recover(place.io.clone(), &path).map_err(failed("open"))?;
        drop(main);
        let found = store.frame_count().map_err(failed("read"))?;
        if found != wal_frames {
            let problem = format!("has {wal_frames} frames, but the core finds {found}");
            return Err(ArchiveError::damaged(&place.path(CURRENT_WAL), problem));
        }
        place.sync()?;
        let instance = Instance::new(place.io.as_ref());
        let history_id = manifest.history_id.clone();
        if state == State::NotMoved {
            store.checkpoint().map_err(failed("move the WAL into"))?;
        }
        if state == State::MovedByAnother {
            manifest = begin::close_moved(&place, manifest, &log)?;
        }
        let main = place.identity(CURRENT)?;
        let mut log = ArchivedLog::new(place, manifest);
        log.remove_pruned()?;
        let remote = Remote::of(store, log, history_id, instance);
        let close_at = options.generation_frames_max.max(1);
        let mut archive = Self { remote, options, watch, closing: None, close_at, main, _lock: lock };
        archive.record().map_err(failed("read"))?;
        Ok(archive)
    }

    fn record(&mut self) -> Result<(), LimboError> {
        use super::kept::KeptLog;
        self.remote.log.record(&self.remote.store)
    }

    /// The remote, to look at.
    pub fn remote(&self) -> &ArchivedRemote {
        &self.remote
    }

    /// Whether a failure has left something to heal.
    pub fn needs_healing(&self) -> bool {
        self.watch.has_seen()
    }

    /// Checks that the directory is still where it was. The open files of a removed one can be written, but nobody
    /// will ever read them.
    ///
    /// # Errors
    /// [`ArchiveError::Gone`].
    fn check_in_place(&self) -> Result<(), ArchiveError> {
        let place = &self.remote.log.place;
        match place.identity(CURRENT) {
            Ok(found) if found == self.main => Ok(()),
            _ => Err(ArchiveError::Gone { path: place.path(CURRENT) }),
        }
    }

    /// The IO through which the contents of answers are read.
    pub fn io(&self) -> Arc<dyn IO> {
        self.remote.log.place.io.clone()
    }

    /// Whether the generation is long enough to be ended.
    fn is_close_due(&self) -> bool {
        let limit = self.options.generation_frames_max.max(1);
        self.remote.frame_count() >= self.close_at.max(limit) && !self.remote.is_held_open()
    }

    /// Notes the result of an attempt to close a generation that was long enough. If it has failed, the next attempt
    /// follows after some more frames, because an attempt may copy the whole database.
    fn note_close(&mut self, closed: &Result<bool, ArchiveError>) {
        /// An attempt that has failed is repeated after this part of the frames of a generation.
        const RETRIES_PER_GENERATION: u64 = 8;
        let limit = self.options.generation_frames_max.max(1);
        match closed {
            Ok(_) => self.close_at = limit,
            Err(error) => {
                let reason = crate::text::error_chain(error);
                tracing::warn!(reason, "the generation stays open");
                self.close_at = self.remote.frame_count() + (limit / RETRIES_PER_GENERATION).max(1);
            }
        }
    }

    /// Copies the directory of a server to another directory, which must be empty. The server may be running; it is
    /// not asked.
    ///
    /// # Errors
    /// [`ArchiveError`].
    pub fn backup(from: &Place, to: &Place) -> Result<(), ArchiveError> {
        backup::copy(from, to)
    }
}

/// A server that ends makes the log durable, so that it can still prove what the WAL has held if another program moves
/// the WAL. After a kill, the operating system has the log.
impl Drop for Archive {
    fn drop(&mut self) {
        if self.remote.log.end().is_some()
            && let Err(error) = self.remote.log.complete()
        {
            tracing::warn!(reason = crate::text::error_chain(&error), "the log is not durable");
        }
    }
}

/// The same place, whose handles of the core's database are shared and watched.
fn watched(place: Place) -> (Place, Watch) {
    let watch = Watch::default();
    let paths = [CURRENT, CURRENT_WAL].map(|name| place.path(name));
    let io = Arc::new(SharedHandles::new(place.io.clone(), watch.clone(), paths));
    (Place { io, ..place }, watch)
}

#[cfg(test)]
mod tests;
