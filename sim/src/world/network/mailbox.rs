//! A client's mailbox: its engine's requests go in, the world takes them out and puts the answers back.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use plimsoll_engine::{Remote, RemoteError};

use super::Lost;
use crate::lock::lock;

/// Both ends of a client's connection to the remote.
#[derive(Clone, Default)]
pub struct Mailbox {
    slots: Arc<Mutex<Slots>>,
}

#[derive(Default)]
struct Slots {
    request: Option<Request<Bytes>>,
    answer: Option<Result<Answer, Lost>>,
    /// The chunk, from 1, of the current body that is being waited for.
    awaited_chunk: Option<u32>,
    /// Whether the connection over which the current body arrives is lost.
    is_cut: bool,
}

/// An answer, and how its body arrives.
#[derive(Debug)]
pub struct Answer {
    /// The answer as the client is to see it.
    pub response: Response<Bytes>,
    /// Bytes of a chunk of the body.
    pub chunk_bytes: usize,
    /// The connection is lost once so many bytes of the body have arrived.
    pub cut_after_bytes: Option<usize>,
}

impl Mailbox {
    /// The request that the engine is waiting for an answer to, once.
    pub fn take_request(&self) -> Option<Request<Bytes>> {
        lock(&self.slots).request.take()
    }

    /// Answers the request that was taken.
    pub fn answer(&self, answer: Result<Answer, Lost>) {
        let earlier = lock(&self.slots).answer.replace(answer);
        assert!(earlier.is_none(), "a request is answered once");
    }

    /// The connection is lost: what has not arrived of the current body does not arrive.
    pub fn cut_body(&self) {
        lock(&self.slots).is_cut = true;
    }

    /// The how-manieth chunk of a body the engine is waiting for, from 1; `None` if it waits for something else.
    pub fn awaited_chunk(&self) -> Option<u32> {
        lock(&self.slots).awaited_chunk
    }
}

impl Remote for Mailbox {
    type Body = ChunkedBody;

    async fn send(&self, request: Request<Bytes>) -> Result<Response<ChunkedBody>, RemoteError> {
        {
            let mut slots = lock(&self.slots);
            slots.answer = None;
            slots.is_cut = false;
            slots.request = Some(request);
        }
        let answer = std::future::poll_fn(|_| match lock(&self.slots).answer.take() {
            Some(answer) => Poll::Ready(answer),
            None => Poll::Pending,
        })
        .await?;
        let Answer { response, chunk_bytes, cut_after_bytes } = answer;
        Ok(response.map(|body| {
            let mut body = ChunkedBody::new(body, chunk_bytes);
            body.cut_after_bytes = cut_after_bytes;
            body.mailbox = Some(self.clone());
            body
        }))
    }
}

/// A body that arrives chunk by chunk, each after a wait. It is a snapshot, as of a file that the server has opened: a checkpoint
/// meanwhile does not change what is still to come.
pub struct ChunkedBody {
    rest: Bytes,
    chunk_bytes: usize,
    chunks: u32,
    waited: bool,
    cut_after_bytes: Option<usize>,
    /// Who is told which chunk is being waited for.
    mailbox: Option<Mailbox>,
}

impl ChunkedBody {
    /// A body whose chunks have `chunk_bytes`, the last one perhaps fewer.
    pub fn new(body: Bytes, chunk_bytes: usize) -> Self {
        Self {
            rest: body,
            chunk_bytes: chunk_bytes.max(1),
            chunks: 0,
            waited: false,
            cut_after_bytes: None,
            mailbox: None,
        }
    }

    fn is_cut(&self) -> bool {
        self.mailbox.as_ref().is_some_and(|mailbox| lock(&mailbox.slots).is_cut)
    }

    fn await_chunk(&self, chunk: Option<u32>) {
        if let Some(mailbox) = &self.mailbox {
            lock(&mailbox.slots).awaited_chunk = chunk;
        }
    }
}

impl http_body::Body for ChunkedBody {
    type Data = Bytes;
    type Error = RemoteError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RemoteError>>> {
        self.await_chunk(None);
        if self.cut_after_bytes == Some(0) || self.is_cut() {
            return Poll::Ready(Some(Err(Lost.into())));
        }
        if self.rest.is_empty() {
            return Poll::Ready(self.cut_after_bytes.map(|_| Err(Lost.into())));
        }
        self.waited = !self.waited;
        if self.waited {
            self.await_chunk(Some(self.chunks + 1));
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let length = self.chunk_bytes.min(self.rest.len()).min(self.cut_after_bytes.unwrap_or(usize::MAX));
        self.chunks += 1;
        if let Some(left) = &mut self.cut_after_bytes {
            *left -= length;
        }
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(length)))))
    }
}

impl Drop for ChunkedBody {
    fn drop(&mut self) {
        self.await_chunk(None);
    }
}
