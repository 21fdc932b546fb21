//! The compaction of Draft: moves its WAL into its main file, so that neither grows without bound on a
//! long-running client.
//!
//! A rebase takes the pages that it restores from Synced. From Draft it needs only the *set* of pages that
//! may have changed since the watermark. So the watermark can be dropped together with the WAL, if that set
//! is stored:
//!
//! 1. The engine takes the set of pages that changed between the watermark and the WAL's last frame. It syncs
//!    the WAL up to that frame. Then it stores the set and the frame in metadata that announces the
//!    compaction ([`Phase::CompactingDraft`]). From here on the metadata states only that the pages outside
//!    the set equal Synced's. This is true of Draft with its WAL up to that frame, and also of the main file
//!    alone after the WAL has been moved into it.
//! 2. The core checkpoints up to that frame and truncates the WAL. If a new transaction was written or a
//!    reader still needs the WAL, the core refuses, and a later operation compacts. The core may already have
//!    copied a part. The metadata keeps naming the frame, because the main file is incomplete without the WAL
//!    up to that frame.
//! 3. The engine stores metadata in which Draft's watermark is frame 0. The next rebase restores the pages of
//!    the set and the pages that have changed since.
//!
//! After a crash, recovery reads the WAL's salts to find out whether the WAL was moved: the core gives every
//! restarted WAL new salts.

use turso_core::{CheckpointMode, LimboError};

use crate::database::{self, Transaction};
use crate::draft::{Draft, verify_wal};
use crate::error::{DatabaseContext, Result};
use crate::events::event;
use crate::files::Files;
use crate::metadata::{FrameStamp, Metadata, Phase};
use crate::pages::PageSet;
use crate::pause::pause;
use crate::state::State;
use crate::wal::{Frame, PAGE_BYTES, changed_pages_after, wal_pages, wal_salts};

/// Compacts Draft if its WAL has at least `wal_frames_max` frames and no transaction is in the way. Returns
/// whether the WAL was moved.
pub(crate) async fn compact_if_due(
    files: &Files,
    draft: &Draft,
    state: &mut State,
    wal_frames_max: u64,
) -> Result<bool> {
    if state.metadata.phase != Phase::Ready {
        return Ok(false);
    }
    let Some(Due { wal_frames, changed }) = due(files, draft, state, wal_frames_max)? else {
        return Ok(false);
    };
    state.poison.on_error(files.sync(&files.draft_wal).await)?;
    let stamp = FrameStamp::read(&files.open_named(&files.draft_wal)?, wal_frames)?;
    event!(CompactionAnnounced, frames = wal_frames, ranges = changed.ranges().count());
    state
        .store(files, |metadata| {
            metadata.phase = Phase::CompactingDraft;
            metadata.draft_wal_moving_frames = wal_frames;
            metadata.draft_wal_moving_stamp = stamp;
            metadata.draft_changed_pages = changed;
        })
        .await?;
    pause().await;
    let mode = CheckpointMode::Truncate { upper_bound_inclusive: Some(wal_frames) };
    match draft.connect(files)?.checkpoint(mode) {
        Ok(_) => event!(CompactionCheckpointed, is_busy = false),
        Err(LimboError::Busy) => event!(CompactionCheckpointed, is_busy = true),
        // The core may rely on a WAL that no longer exists, and would lose the next transactions.
        Err(source) => return state.poison.on_error(Err(source).while_doing("the compaction", &files.draft)),
    }
    pause().await;
    let done = finish(files, state).await?;
    state.compaction_deferred_at = if done { 0 } else { wal_frames };
    Ok(done)
}

struct Due {
    wal_frames: u64,
    changed: PageSet,
}

/// Reads the WAL's state in a read transaction, which blocks no other connection.
fn due(files: &Files, draft: &Draft, state: &State, wal_frames_max: u64) -> Result<Option<Due>> {
    let main_bytes = files.open_named(&files.draft)?.length()?;
    let main_pages = u32::try_from(main_bytes / PAGE_BYTES as u64).unwrap_or(u32::MAX);
    let reader = draft.connect(files)?;
    let take = || {
        let snapshot = Transaction::begin(&reader)?;
        database::run(&reader, "SELECT 1 FROM sqlite_schema LIMIT 1", &[])?;
        let wal_frames = reader.wal_state()?.max_frame;
        if !is_long(wal_frames, wal_frames_max, state.compaction_deferred_at) {
            return snapshot.commit().map(|()| None);
        }
        let pages = changed_pages_after(&reader, state.metadata.draft_wal_match_watermark)?;
        let end = Frame::read(&reader, wal_frames)?.database_pages();
        let last = changed_pages_after(&reader, 0)?.into_iter().max().unwrap_or(0).max(main_pages);
        snapshot.commit()?;
        let changed = changed_after_compaction(&state.metadata.draft_changed_pages, &pages, end, last);
        Ok(Some(Due { wal_frames, changed }))
    };
    take().while_doing("checking whether to compact", &files.draft)
}

/// Whether a WAL is long enough to be moved, and longer than at the last refused attempt.
fn is_long(wal_frames: u64, wal_frames_max: u64, deferred_at: u64) -> bool {
    wal_frames >= wal_frames_max && wal_frames > deferred_at
}

/// Returns the pages that may differ from Synced's once the WAL is gone: the pages `known` from the previous
/// compaction, those in the WAL, and all pages after Draft's `end` up to the `last` page ever written.
fn changed_after_compaction(known: &PageSet, in_wal: &[u32], end: u32, last: u32) -> PageSet {
    // The checkpoint removes the pages after Draft's end. Synced may still have pages there that a local
    // transaction truncated.
    let cut_off = end.saturating_add(1)..=last;
    known.with(in_wal.iter().map(|&page| page..=page).chain([cut_off]))
}

/// Ends a compaction that an earlier process or a failed operation announced. A sync may have failed since
/// the core wrote to the main file, and a later sync would not make those writes durable. So this writes them
/// again.
pub(crate) async fn recover(files: &Files, state: &mut State) -> Result<bool> {
    pause().await;
    if !wal_was_moved(files, &state.metadata)? {
        verify_wal(files, &state.metadata)?;
    }
    let pages = wal_pages(&files.open_named(&files.draft_wal)?)?;
    let main = files.open_named(&files.draft)?;
    let end = main.length()?;
    state.poison.on_error(pages.into_iter().try_for_each(|page| {
        let offset = u64::from(page.saturating_sub(1)) * PAGE_BYTES as u64;
        main.write_again(offset..end.min(offset + PAGE_BYTES as u64))
    }))?;
    finish(files, state).await
}

/// Whether the WAL was moved into the main file: it is empty, or has restarted with new salts.
fn wal_was_moved(files: &Files, metadata: &Metadata) -> Result<bool> {
    let salts = wal_salts(&files.open_named(&files.draft_wal)?)?;
    Ok(is_another_wal(salts, metadata.draft_wal_moving_stamp))
}

/// Whether the WAL's salts (`None` for an empty WAL) differ from those in a frame's stamp.
fn is_another_wal(salts: Option<[u32; 2]>, stamp: FrameStamp) -> bool {
    salts.is_none_or(|salts| salts != stamp.salts)
}

/// Ends a compaction that the metadata announces. Returns whether the WAL was moved.
async fn finish(files: &Files, state: &mut State) -> Result<bool> {
    // A refused checkpoint may have copied a part, and a killed process may not have synced its writes.
    state.poison.on_error(files.sync(&files.draft).await)?;
    state.poison.on_error(files.sync(&files.draft_wal).await)?;
    let is_moved = wal_was_moved(files, &state.metadata)?;
    state
        .store(files, |metadata| {
            metadata.phase = Phase::Ready;
            if is_moved {
                metadata.draft_wal_match_watermark = 0;
                metadata.draft_wal_stamp = FrameStamp::default();
                metadata.draft_wal_moving_frames = 0;
                metadata.draft_wal_moving_stamp = FrameStamp::default();
            }
        })
        .await?;
    if is_moved {
        event!(CompactionDone);
    } else {
        event!(CompactionDeferred);
    }
    Ok(is_moved)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wal_is_moved_once_it_is_long_and_has_grown_since_a_refusal() {
        assert!(!is_long(9, 10, 0));
        assert!(is_long(10, 10, 0));
        assert!(!is_long(12, 10, 12));
        assert!(is_long(13, 10, 12));
    }

    fn pages(known: &[u32], in_wal: &[u32], end: u32, last: u32) -> Vec<u32> {
        let known = PageSet::default().with(known.iter().map(|&page| page..=page));
        changed_after_compaction(&known, in_wal, end, last).up_to(u32::MAX).collect()
    }

    #[test]
    fn what_an_earlier_compaction_has_moved_stays_changed() {
        assert_eq!(pages(&[2, 7], &[3, 5], 9, 9), [2, 3, 5, 7]);
    }

    #[test]
    fn pages_that_draft_has_cut_off_are_changed() {
        assert_eq!(pages(&[], &[3], 5, 8), [3, 6, 7, 8]);
        assert_eq!(pages(&[], &[3], 5, 5), [3]);
        assert_eq!(pages(&[], &[3], u32::MAX, 5), [3]);
    }

    #[test]
    fn a_wal_is_another_one_when_it_is_empty_or_has_other_salts() {
        let stamp = FrameStamp { salts: [1, 2], checksums: [3, 4] };
        assert!(is_another_wal(None, stamp));
        assert!(is_another_wal(Some([1, 3]), stamp));
        assert!(!is_another_wal(Some([1, 2]), stamp));
    }
}
