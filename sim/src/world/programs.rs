//! Programs: SQL as an application sends it, queries that show what a copy of the database holds, and the
//! contents before and after an operation.

use std::panic::{AssertUnwindSafe, catch_unwind};

use plimsoll_engine::{Error, LocalConnection};
use turso_core::LimboError;

use super::World;
use super::context::StepContext;
use super::operations::{Operation, violation_of_panic};
use super::referee::{Author, Before, Finished};
use super::trace::{Lane, Verb};
use crate::judge::tables::show_row;
use crate::judge::verdict::{AS_EXPECTED, READS, Violation};
use crate::schedule::Copies;
use crate::text::{error_chain, shortened};

impl World {
    /// Runs an application's program, one statement after the other. A statement may fail, unless its error
    /// says that the database is broken.
    pub(super) fn run_program(
        &mut self,
        number: u8,
        sql: &[String],
        context: &mut StepContext,
    ) -> Result<(), Violation> {
        if !self.ensure_open(number, context)? {
            return Ok(());
        }
        let Some(connection) = self.program_connection(number, context)? else { return Ok(()) };
        let disk = self.clients[number].disk.clone();
        for statement in sql {
            let ran = catch_unwind(AssertUnwindSafe(|| connection.execute(statement)));
            self.note_disk_errors(number, context);
            if disk.is_down() {
                self.reap(number, true, context);
                return Ok(());
            }
            match ran {
                Ok(Ok(())) => {
                    self.recorder.counts.statements += 1;
                    self.record(Lane::Application(number), Verb::Statement, statement, &[]);
                }
                Ok(Err(error)) if is_of_statement(&error) => {
                    self.recorder.counts.statements_failed += 1;
                    let failed = format!("{statement}: {}", error_chain(&error));
                    self.record(Lane::Application(number), Verb::Error, &failed, &[]);
                }
                Ok(Err(error)) => self.judge_failed_transaction(number, &error, context)?,
                Err(panic) => return Err(violation_of_panic(number, &*panic)),
            }
            // A statement that has failed may have kept some of its rows.
            if connection.is_autocommit() {
                self.note_local_commit(number);
            }
        }
        Ok(())
    }

    /// The connection on which a client's application runs its programs. It stays open between steps.
    fn program_connection(
        &mut self,
        number: u8,
        context: &mut StepContext,
    ) -> Result<Option<LocalConnection>, Violation> {
        let Some(process) = &mut self.clients[number].process else { return Ok(None) };
        if let Some(connection) = &process.program {
            return Ok(Some(connection.clone()));
        }
        let engine = process.engine.clone();
        let connection = self.application(number, context, || engine.connect())?;
        if let Some(process) = &mut self.clients[number].process {
            process.program.clone_from(&connection);
        }
        Ok(connection)
    }

    /// Rolls back the transaction that a client's program has left open, if there is one.
    pub(super) fn end_program(&mut self, number: u8, context: &mut StepContext) -> Result<(), Violation> {
        let program = self.clients[number].process.as_mut().and_then(|process| process.program.take());
        let Some(connection) = program.filter(|program| !program.is_autocommit()) else { return Ok(()) };
        self.application(number, context, || connection.execute("ROLLBACK")).map(drop)
    }

    /// Runs another writer's program as one transaction of the remote.
    pub(super) fn run_remote_program(&mut self, sql: &[String]) {
        let mut failures = Vec::new();
        let ran = self.server.remote.transact(|connection| {
            for statement in sql {
                if let Err(error) = connection.execute(statement) {
                    failures.push(format!("{statement}: {error}"));
                }
            }
            Ok(())
        });
        self.recorder.counts.statements += (sql.len() - failures.len()) as u64;
        self.recorder.counts.statements_failed += failures.len() as u64;
        for failure in failures.into_iter().chain(ran.err().map(|error| error.to_string())) {
            self.record(Lane::Remote, Verb::Error, &failure, &[]);
        }
    }

    /// Notes the content after a commit of a client's application.
    pub(super) fn note_local_commit(&mut self, number: u8) {
        if self.referee.judges_contents()
            && self.referee.news.has_base(number)
            && let Some(Ok(tables)) = self.clients[number].tables()
        {
            self.referee.news.add_local(number, tables);
        }
    }

    /// The contents before an operation. `None` if they are not judged.
    pub(super) fn contents_before(&mut self, number: u8) -> Option<Before> {
        if !self.referee.judges_contents() {
            return None;
        }
        let client = self.clients[number].tables()?.ok()?;
        let is_up_to_date = self.referee.news.is_up_to_date(number);
        // The process may have restarted after a commit whose end it has not seen.
        self.referee.news.add_local(number, client.clone());
        Some(Before { client, remote: self.server.tables(), is_up_to_date })
    }

    /// Judges what an operation has done to contents. `conflicts` is the number that it has reported, if it
    /// has succeeded.
    pub(super) fn judge_contents(
        &mut self,
        number: u8,
        operation: Operation,
        before: Option<&Before>,
        conflicts: Option<u64>,
        context: &StepContext,
    ) -> Result<(), Violation> {
        if !self.referee.judges_contents() {
            return Ok(());
        }
        self.note_change(Author::Client(number));
        let client = &self.clients[number];
        let is_poisoned = client.process.as_ref().is_none_or(|process| process.engine.is_poisoned());
        let after = client.tables().filter(|_| !is_poisoned && context.inside.is_empty());
        let (Some(before), Some(after)) = (before, after) else {
            self.referee.news.forget(number);
            return Ok(());
        };
        let after = after.map_err(|error| Violation::of(READS, error_chain(&error)))?;
        let has_succeeded = conflicts.is_some();
        let conflicts = conflicts.unwrap_or_default();
        let finished = Finished { operation, has_succeeded, conflicts, before, after: &after };
        let remote = self.server.tables();
        if before.is_up_to_date && self.referee.news.is_up_to_date(number) {
            self.referee.judge_unchanged(client, &remote, &finished)?;
        }
        let is_at_end = client.claims().is_some_and(|claims| claims.progress() == self.server.position());
        let is_whole = has_succeeded && (operation == Operation::Push || is_at_end);
        if is_whole {
            self.referee.judge_merged(client, &remote, &finished)?;
        }
        match operation {
            _ if !is_whole => self.referee.news.forget_base(number),
            Operation::Push => self.referee.news.begin(number, after),
            Operation::Sync => self.referee.news.begin(number, remote),
            // What has not been pushed yet goes on.
            Operation::Pull | Operation::Open => {}
        }
        if is_whole && operation != Operation::Push {
            self.referee.news.catch_up(number);
        }
        Ok(())
    }

    /// Runs a query on some copies, records its rows, and compares them with the expected ones.
    ///
    /// # Errors
    /// [`AS_EXPECTED`] with both.
    pub(super) fn show(&mut self, on: Copies, sql: &str, expect: Option<&[String]>) -> Result<(), Violation> {
        let mut shown = Vec::new();
        if !matches!(on, Copies::Client(_)) {
            let rows = self.server.remote.try_query(sql).map_err(|error| error.to_string());
            shown.push((Lane::Remote, "the remote".to_owned(), rows));
        }
        for number in self.clients.numbers() {
            let is_asked = match on {
                Copies::Client(client) => client == number,
                Copies::Remote => false,
                Copies::All => true,
            };
            let client = &self.clients[number];
            if let Some(process) = client.process.as_ref().filter(|_| is_asked) {
                // What an open transaction has done is visible to its own connection.
                let connection = process.program.as_ref().unwrap_or(&process.connection);
                client.disk.suspend_errors(true);
                let rows = connection.query(sql, &[]).map_err(|error| error_chain(&error));
                client.disk.suspend_errors(false);
                shown.push((Lane::Application(number), format!("client {number}"), rows));
            }
        }
        for (lane, owner, rows) in shown {
            let rows: Vec<String> = match rows {
                Ok(rows) => rows.iter().map(|row| show_row(row)).collect(),
                Err(error) => vec![format!("error: {error}")],
            };
            for row in &rows {
                self.record(lane, Verb::Row, row, &[]);
            }
            if let Some(expected) = expect
                && expected != rows
            {
                let message = format!(
                    "{owner} shows {} for {sql}, but expected is {}",
                    in_words(&rows),
                    in_words(expected)
                );
                return Err(Violation::of(AS_EXPECTED, message));
            }
        }
        Ok(())
    }

    /// Lets all open clients sync until nothing moves, compares all open copies, and checks that they are
    /// intact.
    ///
    /// # Errors
    /// The first difference, or the complaint of `PRAGMA integrity_check`.
    pub(super) fn compare(&mut self, context: &mut StepContext) -> Result<(), Violation> {
        let is_open = |number: &u8| self.clients[*number].process.is_some();
        let open: Vec<u8> = self.clients.numbers().filter(is_open).collect();
        self.settle_clients(&open, context)?;
        self.referee.judge_integrity(&self.clients, &self.server)?;
        self.referee.judge_equal(&self.clients, &self.server)
    }
}

/// Whether a statement's error is the application's own affair: SQL that the schema or the data do not allow,
/// or that the engine refuses. Other errors say that a file failed or that the database is broken.
fn is_of_statement(error: &Error) -> bool {
    match error {
        Error::StatementRefused { .. } => true,
        Error::Database { source, .. } => !matches!(
            source,
            LimboError::Corrupt(_)
                | LimboError::NotADB
                | LimboError::InternalError(_)
                | LimboError::CompletionError(_)
        ),
        _ => false,
    }
}

/// Rows on one line, each shortened if it is long.
fn in_words(rows: &[String]) -> String {
    const SHOWN_CHARS: usize = 200;
    if rows.is_empty() {
        return "no rows".to_owned();
    }
    let shown: Vec<String> = rows.iter().map(|row| shortened(row, SHOWN_CHARS)).collect();
    shown.join("; ")
}
