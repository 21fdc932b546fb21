//! The reasons why an archive cannot be opened, changed or copied. Each names the file.

use std::io;

use turso_core::LimboError;

/// The reason why an operation on an archive failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// The file system failed.
    #[error("cannot {operation} {path}")]
    File { operation: &'static str, path: String, source: io::Error },
    /// A read or a write failed.
    #[error("cannot {operation} {path}")]
    Io { operation: &'static str, path: String, source: LimboError },
    /// The file has the name of one of an archive's files, but the manifest does not account for it. Nothing was changed.
    #[error("{path} does not belong to this archive: {reason}; move it elsewhere, or use another directory")]
    Foreign { path: String, reason: &'static str },
    /// The file differs from what the manifest says about it. Nothing was changed.
    #[error("{path} {problem}; restore the directory from a backup")]
    Damaged { path: String, problem: String },
    /// Another server has locked the directory. Nothing was read or changed.
    #[error("{path} is in use by another server")]
    InUse { path: String },
    /// The core cannot open or move the database.
    #[error("cannot {operation} the database {path}")]
    Database { operation: &'static str, path: String, source: LimboError },
    /// The database cannot be imported. Neither it nor the directory was changed.
    #[error("cannot import {path}: {problem}")]
    Import { path: String, problem: String },
    /// An import into the directory has been interrupted.
    #[error(
        "an import into {path} was interrupted: repeat it, or delete the directory to begin with an empty database"
    )]
    ImportInterrupted { path: String },
    /// The directory already has an archive.
    #[error("{path} already has a database: only a new directory can be the target")]
    NotEmpty { path: String },
    /// A backup inside the directory that it is a backup of would be a foreign file there.
    #[error("{path} is inside the directory of the server: choose a directory elsewhere")]
    Inside { path: String },
    /// The directory has no archive.
    #[error("{path} has no archive: there is no manifest")]
    NoArchive { path: String },
    /// The directory, or the database in it, was removed or replaced under a running server.
    #[error(
        "{path} was removed or replaced while the server was running, so it keeps nothing any more; \
         put it back, or restart the server"
    )]
    Gone { path: String },
    /// The server changed the directory again and again while it was copied.
    #[error("{path} changed again and again while it was copied; repeat the backup")]
    KeepsChanging { path: String },
}

impl ArchiveError {
    pub(super) fn damaged(path: &str, problem: impl Into<String>) -> Self {
        Self::Damaged { path: path.to_owned(), problem: problem.into() }
    }
}
