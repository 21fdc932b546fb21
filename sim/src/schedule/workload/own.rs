//! A writer's own tables. Only that writer changes their schema.
//!
//! The names of these tables begin with `own_` and the writer. Before each commit the simulator reads the
//! result of a change back on the writer's own connection. The application has seen this result, so every
//! database must show it at the end.

use serde::{Deserialize, Serialize};
use turso_core::Value;

use super::Writer;

/// A change of the writer's own table or its schema. If it has nothing to change, it creates the table or
/// does nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[serde(rename_all = "snake_case")]
pub enum OwnChange {
    /// Sets all columns of a row.
    Set {
        /// The number of the row.
        id: u8,
    },
    /// Updates the last column of a row.
    Update {
        /// The number of the row.
        id: u8,
    },
    /// Deletes a row.
    Erase {
        /// The number of the row.
        id: u8,
    },
    /// `ADD COLUMN`, with a default.
    AddColumn,
    /// `DROP COLUMN`, of the column added last.
    DropColumn,
    /// `RENAME COLUMN`, of the column added last.
    RenameColumn,
    /// `RENAME TO`.
    RenameTable,
    /// `DROP TABLE`.
    DropTable,
    /// Creates the index, or drops it if it exists.
    Index,
    /// Creates the view, or drops it if it exists.
    View,
    /// Drops the view if it exists, and creates another one with the same name.
    ReplaceView,
    /// Creates the trigger, which writes to a second table, or drops it if it exists.
    Trigger,
}

impl OwnChange {
    /// The changes from which the generator draws. Some are listed several times, so that they are more
    /// likely.
    pub fn drawn(row: u8) -> [Self; 18] {
        [
            Self::Set { id: row },
            Self::Set { id: row },
            Self::Set { id: row },
            Self::Set { id: row },
            Self::Update { id: row },
            Self::Erase { id: row },
            Self::AddColumn,
            Self::AddColumn,
            Self::DropColumn,
            Self::RenameColumn,
            Self::RenameTable,
            Self::DropTable,
            Self::Index,
            Self::View,
            Self::ReplaceView,
            Self::Trigger,
            Self::Trigger,
            Self::Trigger,
        ]
    }

    /// The statements of the change, given the current state.
    pub(crate) fn statements(self, writer: Writer, token: &str, state: &OwnState) -> Vec<String> {
        let named = |what: &str| format!("\"{}{what}\"", prefix(writer));
        let Some(table) = &state.table else {
            return vec![
                format!("CREATE TABLE {} (id INTEGER PRIMARY KEY, token TEXT)", named("main")),
                format!("CREATE TABLE IF NOT EXISTS {} (what TEXT)", named("audit")),
            ];
        };
        let table = format!("\"{table}\"");
        let extra = state.columns.get(2..).and_then(<[String]>::last).map(|column| format!("\"{column}\""));
        // turso_core does not adapt every view and trigger to a changed table, so they are dropped first.
        let clear = || {
            vec![
                format!("DROP VIEW IF EXISTS {}", named("view")),
                format!("DROP TRIGGER IF EXISTS {}", named("trigger")),
            ]
        };
        let cleared = |sql: String| {
            let mut statements = clear();
            statements.push(sql);
            statements
        };
        match self {
            Self::Set { id } => {
                let values = vec![format!("'{token}'"); state.columns.len() - 1].join(", ");
                vec![format!("INSERT OR REPLACE INTO {table} VALUES ({id}, {values})")]
            }
            Self::Update { id } => {
                let column = extra.unwrap_or_else(|| "token".into());
                vec![format!("UPDATE {table} SET {column} = '{token}' WHERE id = {id}")]
            }
            Self::Erase { id } => vec![format!("DELETE FROM {table} WHERE id = {id}")],
            Self::AddColumn => {
                vec![format!("ALTER TABLE {table} ADD COLUMN \"x {token}\" DEFAULT 'd'")]
            }
            Self::DropColumn => extra
                .map_or_else(Vec::new, |column| cleared(format!("ALTER TABLE {table} DROP COLUMN {column}"))),
            Self::RenameColumn => extra.map_or_else(Vec::new, |column| {
                cleared(format!("ALTER TABLE {table} RENAME COLUMN {column} TO \"y {token}\""))
            }),
            Self::RenameTable => {
                cleared(format!("ALTER TABLE {table} RENAME TO {}", named(&format!("t {token}"))))
            }
            Self::DropTable => cleared(format!("DROP TABLE {table}")),
            Self::Index if state.has_index => vec![format!("DROP INDEX {}", named("index"))],
            Self::Index => vec![format!("CREATE INDEX {} ON {table} (token)", named("index"))],
            Self::View if state.has_view => vec![format!("DROP VIEW {}", named("view"))],
            Self::View => vec![format!("CREATE VIEW {} AS SELECT id FROM {table}", named("view"))],
            Self::ReplaceView => vec![
                format!("DROP VIEW IF EXISTS {}", named("view")),
                format!("CREATE VIEW {} AS SELECT id AS \"{token}\" FROM {table}", named("view")),
            ],
            Self::Trigger if state.has_trigger => vec![format!("DROP TRIGGER {}", named("trigger"))],
            Self::Trigger => vec![format!(
                "CREATE TRIGGER {} AFTER INSERT ON {table} BEGIN INSERT INTO {} VALUES (NEW.token); END",
                named("trigger"),
                named("audit")
            )],
        }
    }
}

/// The objects of the schema that a writer owns.
#[derive(Debug, Default)]
pub(crate) struct OwnState {
    table: Option<String>,
    columns: Vec<String>,
    has_index: bool,
    has_view: bool,
    has_trigger: bool,
}

impl OwnState {
    /// Reads the state from the schema.
    pub(crate) fn read<E>(
        writer: Writer,
        query: &mut impl FnMut(&str) -> Result<Vec<Vec<Value>>, E>,
    ) -> Result<Self, E> {
        let mut state = Self::default();
        for row in query(&objects(&prefix(writer)))? {
            let [kind, name] = [&row[0], &row[1]].map(ToString::to_string);
            match kind.as_str() {
                "table" if !name.ends_with("_audit") => {
                    state.columns = columns(&name, query)?;
                    state.table = Some(name);
                }
                "index" => state.has_index = true,
                "view" => state.has_view = true,
                "trigger" => state.has_trigger = true,
                _ => {}
            }
        }
        Ok(state)
    }
}

/// The common prefix of the names of a writer's objects. It must not need quotes: if the name of a view needs
/// quotes, turso_core refuses every `DROP COLUMN` in that database.
pub(crate) fn prefix(writer: Writer) -> String {
    format!("own_{writer}_")
}

fn objects(prefix: &str) -> String {
    format!("SELECT type, name, tbl_name FROM sqlite_schema WHERE name LIKE '{prefix}%' ORDER BY name")
}

fn columns<E>(
    table: &str,
    query: &mut impl FnMut(&str) -> Result<Vec<Vec<Value>>, E>,
) -> Result<Vec<String>, E> {
    let rows = query(&format!("PRAGMA table_info(\"{table}\")"))?;
    Ok(rows.iter().map(|row| row[1].to_string()).collect())
}

/// The content of a writer's own objects, by name: tables and views with their columns and rows, indexes, and
/// triggers. For each row it has the number of equal rows. The rows that a trigger adds belong to the
/// transaction that fired it.
pub(crate) fn contents<E>(
    prefix: &str,
    query: &mut impl FnMut(&str) -> Result<Vec<Vec<Value>>, E>,
) -> Result<Vec<(String, String)>, E> {
    let mut contents = Vec::new();
    for row in query(&objects(prefix))? {
        let [kind, name, table] = [&row[0], &row[1], &row[2]].map(ToString::to_string);
        match kind.as_str() {
            "table" | "view" => {
                let columns = columns(&name, query)?;
                for (row, count) in counted_rows(&name, query)? {
                    contents.push((format!("{name}/{row}"), count.to_string()));
                }
                contents.push((name, format!("{kind}: {}", columns.join(", "))));
            }
            _ => contents.push((name, format!("{kind} on {table}"))),
        }
    }
    Ok(contents)
}

fn counted_rows<E>(
    table: &str,
    query: &mut impl FnMut(&str) -> Result<Vec<Vec<Value>>, E>,
) -> Result<Vec<(String, usize)>, E> {
    let mut rows: Vec<String> = query(&format!("SELECT * FROM \"{table}\""))?
        .iter()
        .map(|row| row.iter().map(ToString::to_string).collect::<Vec<_>>().join("|"))
        .collect();
    rows.sort_unstable();
    Ok(rows.chunk_by(|a, b| a == b).map(|equal| (equal[0].clone(), equal.len())).collect())
}
