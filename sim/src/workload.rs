//! What applications write: the tables, the writes as plain data, and their SQL.
//!
//! Every row carries a *token*, unique for the write that made it (`client.step.index`), so that whoever finds the row knows whose
//! it is. `log` has no key and is only ever appended to: a row that was applied twice stands there twice, and its order
//! is the order in which transactions took effect. Keys are either shared by all writers and then only set, or one writer's own.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use turso_core::{Connection, LimboError};

/// Who writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Writer {
    /// A client's application.
    Client(u8),
    /// Whoever writes to the remote by another way.
    Remote,
}

impl fmt::Display for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client(client) => write!(f, "c{client}"),
            Self::Remote => write!(f, "r"),
        }
    }
}

/// The statements that make the schema, run on the remote before anything else.
pub const SCHEMA: [&str; 5] = [
    "CREATE TABLE log (token TEXT, payload BLOB)",
    "CREATE INDEX log_token ON log (token)",
    "CREATE TABLE item (k INTEGER PRIMARY KEY, token TEXT)",
    "CREATE TABLE note (id TEXT PRIMARY KEY, token TEXT)",
    "CREATE TABLE pair (a TEXT, b INTEGER, token TEXT, PRIMARY KEY (a, b))",
];

/// The tables with keys that a write may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Table {
    /// `item`, with an INTEGER PRIMARY KEY.
    Item,
    /// `note`, with a TEXT key.
    Note,
    /// `pair`, with a key of two columns.
    Pair,
}

impl Table {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Item, Self::Note, Self::Pair];

    fn name(self) -> &'static str {
        match self {
            Self::Item => "item",
            Self::Note => "note",
            Self::Pair => "pair",
        }
    }
}

/// Whose a key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Key {
    /// Set by everybody; the last one to reach the remote wins.
    Shared(u8),
    /// Touched by its writer only.
    Own(u8),
}

/// One write of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Write {
    /// Appends a row to `log`.
    Append {
        /// Bytes of its payload; thousands make overflow pages.
        payload_bytes: u32,
    },
    /// Sets a row, whether it is there or not (`ON CONFLICT DO UPDATE`).
    Upsert {
        /// The table.
        table: Table,
        /// The row.
        key: Key,
    },
    /// Sets a row if it is there (`UPDATE`).
    Update {
        /// The table.
        table: Table,
        /// The row.
        key: Key,
    },
    /// Replaces a row (`INSERT OR REPLACE`).
    Replace {
        /// The table.
        table: Table,
        /// The row.
        key: Key,
    },
    /// Deletes a row of the writer's own.
    Delete {
        /// The table.
        table: Table,
        /// Its number among the writer's own keys.
        own: u8,
    },
    /// Gives a row of the writer's own a key that was never used.
    Rekey {
        /// The table.
        table: Table,
        /// Its number among the writer's own keys.
        own: u8,
    },
    /// Creates a table with an index, if it is not there yet, and sets a row of it.
    Extra {
        /// Which table.
        number: u8,
        /// The row's number among the writer's own keys.
        own: u8,
    },
}

/// What a write does to the rows, once it is known whether it found its row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// A row of `log` with this token.
    Appended(String),
    /// A row with this name has this token now.
    Set(String, String),
    /// A row with this name is gone.
    Gone(String),
}

/// One SQL statement of a write, and what follows from it.
#[derive(Debug, Clone)]
pub struct Planned {
    /// A query that tells whether the statement finds its row; `None` for one that needs none. The core's own count of changed rows is
    /// disturbed by the capture and cannot tell.
    pub finds: Option<String>,
    /// The statement, its values written into it.
    pub sql: String,
    /// Its effects if it finds its row.
    pub effects: Vec<Effect>,
}

impl Planned {
    fn always(sql: String, effects: Vec<Effect>) -> Self {
        Self { finds: None, sql, effects }
    }

    fn on_row(row: &Row, sql: String, effects: Vec<Effect>) -> Self {
        let finds = format!("SELECT 1 FROM {} WHERE {}", row.table.name(), row.condition());
        Self { finds: Some(finds), sql, effects }
    }
}

/// The name by which a row goes in effects and contents.
fn row_name(table: &str, key: impl fmt::Display) -> String {
    format!("{table}/{key}")
}

/// Runs the writes of a transaction's body on a connection, after a first row of `log`, and returns their effects.
///
/// # Errors
/// What the core says.
pub fn run_writes(
    connection: &Arc<Connection>,
    writer: Writer,
    step: u32,
    writes: &[Write],
) -> Result<Vec<Effect>, LimboError> {
    let mut effects = Vec::new();
    let first = Write::Append { payload_bytes: 0 };
    for (index, write) in std::iter::once(&first).chain(writes).enumerate() {
        for planned in plan(writer, *write, &format!("{writer}.{step}.{index}")) {
            let finds_row = match &planned.finds {
                None => true,
                Some(sql) => !connection.prepare(sql)?.run_collect_rows()?.is_empty(),
            };
            connection.execute(&planned.sql)?;
            if finds_row {
                effects.extend(planned.effects);
            }
        }
    }
    Ok(effects)
}

/// The SQL of one write. `token` is unique for it.
fn plan(writer: Writer, write: Write, token: &str) -> Vec<Planned> {
    match write {
        Write::Append { payload_bytes } => vec![Planned::always(
            format!("INSERT INTO log VALUES ('{token}', zeroblob({payload_bytes}))"),
            vec![Effect::Appended(token.to_owned())],
        )],
        Write::Upsert { table, key } => {
            let row = Row::new(table, writer, key);
            let sql = format!(
                "INSERT INTO {} VALUES ({}, '{token}') ON CONFLICT ({}) DO UPDATE SET token = excluded.token",
                table.name(),
                row.values(),
                row.columns()
            );
            vec![Planned::always(sql, vec![row.set(token)])]
        }
        Write::Update { table, key } => {
            let row = Row::new(table, writer, key);
            let sql = format!("UPDATE {} SET token = '{token}' WHERE {}", table.name(), row.condition());
            vec![Planned::on_row(&row, sql, vec![row.set(token)])]
        }
        Write::Replace { table, key } => {
            let row = Row::new(table, writer, key);
            let sql = format!("INSERT OR REPLACE INTO {} VALUES ({}, '{token}')", table.name(), row.values());
            vec![Planned::always(sql, vec![row.set(token)])]
        }
        Write::Delete { table, own } => {
            let row = Row::new(table, writer, Key::Own(own));
            let sql = format!("DELETE FROM {} WHERE {}", table.name(), row.condition());
            vec![Planned::on_row(&row, sql, vec![row.gone()])]
        }
        Write::Rekey { table, own } => {
            let row = Row::new(table, writer, Key::Own(own));
            let fresh = row.with_fresh_key(token);
            let sql = format!(
                "UPDATE {} SET {}, token = '{token}' WHERE {}",
                table.name(),
                fresh.assignments(),
                row.condition()
            );
            vec![Planned::on_row(&row, sql, vec![row.gone(), fresh.set(token)])]
        }
        Write::Extra { number, own } => {
            let table = format!("extra_{number}");
            let id = format!("{writer}-{own}");
            let create = format!("CREATE TABLE IF NOT EXISTS {table} (id TEXT PRIMARY KEY, token TEXT)");
            let index = format!("CREATE INDEX IF NOT EXISTS {table}_token ON {table} (token)");
            let insert = format!("INSERT OR REPLACE INTO {table} VALUES ('{id}', '{token}')");
            let set = Effect::Set(row_name(&table, id), token.to_owned());
            vec![
                Planned::always(create, Vec::new()),
                Planned::always(index, Vec::new()),
                Planned::always(insert, vec![set]),
            ]
        }
    }
}

/// A row by its key.
struct Row {
    table: Table,
    /// What makes the key: a text, and a number that is unique among the texts too.
    text: String,
    number: u64,
}

impl Row {
    fn new(table: Table, writer: Writer, key: Key) -> Self {
        let base = match writer {
            Writer::Client(client) => 100 * (u64::from(client) + 2),
            Writer::Remote => 100,
        };
        match key {
            Key::Shared(number) => Self { table, text: format!("s{number}"), number: u64::from(number) },
            Key::Own(number) => {
                Self { table, text: format!("{writer}-{number}"), number: base + u64::from(number % 100) }
            }
        }
    }

    /// A key that no other write uses, because it is made of the token.
    fn with_fresh_key(&self, token: &str) -> Self {
        let number =
            token.bytes().fold(7u64, |number, byte| number.wrapping_mul(131).wrapping_add(u64::from(byte)));
        Self { table: self.table, text: format!("k{token}"), number: 1_000_000 + number % (1 << 50) }
    }

    fn fields(&self) -> Vec<(&'static str, String)> {
        match self.table {
            Table::Item => vec![("k", self.number.to_string())],
            Table::Note => vec![("id", format!("'{}'", self.text))],
            Table::Pair => vec![("a", format!("'{}'", self.text)), ("b", self.number.to_string())],
        }
    }

    fn joined(&self, separator: &str, one: impl Fn(&str, &str) -> String) -> String {
        let parts: Vec<String> = self.fields().iter().map(|(column, value)| one(column, value)).collect();
        parts.join(separator)
    }

    fn values(&self) -> String {
        self.joined(", ", |_, value| value.to_owned())
    }

    fn columns(&self) -> String {
        self.joined(", ", |column, _| column.to_owned())
    }

    fn assignments(&self) -> String {
        self.joined(", ", |column, value| format!("{column} = {value}"))
    }

    fn condition(&self) -> String {
        self.joined(" AND ", |column, value| format!("{column} = {value}"))
    }

    fn name(&self) -> String {
        match self.table {
            Table::Item => row_name("item", self.number),
            Table::Note => row_name("note", &self.text),
            Table::Pair => row_name("pair", format!("{}/{}", self.text, self.number)),
        }
    }

    fn set(&self, token: &str) -> Effect {
        Effect::Set(self.name(), token.to_owned())
    }

    fn gone(&self) -> Effect {
        Effect::Gone(self.name())
    }
}

/// Every row of the tables with keys, by name; extra tables have to be asked for one by one.
pub const ROWS: &str = "SELECT 'item/' || k, token FROM item \
     UNION ALL SELECT 'note/' || id, token FROM note \
     UNION ALL SELECT 'pair/' || a || '/' || b, token FROM pair ORDER BY 1";

/// The tokens of `log`, in order.
pub const LOG: &str = "SELECT token FROM log ORDER BY rowid";

/// The names of the extra tables.
pub const EXTRA_TABLES: &str =
    "SELECT name FROM sqlite_schema WHERE type = 'table' AND name LIKE 'extra%' ORDER BY name";

/// Every row of one extra table, by name.
pub fn extra_rows(table: &str) -> String {
    format!("SELECT '{table}/' || id, token FROM {table} ORDER BY 1")
}
