//! The metadata file: describes the other files and how far each is valid.
//!
//! It is one JSON object, which is replaced as a whole: `{"checksum": crc32 of the text of "metadata",
//! "metadata": {…}}`. An unknown version or member, a missing member or a wrong checksum is an error that
//! describes it; nothing is guessed. Only `lost` may be missing. Everything that a version of the metadata names, which means relies on,
//! is durable before that version is.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::pages::PageSet;

/// The maximum generation and frame number that the engine accepts.
pub(crate) const GENERATION_MAX: u64 = 1 << 48;
/// The format version that this engine writes and reads.
const VERSION: u32 = 1;

/// The phase of the files' life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Phase {
    /// The exported snapshot is being written. The database files are incomplete files of the engine.
    Bootstrapping,
    /// The snapshot is in place. The first pull has not reached the end of the remote's log yet.
    FirstPull,
    /// The database is in use.
    Ready,
    /// The database is in use, and Synced's WAL is being moved into its main file. The WAL is either complete
    /// or empty.
    CheckpointingSynced,
    /// The database is in use, and Draft's WAL is being moved into its main file. Either the WAL still
    /// matches `draft_wal_moving_stamp`, or all of it was moved.
    CompactingDraft,
}

impl Phase {
    /// The phase's name in events.
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

/// The salts and the cumulative checksum of a WAL frame's header. The checksum covers the WAL's header and
/// all frames up to this one. So equal stamps and an unbroken chain mean equal bytes up to this frame
/// (<https://www.sqlite.org/fileformat2.html#walformat>).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FrameStamp {
    /// Salt-1 and salt-2 of the WAL.
    pub salts: [u32; 2],
    /// Checksum-1 and checksum-2 of the frame.
    pub checksums: [u32; 2],
}

/// How Draft relates to Synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Attachment {
    /// Draft as of its watermark equals Synced as of its own.
    Attached,
    /// Synced is lost and must not be read. The next operation re-bootstraps.
    Severed,
    /// A complete new export is in the file with the suffix `-synced-next`, and will replace Synced.
    Replacing,
    /// Synced or the client's identity was replaced. Draft is unchanged, but its watermark is not valid for
    /// the new Synced. The next rebase writes every page.
    Detached,
}

/// The newest frame of the server that Synced covers. It identifies the server's log. After an export, it is the last
/// frame of the generation before, if the server names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Anchor {
    /// The remote generation of the frame.
    pub generation: u64,
    /// The frame's number in that generation.
    pub frame_no: u64,
    /// The frame's stamp in the server's own log. `None` if this client has pushed the frame to a server whose
    /// checksums do not chain, and could not read the frame back.
    pub stamp: Option<FrameStamp>,
}

/// The engine's description of its files. Frame numbers count from 1; 0 means "none".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metadata {
    /// Format version.
    pub version: u32,
    /// The client's name, a dash and a UUID.
    pub client_unique_id: String,
    /// The phase of the files' life.
    pub phase: Phase,
    /// The remote generation that Synced has reached.
    pub synced_generation: u64,
    /// The last frame of that generation that Synced holds. It is always a commit frame. `None` until the
    /// first pull.
    pub synced_frame_no: Option<u64>,
    /// The number of frames of Synced's local WAL that replicate the remote. Frames after them are a local
    /// tail, which is cut off. This differs from `synced_frame_no` if the WAL also holds frames of the
    /// previous generation, or was checkpointed.
    pub synced_wal_frames: u64,
    /// The stamp of the last of these frames.
    pub synced_wal_stamp: FrameStamp,
    /// A frame of Draft's WAL: Draft as of this frame equals Synced as of `synced_wal_match_watermark`.
    pub draft_wal_match_watermark: u64,
    /// The stamp of that frame.
    pub draft_wal_stamp: FrameStamp,
    /// The number of frames of Draft's WAL that a compaction has started to move into the main file. The main
    /// file may hold some of them, and is unusable without the others. 0 if no compaction has started.
    pub draft_wal_moving_frames: u64,
    /// The stamp of the last of these frames.
    pub draft_wal_moving_stamp: FrameStamp,
    /// A frame of Synced's WAL, see `draft_wal_match_watermark`.
    pub synced_wal_match_watermark: u64,
    /// Pages of Draft that the watermarks do not cover, because Draft was compacted or is about to be. They
    /// may have changed since the last rebase.
    pub draft_changed_pages: PageSet,
    /// The highest local transaction number that was ever sent.
    pub attempted_transaction_no: u64,
    /// The `history_id` in the server's `/info`, which identifies the log that Synced replicates; `None` if
    /// the server sends none.
    pub history_id: Option<String>,
    /// Synced's newest remote frame; `None` while Synced holds only an export of a server that does not say what was
    /// before it.
    pub anchor: Option<Anchor>,
    /// Synced's newest remote frame before an export of the same log took Synced's place. The log must still have it when
    /// Draft is rebased. `None` if Draft has been rebased since, or if the server's stamps say nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub former_anchor: Option<Anchor>,
    /// How Draft relates to Synced.
    pub attachment: Attachment,
    /// Whether Draft is still based on another log than Synced. If a local transaction then needs a table
    /// that Synced does not have, the table was never created there; it was not dropped.
    pub history_changed: bool,
    /// Local transactions up to this number are not sent, even if the number in the remote's acknowledgement
    /// row is lower. They belong to an earlier identity.
    pub settled_transaction_no: u64,
    /// Local transactions that the remote had acknowledged and then lost, and that Draft lacks since then. `None` if
    /// there are none, or if a report has named them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<LostTransactions>,
}

/// The local transactions with the numbers after `after`, up to and including `up_to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LostTransactions {
    /// The number before the first of them.
    pub after: u64,
    /// The number of the last one.
    pub up_to: u64,
}

impl LostTransactions {
    /// The smallest range with the transactions of both.
    pub(crate) fn union(self, other: Option<Self>) -> Self {
        other.map_or(self, |other| Self {
            after: self.after.min(other.after),
            up_to: self.up_to.max(other.up_to),
        })
    }

    pub(crate) fn count(self) -> u64 {
        self.up_to.saturating_sub(self.after)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope<'a> {
    checksum: u32,
    #[serde(borrow)]
    metadata: &'a RawValue,
}

impl Metadata {
    /// The metadata of a client that has only chosen its identity.
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
            former_anchor: None,
            attachment: Attachment::Attached,
            history_changed: false,
            settled_transaction_no: 0,
            lost: None,
        }
    }

    /// The names of the members that differ between two versions, separated by commas; `none` if all are
    /// equal.
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
            former_anchor,
            attachment,
            history_changed,
            settled_transaction_no,
            lost,
        );
        let changed: Vec<&str> =
            members.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect();
        if changed.is_empty() { "none".into() } else { changed.join(",") }
    }

    /// The number of frames of Draft's WAL that the metadata names. They are durable and never change.
    pub(crate) fn draft_wal_frames(&self) -> u64 {
        self.draft_wal_match_watermark.max(self.draft_wal_moving_frames)
    }

    /// The last frame of the current generation that Synced holds; 0 for none.
    pub(crate) fn synced_frame(&self) -> u64 {
        self.synced_frame_no.unwrap_or(0)
    }

    /// The newest frame of the log that Draft is based on, if it proves which log that is.
    pub(crate) fn proving_anchor(&self) -> Option<Anchor> {
        let anchor = self.former_anchor.or(self.anchor);
        anchor.filter(|anchor| anchor.generation > 0 && anchor.stamp.is_some())
    }

    /// Whether Synced's newest frame of the current generation is in its WAL. A generation may not have
    /// frames yet, and a checkpoint moves frames into the main file.
    pub(crate) fn has_newest_frame(&self) -> bool {
        self.synced_wal_frames > 0 && self.synced_frame() > 0
    }

    /// Moves Synced to the next generation, `frames` frames into it.
    pub(crate) fn cross(&mut self, frames: u64) {
        self.synced_generation += 1;
        self.synced_frame_no = Some(frames);
    }

    /// Encodes a metadata file.
    ///
    /// # Errors
    /// The problem, in words.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, String> {
        let encode = || {
            let text = serde_json::value::to_raw_value(self)?;
            let checksum = crc32fast::hash(text.get().as_bytes());
            serde_json::to_vec(&Envelope { checksum, metadata: &text })
        };
        encode().map_err(in_words)
    }

    /// Decodes a metadata file.
    ///
    /// # Errors
    /// The problem, in words.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let envelope: Envelope<'_> = serde_json::from_slice(bytes).map_err(in_words)?;
        let text = envelope.metadata.get();
        let checksum = crc32fast::hash(text.as_bytes());
        if checksum != envelope.checksum {
            let claimed = envelope.checksum;
            return Err(format!("the checksum is {checksum:#010x}, but the file says {claimed:#010x}"));
        }
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let Version { version } = serde_json::from_str(text).map_err(in_words)?;
        if version != VERSION {
            return Err(format!("version {version}, this engine reads version {VERSION}"));
        }
        let metadata: Self = serde_json::from_str(text).map_err(in_words)?;
        metadata.check()?;
        Ok(metadata)
    }

    /// Checks that the numbers are consistent. A correct checksum shows only that the engine wrote the file,
    /// not that its content is valid.
    fn check(&self) -> Result<(), &'static str> {
        let frames = [
            self.synced_wal_frames,
            self.draft_wal_match_watermark,
            self.draft_wal_moving_frames,
            self.synced_wal_match_watermark,
        ];
        if frames.iter().any(|&frames| frames > u64::from(u32::MAX)) {
            return Err("a frame number out of range");
        }
        if self.synced_wal_match_watermark > self.synced_wal_frames {
            return Err("a watermark after the end of the WAL");
        }
        if self.phase == Phase::CompactingDraft && self.draft_wal_moving_frames == 0 {
            return Err("a compaction of no frames");
        }
        if !self.draft_changed_pages.is_ascending() {
            return Err("page ranges that are not in ascending order");
        }
        if self.synced_generation > GENERATION_MAX || self.synced_frame() > GENERATION_MAX {
            return Err("a generation or frame number out of range");
        }
        Ok(())
    }
}

fn in_words(error: serde_json::Error) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_encoded_is_decoded() {
        let metadata = Metadata { synced_frame_no: Some(7), ..Metadata::bootstrapping("a-1".into()) };
        assert_eq!(Metadata::decode(&metadata.encode().unwrap()).unwrap(), metadata);
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let good = Metadata::bootstrapping("a-1".into());
        let bytes = good.encode().unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(
                Metadata::decode(&flipped).is_err(),
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
            let decoded = Metadata::decode(&wrong.encode().unwrap());
            assert!(decoded.is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_future_version_is_refused_by_name() {
        let future = Metadata { version: 2, ..Metadata::bootstrapping("a-1".into()) };
        let error = Metadata::decode(&future.encode().unwrap()).unwrap_err();
        assert_eq!(error, "version 2, this engine reads version 1");
    }
}
