//! The archive on real files.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use plimsoll_engine::{LocalStorage, LockGuard, Storage};
use turso_core::{IO, PlatformIO};

pub use crate::world::remote::archive::ArchiveError;
use crate::world::remote::archive::{Archive, ArchiveOptions, DirectoryStorage, Identity, Place};

/// Resumes the remote in a directory, or creates an empty one.
pub(super) fn open(directory: &Path, options: ArchiveOptions) -> Result<Archive, ArchiveError> {
    Archive::open(place(directory)?, options)
}

/// Creates a remote in a new directory from a database that SQLite has written.
///
/// # Errors
/// [`ArchiveError`] says why the database is not accepted. It is not changed.
pub fn import(directory: &Path, source: &Path) -> Result<(), ArchiveError> {
    let options = ArchiveOptions { generation_frames_max: u64::MAX, keep_generations: None };
    Archive::import(place(directory)?, &source.display().to_string(), options).map(drop)
}

/// Copies the directory of a server, which may be running, to a new directory.
///
/// # Errors
/// [`ArchiveError`].
pub fn backup(from: &Path, to: &Path) -> Result<(), ArchiveError> {
    if is_inside(to, from) {
        return Err(ArchiveError::Inside { path: to.display().to_string() });
    }
    Archive::backup(&existing(from)?, &place(to)?)
}

/// Whether a path, which need not exist, leads into a directory.
#[expect(clippy::disallowed_methods, reason = "a served remote uses real files")]
fn is_inside(path: &Path, directory: &Path) -> bool {
    let (Ok(path), Ok(directory)) = (std::path::absolute(path), std::fs::canonicalize(directory)) else {
        return false;
    };
    // The part that exists may lead through a link.
    path.ancestors()
        .find_map(|part| std::fs::canonicalize(part).ok())
        .is_some_and(|real| real.starts_with(directory))
}

/// A directory, which is created if it does not exist.
#[expect(clippy::disallowed_methods, reason = "a served remote uses real files")]
fn place(directory: &Path) -> Result<Place, ArchiveError> {
    let path = directory.display().to_string();
    std::fs::create_dir_all(directory).map_err(|source| ArchiveError::File {
        operation: "create",
        path,
        source,
    })?;
    existing(directory)
}

fn existing(directory: &Path) -> Result<Place, ArchiveError> {
    let path = directory.display().to_string();
    let io: Arc<dyn IO> = Arc::new(PlatformIO::new().map_err(|source| ArchiveError::Database {
        operation: "open",
        path: path.clone(),
        source,
    })?);
    Ok(Place { io, storage: Arc::new(LocalDirectory), directory: path })
}

/// Directories of the machine's own file system.
struct LocalDirectory;

impl Storage for LocalDirectory {
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        LocalStorage.rename(from, to)
    }

    fn sync_dir(&self, path: &str) -> io::Result<()> {
        LocalStorage.sync_dir(path)
    }

    fn lock(&self, path: &str) -> io::Result<LockGuard> {
        LocalStorage.lock(path)
    }
}

#[expect(clippy::disallowed_methods, reason = "a served remote uses real files")]
impl DirectoryStorage for LocalDirectory {
    fn list(&self, directory: &str) -> io::Result<Vec<String>> {
        let entries = std::fs::read_dir(directory)?;
        entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    fn identity(&self, path: &str) -> io::Result<Identity> {
        let metadata = std::fs::metadata(path)?;
        let created = metadata.created().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let created_ns = created.map_or(0, |time| time.as_nanos() as u64);
        Ok(Identity { inode: inode(&metadata), created_ns })
    }
}

#[cfg(unix)]
fn inode(metadata: &std::fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(metadata)
}

/// Elsewhere than on Unix, the time of creation has to be enough.
#[cfg(not(unix))]
fn inode(_metadata: &std::fs::Metadata) -> u64 {
    0
}
