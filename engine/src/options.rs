//! [`Options`]: the settings that an application chooses when it opens the engine.

use crate::progress::{Progress, ProgressListener};

/// The settings of an engine.
#[derive(Debug, Clone)]
pub struct Options {
    pub(crate) client_name: String,
    pub(crate) pull_batch_frames: u64,
    pub(crate) push_mode: PushMode,
    pub(crate) push_batch_statements_max: usize,
    pub(crate) push_batch_frames: u64,
    pub(crate) synced_wal_frames_max: u64,
    pub(crate) draft_wal_frames_max: u64,
    pub(crate) change_log_records_max: u64,
    pub(crate) operation_bytes_max: u64,
    pub(crate) operation_seconds_max: u64,
    pub(crate) busy_timeout_ms: u64,
    pub(crate) history_change: HistoryChange,
    pub(crate) on_progress: ProgressListener,
}

impl Options {
    /// The defaults. `client_name` becomes the readable part of the client's identity; it is used only at
    /// bootstrap.
    pub fn new(client_name: impl Into<String>) -> Self {
        Self {
            client_name: client_name.into(),
            pull_batch_frames: 256,
            push_mode: PushMode::default(),
            push_batch_statements_max: 1000,
            push_batch_frames: 256,
            synced_wal_frames_max: 1000,
            draft_wal_frames_max: 1000,
            change_log_records_max: 1000,
            operation_bytes_max: 16 << 30,
            operation_seconds_max: 6 * 60 * 60,
            busy_timeout_ms: 0,
            history_change: HistoryChange::default(),
            on_progress: ProgressListener::default(),
        }
    }

    /// Frames per request of a pull. At least 1; default 256.
    pub fn pull_batch_frames(mut self, frames: u64) -> Self {
        self.pull_batch_frames = frames.max(1);
        self
    }

    /// The form in which local transactions are sent to the remote. Default: [`PushMode::Statements`].
    pub fn push_mode(mut self, mode: PushMode) -> Self {
        self.push_mode = mode;
        self
    }

    /// The maximum number of statements that a push combines into one transaction on the remote. A single
    /// local transaction with more statements is still sent whole. At least 1; default 1000.
    pub fn push_batch_statements_max(mut self, statements: usize) -> Self {
        self.push_batch_statements_max = statements.max(1);
        self
    }

    /// Frames per request of a push in [`PushMode::Frames`]. At least 1; default 256.
    pub fn push_batch_frames(mut self, frames: u64) -> Self {
        self.push_batch_frames = frames.max(1);
        self
    }

    /// The number of frames in Synced's WAL at which a pull moves them into the main file. At least 1;
    /// default 1000.
    pub fn synced_wal_frames_max(mut self, frames: u64) -> Self {
        self.synced_wal_frames_max = frames.max(1);
        self
    }

    /// The number of frames in Draft's WAL at which a pull or a push moves them into the main file. At least
    /// 1; default 1000. An application that holds a read transaction open delays the move.
    pub fn draft_wal_frames_max(mut self, frames: u64) -> Self {
        self.draft_wal_frames_max = frames.max(1);
        self
    }

    /// The number of records in the change log above which a push also pulls. Afterwards only unacknowledged
    /// records are left in the log. Default 1000.
    pub fn change_log_records_max(mut self, records: u64) -> Self {
        self.change_log_records_max = records;
        self
    }

    /// The maximum number of bytes that one operation receives from the server, bodies only; default 16 GiB. A
    /// larger database needs a larger number for its first use. An operation that reaches the limit fails with
    /// [`Error::TooManyBytes`](crate::Error::TooManyBytes).
    pub fn operation_bytes_max(mut self, bytes: u64) -> Self {
        self.operation_bytes_max = bytes;
        self
    }

    /// The maximum time of one operation, in seconds of the `IO`'s clock; default 6 hours. It is checked when
    /// the server answers. An operation that reaches the limit fails with
    /// [`Error::TookTooLong`](crate::Error::TookTooLong).
    pub fn operation_seconds_max(mut self, seconds: u64) -> Self {
        self.operation_seconds_max = seconds;
        self
    }

    /// How long an application's statement waits for the write lock while a rebase or another connection
    /// holds it, in milliseconds of the `IO`'s clock. With the default, 0, it fails with
    /// [`Error::Busy`](crate::Error::Busy) immediately. Waiting blocks the thread, so use this only if the
    /// engine's operations run on another thread.
    pub fn busy_timeout_ms(mut self, milliseconds: u64) -> Self {
        self.busy_timeout_ms = milliseconds;
        self
    }

    /// What to do when the server has another log than before, for example because it was restored from a backup.
    /// Default: [`HistoryChange::Follow`].
    pub fn history_change(mut self, reaction: HistoryChange) -> Self {
        self.history_change = reaction;
        self
    }

    /// Calls `listener` whenever a bootstrap or a pull makes progress. The call happens between two
    /// suspensions of the operation, so it should return quickly.
    pub fn on_progress(mut self, listener: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        self.on_progress = ProgressListener::new(listener);
        self
    }
}

/// The reaction to a server whose log no longer contains what this client has received.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum HistoryChange {
    /// Re-bootstrap. Transactions that the server has lost, and that the change log still holds, are sent again.
    /// A server that shares nothing with the local database is refused all the same, with
    /// [`Error::UnrelatedServer`](crate::Error::UnrelatedServer).
    #[default]
    Follow,
    /// Fail with [`Error::HistoryChanged`](crate::Error::HistoryChanged), until the application calls
    /// [`SyncEngine::rebootstrap`](crate::SyncEngine::rebootstrap) or the server has its old log again.
    Ask,
}

/// The form in which local transactions are sent to the remote. Both forms replay the same statements under
/// the same conflict policy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PushMode {
    /// As SQL that the remote runs: one conditional batch to `/v2/pipeline`. Other writers may change the
    /// remote in the meantime, as long as this client's acknowledgement row has not changed since it was
    /// read.
    #[default]
    Statements,
    /// As pages: the statements run on Synced, and the resulting frames of its WAL are sent to `/sync`. The
    /// remote runs no SQL, and the frames do not come back with the next pull. If another writer is faster,
    /// the push starts over. The newest remote frame ties the frames to the remote's log. While Synced's WAL
    /// holds no remote frame, because the generation is new or the WAL was checkpointed, a push uses
    /// [`Statements`](Self::Statements).
    Frames,
}
