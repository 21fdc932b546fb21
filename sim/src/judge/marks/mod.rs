//! Marks: places that a sweep must have been to, or its green means little.
//!
//! A mark is a situation with a name. Four sorts: each of the engine's own events ([`plimsoll_engine::events`]); each crash window
//! of the engine's flows, once for a kill and once for a power loss (`windows`); each of the reference design's faults, as the
//! situation in which it would bite (`faults`); and each shape of SQL that applications use ([`SHAPES`]), by a client and by the remote. A history counts how often it reached each, a sweep adds them up, and
//! `plimsoll run` names those that were never reached.
//!
//! Marks judge nothing. They are read off the engine's `tracing` events and the world's own, never off the engine's state.

mod faults;
mod heard;
mod windows;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use plimsoll_engine::events::EventName;
use serde::{Deserialize, Serialize};

pub use faults::{Done, FAULTS, FaultMark, StepEnd};
pub use heard::Heard;
pub use windows::{CrashSite, WINDOWS, Window};

use crate::schedule::workload::shapes::{SHAPES, Side};

/// A situation that a sweep should reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// Its name.
    pub name: String,
    /// What it is, in one line.
    pub meaning: &'static str,
}

/// Every mark there is, in the order in which they are shown.
pub static MARKS: LazyLock<Vec<Mark>> = LazyLock::new(|| {
    let events =
        EventName::ALL.iter().map(|event| Mark { name: event_mark(*event), meaning: event.meaning() });
    let windows = WINDOWS.iter().flat_map(|window| {
        ["kill", "power loss"].map(|kind| Mark { name: window_mark(kind, window), meaning: window.meaning })
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

fn window_mark(kind: &str, window: &Window) -> String {
    format!("{kind}: {}", window.name)
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

    pub(crate) fn reach_window(&mut self, kind: &str, window: &Window) {
        self.add(window_mark(kind, window), 1);
    }

    pub(crate) fn reach_fault(&mut self, fault: &FaultMark) {
        self.add(fault_mark(fault.name), 1);
    }

    pub(crate) fn reach_shape(&mut self, side: Side, name: &str) {
        self.add(shape_mark(side, name), 1);
    }

    fn add(&mut self, name: String, times: u64) {
        *self.0.entry(name).or_default() += times;
    }

    /// Adds another history's.
    pub fn add_all(&mut self, other: &Self) {
        for (name, times) in &other.0 {
            self.add(name.clone(), *times);
        }
    }

    /// How often a mark was reached.
    pub fn of(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// The marks of the catalogue that were never reached.
    pub fn missing(&self) -> impl Iterator<Item = &'static Mark> {
        MARKS.iter().filter(|mark| self.of(&mark.name) == 0)
    }

    /// How many of the catalogue's marks were reached.
    pub fn reached(&self) -> usize {
        MARKS.len() - self.missing().count()
    }
}
