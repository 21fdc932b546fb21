//! The floor: the steps of a schedule with nothing around them. No faults, no checkers, no trace, no simulated disk: engines and
//! remote on turso_core's own in-memory IO. Where the schedule has a crash, the engine is closed and opened again.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use plimsoll_engine::Storage;
use plimsoll_sim::driver::{Ground, Machine, tell};
use plimsoll_sim::in_process::{InProcess, block_on};
use plimsoll_sim::remote::Remote;
use plimsoll_sim::schedule::Schedule;
use turso_core::io::FileId;
use turso_core::{
    Buffer, Clock, Completion, Connection, File, IO, MemoryIO, MonotonicInstant, OpenFlags, Value,
    WallClockInstant,
};

/// The core's memory IO with file ids of its own and the rename that it lacks.
struct Memory {
    files: MemoryIO,
    id: u64,
}

impl Memory {
    fn new() -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Arc::new(Self { files: MemoryIO::new(), id: NEXT.fetch_add(1, Ordering::Relaxed) })
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
}

/// A remote and the clients' machines, all in memory.
struct InMemory {
    remote: InProcess,
    machines: Vec<Arc<Memory>>,
}

impl Ground for InMemory {
    type Remote = InProcess;

    fn remote(&self) -> InProcess {
        self.remote.clone()
    }

    fn machine(&self, client: u8) -> Machine {
        let memory = self.machines[usize::from(client)].clone();
        Machine { io: memory.clone(), storage: memory, path: format!("c{client}") }
    }

    fn transact(&self, work: &dyn Fn(&Arc<Connection>) -> turso_core::Result<()>) {
        self.remote.with_remote(|remote| remote.transact(work)).expect("the statements are sound");
    }

    fn checkpoint(&self) {
        self.remote.with_remote(Remote::checkpoint);
    }

    fn query(&self, sql: &str) -> Vec<Vec<Value>> {
        self.remote.with_remote(|remote| remote.query(sql))
    }
}

/// Runs the steps of a schedule, then the syncs of the heal.
pub fn run(schedule: &Schedule) {
    let remote = Remote::create(Memory::new(), "remote.db");
    let machines = (0..schedule.header.clients).map(|_| Memory::new()).collect();
    let ground = InMemory { remote: InProcess::new(remote, schedule.header.chunk_bytes), machines };
    block_on(tell(schedule, &ground));
}
