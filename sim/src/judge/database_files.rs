//! Page-level checks on a client's database files. They read the files with the simulator's own parsers.

use std::sync::Arc;

use super::format::{DatabaseImage, FRAME_BYTES, WAL_HEADER_BYTES, Wal};
use super::remote_log::RemoteLog;
use super::verdict::{NO_LOCAL_RESIDUE, SYNCED_PREFIX, Violation, WATERMARK};
use super::{Claims, Paths};

/// The content of a client's database files at one moment.
pub struct DatabaseFiles {
    pub(crate) draft: Arc<Vec<u8>>,
    pub(crate) draft_wal: Arc<Vec<u8>>,
    pub(crate) synced: Arc<Vec<u8>>,
    pub(crate) synced_wal: Arc<Vec<u8>>,
}

impl DatabaseFiles {
    /// Reads the files with `read`. A missing file counts as empty.
    pub fn read(paths: &Paths, read: impl Fn(&str) -> Option<Arc<Vec<u8>>>) -> Self {
        let read = |path: &str| read(path).unwrap_or_default();
        Self {
            draft: read(&paths.draft),
            draft_wal: read(&paths.draft_wal),
            synced: read(&paths.synced),
            synced_wal: read(&paths.synced_wal),
        }
    }

    /// Judges `synced-prefix` and, if Draft is attached, `watermark`. The WALs must have the frames that the
    /// metadata refers to; `after_crash` also verifies the checksums of these frames. Returns the remote's
    /// epochs that Synced can belong to.
    ///
    /// # Errors
    /// The first broken invariant.
    pub fn judge(
        &self,
        claims: &Claims,
        history: &RemoteLog,
        after_crash: bool,
    ) -> Result<Epochs, Violation> {
        let synced_wal = Wal::parse(&self.synced_wal);
        let draft_wal = Wal::parse(&self.draft_wal);
        // A checkpoint that the metadata announces may already have moved the WAL into the main file.
        let is_emptied = claims.may_have_lost_wal() && synced_wal.frame_count() == 0;
        let (synced_end, synced_watermark) =
            if is_emptied { (0, 0) } else { (claims.synced_wal_frames, claims.synced_wal_match_watermark) };
        let is_compacted = claims.has_moved_draft_wal(&draft_wal);
        let (draft_end, draft_watermark) =
            if is_compacted { (0, 0) } else { (claims.draft_wal_frames(), claims.draft_wal_match_watermark) };
        let sound = |wal: &Wal<'_>, named: u64| {
            let frames = if after_crash { wal.verified_frames() } else { wal.frame_count() };
            (frames < named).then(|| format!("{frames} intact frames, but the metadata refers to {named}"))
        };
        if let Some(problem) = sound(&synced_wal, synced_end) {
            return Err(Violation::of(SYNCED_PREFIX, format!("Synced's WAL has {problem}")));
        }
        if let Some(problem) = sound(&draft_wal, draft_end) {
            return Err(Violation::of(WATERMARK, format!("Draft's WAL has {problem}")));
        }
        let (generation, frame_no) = claims.progress();
        let synced = DatabaseImage::at(&self.synced, &synced_wal, synced_end);
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
                    format!(
                        "Synced up to frame {synced_end} differs from the remote up to {place}: {difference}"
                    )
                }
                None => format!("the metadata refers to {place}, which the remote never had"),
            };
            return Err(Violation::of(SYNCED_PREFIX, message));
        };
        let oldest = (0..newest).find(is_of).unwrap_or(newest);
        let epochs = Epochs { oldest, newest };
        if claims.is_detached() {
            return Ok(epochs);
        }
        let synced = DatabaseImage::at(&self.synced, &synced_wal, synced_watermark);
        let draft = DatabaseImage::pages_at(&self.draft, &draft_wal, draft_watermark, synced.page_count());
        let is_claimed = |page_no: u32| {
            !claims.draft_changed_pages.iter().any(|&(first, last)| (first..=last).contains(&page_no))
        };
        if let Some(difference) = draft.first_difference_among(&synced, is_claimed) {
            let message = format!(
                "Draft up to frame {draft_watermark} differs from Synced up to frame {synced_watermark}: {difference}"
            );
            return Err(Violation::of(WATERMARK, message));
        }
        Ok(epochs)
    }

    /// Judges `no-local-residue`, for a client whose engine considers Synced clean.
    ///
    /// # Errors
    /// A violation with the lengths.
    pub fn judge_residue(&self, claims: &Claims) -> Result<(), Violation> {
        let expected = wal_bytes(claims.synced_wal_frames);
        let actual = self.synced_wal.len() as u64;
        // A checkpoint that the metadata announces may or may not have emptied the WAL.
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
                "Synced's WAL has {actual} bytes, but the {} frames that the metadata refers to end at byte {expected}",
                claims.synced_wal_frames
            ),
        ))
    }
}

pub(crate) fn wal_bytes(frames: u64) -> u64 {
    if frames == 0 { 0 } else { (WAL_HEADER_BYTES + frames as usize * FRAME_BYTES) as u64 }
}

/// A range of the remote's epochs that a replica can belong to. A state that two epochs share belongs to
/// both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Epochs {
    pub oldest: usize,
    pub newest: usize,
}
