//! The server: a real turso_core database behind the routes of the wire protocol.
//!
//! * [`Remote`]: answers requests from a database and the log that is kept of it.
//! * `routes`: answers requests and serves frames. `append`: accepts frames. `pipeline`: SQL over HTTP; its
//!   JSON is in `wire`. `proof`: the headers that say which log an answer is from. [`content`]: the bodies of
//!   answers.
//! * [`Session`]: the SQL of one request to a served remote, within limits. `statement_check` and `expansion`
//!   decide which statements may run. `posted_page` checks pages that clients post.
//! * `store`: the database. [`kept`]: what a log has to offer.
//! * `simulated`: the remote of a history. Its log is a model in memory,
//!   [`RemoteLog`](crate::judge::remote_log::RemoteLog), which judges the database. It also has the events that
//!   no client causes: a checkpoint, a restore, a second server.
//! * [`archive`]: the remote behind `plimsoll serve`. Its log is in files.
//!
//! The remote answers at once and with a complete body. The network decides whether, when and in how many
//! pieces an answer arrives. The remote shares no code with the engine. It answers a bad request with a 4xx
//! status. If a simulated remote contradicts its own model, it panics, so that a bug of the server never looks
//! like a bug of the engine.
//!
//! The remote's machine may restart or crash. [`Remote::reopen`] then continues with the files that are left.
//! The remote syncs before it answers. So only a transaction whose answer was not sent can be missing, and
//! then it is missing as a whole.
//!
//! Not simulated: SQL transactions that are held open across requests, and a crash inside a checkpoint of the
//! simulated remote. Reads and checkpoints on its machine are expected to succeed. Two kinds of request must
//! not occur, because the remote would panic or break its database: SQL that checkpoints or changes the journal
//! mode outside a [`Session`], and posted pages that look sound and are not.

mod append;
pub mod archive;
pub mod content;
mod expansion;
pub(crate) mod files;
pub mod kept;
mod pipeline;
mod posted_page;
mod proof;
mod routes;
mod session;
mod simulated;
mod statement_check;
mod store;
mod wire;

use std::sync::Arc;

use turso_core::{Connection, LimboError, Value};

use crate::judge::remote_log::LogEnd;
pub use append::BatonLimits;
use append::OpenTransaction;
use kept::KeptLog;
use proof::Instance;
pub use session::{Finished, Script, ScriptError, Session, StatementLimits, Stop, Watch};
pub use simulated::Simulated;
use store::{BoundStatement, Store};

/// A server with one database.
pub struct Remote<L = Simulated> {
    store: Store,
    log: L,
    /// The history id that `/info` reports until the first restore.
    history_id: String,
    /// The posted transaction whose end has not arrived yet.
    open: Option<OpenTransaction>,
    baton_limits: BatonLimits,
    /// The baton of the posted transaction that was completed last.
    completed: Option<String>,
    /// The number of batons so far.
    batons: u64,
    names_history: bool,
    /// The number of restores that have changed the history id.
    renames: u64,
    sends_proofs: bool,
    instance: Instance,
}

impl<L: KeptLog> Remote<L> {
    fn of(store: Store, log: L, history_id: String, instance: Instance) -> Self {
        Self {
            store,
            log,
            history_id,
            open: None,
            baton_limits: BatonLimits::NONE,
            completed: None,
            batons: 0,
            names_history: true,
            renames: 0,
            sends_proofs: true,
            instance,
        }
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
        self.log.record(&self.store).and(done)
    }

    /// Sets whether `/info` reports a history id. By default it does.
    pub fn set_names_history(&mut self, names_history: bool) {
        self.names_history = names_history;
    }

    /// Sets how much of a posted transaction may be held open. By default there is no limit.
    pub fn set_baton_limits(&mut self, limits: BatonLimits) {
        self.baton_limits = limits;
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

    /// Runs a checker's query and returns its rows in the query's order. Not an event of the history.
    ///
    /// # Panics
    /// If the query fails.
    pub fn query(&self, sql: &str) -> Vec<Vec<Value>> {
        let rows = self.try_query(sql);
        rows.unwrap_or_else(|error| panic!("a checker's query of the remote failed: {sql}: {error}"))
    }

    /// Runs a query that may be wrong. Not an event of the history.
    ///
    /// # Errors
    /// The query's error.
    pub fn try_query(&self, sql: &str) -> Result<Vec<Vec<Value>>, LimboError> {
        store::execute(self.store.shared(), &BoundStatement::new(sql)).map(|result| result.rows)
    }

    /// The number of the current generation, from 1.
    pub fn generation(&self) -> u64 {
        self.log.generation()
    }

    /// The number of frames in the current generation.
    pub fn frame_count(&self) -> u64 {
        self.log.frame_count()
    }

    /// The end of the log.
    pub fn end(&self) -> LogEnd {
        LogEnd { generation: self.generation(), frame_no: self.frame_count() }
    }
}

#[cfg(test)]
pub(crate) mod tests;
