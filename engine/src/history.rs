//! Checks whether the server's log is still the one that Synced replicates.
//!
//! Within one log, frames are only ever appended. A server that was restored to an older state starts another
//! log, and frames of the two must not be mixed. In the answer to `/info`, some servers send a `history_id`,
//! which identifies the log. For other servers, the engine requests one frame again: the newest one
//! that Synced holds. The frame must have the same page and the same checksum, which covers all frames before
//! it.
//!
//! A re-bootstrap is expensive. So the engine does not trust a single answer that shows another log: it asks
//! a second time.

use std::cmp::Ordering;

use bytes::BytesMut;

use crate::error::{DatabaseContext, Error, Result};
use crate::metadata::{FrameStamp, Metadata};
use crate::protocol::{Info, Status};
use crate::remote::Remote;
use crate::report::RebootstrapReason;
use crate::state::State;
use crate::synced::Synced;
use crate::wal::{FRAME_BYTES, Frame, PAGE_BYTES, RawSession};
use crate::wire::{BodyStream, FrameAnswer, Wire};

/// Checks whether the server has another log. Returns `None` if no difference is known.
pub(crate) async fn changed<R: Remote>(
    wire: &Wire<R>,
    state: &State,
    synced: &Synced,
) -> Result<Option<RebootstrapReason>> {
    if let Some(known) = &state.metadata.history_id
        && let Some(now) = wire.info().await?.history_id
    {
        return Ok((*known != now).then_some(RebootstrapReason::HistoryChanged));
    }
    match look_at_anchor(wire, state, synced).await? {
        Sighting::Same | Sighting::Unknown => Ok(None),
        Sighting::Other => Ok(Some(RebootstrapReason::HistoryChanged)),
        Sighting::Gone(suspicion) => confirm(wire, state, synced, suspicion).await.map(Some),
    }
}

/// The state of Synced's newest frame on the server.
enum Sighting {
    /// The server has the same frame at the same place.
    Same,
    /// The server has another frame there, or none.
    Other,
    /// The server no longer has the frame's generation, although Synced has not passed it.
    Gone(Error),
    /// Synced holds no remote frame to compare.
    Unknown,
}

/// Requests Synced's newest remote frame from the server, and compares it with Synced.
async fn look_at_anchor<R: Remote>(wire: &Wire<R>, state: &State, synced: &Synced) -> Result<Sighting> {
    let Some(anchor) = state.metadata.anchor else { return Ok(Sighting::Unknown) };
    // A single answer may be wrong.
    for _ in 0..2 {
        match wire.frames(anchor.generation, anchor.frame_no, anchor.frame_no + 1).await? {
            FrameAnswer::Frames(body) => {
                let frame = read_frame(body).await?;
                let stamp_agrees = anchor.stamp.is_none_or(|stamp| stamp == frame.stamp());
                if stamp_agrees && holds_page(synced, state.metadata.synced_wal_frames, &frame)? {
                    return Ok(Sighting::Same);
                }
            }
            FrameAnswer::End(_) => {}
            // The server may prune a generation that Synced has passed.
            FrameAnswer::Gone(_) if anchor.generation < state.metadata.synced_generation => {
                return Ok(Sighting::Unknown);
            }
            FrameAnswer::Gone(suspicion) => return Ok(Sighting::Gone(suspicion)),
        }
    }
    Ok(Sighting::Other)
}

/// Finds out whether the server's log really does not contain Synced's end, as an answer suggests. Returns
/// the reason if further answers confirm it. Otherwise returns the error `suspicion`, which describes the
/// first answer.
pub(crate) async fn confirm<R: Remote>(
    wire: &Wire<R>,
    state: &State,
    synced: &Synced,
    suspicion: Error,
) -> Result<RebootstrapReason> {
    let generation = state.metadata.synced_generation;
    let mut info = wire.info().await?;
    if info.current_generation <= generation {
        // Either the suspicion is unfounded, or the server was restored to an earlier generation. This answer
        // may be outdated, so ask again.
        info = wire.info().await?;
    }
    match assess_info(&info, &state.metadata) {
        Assessment::Confirmed(reason) => return Ok(reason),
        Assessment::Unfounded => return Err(suspicion),
        Assessment::Open => {}
    }
    let start = state.metadata.synced_frame() + 1;
    let answer = wire.frames(generation, start, start + 1).await?;
    match assess_answer(&answer, info.current_generation, &state.metadata) {
        Assessment::Confirmed(reason) => Ok(reason),
        Assessment::Unfounded => Err(suspicion),
        Assessment::Open => match look_at_anchor(wire, state, synced).await? {
            Sighting::Other => Ok(RebootstrapReason::HistoryChanged),
            Sighting::Same | Sighting::Unknown | Sighting::Gone(_) => Err(suspicion),
        },
    }
}

/// The conclusion that an answer allows about a suspicion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Assessment {
    Confirmed(RebootstrapReason),
    Unfounded,
    /// The answer decides nothing; another request must.
    Open,
}

/// Assesses the answer to `/info`. It decides only if the server sends a `history_id`.
fn assess_info(info: &Info, metadata: &Metadata) -> Assessment {
    match (&metadata.history_id, &info.history_id) {
        (Some(known), Some(now)) if known != now => Assessment::Confirmed(RebootstrapReason::HistoryChanged),
        (Some(_), Some(_)) if info.current_generation <= metadata.synced_generation => Assessment::Unfounded,
        _ => Assessment::Open,
    }
}

/// Assesses the answer to a request for the frame after Synced's end. The server's newest generation is
/// `current_generation`.
fn assess_answer<B>(answer: &FrameAnswer<B>, current_generation: u64, metadata: &Metadata) -> Assessment {
    match answer {
        FrameAnswer::Gone(_) => match current_generation.cmp(&metadata.synced_generation) {
            Ordering::Greater => Assessment::Confirmed(RebootstrapReason::GenerationPruned),
            Ordering::Less => Assessment::Confirmed(RebootstrapReason::HistoryChanged),
            Ordering::Equal => Assessment::Unfounded,
        },
        FrameAnswer::End(status) if went_back(status, metadata) => {
            Assessment::Confirmed(RebootstrapReason::HistoryChanged)
        }
        // Either the answer that raised the suspicion was wrong, or another log has grown past that place.
        FrameAnswer::End(_) | FrameAnswer::Frames(_) => Assessment::Open,
    }
}

/// Whether the server reports an end before Synced's end.
pub(crate) fn went_back(status: &Status, metadata: &Metadata) -> bool {
    let (generation, frame_no) = (metadata.synced_generation, metadata.synced_frame());
    status.generation < generation || (status.generation == generation && status.max_frame_no < frame_no)
}

/// Requests a frame that the server has accepted, and returns its stamp in the server's own log, which has
/// salts of its own. Returns `None` if the request fails: the push has succeeded, and must not fail because
/// of the stamp.
pub(crate) async fn stamp_of<R: Remote>(
    wire: &Wire<R>,
    generation: u64,
    frame_no: u64,
) -> Option<FrameStamp> {
    match wire.frames(generation, frame_no, frame_no + 1).await {
        Ok(FrameAnswer::Frames(body)) => match read_frame(body).await {
            Ok(frame) => Some(frame.stamp()),
            Err(error) => unknown_stamp(&error),
        },
        Ok(FrameAnswer::Gone(error)) | Err(error) => unknown_stamp(&error),
        Ok(FrameAnswer::End(_)) => None,
    }
}

fn unknown_stamp(error: &Error) -> Option<FrameStamp> {
    tracing::warn!(%error, "cannot read the stamp of a pushed frame");
    None
}

async fn read_frame<B>(mut body: BodyStream<B>) -> Result<Frame>
where
    B: http_body::Body<Data = bytes::Bytes, Error = crate::remote::RemoteError> + Unpin,
{
    let mut bytes = BytesMut::new();
    while let Some(chunk) = body.chunk().await? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > FRAME_BYTES {
            break;
        }
    }
    match <[u8; FRAME_BYTES]>::try_from(bytes.as_ref()) {
        Ok(bytes) => Ok(Frame::from_bytes(bytes)),
        Err(_) => Err(body.bad(format!("{} bytes instead of one frame", bytes.len()))),
    }
}

/// Whether the page of `frame` equals Synced's page as of Synced's frame `end`. `synced` may be in a raw
/// session.
fn holds_page(synced: &Synced, end: u64, frame: &Frame) -> Result<bool> {
    if frame.page_no() == 0 {
        return Ok(false);
    }
    let read = || {
        let mut page = [0; PAGE_BYTES];
        let connection = &synced.connection;
        let session =
            connection.get_auto_commit().then(|| RawSession::begin(connection.clone())).transpose()?;
        let is_there = connection.try_wal_watermark_read_page(frame.page_no(), &mut page, Some(end))?;
        if let Some(session) = session {
            session.end()?;
        }
        Ok(is_there && page == frame.page())
    };
    read().while_doing("reading a page", &synced.file)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Synced is at frame 7 of generation 3.
    fn synced(history_id: Option<&str>) -> Metadata {
        Metadata {
            synced_generation: 3,
            synced_frame_no: Some(7),
            history_id: history_id.map(str::to_owned),
            ..Metadata::bootstrapping("a-1".into())
        }
    }

    fn info(current_generation: u64, history_id: Option<&str>) -> Info {
        Info { current_generation, history_id: history_id.map(str::to_owned) }
    }

    fn end(generation: u64, max_frame_no: u64) -> FrameAnswer<()> {
        let status = String::new();
        FrameAnswer::End(Status { baton: None, status, generation, max_frame_no })
    }

    const CHANGED: Assessment = Assessment::Confirmed(RebootstrapReason::HistoryChanged);
    const PRUNED: Assessment = Assessment::Confirmed(RebootstrapReason::GenerationPruned);

    #[test]
    fn a_server_is_behind_where_its_generation_or_its_last_frame_is() {
        let went_back = |generation, max_frame_no| match end(generation, max_frame_no) {
            FrameAnswer::End(status) => went_back(&status, &synced(None)),
            _ => unreachable!(),
        };
        assert!(went_back(2, 9) && went_back(3, 6));
        assert!(!went_back(3, 7) && !went_back(3, 8) && !went_back(4, 0));
    }

    #[test]
    fn a_server_that_names_its_history_settles_most_suspicions() {
        assert_eq!(assess_info(&info(4, Some("b")), &synced(Some("a"))), CHANGED);
        assert_eq!(assess_info(&info(3, Some("a")), &synced(Some("a"))), Assessment::Unfounded);
        assert_eq!(assess_info(&info(2, Some("a")), &synced(Some("a"))), Assessment::Unfounded);
        assert_eq!(assess_info(&info(4, Some("a")), &synced(Some("a"))), Assessment::Open);
    }

    #[test]
    fn a_server_that_names_no_history_settles_no_suspicion() {
        assert_eq!(assess_info(&info(2, None), &synced(None)), Assessment::Open);
        assert_eq!(assess_info(&info(2, None), &synced(Some("a"))), Assessment::Open);
        assert_eq!(assess_info(&info(2, Some("a")), &synced(None)), Assessment::Open);
    }

    #[test]
    fn a_generation_that_is_gone_was_pruned_only_if_there_is_a_newer_one() {
        let gone = || FrameAnswer::<()>::Gone(Error::OperationInProgress);
        assert_eq!(assess_answer(&gone(), 4, &synced(None)), PRUNED);
        assert_eq!(assess_answer(&gone(), 3, &synced(None)), Assessment::Unfounded);
        assert_eq!(assess_answer(&gone(), 2, &synced(None)), CHANGED);
    }

    #[test]
    fn an_end_before_synceds_is_of_another_history() {
        assert_eq!(assess_answer(&end(3, 6), 3, &synced(None)), CHANGED);
        assert_eq!(assess_answer(&end(3, 7), 3, &synced(None)), Assessment::Open);
        assert_eq!(assess_answer(&end(4, 0), 4, &synced(None)), Assessment::Open);
    }
}
