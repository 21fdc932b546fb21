//! Options that hold for a whole history.

use arbitrary::Arbitrary;
use serde::{Deserialize, Serialize};

use super::FORMAT;

/// What holds for the whole history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Arbitrary)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// Version of the file format.
    pub format: u32,
    /// What everything that must look random is derived from.
    pub key: u64,
    /// Number of clients.
    pub clients: u8,
    /// Frames that one request of a pull asks for.
    pub pull_batch_frames: u64,
    /// Statements that one request of a push holds at most.
    pub push_batch_statements_max: usize,
    /// In which form pushes go out.
    #[serde(default)]
    pub push_mode: PushMode,
    /// Frames that one request of a push in frames holds.
    #[serde(default = "Header::push_batch_frames_default")]
    pub push_batch_frames: u64,
    /// Frames in Synced's WAL from which on a pull moves them into the main file.
    pub synced_wal_frames_max: u64,
    /// Frames in Draft's WAL from which on it is moved into the main file.
    #[serde(default = "draft_wal_frames_max_default")]
    pub draft_wal_frames_max: u64,
    /// Records of the change log from which on a push pulls as well.
    #[serde(default = "change_log_records_max_default")]
    pub change_log_records_max: u64,
    /// Bytes of one chunk of a response's body.
    pub chunk_bytes: usize,
    /// Whether answers say how long their bodies are.
    #[serde(default = "yes")]
    pub content_length: bool,
    /// Whether the remote's `/info` has a history id.
    #[serde(default = "yes")]
    pub remote_names_history: bool,
}

fn yes() -> bool {
    true
}

/// In which form the clients push.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, Arbitrary)]
#[serde(rename_all = "snake_case")]
pub enum PushMode {
    /// As SQL.
    #[default]
    Statements,
    /// As frames of Synced's.
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

    /// The engine's options for a client of this history.
    pub fn options(&self, client_name: String) -> plimsoll_engine::Options {
        plimsoll_engine::Options::new(client_name)
            .pull_batch_frames(self.pull_batch_frames)
            .push_batch_statements_max(self.push_batch_statements_max)
            .push_mode(self.push_mode.into())
            .push_batch_frames(self.push_batch_frames)
            .synced_wal_frames_max(self.synced_wal_frames_max)
            .draft_wal_frames_max(self.draft_wal_frames_max)
            .change_log_records_max(self.change_log_records_max)
    }

    /// Sensible values, with nothing tiny in them.
    pub fn new(key: u64) -> Self {
        Self {
            format: FORMAT,
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
        }
    }
}
