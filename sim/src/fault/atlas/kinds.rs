//! The sorts of faults.

use std::fmt;

use crate::fault::{CrashKind, DiskErrorKind};
use crate::fault::{NetworkFault, Route};

/// A sort of fault, without its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FaultKind {
    /// The process dies, the machine goes on.
    Kill,
    /// The machine loses power.
    PowerLoss,
    /// An operation on a file fails; of the [sort](DiskErrorKind::sort) alone.
    Disk(DiskErrorKind),
    /// A request never reaches the remote.
    LoseRequest,
    /// A request takes effect, its response never arrives.
    LoseResponse,
    /// The remote's machine goes down, and what it was answering is lost.
    RemoteCrash,
    /// A request arrives when its sender has given up.
    Delay,
    /// A request arrives twice.
    Duplicate,
    /// The connection is lost inside a body.
    Cut,
    /// A body ends in good order before it is complete.
    EndEarly,
    /// A body arrives in tiny chunks.
    TinyChunks,
    /// A body means nothing.
    Garbage,
    /// An answer has a status that the protocol does not give, and that may be another the next time.
    WrongStatus,
    /// An answer has a status that says that the request itself is wrong.
    BlamingStatus,
    /// An answer contradicts the state of the remote.
    UntrueAnswer,
    /// An answer is what the remote would have said earlier.
    StaleAnswer,
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
    /// Those that befall messages.
    pub const NETWORK: &[Self] = &[
        Self::LoseRequest,
        Self::LoseResponse,
        Self::RemoteCrash,
        Self::Delay,
        Self::Duplicate,
        Self::Cut,
        Self::EndEarly,
        Self::TinyChunks,
        Self::Garbage,
        Self::WrongStatus,
        Self::BlamingStatus,
        Self::UntrueAnswer,
        Self::StaleAnswer,
    ];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::PowerLoss => "power-loss",
            Self::Disk(error) => error.name(),
            Self::LoseRequest => "lose-request",
            Self::LoseResponse => "lose-response",
            Self::Delay => "delay",
            Self::Duplicate => "duplicate",
            Self::Cut => "cut",
            Self::EndEarly => "end-early",
            Self::TinyChunks => "tiny-chunks",
            Self::Garbage => "garbage",
            Self::WrongStatus => "wrong-status",
            Self::BlamingStatus => "blaming-status",
            Self::UntrueAnswer => "untrue-answer",
            Self::StaleAnswer => "stale-answer",
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

impl FaultKind {
    /// The sort of a fault that befalls a request of this route or its answer.
    pub fn of_message(fault: &NetworkFault, route: Route) -> Self {
        match fault {
            NetworkFault::LoseRequest => Self::LoseRequest,
            NetworkFault::LoseResponse => Self::LoseResponse,
            NetworkFault::RemoteCrash { .. } => Self::RemoteCrash,
            NetworkFault::Delay { .. } => Self::Delay,
            NetworkFault::Duplicate { .. } => Self::Duplicate,
            NetworkFault::Cut { .. } => Self::Cut,
            NetworkFault::EndEarly { .. } => Self::EndEarly,
            NetworkFault::Chunks { .. } => Self::TinyChunks,
            NetworkFault::Garbage { .. } => Self::Garbage,
            // The protocol has 400 there: it is the body that is wrong.
            NetworkFault::WrongStatus { code: 400, .. }
                if matches!(route, Route::PullFrames | Route::PushFrames) =>
            {
                Self::WrongStatus
            }
            NetworkFault::WrongStatus { code: 404 | 408 | 410 | 425 | 429, .. } => Self::WrongStatus,
            NetworkFault::WrongStatus { code: 400..=499, .. } => Self::BlamingStatus,
            NetworkFault::WrongStatus { .. } => Self::WrongStatus,
            NetworkFault::Contradict(_) => Self::UntrueAnswer,
            NetworkFault::Stale { .. } => Self::StaleAnswer,
        }
    }
}
