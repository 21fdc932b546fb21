//! A meter between an engine and its environment. It counts the work, so that tests of costs do not depend on
//! a clock.
//!
//! The meter counts the calls of the traits: file operations with their bytes, and requests. It does not
//! count the work of the machine below them (caches, blocks, packets), nor the core's coordination of several
//! processes on one database.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use plimsoll_engine::{LockGuard, Remote, RemoteError, Storage};
use turso_core::io::{FileId, FileSyncType};
use turso_core::{
    Buffer, Clock, Completion, File, IO, MonotonicInstant, OpenFlags, Result, WallClockInstant,
};

/// The counted work.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub reads: u64,
    /// Bytes returned by the reads.
    pub read_bytes: u64,
    pub writes: u64,
    /// Bytes passed to the writes.
    pub written_bytes: u64,
    /// Syncs of files and of directories.
    pub syncs: u64,
    /// The number of times that a file was opened, created, truncated, renamed or removed.
    pub file_operations: u64,
    pub requests: u64,
    /// Bytes of the request bodies.
    pub request_bytes: u64,
}

/// Counts the calls through everything that it wraps. Clones share the counts.
#[derive(Debug, Clone, Default)]
pub struct Meter(Arc<Mutex<Counts>>);

impl Meter {
    /// Returns the counts since the last call, and resets them.
    pub fn take(&self) -> Counts {
        std::mem::take(&mut *self.counts())
    }

    /// Wraps a file system.
    pub fn around_files(&self, io: Arc<dyn IO>, storage: Arc<dyn Storage>) -> Arc<MeteredFiles> {
        Arc::new(MeteredFiles { io, storage, meter: self.clone() })
    }

    /// Wraps a remote.
    pub fn around_remote<R: Remote>(&self, remote: R) -> MeteredRemote<R> {
        MeteredRemote { remote, meter: self.clone() }
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub struct MeteredFiles {
    io: Arc<dyn IO>,
    storage: Arc<dyn Storage>,
    meter: Meter,
}

impl Clock for MeteredFiles {
    fn current_time_monotonic(&self) -> MonotonicInstant {
        self.io.current_time_monotonic()
    }

    fn current_time_wall_clock(&self) -> WallClockInstant {
        self.io.current_time_wall_clock()
    }
}

impl IO for MeteredFiles {
    fn open_file(&self, path: &str, flags: OpenFlags, direct: bool) -> Result<Arc<dyn File>> {
        self.meter.counts().file_operations += 1;
        let file = self.io.open_file(path, flags, direct)?;
        Ok(Arc::new(MeteredFile { file, meter: self.meter.clone() }))
    }

    fn remove_file(&self, path: &str) -> Result<()> {
        self.meter.counts().file_operations += 1;
        self.io.remove_file(path)
    }

    fn step(&self) -> Result<()> {
        self.io.step()
    }

    fn cancel(&self, completions: &[Completion]) -> Result<()> {
        self.io.cancel(completions)
    }

    fn drain_completions(&self, completions: &[Completion]) -> Result<()> {
        self.io.drain_completions(completions)
    }

    fn wait_for_completion(&self, completion: Completion) -> Result<()> {
        self.io.wait_for_completion(completion)
    }

    fn generate_random_number(&self) -> i64 {
        self.io.generate_random_number()
    }

    fn fill_bytes(&self, bytes: &mut [u8]) {
        self.io.fill_bytes(bytes);
    }

    fn yield_now(&self) {
        self.io.yield_now();
    }

    fn sleep(&self, duration: Duration) {
        self.io.sleep(duration);
    }

    fn file_id(&self, path: &str) -> Result<FileId> {
        self.io.file_id(path)
    }
}

impl Storage for MeteredFiles {
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.meter.counts().file_operations += 1;
        self.storage.rename(from, to)
    }

    fn sync_dir(&self, path: &str) -> io::Result<()> {
        self.meter.counts().syncs += 1;
        self.storage.sync_dir(path)
    }

    fn lock(&self, path: &str) -> io::Result<LockGuard> {
        self.storage.lock(path)
    }
}

struct MeteredFile {
    file: Arc<dyn File>,
    meter: Meter,
}

impl File for MeteredFile {
    fn lock_file(&self, exclusive: bool) -> Result<()> {
        self.file.lock_file(exclusive)
    }

    fn unlock_file(&self) -> Result<()> {
        self.file.unlock_file()
    }

    fn pread(&self, offset: u64, completion: Completion) -> Result<Completion> {
        let asked = completion.as_read().buf().len() as u64;
        let there = self.file.size()?.saturating_sub(offset);
        {
            let mut counts = self.meter.counts();
            counts.reads += 1;
            counts.read_bytes += asked.min(there);
        }
        self.file.pread(offset, completion)
    }

    fn pwrite(&self, offset: u64, buffer: Arc<Buffer>, completion: Completion) -> Result<Completion> {
        {
            let mut counts = self.meter.counts();
            counts.writes += 1;
            counts.written_bytes += buffer.len() as u64;
        }
        self.file.pwrite(offset, buffer, completion)
    }

    fn pwritev(&self, offset: u64, buffers: Vec<Arc<Buffer>>, completion: Completion) -> Result<Completion> {
        {
            let mut counts = self.meter.counts();
            counts.writes += 1;
            counts.written_bytes += buffers.iter().map(|buffer| buffer.len() as u64).sum::<u64>();
        }
        self.file.pwritev(offset, buffers, completion)
    }

    fn sync(&self, completion: Completion, kind: FileSyncType) -> Result<Completion> {
        self.meter.counts().syncs += 1;
        self.file.sync(completion, kind)
    }

    fn size(&self) -> Result<u64> {
        self.file.size()
    }

    fn truncate(&self, length: u64, completion: Completion) -> Result<Completion> {
        self.meter.counts().file_operations += 1;
        self.file.truncate(length, completion)
    }
}

pub struct MeteredRemote<R> {
    remote: R,
    meter: Meter,
}

impl<R: Remote> Remote for MeteredRemote<R> {
    type Body = R::Body;

    async fn send(&self, request: Request<Bytes>) -> std::result::Result<Response<R::Body>, RemoteError> {
        {
            let mut counts = self.meter.counts();
            counts.requests += 1;
            counts.request_bytes += request.body().len() as u64;
        }
        self.remote.send(request).await
    }
}
