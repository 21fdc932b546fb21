//! The language of scenarios: sentences over clients, their faults and the remote, which become a [`Schedule`].
//!
//! ```
//! use plimsoll_scenarios::scenario::{A, B, Scenario, append, lose_response};
//! use plimsoll_sim::fault::Route;
//!
//! let mut t = Scenario::with_clients(2);
//! t.client(A).commits([append(10)]);
//! t.client(A).pushes().faults([lose_response(Route::Pipeline, 1)]);
//! t.client(B).syncs();
//! let healed = t.heal();
//! assert_eq!(healed.rows_of("log").len(), 2); // Every transaction writes a row of its own there first.
//! ```
//!
//! Nothing runs before [`heal`](Scenario::heal). It runs the whole history under every invariant, with everybody synced at the end, and
//! panics where one is broken or where a fault has found no place: a scenario whose fault struck nothing says nothing.
//!
//! Left out: what is not in a schedule. Scripts that call the engine themselves run in a [`Sandbox`](crate::sandbox::Sandbox).

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

/// The first client.
pub const A: u8 = 0;
/// The second client.
pub const B: u8 = 1;

/// The process ends, what it wrote is still there.
pub const KILL: CrashKind = CrashKind::Kill;
/// A power loss that nothing unsynced survives.
pub const NOTHING_SURVIVES: CrashKind = CrashKind::PowerLoss { survival: Survival::Nothing, torn: None };

/// A history in the making.
#[derive(Debug, Clone)]
pub struct Scenario {
    header: Header,
    steps: Vec<Step>,
    /// The id of the last step, those inside others included.
    last_id: u32,
}

impl Scenario {
    /// A history with so many clients, none of which has run, and batches of a few frames, so that little data makes many requests.
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

    /// Changes what holds for the whole history.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Header)) -> Self {
        change(&mut self.header);
        self
    }

    /// What a client does next.
    pub fn client(&mut self, number: u8) -> ClientSentence<'_> {
        ClientSentence { scenario: self, client: number }
    }

    /// What happens at the remote next.
    pub fn remote(&mut self) -> RemoteSentence<'_> {
        RemoteSentence { scenario: self }
    }

    /// Faults strike the step that was said last.
    ///
    /// # Panics
    /// When nothing was said yet.
    pub fn strike_last(&mut self, faults: impl IntoIterator<Item = Fault>) {
        StepSentence { scenario: self }.faults(faults);
    }

    /// The steps so far as a schedule.
    pub fn schedule(&self) -> Schedule {
        Schedule::new(self.header.clone(), self.steps.clone())
    }

    /// Runs the history, ends its faults, lets everybody sync until nothing moves, and counts what happened.
    ///
    /// # Panics
    /// When an invariant is broken, or a fault or a step inside another has found no place.
    pub fn holds(&self) -> Counts {
        self.told(RunOptions::default()).counts
    }

    /// The same, with all that can be shown of it.
    ///
    /// # Panics
    /// As [`holds`](Self::holds) does.
    pub fn heal(&self) -> Healed {
        Healed {
            outcome: self.told(RunOptions {
                keep_events: true,
                keep_databases: true,
                ..RunOptions::default()
            }),
        }
    }

    /// Runs the history, whatever becomes of it.
    pub fn run(&self) -> Outcome {
        run(&self.schedule(), RunOptions::default())
    }

    fn told(&self, options: RunOptions) -> Outcome {
        let outcome = run(&self.schedule(), options);
        assert_eq!(outcome.violation, None, "in {}", self.schedule().print());
        let fault_outcomes = &outcome.fault_outcomes;
        assert!(fault_outcomes.unreached.is_empty(), "found no place: {:?}", fault_outcomes.unreached);
        assert!(
            fault_outcomes.not_run.is_empty(),
            "steps inside others that were not run: {:?}",
            fault_outcomes.not_run
        );
        outcome
    }

    /// A step with the next id that stands nowhere yet.
    fn next_step(&mut self, action: Action) -> Step {
        self.last_id += 1;
        Step::new(self.last_id, action)
    }

    fn add(&mut self, action: Action) -> StepSentence<'_> {
        let step = self.next_step(action);
        self.steps.push(step);
        StepSentence { scenario: self }
    }
}

/// A client, about to do something.
pub struct ClientSentence<'a> {
    scenario: &'a mut Scenario,
    client: u8,
}

impl<'a> ClientSentence<'a> {
    /// Its application commits a transaction.
    pub fn commits(self, writes: impl IntoIterator<Item = Write>) -> StepSentence<'a> {
        let (client, writes) = (self.client, writes.into_iter().collect());
        self.scenario.add(Action::Transaction { client, writes, end: TransactionEnd::Commit })
    }

    /// It pulls.
    pub fn pulls(self) -> StepSentence<'a> {
        let client = self.client;
        self.scenario.add(Action::Pull { client })
    }

    /// It pushes.
    pub fn pushes(self) -> StepSentence<'a> {
        let client = self.client;
        self.scenario.add(Action::Push { client })
    }

    /// It syncs.
    pub fn syncs(self) -> StepSentence<'a> {
        let client = self.client;
        self.scenario.add(Action::Sync { client })
    }

    /// Its process is killed, and one of its files is gone.
    pub fn loses(self, file: FileClass) -> StepSentence<'a> {
        let client = self.client;
        self.scenario.add(Action::LoseFile { client, file })
    }

    /// Its process is killed, and its directory becomes what it was at the end of the step of this id, counted from 1.
    pub fn gets_older_copy(self, to_step: u32) -> StepSentence<'a> {
        let client = self.client;
        self.scenario.add(Action::RestoreDirectory { client, to_step })
    }

    /// It goes down between two operations.
    pub fn crashes(self, kind: CrashKind) -> StepSentence<'a> {
        let client = self.client;
        self.scenario.add(Action::Crash { client, kind })
    }
}

/// The remote, about to do something.
pub struct RemoteSentence<'a> {
    scenario: &'a mut Scenario,
}

impl<'a> RemoteSentence<'a> {
    /// Another writer commits a transaction on it.
    pub fn commits(self, writes: impl IntoIterator<Item = Write>) -> StepSentence<'a> {
        self.scenario.add(Action::RemoteTransaction { writes: writes.into_iter().collect() })
    }

    /// It ends its generation.
    pub fn checkpoints(self) -> StepSentence<'a> {
        self.scenario.add(Action::RemoteCheckpoint)
    }

    /// Its machine goes down and is started again.
    pub fn crashes(self, kind: CrashKind) -> StepSentence<'a> {
        self.scenario.add(Action::RemoteCrash { kind })
    }

    /// It prunes every closed generation.
    pub fn prunes(self) -> StepSentence<'a> {
        self.scenario.add(Action::RemotePrune)
    }

    /// It is restored to what it was so many generations ago, so many transactions before the end of that one.
    pub fn is_restored(self, generations_back: u8, transactions_back: u8) -> StepSentence<'a> {
        self.scenario.add(Action::RemoteRestore { generations_back, transactions_back })
    }
}

/// The step that was said last, to be struck or interrupted.
pub struct StepSentence<'a> {
    scenario: &'a mut Scenario,
}

impl StepSentence<'_> {
    /// Faults strike it.
    pub fn faults(mut self, faults: impl IntoIterator<Item = Fault>) -> Self {
        self.step().faults.extend(faults);
        self
    }

    /// Something happens inside it.
    pub fn meanwhile(mut self, at: Wait, action: Action) -> Self {
        let step = self.scenario.next_step(action);
        self.step().during.push(During { at, step });
        self
    }

    fn step(&mut self) -> &mut Step {
        self.scenario.steps.last_mut().expect("a sentence has added its step")
    }
}

/// A history that is over.
#[derive(Debug)]
pub struct Healed {
    /// What the run ended with.
    pub outcome: Outcome,
}

impl Healed {
    /// The rows of a table, sorted, each as its values with bars between them; on the remote and on every client.
    ///
    /// # Panics
    /// When not all databases hold the same, or none has such a table.
    pub fn rows_of(&self, table: &str) -> Vec<String> {
        let mut databases =
            self.outcome.databases.iter().map(|database| (&database.owner, rows(database, table)));
        let (_, remote) = databases.next().expect("a history ends with databases");
        for (whose, rows) in databases {
            assert_eq!(rows, remote, "{whose} differs from the remote in {table}");
        }
        remote
    }

    /// The history in lanes.
    pub fn timeline(&self) -> String {
        timeline(&self.outcome, false)
    }

    /// What each version of the clients' metadata said, one a line, in order.
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

/// A row more in `log`.
pub fn append(payload_bytes: u32) -> Write {
    Write::Append { payload_bytes }
}

/// A row of `note` that everybody sets.
pub fn note(key: u8) -> Write {
    Write::Upsert { table: Table::Note, key: Key::Shared(key) }
}

/// The request never arrives.
pub fn lose_request(route: Route, nth: u32) -> Fault {
    on(route, nth, NetworkFault::LoseRequest)
}

/// The request takes effect, its answer is lost.
pub fn lose_response(route: Route, nth: u32) -> Fault {
    on(route, nth, NetworkFault::LoseResponse)
}

/// Something becomes of the `nth` request to a route, or of its answer.
pub fn on(route: Route, nth: u32, fault: NetworkFault) -> Fault {
    Fault::Network { at: RequestPlace { route, nth }, fault }
}

/// The first time the engine waits after it has told of the `nth` such event in the step.
///
/// # Panics
/// When the engine has no such event.
pub fn reported(event: EventName, nth: u32) -> Wait {
    Wait::Reported { event: EngineEvent(event), nth }
}

/// The machine goes down at the `nth` such operation on such a file.
pub fn crash(moment: Moment, operation: OperationKind, file: FileClass, nth: u32, kind: CrashKind) -> Fault {
    Fault::Crash(CrashPoint { place: OperationPlace { file, operation, nth }, moment, kind })
}
