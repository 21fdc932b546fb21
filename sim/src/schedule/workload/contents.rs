//! The queries that read back what was written.

use turso_core::Value;

use super::row::row_name;
use super::{Writer, own};

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
