//! The reference design's thirty faults, each as the situation in which it would bite: a sweep that never was in it would be
//! green with the fault put back. The numbers are those of the engine's own table of them.

use plimsoll_engine::events::EventName;

use super::heard::Heard;
use crate::fault::NetworkFaultKind;
use crate::fault::Route;
use crate::fault::atlas::{FaultKind, Row, Target};
use crate::fault::{DiskErrorKind, FileClass};
use crate::schedule::workload::{Table, Write};

/// How a step's own action ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum StepEnd {
    /// It did what it was to do.
    #[default]
    Succeeded,
    /// It reported an error.
    Failed,
    /// Another connection held the write lock.
    Busy,
    /// The machine or the process went down under it.
    Crashed,
}

/// A step of a client that is over.
#[derive(Debug, Clone, Copy)]
pub struct Done<'a> {
    /// What was done, as a schedule calls it.
    pub verb: &'a str,
    /// What was written, if it was a transaction.
    pub writes: &'a [Write],
    /// How it ended.
    pub end: StepEnd,
    /// What the engine has said meanwhile.
    pub heard: &'a [&'a Heard],
    /// What struck.
    pub injected: &'a [&'static Row],
    /// What others did meanwhile, as schedules call it.
    pub inside: &'a [&'static str],
    /// The crash windows it went down in.
    pub windows: &'a [&'static str],
    /// Whether the client has transactions that the remote does not hold.
    pub has_pending: bool,
}

/// The situation in which one fault would bite.
#[derive(Clone, Copy)]
pub struct FaultMark {
    /// The fault's number and name.
    pub name: &'static str,
    /// The situation, in one line.
    pub meaning: &'static str,
    /// Whether a step was in it.
    pub holds: fn(&Done<'_>) -> bool,
}

impl Done<'_> {
    fn position(&self, name: EventName) -> Option<usize> {
        self.heard.iter().position(|heard| heard.name == name)
    }

    fn says(&self, name: EventName) -> bool {
        self.position(name).is_some()
    }

    /// Whether both were said, the second after the first.
    fn says_in_order(&self, first: EventName, second: EventName) -> bool {
        let last = self.heard.iter().rposition(|heard| heard.name == second);
        self.position(first).zip(last).is_some_and(|(first, second)| first < second)
    }

    /// Whether `name` was said with a `field` above zero.
    fn says_some(&self, name: EventName, field: &str) -> bool {
        let is_some = |value: &str| value.parse::<u64>().is_ok_and(|value| value > 0);
        let mut fields =
            self.heard.iter().filter(|heard| heard.name == name).flat_map(|heard| heard.fields.split(' '));
        fields.any(|pair| pair.split_once('=').is_some_and(|(name, value)| name == field && is_some(value)))
    }

    fn rebootstraps_for(&self, reason: &str) -> bool {
        let is_for =
            |fields: &str| fields.split(' ').any(|pair| pair.split_once('=') == Some(("reason", reason)));
        self.heard.iter().any(|heard| heard.name == EventName::RebootstrapBegins && is_for(&heard.fields))
    }

    fn was_injected(&self, kinds: &[FaultKind], targets: &[Target]) -> bool {
        self.injected
            .iter()
            .any(|row| kinds.contains(&row.kind) && (targets.is_empty() || targets.contains(&row.target)))
    }

    fn lost_in(&self, kind: FaultKind, windows: &[&str]) -> bool {
        self.was_injected(&[kind], &[]) && self.windows.iter().any(|window| windows.contains(window))
    }

    fn wrote(&self, is_meant: impl Fn(&Write) -> bool) -> bool {
        self.end == StepEnd::Succeeded && self.writes.iter().any(is_meant)
    }
}

macro_rules! faults {
    ($($name:literal, $meaning:literal, $holds:expr;)*) => {
        /// All of them.
        pub const FAULTS: &[FaultMark] = &[$(FaultMark { name: $name, meaning: $meaning, holds: $holds }),*];
    };
}

const PUSHES: &[Target] = &[Target::Route(Route::Pipeline), Target::Route(Route::PushFrames)];

faults! {
    "1, double push across a checkpoint", "a push finds that its generation has ended",
        |done| done.says_in_order(EventName::GenerationCrossed, EventName::BatchSent) || done.says_in_order(EventName::GenerationCrossed, EventName::NothingToSend);
    "2, double replay across a generation", "a pull crosses a generation and rebases what was acknowledged in part",
        |done| done.says_in_order(EventName::GenerationCrossed, EventName::RebaseBegins) && done.says_some(EventName::RebaseBegins, "acknowledged");
    "3, a late or repeated push", "a push arrives when its sender has given up, or twice",
        |done| done.was_injected(&[FaultKind::Network(NetworkFaultKind::Delay), FaultKind::Network(NetworkFaultKind::Duplicate)], PUSHES);
    "4, a short body taken for the end", "a body of frames ends early in good order",
        |done| done.was_injected(&[FaultKind::Network(NetworkFaultKind::EndEarly)], &[Target::Route(Route::PullFrames)]);
    "5, a push applied in part", "the remote refuses a statement, or the guard of a push",
        |done| done.says(EventName::PushRefused) || done.says(EventName::GuardStale);
    "6, the watermark off by one", "a pull finds nothing while local transactions wait",
        |done| done.has_pending && done.says(EventName::NothingToPull);
    "7, a blank page over the snapshot", "a client bootstraps and is written to",
        |done| done.says(EventName::BootstrapEnds) && done.end == StepEnd::Succeeded;
    "8, a generation's end half done", "a process is killed when the log is empty and the metadata still counts its frames",
        |done| done.lost_in(FaultKind::Kill, &["log emptied, not named"]);
    "9, metadata durable before data", "power is lost around a write of the metadata that names frames",
        |done| done.lost_in(FaultKind::PowerLoss, &["frames not named", "frames just named", "Draft named, tail not cut"]);
    "9b, an interrupted first pull", "a process is killed when the metadata names a part of its first pull",
        |done| done.lost_in(FaultKind::Kill, &["first pull, in part named"]);
    "10, waiting for success only", "a write, sync or truncate fails under an operation",
        |done| done.was_injected(&[FaultKind::Disk(DiskErrorKind::WriteFails), FaultKind::Disk(DiskErrorKind::SyncFails), FaultKind::Disk(DiskErrorKind::TruncateFails)], &[]);
    "11, a checkpoint by itself", "Synced's log is past its limit while a local tail is on it",
        |done| done.says_in_order(EventName::RebaseBegins, EventName::CheckpointAnnounced);
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
    "17, a column added elsewhere", "a client adds a column to a table that everybody writes to",
        |done| done.wrote(|write| matches!(write, Write::Widen { .. }));
    "18, a key of two columns", "a row with a key of two columns is changed",
        |done| done.wrote(|write| matches!(write, Write::Update { table: Table::Pair, .. }));
    "19, Draft is missing", "a client's file is lost",
        |done| done.verb == "lose file";
    "20, a short export accepted", "an export ends early in good order or is cut",
        |done| done.was_injected(&[FaultKind::Network(NetworkFaultKind::EndEarly), FaultKind::Network(NetworkFaultKind::Cut)], &[Target::Route(Route::Export)]);
    "21, the remote restored", "a client finds another history than it had",
        |done| done.rebootstraps_for("history_changed");
    "22, a generation pruned", "a client finds its generation gone",
        |done| done.rebootstraps_for("generation_pruned");
    "23, a handle across a cut", "Synced is cut under a running process",
        |done| done.verb != "open" && done.says(EventName::TailCut) && done.end == StepEnd::Succeeded;
    "24, a failed session ended twice", "a write to Draft's log fails inside a rebase",
        |done| done.says(EventName::RebaseBegins) && done.was_injected(&[FaultKind::Disk(DiskErrorKind::WriteFails), FaultKind::Disk(DiskErrorKind::NoSpace), FaultKind::Disk(DiskErrorKind::PartialWrite { bytes: 0 })],
            &[Target::File(FileClass::DraftWal)]);
    "25, a commit while a push waits", "the application commits between a push's request and its answer",
        |done| done.says(EventName::BatchSent) && done.inside.contains(&"transaction");
    "26, a newer generation unseen", "the remote ends its generation in the middle of a pull",
        |done| done.verb != "push" && done.inside.contains(&"remote checkpoint") && done.end == StepEnd::Succeeded;
    "27, Draft growing without bound", "Draft's log passes its limit",
        |done| done.says(EventName::CompactionDone);
    "28, a writer in the way", "a rebase meets an open transaction",
        |done| done.end == StepEnd::Busy;
    "29, an empty push", "a push has nothing to send",
        |done| done.says(EventName::NothingToSend);
    "30, names that need quotes", "rows of a table with an odd name are written",
        |done| done.wrote(|write| matches!(write, Write::Upsert { table: Table::Odd, .. }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_has_a_mark_of_its_own() {
        let mut numbers: Vec<&str> = FAULTS.iter().filter_map(|fault| fault.name.split(',').next()).collect();
        assert_eq!(numbers.len(), 31, "thirty, and 9b");
        numbers.dedup();
        assert_eq!(numbers.len(), 31);
    }

    #[test]
    fn a_step_in_which_nothing_happened_is_in_no_situation() {
        let done = Done {
            verb: "pull",
            writes: &[],
            end: StepEnd::Succeeded,
            heard: &[],
            injected: &[],
            inside: &[],
            windows: &[],
            has_pending: true,
        };
        assert!(FAULTS.iter().all(|fault| !(fault.holds)(&done)));
    }

    #[test]
    fn each_reason_of_a_rebootstrap_is_a_situation_of_its_own() {
        let names = |reason: &str| -> Vec<&str> {
            let heard = [Heard {
                name: EventName::RebootstrapBegins,
                fields: format!("reason={reason} generation=2"),
                event_count: 0,
            }];
            let done = Done {
                verb: "sync",
                writes: &[],
                end: StepEnd::Succeeded,
                heard: &heard.each_ref(),
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
    fn a_pull_that_crossed_a_generation_before_it_rebased_is_fault_2s_situation() {
        let heard = |name, fields: &str| Heard { name, fields: fields.to_owned(), event_count: 0 };
        let said = [
            heard(EventName::GenerationCrossed, ""),
            heard(EventName::RebaseBegins, "acknowledged=3 pending=0"),
        ];
        let done = Done {
            verb: "pull",
            writes: &[],
            end: StepEnd::Succeeded,
            heard: &said.each_ref(),
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
