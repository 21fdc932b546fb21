//! The outcomes of a schedule's faults: which were not reached, and what each crash left.
//!
//! Not in this module: the faults that were injected. The trace has them.

use crate::fault::Fault;
use crate::world::disk::CrashReport;

#[derive(Debug, Default)]
pub struct FaultOutcomes {
    /// Faults that were not reached, each with the id of its step.
    pub unreached: Vec<(u32, Fault)>,
    /// Steps inside others that did not run, because their moment was not reached or because they were not
    /// possible at that moment.
    pub not_run: Vec<u32>,
    /// The report of each crash, with the id of its step.
    pub crashes: Vec<(u32, CrashReport)>,
}
