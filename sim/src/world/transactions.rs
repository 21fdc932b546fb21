//! Transactions: those that applications commit or roll back on a client, and other writers' on the remote.

use std::panic::{AssertUnwindSafe, catch_unwind};

use plimsoll_engine::{Error, LocalConnection};

use super::World;
use super::operations::violation_of_panic;
use crate::fault::atlas::{self, Promise};
use crate::judge::ledger::{Entry, Fate};
use crate::judge::marks::End as StepEnd;
use crate::judge::verdict::{NO_SURPRISE, Violation};
use crate::schedule::TransactionEnd;
use crate::schedule::workload::{Write, Writer};
use crate::text::error_chain;
use crate::world::disk::Disk;
use crate::world::trace::Lane;
use crate::world::writes::{Ran, run_writes};

impl World {
    pub(super) fn transact(
        &mut self,
        number: u8,
        id: u32,
        writes: &[Write],
        end: TransactionEnd,
    ) -> Result<(), Violation> {
        if !self.ensure_open(number)? {
            return Ok(());
        }
        if end == TransactionEnd::HeldOpen {
            return self.hold_open(number, id, writes);
        }
        let client = self.client(number);
        let Some(connection) = client.process.as_ref().map(|process| process.connection.clone()) else {
            return Ok(());
        };
        let disk = client.disk.clone();
        let writer = Writer::Client(number);
        let attempt = catch_unwind(AssertUnwindSafe(|| {
            let mut attempt = Attempt::default();
            let outcome = attempt.run(&connection, &disk, writer, id, writes, end);
            (attempt, outcome)
        }));
        self.note_disk_errors(number);
        let is_down = disk.is_down();
        let (attempt, failed) = match attempt {
            Ok((attempt, outcome)) => (attempt, outcome.err()),
            Err(panic) if !is_down => {
                return Err(violation_of_panic(number, &*panic));
            }
            Err(_) => (Attempt { was_down_before_end: true, ..Attempt::default() }, None),
        };
        if let Some(error) = failed.as_ref().filter(|_| !is_down) {
            self.judge_failed_transaction(number, error)?;
            // An application whose rollback fails as well gives up.
            if !connection.is_autocommit() && connection.execute("ROLLBACK").is_err() {
                self.end_process(number);
            }
        }
        let Ran { effects, shapes } = attempt.ran;
        if failed.is_some() {
            self.running().end = StepEnd::Failed;
        }
        let fate = match end {
            TransactionEnd::Rollback | TransactionEnd::HeldOpen => Fate::Absent,
            TransactionEnd::Commit if attempt.was_down_before_end || !attempt.reached_end => Fate::Absent,
            TransactionEnd::Commit if is_down => Fate::Maybe,
            TransactionEnd::Commit if failed.is_some() => Fate::Doubtful,
            TransactionEnd::Commit => Fate::Committed,
        };
        let fate_in_words = match fate {
            Fate::Absent => "not committed",
            Fate::Maybe | Fate::Doubtful => "perhaps committed",
            Fate::Committed => "committed",
        };
        self.record(Lane::Application(number), "transaction", fate_in_words, &[writes.len() as u64 + 1]);
        if fate == Fate::Committed {
            self.mark_shapes(writer, shapes);
        }
        if !effects.is_empty() {
            self.ledger.enter(Entry::new(writer, effects, fate));
        }
        self.inform_pilot();
        if is_down {
            self.bury(number, true);
        }
        Ok(())
    }

    /// A transaction may fail where a disk error struck.
    pub(super) fn judge_failed_transaction(&mut self, number: u8, error: &Error) -> Result<(), Violation> {
        if matches!(error, Error::Busy { .. }) && self.may_be_busy(number) {
            self.counts.busy += 1;
            return Ok(());
        }
        self.record(Lane::Client(number), "error", &error_chain(error), &[]);
        self.counts.errors_reported += 1;
        atlas::judge(&self.running().struck, Promise::Reported).map_err(|blame| {
            Violation::of(
                NO_SURPRISE,
                format!("client {number}'s transaction {blame}: {}", error_chain(error)),
            )
        })
    }

    pub(super) fn transact_on_remote(&mut self, id: u32, writes: &[Write]) {
        let Ran { effects, shapes } = self
            .remote
            .transact(|connection| run_writes(connection, Writer::Remote, id, writes))
            .expect("another writer's statements are sound");
        self.mark_shapes(Writer::Remote, shapes);
        self.ledger.enter(Entry::new(Writer::Remote, effects, Fate::Committed));
    }
}

/// How far an application's transaction came.
#[derive(Default)]
struct Attempt {
    ran: Ran,
    was_down_before_end: bool,
    reached_end: bool,
}

impl Attempt {
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
