//! The changes in a local transaction.

use std::sync::Arc;

use turso_core::Value;

use super::record::{Images, corrupt};
use super::schema::Table;
use super::statements::Statement;

/// A table that exists only in Draft. Its captured rows record the schema changes that the core does not
/// record.
pub(crate) const SCHEMA_CHANGE_TABLE: &str = "plimsoll_schema_change";

/// One change of a local transaction.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    Row(RowChange),
    Schema(SchemaChange),
}

/// A change of one row.
#[derive(Debug, Clone)]
pub(crate) struct RowChange {
    /// The table at the time of the change.
    pub(super) table: Arc<Table>,
    pub(super) rowid: i64,
    pub(super) images: Images,
}

/// A schema change, with the names of the client that made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SchemaChange {
    CreateTable {
        name: String,
        sql: String,
    },
    DropTable {
        name: String,
    },
    CreateIndex {
        name: String,
        table: String,
        sql: String,
    },
    DropIndex {
        name: String,
    },
    AddColumn {
        table: String,
        column: String,
        sql: String,
    },
    DropColumn {
        table: String,
        column: String,
    },
    /// Any other table statement that the core has recorded. It is run unchanged.
    Other {
        table: String,
        sql: String,
    },
    RenameTable {
        from: String,
        to: String,
    },
    RenameColumn {
        table: String,
        from: String,
        to: String,
    },
    /// A new definition of a column, whose name stays the same.
    RedefineColumn {
        table: String,
        column: String,
        definition: String,
    },
    CreateView {
        name: String,
        sql: String,
    },
    DropView {
        name: String,
    },
    CreateTrigger {
        name: String,
        table: String,
        sql: String,
    },
    DropTrigger {
        name: String,
    },
}

impl SchemaChange {
    /// Returns the statement that records the change as a row, if the core does not record the change itself.
    pub(crate) fn note(&self) -> Option<Statement> {
        let (kind, subject, object, text) = match self {
            Self::RenameTable { from, to } => ("rename table", from, to.as_str(), ""),
            Self::RenameColumn { table, from, to } => ("rename column", table, from.as_str(), to.as_str()),
            Self::RedefineColumn { table, column, definition } => {
                ("redefine column", table, column.as_str(), definition.as_str())
            }
            Self::CreateView { name, sql } => ("create view", name, "", sql.as_str()),
            Self::DropView { name } => ("drop view", name, "", ""),
            Self::CreateTrigger { name, table, sql } => {
                ("create trigger", name, table.as_str(), sql.as_str())
            }
            Self::DropTrigger { name } => ("drop trigger", name, "", ""),
            Self::CreateTable { .. }
            | Self::DropTable { .. }
            | Self::CreateIndex { .. }
            | Self::DropIndex { .. }
            | Self::AddColumn { .. }
            | Self::DropColumn { .. }
            | Self::Other { .. } => return None,
        };
        let sql = format!("INSERT INTO {SCHEMA_CHANGE_TABLE} VALUES (?, ?, ?, ?)");
        let args = [kind, subject, object, text].map(|text| Value::build_text(text.to_owned())).into();
        Some(Statement { sql, args })
    }

    /// Returns the statement that creates the table of these rows.
    pub(crate) fn create_table() -> String {
        format!("CREATE TABLE {SCHEMA_CHANGE_TABLE} (kind TEXT, subject TEXT, object TEXT, definition TEXT)")
    }

    /// Decodes a captured row of that table.
    pub(super) fn from_note(row: &[Value]) -> turso_core::Result<Self> {
        let texts: Option<Vec<String>> = row.iter().map(|value| value.to_text().map(str::to_owned)).collect();
        let Some(Ok([kind, subject, object, text])) = texts.map(<[String; 4]>::try_from) else {
            return Err(corrupt("a malformed schema change"));
        };
        Ok(match kind.as_str() {
            "rename table" => Self::RenameTable { from: subject, to: object },
            "rename column" => Self::RenameColumn { table: subject, from: object, to: text },
            "redefine column" => Self::RedefineColumn { table: subject, column: object, definition: text },
            "create view" => Self::CreateView { name: subject, sql: text },
            "drop view" => Self::DropView { name: subject },
            "create trigger" => Self::CreateTrigger { name: subject, table: object, sql: text },
            "drop trigger" => Self::DropTrigger { name: subject },
            kind => return Err(corrupt(&format!("a schema change of the unknown kind {kind:?}"))),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_noted_is_read_back() {
        let changes = [
            SchemaChange::RenameTable { from: "a".into(), to: "b".into() },
            SchemaChange::RenameColumn { table: "t".into(), from: "a".into(), to: "b".into() },
            SchemaChange::RedefineColumn {
                table: "t".into(),
                column: "a".into(),
                definition: "a INT".into(),
            },
            SchemaChange::CreateView { name: "v".into(), sql: "CREATE VIEW v AS SELECT 1".into() },
            SchemaChange::DropView { name: "v".into() },
            SchemaChange::CreateTrigger { name: "g".into(), table: "t".into(), sql: "CREATE TRIGGER".into() },
            SchemaChange::DropTrigger { name: "g".into() },
        ];
        for change in changes {
            assert_eq!(SchemaChange::from_note(&change.note().unwrap().args).unwrap(), change);
        }
    }
}
