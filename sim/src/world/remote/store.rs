//! The remote's database: all calls to turso_core.
//!
//! The simulator's SQL runs on one shared connection, as on a server whose requests share a pool. No caller
//! leaves a transaction open on it. Each raw session gets its own connection, and so does each request of a
//! served remote. Every connection is configured in one
//! place ([`configure`]): it does not checkpoint on its own, does not panic on a failed sync, and does not
//! sort in a temporary file of the host.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::Arc;

use turso_core::{
    CheckpointMode, Connection, Database, DatabaseOpts, IO, LimboError, OpenOptions, Row, SqliteDialect,
    Statement, TempStore, Value,
};

use super::files;
use super::posted_page::RootKind;
use crate::judge::format::{FRAME_BYTES, WAL_HEADER_BYTES, WalHeader};
use crate::judge::remote_log::CONTRADICTION;

#[derive(Debug, Clone)]
pub(super) struct BoundStatement {
    /// Must be exactly one statement.
    pub sql: String,
    /// Argument n is bound to parameter n + 1. Parameters without an argument are NULL.
    pub args: Vec<Value>,
    /// Arguments by the names of their parameters, with or without the first character (`:`, `@`, `$` or `?`).
    pub named_args: Vec<(String, Value)>,
}

impl BoundStatement {
    pub fn new(sql: impl Into<String>) -> BoundStatement {
        BoundStatement { sql: sql.into(), args: Vec::new(), named_args: Vec::new() }
    }

    pub fn with_args(self, args: impl IntoIterator<Item = Value>) -> BoundStatement {
        BoundStatement { args: args.into_iter().collect(), ..self }
    }

    pub fn with_named_args(self, args: impl IntoIterator<Item = (String, Value)>) -> BoundStatement {
        BoundStatement { named_args: args.into_iter().collect(), ..self }
    }
}

/// The result of a statement.
#[derive(Debug)]
pub(super) struct Executed {
    pub columns: Vec<String>,
    pub rows: Vec<Vec<Value>>,
    pub affected_row_count: i64,
    /// The rowid of the connection's last insert; 0 before the first.
    pub last_insert_rowid: i64,
}

pub struct Store {
    io: Arc<dyn IO>,
    path: String,
    /// The number of copies before this one.
    number: u32,
    database: Arc<Database>,
    shared: Arc<Connection>,
}

impl Store {
    /// Creates a durable database in WAL mode, with one empty page and an empty WAL.
    pub fn create(io: Arc<dyn IO>, path: &str) -> Result<Store, LimboError> {
        let store = Store::open(io, path)?;
        // The core writes page 1 with the first transaction. This transaction changes nothing else.
        store.shared.execute("PRAGMA user_version = 0")?;
        store.checkpoint()?;
        Ok(store)
    }

    fn open(io: Arc<dyn IO>, path: &str) -> Result<Store, LimboError> {
        let database = Database::open(io.clone(), path, options())?;
        let shared = database.connect()?;
        configure(&shared);
        Ok(Store { io, path: path.to_owned(), number: 0, database, shared })
    }

    /// Creates a database with these bytes in files beside the current ones, the `number`-th such copy. The files of a database that the
    /// core has open must not be replaced.
    pub fn beside(&self, number: u32, main: &[u8], wal: &[u8]) -> Result<Store, LimboError> {
        let base = self.path.rsplit_once('~').map_or(self.path.as_str(), |(base, _)| base);
        let path = format!("{base}~{number}");
        files::write_all(&self.io, &path, main)?;
        files::write_all(&self.io, &files::wal_path(&path), wal)?;
        Ok(Store { number, ..Store::open(self.io.clone(), &path)? })
    }

    /// Opens a database that another process may have left in any state. Syncs the transactions in its WAL,
    /// because answers will mention them.
    pub fn recover(io: Arc<dyn IO>, path: &str) -> Result<Store, LimboError> {
        let store = Store::open(io, path)?;
        store.sync()?;
        Ok(store)
    }

    /// Opens the same database on another boot of its machine.
    pub fn reopen(&self, io: Arc<dyn IO>) -> Result<Store, LimboError> {
        Ok(Store { number: self.number, ..Store::recover(io, &self.path)? })
    }

    /// Opens the same database once more, with an empty memory. This store must be dropped then.
    pub(super) fn renewed(&self) -> Result<Store, LimboError> {
        let database = Database::do_open(self.io.clone(), &self.path, options())?;
        let shared = database.connect()?;
        configure(&shared);
        let (io, path, number) = (self.io.clone(), self.path.clone(), self.number);
        Ok(Store { io, path, number, database, shared })
    }

    fn sync(&self) -> Result<(), LimboError> {
        files::sync(&self.io, &self.path)?;
        files::sync(&self.io, &files::wal_path(&self.path))
    }

    pub fn io(&self) -> &Arc<dyn IO> {
        &self.io
    }

    /// The connection that SQL runs on. A caller that opens a transaction on it must end it, see
    /// [`roll_back`].
    pub fn shared(&self) -> &Arc<Connection> {
        &self.shared
    }

    /// Opens a connection for one raw session, or for one request. Dropping it ends what is open on it.
    pub fn connect(&self) -> Result<Arc<Connection>, LimboError> {
        let connection = self.database.connect()?;
        configure(&connection);
        Ok(connection)
    }

    /// Runs `work` in one transaction: commits all of it, or nothing.
    pub fn transact<T>(
        &self,
        work: impl FnOnce(&Arc<Connection>) -> Result<T, LimboError>,
    ) -> Result<T, LimboError> {
        self.shared.execute("BEGIN")?;
        let done = work(&self.shared).and_then(|value| self.shared.execute("COMMIT").map(|()| value));
        roll_back(&self.shared)?;
        done
    }

    /// The number of the schema's version.
    pub fn schema_version(&self) -> Result<u32, LimboError> {
        let version = execute(&self.shared, &BoundStatement::new("PRAGMA schema_version"))?;
        Ok(version.rows[0][0].as_int().unwrap_or_default() as u32)
    }

    /// The root pages whose kind the schema tells. That of a table WITHOUT ROWID is an index, and its text would have to
    /// be parsed.
    pub(super) fn roots(&self) -> Result<BTreeMap<u32, RootKind>, LimboError> {
        const ROOTS: &str = "SELECT rootpage, type = 'index' FROM sqlite_schema \
                             WHERE rootpage > 1 AND coalesce(sql, '') NOT LIKE '%without%'";
        let found = execute(&self.shared, &BoundStatement::new(ROOTS))?;
        let root = |row: &Vec<Value>| {
            let kind = if row[1].as_int()? == 1 { RootKind::Index } else { RootKind::Table };
            Some((u32::try_from(row[0].as_int()?).ok()?, kind))
        };
        Ok(found.rows.iter().filter_map(root).collect())
    }

    /// Appends complete transactions to the WAL and syncs it.
    pub fn append(&self, first_frame_no: u64, frames: &[[u8; FRAME_BYTES]]) -> Result<(), LimboError> {
        let connection = self.connect()?;
        // On an error the connection is dropped inside its session. That ends the session and discards its
        // incomplete tail.
        connection.wal_insert_begin()?;
        for (frame_no, frame) in (first_frame_no..).zip(frames) {
            connection.wal_insert_frame(frame_no, frame)?;
        }
        connection.wal_insert_end(true)?;
        // The end of the session syncs only if the core believes that the session wrote something.
        files::sync(&self.io, &files::wal_path(&self.path))
    }

    /// Moves the WAL into the main file and empties it, durably.
    pub fn checkpoint(&self) -> Result<(), LimboError> {
        self.shared.checkpoint(CheckpointMode::Truncate { upper_bound_inclusive: None })?;
        let wal_bytes = files::size(&self.io, &files::wal_path(&self.path))?;
        assert_eq!(wal_bytes, 0, "{CONTRADICTION}: its WAL is not empty after a checkpoint");
        self.sync()
    }

    /// The number of frames in the WAL that belong to committed transactions. The file may be longer: a
    /// failed transaction leaves its frames behind until others overwrite them.
    pub fn frame_count(&self) -> Result<u64, LimboError> {
        let connection = self.connect()?;
        // The state is that of the connection's snapshot, and a raw session takes a snapshot without reading
        // a page. Dropping the connection ends the session.
        connection.wal_insert_begin()?;
        let state = connection.wal_state()?;
        Ok(state.max_frame)
    }

    pub fn main(&self) -> Result<Vec<u8>, LimboError> {
        files::read_all(&self.io, &self.path)
    }

    pub fn wal(&self) -> Result<Vec<u8>, LimboError> {
        files::read_all(&self.io, &files::wal_path(&self.path))
    }

    pub fn wal_header(&self) -> Result<Option<WalHeader>, LimboError> {
        let header = files::read(&self.io, &files::wal_path(&self.path), 0..WAL_HEADER_BYTES as u64)?;
        Ok(WalHeader::parse(&header))
    }

    /// The bytes of the frames after number `after`, up to and including number `last`.
    pub fn wal_frames(&self, after: u64, last: u64) -> Result<Vec<u8>, LimboError> {
        let offset = |frame_count: u64| WAL_HEADER_BYTES as u64 + frame_count * FRAME_BYTES as u64;
        files::read(&self.io, &files::wal_path(&self.path), offset(after)..offset(last))
    }
}

/// A server may support more than the clients' core: here, tables WITHOUT ROWID and generated columns.
fn options() -> OpenOptions {
    let opts = DatabaseOpts::new().with_without_rowid(true).with_generated_columns(true);
    OpenOptions::new(Arc::new(SqliteDialect)).db_opts(opts)
}

pub(super) fn configure(connection: &Connection) {
    connection.wal_auto_actions_disable();
    connection.set_data_sync_retry(true);
    connection.set_temp_store(TempStore::Memory);
}

/// Runs one statement to completion.
pub(super) fn execute(
    connection: &Arc<Connection>,
    statement: &BoundStatement,
) -> Result<Executed, LimboError> {
    run(connection, prepare(connection, statement)?, |_| Ok(()))
}

/// Compiles a statement and binds its arguments.
pub(super) fn prepare(
    connection: &Arc<Connection>,
    statement: &BoundStatement,
) -> Result<Statement, LimboError> {
    let mut prepared = connection.prepare(&statement.sql)?;
    if !statement.sql[prepared.tail_offset()..].trim_matches([' ', '\n', '\t', ';']).is_empty() {
        return Err(LimboError::InvalidArgument("more than one statement".to_owned()));
    }
    if statement.args.len() > prepared.parameters_count() {
        return Err(LimboError::InvalidArgument("more arguments than parameters".to_owned()));
    }
    for (index, value) in (1..).zip(&statement.args) {
        let index = NonZero::new(index).expect("parameters count from 1");
        prepared.bind_at(index, value.clone())?;
    }
    for (name, value) in &statement.named_args {
        let index = index_of(&prepared, name)
            .ok_or_else(|| LimboError::InvalidArgument(format!("no parameter is named `{name}`")))?;
        prepared.bind_at(index, value.clone())?;
    }
    Ok(prepared)
}

/// The number of the parameter with this name.
fn index_of(prepared: &Statement, name: &str) -> Option<NonZero<usize>> {
    let prefixed = [":", "@", "$"].map(|prefix| format!("{prefix}{name}"));
    let names = std::iter::once(name).chain(prefixed.iter().map(String::as_str));
    let numbered = || name.strip_prefix('?')?.parse().ok().filter(|no| *no <= prepared.parameters_count());
    names
        .into_iter()
        .find_map(|name| prepared.parameter_index(name))
        .or_else(|| numbered().and_then(NonZero::new))
}

/// Runs a prepared statement to completion, or until `admit` fails for a row.
pub(super) fn run(
    connection: &Connection,
    mut prepared: Statement,
    mut admit: impl FnMut(&Row) -> Result<(), LimboError>,
) -> Result<Executed, LimboError> {
    let mut rows = Vec::new();
    prepared.run_with_row_callback(|row| {
        admit(row)?;
        rows.push(row.get_values().cloned().collect());
        Ok(())
    })?;
    let columns = (0..prepared.num_columns()).map(|index| prepared.get_column_name(index).into_owned());
    let (affected_row_count, last_insert_rowid) = (prepared.n_change(), connection.last_insert_rowid());
    Ok(Executed { columns: columns.collect(), rows, affected_row_count, last_insert_rowid })
}

/// Rolls back the open transaction, if there is one.
pub(super) fn roll_back(connection: &Arc<Connection>) -> Result<(), LimboError> {
    if connection.get_auto_commit() {
        return Ok(());
    }
    connection.execute("ROLLBACK")
}
