//! Writes down what the core's capture leaves out, in the very transaction that does it.
//!
//! The core does not record views and triggers, nor that a table or a column got another name. A statement that does such a thing
//! runs between two looks at the schema, and each difference becomes a captured row of [`SCHEMA_CHANGE_TABLE`]. So it has its place
//! among the other changes, and reaches everybody together with them.

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

/// The schema as it was at some moment of a transaction.
pub(crate) struct SchemaNow(Schema);

impl SchemaNow {
    /// Looks at it.
    pub(crate) fn read(connection: &Arc<Connection>) -> turso_core::Result<Self> {
        Schema::read(connection, SCHEMA_TABLE).map(Self)
    }

    /// Writes down what has become of it since, as far as the core does not record it.
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
