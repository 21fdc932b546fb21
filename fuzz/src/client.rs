//! A client with a history, in memory. Its files and the answers of its server can be changed.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use plimsoll_engine::{Options, PushMode, Remote as ServerRemote, Result, SyncEngine};
use plimsoll_sim::world::in_process::InProcess;
use plimsoll_sim::world::memory::Memory;
use plimsoll_sim::world::remote::Remote;
use turso_core::{Buffer, Completion, File, IO, MemoryIO, OpenFlags};

/// The endings of a client's files: the four database files and the metadata.
pub const ENDINGS: [&str; 5] = ["draft", "draft-wal", "synced", "synced-wal", "info"];

const PATH: &str = "client.db";
/// The maximum number of suspensions of an operation.
const POLLS_MAX: u64 = 200_000;

/// The client, closed.
pub struct Client {
    files: Arc<Memory>,
    /// The honest connection to the server.
    pub remote: InProcess,
}

impl Client {
    /// A client that has never been opened, and a server with some rows.
    ///
    /// # Panics
    /// If the server cannot be created.
    #[must_use]
    pub fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        // The core has one registry per process, which identifies a file in memory by its path.
        let path = format!("remote-{}.db", NEXT.fetch_add(1, Ordering::Relaxed));
        let mut remote = Remote::create(Arc::new(MemoryIO::new()), &path);
        remote
            .transact(|connection| {
                connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT UNIQUE)")?;
                connection.execute("INSERT INTO t VALUES (1, 'one'), (2, 'two')")
            })
            .expect("the statements are sound");
        Self { files: Memory::create(), remote: InProcess::new(remote, 5000) }
    }

    /// A client in the middle of its work: it has pulled, replayed and pushed, and it has local transactions
    /// that it has not sent. The server has entered another generation.
    ///
    /// # Panics
    /// If the honest part of the history fails.
    #[must_use]
    pub fn with_history() -> Self {
        let client = Self::new();
        {
            let engine = client.open(client.remote.clone(), PushMode::Statements).expect("an honest server");
            let connection = engine.connect().expect("an honest disk");
            let write = |sql: &str| connection.execute(sql).expect("an honest disk");
            write("INSERT INTO t VALUES (3, 'three')");
            client.server_writes("INSERT INTO t VALUES (4, 'four')");
            end(engine.sync()).expect("an honest server");
            write("UPDATE t SET v = 'drei' WHERE id = 3");
            client.server_writes("UPDATE t SET v = 'eins' WHERE id = 1");
            end(engine.pull()).expect("an honest server");
            write("INSERT INTO t VALUES (5, 'five')");
        }
        let has_ended = client.remote.with_remote(|remote| remote.checkpoint());
        assert!(has_ended, "the server has a generation to end");
        client.server_writes("INSERT INTO t VALUES (6, 'six')");
        client
    }

    fn server_writes(&self, sql: &str) {
        self.remote.with_remote(|remote| {
            remote.transact(|connection| connection.execute(sql)).expect("the statement is sound");
        });
    }

    /// Opens the engine with this connection to a server.
    ///
    /// # Errors
    /// Those of [`SyncEngine::open`].
    pub fn open<R: ServerRemote>(&self, remote: R, mode: PushMode) -> Result<SyncEngine<R>> {
        let options = Options::new("fuzz").pull_batch_frames(3).push_mode(mode).push_batch_frames(2);
        end(SyncEngine::open(self.files.clone(), self.files.clone(), remote, PATH, options))
    }

    /// The content of the file with this ending; empty if there is none.
    ///
    /// # Panics
    /// If memory cannot be read.
    #[must_use]
    pub fn read(&self, ending: &str) -> Vec<u8> {
        let Ok(file) = self.file(ending, OpenFlags::None) else { return Vec::new() };
        let length = file.size().expect("memory has a size") as usize;
        if length == 0 {
            return Vec::new();
        }
        let buffer = Arc::new(Buffer::new(vec![0; length]));
        let read = Completion::new_read(buffer.clone(), |_| None);
        file.pread(0, read)
            .and_then(|read| self.files.wait_for_completion(read))
            .expect("memory can be read");
        buffer.as_slice().to_vec()
    }

    /// Replaces the content of a file.
    ///
    /// # Panics
    /// If memory cannot be written.
    pub fn write(&self, ending: &str, bytes: &[u8]) {
        let write = || {
            let file = self.file(ending, OpenFlags::Create)?;
            self.files.wait_for_completion(file.truncate(0, Completion::new_trunc(|_| {}))?)?;
            if bytes.is_empty() {
                return Ok(());
            }
            let buffer = Arc::new(Buffer::new(bytes.to_vec()));
            self.files.wait_for_completion(file.pwrite(0, buffer, Completion::new_write(|_| {}))?)
        };
        let written: turso_core::Result<()> = write();
        written.expect("memory can be written");
    }

    fn file(&self, ending: &str, flags: OpenFlags) -> turso_core::Result<Arc<dyn File>> {
        self.files.open_file(&format!("{PATH}-{ending}"), flags, false)
    }
}

impl Default for Client {
    fn default() -> Self {
        Self::new()
    }
}

/// Does everything that an application does. Calls may fail, but they must end, and must not panic.
pub fn use_everything<R: ServerRemote>(engine: &SyncEngine<R>) {
    let read = |sql: &str| {
        if let Ok(connection) = engine.connect() {
            connection.query(sql, &[]).ok();
        }
    };
    read("SELECT name, sql FROM sqlite_schema");
    read("SELECT * FROM t ORDER BY v");
    if let Ok(connection) = engine.connect() {
        connection.execute("INSERT OR REPLACE INTO t VALUES (7, 'seven')").ok();
    }
    end(engine.push()).ok();
    end(engine.pull()).ok();
    end(engine.sync()).ok();
    engine.stats().ok();
    read("SELECT * FROM t");
}

/// Polls a future to its end.
///
/// # Panics
/// If it does not end.
pub fn end<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..POLLS_MAX {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
    }
    panic!("an operation has not ended after {POLLS_MAX} suspensions");
}
