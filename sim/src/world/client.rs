//! One client: a machine with a disk, and on it, most of the time, a process with an engine and an application's connection.

use std::collections::BTreeMap;
use std::sync::Arc;

use plimsoll_engine::{Error, LocalConnection, LocalStatement, Options, SyncEngine};
use turso_core::Value;

use super::application::{Held, Reader};
use super::disk::Disk;
use super::final_databases::{FinalDatabase, read_tables};
use super::network::Mailbox;
use super::trace::{Lane, SharedTrace};
use crate::fault::FileClass;
use crate::judge::ledger::{Content, Moment};
use crate::judge::remote_log::RemoteLog;
use crate::judge::verdict::Violation;
use crate::judge::{Claims, DatabaseFiles, Durable, Epochs, Paths};
use crate::schedule::Header;
use crate::schedule::workload::{LOG, read_rows};

/// The engine under test, as the simulator runs it.
pub type Engine = SyncEngine<Mailbox>;

/// One client.
pub struct Client {
    /// Its number, from 0.
    pub number: u8,
    /// Its machine's disk.
    pub disk: Disk,
    /// Where its files are.
    pub paths: Paths,
    /// Its connection to the remote.
    pub mailbox: Mailbox,
    /// Where the remote's history ended, true or not, each time that it said so to the operation that was begun last. Which of several
    /// answers it believes is the engine's affair.
    pub seen_ends: Vec<(u64, u64)>,
    /// The running process, if there is one.
    pub process: Option<Process>,
    /// How often it went down.
    pub crashes: u32,
    /// Whether its last process crashed and none has been opened since.
    pub is_recovering: bool,
    /// The metadata as it was when it was last known to be durable.
    pub durable: Option<Durable>,
    /// What has befallen its files that no engine could undo.
    pub external_damage: Vec<ExternalDamage>,
    /// The remote's epoch when an operation of this client's last succeeded.
    pub followed_epoch: usize,
}

impl ExternalDamage {
    /// Whether a new export makes up for it.
    pub fn is_of_replica(&self) -> bool {
        match self {
            Self::Lost { file, .. } | Self::Rotten { file, .. } => {
                matches!(file, FileClass::Synced | FileClass::SyncedWal | FileClass::SyncedNext)
            }
            Self::Older(_) => false,
        }
    }
}

/// What can befall a client's directory from outside.
#[derive(Debug, Clone)]
pub enum ExternalDamage {
    /// A file is lost.
    Lost {
        /// Its role.
        file: FileClass,
        /// Its path.
        path: String,
    },
    /// Bytes of a file have changed while nobody wrote it.
    Rotten {
        /// Its role.
        file: FileClass,
        /// Its path.
        path: String,
        /// Where they are.
        offset: usize,
        /// What they are now.
        bytes: Vec<u8>,
    },
    /// The directory is again as it was; the moment is the ledger's of that time.
    Older(Moment),
}

/// A running process.
pub struct Process {
    /// The engine.
    pub engine: Arc<Engine>,
    /// The application's connection.
    pub connection: LocalConnection,
    /// The queries that the application has prepared on it.
    pub prepared: PreparedQueries,
    /// A transaction that another connection of the application holds open.
    pub held: Option<Held>,
    /// A reader that has not ended.
    pub reader: Option<Reader>,
}

/// Queries that an application prepares once and keeps: they have to follow whatever becomes of the schema, by its own hand or by a
/// rebase.
#[derive(Default)]
pub struct PreparedQueries(BTreeMap<String, LocalStatement>);

impl PreparedQueries {
    /// Runs a query, prepared on `connection` if it has not been before.
    ///
    /// # Errors
    /// What the engine says.
    pub fn query(&mut self, connection: &LocalConnection, sql: &str) -> Result<Vec<Vec<Value>>, Error> {
        if !self.0.contains_key(sql) {
            self.0.insert(sql.to_owned(), connection.prepare(sql)?);
        }
        let statement = self.0.get_mut(sql).expect("it was prepared above");
        statement.query(&[])
    }
}

impl Client {
    /// A machine that has never run the engine.
    pub fn new(number: u8, header: &Header, trace: SharedTrace) -> Self {
        let disk = Disk::new(Lane::Client(number), header.key, trace);
        disk.guard_names(|metadata| Claims::parse(metadata).map_or_else(Vec::new, |claims| claims.named()));
        Self {
            number,
            disk,
            paths: Paths::new(&format!("c{number}/local.db")),
            mailbox: Mailbox::default(),
            seen_ends: Vec::new(),
            crashes: 0,
            process: None,
            is_recovering: false,
            durable: None,
            external_damage: Vec::new(),
            followed_epoch: 0,
        }
    }

    /// The engine's options.
    pub fn options(&self, header: &Header) -> Options {
        header.options(format!("client-{}", self.number))
    }

    /// Whether a file of its directory is gone or rotten, and nothing has taken its place yet.
    pub fn is_damaged(&self) -> bool {
        self.external_damage.iter().any(|damage| self.shows(damage))
    }

    /// Whether what a damage has done to a file is still there.
    fn shows(&self, damage: &ExternalDamage) -> bool {
        match damage {
            ExternalDamage::Lost { path, .. } => self.disk.read(path).is_none(),
            ExternalDamage::Rotten { path, offset, bytes, .. } => {
                let content = self.disk.read(path).unwrap_or_default();
                content.get(*offset..offset + bytes.len()) == Some(bytes)
            }
            ExternalDamage::Older(_) => false,
        }
    }

    /// Whether a transaction of its application is held open.
    pub fn holds_open(&self) -> bool {
        self.process.as_ref().is_some_and(|process| process.held.is_some())
    }

    /// What its application sees; `None` while its process is not running.
    pub fn content(&mut self) -> Option<Result<Content, Error>> {
        let Process { connection, prepared, .. } = self.process.as_mut()?;
        self.disk.suspend_errors(true);
        let content = read_content(|sql| prepared.query(connection, sql));
        self.disk.suspend_errors(false);
        Some(content)
    }

    /// Its database's files and tables at the end of a history; `None` while its process is not running.
    ///
    /// # Panics
    /// When it cannot be read.
    pub fn final_database(&self) -> Option<FinalDatabase> {
        let process = self.process.as_ref()?;
        let bytes = |path: &str| self.disk.read(path).map_or_else(Vec::new, |bytes| bytes.to_vec());
        let tables = read_tables(|sql| process.connection.query(sql, &[]));
        Some(FinalDatabase {
            whose: format!("client {}", self.number),
            main: bytes(&self.paths.draft),
            wal: bytes(&self.paths.draft_wal),
            tables: tables.expect("a database that was judged is readable"),
        })
    }

    /// The epochs of the remote that Synced can be of, after checks I1 and I2; `None` while the metadata claims nothing of Synced, or
    /// a file is lost or rotten.
    ///
    /// # Errors
    /// The broken invariant.
    pub fn epochs(&self, claims: &Claims, history: &RemoteLog) -> Result<Option<Epochs>, Violation> {
        if self.is_damaged() || !claims.has_replica() {
            return Ok(None);
        }
        self.files().judge(claims, history, self.process.is_none()).map(Some)
    }

    /// Its database files as they are.
    pub fn files(&self) -> DatabaseFiles {
        DatabaseFiles::read(&self.paths, |path| self.disk.read(path))
    }

    /// What its metadata says right now; `None` when there is none, it does not parse, or it is rotten.
    pub fn claims(&self) -> Option<Claims> {
        let is_of_metadata = |damage: &&ExternalDamage| {
            matches!(damage, ExternalDamage::Rotten { file: FileClass::Metadata, .. })
        };
        if self.external_damage.iter().filter(is_of_metadata).any(|damage| self.shows(damage)) {
            return None;
        }
        Claims::parse(&self.disk.read(&self.paths.metadata)?)
    }
}

/// The content of a database, as the application would read it.
///
/// # Errors
/// What `query` says.
pub fn read_content<E>(mut query: impl FnMut(&str) -> Result<Vec<Vec<Value>>, E>) -> Result<Content, E> {
    let log = query(LOG)?.iter().map(|row| row[0].to_string()).collect();
    let rows = read_rows(query)?.into_iter().collect();
    Ok(Content { log, rows })
}
