//! The main file of a database: its header, and the damage that shows without reading all of the file.

use crate::error::Result;
use crate::files::OpenFile;
use crate::wal::PAGE_BYTES;

/// What is wrong with a main file that a checkpoint or an export has left, if it can be seen without reading all of it.
pub(crate) fn problem_with(file: &OpenFile) -> Result<Option<String>> {
    let actual_bytes = file.length()?;
    if actual_bytes < PAGE_BYTES as u64 {
        return Ok(Some(format!("a database of {actual_bytes} bytes")));
    }
    let header = DatabaseHeader::read(file)?;
    Ok(match header.check() {
        Err(problem) => Some(problem),
        Ok(()) if actual_bytes < header.database_bytes() => {
            Some(format!("{actual_bytes} bytes where its header promises {}", header.database_bytes()))
        }
        Ok(()) => None,
    })
}

/// Bytes of the database header.
pub(crate) const DATABASE_HEADER_BYTES: usize = 100;

/// The fields of the 100-byte database header that a main file is checked by
/// (<https://www.sqlite.org/fileformat2.html#the_database_header>).
pub(crate) struct DatabaseHeader {
    magic: [u8; 16],
    page_bytes: u16,
    pages: u32,
}

impl DatabaseHeader {
    pub(crate) fn read(file: &OpenFile) -> Result<Self> {
        let bytes = file.read(0, DATABASE_HEADER_BYTES)?;
        let mut magic = [0; 16];
        magic.copy_from_slice(&bytes[..16]);
        Ok(Self {
            magic,
            page_bytes: u16::from_be_bytes([bytes[16], bytes[17]]),
            pages: u32::from_be_bytes([bytes[28], bytes[29], bytes[30], bytes[31]]),
        })
    }

    /// The length of the database as the header tells it, in bytes.
    pub(crate) fn database_bytes(&self) -> u64 {
        u64::from(self.pages) * PAGE_BYTES as u64
    }

    /// # Errors
    /// The problem, in words: the file is no database, or one that the engine does not handle.
    pub(crate) fn check(&self) -> std::result::Result<(), String> {
        if &self.magic != b"SQLite format 3\0" {
            return Err("not an SQLite database".into());
        }
        if usize::from(self.page_bytes) != PAGE_BYTES {
            return Err(format!("pages of {} bytes where {PAGE_BYTES} are expected", self.page_bytes));
        }
        if self.pages == 0 {
            return Err("a database without pages".into());
        }
        Ok(())
    }
}
