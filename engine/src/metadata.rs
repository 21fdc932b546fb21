//! The metadata file: what the other files are, and how far they may be trusted.
//!
//! One JSON object, replaced as a whole: `{"checksum": crc32 of the text of "metadata", "metadata": {…}}`. An unknown version or
//! member, a missing member or a wrong checksum is an error that names it; nothing is guessed.
//! Whatever a version of the metadata names is durable before that version is.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::error::{Error, Result};
use crate::pages::PageSet;

/// The highest generation, and frame in it, that is believed.
pub(crate) const GENERATION_MAX: u64 = 1 << 48;
/// The format that this engine writes and reads.
const VERSION: u32 = 1;

/// How far the files have come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Phase {
    /// The exported snapshot is being written; whatever stands in the database files is rubbish of the engine's own.
    Bootstrapping,
    /// The snapshot is in place; the first pull has not reached the end of the remote's history yet.
    FirstPull,
    /// In use.
    Ready,
    /// In use, and Synced's WAL is being moved into its main file: the WAL is either still whole or empty.
    CheckpointingSynced,
    /// In use, and Draft's WAL is being moved into its main file: the WAL is still the one that `draft_wal_moving_stamp` is of, or all of
    /// it was moved.
    CompactingDraft,
}

impl Phase {
    /// Its name, as it stands in events.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bootstrapping => "bootstrapping",
            Self::FirstPull => "first_pull",
            Self::Ready => "ready",
            Self::CheckpointingSynced => "checkpointing_synced",
            Self::CompactingDraft => "compacting_draft",
        }
    }
}

/// Salts and cumulative checksum out of a WAL frame's header. As the checksum runs over the header and every frame before,
/// equal stamps and an unbroken chain mean equal bytes up to there
/// (<https://www.sqlite.org/fileformat2.html#walformat>).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FrameStamp {
    /// Salt-1 and salt-2 of the WAL.
    pub salts: [u32; 2],
    /// Checksum-1 and checksum-2 as of the frame.
    pub checksums: [u32; 2],
}

/// How Draft hangs on Synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Attachment {
    /// Draft as of its watermark equals Synced as of its own.
    Attached,
    /// Synced is lost, and nobody may look at it; a re-bootstrap is due.
    Severed,
    /// A complete new export waits in the file with the ending `-synced-next` to take Synced's place.
    Replacing,
    /// Synced was replaced, or the client's identity was. Draft is the application's database as it was, but its watermark says
    /// nothing about Synced: the next rebase writes every page.
    Detached,
}

/// The last frame that came from the server, by which it is known again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Anchor {
    /// The remote generation that it is of.
    pub generation: u64,
    /// Its number there.
    pub frame_no: u64,
    /// Its stamp in the server's own log; `None` if this client has pushed it and has not seen it since, to a
    /// server that names its history.
    pub stamp: Option<FrameStamp>,
}

/// What the engine knows about its files. Frame numbers count from 1, 0 means "none".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metadata {
    /// Format version.
    pub version: u32,
    /// The client's name, a dash and a UUID; chosen once.
    pub client_unique_id: String,
    /// How far the files have come.
    pub phase: Phase,
    /// The remote generation that Synced has reached.
    pub synced_generation: u64,
    /// The last frame of that generation that Synced holds, always a commit boundary. `None` until the first pull.
    pub synced_frame_no: Option<u64>,
    /// Frames of Synced's local WAL that replicate the remote; whatever stands behind them is a local tail and is cut off.
    /// Differs from `synced_frame_no` when the WAL also holds frames of the generation before, or was checkpointed.
    pub synced_wal_frames: u64,
    /// The stamp of the last of them.
    pub synced_wal_stamp: FrameStamp,
    /// A frame of Draft's WAL: Draft as of it equals Synced as of `synced_wal_match_watermark`.
    pub draft_wal_match_watermark: u64,
    /// The stamp of that frame.
    pub draft_wal_stamp: FrameStamp,
    /// Frames of Draft's WAL that a compaction has begun to move into the main file, which may hold a part of them and is nothing without
    /// the others. 0 when there are none.
    pub draft_wal_moving_frames: u64,
    /// The stamp of the last of them.
    pub draft_wal_moving_stamp: FrameStamp,
    /// A frame of Synced's WAL, see `draft_wal_match_watermark`.
    pub synced_wal_match_watermark: u64,
    /// Pages that may have changed on Draft since the last rebase and of which the watermarks claim nothing, because Draft was compacted,
    /// or is about to be.
    pub draft_changed_pages: PageSet,
    /// The highest local transaction number that was ever given to the network.
    pub attempted_transaction_no: u64,
    /// What the server calls the history that Synced replicates; `None` if it gives it no name.
    pub history_id: Option<String>,
    /// The newest frame of Synced's; `None` while it holds nothing but an export.
    pub anchor: Option<Anchor>,
    /// How Draft hangs on Synced.
    pub attachment: Attachment,
    /// Whether Synced is of another history than Draft is still of. Tables that local transactions need and that Synced does not have
    /// were then not dropped but never made.
    pub history_changed: bool,
    /// Local transactions up to this number are not sent, whatever the remote's row says: they were an earlier identity's.
    pub settled_transaction_no: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope<'a> {
    checksum: u32,
    #[serde(borrow)]
    metadata: &'a RawValue,
}

impl Metadata {
    /// The metadata of a client that has decided on its identity and on nothing else.
    pub(crate) fn bootstrapping(client_unique_id: String) -> Self {
        Self {
            version: VERSION,
            client_unique_id,
            phase: Phase::Bootstrapping,
            synced_generation: 0,
            synced_frame_no: None,
            synced_wal_frames: 0,
            synced_wal_stamp: FrameStamp::default(),
            draft_wal_match_watermark: 0,
            draft_wal_stamp: FrameStamp::default(),
            draft_wal_moving_frames: 0,
            draft_wal_moving_stamp: FrameStamp::default(),
            synced_wal_match_watermark: 0,
            draft_changed_pages: PageSet::default(),
            attempted_transaction_no: 0,
            history_id: None,
            anchor: None,
            attachment: Attachment::Attached,
            history_changed: false,
            settled_transaction_no: 0,
        }
    }

    /// The names of the members that differ from another version's, separated by commas; `none` when none does.
    pub(crate) fn changed_members(&self, other: &Self) -> String {
        // Every field is named here, so a new one does not compile until it is compared as well.
        macro_rules! changed {
            ($($field:ident),* $(,)?) => {{
                let Self { $($field),* } = self;
                [$((stringify!($field), *$field != other.$field)),*]
            }};
        }
        let members = changed!(
            version,
            client_unique_id,
            phase,
            synced_generation,
            synced_frame_no,
            synced_wal_frames,
            synced_wal_stamp,
            draft_wal_match_watermark,
            draft_wal_stamp,
            draft_wal_moving_frames,
            draft_wal_moving_stamp,
            synced_wal_match_watermark,
            draft_changed_pages,
            attempted_transaction_no,
            history_id,
            anchor,
            attachment,
            history_changed,
            settled_transaction_no,
        );
        let changed: Vec<&str> =
            members.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect();
        if changed.is_empty() { "none".into() } else { changed.join(",") }
    }

    /// Frames of Draft's WAL that are named: they are durable, and stay as they are.
    pub(crate) fn draft_wal_frames(&self) -> u64 {
        self.draft_wal_match_watermark.max(self.draft_wal_moving_frames)
    }

    /// The last frame of the current generation that Synced holds, 0 for none.
    pub(crate) fn synced_frame(&self) -> u64 {
        self.synced_frame_no.unwrap_or(0)
    }

    /// Whether the newest frame of the current generation that Synced holds is in its WAL: a generation may have none yet, and a
    /// checkpoint moves them into the main file.
    pub(crate) fn has_newest_frame(&self) -> bool {
        self.synced_wal_frames > 0 && self.synced_frame() > 0
    }

    /// Synced goes on in the next generation, `frames` frames into it.
    pub(crate) fn cross(&mut self, frames: u64) {
        self.synced_generation += 1;
        self.synced_frame_no = Some(frames);
    }

    pub(crate) fn encode(&self) -> Result<Vec<u8>> {
        let encode = || {
            let text = serde_json::value::to_raw_value(self)?;
            let checksum = crc32fast::hash(text.get().as_bytes());
            serde_json::to_vec(&Envelope { checksum, metadata: &text })
        };
        encode().map_err(|error| bad("new metadata", error.to_string()))
    }

    /// Reads a metadata file.
    ///
    /// # Errors
    /// [`Error::BadMetadata`] naming `file` and what is wrong.
    pub(crate) fn decode(file: &str, bytes: &[u8]) -> Result<Self> {
        let envelope: Envelope<'_> =
            serde_json::from_slice(bytes).map_err(|error| bad(file, error.to_string()))?;
        let text = envelope.metadata.get();
        let checksum = crc32fast::hash(text.as_bytes());
        if checksum != envelope.checksum {
            return Err(bad(
                file,
                format!("checksum is {checksum:#010x}, the file says {:#010x}", envelope.checksum),
            ));
        }
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let Version { version } = serde_json::from_str(text).map_err(|error| bad(file, error.to_string()))?;
        if version != VERSION {
            return Err(bad(file, format!("version {version}, this engine reads version {VERSION}")));
        }
        let metadata: Self = serde_json::from_str(text).map_err(|error| bad(file, error.to_string()))?;
        metadata.check().map_err(|problem| bad(file, problem.to_owned()))?;
        Ok(metadata)
    }

    /// Whether the numbers go together. A sum that is right says that the engine wrote it, not that it meant it.
    fn check(&self) -> std::result::Result<(), &'static str> {
        let frames = [
            self.synced_wal_frames,
            self.draft_wal_match_watermark,
            self.draft_wal_moving_frames,
            self.synced_wal_match_watermark,
        ];
        if frames.iter().any(|&frames| frames > u64::from(u32::MAX)) {
            return Err("a frame number that no WAL has");
        }
        if self.synced_wal_match_watermark > self.synced_wal_frames {
            return Err("a watermark behind the end of the WAL");
        }
        if self.phase == Phase::CompactingDraft && self.draft_wal_moving_frames == 0 {
            return Err("a compaction of no frames");
        }
        if !self.draft_changed_pages.is_ascending() {
            return Err("ranges of pages that do not ascend");
        }
        if self.synced_generation > GENERATION_MAX || self.synced_frame() > GENERATION_MAX {
            return Err("a generation or frame that no remote has");
        }
        Ok(())
    }
}

fn bad(file: &str, problem: String) -> Error {
    Error::BadMetadata { file: file.to_owned(), problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_encoded_is_decoded() {
        let metadata = Metadata { synced_frame_no: Some(7), ..Metadata::bootstrapping("a-1".into()) };
        assert_eq!(Metadata::decode("x-info", &metadata.encode().unwrap()).unwrap(), metadata);
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let good = Metadata::bootstrapping("a-1".into());
        let bytes = good.encode().unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(
                matches!(Metadata::decode("x-info", &flipped), Err(Error::BadMetadata { .. })),
                "bit {bit} of {}",
                String::from_utf8_lossy(&flipped)
            );
        }
    }

    #[test]
    fn numbers_that_contradict_each_other_are_refused() {
        let good = Metadata::bootstrapping("a-1".into());
        for wrong in [
            Metadata { synced_wal_match_watermark: 1, ..good.clone() },
            Metadata { synced_wal_frames: u64::MAX, ..good.clone() },
            Metadata { draft_wal_match_watermark: 1 << 40, ..good.clone() },
            Metadata { draft_wal_moving_frames: 1 << 40, ..good.clone() },
            Metadata { phase: Phase::CompactingDraft, ..good.clone() },
            Metadata { draft_changed_pages: serde_json::from_str("[[9,3]]").unwrap(), ..good.clone() },
            Metadata { draft_changed_pages: serde_json::from_str("[[1,3],[3,4]]").unwrap(), ..good.clone() },
            Metadata { synced_generation: u64::MAX, ..good.clone() },
            Metadata { synced_frame_no: Some(u64::MAX), ..good.clone() },
        ] {
            let decoded = Metadata::decode("x-info", &wrong.encode().unwrap());
            assert!(matches!(decoded, Err(Error::BadMetadata { .. })), "{wrong:?}");
        }
    }

    #[test]
    fn a_future_version_is_refused_by_name() {
        let future = Metadata { version: 2, ..Metadata::bootstrapping("a-1".into()) };
        let error = Metadata::decode("x-info", &future.encode().unwrap()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "x-info is no metadata of this engine: version 2, this engine reads version 1"
        );
    }
}
