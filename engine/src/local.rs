//! The application's connection to the local database.
//!
//! It runs all SQL except statements that would break the sync. Those are refused with
//! [`Error::StatementRefused`] before any statement has run (the module `guard` lists them). The connection's
//! changes are captured.
//!
//! During a pull's rebase, which does not wait for the network, a writer finds the database busy. It waits
//! for at most `busy_timeout_ms` of the options and then fails with [`Error::Busy`], without any effect. If
//! the application's transaction has written first, the pull fails with `Busy` instead.

use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

use turso_core::{Connection, LimboError, Statement, Value};

use crate::database::{self, Capture, Transaction};
use crate::draft::Draft;
use crate::engine_file::EngineFile;
use crate::error::{DatabaseContext, Error, Result};
use crate::guard::{self, Allowed};
use crate::poison::Poison;
use crate::schema_statement::SchemaStatement;
use crate::storage::LockGuard;
use crate::temporary::TemporaryTablesOfOne;

/// A connection to the local database. Clones share one connection; for concurrent work, open another one
/// with the engine.
///
/// The calls block while they access files.
#[derive(Clone)]
pub struct LocalConnection {
    connection: Arc<Connection>,
    temporary: TemporaryTablesOfOne,
    file: EngineFile,
    poison: Poison,
    /// Keeps other engines out as long as this connection can write.
    _lock: Arc<LockGuard>,
}

impl LocalConnection {
    pub(crate) fn open(
        draft: &Draft,
        file: &EngineFile,
        busy_timeout: Duration,
        poison: Poison,
        lock: Arc<LockGuard>,
    ) -> Result<Self> {
        let connection = database::connect(&draft.database, Capture::On).while_doing("connecting", file)?;
        if !busy_timeout.is_zero() {
            connection.set_busy_timeout(busy_timeout);
        }
        let temporary = draft.temporary.of_new_connection();
        Ok(Self { connection, temporary, file: file.clone(), poison, _lock: lock })
    }

    /// Runs the statements of a text in order and discards their rows. The text does not form a transaction.
    ///
    /// # Errors
    /// [`Error::StatementRefused`] or a parse error if no statement has run. Otherwise the error of the first
    /// failing statement; the statements before it have run.
    pub fn execute(&self, sql: impl AsRef<str>) -> Result<()> {
        self.poison.check()?;
        let sql = sql.as_ref();
        let statements = guard::check(&self.file, sql)?;
        let outcome = if statements.iter().all(|statement| statement.care.is_none()) {
            self.connection.execute(sql).while_doing(RUNNING, &self.file)
        } else {
            statements.iter().try_for_each(|statement| self.execute_one(statement))
        };
        if !self.temporary.is_empty() {
            self.temporary.refresh(&self.connection).while_doing(RUNNING, &self.file)?;
        }
        outcome
    }

    fn execute_one(&self, statement: &Allowed<'_>) -> Result<()> {
        let run = || self.connection.execute(statement.sql);
        match &statement.care {
            None => run().while_doing(RUNNING, &self.file),
            Some(care) => {
                care.run(&self.connection, &self.temporary, (statement.sql, RUNNING, &self.file), run)
            }
        }
    }

    /// Runs one statement with positional arguments and returns its rows.
    ///
    /// # Errors
    /// [`Error::StatementRefused`], [`Error::Busy`], or the core's error for the statement.
    pub fn query(&self, sql: impl AsRef<str>, arguments: &[Value]) -> Result<Vec<Vec<Value>>> {
        self.prepare(sql)?.query(arguments)
    }

    /// Compiles one statement, which can run any number of times. It adapts to schema changes.
    ///
    /// # Errors
    /// [`Error::StatementRefused`], also if the text does not hold exactly one statement, or the core's error
    /// for it.
    pub fn prepare(&self, sql: impl AsRef<str>) -> Result<LocalStatement> {
        self.poison.check()?;
        let sql = sql.as_ref();
        let statements = guard::check(&self.file, sql)?;
        let Ok([Allowed { care, is_answered_when_compiled, .. }]) = <[Allowed<'_>; 1]>::try_from(statements)
        else {
            return Err(Error::StatementRefused {
                statement: sql.trim().to_owned(),
                reason: "exactly one statement can be prepared",
            });
        };
        let statement = self.compile(sql)?;
        let sql = sql.to_owned();
        Ok(LocalStatement {
            statement,
            care,
            is_to_be_compiled_anew: is_answered_when_compiled,
            is_between_rows: false,
            origin: (self.clone(), sql),
        })
    }

    fn compile(&self, sql: &str) -> Result<Statement> {
        self.connection.prepare(sql).while_doing("preparing a statement", &self.file)
    }

    /// Begins a transaction that rolls back unless it is committed. Its first read takes the snapshot, and
    /// its first write takes the write lock.
    ///
    /// # Errors
    /// Fails if the connection is already in a transaction.
    pub fn begin(&self) -> Result<LocalTransaction<'_>> {
        self.poison.check()?;
        let transaction =
            Transaction::begin(&self.connection).while_doing("beginning a transaction", &self.file)?;
        Ok(LocalTransaction { transaction, file: &self.file, poison: &self.poison })
    }

    /// Returns whether no transaction is open on this connection.
    pub fn is_autocommit(&self) -> bool {
        self.connection.get_auto_commit()
    }

    /// Returns the rowid of the last row that this connection inserted.
    pub fn last_insert_rowid(&self) -> i64 {
        self.connection.last_insert_rowid()
    }

    /// Sets how long a statement waits for another connection's write lock before it fails with
    /// [`Error::Busy`], in milliseconds.
    pub fn set_busy_timeout_ms(&self, milliseconds: u64) {
        self.connection.set_busy_timeout(Duration::from_millis(milliseconds));
    }
}

const RUNNING: &str = "running a statement";

/// A transaction of an application. Rolls back when it is dropped without a commit.
#[must_use = "a transaction that is not committed is rolled back"]
pub struct LocalTransaction<'a> {
    transaction: Transaction<'a>,
    file: &'a EngineFile,
    poison: &'a Poison,
}

impl LocalTransaction<'_> {
    /// Commits the transaction.
    ///
    /// # Errors
    /// The core's error. After a failed write or sync the transaction may be visible after a restart, as with
    /// any SQLite database.
    pub fn commit(self) -> Result<()> {
        self.poison.check()?;
        self.transaction.commit().while_doing("committing", self.file)
    }
}

/// A compiled statement.
pub struct LocalStatement {
    statement: Statement,
    care: Option<SchemaStatement>,
    is_to_be_compiled_anew: bool,
    is_between_rows: bool,
    /// The connection and the text of the statement.
    origin: (LocalConnection, String),
}

impl LocalStatement {
    /// Runs the statement with positional arguments and returns its rows.
    ///
    /// # Errors
    /// [`Error::Busy`], or the core's error.
    pub fn query(&mut self, arguments: &[Value]) -> Result<Vec<Vec<Value>>> {
        let mut rows = Vec::new();
        self.for_each(arguments, |row| rows.push(row))?;
        Ok(rows)
    }

    /// Runs the statement with positional arguments and passes its rows to the callback one by one, so that
    /// they need not all fit in memory.
    ///
    /// # Errors
    /// [`Error::Busy`], or the core's error.
    pub fn for_each(&mut self, arguments: &[Value], mut row: impl FnMut(Vec<Value>)) -> Result<()> {
        self.begin(arguments)?;
        let outcome = self.run(|statement| {
            statement.run_with_row_callback(|values| {
                row(values.get_values().cloned().collect());
                Ok(())
            })
        });
        let reset = self.reset();
        outcome.and(reset)
    }

    /// Returns the next row of a statement without parameters. After the last row it returns `None`, and the
    /// statement starts over. Between two rows the statement is a cursor with a fixed snapshot.
    ///
    /// # Errors
    /// [`Error::Busy`], or the core's error.
    pub fn next_row(&mut self) -> Result<Option<Vec<Value>>> {
        if !self.is_between_rows {
            self.begin(&[])?;
        }
        let row = self.run(|statement| {
            let row = statement.run_one_step_blocking(|| Ok(()), || Ok(()))?;
            Ok(row.map(|row| row.get_values().cloned().collect()))
        })?;
        self.is_between_rows = row.is_some();
        if row.is_none() {
            self.reset()?;
        }
        Ok(row)
    }

    /// Runs the statement with positional arguments and returns the number of changed rows.
    ///
    /// # Errors
    /// [`Error::Busy`], or the core's error.
    pub fn execute(&mut self, arguments: &[Value]) -> Result<u64> {
        self.begin(arguments)?;
        let outcome = self.run(Statement::run_ignore_rows);
        let changed = self.statement.n_change();
        let reset = self.reset();
        outcome.and(reset)?;
        Ok(changed.max(0).cast_unsigned())
    }

    /// Returns the names of the result's columns.
    pub fn column_names(&self) -> Vec<String> {
        (0..self.statement.num_columns())
            .map(|index| self.statement.get_column_name(index).into_owned())
            .collect()
    }

    /// Returns the position of a named parameter (`:name`) among the positional arguments, from 0.
    pub fn parameter_index(&self, name: &str) -> Option<usize> {
        self.statement.parameter_index(name).map(|index| index.get() - 1)
    }

    /// Resets the statement to its start.
    fn begin(&mut self, arguments: &[Value]) -> Result<()> {
        let (connection, sql) = &self.origin;
        connection.poison.check()?;
        if self.is_to_be_compiled_anew {
            self.statement = connection.compile(sql)?;
        }
        self.is_between_rows = false;
        self.bind_all(arguments).while_doing(RUNNING, &self.origin.0.file)
    }

    fn run<T>(&mut self, run: impl FnOnce(&mut Statement) -> turso_core::Result<T>) -> Result<T> {
        let (LocalConnection { connection, temporary, file, .. }, sql) = &self.origin;
        let run = || run(&mut self.statement);
        match &self.care {
            None => run().while_doing(RUNNING, file),
            Some(care) => care.run(connection, temporary, (sql, RUNNING, file), run),
        }
    }

    fn reset(&mut self) -> Result<()> {
        self.statement.reset().while_doing(RUNNING, &self.origin.0.file)
    }

    fn bind_all(&mut self, arguments: &[Value]) -> turso_core::Result<()> {
        let expected = self.statement.parameters_count();
        if arguments.len() != expected {
            let problem = format!("{} arguments for {expected} parameters", arguments.len());
            return Err(LimboError::InvalidArgument(problem));
        }
        for (index, value) in (1..).zip(arguments) {
            let index =
                NonZero::new(index).ok_or_else(|| LimboError::InvalidArgument("parameter 0".into()))?;
            self.statement.bind_at(index, value.clone())?;
        }
        Ok(())
    }
}
