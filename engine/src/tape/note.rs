//! Records the changes that the core's capture omits, in the same transaction.
//!
//! The core does not record views, triggers, or renames of tables and columns. Such a statement runs between
//! two reads of the schema, and each difference becomes a captured row of [`SCHEMA_CHANGE_TABLE`]. So the
//! change has its place among the others, and reaches all clients together with them.

use std::sync::Arc;

use turso_core::Connection;

use super::SCHEMA_TABLE;
use super::bookmark::Bookmark;
use super::change::{SCHEMA_CHANGE_TABLE, SchemaChange};
use super::local::LocalSchema;
use super::schema::Schema;
use crate::database;

/// A statement that changes nothing and takes the database's write lock.
pub(crate) fn take_write_lock() -> String {
    format!("DELETE FROM {SCHEMA_CHANGE_TABLE} WHERE 0")
}

/// The schema at one moment of a transaction.
pub(crate) struct SchemaNow(Schema);

impl SchemaNow {
    /// Reads the present schema.
    pub(crate) fn read(connection: &Arc<Connection>) -> turso_core::Result<Self> {
        Schema::read(connection, SCHEMA_TABLE).map(Self)
    }

    /// Records the changes since then that the core does not record.
    pub(crate) fn note_difference(self, connection: &Arc<Connection>) -> turso_core::Result<()> {
        let after = Schema::read(connection, SCHEMA_TABLE)?;
        let start = Bookmark { schema: Arc::new(self.0), ..Bookmark::default() };
        let difference = LocalSchema::new(&start, after, std::iter::empty()).difference_to_current();
        for note in difference.iter().filter_map(SchemaChange::note) {
            database::run(connection, &note.sql, &note.args)?;
        }
        Ok(())
    }
}
