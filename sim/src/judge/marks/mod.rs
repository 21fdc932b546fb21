//! Marks: situations that a sweep must reach for a green result to mean anything.
//!
//! A mark is a situation with a name. There are four kinds:
//!
//! * each event of the engine ([`plimsoll_engine::events`]);
//! * each crash window of the engine's flows, once for a kill and once for a power loss (`windows`);
//! * each fault of the reference design, as the situation in which it would cause a failure (`faults`);
//! * each shape of SQL that applications use ([`SHAPES`]), once for a client and once for the remote.
//!
//! Histories of the archive behind `plimsoll serve` have marks of their own (`archive`).
//!
//! A history counts how often it reached each mark, and a sweep adds up the counts. `plimsoll run` lists
//! the marks that were never reached.
//!
//! Marks judge nothing. They are derived from the `tracing` events of the engine and from the world's own
//! events, never from the engine's state.

mod archive;
mod faults;
mod reported;
mod windows;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use plimsoll_engine::events::EventName;
use serde::{Deserialize, Serialize};

pub use archive::{ARCHIVE_MARKS, Flow, Part, Situation};
pub use faults::{FAULTS, FaultMark, FinishedStep, StepEnd};
pub use reported::ReportedEvent;
pub use windows::{CrashSite, WINDOWS, Window, WindowId};

use crate::fault::DiskErrorKind;
use crate::fault::atlas::FaultKind;
use crate::schedule::workload::shapes::{SHAPES, Side};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    pub name: String,
    /// One line that describes the situation.
    pub meaning: &'static str,
}

/// Every mark of the engine, in display order.
pub static MARKS: LazyLock<Vec<Mark>> = LazyLock::new(|| {
    let events =
        EventName::ALL.iter().map(|event| Mark { name: event_mark(*event), meaning: event.meaning() });
    let windows = WINDOWS.iter().flat_map(|window| {
        [FaultKind::Kill, FaultKind::PowerLoss]
            .map(|kind| Mark { name: window_mark(kind, window), meaning: window.meaning })
    });
    let faults = FAULTS.iter().map(|fault| Mark { name: fault_mark(fault.name), meaning: fault.meaning });
    let shapes = SHAPES.iter().flat_map(|shape| {
        let meaning = "a statement of this shape has run, found its row, and its transaction has committed";
        shape.by.iter().map(move |side| Mark { name: shape_mark(*side, shape.name), meaning })
    });
    events.chain(windows).chain(faults).chain(shapes).collect()
});

fn event_mark(event: EventName) -> String {
    format!("engine: {}", event.name())
}

fn window_mark(crash: FaultKind, window: &Window) -> String {
    format!("{}: {}", crash.words(), window.name)
}

fn fault_mark(name: &str) -> String {
    format!("fault {name}")
}

fn shape_mark(side: Side, name: &str) -> String {
    format!("{} SQL: {name}", side.name())
}

/// How often each mark was reached.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MarkCounts(BTreeMap<String, u64>);

impl MarkCounts {
    pub(crate) fn reach_event(&mut self, event: EventName) {
        self.add(event_mark(event), 1);
    }

    pub(crate) fn reach_window(&mut self, crash: FaultKind, window: &Window) {
        self.add(window_mark(crash, window), 1);
    }

    pub(crate) fn reach_fault(&mut self, fault: &FaultMark) {
        self.add(fault_mark(fault.name), 1);
    }

    pub(crate) fn reach_shape(&mut self, side: Side, name: &str) {
        self.add(shape_mark(side, name), 1);
    }

    /// A fault has hit an operation of an archive.
    pub(crate) fn reach_archive_step(&mut self, kind: FaultKind, flow: Flow, part: Part) {
        self.add(archive::step_mark(kind, flow, part), 1);
    }

    /// An operation of an archive has failed.
    pub(crate) fn reach_archive_error(&mut self, kind: DiskErrorKind, flow: Flow) {
        self.add(archive::flow_mark(kind, flow), 1);
    }

    pub(crate) fn reach_situation(&mut self, situation: Situation) {
        self.add(situation.mark(), 1);
    }

    fn add(&mut self, name: String, times: u64) {
        *self.0.entry(name).or_default() += times;
    }

    /// Adds the counts of another history.
    pub fn add_all(&mut self, other: &Self) {
        for (name, times) in &other.0 {
            self.add(name.clone(), *times);
        }
    }

    pub fn of(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// Those of these marks that were never reached.
    pub fn missing(&self, marks: &'static [Mark]) -> impl Iterator<Item = &'static Mark> {
        marks.iter().filter(|mark| self.of(&mark.name) == 0)
    }
}
