//! The metadata file: what the other files are, and how far they may be trusted.
//!
//! One JSON object, replaced as a whole: `{"checksum": crc32 of the text of "metadata", "metadata": {…}}`. An unknown version or
//! member, a missing member or a wrong checksum is an error that names it; nothing is guessed.
//! Whatever a version of the metadata names is durable before that version is.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::error::{Error, Result};

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
    /// A frame of Synced's WAL, see `draft_wal_match_watermark`.
    pub synced_wal_match_watermark: u64,
    /// The highest local transaction number that was ever given to the network.
    pub attempted_transaction_no: u64,
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
            synced_wal_match_watermark: 0,
            attempted_transaction_no: 0,
        }
    }

    /// The last frame of the current generation that Synced holds, 0 for none.
    pub(crate) fn synced_frame(&self) -> u64 {
        self.synced_frame_no.unwrap_or(0)
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
        serde_json::from_str(text).map_err(|error| bad(file, error.to_string()))
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
    fn a_future_version_is_refused_by_name() {
        let future = Metadata { version: 2, ..Metadata::bootstrapping("a-1".into()) };
        let error = Metadata::decode("x-info", &future.encode().unwrap()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "x-info is no metadata of this engine: version 2, this engine reads version 1"
        );
    }
}
