//! The kinds of faults.

use std::fmt;

use crate::fault::{CrashKind, DiskErrorKind, NetworkFaultKind};

/// The kind of a fault, without its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FaultKind {
    /// The process is killed. The machine keeps running.
    Kill,
    PowerLoss,
    /// A fault of a request or of its response.
    Network(NetworkFaultKind),
    /// A file operation fails. Sizes do not matter; see [`DiskErrorKind::without_size`].
    Disk(DiskErrorKind),
    /// The remote's machine crashes between two requests.
    RemoteCrash,
    /// The remote's server restarts between two requests.
    RemoteRestart,
    /// A second server answers in turn with the remote, on a copy of its files.
    RemoteFork,
    /// A cache answers with something that is not true any more.
    StaleCache,
    /// The client's address leads to a wrong server.
    WrongServer,
    /// The application abandons an operation. Its process keeps running.
    Abandon,
    /// A file is lost.
    LoseFile,
    /// The directory is replaced by an older copy.
    RestoreDirectory,
    /// Bytes of a file change between two runs of the process.
    Rot,
}

impl FaultKind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::PowerLoss => "power-loss",
            Self::Network(kind) => kind.name(),
            Self::Disk(error) => error.name(),
            Self::RemoteCrash => "remote-crash",
            Self::RemoteRestart => "remote-restart",
            Self::RemoteFork => "remote-fork",
            Self::StaleCache => "stale-cache",
            Self::WrongServer => "wrong-server",
            Self::Abandon => "abandon",
            Self::LoseFile => "lose-file",
            Self::RestoreDirectory => "restore-directory",
            Self::Rot => "rot",
        }
    }

    /// The name as words of a sentence.
    pub fn words(self) -> String {
        self.name().replace('-', " ")
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
        Self::Disk(error.without_size())
    }
}

impl From<NetworkFaultKind> for FaultKind {
    fn from(kind: NetworkFaultKind) -> Self {
        Self::Network(kind)
    }
}
