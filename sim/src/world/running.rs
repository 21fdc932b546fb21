//! A step while it runs: what is still to strike in it, and what has happened in it so far.

use super::World;
use crate::fault::Fault;
use crate::fault::Route;
use crate::fault::atlas::{self, FaultKind, Row, Target};
use crate::judge::marks::{End, Heard};
use crate::schedule::{During, EngineEvent, Step, Wait};

/// One running step.
#[derive(Debug, Default)]
pub(super) struct Running {
    /// Its id.
    pub id: u32,
    /// Faults that have not struck yet.
    pub pending: Vec<Fault>,
    /// Rows of the atlas that have struck.
    pub struck: Vec<&'static Row>,
    /// Requests that were sent.
    pub requests: Vec<Route>,
    /// How often its operation has suspended.
    pub suspensions: u32,
    /// How often of these it has not waited for a chunk of a body.
    pub suspensions_bounded: u32,
    /// Whether its operation was given up at the last suspension.
    pub is_abandoned: bool,
    /// What others are still to do while it runs.
    pub during: Vec<During>,
    /// The client whose engine is at work in it.
    pub operating: Option<u8>,
    /// Whether that work is opening the engine.
    pub is_opening: bool,
    /// What the engine has said in it.
    pub heard: Vec<Heard>,
    /// How much of that had been said at the last suspension.
    pub heard_at_suspension: usize,
    /// How much of that had been said when the engine's present operation began.
    pub heard_before: usize,
    /// How many requests had been sent then.
    pub requests_before: usize,
    /// What others did while it ran.
    pub inside: Vec<&'static str>,
    /// The crash windows in which its client went down.
    pub windows: Vec<&'static str>,
    /// How its own action ended.
    pub end: End,
}

impl Running {
    /// A step that begins; the faults that no disk waits for are still to be added.
    pub fn of(step: &Step) -> Self {
        Self { id: step.id, during: step.during.clone(), ..Self::default() }
    }

    /// What the engine has said since the last suspension, as moments for what is to happen during it.
    pub fn waits_told(&mut self) -> Vec<Wait> {
        let new = self.heard_at_suspension..self.heard.len();
        self.heard_at_suspension = self.heard.len();
        if self.during.is_empty() {
            return Vec::new();
        }
        let wait = |index: usize| {
            let name = self.heard[index].name;
            let nth = self.heard[..=index].iter().filter(|heard| heard.name == name).count() as u32;
            EngineEvent::named(name).map(|event| Wait::Told { event, nth })
        };
        new.filter_map(wait).collect()
    }
}

impl World {
    /// The innermost step that is running.
    pub(super) fn running(&mut self) -> &mut Running {
        self.running.last_mut().expect("a step or the heal is running")
    }

    /// Its id.
    pub(super) fn running_id(&self) -> u32 {
        self.running.last().expect("a step or the heal is running").id
    }

    /// A fault strikes: what the running step ends with is judged by its row of the atlas from here on.
    ///
    /// # Panics
    /// When the atlas has no such row: nothing strikes that nothing is promised about.
    pub fn strike(&mut self, kind: FaultKind, target: Target) {
        let row = atlas::row(kind, target).unwrap_or_else(|| panic!("the atlas has no row {kind}/{target}"));
        *self.counts.struck.entry(row.name()).or_default() += 1;
        self.running().struck.push(row);
    }

    /// Takes the first fault of the running step that `matching` wants, for it strikes now.
    pub(super) fn take_pending<T>(&mut self, matching: impl Fn(&Fault) -> Option<T>) -> Option<T> {
        let pending = &mut self.running().pending;
        let index = pending.iter().position(|fault| matching(fault).is_some())?;
        matching(&pending.remove(index))
    }
}
