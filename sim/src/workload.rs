//! What applications write: the tables, the writes as plain data, and their SQL.
//!
//! Every row carries a *token*, unique for the write that made it (`client.step.index`), so that whoever finds the row knows whose
//! it is. `log` has no key and is only ever appended to: a row that was applied twice stands there twice, and its order
//! is the order in which transactions took effect. Keys are either shared by all writers and then only set, or one writer's own.
//!
//! Two kinds of transaction leave `log` alone: a *quiet* one touches the writer's own rows only and sets its row of `quiet`, so that
//! whoever finds that token knows how far that writer's transactions have come; a *void* one only deletes a row that anybody
//! may delete and nobody makes again, so that it can lose all effect by what happened elsewhere.

mod own;
pub mod shapes;

use std::collections::BTreeSet;
use std::fmt;

use arbitrary::Arbitrary;
use serde::{Deserialize, Serialize};
use turso_core::Value;

use crate::sql::Sql;
pub use own::OwnChange;
use own::OwnState;
use shapes::{Statement, shapes_of};

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
pub const SCHEMA: [&str; 14] = [
    "CREATE TABLE log (token TEXT, payload BLOB)",
    "CREATE INDEX log_token ON log (token)",
    "CREATE TABLE item (k INTEGER PRIMARY KEY, token TEXT)",
    "CREATE TABLE note (id TEXT PRIMARY KEY, token TEXT)",
    "CREATE TABLE pair (a TEXT, b INTEGER, token TEXT, PRIMARY KEY (a, b))",
    "CREATE TABLE \"odd \"\"table\" (\"select\" TEXT PRIMARY KEY, \"to ken\" TEXT)",
    "CREATE TABLE tag (name TEXT COLLATE NOCASE PRIMARY KEY, token TEXT)",
    "CREATE TABLE badge (k INTEGER PRIMARY KEY, label TEXT, token TEXT)",
    "CREATE UNIQUE INDEX badge_label ON badge (label)",
    "CREATE TABLE tally (owner TEXT, n INTEGER)",
    "CREATE TABLE quiet (writer TEXT PRIMARY KEY, token TEXT)",
    "CREATE TABLE loose (v INTEGER NOT NULL)",
    "CREATE TABLE ballast (k INTEGER PRIMARY KEY, payload BLOB)",
    "INSERT INTO ballast VALUES (1, zeroblob(5000)), (2, zeroblob(9000)), (3, zeroblob(10)), (4, zeroblob(10)), (5, zeroblob(10))",
];

/// What the schema's statements have put into the tables, by row name.
pub const INITIAL_ROWS: [(&str, &str); 5] = [
    ("ballast/1", "5000"),
    ("ballast/2", "9000"),
    ("ballast/3", "10"),
    ("ballast/4", "10"),
    ("ballast/5", "10"),
];

/// The rows of `ballast` that void transactions delete; the others go in transactions that can be told.
pub const VOID_BALLAST: std::ops::RangeInclusive<u8> = 3..=5;

/// The tables with keys that a write may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Arbitrary)]
#[serde(rename_all = "snake_case")]
pub enum Table {
    /// `item`, with an INTEGER PRIMARY KEY.
    Item,
    /// `note`, with a TEXT key.
    Note,
    /// `pair`, with a key of two columns.
    Pair,
    /// `odd "table`, whose names need quotes.
    Odd,
    /// `tag`, with a key that ignores case: it is looked for in capitals.
    Tag,
}

impl Table {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Item, Self::Note, Self::Pair, Self::Odd, Self::Tag];

    fn name(self) -> &'static str {
        match self {
            Self::Item => "item",
            Self::Note => "note",
            Self::Pair => "pair",
            Self::Odd => "\"odd \"\"table\"",
            Self::Tag => "tag",
        }
    }

    fn token_column(self) -> &'static str {
        match self {
            Self::Item | Self::Note | Self::Pair | Self::Tag => "token",
            Self::Odd => "\"to ken\"",
        }
    }
}

/// Whose a key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Arbitrary)]
#[serde(rename_all = "snake_case")]
pub enum Key {
    /// Set by everybody; the last one to reach the remote wins.
    Shared(u8),
    /// Touched by its writer only.
    Own(u8),
}

/// One write of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Arbitrary)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
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
    /// Gives two rows of the writer's own each other's key, by way of a third.
    Swap {
        /// The table.
        table: Table,
        /// One's number among the writer's own keys.
        own: u8,
        /// The other's.
        with: u8,
    },
    /// Sets a row of `badge`, whose label may be another own row's: that one is replaced.
    Claim {
        /// The row's number among the writer's own keys.
        own: u8,
        /// The label's number among the writer's own labels.
        label: u8,
    },
    /// Adds an equal row to `tally`, which has no key.
    Count {
        /// What is counted.
        n: u8,
    },
    /// Changes one of several equal rows of `tally`.
    Recount {
        /// What was counted.
        n: u8,
        /// What is counted instead.
        to: u8,
    },
    /// Deletes one of several equal rows of `tally`.
    Uncount {
        /// What was counted.
        n: u8,
    },
    /// Deletes the big rows of `ballast`.
    Unload,
    /// Changes the writer's own table or its schema.
    Own(OwnChange),
    /// Adds a column to a table of everybody's. Nobody sets it.
    Widen {
        /// The table.
        table: Table,
    },
    /// Drops a column that the writer has added, or renames it.
    Narrow {
        /// The table.
        table: Table,
        /// Whether it is only renamed.
        rename: bool,
    },
    /// As the first of a transaction: it leaves `log` alone and sets the writer's row of `quiet`. Only what is the writer's own
    /// follows.
    Quiet,
    /// As the only one of a transaction: it leaves `log` alone and deletes a row of `ballast` that others may delete as well.
    Void {
        /// The row, of [`VOID_BALLAST`].
        k: u8,
    },
    /// Adds a row to `loose`, unless a rule forbids it.
    Loose {
        /// What it holds.
        n: u8,
    },
    /// Makes the rows of `loose` unique, if they are, or takes that back. Elsewhere they may not be, and then the rule is refused there.
    Rule,
    /// Writes to a temporary table, which nobody else may ever see. The remote's writer does nothing. Only for schedules written by hand:
    /// see [`shapes`] for why.
    Scratch {
        /// A value.
        n: u8,
    },
    /// Creates a table with an index, if it is not there yet, and sets a row of it.
    Extra {
        /// Which table.
        number: u8,
        /// The row's number among the writer's own keys.
        own: u8,
    },
}

impl Write {
    /// Whether it touches what is the writer's own and nothing else.
    pub fn is_own(self) -> bool {
        match self {
            Self::Upsert { key, .. } | Self::Update { key, .. } | Self::Replace { key, .. } => {
                matches!(key, Key::Own(_))
            }
            Self::Append { .. }
            | Self::Unload
            | Self::Quiet
            | Self::Void { .. }
            | Self::Loose { .. }
            | Self::Rule => false,
            _ => true,
        }
    }

    /// Whether its effect does not depend on what transactions before it have left.
    pub fn is_independent(self) -> bool {
        matches!(
            self,
            Self::Append { .. }
                | Self::Upsert { .. }
                | Self::Update { .. }
                | Self::Replace { .. }
                | Self::Delete { .. }
                | Self::Rekey { .. }
                | Self::Extra { .. }
        )
    }
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
    /// Two rows, or their absence, have changed places.
    Swapped(String, String),
    /// A row has this token now, and whatever else of its table had the same label is gone.
    Claimed {
        /// The row's name.
        row: String,
        /// The label.
        label: String,
        /// The token.
        token: String,
    },
    /// There are so many more equal rows of this name.
    Counted(String, i64),
    /// What begins with this prefix is exactly this.
    Replaced {
        /// How the names begin.
        prefix: String,
        /// Names and what they hold.
        rows: Vec<(String, String)>,
    },
    /// The writer's row of `quiet` has this token now.
    Quieted(Writer, String),
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

/// What a transaction's body has done.
#[derive(Debug, Clone, Default)]
pub struct Ran {
    /// The effects, in order.
    pub effects: Vec<Effect>,
    /// The shapes of its statements, by name.
    pub shapes: BTreeSet<&'static str>,
}

/// Runs the writes of a transaction's body on a connection, after a first row of `log` unless they say otherwise.
///
/// # Errors
/// What the core says.
pub fn run_writes<S: Sql>(
    connection: &S,
    writer: Writer,
    step: u32,
    writes: &[Write],
) -> Result<Ran, S::Error> {
    let mut query = |sql: &str| connection.rows(sql);
    let mut ran = Ran::default();
    let leaves_log_alone = matches!(writes.first(), Some(Write::Quiet | Write::Void { .. }));
    let first = (!leaves_log_alone).then_some(Write::Append { payload_bytes: 0 });
    for (index, write) in first.iter().chain(writes).enumerate() {
        if leaves_log_alone && matches!(write, Write::Append { .. }) {
            continue;
        }
        let token = format!("{writer}.{step}.{index}");
        let planned = match write {
            Write::Own(change) => {
                let state = OwnState::read(writer, &mut query)?;
                let statements = change.statements(writer, &token, &state).into_iter();
                statements.map(|sql| Planned::always(sql, Vec::new())).collect()
            }
            Write::Widen { .. } | Write::Narrow { .. } => alter(writer, *write, &token, &mut query)?,
            Write::Rule => rule(&mut query)?.into_iter().collect(),
            write => plan(writer, *write, &token),
        };
        for planned in planned {
            let finds_row = match &planned.finds {
                None => true,
                Some(sql) => !query(sql)?.is_empty(),
            };
            connection.execute(&planned.sql)?;
            if finds_row {
                let statement = Statement { write, sql: &planned.sql };
                ran.shapes.extend(shapes_of(writer.into(), statement).map(|shape| shape.name));
                ran.effects.extend(planned.effects);
            }
        }
        if matches!(write, Write::Own(_)) {
            let prefix = own::prefix(writer);
            let rows = own::contents(&prefix, &mut query)?;
            ran.effects.push(Effect::Replaced { prefix, rows });
        }
    }
    Ok(ran)
}

/// The SQL that changes the columns of a table of everybody's. A column's name tells who has added it.
fn alter<E>(
    writer: Writer,
    write: Write,
    token: &str,
    query: &mut impl FnMut(&str) -> Result<Vec<Vec<Value>>, E>,
) -> Result<Vec<Planned>, E> {
    let alter = |table: Table, how: String| {
        Planned::always(format!("ALTER TABLE {} {how}", table.name()), Vec::new())
    };
    Ok(match write {
        Write::Widen { table } => {
            vec![alter(table, format!("ADD COLUMN \"w {token}\" DEFAULT 'd'"))]
        }
        Write::Narrow { table, rename } => {
            let columns = query(&format!("PRAGMA table_info({})", table.name()))?;
            let own = format!("w {writer}.");
            let added = columns.iter().map(|row| row[1].to_string()).rfind(|name| name.starts_with(&own));
            let how = |name: String| {
                if rename {
                    format!("RENAME COLUMN \"{name}\" TO \"w {token}\"")
                } else {
                    format!("DROP COLUMN \"{name}\"")
                }
            };
            added.map(|name| alter(table, how(name))).into_iter().collect()
        }
        _ => Vec::new(),
    })
}

/// The SQL that makes or drops the rule about `loose`; none where its rows break it.
fn rule<E>(query: &mut impl FnMut(&str) -> Result<Vec<Vec<Value>>, E>) -> Result<Option<Planned>, E> {
    let has_rule = !query("SELECT 1 FROM sqlite_schema WHERE name = 'loose_rule'")?.is_empty();
    let is_broken = !query("SELECT 1 FROM loose GROUP BY v HAVING count(*) > 1")?.is_empty();
    let sql = match (has_rule, is_broken) {
        (true, _) => "DROP INDEX loose_rule",
        (false, false) => "CREATE UNIQUE INDEX loose_rule ON loose (v)",
        (false, true) => return Ok(None),
    };
    Ok(Some(Planned::always(sql.into(), Vec::new())))
}

/// The SQL of one write. `token` is unique for it.
fn plan(writer: Writer, write: Write, token: &str) -> Vec<Planned> {
    match write {
        Write::Append { payload_bytes } => vec![Planned::always(
            format!("INSERT INTO log (token, payload) VALUES ('{token}', zeroblob({payload_bytes}))"),
            vec![Effect::Appended(token.to_owned())],
        )],
        Write::Upsert { table, key } => {
            let row = Row::new(table, writer, key);
            let (name, columns, values, set) =
                (table.name(), row.columns(), row.values(), table.token_column());
            let sql = format!(
                "INSERT INTO {name} ({columns}, {set}) VALUES ({values}, '{token}') \
                 ON CONFLICT ({columns}) DO UPDATE SET {set} = excluded.{set}"
            );
            vec![Planned::always(sql, vec![row.set(token)])]
        }
        Write::Update { table, key } => {
            let row = Row::new(table, writer, key);
            let (name, set) = (table.name(), table.token_column());
            let sql = format!("UPDATE {name} SET {set} = '{token}' WHERE {}", row.condition());
            vec![Planned::on_row(&row, sql, vec![row.set(token)])]
        }
        Write::Replace { table, key } => {
            let row = Row::new(table, writer, key);
            let (name, columns, set) = (table.name(), row.columns(), table.token_column());
            let values = row.values();
            let sql =
                format!("INSERT OR REPLACE INTO {name} ({columns}, {set}) VALUES ({values}, '{token}')");
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
                "UPDATE {} SET {}, {} = '{token}' WHERE {}",
                table.name(),
                fresh.assignments(),
                table.token_column(),
                row.condition()
            );
            vec![Planned::on_row(&row, sql, vec![row.gone(), fresh.set(token)])]
        }
        Write::Swap { table, own, with } => {
            let [one, other] = [own, with].map(|own| Row::new(table, writer, Key::Own(own)));
            let middle = one.with_fresh_key(token);
            let pass = |from: &Row, to: &Row, effects| {
                let (to, from) = (to.assignments(), from.condition());
                Planned::always(format!("UPDATE {} SET {to} WHERE {from}", table.name()), effects)
            };
            let swapped =
                if own == with { Vec::new() } else { vec![Effect::Swapped(one.name(), other.name())] };
            vec![
                pass(&one, &middle, Vec::new()),
                pass(&other, &one, Vec::new()),
                pass(&middle, &other, swapped),
            ]
        }
        Write::Claim { own, label } => {
            let row = Row::new(Table::Item, writer, Key::Own(own));
            let label = format!("{writer}-{label}");
            let k = row.number;
            let sql =
                format!("INSERT OR REPLACE INTO badge (k, label, token) VALUES ({k}, '{label}', '{token}')");
            let row = row_name("badge", k);
            vec![Planned::always(sql, vec![Effect::Claimed { row, label, token: token.to_owned() }])]
        }
        Write::Count { n } => {
            let sql = format!("INSERT INTO tally (owner, n) VALUES ('{writer}', {})", counted(n));
            vec![Planned::always(sql, vec![Effect::Counted(tally(writer, n), 1)])]
        }
        Write::Recount { n, to } => {
            let effects = vec![Effect::Counted(tally(writer, n), -1), Effect::Counted(tally(writer, to), 1)];
            vec![on_one_of_tally(writer, n, &format!("UPDATE tally SET n = {}", counted(to)), effects)]
        }
        Write::Uncount { n } => {
            let effects = vec![Effect::Counted(tally(writer, n), -1)];
            vec![on_one_of_tally(writer, n, "DELETE FROM tally", effects)]
        }
        Write::Unload => {
            let gone = ["ballast/1", "ballast/2"].map(|row| Effect::Gone(row.to_owned()));
            vec![Planned::always("DELETE FROM ballast WHERE k < 3".into(), gone.into())]
        }
        Write::Quiet => {
            let sql = format!("INSERT OR REPLACE INTO quiet (writer, token) VALUES ('{writer}', '{token}')");
            vec![Planned::always(sql, vec![Effect::Quieted(writer, token.to_owned())])]
        }
        Write::Void { k } => {
            let sql = format!("DELETE FROM ballast WHERE k = {k}");
            vec![Planned::always(sql, vec![Effect::Gone(row_name("ballast", k))])]
        }
        Write::Scratch { n } if writer != Writer::Remote => vec![
            Planned::always("CREATE TEMP TABLE IF NOT EXISTS scratch (n)".into(), Vec::new()),
            Planned::always(format!("INSERT INTO scratch VALUES ({n})"), Vec::new()),
            Planned::always(
                if n % 3 == 2 { "DROP TABLE scratch" } else { "DELETE FROM scratch" }.into(),
                Vec::new(),
            ),
        ],
        Write::Scratch { .. } => Vec::new(),
        Write::Loose { n } => {
            vec![Planned::always(format!("INSERT OR IGNORE INTO loose VALUES ({n})"), Vec::new())]
        }
        // They depend on what is there.
        Write::Own(_) | Write::Widen { .. } | Write::Narrow { .. } | Write::Rule => Vec::new(),
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

/// What is counted, as it stands in `tally`: 0 is NULL there.
fn counted(n: u8) -> String {
    if n == 0 { "NULL".to_owned() } else { n.to_string() }
}

fn tally(writer: Writer, n: u8) -> String {
    row_name("tally", format!("{writer}/{n}"))
}

/// A statement on one of the writer's equal rows of `tally`.
fn on_one_of_tally(writer: Writer, n: u8, what: &str, effects: Vec<Effect>) -> Planned {
    let n = counted(n);
    let one = format!("SELECT rowid FROM tally WHERE owner = '{writer}' AND n IS {n} ORDER BY rowid LIMIT 1");
    Planned { sql: format!("{what} WHERE rowid = ({one})"), finds: Some(one), effects }
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
            Table::Odd => vec![("\"select\"", format!("'{}'", self.text))],
            Table::Tag => vec![("name", format!("'{}'", self.text))],
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
        self.joined(" AND ", |column, value| match self.table {
            Table::Tag => format!("{column} = {}", value.to_ascii_uppercase()),
            _ => format!("{column} = {value}"),
        })
    }

    fn name(&self) -> String {
        match self.table {
            Table::Item => row_name("item", self.number),
            Table::Note => row_name("note", &self.text),
            Table::Pair => row_name("pair", format!("{}/{}", self.text, self.number)),
            Table::Odd => row_name("odd", &self.text),
            Table::Tag => row_name("tag", &self.text),
        }
    }

    fn set(&self, token: &str) -> Effect {
        Effect::Set(self.name(), token.to_owned())
    }

    fn gone(&self) -> Effect {
        Effect::Gone(self.name())
    }
}

/// Every row of the tables that are there from the start, by name; extra tables and own ones have to be asked for one by one.
const ROWS: [&str; 9] = [
    "SELECT 'item/' || k, token FROM item",
    "SELECT 'note/' || id, token FROM note",
    "SELECT 'pair/' || a || '/' || b, token FROM pair",
    "SELECT 'odd/' || \"select\", \"to ken\" FROM \"odd \"\"table\"",
    "SELECT 'tag/' || lower(name), token FROM tag",
    "SELECT 'badge/' || k, label || ' ' || token FROM badge",
    "SELECT 'tally/' || owner || '/' || COALESCE(n, 0), count(*) FROM tally GROUP BY owner, n",
    "SELECT 'quiet/' || writer, token FROM quiet",
    "SELECT 'ballast/' || k, length(payload) FROM ballast",
];

/// The tokens of `log`, in order.
pub const LOG: &str = "SELECT token FROM log ORDER BY rowid";

/// The tokens of `quiet`, one a writer.
pub const QUIET: &str = "SELECT token FROM quiet ORDER BY writer";

/// What `loose` holds and whether there is a rule about it. No acknowledged transaction says what that has to be, because the rule of one
/// writer may be refused for the rows of another; in the end it is the same everywhere.
pub const LOOSE: &str = "SELECT 'row', v, count(*) FROM loose GROUP BY v \
     UNION ALL SELECT 'rule', name, 1 FROM sqlite_schema WHERE name = 'loose_rule' ORDER BY 1, 2";

const EXTRA_TABLES: &str =
    "SELECT name FROM sqlite_schema WHERE type = 'table' AND name LIKE 'extra%' ORDER BY name";

/// Temporary tables that have become lasting ones.
const SCRATCH_TABLES: &str = "SELECT name, type FROM sqlite_schema WHERE name = 'scratch'";

/// The name of the writer's row of `quiet`.
pub fn quiet_row(writer: Writer) -> String {
    row_name("quiet", writer)
}

/// Every row beside `log`, by name.
///
/// # Errors
/// What `query` says.
pub fn read_rows<E>(
    mut query: impl FnMut(&str) -> Result<Vec<Vec<Value>>, E>,
) -> Result<Vec<(String, String)>, E> {
    let mut contents = own::contents("own_", &mut query)?;
    let extra = query(EXTRA_TABLES)?;
    let extra = extra.iter().map(|row| format!("SELECT '{0}/' || id, token FROM {0}", row[0]));
    for sql in [SCRATCH_TABLES].into_iter().chain(ROWS).map(str::to_owned).chain(extra) {
        contents.extend(query(&sql)?.iter().map(|row| (row[0].to_string(), row[1].to_string())));
    }
    Ok(contents)
}
