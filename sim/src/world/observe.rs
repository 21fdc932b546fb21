//! What the world makes of what it hears and sees: marks, and events in the trace.

use super::World;
use crate::fault::CrashKind;
use crate::judge::marks::{self, CrashSite, Done, End};
use crate::lock::lock;
use crate::schedule::workload::Writer;
use crate::schedule::{Action, Step, TransactionEnd};
use crate::world::disk::CrashReport;
use crate::world::trace::Lane;

impl World {
    /// Takes in what the engine of a client has said.
    pub(super) fn hear(&mut self, number: u8) {
        let heard = std::mem::take(&mut *lock(&self.inbox));
        for said in heard {
            self.record(Lane::Client(number), said.name, &said.fields, &[]);
            self.counts.marks.reach_event(said.name);
            self.running().heard.push(said);
        }
    }

    /// Whether the engine has said so in the operation that is running.
    pub(super) fn has_heard(&mut self, name: &str) -> bool {
        let running = self.running();
        running.heard[running.heard_before..].iter().any(|heard| heard.name == name)
    }

    /// Marks the windows in which a client went down.
    pub(super) fn mark_windows(&mut self, number: u8, report: &CrashReport) {
        let is_recovery = self.client(number).is_recovering && self.running().is_opening;
        let running = self.running();
        // The ghost has gone on talking to its next suspension.
        let heard = &running.heard[running.heard_before..];
        let ghostly = heard.iter().rev().take_while(|heard| heard.event_count > report.event_count).count();
        let site = CrashSite {
            is_opening: running.is_opening,
            is_recovery,
            heard: &heard[..heard.len() - ghostly],
            operation: report.place.map(|place| (place.file, place.operation)),
        };
        let windows: Vec<_> = marks::WINDOWS.iter().filter(|window| (window.holds)(&site)).collect();
        running.windows.extend(windows.iter().map(|window| window.name));
        running.end = End::Crashed;
        let kind = if report.kind == CrashKind::Kill { "kill" } else { "power loss" };
        for window in windows {
            self.counts.marks.reach_window(kind, window);
        }
    }

    /// Marks the shapes of the statements of a transaction that has committed.
    pub(super) fn mark_shapes(&mut self, writer: Writer, shapes: impl IntoIterator<Item = &'static str>) {
        for shape in shapes {
            self.counts.marks.reach_shape(writer.into(), shape);
        }
    }

    /// Marks the situations in which a step was that is over.
    pub(super) fn mark_faults(&mut self, step: &Step) {
        let has_pending =
            step.action.client().is_some_and(|number| self.ledger.has_pending(Writer::Client(number)));
        let running = self.running();
        let done = Done {
            verb: step.action.verb(),
            writes: match &step.action {
                Action::Transaction { writes, end: TransactionEnd::Commit, .. } => writes,
                _ => &[],
            },
            end: running.end,
            heard: &running.heard,
            struck: &running.struck,
            inside: &running.inside,
            windows: &running.windows,
            has_pending,
        };
        let faults: Vec<_> = marks::FAULTS.iter().filter(|fault| (fault.holds)(&done)).collect();
        for fault in faults {
            self.counts.marks.reach_fault(fault);
        }
    }
}
