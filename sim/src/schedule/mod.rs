//! Schedules: plain data that fully describes one history.
//!
//! A run draws no random numbers. Each value that must look random is a hash of the header's key and the
//! step's id, so deleting a step does not change the others.
//!
//! | module | holds |
//! |---|---|
//! | `header` | the options of a history |
//! | `step` | steps and their actions |
//! | `archive` | the actions of a history of the archive behind `plimsoll serve` |
//! | `wait` | moments inside an operation when other steps run |
//! | [`workload`] | writes as data, and their SQL |
//! | `file` | the file format and its parser |
//! | `script` | scenarios as people write them, read as schedules |
//! | `validate` | checks that steps and faults are possible |
//! | `words` | steps in English |

mod archive;
mod file;
mod header;
mod script;
mod step;
mod validate;
mod wait;
mod words;
pub mod workload;

use serde::{Deserialize, Serialize};

pub use archive::{ArchiveAction, System};
pub use file::{Comments, ScheduleError};
pub use header::{Header, PushMode, Workload};
pub use step::{Action, ActionKind, Alternation, Copies, During, Step, TransactionEnd};
pub use wait::{EngineEvent, Wait};

/// The version of the file format that this simulator writes and reads.
pub const FORMAT: u32 = 1;

/// The description of one history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    pub header: Header,
    /// The steps, in order.
    pub steps: Vec<Step>,
    /// The comments of its file.
    #[serde(default)]
    pub comments: Comments,
}

impl Schedule {
    /// A schedule without comments.
    pub fn new(header: Header, steps: Vec<Step>) -> Self {
        Self { header, steps, comments: Comments::default() }
    }

    /// All steps, including those inside other steps.
    pub fn all_steps(&self) -> Vec<&Step> {
        self.steps.iter().flat_map(Step::all).collect()
    }

    /// The step with an id, at any depth.
    pub fn step_mut(&mut self, id: u32) -> Option<&mut Step> {
        self.steps.iter_mut().find_map(|step| step.find_mut(id))
    }

    /// The number of faults in all steps.
    pub fn fault_count(&self) -> usize {
        self.all_steps().iter().map(|step| step.faults.len()).sum()
    }
}
