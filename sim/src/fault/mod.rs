//! What can go wrong, as plain data.
//!
//! A [`Fault`] names its place by meaning ("the second sync of Synced's WAL in this step"), so it keeps its meaning when other parts of a
//! schedule are deleted. The [`atlas`] says what an engine promises under each fault at each place.
//!
//! | module | holds |
//! |---|---|
//! | `crash` | kills and power losses, and which unsynced operations survive them |
//! | `disk` | file operations that fail |
//! | `network`, `contradiction` | what happens to a request or to its response |
//! | `rot` | bytes of a file that change silently |
//! | `place`, `route`, `ordinal` | where a fault strikes: files, operations, requests, and the occurrence within the step |
//! | [`atlas`] | the FaultAtlas: every fault at every place, and the promise |
//!
//! Absent: the disk, the network and the schedule. Nothing here runs.

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

use arbitrary::Arbitrary;
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

/// What strikes during a step. A fault whose place is never reached is noted and does nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Arbitrary)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// The client's machine or process goes down at a file operation.
    Crash(CrashPoint),
    /// The client's machine or process goes down while the engine is suspended.
    CrashSuspended {
        /// The how-manieth suspension of the step, from 1.
        nth: u32,
        /// How it goes down.
        kind: CrashKind,
    },
    /// The application gives an operation up while the engine is suspended; its process lives on.
    Abandon {
        /// The how-manieth suspension of the step, from 1.
        nth: u32,
        /// Whether a request that is under way then arrives all the same.
        arrives: bool,
    },
    /// An operation on a file fails.
    Disk(DiskError),
    /// Something becomes of a request or of its answer.
    Network {
        /// The request.
        at: RequestPlace,
        /// What becomes of it.
        fault: NetworkFault,
    },
}

impl Fault {
    /// How the client goes down, if it does.
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
                let fate = if *arrives { "arrives" } else { "does not arrive" };
                write!(f, "given up at the {} suspension; a request under way {fate}", Ordinal(*nth))
            }
            Self::Disk(error) => error.fmt(f),
            Self::Network { at, fault } => network::write_network(f, at, fault),
        }
    }
}
