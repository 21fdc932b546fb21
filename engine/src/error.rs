//! The engine's errors: one enum, each variant naming the operation and the file or request that it is about.
//!
//! No variant is a catch-all for text, and [`Error::is_retryable`] says whether trying the same again can help.

use std::fmt;

use turso_core::LimboError;

use crate::remote::RemoteError;

/// A result of the engine.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What was being done to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileOperation {
    /// Opening or creating it.
    Open,
    /// Reading from it.
    Read,
    /// Writing to it.
    Write,
    /// Making its content durable.
    Sync,
    /// Setting its length.
    Truncate,
    /// Replacing it by another file.
    Rename,
    /// Making its directory's entries durable.
    SyncDirectory,
}

impl fmt::Display for FileOperation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::Read => "read",
            Self::Write => "write",
            Self::Sync => "sync",
            Self::Truncate => "truncate",
            Self::Rename => "rename",
            Self::SyncDirectory => "sync the directory of",
        })
    }
}

/// What can go wrong in the engine.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file operation of the engine's own failed.
    #[error("could not {operation} {file}")]
    File {
        /// What was being done.
        operation: FileOperation,
        /// The file's path.
        file: String,
        /// Why it failed.
        source: LimboError,
    },
    /// A directory operation failed.
    #[error("could not {operation} {file}")]
    Directory {
        /// What was being done.
        operation: FileOperation,
        /// The file's path.
        file: String,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The core failed while working on a database.
    #[error("{action} failed on {file}")]
    Database {
        /// What the engine was doing.
        action: &'static str,
        /// The database's path.
        file: String,
        /// Why it failed.
        source: LimboError,
    },
    /// The application's statement would break what keeps the database in step; it was not run, and of a text with several
    /// statements nothing was, unless what is wrong only shows when its turn comes (a temporary table's name).
    #[error("refused to run `{statement}`: {reason}")]
    StatementRefused {
        /// The statement.
        statement: String,
        /// Why it may not run.
        reason: &'static str,
    },
    /// Something failed earlier after which the files may not be what this process believes; the engine has to be opened anew.
    #[error("an earlier failure makes it necessary to open the engine anew: {cause}")]
    Poisoned {
        /// What failed.
        cause: String,
    },
    /// Another connection is writing to Draft; nothing was changed.
    #[error("{file} is busy: another connection holds its write lock")]
    Busy {
        /// The database's path.
        file: String,
    },
    /// Another `pull`, `push` or `sync` of this engine has not ended yet.
    #[error("another operation of this engine is in progress")]
    OperationInProgress,
    /// The request did not reach the server, or its answer did not arrive whole. Whether it took effect is unknown.
    #[error("{request}: no whole answer")]
    Unreachable {
        /// Method and path.
        request: String,
        /// What the transport says.
        source: RemoteError,
    },
    /// The server answered with a status that the protocol does not give for this request. It can be retried unless the status says that
    /// the request itself is wrong, as 401 and 403 do.
    #[error("{request}: the server answered {status}: {detail}")]
    UnexpectedStatus {
        /// Method and path.
        request: String,
        /// The HTTP status.
        status: u16,
        /// The beginning of the answer's body.
        detail: String,
    },
    /// The server's answer contradicts the protocol, itself or what it said before.
    #[error("{request}: {problem}")]
    BadAnswer {
        /// Method and path.
        request: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The server says that its history no longer contains the point that this client has reached, and does not say so again when it is
    /// asked once more. Where it does, the engine re-bootstraps.
    #[error(
        "the remote went back: it is at generation {remote_generation}, frame {remote_frame_no}, this client had reached generation {local_generation}, frame {local_frame_no}"
    )]
    RemoteWentBack {
        /// The server's current generation.
        remote_generation: u64,
        /// The server's last frame.
        remote_frame_no: u64,
        /// The generation that Synced replicates.
        local_generation: u64,
        /// The last remote frame that Synced holds.
        local_frame_no: u64,
    },
    /// The remote was restored, or pruned, or the replica damaged, each time that the operation had taken up its history anew. The local
    /// transactions are kept; the next operation goes on from there.
    #[error("the remote had another history again after each of {rebootstraps} re-bootstraps")]
    HistoryUnsettled {
        /// How often one operation re-bootstrapped.
        rebootstraps: u32,
    },
    /// The remote refused a statement of a push; the whole request was rolled back. It can be retried when the statement was one of
    /// the frame around the local transactions (the remote was busy, say).
    #[error("the remote refused to run `{sql}`: {message}")]
    PushRefused {
        /// The number of the local transaction that the statement replays, if it does.
        transaction_no: Option<u64>,
        /// The statement that was refused.
        sql: String,
        /// The server's words.
        message: String,
    },
    /// A table was renamed more than once since the last pull, and rows were changed while it had the name in between; which table
    /// that was is not recorded anywhere. Nothing was changed. Giving the table that name again lets the next operation go on.
    #[error(
        "{file} has changes of a table {table:?} that was renamed before and after them: name it {table:?} again and sync"
    )]
    UnknownTable {
        /// The database's path.
        file: String,
        /// The name in between.
        table: String,
    },
    /// The remote has a table of the name of a temporary one that a connection of the application has; nothing was changed. It goes on
    /// once that one is dropped, or its connection is.
    #[error(
        "{file} cannot take the remote's table {table:?}: a connection has a temporary table of that name"
    )]
    HiddenByTemporary {
        /// The database's path.
        file: String,
        /// The name.
        table: String,
    },
    /// Each time that a push had found out where the remote stands, another writer moved it on before the push arrived.
    #[error("the remote moved on under each of {attempts} attempts to push")]
    PushOvertaken {
        /// How often the push began anew.
        attempts: u32,
    },
    /// The remote acknowledges transactions that this client never sent: its files are an older copy, or another client uses
    /// the same identity. Nothing was changed; [`SyncEngine::adopt`](crate::SyncEngine::adopt) is the way on.
    #[error(
        "the remote has applied transaction {acknowledged} of client {client_id}, but this copy has sent none after {attempted}"
    )]
    ForeignAcknowledgement {
        /// The client's identity.
        client_id: String,
        /// The number that the remote has applied.
        acknowledged: u64,
        /// The highest number that this copy ever sent.
        attempted: u64,
    },
    /// The metadata file is unreadable; nothing was changed.
    #[error("{file} is no metadata of this engine: {problem}")]
    BadMetadata {
        /// The metadata file's path.
        file: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The metadata names a file that is not there; nothing was changed.
    #[error("{file} is missing although the metadata names it")]
    MissingFile {
        /// The missing file's path.
        file: String,
    },
    /// There is a file where the engine would create one, and no metadata that says it is the engine's.
    #[error("{file} exists but there is no metadata beside it: refusing to overwrite it")]
    ForeignFile {
        /// The file's path.
        file: String,
    },
    /// A file does not hold what the metadata says it holds.
    #[error("{file} is damaged: {problem}")]
    Damaged {
        /// The file's path.
        file: String,
        /// What was expected and found.
        problem: String,
    },
}

impl Error {
    /// Whether the same call can succeed later without anybody mending anything on this machine.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::File { .. } | Self::Directory { .. } => true,
            // What was read or asked for will be the same the next time.
            Self::Database { source, .. } => !matches!(
                source,
                LimboError::Corrupt(_)
                    | LimboError::NotADB
                    | LimboError::ParseError(_)
                    | LimboError::LexerError(_)
                    | LimboError::SqlError(_)
                    | LimboError::Constraint(_)
            ),
            Self::Busy { .. } | Self::OperationInProgress | Self::PushOvertaken { .. } => true,
            Self::Unreachable { .. } | Self::BadAnswer { .. } | Self::HistoryUnsettled { .. } => true,
            Self::UnexpectedStatus { status, .. } => is_passing_status(*status),
            Self::PushRefused { transaction_no, .. } => transaction_no.is_none(),
            // One answer says so; the next server that answers may know better.
            Self::RemoteWentBack { .. } => true,
            Self::StatementRefused { .. }
            | Self::Poisoned { .. }
            | Self::UnknownTable { .. }
            | Self::HiddenByTemporary { .. }
            | Self::ForeignAcknowledgement { .. }
            | Self::BadMetadata { .. }
            | Self::MissingFile { .. }
            | Self::ForeignFile { .. }
            | Self::Damaged { .. } => false,
        }
    }
}

/// Whether an HTTP status says that the same request may be answered otherwise later. A client error says that it is the request that
/// is wrong, but for those that speak of the moment (408 Request Timeout, 425 Too Early, 429 Too Many Requests) and those that a
/// server gives which is behind, or was asked for what only a mistaken answer has named (404 Not Found, 410 Gone).
fn is_passing_status(status: u16) -> bool {
    !matches!(status, 400..=499) || matches!(status, 404 | 408 | 410 | 425 | 429)
}

/// Names the database and the action in an error of the core.
pub(crate) trait DatabaseContext<T> {
    fn while_doing(self, action: &'static str, file: &str) -> Result<T>;
}

impl<T> DatabaseContext<T> for std::result::Result<T, LimboError> {
    fn while_doing(self, action: &'static str, file: &str) -> Result<T> {
        self.map_err(|source| match source {
            LimboError::Busy | LimboError::BusySnapshot => Error::Busy { file: file.to_owned() },
            source => Error::Database { action, file: file.to_owned(), source },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_worth_another_try_unless_it_blames_the_request() {
        let is_retryable = |status| {
            let (request, detail) = ("GET /info".into(), String::new());
            Error::UnexpectedStatus { request, status, detail }.is_retryable()
        };
        for status in [204, 302, 404, 408, 410, 425, 429, 500, 502, 503, 504] {
            assert!(is_retryable(status), "{status}");
        }
        for status in [400, 401, 403, 409, 413, 422] {
            assert!(!is_retryable(status), "{status}");
        }
    }
}
