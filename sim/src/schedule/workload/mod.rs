//! What applications write: the tables, the writes as plain data, and their SQL.
//!
//! Every row carries a *token*, unique for the write that made it (`client.step.index`), so that whoever finds the row knows whose
//! it is. `log` has no key and is only ever appended to: a row that was applied twice stands there twice, and its order
//! is the order in which transactions took effect. Keys are either shared by all writers, and then set by all and deleted by the remote's, or one writer's own.
//!
//! Two kinds of transaction leave `log` alone: a *quiet* one touches the writer's own rows only and sets its row of `quiet`, so that
//! whoever finds that token knows how far that writer's transactions have come; a *void* one only deletes a row that anybody
//! may delete and nobody makes again, so that it can lose all effect by what happened elsewhere.
//!
//! | module | what it owns |
//! |---|---|
//! | `plan` | a write's SQL, and what follows from it |
//! | `row` | rows by their keys |
//! | `own` | the writer's own table and its schema |
//! | `contents` | reading it all back |
//! | `shapes` | which shapes of SQL have run |

mod contents;
pub(crate) mod own;
pub(crate) mod plan;
mod row;
pub mod shapes;

use std::fmt;

use arbitrary::Arbitrary;
use serde::{Deserialize, Serialize};

pub use contents::{LOG, LOOSE, QUIET, quiet_row, read_rows};
pub use own::OwnChange;

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
    /// Set and deleted by everybody; the last one to reach the remote wins.
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
    /// Deletes a row of everybody's, which others may be changing. Only on the remote, a client does nothing: a delete that finds no row
    /// in a rebase is done with, so that what a client's leaves depends on when it has pulled.
    Erase {
        /// The table.
        table: Table,
        /// Its number among the shared keys.
        shared: u8,
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
            | Self::Erase { .. }
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
                | Self::Erase { .. }
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
