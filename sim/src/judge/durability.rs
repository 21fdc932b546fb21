//! Checks on versions of the metadata: they refer only to durable bytes, and they never go back.

use std::collections::BTreeMap;
use std::ops::Range;

use super::Paths;
use super::claims::Claims;
use super::database_files::{Epochs, wal_bytes};
use super::verdict::{DURABLE_FIRST, MONOTONE, Violation};

/// A version of the metadata at the moment when it was renamed into place, with the disk's unsynced ranges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetadataVersion {
    /// The file that the rename replaced.
    pub path: String,
    /// The number of trace events at that moment.
    pub event_count: u64,
    pub bytes: Vec<u8>,
    /// Per path, what a power loss at this moment could change. A file that is completely durable has no entry.
    /// The directory entry of the metadata itself is never durable yet.
    pub unsynced: BTreeMap<String, Unsynced>,
    /// Per path, the length in bytes after a power loss that nothing unsynced survives. A file that the
    /// power loss would remove has no entry.
    pub durable_lengths: BTreeMap<String, u64>,
}

/// What a power loss could change about a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unsynced {
    /// The directory entry: the file could be gone, or an earlier one could be in its place.
    DirectoryEntry,
    /// Bytes, as ascending and disjoint ranges. No range if the file is durable. The range of a truncate ends at
    /// `u64::MAX`, because the bytes behind its cut could come back.
    Bytes(Vec<Range<u64>>),
}

impl Unsynced {
    /// Whether a power loss changes nothing.
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Bytes(ranges) if ranges.is_empty())
    }

    /// The first part that concerns the first `end` bytes of the file at `path`, as the start of a sentence about it.
    fn first_below(&self, end: u64, path: &str) -> Option<String> {
        match self {
            Self::DirectoryEntry => (end > 0).then(|| format!("the directory entry of {path} was")),
            Self::Bytes(ranges) => {
                let range = ranges.iter().find(|range| range.start < end)?;
                Some(if range.end == u64::MAX {
                    format!("the cut of {path} to {} bytes was", range.start)
                } else {
                    format!("bytes {}..{} of {path} were", range.start, range.end)
                })
            }
        }
    }

    /// A length that the file has reached, because something up to there is not durable. At least this long.
    fn end(&self) -> u64 {
        match self {
            Self::DirectoryEntry => u64::MAX,
            Self::Bytes(ranges) => ranges.last().map_or(0, |range| range.end),
        }
    }
}

/// Judges `durable-first` at the moment when a version of the metadata was renamed into place.
///
/// # Errors
/// A violation that names the file and the part that was not synced.
pub fn judge_durability(version: &MetadataVersion, paths: &Paths) -> Result<(), Violation> {
    let unreadable = || Violation::of(DURABLE_FIRST, "a version of the metadata does not parse");
    let claims = Claims::parse(&version.bytes).ok_or_else(unreadable)?;
    if !claims.has_databases() {
        return Ok(());
    }
    let is_replacing = claims.attachment == "replacing";
    // The metadata claims nothing about a replica that is severed or being replaced.
    let (synced, synced_wal) =
        if claims.has_replica() { (u64::MAX, wal_bytes(claims.synced_wal_frames)) } else { (0, 0) };
    let draft_wal = wal_bytes(claims.draft_wal_frames());
    // A WAL that a compaction has emptied is shorter than the announcement says, even if frames were written to it
    // since. An announcement may be put in place once more before the cut is durable: it holds with the frames and
    // without them.
    let is_draft_emptied = claims.is_compacting()
        && (length(version, &paths.draft_wal) < draft_wal || is_cut_to_nothing(version, &paths.draft_wal));
    let is_synced_emptied = claims.may_have_lost_wal() && is_cut_to_nothing(version, &paths.synced_wal);
    let named = [
        (&paths.synced_next, if is_replacing { u64::MAX } else { 0 }),
        (&paths.synced, synced),
        (&paths.draft, u64::MAX),
        (&paths.synced_wal, if is_synced_emptied { 0 } else { synced_wal }),
        (&paths.draft_wal, if is_draft_emptied { 0 } else { draft_wal }),
    ];
    for (path, end) in named {
        if let Some(part) = version.unsynced.get(path).and_then(|unsynced| unsynced.first_below(end, path)) {
            let named =
                if end == u64::MAX { "the whole file".to_owned() } else { format!("the first {end} bytes") };
            let message = format!(
                "the metadata was put in place while {part} not durable, although it refers to {named}"
            );
            return Err(Violation::of(DURABLE_FIRST, message));
        }
    }
    Ok(())
}

/// The length of a file when a version was put in place.
fn length(version: &MetadataVersion, path: &str) -> u64 {
    let unsynced = version.unsynced.get(path).map_or(0, Unsynced::end);
    version.durable_lengths.get(path).copied().unwrap_or(0).max(unsynced)
}

/// Whether a file was emptied and the cut is not durable.
fn is_cut_to_nothing(version: &MetadataVersion, path: &str) -> bool {
    let Some(Unsynced::Bytes(ranges)) = version.unsynced.get(path) else { return false };
    ranges.first().is_some_and(|range| *range == (0..u64::MAX))
}

/// The claims of a metadata version that is known to be durable, or that is compared with a durable one.
#[derive(Debug, Clone)]
pub struct Durable {
    pub claims: Claims,
    /// The remote's epochs that Synced can belong to. `None` while there is no replica.
    pub epochs: Option<Epochs>,
}

/// Judges `monotone` between two versions of the metadata. In a newer epoch of the remote, generation and
/// frame may be lower. After a new export has replaced Synced, the frame may be lower.
///
/// # Errors
/// A violation that names the value that went back.
pub fn judge_monotone(earlier: &Durable, later: &Durable) -> Result<(), Violation> {
    let went_back = |what: &str, from: String, to: String| {
        Err(Violation::of(MONOTONE, format!("{what} went back from {from} to {to}")))
    };
    let is_new_export = later.claims.is_detached();
    let progress = |durable: &Durable, epoch: usize| {
        let (generation, frame_no) = durable.claims.progress();
        (epoch, generation, if is_new_export { 0 } else { frame_no })
    };
    if let (Some(before), Some(after)) = (earlier.epochs, later.epochs)
        && let (from, to) = (progress(earlier, before.oldest), progress(later, after.newest))
        && to < from
    {
        return went_back("epoch, generation and frame", format!("{from:?}"), format!("{to:?}"));
    }
    let (earlier, later) = (&earlier.claims, &later.claims);
    if later.attempted_transaction_no < earlier.attempted_transaction_no {
        return went_back(
            "the highest attempted transaction",
            earlier.attempted_transaction_no.to_string(),
            later.attempted_transaction_no.to_string(),
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::claims::Stamp;

    fn claims() -> Claims {
        Claims {
            phase: "ready".into(),
            synced_generation: 3,
            synced_frame_no: Some(7),
            synced_wal_frames: 2,
            draft_wal_match_watermark: 4,
            synced_wal_match_watermark: 2,
            draft_changed_pages: vec![],
            draft_wal_moving_frames: 0,
            draft_wal_moving_stamp: Stamp { salts: [0, 0] },
            attempted_transaction_no: 9,
            history_id: None,
            anchor: None,
            attachment: "attached".into(),
        }
    }

    fn bytes(range: Range<u64>) -> Unsynced {
        Unsynced::Bytes(vec![range])
    }

    /// Judges a version of the metadata that is put in place while `range` of `path` is not durable. The
    /// version has the given attachment and refers to the first 5 frames of Draft's WAL.
    fn judge_version(attachment: &str, path: &str, range: Range<u64>) -> Option<&'static str> {
        judge_version_in("ready", attachment, path, bytes(range)).map(|violation| violation.invariant)
    }

    fn judge_version_in(phase: &str, attachment: &str, path: &str, unsynced: Unsynced) -> Option<Violation> {
        let paths = Paths::new("c");
        let text = r#"{"checksum": 0, "metadata": {"phase": "PHASE", "synced_generation": 3, "synced_frame_no": 7,
            "synced_wal_frames": 2, "draft_wal_match_watermark": 4, "synced_wal_match_watermark": 2, "draft_changed_pages": [],
            "draft_wal_moving_frames": 5, "draft_wal_moving_stamp": {"salts": [0, 0]}, "attempted_transaction_no": 9, "attachment": "ATTACHMENT"}}"#;
        let version = MetadataVersion {
            event_count: 0,
            path: paths.metadata.clone(),
            bytes: text.replace("ATTACHMENT", attachment).replace("PHASE", phase).into(),
            unsynced: BTreeMap::from([(path.to_owned(), unsynced)]),
            durable_lengths: BTreeMap::new(),
        };
        judge_durability(&version, &paths).err()
    }

    #[test]
    fn metadata_must_not_precede_the_frames_that_it_names() {
        assert_eq!(judge_version("attached", "c-synced-wal", 4152..8272), Some(DURABLE_FIRST.name));
        assert_eq!(judge_version("attached", "c-draft-wal", 12_392..16_512), Some(DURABLE_FIRST.name));
        assert_eq!(judge_version("attached", "c-draft-wal", 16_512..20_632), Some(DURABLE_FIRST.name));
        assert_eq!(judge_version("attached", "c-synced", 0..1), Some(DURABLE_FIRST.name));
        assert_eq!(judge_version("replacing", "c-synced-next", 4096..8192), Some(DURABLE_FIRST.name));
        assert_eq!(judge_version("severed", "c-draft", 0..1), Some(DURABLE_FIRST.name));
    }

    /// Frame 5 ends at byte 20,632. A shorter log is no longer the one that the compaction moves.
    #[test]
    fn a_compaction_names_its_log_until_it_is_emptied() {
        let judged = |unsynced| {
            judge_version_in("compacting_draft", "attached", "c-draft-wal", unsynced)
                .map(|violation| violation.invariant)
        };
        assert_eq!(judged(bytes(16_512..20_632)), Some(DURABLE_FIRST.name));
        assert_eq!(judged(Unsynced::DirectoryEntry), Some(DURABLE_FIRST.name));
        assert_eq!(judged(bytes(0..32)), None);
    }

    /// The announcement is put in place once more after an error, and holds with the log and without it.
    #[test]
    fn a_log_that_is_announced_to_be_emptied_may_be_cut() {
        let judged = |phase, path, range| {
            judge_version_in(phase, "attached", path, bytes(range)).map(|violation| violation.invariant)
        };
        let cut = || 0..u64::MAX;
        assert_eq!(judged("checkpointing_synced", "c-synced-wal", cut()), None);
        assert_eq!(judged("compacting_draft", "c-draft-wal", cut()), None);
        assert_eq!(judged("checkpointing_synced", "c-draft-wal", cut()), Some(DURABLE_FIRST.name));
        assert_eq!(judged("ready", "c-synced-wal", cut()), Some(DURABLE_FIRST.name));
        assert_eq!(judged("checkpointing_synced", "c-synced-wal", 4152..8272), Some(DURABLE_FIRST.name));
    }

    /// A reader cannot tell what the largest number stands for.
    #[test]
    fn a_message_says_which_part_of_the_file_was_not_durable() {
        let message = |path, unsynced| {
            judge_version_in("ready", "attached", path, unsynced).map(|violation| violation.message)
        };
        for (path, unsynced, expected) in [
            (
                "c-draft",
                Unsynced::DirectoryEntry,
                "while the directory entry of c-draft was not durable, although it refers to the whole file",
            ),
            (
                "c-draft-wal",
                Unsynced::DirectoryEntry,
                "while the directory entry of c-draft-wal was not durable, although it refers to the first 20632 bytes",
            ),
            (
                "c-synced",
                bytes(4096..u64::MAX),
                "while the cut of c-synced to 4096 bytes was not durable, although it refers to the whole file",
            ),
            (
                "c-synced",
                bytes(0..4096),
                "while bytes 0..4096 of c-synced were not durable, although it refers to the whole file",
            ),
        ] {
            let message = message(path, unsynced).expect("the metadata refers to it");
            assert_eq!(message, format!("the metadata was put in place {expected}"));
        }
    }

    #[test]
    fn bytes_that_the_metadata_does_not_name_may_be_unsynced() {
        assert_eq!(judge_version("attached", "c-synced-wal", 8272..u64::MAX), None);
        assert_eq!(judge_version("attached", "c-draft-wal", 20_632..24_000), None);
        assert_eq!(judge_version_in("ready", "severed", "c-synced", Unsynced::DirectoryEntry), None);
    }

    fn durable(claims: Claims, epoch: usize) -> Durable {
        Durable { claims, epochs: Some(Epochs { oldest: epoch, newest: epoch }) }
    }

    #[test]
    fn progress_must_not_go_back() {
        let later = claims();
        for earlier in [
            Claims { synced_generation: 4, synced_frame_no: Some(0), ..claims() },
            Claims { synced_frame_no: Some(8), ..claims() },
            Claims { attempted_transaction_no: 10, ..claims() },
        ] {
            let violation = judge_monotone(&durable(earlier, 1), &durable(later.clone(), 1)).unwrap_err();
            assert_eq!(violation.invariant, MONOTONE.name);
        }
        let earlier = Claims { synced_generation: 2, synced_frame_no: Some(90), ..claims() };
        assert_eq!(judge_monotone(&durable(earlier, 1), &durable(later.clone(), 1)), Ok(()));
        let new_export = Claims { synced_frame_no: Some(0), attachment: "detached".into(), ..claims() };
        assert_eq!(judge_monotone(&durable(later.clone(), 1), &durable(new_export, 1)), Ok(()));
        let of_a_former_epoch = Claims { synced_generation: 9, ..claims() };
        assert_eq!(judge_monotone(&durable(of_a_former_epoch, 0), &durable(later, 1)), Ok(()));
        // The newer of two epochs may have continued from their common part; a new export may start in the
        // older one.
        let common = Durable { claims: claims(), epochs: Some(Epochs { oldest: 0, newest: 1 }) };
        let beginning = Claims { synced_generation: 1, ..claims() };
        assert_eq!(judge_monotone(&common, &durable(beginning.clone(), 1)), Ok(()));
        assert!(judge_monotone(&common, &durable(beginning, 0)).is_err());
    }
}
