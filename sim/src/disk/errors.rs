//! Disk errors: operations that fail instead of succeeding, by meaning, and which of them is due.
//!
//! An operation that fails changes nothing, but for a partial write, which leaves its beginning. A sync that fails leaves what
//! it should have made durable unsynced; the [nasty sort](DiskErrorKind::SyncDrops) besides forgets that it was ever written, as
//! operating systems do that mark the pages clean: they are still read, no later sync makes them durable, and the next power loss
//! takes them. A crash of the machine mends nothing: an error that lasts, lasts until [`DiskErrors::heal`].
//!
//! Left out: errors of lengths and removals; damage that nobody reports, which is rot and not an error.

use std::fmt;
use std::io::ErrorKind;

use arbitrary::Arbitrary;
use serde::{Deserialize, Serialize};
use turso_core::CompletionError;

use super::crash::FileClass;

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
    pub(super) fn access(self) -> Access {
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
    pub(super) fn error_kind(self) -> ErrorKind {
        if self == Self::NoSpace { ErrorKind::StorageFull } else { ErrorKind::Other }
    }

    /// What a failed completion says.
    pub(super) fn completion_error(self) -> CompletionError {
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
    pub(super) fn verb(self) -> &'static str {
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
pub(super) enum Access {
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
    const COUNT: usize = Self::SyncDirectory as usize + 1;

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

/// An error at the operation that is about to happen.
#[derive(Debug, Clone, Copy)]
pub(super) struct Strike {
    pub(super) kind: DiskErrorKind,
    pub(super) at_once: bool,
}

/// Which errors wait, which last, and which have struck.
#[derive(Default)]
pub(super) struct DiskErrors {
    armed: Vec<DiskError>,
    lasting: Vec<DiskError>,
    reached: [[u32; Access::COUNT]; FileClass::COUNT],
    struck: Vec<(DiskErrorKind, FileClass)>,
    suspended: bool,
}

impl DiskErrors {
    /// Begins a step: what was armed no longer is, what lasts does.
    pub(super) fn begin_step(&mut self) {
        self.armed.clear();
        self.reached = Default::default();
        self.struck.clear();
    }

    pub(super) fn heal(&mut self) {
        self.armed.clear();
        self.lasting.clear();
    }

    pub(super) fn arm(&mut self, error: DiskError) {
        self.armed.push(error);
    }

    pub(super) fn take_unreached(&mut self) -> Vec<DiskError> {
        std::mem::take(&mut self.armed)
    }

    /// What has struck since this was called last or the step began.
    pub(super) fn take_struck(&mut self) -> Vec<(DiskErrorKind, FileClass)> {
        std::mem::take(&mut self.struck)
    }

    /// While suspended nothing strikes and nothing is counted: whoever looks at a file is no part of the history.
    pub(super) fn suspend(&mut self, suspended: bool) {
        self.suspended = suspended;
    }

    /// Counts an access that is about to happen, and tells which error strikes at it, if one does.
    pub(super) fn reach(&mut self, file: FileClass, accesses: &[Access]) -> Option<Strike> {
        if self.suspended {
            return None;
        }
        for access in accesses {
            self.reached[file as usize][*access as usize] += 1;
        }
        let is_here = |error: &DiskError| error.file == file && accesses.contains(&error.error.access());
        let error = if let Some(lasting) = self.lasting.iter().find(|error| is_here(error)) {
            *lasting
        } else {
            let index = self.armed.iter().position(|error| {
                is_here(error) && self.reached[file as usize][error.error.access() as usize] == error.nth
            })?;
            let error = self.armed.remove(index);
            if error.lasts == Lasts::UntilHealed {
                self.lasting.push(error);
            }
            error
        };
        self.struck.push((error.error, file));
        Some(Strike { kind: error.error, at_once: error.at_once })
    }
}
