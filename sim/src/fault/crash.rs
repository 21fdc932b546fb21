//! The words of a crash: where it strikes, how, and what survives it. Plain data, as it stands in a schedule.
//!
//! A crash names its place by meaning ("before the 2nd sync of synced-wal"), so that it keeps its meaning when other parts
//! of the schedule are deleted. Left out: carrying it out, which is the disk's business.

use std::fmt;
use std::ops::Range;

use arbitrary::Arbitrary;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{FileClass, OperationPlace};

/// Which of the unsynced operations survive a power loss. Operations are numbered from 0, in the order they were made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Arbitrary)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Survival {
    /// None of them.
    Nothing,
    /// All of them.
    Everything,
    /// The first ones.
    Prefix {
        /// How many.
        operations: u32,
    },
    /// Each by the toss of a coin that depends on the key and the operation's number alone.
    Subset {
        /// Chance of each to survive, in percent; 100 and more is certain.
        keep_percent: u8,
        /// Makes one subset differ from another.
        key: u64,
    },
    /// Those done to files of these roles, directory entries included: metadata without data, say, or data without metadata.
    Files {
        /// The roles, by the names that the files go by at the moment of the crash.
        keep: Vec<FileClass>,
    },
    /// Exactly these; numbers beyond the last operation mean nothing.
    List {
        /// Numbers of the survivors.
        indices: Vec<u32>,
    },
}

impl Survival {
    /// Numbers of the survivors out of `operation_count` unsynced operations, ascending.
    ///
    /// # Panics
    /// For [`Survival::Files`], which depends on more than their count.
    #[must_use]
    pub fn survivors(&self, operation_count: u32) -> Vec<u32> {
        (0..operation_count).filter(|index| self.keeps(*index)).collect()
    }

    fn keeps(&self, index: u32) -> bool {
        match self {
            Self::Nothing => false,
            Self::Everything => true,
            Self::Prefix { operations } => index < *operations,
            Self::Subset { keep_percent, key } => {
                xxh3_64_with_seed(&index.to_le_bytes(), *key) % 100 < u64::from(*keep_percent)
            }
            Self::List { indices } => indices.contains(&index),
            Self::Files { .. } => unreachable!("which file an operation is done to, only the disk knows"),
        }
    }
}

impl Survival {
    /// Each way to survive that exploration distinguishes, among `operation_count` unsynced operations: nothing, everything, every
    /// prefix, and everything but one.
    #[must_use]
    pub fn variants(operation_count: u32) -> Vec<Self> {
        let mut variants = vec![Self::Nothing, Self::Everything];
        variants.extend((1..operation_count).map(|operations| Self::Prefix { operations }));
        // All but the last one is the longest prefix.
        variants.extend((0..operation_count.saturating_sub(1)).map(|omitted| Self::List {
            indices: (0..operation_count).filter(|index| *index != omitted).collect(),
        }));
        variants
    }
}

impl fmt::Display for Survival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => write!(f, "nothing unsynced survives"),
            Self::Everything => write!(f, "everything survives"),
            Self::Prefix { operations } => write!(f, "the first {operations} unsynced operations survive"),
            Self::Subset { keep_percent, key } => {
                write!(f, "{keep_percent}% of the unsynced survives, by key {key}")
            }
            Self::Files { keep } => write!(f, "of the unsynced only that of {keep:?} survives"),
            Self::List { indices } => write!(f, "unsynced operations {indices:?} survive"),
        }
    }
}

/// Bytes of what a disk writes as a whole.
pub const SECTOR_BYTES: u32 = 512;

/// What is left of a write under which the power went away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, Arbitrary)]
#[serde(untagged)]
pub enum Tear {
    /// Its first so many bytes.
    Bytes(u32),
    /// Some of the sectors that it touches: disks write them in any order.
    #[serde(rename_all = "snake_case")]
    Sectors {
        /// Bit n stands for the nth of them, from 0; those from the 64th on go by the same bits again.
        sectors: u64,
    },
}

impl Tear {
    /// The parts that are left of a write of `length` bytes at `offset`, relative to its beginning, ascending.
    pub(crate) fn left(self, offset: u64, length: usize) -> Vec<Range<usize>> {
        match self {
            Self::Bytes(bytes) => std::iter::once(0..length.min(bytes as usize)).collect(),
            Self::Sectors { sectors } => {
                let (end, sector_bytes) = (offset + length as u64, u64::from(SECTOR_BYTES));
                let touched = offset / sector_bytes..end.div_ceil(sector_bytes);
                let is_kept = |(nth, _): &(u32, u64)| sectors >> (nth % 64) & 1 == 1;
                let part = |(_, sector): (u32, u64)| {
                    let (from, to) = (sector * sector_bytes, (sector + 1) * sector_bytes);
                    (from.max(offset) - offset) as usize..(to.min(end) - offset) as usize
                };
                (0..).zip(touched).filter(is_kept).map(part).collect()
            }
        }
    }
}

impl fmt::Display for Tear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "at byte {bytes}"),
            Self::Sectors { sectors } => write!(f, "down to the sectors of {sectors:#b}"),
        }
    }
}

/// What takes the machine down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Arbitrary)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum CrashKind {
    /// The process dies; the operating system keeps all that was written, durable or not.
    Kill,
    /// The machine loses power; what was not synced is at the mercy of `survival`.
    PowerLoss {
        /// Which unsynced operations survive.
        survival: Survival,
        /// If set, the last surviving write is torn.
        #[serde(default, skip_serializing_if = "Option::is_none", alias = "torn_bytes")]
        torn: Option<Tear>,
    },
}

impl fmt::Display for CrashKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill => write!(f, "kill"),
            Self::PowerLoss { survival, torn: None } => write!(f, "power loss ({survival})"),
            Self::PowerLoss { survival, torn: Some(tear) } => {
                write!(f, "power loss ({survival}, the last write torn {tear})")
            }
        }
    }
}

/// When, relative to the operation at the place, the crash strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Arbitrary)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Moment {
    /// Nothing of the operation has happened.
    Before,
    /// Only the beginning of a write has happened. Other operations have no inside: it is then `Before`.
    Inside {
        /// How many bytes were written.
        bytes: u32,
    },
    /// The operation is complete, but its caller never learns of it.
    After,
}

/// A crash that waits for its place to be reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Arbitrary)]
#[serde(deny_unknown_fields)]
pub struct CrashPoint {
    /// The operation it strikes at.
    pub place: OperationPlace,
    /// Before, inside or after it.
    pub moment: Moment,
    /// How it strikes.
    pub kind: CrashKind,
}

impl fmt::Display for CrashPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, moment, kind } = self;
        match moment {
            Moment::Before => write!(f, "{kind} before the {place}"),
            Moment::Inside { bytes } => write!(f, "{kind} inside the {place}, after {bytes} bytes"),
            Moment::After => write!(f, "{kind} after the {place}"),
        }
    }
}
