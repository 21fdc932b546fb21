//! The body of an answer: bytes in memory, or a part of a file.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use turso_core::File;

#[derive(Clone)]
pub enum Content {
    Bytes(Bytes),
    /// The bytes of `range` in `file`. They do not change while the answer is sent.
    File {
        file: Arc<dyn File>,
        range: Range<u64>,
    },
}

impl Content {
    /// The length in bytes.
    pub fn len(&self) -> u64 {
        match self {
            Content::Bytes(bytes) => bytes.len() as u64,
            Content::File { range, .. } => range.end - range.start,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
