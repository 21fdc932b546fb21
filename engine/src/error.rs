//! The engine's errors: one enum. Each variant contains the operation and the file or request.
//!
//! No variant is a catch-all for text. [`Error::is_retryable`] says whether the same call can succeed later.

use std::fmt;

use turso_core::LimboError;

use crate::engine_file::EngineFile;
use crate::remote::RemoteError;

/// The result type of the engine.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The file operation that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileOperation {
    /// Opening or creating the file.
    Open,
    /// Reading from the file.
    Read,
    /// Writing to the file.
    Write,
    /// Making the file's content durable.
    Sync,
    /// Setting the file's length.
    Truncate,
    /// Replacing the file by another file.
    Rename,
    /// Making the entries of the file's directory durable.
    SyncDirectory,
    /// Locking the file.
    Lock,
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
            Self::Lock => "lock",
        })
    }
}

/// An error of the engine.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An operation of the engine on one of its files failed.
    #[error("could not {operation} {file}")]
    File {
        /// The operation.
        operation: FileOperation,
        /// The file.
        file: EngineFile,
        /// The error of [`turso_core::IO`].
        source: LimboError,
    },
    /// A directory operation failed.
    #[error("could not {operation} {file}")]
    Directory {
        /// The operation.
        operation: FileOperation,
        /// The file.
        file: EngineFile,
        /// The error of [`Storage`](crate::Storage).
        source: std::io::Error,
    },
    /// The core failed while working on a database.
    #[error("{action} failed on {file}")]
    Database {
        /// The engine's action.
        action: &'static str,
        /// The database's main file.
        file: EngineFile,
        /// The error of the core.
        source: LimboError,
    },
    /// The engine refused the application's statement, because it would break the sync. No statement of the
    /// same text was run. Exception: the name of a temporary table is checked only when its statement is
    /// reached.
    #[error("refused to run `{statement}`: {reason}")]
    StatementRefused {
        /// The statement.
        statement: String,
        /// The reason for the refusal.
        reason: &'static str,
    },
    /// An earlier failure may have left the files in a state that this process does not know. Reopen the
    /// engine.
    #[error("an earlier failure left the files in an unknown state, reopen the engine: {cause}")]
    Poisoned {
        /// The earlier failure.
        cause: String,
    },
    /// Another connection is writing to Draft. Nothing was changed.
    #[error("{file} is busy: another connection holds its write lock")]
    Busy {
        /// The database's main file.
        file: EngineFile,
    },
    /// Another engine has the database open, in this process or in another one. Nothing was read or changed.
    #[error("{file} is locked: another engine has this database open, in this process or in another one")]
    InUse {
        /// The lock file.
        file: EngineFile,
    },
    /// Another `pull`, `push` or `sync` of this engine is still running.
    #[error("another operation of this engine is in progress")]
    OperationInProgress,
    /// The request did not reach the server, or its answer did not arrive completely. It may have taken
    /// effect.
    #[error("{request}: no complete answer")]
    Unreachable {
        /// Method and path.
        request: String,
        /// The error of the transport.
        source: RemoteError,
    },
    /// The server answered with a status that the protocol does not define for this request. A retry can
    /// succeed unless the status blames the request itself, as 401 and 403 do, or says that the server has
    /// moved for good, as 301 does. The engine follows no redirect.
    #[error("{request}: the server answered {status}{}: {detail}", in_words(location.as_deref(), retry_after.as_deref()))]
    UnexpectedStatus {
        /// Method and path.
        request: String,
        /// The HTTP status.
        status: u16,
        /// The header `Location`, if there is one.
        location: Option<String>,
        /// The header `Retry-After`, if there is one: a number of seconds, or a date (RFC 9110, 10.2.3).
        retry_after: Option<String>,
        /// The beginning of the answer's body.
        detail: String,
    },
    /// The server does not take a request of this size. A push has then sent its transactions in smaller requests, down
    /// to a single transaction or, as frames, to a single frame. This is the smallest one. The limit of the server, or of
    /// a proxy before it, has to grow.
    #[error("{request}: the server does not take a request of {body_bytes} bytes: {detail}")]
    RequestTooLarge {
        /// Method and path.
        request: String,
        /// The length of the request's body, in bytes.
        body_bytes: u64,
        /// The beginning of the answer's body. It may name the limit.
        detail: String,
    },
    /// The server sent more than [`Options::operation_bytes_max`](crate::Options::operation_bytes_max) in one
    /// operation. Whole transactions that arrived before are kept, and the next operation goes on from there.
    /// Nothing of an export is kept: a database that is larger than the limit needs a larger limit.
    #[error("{request}: the server has sent more than {bytes_max} bytes in one operation")]
    TooManyBytes {
        /// Method and path.
        request: String,
        /// The limit, in bytes.
        bytes_max: u64,
    },
    /// The operation took longer than
    /// [`Options::operation_seconds_max`](crate::Options::operation_seconds_max). Whole transactions that
    /// arrived before are kept, and the next operation goes on from there.
    #[error("{request}: the operation takes longer than {seconds_max} seconds")]
    TookTooLong {
        /// Method and path.
        request: String,
        /// The limit, in seconds.
        seconds_max: u64,
    },
    /// The server's answer contradicts the protocol, itself, or an earlier answer.
    #[error("{request}: {problem}")]
    BadAnswer {
        /// Method and path.
        request: String,
        /// The contradiction.
        problem: String,
    },
    /// The server reported that its log no longer contains the point that this client has reached, but did
    /// not repeat that when the request was sent again. If the server does repeat it, the engine
    /// re-bootstraps instead.
    #[error(
        "the remote is behind this client: it is at generation {remote_generation}, frame {remote_frame_no}, but this client had reached generation {local_generation}, frame {local_frame_no}"
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
    /// The remote was restored or pruned, or the replica was damaged, again after each re-bootstrap of the
    /// operation. The local transactions are kept. The next operation continues from there.
    #[error("the remote's log changed again after each of {rebootstraps} re-bootstraps")]
    HistoryUnsettled {
        /// The number of re-bootstraps in this operation.
        rebootstraps: u32,
    },
    /// The server has another log than the one that this client follows, and
    /// [`HistoryChange::Ask`](crate::HistoryChange::Ask) is set. Nothing was changed. To follow the server, call
    /// [`SyncEngine::rebootstrap`](crate::SyncEngine::rebootstrap).
    #[error(
        "the remote no longer has generation {generation}, frame {frame_no}, which this client has reached: it was restored, or it is another server; re-bootstrap to follow it"
    )]
    HistoryChanged {
        /// The generation that Synced replicates.
        generation: u64,
        /// The last remote frame that Synced holds.
        frame_no: u64,
    },
    /// The server has another log, and it shares nothing with the local database: no table, and no acknowledgement
    /// of this client. It is probably the wrong server. Nothing was sent to it, and the local database is
    /// unchanged. To follow it all the same, call
    /// [`SyncEngine::rebootstrap`](crate::SyncEngine::rebootstrap).
    #[error(
        "the remote{} shares no table and no acknowledgement with the local database: it is probably another server; re-bootstrap to follow it all the same",
        named(history_id.as_deref())
    )]
    UnrelatedServer {
        /// The `history_id` that the server sends, if it sends one.
        history_id: Option<String>,
    },
    /// The remote refused a statement of a push, and the whole request was rolled back. A retry can succeed
    /// if the statement does not belong to a local transaction but to the batch around it (for example
    /// because the remote was busy).
    #[error("the remote refused to run `{sql}`: {message}")]
    PushRefused {
        /// The number of the local transaction that the statement replays; `None` for a statement of the
        /// surrounding batch.
        transaction_no: Option<u64>,
        /// The statement that was refused.
        sql: String,
        /// The server's message.
        message: String,
    },
    /// A table was renamed more than once since the last pull, and rows were changed under the intermediate
    /// name. No record says which table had that name. Nothing was changed. To continue, rename the table to
    /// the intermediate name and sync.
    #[error(
        "{file} has changes of a table that was named {table:?} only between two renames: rename it to {table:?} again and sync"
    )]
    UnknownTable {
        /// The database's main file.
        file: EngineFile,
        /// The intermediate name.
        table: String,
    },
    /// The remote has a table with the same name as a temporary table of an application's connection. Nothing
    /// was changed. To continue, drop the temporary table or close its connection.
    #[error(
        "{file} cannot take the remote's table {table:?}: a connection has a temporary table of that name"
    )]
    HiddenByTemporary {
        /// The database's main file.
        file: EngineFile,
        /// The name of both tables.
        table: String,
    },
    /// Each time, another writer changed the remote between the push's last look at it and the push's
    /// request.
    #[error("another writer changed the remote during each of {attempts} attempts to push")]
    PushOvertaken {
        /// The number of attempts.
        attempts: u32,
    },
    /// The remote acknowledges transactions that this client never sent: the files are an older copy, or
    /// another client uses the same identity. Nothing was changed.
    /// [`SyncEngine::adopt`](crate::SyncEngine::adopt) resolves this.
    #[error(
        "the remote has applied transaction {acknowledged} of client {client_id}, but this copy has sent none after {attempted}"
    )]
    ForeignAcknowledgement {
        /// The client's identity.
        client_id: String,
        /// The highest number that the remote has applied.
        acknowledged: u64,
        /// The highest number that this copy has ever sent.
        attempted: u64,
    },
    /// The metadata file cannot be decoded. Nothing was changed.
    #[error("{file} is no metadata of this engine: {problem}")]
    BadMetadata {
        /// The metadata file.
        file: EngineFile,
        /// The reason.
        problem: String,
    },
    /// A file that the metadata names does not exist. Nothing was changed.
    #[error("{file} is missing although the metadata names it")]
    MissingFile {
        /// The missing file.
        file: EngineFile,
    },
    /// A file exists where the engine would create one, and no metadata identifies it as the engine's.
    #[error("{file} exists but there is no metadata beside it: refusing to overwrite it")]
    ForeignFile {
        /// The file.
        file: EngineFile,
    },
    /// A file does not hold the content that the metadata names.
    #[error("{file} is damaged: {problem}")]
    Damaged {
        /// The file.
        file: EngineFile,
        /// The expected and the actual content.
        problem: String,
    },
}

impl Error {
    /// Whether the core has found a database that is corrupt or none at all.
    pub(crate) fn is_corruption(&self) -> bool {
        matches!(self, Self::Database { source: LimboError::Corrupt(_) | LimboError::NotADB, .. })
    }

    /// Returns whether the same call can succeed later without a repair on this machine.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::File { .. } | Self::Directory { .. } => true,
            // The file's content and the statement will be the same next time.
            Self::Database { source, .. } => !matches!(
                source,
                LimboError::Corrupt(_)
                    | LimboError::NotADB
                    | LimboError::ParseError(_)
                    | LimboError::LexerError(_)
                    | LimboError::SqlError(_)
                    | LimboError::Constraint(_)
            ),
            Self::Busy { .. }
            | Self::InUse { .. }
            | Self::OperationInProgress
            | Self::PushOvertaken { .. } => true,
            Self::TooManyBytes { .. } | Self::TookTooLong { .. } => true,
            Self::Unreachable { .. } | Self::BadAnswer { .. } | Self::HistoryUnsettled { .. } => true,
            Self::UnexpectedStatus { status, .. } => is_passing_status(*status),
            Self::PushRefused { transaction_no, .. } => transaction_no.is_none(),
            // A single answer claims this; the next answer may differ.
            Self::RemoteWentBack { .. } => true,
            Self::RequestTooLarge { .. }
            | Self::HistoryChanged { .. }
            | Self::UnrelatedServer { .. }
            | Self::StatementRefused { .. }
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

/// The headers of an unexpected status, as a part of its message.
fn in_words(location: Option<&str>, retry_after: Option<&str>) -> String {
    let location = location.map(|location| format!(" (location: {location})"));
    let retry_after = retry_after.map(|delay| format!(" (retry after: {delay})"));
    [location, retry_after].into_iter().flatten().collect()
}

fn named(history_id: Option<&str>) -> String {
    history_id.map_or_else(String::new, |id| format!(" (history {id:?})"))
}

/// Returns whether a later try of the same request may get a different HTTP status. 301 and 308 are permanent
/// redirects. A 4xx status blames the request, with two exceptions: the temporary ones (408 Request Timeout, 425 Too Early, 429 Too Many
/// Requests), and those of a server that lags behind or that was asked for a generation or frame from an
/// earlier wrong answer (404 Not Found, 410 Gone).
fn is_passing_status(status: u16) -> bool {
    !matches!(status, 301 | 308 | 400..=499) || matches!(status, 404 | 408 | 410 | 425 | 429)
}

/// Adds the database and the action to an error of the core.
pub(crate) trait DatabaseContext<T> {
    fn while_doing(self, action: &'static str, file: &EngineFile) -> Result<T>;
}

impl<T> DatabaseContext<T> for std::result::Result<T, LimboError> {
    fn while_doing(self, action: &'static str, file: &EngineFile) -> Result<T> {
        self.map_err(|source| match source {
            LimboError::Busy | LimboError::BusySnapshot => Error::Busy { file: file.clone() },
            source => Error::Database { action, file: file.clone(), source },
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
            let (location, retry_after) = (None, None);
            Error::UnexpectedStatus { request, status, location, retry_after, detail }.is_retryable()
        };
        for status in [204, 302, 404, 408, 410, 425, 429, 500, 502, 503, 504] {
            assert!(is_retryable(status), "{status}");
        }
        for status in [301, 308, 400, 401, 403, 409, 413, 422] {
            assert!(!is_retryable(status), "{status}");
        }
    }
}
