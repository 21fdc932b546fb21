//! Answers as HTTP bodies. A part of a file is read in chunks while it is sent, so that a large answer and a slow
//! reader cost no memory.

use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::task::JoinHandle;
use turso_core::{File, IO};

use crate::world::remote::content::{CHUNK_BYTES, Content};
use crate::world::remote::files;

/// An answer that says in one sentence what is wrong with the request.
pub(super) fn problem(status: StatusCode, text: &str) -> Response {
    object(status, &serde_json::json!({ "error": text }))
}

pub(super) fn object(status: StatusCode, object: &serde_json::Value) -> Response {
    let mut response = Response::new(Body::from(object.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// The body with this content, which is read through `io`.
pub(super) fn body(content: Content, io: &Arc<dyn IO>) -> Body {
    match content {
        Content::Bytes(bytes) => Body::from(bytes),
        Content::File { file, range } => {
            Body::new(FilePart { io: io.clone(), file, rest: range, reading: None })
        }
    }
}

/// The rest of a file's part.
struct FilePart {
    io: Arc<dyn IO>,
    file: Arc<dyn File>,
    rest: Range<u64>,
    reading: Option<JoinHandle<io::Result<Bytes>>>,
}

impl http_body::Body for FilePart {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        let this = &mut *self;
        let start = this.rest.start;
        let end = this.rest.end.min(start + CHUNK_BYTES);
        let (io, file) = (&this.io, &this.file);
        let reading = this.reading.get_or_insert_with(|| {
            let (io, file) = (io.clone(), file.clone());
            tokio::task::spawn_blocking(move || {
                files::read_at(&io, &file, start..end).map(Bytes::from).map_err(io::Error::other)
            })
        });
        let read = ready!(Pin::new(reading).poll(context));
        this.reading = None;
        let bytes = read.unwrap_or_else(|error| Err(io::Error::other(error)));
        this.rest.start = if bytes.is_ok() { end } else { this.rest.end };
        Poll::Ready(Some(bytes.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.end - self.rest.start)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use turso_core::{Buffer, Completion, MemoryIO, OpenFlags};

    use super::*;

    fn file(bytes: &[u8]) -> Arc<dyn File> {
        let io: Arc<dyn IO> = Arc::new(MemoryIO::new());
        let file = io.open_file("answer", OpenFlags::Create, false).unwrap();
        let buffer = Arc::new(Buffer::new(bytes.to_vec()));
        let written = file.pwrite(0, buffer, Completion::new_write(|_| ())).unwrap();
        io.wait_for_completion(written).unwrap();
        file
    }

    fn sent(content: Content) -> Result<Vec<u8>, axum::Error> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let io: Arc<dyn IO> = Arc::new(MemoryIO::new());
        runtime.block_on(async { Ok(body(content, &io).collect().await?.to_bytes().to_vec()) })
    }

    #[test]
    fn a_part_of_a_file_is_sent_in_chunks() {
        let bytes: Vec<u8> = (0..200_000_u32).map(|index| (index % 251) as u8).collect();
        let file = file(&bytes);
        for range in [0..200_000, 5..6, 65_536..131_072, 70_000..199_999, 9..9] {
            let content = Content::File { file: file.clone(), range: range.clone() };
            let part = &bytes[range.start as usize..range.end as usize];
            assert_eq!(content.len(), part.len() as u64);
            assert!(sent(content).unwrap() == part, "{range:?}");
        }
        let beyond = Content::File { file, range: 100_000..300_000 };
        assert!(sent(beyond).is_err(), "the file is shorter than the answer's length says");
    }
}
