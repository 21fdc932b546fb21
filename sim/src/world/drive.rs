//! Polls one future of the engine, and handles each of its suspensions: crashes, abandonment, steps that run
//! inside, and requests.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::Request;

use super::World;
use super::context::StepContext;
use super::exchange::{Exchange, line_of, serve_and_drop_response};
use super::network::{Answer, Lost};
use super::operations::{Driven, violation_of_panic};
use super::trace::{Lane, Verb};
use crate::fault::NetworkFaultKind;
use crate::fault::atlas::{FaultKind, Target};
use crate::fault::{Fault, RequestPlace, Route};
use crate::judge::format::PAGE_BYTES;
use crate::judge::verdict::{ENDS, Violation};
use crate::schedule::workload::Write;
use crate::schedule::{Action, Alternation, Step, Wait};

/// The maximum number of suspensions in one step. Suspensions that wait for a chunk of a body do not count: a
/// body in tiny chunks has as many chunks as bytes, but it ends. Among 300 swarm seeds, no step suspended
/// more than 294 times. A history that exceeds the maximum ends within a second, so the shrinker can run it
/// as often as it needs.
pub(super) const SUSPENSIONS_MAX: u32 = 3_000;

/// The maximum number of suspensions in one step of a history with these steps: more if its transactions have large
/// rows, because with the smallest batches each of their pages needs a request of its own.
pub(super) fn suspensions_max(steps: &[Step]) -> u32 {
    /// Per page: it may be fetched again after each failure in the step, and pushed as well.
    const SUSPENSIONS_PER_PAGE: u64 = 8;
    let payload = |write: &Write| match write {
        Write::Append { payload_bytes } => u64::from(*payload_bytes),
        _ => 0,
    };
    let bytes: u64 = steps
        .iter()
        .flat_map(Step::all)
        .map(|step| match &step.action {
            Action::Transaction { writes, .. } | Action::RemoteTransaction { writes } => {
                writes.iter().map(payload).sum()
            }
            Action::Program { sql, .. } | Action::RemoteProgram { sql } => {
                sql.iter().map(|statement| statement.len() as u64).sum()
            }
            _ => 0,
        })
        .sum();
    let pages = bytes / PAGE_BYTES as u64;
    SUSPENSIONS_MAX.saturating_add(u32::try_from(pages * SUSPENSIONS_PER_PAGE).unwrap_or(u32::MAX))
}

/// Whether the application keeps waiting for a suspended operation.
#[derive(PartialEq, Eq)]
enum Patience {
    Waits,
    GivesUp,
}

impl World {
    pub(super) fn poll_to_end<T>(
        &mut self,
        number: u8,
        crashes_before: u32,
        context: &mut StepContext,
        future: impl Future<Output = T>,
    ) -> Result<Driven<T>, Violation> {
        let disk = self.clients[number].disk.clone();
        let mut task = Context::from_waker(Waker::noop());
        let mut future = pin!(future);
        loop {
            let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(&mut task)));
            context.add_events(self.recorder.collect_events(number));
            if disk.is_down() {
                return Ok(Driven::Crashed);
            }
            let patience = match polled {
                Err(panic) => return Err(violation_of_panic(number, &*panic)),
                Ok(Poll::Ready(value)) => return Ok(Driven::Done(value)),
                Ok(Poll::Pending) => self.handle_suspension(number, context)?,
            };
            if !self.is_up(number, crashes_before) {
                return Ok(Driven::Crashed);
            }
            if patience == Patience::GivesUp {
                return Ok(Driven::Abandoned);
            }
        }
    }

    /// Whether the client's machine is up and has not crashed since the caller counted `crashes_before`
    /// crashes.
    fn is_up(&self, number: u8, crashes_before: u32) -> bool {
        let client = &self.clients[number];
        client.crashes == crashes_before && !client.disk.is_down()
    }

    /// Handles a suspension of the engine: injects the fault that is due here, or runs other steps and serves
    /// the request.
    fn handle_suspension(&mut self, number: u8, context: &mut StepContext) -> Result<Patience, Violation> {
        let nth = self.count_suspension(number, context)?;
        self.referee.sample_image_if_due(&self.clients[number], &self.server, Some(nth));
        let crash = context.take_pending(|fault| match fault {
            Fault::CrashSuspended { nth: due, kind } if *due == nth => Some((fault.clone(), kind.clone())),
            _ => None,
        });
        if let Some((fault, kind)) = crash {
            self.record(Lane::Application(number), Verb::Fault, &fault.to_string(), &[]);
            self.clients[number].disk.crash_now(&kind);
            return Ok(Patience::Waits);
        }
        let abandoned = context.take_pending(|fault| match fault {
            Fault::Abandon { nth: due, arrives } if *due == nth => Some((fault.clone(), *arrives)),
            _ => None,
        });
        if let Some((fault, arrives)) = abandoned {
            self.record(Lane::Application(number), Verb::Fault, &fault.to_string(), &[]);
            self.abandon(number, arrives, context);
            return Ok(Patience::GivesUp);
        }
        self.let_others_run(number, nth, context)?;
        Ok(Patience::Waits)
    }

    fn count_suspension(&mut self, number: u8, context: &mut StepContext) -> Result<u32, Violation> {
        context.suspensions += 1;
        let awaits_chunk = self.clients[number].mailbox.awaited_chunk().is_some();
        context.suspensions_counted += u32::from(!awaits_chunk);
        let suspensions_max = self.suspensions_max;
        if context.suspensions_counted > suspensions_max {
            let message = format!("client {number} suspended more than {suspensions_max} times in one step");
            return Err(Violation::of(ENDS, message));
        }
        Ok(context.suspensions)
    }

    /// Lets the application drop the suspended operation. If the operation has sent a request and `arrives`
    /// is set, the remote still serves the request.
    fn abandon(&mut self, number: u8, arrives: bool, context: &mut StepContext) {
        self.note_injected(FaultKind::Abandon, Target::Suspension, context);
        let request = self.clients[number].mailbox.take_request();
        if let Some(request) = request.filter(|_| arrives) {
            serve_and_drop_response(&request, &mut self.server, &self.recorder);
            self.inform_pilot();
        }
    }

    /// Runs the steps that are due at this suspension. Then serves the request that the engine has sent, or
    /// runs the steps that are due before the chunk that the engine waits for. Returns early if the client's
    /// machine crashes.
    fn let_others_run(&mut self, number: u8, nth: u32, context: &mut StepContext) -> Result<(), Violation> {
        let crashes_before = self.clients[number].crashes;
        for moment in context.take_moments_reached() {
            self.interleave(moment, context)?;
            if !self.is_up(number, crashes_before) {
                return Ok(());
            }
        }
        self.interleave(Wait::Suspension { nth }, context)?;
        if !self.is_up(number, crashes_before) {
            return Ok(());
        }
        if let Some(request) = self.clients[number].mailbox.take_request() {
            self.serve(number, &request, crashes_before, context)
        } else if let Some(nth) = self.clients[number].mailbox.awaited_chunk() {
            self.await_chunk(number, nth, crashes_before, context)
        } else {
            Ok(())
        }
    }

    /// Serves a request of the engine. Other steps may run before the request arrives, and before its answer
    /// arrives.
    fn serve(
        &mut self,
        number: u8,
        request: &Request<Bytes>,
        crashes_before: u32,
        context: &mut StepContext,
    ) -> Result<(), Violation> {
        self.recorder.counts.requests += 1;
        let (lane, numbers) = (Lane::Network, [u64::from(number)]);
        self.recorder.record_bytes(lane, Verb::Request, &line_of(request), &numbers, request.body());
        let place = Route::of(request).map(|route| context.add_request(route));
        self.interleave_at(place, Wait::Request, context)?;
        if !self.is_up(number, crashes_before) {
            return Ok(());
        }
        self.alternate(Alternation::Requests)?;
        let answer = self.exchange(number, request, place, context);
        let remote_crashes = self.server.crashes();
        self.interleave_at(place, Wait::Response, context)?;
        if !self.is_up(number, crashes_before) {
            return Ok(());
        }
        let answer = match (answer, place) {
            // The remote's machine crashed while the answer was in transit.
            (Ok(_), Some(place)) if self.server.crashes() != remote_crashes => {
                self.note_injected(
                    FaultKind::Network(NetworkFaultKind::RemoteCrash),
                    Target::Route(place.route),
                    context,
                );
                Err(Lost)
            }
            (answer, _) => answer,
        };
        self.clients[number].mailbox.answer(answer);
        Ok(())
    }

    fn exchange(
        &mut self,
        number: u8,
        request: &Request<Bytes>,
        place: Option<RequestPlace>,
        context: &mut StepContext,
    ) -> Result<Answer, Lost> {
        let exchange = Exchange {
            header: &self.header,
            late: &mut self.late,
            server: &mut self.server,
            recorder: &mut self.recorder,
            context,
            steering: &self.steering,
            ledger: &self.referee.ledger,
            seen_ends: &mut self.clients[number].seen_ends,
            request,
            place,
        };
        exchange.run()
    }

    /// Runs the steps that are due before a chunk of a body arrives. If the remote's machine crashes during
    /// one of these steps, the chunk never arrives.
    fn await_chunk(
        &mut self,
        number: u8,
        nth: u32,
        crashes_before: u32,
        context: &mut StepContext,
    ) -> Result<(), Violation> {
        let place = context.last_request();
        let remote_crashes = self.server.crashes();
        self.interleave_at(place, |of| Wait::Chunk { of, nth }, context)?;
        if let Some(place) = place
            && self.is_up(number, crashes_before)
            && self.server.crashes() != remote_crashes
        {
            self.note_injected(
                FaultKind::Network(NetworkFaultKind::RemoteCrash),
                Target::Route(place.route),
                context,
            );
            self.clients[number].mailbox.cut_body();
        }
        Ok(())
    }
}
