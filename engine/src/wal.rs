//! WAL frames and raw WAL sessions.
//!
//! A frame is a 24-byte header and a 4096-byte page image. In transferred frames only the page number and the database size
//! count; salts and checksums are each WAL's own (<https://www.sqlite.org/fileformat2.html#walformat>).

use std::collections::BTreeSet;
use std::sync::Arc;

use turso_core::{Connection, LimboError};

use crate::error::Result;
use crate::files::OpenFile;
use crate::metadata::FrameStamp;

/// Bytes of a page.
pub(crate) const PAGE_BYTES: usize = 4096;
/// Bytes of a frame's header.
pub(crate) const FRAME_HEADER_BYTES: usize = 24;
/// Bytes of a frame.
pub(crate) const FRAME_BYTES: usize = FRAME_HEADER_BYTES + PAGE_BYTES;
/// Bytes of a WAL's header.
pub(crate) const WAL_HEADER_BYTES: u64 = 32;

/// Bytes at the beginning of a WAL's header that its checksum is of.
const CHECKED_HEADER_BYTES: usize = 24;
/// Bytes at the beginning of a frame's header that its checksum is of, besides the page.
const CHECKED_FRAME_HEADER_BYTES: usize = 8;
/// Frames that are held in memory at once while a WAL is verified: about 1 MiB.
const FRAMES_READ_MAX: u64 = 256;

/// Length of a WAL file that holds `frames` frames; an empty WAL has no header.
pub(crate) fn wal_bytes(frames: u64) -> u64 {
    if frames == 0 { 0 } else { WAL_HEADER_BYTES + frames * FRAME_BYTES as u64 }
}

/// The salts in the header of an open WAL file; `None` when it holds no frame.
///
/// # Errors
/// [`Error::Damaged`](crate::Error::Damaged) when the header's checksum is wrong: it is durable before the first frame is written, so no
/// crash leaves that.
pub(crate) fn wal_salts(wal: &OpenFile) -> Result<Option<[u32; 2]>> {
    if wal.length()? <= WAL_HEADER_BYTES {
        return Ok(None);
    }
    Header::read(wal).map(|header| Some(header.salts))
}

/// Makes sure that the first `frames` frames of an open WAL file, which has room for them, are as they were written.
///
/// # Errors
/// [`Error::Damaged`](crate::Error::Damaged) when a checksum is wrong, and what reading the file says.
pub(crate) fn verify_frames(wal: &OpenFile, frames: u64) -> Result<()> {
    match sound_frames(wal, frames)? {
        sound if sound < frames => {
            Err(wal.damaged(format!("its checksums hold for {sound} frames, the metadata names {frames}")))
        }
        _ => Ok(()),
    }
}

/// How many of the first `frames` frames are sound: with the header's salts, and an unbroken
/// chain of checksums up to there.
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
            sum.add(&frame[..CHECKED_FRAME_HEADER_BYTES]);
            sum.add(&frame[FRAME_HEADER_BYTES..]);
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

/// The header of a WAL file, its checksum verified.
struct Header {
    salts: [u32; 2],
    sum: Checksum,
}

impl Header {
    fn read(wal: &OpenFile) -> Result<Self> {
        let header = wal.read(0, WAL_HEADER_BYTES as usize)?;
        // The last bit of the magic number tells the byte order of what is summed up.
        let mut sum = Checksum { is_big_endian: word(&header, 0) & 1 == 1, words: [0; 2] };
        sum.add(&header[..CHECKED_HEADER_BYTES]);
        if [word(&header, 24), word(&header, 28)] != sum.words {
            return Err(wal.damaged("the checksum of its header is wrong".into()));
        }
        Ok(Self { salts: [word(&header, 16), word(&header, 20)], sum })
    }
}

/// The running checksum of a WAL.
struct Checksum {
    is_big_endian: bool,
    words: [u32; 2],
}

impl Checksum {
    /// Goes on over `bytes`, a multiple of eight.
    fn add(&mut self, bytes: &[u8]) {
        let summand =
            |at: usize| if self.is_big_endian { word(bytes, at) } else { word(bytes, at).swap_bytes() };
        self.words = (0..bytes.len()).step_by(8).fold(self.words, |[first, second], at| {
            let first = first.wrapping_add(summand(at)).wrapping_add(second);
            [first, second.wrapping_add(summand(at + 4)).wrapping_add(first)]
        });
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// The numbers of the pages that the frames of an open WAL file are of, whether or not they count.
pub(crate) fn wal_pages(wal: &OpenFile) -> Result<BTreeSet<u32>> {
    let page_no = |frame: u64| {
        let header = wal.read(WAL_HEADER_BYTES + frame * FRAME_BYTES as u64, 4)?;
        Ok(word(&header, 0))
    };
    (0..wal_frames(wal.length()?)).map(page_no).collect()
}

/// Frames that a WAL file of so many bytes has room for.
pub(crate) fn wal_frames(bytes: u64) -> u64 {
    bytes.saturating_sub(WAL_HEADER_BYTES) / FRAME_BYTES as u64
}

/// One frame, header and page.
pub(crate) struct Frame([u8; FRAME_BYTES]);

impl Frame {
    /// A frame for insertion: salts and checksums are left to the core.
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

    /// A frame as it came over the wire.
    pub(crate) fn from_bytes(bytes: [u8; FRAME_BYTES]) -> Self {
        Self(bytes)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn page_no(&self) -> u32 {
        self.word(0)
    }

    /// Size of the database in pages after this frame's transaction; zero unless the frame ends one.
    pub(crate) fn database_pages(&self) -> u32 {
        self.word(4)
    }

    pub(crate) fn is_commit(&self) -> bool {
        self.database_pages() != 0
    }

    /// Its salts and checksums.
    pub(crate) fn stamp(&self) -> FrameStamp {
        FrameStamp { salts: [self.word(8), self.word(12)], checksums: [self.word(16), self.word(20)] }
    }

    pub(crate) fn page(&self) -> &[u8] {
        &self.0[FRAME_HEADER_BYTES..]
    }

    /// Makes the schema version (the "schema cookie", offset 40 of the database header) at least `version`. Only for page 1.
    pub(crate) fn raise_schema_version(&mut self, version: u32) {
        const SCHEMA_VERSION: usize = FRAME_HEADER_BYTES + 40;
        assert_eq!(self.page_no(), 1, "the database header stands on page 1");
        let raised = self.word(SCHEMA_VERSION).max(version);
        self.0[SCHEMA_VERSION..SCHEMA_VERSION + 4].copy_from_slice(&raised.to_be_bytes());
    }

    fn word(&self, offset: usize) -> u32 {
        word(&self.0, offset)
    }
}

impl FrameStamp {
    /// The stamp of frame `frame_no` in an open WAL file; all zeros for frame 0.
    pub(crate) fn read(wal: &OpenFile, frame_no: u64) -> Result<Self> {
        if frame_no == 0 {
            return Ok(Self::default());
        }
        let header = wal.read(wal_bytes(frame_no - 1).max(WAL_HEADER_BYTES), FRAME_HEADER_BYTES)?;
        let word = |at: usize| word(&header, at);
        Ok(Self { salts: [word(8), word(12)], checksums: [word(16), word(20)] })
    }
}

/// A raw WAL session: the write lock, and frames appended one by one. Whatever follows the last commit frame is dropped at the
/// end. The end writes nothing and syncs nothing.
pub(crate) struct RawSession {
    connection: Arc<Connection>,
    open: bool,
}

impl RawSession {
    /// Takes the write lock; the connection must not be in a transaction.
    pub(crate) fn begin(connection: Arc<Connection>) -> turso_core::Result<Self> {
        connection.wal_insert_begin()?;
        Ok(Self { connection, open: true })
    }

    /// Frames in the WAL, those of this session included.
    pub(crate) fn frame_count(&self) -> turso_core::Result<u64> {
        Ok(self.connection.wal_state()?.max_frame)
    }

    pub(crate) fn insert(&self, frame_no: u64, frame: &Frame) -> turso_core::Result<()> {
        self.connection.wal_insert_frame(frame_no, frame.bytes()).map(|_| ())
    }

    pub(crate) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// Ends the session and says whether that went well. A failed end has ended all the same.
    pub(crate) fn end(mut self) -> turso_core::Result<()> {
        self.open = false;
        end_session(&self.connection)
    }
}

/// Drops what follows the last commit frame and releases the locks, in this order: an SQL ROLLBACK does just that. The core's own
/// `wal_insert_end(false)` releases the write lock first, and what it then drops from the index of frames that all connections share may
/// be the frames of a writer that has slipped in (turso_core 0.8.3, `Connection::wal_insert_end`, against the warning in its
/// `Pager::rollback_tx`): committed rows would not be found any more.
fn end_session(connection: &Arc<Connection>) -> turso_core::Result<()> {
    connection.execute("ROLLBACK")?;
    // Raw frames may have brought another schema: read it, and let the other connections have it.
    connection.maybe_reparse_schema()
}

/// The pages that frames after `frame_no` hold, as of the connection's transaction. The core would panic at a number beyond the end,
/// which is there only if somebody has checkpointed the database behind the engine's back.
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
            tracing::warn!(%error, "could not end a raw session");
        }
    }
}
