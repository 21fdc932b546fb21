//! Runs a schedule's steps on any environment, without faults, checkers, trace or simulated network.
//!
//! The benchmarks measure it as the lower bound of a history's cost. Tests use it to compare how the same
//! history ends in two environments. Where the schedule has a crash, the engine is closed and opened again.
//! All other faults of the schedule are ignored.
//!
//! # Panics
//! Every operation is expected to succeed. A failure panics.

use std::sync::Arc;

use plimsoll_engine::{LocalConnection, Storage, SyncEngine};
use turso_core::{Connection, IO, Value};

use crate::judge::ledger::Content;
use crate::schedule::workload::{SCHEMA, Write, Writer};
use crate::schedule::{Action, Header, Schedule, TransactionEnd};
use crate::world::client::read_content;
use crate::world::writes::run_writes;

/// The environment that a history runs in: the clients' machines, and a remote.
pub trait Environment {
    type Remote: plimsoll_engine::Remote + Clone;

    fn remote(&self) -> Self::Remote;

    /// The machine of a client. Returns the same machine each time.
    fn machine(&self, client: u8) -> Machine;

    /// Runs another writer's transaction on the remote.
    fn transact(&self, work: &dyn Fn(&Arc<Connection>) -> turso_core::Result<()>);

    /// Ends the remote's generation if it has any frames.
    fn checkpoint(&self);

    /// Runs a query on the remote and returns its rows.
    fn query(&self, sql: &str) -> Vec<Vec<Value>>;
}

/// A client's files.
pub struct Machine {
    pub io: Arc<dyn IO>,
    /// The operations that `IO` lacks: rename and directory sync.
    pub storage: Arc<dyn Storage>,
    /// The path that the application opens.
    pub path: String,
}

/// A history that has run. Its clients are still open.
pub struct Finished<'a, G: Environment> {
    environment: &'a G,
    clients: Vec<Client<G>>,
}

struct Client<G: Environment> {
    number: u8,
    process: Option<(SyncEngine<G::Remote>, LocalConnection)>,
}

/// Runs a schedule's steps, then syncs all clients until each has seen the others' transactions.
pub async fn run_steps<'a, G: Environment>(schedule: &Schedule, environment: &'a G) -> Finished<'a, G> {
    environment.transact(&|connection| SCHEMA.iter().try_for_each(|sql| connection.execute(sql)));
    let header = &schedule.header;
    let clients = (0..header.clients).map(|number| Client { number, process: None }).collect();
    let mut finished = Finished { environment, clients };
    for step in &schedule.steps {
        match &step.action {
            Action::RemoteTransaction { writes } => finished.transact_on_remote(step.id, writes),
            Action::RemoteCheckpoint => environment.checkpoint(),
            action => {
                if let Some(number) = action.client() {
                    finished.clients[usize::from(number)].act(header, environment, step.id, action).await;
                }
            }
        }
        let crashed = step.faults.iter().any(|fault| fault.crash_kind().is_some());
        if let Some(number) = step.action.client().filter(|_| crashed) {
            finished.clients[usize::from(number)].process = None;
        }
    }
    for _ in 0..3 {
        for client in &mut finished.clients {
            let sync = Action::Sync { client: client.number };
            client.act(header, environment, 0, &sync).await;
        }
    }
    finished
}

impl<G: Environment> Finished<'_, G> {
    fn transact_on_remote(&self, step: u32, writes: &[Write]) {
        self.environment
            .transact(&|connection| run_writes(connection, Writer::Remote, step, writes).map(drop));
    }

    /// The contents of the databases at the end: the remote's first, then the clients'.
    pub fn contents(&self) -> Vec<Content> {
        let Ok(remote) = read_content(|sql| Ok::<_, std::convert::Infallible>(self.environment.query(sql)));
        let clients = self.clients.iter().map(|client| {
            let (_, connection) = client.process.as_ref().expect("the last syncs have opened every client");
            read_content(|sql| connection.query(sql, &[]))
                .expect("a database is readable in a history without faults")
        });
        std::iter::once(remote).chain(clients).collect()
    }
}

impl<G: Environment> Client<G> {
    async fn open(&mut self, header: &Header, environment: &G) -> &(SyncEngine<G::Remote>, LocalConnection) {
        if self.process.is_none() {
            let Machine { io, storage, path } = environment.machine(self.number);
            let options = header.options(format!("client-{}", self.number));
            let engine = SyncEngine::open(io, storage, environment.remote(), &path, options)
                .await
                .expect("a client opens without faults");
            let connection = engine.connect().expect("a client connects without faults");
            self.process = Some((engine, connection));
        }
        self.process.as_ref().expect("it was opened above")
    }

    async fn act(&mut self, header: &Header, environment: &G, step: u32, action: &Action) {
        if matches!(action, Action::Close { .. } | Action::Crash { .. }) {
            self.process = None;
            return;
        }
        let writer = Writer::Client(self.number);
        let (engine, connection) = self.open(header, environment).await;
        let done = match action {
            Action::Transaction { writes, end, .. } => {
                let end = if *end == TransactionEnd::Commit { "COMMIT" } else { "ROLLBACK" };
                connection
                    .execute("BEGIN")
                    .and_then(|()| run_writes(connection, writer, step, writes))
                    .and_then(|_| connection.execute(end))
                    .expect("an application's transaction succeeds without faults");
                Ok(())
            }
            Action::Pull { .. } => engine.pull().await.map(drop),
            Action::Push { .. } => engine.push().await.map(drop),
            Action::Sync { .. } => engine.sync().await.map(drop),
            _ => Ok(()),
        };
        done.expect("an operation succeeds without faults");
    }
}
