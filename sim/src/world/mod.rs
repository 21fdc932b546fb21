//! The world: clients, the remote, the network between them, and the steps that happen in it.
//!
//! Everything runs on one thread. An operation of the engine is a future that the world polls by hand; whenever it suspends, the
//! world looks whether the machine went down meanwhile and what the engine waits for. A crash takes an image of the disk at its
//! very moment; the process runs on as a ghost to its next suspension and is dropped there, and nothing it still did is seen.

pub mod application;
pub mod client;
pub mod clock;
pub mod disk;
pub mod driver;
mod exchange;
pub mod fates;
pub mod finals;
mod image;
pub mod in_process;
mod interleave;
mod judging;
pub mod listener;
pub mod memory;
mod mishaps;
pub mod network;
mod observe;
mod operations;
pub mod remote;
pub mod run;
mod running;
mod server;
pub mod snapshot;
pub mod sql;
pub mod trace;
mod transactions;
mod views;
pub mod writes;

use plimsoll_engine::Storage;
use xxhash_rust::xxh3::xxh3_64;

use crate::fault::Fault;
use crate::judge::counts::Counts;
use crate::judge::history::End;
use crate::judge::ledger::Ledger;
use crate::judge::verdict::Violation;
use crate::lock::lock;
use crate::schedule::workload::SCHEMA;
use crate::schedule::{Action, Header, Step};
use crate::search::explore::SharedPilot;
use crate::world::client::{Client, Engine};
use crate::world::disk::Disk;
use crate::world::fates::Fates;
use crate::world::listener::Inbox;
use crate::world::remote::Remote;
use crate::world::snapshot::Snapshots;
use crate::world::trace::{Lane, SharedTrace};
use exchange::Late;
use image::Sample;
use mishaps::Copies;
use operations::{Operation, rebootstrap_of};
use running::Running;

/// The id under which the heal runs; no schedule's step has it.
const HEAL_STEP: u32 = u32::MAX;
/// Where the remote's database is on its machine.
const REMOTE_PATH: &str = "remote.db";
/// How far virtual time moves before each step.
const STEP_MS: u64 = 1_000;

/// Everything there is in one history.
pub struct World {
    /// The schedule's header.
    pub header: Header,
    /// The clients.
    pub clients: Vec<Client>,
    /// The remote.
    pub remote: Remote,
    /// Its machine's disk.
    remote_disk: Disk,
    /// How often that machine went down.
    remote_crashes: u32,
    /// What was acknowledged.
    pub ledger: Ledger,
    /// What happened, counted.
    pub counts: Counts,
    /// Whether invariants are judged; only a benchmark's floor does without.
    pub checks: bool,
    /// What became of the schedule's faults.
    pub fates: Fates,
    /// What to draw later; nothing unless the trace keeps its events.
    pub snapshots: Snapshots,
    trace: SharedTrace,
    /// Whoever explores this history.
    pilot: Option<SharedPilot>,
    /// The history's one crash image.
    sample: Sample,
    /// What the engine has said and nobody has heard yet.
    inbox: Inbox,
    /// The running step, and in it the one that runs inside it.
    running: Vec<Running>,
    late: Vec<Late>,
    /// Where the history stood when it had its schema; nobody is told of an older past.
    schema_end: End,
    /// Copies of clients' directories that a later step will put back.
    copies: Copies,
}

impl World {
    /// A remote with its schema, and clients that have never run.
    pub fn new(header: Header, trace: SharedTrace, inbox: Inbox, checks: bool) -> Self {
        let remote_disk = Disk::new(Lane::Remote, header.key, trace.clone());
        let mut remote = Remote::create(remote_disk.io(), REMOTE_PATH);
        remote_disk.io().sync_dir(REMOTE_PATH).expect("a new machine's disk works");
        remote.set_names_history(header.remote_names_history);
        remote
            .transact(|connection| SCHEMA.iter().try_for_each(|sql| connection.execute(sql)))
            .expect("the schema is sound");
        let schema_end = remote.end();
        // A history without the workload's tables says nothing.
        remote.forget_older_backups();
        let clients = (0..header.clients).map(|number| Client::new(number, &header, trace.clone())).collect();
        Self {
            header,
            clients,
            remote,
            remote_disk,
            remote_crashes: 0,
            ledger: Ledger::default(),
            counts: Counts { histories: 1, ..Counts::default() },
            checks,
            fates: Fates::default(),
            snapshots: Snapshots::default(),
            trace,
            pilot: None,
            sample: Sample::default(),
            inbox,
            // Before the first step nothing strikes.
            running: vec![Running::default()],
            late: Vec::new(),
            schema_end,
            copies: Copies::default(),
        }
    }

    /// Lets `pilot` decide what strikes client `number`.
    pub fn set_pilot(&mut self, pilot: SharedPilot, number: u8) {
        self.client(number).disk.set_pilot(pilot.clone());
        self.pilot = Some(pilot);
    }

    /// Tells the pilot where the history stands.
    fn inform_pilot(&self) {
        let Some(pilot) = &self.pilot else { return };
        let place = [self.remote.generation(), self.remote.frame_count(), self.ledger.fingerprint()];
        let bytes: Vec<u8> = place.iter().flat_map(|number| number.to_le_bytes()).collect();
        lock(pilot).set_context(xxh3_64(&bytes));
    }

    /// Runs one step and judges what it left.
    ///
    /// # Errors
    /// The first broken invariant.
    pub fn step(&mut self, step: &Step) -> Result<(), Violation> {
        self.begin_step(step);
        let acted = self.act(step);
        self.end_step(step);
        acted?;
        if let Some(number) = step.action.client() {
            self.take_image_if_due(number, None);
        }
        if self.checks {
            self.judge_step(step.action.client())?;
            self.judge_image()?;
        }
        self.copy_directories(step.id);
        Ok(())
    }

    fn begin_step(&mut self, step: &Step) {
        clock::advance(STEP_MS);
        self.counts.steps += 1;
        self.record(Lane::World, "step", &step.action.to_string(), &[u64::from(step.id)]);
        for client in &self.clients {
            client.disk.begin_step(step.id);
        }
        self.running = vec![Running::of(step)];
        self.plan_image(step);
        if let Some(pilot) = &self.pilot {
            lock(pilot).begin_step(step.id);
        }
        self.inform_pilot();
        for fault in &step.faults {
            match (fault, step.action.client()) {
                (Fault::Crash(point), Some(client)) => self.client(client).disk.arm(point.clone()),
                (Fault::Disk(error), Some(client)) => self.client(client).disk.arm_error(*error),
                _ => self.running().pending.push(fault.clone()),
            }
        }
        self.deliver_at_step(step.id);
    }

    fn end_step(&mut self, step: &Step) {
        self.deliver_at_end_of_step();
        let mut unreached = std::mem::take(&mut self.running().pending);
        for client in &self.clients {
            unreached.extend(client.disk.take_unreached().into_iter().map(Fault::Crash));
            unreached.extend(client.disk.take_unreached_errors().into_iter().map(Fault::Disk));
        }
        self.note_unreached(step.id, unreached);
        let during = std::mem::take(&mut self.running().during);
        self.note_not_run(&during);
        self.mark_faults(step);
        let frames = [self.remote.generation(), self.remote.frame_count()];
        self.record(Lane::Remote, "stands at", "generation and frame", &frames);
        self.record(Lane::World, "end of step", step.action.verb(), &[u64::from(step.id)]);
        self.take_snapshot();
    }

    fn act(&mut self, step: &Step) -> Result<(), Violation> {
        match &step.action {
            Action::Transaction { client, writes, end } => self.transact(*client, step.id, writes, *end),
            Action::EndTransaction { client, end } => self.end_held(*client, *end),
            Action::OpenReader { client } => {
                self.ensure_open(*client)?;
                self.open_reader(*client)
            }
            Action::CloseReader { client } => self.close_reader(*client),
            Action::Pull { client } => {
                let pull = async |engine: &Engine| engine.pull().await.map(|report| report.rebootstrapped);
                let succeeded = self.operate(*client, Operation::Pull, pull)?;
                if succeeded { self.judge_caught_up(*client) } else { Ok(()) }
            }
            Action::Push { client } => {
                let push = async |engine: &Engine| engine.push().await.map(|report| rebootstrap_of(&report));
                self.operate(*client, Operation::Push, push).map(|_| ())
            }
            Action::Sync { client } => self.sync_once(*client).map(|_| ()),
            Action::Close { client } => {
                self.record(Lane::Application(*client), "close", "", &[]);
                self.end_process(*client);
                Ok(())
            }
            Action::Crash { client, kind } => {
                self.client(*client).disk.crash_now(kind);
                // An operation under way finds out by itself.
                if !self.is_operating(*client) {
                    self.bury(*client, false);
                }
                Ok(())
            }
            Action::RemoteTransaction { writes } => {
                self.transact_on_remote(step.id, writes);
                Ok(())
            }
            Action::RemoteCheckpoint => {
                if self.remote.checkpoint() {
                    self.counts.generations += 1;
                }
                Ok(())
            }
            Action::RemoteRestart => {
                self.restart_remote();
                Ok(())
            }
            Action::RemoteCrash { kind } => {
                self.crash_remote(kind);
                Ok(())
            }
            Action::RemotePrune => {
                if self.remote.prune() {
                    self.counts.prunes += 1;
                }
                Ok(())
            }
            Action::RemoteRestore { generations_back, transactions_back } => {
                self.restore_remote(u64::from(*generations_back), u64::from(*transactions_back))
            }
            Action::RestoreDirectory { client, to_step } => {
                self.restore_directory(*client, *to_step);
                Ok(())
            }
            Action::LoseFile { client, file } => {
                self.lose_file(*client, *file);
                Ok(())
            }
            Action::Rot { client, file, offset, damage } => {
                self.rot(*client, *file, *offset, *damage);
                Ok(())
            }
        }
    }

    /// Ends the faults: what has not struck does not strike any more, and what is under way arrives. Whoever is up stays up.
    pub fn begin_healing(&mut self) {
        clock::advance(STEP_MS);
        self.record(Lane::World, "heal", "no more faults: everybody syncs until nothing moves", &[]);
        for client in &self.clients {
            client.disk.begin_step(HEAL_STEP);
            client.disk.heal();
        }
        self.running = vec![Running { id: HEAL_STEP, ..Running::default() }];
        self.deliver_all();
    }

    /// Opens a client if need be and syncs it; whether that moved anything.
    ///
    /// # Errors
    /// Trouble that no fault explains is a violation.
    pub fn sync_once(&mut self, number: u8) -> Result<bool, Violation> {
        let was_open = self.client(number).process.is_some();
        let mut moved = false;
        let succeeded = self.operate(number, Operation::Sync, async |engine: &Engine| {
            let report = engine.sync().await?;
            let (push, pull) = (&report.push, &report.pull);
            moved = push.recovered
                || push.rebased
                || pull.rebased
                || pull.checkpointed
                || push.compacted
                || pull.compacted
                || push.requests > 0
                || push.frames + pull.frames > 0
                || push.generations_crossed + pull.generations_crossed > 0;
            Ok(rebootstrap_of(push).or(pull.rebootstrapped))
        })?;
        if succeeded {
            self.judge_caught_up(number)?;
        }
        // Who was refused may have decided what to do, and has not synced yet.
        Ok(moved || !was_open || !succeeded)
    }

    /// The counts of a history that is over, and what became of its faults; its databases are closed.
    pub fn finish(mut self) -> (Counts, Fates, Snapshots) {
        self.counts.client_commits = self.ledger.client_commits() as u64;
        self.counts.histories_struck =
            u64::from(self.counts.crashes() > 0 && self.counts.network_faults() > 0);
        (self.counts, self.fates, self.snapshots)
    }
}

#[cfg(test)]
mod planted;
#[cfg(test)]
mod tests;
