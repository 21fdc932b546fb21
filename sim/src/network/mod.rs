//! The network between one client and the remote: a mailbox that the engine's requests go into and that the world empties.
//!
//! Nothing happens here by itself: the world takes the request out, decides its fate, lets the remote serve it and puts the
//! answer back, all while the engine is suspended.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body::Frame;
use plimsoll_engine::{Remote, RemoteError};
use serde::{Deserialize, Serialize};

use crate::lock::lock;

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Route {
    /// `GET /info`
    Info,
    /// `GET /export/…`
    Export,
    /// `GET /sync/…`
    PullFrames,
    /// `POST /sync/…`
    PushFrames,
    /// `POST /v2/pipeline`
    Pipeline,
}

impl Route {
    /// The route in one word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Export => "export",
            Self::PullFrames => "pull-frames",
            Self::PushFrames => "push-frames",
            Self::Pipeline => "pipeline",
        }
    }

    /// The route of a request, `None` for one that the protocol does not know.
    pub fn of<T>(request: &Request<T>) -> Option<Self> {
        let path = request.uri().path();
        match *request.method() {
            Method::GET if path == "/info" => Some(Self::Info),
            Method::GET if path.starts_with("/export/") => Some(Self::Export),
            Method::GET if path.starts_with("/sync/") => Some(Self::PullFrames),
            Method::POST if path.starts_with("/sync/") => Some(Self::PushFrames),
            Method::POST if path == "/v2/pipeline" => Some(Self::Pipeline),
            _ => None,
        }
    }
}

/// A request of a step, by meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestPlace {
    /// What it asks for.
    pub route: Route,
    /// The how-manieth of its route in this step, from 1.
    pub nth: u32,
}

impl fmt::Display for RequestPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}", self.route, self.nth)
    }
}

/// What became of a message.
#[derive(Debug, thiserror::Error)]
#[error("the connection was lost")]
pub struct Lost;

/// Both ends of a client's connection to the remote.
#[derive(Clone)]
pub struct Mailbox {
    chunk_bytes: usize,
    slots: Arc<Mutex<Slots>>,
}

#[derive(Default)]
struct Slots {
    request: Option<Request<Bytes>>,
    answer: Option<Result<Response<Bytes>, Lost>>,
}

impl Mailbox {
    /// An empty mailbox, whose bodies come in chunks of `chunk_bytes`.
    pub fn new(chunk_bytes: usize) -> Self {
        Self { chunk_bytes: chunk_bytes.max(1), slots: Arc::default() }
    }

    /// The request that the engine is waiting for an answer to, once.
    pub fn take_request(&self) -> Option<Request<Bytes>> {
        lock(&self.slots).request.take()
    }

    /// Answers the request that was taken.
    pub fn answer(&self, answer: Result<Response<Bytes>, Lost>) {
        let earlier = lock(&self.slots).answer.replace(answer);
        assert!(earlier.is_none(), "a request is answered once");
    }
}

impl Remote for Mailbox {
    type Body = ChunkedBody;

    async fn send(&self, request: Request<Bytes>) -> Result<Response<ChunkedBody>, RemoteError> {
        {
            let mut slots = lock(&self.slots);
            slots.answer = None;
            slots.request = Some(request);
        }
        let answer = std::future::poll_fn(|_| match lock(&self.slots).answer.take() {
            Some(answer) => Poll::Ready(answer),
            None => Poll::Pending,
        })
        .await?;
        Ok(answer.map(|body| ChunkedBody::new(body, self.chunk_bytes)))
    }
}

/// A body that arrives chunk by chunk, each after a wait.
pub struct ChunkedBody {
    rest: Bytes,
    chunk_bytes: usize,
    waited: bool,
}

impl ChunkedBody {
    /// A body whose chunks have `chunk_bytes`, the last one perhaps fewer.
    pub fn new(body: Bytes, chunk_bytes: usize) -> Self {
        Self { rest: body, chunk_bytes, waited: false }
    }
}

impl http_body::Body for ChunkedBody {
    type Data = Bytes;
    type Error = RemoteError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RemoteError>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        self.waited = !self.waited;
        if self.waited {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let length = self.chunk_bytes.min(self.rest.len());
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(length)))))
    }
}
