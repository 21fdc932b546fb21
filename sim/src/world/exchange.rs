//! One request and its response, with the fault that is injected into this exchange, if any.

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use xxhash_rust::xxh3::xxh3_64;

use super::context::StepContext;
use super::network::late::LateRequests;
use super::network::{Answer, Lost};
use super::pilot::Steering;
use super::recorder::Recorder;
use super::server::Server;
use super::trace::{Lane, Verb};
use crate::fault::atlas::{FaultKind, Target};
use crate::fault::{Arrival, CrashKind, Delivery, Fault, NetworkFault, RequestPlace, Route, Wire};
use crate::judge::ledger::Ledger;
use crate::judge::remote_log::LogEnd;
use crate::schedule::Header;

/// One exchange, and everything that it can change.
pub(super) struct Exchange<'a> {
    pub header: &'a Header,
    pub late: &'a mut LateRequests,
    pub server: &'a mut Server,
    pub recorder: &'a mut Recorder,
    pub context: &'a mut StepContext,
    pub steering: &'a Steering,
    pub ledger: &'a Ledger,
    /// The ends of the remote's log that the client has received.
    pub seen_ends: &'a mut Vec<(u64, u64)>,
    pub request: &'a Request<Bytes>,
    /// The request's place in the step. `None` for a route that the protocol does not have.
    pub place: Option<RequestPlace>,
}

/// A request's method and target, as the trace shows them.
pub(super) fn line_of(request: &Request<Bytes>) -> String {
    format!("{} {}", request.method(), request.uri())
}

/// Serves late requests, whose senders have given up.
pub(super) fn deliver(requests: Vec<Request<Bytes>>, server: &mut Server, recorder: &Recorder) {
    for request in requests {
        recorder.record_bytes(Lane::Network, Verb::LateRequest, &line_of(&request), &[], request.body());
        serve_and_drop_response(&request, server, recorder);
    }
}

/// Serves one request whose sender has given up, and drops the response.
pub(super) fn serve_and_drop_response(request: &Request<Bytes>, server: &mut Server, recorder: &Recorder) {
    let response = server.serve(request);
    let status = u64::from(response.status().as_u16());
    recorder.record_bytes(Lane::Remote, Verb::UnreadResponse, &line_of(request), &[status], response.body());
}

impl Exchange<'_> {
    /// Serves the request, or injects the fault that is pending for it. Returns the answer as the client
    /// receives it.
    pub fn run(mut self) -> Result<Answer, Lost> {
        self.context.pending.extend(self.steering.consider_request(self.place));
        let place = self.place;
        let pending = self.context.take_pending(|fault| match fault {
            Fault::Network { at, fault } if Some(*at) == place => Some((*at, fault.clone())),
            _ => None,
        });
        let delivery = match pending {
            None => Some(Delivery::whole(self.serve())),
            Some((at, fault)) => self.inject_with(at, fault),
        };
        deliver(self.late.after_request(), self.server, self.recorder);
        delivery.map(|delivery| self.answer(delivery)).ok_or(Lost)
    }

    fn inject_with(&mut self, at: RequestPlace, fault: NetworkFault) -> Option<Delivery> {
        let mut faulty = FaultyExchange { exchange: self, at, fault: &fault, is_injected: false };
        let delivery = fault.apply(&mut faulty);
        if !faulty.is_injected {
            // The fault could not change this exchange. It counts as not reached, because its place occurs
            // only once.
            self.context.pending.push(Fault::Network { at, fault });
        }
        delivery
    }

    fn serve(&mut self) -> Response<Bytes> {
        let mut response = self.server.serve(self.request);
        let mut end = self.server.remote.end();
        if !self.server.is_wrong()
            && let Some((kept, kept_end)) = self.server.cache.answer(self.request, &response, end)
        {
            // The headers name the server's run.
            if (kept.body(), kept.headers()) != (response.body(), response.headers()) {
                self.note_stale_cache();
            }
            (response, end) = (kept, kept_end);
        }
        self.steering.inform(self.server, self.ledger);
        let status = u64::from(response.status().as_u16());
        self.recorder.record_bytes(
            Lane::Remote,
            Verb::Response,
            &line_of(self.request),
            &[status],
            response.body(),
        );
        self.note_end(&response, end);
        response
    }

    /// Notes that a cache has answered with something that is not true any more.
    fn note_stale_cache(&mut self) {
        let route = self.place.expect("only known routes are cached").route;
        self.context.injected.push(self.recorder.note_injected(FaultKind::StaleCache, Target::Route(route)));
    }

    fn answer(&self, delivery: Delivery) -> Answer {
        let Delivery { mut response, chunk_bytes, cut_after_bytes } = delivery;
        if !self.header.content_length {
            response.headers_mut().remove(header::CONTENT_LENGTH);
        }
        Answer { response, chunk_bytes: chunk_bytes.unwrap_or(self.header.chunk_bytes), cut_after_bytes }
    }

    /// Notes the end of the log that an answer states. Of the answers to a request for frames, only those
    /// without frames state the end.
    fn note_end(&mut self, response: &Response<Bytes>, end: LogEnd) {
        let is_for_frames = self.place.is_some_and(|place| place.route == Route::PullFrames);
        if is_for_frames && response.status() == StatusCode::BAD_REQUEST {
            self.seen_ends.push((end.generation, end.frame_no));
        }
    }
}

/// An exchange into which a fault is injected.
struct FaultyExchange<'a, 'b> {
    exchange: &'a mut Exchange<'b>,
    at: RequestPlace,
    fault: &'a NetworkFault,
    is_injected: bool,
}

impl Wire for FaultyExchange<'_, '_> {
    fn serve(&mut self) -> Response<Bytes> {
        self.exchange.serve()
    }

    fn serve_and_crash(&mut self, operation: u32, kind: &CrashKind) {
        let Exchange { server, request, steering, ledger, .. } = self.exchange;
        server.serve_and_crash(request, operation, kind);
        steering.inform(server, ledger);
    }

    fn serve_stale(&mut self, generations: u64, transactions: usize) -> Option<(Response<Bytes>, [u64; 2])> {
        let Exchange { server, request, .. } = self.exchange;
        let (response, end) = server.serve_stale(request, generations, transactions)?;
        self.exchange.note_end(&response, end);
        Some((response, [end.generation, end.frame_no]))
    }

    fn send_late(&mut self, until: Arrival) {
        self.exchange.late.send(self.exchange.request.clone(), until);
    }

    fn garbage_key(&self) -> u64 {
        let Exchange { header, context, place, .. } = &*self.exchange;
        xxh3_64(format!("{} {} {place:?}", header.key, context.id).as_bytes())
    }

    fn inject(&mut self, numbers: &[u64], body: &[u8]) {
        let Exchange { recorder, context, request, .. } = self.exchange;
        let injected = Fault::Network { at: self.at, fault: self.fault.clone() };
        recorder.record(Lane::Network, Verb::Fault, &injected.to_string(), &[]);
        let kind = FaultKind::Network(self.fault.kind(self.at.route));
        context.injected.push(recorder.note_injected(kind, Target::Route(self.at.route)));
        recorder.record_bytes(Lane::Network, Verb::Injected(kind), &line_of(request), numbers, body);
        self.is_injected = true;
    }
}
