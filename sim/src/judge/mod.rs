//! The invariants and the oracles. They share no parser and no expectation with the engine.
//!
//! This module takes evidence and decides. The `world` chooses *when* to judge.
//!
//! | module | holds |
//! |---|---|
//! | [`verdict`] | the invariants by name, violations and their signatures |
//! | [`counts`] | what happened in a history, counted |
//! | [`ledger`] | the acknowledged transactions of every writer, and the content that follows from them |
//! | [`remote_log`] | the remote's model: every generation's snapshot and frames |
//! | [`tables`] | the content of a database, and the differences between two |
//! | [`archive`] | the model of a served remote's archive |
//! | `claims`, `paths` | what a client's metadata claims, and where its files are |
//! | `database_files`, `durability` | page-level checks, and checks on versions of the metadata |
//! | [`mod@format`] | parsers for database files and WALs |
//! | [`marks`] | the situations that a sweep must reach |
//!
//! Not in this module: the disk, the network and the clients. Start with `verdict`.

pub mod archive;
mod claims;
pub mod counts;
mod database_files;
mod durability;
pub mod format;
pub mod ledger;
pub mod marks;
mod paths;
pub mod remote_log;
pub mod tables;
pub mod verdict;

use turso_core::Value;

pub use claims::{Claims, Named};
#[cfg(test)]
pub(crate) use database_files::wal_bytes;
pub use database_files::{DatabaseFiles, Epochs};
pub use durability::{Durable, MetadataVersion, Unsynced, judge_durability, judge_monotone};
pub use paths::Paths;

use crate::text::error_chain;
use ledger::Discrepancy;
use verdict::{ATOMIC_PUSH, EXACTLY_ONCE, INTEGRITY, Invariant, LOCAL_DURABILITY, READS, Violation};

/// Judges the result of `PRAGMA integrity_check` on one database.
pub(crate) fn judge_integrity_answer(
    database: &str,
    answer: Result<Vec<Vec<Value>>, plimsoll_engine::Error>,
) -> Result<(), Violation> {
    let complaint = match answer {
        Ok(rows) if rows.len() == 1 && rows[0][0].to_string() == "ok" => return Ok(()),
        Ok(rows) => match rows.first() {
            Some(first) => format!("{} (the first of {} complaints)", first[0], rows.len()),
            None => "no answer".to_owned(),
        },
        Err(error) => error_chain(&error),
    };
    Err(Violation::of(INTEGRITY, format!("{database}: {complaint}")))
}

/// Turns a finding of the ledger in `database` into a violation.
pub(crate) fn violation(finding: Discrepancy, database: &str) -> Violation {
    let of =
        |invariant: Invariant, message: String| Violation::of(invariant, format!("{database}: {message}"));
    match finding {
        Discrepancy::NotOnce(message) => of(EXACTLY_ONCE, message),
        Discrepancy::Torn(message) => of(ATOMIC_PUSH, message),
        Discrepancy::Lost(message) => of(LOCAL_DURABILITY, message),
        Discrepancy::Unexplained(message) => of(READS, message),
    }
}
