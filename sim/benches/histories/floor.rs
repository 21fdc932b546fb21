//! The lower bound for the time of a history: the steps of a schedule without a simulator. There are no
//! faults, no checkers, no trace and no simulated disk. Engines and remote use an in-memory IO. For a crash
//! in the schedule, the engine is closed and opened again.

use std::sync::Arc;

use plimsoll_sim::schedule::Schedule;
use plimsoll_sim::world::driver::{Environment, Machine, run_steps};
use plimsoll_sim::world::in_process::{InProcess, block_on};
use plimsoll_sim::world::memory::Memory;
use plimsoll_sim::world::remote::Remote;
use turso_core::{Connection, Value};

/// A remote and the clients' machines, all in memory.
struct InMemory {
    remote: InProcess,
    machines: Vec<Arc<Memory>>,
}

impl Environment for InMemory {
    type Remote = InProcess;

    fn remote(&self) -> InProcess {
        self.remote.clone()
    }

    fn machine(&self, client: u8) -> Machine {
        let memory = self.machines[usize::from(client)].clone();
        Machine { io: memory.clone(), storage: memory, path: format!("c{client}") }
    }

    fn transact(&self, work: &dyn Fn(&Arc<Connection>) -> turso_core::Result<()>) {
        self.remote.with_remote(|remote| remote.transact(work)).expect("the statements are valid");
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
    let remote = Remote::create(Memory::create(), "remote.db");
    let machines = (0..schedule.header.clients).map(|_| Memory::create()).collect();
    let environment = InMemory { remote: InProcess::new(remote, schedule.header.chunk_bytes), machines };
    block_on(run_steps(schedule, &environment));
}
