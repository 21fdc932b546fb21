//! Requests to the server, and the checks on its answers before the engine uses them.
//!
//! Bodies are streamed. At most one chunk is in memory, except for the small JSON answers, whose size is
//! bounded.

use std::future::poll_fn;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, HeaderName, LOCATION, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body;
use serde::de::DeserializeOwned;

use crate::allowance::Allowance;
use crate::error::{Error, Result};
use crate::events::event;
use crate::metadata::GENERATION_MAX;
use crate::proof::{INSTANCE, Origin};
use crate::protocol::{CHECKPOINT_NEEDED, CONFLICT, Info, OK, PipelineAnswer, PipelineRequest, Status};
use crate::remote::{Remote, RemoteError};

/// The maximum length of a JSON answer, in bytes.
const JSON_BYTES_MAX: usize = 16 << 20;
/// The part of an unexpected answer's body that the error quotes, in bytes.
const DETAIL_BYTES_MAX: usize = 200;
/// The maximum length of a `history_id`, in bytes. It must fit into the metadata.
const HISTORY_ID_BYTES_MAX: usize = 256;
/// How many newest generations in a row may be missing when the engine requests their export.
const EXPORT_TRIES_MAX: u32 = 3;
/// How many chunks of a body in a row may be empty.
const EMPTY_PIECES_MAX: u32 = 1000;

/// The path for SQL statements.
const PIPELINE: &str = "/v2/pipeline";

pub(crate) struct Wire<R> {
    remote: R,
    allowance: Arc<Allowance>,
}

/// The server's answer to a request for frames.
pub(crate) enum FrameAnswer<B> {
    /// Frames from the requested one on; not empty.
    Frames(BodyStream<B>),
    /// No frame: the log ends, or continues in another generation.
    End(Status, Origin),
    /// The server does not have the generation. The error is for callers that did not expect this.
    Gone(Error),
}

/// The server's answer to pushed frames.
pub(crate) enum FramePush {
    /// The server has the frames, as part of its log or of the open transaction that the baton names.
    Taken { baton: Option<String> },
    /// The server's log continues differently or in another generation, or the server no longer has this
    /// generation, or another server has answered.
    Stale,
}

impl<R: Remote> Wire<R> {
    pub(crate) fn new(remote: R, allowance: Allowance) -> Self {
        Self { remote, allowance: Arc::new(allowance) }
    }

    /// An operation begins: it gets a new allowance.
    pub(crate) fn renew_allowance(&self) {
        self.allowance.renew();
    }

    pub(crate) async fn info(&self) -> Result<Info> {
        let (status, mut body) = self.get("/info".into()).await?;
        body.expect(status, StatusCode::OK).await?;
        let info: Info = body.json().await?;
        if info.current_generation > GENERATION_MAX {
            return Err(body.bad(format!("generation {} is out of range", info.current_generation)));
        }
        if let Some(history_id) = info.history_id.as_ref().filter(|id| id.len() > HISTORY_ID_BYTES_MAX) {
            return Err(body.bad(format!("a history id of {} bytes", history_id.len())));
        }
        Ok(info)
    }

    /// Requests the main database file as of the start of the newest generation. Returns the server's `/info`
    /// before it and the file.
    ///
    /// The server may close and prune that generation between the two answers. If the newest generation is
    /// missing, the engine asks again, as long as `/info` reports a different one each time.
    pub(crate) async fn newest_export(&self) -> Result<(Info, BodyStream<R::Body>)> {
        let mut info = self.info().await?;
        for _ in 0..EXPORT_TRIES_MAX {
            let path = format!("/export/{}", info.current_generation);
            let (status, mut body) = self.get(path).await?;
            if status == StatusCode::OK {
                return Ok((info, body));
            }
            let error = body.unexpected(status).await?;
            if !is_gone(status) {
                return Err(error);
            }
            let newer = self.info().await?;
            if newer.current_generation == info.current_generation {
                return Err(error);
            }
            info = newer;
        }
        Err(Error::BadAnswer {
            request: format!("GET /export/{}", info.current_generation),
            problem: format!("the newest generation was missing {EXPORT_TRIES_MAX} times in a row"),
        })
    }

    /// Requests the frames `start..end` of `generation`. The server may send fewer.
    pub(crate) async fn frames(&self, generation: u64, start: u64, end: u64) -> Result<FrameAnswer<R::Body>> {
        let path = format!("/sync/{generation}/{start}/{end}");
        let (status, mut body) = self.get(path).await?;
        if is_gone(status) {
            return Ok(FrameAnswer::Gone(body.unexpected(status).await?));
        }
        if status != StatusCode::BAD_REQUEST {
            body.expect(status, StatusCode::OK).await?;
            return Ok(FrameAnswer::Frames(body));
        }
        let answer: Status = body.json().await?;
        if answer.status != CHECKPOINT_NEEDED {
            return Err(body.bad(format!("status word `{}`", shortened(&answer.status))));
        }
        if answer.generation > GENERATION_MAX || answer.max_frame_no > GENERATION_MAX {
            return Err(body.bad(format!(
                "generation {} or frame {} is out of range",
                answer.generation, answer.max_frame_no
            )));
        }
        Ok(FrameAnswer::End(answer, body.origin))
    }

    /// Pushes frames. If the request `ends_transaction`, its frames must be in the server's log afterwards.
    /// `instance` is the server's run that has shown that it has Synced's log, if it has a name.
    pub(crate) async fn push_frames(
        &self,
        push: FrameRange<'_>,
        frames: Vec<u8>,
        instance: Option<&HeaderValue>,
    ) -> Result<FramePush> {
        let FrameRange { generation, range: Range { start, end }, baton, ends_transaction } = push;
        let mut path = format!("/sync/{generation}/{start}/{end}");
        if let Some(baton) = baton {
            path.push('/');
            path.push_str(baton);
        }
        let (status, mut body) = self.send(Method::POST, path, frames.into(), instance).await?;
        if is_of_another_instance(status, instance) {
            return Ok(FramePush::Stale);
        }
        if is_gone(status) {
            let error = body.unexpected(status).await?;
            let is_current = self.info().await?.current_generation == generation;
            return if is_current { Err(error) } else { Ok(FramePush::Stale) };
        }
        if status != StatusCode::OK {
            let detail = body.detail().await?;
            if status != StatusCode::BAD_REQUEST {
                return Err(body.unexpected_with(status, &detail));
            }
            // A server that was restored meanwhile cannot append these frames, and sends its position.
            return match serde_json::from_slice::<Status>(&detail) {
                Ok(at) if at.generation != generation || at.max_frame_no < start - 1 => Ok(FramePush::Stale),
                Ok(_) => Err(body.unexpected_with(status, &detail)),
                Err(_) => Err(body.bad(format!(
                    "400 without a status object: {}",
                    shortened(&String::from_utf8_lossy(&detail))
                ))),
            };
        }
        let answer: Status = body.json().await?;
        match answer.status.as_str() {
            OK => {}
            CONFLICT | CHECKPOINT_NEEDED => return Ok(FramePush::Stale),
            other => return Err(body.bad(format!("status word `{}`", shortened(other)))),
        }
        let is_in_history =
            answer.baton.is_none() && answer.generation == generation && answer.max_frame_no >= end - 1;
        if ends_transaction && !is_in_history {
            return Err(body.bad(format!(
                "the frames were accepted, but the log ends at generation {}, frame {}, baton {:?}",
                answer.generation, answer.max_frame_no, answer.baton
            )));
        }
        Ok(FramePush::Taken { baton: answer.baton })
    }

    /// Sends an encoded [`PipelineRequest`]. `instance` is that of [`push_frames`](Self::push_frames). Returns `None`
    /// if another server has answered: it has run nothing.
    pub(crate) async fn pipeline(
        &self,
        body: Bytes,
        instance: Option<&HeaderValue>,
    ) -> Result<Option<(PipelineAnswer, BodyStream<R::Body>)>> {
        let (status, mut body) = self.send(Method::POST, PIPELINE.into(), body, instance).await?;
        if is_of_another_instance(status, instance) {
            return Ok(None);
        }
        body.expect(status, StatusCode::OK).await?;
        let answer = body.json().await?;
        Ok(Some((answer, body)))
    }

    async fn get(&self, path: String) -> Result<(StatusCode, BodyStream<R::Body>)> {
        self.send(Method::GET, path, Bytes::new(), None).await
    }

    async fn send(
        &self,
        method: Method,
        path: String,
        body: Bytes,
        instance: Option<&HeaderValue>,
    ) -> Result<(StatusCode, BodyStream<R::Body>)> {
        let name = format!("{method} {path}");
        self.allowance.spend(&name, 0)?;
        let sent_bytes = body.len() as u64;
        event!(Request, request = name.as_str(), body_bytes = sent_bytes);
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .body(body)
            .map_err(|error| Error::Unreachable { request: name.clone(), source: error.into() })?;
        if let Some(instance) = instance {
            request.headers_mut().insert(INSTANCE, instance.clone());
        }
        let response = self
            .remote
            .send(request)
            .await
            .map_err(|source| Error::Unreachable { request: name.clone(), source })?;
        let status = response.status();
        Ok((status, BodyStream::new(name, sent_bytes, response, self.allowance.clone())?))
    }
}

impl PipelineRequest {
    /// Encodes the request.
    pub(crate) fn encode(&self) -> Result<Bytes> {
        serde_json::to_vec(self).map(Bytes::from).map_err(|error| Error::BadAnswer {
            request: format!("POST {PIPELINE}"),
            problem: format!("cannot encode the request as JSON: {error}"),
        })
    }
}

/// The frames `range` of a generation, as a part of the transaction that the baton names.
pub(crate) struct FrameRange<'a> {
    pub(crate) generation: u64,
    pub(crate) range: Range<u64>,
    pub(crate) baton: Option<&'a str>,
    pub(crate) ends_transaction: bool,
}

/// Whether the status means that another server has answered than the one that the request named.
fn is_of_another_instance(status: StatusCode, instance: Option<&HeaderValue>) -> bool {
    instance.is_some() && status == StatusCode::PRECONDITION_FAILED
}

/// Whether the status means that the server does not have the requested object.
fn is_gone(status: StatusCode) -> bool {
    matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE)
}

/// The start of a foreign text, for an error.
pub(crate) fn shortened(text: &str) -> String {
    text.chars().take(DETAIL_BYTES_MAX).collect()
}

/// The body of one answer, read chunk by chunk.
pub(crate) struct BodyStream<B> {
    request: String,
    /// The length of the request's body.
    sent_bytes: u64,
    body: B,
    received_bytes: u64,
    announced_bytes: Option<u64>,
    headers: HeaderMap,
    origin: Origin,
    allowance: Arc<Allowance>,
    /// The first bytes of the body, to say what it is if it is not what the protocol says.
    beginning: Vec<u8>,
}

impl<B> BodyStream<B> {
    /// What the answer says of the log that it is from.
    pub(crate) fn origin(&self) -> &Origin {
        &self.origin
    }
}

/// How many first bytes of a body are kept.
const BEGINNING_BYTES: usize = 16;

impl<B: Body<Data = Bytes, Error = RemoteError> + Unpin> BodyStream<B> {
    fn new(
        request: String,
        sent_bytes: u64,
        response: Response<B>,
        allowance: Arc<Allowance>,
    ) -> Result<Self> {
        let (parts, body) = response.into_parts();
        let announced_bytes = match parts.headers.get(CONTENT_LENGTH) {
            None => None,
            Some(value) => match value.to_str().ok().and_then(|text| text.parse().ok()) {
                Some(length) => Some(length),
                None => {
                    return Err(Error::BadAnswer {
                        request,
                        problem: format!("content-length is {value:?}"),
                    });
                }
            },
        };
        let origin = Origin::read(&parts.headers)
            .map_err(|problem| Error::BadAnswer { request: request.clone(), problem })?;
        Ok(Self {
            request,
            sent_bytes,
            body,
            received_bytes: 0,
            announced_bytes,
            headers: parts.headers,
            origin,
            allowance,
            beginning: Vec::new(),
        })
    }

    /// Returns the next chunk; `None` at the end, if the body has the announced length.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>> {
        for _ in 0..EMPTY_PIECES_MAX {
            let body = &mut self.body;
            match poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await {
                None => {
                    return match self.announced_bytes {
                        Some(announced) if announced != self.received_bytes => Err(self.bad(format!(
                            "the body ended after {} of {announced} bytes",
                            self.received_bytes
                        ))),
                        _ => Ok(None),
                    };
                }
                Some(Err(source)) => {
                    return Err(Error::Unreachable { request: self.request.clone(), source });
                }
                Some(Ok(frame)) => {
                    // The protocol uses no trailers.
                    if let Ok(chunk) = frame.into_data()
                        && !chunk.is_empty()
                    {
                        self.received_bytes += chunk.len() as u64;
                        self.allowance.spend(&self.request, chunk.len() as u64)?;
                        let wanted = BEGINNING_BYTES.saturating_sub(self.beginning.len());
                        self.beginning.extend_from_slice(&chunk[..wanted.min(chunk.len())]);
                        return match self.announced_bytes {
                            Some(announced) if self.received_bytes > announced => {
                                Err(self.bad(format!("a body of more than the announced {announced} bytes")))
                            }
                            _ => Ok(Some(chunk)),
                        };
                    }
                }
            }
        }
        Err(self.bad(format!("a body with {EMPTY_PIECES_MAX} empty pieces in a row")))
    }

    /// The length that the server announced, if any.
    pub(crate) fn announced_bytes(&self) -> Option<u64> {
        self.announced_bytes
    }

    /// Bytes received so far.
    pub(crate) fn received_bytes(&self) -> u64 {
        self.received_bytes
    }

    /// Builds an error about this answer.
    pub(crate) fn bad(&self, problem: String) -> Error {
        let problem = match self.foreign_format() {
            Some(format) => format!("{format} instead of a body of the protocol ({problem})"),
            None => problem,
        };
        Error::BadAnswer { request: self.request.clone(), problem }
    }

    /// The format of a body that a proxy or another server has sent, if it is a common one.
    fn foreign_format(&self) -> Option<String> {
        let begins_with = |text: &str| {
            let body = self.beginning.trim_ascii_start();
            body.get(..text.len()).is_some_and(|start| start.eq_ignore_ascii_case(text.as_bytes()))
        };
        if let Some(encoding) = self.header(&CONTENT_ENCODING).filter(|encoding| encoding != "identity") {
            return Some(format!("a body with the encoding {encoding}"));
        }
        let formats = [("<!doctype html", "an HTML page"), ("<html", "an HTML page"), ("<?xml", "XML")];
        if self.beginning.starts_with(&[0x1f, 0x8b]) {
            return Some("gzip".to_owned());
        }
        formats.into_iter().find(|(start, _)| begins_with(start)).map(|(_, format)| format.to_owned())
    }

    fn header(&self, name: &HeaderName) -> Option<String> {
        self.headers.get(name).map(|value| shortened(&String::from_utf8_lossy(value.as_bytes())))
    }

    async fn expect(&mut self, actual: StatusCode, expected: StatusCode) -> Result<()> {
        if actual == expected { Ok(()) } else { Err(self.unexpected(actual).await?) }
    }

    /// Builds the error for an unexpected status.
    async fn unexpected(&mut self, actual: StatusCode) -> Result<Error> {
        let detail = self.detail().await?;
        Ok(self.unexpected_with(actual, &detail))
    }

    /// Reads the start of the body of an unexpected answer.
    async fn detail(&mut self) -> Result<Vec<u8>> {
        let mut detail = Vec::new();
        while detail.len() < DETAIL_BYTES_MAX
            && let Some(chunk) = self.chunk().await?
        {
            detail.extend_from_slice(&chunk);
        }
        Ok(detail)
    }

    fn unexpected_with(&self, actual: StatusCode, detail: &[u8]) -> Error {
        if actual == StatusCode::PAYLOAD_TOO_LARGE && self.sent_bytes > 0 {
            return Error::RequestTooLarge {
                request: self.request.clone(),
                body_bytes: self.sent_bytes,
                detail: shortened(&String::from_utf8_lossy(detail)),
            };
        }
        Error::UnexpectedStatus {
            request: self.request.clone(),
            status: actual.as_u16(),
            location: self.header(&LOCATION),
            retry_after: self.header(&RETRY_AFTER),
            detail: shortened(&String::from_utf8_lossy(detail)),
        }
    }

    async fn json<T: DeserializeOwned>(&mut self) -> Result<T> {
        let mut text = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            text.extend_from_slice(&chunk);
            if text.len() > JSON_BYTES_MAX {
                return Err(self.bad(format!("more than {JSON_BYTES_MAX} bytes of JSON")));
            }
        }
        serde_json::from_slice(&text).map_err(|error| self.bad(format!("not the expected JSON: {error}")))
    }
}
