//! Scenarios: the name of each test is a sentence about what must or must not happen.

#![expect(clippy::unwrap_used, reason = "a scenario ends at its first failure")]

/// A history makes many small allocations.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

mod applications;
mod archive;
mod archive_histories;
mod archive_import;
mod canonical;
mod concurrency;
mod conformance;
mod continuity;
mod core;
mod cost;
mod determinism;
mod faults;
mod files;
mod flows;
mod generations;
mod growth;
mod histories;
mod hostile;
mod http;
mod imports;
mod lock;
mod network;
mod planted;
mod programs;
mod properties;
mod replay;
mod reports;
mod schedule_files;
mod schema_changes;
mod served;
mod short_requests;
mod sqlite;
mod temporary_tables;
mod tidy;
mod unrecorded;
mod windows;
