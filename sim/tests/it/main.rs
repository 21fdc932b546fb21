//! The `plimsoll` command from outside: what it prints, writes and ends with.

#![expect(clippy::disallowed_methods, reason = "the command has real files and takes real time")]

mod command;
mod corpus;
mod explore;
mod failures;
mod page;
mod shards;
