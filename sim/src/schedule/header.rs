//! The options of a history.

use plimsoll_engine::HistoryChange;
use serde::{Deserialize, Serialize};

use super::{FORMAT, System};

/// The options of a history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[serde(deny_unknown_fields)]
pub struct Header {
    pub format: u32,
    #[serde(default, skip_serializing_if = "System::is_engine")]
    pub system: System,
    #[serde(default, skip_serializing_if = "Workload::is_tokens")]
    pub workload: Workload,
    /// The source of all values that must look random.
    pub key: u64,
    pub clients: u8,
    /// The number of frames per request of a pull.
    pub pull_batch_frames: u64,
    /// The maximum number of statements in one request of a push.
    pub push_batch_statements_max: usize,
    /// The form of a push's requests.
    #[serde(default)]
    pub push_mode: PushMode,
    /// The number of frames per request of a push that sends frames.
    #[serde(default = "Header::push_batch_frames_default")]
    pub push_batch_frames: u64,
    /// When Synced's WAL has this many frames, a pull moves them into the main file.
    pub synced_wal_frames_max: u64,
    /// When Draft's WAL has this many frames, the engine moves them into the main file.
    #[serde(default = "draft_wal_frames_max_default")]
    pub draft_wal_frames_max: u64,
    /// When the change log has this many records, a push also pulls.
    #[serde(default = "change_log_records_max_default")]
    pub change_log_records_max: u64,
    /// The number of bytes per chunk of a response's body.
    pub chunk_bytes: usize,
    /// Whether responses have a `Content-Length` header.
    #[serde(default = "yes")]
    pub content_length: bool,
    /// Whether the remote's `/info` has a history id.
    #[serde(default = "yes")]
    pub remote_names_history: bool,
    /// Whether the remote's responses prove which log they are from.
    #[serde(default)]
    pub remote_sends_proofs: bool,
    /// Whether the frames that the remote sends have salts and checksums. Otherwise these are zero, and the
    /// remote sends no proofs either.
    #[serde(default = "yes")]
    pub remote_sends_checksums: bool,
    /// Whether the application wants to be asked before a client follows a remote with another log. It is asked
    /// through an error, and then requests a re-bootstrap.
    #[serde(default)]
    pub asks_before_following: bool,
}

fn yes() -> bool {
    true
}

/// What the applications work with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[serde(rename_all = "snake_case")]
pub enum Workload {
    /// The tables of [`workload`](super::workload), whose rows carry tokens. The ledger knows what has to be in them.
    #[default]
    Tokens,
    /// Those tables, and others that programs create.
    TokensAndPrograms,
    /// Only tables that programs create. The remote's database is empty at the beginning.
    Programs,
}

impl Workload {
    fn is_tokens(&self) -> bool {
        *self == Self::Tokens
    }

    /// Whether the remote begins with the tables whose rows carry tokens.
    pub fn has_tokens(self) -> bool {
        self != Self::Programs
    }

    /// Whether the contents of all tables are judged.
    pub fn has_programs(self) -> bool {
        self != Self::Tokens
    }
}

/// The form of a push's requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[serde(rename_all = "snake_case")]
pub enum PushMode {
    /// SQL statements.
    #[default]
    Statements,
    /// Frames of Synced.
    Frames,
}

impl From<PushMode> for plimsoll_engine::PushMode {
    fn from(mode: PushMode) -> Self {
        match mode {
            PushMode::Statements => Self::Statements,
            PushMode::Frames => Self::Frames,
        }
    }
}

fn draft_wal_frames_max_default() -> u64 {
    1000
}

fn change_log_records_max_default() -> u64 {
    1000
}

impl Header {
    fn push_batch_frames_default() -> u64 {
        256
    }

    /// Whether the remote's responses prove which log they are from.
    pub fn has_proofs(&self) -> bool {
        self.remote_sends_proofs && self.remote_sends_checksums
    }

    /// The engine's options for a client of this history.
    pub fn options(&self, client_name: String) -> plimsoll_engine::Options {
        let history_change =
            if self.asks_before_following { HistoryChange::Ask } else { HistoryChange::Follow };
        plimsoll_engine::Options::new(client_name)
            .history_change(history_change)
            .pull_batch_frames(self.pull_batch_frames)
            .push_batch_statements_max(self.push_batch_statements_max)
            .push_mode(self.push_mode.into())
            .push_batch_frames(self.push_batch_frames)
            .synced_wal_frames_max(self.synced_wal_frames_max)
            .draft_wal_frames_max(self.draft_wal_frames_max)
            .change_log_records_max(self.change_log_records_max)
    }

    /// A header with ordinary values: none of the limits is tiny.
    pub fn new(key: u64) -> Self {
        Self {
            format: FORMAT,
            system: System::Engine,
            workload: Workload::Tokens,
            key,
            clients: 2,
            pull_batch_frames: 64,
            push_batch_statements_max: 1000,
            push_mode: PushMode::Statements,
            push_batch_frames: Self::push_batch_frames_default(),
            synced_wal_frames_max: 1000,
            draft_wal_frames_max: draft_wal_frames_max_default(),
            change_log_records_max: change_log_records_max_default(),
            chunk_bytes: 16 << 10,
            content_length: true,
            remote_names_history: true,
            remote_sends_proofs: true,
            remote_sends_checksums: true,
            asks_before_following: false,
        }
    }
}
