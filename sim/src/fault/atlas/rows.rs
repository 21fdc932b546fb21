//! The table: every fault at every place, and the engine's promise.

use super::{FaultKind, Promise, Row, Target};
use crate::fault::{DiskErrorKind, FileClass, NetworkFaultKind, Route};

const fn at(kind: FaultKind, target: Target, promise: Promise, reason: &'static str) -> Row {
    Row { kind, target, promise, reason }
}

/// A row for a file operation that fails, with the promise that the error is reported.
const fn fails(error: DiskErrorKind, file: FileClass, reason: &'static str) -> Row {
    at(FaultKind::Disk(error), Target::File(file), Promise::Reported, reason)
}

/// A row for a fault of a request of this route, or of its response.
const fn on(kind: NetworkFaultKind, route: Route, promise: Promise, reason: &'static str) -> Row {
    at(FaultKind::Network(kind), Target::Route(route), promise, reason)
}

/// All promises of the engine, one per fault and place.
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
        // The process or the machine crashes.
        at(Kill, file(Draft), Masked, "the main file is written before the metadata names it"),
        at(
            Kill,
            file(DraftWal),
            Masked,
            "frames after the last commit are dropped; the old pair of watermarks is still valid",
        ),
        at(Kill, file(Synced), Masked, "the checkpoint is announced in the metadata and can be repeated"),
        at(
            Kill,
            file(SyncedWal),
            Masked,
            "Synced counts as dirty at every start and is cut back to the frames that the metadata names",
        ),
        at(Kill, file(Metadata), Masked, "a rename replaces the whole version atomically"),
        at(Kill, file(MetadataTemporary), Masked, "it is ignored until it is renamed, and is written again"),
        at(Kill, Suspension, Masked, "each durable step leaves a state that can be resumed"),
        at(Kill, Between, Masked, "no operation is running"),
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
            "the directory is synced after the rename, before bytes that the old version names may change",
        ),
        at(PowerLoss, file(MetadataTemporary), Masked, "it is synced before it is renamed"),
        at(PowerLoss, Suspension, Masked, "each durable step leaves a state that can be resumed"),
        at(PowerLoss, Between, Masked, "what was acknowledged was synced"),
        at(
            Kill,
            file(SyncedNext),
            Masked,
            "it replaces Synced only after the metadata says that it is complete",
        ),
        at(PowerLoss, file(SyncedNext), Masked, "it is synced before the metadata says that it is complete"),
        // External damage to the directory.
        at(LoseFile, file(Draft), Refused, "it contained local transactions"),
        at(LoseFile, file(DraftWal), Refused, "it contained local transactions"),
        at(LoseFile, file(Synced), Masked, "it holds nothing local; a new export replaces it"),
        at(LoseFile, file(SyncedWal), Masked, "it holds nothing local; a new export replaces it"),
        at(LoseFile, file(SyncedNext), Masked, "it is downloaded again"),
        at(LoseFile, file(Metadata), Refused, "the other files cannot be interpreted without it"),
        at(
            RestoreDirectory,
            Between,
            Refused,
            "if the remote knows more than the copy, the user decides whether to keep the copy's transactions",
        ),
        at(
            Rot,
            file(Draft),
            Nothing,
            "its pages have no checksums, as in any SQLite database, so a read may return wrong rows",
        ),
        at(
            Rot,
            file(DraftWal),
            Refused,
            "only up to the watermark: a damaged frame after it looks like a torn write that ends the WAL",
        ),
        at(
            Rot,
            file(Synced),
            Nothing,
            "only its header is checked; the next rebase copies a wrong page into Draft",
        ),
        at(Rot, file(SyncedWal), Masked, "its frames have checksums; a new export replaces it"),
        at(Rot, file(SyncedNext), Nothing, "its pages have no checksums; only its header is checked"),
        at(Rot, file(Metadata), Refused, "it has a checksum"),
        // Failing file operations.
        fails(WriteFails, Draft, "the bootstrap starts over"),
        fails(WriteFails, DraftWal, "the transaction, or the rebase, is rolled back"),
        fails(WriteFails, Synced, "the bootstrap starts over; an announced checkpoint is repeated"),
        fails(WriteFails, SyncedWal, "Synced is dirty and cut back by the next operation"),
        fails(WriteFails, MetadataTemporary, "the previous version stays in place"),
        fails(WriteFails, SyncedNext, "it is downloaded again"),
        fails(PartialWrite { bytes: 0 }, SyncedNext, "it is downloaded again"),
        fails(NoSpace, SyncedNext, "it is downloaded again"),
        fails(ReadFails, SyncedNext, "it is downloaded again"),
        fails(SyncFails, SyncedNext, "the metadata does not say that it is complete"),
        fails(SyncDrops, SyncedNext, "it is downloaded again"),
        fails(OpenFails, SyncedNext, "a file that cannot be opened is not treated as missing"),
        fails(RenameFails, Synced, "the next operation repeats it"),
        fails(PartialWrite { bytes: 0 }, Draft, "the bootstrap starts over"),
        fails(PartialWrite { bytes: 0 }, DraftWal, "half a frame has no valid checksum"),
        fails(
            PartialWrite { bytes: 0 },
            Synced,
            "the bootstrap starts over; an announced checkpoint is repeated",
        ),
        fails(PartialWrite { bytes: 0 }, SyncedWal, "Synced is dirty and cut back by the next operation"),
        fails(
            PartialWrite { bytes: 0 },
            MetadataTemporary,
            "it is ignored until it is renamed, and is written again",
        ),
        fails(NoSpace, Draft, "the bootstrap starts over"),
        fails(NoSpace, DraftWal, "the transaction, or the rebase, is rolled back"),
        fails(NoSpace, Synced, "the bootstrap starts over; an announced checkpoint is repeated"),
        fails(NoSpace, SyncedWal, "Synced is dirty and cut back by the next operation"),
        fails(NoSpace, MetadataTemporary, "the previous version stays in place"),
        fails(ReadFails, Draft, "a failed access changes nothing"),
        fails(ReadFails, DraftWal, "a failed access changes nothing"),
        fails(ReadFails, Synced, "a failed access changes nothing"),
        fails(ReadFails, SyncedWal, "a failed access changes nothing"),
        fails(ReadFails, Metadata, "it is read before anything is changed"),
        at(FaultKind::Disk(ShortRead), file(Metadata), Masked, "the rest is read by another call"),
        fails(SyncFails, Draft, "the bootstrap starts over"),
        fails(SyncFails, DraftWal, "a failed commit may or may not be durable; the metadata is not written"),
        fails(SyncFails, Synced, "the WAL is emptied only after the sync succeeds"),
        fails(SyncFails, SyncedWal, "the metadata is not written, and Synced is cut back"),
        fails(SyncFails, MetadataTemporary, "it is not renamed"),
        fails(SyncDrops, Draft, "its content is written again from the source"),
        fails(
            SyncDrops,
            DraftWal,
            "a failed commit may or may not be durable; the next open writes the visible frames again",
        ),
        fails(SyncDrops, Synced, "the WAL is emptied only after a successful sync"),
        fails(SyncDrops, SyncedWal, "the appended frames are cut off and requested again"),
        fails(SyncDrops, MetadataTemporary, "it is not renamed, and is written again"),
        fails(TruncateFails, SyncedWal, "Synced stays dirty until the cut succeeds"),
        fails(TruncateFails, MetadataTemporary, "the previous version stays in place"),
        fails(OpenFails, Draft, "a failed access changes nothing"),
        fails(OpenFails, DraftWal, "a failed access changes nothing"),
        fails(OpenFails, Synced, "a failed access changes nothing"),
        fails(OpenFails, SyncedWal, "a failed access changes nothing"),
        fails(OpenFails, Metadata, "a file that cannot be opened is not treated as missing"),
        fails(OpenFails, MetadataTemporary, "the previous version stays in place"),
        fails(RenameFails, Metadata, "the previous version stays in place"),
        fails(
            SyncDirectoryFails,
            Metadata,
            "either version may be the durable one, so everything that either names is kept",
        ),
        // Faults of requests and responses.
        on(LoseRequest, Info, Reported, "the next operation asks again"),
        on(LoseRequest, Export, Reported, "the bootstrap starts over"),
        on(LoseRequest, PullFrames, Reported, "the walk continues at the position in the metadata"),
        on(LoseRequest, Pipeline, Reported, "nothing was applied; the push is sent again"),
        on(
            LoseRequest,
            PushFrames,
            Reported,
            "the remote holds at most an open transaction; the local tail is cut off and built again",
        ),
        on(LoseResponse, Info, Reported, "the next operation asks again"),
        on(LoseResponse, Export, Reported, "the bootstrap starts over"),
        on(LoseResponse, PullFrames, Reported, "the walk continues at the position in the metadata"),
        on(
            LoseResponse,
            Pipeline,
            Reported,
            "the acknowledgement row tells the next push whether this one was applied",
        ),
        on(Delay, Info, Reported, "the next operation asks again"),
        on(Delay, Export, Reported, "the bootstrap starts over"),
        on(Delay, PullFrames, Reported, "the walk continues at the position in the metadata"),
        on(
            Delay,
            Pipeline,
            Reported,
            "the guard rejects it if another push was acknowledged first; otherwise it is applied once",
        ),
        on(Duplicate, Info, Masked, "reading twice changes nothing"),
        on(Duplicate, Export, Masked, "reading twice changes nothing"),
        on(Duplicate, PullFrames, Masked, "reading twice changes nothing"),
        on(
            Duplicate,
            Pipeline,
            Masked,
            "the guard rejects the second copy; the acknowledgement row shows that the first was applied",
        ),
        on(Cut, Info, Reported, "a truncated JSON text does not parse"),
        on(Cut, Export, Reported, "its header has the number of pages, so a missing page is noticed"),
        on(
            Cut,
            PullFrames,
            Reported,
            "only whole frames count, and a body never determines the end of the log",
        ),
        on(
            Cut,
            Pipeline,
            Reported,
            "the acknowledgement row tells the next push whether this one was applied",
        ),
        on(EndEarly, Info, Reported, "a truncated JSON text does not parse"),
        on(EndEarly, Export, Reported, "its header has the number of pages, so a missing page is noticed"),
        on(
            EndEarly,
            PullFrames,
            Reported,
            "only whole frames count, and a body never determines the end of the log",
        ),
        on(
            EndEarly,
            Pipeline,
            Reported,
            "the acknowledgement row tells the next push whether this one was applied",
        ),
        on(TinyChunks, Info, Masked, "bodies are read as streams"),
        on(TinyChunks, Export, Masked, "bodies are read as streams"),
        on(TinyChunks, PullFrames, Masked, "bodies are read as streams"),
        on(TinyChunks, Pipeline, Masked, "bodies are read as streams"),
        on(Garbage, Info, Reported, "it is not the expected JSON"),
        on(Garbage, Export, Reported, "it has no database header"),
        on(
            Garbage,
            PullFrames,
            Reported,
            "it is not a whole number of frames; frames appended from it are cut off",
        ),
        on(
            Garbage,
            Pipeline,
            Reported,
            "the acknowledgement row tells the next push whether this one was applied",
        ),
        on(WrongStatus, Info, Reported, "the engine concludes nothing from it"),
        on(WrongStatus, Export, Reported, "the engine concludes nothing from it"),
        on(WrongStatus, PullFrames, Reported, "the engine concludes nothing from it"),
        on(
            WrongStatus,
            Pipeline,
            Reported,
            "the acknowledgement row tells the next push whether this one was applied",
        ),
        on(BlamingStatus, Info, Refused, "the engine only concludes that a retry does not help"),
        on(BlamingStatus, Export, Refused, "the engine only concludes that a retry does not help"),
        on(BlamingStatus, PullFrames, Refused, "the engine only concludes that a retry does not help"),
        on(
            BlamingStatus,
            Pipeline,
            Refused,
            "the acknowledgement row tells the next push whether this one was applied anyway",
        ),
        on(
            BlamingStatus,
            PushFrames,
            Refused,
            "if the frames were accepted anyway, the next walk finds them",
        ),
        on(UntrueAnswer, Info, Reported, "the export of a generation that does not exist fails"),
        on(
            UntrueAnswer,
            PullFrames,
            Reported,
            "a generation is entered only after it has answered; a remote that went back is asked again",
        ),
        on(
            UntrueAnswer,
            PushFrames,
            Reported,
            "accepted frames count as not accepted; the next walk finds them",
        ),
        on(StaleAnswer, Info, Masked, "the bootstrap may start at an older generation"),
        on(StaleAnswer, Export, Reported, "the bootstrap starts over"),
        on(
            StaleAnswer,
            PullFrames,
            Reported,
            "the log seems to end earlier; an end before the client's position discards nothing",
        ),
        // The same faults for a push in frames.
        on(
            LoseResponse,
            PushFrames,
            Reported,
            "the next walk finds the frames at the same numbers, with the acknowledgement",
        ),
        on(Delay, PushFrames, Reported, "its frame numbers fit only the state that it was built on"),
        on(Duplicate, PushFrames, Masked, "the second copy equals the frames that the remote already has"),
        on(Cut, PushFrames, Reported, "the next walk finds the accepted frames"),
        on(EndEarly, PushFrames, Reported, "the next walk finds the accepted frames"),
        on(TinyChunks, PushFrames, Masked, "bodies are read as streams"),
        on(Garbage, PushFrames, Reported, "the next walk finds the accepted frames"),
        on(WrongStatus, PushFrames, Reported, "the next walk finds the accepted frames"),
        // Crashes of the remote's machine, and abandoned operations.
        at(RemoteRestart, Between, Masked, "a push in frames whose baton is gone is built again"),
        at(FaultKind::RemoteCrash, Between, Masked, "every answered request was synced"),
        on(RemoteCrash, Info, Reported, "the next operation asks again"),
        on(RemoteCrash, Export, Reported, "the bootstrap starts over"),
        on(RemoteCrash, PullFrames, Reported, "the walk continues at the position in the metadata"),
        on(RemoteCrash, Pipeline, Reported, "the acknowledgement row exists exactly if the transaction does"),
        on(RemoteCrash, PushFrames, Reported, "the next walk finds the surviving frames"),
        at(Abandon, Suspension, Masked, "each durable step leaves a state that can be resumed"),
        // Answers from somebody else.
        at(
            FaultKind::RemoteFork,
            Between,
            Reported,
            "frames prove which log they continue; a push names the server that has proved its log",
        ),
        at(FaultKind::WrongServer, Between, Refused, "it shares nothing with the local database"),
        at(
            FaultKind::StaleCache,
            Target::Route(Info),
            Reported,
            "no decision relies on it where the client has a frame of the server",
        ),
        at(
            FaultKind::StaleCache,
            Target::Route(Export),
            Reported,
            "the first frames after an export must continue it",
        ),
        at(FaultKind::StaleCache, Target::Route(PullFrames), Reported, "frames that do not fit are refused"),
    ]
};
