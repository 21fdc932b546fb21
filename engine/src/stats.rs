//! Statistics of an engine. Reading them changes nothing.

/// Sizes, watermarks and the number of transactions to push.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Size of Draft's main file in bytes.
    pub draft_bytes: u64,
    /// Size of Draft's WAL in bytes.
    pub draft_wal_bytes: u64,
    /// Number of frames in Draft's WAL; bounded by `draft_wal_frames_max`.
    pub draft_wal_frames: u64,
    /// Size of Synced's main file in bytes.
    pub synced_bytes: u64,
    /// Size of Synced's WAL in bytes.
    pub synced_wal_bytes: u64,
    /// Number of frames in Synced's WAL; bounded by `synced_wal_frames_max`.
    pub synced_wal_frames: u64,
    /// Number of records in the change log; `change_log_records_max` bounds the acknowledged ones.
    pub change_log_records: u64,
    /// Number of local transactions that the remote is not known to have applied.
    pub pending_transactions: u64,
    /// The remote generation that Synced has reached.
    pub synced_generation: u64,
    /// The last frame of that generation that Synced holds; 0 for none.
    pub synced_frame_no: u64,
    /// A frame of Draft's WAL: Draft as of this frame equals Synced as of `synced_wal_match_watermark`,
    /// except for `unmatched_pages`.
    pub draft_wal_match_watermark: u64,
    /// A frame of Synced's WAL, see `draft_wal_match_watermark`.
    pub synced_wal_match_watermark: u64,
    /// Number of pages that a compaction has excluded from the watermarks until the next rebase.
    pub unmatched_pages: u64,
    /// The highest local transaction number that was ever sent.
    pub attempted_transaction_no: u64,
}
