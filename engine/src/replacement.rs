//! The replacement: a complete export replaces Synced. These are steps 3 and 4 of a re-bootstrap
//! (`rebootstrap` lists all steps). Recovery repeats them after an interruption.

use crate::error::Result;
use crate::events::event;
use crate::files::Files;
use crate::metadata::Attachment;
use crate::state::State;

/// Performs steps 3 and 4. Repeating them is harmless.
pub(crate) async fn finish(files: &Files, state: &mut State) -> Result<()> {
    state.distrust_synced();
    let is_waiting = files.open_existing(&files.synced_next)?.is_some();
    event!(ReplacingSynced, is_waiting = is_waiting);
    if is_waiting {
        files.empty(&files.synced_wal).await?;
        files.replace(&files.synced_next, &files.synced).await?;
    }
    let attachment = if is_waiting { Attachment::Detached } else { Attachment::Severed };
    state.store(files, |metadata| metadata.attachment = attachment).await?;
    if is_waiting {
        event!(RebootstrapEnds);
    }
    Ok(())
}
