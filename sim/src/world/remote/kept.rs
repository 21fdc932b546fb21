//! The log that a remote keeps: the snapshots of its generations and the frames that follow each of them.
//!
//! The routes are written against [`KeptLog`]. The simulator's log is a model in memory that judges the
//! database ([`Simulated`](super::Simulated)). The served log is in files ([`archive`](super::archive)).

use std::ops::Range;

use bytes::Bytes;
use turso_core::LimboError;

use super::content::Content;
use super::store::Store;
use crate::judge::format::FrameHeader;

/// The log of a remote. Generations and frames are numbered from 1.
pub trait KeptLog {
    /// The number of the current generation.
    fn generation(&self) -> u64;

    /// The number of frames in the current generation.
    fn frame_count(&self) -> u64;

    /// The number of frames in a generation; `None` if it is not served.
    fn served_frame_count(&self, generation: u64) -> Option<u64>;

    /// All 4120 bytes of a frame of the current generation; `None` if it does not exist.
    ///
    /// # Errors
    /// The error of the read.
    fn frame(&self, frame_no: u64) -> Result<Option<Bytes>, LimboError>;

    /// Frames of a served generation. The range is half-open, not empty, and all of its frames exist.
    ///
    /// # Errors
    /// The error of the read.
    fn frames(&self, generation: u64, range: Range<u64>) -> Result<Content, LimboError>;

    /// The database at the start of a served generation.
    ///
    /// # Errors
    /// The error of the read.
    fn snapshot(&self, generation: u64) -> Result<Content, LimboError>;

    /// The number and the header of the last frame of a closed generation; `None` if it never existed.
    fn end_of_closed(&self, generation: u64) -> Option<(u64, FrameHeader)>;

    /// Adds the newly committed frames of the database to the log. Must be called after every operation that
    /// may have written, even if it failed: a transaction before the failure may have been committed.
    ///
    /// # Errors
    /// The error of a read. A later call adds the frames then.
    fn record(&mut self, store: &Store) -> Result<(), LimboError>;
}
