//! The disk errors of one machine: those that are armed, those that last, and those that were injected.

use strum::EnumCount;

use crate::fault::{Access, DiskError, DiskErrorKind, FileClass, Lasts};

/// The error for the operation that is about to happen.
#[derive(Debug, Clone, Copy)]
pub(super) struct InjectedError {
    pub(super) kind: DiskErrorKind,
    pub(super) at_once: bool,
}

#[derive(Default)]
pub(super) struct DiskErrors {
    armed: Vec<DiskError>,
    lasting: Vec<DiskError>,
    reached: [[u32; Access::COUNT]; FileClass::COUNT],
    /// The injected errors, with the paths of their files.
    injected: Vec<(DiskErrorKind, String)>,
    suspended: bool,
}

impl DiskErrors {
    /// Starts a step: disarms the armed errors. Errors that last stay.
    pub(super) fn begin_step(&mut self) {
        self.armed.clear();
        self.reached = Default::default();
        self.injected.clear();
    }

    pub(super) fn heal(&mut self) {
        self.armed.clear();
        self.lasting.clear();
    }

    pub(super) fn arm(&mut self, error: DiskError) {
        self.armed.push(error);
    }

    pub(super) fn take_unreached(&mut self) -> Vec<DiskError> {
        std::mem::take(&mut self.armed)
    }

    /// Takes the errors that were injected since the last call or since the step started.
    pub(super) fn take_injected(&mut self) -> Vec<(DiskErrorKind, String)> {
        std::mem::take(&mut self.injected)
    }

    /// While suspended, no error is injected and no access is counted: a checker that reads a file is not
    /// part of the history.
    pub(super) fn suspend(&mut self, suspended: bool) {
        self.suspended = suspended;
    }

    #[cfg(test)]
    pub(super) fn count(&self, file: FileClass, access: Access) -> u32 {
        self.reached[file as usize][access as usize]
    }

    /// Counts an access that is about to happen, and returns the error to inject into it, if any.
    pub(super) fn reach(&mut self, path: &str, accesses: &[Access]) -> Option<InjectedError> {
        if self.suspended {
            return None;
        }
        let file = FileClass::of(path);
        for access in accesses {
            self.reached[file as usize][*access as usize] += 1;
        }
        let is_here = |error: &DiskError| error.file == file && accesses.contains(&error.error.access());
        let error = if let Some(lasting) = self.lasting.iter().find(|error| is_here(error)) {
            *lasting
        } else {
            let index = self.armed.iter().position(|error| {
                is_here(error) && self.reached[file as usize][error.error.access() as usize] == error.nth
            })?;
            let error = self.armed.remove(index);
            if error.lasts == Lasts::UntilHealed {
                self.lasting.push(error);
            }
            error
        };
        self.injected.push((error.error, path.to_owned()));
        Some(InjectedError { kind: error.error, at_once: error.at_once })
    }
}
