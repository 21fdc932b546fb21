//! Whether the server's history is still the one that Synced replicates.
//!
//! Within one history, frames are only ever appended. A server that was restored to an older state begins another one, and
//! frames of the two must not be mixed. A server that names its history says so itself; of one that does not, the newest frame that
//! Synced holds is looked at again: it has to have the same page and the same checksum, which runs over all the frames
//! before it.
//!
//! A re-bootstrap is costly, so what only one odd answer suggests is asked for a second time.

use std::sync::Arc;

use bytes::BytesMut;
use turso_core::Connection;

use crate::error::{DatabaseContext, Error, Result};
use crate::metadata::FrameStamp;
use crate::protocol::Status;
use crate::remote::Remote;
use crate::report::RebootstrapReason;
use crate::state::State;
use crate::wal::{FRAME_BYTES, Frame, PAGE_BYTES, RawSession};
use crate::wire::{BodyStream, FrameAnswer, Wire};

/// Looks whether the history is another one; `None` if it is the same as far as that can be known.
pub(crate) async fn changed<R: Remote>(
    wire: &Wire<R>,
    state: &State,
    synced: &Arc<Connection>,
) -> Result<Option<RebootstrapReason>> {
    if let Some(known) = &state.metadata.history_id
        && let Some(now) = wire.info().await?.history_id
    {
        return Ok((*known != now).then_some(RebootstrapReason::HistoryChanged));
    }
    match look_at_anchor(wire, state, synced).await? {
        Sighting::Same | Sighting::Unknown => Ok(None),
        Sighting::Other => Ok(Some(RebootstrapReason::HistoryChanged)),
        Sighting::Gone(doubt) => confirm(wire, state, synced, doubt).await.map(Some),
    }
}

/// What became of the newest frame that Synced holds.
enum Sighting {
    /// It is where it was.
    Same,
    /// There is another one, or none.
    Other,
    /// The server does not have its generation any more, although Synced has not passed it.
    Gone(Error),
    /// There is nothing to look for.
    Unknown,
}

async fn look_at_anchor<R: Remote>(
    wire: &Wire<R>,
    state: &State,
    synced: &Arc<Connection>,
) -> Result<Sighting> {
    let Some(anchor) = state.metadata.anchor else { return Ok(Sighting::Unknown) };
    // A re-bootstrap is costly: one answer may be wrong.
    for _ in 0..2 {
        match wire.frames(anchor.generation, anchor.frame_no, anchor.frame_no + 1).await? {
            FrameAnswer::Frames(body) => {
                let frame = read_frame(body).await?;
                let is_stamped = anchor.stamp.is_none_or(|stamp| stamp == frame.stamp());
                if is_stamped && holds_page(synced, state.metadata.synced_wal_frames, &frame)? {
                    return Ok(Sighting::Same);
                }
            }
            FrameAnswer::End(_) => {}
            // Of a generation that was passed, nothing needs to be there any more.
            FrameAnswer::Gone(_) if anchor.generation < state.metadata.synced_generation => {
                return Ok(Sighting::Unknown);
            }
            FrameAnswer::Gone(doubt) => return Ok(Sighting::Gone(doubt)),
        }
    }
    Ok(Sighting::Other)
}

/// Finds out why the server has no frame where Synced ends, although it should know that place; `doubt` if that is not
/// confirmed.
pub(crate) async fn confirm<R: Remote>(
    wire: &Wire<R>,
    state: &State,
    synced: &Arc<Connection>,
    doubt: Error,
) -> Result<RebootstrapReason> {
    let generation = state.metadata.synced_generation;
    let mut info = wire.info().await?;
    if info.current_generation <= generation {
        // It contradicts the doubt, or suggests the worst: it may be an old answer itself.
        info = wire.info().await?;
    }
    if let (Some(known), Some(now)) = (&state.metadata.history_id, &info.history_id) {
        if known != now {
            return Ok(RebootstrapReason::HistoryChanged);
        }
        if info.current_generation <= generation {
            return Err(doubt);
        }
    }
    let start = state.metadata.synced_frame() + 1;
    match wire.frames(generation, start, start + 1).await? {
        FrameAnswer::Gone(_) if info.current_generation > generation => {
            Ok(RebootstrapReason::GenerationPruned)
        }
        FrameAnswer::Gone(_) if info.current_generation < generation => Ok(RebootstrapReason::HistoryChanged),
        FrameAnswer::Gone(_) => Err(doubt),
        FrameAnswer::End(status) if went_back(&status, state) => Ok(RebootstrapReason::HistoryChanged),
        // The first answer was wrong, or another history has grown past that place since.
        FrameAnswer::End(_) | FrameAnswer::Frames(_) => match look_at_anchor(wire, state, synced).await? {
            Sighting::Other => Ok(RebootstrapReason::HistoryChanged),
            Sighting::Same | Sighting::Unknown | Sighting::Gone(_) => Err(doubt),
        },
    }
}

/// Whether the server says that it is not as far as Synced is.
pub(crate) fn went_back(status: &Status, state: &State) -> bool {
    let (generation, frame_no) = (state.metadata.synced_generation, state.metadata.synced_frame());
    status.generation < generation || (status.generation == generation && status.max_frame_no < frame_no)
}

/// The stamp of a frame in the server's own log, of which only the server knows the salts; `None` if it does not say: whoever asks has
/// been told already that the frame was taken, and must not fail over this.
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
    tracing::warn!(%error, "the stamp of a pushed frame stays unknown");
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
        Err(_) => Err(body.bad(format!("{} bytes where one frame was asked for", bytes.len()))),
    }
}

/// Whether the page of `frame` is as it is in Synced as of its frame `end`. `synced` may be in a raw session.
fn holds_page(synced: &Arc<Connection>, end: u64, frame: &Frame) -> Result<bool> {
    if frame.page_no() == 0 {
        return Ok(false);
    }
    let read = || {
        let mut page = [0; PAGE_BYTES];
        let session = synced.get_auto_commit().then(|| RawSession::begin(synced.clone())).transpose()?;
        let is_there = synced.try_wal_watermark_read_page(frame.page_no(), &mut page, Some(end))?;
        if let Some(session) = session {
            session.end()?;
        }
        Ok(is_there && page == frame.page())
    };
    read().while_doing("reading a page", "the replica")
}
