//! Where a fault strikes on a disk: a file by its role, an operation by its kind and number.

use std::fmt;

use arbitrary::Arbitrary;
use serde::{Deserialize, Serialize};

use super::Ordinal;

/// A file by its role. Which file of a directory plays it is told by the end of its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Arbitrary)]
#[serde(rename_all = "snake_case")]
pub enum FileClass {
    /// The database that the application works on, `…-draft`.
    Draft,
    /// Its log, `…-draft-wal`.
    DraftWal,
    /// The replica of the remote, `…-synced`.
    Synced,
    /// Its log, `…-synced-wal`.
    SyncedWal,
    /// A new export before it takes the replica's place, `…-synced-next`.
    SyncedNext,
    /// The engine's metadata, `…-info`.
    Metadata,
    /// The metadata's next version, before it is renamed into place, `…-info.tmp`.
    MetadataTemporary,
    /// Any file, those without a role included.
    Any,
}

impl FileClass {
    pub(crate) const COUNT: usize = Self::Any as usize + 1;

    /// The roles, without [`FileClass::Any`].
    pub const ALL: [Self; 7] = [
        Self::Draft,
        Self::DraftWal,
        Self::Synced,
        Self::SyncedWal,
        Self::SyncedNext,
        Self::Metadata,
        Self::MetadataTemporary,
    ];

    /// The role in one word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::DraftWal => "draft-wal",
            Self::Synced => "synced",
            Self::SyncedWal => "synced-wal",
            Self::SyncedNext => "synced-next",
            Self::Metadata => "metadata",
            Self::MetadataTemporary => "metadata-temporary",
            Self::Any => "any-file",
        }
    }

    /// The role of the file at `path`; [`FileClass::Any`] if it has none.
    #[must_use]
    pub fn of(path: &str) -> Self {
        const ENDS: [(&str, FileClass); 7] = [
            ("-draft", FileClass::Draft),
            ("-draft-wal", FileClass::DraftWal),
            ("-synced", FileClass::Synced),
            ("-synced-wal", FileClass::SyncedWal),
            ("-synced-next", FileClass::SyncedNext),
            ("-info", FileClass::Metadata),
            ("-info.tmp", FileClass::MetadataTemporary),
        ];
        ENDS.into_iter().find(|(end, _)| path.ends_with(end)).map_or(Self::Any, |(_, class)| class)
    }
}

impl fmt::Display for FileClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What is done to a file. Reads are no operations: they change nothing that a crash could lose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Arbitrary)]
#[serde(rename_all = "snake_case")]
pub enum OperationKind {
    /// A write, a vectored one counting once.
    Write,
    /// A sync of the file's content.
    Sync,
    /// A change of the file's length.
    Truncate,
    /// An open that made the file.
    Create,
    /// A removal.
    Remove,
    /// A rename; its file is the one that is replaced.
    Rename,
    /// A sync of the directory that holds the file.
    SyncDirectory,
    /// Any of these.
    AnyMutation,
}

impl OperationKind {
    pub(crate) const COUNT: usize = Self::AnyMutation as usize + 1;

    /// The kind as it stands in a trace.
    #[must_use]
    pub fn verb(self) -> &'static str {
        match self {
            Self::Write => "write",
            Self::Sync => "sync",
            Self::Truncate => "truncate",
            Self::Create => "create",
            Self::Remove => "remove",
            Self::Rename => "rename",
            Self::SyncDirectory => "sync dir",
            Self::AnyMutation => "operation",
        }
    }
}

/// One operation of a step, by meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Arbitrary)]
#[serde(deny_unknown_fields)]
pub struct OperationPlace {
    /// The file it is done to.
    pub file: FileClass,
    /// What is done.
    pub operation: OperationKind,
    /// The how-manieth of its sort in the step, from 1. 0 is never reached.
    pub nth: u32,
}

impl fmt::Display for OperationPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = match self.file {
            FileClass::Any => "any file",
            FileClass::MetadataTemporary => "metadata's temporary",
            file => file.name(),
        };
        write!(f, "{} {} of {file}", Ordinal(self.nth), self.operation.verb())
    }
}
