//! The application's connection to the local database.
//!
//! Everything that an application does in SQL, and nothing that breaks what the engine relies on: statements that would are
//! refused with [`Error::StatementRefused`] before anything has run (the module `guard` lists them). Its changes are captured.
//!
//! During a pull's rebase, which no network holds up, a writer finds the database busy: it waits for at most the options'
//! `busy_timeout_ms` and then gets [`Error::Busy`], with nothing done. A transaction that has begun to write makes the pull busy instead.

use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

use turso_core::{Connection, LimboError, Statement, Value};

use crate::database::{self, Capture, Transaction};
use crate::draft::Draft;
use crate::error::{DatabaseContext, Error, Result};
use crate::guard::{self, Allowed};
use crate::poison::Poison;
use crate::schema_statement::SchemaStatement;
use crate::temporary::TemporaryTablesOfOne;

/// A connection to the local database. Clones are the same connection; for work at the same time, ask the engine for another one.
///
/// The calls block for as long as the files take.
#[derive(Clone)]
pub struct LocalConnection {
    connection: Arc<Connection>,
    temporary: TemporaryTablesOfOne,
    file: Arc<str>,
    poison: Poison,
}

impl LocalConnection {
    pub(crate) fn open(draft: &Draft, file: &str, busy_timeout: Duration, poison: Poison) -> Result<Self> {
        let connection = database::connect(&draft.database, Capture::On).while_doing("connecting", file)?;
        if !busy_timeout.is_zero() {
            connection.set_busy_timeout(busy_timeout);
        }
        let temporary = draft.temporary.of_new_connection();
        Ok(Self { connection, temporary, file: file.into(), poison })
    }

    /// Runs the statements of a text, one after the other, and drops their rows. They are no transaction of themselves.
    ///
    /// # Errors
    /// [`Error::StatementRefused`] or a parse error when none has run; otherwise the first failing statement's, and those before it have
    /// run.
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
    /// [`Error::StatementRefused`], [`Error::Busy`], or what the core says about the statement.
    pub fn query(&self, sql: impl AsRef<str>, arguments: &[Value]) -> Result<Vec<Vec<Value>>> {
        self.prepare(sql)?.query(arguments)
    }

    /// Compiles one statement, to be run as often as one likes. It follows changes of the schema.
    ///
    /// # Errors
    /// [`Error::StatementRefused`], also when the text holds more or less than one statement, or what the core says about it.
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

    /// Begins a transaction that is rolled back unless it is committed. Its first read takes the snapshot, its first write the write
    /// lock.
    ///
    /// # Errors
    /// When the connection is in a transaction already.
    pub fn begin(&self) -> Result<LocalTransaction<'_>> {
        self.poison.check()?;
        let transaction =
            Transaction::begin(&self.connection).while_doing("beginning a transaction", &self.file)?;
        Ok(LocalTransaction { transaction, file: &self.file, poison: &self.poison })
    }

    /// Whether no transaction is open on this connection.
    pub fn is_autocommit(&self) -> bool {
        self.connection.get_auto_commit()
    }

    /// The rowid of the row that was inserted last on this connection.
    pub fn last_insert_rowid(&self) -> i64 {
        self.connection.last_insert_rowid()
    }

    /// How long a statement waits for another connection's write lock before it is [`Error::Busy`], in milliseconds.
    pub fn set_busy_timeout_ms(&self, milliseconds: u64) {
        self.connection.set_busy_timeout(Duration::from_millis(milliseconds));
    }
}

const RUNNING: &str = "running a statement";

/// A transaction of an application; rolled back when it is dropped without a commit.
#[must_use = "a transaction that is not committed is rolled back"]
pub struct LocalTransaction<'a> {
    transaction: Transaction<'a>,
    file: &'a str,
    poison: &'a Poison,
}

impl LocalTransaction<'_> {
    /// Commits.
    ///
    /// # Errors
    /// What the core says. After a failed write or sync the transaction may show again after a restart, as with any database.
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
    /// Its connection and its text.
    origin: (LocalConnection, String),
}

impl LocalStatement {
    /// Runs it with positional arguments and returns its rows.
    ///
    /// # Errors
    /// [`Error::Busy`], or what the core says.
    pub fn query(&mut self, arguments: &[Value]) -> Result<Vec<Vec<Value>>> {
        let mut rows = Vec::new();
        self.for_each(arguments, |row| rows.push(row))?;
        Ok(rows)
    }

    /// Runs it with positional arguments and hands over its rows one by one, so that they need not all be in memory.
    ///
    /// # Errors
    /// [`Error::Busy`], or what the core says.
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

    /// The next row of a statement without parameters, `None` after the last one; then it begins again. Between two rows it is a cursor:
    /// its snapshot stays as it is.
    ///
    /// # Errors
    /// [`Error::Busy`], or what the core says.
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

    /// Runs it with positional arguments and returns how many rows it changed.
    ///
    /// # Errors
    /// [`Error::Busy`], or what the core says.
    pub fn execute(&mut self, arguments: &[Value]) -> Result<u64> {
        self.begin(arguments)?;
        let outcome = self.run(Statement::run_ignore_rows);
        let changed = self.statement.n_change();
        let reset = self.reset();
        outcome.and(reset)?;
        Ok(changed.max(0).cast_unsigned())
    }

    /// The names of its result's columns.
    pub fn column_names(&self) -> Vec<String> {
        (0..self.statement.num_columns())
            .map(|index| self.statement.get_column_name(index).into_owned())
            .collect()
    }

    /// The position of a named parameter (`:name`) among the positional arguments, from 0.
    pub fn parameter_index(&self, name: &str) -> Option<usize> {
        self.statement.parameter_index(name).map(|index| index.get() - 1)
    }

    /// Makes it ready to run from its beginning.
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
