//! What the engine knows between operations, and how it is stored: the metadata on disk first, then in memory.
//!
//! This module decides nothing. `reset`, `checkpoint`, `replacement`, `compaction` and `recovery` bring the files into the state that
//! the metadata names; they stand above it.

use crate::error::{Error, FileOperation, Result};
use crate::events::event;
use crate::files::Files;
use crate::metadata::{Anchor, FrameStamp, Metadata};
use crate::pause::pause;
use crate::poison::Poison;
use crate::synced::Synced;
use crate::tape::Bookmarks;

/// What the engine knows between operations.
pub(crate) struct State {
    pub(crate) metadata: Metadata,
    /// Whether Synced's WAL may hold frames that the metadata does not name.
    pub(crate) synced_is_dirty: bool,
    /// Whether the last write of the metadata failed, so that the disk may hold that version or the one before.
    metadata_is_uncertain: bool,
    /// Frames of Draft's WAL when a compaction was last refused; another try has to wait until it has grown.
    pub(crate) compaction_deferred_at: u64,
    /// The highest of this client's transaction numbers that this process knows the remote to have applied.
    pub(crate) acknowledged_no: u64,
    /// Where reading the change log may begin.
    pub(crate) bookmarks: Bookmarks,
    /// Set for good when the core may believe something about a file that is not so.
    pub(crate) poison: Poison,
    synced: Option<Synced>,
}

impl State {
    pub(crate) fn new(metadata: Metadata) -> Self {
        Self {
            metadata,
            synced_is_dirty: true,
            metadata_is_uncertain: false,
            compaction_deferred_at: 0,
            acknowledged_no: 0,
            bookmarks: Bookmarks::default(),
            poison: Poison::default(),
            synced: None,
        }
    }

    /// Whether the disk may hold another version of the metadata than memory.
    pub(crate) fn metadata_is_uncertain(&self) -> bool {
        self.metadata_is_uncertain
    }

    /// Changes the metadata, on disk first. When that fails, memory keeps the version that is in place, and the next operation begins by
    /// writing it again: until then nothing that either version names is destroyed.
    pub(crate) async fn store(&mut self, files: &Files, change: impl FnOnce(&mut Metadata)) -> Result<()> {
        pause().await;
        let mut metadata = self.metadata.clone();
        change(&mut metadata);
        let members = metadata.changed_members(&self.metadata);
        self.metadata_is_uncertain = true;
        let replaced = files.replace_metadata(&metadata);
        if replaced.is_ok() || is_in_place(&replaced) {
            self.metadata = metadata;
        }
        replaced?;
        self.metadata_is_uncertain = false;
        event!(MetadataWritten, members = members.as_str());
        pause().await;
        Ok(())
    }

    /// The open replica; opens it if need be. Only for a Synced that is not dirty, or that this operation has made dirty itself.
    pub(crate) fn synced(&mut self, files: &Files) -> Result<&Synced> {
        if self.synced.is_none() {
            assert!(!self.synced_is_dirty, "Synced is opened only after its reset");
            self.synced = Some(Synced::open(files, &self.metadata)?);
        }
        Ok(self.synced.as_ref().expect("it was opened above"))
    }

    /// Closes the replica; the next use opens it again.
    pub(crate) fn close_synced(&mut self) {
        self.synced = None;
    }

    /// Closes the replica; what is on its disk has to be looked at before it is opened again.
    pub(crate) fn distrust_synced(&mut self) {
        self.close_synced();
        self.synced_is_dirty = true;
    }

    /// Makes the `count` frames behind Synced's end durable and names them in the metadata: they are whole transactions of the remote's.
    /// If they are the first of the next generation, the metadata crosses into it by the same write.
    /// `stamp` is the last one's in the server's log, if that is known.
    pub(crate) async fn adopt_frames(
        &mut self,
        files: &Files,
        count: u64,
        is_crossing: bool,
        stamp: Option<FrameStamp>,
    ) -> Result<()> {
        files.sync(&files.synced_wal).await?;
        let wal_frames = self.metadata.synced_wal_frames + count;
        let synced_wal_stamp = FrameStamp::read(&files.open_named(&files.synced_wal)?, wal_frames)?;
        self.store(files, |metadata| {
            if is_crossing {
                metadata.cross(count);
            } else {
                metadata.synced_frame_no = Some(metadata.synced_frame() + count);
            }
            metadata.anchor = Some(Anchor {
                generation: metadata.synced_generation,
                frame_no: metadata.synced_frame(),
                stamp,
            });
            metadata.synced_wal_frames = wal_frames;
            metadata.synced_wal_stamp = synced_wal_stamp;
        })
        .await
    }
}

/// Whether the new version is the one that is found, although nobody knows whether it is durable: only its directory could not be synced.
fn is_in_place(replaced: &Result<()>) -> bool {
    matches!(replaced, Err(Error::Directory { operation: FileOperation::SyncDirectory, .. }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_in_place_when_only_its_directory_could_not_be_synced() {
        let failed = |operation| {
            let source = std::io::ErrorKind::Other.into();
            Err(Error::Directory { operation, file: "t.db-info".into(), source })
        };
        assert!(is_in_place(&failed(FileOperation::SyncDirectory)));
        assert!(!is_in_place(&failed(FileOperation::Rename)));
        assert!(!is_in_place(&Err(Error::OperationInProgress)));
    }
}
