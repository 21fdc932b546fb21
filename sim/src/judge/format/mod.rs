//! The simulator's own parsers for SQLite files.
//!
//! An oracle that reads a file through the engine or through turso_core inherits their mistakes, so this
//! module shares no code with either. It takes bytes only. Parsing never returns an error: the bytes that a
//! crash left are data to be judged, so malformed parts are simply missing (no header, fewer frames, a page
//! of zeros).
//!
//! * `wal`: the headers of a `-wal` file, its frames, its checksum chain.
//! * `image`: the pages of a database at a position of its log, and the first difference between two
//!   images.
//!
//! Not parsed: B-trees, records, rollback journals, the WAL index, and page sizes other than 4096.
//!
//! Source of the format: <https://www.sqlite.org/fileformat2.html>, sections 1.3 (header) and 4 (WAL).

mod image;
mod wal;

pub use image::{DatabaseImage, Difference};
pub use wal::{FrameHeader, Wal, WalHeader};

/// Bytes of a database page. The wire protocol knows only this size.
pub const PAGE_BYTES: usize = 4096;
/// Bytes of the header at the start of a `-wal` file.
pub const WAL_HEADER_BYTES: usize = 32;
/// Bytes of the header in front of each page of a `-wal` file.
pub const FRAME_HEADER_BYTES: usize = 24;
/// Bytes of a frame: header and page.
pub const FRAME_BYTES: usize = FRAME_HEADER_BYTES + PAGE_BYTES;
/// Bytes of the header at the start of page 1.
pub const DATABASE_HEADER_BYTES: usize = 100;

const _: () = assert!(FRAME_BYTES == 4120);

pub type Page = [u8; PAGE_BYTES];

/// The size fields and version fields of the database header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DatabaseHeader {
    /// Bytes of a page (offset 16; the stored 1 stands for 65536).
    pub page_bytes: u32,
    /// 2 = WAL, 1 = rollback journal (offset 18).
    pub write_version: u8,
    /// 2 = WAL, 1 = rollback journal (offset 19).
    pub read_version: u8,
    /// Pages of the database (offset 28). SQLite trusts it only if the change counter (offset 24) equals
    /// version-valid-for (offset 92). turso_core always trusts it and never makes the two equal: it writes
    /// 1 and 3047000 into every database that it creates.
    pub page_count: u32,
    /// Whether SQLite would trust the page count.
    pub page_count_is_valid: bool,
}

impl DatabaseHeader {
    /// Parses the first 100 bytes of a main file; `None` if they are not a database header.
    pub fn parse(main: &[u8]) -> Option<DatabaseHeader> {
        let header = main.get(..DATABASE_HEADER_BYTES)?;
        if !header.starts_with(b"SQLite format 3\0") {
            return None;
        }
        let page_bytes = match u16::from_be_bytes([header[16], header[17]]) {
            1 => 65536,
            stored => u32::from(stored),
        };
        Some(DatabaseHeader {
            page_bytes,
            write_version: header[18],
            read_version: header[19],
            page_count: be_u32(header, 28),
            page_count_is_valid: be_u32(header, 24) == be_u32(header, 92),
        })
    }
}

/// The big-endian u32 at `offset`; the caller has checked the length.
fn be_u32(bytes: &[u8], offset: usize) -> u32 {
    let field = bytes[offset..].first_chunk().expect("a field lies inside its header");
    u32::from_be_bytes(*field)
}

#[cfg(test)]
mod tests;
