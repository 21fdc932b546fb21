//! The actions of a history of the archive behind `plimsoll serve`, and the options of its server.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The system whose history it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum System {
    /// The sync engine: clients, a network, and a remote.
    #[default]
    Engine,
    /// The directory of a served remote. The machine on which it is stored has the faults. Steps of clients do nothing.
    Archive {
        /// The number of frames after which a generation ends.
        generation_frames_max: u64,
        /// The number of generations to keep; 0 keeps all.
        keep_generations: u64,
    },
}

impl System {
    pub fn is_engine(&self) -> bool {
        *self == Self::Engine
    }
}

/// An action on the directory of a served remote. In a history of the engine it does nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ArchiveAction {
    /// A client commits a transaction with SQL over HTTP: rows with a payload.
    Write { rows: u8, payload_bytes: u16 },
    /// A client fetches every generation that is served.
    Fetch,
    /// An operator copies the directory of the running server with `plimsoll backup`.
    Backup,
    /// An operator replaces the directory by the last backup, as with `cp`, while no server runs.
    RestoreBackup,
    /// An operator begins with another database in a new directory, with `plimsoll serve --import`.
    Import { rows: u8, payload_bytes: u16 },
    /// The directory is one from before there were manifests, if it has all generations.
    Adopt,
    /// Another program moves the WAL into the main file and removes it, while no server runs.
    MoveWal,
    /// One of the directory's files is removed while no server runs, and put back after the next start.
    Lose {
        /// The number of the file in alphabetical order, modulo their count.
        file: u8,
        /// Another file that is missing as well.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        second: Option<u8>,
    },
    /// Bytes of one of the directory's files change while no server runs, and change back after the next start.
    Change {
        /// The number of the file in alphabetical order, modulo their count.
        file: u8,
        /// The position, modulo the file's length.
        offset: u32,
    },
    /// A file that does not belong to the archive appears while no server runs, with a name that it may need.
    AddForeign {
        /// The number of generations after the current one.
        ahead: u8,
        /// Whether it has the name of a snapshot or that of a log.
        is_snapshot: bool,
    },
}

impl fmt::Display for ArchiveAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Write { rows, payload_bytes } => {
                write!(f, "a client commits {rows} rows of {payload_bytes} bytes on the remote")
            }
            Self::Fetch => write!(f, "a client fetches all generations of the remote"),
            Self::Backup => write!(f, "the remote's directory is backed up"),
            Self::RestoreBackup => write!(f, "the remote's directory is restored from the backup"),
            Self::Import { rows, payload_bytes } => {
                write!(f, "a database with {rows} rows of {payload_bytes} bytes is imported as the remote")
            }
            Self::Adopt => write!(f, "the remote's directory has no manifest, as before there were any"),
            Self::MoveWal => write!(f, "another program moves the remote's WAL"),
            Self::Lose { file, second: None } => {
                write!(f, "file {file} of the remote's directory is missing")
            }
            Self::Lose { file, second: Some(second) } => {
                write!(f, "files {file} and {second} of the remote's directory are missing")
            }
            Self::Change { file, offset } => {
                write!(f, "byte {offset} of file {file} of the remote's directory is changed")
            }
            Self::AddForeign { ahead, is_snapshot } => {
                let kind = if *is_snapshot { "snapshot" } else { "log" };
                write!(f, "a foreign {kind} for {ahead} generations ahead is in the remote's directory")
            }
        }
    }
}
