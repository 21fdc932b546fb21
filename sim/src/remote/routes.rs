//! Requests to answers: the routes of the wire protocol.
//!
//! `GET /info`, `GET /export/{gen}`, `GET` and `POST /sync/{gen}/{start}/{end}`, `POST /v2/pipeline`. Generations and
//! frames count from 1, ranges are half-open, and every answer has a `content-length`.

use bytes::{Bytes, BytesMut};
use http::{Method, Request, Response, StatusCode, header};
use serde::Serialize;

use super::pipeline::{self, Failure};
use super::{End, HISTORY_ID, Remote};
use crate::format::{DatabaseHeader, FRAME_BYTES, FRAME_HEADER_BYTES, FrameHeader, PAGE_BYTES};

/// What a path names.
enum Route<'a> {
    Info,
    Export { generation: u64 },
    Sync { range: Range, baton: Option<&'a str> },
    Pipeline,
}

/// Frames `start..end` of a generation.
#[derive(Clone, Copy)]
struct Range {
    generation: u64,
    start: u64,
    end: u64,
}

impl<'a> Route<'a> {
    fn parse(path: &'a str) -> Option<Route<'a>> {
        let segments: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
        let range = |generation: &str, start: &str, end: &str| {
            let (generation, start, end) = (generation.parse().ok()?, start.parse().ok()?, end.parse().ok()?);
            Some(Range { generation, start, end })
        };
        match segments[..] {
            ["info"] => Some(Route::Info),
            ["export", generation] => Some(Route::Export { generation: generation.parse().ok()? }),
            ["sync", generation, start, end] => {
                Some(Route::Sync { range: range(generation, start, end)?, baton: None })
            }
            ["sync", generation, start, end, baton] => {
                Some(Route::Sync { range: range(generation, start, end)?, baton: Some(baton) })
            }
            ["v2", "pipeline"] => Some(Route::Pipeline),
            _ => None,
        }
    }
}

/// The status words of a status object. Clients know the first three; the rest say what was wrong with a request.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Status {
    Ok,
    CheckpointNeeded,
    Conflict,
    BadRange,
    BadBody,
    BadBaton,
    OpenTransaction,
}

/// The body of an answer that has neither frames nor rows.
#[derive(Serialize)]
struct StatusObject {
    baton: Option<String>,
    status: Status,
    /// The current one, whichever was asked for.
    generation: u64,
    /// Frames in the current generation.
    max_frame_no: u64,
}

#[derive(Serialize)]
struct Info {
    current_generation: u64,
    history_id: &'static str,
}

impl Remote {
    /// Answers one request. A bad one gets a 4xx answer, a failing disk a 5xx.
    pub fn serve(&mut self, request: &Request<Bytes>) -> Response<Bytes> {
        let Some(route) = Route::parse(request.uri().path()) else {
            return error(StatusCode::NOT_FOUND, "no such route");
        };
        match (request.method(), route) {
            (&Method::GET, route) => self.look_up(route, self.end()),
            (&Method::POST, Route::Sync { range, baton }) => self.append(range, baton, request.body()),
            (&Method::POST, Route::Pipeline) => self.pipeline(request.body()),
            _ => error(StatusCode::METHOD_NOT_ALLOWED, "wrong method"),
        }
    }

    /// Answers a request that changes nothing as it would have been answered when the history ended at `end`; `None` for
    /// another request.
    pub fn serve_as_of(&self, request: &Request<Bytes>, end: End) -> Option<Response<Bytes>> {
        let route = Route::parse(request.uri().path())?;
        (request.method() == Method::GET).then(|| self.look_up(route, end))
    }

    fn look_up(&self, route: Route<'_>, end: End) -> Response<Bytes> {
        match route {
            Route::Info => {
                json(StatusCode::OK, &Info { current_generation: end.generation, history_id: HISTORY_ID })
            }
            Route::Export { generation } => self.export(generation, end),
            Route::Sync { range, baton: None } => self.frames(range, end),
            Route::Sync { .. } | Route::Pipeline => error(StatusCode::METHOD_NOT_ALLOWED, "wrong method"),
        }
    }

    fn export(&self, generation: u64, end: End) -> Response<Bytes> {
        match self.history.generation(generation).filter(|_| generation <= end.generation) {
            Some(generation) => binary(generation.snapshot().clone()),
            None => error(StatusCode::NOT_FOUND, "no such generation"),
        }
    }

    /// `GET /sync`: the frames of the range that exist, or why there are none. Archived generations are answered like
    /// the current one; a range may end inside a transaction.
    fn frames(&self, range: Range, end: End) -> Response<Bytes> {
        let known = self.history.generation(range.generation).filter(|_| range.generation <= end.generation);
        let Some(generation) = known else {
            return error(StatusCode::NOT_FOUND, "no such generation");
        };
        if range.start == 0 || range.end <= range.start {
            return status(StatusCode::BAD_REQUEST, Status::BadRange, end);
        }
        let is_current = range.generation == end.generation;
        let frame_count = if is_current { end.frame_no } else { generation.frame_count() };
        let range_end = range.end.min(frame_count + 1);
        if range_end <= range.start {
            return status(StatusCode::BAD_REQUEST, Status::CheckpointNeeded, end);
        }
        let frames = &generation.frames()[range.start as usize - 1..range_end as usize - 1];
        let mut body = BytesMut::with_capacity(frames.len() * FRAME_BYTES);
        for frame in frames {
            body.extend_from_slice(frame.bytes());
        }
        binary(body.freeze())
    }

    /// `POST /sync`: frames that exist must be equal, the others are appended. No transaction outlives a request, so a
    /// body has to end with one, and no baton is ever valid.
    fn append(&mut self, range: Range, baton: Option<&str>, body: &[u8]) -> Response<Bytes> {
        if baton.is_some() {
            return self.status(StatusCode::BAD_REQUEST, Status::BadBaton);
        }
        if range.start == 0 || range.end <= range.start {
            return self.status(StatusCode::BAD_REQUEST, Status::BadRange);
        }
        let (frames, rest) = body.as_chunks::<FRAME_BYTES>();
        let well_formed = rest.is_empty()
            && frames.len() as u64 == range.end - range.start
            && frames.iter().all(is_plausible);
        if !well_formed {
            return self.status(StatusCode::BAD_REQUEST, Status::BadBody);
        }
        if range.generation != self.generation() {
            return self.status(StatusCode::OK, Status::CheckpointNeeded);
        }
        let known = self.frame_count();
        if range.start > known + 1 {
            return self.status(StatusCode::BAD_REQUEST, Status::BadRange);
        }
        let (existing, new) = frames.split_at(frames.len().min((known + 1 - range.start) as usize));
        if !self.holds(range.start, existing) {
            return self.status(StatusCode::OK, Status::Conflict);
        }
        let Some(last) = new.last() else {
            return self.status(StatusCode::OK, Status::Ok);
        };
        if !frame_header(last).is_commit() {
            return self.status(StatusCode::BAD_REQUEST, Status::OpenTransaction);
        }
        let appended = self.store.append(known + 1, new);
        self.record();
        match appended {
            Ok(()) => self.status(StatusCode::OK, Status::Ok),
            Err(failure) => error(StatusCode::INTERNAL_SERVER_ERROR, &failure.to_string()),
        }
    }

    /// Whether the current generation holds these very frames from `start` on. Salts and checksums are each log's own.
    fn holds(&self, start: u64, frames: &[[u8; FRAME_BYTES]]) -> bool {
        let known = &self.history.current().frames()[start as usize - 1..];
        frames.iter().zip(known).all(|(frame, known)| {
            let header = frame_header(frame);
            (header.page_no, header.db_size) == (known.header.page_no, known.header.db_size)
                && frame.ends_with(known.page())
        })
    }

    fn pipeline(&mut self, body: &[u8]) -> Response<Bytes> {
        let answer = pipeline::run(&self.store, body);
        self.record();
        match answer {
            Ok(answer) => json(StatusCode::OK, &answer),
            Err(Failure::BadRequest(reason)) => error(StatusCode::BAD_REQUEST, &reason),
            Err(Failure::Database(failure)) => error(StatusCode::INTERNAL_SERVER_ERROR, &failure.to_string()),
        }
    }

    fn status(&self, code: StatusCode, word: Status) -> Response<Bytes> {
        status(code, word, self.end())
    }
}

fn status(code: StatusCode, status: Status, end: End) -> Response<Bytes> {
    json(code, &StatusObject { baton: None, status, generation: end.generation, max_frame_no: end.frame_no })
}

/// Refuses what would break the remote's own database at once: page 0, and a page 1 that isn't a database's first.
fn is_plausible(frame: &[u8; FRAME_BYTES]) -> bool {
    match frame_header(frame).page_no {
        0 => false,
        1 => DatabaseHeader::parse(&frame[FRAME_HEADER_BYTES..])
            .is_some_and(|header| header.page_bytes as usize == PAGE_BYTES),
        _ => true,
    }
}

fn frame_header(frame: &[u8; FRAME_BYTES]) -> FrameHeader {
    FrameHeader::parse(frame).expect("a frame is longer than its header")
}

fn error(code: StatusCode, reason: &str) -> Response<Bytes> {
    json(code, &serde_json::json!({ "error": reason }))
}

fn json(code: StatusCode, body: &impl Serialize) -> Response<Bytes> {
    let body = serde_json::to_vec(body).expect("an answer has string keys only");
    respond(code, "application/json", body.into())
}

fn binary(body: Bytes) -> Response<Bytes> {
    respond(StatusCode::OK, "application/octet-stream", body)
}

fn respond(code: StatusCode, content_type: &str, body: Bytes) -> Response<Bytes> {
    Response::builder()
        .status(code)
        .header(header::CONTENT_TYPE, content_type)
        .header(header::CONTENT_LENGTH, body.len())
        .body(body)
        .expect("fixed header names and values are valid")
}
