//! The FaultAtlas: what the engine promises under each fault, at each file and route.
//!
//! There is one table, [`ATLAS`]. The generator draws no fault without a row. The world judges every error by
//! the rows of the faults that were injected into its step. `plimsoll atlas` prints the table. A promise can
//! be weakened here and nowhere else.
//!
//! | module | holds |
//! |---|---|
//! | `kinds` | the kinds of faults |
//! | `rows` | the table |
//!
//! No promise permits a silent failure: a wrong answer, a lost transaction or a panic is always a violation.
//! No schedule can contain a fault whose row has [`Promise::Nothing`].

mod kinds;
mod rows;

use std::fmt;

pub use kinds::FaultKind;
pub use rows::ATLAS;

use crate::fault::Fault;
use crate::fault::FileClass;
use crate::fault::Route;

/// The engine's promise under a fault. An operation that succeeds in spite of the fault breaks no promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Promise {
    /// The operation that the fault hits succeeds. After a crash the process can be started again, with no
    /// loss.
    Masked,
    /// The operation may fail with a typed error that [is retryable](plimsoll_engine::Error::is_retryable).
    /// The state is intact, and a later operation succeeds once the fault has ended.
    Reported,
    /// The operation may fail with a typed error that names what is damaged or refused. A retry does not
    /// help.
    Refused,
    /// Nothing is promised, and the damage may go unnoticed; the row says why. The generator does not draw
    /// such a fault, and a schedule that contains it is refused.
    Nothing,
}

impl fmt::Display for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Masked => "masked",
            Self::Reported => "reported",
            Self::Refused => "refused",
            Self::Nothing => "nothing",
        })
    }
}

/// The place of a fault. Each row of the atlas is about one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// An operation on a file of this role.
    File(FileClass),
    /// A request or response of this route.
    Route(Route),
    /// A suspension of the engine.
    Suspension,
    /// The time between two operations.
    Between,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(file) => f.pad(file.name()),
            Self::Route(route) => f.pad(route.name()),
            Self::Suspension => f.pad("suspension"),
            Self::Between => f.pad("between-operations"),
        }
    }
}

/// One row of the atlas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    pub kind: FaultKind,
    pub target: Target,
    pub promise: Promise,
    /// Why the engine can promise this, or why it cannot promise more.
    pub reason: &'static str,
}

impl Row {
    /// The row's name in counts and messages, for example `kill/draft-wal`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.kind, self.target)
    }
}

/// The row of a fault at a place.
pub fn row(kind: FaultKind, target: Target) -> Option<&'static Row> {
    ATLAS.iter().find(|row| row.kind == kind && row.target == target)
}

/// Whether the atlas promises anything about bit rot in a file of this role.
pub fn is_rot_promised(file: FileClass) -> bool {
    row(FaultKind::Rot, Target::File(file)).is_some_and(|row| row.promise != Promise::Nothing)
}

/// The rows that apply to `fault`: one for a specific place, several if a crash may hit any file. Empty if
/// the atlas has no row for the fault.
pub fn rows_of(fault: &Fault) -> Vec<&'static Row> {
    let (kind, target) = match fault {
        Fault::Crash(point) => (FaultKind::from(&point.kind), Target::File(point.place.file)),
        Fault::CrashSuspended { kind, .. } => (FaultKind::from(kind), Target::Suspension),
        Fault::Abandon { .. } => (FaultKind::Abandon, Target::Suspension),
        Fault::Network { at, fault } => (FaultKind::Network(fault.kind(at.route)), Target::Route(at.route)),
        Fault::Disk(error) => (FaultKind::from(error.error), Target::File(error.file)),
    };
    let is_meant = |row: &&Row| match (target, row.target) {
        // Only a crash can have any file as its place.
        (Target::File(FileClass::Any), Target::File(_)) => matches!(fault, Fault::Crash(_)),
        (target, of_row) => target == of_row,
    };
    ATLAS.iter().filter(|row| row.kind == kind).filter(is_meant).collect()
}

/// Whether the atlas has a row for this fault at its place. A schedule with any other fault is refused.
pub fn has_row(fault: &Fault) -> bool {
    !rows_of(fault).is_empty()
}

/// Judges an operation that ended with an error, by the rows of the injected faults. `shown` is the promise
/// that allows such an error. At least one of the rows must have this promise.
///
/// # Errors
/// A description of the broken promise.
pub fn judge(injected: &[&Row], shown: Promise) -> Result<(), String> {
    if injected.is_empty() {
        return Err("failed although no fault was injected".to_owned());
    }
    if injected.iter().any(|row| row.promise == shown) {
        return Ok(());
    }
    let promised: Vec<String> =
        injected.iter().map(|row| format!("`{}` under {}", row.promise, row.name())).collect();
    Err(format!("ended with an error of the class `{shown}`, but the atlas promises {}", promised.join(", ")))
}

#[cfg(test)]
mod tests;
