//! Steps in English, for timelines and reports.

use std::fmt;

use super::workload::Write;
use super::{Action, Alternation, Copies, Step, TransactionEnd, Wait};
use crate::fault::{Damage, Ordinal};
use crate::text::counted;

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Transaction { client, writes, end } => {
                let ends = match end {
                    TransactionEnd::Commit => "commits",
                    TransactionEnd::Rollback => "rolls back",
                    TransactionEnd::HeldOpen => "opens and holds",
                };
                write!(f, "client {client} {ends} a transaction of {}", rows(writes))
            }
            Self::EndTransaction { client, end } => {
                let ends = match end {
                    TransactionEnd::Commit => "commits",
                    TransactionEnd::Rollback => "rolls back",
                    TransactionEnd::HeldOpen => "keeps open",
                };
                write!(f, "client {client} {ends} its open transaction")
            }
            Self::OpenReader { client } => write!(f, "client {client} opens a reader"),
            Self::CloseReader { client } => write!(f, "client {client} reads its open reader to the end"),
            Self::Open { client } => write!(f, "client {client} opens its database"),
            Self::Program { client, sql } => {
                write!(f, "client {client}'s application runs {}", statements(sql))
            }
            Self::RemoteProgram { sql } => write!(f, "another writer runs {} on the remote", statements(sql)),
            Self::Show { on, sql, expect: None } => write!(f, "a query on {on}: {sql}"),
            Self::Show { on, sql, expect: Some(_) } => write!(f, "a query on {on}, with known rows: {sql}"),
            Self::Compare => write!(f, "all copies are compared after all open clients have synced"),
            Self::Pull { client } => write!(f, "client {client} pulls"),
            Self::Push { client } => write!(f, "client {client} pushes"),
            Self::Sync { client } => write!(f, "client {client} syncs"),
            Self::LeftoverConnection { client } => {
                write!(
                    f,
                    "client {client}'s application drops its engine, keeps a connection, and opens again"
                )
            }
            Self::SecondProcess { client } => {
                write!(f, "a second process opens client {client}'s database")
            }
            Self::Close { client } => write!(f, "client {client} closes"),
            Self::Crash { client, kind } => write!(f, "client {client} crashes: {kind}"),
            Self::RemoteTransaction { writes } => {
                write!(f, "another writer commits a transaction of {} on the remote", rows(writes))
            }
            Self::RemoteCheckpoint => write!(f, "the remote begins a new generation"),
            Self::RemoteRestart => write!(f, "the remote's server restarts"),
            Self::RemoteCrash { kind } => write!(f, "the remote's machine crashes: {kind}"),
            Self::RemotePrune => write!(f, "the remote stops serving all generations except the current one"),
            Self::RemoteArchive(action) => write!(f, "{action}"),
            Self::RemoteRestore { generations_back, transactions_back, keeps_name } => write!(
                f,
                "the remote is restored to {transactions_back} transactions before the end of the generation {generations_back} before the current one{}",
                if *keeps_name { ", and keeps its history id" } else { "" }
            ),
            Self::RemoteFork { alternates: Alternation::Requests } => {
                write!(f, "a second server starts on a copy of the remote, and they answer requests in turn")
            }
            Self::RemoteFork { alternates: Alternation::Operations } => {
                write!(f, "a second server starts on a copy of the remote, and they serve steps in turn")
            }
            Self::RemoteJoin { keeps_other: false } => {
                write!(f, "the server whose turn it is not is shut down")
            }
            Self::RemoteJoin { keeps_other: true } => write!(f, "the server whose turn it is is shut down"),
            Self::RemoteCache { route } => write!(f, "a cache keeps the responses to each {route}"),
            Self::RemoteCacheExpires => write!(f, "the cache expires"),
            Self::WrongServer { client, times: 1, .. } => {
                write!(f, "client {client} syncs with a wrong, empty server")
            }
            Self::WrongServer { client, times, restarts } => write!(
                f,
                "client {client} syncs {times} times with a wrong, empty server{}",
                if *restarts { ", and restarts each time" } else { "" }
            ),
            Self::RestoreDirectory { client, to_step } => {
                write!(f, "client {client}'s directory is restored to its state after step {to_step}")
            }
            Self::LoseFile { client, file } => write!(f, "client {client} loses its {file}"),
            Self::Rot { client, file, offset, damage: Damage::Bit(bit) } => {
                write!(f, "bit {} of byte {offset} of client {client}'s {file} flips", bit % 8)
            }
            Self::Rot { client, file, offset, damage: Damage::Sector { .. } } => {
                write!(f, "the sector of byte {offset} of client {client}'s {file} is damaged")
            }
        }
    }
}

/// The only statement, or the number of statements.
fn statements(sql: &[String]) -> String {
    match sql {
        [only] => only.clone(),
        several => counted(several.len() as u64, "statement"),
    }
}

impl fmt::Display for Copies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client(client) => write!(f, "client {client}"),
            Self::Remote => write!(f, "the remote"),
            Self::All => write!(f, "every copy"),
        }
    }
}

/// The number of writes, plus one for the row of `log`, which only quiet and void transactions do not insert.
fn rows(writes: &[Write]) -> String {
    counted(writes.len() as u64 + 1, "write")
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "step {}: {}", self.id, self.action)
    }
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request(place) => write!(f, "before the {place} arrives"),
            Self::Response(place) => write!(f, "before the response to the {place} arrives"),
            Self::Chunk { of, nth } => {
                write!(f, "before the {} chunk of the response to the {of}", Ordinal(*nth))
            }
            Self::Reported { event, nth: 1 } => {
                write!(f, "once the engine has reported \u{201c}{}\u{201d}", event.name())
            }
            Self::Reported { event, nth } => {
                write!(
                    f,
                    "once the engine has reported \u{201c}{}\u{201d} for the {} time",
                    event.name(),
                    Ordinal(*nth)
                )
            }
            Self::Suspension { nth } => write!(f, "at the {} suspension", Ordinal(*nth)),
        }
    }
}
