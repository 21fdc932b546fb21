//! Tests of the `plimsoll` command as a process: its output, files and exit statuses.

#![expect(clippy::disallowed_methods, reason = "the command uses real files and real time")]

mod command;
mod corpus;
mod endless;
mod explore;
mod failures;
mod page;
mod serve;
mod shards;
