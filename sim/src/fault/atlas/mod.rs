//! The FaultAtlas: what the engine promises under each fault, at each file and route where it can strike.
//!
//! One table, [`ATLAS`]. The generator draws no fault that has no row; the world judges every error by the rows of the faults that
//! injected in its step; `plimsoll atlas` prints it. A promise can be weakened here and nowhere else.
//!
//! | module | holds |
//! |---|---|
//! | `kinds` | the sorts of faults |
//! | `rows` | the table |
//!
//! Left out: silence. Whatever the promise, a wrong answer, a lost transaction or a panic is a violation.

mod kinds;
mod rows;

use std::fmt;

pub use kinds::FaultKind;
pub use rows::ATLAS;

use crate::fault::Fault;
use crate::fault::FileClass;
use crate::fault::Route;

/// What the engine promises under a fault. An operation that succeeds all the same keeps any promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Promise {
    /// The operation that it strikes succeeds; a process that it takes down can be started again as if nothing had been.
    Masked,
    /// The operation may fail with a typed error that [is retryable](plimsoll_engine::Error::is_retryable); the state is intact and
    /// a later operation succeeds once the fault is over.
    Reported,
    /// The operation may fail with a typed error that names what is damaged or refused and that no retry can help.
    Refused,
    /// Nothing is promised, and nobody may notice. The row says so and why; the fault is drawn by nobody, and a schedule with it is refused.
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

/// Where a fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// At an operation on a file of this role.
    File(FileClass),
    /// At a request or response of this route.
    Route(Route),
    /// While the engine is suspended.
    Suspension,
    /// Between two operations.
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

/// One line of the atlas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// The fault.
    pub kind: FaultKind,
    /// Where it strikes.
    pub target: Target,
    /// What is promised then.
    pub promise: Promise,
    /// Why that can be promised, or why no more.
    pub reason: &'static str,
}

impl Row {
    /// Its name, as it stands in counts and messages: `kill/draft-wal`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.kind, self.target)
    }
}

/// The row of a fault at a place.
pub fn row(kind: FaultKind, target: Target) -> Option<&'static Row> {
    ATLAS.iter().find(|row| row.kind == kind && row.target == target)
}

/// Whether anything is promised about bytes of such a file that go bad.
pub fn is_rot_promised(file: FileClass) -> bool {
    row(FaultKind::Rot, Target::File(file)).is_some_and(|row| row.promise != Promise::Nothing)
}

/// The rows of which one is injected when `fault` strikes; empty when the atlas promises nothing about it.
pub fn rows_of(fault: &Fault) -> Vec<&'static Row> {
    let (kind, target) = match fault {
        Fault::Crash(point) => (FaultKind::from(&point.kind), Target::File(point.place.file)),
        Fault::CrashSuspended { kind, .. } => (FaultKind::from(kind), Target::Suspension),
        Fault::Abandon { .. } => (FaultKind::Abandon, Target::Suspension),
        Fault::Network { at, fault } => (FaultKind::Network(fault.kind(at.route)), Target::Route(at.route)),
        Fault::Disk(error) => (FaultKind::from(error.error), Target::File(error.file)),
    };
    let is_meant = |row: &&Row| match (target, row.target) {
        // Only a crash can be told to strike at whichever file comes.
        (Target::File(FileClass::Any), Target::File(_)) => matches!(fault, Fault::Crash(_)),
        (target, of_row) => target == of_row,
    };
    ATLAS.iter().filter(|row| row.kind == kind).filter(is_meant).collect()
}

/// Whether the atlas promises anything under this fault at its place. A schedule with another fault is refused.
pub fn is_promised(fault: &Fault) -> bool {
    !rows_of(fault).is_empty()
}

/// Judges an error that was shown as `shown` by the rows that injected: one of them has to allow for it.
///
/// # Errors
/// What is wrong with it.
pub fn judge(injected: &[&Row], shown: Promise) -> Result<(), String> {
    if injected.is_empty() {
        return Err("failed although no fault was injected".to_owned());
    }
    if injected.iter().any(|row| row.promise == shown) {
        return Ok(());
    }
    let promised: Vec<String> =
        injected.iter().map(|row| format!("{} is to be {}", row.name(), row.promise)).collect();
    Err(format!("was {shown}, but {}", promised.join(", ")))
}

#[cfg(test)]
mod tests;
