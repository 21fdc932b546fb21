//! The sorts of faults.

use std::fmt;

use crate::fault::{CrashKind, DiskErrorKind, NetworkFaultKind};

/// A sort of fault, without its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FaultKind {
    /// The process dies, the machine goes on.
    Kill,
    /// The machine loses power.
    PowerLoss,
    /// Something happens to a request or to its response.
    Network(NetworkFaultKind),
    /// An operation on a file fails; of the [sort](DiskErrorKind::sort) alone.
    Disk(DiskErrorKind),
    /// The remote's machine goes down, and what it was answering is lost.
    RemoteCrash,
    /// The remote's server restarts between two requests.
    RemoteRestart,
    /// An operation is dropped, its process lives on.
    Abandon,
    /// A file is gone.
    LoseFile,
    /// The directory is an older copy.
    RestoreDirectory,
    /// Bytes of a file go bad between two runs.
    Rot,
}

impl FaultKind {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::PowerLoss => "power-loss",
            Self::Network(kind) => kind.name(),
            Self::Disk(error) => error.name(),
            Self::RemoteCrash => "remote-crash",
            Self::RemoteRestart => "remote-restart",
            Self::Abandon => "abandon",
            Self::LoseFile => "lose-file",
            Self::RestoreDirectory => "restore-directory",
            Self::Rot => "rot",
        }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl From<&CrashKind> for FaultKind {
    fn from(kind: &CrashKind) -> Self {
        match kind {
            CrashKind::Kill => Self::Kill,
            CrashKind::PowerLoss { .. } => Self::PowerLoss,
        }
    }
}

impl From<DiskErrorKind> for FaultKind {
    fn from(error: DiskErrorKind) -> Self {
        Self::Disk(error.sort())
    }
}

impl From<NetworkFaultKind> for FaultKind {
    fn from(kind: NetworkFaultKind) -> Self {
        Self::Network(kind)
    }
}
