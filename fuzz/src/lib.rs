//! What the fuzz targets have in common. The targets are in `fuzz_targets/`:
//!
//! | target | its input | what it must not do |
//! |---|---|---|
//! | `schedule` | a schedule file | break an invariant |
//! | `metadata` | a metadata file | panic, or go on for ever |
//! | `wire` | what becomes of each of the server's answers | panic, or go on for ever |
//! | `wal` | what becomes of the four database files | panic, or go on for ever |
//!
//! `cargo fuzz run --release --sanitizer none schedule` runs one on a stable toolchain; an artefact of `schedule` is a schedule file, for
//! `plimsoll replay` and `plimsoll shrink`.
//!
//! | module | what it owns |
//! |---|---|
//! | [`client`] | a client with a history, in memory, whose files and answers can be tampered with |
//! | [`mutate`] | from one schedule to another |
//! | [`seal`] | makes tampered files pass for sound ones |
//! | [`corpus`] | the inputs that a target begins with |
//! | [`watchdog`] | ends the process over an input that takes too long |

pub mod client;
pub mod corpus;
pub mod mutate;
pub mod seal;
pub mod watchdog;
