//! A file system in memory, without faults. Benchmarks use it so that they measure the engine and not real
//! files.
//!
//! The files are those of turso_core's `MemoryIO`. Each file system has its own device number, so that the
//! core's registry of open databases keeps them apart.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use plimsoll_engine::{LockGuard, Storage};
use turso_core::io::FileId;
use turso_core::{
    Buffer, Clock, Completion, File, IO, MemoryIO, MonotonicInstant, OpenFlags, WallClockInstant,
};

use super::locks::Locks;

/// The core's `MemoryIO`, with distinct file ids and with the rename that it lacks.
pub struct Memory {
    files: MemoryIO,
    id: u64,
    locks: Locks,
}

impl Memory {
    /// Creates an empty file system.
    #[must_use]
    pub fn create() -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Arc::new(Self {
            files: MemoryIO::new(),
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            locks: Locks::default(),
        })
    }
}

impl Clock for Memory {
    fn current_time_monotonic(&self) -> MonotonicInstant {
        self.files.current_time_monotonic()
    }

    fn current_time_wall_clock(&self) -> WallClockInstant {
        self.files.current_time_wall_clock()
    }
}

impl IO for Memory {
    fn open_file(&self, path: &str, flags: OpenFlags, direct: bool) -> turso_core::Result<Arc<dyn File>> {
        self.files.open_file(path, flags, direct)
    }

    fn remove_file(&self, path: &str) -> turso_core::Result<()> {
        self.files.remove_file(path)
    }

    fn file_id(&self, path: &str) -> turso_core::Result<FileId> {
        Ok(FileId { dev: self.id, ..FileId::from_path_hash(path) })
    }
}

impl Storage for Memory {
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let copy = || {
            let source = self.files.open_file(from, OpenFlags::None, false)?;
            let buffer = Arc::new(Buffer::new(vec![0; source.size()? as usize]));
            let target = self.files.open_file(to, OpenFlags::Create, false)?;
            self.wait_for_completion(source.pread(0, Completion::new_read(buffer.clone(), |_| None))?)?;
            self.wait_for_completion(target.truncate(0, Completion::new_trunc(|_| {}))?)?;
            self.wait_for_completion(target.pwrite(0, buffer, Completion::new_write(|_| {}))?)?;
            self.files.remove_file(from)
        };
        copy().map_err(io::Error::other)
    }

    fn sync_dir(&self, _path: &str) -> io::Result<()> {
        Ok(())
    }

    fn lock(&self, path: &str) -> io::Result<LockGuard> {
        self.locks.take(path)
    }
}
