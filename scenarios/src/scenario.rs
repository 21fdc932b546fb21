//! The language of scenarios: clients, their faults and the remote, described by method calls that build a
//! [`Schedule`].
//!
//! ```
//! use plimsoll_scenarios::scenario::{A, B, Scenario, append, lose_response};
//! use plimsoll_sim::fault::Route;
//!
//! let mut t = Scenario::with_clients(2);
//! t.client(A).commits([append(10)]);
//! t.client(A).pushes().faults([lose_response(Route::Pipeline, 1)]);
//! t.client(B).syncs();
//! let healed = t.run_and_heal();
//! // Before its own writes, every transaction inserts a row into `log`.
//! assert_eq!(healed.rows_of("log").len(), 2);
//! ```
//!
//! Nothing runs before [`run_and_check`](Scenario::run_and_check) or
//! [`run_and_heal`](Scenario::run_and_heal). Both run the whole history under every invariant, and sync every
//! client at the end. They panic if an invariant is broken. They also panic if a fault was not reached,
//! because a scenario without its fault tests nothing.
//!
//! Not in this module: scripts that call the engine directly. They run in a
//! [`Sandbox`](crate::sandbox::Sandbox).

use plimsoll_engine::events::EventName;
use plimsoll_sim::fault::Fault;
use plimsoll_sim::fault::{
    CrashKind, CrashPoint, FileClass, Moment, OperationKind, OperationPlace, Survival,
};
use plimsoll_sim::fault::{NetworkFault, RequestPlace, Route};
use plimsoll_sim::judge::counts::Counts;
use plimsoll_sim::report::timeline::timeline;
use plimsoll_sim::schedule::workload::{Key, Table, Write};
use plimsoll_sim::schedule::{Action, During, EngineEvent, Header, Schedule, Step, TransactionEnd, Wait};
use plimsoll_sim::world::final_databases::FinalDatabase;
use plimsoll_sim::world::run::{Outcome, RunOptions, run};
use turso_core::Value;

pub const A: u8 = 0;
pub const B: u8 = 1;

/// A kill: the process ends, and everything that it wrote is still there.
pub const KILL: CrashKind = CrashKind::Kill;
/// A power loss after which every unsynced write is lost.
pub const NOTHING_SURVIVES: CrashKind = CrashKind::PowerLoss { survival: Survival::Nothing, torn: None };

/// A history under construction.
#[derive(Debug, Clone)]
pub struct Scenario {
    header: Header,
    steps: Vec<Step>,
    /// The highest step id so far, including steps inside others.
    last_id: u32,
}

impl Scenario {
    /// A history with this many clients, none of which has run. Batches are a few frames long, so that a
    /// little data needs many requests.
    pub fn with_clients(clients: u8) -> Self {
        let header = Header {
            clients,
            pull_batch_frames: 2,
            push_batch_frames: 3,
            synced_wal_frames_max: 20,
            ..Header::new(1)
        };
        Self { header, steps: Vec::new(), last_id: 0 }
    }

    /// Changes the options of the whole history.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Header)) -> Self {
        change(&mut self.header);
        self
    }

    /// Adds the next action of a client.
    pub fn client(&mut self, number: u8) -> ClientSentence<'_> {
        ClientSentence { scenario: self, client: number }
    }

    /// Adds the next action at the remote.
    pub fn remote(&mut self) -> RemoteSentence<'_> {
        RemoteSentence { scenario: self }
    }

    /// Injects faults into the last step.
    ///
    /// # Panics
    /// If there is no step yet.
    pub fn inject_into_last(&mut self, faults: impl IntoIterator<Item = Fault>) {
        StepBuilder { scenario: self }.faults(faults);
    }

    /// Returns the steps so far as a schedule.
    pub fn schedule(&self) -> Schedule {
        Schedule::new(self.header.clone(), self.steps.clone())
    }

    /// Runs the history, ends its faults, syncs every client until nothing changes, and checks every
    /// invariant. Returns the counts.
    ///
    /// # Panics
    /// If an invariant is broken, or if a fault or a step inside another one was not reached.
    pub fn run_and_check(&self) -> Counts {
        self.run_judged(RunOptions::default()).counts
    }

    /// Like [`run_and_check`](Self::run_and_check), but returns everything that can be displayed: also the
    /// events and the databases.
    ///
    /// # Panics
    /// As [`run_and_check`](Self::run_and_check) does.
    pub fn run_and_heal(&self) -> Healed {
        Healed {
            outcome: self.run_judged(RunOptions {
                keep_events: true,
                keep_databases: true,
                ..RunOptions::default()
            }),
        }
    }

    /// Runs the history without judging it.
    pub fn run(&self) -> Outcome {
        run(&self.schedule(), RunOptions::default())
    }

    fn run_judged(&self, options: RunOptions) -> Outcome {
        let outcome = run(&self.schedule(), options);
        assert_eq!(outcome.violation, None, "in {}", self.schedule().print());
        let fault_outcomes = &outcome.fault_outcomes;
        assert!(
            fault_outcomes.unreached.is_empty(),
            "faults were not reached: {:?}",
            fault_outcomes.unreached
        );
        assert!(fault_outcomes.not_run.is_empty(), "inner steps were not run: {:?}", fault_outcomes.not_run);
        outcome
    }

    /// Creates a step with the next id, without adding it.
    fn next_step(&mut self, action: Action) -> Step {
        self.last_id += 1;
        Step::new(self.last_id, action)
    }

    fn add(&mut self, action: Action) -> StepBuilder<'_> {
        let step = self.next_step(action);
        self.steps.push(step);
        StepBuilder { scenario: self }
    }
}

/// The next action of a client.
pub struct ClientSentence<'a> {
    scenario: &'a mut Scenario,
    client: u8,
}

impl<'a> ClientSentence<'a> {
    /// The application commits a transaction.
    pub fn commits(self, writes: impl IntoIterator<Item = Write>) -> StepBuilder<'a> {
        let (client, writes) = (self.client, writes.into_iter().collect());
        self.scenario.add(Action::Transaction { client, writes, end: TransactionEnd::Commit })
    }

    pub fn pulls(self) -> StepBuilder<'a> {
        let client = self.client;
        self.scenario.add(Action::Pull { client })
    }

    pub fn pushes(self) -> StepBuilder<'a> {
        let client = self.client;
        self.scenario.add(Action::Push { client })
    }

    pub fn syncs(self) -> StepBuilder<'a> {
        let client = self.client;
        self.scenario.add(Action::Sync { client })
    }

    /// A second process opens the database, and is refused.
    pub fn is_opened_again(self) -> StepBuilder<'a> {
        let client = self.client;
        self.scenario.add(Action::SecondProcess { client })
    }

    /// The application drops its engine but not its connection, opens the database again, and is refused.
    pub fn leaves_its_connection_open(self) -> StepBuilder<'a> {
        let client = self.client;
        self.scenario.add(Action::LeftoverConnection { client })
    }

    /// The client syncs several times with a wrong, empty server, and is refused each time.
    pub fn syncs_with_a_wrong_server(self, times: u8, restarts: bool) -> StepBuilder<'a> {
        let client = self.client;
        self.scenario.add(Action::WrongServer { client, times, restarts })
    }

    /// The process is killed, and one of its files is lost.
    pub fn loses(self, file: FileClass) -> StepBuilder<'a> {
        let client = self.client;
        self.scenario.add(Action::LoseFile { client, file })
    }

    /// The process is killed, and its directory is restored to its state at the end of the step with this id,
    /// counted from 1.
    pub fn gets_older_copy(self, to_step: u32) -> StepBuilder<'a> {
        let client = self.client;
        self.scenario.add(Action::RestoreDirectory { client, to_step })
    }

    /// The machine crashes between two operations.
    pub fn crashes(self, kind: CrashKind) -> StepBuilder<'a> {
        let client = self.client;
        self.scenario.add(Action::Crash { client, kind })
    }
}

/// The next action at the remote.
pub struct RemoteSentence<'a> {
    scenario: &'a mut Scenario,
}

impl<'a> RemoteSentence<'a> {
    /// Another writer commits a transaction.
    pub fn commits(self, writes: impl IntoIterator<Item = Write>) -> StepBuilder<'a> {
        self.scenario.add(Action::RemoteTransaction { writes: writes.into_iter().collect() })
    }

    /// The remote closes its generation.
    pub fn checkpoints(self) -> StepBuilder<'a> {
        self.scenario.add(Action::RemoteCheckpoint)
    }

    /// The remote's machine crashes and restarts.
    pub fn crashes(self, kind: CrashKind) -> StepBuilder<'a> {
        self.scenario.add(Action::RemoteCrash { kind })
    }

    /// The remote prunes every closed generation.
    pub fn prunes(self) -> StepBuilder<'a> {
        self.scenario.add(Action::RemotePrune)
    }

    /// The remote is restored to the end of the generation that is `generations_back` before the current one,
    /// without the last `transactions_back` transactions of that generation.
    pub fn is_restored(self, generations_back: u8, transactions_back: u8) -> StepBuilder<'a> {
        self.scenario.add(Action::RemoteRestore { generations_back, transactions_back, keeps_name: false })
    }

    /// Like [`is_restored`](Self::is_restored), from a copy of the files, which keeps its history id.
    pub fn is_restored_under_its_name(self, generations_back: u8, transactions_back: u8) -> StepBuilder<'a> {
        self.scenario.add(Action::RemoteRestore { generations_back, transactions_back, keeps_name: true })
    }
}

/// The last step, for injecting faults into it or interrupting it.
pub struct StepBuilder<'a> {
    scenario: &'a mut Scenario,
}

impl StepBuilder<'_> {
    /// Injects faults into the step.
    pub fn faults(mut self, faults: impl IntoIterator<Item = Fault>) -> Self {
        self.step().faults.extend(faults);
        self
    }

    /// Runs an action inside the step.
    pub fn meanwhile(mut self, at: Wait, action: Action) -> Self {
        let step = self.scenario.next_step(action);
        self.step().during.push(During { at, step });
        self
    }

    fn step(&mut self) -> &mut Step {
        self.scenario.steps.last_mut().expect("a step was added")
    }
}

/// A finished history.
#[derive(Debug)]
pub struct Healed {
    /// The result of the run.
    pub outcome: Outcome,
}

impl Healed {
    /// The sorted rows of a table, each as a text of its values with bars between them. They must be equal on
    /// the remote and on every client.
    ///
    /// # Panics
    /// If the databases differ, or if one of them has no such table.
    pub fn rows_of(&self, table: &str) -> Vec<String> {
        let mut databases =
            self.outcome.databases.iter().map(|database| (&database.owner, rows(database, table)));
        let (_, remote) = databases.next().expect("a history ends with databases");
        for (whose, rows) in databases {
            assert_eq!(rows, remote, "{whose} differs from the remote in {table}");
        }
        remote
    }

    /// The history as a timeline with one lane per client.
    pub fn timeline(&self) -> String {
        timeline(&self.outcome, false)
    }

    /// The versions of the clients' metadata, one per line, in order.
    pub fn metadata_history(&self) -> String {
        let versions = self.outcome.snapshots.metadata.iter().map(|version| {
            let (generation, frame_no) = version.progress;
            let (client, draft, synced) = (version.client, version.draft_watermark, version.synced_watermark);
            format!(
                "client {client}: at {generation}/{frame_no}, Draft's watermark {draft}, Synced's {synced}\n"
            )
        });
        versions.collect()
    }
}

fn rows(database: &FinalDatabase, table: &str) -> Vec<String> {
    let rows = database.tables.get(table).unwrap_or_else(|| panic!("{} has no {table}", database.owner));
    let mut lines: Vec<String> =
        rows.iter().map(|row| row.iter().map(in_words).collect::<Vec<_>>().join("|")).collect();
    lines.sort();
    lines
}

fn in_words(value: &Value) -> String {
    match value {
        Value::Blob(bytes) => format!("{} bytes", bytes.len()),
        value => value.to_string(),
    }
}

/// Inserts one row into `log`.
pub fn append(payload_bytes: u32) -> Write {
    Write::Append { payload_bytes }
}

/// Sets a shared row of `note`, which any client may set.
pub fn note(key: u8) -> Write {
    Write::Upsert { table: Table::Note, key: Key::Shared(key) }
}

/// The request never arrives.
pub fn lose_request(route: Route, nth: u32) -> Fault {
    on(route, nth, NetworkFault::LoseRequest)
}

/// The request takes effect, and its answer is lost.
pub fn lose_response(route: Route, nth: u32) -> Fault {
    on(route, nth, NetworkFault::LoseResponse)
}

/// Injects a network fault into the `nth` request to a route, or into its answer.
pub fn on(route: Route, nth: u32, fault: NetworkFault) -> Fault {
    Fault::Network { at: RequestPlace { route, nth }, fault }
}

/// The first suspension after the `nth` event of this name in the step.
pub fn reported(event: EventName, nth: u32) -> Wait {
    Wait::Reported { event: EngineEvent(event), nth }
}

/// The machine crashes at the `nth` operation of this kind on a file of this role.
pub fn crash(moment: Moment, operation: OperationKind, file: FileClass, nth: u32, kind: CrashKind) -> Fault {
    Fault::Crash(CrashPoint { place: OperationPlace { file, operation, nth }, moment, kind })
}
