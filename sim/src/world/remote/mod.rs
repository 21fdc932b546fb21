//! The server: a real turso_core database behind the routes of the wire protocol.
//!
//! * [`Remote`]: the server, and the events that no client causes (another writer's transaction, a
//!   checkpoint).
//! * `routes`: answers requests and serves frames. `append`: accepts frames. `pipeline`: SQL over HTTP; its
//!   JSON is in `wire`.
//! * [`Session`]: the SQL of one request to a served remote, within limits. `statement_check` and `expansion`
//!   decide which statements may run. `posted_page` checks pages that clients post.
//! * `proof`: the headers that say which log an answer is from.
//! * `store`: the database. The log of all states, [`RemoteLog`], checks the database against its own model.
//!
//! The remote answers at once and with a complete body. The network decides whether, when and in how many
//! pieces an answer arrives. The remote shares no code with the engine. It answers a bad request with a 4xx
//! status. If it contradicts its own model, it panics, so that a bug of the server never looks like a bug of
//! the engine.
//!
//! The remote's machine may restart or crash. [`Remote::reopen`] then continues with the files that are left.
//! The remote syncs before it answers. So only a transaction whose answer was not sent can be missing, and
//! then it is missing as a whole.
//!
//! Not simulated: SQL transactions that are held open across requests, and a crash inside a checkpoint. Reads
//! and checkpoints on the remote's machine are expected to succeed. Two kinds of request must not occur,
//! because the remote would panic or break its database: SQL that checkpoints or changes the journal mode
//! outside a [`Session`], and posted pages that look sound and are not.

mod append;
mod content;
mod expansion;
pub(crate) mod files;
mod pipeline;
mod posted_page;
mod proof;
mod routes;
mod session;
mod statement_check;
mod store;
mod wire;

use std::sync::Arc;

use bytes::Bytes;
use turso_core::{Connection, IO, LimboError, Value};

use crate::judge::remote_log::{CONTRADICTION, Closed, LogEnd, RemoteLog, ResumeError};
use append::OpenTransaction;
pub use content::Content;
use proof::Instance;
pub use session::{Finished, Script, ScriptError, Session, StatementLimits, Stop, Watch};
use store::{BoundStatement, Store};

/// The history id of a simulated remote.
const HISTORY_ID: &str = "h1";

/// A server with one database.
pub struct Remote {
    store: Store,
    log: RemoteLog,
    /// The history id that `/info` reports until the first restore.
    history_id: String,
    /// The posted transaction whose end has not arrived yet.
    open: Option<OpenTransaction>,
    /// The baton of the posted transaction that was completed last.
    completed: Option<String>,
    /// The number of batons so far.
    batons: u64,
    names_history: bool,
    /// The number of restores that have changed the history id.
    renames: u64,
    sends_proofs: bool,
    instance: Instance,
    /// The number of copies of the database that were started.
    copies: u32,
    /// A second server on a copy of the database, under the same address.
    other: Option<OtherServer>,
}

/// The part of a server that its copy does not share.
struct OtherServer {
    store: Store,
    open: Option<OpenTransaction>,
    completed: Option<String>,
    renames: u64,
    instance: Instance,
}

impl Remote {
    /// Creates a remote: an empty database in WAL mode (a durable main file of 4096 bytes), generation 1,
    /// zero frames.
    ///
    /// `path` must be new to `io`, and its file id must be new to the process, because the core has a
    /// registry of open databases.
    ///
    /// # Panics
    /// If the files cannot be written.
    pub fn create(io: Arc<dyn IO>, path: &str) -> Remote {
        Remote::begin(io, path, HISTORY_ID.to_owned()).expect("a new remote's disk has no faults")
    }

    /// Like [`create`](Self::create), with the given history id.
    ///
    /// # Errors
    /// If the files cannot be written.
    pub fn begin(io: Arc<dyn IO>, path: &str, history_id: String) -> Result<Remote, LimboError> {
        let instance = Instance::new(io.as_ref());
        let store = Store::create(io, path)?;
        let snapshot = store.main()?;
        Ok(Remote::of(store, RemoteLog::begin(snapshot.into()), history_id, instance))
    }

    /// Resumes a remote from its closed generations, the snapshot at the start of the current generation, and
    /// the database with its WAL at `path`. Complete transactions in the WAL belong to the log, and are
    /// durable from here on.
    ///
    /// # Errors
    /// [`ResumeError`] if the parts do not fit together or the database cannot be opened.
    pub fn resume(
        io: Arc<dyn IO>,
        path: &str,
        history_id: String,
        closed: Vec<Closed>,
        snapshot: Bytes,
    ) -> Result<Remote, ResumeError> {
        let log = RemoteLog::resume(closed, snapshot)?;
        let instance = Instance::new(io.as_ref());
        let mut remote = Remote::of(Store::recover(io, path)?, log, history_id, instance);
        remote.record();
        Ok(remote)
    }

    fn of(store: Store, log: RemoteLog, history_id: String, instance: Instance) -> Remote {
        Remote {
            store,
            log,
            history_id,
            open: None,
            completed: None,
            batons: 0,
            names_history: true,
            renames: 0,
            sends_proofs: true,
            instance,
            copies: 0,
            other: None,
        }
    }

    /// Continues on the next boot of the remote's machine. A posted transaction without its end is gone. The
    /// log keeps every acknowledged transaction. It keeps any other transaction only if all of it is in the
    /// WAL. The closed generations are stored outside this machine, as in an archive: each was archived
    /// before the next one started.
    ///
    /// # Panics
    /// If the disk lacks frames up to `acknowledged`, or holds other frames than the log.
    pub fn reopen(&mut self, io: Arc<dyn IO>, acknowledged: LogEnd) {
        self.reopen_one(io.clone(), acknowledged);
        if self.other.is_some() {
            self.swap();
            self.log.swap();
            self.reopen_one(io, self.end());
            self.swap();
            self.log.swap();
        }
    }

    fn reopen_one(&mut self, io: Arc<dyn IO>, acknowledged: LogEnd) {
        (self.open, self.completed) = (None, None);
        self.instance = self.instance.next();
        self.store =
            self.store.reopen(io).expect("the remote's database opens after any crash of its machine");
        let committed = self.store.frame_count().expect("the remote's WAL is readable");
        assert_eq!(
            acknowledged.generation,
            self.generation(),
            "the machine does not crash inside a checkpoint"
        );
        assert!(
            committed >= acknowledged.frame_no,
            "{}: it has acknowledged {} frames, but only {committed} are left",
            CONTRADICTION,
            acknowledged.frame_no
        );
        self.log.cut(committed);
        let known = self.frame_count();
        let main = self.store.main().expect("the remote's main file is readable");
        let wal = self.store.wal_frames(0, known).expect("the remote's WAL is readable");
        self.log.current().check_files(&main, &wal);
        self.record();
    }

    /// Whether a posted transaction is waiting for its end.
    pub fn is_held_open(&self) -> bool {
        self.open.is_some()
    }

    /// Runs another writer's transaction: commits everything that `work` does on the connection or, if it
    /// fails, nothing.
    ///
    /// # Errors
    /// The error of `work` or of the commit.
    pub fn transact<T>(
        &mut self,
        work: impl FnOnce(&Arc<Connection>) -> Result<T, LimboError>,
    ) -> Result<T, LimboError> {
        self.open = None;
        let done = self.store.transact(work);
        self.record();
        done
    }

    /// Ends the generation: archives its frames, moves them into the main file, and starts the next
    /// generation. Returns `false` if there were no frames.
    pub fn checkpoint(&mut self) -> bool {
        if self.frame_count() == 0 {
            return false;
        }
        self.open = None;
        self.store.checkpoint().expect("no transaction is open between two requests");
        let main = self.store.main().expect("the remote's main file is readable");
        self.log.close_generation(main.into());
        true
    }

    /// Sets whether `/info` reports a history id. By default it does.
    pub fn set_names_history(&mut self, names_history: bool) {
        self.names_history = names_history;
    }

    /// Sets whether answers name the server's run and the end of the generation before. By default they do.
    pub fn set_sends_proofs(&mut self, sends_proofs: bool) {
        self.sends_proofs = sends_proofs;
    }

    /// The history id that `/info` reports. A restore changes it, unless the restored copy keeps its name.
    pub fn history_id(&self) -> Option<String> {
        let name = || match self.renames {
            0 => self.history_id.clone(),
            renames => format!("{}+{renames}", self.history_id),
        };
        self.names_history.then(name)
    }

    /// Stops serving the generations before the current one. Returns `false` if none was served.
    pub fn prune(&mut self) -> bool {
        self.log.prune()
    }

    /// From here on no [`restore`](Self::restore) goes back beyond this moment.
    pub fn forget_older_backups(&mut self) {
        self.log.forget_older_backups();
    }

    /// Restores an older state, as an operator would by copying a backup's files into place. The restored
    /// state is `transactions_back` transactions before the end of the generation `generations_back` before
    /// the current one, or the closest state that is left. If the copy `keeps_name`, it has the same history id
    /// as before; otherwise the operator gives it another one.
    ///
    /// # Panics
    /// If the files cannot be written.
    pub fn restore(&mut self, generations_back: u64, transactions_back: u64, keeps_name: bool) {
        (self.open, self.completed) = (None, None);
        self.instance = self.instance.next();
        self.renames += u64::from(!keeps_name);
        let generation = self.log.restore(generations_back, transactions_back);
        let (main, wal) = (generation.snapshot().clone(), generation.wal());
        let frame_count = generation.frame_count();
        self.copies += 1;
        self.store = self.store.beside(self.copies, &main, &wal).expect("the remote's disk has no faults");
        let found = self.store.frame_count().expect("the remote's WAL is readable");
        assert_eq!(found, frame_count, "{}: the WAL of a backup is incomplete", CONTRADICTION);
    }

    /// Starts a second server on a copy of the database, under the same address and with the same history id.
    /// This one keeps answering until [`switch`](Self::switch).
    ///
    /// # Panics
    /// If the files cannot be written.
    pub fn fork(&mut self) {
        let (main, wal) = (self.log.current().snapshot().clone(), self.log.current().wal());
        self.copies += 1;
        let store = self.store.beside(self.copies, &main, &wal).expect("the remote's disk has no faults");
        // The numbers of the two servers' runs must not be the same.
        let instance = self.instance.of_copy(self.copies);
        let (open, completed, renames) = (None, None, self.renames);
        self.other = Some(OtherServer { store, open, completed, renames, instance });
        self.log.fork();
    }

    /// Lets the other server answer from now on.
    pub fn switch(&mut self) {
        self.swap();
        self.log.switch();
    }

    /// Shuts the other server down.
    pub fn join(&mut self) {
        self.other = None;
        self.log.join();
    }

    fn swap(&mut self) {
        let other = self.other.as_mut().expect("there are two servers");
        std::mem::swap(&mut self.store, &mut other.store);
        std::mem::swap(&mut self.open, &mut other.open);
        std::mem::swap(&mut self.completed, &mut other.completed);
        std::mem::swap(&mut self.renames, &mut other.renames);
        std::mem::swap(&mut self.instance, &mut other.instance);
    }

    /// Runs a checker's query and returns its rows in the query's order. Not an event of the history.
    ///
    /// # Panics
    /// If the query fails.
    pub fn query(&self, sql: &str) -> Vec<Vec<Value>> {
        let rows = store::execute(self.store.shared(), &BoundStatement::new(sql));
        rows.unwrap_or_else(|error| panic!("a checker's query of the remote failed: {sql}: {error}")).rows
    }

    /// The bytes of the main file and of the WAL. Not an event of the history.
    ///
    /// # Errors
    /// The core's error.
    pub fn file_bytes(&self) -> Result<(Vec<u8>, Vec<u8>), LimboError> {
        Ok((self.store.main()?, self.store.wal()?))
    }

    /// The number of the current generation, from 1.
    pub fn generation(&self) -> u64 {
        self.log.generation_current()
    }

    /// The number of frames in the current generation.
    pub fn frame_count(&self) -> u64 {
        self.log.current().frame_count()
    }

    /// The end of the log.
    pub fn end(&self) -> LogEnd {
        LogEnd { generation: self.generation(), frame_no: self.frame_count() }
    }

    /// The log of every state that the remote has had.
    pub fn log(&self) -> &RemoteLog {
        &self.log
    }

    /// Adds the newly committed frames to the log. Must be called after every operation that may have
    /// written, even if it failed: a transaction before the failure may have been committed.
    fn record(&mut self) {
        let known = self.frame_count();
        let committed = self.store.frame_count().expect("the remote's WAL is readable");
        assert!(committed >= known, "{}: its WAL has lost frames", CONTRADICTION);
        if committed == known {
            return;
        }
        let header = self.store.wal_header().expect("the remote's WAL is readable");
        let header = header.expect("a WAL with frames has a header");
        let tail = self.store.wal_frames(known, committed).expect("the remote's WAL is readable");
        self.log.append(header, Bytes::from(tail), committed - known);
    }
}

#[cfg(test)]
pub(crate) mod tests;
