//! Applications beyond single transactions: a transaction that is held open across steps, and readers that
//! keep an old snapshot.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use plimsoll_engine::{Error, LocalConnection, LocalStatement};

use super::World;
use super::client::read_content;
use super::context::StepContext;
use super::operations::violation_of_panic;
use super::writes::run_writes;
use crate::judge::ledger::{CommitState, Content, Entry, EntryNo};
use crate::judge::verdict::{READS, Violation};
use crate::schedule::TransactionEnd;
use crate::schedule::workload::{LOG, Write, Writer};

/// An open transaction that has written. It holds the database's write lock.
pub struct Held {
    connection: LocalConnection,
    /// Its entry in the ledger.
    entry: EntryNo,
}

/// An open read transaction, with a cursor in the middle of a table.
pub struct Reader {
    connection: LocalConnection,
    /// The rows that the reader saw first. It must see the same rows until its end.
    content: Content,
    cursor: LocalStatement,
    /// The rows of `log` that the cursor has returned.
    passed: Vec<String>,
}

impl Reader {
    fn begin(connection: LocalConnection) -> Result<Self, Error> {
        connection.execute("BEGIN")?;
        let content = read_content(|sql| connection.query(sql, &[]))?;
        let cursor = connection.prepare(LOG)?;
        let mut reader = Self { connection, content, cursor, passed: Vec::new() };
        reader.pass_one()?;
        Ok(reader)
    }

    fn pass_one(&mut self) -> Result<bool, Error> {
        let token = self.cursor.next_row()?.map(|row| row[0].to_string());
        let is_row = token.is_some();
        self.passed.extend(token);
        Ok(is_row)
    }

    /// Ends the transaction. Returns the difference between the first rows and the rows that the snapshot
    /// shows now, directly or through the cursor; `None` if there is none.
    fn end(mut self) -> Result<Option<String>, Error> {
        while self.pass_one()? {}
        let again = read_content(|sql| self.connection.query(sql, &[]))?;
        drop(self.cursor);
        self.connection.execute("COMMIT")?;
        let through_cursor = Content { log: self.passed, rows: self.content.rows.clone() };
        let difference = |seen: &Content| seen.difference(&self.content, &BTreeSet::new());
        Ok(difference(&again).or_else(|| difference(&through_cursor)))
    }
}

impl World {
    /// Starts a transaction that stays open after its step.
    pub(super) fn hold_open(
        &mut self,
        number: u8,
        writes: &[Write],
        context: &mut StepContext,
    ) -> Result<(), Violation> {
        let writer = Writer::Client(number);
        let Some(process) = self.clients[number].process.as_ref().filter(|process| process.held.is_none())
        else {
            return Ok(());
        };
        let engine = process.engine.clone();
        let id = context.id;
        let attempt = self.application(number, context, || {
            let connection = engine.connect()?;
            connection.execute("BEGIN")?;
            let ran = run_writes(&connection, writer, id, writes);
            if ran.is_err() {
                connection.execute("ROLLBACK")?;
            }
            Ok((connection, ran?.effects))
        })?;
        if let Some((connection, effects)) = attempt {
            let entry = self.referee.ledger.enter(Entry::new(writer, effects, CommitState::Absent));
            self.recorder.counts.held_open += 1;
            if let Some(process) = &mut self.clients[number].process {
                process.held = Some(Held { connection, entry });
            }
        }
        Ok(())
    }

    /// Ends the client's held-open transaction, if there is one.
    pub(super) fn end_held(
        &mut self,
        number: u8,
        end: TransactionEnd,
        context: &mut StepContext,
    ) -> Result<(), Violation> {
        let process = self.clients[number].process.as_mut();
        let Some(Held { connection, entry }) = process.and_then(|process| process.held.take()) else {
            return Ok(());
        };
        let sql = if end == TransactionEnd::Commit { "COMMIT" } else { "ROLLBACK" };
        let crashes_before = self.clients[number].crashes;
        let done = self.application(number, context, || connection.execute(sql))?;
        if end == TransactionEnd::Commit {
            let commit_state = match done {
                Some(()) => CommitState::Committed,
                None if self.clients[number].crashes != crashes_before => CommitState::Maybe,
                None => CommitState::Doubtful,
            };
            self.referee.ledger.resolve(entry, commit_state);
            self.note_local_commit(number);
        }
        Ok(())
    }

    /// Opens a reader that stays open after its step.
    pub(super) fn open_reader(&mut self, number: u8, context: &mut StepContext) -> Result<(), Violation> {
        let Some(process) = self.clients[number].process.as_ref().filter(|process| process.reader.is_none())
        else {
            return Ok(());
        };
        let engine = process.engine.clone();
        let reader = self.application(number, context, || Reader::begin(engine.connect()?))?;
        self.recorder.counts.readers_held += u64::from(reader.is_some());
        if let Some(process) = &mut self.clients[number].process {
            process.reader = reader;
        }
        Ok(())
    }

    /// Closes the client's reader, if there is one, and checks that the reader's snapshot has not changed.
    pub(super) fn close_reader(&mut self, number: u8, context: &mut StepContext) -> Result<(), Violation> {
        let process = self.clients[number].process.as_mut();
        let Some(reader) = process.and_then(|process| process.reader.take()) else { return Ok(()) };
        match self.application(number, context, || reader.end())?.flatten() {
            None => Ok(()),
            Some(difference) => Err(Violation::of(
                READS,
                format!("the snapshot of client {number}'s read transaction changed: {difference}"),
            )),
        }
    }

    /// Runs `work` on connections of a client's application. Returns `None` if it could not be done: the
    /// machine crashed, its disk failed, or another writer held the lock.
    pub(super) fn application<T>(
        &mut self,
        number: u8,
        context: &mut StepContext,
        work: impl FnOnce() -> Result<T, Error>,
    ) -> Result<Option<T>, Violation> {
        let disk = self.clients[number].disk.clone();
        let attempt = catch_unwind(AssertUnwindSafe(work));
        self.note_disk_errors(number, context);
        if disk.is_down() {
            self.reap(number, true, context);
            return Ok(None);
        }
        match attempt {
            Ok(Ok(done)) => Ok(Some(done)),
            Ok(Err(error)) => self.judge_failed_transaction(number, &error, context).map(|()| None),
            Err(panic) => Err(violation_of_panic(number, &*panic)),
        }
    }
}
