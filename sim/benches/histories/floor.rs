//! The floor: the steps of a schedule with nothing around them. No faults, no checkers, no trace, no simulated disk: engines and
//! remote on turso_core's own in-memory IO. Where the schedule has a crash, the engine is closed and opened again.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use plimsoll_engine::{Storage, SyncEngine};
use plimsoll_sim::in_process::{InProcess, block_on};
use plimsoll_sim::remote::Remote;
use plimsoll_sim::schedule::{Action, Fault, Schedule, TransactionEnd};
use plimsoll_sim::workload::{SCHEMA, Write, Writer, run_writes};
use turso_core::io::FileId;
use turso_core::{
    Buffer, Clock, Completion, Connection, File, IO, MemoryIO, MonotonicInstant, OpenFlags, WallClockInstant,
};

type Engine = SyncEngine<InProcess>;

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

struct Client {
    number: u8,
    memory: Arc<Memory>,
    process: Option<(Engine, Arc<Connection>)>,
}

impl Client {
    fn open(&mut self, schedule: &Schedule, remote: &InProcess) -> &(Engine, Arc<Connection>) {
        self.process.get_or_insert_with(|| {
            let options = schedule.header.options("client".into());
            let path = format!("c{}", self.number);
            let opening =
                SyncEngine::open(self.memory.clone(), self.memory.clone(), remote.clone(), &path, options);
            let engine = block_on(opening).expect("the floor has no faults");
            let connection = engine.connect().expect("the floor has no faults");
            (engine, connection)
        })
    }
}

/// Runs the steps of a schedule, then the syncs of the heal.
pub fn run(schedule: &Schedule) {
    let remote = Remote::create(Memory::new(), "remote.db");
    let remote = InProcess::new(remote, schedule.header.chunk_bytes);
    let transact = |step: u32, writes: &[Write]| {
        let work = |connection: &Arc<Connection>| run_writes(connection, Writer::Remote, step, writes);
        remote.with_remote(|remote| remote.transact(work)).expect("the statements are sound");
    };
    remote
        .with_remote(|remote| {
            remote.transact(|connection| SCHEMA.iter().try_for_each(|sql| connection.execute(sql)))
        })
        .expect("the schema is sound");
    let mut clients: Vec<Client> = (0..schedule.header.clients)
        .map(|number| Client { number, memory: Memory::new(), process: None })
        .collect();
    for step in &schedule.steps {
        match &step.action {
            Action::RemoteTransaction { writes } => transact(step.id, writes),
            Action::RemoteCheckpoint => {
                remote.with_remote(Remote::checkpoint);
            }
            action => {
                let client =
                    &mut clients[usize::from(action.client().expect("all others are clients' steps"))];
                act(client, step.id, action, schedule, &remote);
            }
        }
        let crashed =
            step.faults.iter().any(|fault| matches!(fault, Fault::Crash(_) | Fault::CrashSuspended { .. }));
        if let Some(number) = step.action.client().filter(|_| crashed) {
            clients[usize::from(number)].process = None;
        }
    }
    for _ in 0..3 {
        for client in &mut clients {
            act(client, 0, &Action::Sync { client: client.number }, schedule, &remote);
        }
    }
}

fn act(client: &mut Client, step: u32, action: &Action, schedule: &Schedule, remote: &InProcess) {
    if matches!(action, Action::Close { .. } | Action::Crash { .. }) {
        client.process = None;
        return;
    }
    let writer = Writer::Client(client.number);
    let (engine, connection) = client.open(schedule, remote);
    let done = match action {
        Action::Transaction { writes, end, .. } => {
            let end = if *end == TransactionEnd::Commit { "COMMIT" } else { "ROLLBACK" };
            connection
                .execute("BEGIN")
                .and_then(|()| run_writes(connection, writer, step, writes))
                .and_then(|_| connection.execute(end))
                .expect("the floor has no faults");
            Ok(())
        }
        Action::Pull { .. } => block_on(engine.pull()).map(drop),
        Action::Push { .. } => block_on(engine.push()).map(drop),
        _ => block_on(engine.sync()).map(drop),
    };
    done.expect("the floor has no faults");
}
