//! The engine's files and the durable operations on them.
//!
//! Every wait ends with the completion's success or error. Each `async` function here is one durable step,
//! and suspends once before and once after it.

use std::io::ErrorKind;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use turso_core::io::FileSyncType;
use turso_core::{Buffer, Completion, CompletionError, File, IO, LimboError, OpenFlags};

use crate::engine_file::{EngineFile, FileRole};
use crate::error::{Error, FileOperation, Result};
use crate::events::event;
use crate::metadata::Metadata;
use crate::pause::pause;
use crate::storage::{LockGuard, Storage};

/// The maximum length of a metadata file, in bytes.
const METADATA_BYTES_MAX: u64 = 1 << 20;
/// The size of the buffer with which a file is copied, in bytes.
const COPY_BYTES_MAX: u64 = 1 << 20;

/// The files of one database, and the interfaces to reach them.
#[derive(Clone)]
pub(crate) struct Files {
    pub(crate) io: Arc<dyn IO>,
    storage: Arc<dyn Storage>,
    pub(crate) draft: EngineFile,
    pub(crate) draft_wal: EngineFile,
    pub(crate) synced: EngineFile,
    pub(crate) synced_wal: EngineFile,
    /// A new export that will replace Synced.
    pub(crate) synced_next: EngineFile,
    pub(crate) metadata: EngineFile,
    /// New metadata that will replace the metadata file.
    metadata_next: EngineFile,
    lock: EngineFile,
}

impl Files {
    pub(crate) fn new(io: Arc<dyn IO>, storage: Arc<dyn Storage>, path: &str) -> Self {
        let file = |role| EngineFile::of(path, role);
        Self {
            io,
            storage,
            draft: file(FileRole::Draft),
            draft_wal: file(FileRole::DraftWal),
            synced: file(FileRole::Synced),
            synced_wal: file(FileRole::SyncedWal),
            synced_next: file(FileRole::SyncedNext),
            metadata: file(FileRole::Metadata),
            metadata_next: file(FileRole::MetadataNext),
            lock: file(FileRole::Lock),
        }
    }

    /// Locks the database against other engines.
    pub(crate) fn lock(&self) -> Result<LockGuard> {
        self.storage.lock(&self.lock).map_err(|source| match source.kind() {
            ErrorKind::WouldBlock => {
                event!(DatabaseInUse);
                Error::InUse { file: self.lock.clone() }
            }
            _ => Error::Directory { operation: FileOperation::Lock, file: self.lock.clone(), source },
        })
    }

    /// The four database files: Draft and Synced, main file and WAL.
    pub(crate) fn databases(&self) -> [&EngineFile; 4] {
        [&self.draft, &self.draft_wal, &self.synced, &self.synced_wal]
    }

    /// Opens a file; `None` if it does not exist.
    pub(crate) fn open_existing(&self, name: &EngineFile) -> Result<Option<OpenFile>> {
        match self.open(name, OpenFlags::NoLock) {
            Ok(file) => Ok(Some(file)),
            Err(Error::File {
                source: LimboError::CompletionError(CompletionError::IOError(ErrorKind::NotFound, _)),
                ..
            }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Opens a file that the metadata names.
    pub(crate) fn open_named(&self, name: &EngineFile) -> Result<OpenFile> {
        self.open_existing(name)?.ok_or_else(|| Error::MissingFile { file: name.clone() })
    }

    /// Opens or creates a file, and makes it empty.
    pub(crate) fn create_empty(&self, name: &EngineFile) -> Result<OpenFile> {
        let file = self.open(name, OpenFlags::Create | OpenFlags::NoLock)?;
        if file.length()? > 0 {
            file.truncate(0)?;
        }
        Ok(file)
    }

    fn open(&self, name: &EngineFile, flags: OpenFlags) -> Result<OpenFile> {
        let file = self
            .io
            .open_file(name, flags, false)
            .map_err(|source| file_error(FileOperation::Open, name, source))?;
        Ok(OpenFile { io: self.io.clone(), file, name: name.clone() })
    }

    /// Reads the metadata; `None` if its file is missing or empty.
    pub(crate) fn read_metadata(&self) -> Result<Option<Metadata>> {
        let Some(file) = self.open_existing(&self.metadata)? else { return Ok(None) };
        let length = file.length()?;
        if length == 0 {
            return Ok(None);
        }
        if length > METADATA_BYTES_MAX {
            return Err(self.bad_metadata(format!("{length} bytes long")));
        }
        let bytes = file.read(0, length as usize)?;
        Metadata::decode(&bytes).map(Some).map_err(|problem| self.bad_metadata(problem))
    }

    /// The error for a metadata file that cannot be decoded, or for metadata that cannot be encoded.
    fn bad_metadata(&self, problem: String) -> Error {
        Error::BadMetadata { file: self.metadata.clone(), problem }
    }

    /// Replaces the metadata file's content atomically and durably. There is no suspension in between, so a
    /// dropped operation either has stored the metadata or has not started to.
    pub(crate) fn replace_metadata(&self, metadata: &Metadata) -> Result<()> {
        let bytes = metadata.encode().map_err(|problem| self.bad_metadata(problem))?;
        let file = self.create_empty(&self.metadata_next)?;
        file.write(0, &bytes)?;
        file.sync()?;
        self.rename(&self.metadata_next, &self.metadata)
    }

    /// Durably replaces a file by another file whose content is durable.
    pub(crate) async fn replace(&self, from: &EngineFile, to: &EngineFile) -> Result<()> {
        pause().await;
        self.rename(from, to)?;
        pause().await;
        Ok(())
    }

    fn rename(&self, from: &EngineFile, to: &EngineFile) -> Result<()> {
        self.storage.rename(from, to).map_err(|source| Error::Directory {
            operation: FileOperation::Rename,
            file: to.clone(),
            source,
        })?;
        self.sync_entries()
    }

    /// Makes a file empty and durable, and creates it if it is missing.
    pub(crate) async fn empty(&self, name: &EngineFile) -> Result<()> {
        pause().await;
        self.create_empty(name)?.sync()?;
        self.sync_entries()?;
        pause().await;
        Ok(())
    }

    /// Makes a file's content durable, and writes the bytes from `from` on again first. A sync of an earlier
    /// process may have failed. The operating system then marks the written pages as clean and still shows
    /// them to readers, and no later sync makes them durable.
    pub(crate) async fn sync_again(&self, name: &EngineFile, from: u64) -> Result<()> {
        pause().await;
        let file = self.open_named(name)?;
        file.write_again(from..file.length()?)?;
        file.sync()?;
        pause().await;
        Ok(())
    }

    /// Makes a file's content durable.
    pub(crate) async fn sync(&self, name: &EngineFile) -> Result<()> {
        pause().await;
        self.sync_now(name)?;
        pause().await;
        Ok(())
    }

    /// Makes a file's content durable without a suspension.
    pub(crate) fn sync_now(&self, name: &EngineFile) -> Result<()> {
        self.open_named(name)?.sync()
    }

    /// Durably truncates a file to `length` bytes. Leaves a shorter file unchanged.
    pub(crate) async fn cut(&self, name: &EngineFile, length: u64) -> Result<()> {
        pause().await;
        let file = self.open_named(name)?;
        if file.length()? > length {
            file.truncate(length)?;
            file.sync()?;
            event!(TailCut, bytes = length);
        }
        pause().await;
        Ok(())
    }

    /// Makes the directory's entries durable.
    pub(crate) async fn sync_directory(&self) -> Result<()> {
        pause().await;
        self.sync_entries()?;
        pause().await;
        Ok(())
    }

    fn sync_entries(&self) -> Result<()> {
        self.storage.sync_dir(&self.metadata).map_err(|source| Error::Directory {
            operation: FileOperation::SyncDirectory,
            file: self.metadata.clone(),
            source,
        })
    }
}

/// A file that the engine itself has opened.
pub(crate) struct OpenFile {
    io: Arc<dyn IO>,
    file: Arc<dyn File>,
    name: EngineFile,
}

impl OpenFile {
    /// The file's length in bytes.
    pub(crate) fn length(&self) -> Result<u64> {
        self.file.size().map_err(|source| file_error(FileOperation::Read, &self.name, source))
    }

    /// Reads exactly `length` bytes from `offset`. The core may return fewer bytes per read; only the end of
    /// the file is an error.
    pub(crate) fn read(&self, offset: u64, length: usize) -> Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(length);
        while bytes.len() < length {
            let more = self.read_some(offset + bytes.len() as u64, length - bytes.len())?;
            if more.is_empty() {
                return Err(self.damaged(format!(
                    "{} bytes at offset {offset} where {length} were expected",
                    bytes.len()
                )));
            }
            bytes.extend(more);
        }
        Ok(bytes)
    }

    /// Builds the error for a file with unexpected content.
    pub(crate) fn damaged(&self, problem: String) -> Error {
        Error::Damaged { file: self.name.clone(), problem }
    }

    /// Reads up to `length` bytes from `offset`; none at the end of the file.
    fn read_some(&self, offset: u64, length: usize) -> Result<Vec<u8>> {
        let buffer = Arc::new(Buffer::new(vec![0; length]));
        let transferred = Arc::new(AtomicI32::new(0));
        let completion = Completion::new_read(buffer.clone(), {
            let transferred = transferred.clone();
            move |outcome| {
                if let Ok((_, bytes)) = outcome {
                    transferred.store(bytes, Ordering::SeqCst);
                }
                None
            }
        });
        self.finish(FileOperation::Read, self.file.pread(offset, completion))?;
        let actual = usize::try_from(transferred.load(Ordering::SeqCst)).unwrap_or(0);
        Ok(buffer.as_slice()[..actual.min(length)].to_vec())
    }

    pub(crate) fn write(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let transferred = Arc::new(AtomicI32::new(0));
        let completion = Completion::new_write({
            let transferred = transferred.clone();
            move |outcome| {
                if let Ok(bytes) = outcome {
                    transferred.store(bytes, Ordering::SeqCst);
                }
            }
        });
        let buffer = Arc::new(Buffer::new(bytes.to_vec()));
        self.finish(FileOperation::Write, self.file.pwrite(offset, buffer, completion))?;
        if transferred.load(Ordering::SeqCst) as usize != bytes.len() {
            return Err(file_error(FileOperation::Write, &self.name, CompletionError::ShortWrite.into()));
        }
        Ok(())
    }

    /// Writes the current content again, so that the next sync makes it durable even if an earlier sync
    /// failed.
    pub(crate) fn write_again(&self, range: Range<u64>) -> Result<()> {
        let mut offset = range.start;
        while offset < range.end {
            let bytes = self.read(offset, (range.end - offset).min(COPY_BYTES_MAX) as usize)?;
            self.write(offset, &bytes)?;
            offset += bytes.len() as u64;
        }
        Ok(())
    }

    pub(crate) fn truncate(&self, length: u64) -> Result<()> {
        self.finish(FileOperation::Truncate, self.file.truncate(length, Completion::new_trunc(|_| {})))
    }

    pub(crate) fn sync(&self) -> Result<()> {
        self.finish(FileOperation::Sync, self.file.sync(Completion::new_sync(|_| {}), FileSyncType::Fsync))
    }

    fn finish(&self, operation: FileOperation, submitted: turso_core::Result<Completion>) -> Result<()> {
        submitted
            .and_then(|completion| self.io.wait_for_completion(completion))
            .map_err(|source| file_error(operation, &self.name, source))
    }
}

fn file_error(operation: FileOperation, name: &EngineFile, source: LimboError) -> Error {
    Error::File { operation, file: name.clone(), source }
}
