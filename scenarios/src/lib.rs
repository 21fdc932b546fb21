//! The library for hand-written scenarios of the sync engine. The scenarios themselves are in `tests/it/`.
//!
//! [`sandbox`] provides the two places in which a script runs: a simulated disk and real files. [`meter`]
//! counts an engine's file operations and requests. [`lying`] changes a server's answers. [`scenario`] is the
//! language of histories that the simulator runs. [`property`] generates schedules for property tests.
//! [`planted`] holds the bugs that the simulator must find. [`commands`] runs the tools' child processes.

pub mod commands;
pub mod lying;
pub mod meter;
pub mod planted;
pub mod property;
pub mod sandbox;
pub mod scenario;
