//! Reads logs and databases piece by piece: the committed frames of a log, and the database at its end.
//!
//! In memory are a piece of a file and, for each page that a log writes, the number of its last frame.

use std::collections::BTreeMap;
use std::sync::Arc;

use turso_core::File;

use super::error::ArchiveError;
use super::manifest::LogEndStamp;
use super::place::{CHUNK_BYTES, Place};
use crate::judge::format::{
    DatabaseHeader, FRAME_BYTES, FRAME_HEADER_BYTES, FrameHeader, PAGE_BYTES, WAL_HEADER_BYTES, Wal,
    WalHeader,
};

/// The number of frames that are read at once.
const CHUNK_FRAMES: u64 = CHUNK_BYTES / FRAME_BYTES as u64;
/// The number of pages that are read at once.
const CHUNK_PAGES: u64 = CHUNK_BYTES / PAGE_BYTES as u64;

/// The length in bytes of a log with this many frames.
pub(super) fn log_bytes(frames: u64) -> u64 {
    WAL_HEADER_BYTES as u64 + frames * FRAME_BYTES as u64
}

/// A log's header and its committed frames, as far as its checksum chain confirms them.
pub(super) struct Log {
    name: String,
    file: Option<Arc<dyn File>>,
    pub header: Option<WalHeader>,
    /// The last commit frame.
    pub end: Option<LogEndStamp>,
    /// For each page that a committed frame writes, the number of the last such frame.
    pages: BTreeMap<u32, u64>,
}

impl Log {
    /// A log without frames.
    pub fn empty() -> Self {
        Self { name: String::new(), file: None, header: None, end: None, pages: BTreeMap::new() }
    }

    /// Reads the committed frames of a log, up to `frames_max`.
    pub fn read(
        place: &Place,
        name: &str,
        file: Arc<dyn File>,
        frames_max: u64,
    ) -> Result<Self, ArchiveError> {
        let mut log = Self { name: name.to_owned(), ..Self::empty() };
        let size = place.size(name, &file)?;
        if size < WAL_HEADER_BYTES as u64 {
            return Ok(log);
        }
        log.header = WalHeader::parse(&place.read(name, &file, 0..WAL_HEADER_BYTES as u64)?);
        let Some(header) = log.header else { return Ok(log) };
        let whole = ((size - WAL_HEADER_BYTES as u64) / FRAME_BYTES as u64).min(frames_max);
        let mut checksum = header.checksum;
        // The pages of the transaction that has not ended yet.
        let mut open: Vec<(u32, u64)> = Vec::new();
        for start in (0..whole).step_by(CHUNK_FRAMES as usize) {
            let end = whole.min(start + CHUNK_FRAMES);
            let bytes = place.read(name, &file, log_bytes(start)..log_bytes(end))?;
            let wal = Wal::parse_after(header, checksum, &bytes);
            let verified = wal.verified_frames();
            for (frame_no, frame) in (start + 1..).zip((1..=verified).map(|no| wal.frame(no))) {
                open.push((frame.page_no, frame_no));
                if frame.is_commit() {
                    log.pages.extend(open.drain(..));
                    log.end = Some(LogEndStamp::of(frame_no, frame));
                }
                checksum = frame.checksum;
            }
            if verified < end - start {
                break;
            }
        }
        log.file = Some(file);
        Ok(log)
    }

    /// The number of committed frames.
    pub fn frames(&self) -> u64 {
        self.end.map_or(0, |end| end.frames)
    }

    /// Whether this log continues a log that ends at `end`: it has the same frames up to there.
    pub fn continues(&self, place: &Place, end: &LogEndStamp) -> Result<bool, ArchiveError> {
        if self.frames() < end.frames {
            return Ok(false);
        }
        let Some(file) = &self.file else { return Ok(false) };
        let start = log_bytes(end.frames - 1);
        let bytes = place.read(&self.name, file, start..start + FRAME_HEADER_BYTES as u64)?;
        // The checksum covers all frames before.
        Ok(FrameHeader::parse(&bytes) == Some(end.header()))
    }

    fn page(&self, place: &Place, page_no: u32) -> Result<Option<Vec<u8>>, ArchiveError> {
        let (Some(frame_no), Some(file)) = (self.pages.get(&page_no), &self.file) else { return Ok(None) };
        let end = log_bytes(*frame_no);
        place.read(&self.name, file, end - PAGE_BYTES as u64..end).map(Some)
    }
}

/// A snapshot and the log that follows it.
pub(super) struct Database<'a> {
    pub name: &'a str,
    pub snapshot: &'a Arc<dyn File>,
    pub snapshot_bytes: u64,
    pub log: &'a Log,
}

impl Database<'_> {
    /// The number of pages at the end of the log.
    pub fn page_count(&self) -> u64 {
        let of_snapshot = self.snapshot_bytes / PAGE_BYTES as u64;
        self.log.end.map_or(of_snapshot, |end| end.db_size.into())
    }

    /// The pages at the end of the log, in pieces.
    pub fn pieces<'a>(
        &'a self,
        place: &'a Place,
    ) -> impl Iterator<Item = Result<Vec<u8>, ArchiveError>> + 'a {
        let starts = (0..self.page_count()).step_by(CHUNK_PAGES as usize);
        starts.map(move |start| self.piece(place, start))
    }

    /// The pages from number `start` on, counted from 0.
    fn piece(&self, place: &Place, start: u64) -> Result<Vec<u8>, ArchiveError> {
        let page_bytes = PAGE_BYTES as u64;
        let end = self.page_count().min(start + CHUNK_PAGES);
        let known = self.snapshot_bytes.min(end * page_bytes);
        let from_snapshot = start * page_bytes..known.max(start * page_bytes);
        let mut bytes = place.read(self.name, self.snapshot, from_snapshot)?;
        bytes.resize(((end - start) * page_bytes) as usize, 0);
        let written = self.log.pages.range(start as u32 + 1..=end as u32);
        for (page_no, _) in written {
            if let Some(page) = self.log.page(place, *page_no)? {
                let offset = (u64::from(*page_no) - 1 - start) as usize * PAGE_BYTES;
                bytes[offset..offset + PAGE_BYTES].copy_from_slice(&page);
            }
        }
        Ok(bytes)
    }

    /// Whether the header of a main file has the fixed fields of this database or of the WAL's first page. The core reads
    /// them from the main file, even if the WAL overrides the page.
    pub fn has_header_of(
        &self,
        place: &Place,
        main_name: &str,
        main: &Arc<dyn File>,
        wal: &Log,
    ) -> Result<bool, ArchiveError> {
        /// From the format's name to the payload fractions; the schema format; the text encoding.
        const FIXED: [std::ops::Range<usize>; 3] = [0..24, 44..48, 56..60];
        let found = place.read(main_name, main, 0..place.size(main_name, main)?.min(PAGE_BYTES as u64))?;
        let expected = self.piece(place, 0)?;
        let overriding = wal.page(place, 1)?.unwrap_or_else(|| expected.clone());
        let is_known =
            |at: usize| found.get(at).is_some_and(|byte| *byte == expected[at] || *byte == overriding[at]);
        Ok(FIXED.into_iter().flatten().all(is_known))
    }

    /// The number of the first page in which a main file differs from this database. The pages that `wal` writes
    /// are not compared, because the WAL of the main file overrides them.
    pub fn first_difference(
        &self,
        place: &Place,
        main_name: &str,
        main: &Arc<dyn File>,
        wal: &Log,
    ) -> Result<Option<u64>, ArchiveError> {
        let page_bytes = PAGE_BYTES as u64;
        let main_bytes = place.size(main_name, main)?;
        // Pages beyond the end of the WAL do not belong to the database.
        let page_count = wal.end.map_or(u64::MAX, |end| end.db_size.into()).min(self.page_count());
        for start in (0..page_count).step_by(CHUNK_PAGES as usize) {
            let expected = self.piece(place, start)?;
            let end = main_bytes.min(start * page_bytes + expected.len() as u64);
            let mut found = place.read(main_name, main, start * page_bytes..end.max(start * page_bytes))?;
            found.resize(expected.len(), 0);
            let pages =
                (start + 1..=page_count).zip(expected.chunks(PAGE_BYTES).zip(found.chunks(PAGE_BYTES)));
            let mut differing = pages.filter(|(_, (expected, found))| expected != found);
            if let Some((page_no, _)) =
                differing.find(|(page_no, _)| !wal.pages.contains_key(&(*page_no as u32)))
            {
                return Ok(Some(page_no));
            }
        }
        let has_same_length = main_bytes == self.page_count() * page_bytes;
        Ok((wal.end.is_none() && !has_same_length).then_some(main_bytes / page_bytes + 1))
    }
}

/// Whether the file begins like a database with the pages that its length allows.
pub(super) fn check_header(place: &Place, name: &str, file: &Arc<dyn File>) -> Result<(), ArchiveError> {
    let size = place.size(name, file)?;
    let head = place.read(name, file, 0..size.min(100))?;
    let pages = DatabaseHeader::parse(&head).map_or(0, |header| u64::from(header.page_count));
    if pages == 0 || size != pages * PAGE_BYTES as u64 {
        return Err(ArchiveError::damaged(
            &place.path(name),
            format!("is {size} bytes long, but has {pages} pages"),
        ));
    }
    Ok(())
}
