//! The claims that a client's metadata makes about its files, read with the simulator's own parser.

use std::ops::Range;

use serde::Deserialize;

use super::database_files::wal_bytes;
use super::format::Wal;
use crate::fault::FileClass;

/// The checked part of the metadata. Other members are ignored.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Claims {
    pub(crate) phase: String,
    pub(crate) synced_generation: u64,
    pub(crate) synced_frame_no: Option<u64>,
    pub(crate) synced_wal_frames: u64,
    pub(crate) draft_wal_match_watermark: u64,
    pub(crate) synced_wal_match_watermark: u64,
    /// Page ranges where Draft was compacted. The watermarks do not cover them.
    pub(crate) draft_changed_pages: Vec<(u32, u32)>,
    /// Frames of Draft's WAL that a compaction has started to move into the main file.
    pub(crate) draft_wal_moving_frames: u64,
    pub(crate) draft_wal_moving_stamp: Stamp,
    pub(crate) attempted_transaction_no: u64,
    /// The history id of the log that Synced replicates.
    pub history_id: Option<String>,
    /// The newest frame of the remote that Synced holds.
    pub(crate) anchor: Option<AnchorClaim>,
    pub(crate) attachment: String,
}

/// A frame of the remote.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct AnchorClaim {
    generation: u64,
}

/// The part of a WAL frame that distinguishes one WAL from the next.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Stamp {
    pub(crate) salts: [u32; 2],
}

impl Claims {
    /// Parses a metadata file; `None` if it is malformed.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct File {
            metadata: Claims,
        }
        serde_json::from_slice::<File>(bytes).ok().map(|file| file.metadata)
    }

    /// Whether the database files are in use.
    pub fn has_databases(&self) -> bool {
        self.phase != "bootstrapping"
    }

    /// Whether the client has never reached the end of the remote's log. It may still have to fetch its first
    /// export.
    pub fn has_never_caught_up(&self) -> bool {
        matches!(self.phase.as_str(), "bootstrapping" | "first_pull")
    }

    /// Whether the metadata claims that Synced is a replica of the remote.
    pub fn has_replica(&self) -> bool {
        self.has_databases() && matches!(self.attachment.as_str(), "attached" | "detached")
    }

    /// Whether the client knows a frame of the remote that it can ask for again.
    pub fn has_remote_frame(&self) -> bool {
        !self.has_never_caught_up() && self.anchor.as_ref().is_some_and(|anchor| anchor.generation > 0)
    }

    /// Whether Draft's watermark is unrelated to Synced.
    pub fn is_detached(&self) -> bool {
        self.attachment == "detached"
    }

    /// Whether a re-bootstrap is pending or in progress.
    pub fn is_being_replaced(&self) -> bool {
        matches!(self.attachment.as_str(), "severed" | "replacing")
    }

    pub(super) fn may_have_lost_wal(&self) -> bool {
        self.phase == "checkpointing_synced"
    }

    pub(super) fn is_compacting(&self) -> bool {
        self.phase == "compacting_draft"
    }

    /// The number of bytes at the start of a file that the client relies on and that checksums cover. The
    /// checksums are in the metadata or in the file itself. `draft_wal` is the content of Draft's WAL.
    pub fn checksummed_bytes(&self, file: FileClass, draft_wal: &[u8]) -> u64 {
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

    /// Whether an announced compaction has already moved the WAL that the watermark refers to.
    pub(super) fn has_moved_draft_wal(&self, draft_wal: &Wal<'_>) -> bool {
        self.is_compacting()
            && draft_wal.header().is_none_or(|header| header.salts != self.draft_wal_moving_stamp.salts)
    }

    /// The number of frames of Draft's WAL that the metadata refers to: the frames up to the watermark, and
    /// the frames that a compaction may already have moved into the main file.
    pub(super) fn draft_wal_frames(&self) -> u64 {
        self.draft_wal_match_watermark.max(self.draft_wal_moving_frames)
    }

    /// The *named* bytes: the bytes of database files that the metadata refers to. Nothing may change them
    /// while a crash could still leave this version.
    pub fn named(&self) -> Vec<Named> {
        if !self.has_databases() {
            return Vec::new();
        }
        let named = |file, range| Named { file, range, may_be_emptied: false };
        let mut all = Vec::new();
        let draft_wal = named(FileClass::DraftWal, 0..wal_bytes(self.draft_wal_frames()));
        if self.is_compacting() {
            // A compaction writes to the main file, so the main file is not among the named bytes. The
            // page-level checks compare it, except for the pages that the compaction may change.
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

    /// Whether Draft is based on the very end of Synced.
    pub(crate) fn is_rebased(&self) -> bool {
        self.synced_wal_match_watermark == self.synced_wal_frames
    }

    /// The generation that Synced claims to have reached, and the frame in this generation.
    pub fn progress(&self) -> (u64, u64) {
        (self.synced_generation, self.synced_frame_no.unwrap_or(0))
    }
}

/// A range of *named* bytes: a version of the metadata refers to them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    pub file: FileClass,
    pub range: Range<u64>,
    /// Whether the file may be emptied once its main file is durable, as an announced checkpoint does.
    pub may_be_emptied: bool,
}
