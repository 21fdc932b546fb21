//! Steps and their actions.

use serde::{Deserialize, Serialize};
use strum::{EnumDiscriminants, IntoStaticStr};

use super::workload::Write;
use super::{ArchiveAction, Wait};
use crate::fault::{CrashKind, Damage, Fault, FileClass, Route};

/// One step of a schedule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// A unique number, which stays the same when other steps are deleted. The tokens of the step's writes
    /// and all values that must look random are derived from it.
    pub id: u32,
    pub action: Action,
    /// The faults to inject during the action.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<Fault>,
    /// The steps that run during the action.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub during: Vec<During>,
}

impl Step {
    /// A step without faults and without steps inside it.
    pub fn new(id: u32, action: Action) -> Self {
        Self { id, action, faults: Vec::new(), during: Vec::new() }
    }

    pub(super) fn find_mut(&mut self, id: u32) -> Option<&mut Self> {
        if self.id == id {
            return Some(self);
        }
        self.during.iter_mut().find_map(|during| during.step.find_mut(id))
    }

    /// This step and the steps inside it.
    pub fn all(&self) -> Vec<&Self> {
        let carried = self.during.iter().flat_map(|during| during.step.all());
        std::iter::once(self).chain(carried).collect()
    }
}

/// A step that runs inside another one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[serde(deny_unknown_fields)]
pub struct During {
    /// The moment when it runs.
    pub at: Wait,
    pub step: Step,
}

/// The action of a step. If the client's process is not running, the step starts it first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, EnumDiscriminants)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[strum_discriminants(name(ActionKind), derive(IntoStaticStr), strum(serialize_all = "snake_case"))]
pub enum Action {
    /// The application runs a transaction.
    Transaction {
        /// The client's number, from 0.
        client: u8,
        /// The transaction's writes. Unless the first one is `quiet` or `void`, the simulator inserts a row
        /// into `log` before them.
        writes: Vec<Write>,
        /// How the transaction ends.
        end: TransactionEnd,
    },
    /// The application ends the transaction that it holds open, if there is one.
    EndTransaction {
        /// The client's number, from 0.
        client: u8,
        /// How the transaction ends.
        end: TransactionEnd,
    },
    /// The application opens a reader and keeps it open. A reader has a snapshot, and a cursor in it.
    OpenReader {
        /// The client's number, from 0.
        client: u8,
    },
    /// The application reads its open reader to the end. It must see the content of its snapshot.
    CloseReader {
        /// The client's number, from 0.
        client: u8,
    },
    /// The client's process opens its database, if it is not running.
    Open {
        /// The client's number, from 0.
        client: u8,
    },
    /// The client's application runs SQL, one statement after the other. A statement may fail; then the next one
    /// follows. A transaction that the statements leave open stays open.
    Program {
        /// The client's number, from 0.
        client: u8,
        sql: Vec<String>,
    },
    /// Another writer runs SQL on the remote, all of it in one transaction. A statement may fail; then the next
    /// one follows.
    RemoteProgram { sql: Vec<String> },
    /// A query is run on a copy of the database, and its rows are recorded.
    Show {
        on: Copies,
        sql: String,
        /// The rows that each of the copies has to show, in order, as the timeline prints them. Without the field, any.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expect: Option<Vec<String>>,
    },
    /// All clients that are open sync until nothing moves. Then their copies and the remote must have the same schema
    /// and rows, and be intact.
    Compare,
    Pull {
        /// The client's number, from 0.
        client: u8,
    },
    Push {
        /// The client's number, from 0.
        client: u8,
    },
    /// The client pushes, then pulls.
    Sync {
        /// The client's number, from 0.
        client: u8,
    },
    /// A second process opens the database of a client whose process is running. It must be refused. If no
    /// process is running, the step does nothing.
    SecondProcess {
        /// The client's number, from 0.
        client: u8,
    },
    /// The application drops its engine, keeps a connection, and opens the database again. It must be refused, because
    /// the connection can still write. Then the process exits. If no process is running, the step does nothing.
    LeftoverConnection {
        /// The client's number, from 0.
        client: u8,
    },
    /// The client's process closes its database and exits.
    Close {
        /// The client's number, from 0.
        client: u8,
    },
    /// The client's machine or process crashes between two operations.
    Crash {
        /// The client's number, from 0.
        client: u8,
        /// The kind of the crash.
        kind: CrashKind,
    },
    /// Another writer commits a transaction on the remote.
    RemoteTransaction {
        /// The transaction's writes. Unless the first one is `quiet` or `void`, the simulator inserts a row
        /// into `log` before them.
        writes: Vec<Write>,
    },
    /// The remote starts a new generation.
    RemoteCheckpoint,
    /// The remote's server restarts. Responses that are on their way still arrive.
    RemoteRestart,
    /// The remote's machine crashes and restarts. Responses that are on their way are lost.
    RemoteCrash {
        /// The kind of the crash.
        kind: CrashKind,
    },
    /// The remote stops serving all generations except the current one.
    RemotePrune,
    /// The remote is restored to an older state: to the end of a transaction, or to the oldest state that it
    /// still has.
    RemoteRestore {
        /// The number of generations before the current one.
        generations_back: u8,
        /// The number of transactions before the end of that generation.
        transactions_back: u8,
        /// Whether the remote has the same history id as before, as after a copy of its files was put back.
        #[serde(default, skip_serializing_if = "is_no")]
        keeps_name: bool,
    },
    /// An action on the directory of a served remote.
    RemoteArchive(ArchiveAction),
    /// A second server starts on a copy of the remote's files, under the same address. From then on the two answer
    /// in turn, until one of them is shut down. If there are two already, the step does nothing.
    RemoteFork {
        /// How they take turns.
        alternates: Alternation,
    },
    /// One of the two servers is shut down.
    RemoteJoin {
        /// Whether the other one remains than the one whose turn it is.
        keeps_other: bool,
    },
    /// A cache keeps the answers to the remote's GET requests of a route from now on, and never asks again.
    RemoteCache { route: Route },
    /// The cache forgets all answers and stops.
    RemoteCacheExpires,
    /// The client syncs with a wrong server, whose database is empty.
    WrongServer {
        /// The client's number, from 0.
        client: u8,
        /// The number of syncs in a row.
        #[serde(default = "once", skip_serializing_if = "is_once")]
        times: u8,
        /// Whether the client's process restarts before each further sync.
        #[serde(default, skip_serializing_if = "is_no")]
        restarts: bool,
    },
    /// The client's process is killed, and its directory becomes what it was at the end of an earlier step.
    /// The step does nothing if the client has been adopted since then: the engine had refused an older copy
    /// of the directory, and the user had decided to continue with it as a new client.
    RestoreDirectory {
        /// The client's number, from 0.
        client: u8,
        /// The id of the earlier step.
        to_step: u32,
    },
    /// The client's process is killed, and one of its files is removed.
    LoseFile {
        /// The client's number, from 0.
        client: u8,
        /// The role of the file.
        file: FileClass,
    },
    /// Bit rot: bytes of one of the client's files change while its process is not running. A running process
    /// is killed first. The damage hits a byte that a checksum covers. If the file has no such byte, the step
    /// does nothing.
    Rot {
        /// The client's number, from 0.
        client: u8,
        /// The role of the file.
        file: FileClass,
        /// The position of the damaged byte, modulo the number of covered bytes at the start of the file.
        offset: u32,
        /// The damage to the bytes.
        damage: Damage,
    },
}

fn is_no(flag: &bool) -> bool {
    !flag
}

fn once() -> u8 {
    1
}

fn is_once(times: &u8) -> bool {
    *times == once()
}

impl Action {
    /// The number of the client that acts, if a client does.
    pub fn client(&self) -> Option<u8> {
        match *self {
            Self::Transaction { client, .. }
            | Self::EndTransaction { client, .. }
            | Self::OpenReader { client }
            | Self::CloseReader { client }
            | Self::Open { client }
            | Self::Program { client, .. }
            | Self::Show { on: Copies::Client(client), .. }
            | Self::Pull { client }
            | Self::Push { client }
            | Self::Sync { client }
            | Self::SecondProcess { client }
            | Self::LeftoverConnection { client }
            | Self::WrongServer { client, .. }
            | Self::Close { client }
            | Self::Crash { client, .. }
            | Self::RestoreDirectory { client, .. }
            | Self::LoseFile { client, .. }
            | Self::Rot { client, .. } => Some(client),
            Self::RemoteTransaction { .. }
            | Self::RemoteProgram { .. }
            | Self::Show { on: Copies::Remote | Copies::All, .. }
            | Self::Compare
            | Self::RemoteCheckpoint
            | Self::RemoteRestart
            | Self::RemoteCrash { .. }
            | Self::RemotePrune
            | Self::RemoteArchive(_)
            | Self::RemoteRestore { .. }
            | Self::RemoteFork { .. }
            | Self::RemoteJoin { .. }
            | Self::RemoteCache { .. }
            | Self::RemoteCacheExpires => None,
        }
    }

    /// The number of the client that acts, if a client does, as a reference that can change it.
    pub fn client_mut(&mut self) -> Option<&mut u8> {
        match self {
            Self::Transaction { client, .. }
            | Self::EndTransaction { client, .. }
            | Self::OpenReader { client }
            | Self::CloseReader { client }
            | Self::Open { client }
            | Self::Program { client, .. }
            | Self::Show { on: Copies::Client(client), .. }
            | Self::Pull { client }
            | Self::Push { client }
            | Self::Sync { client }
            | Self::SecondProcess { client }
            | Self::LeftoverConnection { client }
            | Self::WrongServer { client, .. }
            | Self::Close { client }
            | Self::Crash { client, .. }
            | Self::RestoreDirectory { client, .. }
            | Self::LoseFile { client, .. }
            | Self::Rot { client, .. } => Some(client),
            Self::RemoteTransaction { .. }
            | Self::RemoteProgram { .. }
            | Self::Show { on: Copies::Remote | Copies::All, .. }
            | Self::Compare
            | Self::RemoteCheckpoint
            | Self::RemoteRestart
            | Self::RemoteCrash { .. }
            | Self::RemotePrune
            | Self::RemoteArchive(_)
            | Self::RemoteRestore { .. }
            | Self::RemoteFork { .. }
            | Self::RemoteJoin { .. }
            | Self::RemoteCache { .. }
            | Self::RemoteCacheExpires => None,
        }
    }

    /// The kind of the action, without its parameters.
    pub fn kind(&self) -> ActionKind {
        self.into()
    }
}

impl ActionKind {
    /// The kind's word in the schedule file.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// Some copies of the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[serde(rename_all = "snake_case")]
pub enum Copies {
    /// The one of this client.
    Client(u8),
    Remote,
    /// Those of all clients that are open, and the remote.
    All,
}

/// How two servers under one address take turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[serde(rename_all = "snake_case")]
pub enum Alternation {
    /// Each request goes to the other one.
    Requests,
    /// Each step's requests go to the other one, as if each operation had its own connection.
    Operations,
}

/// How an application's transaction ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum TransactionEnd {
    Commit,
    Rollback,
    /// The transaction stays open until another step ends it or its process ends.
    HeldOpen,
}
