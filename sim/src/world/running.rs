//! A step while it runs: what is still to strike in it, and what has happened in it so far.

use super::World;
use crate::atlas::{self, FaultKind, Row, Target};
use crate::network::Route;
use crate::schedule::Fault;

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
}

impl World {
    /// The innermost step that is running.
    pub(super) fn running(&mut self) -> &mut Running {
        &mut self.running
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
