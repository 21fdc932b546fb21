//! Bit rot: bytes of a file that change while no process writes them.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::SECTOR_BYTES;

/// The kind of damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Damage {
    /// Flips one bit of the byte: bit `n` modulo 8.
    Bit(u8),
    /// Changes the whole sector that contains the byte.
    Sector {
        /// Determines the new bytes.
        key: u64,
    },
}

impl Damage {
    /// The damaged bytes and their offset, if the byte at `offset` is damaged.
    ///
    /// # Panics
    /// If `content` has no byte at `offset`.
    pub fn of(self, content: &[u8], offset: usize) -> (usize, Vec<u8>) {
        match self {
            Self::Bit(bit) => (offset, vec![content[offset] ^ 1 << (bit % 8)]),
            Self::Sector { key } => {
                let start = offset - offset % SECTOR_BYTES as usize;
                let end = content.len().min(start + SECTOR_BYTES as usize);
                let hash = |at: usize| xxh3_64_with_seed(&at.to_le_bytes(), key) as u8;
                // The byte at `offset` itself changes for every key.
                let rot = |at: usize| if at == offset { hash(at) | 1 } else { hash(at) };
                (start, (start..end).map(|at| content[at] ^ rot(at)).collect())
            }
        }
    }
}
