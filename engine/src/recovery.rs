//! Recovery: brings the files into the state that the metadata describes before an operation starts.
//!
//! For each step that was interrupted, recovery calls the module that finishes the step. If Synced is
//! damaged, recovery marks it as severed, and the operation downloads a new one. No local data is lost.

use crate::checkpoint;
use crate::compaction;
use crate::engine_file::FileRole;
use crate::error::{Error, Result};
use crate::events::event;
use crate::files::Files;
use crate::metadata::{Attachment, Phase};
use crate::replacement;
use crate::reset::reset_if_dirty;
use crate::state::State;

/// Brings the files into the state in which an operation may start: durable metadata, no local tail on
/// Synced, no half-done replacement or checkpoint. Marks a damaged Synced as severed. Returns whether there
/// was anything to do.
pub(crate) async fn settle(files: &Files, state: &mut State) -> Result<bool> {
    let is_checkpoint_due = state.metadata.phase == Phase::CheckpointingSynced;
    let is_replacing = state.metadata.attachment == Attachment::Replacing;
    let is_unsettled =
        state.metadata_is_uncertain() || state.synced_is_dirty || is_checkpoint_due || is_replacing;
    if state.metadata_is_uncertain() {
        // An earlier operation may have renamed a new export into Synced's place and then failed to sync the
        // directory. The rename must be durable before the metadata that relies on it is stored.
        files.sync_directory().await?;
        state.store(files, |_| ()).await?;
    }
    if state.metadata.attachment == Attachment::Replacing {
        replacement::finish(files, state).await?;
    }
    if state.metadata.attachment != Attachment::Severed {
        let outcome = settle_synced(files, state).await;
        sever_on_damage(files, state, outcome).await?;
    }
    let is_compaction_announced = state.metadata.phase == Phase::CompactingDraft;
    if is_compaction_announced {
        compaction::recover(files, state).await?;
    }
    Ok(is_unsettled || is_compaction_announced)
}

async fn settle_synced(files: &Files, state: &mut State) -> Result<()> {
    reset_if_dirty(files, state).await?;
    if state.metadata.phase == Phase::CheckpointingSynced {
        checkpoint::finish(files, state).await?;
    }
    Ok(())
}

/// Opens the replica, or marks it as severed if it is damaged. Returns the resulting relation between Draft
/// and Synced.
pub(crate) async fn sever_if_damaged(files: &Files, state: &mut State) -> Result<Attachment> {
    if state.metadata.attachment != Attachment::Severed {
        let outcome = reset_if_dirty(files, state).await.and_then(|()| state.synced(files).map(|_| ()));
        sever_on_damage(files, state, outcome).await?;
    }
    Ok(state.metadata.attachment)
}

/// Handles the outcome of a step on the replica. If an error shows that the replica is damaged, marks it as
/// severed in the metadata and returns `true`: the operation continues and downloads a new one. Returns any
/// other error, and closes the replica's connection after an error of the core.
pub(crate) async fn sever_on_damage(files: &Files, state: &mut State, outcome: Result<()>) -> Result<bool> {
    let Err(error) = outcome else { return Ok(false) };
    if !is_damage_of_synced(&error) {
        if matches!(error, Error::Database { .. }) {
            // The core's connection may keep reporting an error that no longer exists.
            state.close_synced();
        }
        return Err(error);
    }
    event!(ReplicaDamaged, cause = tracing::field::display(&error));
    state.distrust_synced();
    state.store(files, |metadata| metadata.attachment = Attachment::Severed).await?;
    Ok(true)
}

/// Whether an error shows that the replica is not in the state that the metadata describes.
fn is_damage_of_synced(error: &Error) -> bool {
    match error {
        Error::Database { .. } if !error.is_corruption() => false,
        Error::MissingFile { file } | Error::Damaged { file, .. } | Error::Database { file, .. } => {
            matches!(file.role(), FileRole::Synced | FileRole::SyncedWal)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use turso_core::LimboError;

    use super::*;
    use crate::engine_file::EngineFile;

    fn is_damage(make: impl Fn(EngineFile) -> Error) -> [bool; 4] {
        [FileRole::Synced, FileRole::SyncedWal, FileRole::Draft, FileRole::DraftWal]
            .map(|role| is_damage_of_synced(&make(EngineFile::of("t.db", role))))
    }

    const ON_SYNCED: [bool; 4] = [true, true, false, false];

    #[test]
    fn a_replica_that_is_missing_or_damaged_is_lost() {
        assert_eq!(is_damage(|file| Error::MissingFile { file }), ON_SYNCED);
        assert_eq!(is_damage(|file| Error::Damaged { file, problem: String::new() }), ON_SYNCED);
    }

    #[test]
    fn a_replica_that_the_core_calls_corrupt_is_lost() {
        let database = |file, source| Error::Database { action: "reading", file, source };
        assert_eq!(is_damage(|file| database(file, LimboError::Corrupt(String::new()))), ON_SYNCED);
        assert_eq!(is_damage(|file| database(file, LimboError::NotADB)), ON_SYNCED);
    }

    #[test]
    fn a_replica_that_is_busy_or_cannot_be_read_now_is_not_lost() {
        let database = |file| Error::Database { action: "reading", file, source: LimboError::Interrupt };
        assert_eq!(is_damage(database), [false; 4]);
        assert_eq!(is_damage(|file| Error::Busy { file }), [false; 4]);
        assert_eq!(is_damage(|file| Error::ForeignFile { file }), [false; 4]);
    }
}
