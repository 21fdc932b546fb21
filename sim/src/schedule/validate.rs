//! Checks that the steps of a schedule are possible: known clients, unique ids, and only faults from the
//! atlas.

use std::collections::BTreeSet;

use super::{Action, Header, ScheduleError, Step};
use crate::fault::atlas::{has_row, is_rot_promised};

/// Checks the steps of one schedule in order.
#[derive(Default)]
pub(super) struct Check {
    /// The ids of all steps so far, including steps inside others.
    ids: BTreeSet<u32>,
}

impl Check {
    /// Checks the next step. `line` is its line in the file.
    ///
    /// # Errors
    /// The first problem of the step or of a step inside it.
    pub fn step(&mut self, line: usize, header: &Header, step: &Step) -> Result<(), ScheduleError> {
        check_promised(line, "", step)?;
        let clients = header.clients;
        for step in step.all() {
            if let Some(client) = step.action.client().filter(|&client| client >= clients) {
                return Err(ScheduleError::Client { line, client, clients });
            }
            if !self.ids.insert(step.id) {
                return Err(ScheduleError::Id { line, id: step.id });
            }
        }
        Ok(())
    }
}

/// Checks that the atlas has a row for every fault of a step. `within` is the path to the step in the line's
/// object.
fn check_promised(line: usize, within: &str, step: &Step) -> Result<(), ScheduleError> {
    if let Some(index) = step.faults.iter().position(|fault| !has_row(fault)) {
        let field = format!("{within}faults[{index}]");
        let fault = serde_json::to_string(&step.faults[index]).expect("plain data serializes");
        return Err(ScheduleError::Unpromised { line, field, fault });
    }
    if let Action::Rot { file, .. } = step.action
        && !is_rot_promised(file)
    {
        let field = format!("{within}action.rot.file");
        return Err(ScheduleError::Unpromised { line, field, fault: format!("rot of {file}") });
    }
    let mut carried = step.during.iter().enumerate();
    carried.try_for_each(|(index, during)| {
        check_promised(line, &format!("{within}during[{index}].step."), &during.step)
    })
}
