//! The server: a real turso_core database behind the routes of the wire protocol.
//!
//! * [`Remote`]: the server and the events of its own (another writer, a checkpoint).
//! * `routes`: requests to answers, frames out. `append`: frames in. `pipeline`: SQL over HTTP; its JSON is in `wire`.
//! * `history`: what the remote ever was, and the model that checks it. `store`: what it asks of the core.
//!
//! It answers at once and whole; whether, when and in how many pieces an answer arrives is the network's affair. It
//! shares no code with the engine. Bad requests get 4xx answers; a remote that contradicts its own model panics, so
//! that a bug of the server never looks like one of the engine.
//!
//! Its machine may be restarted or go down: [`Remote::reopen`] takes up what is left on the disk. What it has answered has been
//! durable before, so only a transaction that nobody was told of can be missing, and then it is missing as a whole.
//!
//! Left out: SQL transactions held open across requests, a crash inside a checkpoint. Its machine's reads and
//! checkpoints are expected to succeed. Two kinds of request are believed not to come, and would end in that panic or
//! in a broken database: SQL that checkpoints or changes the journal mode, and posted pages that are no B-trees.

mod append;
pub(crate) mod files;
mod pipeline;
mod routes;
mod store;
mod wire;

use std::sync::Arc;

use bytes::Bytes;
use turso_core::{Connection, IO, LimboError, Value};

use crate::judge::remote_log::{CONTRADICTION, Closed, LogEnd, RemoteLog, ResumeError};
use append::OpenTransaction;
use store::{BoundStatement, Store};

/// What a simulated remote calls its history.
const HISTORY_ID: &str = "h1";

/// A server with one database.
pub struct Remote {
    store: Store,
    history: RemoteLog,
    /// What `/info` calls this history of the remote, until it is restored.
    history_id: String,
    /// The posted transaction whose end is still to come.
    open: Option<OpenTransaction>,
    /// The baton of the posted transaction that was appended last.
    completed: Option<String>,
    /// How many batons were given out.
    batons: u64,
    names_history: bool,
}

impl Remote {
    /// A new remote: an empty database in WAL mode (a durable main file of 4096 bytes), generation 1, zero frames.
    ///
    /// `path` must be new to `io`, and its file id new to the process: the core has a registry.
    ///
    /// # Panics
    /// If the files can't be written.
    pub fn create(io: Arc<dyn IO>, path: &str) -> Remote {
        Remote::begin(io, path, HISTORY_ID.to_owned()).expect("a new remote's disk works")
    }

    /// Like [`create`](Self::create), with a name of its own for the history.
    ///
    /// # Errors
    /// If the files can't be written.
    pub fn begin(io: Arc<dyn IO>, path: &str, history_id: String) -> Result<Remote, LimboError> {
        let store = Store::create(io, path)?;
        let snapshot = store.main()?;
        Ok(Remote::of(store, RemoteLog::begin(snapshot.into()), history_id))
    }

    /// Takes up a remote that was closed: its closed generations, the snapshot with which the current one began, and the
    /// database with its log at `path`. Whole transactions that are found in the log count, and are durable from here on.
    ///
    /// # Errors
    /// [`ResumeError`] when they do not belong together, or the database cannot be opened.
    pub fn resume(
        io: Arc<dyn IO>,
        path: &str,
        history_id: String,
        closed: Vec<Closed>,
        snapshot: Bytes,
    ) -> Result<Remote, ResumeError> {
        let history = RemoteLog::resume(closed, snapshot)?;
        let mut remote = Remote::of(Store::recover(io, path)?, history, history_id);
        remote.record();
        Ok(remote)
    }

    fn of(store: Store, history: RemoteLog, history_id: String) -> Remote {
        Remote { store, history, history_id, open: None, completed: None, batons: 0, names_history: true }
    }

    /// Goes on over the next boot of its machine. Posted transactions that wait for their end are gone; the history is what was
    /// acknowledged, and of what was not, whatever whole transactions are found in the log. The closed generations are kept
    /// outside this machine, as in an archive, and were there before the next one began.
    ///
    /// # Panics
    /// If the disk does not hold what `acknowledged` names, or something else than this history.
    pub fn reopen(&mut self, io: Arc<dyn IO>, acknowledged: LogEnd) {
        (self.open, self.completed) = (None, None);
        self.store =
            self.store.reopen(io).expect("the remote's database opens whatever became of its machine");
        let committed = self.store.frame_count().expect("the remote's log is readable");
        assert_eq!(acknowledged.generation, self.generation(), "a machine goes down between two checkpoints");
        assert!(
            committed >= acknowledged.frame_no,
            "{}: of {} frames that it has told of, {committed} are left",
            CONTRADICTION,
            acknowledged.frame_no
        );
        self.history.cut(committed);
        let known = self.frame_count();
        let main = self.store.main().expect("the remote's main file is readable");
        let log = self.store.wal_frames(0, known).expect("the remote's log is readable");
        self.history.current().check_files(&main, &log);
        self.record();
    }

    /// Whether a posted transaction waits for its end.
    pub fn is_held_open(&self) -> bool {
        self.open.is_some()
    }

    /// Another writer's transaction: all that `work` does on the connection or, on an error, nothing.
    ///
    /// # Errors
    /// Those of `work` and of the commit.
    pub fn transact<T>(
        &mut self,
        work: impl FnOnce(&Arc<Connection>) -> Result<T, LimboError>,
    ) -> Result<T, LimboError> {
        self.open = None;
        let done = self.store.transact(work);
        self.record();
        done
    }

    /// Ends the generation: its frames are archived and move into the main file, and the next one begins. Without
    /// frames there is nothing to end, and the answer is `false`.
    pub fn checkpoint(&mut self) -> bool {
        if self.frame_count() == 0 {
            return false;
        }
        self.open = None;
        self.store.checkpoint().expect("nobody holds the remote's database between two requests");
        let main = self.store.main().expect("the remote's main file is readable");
        self.history.close_generation(main.into());
        true
    }

    /// Whether `/info` has a history id. It has one unless this says otherwise.
    pub fn set_names_history(&mut self, names_history: bool) {
        self.names_history = names_history;
    }

    /// What `/info` calls this history of the remote.
    pub fn history_id(&self) -> Option<String> {
        let name = || match self.history.epoch() {
            0 => self.history_id.clone(),
            epoch => format!("{}+{epoch}", self.history_id),
        };
        self.names_history.then(name)
    }

    /// No longer serves the generations before the current one; `false` if there was none.
    pub fn prune(&mut self) -> bool {
        self.history.prune()
    }

    /// From here on no [`restore`](Self::restore) goes behind this moment.
    pub fn forget_older_backups(&mut self) {
        self.history.forget_older_backups();
    }

    /// Goes back to an older state, as an operator would who puts a backup's files into place: `transactions_back` transactions before
    /// the end of the generation `generations_back` before the current one, or as far back as there is something.
    ///
    /// # Panics
    /// If the files can't be written.
    pub fn restore(&mut self, generations_back: u64, transactions_back: u64) {
        (self.open, self.completed) = (None, None);
        let generation = self.history.restore(generations_back, transactions_back);
        let (main, wal) = (generation.snapshot().clone(), generation.wal());
        let frame_count = generation.frame_count();
        self.store = self.store.beside(&main, &wal).expect("the remote's disk works");
        let found = self.store.frame_count().expect("the remote's log is readable");
        assert_eq!(found, frame_count, "{}: a backup's log isn't whole", CONTRADICTION);
    }

    /// Rows for checkers, in the query's order; not an event of the history.
    ///
    /// # Panics
    /// If the query is wrong.
    pub fn query(&self, sql: &str) -> Vec<Vec<Value>> {
        let rows = store::execute(self.store.shared(), &BoundStatement::new(sql));
        rows.unwrap_or_else(|error| panic!("a checker's query of the remote failed: {sql}: {error}")).rows
    }

    /// The bytes of the main file and of the log; not an event of the history.
    ///
    /// # Errors
    /// What the core says.
    pub fn file_bytes(&self) -> Result<(Vec<u8>, Vec<u8>), LimboError> {
        Ok((self.store.main()?, self.store.wal()?))
    }

    /// The number of the current generation, counted from 1.
    pub fn generation(&self) -> u64 {
        self.history.generation_current()
    }

    /// Frames in the current generation.
    pub fn frame_count(&self) -> u64 {
        self.history.current().frame_count()
    }

    /// Where the history ends.
    pub fn end(&self) -> LogEnd {
        LogEnd { generation: self.generation(), frame_no: self.frame_count() }
    }

    /// What the remote ever was.
    pub fn history(&self) -> &RemoteLog {
        &self.history
    }

    /// Takes over into the history what was committed since it was last called. To be called after everything that
    /// may have written, also if that failed: a transaction before the failure may have been committed.
    fn record(&mut self) {
        let known = self.frame_count();
        let committed = self.store.frame_count().expect("the remote's log is readable");
        assert!(committed >= known, "{}: its log lost frames", CONTRADICTION);
        if committed == known {
            return;
        }
        let header = self.store.wal_header().expect("the remote's log is readable");
        let header = header.expect("a log with frames has a header");
        let tail = self.store.wal_frames(known, committed).expect("the remote's log is readable");
        self.history.append(header, Bytes::from(tail), committed - known);
    }
}

#[cfg(test)]
pub(crate) mod tests;
