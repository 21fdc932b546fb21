//! Steps, and what each does.

use arbitrary::Arbitrary;
use serde::{Deserialize, Serialize};

use super::Wait;
use super::workload::Write;
use crate::fault::{CrashKind, Damage, Fault, FileClass};

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

    pub(super) fn find_mut(&mut self, id: u32) -> Option<&mut Self> {
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
