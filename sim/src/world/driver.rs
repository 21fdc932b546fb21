//! The steps of a schedule on any ground, with nothing around them: no faults, no checkers, no trace, no simulated network.
//!
//! For a benchmark's floor, and for telling the same history in two places to see whether they end alike. Where the schedule has a crash
//! the engine is closed and opened again; whatever else a schedule may hold against the engine is passed over.
//!
//! # Panics
//! Everything here is expected to succeed, and panics when it does not.

use std::sync::Arc;

use plimsoll_engine::{LocalConnection, Storage, SyncEngine};
use turso_core::{Connection, IO, Value};

use crate::judge::ledger::Content;
use crate::schedule::workload::{SCHEMA, Write, Writer};
use crate::schedule::{Action, Header, Schedule, TransactionEnd};
use crate::world::client::read_content;
use crate::world::writes::run_writes;

/// Where a history is told: the clients' machines, and a remote.
pub trait Ground {
    /// The clients' way to the remote.
    type Remote: plimsoll_engine::Remote + Clone;

    /// The way to the remote.
    fn remote(&self) -> Self::Remote;

    /// The machine of a client, the same one each time.
    fn machine(&self, client: u8) -> Machine;

    /// Another writer's transaction on the remote.
    fn transact(&self, work: &dyn Fn(&Arc<Connection>) -> turso_core::Result<()>);

    /// Ends the remote's generation, if it has any frames.
    fn checkpoint(&self);

    /// Rows of a query on the remote.
    fn query(&self, sql: &str) -> Vec<Vec<Value>>;
}

/// A client's files.
pub struct Machine {
    /// Its file system.
    pub io: Arc<dyn IO>,
    /// What the file system can do beyond that.
    pub storage: Arc<dyn Storage>,
    /// The application's path.
    pub path: String,
}

/// A history that was told: its clients are still open.
pub struct Told<'a, G: Ground> {
    ground: &'a G,
    clients: Vec<Client<G>>,
}

struct Client<G: Ground> {
    number: u8,
    process: Option<(SyncEngine<G::Remote>, LocalConnection)>,
}

/// Tells a schedule's steps, and then syncs everybody until all have seen each other's.
pub async fn tell<'a, G: Ground>(schedule: &Schedule, ground: &'a G) -> Told<'a, G> {
    ground.transact(&|connection| SCHEMA.iter().try_for_each(|sql| connection.execute(sql)));
    let header = &schedule.header;
    let clients = (0..header.clients).map(|number| Client { number, process: None }).collect();
    let mut told = Told { ground, clients };
    for step in &schedule.steps {
        match &step.action {
            Action::RemoteTransaction { writes } => told.transact_on_remote(step.id, writes),
            Action::RemoteCheckpoint => ground.checkpoint(),
            action => {
                if let Some(number) = action.client() {
                    told.clients[usize::from(number)].act(header, ground, step.id, action).await;
                }
            }
        }
        let crashed = step.faults.iter().any(|fault| fault.crash_kind().is_some());
        if let Some(number) = step.action.client().filter(|_| crashed) {
            told.clients[usize::from(number)].process = None;
        }
    }
    for _ in 0..3 {
        for client in &mut told.clients {
            let sync = Action::Sync { client: client.number };
            client.act(header, ground, 0, &sync).await;
        }
    }
    told
}

impl<G: Ground> Told<'_, G> {
    fn transact_on_remote(&self, step: u32, writes: &[Write]) {
        self.ground.transact(&|connection| run_writes(connection, Writer::Remote, step, writes).map(drop));
    }

    /// What the databases hold in the end: the remote's first, then the clients'.
    pub fn contents(&self) -> Vec<Content> {
        let Ok(remote) = read_content(|sql| Ok::<_, std::convert::Infallible>(self.ground.query(sql)));
        let clients = self.clients.iter().map(|client| {
            let (_, connection) = client.process.as_ref().expect("the last syncs have opened everybody");
            read_content(|sql| connection.query(sql, &[])).expect("a history without faults can be read")
        });
        std::iter::once(remote).chain(clients).collect()
    }
}

impl<G: Ground> Client<G> {
    async fn open(&mut self, header: &Header, ground: &G) -> &(SyncEngine<G::Remote>, LocalConnection) {
        if self.process.is_none() {
            let Machine { io, storage, path } = ground.machine(self.number);
            let options = header.options(format!("client-{}", self.number));
            let engine = SyncEngine::open(io, storage, ground.remote(), &path, options)
                .await
                .expect("a client without faults opens");
            let connection = engine.connect().expect("a client without faults connects");
            self.process = Some((engine, connection));
        }
        self.process.as_ref().expect("it was opened above")
    }

    async fn act(&mut self, header: &Header, ground: &G, step: u32, action: &Action) {
        if matches!(action, Action::Close { .. } | Action::Crash { .. }) {
            self.process = None;
            return;
        }
        let writer = Writer::Client(self.number);
        let (engine, connection) = self.open(header, ground).await;
        let done = match action {
            Action::Transaction { writes, end, .. } => {
                let end = if *end == TransactionEnd::Commit { "COMMIT" } else { "ROLLBACK" };
                connection
                    .execute("BEGIN")
                    .and_then(|()| run_writes(connection, writer, step, writes))
                    .and_then(|_| connection.execute(end))
                    .expect("an application without faults writes");
                Ok(())
            }
            Action::Pull { .. } => engine.pull().await.map(drop),
            Action::Push { .. } => engine.push().await.map(drop),
            Action::Sync { .. } => engine.sync().await.map(drop),
            _ => Ok(()),
        };
        done.expect("an operation without faults succeeds");
    }
}
