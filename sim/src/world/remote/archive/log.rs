//! The log of an archive: its generations are in files.
//!
//! Each generation has a snapshot and a log. The log of the current generation follows the core's WAL: after each
//! commit the new frames are copied to it. The WAL stays authoritative until the generation is closed, because the
//! copies are synced only with the first frames of a generation and at its end. Answers are read from the log and not
//! from the WAL, so they stay readable while the core empties the WAL.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use turso_core::{File, LimboError, OpenFlags};

use super::error::ArchiveError;
use super::manifest::{LogEndStamp, Manifest};
use super::place::{CHUNK_BYTES, CURRENT_WAL, Place, log_name, snapshot_name};
use super::scan::log_bytes;
use crate::judge::format::{FRAME_BYTES, FRAME_HEADER_BYTES, FrameHeader, WAL_HEADER_BYTES, WalHeader};
use crate::world::remote::content::Content;
use crate::world::remote::files;
use crate::world::remote::kept::KeptLog;
use crate::world::remote::store::Store;

/// The log of an archive.
pub struct ArchivedLog {
    pub(super) place: Place,
    /// The manifest in the directory. If [`is_uncertain`](Self::is_uncertain) is set, a later one may be there.
    pub(super) manifest: Manifest,
    /// Whether a manifest was written and it is unknown whether it is in place. Before a file that it names is changed,
    /// `manifest` must be put in its place.
    pub(super) is_uncertain: bool,
    current: Following,
}

/// The log of the current generation.
#[derive(Default)]
struct Following {
    /// The WAL's end.
    end: Option<LogEndStamp>,
    file: Option<Arc<dyn File>>,
    /// The number of frames in the file.
    copied: u64,
    /// Whether the file's directory entry and its first frames are durable.
    is_durable: bool,
}

impl ArchivedLog {
    /// The log of a directory with this manifest. The current generation's log is copied from the WAL once more: nobody
    /// knows which of its frames are durable.
    pub(super) fn new(place: Place, manifest: Manifest) -> Self {
        Self { place, manifest, is_uncertain: false, current: Following::default() }
    }

    /// Continues with the next generation.
    pub(super) fn begin_generation(&mut self, manifest: Manifest) {
        self.manifest = manifest;
        self.current = Following::default();
    }

    /// The end of the current generation's log. `None` while it is empty.
    pub(super) fn end(&self) -> Option<LogEndStamp> {
        self.current.end
    }

    /// Puts the manifest in place again if it is unknown which one is there.
    pub(super) fn settle(&mut self) -> Result<(), ArchiveError> {
        if self.is_uncertain {
            self.manifest.put(&self.place)?;
            self.is_uncertain = false;
        }
        Ok(())
    }

    /// Puts another manifest in place. If that fails, the one before stays valid.
    pub(super) fn put(&mut self, mut next: Manifest) -> Result<Manifest, ArchiveError> {
        self.settle()?;
        self.is_uncertain = true;
        next.put(&self.place)?;
        self.is_uncertain = false;
        Ok(next)
    }

    /// Copies the frames of the WAL that the log lacks, and makes all of the log durable.
    pub(super) fn complete(&mut self) -> Result<Arc<dyn File>, ArchiveError> {
        let name = log_name(self.manifest.current);
        self.follow()?;
        let file = self.current.file.clone().expect("a log with frames has a file");
        let bytes = log_bytes(self.frame_count());
        if self.place.size(&name, &file)? != bytes {
            files::truncate(&self.place.io, &file, bytes).map_err(self.place.failed("cut", &name))?;
        }
        self.sync(&file)?;
        Ok(file)
    }

    /// Copies the frames of the WAL that the log lacks.
    pub(super) fn follow(&mut self) -> Result<(), ArchiveError> {
        /// The number of frames that are copied at once.
        const CHUNK_FRAMES: u64 = CHUNK_BYTES / FRAME_BYTES as u64;
        let frames = self.frame_count();
        let is_noted = self.current.is_durable && self.manifest.has_frames;
        if self.current.copied == frames && (frames == 0 || is_noted) {
            return Ok(());
        }
        // A manifest that names the log as a closed one may be in place. It must not grow then.
        self.settle()?;
        let name = log_name(self.manifest.current);
        let file = match &self.current.file {
            Some(file) => file.clone(),
            None => self.current.file.insert(self.place.create(&name)?).clone(),
        };
        let wal = self.place.open_shared(CURRENT_WAL)?;
        if self.current.copied == 0 {
            let header = self.place.read(CURRENT_WAL, &wal, 0..WAL_HEADER_BYTES as u64)?;
            files::write_at(&self.place.io, &file, 0, header).map_err(self.place.failed("write", &name))?;
        }
        while self.current.copied < frames {
            let next = frames.min(self.current.copied + CHUNK_FRAMES);
            let start = log_bytes(self.current.copied);
            let bytes = self.place.read(CURRENT_WAL, &wal, start..log_bytes(next))?;
            files::write_at(&self.place.io, &file, start, bytes)
                .map_err(self.place.failed("write", &name))?;
            self.current.copied = next;
        }
        if !self.current.is_durable {
            self.sync(&file)?;
            self.current.is_durable = true;
        }
        if !self.manifest.has_frames {
            self.manifest = self.put(Manifest { has_frames: true, ..self.manifest.clone() })?;
        }
        Ok(())
    }

    /// Makes the current generation's log durable. After an error all of it is copied again: a later sync does not write
    /// again what the failed one was to write.
    fn sync(&mut self, file: &Arc<dyn File>) -> Result<(), ArchiveError> {
        if let Err(source) = files::sync_file(&self.place.io, file) {
            (self.current.copied, self.current.is_durable) = (0, false);
            return Err(self.place.failed("sync", &log_name(self.manifest.current))(source));
        }
        self.place.sync()
    }

    /// Removes the files of pruned generations.
    pub(super) fn remove_pruned(&mut self) -> Result<(), ArchiveError> {
        let names = self.place.names()?;
        for name in self.manifest.removing.iter().filter(|name| names.contains(name)) {
            self.place.remove(name)?;
        }
        self.place.sync()?;
        // The next manifest does not need to name them.
        self.manifest.removing.clear();
        Ok(())
    }

    /// The header of the WAL's frame with this number.
    fn wal_frame(&self, frame_no: u64) -> Result<FrameHeader, LimboError> {
        let wal = self.place.io.open_file(&self.place.path(CURRENT_WAL), OpenFlags::None, false)?;
        let start = log_bytes(frame_no - 1);
        let bytes = files::read_at(&self.place.io, &wal, start..start + FRAME_HEADER_BYTES as u64)?;
        Ok(FrameHeader::parse(&bytes).expect("the range is as long as a frame's header"))
    }

    fn open(&self, name: &str) -> Result<Arc<dyn File>, LimboError> {
        self.place.io.open_file(&self.place.path(name), OpenFlags::ReadOnly | OpenFlags::NoLock, false)
    }
}

impl KeptLog for ArchivedLog {
    fn generation(&self) -> u64 {
        self.manifest.current
    }

    fn frame_count(&self) -> u64 {
        self.current.end.map_or(0, |end| end.frames)
    }

    fn served_frame_count(&self, generation: u64) -> Option<u64> {
        if generation == self.generation() {
            return Some(self.frame_count());
        }
        self.manifest.closed(generation).map(|closed| closed.end.frames)
    }

    fn frame(&self, frame_no: u64) -> Result<Option<Bytes>, LimboError> {
        if frame_no == 0 || frame_no > self.frame_count() {
            return Ok(None);
        }
        let frame = self.frames(self.generation(), frame_no..frame_no + 1)?;
        frame.read(&self.place.io).map(Some)
    }

    fn frames(&self, generation: u64, range: Range<u64>) -> Result<Content, LimboError> {
        let bytes = log_bytes(range.start - 1)..log_bytes(range.end - 1);
        let file = if generation != self.generation() {
            self.open(&log_name(generation))?
        } else if let Some(file) = self.current.file.as_ref().filter(|_| range.end - 1 <= self.current.copied)
        {
            file.clone()
        } else {
            // The log could not follow. The WAL may be emptied before the answer is sent.
            let wal = self.place.io.open_file(&self.place.path(CURRENT_WAL), OpenFlags::None, false)?;
            return files::read_at(&self.place.io, &wal, bytes).map(Content::from);
        };
        Ok(Content::File { file, range: bytes })
    }

    fn snapshot(&self, generation: u64) -> Result<Content, LimboError> {
        let closed = self.manifest.closed(generation);
        let stamp = closed.map_or(self.manifest.snapshot, |closed| closed.snapshot);
        Ok(Content::File { file: self.open(&snapshot_name(generation))?, range: 0..stamp.bytes })
    }

    fn end_of_closed(&self, generation: u64) -> Option<(u64, FrameHeader)> {
        let end = match self.manifest.closed(generation) {
            Some(closed) => closed.end,
            None if generation + 1 == self.manifest.oldest() => self.manifest.before_oldest?,
            None => return None,
        };
        Some((end.frames, end.header()))
    }

    fn record(&mut self, store: &Store) -> Result<(), LimboError> {
        let known = self.frame_count();
        let committed = store.frame_count()?;
        if committed < known {
            let lost = format!("the WAL has lost frames: {known} were known, {committed} are left");
            return Err(LimboError::Corrupt(lost));
        }
        if committed > known {
            self.current.end = Some(LogEndStamp::of(committed, self.wal_frame(committed)?));
        }
        // The frames are durable in the WAL. If they cannot be copied now, the next call copies them.
        if let Err(error) = self.follow() {
            tracing::warn!(error = &error as &dyn std::error::Error, "the log does not follow the WAL");
        }
        Ok(())
    }
}

/// The header of a log, as the WAL's.
pub(super) fn is_same_log(left: Option<&WalHeader>, right: Option<&WalHeader>) -> bool {
    left.is_some() && left == right
}
