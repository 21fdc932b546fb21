//! Transactions: those of applications on a client, and those of other writers on the remote.

use std::panic::{AssertUnwindSafe, catch_unwind};

use plimsoll_engine::{Error, LocalConnection};

use super::World;
use super::context::StepContext;
use super::disk::Disk;
use super::operations::violation_of_panic;
use super::trace::{Lane, Verb};
use super::writes::{Ran, run_writes};
use crate::judge::ledger::{CommitState, Entry};
use crate::judge::marks::StepEnd;
use crate::judge::verdict::Violation;
use crate::schedule::TransactionEnd;
use crate::schedule::workload::{Write, Writer};

impl World {
    /// Runs an application's transaction and records its outcome in the ledger.
    pub(super) fn transact(
        &mut self,
        number: u8,
        writes: &[Write],
        end: TransactionEnd,
        context: &mut StepContext,
    ) -> Result<(), Violation> {
        if !self.ensure_open(number, context)? {
            return Ok(());
        }
        if end == TransactionEnd::HeldOpen {
            return self.hold_open(number, writes, context);
        }
        let client = &self.clients[number];
        let Some(connection) = client.process.as_ref().map(|process| process.connection.clone()) else {
            return Ok(());
        };
        let disk = client.disk.clone();
        let writer = Writer::Client(number);
        let attempt = catch_unwind(AssertUnwindSafe(|| {
            let mut attempt = Attempt::default();
            let outcome = attempt.run(&connection, &disk, writer, context.id, writes, end);
            (attempt, outcome)
        }));
        self.note_disk_errors(number, context);
        let is_down = disk.is_down();
        let (attempt, failed) = match attempt {
            Ok((attempt, outcome)) => (attempt, outcome.err()),
            Err(panic) if !is_down => return Err(violation_of_panic(number, &*panic)),
            Err(_) => (Attempt { was_down_before_end: true, ..Attempt::default() }, None),
        };
        if let Some(error) = failed.as_ref().filter(|_| !is_down) {
            self.judge_failed_transaction(number, error, context)?;
            // If the rollback fails as well, the application closes the database.
            if !connection.is_autocommit() && connection.execute("ROLLBACK").is_err() {
                self.end_process(number);
            }
        }
        if failed.is_some() {
            context.end = StepEnd::Failed;
        }
        let commit_state = attempt.commit_state(end, is_down, failed.is_some());
        let outcome = match commit_state {
            CommitState::Absent => "not committed",
            CommitState::Maybe | CommitState::Doubtful => "perhaps committed",
            CommitState::Committed => "committed",
        };
        self.record(Lane::Application(number), Verb::Transaction, outcome, &[writes.len() as u64 + 1]);
        let Ran { effects, shapes } = attempt.ran;
        if commit_state == CommitState::Committed {
            self.recorder.note_shapes(writer, shapes);
        }
        if !effects.is_empty() {
            self.referee.ledger.enter(Entry::new(writer, effects, commit_state));
        }
        if !is_down {
            self.note_local_commit(number);
        }
        self.inform_pilot();
        if is_down {
            self.reap(number, true, context);
        }
        Ok(())
    }

    /// Judges a failed transaction: it may fail only if a disk error was injected.
    pub(super) fn judge_failed_transaction(
        &mut self,
        number: u8,
        error: &Error,
        context: &StepContext,
    ) -> Result<(), Violation> {
        self.referee.judge_failed_transaction(&self.clients[number], error, context, &mut self.recorder)
    }

    /// Runs another writer's transaction on the remote.
    pub(super) fn transact_on_remote(&mut self, step: u32, writes: &[Write]) {
        let Ran { effects, shapes } = self
            .server
            .remote
            .transact(|connection| run_writes(connection, Writer::Remote, step, writes))
            .expect("another writer's statements are valid SQL");
        self.recorder.note_shapes(Writer::Remote, shapes);
        self.referee.ledger.enter(Entry::new(Writer::Remote, effects, CommitState::Committed));
    }
}

/// The progress of an application's transaction.
#[derive(Default)]
struct Attempt {
    ran: Ran,
    was_down_before_end: bool,
    reached_end: bool,
}

impl Attempt {
    /// Whether the transaction is committed. `is_down` is set if the machine crashed during it.
    fn commit_state(&self, end: TransactionEnd, is_down: bool, has_failed: bool) -> CommitState {
        match end {
            TransactionEnd::Rollback | TransactionEnd::HeldOpen => CommitState::Absent,
            TransactionEnd::Commit if self.was_down_before_end || !self.reached_end => CommitState::Absent,
            TransactionEnd::Commit if is_down => CommitState::Maybe,
            TransactionEnd::Commit if has_failed => CommitState::Doubtful,
            TransactionEnd::Commit => CommitState::Committed,
        }
    }

    fn run(
        &mut self,
        connection: &LocalConnection,
        disk: &Disk,
        writer: Writer,
        id: u32,
        writes: &[Write],
        end: TransactionEnd,
    ) -> Result<(), Error> {
        connection.execute("BEGIN")?;
        self.ran = run_writes(connection, writer, id, writes)?;
        self.was_down_before_end = disk.is_down();
        self.reached_end = true;
        connection.execute(if end == TransactionEnd::Commit { "COMMIT" } else { "ROLLBACK" })
    }
}
