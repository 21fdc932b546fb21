//! Receives the body of a request, within the limits of one body and of all bodies together. The results of SQL
//! count as bodies, because a slow reader keeps them in memory.

use std::convert::Infallible;
use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower_http::timeout::TimeoutError;

use super::answer::{object, problem};
use crate::world::remote::content::CHUNK_BYTES;

/// The memory of one permit, in bytes.
const PERMIT_BYTES: usize = 1024;
/// The time in which the rest of a refused body is received and dropped. A client that still sends would
/// otherwise lose the connection before it can read the answer.
const LINGER: Duration = Duration::from_secs(2);

/// The memory for bodies.
#[derive(Clone)]
pub(super) struct Bodies {
    free: Arc<Semaphore>,
    permit_count: usize,
    body_bytes: usize,
}

/// A whole body. Its memory counts until it is dropped.
pub(super) struct Received {
    pub bytes: Bytes,
    pub memory: OwnedSemaphorePermit,
}

/// The reason why a body was not received.
enum Refused {
    TooLarge,
    NoMemory,
    Stalled,
    Broken(String),
}

impl Bodies {
    /// Limits one body to `body_bytes`, and all together to `bodies_bytes`.
    pub fn new(body_bytes: usize, bodies_bytes: usize) -> Self {
        let permit_count = bodies_bytes.div_ceil(PERMIT_BYTES).min(Semaphore::MAX_PERMITS);
        Self { free: Arc::new(Semaphore::new(permit_count)), permit_count, body_bytes }
    }

    /// The memory in use, in bytes.
    pub fn used_bytes(&self) -> usize {
        (self.permit_count - self.free.available_permits()) * PERMIT_BYTES
    }

    /// Lets an answer count as a body until it is sent. Returns another answer if there is no memory for it.
    pub fn hold(&self, answer: Response<Bytes>) -> Response {
        match self.acquire(answer.body().len().div_ceil(PERMIT_BYTES)) {
            Ok(memory) => answer.map(|rest| Body::new(Held { rest, _memory: memory })),
            Err(refused) => self.answer(&refused),
        }
    }

    /// Receives a body, or answers.
    pub async fn receive(&self, mut body: Body) -> Result<Received, Response> {
        match self.collect(&mut body).await {
            Ok(received) => Ok(received),
            Err(refused) => {
                if matches!(refused, Refused::TooLarge | Refused::NoMemory) {
                    linger(body).await;
                }
                Err(self.answer(&refused))
            }
        }
    }

    async fn collect(&self, body: &mut Body) -> Result<Received, Refused> {
        if body.size_hint().lower() > self.body_bytes as u64 {
            return Err(Refused::TooLarge);
        }
        let mut bytes = BytesMut::new();
        let mut memory = self.acquire(0)?;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| match is_timeout(&error) {
                true => Refused::Stalled,
                false => Refused::Broken(crate::text::error_chain(&error)),
            })?;
            let Ok(part) = frame.into_data() else { continue };
            if bytes.len() + part.len() > self.body_bytes {
                return Err(Refused::TooLarge);
            }
            let needed = (bytes.len() + part.len()).div_ceil(PERMIT_BYTES);
            memory.merge(self.acquire(needed.saturating_sub(memory.num_permits()))?);
            bytes.extend_from_slice(&part);
        }
        Ok(Received { bytes: bytes.freeze(), memory })
    }

    /// Takes permits without waiting: bodies that wait for each other would never end.
    fn acquire(&self, permits: usize) -> Result<OwnedSemaphorePermit, Refused> {
        let permits = u32::try_from(permits).map_err(|_| Refused::TooLarge)?;
        Arc::clone(&self.free).try_acquire_many_owned(permits).map_err(|_| Refused::NoMemory)
    }

    fn answer(&self, refused: &Refused) -> Response {
        match refused {
            Refused::TooLarge => {
                let limit = self.body_bytes;
                let text = format!("the body has more than {limit} bytes; send less at once");
                object(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    &serde_json::json!({ "error": text, "limit_bytes": limit }),
                )
            }
            Refused::NoMemory => {
                let text = "the server has too many large bodies in memory at the moment; try again later";
                let mut response = problem(StatusCode::SERVICE_UNAVAILABLE, text);
                response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
                response
            }
            Refused::Stalled => {
                problem(StatusCode::REQUEST_TIMEOUT, "the rest of the body did not arrive in time")
            }
            Refused::Broken(reason) => problem(StatusCode::BAD_REQUEST, reason),
        }
    }
}

/// The rest of an answer that counts as a body. It is sent in parts: a connection takes the next one only when
/// its client has read enough of those before.
struct Held {
    rest: Bytes,
    _memory: OwnedSemaphorePermit,
}

impl http_body::Body for Held {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        let length = self.rest.len().min(CHUNK_BYTES as usize);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}

/// Receives and drops the rest of a body, for a short time.
async fn linger(mut body: Body) {
    let rest = async { while let Some(Ok(_)) = body.frame().await {} };
    // Whether the time was enough makes no difference.
    tokio::time::timeout(LINGER, rest).await.unwrap_or(());
}

fn is_timeout(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<TimeoutError>() {
            return true;
        }
        cause = error.source();
    }
    false
}
