//! What will happen, as plain data: a [`Schedule`] says everything about one history.
//!
//! Running a schedule draws nothing: what must look random is a hash of the header's key and the step's id, so deleting a step leaves the
//! meaning of the others alone.
//!
//! | module | holds |
//! |---|---|
//! | `header` | options that hold for the whole history |
//! | `step` | steps and their actions |
//! | `wait` | moments inside an operation at which other steps run |
//! | [`workload`] | writes as data, and their SQL |
//! | `file` | the file format and its parser |
//! | `validate` | whether steps and faults are possible |
//! | `words` | steps in English |

mod file;
mod header;
mod step;
mod validate;
mod wait;
mod words;
pub mod workload;

use serde::{Deserialize, Serialize};

pub use file::{Comments, ScheduleError};
pub use header::{Header, PushMode};
pub use step::{Action, During, Step, TransactionEnd};
pub use wait::{EngineEvent, Wait};

/// The version of the file format that this simulator writes and reads.
pub const FORMAT: u32 = 1;

/// One history, before it has run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// What holds for the whole history.
    pub header: Header,
    /// What happens, in order.
    pub steps: Vec<Step>,
    /// What its file says to human readers.
    #[serde(default)]
    pub comments: Comments,
}

impl Schedule {
    /// A schedule without comments.
    pub fn new(header: Header, steps: Vec<Step>) -> Self {
        Self { header, steps, comments: Comments::default() }
    }

    /// Its steps, and those inside them.
    pub fn all_steps(&self) -> Vec<&Step> {
        self.steps.iter().flat_map(Step::all).collect()
    }

    /// The step with an id, wherever it stands.
    pub fn step_mut(&mut self, id: u32) -> Option<&mut Step> {
        self.steps.iter_mut().find_map(|step| step.find_mut(id))
    }

    /// How many faults its steps have.
    pub fn fault_count(&self) -> usize {
        self.all_steps().iter().map(|step| step.faults.len()).sum()
    }
}
