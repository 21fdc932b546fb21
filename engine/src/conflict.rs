//! Conflicts: where a local change met a remote one, for the application.
//!
//! A conflict is an account, not an error: the policy (see [`crate`]'s documentation) has decided it already, the same way on every
//! client, and nobody is stuck. A report names the first few and counts all.

use std::fmt;

use turso_core::Value;

/// How many conflicts a report names; the others are only counted.
pub const CONFLICTS_LISTED_MAX: usize = 100;

/// A place where a local change did not find what it was made on.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Conflict {
    /// The number of the local transaction.
    pub transaction_no: u64,
    /// The table, or the view or trigger, by its local name.
    pub table: String,
    /// The row's key, or all its values where the table has none; column names with values. Empty where no row is meant.
    pub row: Vec<(String, Value)>,
    /// What was found, and what became of it.
    pub kind: ConflictKind,
}

/// What a local change found on the remote, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConflictKind {
    /// The row had been changed: the columns that were set here are set, those that were not keep the remote's values; a
    /// deletion stands.
    RowChanged,
    /// The row that an update was meant for had been deleted: it was inserted again.
    RowGone,
    /// There was another row under the key: the local one has replaced it.
    RowExists,
    /// Another row held a value that has to be unique: the local row has replaced it.
    UniqueTaken {
        /// The columns.
        columns: Vec<String>,
    },
    /// The column is not there any more: the value was left out.
    ColumnGone {
        /// The column, by its local name.
        column: String,
    },
    /// The table is not there any more: the change was left out.
    TableGone,
    /// There is another object of that name with another definition: a table or an index stays as the remote has it, a view or
    /// a trigger was replaced.
    OtherDefinition,
    /// The remote's schema or its other rows do not allow the statement: it was left out.
    Refused {
        /// The statement.
        sql: String,
        /// Why not.
        message: String,
    },
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "transaction {}, {}", self.transaction_no, self.table)?;
        for (column, value) in &self.row {
            write!(f, " {column}={value}")?;
        }
        match &self.kind {
            ConflictKind::RowChanged => write!(f, ": the remote had changed the row"),
            ConflictKind::RowGone => write!(f, ": the remote had deleted the row, it was inserted again"),
            ConflictKind::RowExists => write!(f, ": replaced the remote's row with the same key"),
            ConflictKind::UniqueTaken { columns } => {
                write!(f, ": replaced the remote's row with the same {}", columns.join(", "))
            }
            ConflictKind::ColumnGone { column } => {
                write!(f, ": the remote has no column {column}, its value was left out")
            }
            ConflictKind::TableGone => write!(f, ": the remote has no such table, the change was left out"),
            ConflictKind::OtherDefinition => write!(f, ": the remote had defined it otherwise"),
            ConflictKind::Refused { sql, message } => write!(f, ": left out `{sql}`: {message}"),
        }
    }
}

/// The conflicts of one operation.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Conflicts {
    /// The first [`CONFLICTS_LISTED_MAX`].
    pub listed: Vec<Conflict>,
    /// How many there were.
    pub total: u64,
}

impl Conflicts {
    pub(crate) fn add(&mut self, conflict: Conflict) {
        tracing::info!(%conflict, "conflict");
        self.total += 1;
        if self.listed.len() < CONFLICTS_LISTED_MAX {
            self.listed.push(conflict);
        }
    }

    /// Appends those of a later part of the operation.
    pub(crate) fn append(&mut self, later: Self) {
        self.total += later.total;
        let room = CONFLICTS_LISTED_MAX - self.listed.len();
        self.listed.extend(later.listed.into_iter().take(room));
    }
}
