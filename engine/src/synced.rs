//! The replica, and the state that all operations share.
//!
//! Between operations Synced's WAL ends with the last frame that the metadata names, or Synced is known to be dirty and is cut
//! back before it is used. No handle on Synced lives across a cut: the core's view of the WAL would not survive it.

use std::sync::Arc;

use turso_core::{CheckpointMode, Connection, Database, LimboError};

use crate::bootstrap::problem_with_main_file;
use crate::compaction;
use crate::database::{self, Capture};
use crate::error::{DatabaseContext, Error, FileOperation, Result};
use crate::events::event;
use crate::files::Files;
use crate::metadata::{Anchor, Attachment, FrameStamp, Metadata, Phase};
use crate::pause::pause;
use crate::poison::Poison;
use crate::rebootstrap::finish_replacing;
use crate::tape::Bookmarks;
use crate::wal::{RawSession, verify_frames, wal_bytes};

/// An open replica. A clone must not outlive the step that it was made for: nothing may hold one across a cut.
#[derive(Clone)]
pub(crate) struct Synced {
    pub(crate) database: Arc<Database>,
    pub(crate) connection: Arc<Connection>,
}

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
        event!("metadata written", members = members.as_str());
        pause().await;
        Ok(())
    }

    /// Brings the files into the state in which an operation may begin: certain metadata, no local tail on Synced, no
    /// replacement and no checkpoint half done. A Synced that is damaged is severed. Whether there was anything to do.
    pub(crate) async fn settle(&mut self, files: &Files) -> Result<bool> {
        let is_checkpoint_due = self.metadata.phase == Phase::CheckpointingSynced;
        let is_replacing = self.metadata.attachment == Attachment::Replacing;
        let is_unsettled =
            self.metadata_is_uncertain || self.synced_is_dirty || is_checkpoint_due || is_replacing;
        if self.metadata_is_uncertain {
            // Before the error there may have been another: a replacement whose entry is not durable, but is named.
            files.sync_directory().await?;
            self.store(files, |_| ()).await?;
        }
        if self.metadata.attachment == Attachment::Replacing {
            finish_replacing(files, self).await?;
        }
        if self.metadata.attachment != Attachment::Severed {
            let outcome = self.settle_synced(files).await;
            self.sever_if(files, outcome).await?;
        }
        let is_compaction_announced = self.metadata.phase == Phase::CompactingDraft;
        if is_compaction_announced {
            compaction::recover(files, self).await?;
        }
        Ok(is_unsettled || is_compaction_announced)
    }

    async fn settle_synced(&mut self, files: &Files) -> Result<()> {
        self.reset_if_dirty(files).await?;
        if self.metadata.phase == Phase::CheckpointingSynced {
            self.finish_checkpoint(files).await?;
        }
        Ok(())
    }

    /// Opens the replica, or severs it where that shows that it is damaged; says how Draft hangs on it then.
    pub(crate) async fn sever_if_damaged(&mut self, files: &Files) -> Result<Attachment> {
        if self.metadata.attachment != Attachment::Severed {
            let outcome = self.reset_if_dirty(files).await.and_then(|()| self.synced(files).map(|_| ()));
            self.sever_if(files, outcome).await?;
        }
        Ok(self.metadata.attachment)
    }

    /// Damage of the replica costs nothing but a download: it is noted, and the operation goes on. Any other error ends it; the core's also cost the
    /// replica its connection.
    /// Whether there was damage.
    pub(crate) async fn sever_if(&mut self, files: &Files, outcome: Result<()>) -> Result<bool> {
        let Err(error) = outcome else { return Ok(false) };
        if !is_damage_of_synced(files, &error) {
            if matches!(error, Error::Database { .. }) {
                // The core's connection may go on reporting an error that is over.
                self.synced = None;
            }
            return Err(error);
        }
        event!("replica damaged", cause = tracing::field::display(&error));
        self.close_synced();
        self.store(files, |metadata| metadata.attachment = Attachment::Severed).await?;
        Ok(true)
    }

    /// Closes the replica; what is on its disk has to be looked at before it is opened again.
    pub(crate) fn close_synced(&mut self) {
        self.synced = None;
        self.synced_is_dirty = true;
    }

    /// The dirty reset: cuts Synced's WAL back to the frames that the metadata names.
    pub(crate) async fn reset_if_dirty(&mut self, files: &Files) -> Result<()> {
        if !self.synced_is_dirty {
            return Ok(());
        }
        assert!(
            matches!(self.metadata.attachment, Attachment::Attached | Attachment::Detached),
            "a Synced that is lost or being replaced is left alone"
        );
        self.synced = None;
        let frames = self.metadata.synced_wal_frames;
        event!("dirty reset", frames = frames);
        files.cut(&files.synced_wal, wal_bytes(frames)).await?;
        self.verify_synced(files)?;
        self.synced_is_dirty = false;
        Ok(())
    }

    /// Checks that the WAL holds the frames that the metadata names, by length and by the last one's stamp, and that the main file
    /// is as long as its header says.
    fn verify_synced(&self, files: &Files) -> Result<()> {
        let main = files.open_named(&files.synced)?;
        // A checkpoint that was interrupted may have left the main file in between; it is done again.
        if self.metadata.phase != Phase::CheckpointingSynced
            && let Some(problem) = problem_with_main_file(&main)?
        {
            return Err(Error::Damaged { file: files.synced.clone(), problem });
        }
        let wal = files.open_named(&files.synced_wal)?;
        let expected = wal_bytes(self.metadata.synced_wal_frames);
        let actual = wal.length()?;
        if actual == 0 && self.metadata.phase == Phase::CheckpointingSynced {
            return Ok(());
        }
        if actual < expected {
            return Err(Error::Damaged {
                file: files.synced_wal.clone(),
                problem: format!("{actual} bytes where the metadata names {expected}"),
            });
        }
        let stamp = FrameStamp::read(&wal, self.metadata.synced_wal_frames)?;
        if stamp != self.metadata.synced_wal_stamp {
            return Err(Error::Damaged {
                file: files.synced_wal.clone(),
                problem: format!(
                    "frame {} is stamped {stamp:?}, the metadata names {:?}",
                    self.metadata.synced_wal_frames, self.metadata.synced_wal_stamp
                ),
            });
        }
        Ok(())
    }

    /// The open replica; opens it if need be. Only for a Synced that is not dirty, or that this operation has made dirty itself.
    pub(crate) fn synced(&mut self, files: &Files) -> Result<&Synced> {
        if self.synced.is_none() {
            assert!(!self.synced_is_dirty, "Synced is opened only after its reset");
            self.synced = Some(self.open_synced(files)?);
        }
        Ok(self.synced.as_ref().expect("it was opened above"))
    }

    fn open_synced(&self, files: &Files) -> Result<Synced> {
        let open = || {
            let database = database::open(&files.io, &files.synced)?;
            let connection = database::connect(&database, Capture::Off)?;
            let session = RawSession::begin(connection.clone())?;
            let frames = session.frame_count()?;
            session.end()?;
            Ok((frames, Synced { database, connection }))
        };
        let (frames, synced) = open().while_doing("opening the replica", &files.synced)?;
        if frames != self.metadata.synced_wal_frames {
            return Err(Error::Damaged {
                file: files.synced_wal.clone(),
                problem: format!(
                    "its checksums hold for {frames} frames, the metadata names {}",
                    self.metadata.synced_wal_frames
                ),
            });
        }
        Ok(synced)
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

    /// Closes the replica and cuts off the local tail that this operation has put on it.
    pub(crate) async fn cut_local_tail(&mut self, files: &Files) -> Result<()> {
        self.close_synced();
        self.reset_if_dirty(files).await
    }

    /// Moves Synced's WAL into its main file when that pays: after a generation change, or when it has grown long.
    /// Only once Draft hangs on Synced's very end, so that nothing older than the end is needed any more. Whether it was done.
    pub(crate) async fn checkpoint_if_due(&mut self, files: &Files, wal_frames_max: u64) -> Result<bool> {
        let metadata = &self.metadata;
        assert_eq!(
            metadata.synced_wal_match_watermark, metadata.synced_wal_frames,
            "Synced is checkpointed only after a rebase onto its end"
        );
        let holds_closed_generation = metadata.synced_wal_frames > metadata.synced_frame();
        let is_due = metadata.synced_wal_frames > 0
            && (holds_closed_generation || metadata.synced_wal_frames >= wal_frames_max);
        if is_due {
            event!("checkpoint announced", frames = self.metadata.synced_wal_frames);
            self.store(files, |metadata| metadata.phase = Phase::CheckpointingSynced).await?;
            self.finish_checkpoint(files).await?;
        }
        Ok(is_due)
    }

    /// Does the checkpoint that the metadata announces, or finds it done. Doing it twice does no harm as long as the WAL is whole.
    async fn finish_checkpoint(&mut self, files: &Files) -> Result<()> {
        let wal = files.open_named(&files.synced_wal)?;
        let is_whole = wal.length()? > 0;
        if is_whole {
            // The main file may be half moved: without every frame of the WAL it is no database that the core could say anything of.
            verify_frames(&wal, self.metadata.synced_wal_frames)?;
            let outcome = self
                .synced(files)?
                .connection
                .checkpoint(CheckpointMode::Truncate { upper_bound_inclusive: None });
            self.synced = None;
            outcome.while_doing("the checkpoint", &files.synced)?;
            event!("checkpoint done");
        } else {
            event!("checkpoint found done");
        }
        self.store(files, |metadata| {
            metadata.phase = Phase::Ready;
            metadata.synced_wal_frames = 0;
            metadata.synced_wal_stamp = FrameStamp::default();
            metadata.synced_wal_match_watermark = 0;
        })
        .await
    }
}

/// Whether the new version is the one that is found, although nobody knows whether it is durable: only its directory could not be synced.
fn is_in_place(replaced: &Result<()>) -> bool {
    matches!(replaced, Err(Error::Directory { operation: FileOperation::SyncDirectory, .. }))
}

/// Whether an error says that the replica is not what the metadata says it is.
fn is_damage_of_synced(files: &Files, error: &Error) -> bool {
    match error {
        Error::MissingFile { file } | Error::Damaged { file, .. } => {
            *file == files.synced || *file == files.synced_wal
        }
        Error::Database { file, source: LimboError::Corrupt(_) | LimboError::NotADB, .. } => {
            *file == files.synced
        }
        _ => false,
    }
}
