//! The place of a fault on a disk: a file by its role, and an operation by its kind and number.

use std::fmt;

use serde::{Deserialize, Serialize};
use strum::{EnumCount, IntoStaticStr};

use super::Ordinal;

/// A file by its role. The end of a file's path determines its role.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, EnumCount, IntoStaticStr,
)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "kebab-case")]
pub enum FileClass {
    /// The database that the application works on, `…-draft`.
    Draft,
    /// Draft's WAL, `…-draft-wal`.
    DraftWal,
    /// The replica of the remote, `…-synced`.
    Synced,
    /// Synced's WAL, `…-synced-wal`.
    SyncedWal,
    /// A new export before it replaces Synced, `…-synced-next`.
    SyncedNext,
    /// The engine's metadata, `…-info`.
    Metadata,
    /// The next version of the metadata before it is renamed into place, `…-info.tmp`.
    MetadataTemporary,
    /// Any file, including files without a role.
    #[strum(serialize = "any-file")]
    Any,
}

impl FileClass {
    /// All roles except [`FileClass::Any`].
    pub const ALL: [Self; 7] = [
        Self::Draft,
        Self::DraftWal,
        Self::Synced,
        Self::SyncedWal,
        Self::SyncedNext,
        Self::Metadata,
        Self::MetadataTemporary,
    ];

    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The role of the file at `path`. [`FileClass::Any`] if the file has no role.
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

/// The kind of a file operation. Reads are not operations here, because they change nothing that a crash
/// could lose.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, EnumCount, IntoStaticStr,
)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "lowercase")]
pub enum OperationKind {
    /// A write. A vectored write counts once.
    Write,
    /// A sync of the file's content.
    Sync,
    /// A change of the file's length.
    Truncate,
    /// An open that created the file.
    Create,
    Remove,
    /// A rename. Its file is the target.
    Rename,
    /// A sync of the directory that holds the file.
    #[strum(serialize = "sync-dir")]
    SyncDirectory,
    /// An operation of any of these kinds.
    #[strum(serialize = "operation")]
    AnyMutation,
}

impl OperationKind {
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// An operation of a step, named by its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[serde(deny_unknown_fields)]
pub struct OperationPlace {
    pub file: FileClass,
    pub operation: OperationKind,
    /// The number of the operation in the step, from 1. Only operations of this kind on files of this role
    /// count.
    pub nth: u32,
}

impl fmt::Display for OperationPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = match self.file {
            FileClass::Any => "any file",
            FileClass::MetadataTemporary => "metadata's temporary",
            file => file.name(),
        };
        write!(f, "{} {} of {file}", Ordinal(self.nth), self.operation.name())
    }
}
