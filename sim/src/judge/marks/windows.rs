//! The crash windows: the intervals between two durable steps of a flow in which a crash can happen.
//!
//! A window is identified by the events that the engine has emitted since its operation started, and by the
//! file operation that the crash hit. One crash can be in several windows, for example "inside a dirty
//! reset" and "recovering from a crash".

use plimsoll_engine::events::EventName;

use super::reported::ReportedEvent;
use crate::fault::{FileClass, OperationKind};

/// The place of a crash.
#[derive(Debug, Clone, Copy)]
pub struct CrashSite<'a> {
    /// Whether the process was still starting.
    pub is_opening: bool,
    /// Whether the process was starting after the machine's previous process had crashed.
    pub is_recovery: bool,
    /// The engine's events since its operation started; empty in an application's own transaction.
    pub reported: &'a [ReportedEvent],
    /// The file operation that the crash hit; `None` while the engine was suspended.
    pub operation: Option<(FileClass, OperationKind)>,
}

/// An interval between two durable steps.
#[derive(Clone, Copy)]
pub struct Window {
    pub id: WindowId,
    pub name: &'static str,
    /// One line that describes the state in this window.
    pub meaning: &'static str,
    /// Whether a crash is in this window.
    pub holds: fn(&CrashSite<'_>) -> bool,
}

impl CrashSite<'_> {
    fn last(&self) -> Option<&ReportedEvent> {
        self.reported.last()
    }

    fn last_is(&self, name: EventName) -> bool {
        self.last().is_some_and(|reported| reported.name == name)
    }

    /// The index of the last event called `name`.
    fn position(&self, name: EventName) -> Option<usize> {
        self.reported.iter().rposition(|reported| reported.name == name)
    }

    fn has(&self, name: EventName) -> bool {
        self.position(name).is_some()
    }

    /// Whether `name` was emitted, and `until` not since then.
    fn is_between(&self, name: EventName, until: EventName) -> bool {
        self.position(name).is_some_and(|start| self.position(until).is_none_or(|end| end < start))
    }

    /// Whether the last event is the write of a metadata version with `member`.
    fn has_just_written(&self, member: &str) -> bool {
        self.last().is_some_and(|reported| {
            reported.name == EventName::MetadataWritten && reported.fields.contains(member)
        })
    }

    fn is_at(&self, file: FileClass, operations: &[OperationKind]) -> bool {
        self.operation.is_some_and(|(at, operation)| at == file && operations.contains(&operation))
    }

    fn is_in_rebase(&self) -> bool {
        self.is_between(EventName::RebaseBegins, EventName::DraftCommitted)
    }

    fn is_in_first_pull(&self) -> bool {
        let starts_it = |reported: &ReportedEvent| {
            reported.name == EventName::BootstrapEnds
                || (reported.name == EventName::Resume && reported.fields.contains("first_pull"))
        };
        self.is_opening && self.reported.iter().any(starts_it)
    }
}

macro_rules! windows {
    ($($id:ident, $name:literal, $meaning:literal, $holds:expr;)*) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum WindowId {
            $(#[doc = $meaning] $id,)*
        }

        /// Every window, ordered by flow.
        pub const WINDOWS: &[Window] =
            &[$(Window { id: WindowId::$id, name: $name, meaning: $meaning, holds: $holds }),*];
    };
}

use FileClass::{Draft, DraftWal, Synced, SyncedWal};
use OperationKind::{Sync, Truncate, Write};

windows! {
    BootstrapNothingNamed, "bootstrap, nothing named", "identity and empty files; everything is redone",
        |site| site.is_between(EventName::IdentityChosen, EventName::BootstrapEnds) || site.is_between(EventName::BootstrapBegins, EventName::BootstrapEnds);
    BootstrapSnapshotNotNamed, "bootstrap, snapshot not named", "the snapshot is written, the metadata does not say so yet",
        |site| site.is_between(EventName::BootstrapEnds, EventName::MetadataWritten);
    FirstPullNothingNamed, "first pull, nothing of it named", "the snapshot is in place, the client has not caught up",
        |site| site.is_in_first_pull() && !site.has(EventName::FramesCommitted);
    FirstPullInPartNamed, "first pull, in part named", "a reopened client must not show a state from before it caught up",
        |site| site.is_in_first_pull() && site.is_between(EventName::FramesCommitted, EventName::OpenEnds);
    RebootstrapExportNotNamed, "re-bootstrap, export not named", "a new export is next to Synced, and the client still uses the old files",
        |site| site.is_between(EventName::RebootstrapBegins, EventName::ReplacingSynced);
    ExportNamedNotInPlace, "export named, not in place", "the metadata says that the new export is Synced, but the old Synced is still there, completely or in part",
        |site| site.is_between(EventName::ReplacingSynced, EventName::RebootstrapEnds);
    NewSyncedOldDraft, "new Synced, Draft of the old one", "Synced is not the database that Draft is based on",
        |site| site.is_between(EventName::RebootstrapEnds, EventName::DraftCommitted);
    FramesNotNamed, "frames not named", "remote frames are in Synced's WAL, but the metadata does not refer to them yet",
        |site| !site.is_in_rebase() && site.has(EventName::Request) && site.is_at(SyncedWal, &[Write, Sync]);
    FramesJustNamed, "frames just named", "the metadata refers to frames that Draft does not have yet",
        |site| site.last_is(EventName::FramesCommitted) || site.has_just_written("synced_frame_no");
    CrossingGeneration, "crossing a generation", "one write of the metadata changes the generation, nothing else changes",
        |site| site.is_between(EventName::GenerationCrossed, EventName::FramesCommitted);
    ReplayingOnTail, "replaying on the local tail", "Synced holds frames that the remote does not have",
        |site| site.is_in_rebase() && site.is_at(SyncedWal, &[Write]);
    PagesOnDraftNoCommit, "pages on Draft, no commit frame", "Draft's WAL holds frames of an unfinished rebase",
        |site| site.is_in_rebase() && site.is_at(DraftWal, &[Write]);
    DraftCommittedNotNamed, "Draft committed, not named", "Draft shows the rebased state, the watermarks are still the old ones",
        |site| site.is_between(EventName::DraftCommitted, EventName::MetadataWritten);
    DraftNamedTailNotCut, "Draft named, tail not cut", "the watermarks are the new ones, Synced still holds the local tail",
        |site| site.has(EventName::DraftCommitted) && site.has_just_written("draft_wal_match_watermark");
    InsideDirtyReset, "inside a dirty reset", "Synced's WAL is being cut back",
        |site| site.last_is(EventName::DirtyReset) && site.is_at(SyncedWal, &[Truncate, Sync]);
    CheckpointAnnounced, "checkpoint announced, log whole", "Synced's frames are in its WAL and partly in its main file",
        |site| site.is_between(EventName::CheckpointAnnounced, EventName::CheckpointDone) && site.is_at(Synced, &[Write, Sync]);
    LogEmptiedNotNamed, "log emptied, not named", "Synced's WAL is empty, the metadata still counts its frames",
        |site| site.has(EventName::CheckpointAnnounced) && (site.last_is(EventName::CheckpointDone) || site.is_at(SyncedWal, &[Truncate, Sync])
            && site.is_between(EventName::CheckpointAnnounced, EventName::CheckpointDone));
    CompactionAnnounced, "compaction announced, log whole", "Draft's frames are in its WAL and partly in its main file",
        |site| site.is_between(EventName::CompactionAnnounced, EventName::CompactionDone) && site.is_at(Draft, &[Write, Sync]);
    DraftLogEmptiedNotNamed, "Draft's log emptied, not named", "Draft's WAL is empty, but the metadata still refers to a frame of it",
        |site| site.is_between(EventName::CompactionAnnounced, EventName::CompactionDone) && site.is_at(DraftWal, &[Truncate, Sync]);
    AttemptNamedNotSent, "attempt named, not sent", "the metadata says that transactions were attempted, and none was sent",
        |site| site.has_just_written("attempted_transaction_no");
    AwaitingPushAnswer, "awaiting the answer to a push", "the transactions may be applied",
        |site| site.last_is(EventName::BatchSent) || site.is_between(EventName::BatchSent, EventName::BatchAcknowledged) && site.last_is(EventName::Request);
    PushAcknowledgedNotPulled, "push acknowledged, not pulled", "the remote has the transactions, Synced does not",
        |site| site.is_between(EventName::BatchAcknowledged, EventName::FramesCommitted);
    InsideLocalCommit, "inside a local commit", "it is unknown whether an application's transaction is committed",
        |site| site.reported.is_empty() && !site.is_opening && site.is_at(DraftWal, &[Write, Sync]);
    Reopening, "reopening", "the engine verifies the files of the previous process",
        |site| site.is_opening && site.is_between(EventName::Resume, EventName::OpenEnds);
    RecoveringFromCrash, "recovering from a crash", "a crash during the recovery from another",
        |site| site.is_recovery;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(
        reported: &[(EventName, &str)],
        operation: Option<(FileClass, OperationKind)>,
    ) -> Vec<&'static str> {
        let reported: Vec<ReportedEvent> = reported
            .iter()
            .map(|(name, fields)| ReportedEvent { name: *name, fields: (*fields).to_owned(), event_count: 0 })
            .collect();
        let site = CrashSite { is_opening: false, is_recovery: false, reported: &reported, operation };
        WINDOWS.iter().filter(|window| (window.holds)(&site)).map(|window| window.name).collect()
    }

    #[test]
    fn a_crash_between_drafts_commit_and_the_metadata_is_in_that_window_only() {
        let reported = [
            (EventName::Request, ""),
            (EventName::FramesCommitted, ""),
            (EventName::RebaseBegins, ""),
            (EventName::DraftCommitted, ""),
        ];
        assert_eq!(names(&reported, Some((DraftWal, Sync))), ["Draft committed, not named"]);
    }

    #[test]
    fn a_rebootstrap_passes_one_window_after_another() {
        let reported = [
            (EventName::RebootstrapBegins, ""),
            (EventName::MetadataWritten, "attachment"),
            (EventName::ReplacingSynced, ""),
        ];
        assert_eq!(names(&reported[..1], None), ["re-bootstrap, export not named"]);
        assert_eq!(names(&reported, Some((SyncedWal, Truncate))), ["export named, not in place"]);
        let reported = [reported[0], reported[2], (EventName::RebootstrapEnds, "")];
        assert_eq!(names(&reported, None), ["new Synced, Draft of the old one"]);
        let reported = [
            reported[0],
            reported[1],
            reported[2],
            (EventName::RebaseBegins, ""),
            (EventName::DraftCommitted, ""),
        ];
        assert_eq!(names(&reported, None), ["Draft committed, not named"]);
    }

    #[test]
    fn frames_of_the_remote_and_of_the_local_tail_are_distinguished() {
        let walking = [(EventName::Request, "")];
        assert_eq!(names(&walking, Some((SyncedWal, Write))), ["frames not named"]);
        let rebasing = [(EventName::Request, ""), (EventName::RebaseBegins, "")];
        assert_eq!(names(&rebasing, Some((SyncedWal, Write))), ["replaying on the local tail"]);
    }
}
