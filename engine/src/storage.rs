//! What the engine needs of a file system beyond [`turso_core::IO`]: atomic replace and directory sync.

use std::io;

/// Directory operations, beside [`turso_core::IO`] which has none.
pub trait Storage: Send + Sync {
    /// Replaces the file `to` by the file `from`, atomically for whoever opens `to`.
    ///
    /// # Errors
    /// Whatever the file system answers; `to` is then as it was.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Makes creations, removals and renames in the directory that holds `path` durable.
    ///
    /// # Errors
    /// Whatever the file system answers; the entries may or may not be durable.
    fn sync_dir(&self, path: &str) -> io::Result<()>;
}

/// The machine's own file system, to go with [`turso_core::PlatformIO`].
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
