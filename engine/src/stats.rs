//! What an engine says about itself when it is asked; asking changes nothing.

/// Sizes, watermarks and what waits to be pushed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Bytes of Draft's main file.
    pub draft_bytes: u64,
    /// Bytes of Draft's WAL.
    pub draft_wal_bytes: u64,
    /// Frames of Draft's WAL; `draft_wal_frames_max` bounds them.
    pub draft_wal_frames: u64,
    /// Bytes of Synced's main file.
    pub synced_bytes: u64,
    /// Bytes of Synced's WAL.
    pub synced_wal_bytes: u64,
    /// Frames of Synced's WAL; `synced_wal_frames_max` bounds them.
    pub synced_wal_frames: u64,
    /// Records of the change log; `change_log_records_max` bounds those that are acknowledged.
    pub change_log_records: u64,
    /// Local transactions of which this client does not know that the remote has applied them.
    pub pending_transactions: u64,
    /// The remote generation that Synced has reached.
    pub synced_generation: u64,
    /// The last frame of that generation that Synced holds, 0 for none.
    pub synced_frame_no: u64,
    /// A frame of Draft's WAL: Draft as of it equals Synced as of `synced_wal_match_watermark`, but for `unmatched_pages`.
    pub draft_wal_match_watermark: u64,
    /// A frame of Synced's WAL, see `draft_wal_match_watermark`.
    pub synced_wal_match_watermark: u64,
    /// Pages that a compaction has taken out of that claim until the next rebase.
    pub unmatched_pages: u64,
    /// The highest local transaction number that was ever given to the network.
    pub attempted_transaction_no: u64,
}
