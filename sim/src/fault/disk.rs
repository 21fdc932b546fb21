//! Disk errors: file operations that fail instead of succeeding.
//!
//! An operation that fails changes nothing, except that a partial write leaves its first bytes. A failed sync
//! leaves its data unsynced. [`SyncDrops`](DiskErrorKind::SyncDrops) also marks the data as clean, as some
//! operating systems do: reads still return it, no later sync makes it durable, and the next power loss
//! removes it. An error that lasts survives restarts of the machine and ends with the heal.
//!
//! Not simulated: errors of `size` and of removals. Not in this module: damage that no call reports, which is
//! bit rot ([`Damage`](super::Damage)).

use std::fmt;
use std::io::ErrorKind;

use serde::{Deserialize, Serialize};
use strum::IntoStaticStr;
use turso_core::CompletionError;

use super::FileClass;

/// The kind of a disk error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, IntoStaticStr)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[strum(serialize_all = "kebab-case")]
pub enum DiskErrorKind {
    /// A write fails and changes nothing.
    WriteFails,
    /// A write fails after its first bytes.
    PartialWrite {
        /// The number of bytes that are written.
        bytes: u32,
    },
    /// A write that would extend the file fails, because the disk is full.
    NoSpace,
    ReadFails,
    /// A read returns only the first half of the requested bytes, and reports the shorter length.
    ShortRead,
    /// A sync fails. A later sync can still make the data durable.
    SyncFails,
    /// A sync fails, and the unsynced data never becomes durable unless it is written again.
    SyncDrops,
    /// A truncate fails.
    TruncateFails,
    /// Opening or creating a file fails.
    OpenFails,
    /// A rename fails and changes nothing.
    RenameFails,
    /// A sync of the directory fails. A later sync can still make its entries durable.
    #[strum(serialize = "sync-dir-fails")]
    SyncDirectoryFails,
}

impl DiskErrorKind {
    /// All kinds, with their sizes set to zero.
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

    /// The same kind with its size set to zero.
    pub fn without_size(self) -> Self {
        if let Self::PartialWrite { .. } = self { Self::PartialWrite { bytes: 0 } } else { self }
    }

    /// The access that fails.
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

    /// The error of the operating system.
    pub(crate) fn error_kind(self) -> ErrorKind {
        if self == Self::NoSpace { ErrorKind::StorageFull } else { ErrorKind::Other }
    }

    /// The error of a failed completion.
    pub(crate) fn completion_error(self) -> CompletionError {
        CompletionError::IOError(self.error_kind(), self.access().verb())
    }

    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// How long a disk error lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Lasts {
    /// The error hits one access.
    Once,
    /// The error hits one access and, until the heal, every later access of the same kind to files of the
    /// same role.
    UntilHealed,
}

/// A disk error and its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[serde(deny_unknown_fields)]
pub struct DiskError {
    pub file: FileClass,
    /// The number of the access in the step, from 1. Only accesses of its kind to files of this role count.
    pub nth: u32,
    pub error: DiskErrorKind,
    pub lasts: Lasts,
    /// Whether the call itself fails, as with blocking I/O. Otherwise its completion fails, as with queued
    /// I/O.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub at_once: bool,
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, nth, error, lasts, .. } = self;
        write!(f, "{} on {file}, occurrence {nth}", error.name().replace('-', " "))?;
        if *lasts == Lasts::UntilHealed { write!(f, " and every later one until the heal") } else { Ok(()) }
    }
}

/// A file access that can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Write,
    /// A write that extends the file. It also counts as a write.
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
