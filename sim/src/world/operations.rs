//! Runs the engine's operations: opens the engine, drives each operation to its end, and judges the result.

use plimsoll_engine::events::EventName;
use std::any::Any;
use std::future::Future;
use std::sync::Arc;

use plimsoll_engine::{Error, PullReport, PushReport, RebootstrapReason, SyncReport};

use super::World;
use super::client::{Engine, PreparedQueries, Process};
use super::context::{OperationLog, StepContext};
use super::disk::Hang;
use super::trace::{Lane, Verb};
use crate::fault::CrashKind;
use crate::fault::atlas::{FaultKind, Target};
use crate::judge::marks::{CrashSite, StepEnd};
use crate::judge::verdict::{ENDS, NO_PANIC, NO_SURPRISE, Violation};

/// How a driven operation ended.
pub enum Driven<T> {
    /// The operation returned a result.
    Done(T),
    /// The application abandoned the operation; the process keeps running.
    Abandoned,
    /// The machine or the process crashed during the operation.
    Crashed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    Open,
    Pull,
    Push,
    Sync,
}

impl Operation {
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Pull => "pull",
            Self::Push => "push",
            Self::Sync => "sync",
        }
    }

    /// Whether the operation fails while an application holds the write lock of the client's database. A push
    /// does not fail: it postpones the compaction of the change log.
    fn needs_write_lock(self) -> bool {
        self != Self::Push
    }
}

impl World {
    /// Opens the client's process if it is not running. Returns `false` if the machine crashed or a fault
    /// kept the process from opening.
    pub(super) fn ensure_open(&mut self, number: u8, context: &mut StepContext) -> Result<bool, Violation> {
        let client = &self.clients[number];
        if client.process.is_some() {
            return Ok(true);
        }
        let io = client.disk.io();
        let opening = {
            let (options, mailbox, base) =
                (client.options(&self.header), client.mailbox.clone(), client.paths.base.clone());
            async move {
                let engine = Engine::open(io.clone(), io, mailbox, &base, options).await?;
                let connection = engine.connect()?;
                let prepared = PreparedQueries::default();
                let engine = Arc::new(engine);
                Ok(Process { engine, connection, prepared, program: None, held: None, reader: None })
            }
        };
        let written_before = client.disk.totals().bytes_written;
        let has_never_caught_up = client.claims().is_none_or(|claims| claims.has_never_caught_up());
        self.clients[number].is_opening = true;
        let driven = self.drive(number, Operation::Open, context, opening)?;
        self.clients[number].is_opening = false;
        if !has_never_caught_up {
            self.judge_rebootstrap(number, false, context)?;
        }
        match driven {
            Driven::Crashed | Driven::Abandoned => Ok(false),
            Driven::Done(Ok(process)) => {
                let client = &mut self.clients[number];
                client.process = Some(process);
                client.is_recovering = false;
                // The rows that the restarted client shows tell the ledger which interrupted transactions
                // were committed.
                if self.referee.is_judging() {
                    self.referee.judge_content(client, &self.server)?;
                }
                if has_never_caught_up
                    && self.referee.judges_contents()
                    && let Some(Ok(tables)) = client.tables()
                {
                    self.referee.news.begin(number, tables);
                }
                Ok(true)
            }
            Driven::Done(Err(error)) => {
                self.judge_error(number, "open", &error, context)?;
                self.start_over_if_explained(number, &error, written_before)?;
                Ok(false)
            }
        }
    }

    /// Runs an engine operation, and opens the engine first if necessary. Returns `true` if the operation
    /// succeeded and `false` if a fault made it fail. While another operation of the same engine is running,
    /// the engine must refuse this one.
    pub(super) fn operate(
        &mut self,
        number: u8,
        kind: Operation,
        context: &mut StepContext,
        operation: impl AsyncFnOnce(&Engine) -> Result<Reported, Error>,
    ) -> Result<bool, Violation> {
        if !self.ensure_open(number, context)? {
            return Ok(false);
        }
        let Some(engine) = self.clients[number].process.as_ref().map(|process| process.engine.clone()) else {
            return Ok(false);
        };
        if context.is_operating(number) {
            return self.operate_second(number, kind, context, async { operation(&engine).await });
        }
        let client = &mut self.clients[number];
        client.seen_ends.clear();
        let rebootstrap_expected = if self.referee.is_judging() {
            self.referee.expects_rebootstrap(client, &self.server, &self.header)?
        } else {
            true
        };
        // After a re-bootstrap a push also rebases.
        let is_detached = self.clients[number].claims().is_some_and(|claims| claims.is_detached());
        let needs_write_lock = kind.needs_write_lock() || rebootstrap_expected || is_detached;
        let epoch_before = self.server.log().epoch();
        let contents_before = self.contents_before(number);
        let driven = self.drive(number, kind, context, async { follow(&engine, operation).await })?;
        if last_log(context).asked_for_export() && context.has_injected(FaultKind::StaleCache) {
            // A cache has repeated answers of a log that the remote no longer has, and the client went back to it.
            self.clients[number].durable = None;
        }
        let rebootstrap_expected = rebootstrap_expected || context.times_remote_forgot() > 0;
        self.judge_rebootstrap(number, rebootstrap_expected, context)?;
        let needs_write_lock =
            needs_write_lock || last_log(context).has_reported(EventName::RebootstrapBegins);
        match driven {
            Driven::Crashed | Driven::Abandoned => {
                self.referee.news.forget(number);
                Ok(false)
            }
            Driven::Done(Ok(Reported { rebootstrapped, forgotten, conflicts })) => {
                // The client has seen everything that happened to the remote before the operation.
                self.clients[number].followed_epoch = epoch_before;
                self.judge_contents(number, kind, contents_before.as_ref(), Some(conflicts), context)?;
                self.clients[number].follows_wrong_server = false;
                self.referee.ledger.accept_report(number, forgotten);
                self.accept_reported_rebootstrap(number, rebootstrapped, context).map(|()| true)
            }
            Driven::Done(Err(Error::Busy { .. }))
                if needs_write_lock && self.clients[number].holds_open() =>
            {
                self.recorder.counts.busy += 1;
                context.end = StepEnd::Busy;
                self.judge_contents(number, kind, contents_before.as_ref(), None, context)?;
                Ok(false)
            }
            // The remote has changed its log once more after the application has confirmed the first change.
            Driven::Done(Err(Error::HistoryChanged { .. }))
                if self.header.asks_before_following && rebootstrap_expected =>
            {
                self.recorder.counts.errors_refused += 1;
                self.judge_contents(number, kind, contents_before.as_ref(), None, context)?;
                Ok(false)
            }
            Driven::Done(Err(error)) => {
                self.judge_error(number, "operation", &error, context)?;
                self.judge_contents(number, kind, contents_before.as_ref(), None, context)?;
                self.adopt_older_copy(number, &engine, &error, context)?;
                // A poisoned engine must be reopened. The application drops it here, and the next step that
                // needs an engine opens a new one.
                if engine.is_poisoned() {
                    self.end_process(number);
                }
                Ok(false)
            }
        }
    }

    /// Runs a second operation while one is running. The files are not judged, because the first operation
    /// may be changing them.
    fn operate_second(
        &mut self,
        number: u8,
        kind: Operation,
        context: &mut StepContext,
        operation: impl Future<Output = Result<Reported, Error>>,
    ) -> Result<bool, Violation> {
        match self.drive(number, kind, context, operation)? {
            Driven::Crashed | Driven::Abandoned => Ok(false),
            Driven::Done(Err(Error::OperationInProgress)) => {
                self.recorder.counts.second_operations += 1;
                Ok(false)
            }
            Driven::Done(_) => {
                let message =
                    format!("client {number}'s engine accepted a second operation while one was running");
                Err(Violation::of(NO_SURPRISE, message))
            }
        }
    }

    /// Drives a future of the engine to its end, and serves whatever it waits for.
    ///
    /// # Errors
    /// A panic, an operation that does not end, or an invariant that a step inside the operation broke.
    pub(super) fn drive<T>(
        &mut self,
        number: u8,
        kind: Operation,
        context: &mut StepContext,
        future: impl Future<Output = T>,
    ) -> Result<Driven<T>, Violation> {
        self.record(Lane::Application(number), Verb::Begin, kind.name(), &[]);
        let crashes_before = self.clients[number].crashes;
        let is_second = context.is_operating(number);
        if !is_second {
            context.operating = Some(number);
        }
        context
            .operations
            .push(OperationLog { is_opening: kind == Operation::Open, ..OperationLog::default() });
        let driven = self.poll_to_end(number, crashes_before, context, future)?;
        self.note_disk_errors(number, context);
        if !is_second {
            self.referee.judge_damage(&self.clients[number], last_log(context))?;
            context.operating = None;
        }
        let verb = match driven {
            Driven::Done(_) => Verb::End,
            Driven::Abandoned => Verb::Abandoned,
            Driven::Crashed => Verb::CutOff,
        };
        self.record(Lane::Application(number), verb, kind.name(), &[]);
        if matches!(driven, Driven::Crashed) {
            self.recorder.counts.crashes_inside += 1;
            // A step inside the operation may already have reaped the process.
            if self.clients[number].crashes == crashes_before {
                self.reap(number, true, context);
            }
        }
        Ok(driven)
    }

    fn judge_rebootstrap(
        &mut self,
        number: u8,
        rebootstrap_expected: bool,
        context: &StepContext,
    ) -> Result<(), Violation> {
        let log = last_log(context);
        self.referee.judge_rebootstrap(number, log, rebootstrap_expected, context, &mut self.recorder)
    }

    /// Judges an error: an operation may fail only if the atlas row of an injected fault allows the error.
    pub(super) fn judge_error(
        &mut self,
        number: u8,
        what: &str,
        error: &Error,
        context: &mut StepContext,
    ) -> Result<(), Violation> {
        context.injected.extend(self.row_of_fork(context));
        self.referee.judge_error(&self.clients[number], what, error, context, &mut self.recorder)
    }

    fn accept_reported_rebootstrap(
        &mut self,
        number: u8,
        reported: Option<RebootstrapReason>,
        context: &StepContext,
    ) -> Result<(), Violation> {
        self.referee.judge_reported_rebootstrap(number, last_log(context), reported)?;
        if let Some(reason) = reported {
            self.record(Lane::Client(number), Verb::Rebootstrap, &format!("{reason:?}"), &[]);
            self.clients[number].external_damage.retain(|damage| !damage.is_of_replica());
        }
        Ok(())
    }

    /// Counts the disk errors that were injected into a client's disk.
    pub(super) fn note_disk_errors(&mut self, number: u8, context: &mut StepContext) {
        for (kind, file) in self.clients[number].disk.take_injected_errors() {
            self.recorder.counts.disk_errors += 1;
            self.note_injected(FaultKind::from(kind), Target::File(file), context);
        }
    }

    /// Ends a client's process cleanly.
    pub(super) fn end_process(&mut self, number: u8) {
        self.clients[number].process = None;
        self.referee.ledger.end_process(number);
    }

    /// Kills a client's process if it runs.
    pub(super) fn kill_if_running(&mut self, number: u8, context: &mut StepContext) {
        if self.clients[number].process.is_some() {
            self.clients[number].disk.crash_now(&CrashKind::Kill);
            self.reap(number, false, context);
        }
    }

    /// Drops the process of a crashed machine, and restarts the machine from the files that survived on its
    /// disk. `inside` is set if an operation or a transaction was running.
    pub(super) fn reap(&mut self, number: u8, inside: bool, context: &mut StepContext) {
        self.end_process(number);
        let client = &mut self.clients[number];
        client.is_opening = false;
        client.crashes += 1;
        let report = client.disk.take_crash().expect("a reaped machine has crashed");
        client.disk.restart();
        // The next process must not receive the answer to a request that this process has sent.
        drop(client.mailbox.take_request());
        let (is_opening, reported) = match context.operation() {
            Some(log) => (log.is_opening, &log.reported[..]),
            None => (false, &[][..]),
        };
        // The zombie kept reporting events until its next suspension.
        let late =
            reported.iter().rev().take_while(|reported| reported.event_count > report.event_count).count();
        let site = CrashSite {
            is_opening,
            is_recovery: client.is_recovering && is_opening,
            reported: &reported[..reported.len() - late],
            operation: report.place.map(|place| (place.file, place.operation)),
        };
        client.is_recovering = true;
        // Every file that the engine uses has a role, so the atlas has a row for the file that was hit.
        let target = match report.place {
            Some(place) => Target::File(place.file),
            None if inside => Target::Suspension,
            None => Target::Between,
        };
        let kind = FaultKind::from(&report.kind);
        let windows = self.recorder.note_crash(context.id, report, &site);
        context.windows.extend(windows);
        context.end = StepEnd::Crashed;
        self.note_injected(kind, target, context);
    }
}

/// Runs an operation. If the engine asks whether to follow a remote with another log, the application follows it.
async fn follow(
    engine: &Engine,
    operation: impl AsyncFnOnce(&Engine) -> Result<Reported, Error>,
) -> Result<Reported, Error> {
    match operation(engine).await {
        Err(Error::HistoryChanged { .. }) => engine.rebootstrap().await.map(Reported::from),
        done => done,
    }
}

/// The log of the last driven operation.
fn last_log(context: &StepContext) -> &OperationLog {
    context.operation().expect("an operation has been driven in this step")
}

/// The part of an operation's report that is judged.
pub(super) struct Reported {
    /// The reason why the operation replaced Synced.
    pub rebootstrapped: Option<RebootstrapReason>,
    /// The number of the client's transactions that the remote has lost.
    pub forgotten: u64,
    pub conflicts: u64,
}

impl From<PullReport> for Reported {
    fn from(pull: PullReport) -> Self {
        Self {
            rebootstrapped: pull.rebootstrapped,
            forgotten: pull.transactions_forgotten,
            conflicts: pull.conflicts.total,
        }
    }
}

impl From<PushReport> for Reported {
    fn from(push: PushReport) -> Self {
        let pulled = push.pull.map(Self::from);
        let (rebootstrapped, conflicts) =
            pulled.map_or((None, 0), |pulled| (pulled.rebootstrapped, pulled.conflicts));
        Self {
            rebootstrapped: push.rebootstrapped.or(rebootstrapped),
            forgotten: push.transactions_forgotten,
            conflicts: push.conflicts.total + conflicts,
        }
    }
}

impl From<SyncReport> for Reported {
    fn from(SyncReport { push, pull, .. }: SyncReport) -> Self {
        let (push, pull) = (Self::from(push), Self::from(pull));
        Self {
            rebootstrapped: push.rebootstrapped.or(pull.rebootstrapped),
            forgotten: push.forgotten + pull.forgotten,
            conflicts: push.conflicts + pull.conflicts,
        }
    }
}

/// The violation for a panic of the engine, or for the panic with which the disk ends a hang.
pub(super) fn violation_of_panic(number: u8, panic: &(dyn Any + Send)) -> Violation {
    if panic.is::<Hang>() {
        return Violation::of(ENDS, format!("client {number} waits forever inside a call"));
    }
    Violation::of(NO_PANIC, format!("client {number}: {}", panic_message(panic)))
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".into())
}
