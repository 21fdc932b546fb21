//! The schedule: plain data that says everything about one history.
//!
//! A fault names its place by meaning ("the 2nd sync of synced-wal in this step"), and what looks random while running is a
//! hash of the header's key and the step's id, so that deleting a step leaves the meaning of the others alone.
//!
//! | module | holds |
//! |---|---|
//! | `moment` | the moments inside an operation when others act |
//! | `file` | the file format, its comments, and what is wrong with a file that is none |
//! | `words` | steps and faults in English |

mod file;
mod moment;
mod words;

pub use file::{Comments, ScheduleError};
pub use moment::{EngineEvent, Wait};
pub(crate) use words::Ordinal;

use arbitrary::Arbitrary;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::disk::{CrashKind, CrashPoint, DiskError, FileClass, SECTOR_BYTES};
use crate::network::{NetworkFault, RequestPlace};
use crate::workload::Write;

/// The version of the file format that this simulator writes and reads.
pub const FORMAT: u32 = 1;

/// One history, before it has run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// What holds for the whole history.
    pub header: Header,
    /// What happens, in order.
    pub steps: Vec<Step>,
    /// What its file says to human readers.
    #[serde(default)]
    pub comments: Comments,
}

impl Schedule {
    /// A schedule without comments.
    pub fn new(header: Header, steps: Vec<Step>) -> Self {
        Self { header, steps, comments: Comments::default() }
    }

    /// Its steps, and those inside them.
    pub fn all_steps(&self) -> Vec<&Step> {
        self.steps.iter().flat_map(Step::all).collect()
    }

    /// The step with an id, wherever it stands.
    pub fn step_mut(&mut self, id: u32) -> Option<&mut Step> {
        self.steps.iter_mut().find_map(|step| step.find_mut(id))
    }

    /// How many faults its steps have.
    pub fn fault_count(&self) -> usize {
        self.all_steps().iter().map(|step| step.faults.len()).sum()
    }
}

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

/// One thing that happens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Arbitrary)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Its name for life: tokens and whatever looks random derive from it. Unique in the schedule.
    pub id: u32,
    /// What is done.
    pub action: Action,
    /// What strikes while it is done.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<Fault>,
    /// What others do while it is done.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub during: Vec<During>,
}

impl Step {
    /// A step that nothing strikes or interrupts.
    pub fn new(id: u32, action: Action) -> Self {
        Self { id, action, faults: Vec::new(), during: Vec::new() }
    }

    fn find_mut(&mut self, id: u32) -> Option<&mut Self> {
        if self.id == id {
            return Some(self);
        }
        self.during.iter_mut().find_map(|during| during.step.find_mut(id))
    }

    /// This step and those that it carries.
    pub fn all(&self) -> Vec<&Self> {
        let carried = self.during.iter().flat_map(|during| during.step.all());
        std::iter::once(self).chain(carried).collect()
    }
}

/// A step that happens inside another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Arbitrary)]
#[serde(deny_unknown_fields)]
pub struct During {
    /// When.
    pub at: Wait,
    /// What.
    pub step: Step,
}

/// What a step does. A step of a client whose process is not running starts it first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Arbitrary)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Action {
    /// The application commits or rolls back a transaction.
    Transaction {
        /// The client, from 0.
        client: u8,
        /// What it writes, after a first row of `log` that every transaction writes.
        writes: Vec<Write>,
        /// How it ends.
        end: TransactionEnd,
    },
    /// The application ends the transaction that it has held open, if it has.
    EndTransaction {
        /// The client, from 0.
        client: u8,
        /// How.
        end: TransactionEnd,
    },
    /// The application begins to read, and goes on later: it keeps a snapshot, and a cursor in it.
    OpenReader {
        /// The client, from 0.
        client: u8,
    },
    /// The application reads to the end what it began to read, and has to see what it saw.
    CloseReader {
        /// The client, from 0.
        client: u8,
    },
    /// The client pulls.
    Pull {
        /// The client, from 0.
        client: u8,
    },
    /// The client pushes.
    Push {
        /// The client, from 0.
        client: u8,
    },
    /// The client pushes, then pulls.
    Sync {
        /// The client, from 0.
        client: u8,
    },
    /// The client's process ends in good order.
    Close {
        /// The client, from 0.
        client: u8,
    },
    /// The client's machine or process goes down between two operations.
    Crash {
        /// The client, from 0.
        client: u8,
        /// How.
        kind: CrashKind,
    },
    /// Another writer commits a transaction on the remote.
    RemoteTransaction {
        /// What it writes, after a first row of `log` that every transaction writes.
        writes: Vec<Write>,
    },
    /// The remote ends its generation.
    RemoteCheckpoint,
    /// The remote's server ends and starts again. Answers that are on their way arrive.
    RemoteRestart,
    /// The remote's machine goes down and is started again. Answers that are on their way are lost.
    RemoteCrash {
        /// How.
        kind: CrashKind,
    },
    /// The remote no longer serves any generation but the current one.
    RemotePrune,
    /// The remote is restored to an older state: to the end of a transaction, or as close to it as there is something.
    RemoteRestore {
        /// So many generations before the current one.
        generations_back: u8,
        /// So many transactions before the end of that generation.
        transactions_back: u8,
    },
    /// The client's process is killed, and its directory becomes what it was at the end of an earlier step. Nothing happens if an older copy
    /// of it has been adopted since.
    RestoreDirectory {
        /// The client, from 0.
        client: u8,
        /// The step's id.
        to_step: u32,
    },
    /// The client's process is killed, and one of its files is gone.
    LoseFile {
        /// The client, from 0.
        client: u8,
        /// Which.
        file: FileClass,
    },
    /// Bytes of one of the client's files go bad while nobody looks; its process is killed before if it runs. Only such bytes as the
    /// metadata names; when there are none, nothing happens.
    Rot {
        /// The client, from 0.
        client: u8,
        /// The file's role.
        file: FileClass,
        /// A byte that goes bad, counted on from the beginning where the bytes end.
        offset: u32,
        /// What becomes of it.
        damage: Damage,
    },
}

impl Action {
    /// The client that acts, if one does.
    pub fn client(&self) -> Option<u8> {
        match *self {
            Self::Transaction { client, .. }
            | Self::EndTransaction { client, .. }
            | Self::OpenReader { client }
            | Self::CloseReader { client }
            | Self::Pull { client }
            | Self::Push { client }
            | Self::Sync { client }
            | Self::Close { client }
            | Self::Crash { client, .. }
            | Self::RestoreDirectory { client, .. }
            | Self::LoseFile { client, .. }
            | Self::Rot { client, .. } => Some(client),
            Self::RemoteTransaction { .. }
            | Self::RemoteCheckpoint
            | Self::RemoteRestart
            | Self::RemoteCrash { .. }
            | Self::RemotePrune
            | Self::RemoteRestore { .. } => None,
        }
    }

    /// The number of the client that acts, to be changed.
    pub fn client_mut(&mut self) -> Option<&mut u8> {
        match self {
            Self::Transaction { client, .. }
            | Self::EndTransaction { client, .. }
            | Self::OpenReader { client }
            | Self::CloseReader { client }
            | Self::Pull { client }
            | Self::Push { client }
            | Self::Sync { client }
            | Self::Close { client }
            | Self::Crash { client, .. }
            | Self::RestoreDirectory { client, .. }
            | Self::LoseFile { client, .. }
            | Self::Rot { client, .. } => Some(client),
            Self::RemoteTransaction { .. }
            | Self::RemoteCheckpoint
            | Self::RemoteRestart
            | Self::RemoteCrash { .. }
            | Self::RemotePrune
            | Self::RemoteRestore { .. } => None,
        }
    }

    /// Its kind in one word, as it stands in traces and messages.
    pub fn verb(&self) -> &'static str {
        match self {
            Self::Transaction { .. } => "transaction",
            Self::EndTransaction { .. } => "end of transaction",
            Self::OpenReader { .. } => "open reader",
            Self::CloseReader { .. } => "close reader",
            Self::Pull { .. } => "pull",
            Self::Push { .. } => "push",
            Self::Sync { .. } => "sync",
            Self::Close { .. } => "close",
            Self::Crash { .. } => "crash",
            Self::RemoteTransaction { .. } => "remote transaction",
            Self::RemoteCheckpoint => "remote checkpoint",
            Self::RemoteRestart => "remote restart",
            Self::RemoteCrash { .. } => "remote crash",
            Self::RemotePrune => "remote prune",
            Self::RemoteRestore { .. } => "remote restore",
            Self::RestoreDirectory { .. } => "restore directory",
            Self::LoseFile { .. } => "lose file",
            Self::Rot { .. } => "rot",
        }
    }
}

/// How bytes go bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Arbitrary)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Damage {
    /// This bit of the byte flips, of eight.
    Bit(u8),
    /// Its whole sector is another.
    Sector {
        /// Which.
        key: u64,
    },
}

impl Damage {
    /// What stands where in a file afterwards, if it strikes at the byte at `offset`.
    ///
    /// # Panics
    /// If there is no such byte.
    pub fn of(self, content: &[u8], offset: usize) -> (usize, Vec<u8>) {
        match self {
            Self::Bit(bit) => (offset, vec![content[offset] ^ 1 << (bit % 8)]),
            Self::Sector { key } => {
                let start = offset - offset % SECTOR_BYTES as usize;
                let end = content.len().min(start + SECTOR_BYTES as usize);
                let hash = |at: usize| xxh3_64_with_seed(&at.to_le_bytes(), key) as u8;
                // The byte itself changes whatever the key.
                let rot = |at: usize| if at == offset { hash(at) | 1 } else { hash(at) };
                (start, (start..end).map(|at| content[at] ^ rot(at)).collect())
            }
        }
    }
}

/// How an application's transaction ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Arbitrary)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum TransactionEnd {
    /// With COMMIT.
    Commit,
    /// With ROLLBACK.
    Rollback,
    /// Not yet: it stays open until a step ends it, or its process ends.
    HeldOpen,
}

/// What strikes during a step. A fault whose place is never reached is noted and does nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Arbitrary)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// The client's machine or process goes down at a file operation.
    Crash(CrashPoint),
    /// The client's machine or process goes down while the engine is suspended.
    CrashSuspended {
        /// The how-manieth suspension of the step, from 1.
        nth: u32,
        /// How it goes down.
        kind: CrashKind,
    },
    /// The application gives an operation up while the engine is suspended; its process lives on.
    Abandon {
        /// The how-manieth suspension of the step, from 1.
        nth: u32,
        /// Whether a request that is under way then arrives all the same.
        arrives: bool,
    },
    /// An operation on a file fails.
    Disk(DiskError),
    /// Something becomes of a request or of its answer.
    Network {
        /// The request.
        at: RequestPlace,
        /// What becomes of it.
        fault: NetworkFault,
    },
}

impl Fault {
    /// How the client goes down, if it does.
    pub fn crash_kind(&self) -> Option<&CrashKind> {
        match self {
            Self::Crash(point) => Some(&point.kind),
            Self::CrashSuspended { kind, .. } => Some(kind),
            Self::Abandon { .. } | Self::Disk(_) | Self::Network { .. } => None,
        }
    }
}
