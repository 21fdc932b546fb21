//! The engine's operations: opened, driven to their end, judged.

use plimsoll_engine::events::EventName;
use std::any::Any;
use std::future::Future;
use std::sync::Arc;

use plimsoll_engine::{Error, PushReport, RebootstrapReason};

use super::World;
use super::client::{Engine, PreparedQueries, Process};
use super::context::{OperationLog, StepContext};
use super::disk::Hang;
use super::trace::Lane;
use crate::fault::CrashKind;
use crate::fault::atlas::{FaultKind, Target};
use crate::judge::marks::{CrashSite, StepEnd};
use crate::judge::verdict::{ENDS, NO_PANIC, NO_SURPRISE, Violation};

/// How an operation that was driven to its end has ended.
pub enum Driven<T> {
    /// The process lives and has its result.
    Done(T),
    /// The process lives and has given the operation up.
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

    /// Whether it fails while an application holds the write lock of the client's database. A push that wants to shorten the change log
    /// postpones that.
    fn needs_write_lock(self) -> bool {
        self != Self::Push
    }
}

impl World {
    /// Makes sure that the client's process runs. `false` when the machine went down, or a fault kept it from opening.
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
                Ok(Process { engine: Arc::new(engine), connection, prepared, held: None, reader: None })
            }
        };
        let written_before = client.disk.totals().bytes_written;
        let is_beginning = client.claims().is_none_or(|claims| claims.is_beginning());
        let driven = self.drive(number, Operation::Open, context, opening)?;
        if !is_beginning {
            self.judge_exports(number, false, context)?;
        }
        match driven {
            Driven::Crashed | Driven::Abandoned => Ok(false),
            Driven::Done(Ok(process)) => {
                let client = &mut self.clients[number];
                client.process = Some(process);
                client.is_recovering = false;
                // What a restarted client shows settles what had been interrupted.
                if self.referee.is_judging() {
                    self.referee.judge_content(client, &self.server)?;
                }
                Ok(true)
            }
            Driven::Done(Err(error)) => {
                self.judge_error(number, "open", &error, context)?;
                self.decide_after_refused_open(number, &error, written_before)?;
                Ok(false)
            }
        }
    }

    /// Runs an operation of the engine, opening it first if need be. `true` when it succeeded, `false` when a fault struck it. While
    /// another operation of the same engine is under way, the engine has to refuse it.
    pub(super) fn operate(
        &mut self,
        number: u8,
        kind: Operation,
        context: &mut StepContext,
        operation: impl AsyncFnOnce(&Engine) -> Result<Option<RebootstrapReason>, Error>,
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
        let expected = if self.referee.is_judging() {
            self.referee.expects_rebootstrap(client, &self.server, &self.header)?
        } else {
            true
        };
        // After a re-bootstrap a push rebases too.
        let is_detached = self.clients[number].claims().is_some_and(|claims| claims.is_detached());
        let needs_write_lock = kind.needs_write_lock() || expected || is_detached;
        let epoch_before = self.server.history().epoch();
        let driven = self.drive(number, kind, context, async { operation(&engine).await })?;
        self.judge_exports(number, expected || context.times_remote_forgot() > 0, context)?;
        let needs_write_lock = needs_write_lock || last_log(context).has_heard(EventName::RebootstrapBegins);
        match driven {
            Driven::Crashed | Driven::Abandoned => Ok(false),
            Driven::Done(Ok(reason)) => {
                // The client knows everything that had happened to the remote before.
                self.clients[number].followed_epoch = epoch_before;
                self.accept_reported_rebootstrap(number, reason, context).map(|()| true)
            }
            Driven::Done(Err(Error::Busy { .. }))
                if needs_write_lock && self.clients[number].holds_open() =>
            {
                self.recorder.counts.busy += 1;
                context.end = StepEnd::Busy;
                Ok(false)
            }
            Driven::Done(Err(error)) => {
                self.judge_error(number, "operation", &error, context)?;
                self.decide_after_refusal(number, &engine, &error, context)?;
                // The application does as a poisoned engine says, and opens it again when it needs it next.
                if engine.is_poisoned() {
                    self.end_process(number);
                }
                Ok(false)
            }
        }
    }

    /// Runs a second operation while one is under way. Files that an operation is changing are not looked at.
    fn operate_second(
        &mut self,
        number: u8,
        kind: Operation,
        context: &mut StepContext,
        operation: impl Future<Output = Result<Option<RebootstrapReason>, Error>>,
    ) -> Result<bool, Violation> {
        match self.drive(number, kind, context, operation)? {
            Driven::Crashed | Driven::Abandoned => Ok(false),
            Driven::Done(Err(Error::OperationInProgress)) => {
                self.recorder.counts.second_operations += 1;
                Ok(false)
            }
            Driven::Done(_) => {
                let message = format!("client {number} was let into a second operation at the same time");
                Err(Violation::of(NO_SURPRISE, message))
            }
        }
    }

    /// Drives a future of the engine to its end, serving what it waits for.
    ///
    /// # Errors
    /// A panic, an operation without end, or an invariant that a step inside it broke.
    pub(super) fn drive<T>(
        &mut self,
        number: u8,
        kind: Operation,
        context: &mut StepContext,
        future: impl Future<Output = T>,
    ) -> Result<Driven<T>, Violation> {
        self.record(Lane::Application(number), "begin", kind.name(), &[]);
        let crashes = self.clients[number].crashes;
        let is_second = context.is_operating(number);
        if !is_second {
            context.operating = Some(number);
        }
        context
            .operations
            .push(OperationLog { is_opening: kind == Operation::Open, ..OperationLog::default() });
        let driven = self.poll_to_end(number, crashes, context, future)?;
        self.note_disk_errors(number, context);
        if !is_second {
            self.referee.judge_damage(&self.clients[number], last_log(context))?;
            context.operating = None;
        }
        let verb = match driven {
            Driven::Done(_) => "end",
            Driven::Abandoned => "given up",
            Driven::Crashed => "cut off",
        };
        self.record(Lane::Application(number), verb, kind.name(), &[]);
        if matches!(driven, Driven::Crashed) {
            self.recorder.counts.crashes_inside += 1;
            // A step inside the operation may have reaped it already.
            if self.clients[number].crashes == crashes {
                self.reap(number, true, context);
            }
        }
        Ok(driven)
    }

    fn judge_exports(&mut self, number: u8, expected: bool, context: &StepContext) -> Result<(), Violation> {
        self.referee.judge_exports(number, last_log(context), expected, context, &mut self.recorder)
    }

    /// An operation may fail only where a fault struck whose row of the atlas allows for it.
    pub(super) fn judge_error(
        &mut self,
        number: u8,
        what: &str,
        error: &Error,
        context: &mut StepContext,
    ) -> Result<(), Violation> {
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
            self.record(Lane::Client(number), "re-bootstrap", &format!("{reason:?}"), &[]);
            self.clients[number].external_damage.retain(|damage| !damage.is_of_replica());
        }
        Ok(())
    }

    /// Counts the disk errors that have struck a client.
    pub(super) fn note_disk_errors(&mut self, number: u8, context: &mut StepContext) {
        for (kind, file) in self.clients[number].disk.take_injected_errors() {
            self.recorder.counts.disk_errors += 1;
            self.inject(FaultKind::from(kind), Target::File(file), context);
        }
    }

    /// Ends a client's process in good order.
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

    /// Drops the process of a machine that went down, and starts the machine again from what survived on its disk. `inside` says whether
    /// an operation or a transaction was under way.
    pub(super) fn reap(&mut self, number: u8, inside: bool, context: &mut StepContext) {
        self.end_process(number);
        let client = &mut self.clients[number];
        client.crashes += 1;
        let report = client.disk.take_crash().expect("a machine that is reaped has crashed");
        client.disk.restart();
        // An abandoned request must not be served to the next process.
        drop(client.mailbox.take_request());
        let (is_opening, heard) = match context.operation() {
            Some(log) => (log.is_opening, &log.heard[..]),
            None => (false, &[][..]),
        };
        // The zombie went on reporting to its next suspension.
        let late = heard.iter().rev().take_while(|heard| heard.event_count > report.event_count).count();
        let site = CrashSite {
            is_opening,
            is_recovery: client.is_recovering && is_opening,
            heard: &heard[..heard.len() - late],
            operation: report.place.map(|place| (place.file, place.operation)),
        };
        client.is_recovering = true;
        // Files without a role are none of the engine's; only a crash strikes there.
        let target = match report.place {
            Some(place) => Target::File(place.file),
            None if inside => Target::Suspension,
            None => Target::Between,
        };
        let kind = FaultKind::from(&report.kind);
        let windows = self.recorder.note_crash(context.id, report, &site);
        context.windows.extend(windows);
        context.end = StepEnd::Crashed;
        self.inject(kind, target, context);
    }
}

/// The log of the operation that was driven last.
fn last_log(context: &StepContext) -> &OperationLog {
    context.operation().expect("an operation was driven in this step")
}

/// Why a push has replaced Synced, in itself or in the pull that followed.
pub(super) fn rebootstrap_of(push: &PushReport) -> Option<RebootstrapReason> {
    push.rebootstrapped.or(push.pull.as_ref().and_then(|pull| pull.rebootstrapped))
}

/// A panic of the engine, or of the disk that ends a hang.
pub(super) fn violation_of_panic(number: u8, panic: &(dyn Any + Send)) -> Violation {
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
