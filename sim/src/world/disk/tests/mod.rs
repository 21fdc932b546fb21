//! Tests of the disk.
//!
//! | module | tests |
//! |---|---|
//! | `crashes` | the state that a crash leaves |
//! | `errors` | injected errors |
//! | `places` | where a crash is injected |
//! | `names` | the guard over the named bytes |
//! | `model` | the disk against a naive model |
//! | `database` | a real database on the disk |
//!
//! This module has a process that uses the disk as the core does.

mod crashes;
mod database;
mod errors;
mod model;
mod names;
mod places;

use std::sync::{Arc, Mutex};

use crate::fault::{Lasts, Survival, Tear};
use crate::judge::{Named, Unsynced};

use plimsoll_engine::Storage;
use turso_core::io::FileSyncType;
use turso_core::{Buffer, Completion, File, IO, OpenFlags};

use super::*;
use crate::world::clock::{self, ClockGuard};
use crate::world::trace::Trace;

const NOTHING: CrashKind = CrashKind::PowerLoss { survival: Survival::Nothing, torn: None };
const EVERYTHING: CrashKind = CrashKind::PowerLoss { survival: Survival::Everything, torn: None };

fn power_loss(survival: Survival) -> CrashKind {
    CrashKind::PowerLoss { survival, torn: None }
}

fn new_disk() -> (Disk, SharedTrace, ClockGuard) {
    let guard = clock::enter(0);
    let trace = Arc::new(Mutex::new(Trace::new(true)));
    (Disk::new(Lane::Client(0), 7, Arc::clone(&trace)), trace, guard)
}

/// A disk with an empty file `f` whose name is durable, and a process on it.
fn disk_with_file() -> (Disk, Process, ClockGuard) {
    let (disk, _, guard) = new_disk();
    let process = Process::start(&disk);
    process.create("f");
    process.io.sync_dir("f").expect("a directory sync succeeds");
    (disk, process, guard)
}

fn content(disk: &Disk, path: &str) -> Option<Vec<u8>> {
    disk.read(path).map(|content| content.to_vec())
}

struct Process {
    io: Arc<SimIo>,
}

impl Process {
    fn start(disk: &Disk) -> Self {
        Self { io: disk.io() }
    }

    fn open(&self, path: &str, flags: OpenFlags) -> Arc<dyn File> {
        self.io.open_file(path, flags, false).expect("the file exists or may be created")
    }

    fn create(&self, path: &str) {
        self.open(path, OpenFlags::Create);
    }

    fn write(&self, path: &str, offset: u64, bytes: &[u8]) {
        let written = Completion::new_write(|_| ());
        let file = self.open(path, OpenFlags::None);
        let written =
            file.pwrite(offset, Arc::new(Buffer::new(bytes.to_vec())), written).expect("the write succeeds");
        assert!(written.succeeded());
    }

    fn sync(&self, path: &str) {
        let file = self.open(path, OpenFlags::None);
        assert!(
            file.sync(Completion::new_sync(|_| ()), FileSyncType::Fsync)
                .expect("the sync succeeds")
                .succeeded()
        );
    }

    fn truncate(&self, path: &str, len: u64) {
        let file = self.open(path, OpenFlags::None);
        assert!(
            file.truncate(len, Completion::new_trunc(|_| ())).expect("the truncate succeeds").succeeded()
        );
    }

    fn rename(&self, from: &str, to: &str) {
        self.io.rename(from, to).expect("the file to rename exists");
    }

    fn remove(&self, path: &str) {
        self.io.remove_file(path).expect("the file to remove exists");
    }

    fn sync_dir(&self, path: &str) {
        self.io.sync_dir(path).expect("a directory sync succeeds");
    }

    fn read(&self, path: &str) -> Vec<u8> {
        let file = self.open(path, OpenFlags::None);
        let buffer = Arc::new(Buffer::new(vec![0; file.size().expect("a file has a size") as usize]));
        let read = Completion::new_read(Arc::clone(&buffer), |_| None);
        assert!(file.pread(0, read).expect("the read succeeds").succeeded());
        buffer.as_slice().to_vec()
    }
}
