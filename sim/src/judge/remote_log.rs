//! The full record of the remote: each generation's snapshot and frames, kept permanently.
//!
//! This is the simulator's model of the remote. It does no I/O: the world passes in the content of the
//! remote's files. The model panics with "the remote contradicts its own model" when the files break one of
//! these rules:
//!
//! * Frames are only appended, under the same salts, in complete transactions.
//! * A new snapshot is the old one with the generation's frames folded in, page by page.
//!
//! When the remote is restored to an older state, a new *epoch* starts from that state. The same happens each
//! time that another of two servers on copies of the files takes over. Earlier epochs are kept for the checkers. Pruned generations are kept too; the remote only stops serving them.

use bytes::Bytes;

use crate::judge::format::{DatabaseImage, FRAME_BYTES, FrameHeader, Page, Wal, WalHeader};

/// All generations of a remote, numbered from 1. The last one is current.
#[derive(Debug)]
pub struct RemoteLog {
    generations: Vec<Generation>,
    /// The generations of earlier epochs, oldest first.
    past: Vec<Vec<Generation>>,
    /// The log of the other server, while two servers on copies of the files answer in turn.
    other: Option<OtherLog>,
    first_served: u64,
    /// The oldest generation and frame that a backup covers.
    oldest_backup: (u64, u64),
}

/// The log of a second server.
#[derive(Debug)]
struct OtherLog {
    generations: Vec<Generation>,
    first_served: u64,
}

/// A position where the log ends, or once ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogEnd {
    pub generation: u64,
    /// The last frame of the generation; 0 for the snapshot.
    pub frame_no: u64,
}

/// A snapshot and the frames that were appended to it.
#[derive(Debug, Clone)]
pub struct Generation {
    snapshot: Bytes,
    /// The header of the log; `None` while the log is empty.
    header: Option<WalHeader>,
    frames: Vec<Frame>,
}

/// A frame of the remote's log.
#[derive(Debug, Clone)]
pub struct Frame {
    /// The first 24 bytes.
    pub header: FrameHeader,
    bytes: Bytes,
}

impl RemoteLog {
    fn empty() -> RemoteLog {
        RemoteLog {
            generations: Vec::new(),
            past: Vec::new(),
            other: None,
            first_served: 1,
            oldest_backup: (1, 0),
        }
    }

    /// Starts generation 1 with the bytes of a main file.
    pub(crate) fn begin(snapshot: Bytes) -> RemoteLog {
        let mut history = RemoteLog::empty();
        history.push(snapshot);
        history
    }

    pub fn generation_current(&self) -> u64 {
        self.generations.len() as u64
    }

    pub fn current(&self) -> &Generation {
        self.generations.last().expect("the log has a generation")
    }

    /// A generation by its number; `None` if it never existed.
    pub fn generation(&self, generation: u64) -> Option<&Generation> {
        self.generations.get(usize::try_from(generation.checked_sub(1)?).ok()?)
    }

    /// A generation by its number; `None` if it was pruned or never existed.
    pub fn served(&self, generation: u64) -> Option<&Generation> {
        if generation < self.first_served { None } else { self.generation(generation) }
    }

    pub fn first_served(&self) -> u64 {
        self.first_served
    }

    /// The number of times the remote was restored, or another server took over.
    pub fn epoch(&self) -> usize {
        self.past.len()
    }

    /// The database after the transactions that are complete at `frame_no` of a generation of an epoch;
    /// frame 0 is the snapshot. `None` if the generation or the frame does not exist.
    pub fn image_at(&self, epoch: usize, generation: u64, frame_no: u64) -> Option<DatabaseImage<'_>> {
        let generations = self.past.get(epoch).unwrap_or(&self.generations);
        let generation = generations.get(usize::try_from(generation.checked_sub(1)?).ok()?)?;
        (frame_no <= generation.frame_count()).then(|| generation.image_at(frame_no))
    }

    /// The end of the log `generations` generations ago or, if that is 0, `transactions` transactions ago.
    /// Returns the start of the log if the log is not that old.
    pub fn past_end(&self, generations: u64, transactions: usize) -> LogEnd {
        let generation = self.generation_current().saturating_sub(generations).max(1);
        let of = &self.generations[generation as usize - 1];
        let back = if generations == 0 { transactions } else { 0 };
        LogEnd { generation, frame_no: of.commit_points().rev().nth(back).unwrap_or(0) }
    }

    /// Appends the frames that were read after the last known frame of the log.
    ///
    /// # Panics
    /// If `tail` is not `frame_count` frames that continue the checksum chain and end with a commit frame.
    pub(crate) fn append(&mut self, header: WalHeader, tail: Bytes, frame_count: u64) {
        let generation = self.generations.last_mut().expect("the log has a generation");
        let previous = match generation.frames.last() {
            Some(frame) => {
                assert_eq!(frame.header.salts, header.salts, "{CONTRADICTION}: its log was restarted");
                frame.header.checksum
            }
            None => header.checksum,
        };
        let wal = Wal::parse_after(header, previous, &tail);
        assert_eq!(
            wal.verified_frames(),
            frame_count,
            "{CONTRADICTION}: its log does not continue its checksum chain"
        );
        assert!(wal.frame(frame_count).is_commit(), "{CONTRADICTION}: its log ends inside a transaction");
        generation.header = Some(header);
        generation.frames.extend((1..=frame_count).map(|frame_no| {
            let end = frame_no as usize * FRAME_BYTES;
            Frame { header: wal.frame(frame_no), bytes: tail.slice(end - FRAME_BYTES..end) }
        }));
    }

    /// Drops the frames after a commit frame of the current generation, because they did not survive a
    /// crash.
    ///
    /// # Panics
    /// If `frame_count` is not a commit frame.
    pub(crate) fn cut(&mut self, frame_count: u64) {
        let generation = self.generations.last_mut().expect("the log has a generation");
        if frame_count < generation.frame_count() {
            let is_between = generation.commit_points().any(|commit| commit == frame_count);
            assert!(is_between, "{CONTRADICTION}: its log was cut inside a transaction");
            generation.frames.truncate(frame_count as usize);
        }
    }

    /// Closes the current generation. `main` is the main file after the checkpoint.
    ///
    /// # Panics
    /// If `main` is not the snapshot with the frames folded in.
    pub(crate) fn close_generation(&mut self, main: Bytes) {
        let folded = self.current().image_at(self.current().frame_count());
        if let Some(difference) = folded.first_difference(&DatabaseImage::of_main(&main)) {
            panic!("{CONTRADICTION}: its checkpoint differs from its frames (right): {difference}");
        }
        self.push(main);
    }

    /// Stops serving the generations before the current one. Returns `false` if there was none to prune.
    pub(crate) fn prune(&mut self) -> bool {
        let current = self.generation_current();
        std::mem::replace(&mut self.first_served, current) < current
    }

    /// Makes the current state the oldest one that a restore can return to.
    pub(crate) fn forget_older_backups(&mut self) {
        self.oldest_backup = (self.generation_current(), self.current().frame_count());
    }

    /// Starts an epoch whose log ends `transactions_back` transactions before the end of the generation
    /// `generations_back` before the current one. If the remote has pruned that state, or no backup covers
    /// it, the log ends at the closest state that is left. Returns the generation that the files must hold.
    pub(crate) fn restore(&mut self, generations_back: u64, transactions_back: u64) -> &Generation {
        let current = self.generation_current();
        let (oldest_generation, oldest_frame) = self.oldest_backup;
        let generation =
            current.saturating_sub(generations_back).max(self.first_served).max(oldest_generation);
        let mut generations = self.generations[..generation as usize].to_vec();
        let last = generations.last_mut().expect("generations count from 1");
        let is_backed_up = |frame_no: &u64| generation > oldest_generation || *frame_no >= oldest_frame;
        let commits: Vec<u64> = last.commit_points().filter(is_backed_up).collect();
        let commit = commits[commits.len().saturating_sub(1 + transactions_back as usize)];
        last.frames.truncate(commit as usize);
        last.header = last.header.filter(|_| commit > 0);
        self.past.push(std::mem::replace(&mut self.generations, generations));
        self.current()
    }

    /// Starts a second log with the content of this one.
    pub(crate) fn fork(&mut self) {
        self.other =
            Some(OtherLog { generations: self.generations.clone(), first_served: self.first_served });
    }

    /// Makes the other log the current one, as a new epoch.
    pub(crate) fn switch(&mut self) {
        self.past.push(self.generations.clone());
        self.swap();
    }

    /// Exchanges the two logs, in the same epoch.
    pub(crate) fn swap(&mut self) {
        let other = self.other.as_mut().expect("there are two logs");
        std::mem::swap(&mut self.generations, &mut other.generations);
        std::mem::swap(&mut self.first_served, &mut other.first_served);
    }

    /// Drops the other log.
    pub(crate) fn join(&mut self) {
        self.other = None;
    }

    fn push(&mut self, snapshot: Bytes) {
        let page_bytes =
            DatabaseImage::of_main(&snapshot).page_count() as usize * crate::judge::format::PAGE_BYTES;
        assert_eq!(
            snapshot.len(),
            page_bytes,
            "{CONTRADICTION}: the length of a snapshot differs from its header's"
        );
        assert_ne!(snapshot.len(), 0, "{CONTRADICTION}: a snapshot is empty");
        self.generations.push(Generation { snapshot, header: None, frames: Vec::new() });
    }
}

impl Generation {
    /// The main file at the start of the generation; a multiple of 4096 bytes.
    pub fn snapshot(&self) -> &Bytes {
        &self.snapshot
    }

    /// The frames, oldest first: frame n is at index n - 1.
    pub fn frames(&self) -> &[Frame] {
        &self.frames
    }

    /// Compares the generation with the content of its files.
    ///
    /// # Panics
    /// If they differ.
    pub(crate) fn check_files(&self, main: &[u8], log: &[u8]) {
        assert!(self.snapshot == main, "{CONTRADICTION}: its main file is not the generation's snapshot");
        let (on_disk, rest) = log.as_chunks::<FRAME_BYTES>();
        let is_same = rest.is_empty()
            && on_disk.len() == self.frames.len()
            && on_disk.iter().zip(&self.frames).all(|(on_disk, frame)| frame.bytes == on_disk[..]);
        assert!(is_same, "{CONTRADICTION}: its log's frames have changed");
    }

    pub fn frame_count(&self) -> u64 {
        self.frames.len() as u64
    }

    pub(crate) fn wal(&self) -> Vec<u8> {
        if self.frames.is_empty() {
            return Vec::new();
        }
        let mut wal: Vec<u8> = self.header.iter().flat_map(WalHeader::encode).collect();
        for frame in &self.frames {
            wal.extend_from_slice(frame.bytes());
        }
        wal
    }

    /// The positions between two transactions: 0 for the snapshot, then each commit frame.
    pub fn commit_points(&self) -> impl DoubleEndedIterator<Item = u64> {
        let commit = |(index, frame): (usize, &Frame)| frame.header.is_commit().then_some(index as u64 + 1);
        std::iter::once(0).chain(self.frames.iter().enumerate().filter_map(commit))
    }

    fn image_at(&self, frame_no: u64) -> DatabaseImage<'_> {
        let commit = self.commit_points().rfind(|&commit| commit <= frame_no).expect("0 is a commit point");
        let frames = &self.frames[..commit as usize];
        match frames.last() {
            None => DatabaseImage::of_main(&self.snapshot),
            Some(last) => {
                let pages = frames.iter().map(|frame| (frame.header.page_no, frame.page()));
                DatabaseImage::overlay(&self.snapshot, pages, last.header.db_size)
            }
        }
    }
}

impl Frame {
    /// All 4120 bytes, with the salts and checksums of the remote's own log.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    pub fn page(&self) -> &Page {
        self.bytes.last_chunk().expect("a frame ends in a page")
    }
}

pub(crate) const CONTRADICTION: &str = "the remote contradicts its own model";
