//! One client: a machine with a disk and, while it runs, a process with an engine and an application's
//! connection.

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
use crate::judge::tables::Tables;
use crate::judge::verdict::Violation;
use crate::judge::{Claims, DatabaseFiles, Durable, Epochs, Paths};
use crate::schedule::Header;
use crate::schedule::workload::{LOG, read_rows};

/// The engine under test, as the simulator runs it.
pub type Engine = SyncEngine<Mailbox>;

pub struct Client {
    pub number: u8,
    pub disk: Disk,
    pub paths: Paths,
    pub mailbox: Mailbox,
    /// Every end of the remote's log that an answer has stated since the last operation started. An answer
    /// may be untrue. The engine decides which of several answers it believes.
    pub seen_ends: Vec<(u64, u64)>,
    pub process: Option<Process>,
    pub crashes: u32,
    /// Whether a process is opening the files. It counts as a running one.
    pub is_opening: bool,
    /// Whether its last process crashed and no process has opened the files since.
    pub is_recovering: bool,
    /// The newest state of the metadata that is known to be durable.
    pub durable: Option<Durable>,
    /// The external damage to its files, without damage that is known to be repaired.
    pub external_damage: Vec<ExternalDamage>,
    /// Whether its replica may be one of a wrong server.
    pub follows_wrong_server: bool,
    /// The remote's epoch at the start of this client's last successful operation.
    pub followed_epoch: usize,
}

impl ExternalDamage {
    /// Whether a new export repairs the damage.
    pub fn is_of_replica(&self) -> bool {
        match self {
            Self::Lost { file, .. } | Self::Rotten { file, .. } => {
                matches!(file, FileClass::Synced | FileClass::SyncedWal | FileClass::SyncedNext)
            }
            Self::Older(_) => false,
        }
    }
}

/// Damage to a client's directory from outside.
#[derive(Debug, Clone)]
pub enum ExternalDamage {
    Lost {
        file: FileClass,
        path: String,
    },
    /// Bytes of a file have changed although no process wrote them.
    Rotten {
        file: FileClass,
        path: String,
        offset: usize,
        /// The changed bytes.
        bytes: Vec<u8>,
    },
    /// The directory was replaced by an older copy of itself, taken at this moment of the ledger.
    Older(Moment),
}

pub struct Process {
    pub engine: Arc<Engine>,
    pub connection: LocalConnection,
    /// The queries that the application has prepared on `connection`.
    pub prepared: PreparedQueries,
    /// The connection on which the application runs its programs, once it has run one. It may have a transaction open.
    pub program: Option<LocalConnection>,
    /// A transaction that the application holds open on another connection.
    pub held: Option<Held>,
    /// A reader that the application holds open.
    pub reader: Option<Reader>,
}

/// Queries that an application prepares once and keeps. They must follow every change of the schema, whether
/// the application or a rebase makes the change.
#[derive(Default)]
pub struct PreparedQueries(BTreeMap<String, LocalStatement>);

impl PreparedQueries {
    /// Runs a query, and prepares it on `connection` first if it is new.
    ///
    /// # Errors
    /// The engine's error.
    pub fn query(&mut self, connection: &LocalConnection, sql: &str) -> Result<Vec<Vec<Value>>, Error> {
        if !self.0.contains_key(sql) {
            self.0.insert(sql.to_owned(), connection.prepare(sql)?);
        }
        let statement = self.0.get_mut(sql).expect("it was prepared above");
        statement.query(&[])
    }
}

impl Client {
    /// Creates a machine that has never run the engine.
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
            is_opening: false,
            process: None,
            is_recovering: false,
            durable: None,
            external_damage: Vec::new(),
            follows_wrong_server: false,
            followed_epoch: 0,
        }
    }

    pub fn options(&self, header: &Header) -> Options {
        header.options(format!("client-{}", self.number))
    }

    /// Whether a file of its directory is lost or rotten and has not been replaced yet.
    pub fn is_damaged(&self) -> bool {
        self.external_damage.iter().any(|damage| self.shows(damage))
    }

    /// Whether the effect of a damage is still visible.
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

    /// Whether a process runs or is opening the files.
    pub fn is_running(&self) -> bool {
        self.process.is_some() || self.is_opening
    }

    pub fn holds_open(&self) -> bool {
        self.process.as_ref().is_some_and(|process| {
            let is_open = process.program.as_ref().is_some_and(|program| !program.is_autocommit());
            is_open || process.held.is_some()
        })
    }

    /// The rows that its application sees. `None` while its process is not running.
    pub fn content(&mut self) -> Option<Result<Content, Error>> {
        let Process { connection, prepared, .. } = self.process.as_mut()?;
        self.disk.suspend_errors(true);
        let content = read_content(|sql| prepared.query(connection, sql));
        self.disk.suspend_errors(false);
        Some(content)
    }

    /// The content of all its tables, without open transactions. `None` while its process is not running.
    pub fn tables(&self) -> Option<Result<Tables, Error>> {
        let Process { connection, .. } = self.process.as_ref()?;
        self.disk.suspend_errors(true);
        let tables = Tables::read(|sql| connection.query(sql, &[]));
        self.disk.suspend_errors(false);
        Some(tables)
    }

    /// Its database's files and tables at the end of a history. `None` while its process is not running.
    ///
    /// # Panics
    /// If the database cannot be read.
    pub fn final_database(&self) -> Option<FinalDatabase> {
        let process = self.process.as_ref()?;
        let bytes = |path: &str| self.disk.read(path).map_or_else(Vec::new, |bytes| bytes.to_vec());
        let tables = read_tables(|sql| process.connection.query(sql, &[]));
        Some(FinalDatabase {
            owner: format!("client {}", self.number),
            main: bytes(&self.paths.draft),
            wal: bytes(&self.paths.draft_wal),
            tables: tables.expect("a judged database is readable"),
        })
    }

    /// Judges `synced-prefix` and `watermark` on its files. Returns the epochs of the remote that Synced can
    /// belong to, or `None` while the metadata claims no replica or a file is lost or rotten.
    ///
    /// # Errors
    /// The broken invariant.
    pub fn epochs(&self, claims: &Claims, log: &RemoteLog) -> Result<Option<Epochs>, Violation> {
        if self.is_damaged() || self.follows_wrong_server || !claims.has_replica() {
            return Ok(None);
        }
        self.files().judge(claims, log, self.process.is_none()).map(Some)
    }

    /// Its database files in their current state.
    pub fn files(&self) -> DatabaseFiles {
        DatabaseFiles::read(&self.paths, |path| self.disk.read(path))
    }

    /// The claims of its current metadata. `None` if there is no metadata, or it does not parse, or it is
    /// rotten.
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

/// The content of a database, as the application reads it.
///
/// # Errors
/// The error of `query`.
pub fn read_content<E>(mut query: impl FnMut(&str) -> Result<Vec<Vec<Value>>, E>) -> Result<Content, E> {
    let log = query(LOG)?.iter().map(|row| row[0].to_string()).collect();
    let rows = read_rows(query)?.into_iter().collect();
    Ok(Content { log, rows })
}
