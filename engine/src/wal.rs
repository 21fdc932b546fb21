//! WAL frames and raw WAL sessions.
//!
//! A frame is a 24-byte header and a 4096-byte page image. Salts and checksums are specific to each WAL
//! (<https://www.sqlite.org/fileformat2.html#walformat>): those of a frame from the network prove where it
//! belongs, see `chain`, and the core computes others for the local WAL.

use std::collections::BTreeSet;
use std::sync::Arc;

use turso_core::{Connection, LimboError};

use crate::error::Result;
use crate::files::OpenFile;
use crate::metadata::FrameStamp;

pub(crate) const PAGE_BYTES: usize = 4096;
pub(crate) const FRAME_HEADER_BYTES: usize = 24;
pub(crate) const FRAME_BYTES: usize = FRAME_HEADER_BYTES + PAGE_BYTES;
pub(crate) const WAL_HEADER_BYTES: u64 = 32;

/// The bytes at the start of a WAL's header that its checksum covers.
const CHECKED_HEADER_BYTES: usize = 24;
/// The bytes at the start of a frame's header that its checksum covers, in addition to the page.
const CHECKED_FRAME_HEADER_BYTES: usize = 8;
/// The number of frames that are read at once to verify a WAL: about 1 MiB.
const FRAMES_READ_MAX: u64 = 256;

/// The length of a WAL file of `frames` frames. An empty WAL has no header.
pub(crate) fn wal_bytes(frames: u64) -> u64 {
    if frames == 0 { 0 } else { WAL_HEADER_BYTES + frames * FRAME_BYTES as u64 }
}

/// Returns the salts in the header of an open WAL file; `None` if it holds no frame.
///
/// # Errors
/// [`Error::Damaged`](crate::Error::Damaged) if the header's checksum is wrong. The header is durable before
/// the first frame is written, so a crash cannot cause this.
pub(crate) fn wal_salts(wal: &OpenFile) -> Result<Option<[u32; 2]>> {
    if wal.length()? <= WAL_HEADER_BYTES {
        return Ok(None);
    }
    Header::read(wal).map(|header| Some(header.salts))
}

/// Verifies the first `frames` frames of an open WAL file, which must be long enough for them.
///
/// # Errors
/// [`Error::Damaged`](crate::Error::Damaged) if a checksum is wrong, or the error of reading the file.
pub(crate) fn verify_frames(wal: &OpenFile, frames: u64) -> Result<()> {
    match sound_frames(wal, frames)? {
        sound if sound < frames => Err(wal
            .damaged(format!("its checksums are valid for {sound} frames, but the metadata names {frames}"))),
        _ => Ok(()),
    }
}

/// Returns how many of the first `frames` frames are intact: they have the header's salts, and the chain of
/// checksums is unbroken up to them.
///
/// # Errors
/// Those of [`wal_salts`].
fn sound_frames(wal: &OpenFile, frames: u64) -> Result<u64> {
    if frames == 0 {
        return Ok(0);
    }
    let header = Header::read(wal)?;
    let mut sum = header.sum;
    let mut sound = 0;
    while sound < frames {
        let count = (frames - sound).min(FRAMES_READ_MAX);
        let bytes = wal.read(wal_bytes(sound).max(WAL_HEADER_BYTES), count as usize * FRAME_BYTES)?;
        for frame in bytes.chunks_exact(FRAME_BYTES) {
            sum.add_frame(frame);
            if [word(frame, 8), word(frame, 12)] != header.salts
                || [word(frame, 16), word(frame, 20)] != sum.words
            {
                return Ok(sound);
            }
            sound += 1;
        }
    }
    Ok(sound)
}

/// The header of a WAL file, with a verified checksum.
struct Header {
    salts: [u32; 2],
    sum: Checksum,
}

impl Header {
    fn read(wal: &OpenFile) -> Result<Self> {
        let header = wal.read(0, WAL_HEADER_BYTES as usize)?;
        // The last bit of the magic number selects the byte order of the checksum.
        let order = if word(&header, 0) & 1 == 1 { ByteOrder::Big } else { ByteOrder::Little };
        let mut sum = Checksum { order, words: [0; 2] };
        sum.add(&header[..CHECKED_HEADER_BYTES]);
        if [word(&header, 24), word(&header, 28)] != sum.words {
            return Err(wal.damaged("the checksum of its header is wrong".into()));
        }
        Ok(Self { salts: [word(&header, 16), word(&header, 20)], sum })
    }
}

/// The byte order in which a WAL's checksums read its words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ByteOrder {
    Little,
    Big,
}

struct Checksum {
    order: ByteOrder,
    words: [u32; 2],
}

impl Checksum {
    /// Adds `bytes`, whose length is a multiple of eight.
    fn add(&mut self, bytes: &[u8]) {
        let summand = |at: usize| match self.order {
            ByteOrder::Big => word(bytes, at),
            ByteOrder::Little => word(bytes, at).swap_bytes(),
        };
        self.words = (0..bytes.len()).step_by(8).fold(self.words, |[first, second], at| {
            let first = first.wrapping_add(summand(at)).wrapping_add(second);
            [first, second.wrapping_add(summand(at + 4)).wrapping_add(first)]
        });
    }

    /// Adds the bytes of a frame that its checksum covers.
    fn add_frame(&mut self, frame: &[u8]) {
        self.add(&frame[..CHECKED_FRAME_HEADER_BYTES]);
        self.add(&frame[FRAME_HEADER_BYTES..]);
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Returns the page numbers of all frames in an open WAL file, committed or not.
pub(crate) fn wal_pages(wal: &OpenFile) -> Result<BTreeSet<u32>> {
    let page_no = |frame: u64| {
        let header = wal.read(WAL_HEADER_BYTES + frame * FRAME_BYTES as u64, 4)?;
        Ok(word(&header, 0))
    };
    (0..wal_frames(wal.length()?)).map(page_no).collect()
}

/// The number of frames for which a WAL file of this length has room.
pub(crate) fn wal_frames(bytes: u64) -> u64 {
    bytes.saturating_sub(WAL_HEADER_BYTES) / FRAME_BYTES as u64
}

pub(crate) struct Frame([u8; FRAME_BYTES]);

impl Frame {
    /// A frame to insert. The core fills in salts and checksums.
    pub(crate) fn new(page_no: u32, database_pages: u32, page: &[u8]) -> Self {
        let mut frame = [0; FRAME_BYTES];
        frame[..4].copy_from_slice(&page_no.to_be_bytes());
        frame[4..8].copy_from_slice(&database_pages.to_be_bytes());
        frame[FRAME_HEADER_BYTES..].copy_from_slice(page);
        Self(frame)
    }

    /// Reads frame `frame_no` of the WAL of `connection`.
    pub(crate) fn read(connection: &Arc<Connection>, frame_no: u64) -> turso_core::Result<Self> {
        let mut frame = [0; FRAME_BYTES];
        connection.wal_get_frame(frame_no, &mut frame)?;
        Ok(Self(frame))
    }

    /// A frame as received from the network.
    pub(crate) fn from_bytes(bytes: [u8; FRAME_BYTES]) -> Self {
        Self(bytes)
    }

    pub(crate) fn bytes(&self) -> &[u8; FRAME_BYTES] {
        &self.0
    }

    pub(crate) fn page_no(&self) -> u32 {
        self.word(0)
    }

    /// The size of the database in pages after this frame's transaction; 0 unless this is a commit frame.
    pub(crate) fn database_pages(&self) -> u32 {
        self.word(4)
    }

    pub(crate) fn is_commit(&self) -> bool {
        self.database_pages() != 0
    }

    /// The frame's salts and checksums.
    pub(crate) fn stamp(&self) -> FrameStamp {
        FrameStamp { salts: [self.word(8), self.word(12)], checksums: [self.word(16), self.word(20)] }
    }

    /// The stamp of this frame in a WAL whose frame before has the stamp `last`.
    pub(crate) fn stamp_after(&self, last: FrameStamp, order: ByteOrder) -> FrameStamp {
        let mut sum = Checksum { order, words: last.checksums };
        sum.add_frame(&self.0);
        FrameStamp { salts: last.salts, checksums: sum.words }
    }

    /// This frame with another stamp.
    pub(crate) fn with_stamp(mut self, stamp: FrameStamp) -> Self {
        let [salts, checksums] = [stamp.salts, stamp.checksums];
        for (at, word) in (8..).step_by(4).zip(salts.into_iter().chain(checksums)) {
            self.0[at..at + 4].copy_from_slice(&word.to_be_bytes());
        }
        self
    }

    pub(crate) fn page(&self) -> &[u8] {
        &self.0[FRAME_HEADER_BYTES..]
    }

    /// Raises the schema version (the "schema cookie", offset 40 of the database header) to at least
    /// `version`. Only for page 1.
    pub(crate) fn raise_schema_version(&mut self, version: u32) {
        const SCHEMA_VERSION: usize = FRAME_HEADER_BYTES + 40;
        assert_eq!(self.page_no(), 1, "the database header is on page 1");
        let raised = self.word(SCHEMA_VERSION).max(version);
        self.0[SCHEMA_VERSION..SCHEMA_VERSION + 4].copy_from_slice(&raised.to_be_bytes());
    }

    fn word(&self, offset: usize) -> u32 {
        word(&self.0, offset)
    }
}

impl FrameStamp {
    /// Returns the stamp of frame `frame_no` in an open WAL file; all zeros for frame 0.
    pub(crate) fn read(wal: &OpenFile, frame_no: u64) -> Result<Self> {
        if frame_no == 0 {
            return Ok(Self::default());
        }
        let header = wal.read(wal_bytes(frame_no - 1).max(WAL_HEADER_BYTES), FRAME_HEADER_BYTES)?;
        let word = |at: usize| word(&header, at);
        Ok(Self { salts: [word(8), word(12)], checksums: [word(16), word(20)] })
    }
}

/// A raw WAL session: holds the write lock and appends single frames. Its end drops the frames after the last
/// commit frame. The end writes nothing and syncs nothing.
pub(crate) struct RawSession {
    connection: Arc<Connection>,
    open: bool,
}

impl RawSession {
    /// Takes the write lock. The connection must not be in a transaction.
    pub(crate) fn begin(connection: Arc<Connection>) -> turso_core::Result<Self> {
        connection.wal_insert_begin()?;
        Ok(Self { connection, open: true })
    }

    /// The number of frames in the WAL, including those of this session.
    pub(crate) fn frame_count(&self) -> turso_core::Result<u64> {
        Ok(self.connection.wal_state()?.max_frame)
    }

    pub(crate) fn insert(&self, frame_no: u64, frame: &Frame) -> turso_core::Result<()> {
        self.connection.wal_insert_frame(frame_no, frame.bytes()).map(|_| ())
    }

    pub(crate) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// Ends the session and returns the outcome. The session has ended even if this fails.
    pub(crate) fn end(mut self) -> turso_core::Result<()> {
        self.open = false;
        end_session(&self.connection)
    }
}

/// Drops the frames after the last commit frame and then releases the locks. An SQL ROLLBACK does exactly
/// this. The core's own `wal_insert_end(false)` releases the write lock first. Another writer can then append
/// frames, and the core can drop those from the frame index that all connections share (turso_core 0.8.3,
/// `Connection::wal_insert_end`, against the warning in its `Pager::rollback_tx`). Committed rows would no
/// longer be found.
fn end_session(connection: &Arc<Connection>) -> turso_core::Result<()> {
    connection.execute("ROLLBACK")?;
    // Raw frames may contain another schema. Reload it, and share it with the other connections.
    connection.maybe_reparse_schema()
}

/// Returns the pages in frames after `frame_no`, as of the connection's transaction. The core panics at a
/// number beyond the end. Such a number occurs only if another program has checkpointed the database.
pub(crate) fn changed_pages_after(
    connection: &Arc<Connection>,
    frame_no: u64,
) -> turso_core::Result<Vec<u32>> {
    let frames = connection.wal_state()?.max_frame;
    if frames < frame_no {
        let problem = format!("the log ends at frame {frames}, before the watermark {frame_no}");
        return Err(LimboError::Corrupt(problem));
    }
    connection.wal_changed_pages_after(frame_no)
}

impl Drop for RawSession {
    fn drop(&mut self) {
        if self.open
            && let Err(error) = end_session(&self.connection)
        {
            tracing::warn!(%error, "cannot end a raw WAL session");
        }
    }
}
