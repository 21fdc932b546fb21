//! Bookmarks: places in the change log between two transactions, with the state at that place, so that a read
//! need not start at the last rebase.
//!
//! They are in memory only. After opening, the log is read once from its start. A rebase rewrites the log,
//! and all bookmarks become invalid.

use std::collections::BTreeSet;
use std::sync::Arc;

use turso_core::Connection;

use super::schema::Schema;
use super::{SCHEMA_BASE_TABLE, TEMPORARY};
use crate::database;

#[derive(Debug, Clone, Default)]
pub(crate) struct Bookmark {
    /// The record before the place.
    pub(super) change_id: i64,
    /// The number of the last transaction before the place.
    pub(super) no: u64,
    /// The local schema at the place.
    pub(super) schema: Arc<Schema>,
    /// The names of temporary tables at the place.
    pub(super) temporary: BTreeSet<String>,
}

impl Bookmark {
    /// The log's start. Its schema is the one that the last rebase stored, or Draft's present schema if there
    /// was no rebase.
    pub(super) fn of_base(connection: &Arc<Connection>, current: &Schema) -> turso_core::Result<Self> {
        if !database::has_table(connection, SCHEMA_BASE_TABLE)? {
            return Ok(Self { schema: Arc::new(current.clone()), ..Self::default() });
        }
        let sql = format!("SELECT name FROM {SCHEMA_BASE_TABLE} WHERE type = '{TEMPORARY}'");
        let names = database::run(connection, &sql, &[])?;
        let temporary = names.iter().filter_map(|row| row[0].to_text().map(str::to_owned)).collect();
        let schema = Arc::new(Schema::read(connection, SCHEMA_BASE_TABLE)?);
        Ok(Self { schema, temporary, ..Self::default() })
    }
}

/// The bookmarks to keep.
#[derive(Debug, Clone, Default)]
pub(crate) struct Bookmarks {
    /// After the last transaction that was known to be acknowledged.
    pub(super) acknowledged: Option<Bookmark>,
    /// The end of the log at the last read. The transactions before it may be acknowledged by now.
    pub(super) end: Option<Bookmark>,
}

impl Bookmarks {
    /// Returns the last bookmark that has only transactions up to this number before it.
    pub(super) fn last_before(&self, acknowledged: u64) -> Option<&Bookmark> {
        [&self.end, &self.acknowledged].into_iter().flatten().find(|bookmark| bookmark.no <= acknowledged)
    }
}
