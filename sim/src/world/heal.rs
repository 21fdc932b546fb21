//! The heal: no more faults, and all clients sync until nothing moves.

use super::World;
use super::client::Engine;
use super::clock;
use super::context::StepContext;
use super::exchange::deliver;
use super::operations::Operation;
use super::referee::Activity;
use super::step::STEP_MS;
use super::trace::{Lane, Verb};
use crate::judge::verdict::{LIVENESS, Violation};
use crate::schedule::TransactionEnd;

/// The step id of the heal. No step of a schedule has it.
const HEAL_STEP: u32 = u32::MAX;
/// The rounds of the heal in addition to one per client.
const ROUNDS_EXTRA: usize = 4;

impl World {
    /// Ends the faults, syncs all clients until nothing moves, and judges the invariants that must hold then.
    ///
    /// # Errors
    /// The first broken invariant.
    pub fn heal_and_judge(&mut self) -> Result<(), Violation> {
        let mut context = self.begin_healing();
        self.server.cache.expire();
        self.join_remote(false)?;
        self.end_held_connections(&mut context)?;
        self.settle(&mut context)?;
        if !self.referee.is_judging() {
            return Ok(());
        }
        self.referee.judge_end(&mut self.clients, &self.server)?;
        if self.referee.judges_contents() { self.judge_end_again(&mut context) } else { Ok(()) }
    }

    /// Judges the end once more with new processes: those of the history may remember what is in no file. A commit whose
    /// sync has failed may show only now, and is sent then.
    fn judge_end_again(&mut self, context: &mut StepContext) -> Result<(), Violation> {
        for number in self.clients.numbers() {
            self.end_process(number);
        }
        self.settle(context)?;
        self.referee.judge_end(&mut self.clients, &self.server)
    }

    /// Syncs all clients until nothing moves.
    pub(super) fn settle(&mut self, context: &mut StepContext) -> Result<(), Violation> {
        self.settle_clients(&self.clients.numbers().collect::<Vec<_>>(), context)
    }

    /// Syncs some clients until nothing moves.
    pub(super) fn settle_clients(
        &mut self,
        numbers: &[u8],
        context: &mut StepContext,
    ) -> Result<(), Violation> {
        let rounds_max = numbers.len() + ROUNDS_EXTRA;
        for _ in 0..rounds_max {
            let before = Activity::of(&self.clients, &self.server);
            if !self.sync_round(numbers, context)? {
                let after = Activity::of(&self.clients, &self.server);
                return if self.referee.is_judging() {
                    self.referee.judge_quiescence(&before, &after)
                } else {
                    Ok(())
                };
            }
        }
        let message =
            format!("after {rounds_max} rounds of syncs without faults, a sync still changes something");
        Err(Violation::of(LIVENESS, message))
    }

    /// Disarms all faults and delivers all late requests. Processes stay as they are.
    pub(super) fn begin_healing(&mut self) -> StepContext {
        clock::advance(STEP_MS);
        self.record(Lane::World, Verb::Heal, "no more faults: all clients sync until nothing moves", &[]);
        for client in self.clients.all() {
            client.disk.begin_step(HEAL_STEP);
            client.disk.heal();
        }
        deliver(self.late.take_all(), &mut self.server, &self.recorder);
        StepContext::of_heal(HEAL_STEP)
    }

    /// Ends the readers and transactions that applications hold open.
    fn end_held_connections(&mut self, context: &mut StepContext) -> Result<(), Violation> {
        for number in self.clients.numbers() {
            self.close_reader(number, context)?;
            self.end_held(number, TransactionEnd::Rollback, context)?;
            self.end_program(number, context)?;
        }
        Ok(())
    }

    /// Syncs each client once. Returns whether the syncs changed anything.
    fn sync_round(&mut self, numbers: &[u8], context: &mut StepContext) -> Result<bool, Violation> {
        let mut moved = false;
        for &number in numbers {
            let this_moved = self.sync(number, context)?;
            if self.referee.is_judging() && this_moved {
                self.judge_step(Some(number))?;
            }
            moved |= this_moved;
        }
        Ok(moved)
    }

    /// Syncs a client, and opens it first if necessary. Returns whether this may have changed anything.
    pub(super) fn sync(&mut self, number: u8, context: &mut StepContext) -> Result<bool, Violation> {
        let was_open = self.clients[number].process.is_some();
        // If the client had to follow another log first, the sync itself has no report.
        let mut moved = true;
        let succeeded = self.operate(number, Operation::Sync, context, async |engine: &Engine| {
            let report = engine.sync().await?;
            let (push, pull) = (&report.push, &report.pull);
            moved = push.recovered
                || push.rebased
                || pull.rebased
                || pull.checkpointed
                || push.compacted
                || pull.compacted
                || push.requests > 0
                || push.frames + pull.frames > 0
                || push.generations_crossed + pull.generations_crossed > 0;
            Ok(report.into())
        })?;
        if succeeded {
            self.judge_caught_up(number, context)?;
        }
        // A sync that failed may have changed the client's files before it failed, and the client needs
        // another sync.
        Ok(moved || !was_open || !succeeded)
    }
}
