//! The two places in which a script runs: the simulator's disk, and real files through the core's platform
//! IO. The same script must give the same results in both.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use plimsoll_engine::{LocalConnection, LocalStorage, Options, Result, Storage, SyncEngine};
use plimsoll_sim::fault::CrashKind;
use plimsoll_sim::world::clock::{self, ClockGuard};
use plimsoll_sim::world::disk::{Disk, DiskCopy};
use plimsoll_sim::world::in_process::{InProcess, block_on};
use plimsoll_sim::world::remote::Remote;
use plimsoll_sim::world::trace::{Lane, Trace};
use turso_core::{
    Connection, Database, IO, MemoryIO, OpenFlags, OpenOptions, PlatformIO, SqliteDialect, Value,
};

/// The engine type of scripts.
pub type Engine = SyncEngine<InProcess>;

/// A file system for clients, and a remote.
pub struct Sandbox {
    io: Arc<dyn IO>,
    storage: Arc<dyn Storage>,
    directory: String,
    pub remote: InProcess,
    keep: Keep,
}

/// Keeps the files alive.
enum Keep {
    Simulated {
        disk: Disk,
        _clock: ClockGuard,
    },
    Real {
        _directory: tempfile::TempDir,
    },
    /// Another sandbox keeps the files.
    Elsewhere,
}

impl Sandbox {
    /// A sandbox on a simulated disk, in virtual time. Each thread can have one such sandbox at a time.
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

    /// A sandbox in a temporary directory of the machine.
    ///
    /// # Panics
    /// If the directory cannot be created.
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

    /// The same files and the same remote, by another path to the directory.
    pub fn seen_from(&self, directory: &str) -> Self {
        Self {
            io: self.io.clone(),
            storage: self.storage.clone(),
            directory: directory.into(),
            remote: self.remote.clone(),
            keep: Keep::Elsewhere,
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

    /// Opens a client's engine, with `change` applied to the usual options.
    ///
    /// # Errors
    /// Those of [`SyncEngine::open`].
    pub fn open_with(&self, client: &str, change: impl FnOnce(Options) -> Options) -> Result<Engine> {
        block_on(self.open_with_async(client, change))
    }

    async fn open_with_async(&self, client: &str, change: impl FnOnce(Options) -> Options) -> Result<Engine> {
        self.open_as(client, self.remote.clone(), change).await
    }

    /// Opens a client's engine with the given connection to the remote.
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

    /// Opens a client's engine with another way to the remote, and with other options than usual.
    ///
    /// # Errors
    /// Those of [`SyncEngine::open`].
    pub async fn open_as<R: plimsoll_engine::Remote>(
        &self,
        client: &str,
        remote: R,
        change: impl FnOnce(Options) -> Options,
    ) -> Result<SyncEngine<R>> {
        let options = change(Options::new(client).pull_batch_frames(3));
        SyncEngine::open(self.io.clone(), self.storage.clone(), remote, &self.path(client), options).await
    }

    /// The database path of a client.
    pub fn path(&self, client: &str) -> String {
        format!("{}/{client}.db", self.directory)
    }

    /// The length in bytes of one of a client's files, which is named by its suffix.
    ///
    /// # Panics
    /// If the file does not exist.
    pub fn length(&self, client: &str, ending: &str) -> u64 {
        let path = format!("{}-{ending}", self.path(client));
        self.io
            .open_file(&path, OpenFlags::None, false)
            .and_then(|file| file.size())
            .expect("the file is there")
    }

    /// Copies the files of all clients. Works only on a simulated disk.
    ///
    /// # Panics
    /// On real files.
    pub fn copy(&self) -> DiskCopy {
        self.disk().copy()
    }

    /// Restores the files from a copy. Works only on a simulated disk, and while no engine is open.
    ///
    /// # Panics
    /// On real files.
    pub fn put_back(&mut self, copy: &DiskCopy) {
        self.disk().put_back(copy);
        self.start_process();
    }

    /// Kills the process and starts the next one. Only on a simulated disk.
    ///
    /// # Panics
    /// On real files.
    pub fn crash(&mut self) {
        self.disk().crash_now(&CrashKind::Kill);
        self.disk().restart();
        self.start_process();
    }

    fn start_process(&mut self) {
        let io = self.disk().io();
        (self.io, self.storage) = (io.clone(), io);
    }

    fn disk(&self) -> &Disk {
        match &self.keep {
            Keep::Simulated { disk, .. } => disk,
            Keep::Real { .. } | Keep::Elsewhere => panic!("only a simulated disk is copied"),
        }
    }

    /// The file system, for reading and damaging files.
    pub fn io(&self) -> &Arc<dyn IO> {
        &self.io
    }

    /// Connects to a client's file with the core, without the engine.
    ///
    /// # Panics
    /// If the file cannot be opened.
    pub fn raw_connection(&self, path: &str) -> Arc<Connection> {
        let options = OpenOptions::new(Arc::new(SqliteDialect));
        Database::open(self.io.clone(), path, options)
            .and_then(|database| database.connect())
            .expect("the file can be opened")
    }

    /// Runs statements on the remote, in one transaction.
    ///
    /// # Panics
    /// If a statement fails.
    pub fn remote_executes(&self, statements: &[&str]) {
        self.remote.with_remote(|remote| {
            remote
                .transact(|connection| statements.iter().try_for_each(|sql| connection.execute(sql)))
                .expect("the script's statements are sound");
        });
    }

    /// The rows of a query on the remote, one string per row.
    pub fn remote_rows(&self, sql: &str) -> Vec<String> {
        self.remote.with_remote(|remote| join(remote.query(sql)))
    }
}

/// Creates the remote. It is not part of the comparison, so it is always in memory.
fn new_remote() -> InProcess {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    // The core has one registry per process, which identifies a file in memory by its path.
    let path = format!("remote-{}.db", NEXT.fetch_add(1, Ordering::Relaxed));
    InProcess::new(Remote::create(Arc::new(MemoryIO::new()), &path), 1000)
}

/// The rows of a query, one string per row, with values joined by `|`.
///
/// # Panics
/// If the query fails.
pub fn rows(connection: &LocalConnection, sql: &str) -> Vec<String> {
    join(connection.query(sql, &[]).expect("the query is sound"))
}

fn join(rows: Vec<Vec<Value>>) -> Vec<String> {
    rows.iter().map(|row| row.iter().map(ToString::to_string).collect::<Vec<_>>().join("|")).collect()
}
