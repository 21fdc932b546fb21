//! Runs steps inside another step, while an operation of the engine is suspended.
//!
//! Such a step runs to its end within one suspension. On another machine it may be any step. On the same
//! machine it may be a crash, or anything that the application can do in the meantime: read, write, hold a
//! transaction open, or start a second operation, which the engine refuses.

use super::World;
use super::context::StepContext;
use super::exchange::deliver;
use super::referee::Author;
use super::trace::{Lane, Verb};
use crate::fault::RequestPlace;
use crate::judge::verdict::Violation;
use crate::schedule::{Action, Step, Wait};

impl World {
    /// Runs, in order, the steps that are due at this moment of the running step.
    pub(super) fn interleave(&mut self, now: Wait, context: &mut StepContext) -> Result<(), Violation> {
        while let Some(index) = context.during.iter().position(|during| during.at == now) {
            let step = context.during.remove(index).step;
            let ran = self.step_inside(&step, context);
            ran.map_err(|violation| Violation { step: violation.step.or(Some(step.id)), ..violation })?;
        }
        Ok(())
    }

    /// Like [`interleave`](Self::interleave), at a moment of the request at `place`. Runs nothing if there is
    /// no place.
    pub(super) fn interleave_at(
        &mut self,
        place: Option<RequestPlace>,
        moment: impl FnOnce(RequestPlace) -> Wait,
        context: &mut StepContext,
    ) -> Result<(), Violation> {
        place.map_or(Ok(()), |place| self.interleave(moment(place), context))
    }

    fn step_inside(&mut self, step: &Step, outer: &mut StepContext) -> Result<(), Violation> {
        let client = step.action.client();
        if !self.can_run_inside(&step.action, outer) {
            self.recorder.add_skipped_step(step);
            return Ok(());
        }
        self.recorder.counts.steps_inside += 1;
        self.record(Lane::World, Verb::StepInside, &step.action.to_string(), &[u64::from(step.id)]);
        // While an operation runs on the machine, the disk keeps the counters and armed faults of the
        // operation's step.
        let machine = client.filter(|&number| !outer.is_operating(number));
        if let Some(number) = client {
            // Disk errors injected so far belong to the operation around this step.
            self.note_disk_errors(number, outer);
        }
        let mut context = outer.inner(step);
        if let Some(number) = machine {
            self.clients[number].disk.begin_step(step.id);
        }
        self.arm(step, machine, &mut context);
        deliver(self.late.at_step(step.id), &mut self.server, &self.recorder);
        // What the operation around this step has done so far is its own.
        self.note_change(outer.operating.map_or(Author::Others, Author::Client));
        let acted = self.act(step, &mut context);
        self.note_author(&step.action);
        self.note_marks(step, &context);
        let mut unreached = std::mem::take(&mut context.pending);
        unreached.extend(machine.into_iter().flat_map(|number| self.disarm(number)));
        self.recorder.add_unreached_faults(step.id, unreached);
        self.recorder.add_unreached_steps(&context.during);
        outer.inside.push(step.action.kind());
        self.record(Lane::World, Verb::EndOfStepInside, step.action.kind().name(), &[u64::from(step.id)]);
        if client.is_some_and(|number| outer.is_operating(number)) {
            // The operation around this step may fail because of the faults that were injected here.
            outer.injected.extend(context.injected);
        }
        acted?;
        let is_down = client.is_some_and(|number| self.clients[number].disk.is_down());
        if self.referee.is_judging() && !is_down { self.judge_step(client) } else { Ok(()) }
    }

    fn can_run_inside(&self, action: &Action, outer: &StepContext) -> bool {
        let Some(number) = action.client().filter(|&number| outer.is_operating(number)) else { return true };
        match action {
            Action::Crash { .. } | Action::SecondProcess { .. } => true,
            // The running operation keeps the engine alive, so the application cannot close it.
            Action::Close { .. } | Action::LeftoverConnection { .. } => false,
            // A client's files are not replaced while an operation runs.
            Action::RestoreDirectory { .. } | Action::LoseFile { .. } | Action::Rot { .. } => false,
            // A process that is still opening has no connections yet.
            _ => self.clients[number].process.is_some(),
        }
    }
}
