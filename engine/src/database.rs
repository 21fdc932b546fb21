//! Databases and connections of the core, always with the same settings.
//!
//! Every connection goes through [`connect`]: automatic WAL actions are off, because the engine alone decides when a WAL is
//! moved, cut or restarted; a failed sync is an error and not a panic; temporary tables stay in memory.

use std::num::NonZero;
use std::sync::Arc;

use turso_core::{Connection, Database, IO, LimboError, OpenFlags, OpenOptions, SqliteDialect, Value};

/// The change log's table in Draft.
pub(crate) const CHANGE_LOG: &str = "turso_cdc";

/// Whether a connection's changes go to the change log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Capture {
    On,
    Off,
}

/// Opens a database whose files exist.
pub(crate) fn open(io: &Arc<dyn IO>, path: &str) -> turso_core::Result<Arc<Database>> {
    let options = OpenOptions::new(Arc::new(SqliteDialect)).flags(OpenFlags::None);
    Database::open(io.clone(), path, options)
}

/// Connects. With capture on this is a write transaction if the change log does not exist yet.
pub(crate) fn connect(database: &Arc<Database>, capture: Capture) -> turso_core::Result<Arc<Connection>> {
    let connection = database.connect()?;
    connection.wal_auto_actions_disable();
    connection.execute("PRAGMA data_sync_retry = 1")?;
    connection.execute("PRAGMA temp_store = MEMORY")?;
    if capture == Capture::On {
        connection.execute(format!("PRAGMA capture_data_changes_conn('full,{CHANGE_LOG}')"))?;
    }
    Ok(connection)
}

/// Runs one statement with positional arguments and returns its rows.
pub(crate) fn run(
    connection: &Arc<Connection>,
    sql: &str,
    args: &[Value],
) -> turso_core::Result<Vec<Vec<Value>>> {
    let mut statement = connection.prepare(sql)?;
    for (index, value) in (1..).zip(args) {
        let index = NonZero::new(index).ok_or_else(|| LimboError::InvalidArgument("parameter 0".into()))?;
        statement.bind_at(index, value.clone())?;
    }
    statement.run_collect_rows()
}

/// Whether the database has a table of this name.
pub(crate) fn has_table(connection: &Arc<Connection>, table: &str) -> turso_core::Result<bool> {
    let rows = run(
        connection,
        "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?",
        &[Value::build_text(table.to_owned())],
    )?;
    Ok(!rows.is_empty())
}

/// An SQL transaction that is rolled back unless it was committed.
pub(crate) struct Transaction<'a> {
    connection: &'a Arc<Connection>,
    open: bool,
}

impl<'a> Transaction<'a> {
    /// Begins one that reads a single snapshot.
    pub(crate) fn begin_read(connection: &'a Arc<Connection>) -> turso_core::Result<Self> {
        Self::begin(connection, "BEGIN")
    }

    /// Begins one that writes.
    pub(crate) fn begin_write(connection: &'a Arc<Connection>) -> turso_core::Result<Self> {
        Self::begin(connection, "BEGIN IMMEDIATE")
    }

    fn begin(connection: &'a Arc<Connection>, sql: &str) -> turso_core::Result<Self> {
        connection.execute(sql)?;
        Ok(Self { connection, open: true })
    }

    pub(crate) fn commit(mut self) -> turso_core::Result<()> {
        self.open = false;
        let outcome = self.connection.execute("COMMIT");
        if outcome.is_err() && !self.connection.get_auto_commit() {
            self.open = true;
        }
        outcome
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if self.open
            && let Err(error) = self.connection.execute("ROLLBACK")
        {
            tracing::warn!(%error, "could not roll back");
        }
    }
}
