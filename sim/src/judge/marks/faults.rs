//! The thirty faults of the reference design, each as the situation in which it would cause a failure.
//!
//! A sweep that never reaches the situation stays green even if the engine has the fault. The numbers are
//! those of the engine's table of faults.

use plimsoll_engine::events::EventName;

use super::reported::ReportedEvent;
use super::windows::WindowId;
use crate::fault::NetworkFaultKind;
use crate::fault::Route;
use crate::fault::atlas::{FaultKind, Row, Target};
use crate::fault::{DiskErrorKind, FileClass};
use crate::schedule::ActionKind;
use crate::schedule::workload::{Table, Write};

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum StepEnd {
    /// The action did its work.
    #[default]
    Succeeded,
    Failed,
    Busy,
    /// The machine or the process crashed during the action.
    Crashed,
}

/// A finished step of a client.
#[derive(Debug, Clone, Copy)]
pub struct FinishedStep<'a> {
    pub action: ActionKind,
    /// The writes, if the action was a transaction.
    pub writes: &'a [Write],
    pub end: StepEnd,
    /// The engine's events during the step.
    pub reported: &'a [&'a ReportedEvent],
    /// The number of these events that the engine emitted while it was opening. They are the first ones.
    pub reported_while_opening: usize,
    /// The rows of the atlas that were injected.
    pub injected: &'a [&'static Row],
    /// The actions of the steps that ran inside this one.
    pub inside: &'a [ActionKind],
    /// The crash windows in which the step's crashes happened.
    pub windows: &'a [WindowId],
    /// Whether the client has transactions that the remote does not hold.
    pub has_pending: bool,
}

/// The situation in which one fault would cause a failure.
#[derive(Clone, Copy)]
pub struct FaultMark {
    pub name: &'static str,
    /// One line that describes the situation.
    pub meaning: &'static str,
    /// Whether a step was in the situation.
    pub holds: fn(&FinishedStep<'_>) -> bool,
}

impl FinishedStep<'_> {
    fn position(&self, name: EventName) -> Option<usize> {
        self.reported.iter().position(|reported| reported.name == name)
    }

    fn emits(&self, name: EventName) -> bool {
        self.position(name).is_some()
    }

    /// Whether both events were emitted, `second` after `first`.
    fn emits_in_order(&self, first: EventName, second: EventName) -> bool {
        let last = self.reported.iter().rposition(|reported| reported.name == second);
        self.position(first).zip(last).is_some_and(|(first, second)| first < second)
    }

    /// Whether `name` was emitted with a `field` above zero.
    fn emits_positive(&self, name: EventName, field: &str) -> bool {
        let is_some = |value: &str| value.parse::<u64>().is_ok_and(|value| value > 0);
        let mut fields = self
            .reported
            .iter()
            .filter(|reported| reported.name == name)
            .flat_map(|reported| reported.fields.split(' '));
        fields.any(|pair| pair.split_once('=').is_some_and(|(name, value)| name == field && is_some(value)))
    }

    fn rebootstraps_for(&self, reason: &str) -> bool {
        let is_for =
            |fields: &str| fields.split(' ').any(|pair| pair.split_once('=') == Some(("reason", reason)));
        self.reported
            .iter()
            .any(|reported| reported.name == EventName::RebootstrapBegins && is_for(&reported.fields))
    }

    fn was_injected(&self, kinds: &[FaultKind], targets: &[Target]) -> bool {
        self.injected
            .iter()
            .any(|row| kinds.contains(&row.kind) && (targets.is_empty() || targets.contains(&row.target)))
    }

    fn crashed_in(&self, kind: FaultKind, windows: &[WindowId]) -> bool {
        self.was_injected(&[kind], &[]) && self.windows.iter().any(|window| windows.contains(window))
    }

    fn wrote(&self, is_wanted: impl Fn(&Write) -> bool) -> bool {
        self.end == StepEnd::Succeeded && self.writes.iter().any(is_wanted)
    }
}

macro_rules! faults {
    ($($name:literal, $meaning:literal, $holds:expr;)*) => {
        /// Every fault's mark, in the order of the engine's table.
        pub const FAULTS: &[FaultMark] = &[$(FaultMark { name: $name, meaning: $meaning, holds: $holds }),*];
    };
}

const PUSHES: &[Target] = &[Target::Route(Route::Pipeline), Target::Route(Route::PushFrames)];

faults! {
    "1, double push across a checkpoint", "a push finds that its generation has ended",
        |done| done.emits_in_order(EventName::GenerationCrossed, EventName::BatchSent) || done.emits_in_order(EventName::GenerationCrossed, EventName::NothingToSend);
    "2, double replay across a generation", "a pull crosses a generation and rebases transactions, and some of them are acknowledged",
        |done| done.emits_in_order(EventName::GenerationCrossed, EventName::RebaseBegins) && done.emits_positive(EventName::RebaseBegins, "acknowledged");
    "3, a late or repeated push", "a push arrives twice, or after its sender has given up",
        |done| done.was_injected(&[FaultKind::Network(NetworkFaultKind::Delay), FaultKind::Network(NetworkFaultKind::Duplicate)], PUSHES);
    "4, a short body taken for the end", "a body of frames ends early but cleanly",
        |done| done.was_injected(&[FaultKind::Network(NetworkFaultKind::EndEarly)], &[Target::Route(Route::PullFrames)]);
    "5, a push applied in part", "the remote refuses a statement or the guard of a push",
        |done| done.emits(EventName::PushRefused) || done.emits(EventName::GuardStale);
    "6, the watermark off by one", "a pull finds nothing while local transactions wait",
        |done| done.has_pending && done.emits(EventName::NothingToPull);
    "7, a blank page over the snapshot", "a client bootstraps and its application writes",
        |done| done.emits(EventName::BootstrapEnds) && done.end == StepEnd::Succeeded;
    "8, a generation's end half done", "a process is killed when the log is empty and the metadata still counts its frames",
        |done| done.crashed_in(FaultKind::Kill, &[WindowId::LogEmptiedNotNamed]);
    "9, metadata durable before data", "power is lost around a write of metadata that refers to new frames",
        |done| done.crashed_in(FaultKind::PowerLoss, &[WindowId::FramesNotNamed, WindowId::FramesJustNamed, WindowId::DraftNamedTailNotCut]);
    "9b, an interrupted first pull", "a process is killed while the metadata refers to only a part of the first pull",
        |done| done.crashed_in(FaultKind::Kill, &[WindowId::FirstPullInPartNamed]);
    "10, waiting for success only", "a write, sync or truncate fails during an operation",
        |done| done.was_injected(&[FaultKind::Disk(DiskErrorKind::WriteFails), FaultKind::Disk(DiskErrorKind::SyncFails), FaultKind::Disk(DiskErrorKind::TruncateFails)], &[]);
    "11, a checkpoint by itself", "Synced's log is past its limit while a local tail is on it",
        |done| done.emits_in_order(EventName::RebaseBegins, EventName::CheckpointAnnounced);
    "12, a primary key taken by others", "two writers set one key",
        |done| done.wrote(|write| matches!(write, Write::Replace { key: crate::schedule::workload::Key::Shared(_), .. }));
    "13, a text key changed", "an UPDATE changes a TEXT primary key",
        |done| done.wrote(|write| matches!(write, Write::Rekey { table: Table::Note, .. }));
    "14, an integer key changed", "an UPDATE changes an INTEGER PRIMARY KEY",
        |done| done.wrote(|write| matches!(write, Write::Rekey { table: Table::Item, .. }));
    "15, no key at all", "rows of a table without a key are changed and deleted",
        |done| done.wrote(|write| matches!(write, Write::Recount { .. } | Write::Uncount { .. }));
    "16, created and changed in one push", "a client creates a table and writes to it",
        |done| done.wrote(|write| matches!(write, Write::Extra { .. }));
    "17, a column added elsewhere", "a client adds a column to a table that all clients write to",
        |done| done.wrote(|write| matches!(write, Write::Widen { .. }));
    "18, a key of two columns", "a row with a key of two columns is changed",
        |done| done.wrote(|write| matches!(write, Write::Update { table: Table::Pair, .. }));
    "19, Draft is missing", "a client loses a file",
        |done| done.action == ActionKind::LoseFile;
    "20, a short export accepted", "an export ends early but cleanly, or is cut",
        |done| done.was_injected(&[FaultKind::Network(NetworkFaultKind::EndEarly), FaultKind::Network(NetworkFaultKind::Cut)], &[Target::Route(Route::Export)]);
    "21, the remote restored", "a client finds another history id on the remote",
        |done| done.rebootstraps_for("history_changed");
    "22, a generation pruned", "a client finds that the remote has pruned its generation",
        |done| done.rebootstraps_for("generation_pruned");
    "23, a handle across a cut", "Synced is cut under a running process",
        |done| done.reported[done.reported_while_opening..].iter().any(|reported| reported.name == EventName::TailCut) && done.end == StepEnd::Succeeded;
    "24, a failed session ended twice", "a write to Draft's log fails inside a rebase",
        |done| done.emits(EventName::RebaseBegins) && done.was_injected(&[FaultKind::Disk(DiskErrorKind::WriteFails), FaultKind::Disk(DiskErrorKind::NoSpace), FaultKind::Disk(DiskErrorKind::PartialWrite { bytes: 0 })],
            &[Target::File(FileClass::DraftWal)]);
    "25, a commit while a push waits", "the application commits between a push's request and its answer",
        |done| done.emits(EventName::BatchSent) && done.inside.contains(&ActionKind::Transaction);
    "26, a newer generation unseen", "the remote ends its generation in the middle of a pull",
        |done| done.action != ActionKind::Push && done.inside.contains(&ActionKind::RemoteCheckpoint) && done.end == StepEnd::Succeeded;
    "27, Draft growing without bound", "Draft's log passes its limit",
        |done| done.emits(EventName::CompactionDone);
    "28, a writer in the way", "a rebase meets an open transaction",
        |done| done.end == StepEnd::Busy;
    "29, an empty push", "a push has nothing to send",
        |done| done.emits(EventName::NothingToSend);
    "30, names that need quotes", "rows of a table with an odd name are written",
        |done| done.wrote(|write| matches!(write, Write::Upsert { table: Table::Odd, .. }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_has_its_own_mark() {
        let mut numbers: Vec<&str> = FAULTS.iter().filter_map(|fault| fault.name.split(',').next()).collect();
        assert_eq!(numbers.len(), 31, "thirty, and 9b");
        numbers.dedup();
        assert_eq!(numbers.len(), 31);
    }

    #[test]
    fn a_step_in_which_nothing_happened_is_in_no_situation() {
        let done = FinishedStep {
            action: ActionKind::Pull,
            writes: &[],
            end: StepEnd::Succeeded,
            reported: &[],
            reported_while_opening: 0,
            injected: &[],
            inside: &[],
            windows: &[],
            has_pending: true,
        };
        assert!(FAULTS.iter().all(|fault| !(fault.holds)(&done)));
    }

    #[test]
    fn each_reason_of_a_rebootstrap_is_its_own_situation() {
        let names = |reason: &str| -> Vec<&str> {
            let reported = [ReportedEvent {
                name: EventName::RebootstrapBegins,
                fields: format!("reason={reason} generation=2"),
                event_count: 0,
            }];
            let done = FinishedStep {
                action: ActionKind::Sync,
                writes: &[],
                end: StepEnd::Succeeded,
                reported: &reported.each_ref(),
                reported_while_opening: 0,
                injected: &[],
                inside: &[],
                windows: &[],
                has_pending: false,
            };
            FAULTS.iter().filter(|fault| (fault.holds)(&done)).map(|fault| fault.name).collect()
        };
        assert_eq!(names("history_changed"), ["21, the remote restored"]);
        assert_eq!(names("generation_pruned"), ["22, a generation pruned"]);
        assert_eq!(names("replica_damaged"), Vec::<&str>::new());
    }

    #[test]
    fn a_pull_that_crosses_a_generation_and_then_rebases_is_the_situation_of_fault_2() {
        let reported = |name, fields: &str| ReportedEvent { name, fields: fields.to_owned(), event_count: 0 };
        let emitted = [
            reported(EventName::GenerationCrossed, ""),
            reported(EventName::RebaseBegins, "acknowledged=3 pending=0"),
        ];
        let done = FinishedStep {
            action: ActionKind::Pull,
            writes: &[],
            end: StepEnd::Succeeded,
            reported: &emitted.each_ref(),
            reported_while_opening: 0,
            injected: &[],
            inside: &[],
            windows: &[],
            has_pending: false,
        };
        let names: Vec<&str> =
            FAULTS.iter().filter(|fault| (fault.holds)(&done)).map(|fault| fault.name).collect();
        assert_eq!(names, ["2, double replay across a generation"]);
    }
}
