//! The engine's operations: begun, polled to their end, crashed and given up; and what may be said of how they end.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use plimsoll_engine::{Error, PushReport, RebootstrapReason};

use super::World;
use crate::fault::CrashKind;
use crate::fault::Fault;
use crate::fault::atlas::{self, FaultKind, Promise, Row, Target};
use crate::judge::marks::End as StepEnd;
use crate::judge::verdict::{ENDS, NO_PANIC, NO_SURPRISE, Violation};
use crate::schedule::Wait;
use crate::text::error_chain;
use crate::world::client::{Engine, PreparedQueries, Process};
use crate::world::disk::Hang;
use crate::world::trace::Lane;

/// More suspensions than the operations of one step need, those not counted that wait for a chunk of a body: a body in crumbs has as many
/// chunks as bytes, but an end. Of 300 swarm seeds no step took more than 294. A history that goes on up to here ends within
/// a second, so that it can be run as often as shrinking asks for.
pub(super) const SUSPENSIONS_MAX: u32 = 3_000;

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

impl World {
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
    pub(super) fn settle_maybes(&mut self, number: u8) -> Result<(), Violation> {
        if self.checks { self.judge_content(number) } else { Ok(()) }
    }

    /// Runs an operation of the engine's, opening it first if need be. `true` when it succeeded, `false` when a fault struck it.
    /// While another operation of the same engine is under way it has to be refused.
    pub(super) fn operate(
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
                self.decide_after_refusal(number, &engine, &error)?;
                self.end_if_poisoned(number, &engine);
                Ok(false)
            }
        }
    }

    /// Takes note of the disk errors that have struck a client.
    pub(super) fn note_disk_errors(&mut self, number: u8) {
        for (kind, file) in self.client(number).disk.take_struck_errors() {
            self.counts.disk_errors += 1;
            self.strike(FaultKind::from(kind), Target::File(file));
        }
    }

    /// The application does as a poisoned engine says, and opens it anew when it needs it next.
    fn end_if_poisoned(&mut self, number: u8, engine: &Engine) {
        if engine.is_poisoned() {
            self.end_process(number);
        }
    }

    /// Ends a client's process in good order.
    pub(super) fn end_process(&mut self, number: u8) {
        self.client_mut(number).process = None;
        self.ledger.end_process(number);
    }

    /// An error is right only where a fault struck whose row of the atlas allows for it.
    pub(super) fn judge_error(&mut self, what: &str, number: u8, error: &Error) -> Result<(), Violation> {
        self.running().end = StepEnd::Failed;
        self.record(Lane::Application(number), "error", &error_chain(error), &[]);
        let shown = if error.is_retryable() { Promise::Reported } else { Promise::Refused };
        if shown == Promise::Reported {
            self.counts.errors_reported += 1;
        } else {
            self.counts.errors_refused += 1;
        }
        if let Error::HistoryUnsettled { rebootstraps } = error
            && self.times_forgotten_inside() >= *rebootstraps as usize
        {
            return Ok(());
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
            self.judge_damage(number)?;
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

    pub(super) fn poll_to_end<T>(
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
    pub(super) fn suspended(&mut self, number: u8) -> Result<(), Violation> {
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
        for wait in self.running().waits_told() {
            self.interleave(wait)?;
            if !is_up(self) {
                return Ok(());
            }
        }
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
    pub(super) fn abandon(&mut self, number: u8, nth: u32, arrives: bool) {
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
    pub(super) fn bury(&mut self, number: u8, inside: bool) {
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
}

/// Why a push has replaced Synced, in itself or in the pull that followed.
pub(super) fn rebootstrap_of(push: &PushReport) -> Option<RebootstrapReason> {
    push.rebootstrapped.or(push.pull.as_ref().and_then(|pull| pull.rebootstrapped))
}

/// A panic of the engine's, or the end that its disk has put to a hang.
pub(super) fn violation_of_panic(number: u8, panic: &(dyn Any + Send)) -> Violation {
    if panic.is::<Hang>() {
        return Violation::of(ENDS, format!("client {number} waits for ever inside a call"));
    }
    Violation::of(NO_PANIC, format!("client {number}: {}", panic_message(panic)))
}

pub(super) fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".into())
}
