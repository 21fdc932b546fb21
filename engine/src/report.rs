//! What an operation did, for the application.

use crate::conflict::Conflicts;

/// Why Synced was replaced by a new export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RebootstrapReason {
    /// The server no longer has the generation that Synced had reached.
    GenerationPruned,
    /// The server was restored to an older state.
    HistoryChanged,
    /// Synced was missing, too short or rotten.
    ReplicaDamaged,
    /// The application asked for it.
    Requested,
}

impl RebootstrapReason {
    /// Its name, as it stands in events.
    pub fn name(self) -> &'static str {
        match self {
            Self::GenerationPruned => "generation_pruned",
            Self::HistoryChanged => "history_changed",
            Self::ReplicaDamaged => "replica_damaged",
            Self::Requested => "requested",
        }
    }
}

/// What a pull did.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct PullReport {
    /// Remote frames that arrived.
    pub frames: u64,
    /// Bytes of frames that arrived.
    pub body_bytes: u64,
    /// Generation changes that were passed.
    pub generations_crossed: u64,
    /// Whether Draft was rebased; `false` when the remote had nothing new.
    pub rebased: bool,
    /// Local transactions that were replayed on top of the remote's.
    pub transactions_replayed: u64,
    /// Statements that replayed them: about one a changed row.
    pub statements_replayed: u64,
    /// Whether Synced's WAL was moved into its main file.
    pub checkpointed: bool,
    /// Where replayed changes met changes of the remote's.
    pub conflicts: Conflicts,
    /// Whether it first had to finish what an interrupted or failed operation had left.
    pub recovered: bool,
    /// Whether Draft's WAL was moved into its main file.
    pub compacted: bool,
    /// Why Synced was replaced by a new export, if it was.
    pub rebootstrapped: Option<RebootstrapReason>,
    /// Local transactions that the remote had acknowledged, has forgotten since, and that are not on the change log any more.
    pub transactions_forgotten: u64,
}

/// What a push did.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct PushReport {
    /// Local transactions that the remote has acknowledged in this push.
    pub transactions: u64,
    /// Statements sent for them.
    pub statements: u64,
    /// Requests sent.
    pub requests: u64,
    /// Bytes of their bodies.
    pub sent_bytes: u64,
    /// Frames of local transactions that were sent; none when they went as statements.
    pub frames_sent: u64,
    /// Remote frames that arrived before it could be decided what to send.
    pub frames: u64,
    /// Bytes of them.
    pub body_bytes: u64,
    /// Generation changes that were passed.
    pub generations_crossed: u64,
    /// Where changes that were sent met changes of the remote's.
    pub conflicts: Conflicts,
    /// Whether it first had to finish what an interrupted or failed operation had left.
    pub recovered: bool,
    /// Records of the change log that were read to find out what to send: those of what is not acknowledged, and once after
    /// opening all since the last rebase.
    pub change_records_read: u64,
    /// Changes of the schema that the next push will send: they were made by another way than the engine's connections and are recorded
    /// nowhere yet, and an application was writing.
    pub schema_changes_deferred: u64,
    /// The pull that followed, because the change log had become long: what is acknowledged is gone from it now.
    pub pull: Option<PullReport>,
    /// Whether Draft's WAL was moved into its main file.
    pub compacted: bool,
    /// Why Synced was replaced by a new export, if it was.
    pub rebootstrapped: Option<RebootstrapReason>,
    /// Whether Draft was rebased before anything was sent; only after a re-bootstrap.
    pub rebased: bool,
    /// Local transactions that the remote had acknowledged, has forgotten since, and that are not on the change log any more.
    pub transactions_forgotten: u64,
}

/// What a sync did: a push, then a pull.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct SyncReport {
    /// The push.
    pub push: PushReport,
    /// The pull.
    pub pull: PullReport,
}
