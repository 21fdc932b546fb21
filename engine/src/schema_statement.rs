//! An application's statements that change the schema: what is checked before one runs and written down after it, in one transaction.
//!
//! Outside a transaction such a statement becomes one; inside one, the transaction is rolled back when what the statement has done cannot be
//! written down.

use std::sync::Arc;

use turso_core::{Connection, LimboError};
use turso_parser::ast::{AlterTableBody, QualifiedName, Stmt};

use crate::database::{self, Transaction};
use crate::error::{DatabaseContext, Error, Result};
use crate::tape::{self, SchemaNow};
use crate::temporary::TemporaryTablesOfOne;

const HIDES: &str =
    "a temporary table of the name of one in the database: the change log could not tell their rows apart";
const HIDDEN: &str =
    "a connection has a temporary table of this name: the change log could not tell their rows apart";
const RENAMES_TEMPORARY: &str = "the change log does not record that a temporary table got another name";

/// A statement that takes care.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SchemaStatement {
    naming: Naming,
    /// Whether the core may leave something of what it does out of the change log.
    is_to_be_noted: bool,
}

/// What it does to names of tables and views.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Naming {
    Nothing,
    /// Makes a temporary table.
    Temporary(String),
    /// Makes a table or view of the database.
    Lasting(String),
    Renames {
        from: String,
        to: String,
    },
}

impl SchemaStatement {
    /// `None` for a statement that needs no care.
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

    /// Runs it; `sql` is its text, for the error.
    pub(crate) fn run<T>(
        &self,
        connection: &Arc<Connection>,
        temporary: &TemporaryTablesOfOne,
        (sql, action, file): (&str, &'static str, &str),
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
        // The write lock comes first: a look at the schema would take a snapshot that another writer can outrun.
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

/// Why a statement did not run.
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
                if database::has_rows_source(connection, name)? {
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
