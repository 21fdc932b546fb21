//! The engine's state between operations, and how it is stored: the metadata on disk first, then in memory.
//!
//! This module decides nothing. `reset`, `checkpoint`, `replacement`, `compaction` and `recovery` bring the
//! files into the state that the metadata describes. Those modules are above this one.

use http::HeaderValue;

use crate::chain::Checksums;
use crate::error::{Error, FileOperation, Result};
use crate::events::event;
use crate::files::Files;
use crate::metadata::{Anchor, FrameStamp, LostTransactions, Metadata};
use crate::pause::pause;
use crate::poison::Poison;
use crate::synced::Synced;
use crate::tape::Bookmarks;

pub(crate) struct State {
    pub(crate) metadata: Metadata,
    /// Whether Synced's WAL may hold frames that the metadata does not name.
    pub(crate) synced_is_dirty: bool,
    /// Whether the last write of the metadata failed. The disk may then hold that version or the previous
    /// one.
    metadata_is_uncertain: bool,
    /// The number of frames in Draft's WAL when a compaction was last refused. The next attempt waits until
    /// the WAL has grown.
    pub(crate) compaction_deferred_at: u64,
    /// The highest transaction number of this client that the remote is known to have applied.
    pub(crate) acknowledged_no: u64,
    /// The server's run that was the last to show that it has Synced's log. `None` if none has, or if the server
    /// does not name its runs.
    pub(crate) proved_instance: Option<HeaderValue>,
    /// What is known about the checksums of the server's frames in the generation of this number.
    checksums: (u64, Checksums),
    /// Whether the application has confirmed that the server is the right one, although it shares nothing with
    /// the local database.
    pub(crate) is_server_confirmed: bool,
    /// Whether a report has named the lost transactions that the metadata names.
    lost_are_reported: bool,
    /// The places at which reading the change log may start.
    pub(crate) bookmarks: Bookmarks,
    /// Set permanently when the core's view of a file may be wrong.
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
            proved_instance: None,
            checksums: (0, Checksums::default()),
            is_server_confirmed: false,
            lost_are_reported: false,
            bookmarks: Bookmarks::default(),
            poison: Poison::default(),
            synced: None,
        }
    }

    /// Whether the disk may hold another version of the metadata than memory.
    pub(crate) fn metadata_is_uncertain(&self) -> bool {
        self.metadata_is_uncertain
    }

    /// What is known about the checksums of the server's frames in a generation.
    pub(crate) fn checksums(&self, generation: u64) -> Checksums {
        let (known, checksums) = self.checksums;
        if known == generation { checksums } else { Checksums::default() }
    }

    /// Forgets what was learned about the server: Synced is replaced, and its successor may be of another one.
    pub(crate) fn forget_server(&mut self) {
        self.acknowledged_no = 0;
        self.proved_instance = None;
        self.checksums = (0, Checksums::default());
    }

    pub(crate) fn learn_checksums(&mut self, generation: u64, checksums: Checksums) {
        self.checksums = (generation, checksums);
    }

    /// Changes the metadata, on disk first. If the write fails, memory keeps the previous version, and the
    /// next operation first writes it again. Until then nothing that either version names is destroyed.
    pub(crate) async fn store(&mut self, files: &Files, change: impl FnOnce(&mut Metadata)) -> Result<()> {
        pause().await;
        let mut metadata = self.metadata.clone();
        metadata.lost = metadata.lost.filter(|_| !self.lost_are_reported);
        change(&mut metadata);
        let members = metadata.changed_members(&self.metadata);
        self.metadata_is_uncertain = true;
        let replaced = files.replace_metadata(&metadata);
        if replaced.is_ok() || is_in_place(&replaced) {
            self.metadata = metadata;
            self.lost_are_reported = false;
        }
        replaced?;
        self.metadata_is_uncertain = false;
        event!(MetadataWritten, members = members.as_str());
        pause().await;
        Ok(())
    }

    /// Notes transactions that the remote has lost, before the rebase that removes them from Draft.
    pub(crate) async fn note_lost(&mut self, files: &Files, lost: LostTransactions) -> Result<()> {
        self.store(files, |metadata| metadata.lost = Some(lost.union(metadata.lost))).await
    }

    /// The number of lost transactions, for the report of an operation that succeeds. They stay in the metadata
    /// until it is stored again, so a report that does not arrive because of a crash is repeated.
    pub(crate) fn report_lost(&mut self) -> u64 {
        self.lost_are_reported = true;
        self.metadata.lost.map_or(0, LostTransactions::count)
    }

    /// Returns the open replica, and opens it if necessary. Synced must be clean, or dirty because of this
    /// operation.
    pub(crate) fn synced(&mut self, files: &Files) -> Result<&Synced> {
        if self.synced.is_none() {
            assert!(!self.synced_is_dirty, "Synced is opened only after its reset");
            self.synced = Some(Synced::open(files, &self.metadata)?);
        }
        Ok(self.synced.as_ref().expect("it was opened above"))
    }

    /// Closes the replica. The next use opens it again.
    pub(crate) fn close_synced(&mut self) {
        self.synced = None;
    }

    /// Closes the replica, and requires a reset before it is opened again.
    pub(crate) fn distrust_synced(&mut self) {
        self.close_synced();
        self.synced_is_dirty = true;
    }

    /// Makes the `count` frames after Synced's end durable, and then part of the replica by naming them in
    /// the metadata. They must be whole transactions of the remote. If they are the first of the next
    /// generation, the same write of the metadata enters it. `stamp` is the last frame's stamp in the
    /// server's log, if known.
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

/// Whether the new version is in place but possibly not durable: only the sync of its directory failed.
fn is_in_place(replaced: &Result<()>) -> bool {
    matches!(replaced, Err(Error::Directory { operation: FileOperation::SyncDirectory, .. }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine_file::{EngineFile, FileRole};

    #[test]
    fn a_version_is_in_place_when_only_its_directory_could_not_be_synced() {
        let failed = |operation| {
            let source = std::io::ErrorKind::Other.into();
            Err(Error::Directory { operation, file: EngineFile::of("t.db", FileRole::Metadata), source })
        };
        assert!(is_in_place(&failed(FileOperation::SyncDirectory)));
        assert!(!is_in_place(&failed(FileOperation::Rename)));
        assert!(!is_in_place(&Err(Error::OperationInProgress)));
    }
}
