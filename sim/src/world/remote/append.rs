//! `POST /sync`: appends a client's frames to the remote's log.
//!
//! A posted frame whose number already exists must equal the existing frame. The other frames are appended,
//! one complete transaction at a time. A transaction that does not end within its request is held open, and
//! the answer contains a baton for it. A request that carries the baton continues the transaction.
//!
//! As there is one writer, there is at most one open transaction. It is rolled back when another writer
//! starts to write, and lost in a restart. A request with the baton of a transaction that is gone is answered
//! with a conflict, even if the log already has equal frames: these may be another writer's, and the frames
//! of the earlier requests can no longer be compared. A client that has not seen the answer may repeat the
//! request that completed the last transaction, but no earlier request.
//!
//! A remote may limit the bytes of an open transaction, and its time ([`BatonLimits`]).

use std::time::Duration;

use http::{Response, StatusCode};
use turso_core::{LimboError, MonotonicInstant};

use super::content::Content;
use super::kept::KeptLog;
use super::routes::{Range, Status, error, json, status};
use super::{Remote, posted_page};
use crate::judge::format::{FRAME_BYTES, FRAME_HEADER_BYTES, FrameHeader};

type FrameBytes = [u8; FRAME_BYTES];

/// How much of a transaction may be held open for its baton, and for how long.
#[derive(Debug, Clone)]
pub struct BatonLimits {
    /// Bytes of its frames.
    pub bytes: usize,
    /// The time from its first request on.
    pub time: Duration,
}

impl BatonLimits {
    pub(super) const NONE: Self = Self { bytes: usize::MAX, time: Duration::MAX };
}

impl Default for BatonLimits {
    fn default() -> Self {
        Self { bytes: 64 << 20, time: Duration::from_secs(300) }
    }
}

/// The first part of a transaction whose end has not been posted yet.
pub(super) struct OpenTransaction {
    baton: String,
    begin: MonotonicInstant,
    /// The frames that follow the last frame of the log.
    frames: Vec<FrameBytes>,
}

impl<L: KeptLog> Remote<L> {
    pub(super) fn append(&mut self, range: Range, baton: Option<&str>, body: &[u8]) -> Response<Content> {
        let appended = self.try_append(range, baton, body);
        appended.unwrap_or_else(|failure| error(StatusCode::INTERNAL_SERVER_ERROR, &failure.to_string()))
    }

    fn try_append(
        &mut self,
        range: Range,
        baton: Option<&str>,
        body: &[u8],
    ) -> Result<Response<Content>, LimboError> {
        self.end_expired_baton();
        if range.start == 0 || range.end <= range.start {
            return Ok(self.status(StatusCode::BAD_REQUEST, Status::BadRange));
        }
        let (frames, rest) = body.as_chunks::<FRAME_BYTES>();
        let well_formed = rest.is_empty()
            && frames.len() as u64 == range.end - range.start
            && frames.iter().all(has_sound_page);
        if !well_formed {
            return Ok(self.status(StatusCode::BAD_REQUEST, Status::BadBody));
        }
        if range.generation != self.generation() {
            return Ok(self.status(StatusCode::OK, Status::CheckpointNeeded));
        }
        let continues = self.continues_open(range.start, baton, frames)?;
        let held = if continues { self.open.as_ref().map_or(0, |open| open.frames.len()) } else { 0 };
        let known = self.frame_count() + held as u64;
        let is_repeated = baton == self.completed.as_deref() && range.end - 1 <= known;
        if baton.is_some() && !continues && !is_repeated {
            return Ok(self.status(StatusCode::OK, Status::Conflict));
        }
        if range.start > known + 1 {
            return Ok(self.status(StatusCode::BAD_REQUEST, Status::BadRange));
        }
        let (existing, new) = frames.split_at(frames.len().min((known + 1 - range.start) as usize));
        if !self.holds(range.start, existing)? || self.is_of_another_copy(range.start, &frames[0])? {
            self.open = self.open.take().filter(|_| !continues);
            return Ok(self.status(StatusCode::OK, Status::Conflict));
        }
        if new.is_empty() {
            let baton = self.open.as_ref().filter(|_| continues).map(|open| open.baton.clone());
            return Ok(status(StatusCode::OK, Status::Ok, self.end(), baton));
        }
        let open = self.open.take().filter(|_| continues);
        self.append_new(open, new)
    }

    /// Whether a request belongs to the open transaction. Such a request carries the transaction's baton, or
    /// it repeats the request that opened the transaction, if no other request has followed that one.
    fn continues_open(
        &self,
        start: u64,
        baton: Option<&str>,
        frames: &[FrameBytes],
    ) -> Result<bool, LimboError> {
        let Some(open) = &self.open else { return Ok(false) };
        if let Some(baton) = baton {
            return Ok(baton == open.baton);
        }
        let held = self.frame_count() + open.frames.len() as u64;
        Ok(start + frames.len() as u64 - 1 == held && self.holds(start, frames)?)
    }

    /// Appends the complete transactions, and holds the rest open.
    fn append_new(
        &mut self,
        open: Option<OpenTransaction>,
        new: &[FrameBytes],
    ) -> Result<Response<Content>, LimboError> {
        let whole_of_new =
            new.iter().rposition(|frame| frame_header(frame).is_commit()).map_or(0, |last| last + 1);
        let held = open.as_ref().filter(|_| whole_of_new == 0).map_or(0, |open| open.frames.len());
        if (held + new.len() - whole_of_new) * FRAME_BYTES > self.baton_limits.bytes {
            return Ok(self.too_much_to_hold());
        }
        let OpenTransaction { baton, begin, mut frames } = open.unwrap_or_else(|| {
            self.batons += 1;
            let begin = self.store.io().current_time_monotonic();
            OpenTransaction { baton: format!("b{}", self.batons), begin, frames: Vec::new() }
        });
        let whole = if whole_of_new == 0 { 0 } else { frames.len() + whole_of_new };
        frames.extend_from_slice(new);
        if whole > 0 {
            if !self.keep_roots(&frames[..whole])? {
                return Ok(self.status(StatusCode::BAD_REQUEST, Status::BadBody));
            }
            let appended = self.store.append(self.frame_count() + 1, &frames[..whole]);
            self.log.record(&self.store).and(appended)?;
            frames.drain(..whole);
            self.completed = Some(baton.clone());
        }
        self.open = (!frames.is_empty()).then_some(OpenTransaction { baton, begin, frames });
        let baton = self.open.as_ref().map(|open| open.baton.clone());
        Ok(status(StatusCode::OK, Status::Ok, self.end(), baton))
    }

    /// Whether the root pages of tables and indexes are still of their kinds after a transaction. If it changes the
    /// schema, its pages do not show that.
    fn keep_roots(&self, frames: &[FrameBytes]) -> Result<bool, LimboError> {
        let page_no = |frame: &FrameBytes| frame_header(frame).page_no;
        let schema_version = self.store.schema_version()?;
        let first = frames.iter().rfind(|frame| page_no(frame) == 1);
        if first
            .is_some_and(|frame| posted_page::schema_version(&frame[FRAME_HEADER_BYTES..]) != schema_version)
        {
            return Ok(true);
        }
        let roots = self.store.roots()?;
        Ok(frames.iter().all(|frame| {
            let kind = roots.get(&page_no(frame));
            kind.is_none_or(|kind| posted_page::is_of_kind(&frame[FRAME_HEADER_BYTES..], *kind))
        }))
    }

    /// The answer to a request that would hold too much open. Nothing of it was appended, and nothing is held.
    fn too_much_to_hold(&self) -> Response<Content> {
        let limit = self.baton_limits.bytes;
        let reason =
            format!("a transaction of more than {limit} bytes cannot be held open; send it in one request");
        json(StatusCode::PAYLOAD_TOO_LARGE, &serde_json::json!({ "error": reason, "limit_bytes": limit }))
    }

    /// Rolls back the open transaction if its time is over.
    pub(super) fn end_expired_baton(&mut self) {
        let now = self.store.io().current_time_monotonic();
        let limit = self.baton_limits.time;
        self.open = self.open.take().filter(|open| now.duration_since(open.begin) < limit);
    }

    /// Whether a posted frame is of another copy of this log: it has the salts of the existing frame with this
    /// number, but another checksum, which covers the frames before it. A client may send the stamp that it has
    /// received, or one of its own log, which has other salts.
    fn is_of_another_copy(&self, frame_no: u64, posted: &FrameBytes) -> Result<bool, LimboError> {
        let posted = frame_header(posted);
        let known = self.log.frame(frame_no)?.and_then(|known| FrameHeader::parse(&known));
        Ok(known.is_some_and(|known| known.salts == posted.salts && known.checksum != posted.checksum))
    }

    /// Whether these frames equal the existing ones from number `start` on, first in the current generation's
    /// log, then in the open transaction. Salts and checksums are not compared, because each WAL has its own.
    fn holds(&self, start: u64, frames: &[FrameBytes]) -> Result<bool, LimboError> {
        for (frame_no, frame) in (start..).zip(frames) {
            let is_same = match self.held_frame(frame_no) {
                Some(held) => is_same_write(held, frame),
                None => self.log.frame(frame_no)?.is_some_and(|known| is_same_write(&known, frame)),
            };
            if !is_same {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// A frame of the open transaction.
    fn held_frame(&self, frame_no: u64) -> Option<&FrameBytes> {
        let index = frame_no.checked_sub(self.frame_count() + 1)?;
        self.open.as_ref()?.frames.get(index as usize)
    }
}

/// Whether two frames write the same page, and both end the same transaction or none.
fn is_same_write(known: &[u8], frame: &FrameBytes) -> bool {
    /// Page number and page count.
    const COMPARED_HEADER_BYTES: usize = 8;
    known[..COMPARED_HEADER_BYTES] == frame[..COMPARED_HEADER_BYTES]
        && known[FRAME_HEADER_BYTES..] == frame[FRAME_HEADER_BYTES..]
}

/// Whether a frame is safe to append. A page of no kind would break the remote's own database.
fn has_sound_page(frame: &FrameBytes) -> bool {
    posted_page::check(frame_header(frame).page_no, &frame[FRAME_HEADER_BYTES..]).is_ok()
}

fn frame_header(frame: &[u8; FRAME_BYTES]) -> FrameHeader {
    FrameHeader::parse(frame).expect("a frame is longer than its header")
}
