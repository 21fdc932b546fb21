//! The body of an answer: bytes in memory, or a range of a file that is read in pieces.
//!
//! A file's range stays readable while its handle is open, even if the file is removed in the meantime.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use turso_core::{File, IO, LimboError};

use super::files;

/// The maximum length of a piece of a body, in bytes.
pub const CHUNK_BYTES: u64 = 64 << 10;

/// The body of an answer.
#[derive(Clone)]
pub enum Content {
    Bytes(Bytes),
    /// These bytes of the file. They do not change while the answer is sent.
    File {
        file: Arc<dyn File>,
        range: Range<u64>,
    },
}

impl Content {
    /// The length in bytes.
    pub fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File { range, .. } => range.end.saturating_sub(range.start),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads the content in pieces of at most [`CHUNK_BYTES`] bytes. Reading ends after an error.
    pub fn chunks(self, io: Arc<dyn IO>) -> Chunks {
        Chunks { io, rest: self }
    }

    /// Reads all of the content into memory.
    ///
    /// # Errors
    /// The error of the read.
    pub fn read(self, io: &Arc<dyn IO>) -> Result<Bytes, LimboError> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            Self::File { file, range } => files::read_at(io, &file, range).map(Bytes::from),
        }
    }
}

impl From<Bytes> for Content {
    fn from(bytes: Bytes) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<Vec<u8>> for Content {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes.into())
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "{bytes:?}"),
            Self::File { range, .. } => write!(f, "bytes {range:?} of a file"),
        }
    }
}

/// The pieces of a content, in order.
pub struct Chunks {
    io: Arc<dyn IO>,
    rest: Content,
}

impl Iterator for Chunks {
    type Item = Result<Bytes, LimboError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        match &mut self.rest {
            Content::Bytes(bytes) => Some(Ok(bytes.split_to(bytes.len().min(CHUNK_BYTES as usize)))),
            Content::File { file, range } => {
                let chunk = range.start..range.end.min(range.start + CHUNK_BYTES);
                let read = files::read_at(&self.io, file, chunk.clone());
                range.start = if read.is_ok() { chunk.end } else { range.end };
                Some(read.map(Bytes::from))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use turso_core::{MemoryIO, OpenFlags};

    use super::*;

    #[test]
    fn a_range_of_a_file_is_read_in_pieces() {
        let io: Arc<dyn IO> = Arc::new(MemoryIO::new());
        let bytes: Vec<u8> = (0..200_000_u32).map(|n| n as u8).collect();
        files::write_all(&io, "content", &bytes).unwrap();
        let file = io.open_file("content", OpenFlags::None, false).unwrap();
        let content = Content::File { file, range: 7..199_993 };
        assert_eq!(content.len(), 199_986);
        let pieces: Vec<Bytes> = content.clone().chunks(io.clone()).map(Result::unwrap).collect();
        assert!(pieces.len() > 3 && pieces.iter().all(|piece| piece.len() as u64 <= CHUNK_BYTES));
        assert_eq!(pieces.concat(), &bytes[7..199_993]);
        assert_eq!(content.read(&io).unwrap(), &bytes[7..199_993]);
    }

    #[test]
    fn a_range_beyond_the_end_is_an_error_and_then_the_end() {
        let io: Arc<dyn IO> = Arc::new(MemoryIO::new());
        files::write_all(&io, "short", &[1; 10]).unwrap();
        let file = io.open_file("short", OpenFlags::None, false).unwrap();
        let mut chunks = Content::File { file, range: 0..11 }.chunks(io);
        assert!(chunks.next().unwrap().is_err());
        assert!(chunks.next().is_none());
    }
}
