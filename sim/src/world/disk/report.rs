//! The report of a crash.

use crate::fault::{CrashKind, CrashPoint, OperationPlace};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CrashReport {
    /// The armed point that was reached. `None` if the machine was crashed between operations.
    pub point: Option<CrashPoint>,
    /// The operation that the crash hit, with the role of its file, and its kind. `None` if the machine was
    /// crashed between operations.
    pub place: Option<OperationPlace>,
    /// The path of the operation's file; empty if the machine was crashed between operations.
    pub path: String,
    pub kind: CrashKind,
    /// The number of unsynced operations at that moment.
    pub unsynced_operations: u32,
    /// The numbers of the operations that survived, ascending.
    /// [`Survival::List`](crate::fault::Survival::List) with these numbers repeats the crash.
    pub survivors: Vec<u32>,
    /// The trace's event count at that moment.
    pub event_count: u64,
}
