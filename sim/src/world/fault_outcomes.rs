//! What became of a schedule's faults: which found no place, and what each crash left.
//!
//! Left out: which faults struck as planned. Those are in the trace.

use crate::fault::Fault;
use crate::world::disk::CrashReport;

/// What became of a schedule's faults.
#[derive(Debug, Default)]
pub struct FaultOutcomes {
    /// Faults whose place was never reached, with the id of their step.
    pub unreached: Vec<(u32, Fault)>,
    /// Steps inside others that did not run: their moment never came, or they were not possible then.
    pub not_run: Vec<u32>,
    /// What each crash did, with the id of its step.
    pub crashes: Vec<(u32, CrashReport)>,
}
