//! The environment of a measurement: a remote in memory, and a client on real files or in memory.

use std::num::NonZero;
use std::ops::Range;
use std::sync::Arc;

use plimsoll_engine::{LocalStorage, Options, PushMode, Storage, SyncEngine};
use plimsoll_scenarios::meter::{Meter, MeteredRemote};
use plimsoll_sim::world::in_process::{InProcess, block_on};
use plimsoll_sim::world::memory::Memory;
use plimsoll_sim::world::remote::Remote;
use tempfile::TempDir;
use turso_core::{Connection, IO, PlatformIO, Value};

/// The number of rows that each operation moves.
pub const ROWS: usize = 10_000;
/// The number of rows per transaction.
const TRANSACTION_ROWS: usize = 100;
/// The length of a row's text in bytes.
const TEXT_BYTES: usize = 100;
/// The chunk size of bodies, in bytes.
const CHUNK_BYTES: usize = 1 << 16;

/// The place of a client's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Files {
    Real,
    Memory,
}

pub struct Stage {
    pub engine: SyncEngine<MeteredRemote<InProcess>>,
    pub meter: Meter,
    remote: InProcess,
    _directory: Option<TempDir>,
}

impl Stage {
    /// Creates a bootstrapped client of `remote`.
    pub fn open(files: Files, remote: &InProcess, push_mode: PushMode) -> Self {
        let meter = Meter::default();
        let (io, storage, directory): (Arc<dyn IO>, Arc<dyn Storage>, _) = match files {
            Files::Real => {
                let directory = tempfile::tempdir().expect("a temporary directory can be made");
                let io = Arc::new(PlatformIO::new().expect("the platform has files"));
                (io, Arc::new(LocalStorage), Some(directory))
            }
            Files::Memory => {
                let memory = Memory::create();
                (memory.clone(), memory, None)
            }
        };
        let metered = meter.around_files(io, storage);
        let way = meter.around_remote(remote.clone());
        let path = directory
            .as_ref()
            .map_or("client".into(), |directory| directory.path().join("client").display().to_string());
        let options = Options::new("bench").push_mode(push_mode);
        let engine = block_on(SyncEngine::open(metered.clone(), metered, way, &path, options))
            .expect("the client is bootstrapped");
        Self { engine, meter, remote: remote.clone(), _directory: directory }
    }

    /// Creates a client of a remote that already has `ROWS` rows.
    pub fn small(files: Files, push_mode: PushMode) -> Self {
        let stage = Self::open(files, &remote_with_rows(ROWS, TEXT_BYTES), push_mode);
        // One-time work is done before the measurement.
        block_on(stage.engine.sync()).expect("there is nothing to do");
        stage
    }

    /// Inserts new rows on the remote.
    pub fn write_remotely(&self, rows: usize) {
        write_remotely(&self.remote, ROWS..ROWS + rows, TEXT_BYTES);
    }

    /// Inserts new rows into the local database. Their keys differ from those of the remote's rows.
    pub fn write_locally(&self, rows: usize) {
        let connection = self.engine.connect().expect("a connection");
        let mut statement = connection.prepare("INSERT INTO item VALUES (?, ?)").expect("it is sound");
        for keys in transactions(3 * ROWS..3 * ROWS + rows) {
            connection.execute("BEGIN").expect("a transaction");
            for k in keys {
                let row = [Value::from_i64(k as i64), Value::build_text(format!("{k:0TEXT_BYTES$}"))];
                statement.execute(&row).expect("the rows are new");
            }
            connection.execute("COMMIT").expect("there is no other writer");
        }
    }

    pub fn pull(&self) -> u64 {
        block_on(self.engine.pull()).expect("nothing fails").body_bytes
    }

    pub fn push(&self) -> u64 {
        block_on(self.engine.push()).expect("nothing fails").transactions
    }
}

/// A remote whose snapshot holds this many rows with texts of this length.
pub fn remote_with_rows(rows: usize, text_bytes: usize) -> InProcess {
    let remote = InProcess::new(Remote::create(Memory::create(), "remote.db"), CHUNK_BYTES);
    let create = "CREATE TABLE item (k INTEGER PRIMARY KEY, v TEXT)";
    remote
        .with_remote(|remote| remote.transact(|connection| connection.execute(create)))
        .expect("the table is new");
    write_remotely(&remote, 0..rows, text_bytes);
    assert!(remote.with_remote(Remote::checkpoint), "the rows move into the snapshot");
    remote
}

fn write_remotely(remote: &InProcess, keys: Range<usize>, text_bytes: usize) {
    for keys in transactions(keys) {
        remote
            .with_remote(|remote| remote.transact(|connection| insert(connection, keys, text_bytes)))
            .expect("the rows are new");
    }
}

fn transactions(keys: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let end = keys.end;
    keys.step_by(TRANSACTION_ROWS).map(move |first| first..end.min(first + TRANSACTION_ROWS))
}

fn insert(connection: &Arc<Connection>, keys: Range<usize>, text_bytes: usize) -> turso_core::Result<()> {
    let mut statement = connection.prepare("INSERT INTO item VALUES (?, ?)")?;
    for k in keys {
        statement.reset()?;
        statement.bind_at(NonZero::<usize>::MIN, Value::from_i64(k as i64))?;
        let text = Value::build_text(format!("{k:0text_bytes$}"));
        statement.bind_at(NonZero::<usize>::MIN.saturating_add(1), text)?;
        statement.run_ignore_rows()?;
    }
    Ok(())
}
