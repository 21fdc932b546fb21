//! The code that the fuzz targets share. The targets are in `fuzz_targets/`:
//!
//! | target | its input | what must not happen |
//! |---|---|---|
//! | `schedule` | a schedule file | a broken invariant |
//! | `metadata` | a metadata file | a panic, or an operation without end |
//! | `wire` | changes of the server's answers | a panic, or an operation without end |
//! | `requests` | changes of requests to a served remote | an answer that breaks the server |
//! | `wal` | changes of the four database files | a panic, or an operation without end |
//!
//! `cargo fuzz run --release --sanitizer none schedule` runs one on a stable toolchain. An artefact of
//! `schedule` is a schedule file for `plimsoll replay` and `plimsoll shrink`.
//!
//! | module | contents |
//! |---|---|
//! | [`client`] | a client with a history, in memory, whose files and answers can be changed |
//! | [`mutate`] | changes one schedule into another |
//! | [`requests`] | a client that sends changed requests to a served remote |
//! | [`seal`] | computes the checksums of changed files |
//! | [`corpus`] | the initial inputs of a target |
//! | [`watchdog`] | ends the process when an input takes too long |

pub mod client;
pub mod corpus;
pub mod mutate;
pub mod requests;
#[cfg(test)]
mod schedule_files;
pub mod seal;
pub mod watchdog;
