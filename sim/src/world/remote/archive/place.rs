//! The directory of an archive: the names of its files, and operations on them.

use std::io::{self, ErrorKind};
use std::sync::Arc;

use plimsoll_engine::{LockGuard, Storage};
use serde::{Deserialize, Serialize};
use turso_core::{File, IO, LimboError, OpenFlags};
use xxhash_rust::xxh3::Xxh3;

use super::error::ArchiveError;
use crate::world::remote::files;

/// The number of bytes that are read or written at once.
pub(super) const CHUNK_BYTES: u64 = 256 << 10;

pub(super) const MANIFEST: &str = "manifest";
pub(super) const MANIFEST_NEXT: &str = "manifest.tmp";
pub(super) const LOCK: &str = "lock";
pub(super) const CURRENT: &str = "current.db";
pub(super) const CURRENT_WAL: &str = "current.db-wal";
/// A rollback journal that another program has left. With it, the database cannot be read.
pub(super) const CURRENT_JOURNAL: &str = "current.db-journal";
/// Only directories without a manifest have this file. It holds their history id.
pub(super) const HISTORY_ID: &str = "history-id";

/// The operations on directories that an archive needs beyond the engine's.
pub trait DirectoryStorage: Storage {
    /// The names of the files in a directory, in any order.
    ///
    /// # Errors
    /// The file system's error.
    fn list(&self, directory: &str) -> io::Result<Vec<String>>;

    /// What distinguishes a file from its copies.
    ///
    /// # Errors
    /// The file system's error.
    fn identity(&self, path: &str) -> io::Result<Identity>;
}

/// What distinguishes a file from its copies: a rename keeps it, a copy has another one, and so has a file whose
/// content was replaced in place after the identity was noted in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    pub inode: u64,
    /// The time at which the inode was created, in nanoseconds after 1970. 0 if the file system does not know it.
    pub created_ns: u64,
}

/// The length of a file and a hash of its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stamp {
    pub bytes: u64,
    /// XXH3, 128 bits.
    #[serde(with = "hexadecimal")]
    pub hash: u128,
}

mod hexadecimal {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(hash: &u128, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{hash:032x}"))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u128, D::Error> {
        u128::from_str_radix(&String::deserialize(deserializer)?, 16).map_err(D::Error::custom)
    }
}

/// The meaning of a file's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Name {
    Snapshot(u64),
    Log(u64),
    Current,
    CurrentWal,
    Journal,
    HistoryId,
    /// A file that an archive neither reads nor writes, or one that may always be there.
    Other,
}

impl Name {
    pub fn parse(name: &str) -> Self {
        let numbered = |end: &str| {
            let digits = name.strip_prefix("generation-")?.strip_suffix(end)?;
            let generation: u64 = digits.parse().ok()?;
            (generation > 0 && generation.to_string() == digits).then_some(generation)
        };
        if let Some(generation) = numbered(".db") {
            return Self::Snapshot(generation);
        }
        if let Some(generation) = numbered(".wal") {
            return Self::Log(generation);
        }
        match name {
            CURRENT => Self::Current,
            CURRENT_WAL => Self::CurrentWal,
            CURRENT_JOURNAL => Self::Journal,
            HISTORY_ID => Self::HistoryId,
            _ => Self::Other,
        }
    }
}

pub(super) fn snapshot_name(generation: u64) -> String {
    format!("generation-{generation}.db")
}

pub(super) fn log_name(generation: u64) -> String {
    format!("generation-{generation}.wal")
}

/// A directory, and the traits through which its files are reached.
#[derive(Clone)]
pub struct Place {
    pub io: Arc<dyn IO>,
    pub storage: Arc<dyn DirectoryStorage>,
    /// The path of the directory, which exists.
    pub directory: String,
}

impl Place {
    pub(super) fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.directory)
    }

    /// Locks the directory against other servers.
    pub(super) fn lock(&self) -> Result<LockGuard, ArchiveError> {
        let path = self.path(LOCK);
        self.storage.lock(&path).map_err(|source| match source.kind() {
            ErrorKind::WouldBlock => ArchiveError::InUse { path: self.directory.clone() },
            _ => ArchiveError::File { operation: "lock", path, source },
        })
    }

    /// The names of all files.
    pub(super) fn names(&self) -> Result<Vec<String>, ArchiveError> {
        let path = &self.directory;
        self.storage.list(path).map_err(|source| ArchiveError::File {
            operation: "list",
            path: path.clone(),
            source,
        })
    }

    /// What distinguishes a file from its copies.
    pub(super) fn identity(&self, name: &str) -> Result<Identity, ArchiveError> {
        let path = self.path(name);
        self.storage.identity(&path).map_err(|source| ArchiveError::File {
            operation: "examine",
            path,
            source,
        })
    }

    /// Opens a file that the core does not use. No lock is taken on it.
    pub(super) fn open(&self, name: &str) -> Result<Arc<dyn File>, ArchiveError> {
        let flags = OpenFlags::ReadOnly | OpenFlags::NoLock;
        self.io.open_file(&self.path(name), flags, false).map_err(self.failed("open", name))
    }

    /// Opens a file to be written, and creates it if it does not exist. No lock is taken on it.
    pub(super) fn create(&self, name: &str) -> Result<Arc<dyn File>, ArchiveError> {
        let flags = OpenFlags::Create | OpenFlags::NoLock;
        self.io.open_file(&self.path(name), flags, false).map_err(self.failed("create", name))
    }

    /// Opens a file of the core's database as the core does.
    pub(super) fn open_shared(&self, name: &str) -> Result<Arc<dyn File>, ArchiveError> {
        self.io.open_file(&self.path(name), OpenFlags::None, false).map_err(self.failed("open", name))
    }

    pub(super) fn remove(&self, name: &str) -> Result<(), ArchiveError> {
        self.io.remove_file(&self.path(name)).map_err(self.failed("remove", name))
    }

    /// Makes creations, removals and renames durable.
    pub(super) fn sync(&self) -> Result<(), ArchiveError> {
        let path = self.path(MANIFEST);
        self.storage.sync_dir(&path).map_err(|source| ArchiveError::File {
            operation: "sync",
            path: self.directory.clone(),
            source,
        })
    }

    pub(super) fn read(
        &self,
        name: &str,
        file: &Arc<dyn File>,
        range: std::ops::Range<u64>,
    ) -> Result<Vec<u8>, ArchiveError> {
        files::read_at(&self.io, file, range).map_err(self.failed("read", name))
    }

    pub(super) fn size(&self, name: &str, file: &Arc<dyn File>) -> Result<u64, ArchiveError> {
        file.size().map_err(self.failed("read", name))
    }

    /// The length and hash of a file's first bytes.
    pub(super) fn stamp(&self, name: &str, file: &Arc<dyn File>, bytes: u64) -> Result<Stamp, ArchiveError> {
        let mut hasher = Xxh3::new();
        for start in (0..bytes).step_by(CHUNK_BYTES as usize) {
            hasher.update(&self.read(name, file, start..bytes.min(start + CHUNK_BYTES))?);
        }
        Ok(Stamp { bytes, hash: hasher.digest128() })
    }

    /// Writes a whole file from pieces, durably. Returns its length and hash. An existing file is overwritten.
    /// Its directory entry is not durable.
    pub(super) fn write(
        &self,
        name: &str,
        pieces: impl Iterator<Item = Result<Vec<u8>, ArchiveError>>,
    ) -> Result<Stamp, ArchiveError> {
        let file = self.create(name)?;
        let mut hasher = Xxh3::new();
        let mut bytes = 0;
        files::truncate(&self.io, &file, 0).map_err(self.failed("cut", name))?;
        for piece in pieces {
            let piece = piece?;
            hasher.update(&piece);
            let length = piece.len() as u64;
            files::write_at(&self.io, &file, bytes, piece).map_err(self.failed("write", name))?;
            bytes += length;
        }
        files::sync_file(&self.io, &file).map_err(self.failed("sync", name))?;
        Ok(Stamp { bytes, hash: hasher.digest128() })
    }

    /// Writes the first bytes of a file over themselves, and syncs them. After a sync that has failed, a later sync
    /// does not write again what the failed one was to write.
    pub(super) fn rewrite(&self, name: &str, file: &Arc<dyn File>, bytes: u64) -> Result<(), ArchiveError> {
        for start in (0..bytes).step_by(CHUNK_BYTES as usize) {
            let piece = self.read(name, file, start..bytes.min(start + CHUNK_BYTES))?;
            files::write_at(&self.io, file, start, piece).map_err(self.failed("write", name))?;
        }
        files::sync_file(&self.io, file).map_err(self.failed("sync", name))
    }

    /// The content of a file in pieces.
    pub(super) fn pieces<'a>(
        &'a self,
        name: &'a str,
        file: &'a Arc<dyn File>,
        bytes: u64,
    ) -> impl Iterator<Item = Result<Vec<u8>, ArchiveError>> + 'a {
        let starts = (0..bytes).step_by(CHUNK_BYTES as usize);
        starts.map(move |start| self.read(name, file, start..bytes.min(start + CHUNK_BYTES)))
    }

    pub(super) fn failed(
        &self,
        operation: &'static str,
        name: &str,
    ) -> impl FnOnce(LimboError) -> ArchiveError + use<> {
        let path = self.path(name);
        move |source| ArchiveError::Io { operation, path, source }
    }
}
