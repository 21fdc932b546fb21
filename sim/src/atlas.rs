//! The FaultAtlas: what the engine promises under each fault, at each file and route where it can strike.
//!
//! One table, [`ATLAS`]. The generator draws no fault that has no row; the world judges every error by the rows of the faults that
//! struck in its step; `plimsoll atlas` prints it. A promise can be weakened here and nowhere else. A new fault is one line in
//! [`FaultKind`] and one line a place in the table; the world calls [`World::strike`](crate::world::World::strike) when it strikes.
//!
//! Left out: silence. Whatever the promise, a wrong answer, a lost transaction or a panic is a violation.

use std::fmt;

use crate::disk::{CrashKind, DiskErrorKind, FileClass};
use crate::network::{NetworkFault, Route};
use crate::schedule::Fault;

/// What the engine promises under a fault. An operation that succeeds all the same keeps any promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Promise {
    /// The operation that it strikes succeeds; a process that it takes down can be started again as if nothing had been.
    Masked,
    /// The operation may fail with a typed error that [is retryable](plimsoll_engine::Error::is_retryable); the state is intact and
    /// a later operation succeeds once the fault is over.
    Reported,
    /// The operation may fail with a typed error that names what is damaged or refused and that no retry can help.
    Refused,
}

impl fmt::Display for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Masked => "masked",
            Self::Reported => "reported",
            Self::Refused => "refused",
        })
    }
}

/// A sort of fault, without its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FaultKind {
    /// The process dies, the machine goes on.
    Kill,
    /// The machine loses power.
    PowerLoss,
    /// A write fails.
    WriteFails,
    /// A write stops after its first bytes and fails.
    PartialWrite,
    /// A write finds no space left.
    NoSpace,
    /// A read fails.
    ReadFails,
    /// A read brings fewer bytes than there are.
    ShortRead,
    /// A sync fails and can be tried again.
    SyncFails,
    /// A sync fails, and what was written before it is only durable once it is written again.
    SyncDrops,
    /// A change of length fails.
    TruncateFails,
    /// Opening or creating fails.
    OpenFails,
    /// A rename fails.
    RenameFails,
    /// A sync of the directory fails.
    SyncDirectoryFails,
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
            Self::WriteFails => "write-fails",
            Self::PartialWrite => "partial-write",
            Self::NoSpace => "no-space",
            Self::ReadFails => "read-fails",
            Self::ShortRead => "short-read",
            Self::SyncFails => "sync-fails",
            Self::SyncDrops => "sync-drops",
            Self::TruncateFails => "truncate-fails",
            Self::OpenFails => "open-fails",
            Self::RenameFails => "rename-fails",
            Self::SyncDirectoryFails => "sync-dir-fails",
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
        }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Where a fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// At an operation on a file of this role.
    File(FileClass),
    /// At a request or response of this route.
    Route(Route),
    /// While the engine is suspended.
    Suspension,
    /// Between two operations.
    Between,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(file) => f.pad(file.name()),
            Self::Route(route) => f.pad(route.name()),
            Self::Suspension => f.pad("suspension"),
            Self::Between => f.pad("between-operations"),
        }
    }
}

/// One line of the atlas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// The fault.
    pub kind: FaultKind,
    /// Where it strikes.
    pub target: Target,
    /// What is promised then.
    pub promise: Promise,
    /// Why that can be promised, or why no more.
    pub reason: &'static str,
}

impl Row {
    /// Its name, as it stands in counts and messages: `kill/draft-wal`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.kind, self.target)
    }
}

/// The row of a fault at a place.
pub fn row(kind: FaultKind, target: Target) -> Option<&'static Row> {
    ATLAS.iter().find(|row| row.kind == kind && row.target == target)
}

/// The rows of which one is struck when `fault` strikes; empty when the atlas promises nothing about it.
pub fn rows_of(fault: &Fault) -> Vec<&'static Row> {
    let (kind, target) = match fault {
        Fault::Crash(point) => (FaultKind::from(&point.kind), Target::File(point.place.file)),
        Fault::CrashSuspended { kind, .. } => (FaultKind::from(kind), Target::Suspension),
        Fault::Abandon { .. } => (FaultKind::Abandon, Target::Suspension),
        Fault::Network { at, fault } => (FaultKind::of_message(fault, at.route), Target::Route(at.route)),
        Fault::Disk(error) => (FaultKind::from(error.error), Target::File(error.file)),
    };
    let is_meant = |row: &&Row| match (target, row.target) {
        // Only a crash can be told to strike at whichever file comes.
        (Target::File(FileClass::Any), Target::File(_)) => matches!(fault, Fault::Crash(_)),
        (target, of_row) => target == of_row,
    };
    ATLAS.iter().filter(|row| row.kind == kind).filter(is_meant).collect()
}

/// Judges an error that was shown as `shown` by the rows that struck: one of them has to allow for it.
///
/// # Errors
/// What is wrong with it.
pub fn judge(struck: &[&Row], shown: Promise) -> Result<(), String> {
    if struck.is_empty() {
        return Err("failed although no fault struck".to_owned());
    }
    if struck.iter().any(|row| row.promise == shown) {
        return Ok(());
    }
    let promised: Vec<String> =
        struck.iter().map(|row| format!("{} is to be {}", row.name(), row.promise)).collect();
    Err(format!("was {shown}, but {}", promised.join(", ")))
}

const fn at(kind: FaultKind, target: Target, promise: Promise, reason: &'static str) -> Row {
    Row { kind, target, promise, reason }
}

/// Every fault that the engine promises anything about.
pub const ATLAS: &[Row] = {
    use FaultKind::*;
    use FileClass::*;
    use Promise::*;
    use Route::*;
    use Target::{Between, Suspension};
    const fn file(file: FileClass) -> Target {
        Target::File(file)
    }
    const fn route(route: Route) -> Target {
        Target::Route(route)
    }
    &[
        // The process or the machine goes down.
        at(Kill, file(Draft), Masked, "the main file is written before the metadata names it"),
        at(
            Kill,
            file(DraftWal),
            Masked,
            "frames after the last commit are dropped, the old pair of watermarks is still true",
        ),
        at(Kill, file(Synced), Masked, "the checkpoint is announced in the metadata and can be done twice"),
        at(
            Kill,
            file(SyncedWal),
            Masked,
            "Synced counts as dirty at every start and is cut back to what the metadata names",
        ),
        at(Kill, file(Metadata), Masked, "a version is replaced as a whole by rename"),
        at(Kill, file(MetadataTemporary), Masked, "it means nothing until it is renamed, and is made anew"),
        at(Kill, Suspension, Masked, "each durable step leaves a state that can be taken up"),
        at(Kill, Between, Masked, "nothing is under way"),
        at(PowerLoss, file(Draft), Masked, "it is synced before the metadata names it"),
        at(PowerLoss, file(DraftWal), Masked, "it is synced before the metadata names its frames"),
        at(PowerLoss, file(Synced), Masked, "it is synced before its WAL is emptied"),
        at(
            PowerLoss,
            file(SyncedWal),
            Masked,
            "it is synced before the metadata names its frames, and after each cut",
        ),
        at(
            PowerLoss,
            file(Metadata),
            Masked,
            "its directory is synced before anything that it names may change",
        ),
        at(PowerLoss, file(MetadataTemporary), Masked, "it is synced before it is renamed"),
        at(PowerLoss, Suspension, Masked, "each durable step leaves a state that can be taken up"),
        at(PowerLoss, Between, Masked, "what was acknowledged was synced"),
        at(
            Kill,
            file(SyncedNext),
            Masked,
            "it takes Synced's place only once the metadata says that it is complete",
        ),
        at(PowerLoss, file(SyncedNext), Masked, "it is synced before the metadata says that it is complete"),
        // What befalls the directory from outside.
        at(LoseFile, file(Draft), Refused, "local transactions were in it"),
        at(LoseFile, file(DraftWal), Refused, "local transactions were in it"),
        at(LoseFile, file(Synced), Masked, "it holds nothing local; a new export takes its place"),
        at(LoseFile, file(SyncedWal), Masked, "it holds nothing local; a new export takes its place"),
        at(LoseFile, file(SyncedNext), Masked, "it is downloaded again"),
        at(LoseFile, file(Metadata), Refused, "nobody knows what the other files are"),
        at(
            RestoreDirectory,
            Between,
            Refused,
            "if the remote has transactions that the copy does not know of, the user decides what becomes of the copy's own",
        ),
        // Operations on files fail.
        at(WriteFails, file(Draft), Reported, "the bootstrap starts over"),
        at(WriteFails, file(DraftWal), Reported, "the transaction, or the rebase, is rolled back"),
        at(
            WriteFails,
            file(Synced),
            Reported,
            "the bootstrap starts over, the checkpoint is announced and done again",
        ),
        at(WriteFails, file(SyncedWal), Reported, "Synced is dirty and cut back by the next operation"),
        at(WriteFails, file(MetadataTemporary), Reported, "the version before stays in place"),
        at(PartialWrite, file(Draft), Reported, "the bootstrap starts over"),
        at(PartialWrite, file(DraftWal), Reported, "half a frame has no valid checksum"),
        at(
            PartialWrite,
            file(Synced),
            Reported,
            "the bootstrap starts over, the checkpoint is announced and done again",
        ),
        at(PartialWrite, file(SyncedWal), Reported, "Synced is dirty and cut back by the next operation"),
        at(
            PartialWrite,
            file(MetadataTemporary),
            Reported,
            "it means nothing until it is renamed, and is made anew",
        ),
        at(NoSpace, file(Draft), Reported, "the bootstrap starts over"),
        at(NoSpace, file(DraftWal), Reported, "the transaction, or the rebase, is rolled back"),
        at(
            NoSpace,
            file(Synced),
            Reported,
            "the bootstrap starts over, the checkpoint is announced and done again",
        ),
        at(NoSpace, file(SyncedWal), Reported, "Synced is dirty and cut back by the next operation"),
        at(NoSpace, file(MetadataTemporary), Reported, "the version before stays in place"),
        at(ReadFails, file(Draft), Reported, "nothing was changed by it"),
        at(ReadFails, file(DraftWal), Reported, "nothing was changed by it"),
        at(ReadFails, file(Synced), Reported, "nothing was changed by it"),
        at(ReadFails, file(SyncedWal), Reported, "nothing was changed by it"),
        at(ReadFails, file(Metadata), Reported, "it was read before anything was changed"),
        at(ShortRead, file(Metadata), Masked, "the rest is read as well"),
        at(SyncFails, file(Draft), Reported, "the bootstrap starts over"),
        at(SyncFails, file(DraftWal), Reported, "a failed commit is a maybe; the metadata is not written"),
        at(SyncFails, file(Synced), Reported, "the WAL is emptied only after it"),
        at(SyncFails, file(SyncedWal), Reported, "the metadata is not written, and Synced is cut back"),
        at(SyncFails, file(MetadataTemporary), Reported, "it is not renamed"),
        at(TruncateFails, file(SyncedWal), Reported, "Synced stays dirty until the cut succeeds"),
        at(TruncateFails, file(MetadataTemporary), Reported, "the version before stays in place"),
        at(OpenFails, file(Draft), Reported, "nothing was changed by it"),
        at(OpenFails, file(DraftWal), Reported, "nothing was changed by it"),
        at(OpenFails, file(Synced), Reported, "nothing was changed by it"),
        at(OpenFails, file(SyncedWal), Reported, "nothing was changed by it"),
        at(OpenFails, file(Metadata), Reported, "a file that cannot be opened is not one that is missing"),
        at(OpenFails, file(MetadataTemporary), Reported, "the version before stays in place"),
        at(RenameFails, file(Metadata), Reported, "the version before stays in place"),
        at(
            SyncDirectoryFails,
            file(Metadata),
            Reported,
            "either version may be durable, and what both name is kept",
        ),
        // Messages.
        at(LoseRequest, route(Info), Reported, "asked again by the next operation"),
        at(LoseRequest, route(Export), Reported, "the bootstrap starts over"),
        at(LoseRequest, route(PullFrames), Reported, "the walk goes on where the metadata says"),
        at(LoseRequest, route(Pipeline), Reported, "nothing was applied; sent again"),
        at(
            LoseRequest,
            route(PushFrames),
            Reported,
            "the remote holds at most an open transaction; the tail is cut off and built anew",
        ),
        at(LoseResponse, route(Info), Reported, "asked again by the next operation"),
        at(LoseResponse, route(Export), Reported, "the bootstrap starts over"),
        at(LoseResponse, route(PullFrames), Reported, "the walk goes on where the metadata says"),
        at(
            LoseResponse,
            route(Pipeline),
            Reported,
            "the acknowledgement row tells the next push that it was applied",
        ),
        at(Delay, route(Info), Reported, "asked again by the next operation"),
        at(Delay, route(Export), Reported, "the bootstrap starts over"),
        at(Delay, route(PullFrames), Reported, "the walk goes on where the metadata says"),
        at(
            Delay,
            route(Pipeline),
            Reported,
            "the guard refuses it once anything else was acknowledged, and else it is the first to arrive",
        ),
        at(Duplicate, route(Info), Masked, "reading twice changes nothing"),
        at(Duplicate, route(Export), Masked, "reading twice changes nothing"),
        at(Duplicate, route(PullFrames), Masked, "reading twice changes nothing"),
        at(
            Duplicate,
            route(Pipeline),
            Masked,
            "the guard refuses the second, and the first one's acknowledgement is found",
        ),
        at(Cut, route(Info), Reported, "half a JSON text is none"),
        at(Cut, route(Export), Reported, "its header says how many pages there are"),
        at(
            Cut,
            route(PullFrames),
            Reported,
            "only whole frames count, and the end of history is never learnt from a body",
        ),
        at(Cut, route(Pipeline), Reported, "the acknowledgement row tells the next push that it was applied"),
        at(EndEarly, route(Info), Reported, "half a JSON text is none"),
        at(EndEarly, route(Export), Reported, "its header says how many pages there are"),
        at(
            EndEarly,
            route(PullFrames),
            Reported,
            "only whole frames count, and the end of history is never learnt from a body",
        ),
        at(
            EndEarly,
            route(Pipeline),
            Reported,
            "the acknowledgement row tells the next push that it was applied",
        ),
        at(TinyChunks, route(Info), Masked, "bodies are streams"),
        at(TinyChunks, route(Export), Masked, "bodies are streams"),
        at(TinyChunks, route(PullFrames), Masked, "bodies are streams"),
        at(TinyChunks, route(Pipeline), Masked, "bodies are streams"),
        at(Garbage, route(Info), Reported, "it is not the expected JSON"),
        at(Garbage, route(Export), Reported, "it has no database header"),
        at(
            Garbage,
            route(PullFrames),
            Reported,
            "it is no whole number of frames; what was appended of it is cut off",
        ),
        at(
            Garbage,
            route(Pipeline),
            Reported,
            "the acknowledgement row tells the next push what was applied",
        ),
        at(WrongStatus, route(Info), Reported, "nothing is concluded from it"),
        at(WrongStatus, route(Export), Reported, "nothing is concluded from it"),
        at(WrongStatus, route(PullFrames), Reported, "nothing is concluded from it"),
        at(
            WrongStatus,
            route(Pipeline),
            Reported,
            "the acknowledgement row tells the next push whether it was applied",
        ),
        at(
            BlamingStatus,
            route(Info),
            Refused,
            "nothing is concluded from it, but that asking again is no use",
        ),
        at(
            BlamingStatus,
            route(Export),
            Refused,
            "nothing is concluded from it, but that asking again is no use",
        ),
        at(
            BlamingStatus,
            route(PullFrames),
            Refused,
            "nothing is concluded from it, but that asking again is no use",
        ),
        at(
            BlamingStatus,
            route(Pipeline),
            Refused,
            "should it have been applied all the same, the acknowledgement row tells the next push",
        ),
        at(
            BlamingStatus,
            route(PushFrames),
            Refused,
            "should they have been taken, the next walk finds them",
        ),
        at(UntrueAnswer, route(Info), Reported, "the export of a generation that does not exist fails"),
        at(
            UntrueAnswer,
            route(PullFrames),
            Reported,
            "a generation is entered once it has answered; a remote that went back is asked again",
        ),
        at(StaleAnswer, route(Info), Masked, "an older generation is as good a beginning"),
        at(StaleAnswer, route(Export), Reported, "the bootstrap starts over"),
        at(
            StaleAnswer,
            route(PullFrames),
            Reported,
            "the end of history is an older one; what is behind the client is no reason to destroy anything",
        ),
        // The same for a push in frames.
        at(
            LoseResponse,
            route(PushFrames),
            Reported,
            "the next walk finds the frames at the same numbers, the acknowledgement among them",
        ),
        at(Delay, route(PushFrames), Reported, "its numbers fit the state that it was built on and no other"),
        at(Duplicate, route(PushFrames), Masked, "the second is equal to what is there"),
        at(Cut, route(PushFrames), Reported, "the next walk finds what was taken"),
        at(EndEarly, route(PushFrames), Reported, "the next walk finds what was taken"),
        at(TinyChunks, route(PushFrames), Masked, "bodies are streams"),
        at(Garbage, route(PushFrames), Reported, "the next walk finds what was taken"),
        at(WrongStatus, route(PushFrames), Reported, "the next walk finds what was taken"),
        // The remote's machine, and operations that are given up.
        at(RemoteRestart, Between, Masked, "a push in frames whose baton is gone is built anew"),
        at(RemoteCrash, Between, Masked, "what was answered was synced"),
        at(RemoteCrash, route(Info), Reported, "asked again by the next operation"),
        at(RemoteCrash, route(Export), Reported, "the bootstrap starts over"),
        at(RemoteCrash, route(PullFrames), Reported, "the walk goes on where the metadata says"),
        at(
            RemoteCrash,
            route(Pipeline),
            Reported,
            "the acknowledgement row is there exactly when the transaction is",
        ),
        at(RemoteCrash, route(PushFrames), Reported, "the next walk finds what has survived"),
        at(Abandon, Suspension, Masked, "each durable step leaves a state that can be taken up"),
    ]
};

impl From<&CrashKind> for FaultKind {
    fn from(kind: &CrashKind) -> Self {
        match kind {
            CrashKind::Kill => Self::Kill,
            CrashKind::PowerLoss { .. } => Self::PowerLoss,
        }
    }
}

impl From<DiskErrorKind> for FaultKind {
    fn from(kind: DiskErrorKind) -> Self {
        match kind {
            DiskErrorKind::WriteFails => Self::WriteFails,
            DiskErrorKind::PartialWrite { .. } => Self::PartialWrite,
            DiskErrorKind::NoSpace => Self::NoSpace,
            DiskErrorKind::ReadFails => Self::ReadFails,
            DiskErrorKind::ShortRead => Self::ShortRead,
            DiskErrorKind::SyncFails => Self::SyncFails,
            DiskErrorKind::SyncDrops => Self::SyncDrops,
            DiskErrorKind::TruncateFails => Self::TruncateFails,
            DiskErrorKind::OpenFails => Self::OpenFails,
            DiskErrorKind::RenameFails => Self::RenameFails,
            DiskErrorKind::SyncDirectoryFails => Self::SyncDirectoryFails,
        }
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
            NetworkFault::WrongStatus { code: 400, .. } if route == Route::PullFrames => Self::WrongStatus,
            NetworkFault::WrongStatus { code: 404 | 408 | 410 | 425 | 429, .. } => Self::WrongStatus,
            NetworkFault::WrongStatus { code: 400..=499, .. } => Self::BlamingStatus,
            NetworkFault::WrongStatus { .. } => Self::WrongStatus,
            NetworkFault::Contradict(_) => Self::UntrueAnswer,
            NetworkFault::Stale { .. } => Self::StaleAnswer,
        }
    }
}

#[cfg(test)]
mod tests;
