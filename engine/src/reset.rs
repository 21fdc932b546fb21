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
/// and that the main file is at least as long as its header declares.
fn verify(files: &Files, metadata: &Metadata) -> Result<()> {
    let main = files.open_named(&files.synced)?;
    // An interrupted checkpoint may have written a part of the main file; recovery repeats the checkpoint.
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use turso_core::MemoryIO;

    use super::*;
    use crate::storage::LocalStorage;
    use crate::wal::PAGE_BYTES;

    /// Synced's WAL holds one frame, all zeros.
    fn one_frame() -> Metadata {
        Metadata { synced_wal_frames: 1, ..Metadata::bootstrapping("a-1".into()) }
    }

    /// Verifies a main file of one page, whose header names `pages`, and a WAL of so many bytes.
    fn verify_files(pages: u32, wal_length: u64, metadata: &Metadata) -> Result<()> {
        let files = Files::new(Arc::new(MemoryIO::new()), Arc::new(LocalStorage), "t.db");
        let mut main = vec![0; PAGE_BYTES];
        main[..16].copy_from_slice(b"SQLite format 3\0");
        main[16..18].copy_from_slice(&4096_u16.to_be_bytes());
        main[28..32].copy_from_slice(&pages.to_be_bytes());
        files.create_empty(&files.synced).unwrap().write(0, &main).unwrap();
        let wal = files.create_empty(&files.synced_wal).unwrap();
        if wal_length > 0 {
            wal.write(0, &vec![0; usize::try_from(wal_length).unwrap()]).unwrap();
        }
        verify(&files, metadata)
    }

    fn problem(pages: u32, wal_length: u64, metadata: &Metadata) -> String {
        verify_files(pages, wal_length, metadata).unwrap_err().to_string()
    }

    #[test]
    fn files_as_the_metadata_names_them_are_accepted() {
        assert!(verify_files(1, wal_bytes(1), &one_frame()).is_ok());
    }

    #[test]
    fn a_wal_that_is_too_short_or_has_another_last_frame_is_damaged() {
        let short = problem(1, wal_bytes(1) - 1, &one_frame());
        assert_eq!(short, "t.db-synced-wal is damaged: 4151 bytes, but the metadata names 4152");
        let synced_wal_stamp = FrameStamp { salts: [1, 2], checksums: [3, 4] };
        let stamped = problem(1, wal_bytes(1), &Metadata { synced_wal_stamp, ..one_frame() });
        assert!(stamped.starts_with("t.db-synced-wal is damaged: frame 1 has the stamp"), "{stamped}");
    }

    #[test]
    fn a_main_file_shorter_than_its_header_says_is_damaged() {
        let short = problem(2, wal_bytes(1), &one_frame());
        assert_eq!(short, "t.db-synced is damaged: 4096 bytes where its header promises 8192");
    }

    #[test]
    fn an_interrupted_checkpoint_may_have_moved_a_part_or_all_of_the_wal() {
        let moving = Metadata { phase: Phase::CheckpointingSynced, ..one_frame() };
        assert!(verify_files(2, wal_bytes(1), &moving).is_ok());
        assert!(verify_files(2, 0, &moving).is_ok());
        // The WAL is whole or empty, nothing in between.
        assert!(verify_files(2, wal_bytes(1) - 1, &moving).is_err());
        assert!(verify_files(1, 0, &one_frame()).is_err());
    }
}
