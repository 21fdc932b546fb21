//! What a crash has done to a machine.

use crate::fault::{CrashKind, CrashPoint, OperationPlace};

/// What a crash did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CrashReport {
    /// The armed point that was reached; `None` if the crash was ordered between operations.
    pub point: Option<CrashPoint>,
    /// The operation that it struck at, by its own file and kind; `None` like `point`.
    pub place: Option<OperationPlace>,
    /// How the machine went down.
    pub kind: CrashKind,
    /// How many operations were unsynced at that moment.
    pub unsynced_operations: u32,
    /// Numbers of those that survived, ascending: [`Survival::List`] of them repeats the crash.
    pub survivors: Vec<u32>,
    /// How many events the trace had then.
    pub event_count: u64,
}
