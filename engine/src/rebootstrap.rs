//! The re-bootstrap: replaces Synced by a new export. Draft keeps its content, including the local
//! transactions.
//!
//! ```text
//!   1. download the export of the current generation into P-synced-next; sync it, and its entry
//!   2. metadata: Replacing, generation, history; no frames
//!   3. empty Synced's WAL; rename P-synced-next to P-synced; sync the directory
//!   4. metadata: Detached
//! ```
//!
//! Before step 2 nothing has changed, and `P-synced-next` is an incomplete file of the engine. After step 2
//! the file is complete, and recovery repeats step 3. If the file does not exist then, either step 3 is
//! complete or the file is lost. A new download resolves both cases. Before it starts, `Severed` is stored in
//! the metadata, so that a half-written file is never taken for a complete one.
//!
//! From step 4 on, Draft's watermark is not valid for Synced. Nothing is pushed before a rebase has written
//! every page of Draft.
//!
//! The new Synced has no frame to compare. If its log is the one that the old Synced replicated, the metadata
//! keeps the old one's newest frame, and the walk does not end before it has come to it.

use crate::bootstrap::download;
use crate::draft::Draft;
use crate::error::{DatabaseContext, Error, Result};
use crate::events::event;
use crate::files::Files;
use crate::history;
use crate::metadata::{Attachment, FrameStamp, Phase};
use crate::options::{HistoryChange, Options};
use crate::progress::ProgressListener;
use crate::recovery::sever_if_damaged;
use crate::remote::Remote;
use crate::replacement;
use crate::report::RebootstrapReason;
use crate::state::State;
use crate::tape::{acknowledged_no, table_names};
use crate::walk::{WalkOutcome, Walked, walk};
use crate::wire::Wire;

/// The maximum number of re-bootstraps per operation.
const REBOOTSTRAPS_MAX: u32 = 3;

/// Brings Synced to the remote's end. Re-bootstraps if a walk alone cannot.
///
/// # Errors
/// [`Error::HistoryChanged`] and [`Error::UnrelatedServer`] if the application has to decide, and those of a
/// walk.
pub(crate) async fn follow<R: Remote>(
    files: &Files,
    wire: &Wire<R>,
    draft: &Draft,
    state: &mut State,
    options: &Options,
) -> Result<Walked> {
    let mut rebootstrapped = None;
    for rebootstraps in 0.. {
        let reason = match sever_if_damaged(files, state).await? {
            Attachment::Severed => RebootstrapReason::ReplicaDamaged,
            _ => match walk(files, wire, state, options).await? {
                WalkOutcome::Ended(walked) => {
                    refuse_unrelated(files, draft, state)?;
                    return Ok(Walked { rebootstrapped, ..walked });
                }
                WalkOutcome::LogDiverged(reason) => reason,
            },
        };
        // The server may have been restored as well. Nobody else will notice it: the new Synced replaces the anchor.
        let reason = match reason {
            RebootstrapReason::HistoryChanged => reason,
            _ if history::has_other_log(wire, &state.metadata).await? => RebootstrapReason::HistoryChanged,
            _ => reason,
        };
        let is_in_use = state.metadata.phase != Phase::FirstPull;
        if reason == RebootstrapReason::HistoryChanged
            && options.history_change == HistoryChange::Ask
            && is_in_use
        {
            return Err(Error::HistoryChanged {
                generation: state.metadata.synced_generation,
                frame_no: state.metadata.synced_frame(),
            });
        }
        if rebootstraps == REBOOTSTRAPS_MAX {
            break;
        }
        rebootstrap(files, wire, state, reason, &options.on_progress).await?;
        rebootstrapped.get_or_insert(reason);
    }
    Err(Error::HistoryUnsettled { rebootstraps: REBOOTSTRAPS_MAX })
}

/// Refuses a server that shares nothing with the local database, unless the application has confirmed it.
/// Synced is already a replica of that server, but nothing of it has reached Draft, and nothing was sent.
fn refuse_unrelated(files: &Files, draft: &Draft, state: &mut State) -> Result<()> {
    let metadata = &state.metadata;
    let is_replacement = metadata.attachment == Attachment::Detached && metadata.phase != Phase::FirstPull;
    if !is_replacement || state.is_server_confirmed {
        return Ok(());
    }
    let client_id = metadata.client_unique_id.clone();
    let reader = draft.connect(files)?;
    let was_acknowledged = acknowledged_no(&reader, &client_id)
        .while_doing("reading the acknowledgement", &files.draft)?
        .is_some();
    if !metadata.history_changed && !was_acknowledged {
        // All tables may be new ones that were never sent. Then even the right server has none of them.
        return Ok(());
    }
    let synced = state.synced(files)?.connection.clone();
    let is_known = acknowledged_no(&synced, &client_id)
        .while_doing("reading the acknowledgement", &files.synced)?
        .is_some();
    let local = table_names(&reader).while_doing("reading the schema", &files.draft)?;
    let remote = table_names(&synced).while_doing("reading the schema", &files.synced)?;
    if is_known || local.is_empty() || !local.is_disjoint(&remote) {
        return Ok(());
    }
    Err(Error::UnrelatedServer { history_id: state.metadata.history_id.clone() })
}

/// Performs steps 1 to 4.
pub(crate) async fn rebootstrap<R: Remote>(
    files: &Files,
    wire: &Wire<R>,
    state: &mut State,
    reason: RebootstrapReason,
    progress: &ProgressListener,
) -> Result<()> {
    assert_ne!(state.metadata.attachment, Attachment::Replacing, "a complete export is not overwritten");
    let is_other_log = reason == RebootstrapReason::HistoryChanged
        || reason == RebootstrapReason::Requested && history::has_other_log(wire, &state.metadata).await?;
    let (info, export) = wire.newest_export().await?;
    let generation = info.current_generation;
    let predecessor = export.origin().predecessor;
    event!(RebootstrapBegins, reason = reason.name(), generation = generation);
    download(export, &[files.create_empty(&files.synced_next)?], progress).await?;
    files.sync(&files.synced_next).await?;
    files.sync_directory().await?;
    // Before the write, which may fail after it has taken effect. A restored server may have lost transactions that it
    // had applied, and another one may have other checksums.
    state.forget_server();
    state.is_server_confirmed = reason == RebootstrapReason::Requested;
    state
        .store(files, |metadata| {
            metadata.attachment = Attachment::Replacing;
            metadata.synced_generation = generation;
            metadata.synced_frame_no = None;
            metadata.history_changed |=
                is_other_log || metadata.history_id.is_some() && metadata.history_id != info.history_id;
            metadata.history_id = info.history_id;
            metadata.former_anchor = metadata.proving_anchor().filter(|_| !metadata.history_changed);
            metadata.anchor = predecessor;
            metadata.synced_wal_frames = 0;
            metadata.synced_wal_stamp = FrameStamp::default();
            metadata.synced_wal_match_watermark = 0;
            if metadata.phase == Phase::CheckpointingSynced {
                metadata.phase = Phase::Ready;
            }
        })
        .await?;
    replacement::finish(files, state).await
}
