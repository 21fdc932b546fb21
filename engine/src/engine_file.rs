//! The files of one database: the role of each, and its path.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// The role of one of the engine's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FileRole {
    /// The main file of Draft, the database that the application uses.
    Draft,
    /// The WAL of Draft.
    DraftWal,
    /// The main file of Synced, the replica of the remote.
    Synced,
    /// The WAL of Synced.
    SyncedWal,
    /// A new export that will replace Synced.
    SyncedNext,
    /// The metadata file.
    Metadata,
    /// New metadata that will replace the metadata file.
    MetadataNext,
    /// The empty file whose lock keeps other processes out.
    Lock,
}

impl FileRole {
    /// The end of the file's name, after the path that the engine was opened with.
    const fn suffix(self) -> &'static str {
        match self {
            Self::Draft => "-draft",
            Self::DraftWal => "-draft-wal",
            Self::Synced => "-synced",
            Self::SyncedWal => "-synced-wal",
            Self::SyncedNext => "-synced-next",
            Self::Metadata => "-info",
            Self::MetadataNext => "-info.tmp",
            Self::Lock => "-lock",
        }
    }
}

/// One of the engine's files. It derefs to its path and prints as it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct EngineFile {
    role: FileRole,
    path: Arc<str>,
}

impl EngineFile {
    /// The file with this role of the database at `base`, the path that the engine was opened with.
    pub(crate) fn of(base: &str, role: FileRole) -> Self {
        Self { role, path: format!("{base}{}", role.suffix()).into() }
    }

    /// The file's role.
    pub fn role(&self) -> FileRole {
        self.role
    }

    /// The file's path.
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl Deref for EngineFile {
    type Target = str;

    fn deref(&self) -> &str {
        &self.path
    }
}

impl fmt::Display for EngineFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)
    }
}

impl fmt::Debug for EngineFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?}", self.role, &*self.path)
    }
}
