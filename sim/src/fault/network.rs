//! Network faults: plain data, and the effect of each fault on an exchange.
//!
//! The [`atlas`](super::atlas) has the promises. Not simulated: a body of well-formed frames that the remote
//! does not have.

use std::fmt;

use bytes::Bytes;
use http::{Response, StatusCode, header};
use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantArray};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{Contradiction, CrashKind, Ordinal, RequestPlace, Route};

/// The size of a frame on the wire, in bytes: a header of 24 bytes and a page of 4,096.
const FRAME_BYTES: usize = 24 + 4096;

/// A fault of one request or of its response.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum NetworkFault {
    /// The request never reaches the remote.
    LoseRequest,
    /// The request takes effect, but its response never reaches the client.
    LoseResponse,
    /// The remote's machine crashes while it serves the request, and starts again. There is no response.
    RemoteCrash {
        /// The crash happens before this file operation of the request. The operations that change something
        /// are numbered from 1. If the request makes fewer of them, the crash happens after it has taken
        /// effect.
        operation: u32,
        kind: CrashKind,
    },
    /// The client sees a lost connection. The request arrives later.
    Delay { until: Arrival },
    /// The request arrives twice. If the second one arrives at once, the client gets the second response, as
    /// from a proxy that retries. Otherwise the second response is dropped.
    Duplicate { until: Arrival },
    /// The connection is lost after this many bytes of the response's body.
    Cut {
        /// The number of bytes that arrive. If the body is shorter, all of its bytes arrive, and then the
        /// connection is lost.
        bytes: u32,
    },
    /// The response's body ends cleanly after this many bytes.
    EndEarly {
        /// The number of bytes that arrive. The fault is injected only into a longer body.
        bytes: u32,
    },
    /// The response's body arrives in chunks of this many bytes.
    Chunks { bytes: u32 },
    /// The response's body is replaced by random bytes.
    Garbage {
        /// The number of random bytes. If it is a multiple of a frame's size, one more byte is sent.
        bytes: u32,
    },
    /// The response has an error status that the protocol does not specify for the request.
    WrongStatus {
        code: u16,
        /// Whether the request still takes effect.
        takes_effect: bool,
    },
    /// The response contains a false statement. The fault is injected only into responses that have a status
    /// object, and into those of `/info`.
    Contradict(Contradiction),
    /// The response is the one that the remote would have sent earlier. The fault is not injected into
    /// requests that write, nor while the remote has no earlier state.
    Stale {
        /// The number of the response's generation, counted back from the current one. The response is from
        /// the end of that generation.
        generations: u64,
        /// Used only if `generations` is 0: the number of transactions that were committed since the response
        /// was true.
        transactions: usize,
    },
}

/// The kind of a network fault. Each row of the atlas is about one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "kebab-case")]
pub enum NetworkFaultKind {
    /// A request never reaches the remote.
    LoseRequest,
    /// A request takes effect, but its response never arrives.
    LoseResponse,
    /// The remote's machine crashes, and the response that it was sending is lost.
    RemoteCrash,
    /// A request arrives after its sender has given up.
    Delay,
    /// A request arrives twice.
    Duplicate,
    /// The connection is lost inside a body.
    Cut,
    /// A body ends cleanly before it is complete.
    EndEarly,
    /// A body arrives in tiny chunks.
    TinyChunks,
    /// A body consists of random bytes.
    Garbage,
    /// A response has a status that the protocol does not specify and that may be different the next time.
    WrongStatus,
    /// A response has a status that blames the request itself.
    BlamingStatus,
    /// A response contradicts the state of the remote.
    UntrueAnswer,
    /// A response is the one that the remote would have sent earlier.
    StaleAnswer,
}

impl NetworkFaultKind {
    pub fn name(self) -> &'static str {
        self.into()
    }
}

impl NetworkFault {
    /// Its kind when it is injected into a request of this route.
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
            // On these routes the protocol itself uses 400, so here only the body is wrong.
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

/// The moment when a delayed request arrives. If the schedule ends before that moment, the request arrives at
/// the start of the heal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Arrival {
    AtOnce,
    /// After this many further requests, of any client, have been served.
    AfterRequests(u32),
    /// When the step with this id starts.
    AtStep(u32),
    /// When the next step has ended.
    AfterNextStep,
}

/// The interface through which a fault acts on one exchange.
pub trait Wire {
    /// Lets the remote serve the request.
    fn serve(&mut self) -> Response<Bytes>;

    /// Crashes the remote's machine before its `operation`-th file operation for the request, and starts it
    /// again.
    fn serve_and_crash(&mut self, operation: u32, kind: &CrashKind);

    /// The response of an earlier moment, with the generation and frame at which the remote's log ended then.
    /// `None` if there is no such response.
    fn serve_stale(&mut self, generations: u64, transactions: usize) -> Option<(Response<Bytes>, [u64; 2])>;

    /// Lets the request arrive later.
    fn send_late(&mut self, until: Arrival);

    /// A key that is the same each time that this request is sent in this step of this history.
    fn garbage_key(&self) -> u64;

    /// Reports that the fault is injected, with numbers and bytes for the trace. A fault that does not call
    /// this counts as not reached.
    fn inject(&mut self, numbers: &[u64], body: &[u8]);
}

/// A response, and how it arrives.
#[derive(Debug)]
pub struct Delivery {
    pub response: Response<Bytes>,
    /// The size of a chunk of the body, in bytes. `None` for the usual size.
    pub chunk_bytes: Option<usize>,
    /// If set, the connection is lost after this many bytes of the body.
    pub cut_after_bytes: Option<usize>,
}

impl Delivery {
    /// A response that arrives unchanged.
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
    /// Acts on an exchange. Returns the response that arrives at the client, or `None` if none arrives.
    pub fn apply(&self, wire: &mut impl Wire) -> Option<Delivery> {
        match *self {
            Self::LoseRequest => {
                wire.inject(&[], &[]);
                None
            }
            Self::LoseResponse => {
                wire.serve();
                wire.inject(&[], &[]);
                None
            }
            Self::RemoteCrash { operation, ref kind } => {
                wire.serve_and_crash(operation, kind);
                wire.inject(&[], &[]);
                None
            }
            Self::Delay { until } => {
                wire.send_late(until);
                wire.inject(&[], &[]);
                None
            }
            Self::Duplicate { until } => {
                wire.inject(&[], &[]);
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
                wire.inject(&[code.into()], &[]);
                Some(Delivery::whole(wrong_status(code)))
            }
            Self::Stale { generations, transactions } => {
                let Some((response, end)) = wire.serve_stale(generations, transactions) else {
                    return Some(Delivery::whole(wire.serve()));
                };
                wire.inject(&end, response.body());
                Some(Delivery::whole(response))
            }
            Self::Cut { .. }
            | Self::EndEarly { .. }
            | Self::Chunks { .. }
            | Self::Garbage { .. }
            | Self::Contradict(_) => {
                let mut delivery = Delivery::whole(wire.serve());
                if self.spoil(&mut delivery, wire.garbage_key()) {
                    let body = delivery.response.body();
                    let numbers = [body.len() as u64, delivery.cut_after_bytes.unwrap_or(0) as u64];
                    wire.inject(&numbers, body);
                }
                Some(delivery)
            }
        }
    }

    /// Changes a response or how it arrives. Returns whether there was something to change.
    fn spoil(&self, delivery: &mut Delivery, garbage_key: u64) -> bool {
        let body_bytes = delivery.response.body().len();
        match *self {
            Self::Cut { bytes } => delivery.cut_after_bytes = Some(body_bytes.min(bytes as usize)),
            Self::EndEarly { bytes } if bytes as usize >= body_bytes => return false,
            Self::EndEarly { bytes } => delivery.response.body_mut().truncate(bytes as usize),
            Self::Chunks { bytes } => delivery.chunk_bytes = Some(bytes as usize),
            Self::Garbage { bytes } => delivery.replace_body(garbage(garbage_key, bytes)),
            Self::Contradict(how) => match how.distort(delivery.response.body()) {
                Some(body) => delivery.replace_body(body),
                None => return false,
            },
            _ => return false,
        }
        true
    }
}

/// Random bytes: the same for the same key, and never a whole number of frames.
fn garbage(key: u64, bytes: u32) -> Bytes {
    let length = bytes as usize + usize::from((bytes as usize).is_multiple_of(FRAME_BYTES));
    let word = |index: u64| xxh3_64_with_seed(&index.to_le_bytes(), key).to_le_bytes();
    (0..).flat_map(word).take(length).collect()
}

/// A response that the protocol does not specify.
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
            write!(f, "the remote's machine crashes at its {nth} file operation for the {at}: {kind}")
        }
        NetworkFault::Delay { until } => write!(f, "the {at} is delayed and arrives {until}"),
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
            write!(f, "the {at} has no effect and is answered with status {code}")
        }
        NetworkFault::Contradict(Contradiction::Generation(by)) => {
            write!(f, "the response to the {at} has a generation that is off by {by}")
        }
        NetworkFault::Contradict(Contradiction::MaxFrameNo(by)) => {
            write!(f, "the response to the {at} has a last frame that is off by {by}")
        }
        NetworkFault::Contradict(Contradiction::StatusWord) => {
            write!(f, "the response to the {at} has a wrong status word")
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

    /// Faults of this kind with different parameters, so that a long enough history reaches at least one.
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
                Contradiction::StatusWord,
            ]
            .map(NetworkFault::Contradict)
            .to_vec(),
            Kind::StaleAnswer => [(0, 1), (1, 0)]
                .map(|(generations, transactions)| NetworkFault::Stale { generations, transactions })
                .to_vec(),
        }
    }

    #[test]
    fn garbage_is_reproducible_and_never_a_whole_number_of_frames() {
        assert_eq!(garbage(7, 100), garbage(7, 100));
        assert_ne!(garbage(7, 100), garbage(8, 100));
        assert_eq!(garbage(7, 100).len(), 100);
        assert_eq!(garbage(7, 2 * FRAME_BYTES as u32).len(), 2 * FRAME_BYTES + 1);
        assert_eq!(garbage(7, 0).len(), 1);
    }
}
