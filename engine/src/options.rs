//! [`Options`]: how an engine works, as its application sets it at opening.

use crate::progress::{Progress, ProgressListener};

/// How an engine works.
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
    pub(crate) busy_timeout_ms: u64,
    pub(crate) on_progress: ProgressListener,
}

impl Options {
    /// The defaults, for a client of this name. The name is only used at bootstrap, as the readable part of the client's identity.
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
            busy_timeout_ms: 0,
            on_progress: ProgressListener::default(),
        }
    }

    /// How many frames one request of a pull asks for; at least 1, by default 256.
    pub fn pull_batch_frames(mut self, frames: u64) -> Self {
        self.pull_batch_frames = frames.max(1);
        self
    }

    /// In which form local transactions go to the remote; by default [`PushMode::Statements`].
    pub fn push_mode(mut self, mode: PushMode) -> Self {
        self.push_mode = mode;
        self
    }

    /// How many statements a push makes one transaction of on the remote, unless a single local transaction has more; at least
    /// 1, by default 1000.
    pub fn push_batch_statements_max(mut self, statements: usize) -> Self {
        self.push_batch_statements_max = statements.max(1);
        self
    }

    /// How many frames one request of a push in [`PushMode::Frames`] holds; at least 1, by default 256.
    pub fn push_batch_frames(mut self, frames: u64) -> Self {
        self.push_batch_frames = frames.max(1);
        self
    }

    /// How many frames Synced's WAL may hold before a pull moves them into its main file; at least 1, by default 1000.
    pub fn synced_wal_frames_max(mut self, frames: u64) -> Self {
        self.synced_wal_frames_max = frames.max(1);
        self
    }

    /// How many frames Draft's WAL may hold before a pull or a push moves them into its main file; at least 1, by default 1000. An
    /// application that holds a read transaction open delays it.
    pub fn draft_wal_frames_max(mut self, frames: u64) -> Self {
        self.draft_wal_frames_max = frames.max(1);
        self
    }

    /// How many records the change log may hold before a push pulls as well, after which only what is unacknowledged is left in it; by
    /// default 1000.
    pub fn change_log_records_max(mut self, records: u64) -> Self {
        self.change_log_records_max = records;
        self
    }

    /// How long a statement of an application waits while a rebase, or another connection, holds the write lock, in milliseconds; by
    /// default 0: it gets [`Error::Busy`](crate::Error::Busy) at once. Waiting blocks the thread, so it is for applications whose
    /// operations of the engine run on another one; the time is that of the `IO`.
    pub fn busy_timeout_ms(mut self, milliseconds: u64) -> Self {
        self.busy_timeout_ms = milliseconds;
        self
    }

    /// Calls `listener` whenever a bootstrap or a pull has come further. It is called between two suspensions of the operation and
    /// should be quick.
    pub fn on_progress(mut self, listener: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        self.on_progress = ProgressListener::new(listener);
        self
    }
}

/// In which form local transactions go to the remote. The same statements are replayed either way, under the same conflict policy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PushMode {
    /// As SQL, which the remote runs: one conditional batch to `/v2/pipeline`. Other writers may have moved the remote on
    /// meanwhile, as long as this client's acknowledgement row is the one that was read.
    #[default]
    Statements,
    /// As pages: the statements run on Synced, and the frames that this leaves in its WAL go to `/sync`. The remote runs no SQL, and the
    /// frames need not come back with the next pull; but any other writer that is faster makes the push start over. What ties the frames
    /// to the remote's history is the newest frame of it: while Synced's WAL has none, because the generation is young or the WAL was
    /// checkpointed, a push goes as [`Statements`](Self::Statements).
    Frames,
}
