//! The queries that read the content of a database.

use turso_core::Value;

use super::row::row_name;
use super::{Writer, own};

/// Queries for the rows of the initial tables, by name. Extra tables and the writers' own tables need
/// separate queries.
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

/// The tokens of `quiet`, one per writer.
pub const QUIET: &str = "SELECT token FROM quiet ORDER BY writer";

/// The rows of `loose`, and whether its unique index exists. The acknowledged transactions do not determine
/// this content, because the index of one writer may fail on the rows of another. At the end the content must
/// be the same in every database.
pub const LOOSE: &str = "SELECT 'row', v, count(*) FROM loose GROUP BY v \
     UNION ALL SELECT 'rule', name, 1 FROM sqlite_schema WHERE name = 'loose_rule' ORDER BY 1, 2";

const EXTRA_TABLES: &str =
    "SELECT name FROM sqlite_schema WHERE type = 'table' AND name LIKE 'extra%' ORDER BY name";

/// Finds a temporary table that has become permanent, which must not happen.
const SCRATCH_TABLES: &str = "SELECT name, type FROM sqlite_schema WHERE name = 'scratch'";

/// The name of a writer's row in `quiet`.
pub fn quiet_row(writer: Writer) -> String {
    row_name("quiet", writer)
}

/// Every row outside `log`, by name.
///
/// # Errors
/// The first error of `query`.
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
