//! The file-system operations that the engine needs beyond [`turso_core::IO`]: atomic replace and directory
//! sync.

use std::io;

/// Directory operations, which [`turso_core::IO`] does not have.
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
}
