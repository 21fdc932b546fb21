//! The directory of a served remote, from which a restart resumes it.
//!
//! ```text
//!   lock               locked while a server uses the directory; empty
//!   history-id         the history id; created once, durable before anything else
//!   current.db, -wal   the core's database
//!   generation-N.db    the snapshot at the start of generation N
//!   generation-N.wal   its WAL, once the generation is closed
//! ```
//!
//! A generation is closed in three durable steps: its WAL is copied, the core moves the WAL into the main
//! file, and the main file is copied as the next snapshot. If a crash interrupts them, the next start
//! completes or undoes the close; an empty `current.db-wal` shows that the second step has happened. Closed
//! generations are checked against each other when they are read.
//!
//! Not supported: pruning. Every generation is kept on disk permanently, and in memory while it is served.

use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use plimsoll_engine::{LocalStorage, LockGuard, Storage};
use turso_core::{IO, LimboError, PlatformIO};

use crate::judge::format::{FRAME_BYTES, WAL_HEADER_BYTES};
use crate::judge::remote_log::{Closed, ResumeError};
use crate::world::remote::Remote;

/// The reason why a directory could not be opened or a generation could not be closed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    #[error("cannot {operation} {path}")]
    File { operation: &'static str, path: String, source: std::io::Error },
    /// The directory has databases but no `history-id`, so they may not belong to a remote.
    #[error(
        "{path} exists but there is no history-id beside it: refusing to serve or overwrite it; use another directory"
    )]
    Foreign { path: String },
    /// The files contradict each other.
    #[error("{path} is damaged")]
    Damaged { path: String, source: ResumeError },
    /// Another server has locked the directory. Nothing was read or changed.
    #[error("{path} is in use by another server")]
    InUse { path: String },
    /// The core cannot open the database.
    #[error("cannot open {path}")]
    Database { path: String, source: LimboError },
}

pub(super) struct Archive {
    directory: PathBuf,
    remote: Remote,
    /// The last field, because fields are dropped in order: the lock ends when the files are closed.
    _lock: LockGuard,
}

impl Archive {
    /// Resumes the remote in the directory, or creates an empty one.
    pub fn open(directory: &Path) -> Result<Self, ArchiveError> {
        let io: Arc<dyn IO> =
            Arc::new(PlatformIO::new().map_err(|source| ArchiveError::Database {
                path: directory.display().to_string(),
                source,
            })?);
        create_directory(directory)?;
        let layout = Layout { directory: directory.to_owned() };
        let lock = layout.lock()?;
        let history_id = layout.history_id(io.as_ref())?;
        let remote = if exists(&layout.snapshot(1))? {
            layout.resume(io, history_id)?
        } else {
            layout.begin(io, history_id)?
        };
        Ok(Self { directory: directory.to_owned(), remote, _lock: lock })
    }

    pub fn remote(&mut self) -> &mut Remote {
        &mut self.remote
    }

    /// Ends the current generation. Returns `false` if it had no frames.
    pub fn checkpoint(&mut self) -> Result<bool, ArchiveError> {
        let frames = self.remote.frame_count();
        if frames == 0 {
            return Ok(false);
        }
        let layout = Layout { directory: self.directory.clone() };
        let generation = self.remote.generation();
        let log_bytes = WAL_HEADER_BYTES + frames as usize * FRAME_BYTES;
        let mut log = read(&layout.current_log())?;
        log.truncate(log_bytes);
        replace(&layout.log(generation), &log)?;
        assert!(self.remote.checkpoint(), "a generation with frames can be closed");
        replace(&layout.snapshot(generation + 1), &read(&layout.current())?)?;
        Ok(true)
    }
}

struct Layout {
    directory: PathBuf,
}

impl Layout {
    /// Locks the directory against other servers.
    fn lock(&self) -> Result<LockGuard, ArchiveError> {
        let path = self.directory.join("lock");
        LocalStorage.lock(&path.display().to_string()).map_err(|source| match source.kind() {
            ErrorKind::WouldBlock => ArchiveError::InUse { path: self.directory.display().to_string() },
            _ => file_error("lock", &path)(source),
        })
    }

    fn current(&self) -> PathBuf {
        self.directory.join("current.db")
    }

    fn current_log(&self) -> PathBuf {
        self.directory.join("current.db-wal")
    }

    fn snapshot(&self, generation: u64) -> PathBuf {
        self.directory.join(format!("generation-{generation}.db"))
    }

    fn log(&self, generation: u64) -> PathBuf {
        self.directory.join(format!("generation-{generation}.wal"))
    }

    /// The history id. Creates one, from `io`'s random bytes, if the directory is new.
    fn history_id(&self, io: &dyn IO) -> Result<String, ArchiveError> {
        let path = self.directory.join("history-id");
        if exists(&path)? {
            let id = read(&path)?;
            return Ok(String::from_utf8_lossy(&id).trim().to_owned());
        }
        for foreign in [self.current(), self.current_log(), self.snapshot(1)] {
            if exists(&foreign)? {
                return Err(ArchiveError::Foreign { path: foreign.display().to_string() });
            }
        }
        let mut bytes = [0; 16];
        io.fill_bytes(&mut bytes);
        let id: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        replace(&path, id.as_bytes())?;
        Ok(id)
    }

    /// Starts generation 1. Nothing was served before its snapshot existed, so the files of an interrupted
    /// start are removed.
    fn begin(&self, io: Arc<dyn IO>, history_id: String) -> Result<Remote, ArchiveError> {
        for leftover in [self.current(), self.current_log()] {
            remove(&leftover)?;
        }
        let path = self.current().display().to_string();
        let remote =
            Remote::begin(io, &path, history_id).map_err(|source| ArchiveError::Database { path, source })?;
        replace(&self.snapshot(1), &read(&self.current())?)?;
        Ok(remote)
    }

    fn resume(&self, io: Arc<dyn IO>, history_id: String) -> Result<Remote, ArchiveError> {
        let mut generation = 1;
        while exists(&self.snapshot(generation + 1))? {
            generation += 1;
        }
        if exists(&self.log(generation))? {
            let log_is_moved = !exists(&self.current_log())? || read(&self.current_log())?.is_empty();
            if log_is_moved {
                generation += 1;
                replace(&self.snapshot(generation), &read(&self.current())?)?;
            } else {
                remove(&self.log(generation))?;
            }
        }
        let closed = (1..generation).map(|generation| {
            let snapshot = Bytes::from(read(&self.snapshot(generation))?);
            Ok(Closed { snapshot, log: read(&self.log(generation))?.into() })
        });
        let closed = closed.collect::<Result<Vec<_>, ArchiveError>>()?;
        let snapshot = read(&self.snapshot(generation))?;
        let path = self.current().display().to_string();
        Remote::resume(io, &path, history_id, closed, snapshot.into())
            .map_err(|source| ArchiveError::Damaged { path: self.directory.display().to_string(), source })
    }
}

fn file_error(operation: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> ArchiveError {
    let path = path.display().to_string();
    move |source| ArchiveError::File { operation, path, source }
}

#[expect(clippy::disallowed_methods, reason = "a served remote uses real files")]
fn create_directory(path: &Path) -> Result<(), ArchiveError> {
    std::fs::create_dir_all(path).map_err(file_error("create", path))
}

fn exists(path: &Path) -> Result<bool, ArchiveError> {
    path.try_exists().map_err(file_error("look for", path))
}

#[expect(clippy::disallowed_methods, reason = "a served remote uses real files")]
fn read(path: &Path) -> Result<Vec<u8>, ArchiveError> {
    std::fs::read(path).map_err(file_error("read", path))
}

#[expect(clippy::disallowed_methods, reason = "a served remote uses real files")]
fn remove(path: &Path) -> Result<(), ArchiveError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(file_error("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Replaces a file's content atomically and durably.
#[expect(clippy::disallowed_methods, reason = "a served remote uses real files")]
fn replace(path: &Path, bytes: &[u8]) -> Result<(), ArchiveError> {
    let temporary = path.with_extension("tmp");
    let write = || {
        let mut file = std::fs::File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)?;
        let directory = path.parent().unwrap_or(Path::new("."));
        std::fs::File::open(directory)?.sync_all()
    };
    write().map_err(file_error("write", path))
}
