//! # plimsoll-sim
//!
//! Drives the real sync engine through crashes, torn writes and lost messages, on a simulated disk, network
//! and remote. It judges every history. Start at [`world::run`]: it runs a [`schedule`] and returns an
//! outcome.
//!
//! ```text
//!   seed ── search::generate ──► Schedule ── world::run ──► Outcome { trace hash, counts, violation }
//!                                                │
//!                   world: clients ── network ── remote        judged after each step and at the end
//! ```
//!
//! Five modules, with imports in one direction only:
//!
//! | module | holds |
//! |---|---|
//! | [`search`] | how failures are found: generator, sweep, explorer, shrinker, corpus |
//! | [`world`] | where a history runs: clients, disk, network, remote, clock, trace; it also decides when to judge |
//! | [`judge`] | what must hold: invariants, ledger, page checks, parsers, marks |
//! | [`schedule`] | what happens in a history, as plain data: steps, writes, file format |
//! | [`fault`] | what can go wrong, as plain data: crashes, disk errors, network faults, the atlas |
//!
//! In addition, [`report`] renders summaries, timelines and pages, and `serve` offers the remote over HTTP
//! on real files (feature `serve`). [`text`] and `lock` hold small utilities that all modules use.
//!
//! The simulator and the engine share only the traits through which the simulator drives the engine.

/// Speeds up the tests: a history allocates many small pieces of memory.
#[cfg(test)]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

pub mod fault;
pub mod judge;
mod lock;
pub mod report;
pub mod schedule;
pub mod search;
#[cfg(feature = "serve")]
pub mod serve;
pub mod text;
pub mod world;
