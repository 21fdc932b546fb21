//! The dirty reset: truncates Synced's WAL to the last frame that the metadata names.
//!
//! An operation that writes after that frame marks Synced as dirty before its first write. The reset closes
//! the replica, truncates the WAL and checks the rest, before anything is read from Synced.

use crate::error::{Error, Result};
use crate::events::event;
use crate::files::Files;
use crate::main_file;
use crate::metadata::{Attachment, FrameStamp, Metadata, Phase};
use crate::state::State;
use crate::wal::wal_bytes;

/// Truncates Synced's WAL to the frames that the metadata names.
pub(crate) async fn reset_if_dirty(files: &Files, state: &mut State) -> Result<()> {
    if !state.synced_is_dirty {
        return Ok(());
    }
    assert!(
        matches!(state.metadata.attachment, Attachment::Attached | Attachment::Detached),
        "a lost Synced, or one that is being replaced, is not reset"
    );
    state.close_synced();
    let frames = state.metadata.synced_wal_frames;
    event!(DirtyReset, frames = frames);
    files.cut(&files.synced_wal, wal_bytes(frames)).await?;
    verify(files, &state.metadata)?;
    state.synced_is_dirty = false;
    Ok(())
}

/// Closes the replica and cuts off the local tail of this operation.
pub(crate) async fn cut_local_tail(files: &Files, state: &mut State) -> Result<()> {
    state.distrust_synced();
    reset_if_dirty(files, state).await
}

/// Checks that the WAL holds the frames that the metadata names, by its length and the last frame's stamp,
/// and that the main file has the length in its header.
fn verify(files: &Files, metadata: &Metadata) -> Result<()> {
    let main = files.open_named(&files.synced)?;
    // An interrupted checkpoint may have left the main file half moved; recovery repeats the checkpoint.
    if metadata.phase != Phase::CheckpointingSynced
        && let Some(problem) = main_file::problem_with(&main)?
    {
        return Err(Error::Damaged { file: files.synced.clone(), problem });
    }
    let wal = files.open_named(&files.synced_wal)?;
    let expected = wal_bytes(metadata.synced_wal_frames);
    let actual = wal.length()?;
    if actual == 0 && metadata.phase == Phase::CheckpointingSynced {
        return Ok(());
    }
    if actual < expected {
        return Err(Error::Damaged {
            file: files.synced_wal.clone(),
            problem: format!("{actual} bytes, but the metadata names {expected}"),
        });
    }
    let stamp = FrameStamp::read(&wal, metadata.synced_wal_frames)?;
    if stamp != metadata.synced_wal_stamp {
        return Err(Error::Damaged {
            file: files.synced_wal.clone(),
            problem: format!(
                "frame {} has the stamp {stamp:?}, but the metadata names {:?}",
                metadata.synced_wal_frames, metadata.synced_wal_stamp
            ),
        });
    }
    Ok(())
}
