//! The checkpoint of Synced: moves its WAL into its main file.
//!
//! The metadata announces the checkpoint ([`Phase::CheckpointingSynced`]), the core moves the frames and
//! truncates the WAL, and then the engine stores metadata that names no frame of the WAL. While the
//! checkpoint is announced, the WAL is either complete or empty. So recovery either repeats an interrupted
//! checkpoint or finds it done.

use turso_core::CheckpointMode;

use crate::error::{DatabaseContext, Result};
use crate::events::event;
use crate::files::Files;
use crate::metadata::{FrameStamp, Metadata, Phase};
use crate::state::State;
use crate::wal::verify_frames;

/// Moves Synced's WAL into its main file after a generation change, or when the WAL is long. Draft must be
/// based on Synced's end, so that no older frame is needed. Returns whether the WAL was moved.
pub(crate) async fn checkpoint_if_due(files: &Files, state: &mut State, wal_frames_max: u64) -> Result<bool> {
    let is_due = is_due(&state.metadata, wal_frames_max);
    if is_due {
        event!(CheckpointAnnounced, frames = state.metadata.synced_wal_frames);
        state.store(files, |metadata| metadata.phase = Phase::CheckpointingSynced).await?;
        finish(files, state).await?;
    }
    Ok(is_due)
}

fn is_due(metadata: &Metadata, wal_frames_max: u64) -> bool {
    assert_eq!(
        metadata.synced_wal_match_watermark, metadata.synced_wal_frames,
        "Synced is checkpointed only after a rebase onto its end"
    );
    let holds_closed_generation = metadata.synced_wal_frames > metadata.synced_frame();
    metadata.synced_wal_frames > 0
        && (holds_closed_generation || metadata.synced_wal_frames >= wal_frames_max)
}

/// Completes the announced checkpoint, or finds it done. Repeating it is harmless as long as the WAL is
/// complete.
pub(crate) async fn finish(files: &Files, state: &mut State) -> Result<()> {
    let wal = files.open_named(&files.synced_wal)?;
    let is_whole = wal.length()? > 0;
    if is_whole {
        // The core may have written only a part of the main file. Without every frame of the WAL, the core
        // cannot read it as a database.
        verify_frames(&wal, state.metadata.synced_wal_frames)?;
        let outcome = state
            .synced(files)?
            .connection
            .checkpoint(CheckpointMode::Truncate { upper_bound_inclusive: None });
        state.close_synced();
        outcome.while_doing("the checkpoint", &files.synced)?;
        event!(CheckpointDone);
    } else {
        event!(CheckpointFoundDone);
    }
    state
        .store(files, |metadata| {
            metadata.phase = Phase::Ready;
            metadata.synced_wal_frames = 0;
            metadata.synced_wal_stamp = FrameStamp::default();
            metadata.synced_wal_match_watermark = 0;
        })
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Synced is at frame `frame_no` of its generation, its WAL holds `wal_frames` frames, and Draft is based
    /// on the last one.
    fn is_due_at(frame_no: u64, wal_frames: u64, wal_frames_max: u64) -> bool {
        let metadata = Metadata {
            synced_frame_no: Some(frame_no),
            synced_wal_frames: wal_frames,
            synced_wal_match_watermark: wal_frames,
            ..Metadata::bootstrapping("a-1".into())
        };
        is_due(&metadata, wal_frames_max)
    }

    #[test]
    fn a_long_wal_is_moved() {
        assert!(!is_due_at(9, 9, 10));
        assert!(is_due_at(10, 10, 10));
    }

    #[test]
    fn frames_of_a_closed_generation_are_moved() {
        assert!(is_due_at(2, 3, 10));
        assert!(!is_due_at(3, 3, 10));
        // The WAL was already moved within this generation, and its numbering continues.
        assert!(!is_due_at(20, 3, 10));
    }

    #[test]
    fn an_empty_wal_is_not_moved() {
        assert!(!is_due_at(0, 0, 1));
        assert!(!is_due_at(7, 0, 0));
    }

    #[test]
    #[should_panic(expected = "only after a rebase onto its end")]
    fn nothing_is_moved_before_draft_is_based_on_synceds_end() {
        let metadata = Metadata { synced_wal_frames: 1, ..Metadata::bootstrapping("a-1".into()) };
        is_due(&metadata, 1);
    }
}
