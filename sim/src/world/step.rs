//! Runs one step: starts it, performs its action, ends it, and judges the result.

use super::World;
use super::client::Engine;
use super::clock;
use super::context::StepContext;
use super::exchange::deliver;
use super::operations::{Operation, Reported};
use super::referee::Author;
use super::trace::{Lane, Verb};
use crate::fault::Fault;
use crate::fault::atlas::{FaultKind, Target};
use crate::judge::marks::FinishedStep;
use crate::judge::verdict::Violation;
use crate::schedule::workload::Writer;
use crate::schedule::{Action, Alternation, Step, TransactionEnd};

/// How far virtual time moves before each step.
pub(super) const STEP_MS: u64 = 1_000;

impl World {
    /// Runs one step and judges the state afterwards.
    ///
    /// # Errors
    /// The first broken invariant.
    pub fn step(&mut self, step: &Step) -> Result<(), Violation> {
        let mut context = self.begin_step(step);
        self.alternate(Alternation::Operations)?;
        let acted = self.act(step, &mut context);
        self.note_author(&step.action);
        self.end_step(step, context);
        acted?;
        if let Some(number) = step.action.client() {
            self.referee.sample_image_if_due(&self.clients[number], &self.server, None);
        }
        if self.referee.is_judging() {
            self.judge_step(step.action.client())?;
            self.referee.judge_image(&self.header, &self.clients, &self.server)?;
        }
        self.copies.make_due(step.id, self.clients.all(), &self.referee.ledger);
        Ok(())
    }

    /// Judges the invariants that must hold after every step: those of the remote, and those of the client
    /// that acted.
    ///
    /// # Errors
    /// The first broken invariant.
    pub(super) fn judge_step(&mut self, client: Option<u8>) -> Result<(), Violation> {
        self.referee.judge_remote(&self.server)?;
        let Some(number) = client else { return Ok(()) };
        let client = &mut self.clients[number];
        self.referee.judge_files(client, &self.server, &mut self.recorder)?;
        if client.process.is_none() {
            return Ok(());
        }
        self.referee.judge_content(client, &self.server)?;
        self.referee.judge_losses(number)
    }

    fn begin_step(&mut self, step: &Step) -> StepContext {
        clock::advance(STEP_MS);
        self.recorder.counts.steps += 1;
        self.record(Lane::World, Verb::Step, &step.action.to_string(), &[u64::from(step.id)]);
        for client in self.clients.all() {
            client.disk.begin_step(step.id);
        }
        let mut context = StepContext::new(step);
        // The explorer tries every crash anyway, so no image is sampled in a history that it steers.
        if self.referee.is_judging() && !self.steering.is_steered() {
            self.referee.sample.plan(&self.header, step);
        }
        self.steering.begin_step(step.id);
        self.inform_pilot();
        self.arm(step, step.action.client(), &mut context);
        deliver(self.late.at_step(step.id), &mut self.server, &self.recorder);
        self.note_change(Author::Others);
        context
    }

    /// Notes who has changed the remote since the last call.
    pub(super) fn note_change(&mut self, author: Author) {
        self.referee.news.note(author, &self.server, self.late.arrivals());
    }

    /// Notes what an action has changed, for everybody for whom it is news.
    pub(super) fn note_author(&mut self, action: &Action) {
        let author = match action {
            Action::RemoteCheckpoint | Action::RemoteRestart | Action::RemotePrune => Author::Upkeep,
            action => action.client().map_or(Author::Others, Author::Client),
        };
        self.note_change(author);
        if matches!(
            action,
            Action::RemoteRestore { .. } | Action::RemoteFork { .. } | Action::RemoteJoin { .. }
        ) {
            self.referee.news.forget_bases();
        }
        if let Action::WrongServer { client, .. }
        | Action::RestoreDirectory { client, .. }
        | Action::LoseFile { client, .. }
        | Action::Rot { client, .. } = action
        {
            self.referee.news.forget(*client);
        }
    }

    /// Arms the faults of a step: file faults in the disk of `machine`, all others in the step's context.
    pub(super) fn arm(&self, step: &Step, machine: Option<u8>, context: &mut StepContext) {
        for fault in &step.faults {
            match (fault, machine) {
                (Fault::Crash(point), Some(number)) => self.clients[number].disk.arm(point.clone()),
                (Fault::Disk(error), Some(number)) => self.clients[number].disk.arm_error(*error),
                _ => context.pending.push(fault.clone()),
            }
        }
    }

    /// Disarms the faults that a client's disk has not reached, and returns them.
    pub(super) fn disarm(&self, number: u8) -> impl Iterator<Item = Fault> {
        let disk = &self.clients[number].disk;
        let crashes = disk.take_unreached_crashes().into_iter().map(Fault::Crash);
        crashes.chain(disk.take_unreached_errors().into_iter().map(Fault::Disk))
    }

    fn end_step(&mut self, step: &Step, mut context: StepContext) {
        deliver(self.late.after_step(), &mut self.server, &self.recorder);
        self.note_change(Author::Others);
        let mut unreached = std::mem::take(&mut context.pending);
        for number in self.clients.numbers() {
            unreached.extend(self.disarm(number));
        }
        self.recorder.add_unreached_faults(step.id, unreached);
        self.recorder.add_unreached_steps(&context.during);
        self.note_marks(step, &context);
        let position = self.server.position();
        self.record(Lane::Remote, Verb::StandsAt, "generation and frame", &[position.0, position.1]);
        self.record(Lane::World, Verb::EndOfStep, step.action.kind().name(), &[u64::from(step.id)]);
        self.recorder.snapshot(step.id, position, self.clients.all());
    }

    /// Notes the marks that a finished step has reached.
    pub(super) fn note_marks(&mut self, step: &Step, context: &StepContext) {
        let ledger = &self.referee.ledger;
        let has_pending =
            step.action.client().is_some_and(|number| ledger.has_pending(Writer::Client(number)));
        let reported: Vec<_> = context.reported().collect();
        self.recorder.note_marks(&FinishedStep {
            action: step.action.kind(),
            writes: match &step.action {
                Action::Transaction { writes, end: TransactionEnd::Commit, .. } => writes,
                _ => &[],
            },
            end: context.end,
            reported: &reported,
            reported_while_opening: context.reported_while_opening(),
            injected: &context.injected,
            inside: &context.inside,
            windows: &context.windows,
            has_pending,
        });
    }

    /// Notes that a fault was injected into the running step: counts the fault, and adds its atlas row to the
    /// rows by which the step's errors are judged.
    pub(super) fn note_injected(&mut self, kind: FaultKind, target: Target, context: &mut StepContext) {
        context.injected.push(self.recorder.note_injected(kind, target));
    }

    pub(super) fn act(&mut self, step: &Step, context: &mut StepContext) -> Result<(), Violation> {
        match &step.action {
            Action::Transaction { client, writes, end } => self.transact(*client, writes, *end, context),
            Action::EndTransaction { client, end } => self.end_held(*client, *end, context),
            Action::OpenReader { client } => {
                self.ensure_open(*client, context)?;
                self.open_reader(*client, context)
            }
            Action::CloseReader { client } => self.close_reader(*client, context),
            Action::Open { client } => self.ensure_open(*client, context).map(drop),
            Action::Program { client, sql } => self.run_program(*client, sql, context),
            Action::RemoteProgram { sql } => {
                self.run_remote_program(sql);
                Ok(())
            }
            Action::Show { on, sql, expect } => self.show(*on, sql, expect.as_deref()),
            Action::Compare => self.compare(context),
            Action::Pull { client } => {
                let pull = async |engine: &Engine| engine.pull().await.map(Reported::from);
                let succeeded = self.operate(*client, Operation::Pull, context, pull)?;
                if succeeded { self.judge_caught_up(*client, context) } else { Ok(()) }
            }
            Action::Push { client } => {
                let push = async |engine: &Engine| engine.push().await.map(Reported::from);
                self.operate(*client, Operation::Push, context, push).map(drop)
            }
            Action::Sync { client } => self.sync(*client, context).map(drop),
            Action::SecondProcess { client } => self.open_second_process(*client),
            Action::LeftoverConnection { client } => {
                self.record(Lane::Application(*client), Verb::Close, "", &[]);
                self.open_beside_connection(*client)
            }
            Action::Close { client } => {
                self.record(Lane::Application(*client), Verb::Close, "", &[]);
                self.end_process(*client);
                Ok(())
            }
            Action::Crash { client, kind } => {
                self.clients[*client].disk.crash_now(kind);
                // If an operation is running, it notices the crash at its next suspension.
                if !context.is_operating(*client) {
                    self.reap(*client, false, context);
                }
                Ok(())
            }
            Action::RemoteTransaction { writes } => {
                self.transact_on_remote(step.id, writes);
                Ok(())
            }
            Action::RemoteCheckpoint => {
                self.recorder.counts.generations += u64::from(self.server.remote.checkpoint());
                Ok(())
            }
            Action::RemoteRestart => {
                self.server.restart();
                self.inform_pilot();
                self.note_injected(FaultKind::RemoteRestart, Target::Between, context);
                Ok(())
            }
            Action::RemoteCrash { kind } => {
                self.server.crash(kind);
                self.inform_pilot();
                self.note_injected(FaultKind::RemoteCrash, Target::Between, context);
                Ok(())
            }
            // These are for histories of the archive.
            Action::RemoteArchive(_) => Ok(()),
            Action::RemotePrune => {
                self.recorder.counts.prunes += u64::from(self.server.remote.prune());
                Ok(())
            }
            Action::RemoteRestore { generations_back, transactions_back, keeps_name } => {
                self.restore_remote((*generations_back).into(), (*transactions_back).into(), *keeps_name)
            }
            Action::RemoteFork { alternates } => self.fork_remote(*alternates, context),
            Action::RemoteJoin { keeps_other } => self.join_remote(*keeps_other),
            Action::RemoteCache { route } => {
                self.server.cache.keep(*route);
                Ok(())
            }
            Action::RemoteCacheExpires => {
                self.server.cache.expire();
                Ok(())
            }
            Action::WrongServer { client, times, restarts } => {
                self.sync_with_wrong_server(*client, *times, *restarts, context)
            }
            Action::RestoreDirectory { client, to_step } => {
                self.restore_directory(*client, *to_step, context);
                Ok(())
            }
            Action::LoseFile { client, file } => {
                self.lose_file(*client, *file, context);
                Ok(())
            }
            Action::Rot { client, file, offset, damage } => {
                self.rot(*client, *file, *offset, *damage, context);
                Ok(())
            }
        }
    }

    /// Checks that a client has caught up with the remote after its pull or sync succeeded.
    pub(super) fn judge_caught_up(&mut self, number: u8, context: &StepContext) -> Result<(), Violation> {
        let remote_forgot = context.times_remote_forgot() > 0
            || self.server.is_forked()
            || context.has_injected(FaultKind::StaleCache);
        self.referee.judge_caught_up(&self.clients[number], &self.server, remote_forgot)
    }
}
