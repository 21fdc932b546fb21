//! # plimsoll-sim
//!
//! Drives the real sync engine through crashes, torn writes and lost messages, on a simulated disk, network and remote, and judges every
//! history. Start at [`world::run`]: it takes a [`schedule`] and returns an outcome; everything else serves it.
//!
//! ```text
//!   seed ── search::generate ──► Schedule ── world::run ──► Outcome { trace hash, counts, violation }
//!                                                │
//!                   world: clients ── network ── remote        judged after each step and at the end
//! ```
//!
//! Five modules, with imports in one direction only:
//!
//! | module | what it answers |
//! |---|---|
//! | [`search`] | how failures are found: generator, sweep, explorer, shrinker, corpus |
//! | [`world`] | where it happens: clients, disk, network, remote, clock, trace; running one schedule; when something is judged |
//! | [`judge`] | what must hold: invariants, ledger, page checks, parsers, marks |
//! | [`schedule`] | what will happen, as plain data: steps, writes, file format |
//! | [`fault`] | what can go wrong, as plain data: crashes, disk errors, network faults, the atlas |
//!
//! Beside them: [`report`] renders summaries, timelines and pages; `serve` is the remote over HTTP on real files (feature `serve`).
//! [`text`] and `lock` are small pieces that all modules use.
//!
//! The simulator shares nothing with the engine except the traits through which it drives it.

/// A history allocates a great deal, in many small pieces.
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
