//! Places in the change log between two transactions, and what is known there, so that reading need not begin at the last rebase.
//!
//! They live in memory: whoever opens the database reads the log once from its beginning. A rebase writes the log anew, and no
//! bookmark is good any more.

use std::collections::BTreeSet;
use std::sync::Arc;

use turso_core::Connection;

use super::schema::Schema;
use super::{SCHEMA_BASE_TABLE, TEMPORARY};
use crate::database;

/// One place.
#[derive(Debug, Clone, Default)]
pub(crate) struct Bookmark {
    /// The record before it.
    pub(super) change_id: i64,
    /// The number of the last transaction before it.
    pub(super) no: u64,
    /// The local schema there.
    pub(super) schema: Arc<Schema>,
    /// Names of temporary tables there.
    pub(super) temporary: BTreeSet<String>,
}

impl Bookmark {
    /// The log's beginning; what was there is what the last rebase has written down, or what is there now if there was none.
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

/// The places that are worth remembering.
#[derive(Debug, Clone, Default)]
pub(crate) struct Bookmarks {
    /// Behind the last transaction that was known to be acknowledged.
    pub(super) acknowledged: Option<Bookmark>,
    /// Where the log ended: what was read up to there may be acknowledged by now.
    pub(super) end: Option<Bookmark>,
}

impl Bookmarks {
    /// The last one that has nothing before it but transactions up to this number.
    pub(super) fn last_before(&self, acknowledged: u64) -> Option<&Bookmark> {
        [&self.end, &self.acknowledged].into_iter().flatten().find(|bookmark| bookmark.no <= acknowledged)
    }
}
