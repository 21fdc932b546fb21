//! The remote and its machine: restarts, crashes and restores of the remote.
//!
//! After a crash or a restart the machine is up again before the next request, so a client only notices lost
//! answers and invalid batons. When the remote is opened again, it checks that it has kept everything that it
//! acknowledged.

use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response};
use plimsoll_engine::Storage;

use super::client::read_content;
use super::disk::Disk;
use super::final_databases::{FinalDatabase, read_tables};
use super::impostors::Cache;
use super::remote::Remote;
use super::trace::{Lane, SharedTrace};
use crate::fault::CrashKind;
use crate::judge::ledger::Content;
use crate::judge::remote_log::{LogEnd, RemoteLog};
use crate::judge::tables::Tables;
use crate::schedule::workload::{LOG, QUIET, SCHEMA};
use crate::schedule::{Alternation, Header};

const PATH: &str = "remote.db";
const READABLE: &str = "a judged database is readable";

pub(super) struct Server {
    pub remote: Remote,
    disk: Disk,
    /// Whether it has the tables whose rows carry tokens.
    has_tokens: bool,
    crashes: u32,
    /// The end of the log right after the schema was created. No stale answer is older than that.
    schema_end: LogEnd,
    /// How two servers alternate, while there are two.
    alternation: Option<Alternation>,
    pub cache: Cache,
    /// A wrong server, which answers in the remote's place.
    wrong: Option<Remote>,
    wrong_servers: u32,
}

impl Server {
    /// Creates a remote that holds the workload's schema.
    pub fn new(header: &Header, trace: SharedTrace) -> Self {
        let disk = Disk::new(Lane::Remote, header.key, trace);
        let mut remote = Remote::create(disk.io(), PATH);
        disk.io().sync_dir(PATH).expect("the disk of a new machine has no faults");
        remote.set_names_history(header.remote_names_history);
        remote.set_sends_proofs(header.has_proofs());
        remote.set_sends_checksums(header.remote_sends_checksums);
        if header.workload.has_tokens() {
            remote
                .transact(|connection| SCHEMA.iter().try_for_each(|sql| connection.execute(sql)))
                .expect("the schema is valid SQL");
        }
        let schema_end = remote.end();
        // A remote without the workload's tables is useless, so no restore goes back beyond this point.
        remote.forget_older_backups();
        Self {
            remote,
            disk,
            has_tokens: header.workload.has_tokens(),
            crashes: 0,
            schema_end,
            alternation: None,
            cache: Cache::default(),
            wrong: None,
            wrong_servers: 0,
        }
    }

    pub fn fork(&mut self, alternation: Alternation) {
        self.remote.fork();
        self.disk.io().sync_dir(PATH).expect("the disk of the remote's machine has no faults");
        self.alternation = Some(alternation);
    }

    pub fn switch(&mut self) {
        self.remote.switch();
    }

    pub fn join(&mut self) {
        self.remote.join();
        self.alternation = None;
    }

    pub fn is_forked(&self) -> bool {
        self.alternation.is_some()
    }

    pub fn alternation(&self) -> Option<Alternation> {
        self.alternation
    }

    /// Lets a new server with an empty database answer until [`end_wrong`](Self::end_wrong).
    pub fn begin_wrong(&mut self, header: &Header) {
        self.wrong_servers += 1;
        let mut wrong =
            Remote::begin(self.disk.io(), &format!("wrong-{}.db", self.wrong_servers), "w1".into())
                .expect("the disk of the remote's machine has no faults");
        wrong.set_names_history(header.remote_names_history);
        wrong.set_sends_proofs(header.has_proofs());
        wrong.set_sends_checksums(header.remote_sends_checksums);
        self.wrong = Some(wrong);
    }

    /// Whether a wrong server answers. It has another address, so no cache is in between.
    pub fn is_wrong(&self) -> bool {
        self.wrong.is_some()
    }

    /// Ends the wrong server. Returns whether its database is still empty.
    pub fn end_wrong(&mut self) -> bool {
        let wrong = self.wrong.take().expect("there is a wrong server");
        wrong.end() == LogEnd { generation: 1, frame_no: 0 }
    }

    /// Answers a request.
    pub fn serve(&mut self, request: &Request<Bytes>) -> Response<Bytes> {
        self.wrong.as_mut().unwrap_or(&mut self.remote).serve(request)
    }

    /// Restarts the server between two requests.
    pub fn restart(&mut self) {
        self.boot(self.remote.end());
    }

    /// Crashes the machine between two requests and starts it again.
    pub fn crash(&mut self, kind: &CrashKind) {
        self.disk.crash_now(kind);
        self.crashes += 1;
        self.boot(self.remote.end());
    }

    /// Serves a request, and crashes the machine before its `operation`-th file operation for the request. If
    /// the request needs fewer operations, the crash follows them. Then starts the machine again.
    pub fn serve_and_crash(&mut self, request: &Request<Bytes>, operation: u32, kind: &CrashKind) {
        let acknowledged = self.remote.end();
        self.disk.arm_ahead(operation.max(1), kind.clone());
        self.remote.serve(request);
        drop(self.disk.take_unreached_crashes());
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

    /// Answers a request as the remote would have answered it at the end of an earlier generation or
    /// transaction. Returns the answer and that end of the log, or `None` if the request writes or the remote
    /// has no earlier state.
    pub fn serve_stale(
        &self,
        request: &Request<Bytes>,
        generations: u64,
        transactions: usize,
    ) -> Option<(Response<Bytes>, LogEnd)> {
        let end = self.log().past_end(generations, transactions).max(self.schema_end);
        let response = self.remote.serve_as_of(request, end).filter(|_| end != self.remote.end())?;
        Some((response, end))
    }

    pub fn restore(&mut self, generations_back: u64, transactions_back: u64, keeps_name: bool) {
        self.remote.restore(generations_back, transactions_back, keeps_name);
        self.disk.io().sync_dir(PATH).expect("the disk of the remote's machine has no faults");
    }

    pub fn crashes(&self) -> u32 {
        self.crashes
    }

    /// The log of every state that the remote has had.
    pub fn log(&self) -> &RemoteLog {
        self.remote.log()
    }

    /// The current generation, and the number of its frames.
    pub fn position(&self) -> (u64, u64) {
        (self.remote.generation(), self.remote.frame_count())
    }

    /// The rows of the remote's tables, read with SQL.
    pub fn content(&self) -> Content {
        let Ok(content) = read_content(|sql| Ok::<_, Infallible>(self.remote.query(sql)));
        content
    }

    /// The content of all tables.
    pub fn tables(&self) -> Tables {
        let Ok(tables) = Tables::read(|sql| Ok::<_, Infallible>(self.remote.query(sql)));
        tables
    }

    /// The tokens in the tables `log` and `quiet`, in order.
    pub fn tokens(&self) -> (Vec<String>, Vec<String>) {
        if !self.has_tokens {
            return (Vec::new(), Vec::new());
        }
        let tokens = |sql| self.remote.query(sql).iter().map(|row| row[0].to_string()).collect();
        (tokens(LOG), tokens(QUIET))
    }

    /// The database's files and tables at the end of a history.
    ///
    /// # Panics
    /// If the database cannot be read.
    pub fn final_database(&self) -> FinalDatabase {
        let (main, wal) = self.remote.file_bytes().expect(READABLE);
        let Ok(tables) = read_tables(|sql| Ok::<_, Infallible>(self.remote.query(sql)));
        FinalDatabase { owner: "the remote".into(), main, wal, tables }
    }
}
