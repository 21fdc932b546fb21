//! Where a script runs: on the simulator's disk, or on real files through the core's platform IO.
//!
//! The same script has to give the same results in both places.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use plimsoll_engine::{LocalConnection, LocalStorage, Options, Result, Storage, SyncEngine};
use plimsoll_sim::world::clock::{self, ClockGuard};
use plimsoll_sim::world::disk::{Disk, DiskCopy};
use plimsoll_sim::world::in_process::{InProcess, block_on};
use plimsoll_sim::world::remote::Remote;
use plimsoll_sim::world::trace::{Lane, Trace};
use turso_core::{
    Connection, Database, IO, MemoryIO, OpenFlags, OpenOptions, PlatformIO, SqliteDialect, Value,
};

/// The engine as scripts use it.
pub type Engine = SyncEngine<InProcess>;

/// A file system for clients, and a remote.
pub struct Sandbox {
    io: Arc<dyn IO>,
    storage: Arc<dyn Storage>,
    directory: String,
    /// The way to the remote.
    pub remote: InProcess,
    keep: Keep,
}

/// What has to live as long as the files do.
enum Keep {
    Simulated { disk: Disk, _clock: ClockGuard },
    Real { _directory: tempfile::TempDir },
}

impl Sandbox {
    /// On a simulated disk, in virtual time. One at a time on a thread.
    pub fn simulated() -> Self {
        let clock = clock::enter(0);
        let trace = Arc::new(Mutex::new(Trace::new(false)));
        let disk = Disk::new(Lane::Client(0), 7, trace);
        let io = disk.io();
        Self {
            io: io.clone(),
            storage: io,
            directory: "clients".into(),
            remote: new_remote(),
            keep: Keep::Simulated { disk, _clock: clock },
        }
    }

    /// In a temporary directory of the machine.
    ///
    /// # Panics
    /// If there can be none.
    pub fn real() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        Self {
            io: Arc::new(PlatformIO::new().expect("the platform has files")),
            storage: Arc::new(LocalStorage),
            directory: directory.path().display().to_string(),
            remote: new_remote(),
            keep: Keep::Real { _directory: directory },
        }
    }

    /// Opens a client's engine.
    ///
    /// # Errors
    /// Those of [`SyncEngine::open`].
    pub fn open(&self, client: &str) -> Result<Engine> {
        block_on(self.open_async(client))
    }

    /// Opens a client's engine.
    ///
    /// # Errors
    /// Those of [`SyncEngine::open`].
    pub async fn open_async(&self, client: &str) -> Result<Engine> {
        self.open_with_async(client, |options| options).await
    }

    /// Opens a client's engine with other options than usual.
    ///
    /// # Errors
    /// Those of [`SyncEngine::open`].
    pub fn open_with(&self, client: &str, change: impl FnOnce(Options) -> Options) -> Result<Engine> {
        block_on(self.open_with_async(client, change))
    }

    async fn open_with_async(&self, client: &str, change: impl FnOnce(Options) -> Options) -> Result<Engine> {
        self.open_as(client, self.remote.clone(), change).await
    }

    /// Opens a client's engine that reaches the remote by another way.
    ///
    /// # Errors
    /// Those of [`SyncEngine::open`].
    pub async fn open_through<R: plimsoll_engine::Remote>(
        &self,
        client: &str,
        remote: R,
    ) -> Result<SyncEngine<R>> {
        self.open_as(client, remote, |options| options).await
    }

    async fn open_as<R: plimsoll_engine::Remote>(
        &self,
        client: &str,
        remote: R,
        change: impl FnOnce(Options) -> Options,
    ) -> Result<SyncEngine<R>> {
        let options = change(Options::new(client).pull_batch_frames(3));
        SyncEngine::open(self.io.clone(), self.storage.clone(), remote, &self.path(client), options).await
    }

    /// The application path of a client.
    pub fn path(&self, client: &str) -> String {
        format!("{}/{client}.db", self.directory)
    }

    /// Bytes of one of a client's files, by its ending.
    ///
    /// # Panics
    /// If it is not there.
    pub fn length(&self, client: &str, ending: &str) -> u64 {
        let path = format!("{}-{ending}", self.path(client));
        self.io
            .open_file(&path, OpenFlags::None, false)
            .and_then(|file| file.size())
            .expect("the file is there")
    }

    /// A copy of all clients' files. Only on a simulated disk.
    ///
    /// # Panics
    /// On real files.
    pub fn copy(&self) -> DiskCopy {
        self.disk().copy()
    }

    /// Makes the files what they were when the copy was taken. No engine may be open, and only a simulated disk can.
    ///
    /// # Panics
    /// On real files.
    pub fn put_back(&mut self, copy: &DiskCopy) {
        self.disk().put_back(copy);
        let io = self.disk().io();
        (self.io, self.storage) = (io.clone(), io);
    }

    fn disk(&self) -> &Disk {
        match &self.keep {
            Keep::Simulated { disk, .. } => disk,
            Keep::Real { .. } => panic!("real files are not copied"),
        }
    }

    /// The file system, for looking at files and for damaging them.
    pub fn io(&self) -> &Arc<dyn IO> {
        &self.io
    }

    /// A connection of the core's own to a client's file, without any of the engine's care.
    ///
    /// # Panics
    /// If there can be none.
    pub fn raw_connection(&self, path: &str) -> Arc<Connection> {
        let options = OpenOptions::new(Arc::new(SqliteDialect));
        Database::open(self.io.clone(), path, options)
            .and_then(|database| database.connect())
            .expect("the file can be opened")
    }

    /// Runs statements on the remote, in one transaction.
    ///
    /// # Panics
    /// If one is wrong.
    pub fn remote_executes(&self, statements: &[&str]) {
        self.remote.with_remote(|remote| {
            remote
                .transact(|connection| statements.iter().try_for_each(|sql| connection.execute(sql)))
                .expect("the script's statements are sound");
        });
    }

    /// Rows of a query on the remote, one string a row.
    pub fn remote_rows(&self, sql: &str) -> Vec<String> {
        self.remote.with_remote(|remote| join(remote.query(sql)))
    }
}

/// The remote is no part of what is compared: it always lives in memory.
fn new_remote() -> InProcess {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    // The core's registry knows a file in memory by its path, process-wide.
    let path = format!("remote-{}.db", NEXT.fetch_add(1, Ordering::Relaxed));
    InProcess::new(Remote::create(Arc::new(MemoryIO::new()), &path), 1000)
}

/// Rows of a query, one string a row, values joined by `|`.
///
/// # Panics
/// If the query is wrong.
pub fn rows(connection: &LocalConnection, sql: &str) -> Vec<String> {
    join(connection.query(sql, &[]).expect("the query is sound"))
}

fn join(rows: Vec<Vec<Value>>) -> Vec<String> {
    rows.iter().map(|row| row.iter().map(ToString::to_string).collect::<Vec<_>>().join("|")).collect()
}
