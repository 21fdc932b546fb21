//! The re-bootstrap: a new export takes Synced's place; Draft, and with it the local transactions, stays as it is.
//!
//! ```text
//!   1. download the export of the current generation into P-synced-next; sync it, and its entry
//!   2. metadata: Replacing, generation, history; no frames
//!   3. empty Synced's WAL; rename P-synced-next to P-synced; sync the directory
//!   4. metadata: Detached
//! ```
//!
//! Up to 2 nothing has changed, and what lies in `P-synced-next` is rubbish of the engine's own. After 2 the file is complete, and
//! step 3 is done again by whoever finds it. When it is not there, step 3 may be complete or the file is lost: both is settled by a
//! new download, before which the metadata says `Severed`, so that nobody takes a half-written file for a complete one.
//!
//! From 4 on Draft's watermark says nothing about Synced. Nothing is pushed before a rebase has written every page of Draft.

use crate::bootstrap::download;
use crate::error::{Error, Result};
use crate::events::event;
use crate::files::Files;
use crate::metadata::{Attachment, FrameStamp, Phase};
use crate::options::Options;
use crate::progress::ProgressListener;
use crate::recovery::sever_if_damaged;
use crate::remote::Remote;
use crate::replacement;
use crate::report::RebootstrapReason;
use crate::state::State;
use crate::walk::{Walk, Walked, walk};
use crate::wire::Wire;

/// How often one operation re-bootstraps at most.
const REBOOTSTRAPS_MAX: u32 = 3;

/// Brings Synced to the remote's end, with a re-bootstrap where a walk alone does not lead there.
pub(crate) async fn follow<R: Remote>(
    files: &Files,
    wire: &Wire<R>,
    state: &mut State,
    options: &Options,
) -> Result<Walked> {
    let mut rebootstrapped = None;
    for rebootstraps in 0.. {
        let reason = match sever_if_damaged(files, state).await? {
            Attachment::Severed => RebootstrapReason::ReplicaDamaged,
            _ => match walk(files, wire, state, options).await? {
                Walk::Ended(walked) => return Ok(Walked { rebootstrapped, ..walked }),
                Walk::Interrupted(reason) => reason,
            },
        };
        if rebootstraps == REBOOTSTRAPS_MAX {
            break;
        }
        rebootstrap(files, wire, state, reason, &options.on_progress).await?;
        rebootstrapped.get_or_insert(reason);
    }
    Err(Error::HistoryUnsettled { rebootstraps: REBOOTSTRAPS_MAX })
}

/// Steps 1 to 4.
pub(crate) async fn rebootstrap<R: Remote>(
    files: &Files,
    wire: &Wire<R>,
    state: &mut State,
    reason: RebootstrapReason,
    progress: &ProgressListener,
) -> Result<()> {
    assert_ne!(state.metadata.attachment, Attachment::Replacing, "a complete export is not overwritten");
    let (info, export) = wire.newest_export().await?;
    let generation = info.current_generation;
    event!(RebootstrapBegins, reason = reason.name(), generation = generation);
    download(export, &[files.create_empty(&files.synced_next)?], progress).await?;
    files.sync(&files.synced_next).await?;
    files.sync_directory().await?;
    state
        .store(files, |metadata| {
            metadata.attachment = Attachment::Replacing;
            metadata.synced_generation = generation;
            metadata.synced_frame_no = None;
            metadata.history_changed |= reason == RebootstrapReason::HistoryChanged
                || metadata.history_id.is_some() && metadata.history_id != info.history_id;
            metadata.history_id = info.history_id;
            metadata.anchor = None;
            metadata.synced_wal_frames = 0;
            metadata.synced_wal_stamp = FrameStamp::default();
            metadata.synced_wal_match_watermark = 0;
            if metadata.phase == Phase::CheckpointingSynced {
                metadata.phase = Phase::Ready;
            }
        })
        .await?;
    // A server that was restored may have forgotten what this process knows it to have applied.
    state.acknowledged_no = 0;
    replacement::finish(files, state).await
}
