//! Checks whether the server's log is still the one that Synced replicates.
//!
//! Within one log, frames are only ever appended. A server that was restored to an older state, or that runs on
//! a copy of the files, has another log, and frames of the two must not be mixed. Frames prove which log it is:
//!
//! * Within a generation, the checksums of the frames form a chain, which begins at the newest frame that Synced
//!   holds, the *anchor* (`chain`).
//! * Where a generation begins, a server may name the last frame of the generation before (`proof`).
//! * Where neither proves anything, the engine requests the anchor again: its page and its stamp must be the
//!   same. A stamp contains a checksum over all frames before it.
//!
//! The `history_id` in the answer to `/info` is only a hint, because a copy of the files keeps it. It decides
//! only if Synced holds no frame of the server.
//!
//! A re-bootstrap is expensive, and it can give up transactions that the server has acknowledged. So the engine
//! does not trust a single answer that shows another log: it asks a second time.

use std::cmp::Ordering;

use bytes::BytesMut;
use http::HeaderValue;

use crate::error::{DatabaseContext, Error, Result};
use crate::metadata::{Anchor, FrameStamp, Metadata};
use crate::proof::{Comparison, Origin};
use crate::protocol::{Info, Status};
use crate::remote::Remote;
use crate::report::RebootstrapReason;
use crate::state::State;
use crate::synced::Synced;
use crate::wal::{FRAME_BYTES, Frame, PAGE_BYTES, RawSession};
use crate::wire::{BodyStream, FrameAnswer, Wire};

/// Asks the server whether it has another log. Returns `None` if no difference is known.
pub(crate) async fn changed<R: Remote>(
    wire: &Wire<R>,
    state: &mut State,
    synced: &Synced,
) -> Result<Option<RebootstrapReason>> {
    match look_at_anchor(wire, &state.metadata, synced).await? {
        Sighting::Same(instance) => {
            state.proved_instance = instance;
            Ok(None)
        }
        Sighting::Other => Ok(Some(RebootstrapReason::HistoryChanged)),
        Sighting::Gone(suspicion) => match confirm(wire, state, synced, suspicion).await? {
            Verdict::Diverged(reason) => Ok(Some(reason)),
            Verdict::Unfounded(suspicion) => Err(suspicion),
        },
        Sighting::Unknown => {
            let Some(known) = &state.metadata.history_id else { return Ok(None) };
            let is_other = wire.info().await?.history_id.is_some_and(|now| now != *known);
            Ok(is_other.then_some(RebootstrapReason::HistoryChanged))
        }
    }
}

/// The state of Synced's newest frame on the server.
enum Sighting {
    /// The server has the same frame at the same place. With the name of the server's run, if it has one.
    Same(Option<HeaderValue>),
    /// The server has another frame there, or none.
    Other,
    /// The server no longer has the frame's generation, although Synced has not passed it.
    Gone(Error),
    /// There is no remote frame to compare.
    Unknown,
}

/// Requests Synced's newest remote frame from the server, and compares it with Synced.
async fn look_at_anchor<R: Remote>(wire: &Wire<R>, metadata: &Metadata, synced: &Synced) -> Result<Sighting> {
    // Generation 0 stands for the time before a server's first frame.
    let Some(anchor) = metadata.anchor.filter(|anchor| anchor.generation > 0) else {
        return Ok(Sighting::Unknown);
    };
    // A single answer may be wrong.
    for _ in 0..2 {
        match wire.frames(anchor.generation, anchor.frame_no, anchor.frame_no + 1).await? {
            FrameAnswer::Frames(body) => {
                let instance = body.origin().instance.clone();
                if let [frame] = &read_frames(body, 1).await?[..]
                    && anchor.stamp.is_none_or(|stamp| stamp == frame.stamp())
                    && holds_page(synced, metadata.synced_wal_frames, frame)?
                    && (anchor.generation == metadata.synced_generation || ends_with(wire, anchor).await?)
                {
                    return Ok(Sighting::Same(instance));
                }
            }
            FrameAnswer::End(..) => {}
            // The server may prune a generation that Synced has passed.
            FrameAnswer::Gone(_) if anchor.generation < metadata.synced_generation => {
                return Ok(Sighting::Unknown);
            }
            FrameAnswer::Gone(suspicion) => return Ok(Sighting::Gone(suspicion)),
        }
    }
    Ok(Sighting::Other)
}

/// Whether the server has another log than the one that Draft is based on, when Synced cannot be read, its generation is
/// gone, or a new export has taken its place. Then only an anchor in the metadata can be compared. Returns `false` if
/// nothing shows a difference.
pub(crate) async fn has_other_log<R: Remote>(wire: &Wire<R>, metadata: &Metadata) -> Result<bool> {
    // A single answer may be wrong.
    for _ in 0..2 {
        let info = wire.info().await?;
        let has_other_log = has_other_name(&info, metadata)
            || match metadata.former_anchor.or(metadata.anchor) {
                Some(anchor) => has_lost(wire, anchor, info.current_generation).await?,
                None => false,
            };
        if !has_other_log {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether the log of a server in generation `current` lacks the anchor.
async fn has_lost<R: Remote>(wire: &Wire<R>, anchor: Anchor, current: u64) -> Result<bool> {
    if current < anchor.generation {
        return Ok(true);
    }
    if current == anchor.generation + 1 {
        let predecessor = match wire.frames(current, 1, 2).await? {
            FrameAnswer::Frames(body) => body.origin().predecessor,
            FrameAnswer::End(_, origin) => origin.predecessor,
            FrameAnswer::Gone(_) => None,
        };
        // The generation may have ended after frames that Synced does not have, but not before the anchor.
        match predecessor.filter(|last| last.generation == anchor.generation) {
            Some(last) if last.frame_no < anchor.frame_no => return Ok(true),
            Some(last) if last.frame_no == anchor.frame_no => {
                return Ok(anchor.stamp.is_some() && last.stamp != anchor.stamp);
            }
            _ => {}
        }
    }
    let Some(stamp) = anchor.stamp.filter(|_| anchor.generation > 0) else { return Ok(false) };
    match wire.frames(anchor.generation, anchor.frame_no, anchor.frame_no + 1).await? {
        FrameAnswer::Frames(body) => Ok(read_frames(body, 1).await?[0].stamp() != stamp),
        FrameAnswer::End(..) => Ok(true),
        // The server has pruned the generation, or never had it.
        FrameAnswer::Gone(_) => Ok(false),
    }
}

/// Whether the server says that the anchor is the last frame of its generation, as it must be if Synced has
/// passed it.
async fn ends_with<R: Remote>(wire: &Wire<R>, anchor: Anchor) -> Result<bool> {
    let start = anchor.frame_no + 1;
    match wire.frames(anchor.generation, start, start + 1).await? {
        FrameAnswer::End(status, _) => Ok(status.generation > anchor.generation),
        FrameAnswer::Frames(_) | FrameAnswer::Gone(_) => Ok(false),
    }
}

/// What further answers say of a suspicion.
pub(crate) enum Verdict {
    /// They confirm it: the server has another log.
    Diverged(RebootstrapReason),
    /// They do not. With the error that describes the suspicion.
    Unfounded(Error),
}

/// Finds out whether the server's log really does not contain Synced's end, as an answer suggests. The error
/// `suspicion` describes that answer.
pub(crate) async fn confirm<R: Remote>(
    wire: &Wire<R>,
    state: &mut State,
    synced: &Synced,
    suspicion: Error,
) -> Result<Verdict> {
    let changed = Verdict::Diverged(RebootstrapReason::HistoryChanged);
    match look_at_anchor(wire, &state.metadata, synced).await? {
        Sighting::Same(_) => return Ok(Verdict::Unfounded(suspicion)),
        Sighting::Other => return Ok(changed),
        Sighting::Gone(_) | Sighting::Unknown => {}
    }
    let generation = state.metadata.synced_generation;
    let mut info = wire.info().await?;
    if info.current_generation <= generation {
        // Either the suspicion is unfounded, or the server was restored to an earlier generation. This answer
        // may be outdated, so ask again.
        info = wire.info().await?;
    }
    if has_other_name(&info, &state.metadata) {
        return Ok(changed);
    }
    let start = state.metadata.synced_frame() + 1;
    let answer = wire.frames(generation, start, start + 1).await?;
    let reason = assess_answer(&answer, info.current_generation, &state.metadata);
    Ok(reason.map_or(Verdict::Unfounded(suspicion), Verdict::Diverged))
}

/// Whether the answer to `/info` shows another `history_id` than the known one.
fn has_other_name(info: &Info, metadata: &Metadata) -> bool {
    matches!((&metadata.history_id, &info.history_id), (Some(known), Some(now)) if known != now)
}

/// Assesses the answer to a request for the frame after Synced's end. The server's newest generation is
/// `current_generation`. Returns `None` if the answer does not confirm the suspicion.
fn assess_answer<B>(
    answer: &FrameAnswer<B>,
    current_generation: u64,
    metadata: &Metadata,
) -> Option<RebootstrapReason> {
    let origin = match answer {
        FrameAnswer::Gone(_) => {
            return match current_generation.cmp(&metadata.synced_generation) {
                Ordering::Greater => Some(RebootstrapReason::GenerationPruned),
                Ordering::Less => Some(RebootstrapReason::HistoryChanged),
                Ordering::Equal => None,
            };
        }
        FrameAnswer::End(status, _) if went_back(status, metadata) => {
            return Some(RebootstrapReason::HistoryChanged);
        }
        FrameAnswer::End(_, origin) => origin,
        FrameAnswer::Frames(body) => body.origin(),
    };
    (begins_here(origin, metadata) == Comparison::Differs).then_some(RebootstrapReason::HistoryChanged)
}

/// Compares what an answer to a request for Synced's next frame says of the frame before it with Synced's own
/// newest frame.
fn begins_here(origin: &Origin, metadata: &Metadata) -> Comparison {
    match metadata.synced_frame() {
        0 => origin.compare(metadata.synced_generation, metadata.anchor),
        _ => Comparison::Unknown,
    }
}

/// Whether the server reports an end before Synced's end.
pub(crate) fn went_back(status: &Status, metadata: &Metadata) -> bool {
    let (generation, frame_no) = (metadata.synced_generation, metadata.synced_frame());
    status.generation < generation || (status.generation == generation && status.max_frame_no < frame_no)
}

/// Requests the stamp that a pushed frame has in the server's own log. Returns `None` if the request fails: the
/// push has succeeded, and must not fail because of the stamp.
pub(crate) async fn stamp_of<R: Remote>(
    wire: &Wire<R>,
    generation: u64,
    frame_no: u64,
) -> Option<FrameStamp> {
    match wire.frames(generation, frame_no, frame_no + 1).await {
        Ok(FrameAnswer::Frames(body)) => match read_frames(body, 1).await {
            Ok(frames) => frames.first().map(Frame::stamp),
            Err(error) => unknown_stamp(&error),
        },
        Ok(FrameAnswer::Gone(error)) | Err(error) => unknown_stamp(&error),
        Ok(FrameAnswer::End(..)) => None,
    }
}

fn unknown_stamp(error: &Error) -> Option<FrameStamp> {
    tracing::warn!(%error, "cannot read the stamp of a pushed frame");
    None
}

/// Reads a body of at most `frames_max` frames.
pub(crate) async fn read_frames<B>(mut body: BodyStream<B>, frames_max: usize) -> Result<Vec<Frame>>
where
    B: http_body::Body<Data = bytes::Bytes, Error = crate::remote::RemoteError> + Unpin,
{
    let mut bytes = BytesMut::new();
    while let Some(chunk) = body.chunk().await? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > frames_max * FRAME_BYTES {
            break;
        }
    }
    let (frames, rest) = bytes.as_chunks::<FRAME_BYTES>();
    if frames.is_empty() || frames.len() > frames_max || !rest.is_empty() {
        return Err(body.bad(format!("{} bytes instead of 1 to {frames_max} frames", bytes.len())));
    }
    Ok(frames.iter().copied().map(Frame::from_bytes).collect())
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

    type Answer = FrameAnswer<()>;

    fn end(generation: u64, max_frame_no: u64) -> Answer {
        let status = String::new();
        Answer::End(Status { baton: None, status, generation, max_frame_no }, Origin::default())
    }

    const CHANGED: Option<RebootstrapReason> = Some(RebootstrapReason::HistoryChanged);

    #[test]
    fn a_server_is_behind_where_its_generation_or_its_last_frame_is() {
        let went_back = |generation, max_frame_no| match end(generation, max_frame_no) {
            FrameAnswer::End(status, _) => went_back(&status, &synced(None)),
            _ => unreachable!(),
        };
        assert!(went_back(2, 9) && went_back(3, 6));
        assert!(!went_back(3, 7) && !went_back(3, 8) && !went_back(4, 0));
    }

    #[test]
    fn only_two_different_names_are_a_hint() {
        assert!(has_other_name(&info(4, Some("b")), &synced(Some("a"))));
        assert!(!has_other_name(&info(4, Some("a")), &synced(Some("a"))));
        assert!(!has_other_name(&info(4, None), &synced(Some("a"))));
        assert!(!has_other_name(&info(4, Some("a")), &synced(None)));
    }

    #[test]
    fn a_generation_that_is_gone_was_pruned_only_if_there_is_a_newer_one() {
        let gone = || Answer::Gone(Error::OperationInProgress);
        assert_eq!(assess_answer(&gone(), 4, &synced(None)), Some(RebootstrapReason::GenerationPruned));
        assert_eq!(assess_answer(&gone(), 3, &synced(None)), None);
        assert_eq!(assess_answer(&gone(), 2, &synced(None)), CHANGED);
    }

    #[test]
    fn an_end_before_synceds_is_of_another_history() {
        assert_eq!(assess_answer(&end(3, 6), 3, &synced(None)), CHANGED);
        assert_eq!(assess_answer(&end(3, 7), 3, &synced(None)), None);
        assert_eq!(assess_answer(&end(4, 0), 4, &synced(None)), None);
    }

    #[test]
    fn a_generation_that_begins_after_another_frame_is_of_another_history() {
        let stamp = Some(FrameStamp { salts: [1, 2], checksums: [3, 4] });
        let anchor = Anchor { generation: 2, frame_no: 5, stamp };
        let at_start = Metadata { synced_frame_no: Some(0), anchor: Some(anchor), ..synced(None) };
        let end_after = |frame_no| {
            let predecessor = Some(Anchor { frame_no, ..anchor });
            let Answer::End(status, origin) = end(3, 0) else { unreachable!() };
            Answer::End(status, Origin { predecessor, ..origin })
        };
        assert_eq!(assess_answer(&end_after(5), 3, &at_start), None);
        assert_eq!(assess_answer(&end_after(6), 3, &at_start), CHANGED);
    }
}
