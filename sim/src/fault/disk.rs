//! Disk errors: operations that fail instead of succeeding, by meaning.
//!
//! An operation that fails changes nothing, except that a partial write leaves its beginning. A failed sync leaves its data unsynced;
//! [`SyncDrops`](DiskErrorKind::SyncDrops) also forgets that the data was ever written, as operating systems do that mark the pages
//! clean: reads still return it, no later sync makes it durable, and the next power loss takes it. An error that lasts survives
//! restarts of the machine; it ends when the schedule heals.
//!
//! Absent: errors of `size` and of removals; damage that no call reports, which is bit rot ([`Damage`](super::Damage)).

use std::fmt;
use std::io::ErrorKind;

use arbitrary::Arbitrary;
use serde::{Deserialize, Serialize};
use turso_core::CompletionError;

use super::FileClass;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Arbitrary)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum DiskErrorKind {
    /// A write changes nothing and fails.
    WriteFails,
    /// A write stops after its first bytes and fails.
    PartialWrite {
        /// How many bytes are written.
        bytes: u32,
    },
    /// A write that would make the file longer fails, for there is no space left.
    NoSpace,
    /// A read fails.
    ReadFails,
    /// A read brings only its first half, and says so.
    ShortRead,
    /// A sync fails; what it should have made durable can still be synced.
    SyncFails,
    /// A sync fails, and what was written before it will never be durable unless it is written again.
    SyncDrops,
    /// A change of length fails.
    TruncateFails,
    /// Opening or creating fails.
    OpenFails,
    /// A rename changes nothing and fails.
    RenameFails,
    /// A sync of the directory fails; it can be tried again.
    SyncDirectoryFails,
}

impl DiskErrorKind {
    /// All of them; where one has a size, it is none.
    pub const ALL: [Self; 11] = [
        Self::WriteFails,
        Self::PartialWrite { bytes: 0 },
        Self::NoSpace,
        Self::ReadFails,
        Self::ShortRead,
        Self::SyncFails,
        Self::SyncDrops,
        Self::TruncateFails,
        Self::OpenFails,
        Self::RenameFails,
        Self::SyncDirectoryFails,
    ];

    /// The sort of it: the same without a size.
    pub fn sort(self) -> Self {
        if let Self::PartialWrite { .. } = self { Self::PartialWrite { bytes: 0 } } else { self }
    }

    /// The access that it strikes at.
    pub(crate) fn access(self) -> Access {
        match self {
            Self::WriteFails | Self::PartialWrite { .. } => Access::Write,
            Self::NoSpace => Access::Growth,
            Self::ReadFails | Self::ShortRead => Access::Read,
            Self::SyncFails | Self::SyncDrops => Access::Sync,
            Self::TruncateFails => Access::Truncate,
            Self::OpenFails => Access::Open,
            Self::RenameFails => Access::Rename,
            Self::SyncDirectoryFails => Access::SyncDirectory,
        }
    }

    /// What the operating system says.
    pub(crate) fn error_kind(self) -> ErrorKind {
        if self == Self::NoSpace { ErrorKind::StorageFull } else { ErrorKind::Other }
    }

    /// What a failed completion says.
    pub(crate) fn completion_error(self) -> CompletionError {
        CompletionError::IOError(self.error_kind(), self.access().verb())
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::WriteFails => "write-fails",
            Self::PartialWrite { .. } => "partial-write",
            Self::NoSpace => "no-space",
            Self::ReadFails => "read-fails",
            Self::ShortRead => "short-read",
            Self::SyncFails => "sync-fails",
            Self::SyncDrops => "sync-drops",
            Self::TruncateFails => "truncate-fails",
            Self::OpenFails => "open-fails",
            Self::RenameFails => "rename-fails",
            Self::SyncDirectoryFails => "sync-dir-fails",
        }
    }

    /// The kind as it stands in a trace.
    pub(crate) fn verb(self) -> &'static str {
        match self {
            Self::WriteFails => "write fails",
            Self::PartialWrite { .. } => "partial write",
            Self::NoSpace => "no space",
            Self::ReadFails => "read fails",
            Self::ShortRead => "short read",
            Self::SyncFails => "sync fails",
            Self::SyncDrops => "sync drops",
            Self::TruncateFails => "truncate fails",
            Self::OpenFails => "open fails",
            Self::RenameFails => "rename fails",
            Self::SyncDirectoryFails => "sync dir fails",
        }
    }
}

/// How long it goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Arbitrary)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Lasts {
    /// At one operation.
    Once,
    /// From that operation on, until the faults end.
    UntilHealed,
}

/// A disk error that waits for its place to be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Arbitrary)]
#[serde(deny_unknown_fields)]
pub struct DiskError {
    /// The role of the file.
    pub file: FileClass,
    /// The how-manieth operation of its sort on such a file in the step, from 1.
    pub nth: u32,
    /// What goes wrong there.
    pub error: DiskErrorKind,
    /// How long.
    pub lasts: Lasts,
    /// Whether the very call fails, as with blocking I/O, instead of its completion, as with I/O that is queued.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub at_once: bool,
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, nth, error, lasts, .. } = self;
        write!(f, "{} of {file}, at number {nth}", error.verb())?;
        if *lasts == Lasts::UntilHealed { write!(f, " and ever after") } else { Ok(()) }
    }
}

/// What a process does to a file, as far as it can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Write,
    /// A write that makes the file longer; it also counts as a write.
    Growth,
    Read,
    Sync,
    Truncate,
    Open,
    Rename,
    SyncDirectory,
}

impl Access {
    pub(crate) const COUNT: usize = Self::SyncDirectory as usize + 1;

    fn verb(self) -> &'static str {
        match self {
            Self::Write | Self::Growth => "write",
            Self::Read => "read",
            Self::Sync => "sync",
            Self::Truncate => "truncate",
            Self::Open => "open",
            Self::Rename => "rename",
            Self::SyncDirectory => "sync dir",
        }
    }
}
