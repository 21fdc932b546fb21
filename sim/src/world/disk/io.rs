//! The traits through which a process uses the disk: `turso_core`'s `IO`, `File` and `Clock`, and the
//! engine's `Storage`.
//!
//! Every operation completes before its call returns. No lock is held while a completion runs, because a
//! completion may start further operations. Time is virtual; random bytes are hashes (see `machine`). A
//! handle stays on its file through renames, removals and crashes, as an open file descriptor does.
//!
//! Not simulated: the core's own file locks and read-only handles (they are granted but not enforced), holes,
//! shared WAL memory, and direct I/O (it is ordinary I/O here).

use std::io::{self, ErrorKind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use plimsoll_engine::{LockGuard, Storage};
use turso_core::io::{FileId, FileSyncType};
use turso_core::{
    Buffer, Clock, Completion, CompletionError, File, IO, MonotonicInstant, OpenFlags, Result,
    WallClockInstant,
};
use xxhash_rust::xxh3::xxh3_64;

use super::errors::InjectedError;
use super::file_system::{FileSystem, directory_of};
use super::image::{Inode, Operation};
use super::machine::{Boot, Machine, Mutation, Purpose, next_device};
use crate::fault::{Access, DiskErrorKind};
use crate::lock::lock;
use crate::world::clock;
use crate::world::remote::archive::{DirectoryStorage, Identity};

/// The maximum number of waits in a row, without a file operation between them. An operation that ends needs
/// far fewer.
const WAITS_MAX: u32 = 100_000;

/// The payload of the panic that ends a hanging process. Without the panic, the process's call would never
/// return, and the world could not continue.
#[derive(Debug)]
pub struct Hang;

/// The file system as the processes of one boot see it.
pub struct SimIo {
    mount: Mount,
    /// The device that the process sees. Each process has its own, so that the core keeps their databases
    /// apart, as two real processes would.
    device: u64,
}

impl SimIo {
    /// The view of the process that runs in this boot.
    pub(super) fn new(machine: Arc<Mutex<Machine>>, boot: Arc<Boot>) -> Self {
        let device = boot.device;
        Self { mount: Mount { machine, boot }, device }
    }

    /// The view of another process on the same machine.
    pub(super) fn of_another_process(&self) -> Self {
        Self { mount: self.mount.clone(), device: next_device() }
    }
}

impl IO for SimIo {
    fn open_file(&self, path: &str, flags: OpenFlags, _direct: bool) -> Result<Arc<dyn File>> {
        let inode = self.mount.with_machine(|machine, files| {
            let is_there = files.current().entries.contains_key(path);
            if (is_there || flags.contains(OpenFlags::Create))
                && let Some(injected) = machine.error_due(&self.mount.boot, path, &[Access::Open])
            {
                return Err(injected.kind.completion_error());
            }
            if let Some(inode) = files.current().entries.get(path) {
                return Ok(*inode);
            }
            if !flags.contains(OpenFlags::Create) {
                return Err(CompletionError::IOError(ErrorKind::NotFound, "open"));
            }
            let inode = files.allocate_inode();
            let create = Operation::Create { path: path.to_owned(), inode };
            let created = machine.perform(&self.mount.boot, files, path, Mutation::Apply(create));
            created.map(|()| inode).map_err(|injected| injected.kind.completion_error())
        });
        Ok(Arc::new(SimFile { mount: self.mount.clone(), path: path.to_owned(), inode: inode? }))
    }

    fn remove_file(&self, path: &str) -> Result<()> {
        let removed = self.mount.with_machine(|machine, files| {
            if !files.current().entries.contains_key(path) {
                return Err(CompletionError::IOError(ErrorKind::NotFound, "remove"));
            }
            let remove = Operation::Remove { path: path.to_owned() };
            let removed = machine.perform(&self.mount.boot, files, path, Mutation::Apply(remove));
            removed.map_err(|injected| injected.kind.completion_error())
        });
        Ok(removed?)
    }

    /// Every operation completes before its call returns, so nothing that a caller waits for here can ever
    /// happen.
    fn step(&self) -> Result<()> {
        self.mount.count_wait();
        Ok(())
    }

    fn supports_shared_wal_coordination(&self) -> bool {
        false
    }

    fn generate_random_number(&self) -> i64 {
        self.mount.draw(Purpose::Number).cast_signed()
    }

    fn fill_bytes(&self, dest: &mut [u8]) {
        for chunk in dest.chunks_mut(8) {
            chunk.copy_from_slice(&self.mount.draw(Purpose::Bytes).to_le_bytes()[..chunk.len()]);
        }
    }

    fn yield_now(&self) {
        self.mount.count_wait();
    }

    fn sleep(&self, _duration: Duration) {
        self.mount.count_wait();
    }

    fn file_id(&self, path: &str) -> Result<FileId> {
        Ok(FileId { dev: self.device, ino: xxh3_64(path.as_bytes()) })
    }
}

impl Clock for SimIo {
    fn current_time_monotonic(&self) -> MonotonicInstant {
        MonotonicInstant::from_nanos(Duration::from_millis(clock::now_ms()).as_nanos())
    }

    fn current_time_wall_clock(&self) -> WallClockInstant {
        let now = clock::unix_time(clock::now_ms());
        WallClockInstant { secs: now.as_secs().cast_signed(), micros: now.subsec_micros() }
    }
}

impl Storage for SimIo {
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        assert_eq!(directory_of(from), directory_of(to), "a rename across directories is not modelled");
        self.mount.with_machine(|machine, files| {
            let inode = *files.current().entries.get(from).ok_or(ErrorKind::NotFound)?;
            let rename = Operation::Rename { from: from.to_owned(), to: to.to_owned(), inode };
            let renamed = machine.perform(&self.mount.boot, files, to, Mutation::Apply(rename));
            renamed.map_err(|injected| injected.kind.error_kind().into())
        })
    }

    fn sync_dir(&self, path: &str) -> io::Result<()> {
        let synced = self.mount.perform(path, Mutation::SyncDirectory);
        synced.map_err(|injected| injected.kind.error_kind().into())
    }

    fn lock(&self, path: &str) -> io::Result<LockGuard> {
        self.mount.boot.locks.take(path)
    }
}

impl DirectoryStorage for SimIo {
    fn list(&self, directory: &str) -> io::Result<Vec<String>> {
        let files = lock(&self.mount.boot.files);
        let inside = files.current().entries.keys().filter(|path| directory_of(path) == directory);
        Ok(inside.map(|path| path[directory.len() + 1..].to_owned()).collect())
    }

    fn identity(&self, path: &str) -> io::Result<Identity> {
        let files = lock(&self.mount.boot.files);
        let inode = *files.current().entries.get(path).ok_or(ErrorKind::NotFound)?;
        // No two files of a disk ever have the same inode.
        Ok(Identity { inode, created_ns: 0 })
    }
}

struct SimFile {
    mount: Mount,
    /// The path by which the file was opened. The trace uses it even after a rename.
    path: String,
    inode: Inode,
}

impl SimFile {
    fn write(&self, offset: u64, bytes: Bytes, c: Completion) -> Result<Completion> {
        let byte_count = i32::try_from(bytes.len()).expect("a write is shorter than 2 GiB");
        self.mutate(Mutation::Apply(Operation::Write { inode: self.inode, offset, bytes }), byte_count, c)
    }

    /// Performs a mutation and completes with `result`, or fails if an error is injected.
    fn mutate(&self, mutation: Mutation, result: i32, c: Completion) -> Result<Completion> {
        match self.mount.perform(&self.path, mutation) {
            Ok(()) => c.complete(result),
            Err(injected) => fail(injected, &c)?,
        }
        Ok(c)
    }
}

impl File for SimFile {
    fn lock_file(&self, _exclusive: bool) -> Result<()> {
        Ok(())
    }

    fn unlock_file(&self) -> Result<()> {
        Ok(())
    }

    fn pread(&self, pos: u64, c: Completion) -> Result<Completion> {
        let read = self.mount.with_machine(|machine, files| {
            let injected = machine.error_due(&self.mount.boot, &self.path, &[Access::Read]);
            if let Some(injected) = injected
                && injected.kind != DiskErrorKind::ShortRead
            {
                return Err(injected);
            }
            let content = files.current().content(self.inode);
            let start = usize::try_from(pos).unwrap_or(usize::MAX).min(content.len());
            let into = c.as_read().buf().as_mut_slice();
            let byte_count = into.len().min(content.len() - start);
            let byte_count = if injected.is_some() { byte_count.div_ceil(2) } else { byte_count };
            into[..byte_count].copy_from_slice(&content[start..start + byte_count]);
            Ok(byte_count)
        });
        match read {
            Ok(byte_count) => {
                c.complete(i32::try_from(byte_count).expect("a read is shorter than 2 GiB"));
            }
            Err(injected) => fail(injected, &c)?,
        }
        Ok(c)
    }

    fn pwrite(&self, pos: u64, buffer: Arc<Buffer>, c: Completion) -> Result<Completion> {
        self.write(pos, Bytes::copy_from_slice(buffer.as_slice()), c)
    }

    fn pwritev(&self, pos: u64, buffers: Vec<Arc<Buffer>>, c: Completion) -> Result<Completion> {
        let mut bytes = Vec::with_capacity(buffers.iter().map(|buffer| buffer.len()).sum());
        for buffer in &buffers {
            bytes.extend_from_slice(buffer.as_slice());
        }
        self.write(pos, bytes.into(), c)
    }

    fn sync(&self, c: Completion, _sync_type: FileSyncType) -> Result<Completion> {
        self.mutate(Mutation::Sync(self.inode), 0, c)
    }

    fn size(&self) -> Result<u64> {
        Ok(lock(&self.mount.boot.files).current().content(self.inode).len() as u64)
    }

    fn truncate(&self, len: u64, c: Completion) -> Result<Completion> {
        self.mutate(Mutation::Apply(Operation::Truncate { inode: self.inode, len }), 0, c)
    }
}

/// Fails the call itself or its completion, as the injected error says.
fn fail(injected: InjectedError, c: &Completion) -> Result<()> {
    let error = injected.kind.completion_error();
    if injected.at_once {
        return Err(error.into());
    }
    c.error(error);
    Ok(())
}

/// A process's access to the disk: the machine, and the boot that the process belongs to.
#[derive(Clone)]
struct Mount {
    machine: Arc<Mutex<Machine>>,
    boot: Arc<Boot>,
}

impl Mount {
    fn with_machine<R>(&self, f: impl FnOnce(&mut Machine, &mut FileSystem) -> R) -> R {
        self.boot.waits.store(0, Ordering::Relaxed);
        let mut machine = lock(&self.machine);
        let mut files = lock(&self.boot.files);
        f(&mut machine, &mut files)
    }

    fn perform(&self, path: &str, mutation: Mutation) -> std::result::Result<(), InjectedError> {
        self.with_machine(|machine, files| machine.perform(&self.boot, files, path, mutation))
    }

    /// Counts a wait. Too many waits in a row, without a file operation between them, are a hang.
    fn count_wait(&self) {
        if self.boot.waits.fetch_add(1, Ordering::Relaxed) >= WAITS_MAX {
            std::panic::panic_any(Hang);
        }
    }

    fn draw(&self, purpose: Purpose) -> u64 {
        lock(&self.machine).draw(&self.boot, purpose)
    }
}
