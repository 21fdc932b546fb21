//! The writes of applications: the tables, the writes as plain data, and their SQL.
//!
//! Every row carries a *token* that is unique for its write (`client.step.index`) and so identifies the
//! writer. `log` has no key and only grows: a row that is applied twice is in it twice, and its rows are in
//! the order in which their transactions took effect. Keys are either shared or owned by one writer. Every
//! writer sets the rows of shared keys; only the remote's writer deletes them.
//!
//! Two kinds of transaction do not write to `log`:
//!
//! * A *quiet* transaction touches only the writer's own rows and sets its row of `quiet`. The token in
//!   that row shows how many of the writer's transactions are present.
//! * A *void* transaction only deletes a row that every writer may delete and no writer creates again. If
//!   another writer has deleted the row first, the transaction has no effect.
//!
//! | module | holds |
//! |---|---|
//! | `write` | the writes, their SQL and their effects |
//! | `row` | rows by their keys |
//! | `own` | the writer's own table and its schema |
//! | `contents` | queries that read everything back |
//! | `shapes` | the shapes of SQL that have run |

mod contents;
pub(crate) mod own;
mod row;
pub mod shapes;
pub(crate) mod write;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use contents::{LOG, LOOSE, QUIET, quiet_row, read_rows};
pub use own::OwnChange;
pub use write::Write;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Writer {
    /// A client's application.
    Client(u8),
    /// Another writer, directly on the remote.
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

/// The statements that create the schema. They run on the remote before anything else.
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

/// The rows that the schema's statements insert, by row name.
pub const INITIAL_ROWS: [(&str, &str); 5] = [
    ("ballast/1", "5000"),
    ("ballast/2", "9000"),
    ("ballast/3", "10"),
    ("ballast/4", "10"),
    ("ballast/5", "10"),
];

/// The rows of `ballast` that void transactions delete. Other transactions delete the other rows.
pub const VOID_BALLAST: std::ops::RangeInclusive<u8> = 3..=5;

/// The tables with keys that a write can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[serde(rename_all = "snake_case")]
pub enum Table {
    /// `item`, with an INTEGER PRIMARY KEY.
    Item,
    /// `note`, with a TEXT key.
    Note,
    /// `pair`, with a key of two columns.
    Pair,
    /// `odd "table`. The names of the table and of its columns need quotes.
    Odd,
    /// `tag`, with a key that ignores case. Statements look up the key in upper case.
    Tag,
}

impl Table {
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

/// A key, by its number among the shared keys or among the writer's own keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[serde(rename_all = "snake_case")]
pub enum Key {
    /// Every writer may set the row. The write that reaches the remote last wins.
    Shared(u8),
    /// Only the key's owner touches the row.
    Own(u8),
}

/// The effect of a write on the rows. It may depend on whether the write finds its row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// `log` has a new row with this token.
    Appended(String),
    /// The row with this name now has this token.
    Set(String, String),
    /// The row with this name is deleted.
    Gone(String),
    /// The rows with these two names have changed places. If one of them did not exist, only the other moves.
    Swapped(String, String),
    /// The row now has this token. Any other row of the table with the same label is deleted.
    Claimed {
        /// The name of the row.
        row: String,
        label: String,
        token: String,
    },
    /// The number of equal rows with this name has changed by this much.
    Counted(String, i64),
    /// The rows whose names begin with the prefix are exactly these.
    Replaced {
        /// The prefix of the names.
        prefix: String,
        /// Names and values.
        rows: Vec<(String, String)>,
    },
    /// The writer's row of `quiet` now has this token.
    Quieted(Writer, String),
}
