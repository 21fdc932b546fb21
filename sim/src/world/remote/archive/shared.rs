//! An IO that opens each file of the core's database at most once at a time.
//!
//! The core locks its files with POSIX record locks. A process loses such a lock as soon as it closes any handle of
//! the file, even one on which the lock was not taken. So a file that is open must not be opened once more. Here,
//! everybody gets the same handle. [`Watch`] tells whether a write or a sync of one of these files has failed.

use std::collections::BTreeMap;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use turso_core::io::{FileId, FileSyncType};
use turso_core::{
    Buffer, Clock, Completion, File, IO, LimboError, MemoryIO, MonotonicInstant, OpenFlags, WallClockInstant,
};

use crate::lock::lock;

/// Whether a write, a cut or a sync has failed.
#[derive(Clone, Default)]
pub(super) struct Watch(Arc<AtomicBool>);

impl Watch {
    pub fn note(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether there was a failure since the last call of [`take`](Self::take).
    pub fn has_seen(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Returns whether there was a failure since the last call.
    pub fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }

    /// Notes an operation that has failed.
    fn see(&self, done: Result<Completion, LimboError>) -> Result<Completion, LimboError> {
        if done.as_ref().map_or(true, Completion::failed) {
            self.note();
        }
        done
    }
}

pub(super) struct SharedHandles {
    io: Arc<dyn IO>,
    watch: Watch,
    /// The shared files by path. A handle is closed when its last user drops it.
    handles: Mutex<BTreeMap<String, Option<Weak<dyn File>>>>,
}

impl SharedHandles {
    /// Shares the handles of the files at `paths`. The files at other paths are opened as usual.
    pub fn new(io: Arc<dyn IO>, watch: Watch, paths: impl IntoIterator<Item = String>) -> Self {
        Self { io, watch, handles: Mutex::new(paths.into_iter().map(|path| (path, None)).collect()) }
    }
}

impl IO for SharedHandles {
    fn open_file(&self, path: &str, flags: OpenFlags, direct: bool) -> Result<Arc<dyn File>, LimboError> {
        let mut handles = lock(&self.handles);
        let Some(shared) = handles.get_mut(path) else {
            drop(handles);
            return self.io.open_file(path, flags, direct);
        };
        if let Some(open) = shared.as_ref().and_then(Weak::upgrade) {
            return Ok(open);
        }
        let file = self.io.open_file(path, flags, direct)?;
        let file: Arc<dyn File> = Arc::new(WatchedFile { file, watch: self.watch.clone() });
        *shared = Some(Arc::downgrade(&file));
        Ok(file)
    }

    fn remove_file(&self, path: &str) -> Result<(), LimboError> {
        if let Some(shared) = lock(&self.handles).get_mut(path) {
            *shared = None;
        }
        self.io.remove_file(path)
    }

    fn step(&self) -> Result<(), LimboError> {
        self.io.step()
    }

    fn cancel(&self, completions: &[Completion]) -> Result<(), LimboError> {
        self.io.cancel(completions)
    }

    fn drain_completions(&self, completions: &[Completion]) -> Result<(), LimboError> {
        self.io.drain_completions(completions)
    }

    fn wait_for_completion(&self, completion: Completion) -> Result<(), LimboError> {
        self.io.wait_for_completion(completion)
    }

    fn generate_random_number(&self) -> i64 {
        self.io.generate_random_number()
    }

    fn fill_bytes(&self, bytes: &mut [u8]) {
        self.io.fill_bytes(bytes);
    }

    fn get_memory_io(&self) -> Arc<MemoryIO> {
        self.io.get_memory_io()
    }

    fn register_fixed_buffer(&self, start: NonNull<u8>, length: usize) -> Result<u32, LimboError> {
        self.io.register_fixed_buffer(start, length)
    }

    fn yield_now(&self) {
        self.io.yield_now();
    }

    fn sleep(&self, duration: Duration) {
        self.io.sleep(duration);
    }

    fn file_id(&self, path: &str) -> Result<FileId, LimboError> {
        self.io.file_id(path)
    }
}

/// A file whose failures are noted. Its operations complete before their calls return.
struct WatchedFile {
    file: Arc<dyn File>,
    watch: Watch,
}

impl File for WatchedFile {
    fn lock_file(&self, exclusive: bool) -> Result<(), LimboError> {
        self.file.lock_file(exclusive)
    }

    fn unlock_file(&self) -> Result<(), LimboError> {
        self.file.unlock_file()
    }

    fn pread(&self, offset: u64, completion: Completion) -> Result<Completion, LimboError> {
        self.file.pread(offset, completion)
    }

    fn pwrite(
        &self,
        offset: u64,
        buffer: Arc<Buffer>,
        completion: Completion,
    ) -> Result<Completion, LimboError> {
        self.watch.see(self.file.pwrite(offset, buffer, completion))
    }

    fn pwritev(
        &self,
        offset: u64,
        buffers: Vec<Arc<Buffer>>,
        completion: Completion,
    ) -> Result<Completion, LimboError> {
        self.watch.see(self.file.pwritev(offset, buffers, completion))
    }

    fn sync(&self, completion: Completion, kind: FileSyncType) -> Result<Completion, LimboError> {
        self.watch.see(self.file.sync(completion, kind))
    }

    fn truncate(&self, bytes: u64, completion: Completion) -> Result<Completion, LimboError> {
        self.watch.see(self.file.truncate(bytes, completion))
    }

    fn size(&self) -> Result<u64, LimboError> {
        self.file.size()
    }
}

impl Clock for SharedHandles {
    fn current_time_monotonic(&self) -> MonotonicInstant {
        self.io.current_time_monotonic()
    }

    fn current_time_wall_clock(&self) -> WallClockInstant {
        self.io.current_time_wall_clock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_open_is_not_opened_once_more() {
        let io = SharedHandles::new(Arc::new(MemoryIO::new()), Watch::default(), ["a".to_owned()]);
        let open = |path| io.open_file(path, OpenFlags::Create, false).unwrap();
        let first = open("a");
        assert!(Arc::ptr_eq(&first, &open("a")));
        let weak = Arc::downgrade(&first);
        drop(first);
        assert!(weak.upgrade().is_none(), "the last user closes the file");
        io.remove_file("a").unwrap();
        drop(open("a"));
    }
}
