//! What a client's metadata claims about its files, read with a parser of our own.

use std::ops::Range;

use serde::Deserialize;

use super::database_files::wal_bytes;
use super::format::Wal;
use crate::fault::FileClass;

/// What the metadata claims, as far as it is checked. Members that mean nothing here are passed over.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Claims {
    pub(crate) phase: String,
    pub(crate) synced_generation: u64,
    pub(crate) synced_frame_no: Option<u64>,
    pub(crate) synced_wal_frames: u64,
    pub(crate) draft_wal_match_watermark: u64,
    pub(crate) synced_wal_match_watermark: u64,
    /// Where Draft was compacted: ranges of pages of which the watermarks say nothing.
    pub(crate) draft_changed_pages: Vec<(u32, u32)>,
    /// Frames of Draft's WAL that a compaction has begun to move into the main file.
    pub(crate) draft_wal_moving_frames: u64,
    pub(crate) draft_wal_moving_stamp: Stamp,
    pub(crate) attempted_transaction_no: u64,
    /// What the server is said to call the history that Synced replicates.
    pub history_id: Option<String>,
    pub(crate) attachment: String,
}

/// Of a WAL frame, as far as it tells one WAL from the next.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Stamp {
    pub(crate) salts: [u32; 2],
}

impl Claims {
    /// Reads a metadata file; `None` if it does not parse.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct File {
            metadata: Claims,
        }
        serde_json::from_slice::<File>(bytes).ok().map(|file| file.metadata)
    }

    /// Whether the database files mean anything yet.
    pub fn has_databases(&self) -> bool {
        self.phase != "bootstrapping"
    }

    /// Whether the client may still have to fetch its first export.
    pub fn is_beginning(&self) -> bool {
        matches!(self.phase.as_str(), "bootstrapping" | "first_pull")
    }

    /// Whether Synced is claimed to be the remote's.
    pub fn has_replica(&self) -> bool {
        self.has_databases() && matches!(self.attachment.as_str(), "attached" | "detached")
    }

    /// Whether Draft's watermark says nothing about Synced.
    pub fn is_detached(&self) -> bool {
        self.attachment == "detached"
    }

    /// Whether a re-bootstrap is due or half done.
    pub fn is_being_replaced(&self) -> bool {
        matches!(self.attachment.as_str(), "severed" | "replacing")
    }

    pub(super) fn may_have_lost_wal(&self) -> bool {
        self.phase == "checkpointing_synced"
    }

    pub(super) fn is_compacting(&self) -> bool {
        self.phase == "compacting_draft"
    }

    /// How many bytes at the beginning of a file have checksums that the metadata vouches for, or that are its own; `draft_wal` is the content of Draft's WAL.
    pub fn named_bytes(&self, file: FileClass, draft_wal: &[u8]) -> u64 {
        match file {
            FileClass::Metadata => u64::MAX,
            FileClass::DraftWal if self.has_databases() => {
                let is_compacted = self.has_moved_draft_wal(&Wal::parse(draft_wal));
                if is_compacted { 0 } else { wal_bytes(self.draft_wal_frames()) }
            }
            FileClass::SyncedWal if self.has_replica() => wal_bytes(self.synced_wal_frames),
            _ => 0,
        }
    }

    /// Whether a compaction that these claims announce has moved the WAL that the watermark stands in.
    pub(super) fn has_moved_draft_wal(&self, draft_wal: &Wal<'_>) -> bool {
        self.is_compacting()
            && draft_wal.header().is_none_or(|header| header.salts != self.draft_wal_moving_stamp.salts)
    }

    /// Frames of Draft's WAL that the metadata relies on: up to the watermark, and up to where it may be in the main file already.
    pub(super) fn draft_wal_frames(&self) -> u64 {
        self.draft_wal_match_watermark.max(self.draft_wal_moving_frames)
    }

    /// What these claims rely on: bytes that nobody may touch as long as a crash could leave this version.
    pub fn named(&self) -> Vec<Named> {
        if !self.has_databases() {
            return Vec::new();
        }
        let named = |file, range| Named { file, range, may_be_emptied: false };
        let mut all = Vec::new();
        let draft_wal = named(FileClass::DraftWal, 0..wal_bytes(self.draft_wal_frames()));
        if self.is_compacting() {
            // What the checkpoint writes to the main file is judged page by page, but for those that it may change.
            all.push(Named { may_be_emptied: true, ..draft_wal });
        } else {
            all.extend([named(FileClass::Draft, 0..u64::MAX), draft_wal]);
        }
        match self.attachment.as_str() {
            "severed" => return all,
            "replacing" => {
                all.push(named(FileClass::SyncedNext, 0..u64::MAX));
                return all;
            }
            _ => {}
        }
        let synced_wal = named(FileClass::SyncedWal, 0..wal_bytes(self.synced_wal_frames));
        if self.may_have_lost_wal() {
            all.push(Named { may_be_emptied: true, ..synced_wal });
        } else {
            all.extend([named(FileClass::Synced, 0..u64::MAX), synced_wal]);
        }
        all
    }

    /// Whether Draft hangs on Synced's very end.
    pub(crate) fn is_rebased(&self) -> bool {
        self.synced_wal_match_watermark == self.synced_wal_frames
    }

    /// The generation, and the frame of it, that Synced is said to have reached.
    pub fn progress(&self) -> (u64, u64) {
        (self.synced_generation, self.synced_frame_no.unwrap_or(0))
    }
}

/// Bytes of a file that a version of the metadata names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// The file's role.
    pub file: FileClass,
    /// Which bytes of it.
    pub range: Range<u64>,
    /// Whether the file may be emptied all the same once its main file is durable, as a checkpoint that is announced does.
    pub may_be_emptied: bool,
}
