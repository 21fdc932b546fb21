//! The world: clients, the remote, the network between them, and the steps that happen in it.
//!
//! Everything runs on one thread. An operation of the engine is a future that the world polls by hand; whenever it suspends, the
//! world looks whether the machine went down meanwhile and what the engine waits for. A crash takes an image of the disk at its
//! very moment; the process runs on as a ghost to its next suspension and is dropped there, and nothing it still did is seen.

pub mod application;
mod exchange;
mod image;
mod interleave;
mod mishaps;
mod observe;
mod running;
mod server;

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use plimsoll_engine::{Error, LocalConnection, PushReport, RebootstrapReason, Storage};
use xxhash_rust::xxh3::xxh3_64;

use crate::atlas::{self, FaultKind, Promise, Row, Target};
use crate::client::{Client, Engine, PreparedQueries, Process, read_content};
use crate::clock;
use crate::disk::{CrashKind, Disk, Hang, MetadataVersion};
use crate::explore::SharedPilot;
use crate::fates::Fates;
use crate::finals::{FinalDatabase, read_tables};
use crate::ledger::{Content, Entry, Fate, Ledger};
use crate::lock::lock;
use crate::marks::{End as StepEnd, Inbox};
use crate::remote::{End, Remote};
use crate::schedule::{Action, During, Fault, Header, Step, TransactionEnd, Wait};
use crate::snapshot::{Snapshot, Snapshots};
use crate::trace::{Lane, SharedTrace};
use crate::verdict::{Counts, ENDS, NO_PANIC, NO_SURPRISE, Violation};
use crate::workload::{Ran, SCHEMA, Write, Writer, run_writes};
use exchange::Late;
use image::Sample;
use running::Running;

/// More suspensions than the operations of one step need, those not counted that wait for a chunk of a body: a body in crumbs has as many
/// chunks as bytes, but an end. Of 300 swarm seeds no step took more than 294. A history that goes on up to here ends within
/// a second, so that it can be run as often as shrinking asks for.
const SUSPENSIONS_MAX: u32 = 3_000;
/// The id under which the heal runs; no schedule's step has it.
const HEAL_STEP: u32 = u32::MAX;
/// Where the remote's database is on its machine.
const REMOTE_PATH: &str = "remote.db";
/// How far virtual time moves before each step.
const STEP_MS: u64 = 1_000;

use mishaps::Copies;

/// How an operation that was driven to its end has ended.
pub enum Driven<T> {
    /// The process lives and has its result.
    Done(T),
    /// The process lives and has given it up.
    Abandoned,
    /// The machine or the process went down under it.
    Crashed,
}

/// What an engine is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// To open.
    Open,
    /// To pull.
    Pull,
    /// To push.
    Push,
    /// To do both.
    Sync,
}

impl Operation {
    fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Pull => "pull",
            Self::Push => "push",
            Self::Sync => "sync",
        }
    }

    /// Whether it fails where an application holds the write lock of the client's database. A push that wanted to shorten the change log
    /// leaves it for another time.
    fn needs_write_lock(self) -> bool {
        self != Self::Push
    }
}

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

    // --- the engine's operations -------------------------------------------------------------------------------------

    /// Makes sure that the client's process runs. `false` when the machine went down, or a fault kept it from opening.
    pub fn ensure_open(&mut self, number: u8) -> Result<bool, Violation> {
        if self.client(number).process.is_some() {
            return Ok(true);
        }
        let client = self.client(number);
        let io = client.disk.io();
        let opening = {
            let (options, mailbox, base) =
                (client.options(&self.header), client.mailbox.clone(), client.paths.base.clone());
            async move {
                let engine = Engine::open(io.clone(), io, mailbox, &base, options).await?;
                let connection = engine.connect()?;
                let prepared = PreparedQueries::default();
                Ok(Process { engine: Arc::new(engine), connection, prepared, held: None, reader: None })
            }
        };
        let written_before = self.client(number).disk.totals().bytes_written;
        let is_beginning = self.client(number).claims().is_none_or(|claims| claims.is_beginning());
        let driven = self.drive(number, Operation::Open, opening)?;
        if !is_beginning {
            self.judge_exports(number, false)?;
        }
        match driven {
            Driven::Crashed | Driven::Abandoned => Ok(false),
            Driven::Done(Ok(process)) => {
                let client = self.client_mut(number);
                client.process = Some(process);
                client.is_recovering = false;
                self.settle_maybes(number)?;
                Ok(true)
            }
            Driven::Done(Err(error)) => {
                self.judge_error("open", number, &error)?;
                self.decide_after_refused_open(number, &error, written_before)?;
                Ok(false)
            }
        }
    }

    /// What a restarted client shows settles what had been interrupted.
    fn settle_maybes(&mut self, number: u8) -> Result<(), Violation> {
        if self.checks { self.judge_content(number) } else { Ok(()) }
    }

    /// Runs an operation of the engine's, opening it first if need be. `true` when it succeeded, `false` when a fault struck it.
    /// While another operation of the same engine is under way it has to be refused.
    fn operate(
        &mut self,
        number: u8,
        kind: Operation,
        operation: impl AsyncFnOnce(&Engine) -> Result<Option<RebootstrapReason>, Error>,
    ) -> Result<bool, Violation> {
        if !self.ensure_open(number)? {
            return Ok(false);
        }
        let Some(engine) = self.client(number).process.as_ref().map(|process| process.engine.clone()) else {
            return Ok(false);
        };
        let is_second = self.is_operating(number);
        if !is_second {
            self.client_mut(number).seen_ends.clear();
        }
        // Files that an operation is changing are not looked at.
        let expected = if self.checks && !is_second { self.expects_rebootstrap(number)? } else { true };
        // After a re-bootstrap a push rebases too.
        let needs_write_lock = kind.needs_write_lock() || expected || self.is_detached(number);
        let epoch_before = self.remote.history().epoch();
        let driven = self.drive(number, kind, async { operation(&engine).await })?;
        let expected = expected || self.remote_forgot_inside();
        let needs_write_lock = needs_write_lock || self.has_heard("rebootstrap begins");
        if !is_second {
            self.judge_exports(number, expected)?;
        }
        match driven {
            Driven::Crashed | Driven::Abandoned => Ok(false),
            Driven::Done(Err(Error::OperationInProgress)) if is_second => {
                self.counts.second_operations += 1;
                Ok(false)
            }
            Driven::Done(_) if is_second => {
                let message = format!("client {number} was let into a second operation at the same time");
                Err(Violation::of(NO_SURPRISE, message))
            }
            Driven::Done(Ok(reason)) => {
                // Whatever happened to the remote before it is known.
                self.client_mut(number).followed_epoch = epoch_before;
                self.judge_told_rebootstrap(number, reason).map(|()| true)
            }
            Driven::Done(Err(Error::Busy { .. })) if needs_write_lock && self.holds_open(number) => {
                self.counts.busy += 1;
                self.running().end = StepEnd::Busy;
                Ok(false)
            }
            Driven::Done(Err(error)) => {
                self.judge_error("operation", number, &error)?;
                // The application does as the engine says and opens it anew.
                if engine.is_poisoned() {
                    self.end_process(number);
                } else {
                    self.decide_after_refusal(number, &engine, &error)?;
                }
                Ok(false)
            }
        }
    }

    /// Takes note of the disk errors that have struck a client.
    fn note_disk_errors(&mut self, number: u8) {
        for (kind, file) in self.client(number).disk.take_struck_errors() {
            self.counts.disk_errors += 1;
            self.strike(FaultKind::from(kind), Target::File(file));
        }
    }

    /// Ends a client's process in good order.
    fn end_process(&mut self, number: u8) {
        self.client_mut(number).process = None;
        self.ledger.end_process(number);
    }

    /// An error is right only where a fault struck whose row of the atlas allows for it.
    fn judge_error(&mut self, what: &str, number: u8, error: &Error) -> Result<(), Violation> {
        self.running().end = StepEnd::Failed;
        self.record(Lane::Application(number), "error", &error_chain(error), &[]);
        let shown = if error.is_retryable() { Promise::Reported } else { Promise::Refused };
        if shown == Promise::Reported {
            self.counts.errors_reported += 1;
        } else {
            self.counts.errors_refused += 1;
        }
        let mishaps = self.mishap_rows(number, error);
        let rows: Vec<&Row> = self.running().struck.iter().copied().chain(mishaps).collect();
        let judged = atlas::judge(&rows, shown);
        judged.map_err(|blame| {
            Violation::of(NO_SURPRISE, format!("client {number}'s {what} {blame}: {}", error_chain(error)))
        })
    }

    /// Polls a future of the engine's to its end, serving what it waits for.
    pub fn drive<T>(
        &mut self,
        number: u8,
        kind: Operation,
        future: impl Future<Output = T>,
    ) -> Result<Driven<T>, Violation> {
        self.record(Lane::Application(number), "begin", kind.name(), &[]);
        let crashes = self.client(number).crashes;
        // A second operation is not let in, and has no waits of its own.
        let is_second = self.is_operating(number);
        if !is_second {
            let running = self.running();
            running.operating = Some(number);
            running.is_opening = kind == Operation::Open;
            running.heard_before = running.heard.len();
            running.requests_before = running.requests.len();
        }
        let outcome = self.poll_to_end(number, crashes, future)?;
        self.note_disk_errors(number);
        if !is_second {
            self.running().operating = None;
        }
        match outcome {
            Driven::Done(value) => {
                self.record(Lane::Application(number), "end", kind.name(), &[]);
                Ok(Driven::Done(value))
            }
            Driven::Abandoned => {
                self.record(Lane::Application(number), "given up", kind.name(), &[]);
                Ok(Driven::Abandoned)
            }
            Driven::Crashed => {
                self.record(Lane::Application(number), "cut off", kind.name(), &[]);
                self.counts.crashes_inside += 1;
                // What ran inside the operation may have buried it already.
                if self.client(number).crashes == crashes {
                    self.bury(number, true);
                }
                Ok(Driven::Crashed)
            }
        }
    }

    fn poll_to_end<T>(
        &mut self,
        number: u8,
        crashes: u32,
        future: impl Future<Output = T>,
    ) -> Result<Driven<T>, Violation> {
        let disk = self.client(number).disk.clone();
        let mut context = Context::from_waker(Waker::noop());
        let mut future = pin!(future);
        loop {
            let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(&mut context)));
            self.hear(number);
            if disk.is_down() {
                return Ok(Driven::Crashed);
            }
            match polled {
                Err(panic) => {
                    return Err(violation_of_panic(number, &*panic));
                }
                Ok(Poll::Ready(value)) => return Ok(Driven::Done(value)),
                Ok(Poll::Pending) => self.suspended(number)?,
            }
            if disk.is_down() || self.client(number).crashes != crashes {
                return Ok(Driven::Crashed);
            }
            if std::mem::take(&mut self.running().is_abandoned) {
                return Ok(Driven::Abandoned);
            }
        }
    }

    /// Something may happen here: the engine waits.
    fn suspended(&mut self, number: u8) -> Result<(), Violation> {
        let running = self.running();
        running.suspensions += 1;
        let nth_now = running.suspensions;
        let awaits_chunk = self.client(number).mailbox.awaited_chunk().is_some();
        let running = self.running();
        running.suspensions_bounded += u32::from(!awaits_chunk);
        if running.suspensions_bounded > SUSPENSIONS_MAX {
            return Err(Violation::of(
                ENDS,
                format!("client {number} suspended more than {SUSPENSIONS_MAX} times in one step"),
            ));
        }
        self.take_image_if_due(number, Some(nth_now));
        let crash = self.take_pending(|fault| match fault {
            Fault::CrashSuspended { nth, kind } if *nth == nth_now => Some(kind.clone()),
            _ => None,
        });
        if let Some(kind) = crash {
            let fault = Fault::CrashSuspended { nth: nth_now, kind: kind.clone() };
            self.record(Lane::Application(number), "fault", &fault.to_string(), &[]);
            self.client(number).disk.crash_now(&kind);
            return Ok(());
        }
        let abandoned = self.take_pending(|fault| match fault {
            Fault::Abandon { nth, arrives } if *nth == nth_now => Some(*arrives),
            _ => None,
        });
        if let Some(arrives) = abandoned {
            self.abandon(number, nth_now, arrives);
            return Ok(());
        }
        let crashes = self.client(number).crashes;
        let is_up = |world: &Self| {
            let client = world.client(number);
            client.crashes == crashes && !client.disk.is_down()
        };
        self.interleave(Wait::Suspension { nth: nth_now })?;
        if !is_up(self) {
            return Ok(());
        }
        if let Some(request) = self.client(number).mailbox.take_request() {
            let place = self.note_request(number, &request);
            self.interleave_at(place, Wait::Request)?;
            if is_up(self) {
                let answer = self.exchange(number, &request, place);
                let remote_crashes = self.remote_crashes;
                self.interleave_at(place, Wait::Response)?;
                if is_up(self) {
                    let answer = self.survived_way(answer, place, remote_crashes);
                    self.client(number).mailbox.answer(answer);
                }
            }
        } else if let Some(nth) = self.client(number).mailbox.awaited_chunk() {
            let place = self.last_request();
            let remote_crashes = self.remote_crashes;
            self.interleave_at(place, |of| Wait::Chunk { of, nth })?;
            if let Some(place) = place.filter(|_| is_up(self) && self.remote_crashes != remote_crashes) {
                self.strike(FaultKind::RemoteCrash, Target::Route(place.route));
                self.client(number).mailbox.cut_body();
            }
        }
        Ok(())
    }

    /// The application drops the operation that is suspended now.
    fn abandon(&mut self, number: u8, nth: u32, arrives: bool) {
        let fault = Fault::Abandon { nth, arrives };
        self.record(Lane::Application(number), "fault", &fault.to_string(), &[]);
        self.strike(FaultKind::Abandon, Target::Suspension);
        let request = self.client(number).mailbox.take_request();
        if let Some(request) = request.filter(|_| arrives) {
            self.serve_to_nobody(&request);
            self.inform_pilot();
        }
        self.running().is_abandoned = true;
    }

    /// The machine or the process is down: whatever ran on it is gone, and what survived is on its disk.
    fn bury(&mut self, number: u8, inside: bool) {
        self.end_process(number);
        let client = self.client_mut(number);
        client.crashes += 1;
        let report = client.disk.take_crash();
        client.disk.restart();
        // An abandoned request must not be served to the next process.
        drop(client.mailbox.take_request());
        let report = report.expect("a machine that is buried has crashed");
        self.mark_windows(number, &report);
        self.client_mut(number).is_recovering = true;
        match report.kind {
            CrashKind::PowerLoss { .. } => self.counts.power_losses += 1,
            CrashKind::Kill => self.counts.kills += 1,
        }
        // Files without a role are none of the engine's; nothing strikes there but a crash.
        let target = match report.place {
            Some(place) => Target::File(place.file),
            None if inside => Target::Suspension,
            None => Target::Between,
        };
        self.strike(FaultKind::from(&report.kind), target);
        self.fates.crashes.push((self.running_id(), report));
    }

    // --- applications ------------------------------------------------------------------------------------------------

    fn transact(
        &mut self,
        number: u8,
        id: u32,
        writes: &[Write],
        end: TransactionEnd,
    ) -> Result<(), Violation> {
        if !self.ensure_open(number)? {
            return Ok(());
        }
        if end == TransactionEnd::HeldOpen {
            return self.hold_open(number, id, writes);
        }
        let client = self.client(number);
        let Some(connection) = client.process.as_ref().map(|process| process.connection.clone()) else {
            return Ok(());
        };
        let disk = client.disk.clone();
        let writer = Writer::Client(number);
        let attempt = catch_unwind(AssertUnwindSafe(|| {
            let mut attempt = Attempt::default();
            let outcome = attempt.run(&connection, &disk, writer, id, writes, end);
            (attempt, outcome)
        }));
        self.note_disk_errors(number);
        let is_down = disk.is_down();
        let (attempt, failed) = match attempt {
            Ok((attempt, outcome)) => (attempt, outcome.err()),
            Err(panic) if !is_down => {
                return Err(violation_of_panic(number, &*panic));
            }
            Err(_) => (Attempt { was_down_before_end: true, ..Attempt::default() }, None),
        };
        if let Some(error) = failed.as_ref().filter(|_| !is_down) {
            self.judge_failed_transaction(number, error)?;
            // An application whose rollback fails as well gives up.
            if !connection.is_autocommit() && connection.execute("ROLLBACK").is_err() {
                self.end_process(number);
            }
        }
        let Ran { effects, shapes } = attempt.ran;
        if failed.is_some() {
            self.running().end = StepEnd::Failed;
        }
        let fate = match end {
            TransactionEnd::Rollback | TransactionEnd::HeldOpen => Fate::Absent,
            TransactionEnd::Commit if attempt.was_down_before_end || !attempt.reached_end => Fate::Absent,
            TransactionEnd::Commit if is_down => Fate::Maybe,
            TransactionEnd::Commit if failed.is_some() => Fate::Doubtful,
            TransactionEnd::Commit => Fate::Committed,
        };
        let fate_in_words = match fate {
            Fate::Absent => "not committed",
            Fate::Maybe | Fate::Doubtful => "perhaps committed",
            Fate::Committed => "committed",
        };
        self.record(Lane::Application(number), "transaction", fate_in_words, &[writes.len() as u64 + 1]);
        if fate == Fate::Committed {
            self.mark_shapes(writer, shapes);
        }
        if !effects.is_empty() {
            self.ledger.enter(Entry::new(writer, effects, fate));
        }
        self.inform_pilot();
        if is_down {
            self.bury(number, true);
        }
        Ok(())
    }

    /// A transaction may fail where a disk error struck.
    fn judge_failed_transaction(&mut self, number: u8, error: &Error) -> Result<(), Violation> {
        if matches!(error, Error::Busy { .. }) && self.may_be_busy(number) {
            self.counts.busy += 1;
            return Ok(());
        }
        self.record(Lane::Client(number), "error", &error_chain(error), &[]);
        self.counts.errors_reported += 1;
        atlas::judge(&self.running().struck, Promise::Reported).map_err(|blame| {
            Violation::of(
                NO_SURPRISE,
                format!("client {number}'s transaction {blame}: {}", error_chain(error)),
            )
        })
    }

    fn transact_on_remote(&mut self, id: u32, writes: &[Write]) {
        let Ran { effects, shapes } = self
            .remote
            .transact(|connection| run_writes(connection, Writer::Remote, id, writes))
            .expect("another writer's statements are sound");
        self.mark_shapes(Writer::Remote, shapes);
        self.ledger.enter(Entry::new(Writer::Remote, effects, Fate::Committed));
    }

    // --- looking at things -------------------------------------------------------------------------------------------

    /// What the remote holds, read through SQL.
    pub fn remote_content(&self) -> Content {
        let read = |sql: &str| Ok::<_, std::convert::Infallible>(self.remote.query(sql));
        match read_content(read) {
            Ok(content) => content,
        }
    }

    /// What a client's application sees; `None` while its process is not running.
    pub fn client_content(&mut self, number: u8) -> Option<Result<Content, Error>> {
        let client = self.client_mut(number);
        let Process { connection, prepared, .. } = client.process.as_mut()?;
        client.disk.suspend_errors(true);
        let content = read_content(|sql| prepared.query(connection, sql));
        client.disk.suspend_errors(false);
        Some(content)
    }

    /// What the databases of the remote and of all running clients hold.
    ///
    /// # Panics
    /// When one cannot be read.
    pub(crate) fn final_databases(&self) -> Vec<FinalDatabase> {
        const READABLE: &str = "a database that was judged is readable";
        let (main, wal) = self.remote.file_bytes().expect(READABLE);
        let read = |sql: &str| Ok::<_, std::convert::Infallible>(self.remote.query(sql));
        let Ok(tables) = read_tables(read);
        let mut databases = vec![FinalDatabase { whose: "the remote".into(), main, wal, tables }];
        for client in &self.clients {
            let Some(process) = &client.process else { continue };
            let bytes = |path: &str| client.disk.read(path).map_or_else(Vec::new, |bytes| bytes.to_vec());
            databases.push(FinalDatabase {
                whose: format!("client {}", client.number),
                main: bytes(&client.paths.draft),
                wal: bytes(&client.paths.draft_wal),
                tables: read_tables(|sql| process.connection.query(sql, &[])).expect(READABLE),
            });
        }
        databases
    }

    /// One client.
    pub fn client(&self, number: u8) -> &Client {
        &self.clients[usize::from(number)]
    }

    /// One client.
    pub fn client_mut(&mut self, number: u8) -> &mut Client {
        &mut self.clients[usize::from(number)]
    }

    /// Takes note of faults of step `id` that found no place.
    fn note_unreached(&mut self, id: u32, unreached: Vec<Fault>) {
        for fault in &unreached {
            self.record(Lane::World, "never reached", &fault.to_string(), &[u64::from(id)]);
        }
        self.counts.faults_unreached += unreached.len() as u64;
        self.fates.unreached.extend(unreached.into_iter().map(|fault| (id, fault)));
    }

    /// Takes note of steps that were to happen at waits that never came.
    fn note_not_run(&mut self, during: &[During]) {
        for step in during.iter().flat_map(|during| during.step.all()) {
            self.record(Lane::World, "never reached", &step.to_string(), &[u64::from(step.id)]);
            self.counts.faults_unreached += 1;
            self.fates.not_run.push(step.id);
        }
    }

    /// Keeps what can be drawn of this moment, if events are kept.
    fn take_snapshot(&mut self) {
        if lock(&self.trace).keeps_events() {
            let event_count = lock(&self.trace).event_count();
            let remote = (self.remote.generation(), self.remote.frame_count());
            let snapshot = Snapshot::of(event_count, self.running_id(), remote, &self.clients);
            self.snapshots.steps.push(snapshot);
        }
    }

    /// Keeps what versions of a client's metadata say, if events are kept.
    pub(crate) fn observe_metadata(&mut self, number: u8, versions: &[MetadataVersion]) {
        if lock(&self.trace).keeps_events() {
            self.snapshots.observe_metadata(number, versions);
        }
    }

    /// Records an event in the trace.
    pub fn record(&self, lane: Lane, verb: &'static str, place: &str, numbers: &[u64]) {
        self.record_bytes(lane, verb, place, numbers, &[]);
    }

    fn record_bytes(&self, lane: Lane, verb: &'static str, place: &str, numbers: &[u64], bytes: &[u8]) {
        lock(&self.trace).record(lane, verb, place, numbers, bytes);
    }
}

/// How far an application's transaction came.
#[derive(Default)]
struct Attempt {
    ran: Ran,
    was_down_before_end: bool,
    reached_end: bool,
}

impl Attempt {
    fn run(
        &mut self,
        connection: &LocalConnection,
        disk: &Disk,
        writer: Writer,
        id: u32,
        writes: &[Write],
        end: TransactionEnd,
    ) -> Result<(), Error> {
        connection.execute("BEGIN")?;
        self.ran = run_writes(connection, writer, id, writes)?;
        self.was_down_before_end = disk.is_down();
        self.reached_end = true;
        connection.execute(if end == TransactionEnd::Commit { "COMMIT" } else { "ROLLBACK" })
    }
}

/// A panic of the engine's, or the end that its disk has put to a hang.
/// Why a push has replaced Synced, in itself or in the pull that followed.
fn rebootstrap_of(push: &PushReport) -> Option<RebootstrapReason> {
    push.rebootstrapped.or(push.pull.as_ref().and_then(|pull| pull.rebootstrapped))
}

fn violation_of_panic(number: u8, panic: &(dyn Any + Send)) -> Violation {
    if panic.is::<Hang>() {
        return Violation::of(ENDS, format!("client {number} waits for ever inside a call"));
    }
    Violation::of(NO_PANIC, format!("client {number}: {}", panic_message(panic)))
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".into())
}

/// An error with its causes, in one line.
pub fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod planted;
#[cfg(test)]
mod tests;
