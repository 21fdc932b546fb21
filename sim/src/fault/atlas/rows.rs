//! The table: every fault at every place where it can strike, and what is promised then.

use super::{FaultKind, Promise, Row, Target};
use crate::fault::{DiskErrorKind, FileClass, NetworkFaultKind, Route};

const fn at(kind: FaultKind, target: Target, promise: Promise, reason: &'static str) -> Row {
    Row { kind, target, promise, reason }
}

/// An operation that fails: no error of a disk's is hidden, and none does harm.
const fn fails(error: DiskErrorKind, file: FileClass, reason: &'static str) -> Row {
    at(FaultKind::Disk(error), Target::File(file), Promise::Reported, reason)
}

/// Something happens to a request of this route, or to its response.
const fn on(kind: NetworkFaultKind, route: Route, promise: Promise, reason: &'static str) -> Row {
    at(FaultKind::Network(kind), Target::Route(route), promise, reason)
}

/// Every fault that the engine promises anything about.
pub const ATLAS: &[Row] = {
    use DiskErrorKind::*;
    use FaultKind::{Abandon, Kill, LoseFile, PowerLoss, RemoteRestart, RestoreDirectory, Rot};
    use FileClass::*;
    use NetworkFaultKind::*;
    use Promise::*;
    use Route::*;
    use Target::{Between, Suspension};
    const fn file(file: FileClass) -> Target {
        Target::File(file)
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
        at(
            Rot,
            file(Draft),
            Nothing,
            "its pages have no checksums, as in any SQLite database; what is read may be wrong",
        ),
        at(
            Rot,
            file(DraftWal),
            Refused,
            "up to the watermark; a frame behind it that is damaged looks like the torn end that a crash leaves, and what comes after it is not seen any more",
        ),
        at(
            Rot,
            file(Synced),
            Nothing,
            "of its pages only the header is looked at; a wrong one goes into Draft with the next rebase",
        ),
        at(Rot, file(SyncedWal), Masked, "its frames have checksums; a new export takes its place"),
        at(Rot, file(SyncedNext), Nothing, "its pages have no checksums; only its header is looked at"),
        at(Rot, file(Metadata), Refused, "it has a checksum"),
        // Operations on files fail.
        fails(WriteFails, Draft, "the bootstrap starts over"),
        fails(WriteFails, DraftWal, "the transaction, or the rebase, is rolled back"),
        fails(WriteFails, Synced, "the bootstrap starts over, the checkpoint is announced and done again"),
        fails(WriteFails, SyncedWal, "Synced is dirty and cut back by the next operation"),
        fails(WriteFails, MetadataTemporary, "the version before stays in place"),
        fails(WriteFails, SyncedNext, "it is downloaded again"),
        fails(PartialWrite { bytes: 0 }, SyncedNext, "it is downloaded again"),
        fails(NoSpace, SyncedNext, "it is downloaded again"),
        fails(ReadFails, SyncedNext, "it is downloaded again"),
        fails(SyncFails, SyncedNext, "the metadata does not say that it is complete"),
        fails(SyncDrops, SyncedNext, "it is downloaded again"),
        fails(OpenFails, SyncedNext, "a file that cannot be opened is not one that is missing"),
        fails(RenameFails, Synced, "the next operation does it again"),
        fails(PartialWrite { bytes: 0 }, Draft, "the bootstrap starts over"),
        fails(PartialWrite { bytes: 0 }, DraftWal, "half a frame has no valid checksum"),
        fails(
            PartialWrite { bytes: 0 },
            Synced,
            "the bootstrap starts over, the checkpoint is announced and done again",
        ),
        fails(PartialWrite { bytes: 0 }, SyncedWal, "Synced is dirty and cut back by the next operation"),
        fails(
            PartialWrite { bytes: 0 },
            MetadataTemporary,
            "it means nothing until it is renamed, and is made anew",
        ),
        fails(NoSpace, Draft, "the bootstrap starts over"),
        fails(NoSpace, DraftWal, "the transaction, or the rebase, is rolled back"),
        fails(NoSpace, Synced, "the bootstrap starts over, the checkpoint is announced and done again"),
        fails(NoSpace, SyncedWal, "Synced is dirty and cut back by the next operation"),
        fails(NoSpace, MetadataTemporary, "the version before stays in place"),
        fails(ReadFails, Draft, "nothing was changed by it"),
        fails(ReadFails, DraftWal, "nothing was changed by it"),
        fails(ReadFails, Synced, "nothing was changed by it"),
        fails(ReadFails, SyncedWal, "nothing was changed by it"),
        fails(ReadFails, Metadata, "it was read before anything was changed"),
        at(FaultKind::Disk(ShortRead), file(Metadata), Masked, "the rest is read as well"),
        fails(SyncFails, Draft, "the bootstrap starts over"),
        fails(SyncFails, DraftWal, "a failed commit is a maybe; the metadata is not written"),
        fails(SyncFails, Synced, "the WAL is emptied only after it"),
        fails(SyncFails, SyncedWal, "the metadata is not written, and Synced is cut back"),
        fails(SyncFails, MetadataTemporary, "it is not renamed"),
        fails(SyncDrops, Draft, "what it was to hold is written once more from where it came"),
        fails(
            SyncDrops,
            DraftWal,
            "a failed commit is a maybe; whoever opens the database writes what it shows once more",
        ),
        fails(SyncDrops, Synced, "the WAL is emptied only after a sync that has succeeded"),
        fails(SyncDrops, SyncedWal, "what was appended is cut off and asked for again"),
        fails(SyncDrops, MetadataTemporary, "it is not renamed, and is made anew"),
        fails(TruncateFails, SyncedWal, "Synced stays dirty until the cut succeeds"),
        fails(TruncateFails, MetadataTemporary, "the version before stays in place"),
        fails(OpenFails, Draft, "nothing was changed by it"),
        fails(OpenFails, DraftWal, "nothing was changed by it"),
        fails(OpenFails, Synced, "nothing was changed by it"),
        fails(OpenFails, SyncedWal, "nothing was changed by it"),
        fails(OpenFails, Metadata, "a file that cannot be opened is not one that is missing"),
        fails(OpenFails, MetadataTemporary, "the version before stays in place"),
        fails(RenameFails, Metadata, "the version before stays in place"),
        fails(SyncDirectoryFails, Metadata, "either version may be durable, and what both name is kept"),
        // Messages.
        on(LoseRequest, Info, Reported, "asked again by the next operation"),
        on(LoseRequest, Export, Reported, "the bootstrap starts over"),
        on(LoseRequest, PullFrames, Reported, "the walk goes on where the metadata says"),
        on(LoseRequest, Pipeline, Reported, "nothing was applied; sent again"),
        on(
            LoseRequest,
            PushFrames,
            Reported,
            "the remote holds at most an open transaction; the tail is cut off and built anew",
        ),
        on(LoseResponse, Info, Reported, "asked again by the next operation"),
        on(LoseResponse, Export, Reported, "the bootstrap starts over"),
        on(LoseResponse, PullFrames, Reported, "the walk goes on where the metadata says"),
        on(
            LoseResponse,
            Pipeline,
            Reported,
            "the acknowledgement row tells the next push that it was applied",
        ),
        on(Delay, Info, Reported, "asked again by the next operation"),
        on(Delay, Export, Reported, "the bootstrap starts over"),
        on(Delay, PullFrames, Reported, "the walk goes on where the metadata says"),
        on(
            Delay,
            Pipeline,
            Reported,
            "the guard refuses it once anything else was acknowledged, and else it is the first to arrive",
        ),
        on(Duplicate, Info, Masked, "reading twice changes nothing"),
        on(Duplicate, Export, Masked, "reading twice changes nothing"),
        on(Duplicate, PullFrames, Masked, "reading twice changes nothing"),
        on(
            Duplicate,
            Pipeline,
            Masked,
            "the guard refuses the second, and the first one's acknowledgement is found",
        ),
        on(Cut, Info, Reported, "half a JSON text is none"),
        on(Cut, Export, Reported, "its header says how many pages there are"),
        on(
            Cut,
            PullFrames,
            Reported,
            "only whole frames count, and the end of history is never learnt from a body",
        ),
        on(Cut, Pipeline, Reported, "the acknowledgement row tells the next push that it was applied"),
        on(EndEarly, Info, Reported, "half a JSON text is none"),
        on(EndEarly, Export, Reported, "its header says how many pages there are"),
        on(
            EndEarly,
            PullFrames,
            Reported,
            "only whole frames count, and the end of history is never learnt from a body",
        ),
        on(EndEarly, Pipeline, Reported, "the acknowledgement row tells the next push that it was applied"),
        on(TinyChunks, Info, Masked, "bodies are streams"),
        on(TinyChunks, Export, Masked, "bodies are streams"),
        on(TinyChunks, PullFrames, Masked, "bodies are streams"),
        on(TinyChunks, Pipeline, Masked, "bodies are streams"),
        on(Garbage, Info, Reported, "it is not the expected JSON"),
        on(Garbage, Export, Reported, "it has no database header"),
        on(
            Garbage,
            PullFrames,
            Reported,
            "it is no whole number of frames; what was appended of it is cut off",
        ),
        on(Garbage, Pipeline, Reported, "the acknowledgement row tells the next push what was applied"),
        on(WrongStatus, Info, Reported, "nothing is concluded from it"),
        on(WrongStatus, Export, Reported, "nothing is concluded from it"),
        on(WrongStatus, PullFrames, Reported, "nothing is concluded from it"),
        on(
            WrongStatus,
            Pipeline,
            Reported,
            "the acknowledgement row tells the next push whether it was applied",
        ),
        on(BlamingStatus, Info, Refused, "nothing is concluded from it, but that asking again is no use"),
        on(BlamingStatus, Export, Refused, "nothing is concluded from it, but that asking again is no use"),
        on(
            BlamingStatus,
            PullFrames,
            Refused,
            "nothing is concluded from it, but that asking again is no use",
        ),
        on(
            BlamingStatus,
            Pipeline,
            Refused,
            "should it have been applied all the same, the acknowledgement row tells the next push",
        ),
        on(BlamingStatus, PushFrames, Refused, "should they have been taken, the next walk finds them"),
        on(UntrueAnswer, Info, Reported, "the export of a generation that does not exist fails"),
        on(
            UntrueAnswer,
            PullFrames,
            Reported,
            "a generation is entered once it has answered; a remote that went back is asked again",
        ),
        on(
            UntrueAnswer,
            PushFrames,
            Reported,
            "what was taken is not believed to be; the next walk finds it",
        ),
        on(StaleAnswer, Info, Masked, "an older generation is as good a beginning"),
        on(StaleAnswer, Export, Reported, "the bootstrap starts over"),
        on(
            StaleAnswer,
            PullFrames,
            Reported,
            "the end of history is an older one; what is behind the client is no reason to destroy anything",
        ),
        // The same for a push in frames.
        on(
            LoseResponse,
            PushFrames,
            Reported,
            "the next walk finds the frames at the same numbers, the acknowledgement among them",
        ),
        on(Delay, PushFrames, Reported, "its numbers fit the state that it was built on and no other"),
        on(Duplicate, PushFrames, Masked, "the second is equal to what is there"),
        on(Cut, PushFrames, Reported, "the next walk finds what was taken"),
        on(EndEarly, PushFrames, Reported, "the next walk finds what was taken"),
        on(TinyChunks, PushFrames, Masked, "bodies are streams"),
        on(Garbage, PushFrames, Reported, "the next walk finds what was taken"),
        on(WrongStatus, PushFrames, Reported, "the next walk finds what was taken"),
        // The remote's machine, and operations that are given up.
        at(RemoteRestart, Between, Masked, "a push in frames whose baton is gone is built anew"),
        at(FaultKind::RemoteCrash, Between, Masked, "what was answered was synced"),
        on(RemoteCrash, Info, Reported, "asked again by the next operation"),
        on(RemoteCrash, Export, Reported, "the bootstrap starts over"),
        on(RemoteCrash, PullFrames, Reported, "the walk goes on where the metadata says"),
        on(
            RemoteCrash,
            Pipeline,
            Reported,
            "the acknowledgement row is there exactly when the transaction is",
        ),
        on(RemoteCrash, PushFrames, Reported, "the next walk finds what has survived"),
        at(Abandon, Suspension, Masked, "each durable step leaves a state that can be taken up"),
    ]
};
