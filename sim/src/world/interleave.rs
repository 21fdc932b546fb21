//! Interleavings: other steps that happen while an operation of the engine's waits.
//!
//! A step that was carried by another runs to its end inside one suspension of it. On another machine it may be anything; on the
//! same one, what an application can do meanwhile: read, write, hold a transaction open, ask for a second operation (which is refused), or
//! lose its machine.

use super::World;
use super::running::Running;
use crate::fault::Fault;
use crate::fault::RequestPlace;
use crate::judge::verdict::Violation;
use crate::schedule::{Action, Step, Wait};
use crate::world::trace::Lane;

impl World {
    /// Runs what was to happen at this wait of the running step, in order.
    pub(super) fn interleave(&mut self, now: Wait) -> Result<(), Violation> {
        while let Some(index) = self.running().during.iter().position(|during| during.at == now) {
            let carried = self.running().during.remove(index);
            self.step_inside(&carried.step).map_err(|violation| Violation {
                step: violation.step.or(Some(carried.step.id)),
                ..violation
            })?;
        }
        Ok(())
    }

    /// The same, where a place is known.
    pub(super) fn interleave_at(
        &mut self,
        place: Option<RequestPlace>,
        wait: impl FnOnce(RequestPlace) -> Wait,
    ) -> Result<(), Violation> {
        place.map_or(Ok(()), |place| self.interleave(wait(place)))
    }

    fn step_inside(&mut self, step: &Step) -> Result<(), Violation> {
        let client = step.action.client();
        if !self.can_run_inside(&step.action) {
            self.counts.faults_unreached += 1;
            self.record(Lane::World, "never reached", &step.to_string(), &[u64::from(step.id)]);
            self.fates.not_run.push(step.id);
            return Ok(());
        }
        self.counts.steps_inside += 1;
        self.record(Lane::World, "step inside", &step.action.to_string(), &[u64::from(step.id)]);
        // A machine on which an operation runs goes on in that operation's step.
        let machine = client.filter(|&number| !self.is_operating(number));
        if let Some(number) = client {
            // What the operation around this step met is not this step's.
            self.note_disk_errors(number);
        }
        let mut running = Running::of(step);
        if let Some(number) = machine {
            self.client(number).disk.begin_step(step.id);
        }
        for fault in &step.faults {
            match (fault, machine) {
                (Fault::Crash(point), Some(number)) => self.client(number).disk.arm(point.clone()),
                (Fault::Disk(error), Some(number)) => self.client(number).disk.arm_error(*error),
                _ => running.pending.push(fault.clone()),
            }
        }
        self.running.push(running);
        self.deliver_at_step(step.id);
        let acted = self.act(step);
        self.mark_faults(step);
        let mut ended = self.running.pop().expect("the step that was begun above");
        let mut unreached = std::mem::take(&mut ended.pending);
        if let Some(number) = machine {
            let disk = &self.client(number).disk;
            unreached.extend(disk.take_unreached().into_iter().map(Fault::Crash));
            unreached.extend(disk.take_unreached_errors().into_iter().map(Fault::Disk));
        }
        self.note_unreached(step.id, unreached);
        self.note_not_run(&ended.during);
        self.running().inside.push(step.action.verb());
        self.record(Lane::World, "end of step inside", step.action.verb(), &[u64::from(step.id)]);
        if client.is_some_and(|number| self.is_operating(number)) {
            // What the machine met in this step the operation around it may still feel.
            self.running().struck.extend(ended.struck);
        }
        acted?;
        let is_down = client.is_some_and(|number| self.client(number).disk.is_down());
        if self.checks && !is_down { self.judge_step(client) } else { Ok(()) }
    }

    /// Whether an operation of the engine's on this client is under way, in a step around the running one.
    pub(crate) fn is_operating(&self, number: u8) -> bool {
        self.running.iter().any(|running| running.operating == Some(number))
    }

    fn can_run_inside(&self, action: &Action) -> bool {
        let Some(number) = action.client().filter(|&number| self.is_operating(number)) else { return true };
        match action {
            Action::Crash { .. } => true,
            // The operation keeps the engine alive; nobody closes it under its own operation.
            Action::Close { .. } => false,
            // Files are not exchanged under an operation.
            Action::RestoreDirectory { .. } | Action::LoseFile { .. } | Action::Rot { .. } => false,
            // A process that is just opening has no connections yet.
            _ => self.client(number).process.is_some(),
        }
    }
}
