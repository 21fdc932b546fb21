//! Bit rot: bytes of a file that change while no process writes them.

use arbitrary::Arbitrary;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::SECTOR_BYTES;

/// How bytes go bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Arbitrary)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Damage {
    /// This bit of the byte flips, of eight.
    Bit(u8),
    /// Its whole sector is another.
    Sector {
        /// Which.
        key: u64,
    },
}

impl Damage {
    /// What stands where in a file afterwards, if it strikes at the byte at `offset`.
    ///
    /// # Panics
    /// If there is no such byte.
    pub fn of(self, content: &[u8], offset: usize) -> (usize, Vec<u8>) {
        match self {
            Self::Bit(bit) => (offset, vec![content[offset] ^ 1 << (bit % 8)]),
            Self::Sector { key } => {
                let start = offset - offset % SECTOR_BYTES as usize;
                let end = content.len().min(start + SECTOR_BYTES as usize);
                let hash = |at: usize| xxh3_64_with_seed(&at.to_le_bytes(), key) as u8;
                // The byte itself changes whatever the key.
                let rot = |at: usize| if at == offset { hash(at) | 1 } else { hash(at) };
                (start, (start..end).map(|at| content[at] ^ rot(at)).collect())
            }
        }
    }
}
