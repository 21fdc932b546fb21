//! Schema changes of an application: the checks before such a statement runs, and the record that is written
//! after it, in one transaction.
//!
//! Outside a transaction, the statement gets its own transaction. Inside one, the transaction is rolled back
//! if the statement's effect cannot be recorded.

use std::sync::Arc;

use turso_core::{Connection, LimboError};
use turso_parser::ast::{AlterTableBody, QualifiedName, Stmt};

use crate::database::{self, Transaction};
use crate::engine_file::EngineFile;
use crate::error::{DatabaseContext, Error, Result};
use crate::tape::{self, SchemaNow};
use crate::temporary::TemporaryTablesOfOne;

const HIDES: &str =
    "the database has a table of this name, and the change log does not distinguish their rows";
const HIDDEN: &str =
    "a connection has a temporary table of this name, and the change log does not distinguish their rows";
const RENAMES_TEMPORARY: &str = "the change log does not record the renaming of a temporary table";

/// A statement that needs extra steps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SchemaStatement {
    naming: Naming,
    /// Whether the core may omit part of the effect from the change log.
    is_to_be_noted: bool,
}

/// The effect on names of tables and views.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Naming {
    Nothing,
    /// The statement creates a temporary table.
    Temporary(String),
    /// The statement creates a table or view of the database.
    Lasting(String),
    Renames {
        from: String,
        to: String,
    },
}

impl SchemaStatement {
    /// Returns `None` for a statement that needs no extra steps.
    pub(crate) fn of(stmt: &Stmt) -> Option<Self> {
        let naming = naming(stmt);
        let is_to_be_noted = match stmt {
            Stmt::CreateView { .. }
            | Stmt::CreateTrigger { .. }
            | Stmt::DropView { .. }
            | Stmt::DropTrigger { .. } => true,
            Stmt::AlterTable(alter) => !matches!(alter.body, AlterTableBody::AddColumn(_)),
            _ => false,
        };
        (is_to_be_noted || naming != Naming::Nothing).then_some(Self { naming, is_to_be_noted })
    }

    /// Runs the statement. `sql` is its text, for the error.
    pub(crate) fn run<T>(
        &self,
        connection: &Arc<Connection>,
        temporary: &TemporaryTablesOfOne,
        (sql, action, file): (&str, &'static str, &EngineFile),
        run: impl FnOnce() -> turso_core::Result<T>,
    ) -> Result<T> {
        let outcome = if connection.get_auto_commit() {
            Transaction::begin(connection).map_err(Stop::from).and_then(|transaction| {
                let done = self.run_locked(connection, temporary, run)?;
                transaction.commit()?;
                Ok(done)
            })
        } else {
            self.run_locked(connection, temporary, run)
        };
        if !temporary.is_empty() {
            temporary.refresh(connection).while_doing(action, file)?;
        }
        match outcome {
            Ok(done) => Ok(done),
            Err(Stop::Core(error)) => Err(error).while_doing(action, file),
            Err(Stop::Refused(reason)) => {
                Err(Error::StatementRefused { statement: sql.trim().to_owned(), reason })
            }
        }
    }

    fn run_locked<T>(
        &self,
        connection: &Arc<Connection>,
        temporary: &TemporaryTablesOfOne,
        run: impl FnOnce() -> turso_core::Result<T>,
    ) -> std::result::Result<T, Stop> {
        // Take the write lock first: reading the schema first would take a snapshot, and another writer could
        // commit after it.
        connection.execute(tape::take_write_lock())?;
        self.naming.check(connection, temporary)?;
        if !self.is_to_be_noted {
            return Ok(run()?);
        }
        let before = SchemaNow::read(connection)?;
        let done = run()?;
        let noted = before.note_difference(connection);
        if noted.is_err()
            && !connection.get_auto_commit()
            && let Err(error) = connection.execute("ROLLBACK")
        {
            tracing::warn!(%error, "could not roll back");
        }
        noted?;
        Ok(done)
    }
}

/// The reason why a statement did not run.
enum Stop {
    Core(LimboError),
    Refused(&'static str),
}

impl From<LimboError> for Stop {
    fn from(error: LimboError) -> Self {
        Self::Core(error)
    }
}

impl Naming {
    fn check(
        &self,
        connection: &Arc<Connection>,
        temporary: &TemporaryTablesOfOne,
    ) -> std::result::Result<(), Stop> {
        match self {
            Self::Nothing => {}
            Self::Temporary(name) => {
                if database::has_table_or_view(connection, name)? {
                    return Err(Stop::Refused(HIDES));
                }
                temporary.expect(name);
            }
            Self::Lasting(name) if temporary.all().has(name) => return Err(Stop::Refused(HIDDEN)),
            Self::Renames { from, .. } if temporary.has(from) => {
                return Err(Stop::Refused(RENAMES_TEMPORARY));
            }
            Self::Renames { to, .. } if temporary.all().has(to) => return Err(Stop::Refused(HIDDEN)),
            Self::Lasting(_) | Self::Renames { .. } => {}
        }
        Ok(())
    }
}

fn naming(stmt: &Stmt) -> Naming {
    let text = |name: &QualifiedName| name.name.as_str().to_owned();
    let is_temporary = |flag: bool, name: &QualifiedName| {
        flag || name.db_name.as_ref().is_some_and(|schema| schema.as_str().eq_ignore_ascii_case("temp"))
    };
    match stmt {
        Stmt::CreateTable { temporary, tbl_name, .. } if is_temporary(*temporary, tbl_name) => {
            Naming::Temporary(text(tbl_name))
        }
        Stmt::CreateTable { tbl_name, .. } => Naming::Lasting(text(tbl_name)),
        Stmt::CreateView { temporary, view_name, .. } if !is_temporary(*temporary, view_name) => {
            Naming::Lasting(text(view_name))
        }
        Stmt::AlterTable(alter) => match &alter.body {
            AlterTableBody::RenameTo(to) => {
                Naming::Renames { from: text(&alter.name), to: to.as_str().to_owned() }
            }
            _ => Naming::Nothing,
        },
        _ => Naming::Nothing,
    }
}
