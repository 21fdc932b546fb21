//! A client's mailbox: the engine puts its requests in, and the world takes them out and puts the answers
//! back.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use plimsoll_engine::{Remote, RemoteError};

use super::Lost;
use crate::lock::lock;

#[derive(Clone, Default)]
pub struct Mailbox {
    slots: Arc<Mutex<Slots>>,
}

#[derive(Default)]
struct Slots {
    request: Option<Request<Bytes>>,
    answer: Option<Result<Answer, Lost>>,
    /// The number, from 1, of the chunk of the current body that the engine waits for.
    awaited_chunk: Option<u32>,
    /// Whether the connection that carries the current body is lost.
    is_cut: bool,
}

#[derive(Debug)]
pub struct Answer {
    /// The answer that the client receives.
    pub response: Response<Bytes>,
    /// The size of each chunk of the body, in bytes.
    pub chunk_bytes: usize,
    /// If set, the connection is lost after this many bytes of the body.
    pub cut_after_bytes: Option<usize>,
}

impl Mailbox {
    /// Takes the request whose answer the engine waits for.
    pub fn take_request(&self) -> Option<Request<Bytes>> {
        lock(&self.slots).request.take()
    }

    /// Answers the request that was taken last.
    pub fn answer(&self, answer: Result<Answer, Lost>) {
        let earlier = lock(&self.slots).answer.replace(answer);
        assert!(earlier.is_none(), "a request is answered once");
    }

    /// Loses the connection: the rest of the current body never arrives.
    pub fn cut_body(&self) {
        lock(&self.slots).is_cut = true;
    }

    /// The number, from 1, of the chunk of a body that the engine waits for. `None` if it does not wait for a
    /// chunk.
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

/// A body that arrives in chunks, with a suspension before each. The whole body is fixed when the request is
/// served: a later checkpoint of the remote does not change the rest of the body.
pub struct ChunkedBody {
    rest: Bytes,
    chunk_bytes: usize,
    chunks: u32,
    waited: bool,
    cut_after_bytes: Option<usize>,
    /// The mailbox that shows which chunk is awaited.
    mailbox: Option<Mailbox>,
}

impl ChunkedBody {
    /// Creates a body with chunks of `chunk_bytes`. The last chunk may be shorter.
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
