//! The file-system operations that the engine needs beyond [`turso_core::IO`]: atomic replace, directory sync
//! and an exclusive lock.

use std::any::Any;
use std::io;

/// Holds a lock until it is dropped.
pub type LockGuard = Box<dyn Any + Send + Sync>;

/// Operations on directories and locks, which [`turso_core::IO`] does not have.
pub trait Storage: Send + Sync {
    /// Replaces the file `to` by the file `from`. The replacement is atomic for every process that opens
    /// `to`.
    ///
    /// # Errors
    /// Returns the file system's error. The file `to` is then unchanged.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Makes file creations, removals and renames in the directory of `path` durable.
    ///
    /// # Errors
    /// Returns the file system's error. The entries may or may not be durable then.
    fn sync_dir(&self, path: &str) -> io::Result<()>;

    /// Takes the exclusive lock on the file `path`, and creates the file if it does not exist. The lock ends
    /// when the guard is dropped or the process ends. It excludes every other holder, in this process too,
    /// by whatever path the file is reached.
    ///
    /// POSIX record locks (`fcntl`) are not enough: a process loses them when it closes any other handle of
    /// the file, and its own second holder is let in.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if somebody else holds the lock. Otherwise the file system's error, for
    /// example [`io::ErrorKind::Unsupported`] if it has no locks.
    fn lock(&self, path: &str) -> io::Result<LockGuard>;
}

/// The machine's own file system, for use with [`turso_core::PlatformIO`].
#[derive(Debug, Clone, Copy, Default)]
pub struct LocalStorage;

#[expect(clippy::disallowed_methods, reason = "this is the adapter through which real files enter")]
impl Storage for LocalStorage {
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn sync_dir(&self, path: &str) -> io::Result<()> {
        let directory = match std::path::Path::new(path).parent() {
            Some(directory) if !directory.as_os_str().is_empty() => directory,
            _ => std::path::Path::new("."),
        };
        std::fs::File::open(directory)?.sync_all()
    }

    /// Uses `flock` on Unix, which belongs to the open file and not to the process. A child that the
    /// application forks shares the lock until it calls `exec`. On a file system without such locks the
    /// engine does not open; over NFS they need a server with lock support.
    fn lock(&self, path: &str) -> io::Result<LockGuard> {
        for _ in 0..LOCK_ATTEMPTS_MAX {
            let file =
                std::fs::File::options().read(true).write(true).create(true).truncate(false).open(path)?;
            file.try_lock().map_err(|error| match error {
                std::fs::TryLockError::WouldBlock => io::ErrorKind::WouldBlock.into(),
                std::fs::TryLockError::Error(error) => error,
            })?;
            // Between the open and the lock, the file may have been removed or replaced. Others lock the new
            // one then.
            if is_at(&file, path)? {
                return Ok(Box::new(file));
            }
        }
        Err(io::Error::other("the lock file is replaced again and again"))
    }
}

/// How often [`LocalStorage`] locks a file that was replaced in the meantime.
const LOCK_ATTEMPTS_MAX: u32 = 100;

/// Whether `path` leads to this open file.
#[cfg(unix)]
#[expect(clippy::disallowed_methods, reason = "a part of the adapter for real files")]
fn is_at(file: &std::fs::File, path: &str) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let opened = file.metadata()?;
    match std::fs::metadata(path) {
        Ok(there) => Ok((there.dev(), there.ino()) == (opened.dev(), opened.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether `path` leads to this open file. Elsewhere than on Unix an open file cannot be replaced.
#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "as on Unix")]
fn is_at(_file: &std::fs::File, _path: &str) -> io::Result<bool> {
    Ok(true)
}

#[cfg(all(test, unix))]
#[expect(clippy::disallowed_methods, reason = "the adapter for real files is tested on real files")]
mod tests {
    use super::*;

    /// A process that has opened the lock file just before it is replaced must not rely on the old file.
    #[test]
    fn a_file_that_was_replaced_or_removed_after_it_was_opened_is_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock").display().to_string();
        let file = std::fs::File::create(&path).unwrap();
        assert!(is_at(&file, &path).unwrap());
        std::fs::remove_file(&path).unwrap();
        assert!(!is_at(&file, &path).unwrap());
        std::fs::File::create(&path).unwrap();
        assert!(!is_at(&file, &path).unwrap());
    }
}
