//! The remote on its machine: it restarts, goes down, and is restored.
//!
//! The machine is up again before anyone asks it anything, so a client only notices lost answers and invalid batons. The remote itself
//! checks, when it is opened again, that it has kept everything it had to keep.

use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response};
use plimsoll_engine::Storage;

use super::client::read_content;
use super::disk::Disk;
use super::final_databases::{FinalDatabase, read_tables};
use super::remote::Remote;
use super::trace::{Lane, SharedTrace};
use crate::fault::CrashKind;
use crate::judge::ledger::Content;
use crate::judge::remote_log::{LogEnd, RemoteLog};
use crate::schedule::Header;
use crate::schedule::workload::{LOG, QUIET, SCHEMA};

/// The path of the remote's database on its machine.
const PATH: &str = "remote.db";
const READABLE: &str = "a database that was judged is readable";

/// The remote and its machine.
pub(super) struct Server {
    /// The remote.
    pub remote: Remote,
    disk: Disk,
    /// How often the machine went down.
    crashes: u32,
    /// The end of the history when it had its schema; no answer is older.
    schema_end: LogEnd,
}

impl Server {
    /// A remote that holds the workload's schema.
    pub fn new(header: &Header, trace: SharedTrace) -> Self {
        let disk = Disk::new(Lane::Remote, header.key, trace);
        let mut remote = Remote::create(disk.io(), PATH);
        disk.io().sync_dir(PATH).expect("a new machine's disk works");
        remote.set_names_history(header.remote_names_history);
        remote
            .transact(|connection| SCHEMA.iter().try_for_each(|sql| connection.execute(sql)))
            .expect("the schema is sound");
        let schema_end = remote.end();
        // A remote without the workload's tables is of no use: no restore goes back that far.
        remote.forget_older_backups();
        Self { remote, disk, crashes: 0, schema_end }
    }

    /// Ends the server between two requests and starts it again.
    pub fn restart(&mut self) {
        self.boot(self.remote.end());
    }

    /// Takes the machine down between two requests and starts it again.
    pub fn crash(&mut self, kind: &CrashKind) {
        self.disk.crash_now(kind);
        self.crashes += 1;
        self.boot(self.remote.end());
    }

    /// Takes the machine down before the `operation`-th file operation for a request, or once the request has taken effect.
    pub fn serve_and_crash(&mut self, request: &Request<Bytes>, operation: u32, kind: &CrashKind) {
        let acknowledged = self.remote.end();
        self.disk.arm_ahead(operation.max(1), kind.clone());
        self.remote.serve(request);
        drop(self.disk.take_unreached());
        if !self.disk.is_down() {
            self.disk.crash_now(kind);
        }
        self.crashes += 1;
        self.boot(acknowledged);
    }

    fn boot(&mut self, acknowledged: LogEnd) {
        drop(self.disk.take_crash());
        self.disk.restart();
        self.remote.reopen(self.disk.io(), acknowledged);
    }

    /// The answer as of the end of an earlier generation or transaction, and that end; `None` for a request that writes, and for a remote
    /// without a past.
    pub fn serve_stale(
        &self,
        request: &Request<Bytes>,
        generations: u64,
        transactions: usize,
    ) -> Option<(Response<Bytes>, LogEnd)> {
        let end = self.history().past_end(generations, transactions).max(self.schema_end);
        let response = self.remote.serve_as_of(request, end).filter(|_| end != self.remote.end())?;
        Some((response, end))
    }

    /// Restores the remote to an older state.
    pub fn restore(&mut self, generations_back: u64, transactions_back: u64) {
        self.remote.restore(generations_back, transactions_back);
        self.disk.io().sync_dir(PATH).expect("a machine's disk works");
    }

    /// How often the machine went down.
    pub fn crashes(&self) -> u32 {
        self.crashes
    }

    /// Every state the remote ever had.
    pub fn history(&self) -> &RemoteLog {
        self.remote.history()
    }

    /// The current generation, and the number of frames in it.
    pub fn position(&self) -> (u64, u64) {
        (self.remote.generation(), self.remote.frame_count())
    }

    /// The rows of the remote's tables, read through SQL.
    pub fn content(&self) -> Content {
        let Ok(content) = read_content(|sql| Ok::<_, Infallible>(self.remote.query(sql)));
        content
    }

    /// The tokens in `log` and in `quiet`, in order.
    pub fn tokens(&self) -> (Vec<String>, Vec<String>) {
        let tokens = |sql| self.remote.query(sql).iter().map(|row| row[0].to_string()).collect();
        (tokens(LOG), tokens(QUIET))
    }

    /// The database's files and tables at the end of a history.
    ///
    /// # Panics
    /// When it cannot be read.
    pub fn final_database(&self) -> FinalDatabase {
        let (main, wal) = self.remote.file_bytes().expect(READABLE);
        let Ok(tables) = read_tables(|sql| Ok::<_, Infallible>(self.remote.query(sql)));
        FinalDatabase { whose: "the remote".into(), main, wal, tables }
    }
}
