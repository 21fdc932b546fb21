//! What happens to one request or to its response: plain data, and how each fault interferes with an exchange.
//!
//! The promises stand in the [`atlas`](super::atlas). Absent: a body of well-formed frames that are not the remote's.

use std::fmt;

use arbitrary::Arbitrary;
use bytes::Bytes;
use http::{Response, StatusCode, header};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{Contradiction, CrashKind, Ordinal, RequestPlace, Route};

/// Bytes of a frame on the wire: a header of 24 bytes and a page of 4,096.
const FRAME_BYTES: usize = 24 + 4096;

/// What becomes of one request or of the answer to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Arbitrary)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum NetworkFault {
    /// The request never reaches the remote.
    LoseRequest,
    /// The request takes effect, its answer never reaches the client.
    LoseResponse,
    /// The remote's machine goes down while it serves the request, and is started again; there is no answer.
    RemoteCrash {
        /// Before the how-manieth file operation for this request that changes something, from 1; if it makes fewer, once all
        /// is done.
        operation: u32,
        /// How it goes down.
        kind: CrashKind,
    },
    /// The client is told that the connection was lost; the request arrives later.
    Delay {
        /// When.
        until: Arrival,
    },
    /// The request arrives twice. When the second arrives at once, its answer is what the client gets, as from a proxy that tries again;
    /// else nobody waits for it.
    Duplicate {
        /// When the second arrives.
        until: Arrival,
    },
    /// The connection is lost once so many bytes of the body have arrived.
    Cut {
        /// How many; more than there are means all of them, but not their end.
        bytes: u32,
    },
    /// The body ends in good order after so many bytes.
    EndEarly {
        /// How many; a body that is not longer is not struck.
        bytes: u32,
    },
    /// The body arrives in chunks of so few bytes.
    Chunks {
        /// Bytes of a chunk.
        bytes: u32,
    },
    /// The body is replaced by bytes that mean nothing.
    Garbage {
        /// How many; never a multiple of a frame's.
        bytes: u32,
    },
    /// The answer is an error that the protocol does not give for the request.
    WrongStatus {
        /// The HTTP status.
        code: u16,
        /// Whether the request takes effect all the same.
        takes_effect: bool,
    },
    /// The answer's status object, or `/info`'s, is not true. Other answers are not struck.
    Contradict(Contradiction),
    /// The answer is what the remote would have said earlier. Requests that write, and a remote without a past, are not struck.
    Stale {
        /// So many generations ago, at the end of that one.
        generations: u64,
        /// If no generations ago: so many transactions ago.
        transactions: usize,
    },
}

/// A sort of network fault, as the atlas knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum NetworkFaultKind {
    /// A request never reaches the remote.
    LoseRequest,
    /// A request takes effect, its response never arrives.
    LoseResponse,
    /// The remote's machine goes down, and what it was answering is lost.
    RemoteCrash,
    /// A request arrives when its sender has given up.
    Delay,
    /// A request arrives twice.
    Duplicate,
    /// The connection is lost inside a body.
    Cut,
    /// A body ends in good order before it is complete.
    EndEarly,
    /// A body arrives in tiny chunks.
    TinyChunks,
    /// A body means nothing.
    Garbage,
    /// An answer has a status that the protocol does not give, and that may be another the next time.
    WrongStatus,
    /// An answer has a status that says that the request itself is wrong.
    BlamingStatus,
    /// An answer contradicts the state of the remote.
    UntrueAnswer,
    /// An answer is what the remote would have said earlier.
    StaleAnswer,
}

impl NetworkFaultKind {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::LoseRequest,
        Self::LoseResponse,
        Self::RemoteCrash,
        Self::Delay,
        Self::Duplicate,
        Self::Cut,
        Self::EndEarly,
        Self::TinyChunks,
        Self::Garbage,
        Self::WrongStatus,
        Self::BlamingStatus,
        Self::UntrueAnswer,
        Self::StaleAnswer,
    ];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::LoseRequest => "lose-request",
            Self::LoseResponse => "lose-response",
            Self::RemoteCrash => "remote-crash",
            Self::Delay => "delay",
            Self::Duplicate => "duplicate",
            Self::Cut => "cut",
            Self::EndEarly => "end-early",
            Self::TinyChunks => "tiny-chunks",
            Self::Garbage => "garbage",
            Self::WrongStatus => "wrong-status",
            Self::BlamingStatus => "blaming-status",
            Self::UntrueAnswer => "untrue-answer",
            Self::StaleAnswer => "stale-answer",
        }
    }
}

impl NetworkFault {
    /// Its sort when it strikes a request of this route.
    pub fn kind(&self, route: Route) -> NetworkFaultKind {
        use NetworkFaultKind as Kind;
        match self {
            Self::LoseRequest => Kind::LoseRequest,
            Self::LoseResponse => Kind::LoseResponse,
            Self::RemoteCrash { .. } => Kind::RemoteCrash,
            Self::Delay { .. } => Kind::Delay,
            Self::Duplicate { .. } => Kind::Duplicate,
            Self::Cut { .. } => Kind::Cut,
            Self::EndEarly { .. } => Kind::EndEarly,
            Self::Chunks { .. } => Kind::TinyChunks,
            Self::Garbage { .. } => Kind::Garbage,
            // The protocol has 400 there: it is the body that is wrong.
            Self::WrongStatus { code: 400, .. } if matches!(route, Route::PullFrames | Route::PushFrames) => {
                Kind::WrongStatus
            }
            Self::WrongStatus { code: 404 | 408 | 410 | 425 | 429, .. } => Kind::WrongStatus,
            Self::WrongStatus { code: 400..=499, .. } => Kind::BlamingStatus,
            Self::WrongStatus { .. } => Kind::WrongStatus,
            Self::Contradict(_) => Kind::UntrueAnswer,
            Self::Stale { .. } => Kind::StaleAnswer,
        }
    }
}

/// When a message that is under way arrives. Whatever has not arrived by then does when the faults end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Arbitrary)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Arrival {
    /// At once.
    AtOnce,
    /// When so many further requests, of whichever client, have been served.
    AfterRequests(u32),
    /// When the step of this id begins.
    AtStep(u32),
    /// When the step after this one has ended.
    AfterNextStep,
}

/// What a fault can do with one request and its answer.
pub trait Wire {
    /// Lets the remote serve the request.
    fn serve(&mut self) -> Response<Bytes>;

    /// Takes the remote's machine down before its `operation`-th file operation for the request, and starts it again.
    fn serve_and_crash(&mut self, operation: u32, kind: &CrashKind);

    /// The answer of an earlier moment, and the generation and frame at which the remote's history ended then; `None` if there is none.
    fn serve_stale(&mut self, generations: u64, transactions: usize) -> Option<(Response<Bytes>, [u64; 2])>;

    /// Lets the request arrive later.
    fn send_late(&mut self, until: Arrival);

    /// A key that is the same whenever this request is sent in this step of this history.
    fn garbage_key(&self) -> u64;

    /// Reports that the fault strikes, with what the trace says about it. A fault that does not report it counts as never reached.
    fn inject(&mut self, verb: &'static str, numbers: &[u64], body: &[u8]);
}

/// An answer, and how it arrives.
#[derive(Debug)]
pub struct Delivery {
    /// The answer.
    pub response: Response<Bytes>,
    /// Bytes of one chunk of its body; `None` for as many as usual.
    pub chunk_bytes: Option<usize>,
    /// The connection is lost once so many bytes of the body have arrived.
    pub cut_after_bytes: Option<usize>,
}

impl Delivery {
    /// An answer that arrives as it is.
    pub fn whole(response: Response<Bytes>) -> Self {
        Self { response, chunk_bytes: None, cut_after_bytes: None }
    }

    fn replace_body(&mut self, body: Bytes) {
        if let Some(length) = self.response.headers_mut().get_mut(header::CONTENT_LENGTH) {
            *length = body.len().into();
        }
        *self.response.body_mut() = body;
    }
}

impl NetworkFault {
    /// Interferes with an exchange. What arrives at the client; `None` for nothing.
    pub fn apply(&self, wire: &mut impl Wire) -> Option<Delivery> {
        match *self {
            Self::LoseRequest => {
                wire.inject("request lost", &[], &[]);
                None
            }
            Self::LoseResponse => {
                wire.serve();
                wire.inject("response lost", &[], &[]);
                None
            }
            Self::RemoteCrash { operation, ref kind } => {
                wire.serve_and_crash(operation, kind);
                wire.inject("remote down", &[], &[]);
                None
            }
            Self::Delay { until } => {
                wire.send_late(until);
                wire.inject("request delayed", &[], &[]);
                None
            }
            Self::Duplicate { until } => {
                wire.inject("request duplicated", &[], &[]);
                let first = wire.serve();
                if until == Arrival::AtOnce {
                    return Some(Delivery::whole(wire.serve()));
                }
                wire.send_late(until);
                Some(Delivery::whole(first))
            }
            Self::WrongStatus { code, takes_effect } => {
                if takes_effect {
                    wire.serve();
                }
                wire.inject("wrong status", &[code.into()], &[]);
                Some(Delivery::whole(wrong_status(code)))
            }
            Self::Stale { generations, transactions } => {
                let Some((response, end)) = wire.serve_stale(generations, transactions) else {
                    return Some(Delivery::whole(wire.serve()));
                };
                wire.inject("stale answer", &end, response.body());
                Some(Delivery::whole(response))
            }
            Self::Cut { .. }
            | Self::EndEarly { .. }
            | Self::Chunks { .. }
            | Self::Garbage { .. }
            | Self::Contradict(_) => {
                let mut delivery = Delivery::whole(wire.serve());
                if let Some(verb) = self.spoil(&mut delivery, wire.garbage_key()) {
                    let body = delivery.response.body();
                    let numbers = [body.len() as u64, delivery.cut_after_bytes.unwrap_or(0) as u64];
                    wire.inject(verb, &numbers, body);
                }
                Some(delivery)
            }
        }
    }

    /// Changes how an answer arrives; the verb for the trace, or `None` if there is nothing to change.
    fn spoil(&self, delivery: &mut Delivery, garbage_key: u64) -> Option<&'static str> {
        let body_bytes = delivery.response.body().len();
        match *self {
            Self::Cut { bytes } => {
                delivery.cut_after_bytes = Some(body_bytes.min(bytes as usize));
                Some("connection cut")
            }
            Self::EndEarly { bytes } => {
                let is_shorter = (bytes as usize) < body_bytes;
                is_shorter.then(|| delivery.response.body_mut().truncate(bytes as usize))?;
                Some("body ended early")
            }
            Self::Chunks { bytes } => {
                delivery.chunk_bytes = Some(bytes as usize);
                Some("body in crumbs")
            }
            Self::Garbage { bytes } => {
                delivery.replace_body(garbage(garbage_key, bytes));
                Some("garbage")
            }
            Self::Contradict(how) => {
                let body = how.distort(delivery.response.body())?;
                delivery.replace_body(body);
                Some("untrue answer")
            }
            _ => None,
        }
    }
}

/// Bytes that mean nothing, always the same for the same name, and never a whole number of frames.
fn garbage(name: u64, bytes: u32) -> Bytes {
    let length = bytes as usize + usize::from((bytes as usize).is_multiple_of(FRAME_BYTES));
    let word = |index: u64| xxh3_64_with_seed(&index.to_le_bytes(), name).to_le_bytes();
    (0..).flat_map(word).take(length).collect()
}

/// An answer that the protocol does not give.
fn wrong_status(code: u16) -> Response<Bytes> {
    let body = Bytes::from_static(b"<html>something is wrong with a machine in between</html>");
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::BAD_GATEWAY);
    let length = response.body().len();
    response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
    response
}

pub(super) fn write_network(
    f: &mut fmt::Formatter<'_>,
    at: &RequestPlace,
    fault: &NetworkFault,
) -> fmt::Result {
    match fault {
        NetworkFault::LoseRequest => write!(f, "the {at} is lost on its way to the remote"),
        NetworkFault::LoseResponse => write!(f, "the response to the {at} is lost"),
        NetworkFault::RemoteCrash { operation, kind } => {
            let nth = Ordinal(*operation);
            write!(f, "the remote's machine goes down at its {nth} file operation for the {at}: {kind}")
        }
        NetworkFault::Delay { until } => write!(f, "the {at} is given up and arrives {until}"),
        NetworkFault::Duplicate { until } => write!(f, "the {at} arrives a second time {until}"),
        NetworkFault::Cut { bytes } => {
            write!(f, "the connection is cut after {bytes} bytes of the response to the {at}")
        }
        NetworkFault::EndEarly { bytes } => write!(f, "the response to the {at} ends after {bytes} bytes"),
        NetworkFault::Chunks { bytes } => {
            write!(f, "the response to the {at} arrives in chunks of {bytes} bytes")
        }
        NetworkFault::Garbage { bytes } => write!(f, "the response to the {at} is {bytes} bytes of garbage"),
        NetworkFault::WrongStatus { code, takes_effect: true } => {
            write!(f, "the {at} takes effect and is answered with status {code}")
        }
        NetworkFault::WrongStatus { code, takes_effect: false } => {
            write!(f, "the {at} is answered with status {code} and without effect")
        }
        NetworkFault::Contradict(Contradiction::Generation(by)) => {
            write!(f, "the response to the {at} has a generation that is off by {by}")
        }
        NetworkFault::Contradict(Contradiction::MaxFrameNo(by)) => {
            write!(f, "the response to the {at} has a last frame that is off by {by}")
        }
        NetworkFault::Contradict(Contradiction::Word) => {
            write!(f, "the response to the {at} has another status word")
        }
        NetworkFault::Stale { generations: 0, transactions } => {
            write!(f, "the {at} is answered as it would have been {transactions} transactions ago")
        }
        NetworkFault::Stale { generations, .. } => {
            write!(f, "the {at} is answered as it would have been {generations} generations ago")
        }
    }
}

impl fmt::Display for Arrival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtOnce => f.write_str("at once"),
            Self::AfterRequests(count) => write!(f, "after {count} more requests"),
            Self::AtStep(step) => write!(f, "when step {step} begins"),
            Self::AfterNextStep => f.write_str("after the next step"),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Faults of this sort, so varied that one of them finds its place in every history of some length.
    pub fn examples(kind: NetworkFaultKind) -> Vec<NetworkFault> {
        let arrivals =
            [Arrival::AtOnce, Arrival::AfterRequests(2), Arrival::AfterNextStep, Arrival::AtStep(8)];
        let lengths = [0, 30, 4096, 4120, 4121];
        let each_length = |fault: fn(u32) -> NetworkFault| lengths.map(fault).to_vec();
        use NetworkFaultKind as Kind;
        match kind {
            Kind::LoseRequest => vec![NetworkFault::LoseRequest],
            Kind::LoseResponse => vec![NetworkFault::LoseResponse],
            Kind::RemoteCrash => [1, 2, 3, 100]
                .map(|operation| NetworkFault::RemoteCrash {
                    operation,
                    kind: CrashKind::PowerLoss { survival: crate::fault::Survival::Nothing, torn: None },
                })
                .to_vec(),
            Kind::Delay => arrivals.map(|until| NetworkFault::Delay { until }).to_vec(),
            Kind::Duplicate => arrivals.map(|until| NetworkFault::Duplicate { until }).to_vec(),
            Kind::Cut => each_length(|bytes| NetworkFault::Cut { bytes }),
            Kind::EndEarly => each_length(|bytes| NetworkFault::EndEarly { bytes }),
            Kind::TinyChunks => each_length(|bytes| NetworkFault::Chunks { bytes }),
            Kind::Garbage => each_length(|bytes| NetworkFault::Garbage { bytes }),
            Kind::WrongStatus => [(429, true), (404, false), (500, true), (503, false)]
                .map(|(code, takes_effect)| NetworkFault::WrongStatus { code, takes_effect })
                .to_vec(),
            Kind::BlamingStatus => [(401, true), (403, false), (409, true), (422, false)]
                .map(|(code, takes_effect)| NetworkFault::WrongStatus { code, takes_effect })
                .to_vec(),
            Kind::UntrueAnswer => [
                Contradiction::Generation(1),
                Contradiction::Generation(-1),
                Contradiction::MaxFrameNo(1),
                Contradiction::MaxFrameNo(-1),
                Contradiction::Word,
            ]
            .map(NetworkFault::Contradict)
            .to_vec(),
            Kind::StaleAnswer => [(0, 1), (1, 0)]
                .map(|(generations, transactions)| NetworkFault::Stale { generations, transactions })
                .to_vec(),
        }
    }

    #[test]
    fn garbage_is_the_same_again_and_no_whole_number_of_frames() {
        assert_eq!(garbage(7, 100), garbage(7, 100));
        assert_ne!(garbage(7, 100), garbage(8, 100));
        assert_eq!(garbage(7, 100).len(), 100);
        assert_eq!(garbage(7, 2 * FRAME_BYTES as u32).len(), 2 * FRAME_BYTES + 1);
        assert_eq!(garbage(7, 0).len(), 1);
    }
}
