//! The main file of a database: its header, and damage that can be detected without reading the whole file.

use crate::error::Result;
use crate::files::OpenFile;
use crate::wal::PAGE_BYTES;

/// Returns the problem with a main file after a checkpoint or an export, if it can be detected without
/// reading the whole file.
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

pub(crate) const DATABASE_HEADER_BYTES: usize = 100;

/// The fields of the 100-byte database header that the engine checks
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

    /// The length of the database according to its header, in bytes.
    pub(crate) fn database_bytes(&self) -> u64 {
        u64::from(self.pages) * PAGE_BYTES as u64
    }

    /// # Errors
    /// The problem as text: the file is not a database, or the engine does not support it.
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use turso_core::MemoryIO;

    use super::*;
    use crate::files::Files;
    use crate::storage::LocalStorage;

    /// Returns the problem with a file of `bytes` bytes whose header names `page_bytes` and `pages`.
    fn problem(magic: &[u8; 16], page_bytes: u16, pages: u32, bytes: usize) -> Option<String> {
        let files = Files::new(Arc::new(MemoryIO::new()), Arc::new(LocalStorage), "t.db");
        let mut content = vec![0; bytes.max(DATABASE_HEADER_BYTES)];
        content[..16].copy_from_slice(magic);
        content[16..18].copy_from_slice(&page_bytes.to_be_bytes());
        content[28..32].copy_from_slice(&pages.to_be_bytes());
        let file = files.create_empty(&files.synced).unwrap();
        file.write(0, &content[..bytes]).unwrap();
        problem_with(&file).unwrap()
    }

    const MAGIC: &[u8; 16] = b"SQLite format 3\0";

    #[test]
    fn a_file_as_long_as_its_header_says_or_longer_has_no_problem() {
        assert_eq!(problem(MAGIC, 4096, 2, 2 * PAGE_BYTES), None);
        assert_eq!(problem(MAGIC, 4096, 2, 3 * PAGE_BYTES), None);
    }

    #[test]
    fn a_file_that_is_no_whole_database_has_a_problem() {
        for (magic, page_bytes, pages, bytes, expected) in [
            (MAGIC, 4096, 1, PAGE_BYTES - 1, "a database of 4095 bytes"),
            (MAGIC, 4096, 2, PAGE_BYTES, "4096 bytes where its header promises 8192"),
            (b"SQLite format 4\0", 4096, 1, PAGE_BYTES, "not an SQLite database"),
            (MAGIC, 1024, 1, PAGE_BYTES, "pages of 1024 bytes where 4096 are expected"),
            (MAGIC, 4096, 0, PAGE_BYTES, "a database without pages"),
        ] {
            assert_eq!(problem(magic, page_bytes, pages, bytes).as_deref(), Some(expected));
        }
    }
}
