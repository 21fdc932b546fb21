//! Conflicts between local and remote changes, for the application.
//!
//! A conflict is a report, not an error. The conflict policy (see [`crate`]'s documentation) has already
//! resolved it, in the same way on every client, and no client is blocked. A report lists the first conflicts
//! and counts all.

use std::fmt;

use turso_core::Value;

/// The number of conflicts that a report lists; further ones are only counted.
pub const CONFLICTS_LISTED_MAX: usize = 100;

/// A place where a local change did not find the state that it was made on.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Conflict {
    /// The number of the local transaction.
    pub transaction_no: u64,
    /// The local name of the table, view or trigger.
    pub table: String,
    /// The row's key as column names with values; all its values if the table has no key; empty if the
    /// conflict concerns no row.
    pub row: Vec<(String, Value)>,
    /// The kind of conflict, and its resolution.
    pub kind: ConflictKind,
}

/// The remote state that a local change found, and the resolution.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConflictKind {
    /// The remote had changed the row. Columns that the local change sets get the local values, other columns
    /// keep the remote's values. A local delete deletes the row.
    RowChanged,
    /// The remote had deleted the row that an update changes. The row was inserted again.
    RowGone,
    /// Another row had the same key. The local row replaced it.
    RowExists,
    /// Another row held a value that must be unique. The local row replaced it.
    UniqueTaken {
        /// The unique columns.
        columns: Vec<String>,
    },
    /// The column no longer exists. Its value was skipped.
    ColumnGone {
        /// The local name of the column.
        column: String,
    },
    /// The table no longer exists. The change was skipped.
    TableGone,
    /// Another object has the same name and a different definition. A table or an index keeps the remote's
    /// definition; a view or a trigger was replaced.
    OtherDefinition,
    /// The remote's schema or its other rows do not allow the statement. It was skipped.
    Refused {
        /// The statement.
        sql: String,
        /// The reason.
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
    /// The first [`CONFLICTS_LISTED_MAX`] conflicts.
    pub listed: Vec<Conflict>,
    /// The number of all conflicts.
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

    /// Appends the conflicts of a later part of the operation.
    pub(crate) fn append(&mut self, later: Self) {
        self.total += later.total;
        let room = CONFLICTS_LISTED_MAX - self.listed.len();
        self.listed.extend(later.listed.into_iter().take(room));
    }
}
