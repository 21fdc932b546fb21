//! The page-level checks: what a client's files must look like, read with the simulator's own parsers.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use serde::Deserialize;

use crate::disk::{Disk, FileClass, MetadataVersion, Named};
use crate::format::{FRAME_BYTES, Image, WAL_HEADER_BYTES, Wal};
use crate::remote::History;
use crate::verdict::{DURABLE_FIRST, MONOTONE, NO_LOCAL_RESIDUE, SYNCED_PREFIX, Violation, WATERMARK};

/// Paths of one client's files.
#[derive(Debug, Clone)]
pub struct Paths {
    /// The application's path.
    pub base: String,
    /// Draft's main file.
    pub draft: String,
    /// Draft's WAL.
    pub draft_wal: String,
    /// Synced's main file.
    pub synced: String,
    /// Synced's WAL.
    pub synced_wal: String,
    /// A new export on its way to Synced's place.
    pub synced_next: String,
    /// The metadata.
    pub metadata: String,
}

impl Paths {
    /// The files of the application path `base`.
    pub fn new(base: &str) -> Self {
        let with = |ending: &str| format!("{base}-{ending}");
        Self {
            base: base.to_owned(),
            draft: with("draft"),
            draft_wal: with("draft-wal"),
            synced: with("synced"),
            synced_wal: with("synced-wal"),
            synced_next: with("synced-next"),
            metadata: with("info"),
        }
    }

    /// The file of a role; `None` for a role that no one file has.
    pub fn of(&self, file: FileClass) -> Option<&str> {
        Some(match file {
            FileClass::Draft => &self.draft,
            FileClass::DraftWal => &self.draft_wal,
            FileClass::Synced => &self.synced,
            FileClass::SyncedWal => &self.synced_wal,
            FileClass::SyncedNext => &self.synced_next,
            FileClass::Metadata => &self.metadata,
            FileClass::MetadataTemporary | FileClass::Any => return None,
        })
    }
}

/// What the metadata claims, as far as it is checked. Members that mean nothing here are passed over.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Claims {
    phase: String,
    synced_generation: u64,
    synced_frame_no: Option<u64>,
    synced_wal_frames: u64,
    pub(crate) draft_wal_match_watermark: u64,
    pub(crate) synced_wal_match_watermark: u64,
    /// Where Draft was compacted: ranges of pages of which the watermarks say nothing.
    draft_changed_pages: Vec<(u32, u32)>,
    /// Frames of Draft's WAL that a compaction has begun to move into the main file.
    draft_wal_moving_frames: u64,
    draft_wal_moving_stamp: Stamp,
    attempted_transaction_no: u64,
    /// What the server is said to call the history that Synced replicates.
    pub history_id: Option<String>,
    attachment: String,
}

/// Of a WAL frame, as far as it tells one WAL from the next.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Stamp {
    salts: [u32; 2],
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

    fn may_have_lost_wal(&self) -> bool {
        self.phase == "checkpointing_synced"
    }

    fn is_compacting(&self) -> bool {
        self.phase == "compacting_draft"
    }

    /// How many bytes at the beginning of a file have checksums that the metadata vouches for, or that are its own.
    pub fn named_bytes(&self, file: FileClass, disk: &Disk, paths: &Paths) -> u64 {
        match file {
            FileClass::Metadata => u64::MAX,
            FileClass::DraftWal if self.has_databases() => {
                let content = disk.read(&paths.draft_wal).unwrap_or_default();
                let is_compacted = self.has_moved_draft_wal(&Wal::parse(&content));
                if is_compacted { 0 } else { wal_bytes(self.draft_wal_frames()) }
            }
            FileClass::SyncedWal if self.has_replica() => wal_bytes(self.synced_wal_frames),
            _ => 0,
        }
    }

    /// Whether a compaction that these claims announce has moved the WAL that the watermark stands in.
    fn has_moved_draft_wal(&self, draft_wal: &Wal<'_>) -> bool {
        self.is_compacting()
            && draft_wal.header().is_none_or(|header| header.salts != self.draft_wal_moving_stamp.salts)
    }

    /// Frames of Draft's WAL that the metadata relies on: up to the watermark, and up to where it may be in the main file already.
    fn draft_wal_frames(&self) -> u64 {
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

/// A client's database files at one moment.
pub struct Files {
    draft: Arc<Vec<u8>>,
    draft_wal: Arc<Vec<u8>>,
    synced: Arc<Vec<u8>>,
    synced_wal: Arc<Vec<u8>>,
}

impl Files {
    /// Reads them; a missing one is empty.
    pub fn read(disk: &Disk, paths: &Paths) -> Self {
        let read = |path: &str| disk.read(path).unwrap_or_default();
        Self {
            draft: read(&paths.draft),
            draft_wal: read(&paths.draft_wal),
            synced: read(&paths.synced),
            synced_wal: read(&paths.synced_wal),
        }
    }

    /// I1 and I2, and with `after_crash` that the WALs are sound as far as the metadata names them. Answers the epochs of the
    /// remote's that Synced can be of. I1 is claimed only of a Draft that is attached.
    ///
    /// # Errors
    /// The first broken invariant.
    pub fn judge(&self, claims: &Claims, history: &History, after_crash: bool) -> Result<Epochs, Violation> {
        let synced_wal = Wal::parse(&self.synced_wal);
        let draft_wal = Wal::parse(&self.draft_wal);
        // A checkpoint that the metadata announces may already have emptied the WAL into the main file.
        let is_emptied = claims.may_have_lost_wal() && synced_wal.frame_count() == 0;
        let (synced_end, synced_watermark) =
            if is_emptied { (0, 0) } else { (claims.synced_wal_frames, claims.synced_wal_match_watermark) };
        let is_compacted = claims.has_moved_draft_wal(&draft_wal);
        let (draft_end, draft_watermark) =
            if is_compacted { (0, 0) } else { (claims.draft_wal_frames(), claims.draft_wal_match_watermark) };
        let sound = |wal: &Wal<'_>, named: u64| {
            let frames = if after_crash { wal.verified_frames() } else { wal.frame_count() };
            (frames < named).then(|| format!("{frames} sound frames where the metadata names {named}"))
        };
        if let Some(problem) = sound(&synced_wal, synced_end) {
            return Err(Violation::of(SYNCED_PREFIX, format!("Synced's WAL has {problem}")));
        }
        if let Some(problem) = sound(&draft_wal, draft_end) {
            return Err(Violation::of(WATERMARK, format!("Draft's WAL has {problem}")));
        }
        let (generation, frame_no) = claims.progress();
        let synced = Image::at(&self.synced, &synced_wal, synced_end);
        let mut problem = None;
        let mut is_of = |epoch: &usize| match history.image_at(*epoch, generation, frame_no) {
            None => false,
            Some(remote) => match synced.first_difference(&remote) {
                None => true,
                Some(difference) => {
                    problem.get_or_insert(difference);
                    false
                }
            },
        };
        let Some(newest) = (0..=history.epoch()).rev().find(&mut is_of) else {
            let place = format!("generation {generation}, frame {frame_no}");
            let message = match problem {
                Some(difference) => {
                    format!("Synced as of frame {synced_end} and the remote as of {place}: {difference}")
                }
                None => format!("the metadata names {place}, which the remote never had"),
            };
            return Err(Violation::of(SYNCED_PREFIX, message));
        };
        let oldest = (0..newest).find(is_of).unwrap_or(newest);
        let epochs = Epochs { oldest, newest };
        if claims.is_detached() {
            return Ok(epochs);
        }
        let synced = Image::at(&self.synced, &synced_wal, synced_watermark);
        let draft = Image::pages_at(&self.draft, &draft_wal, draft_watermark, synced.page_count());
        let is_claimed = |page_no: u32| {
            !claims.draft_changed_pages.iter().any(|&(first, last)| (first..=last).contains(&page_no))
        };
        if let Some(difference) = draft.first_difference_among(&synced, is_claimed) {
            let message = format!(
                "Draft as of frame {draft_watermark} and Synced as of frame {synced_watermark}: {difference}"
            );
            return Err(Violation::of(WATERMARK, message));
        }
        Ok(epochs)
    }

    /// I4, for a client whose engine believes Synced to be clean.
    ///
    /// # Errors
    /// A violation naming the lengths.
    pub fn judge_residue(&self, claims: &Claims) -> Result<(), Violation> {
        let expected = wal_bytes(claims.synced_wal_frames);
        let actual = self.synced_wal.len() as u64;
        // A checkpoint that the metadata announces has emptied the WAL, or has not.
        if claims.may_have_lost_wal() && actual == 0 {
            return Ok(());
        }
        // A WAL without frames may still have its header.
        let is_bare_header = claims.synced_wal_frames == 0 && actual == WAL_HEADER_BYTES as u64;
        if actual == expected || is_bare_header {
            return Ok(());
        }
        Err(Violation::of(
            NO_LOCAL_RESIDUE,
            format!(
                "Synced's WAL has {actual} bytes, the {} frames that the metadata names end at {expected}",
                claims.synced_wal_frames
            ),
        ))
    }
}

fn wal_bytes(frames: u64) -> u64 {
    if frames == 0 { 0 } else { (WAL_HEADER_BYTES + frames as usize * FRAME_BYTES) as u64 }
}

/// I3, at the moment when a version of the metadata was renamed into place.
///
/// # Errors
/// A violation naming the file and the range that was not synced.
pub fn judge_durability(version: &MetadataVersion, paths: &Paths) -> Result<(), Violation> {
    let unreadable = || Violation::of(DURABLE_FIRST, "a version of the metadata does not parse");
    let claims = Claims::parse(&version.bytes).ok_or_else(unreadable)?;
    if !claims.has_databases() {
        return Ok(());
    }
    let is_replacing = claims.attachment == "replacing";
    // Of a replica that is severed or being replaced nothing is claimed.
    let (synced, synced_wal) =
        if claims.has_replica() { (u64::MAX, wal_bytes(claims.synced_wal_frames)) } else { (0, 0) };
    let draft_wal = wal_bytes(claims.draft_wal_frames());
    // What a compaction has emptied is shorter than what its announcement names, whatever was begun anew in it since.
    let is_emptied = claims.is_compacting() && length(version, &paths.draft_wal) < draft_wal;
    let named = [
        (&paths.synced_next, if is_replacing { u64::MAX } else { 0 }),
        (&paths.synced, synced),
        (&paths.draft, u64::MAX),
        (&paths.synced_wal, synced_wal),
        (&paths.draft_wal, if is_emptied { 0 } else { draft_wal }),
    ];
    for (path, end) in named {
        if let Some(range) = first_unsynced(&version.unsynced, path, end) {
            let message = format!(
                "the metadata was put in place while bytes {}..{} of {path} were not durable, and it names the first {end}",
                range.start, range.end
            );
            return Err(Violation::of(DURABLE_FIRST, message));
        }
    }
    Ok(())
}

/// The length that a file had when a version was put in place.
fn length(version: &MetadataVersion, path: &str) -> u64 {
    let unsynced = version.unsynced.get(path).and_then(|ranges| ranges.last()).map_or(0, |range| range.end);
    version.durable_lengths.get(path).copied().unwrap_or(0).max(unsynced)
}

fn first_unsynced<'a>(
    unsynced: &'a BTreeMap<String, Vec<Range<u64>>>,
    path: &str,
    end: u64,
) -> Option<&'a Range<u64>> {
    unsynced.get(path)?.iter().find(|range| range.start < end)
}

/// Epochs of the remote's that a replica can be of: what one has in common with another is of both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Epochs {
    /// The first of them.
    pub oldest: usize,
    /// The last of them.
    pub newest: usize,
}

/// What was last known to be durable on a client.
#[derive(Debug, Clone)]
pub struct Durable {
    /// The metadata.
    pub claims: Claims,
    /// The remote's epochs that Synced can have been of; `None` while there is no replica.
    pub epochs: Option<Epochs>,
}

/// I11, between two versions of the metadata. Generation and frame begin anew in another epoch of the remote's, and an export that has
/// taken Synced's place begins with frame 0.
///
/// # Errors
/// A violation naming what went back.
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
mod tests;
