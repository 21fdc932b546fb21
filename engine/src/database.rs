//! Databases and connections of the core, always with the same settings.
//!
//! Every connection is created by [`connect`]. Automatic WAL actions are off, because only the engine decides
//! when a WAL is moved, truncated or restarted. A failed sync is an error and not a panic. Temporary tables
//! stay in memory.

use std::num::NonZero;
use std::sync::Arc;

use turso_core::{
    Connection, Database, DatabaseOpts, IO, LimboError, OpenFlags, OpenOptions, SqliteDialect, TempStore,
    Value,
};

pub(crate) const CHANGE_LOG: &str = "turso_cdc";

/// Whether a connection's changes go to the change log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Capture {
    On,
    Off,
}

/// Opens a database whose files exist. Generated columns are enabled: without that the core refuses a schema
/// that contains them, and the remote's schema may.
pub(crate) fn open(io: &Arc<dyn IO>, path: &str) -> turso_core::Result<Arc<Database>> {
    let opts = DatabaseOpts::new().with_generated_columns(true);
    let options = OpenOptions::new(Arc::new(SqliteDialect)).flags(OpenFlags::None).db_opts(opts);
    Database::open(io.clone(), path, options)
}

/// Opens a connection. With capture on, this needs a write transaction if the change log does not exist yet.
pub(crate) fn connect(database: &Arc<Database>, capture: Capture) -> turso_core::Result<Arc<Connection>> {
    let connection = database.connect()?;
    connection.wal_auto_actions_disable();
    connection.set_data_sync_retry(true);
    connection.set_temp_store(TempStore::Memory);
    if capture == Capture::On {
        begin_capture(&connection)?;
    }
    Ok(connection)
}

/// Starts to record this connection's changes. This needs a write transaction if the change log does not
/// exist yet.
pub(crate) fn begin_capture(connection: &Arc<Connection>) -> turso_core::Result<()> {
    connection.execute(format!("PRAGMA capture_data_changes_conn('full,{CHANGE_LOG}')"))
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

/// Whether the database has a table or a view of this name. Temporary tables do not count.
pub(crate) fn has_table_or_view(connection: &Arc<Connection>, name: &str) -> turso_core::Result<bool> {
    let rows = run(
        connection,
        "SELECT 1 FROM main.sqlite_schema WHERE type IN ('table', 'view') AND lower(name) = lower(?)",
        &[Value::build_text(name.to_owned())],
    )?;
    Ok(!rows.is_empty())
}

/// An SQL transaction that rolls back unless it is committed.
pub(crate) struct Transaction<'a> {
    connection: &'a Arc<Connection>,
    open: bool,
}

impl<'a> Transaction<'a> {
    /// Begins a transaction. Its first statement takes the snapshot, and its first write takes the write
    /// lock. `BEGIN IMMEDIATE` would take the lock at once, but in this core it also creates a temporary
    /// database for the connection, at a hundred times the cost.
    pub(crate) fn begin(connection: &'a Arc<Connection>) -> turso_core::Result<Self> {
        connection.execute("BEGIN")?;
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
