//! The routes of the wire protocol.
//!
//! `GET /info`, `GET /export/{gen}`, `GET` and `POST /sync/{gen}/{start}/{end}`, `POST /v2/pipeline`.
//! `append` implements `POST /sync`. Generations and frames are numbered from 1, ranges are half-open, and
//! every answer has a `content-length`.

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use serde::Serialize;

use super::content::Content;
use super::kept::KeptLog;
use super::{Remote, pipeline, store};
use crate::judge::remote_log::LogEnd;

enum Route<'a> {
    Info,
    Export { generation: u64 },
    Sync { range: Range, baton: Option<&'a str> },
    Pipeline,
}

/// Frames `start..end` of a generation.
#[derive(Clone, Copy)]
pub(super) struct Range {
    pub generation: u64,
    pub start: u64,
    pub end: u64,
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

/// The status words of a status object. Clients know the first three. The others say what is wrong with a
/// request.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Status {
    Ok,
    CheckpointNeeded,
    Conflict,
    BadRange,
    BadBody,
}

/// The body of an answer that carries neither frames nor rows.
#[derive(Serialize)]
struct StatusObject {
    baton: Option<String>,
    status: Status,
    /// The current generation, whichever was requested.
    generation: u64,
    /// The number of frames in the current generation.
    max_frame_no: u64,
}

#[derive(Serialize)]
struct Info {
    current_generation: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    history_id: Option<String>,
}

impl<L: KeptLog> Remote<L> {
    /// Answers one request. A bad request gets a 4xx answer, a failing disk causes a 5xx answer.
    pub fn answer(&mut self, request: &Request<Bytes>) -> Response<Content> {
        let mut response = match (request.method(), Route::parse(request.uri().path())) {
            (_, None) => error(StatusCode::NOT_FOUND, "no such route"),
            (&Method::GET, Some(route)) => self.look_up(route, self.end()),
            (&Method::POST, _) if self.is_for_another_instance(request) => another_instance(),
            (&Method::POST, Some(Route::Sync { range, baton })) => self.append(range, baton, request.body()),
            (&Method::POST, Some(Route::Pipeline)) => self.pipeline(request.body()),
            _ => error(StatusCode::METHOD_NOT_ALLOWED, "wrong method"),
        };
        self.name_instance(&mut response);
        response
    }

    /// Whether a request runs SQL. A served remote runs it in a [`Session`](super::Session).
    pub fn runs_sql(request: &Request<Bytes>) -> bool {
        request.method() == Method::POST
            && matches!(Route::parse(request.uri().path()), Some(Route::Pipeline))
    }

    /// Answers a request as of the time when the log ended at `end`. `None` for a request that writes.
    pub(super) fn answer_as_of(&self, request: &Request<Bytes>, end: LogEnd) -> Option<Response<Content>> {
        let route = Route::parse(request.uri().path())?;
        (request.method() == Method::GET).then(|| {
            let mut response = self.look_up(route, end);
            self.name_instance(&mut response);
            response
        })
    }

    fn look_up(&self, route: Route<'_>, end: LogEnd) -> Response<Content> {
        match route {
            Route::Info => json(
                StatusCode::OK,
                &Info { current_generation: end.generation, history_id: self.history_id() },
            ),
            Route::Export { generation } => self.export(generation, end),
            Route::Sync { range, baton: None } => self.frames(range, end),
            Route::Sync { .. } | Route::Pipeline => error(StatusCode::METHOD_NOT_ALLOWED, "wrong method"),
        }
    }

    fn export(&self, generation: u64, end: LogEnd) -> Response<Content> {
        if generation > end.generation || self.log.served_frame_count(generation).is_none() {
            return error(StatusCode::NOT_FOUND, "no such generation");
        }
        let mut response = match self.log.snapshot(generation) {
            Ok(snapshot) => binary(snapshot),
            Err(failure) => return error(StatusCode::INTERNAL_SERVER_ERROR, &failure.to_string()),
        };
        self.name_predecessor(generation, &mut response);
        response
    }

    /// `GET /sync`: the existing frames of the range, or a status that says why there are none. Archived
    /// generations are served like the current one. A range may end inside a transaction.
    fn frames(&self, range: Range, end: LogEnd) -> Response<Content> {
        let mut response = self.existing_frames(range, end);
        if range.start == 1 && response.status() != StatusCode::NOT_FOUND {
            self.name_predecessor(range.generation, &mut response);
        }
        response
    }

    fn existing_frames(&self, range: Range, end: LogEnd) -> Response<Content> {
        let known = self.log.served_frame_count(range.generation);
        let Some(frame_count) = known.filter(|_| range.generation <= end.generation) else {
            return error(StatusCode::NOT_FOUND, "no such generation");
        };
        if range.start == 0 || range.end <= range.start {
            return status(StatusCode::BAD_REQUEST, Status::BadRange, end, None);
        }
        let is_current = range.generation == end.generation;
        let frame_count = if is_current { end.frame_no } else { frame_count };
        let range_end = range.end.min(frame_count + 1);
        if range_end <= range.start {
            return status(StatusCode::BAD_REQUEST, Status::CheckpointNeeded, end, None);
        }
        match self.log.frames(range.generation, range.start..range_end) {
            Ok(frames) => binary(frames),
            Err(failure) => error(StatusCode::INTERNAL_SERVER_ERROR, &failure.to_string()),
        }
    }

    fn pipeline(&mut self, body: &[u8]) -> Response<Content> {
        self.open = None;
        match pipeline::parse(body) {
            Ok(pipeline) => {
                let connection = self.store.shared();
                let answer = pipeline::run(connection, &pipeline, None);
                let rolled_back = store::roll_back(connection);
                let recorded = self.log.record(&self.store);
                pipeline::response(rolled_back.and(recorded).map(|()| answer))
            }
            Err(reason) => error(StatusCode::BAD_REQUEST, &reason),
        }
    }

    pub(super) fn status(&self, code: StatusCode, word: Status) -> Response<Content> {
        status(code, word, self.end(), None)
    }
}

pub(super) fn status(
    code: StatusCode,
    status: Status,
    end: LogEnd,
    baton: Option<String>,
) -> Response<Content> {
    json(code, &StatusObject { baton, status, generation: end.generation, max_frame_no: end.frame_no })
}

pub(super) fn another_instance() -> Response<Content> {
    error(StatusCode::PRECONDITION_FAILED, "another run of the server is named")
}

pub(super) fn error(code: StatusCode, reason: &str) -> Response<Content> {
    json(code, &serde_json::json!({ "error": reason }))
}

pub(super) fn json(code: StatusCode, body: &impl Serialize) -> Response<Content> {
    let body = serde_json::to_vec(body).expect("an answer has only string keys");
    respond(code, "application/json", body.into())
}

fn binary(body: Content) -> Response<Content> {
    respond(StatusCode::OK, "application/octet-stream", body)
}

fn respond(code: StatusCode, content_type: &str, body: Content) -> Response<Content> {
    Response::builder()
        .status(code)
        .header(header::CONTENT_TYPE, content_type)
        .header(header::CONTENT_LENGTH, body.len())
        .body(body)
        .expect("the header names and values are valid")
}
