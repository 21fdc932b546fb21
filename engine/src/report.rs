//! The reports of operations, for the application.

use crate::conflict::Conflicts;

/// The reason why Synced was replaced by a new export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RebootstrapReason {
    /// The server no longer has the generation that Synced had reached.
    GenerationPruned,
    /// The server was restored to an older state.
    HistoryChanged,
    /// Synced was missing, too short or corrupt.
    ReplicaDamaged,
    /// The application requested it.
    Requested,
}

impl RebootstrapReason {
    /// The reason's name in events.
    pub fn name(self) -> &'static str {
        match self {
            Self::GenerationPruned => "generation_pruned",
            Self::HistoryChanged => "history_changed",
            Self::ReplicaDamaged => "replica_damaged",
            Self::Requested => "requested",
        }
    }
}

/// The report of a pull.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct PullReport {
    /// Remote frames received.
    pub frames: u64,
    /// Bytes of the received frames.
    pub body_bytes: u64,
    /// Generation changes that the walk crossed.
    pub generations_crossed: u64,
    /// Whether Draft was rebased; `false` if the remote had nothing new.
    pub rebased: bool,
    /// Local transactions replayed on the remote's state.
    pub transactions_replayed: u64,
    /// Statements run to replay them: about one per changed row.
    pub statements_replayed: u64,
    /// Whether Synced's WAL was moved into its main file.
    pub checkpointed: bool,
    /// Conflicts between replayed changes and remote changes.
    pub conflicts: Conflicts,
    /// Whether the operation first had to finish an interrupted or failed one.
    pub recovered: bool,
    /// Whether Draft's WAL was moved into its main file.
    pub compacted: bool,
    /// The reason why Synced was replaced by a new export; `None` if it was not.
    pub rebootstrapped: Option<RebootstrapReason>,
    /// Local transactions that the remote had acknowledged and then lost in a restore, and that are no longer
    /// in the change log. Includes those of earlier operations that could not report them, because they failed or
    /// the process ended. A process that ends right after its last report reports them again.
    pub transactions_forgotten: u64,
}

/// The report of a push.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct PushReport {
    /// Local transactions that the remote acknowledged during this push.
    pub transactions: u64,
    /// Statements sent for these transactions.
    pub statements: u64,
    /// Requests sent.
    pub requests: u64,
    /// Bytes of the request bodies.
    pub sent_bytes: u64,
    /// Frames of local transactions sent; 0 if they were sent as statements.
    pub frames_sent: u64,
    /// Remote frames received before the push could decide what to send.
    pub frames: u64,
    /// Bytes of the received frames.
    pub body_bytes: u64,
    /// Generation changes that the walk crossed.
    pub generations_crossed: u64,
    /// Conflicts between sent changes and remote changes.
    pub conflicts: Conflicts,
    /// Whether the operation first had to finish an interrupted or failed one.
    pub recovered: bool,
    /// Change-log records read to decide what to send. The push reads the unacknowledged records; the first
    /// push after opening reads all records since the last rebase.
    pub change_records_read: u64,
    /// Schema changes that the next push will send. They were not made through the engine's connections, so
    /// they are not recorded yet, and they could not be recorded now because the application was writing.
    pub schema_changes_deferred: u64,
    /// The report of the pull that followed because the change log was long. The pull removed the
    /// acknowledged records from it.
    pub pull: Option<PullReport>,
    /// Whether Draft's WAL was moved into its main file.
    pub compacted: bool,
    /// The reason why Synced was replaced by a new export; `None` if it was not.
    pub rebootstrapped: Option<RebootstrapReason>,
    /// Whether Draft was rebased before anything was sent. This happens only after a re-bootstrap.
    pub rebased: bool,
    /// See [`PullReport::transactions_forgotten`]. 0 in a sync, where the report of the pull has them.
    pub transactions_forgotten: u64,
}

/// The report of a sync: a push, then a pull.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct SyncReport {
    /// The report of the push.
    pub push: PushReport,
    /// The report of the pull.
    pub pull: PullReport,
}
