//! The shapes of SQL that the writers of a sweep must have used. Most shapes must be used by clients and also
//! by another writer on the remote.
//!
//! A shape counts only if one of its statements has run and found its row, and the transaction has committed.
//! A write that does nothing has no shape.
//!
//! Not in this module: tables WITHOUT ROWID and generated columns, which turso_core accepts only with
//! experimental features, and temporary tables. Once a write has failed in a transaction that created a
//! temporary table, turso_core fails every statement on that connection with "Database schema changed".

use super::{Table, Write, Writer};

/// A statement that has run.
#[derive(Debug, Clone, Copy)]
pub struct RanStatement<'a> {
    /// The write that the statement belongs to.
    pub write: &'a Write,
    pub sql: &'a str,
}

#[derive(Clone, Copy)]
pub struct Shape {
    pub name: &'static str,
    /// The sides that must use the shape.
    pub by: &'static [Side],
    /// Whether a statement has this shape.
    pub holds: fn(&RanStatement<'_>) -> bool,
}

/// The side of a writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// The application of a client.
    Client,
    /// Another writer on the remote.
    Remote,
}

impl Side {
    /// The name in marks.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Remote => "remote",
        }
    }
}

impl From<Writer> for Side {
    fn from(writer: Writer) -> Self {
        match writer {
            Writer::Client(_) => Self::Client,
            Writer::Remote => Self::Remote,
        }
    }
}

const BOTH: &[Side] = &[Side::Client, Side::Remote];
const REMOTE: &[Side] = &[Side::Remote];

/// The shapes of a statement that a writer on `side` has run.
pub fn shapes_of(side: Side, statement: RanStatement<'_>) -> impl Iterator<Item = &'static Shape> {
    SHAPES.iter().filter(move |shape| shape.by.contains(&side) && (shape.holds)(&statement))
}

macro_rules! shapes {
    ($($name:literal, $by:expr, $holds:expr;)*) => {
        /// Every shape.
        ///
        /// | shape | by |
        /// |---|---|
        $(#[doc = concat!("| ", $name, " | ", stringify!($by), " |")])*
        pub const SHAPES: &[Shape] = &[$(Shape { name: $name, by: $by, holds: $holds }),*];
    };
}

shapes! {
    "INSERT into a table without a key", BOTH, |of| of.starts_with("INSERT INTO log");
    "a value on overflow pages", BOTH, |of| matches!(of.write, Write::Append { payload_bytes: 4097.. });
    "ON CONFLICT DO UPDATE", BOTH, |of| of.sql.contains("ON CONFLICT");
    "INSERT OR REPLACE", BOTH, |of| matches!(of.write, Write::Replace { .. });
    "UPDATE of a row by its key", BOTH, |of| matches!(of.write, Write::Update { .. });
    "DELETE of a row by its key", BOTH, |of| matches!(of.write, Write::Delete { .. });
    "DELETE of a row that others set", REMOTE, |of| matches!(of.write, Write::Erase { .. });
    "an INTEGER PRIMARY KEY changed", BOTH, |of| matches!(of.write, Write::Rekey { table: Table::Item, .. });
    "a TEXT key changed", BOTH, |of| matches!(of.write, Write::Rekey { table: Table::Note, .. });
    "a key of two columns", BOTH, |of| matches!(of.write, Write::Update { table: Table::Pair, .. });
    "a key of two columns changed", BOTH, |of| matches!(of.write, Write::Rekey { table: Table::Pair, .. });
    "a key that ignores case", BOTH, |of| matches!(of.write, Write::Update { table: Table::Tag, .. });
    "a key that ignores case changed", BOTH, |of| matches!(of.write, Write::Rekey { table: Table::Tag, .. });
    "keys swapped", BOTH, |of| matches!(of.write, Write::Swap { own, with, .. } if own != with);
    "names that need quotes", BOTH, |of| matches!(of.write, Write::Update { table: Table::Odd, .. });
    "a unique value taken over from another row", BOTH, |of| matches!(of.write, Write::Claim { .. });
    "equal rows without a key", BOTH, |of| matches!(of.write, Write::Count { n: 1.. });
    "NULL in a row without a key", BOTH, |of| matches!(of.write, Write::Count { n: 0 });
    "one of several equal rows changed", BOTH, |of| matches!(of.write, Write::Recount { .. });
    "one of several equal rows deleted", BOTH, |of| matches!(of.write, Write::Uncount { .. });
    "a DELETE that leaves the database shorter", BOTH, |of| matches!(of.write, Write::Unload);
    "a table made and written to at once", BOTH, |of| of.is_own() && of.starts_with("CREATE TABLE");
    "a table that others make too", BOTH, |of| matches!(of.write, Write::Extra { .. }) && of.starts_with("CREATE TABLE");
    "ADD COLUMN under others' rows", BOTH, |of| matches!(of.write, Write::Widen { .. });
    "DROP COLUMN under others' rows", BOTH, |of| of.is_narrowing() && of.sql.contains(" DROP COLUMN ");
    "RENAME COLUMN under others' rows", BOTH, |of| of.is_narrowing() && of.sql.contains(" RENAME COLUMN ");
    "ADD COLUMN", BOTH, |of| of.is_own() && of.sql.contains(" ADD COLUMN ");
    "DROP COLUMN", BOTH, |of| of.is_own() && of.sql.contains(" DROP COLUMN ");
    "RENAME COLUMN", BOTH, |of| of.is_own() && of.sql.contains(" RENAME COLUMN ");
    "RENAME TO", BOTH, |of| of.is_own() && of.sql.contains(" RENAME TO ");
    "DROP TABLE", BOTH, |of| of.is_own() && of.starts_with("DROP TABLE");
    "CREATE INDEX", BOTH, |of| of.is_own() && of.starts_with("CREATE INDEX");
    "DROP INDEX", BOTH, |of| of.is_own() && of.starts_with("DROP INDEX");
    "CREATE UNIQUE INDEX that others' rows may break", BOTH, |of| of.starts_with("CREATE UNIQUE INDEX");
    "CREATE VIEW", BOTH, |of| of.starts_with("CREATE VIEW");
    "DROP VIEW", BOTH, |of| of.starts_with("DROP VIEW");
    "CREATE TRIGGER", BOTH, |of| of.starts_with("CREATE TRIGGER");
    "DROP TRIGGER", BOTH, |of| of.starts_with("DROP TRIGGER");
}

impl RanStatement<'_> {
    fn starts_with(&self, words: &str) -> bool {
        self.sql.starts_with(words)
    }

    fn is_own(&self) -> bool {
        matches!(self.write, Write::Own(_))
    }

    fn is_narrowing(&self) -> bool {
        matches!(self.write, Write::Narrow { .. })
    }
}
