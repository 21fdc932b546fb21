//! The faults that a schedule can inject, as plain data.
//!
//! A [`Fault`] names its place by meaning ("the second sync of Synced's WAL in this step"), so it keeps its
//! meaning when other parts of a schedule are deleted. The [`atlas`] states what the engine promises under
//! each fault at each place.
//!
//! | module | holds |
//! |---|---|
//! | `crash` | kills and power losses, and which unsynced operations survive them |
//! | `disk` | file operations that fail |
//! | `network`, `contradiction` | faults of a request or of its response |
//! | `rot` | bytes of a file that change silently |
//! | `place`, `route`, `ordinal` | the places of faults: files, operations, requests, and their numbers |
//! | [`atlas`] | the FaultAtlas: every fault at every place, and the promise |
//!
//! Not in this module: the disk, the network and the schedule. Nothing here runs.

pub mod atlas;
mod contradiction;
mod crash;
mod disk;
mod network;
mod ordinal;
mod place;
mod rot;
mod route;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use contradiction::Contradiction;
pub use crash::{CrashKind, CrashPoint, Moment, SECTOR_BYTES, Survival, Tear};
pub(crate) use disk::Access;
pub use disk::{DiskError, DiskErrorKind, Lasts};
pub use network::{Arrival, Delivery, NetworkFault, NetworkFaultKind, Wire};
pub(crate) use ordinal::Ordinal;
pub use place::{FileClass, OperationKind, OperationPlace};
pub use rot::Damage;
pub use route::{RequestPlace, Route};

/// A fault of a step. If its place is not reached, the fault is reported as not reached and has no effect.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// The client's machine or process crashes at a file operation.
    Crash(CrashPoint),
    /// The client's machine or process crashes while the engine is suspended.
    CrashSuspended {
        /// The number of the suspension in the step, from 1.
        nth: u32,
        kind: CrashKind,
    },
    /// The application abandons an operation while the engine is suspended. Its process keeps running.
    Abandon {
        /// The number of the suspension in the step, from 1.
        nth: u32,
        /// Whether a request that is in transit still arrives.
        arrives: bool,
    },
    /// A file operation fails.
    Disk(DiskError),
    /// A request or its response is lost, delayed or changed.
    Network { at: RequestPlace, fault: NetworkFault },
}

impl Fault {
    /// The kind of the client's crash, if the fault is one.
    pub fn crash_kind(&self) -> Option<&CrashKind> {
        match self {
            Self::Crash(point) => Some(&point.kind),
            Self::CrashSuspended { kind, .. } => Some(kind),
            Self::Abandon { .. } | Self::Disk(_) | Self::Network { .. } => None,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Crash(point) => point.fmt(f),
            Self::CrashSuspended { nth, kind } => write!(f, "{kind} at the {} suspension", Ordinal(*nth)),
            Self::Abandon { nth, arrives } => {
                let outcome = if *arrives { "arrives" } else { "does not arrive" };
                write!(f, "abandoned at the {} suspension; a request in transit {outcome}", Ordinal(*nth))
            }
            Self::Disk(error) => error.fmt(f),
            Self::Network { at, fault } => network::write_network(f, at, fault),
        }
    }
}
