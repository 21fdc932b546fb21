//! Crashes as plain data: the place, the kind of crash, and the operations that survive.
//!
//! A crash names its place by meaning ("before the 2nd sync of synced-wal"), so it keeps its meaning when
//! other parts of the schedule are deleted. The world's disk performs the crash.

use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{FileClass, OperationPlace};

/// The unsynced operations that survive a power loss. Operations are numbered from 0, in the order in which
/// they were made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Survival {
    Nothing,
    Everything,
    /// The oldest operations.
    Prefix {
        /// The number of operations that survive.
        operations: u32,
    },
    /// A pseudo-random subset. Whether an operation survives depends only on the key and on its number.
    Subset {
        /// The chance of each operation to survive, in percent; 100 and more is certain.
        keep_percent: u8,
        /// Selects one of the subsets.
        key: u64,
    },
    /// The operations on files of these roles and on the directory entries of these files. So metadata can
    /// survive without data, or data without metadata.
    Files {
        /// The roles. The name of a file at the moment of the crash determines its role.
        keep: Vec<FileClass>,
    },
    /// The operations with these numbers.
    List {
        /// The numbers. Those beyond the last operation are ignored.
        indices: Vec<u32>,
    },
}

impl Survival {
    /// The numbers of the survivors among `operation_count` unsynced operations, ascending.
    ///
    /// # Panics
    /// For [`Survival::Files`], because the files are not known here.
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
            Self::Files { .. } => unreachable!("only the disk knows the file of an operation"),
        }
    }
}

impl Survival {
    /// The survivals that the explorer distinguishes among `operation_count` unsynced operations: nothing,
    /// everything, every prefix, and everything but one operation.
    #[must_use]
    pub fn variants(operation_count: u32) -> Vec<Self> {
        let mut variants = vec![Self::Nothing, Self::Everything];
        variants.extend((1..operation_count).map(|operations| Self::Prefix { operations }));
        // Everything but the last operation is the longest prefix.
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
                write!(f, "{keep_percent}% of the unsynced operations survive, by key {key}")
            }
            Self::Files { keep } => write!(f, "only unsynced operations on {keep:?} survive"),
            Self::List { indices } => write!(f, "unsynced operations {indices:?} survive"),
        }
    }
}

/// The size of the unit that a disk writes atomically, in bytes.
pub const SECTOR_BYTES: u32 = 512;

/// The part of a write that survives a power loss in the middle of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[serde(untagged)]
pub enum Tear {
    /// The first bytes of the write, up to this number.
    Bytes(u32),
    /// Some of the sectors that the write touches. Disks write the sectors of a write in any order.
    #[serde(rename_all = "snake_case")]
    Sectors {
        /// Bit `n` selects the `n`-th touched sector, from 0. From the 64th sector on, the bits repeat.
        sectors: u64,
    },
}

impl Tear {
    /// The surviving parts of a write of `length` bytes at `offset`, relative to its start, ascending.
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
            Self::Sectors { sectors } => write!(f, "to the sectors {sectors:#b}"),
        }
    }
}

/// The kind of a crash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum CrashKind {
    /// The process is killed. The operating system keeps everything that was written, durable or not.
    Kill,
    /// The machine loses power. `survival` selects the unsynced operations that survive.
    PowerLoss {
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

/// The moment of the crash, relative to the operation at the place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Moment {
    /// Before the operation.
    Before,
    /// In the middle of a write. For other operations this is the same as `Before`.
    Inside {
        /// The number of bytes that were written.
        bytes: u32,
    },
    /// After the operation, but before its caller learns of it.
    After,
}

/// A crash and its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[serde(deny_unknown_fields)]
pub struct CrashPoint {
    pub place: OperationPlace,
    pub moment: Moment,
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
