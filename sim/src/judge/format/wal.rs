//! A `-wal` file: header, frames, checksum chain.
//!
//! [`Wal`] is a view that copies nothing. Creating one reads only frame headers, so it is cheap enough for
//! a check after every step. The checksum chain over the pages is computed on demand.
//!
//! Not in this module: whether a frame is *live*. Frames of a rolled-back transaction stay in the file with
//! valid salts until they are overwritten, so the caller must know the last frame that counts.

use super::{FRAME_BYTES, FRAME_HEADER_BYTES, PAGE_BYTES, Page, WAL_HEADER_BYTES, be_u32};

const MAGIC_LITTLE_ENDIAN: u32 = 0x377f_0682;
const MAGIC_BIG_ENDIAN: u32 = 0x377f_0683;
/// The only version of the format (field 2 of the header).
const VERSION: u32 = 3_007_000;
/// Bytes of the WAL header and of a frame header that the checksum covers.
const CHECKED_HEADER_BYTES: usize = 24;
const CHECKED_FRAME_HEADER_BYTES: usize = 8;

/// The first 32 bytes of a `-wal` file: big-endian u32 × 8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalHeader {
    /// 0x377f0682 or 0x377f0683; the last bit says that the checksum reads its input as big-endian words.
    pub magic: u32,
    /// Always 3007000.
    pub version: u32,
    /// Bytes of a page; 4096 in a parsed header.
    pub page_bytes: u32,
    /// The number of checkpoints.
    pub checkpoint_seq: u32,
    /// Every frame that belongs to this header repeats both salts.
    pub salts: [u32; 2],
    /// The checksum of the 24 bytes before it; the seed of the frames' chain.
    pub checksum: [u32; 2],
}

impl WalHeader {
    /// Parses a header; `None` if it is short, not a WAL header, has another page size, or fails its
    /// checksum.
    pub fn parse(bytes: &[u8]) -> Option<WalHeader> {
        let bytes = bytes.get(..WAL_HEADER_BYTES)?;
        let header = WalHeader {
            magic: be_u32(bytes, 0),
            version: be_u32(bytes, 4),
            page_bytes: be_u32(bytes, 8),
            checkpoint_seq: be_u32(bytes, 12),
            salts: [be_u32(bytes, 16), be_u32(bytes, 20)],
            checksum: [be_u32(bytes, 24), be_u32(bytes, 28)],
        };
        let well_formed = matches!(header.magic, MAGIC_LITTLE_ENDIAN | MAGIC_BIG_ENDIAN)
            && header.version == VERSION
            && header.page_bytes as usize == PAGE_BYTES;
        (well_formed && header.checksum == header.chain([0, 0], &bytes[..CHECKED_HEADER_BYTES]))
            .then_some(header)
    }

    /// The header's 32 bytes.
    pub fn encode(&self) -> [u8; WAL_HEADER_BYTES] {
        let words = [
            self.magic,
            self.version,
            self.page_bytes,
            self.checkpoint_seq,
            self.salts[0],
            self.salts[1],
            self.checksum[0],
            self.checksum[1],
        ];
        let mut bytes = [0; WAL_HEADER_BYTES];
        for (field, word) in bytes.as_chunks_mut().0.iter_mut().zip(words) {
            *field = word.to_be_bytes();
        }
        bytes
    }

    /// Extends a checksum by `bytes`, whose length is a multiple of 8 (file format, section 4.2).
    fn chain(&self, [mut s0, mut s1]: [u32; 2], bytes: &[u8]) -> [u32; 2] {
        let word: fn([u8; 4]) -> u32 = match self.magic {
            MAGIC_BIG_ENDIAN => u32::from_be_bytes,
            _ => u32::from_le_bytes,
        };
        let (pairs, rest) = bytes.as_chunks::<8>();
        assert!(rest.is_empty(), "checksums cover whole pairs of words");
        for &[a, b, c, d, e, f, g, h] in pairs {
            s0 = s0.wrapping_add(word([a, b, c, d])).wrapping_add(s1);
            s1 = s1.wrapping_add(word([e, f, g, h])).wrapping_add(s0);
        }
        [s0, s1]
    }
}

/// The 24 bytes in front of each page: big-endian u32 × 6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// Counts from 1; 0 is never valid.
    pub page_no: u32,
    /// Pages of the database after the transaction whose last frame this is; 0 in every other frame.
    pub db_size: u32,
    /// The salts of the WAL header that the frame belongs to.
    pub salts: [u32; 2],
    /// The checksum of all bytes from the WAL header to the end of this frame's page.
    pub checksum: [u32; 2],
}

impl FrameHeader {
    /// Parses a frame header; `None` if there are fewer than 24 bytes.
    pub fn parse(bytes: &[u8]) -> Option<FrameHeader> {
        let bytes = bytes.get(..FRAME_HEADER_BYTES)?;
        Some(FrameHeader {
            page_no: be_u32(bytes, 0),
            db_size: be_u32(bytes, 4),
            salts: [be_u32(bytes, 8), be_u32(bytes, 12)],
            checksum: [be_u32(bytes, 16), be_u32(bytes, 20)],
        })
    }

    pub fn is_commit(&self) -> bool {
        self.db_size != 0
    }
}

/// A view of the bytes of a `-wal` file. Frames count from 1.
#[derive(Debug, Clone, Copy)]
pub struct Wal<'a> {
    header: Option<WalHeader>,
    /// The checksum before frame 1.
    seed: [u32; 2],
    frames: &'a [[u8; FRAME_BYTES]],
}

impl<'a> Wal<'a> {
    /// A view of a whole file. Without a valid header there are no frames.
    pub fn parse(bytes: &'a [u8]) -> Wal<'a> {
        match WalHeader::parse(bytes) {
            Some(header) => Wal::parse_after(header, header.checksum, &bytes[WAL_HEADER_BYTES..]),
            None => Wal { header: None, seed: [0, 0], frames: &[] },
        }
    }

    /// A view of the end of a file: `bytes` start after the frame whose checksum is `previous`. The first
    /// frame in `bytes` is frame 1 of the view.
    pub fn parse_after(header: WalHeader, previous: [u32; 2], bytes: &'a [u8]) -> Wal<'a> {
        let (frames, _cut_frame) = bytes.as_chunks();
        let belongs = |frame: &&[u8; FRAME_BYTES]| {
            let frame = frame_header(frame);
            frame.page_no != 0 && frame.salts == header.salts
        };
        let frame_count = frames.iter().take_while(belongs).count();
        Wal { header: Some(header), seed: previous, frames: &frames[..frame_count] }
    }

    /// The file's header; `None` when it is missing or invalid.
    pub fn header(&self) -> Option<&WalHeader> {
        self.header.as_ref()
    }

    /// The number of whole frames from the start that carry the header's salts. Does not verify checksums.
    pub fn frame_count(&self) -> u64 {
        self.frames.len() as u64
    }

    /// The number of frames from the start that the checksum chain confirms. Reads every page.
    pub fn verified_frames(&self) -> u64 {
        let Some(header) = &self.header else { return 0 };
        let mut checksum = self.seed;
        let is_verified = |frame: &&[u8; FRAME_BYTES]| {
            checksum = header.chain(checksum, &frame[..CHECKED_FRAME_HEADER_BYTES]);
            checksum = header.chain(checksum, page(frame));
            checksum == frame_header(frame).checksum
        };
        self.frames.iter().take_while(is_verified).count() as u64
    }

    /// The last commit frame at or before `frame_no`; 0 if there is none.
    pub fn commit_boundary_at_or_before(&self, frame_no: u64) -> u64 {
        (1..=frame_no.min(self.frame_count())).rev().find(|&no| self.frame(no).is_commit()).unwrap_or(0)
    }

    /// The header of a frame.
    ///
    /// # Panics
    /// If there is no such frame.
    pub fn frame(&self, frame_no: u64) -> FrameHeader {
        frame_header(self.frame_bytes(frame_no))
    }

    /// The page of a frame.
    ///
    /// # Panics
    /// If there is no such frame.
    pub fn page_of(&self, frame_no: u64) -> &'a Page {
        page(self.frame_bytes(frame_no))
    }

    /// Page number and page of the first `frame_count` frames, oldest first.
    pub(super) fn pages(&self, frame_count: u64) -> impl Iterator<Item = (u32, &'a Page)> {
        self.frames.iter().take(frame_count as usize).map(|frame| (frame_header(frame).page_no, page(frame)))
    }

    fn frame_bytes(&self, frame_no: u64) -> &'a [u8; FRAME_BYTES] {
        let index = frame_no.checked_sub(1).expect("frames count from 1");
        &self.frames[index as usize]
    }
}

fn frame_header(frame: &[u8; FRAME_BYTES]) -> FrameHeader {
    FrameHeader::parse(frame).expect("a frame is longer than its header")
}

fn page(frame: &[u8; FRAME_BYTES]) -> &Page {
    frame.last_chunk().expect("a frame ends in a page")
}
