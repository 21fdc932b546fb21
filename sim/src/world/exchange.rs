//! The network in the world: what becomes of a request, and of its answer.

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use xxhash_rust::xxh3::xxh3_64;

use super::World;
use crate::fault::Fault;
use crate::fault::atlas::{FaultKind, Target};
use crate::fault::{Arrival, NetworkFault, RequestPlace, Route};
use crate::fault::{garbage, wrong_status};
use crate::judge::history::End;
use crate::lock::lock;
use crate::world::network::{Answer, Lost};
use crate::world::trace::Lane;

/// A request that nobody waits for any more and that has not arrived yet.
pub(super) struct Late {
    request: Request<Bytes>,
    due: Due,
}

/// When a late request arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    AfterRequests(u32),
    AtStep(u32),
    AfterSteps(u32),
}

/// One request on its way, and its place in the step.
struct Sent<'a> {
    request: &'a Request<Bytes>,
    path: String,
    place: Option<RequestPlace>,
    client: u8,
}

impl World {
    /// Takes note of a request that was sent; its place in the running step.
    pub(super) fn note_request(&mut self, number: u8, request: &Request<Bytes>) -> Option<RequestPlace> {
        self.counts.requests += 1;
        let path = format!("{} {}", request.method(), request.uri());
        self.record_bytes(Lane::Network, "request", &path, &[u64::from(number)], request.body());
        Route::of(request).map(|route| {
            let requests = &mut self.running().requests;
            requests.push(route);
            let nth = requests.iter().filter(|earlier| **earlier == route).count() as u32;
            RequestPlace { route, nth }
        })
    }

    /// The last request that was noted in the running step.
    pub(super) fn last_request(&mut self) -> Option<RequestPlace> {
        let requests = &self.running().requests;
        let route = *requests.last()?;
        let nth = requests.iter().filter(|earlier| **earlier == route).count() as u32;
        Some(RequestPlace { route, nth })
    }

    /// Decides the fate of one request of client `number` and lets the remote serve it.
    pub(super) fn exchange(
        &mut self,
        number: u8,
        request: &Request<Bytes>,
        place: Option<RequestPlace>,
    ) -> Result<Answer, Lost> {
        let path = format!("{} {}", request.method(), request.uri());
        let considered = match (&self.pilot, place) {
            (Some(pilot), Some(place)) => lock(pilot).consider_request(place),
            _ => None,
        };
        self.running().pending.extend(considered);
        let fault = self.take_pending(|fault| match fault {
            Fault::Network { at, fault } if Some(*at) == place => Some(fault.clone()),
            _ => None,
        });
        let sent = Sent { request, path, place, client: number };
        let answer = match fault {
            None => {
                let response = self.serve(&sent);
                Ok(self.whole(response))
            }
            Some(fault) => self.exchange_struck(&sent, fault),
        };
        self.deliver_due(|due| match due {
            Due::AfterRequests(requests) => {
                *requests = requests.saturating_sub(1);
                *requests == 0
            }
            Due::AtStep(_) | Due::AfterSteps(_) => false,
        });
        answer
    }

    fn exchange_struck(&mut self, sent: &Sent<'_>, fault: NetworkFault) -> Result<Answer, Lost> {
        match fault {
            NetworkFault::LoseRequest => {
                self.counts.requests_lost += 1;
                Err(self.lose(sent, &fault, "request lost"))
            }
            NetworkFault::LoseResponse => {
                self.serve(sent);
                self.counts.responses_lost += 1;
                Err(self.lose(sent, &fault, "response lost"))
            }
            NetworkFault::RemoteCrash { operation, ref kind } => {
                self.serve_and_crash(sent.request, operation, kind);
                Err(self.lose(sent, &fault, "remote down"))
            }
            NetworkFault::Delay { until } => {
                self.send_late(sent, until);
                Err(self.lose(sent, &fault, "request delayed"))
            }
            NetworkFault::Duplicate { until } => {
                self.strike_message(sent, &fault);
                self.record(Lane::Network, "request duplicated", &sent.path, &[]);
                let first = self.serve(sent);
                if until == Arrival::AtOnce {
                    let second = self.serve(sent);
                    return Ok(self.whole(second));
                }
                self.send_late(sent, until);
                Ok(self.whole(first))
            }
            NetworkFault::Stale { generations, transactions } => {
                Ok(self.answer_stale(sent, &fault, generations, transactions))
            }
            NetworkFault::WrongStatus { code, takes_effect } => {
                if takes_effect {
                    self.serve(sent);
                }
                self.strike_message(sent, &fault);
                self.record(Lane::Network, "wrong status", &sent.path, &[code.into()]);
                Ok(self.whole(wrong_status(code)))
            }
            NetworkFault::Cut { .. }
            | NetworkFault::EndEarly { .. }
            | NetworkFault::Chunks { .. }
            | NetworkFault::Garbage { .. }
            | NetworkFault::Contradict(_) => {
                let response = self.serve(sent);
                Ok(self.spoil(sent, response, fault))
            }
        }
    }

    fn strike_message(&mut self, sent: &Sent<'_>, fault: &NetworkFault) {
        let place = sent.place.expect("a fault was found by its place");
        let struck = Fault::Network { at: place, fault: fault.clone() };
        self.record(Lane::Network, "fault", &struck.to_string(), &[]);
        self.strike(FaultKind::of_message(fault, place.route), Target::Route(place.route));
    }

    /// Nobody gets an answer.
    fn lose(&mut self, sent: &Sent<'_>, fault: &NetworkFault, verb: &'static str) -> Lost {
        self.strike_message(sent, fault);
        self.record(Lane::Network, verb, &sent.path, &[]);
        Lost
    }

    /// What a fault makes of an answer that was given.
    fn spoil(&mut self, sent: &Sent<'_>, response: Response<Bytes>, fault: NetworkFault) -> Answer {
        let mut answer = self.whole(response);
        let body_bytes = answer.response.body().len();
        let verb = match &fault {
            NetworkFault::Cut { bytes } => {
                answer.cut_after_bytes = Some(body_bytes.min(*bytes as usize));
                "connection cut"
            }
            NetworkFault::EndEarly { bytes } if (*bytes as usize) < body_bytes => {
                answer.response.body_mut().truncate(*bytes as usize);
                "body ended early"
            }
            NetworkFault::Chunks { bytes } => {
                answer.chunk_bytes = *bytes as usize;
                "body in crumbs"
            }
            NetworkFault::Garbage { bytes } => {
                let name = format!("{} {} {:?}", self.header.key, self.running_id(), sent.place);
                *answer.response.body_mut() = garbage(xxh3_64(name.as_bytes()), *bytes);
                announce_length(&mut answer.response);
                "garbage"
            }
            NetworkFault::Contradict(how) => match how.distort(answer.response.body()) {
                Some(body) => {
                    *answer.response.body_mut() = body;
                    announce_length(&mut answer.response);
                    "untrue answer"
                }
                None => return self.not_struck(sent, fault, answer),
            },
            _ => return self.not_struck(sent, fault, answer),
        };
        self.strike_message(sent, &fault);
        let numbers = [answer.response.body().len() as u64, answer.cut_after_bytes.unwrap_or(0) as u64];
        self.record_bytes(Lane::Network, verb, &sent.path, &numbers, answer.response.body());
        answer
    }

    /// The fault turns out to have no place here.
    fn not_struck(&mut self, sent: &Sent<'_>, fault: NetworkFault, answer: Answer) -> Answer {
        let at = sent.place.expect("a fault was found by its place");
        // It is counted with those that were never reached. Its place does not come a second time.
        self.running().pending.push(Fault::Network { at, fault });
        answer
    }

    fn answer_stale(
        &mut self,
        sent: &Sent<'_>,
        fault: &NetworkFault,
        generations: u64,
        transactions: usize,
    ) -> Answer {
        let end = self.remote.history().past_end(generations, transactions).max(self.schema_end);
        let stale = self.remote.serve_as_of(sent.request, end).filter(|_| end != self.remote.end());
        let Some(response) = stale else {
            let response = self.serve(sent);
            let answer = self.whole(response);
            return self.not_struck(sent, fault.clone(), answer);
        };
        self.strike_message(sent, fault);
        self.note_end(sent, &response, end);
        let numbers = [end.generation, end.frame_no];
        self.record_bytes(Lane::Network, "stale answer", &sent.path, &numbers, response.body());
        self.whole(response)
    }

    /// The remote serves it, once.
    fn serve(&mut self, sent: &Sent<'_>) -> Response<Bytes> {
        let response = self.remote.serve(sent.request);
        self.inform_pilot();
        let status = u64::from(response.status().as_u16());
        self.record_bytes(Lane::Remote, "response", &sent.path, &[status], response.body());
        self.note_end(sent, &response, self.remote.end());
        response
    }

    /// Only an answer that has no frames to give says where the history ends.
    fn note_end(&mut self, sent: &Sent<'_>, response: &Response<Bytes>, end: End) {
        let is_for_frames = matches!(sent.place, Some(RequestPlace { route: Route::PullFrames, .. }));
        if is_for_frames && response.status() == StatusCode::BAD_REQUEST {
            self.client_mut(sent.client).seen_ends.push((end.generation, end.frame_no));
        }
    }

    /// An answer that arrives as it was given.
    fn whole(&self, mut response: Response<Bytes>) -> Answer {
        if !self.header.content_length {
            response.headers_mut().remove(header::CONTENT_LENGTH);
        }
        Answer { response, chunk_bytes: self.header.chunk_bytes, cut_after_bytes: None }
    }

    /// A request whose sender has given it up arrives.
    pub(super) fn serve_to_nobody(&mut self, request: &Request<Bytes>) {
        let path = format!("{} {}", request.method(), request.uri());
        let response = self.remote.serve(request);
        let status = u64::from(response.status().as_u16());
        self.record_bytes(Lane::Remote, "response to nobody", &path, &[status], response.body());
    }

    // --- late requests -----------------------------------------------------------------------------------------------

    fn send_late(&mut self, sent: &Sent<'_>, until: Arrival) {
        let due = match until {
            Arrival::AtOnce => Due::AfterRequests(1),
            // The request that is on its way now is counted when it is over.
            Arrival::AfterRequests(requests) => Due::AfterRequests(requests.saturating_add(1)),
            Arrival::AtStep(step) => Due::AtStep(step),
            // This step's end and the next one's.
            Arrival::AfterNextStep => Due::AfterSteps(2),
        };
        self.late.push(Late { request: sent.request.clone(), due });
    }

    pub(super) fn deliver_at_step(&mut self, id: u32) {
        self.deliver_due(|due| *due == Due::AtStep(id));
    }

    pub(super) fn deliver_at_end_of_step(&mut self) {
        self.deliver_due(|due| match due {
            Due::AfterSteps(steps) => {
                *steps = steps.saturating_sub(1);
                *steps == 0
            }
            Due::AfterRequests(_) | Due::AtStep(_) => false,
        });
    }

    pub(super) fn deliver_all(&mut self) {
        self.deliver_due(|_| true);
    }

    /// Lets what is due arrive, in the order in which it was sent; nobody waits for the answers.
    fn deliver_due(&mut self, mut is_due: impl FnMut(&mut Due) -> bool) {
        let waiting = std::mem::take(&mut self.late);
        for mut late in waiting {
            if !is_due(&mut late.due) {
                self.late.push(late);
                continue;
            }
            let path = format!("{} {}", late.request.method(), late.request.uri());
            self.record_bytes(Lane::Network, "late request", &path, &[], late.request.body());
            self.serve_to_nobody(&late.request);
        }
    }
}

fn announce_length(response: &mut Response<Bytes>) {
    let length = response.body().len();
    if let Some(announced) = response.headers_mut().get_mut(header::CONTENT_LENGTH) {
        *announced = length.into();
    }
}
