//! # plimsoll-sim
//!
//! Drives the real sync engine through crashes, torn writes and lost messages, on a simulated disk, network and remote, and judges
//! every history. Start at [`run`]: it takes a [`schedule`] and gives an outcome; everything else serves it.
//!
//! ```text
//!   seed ── generate ──► Schedule ── run ──► Outcome { trace hash, counts, violation }
//!                                     │
//!        World: clients ── network ── remote        judged after each step and at the end
//! ```
//!
//! | module | what it owns |
//! |---|---|
//! | [`run`] | one history, from its schedule to its outcome, on a thread of its own |
//! | [`schedule`] | the schedule as plain data, and its file format |
//! | [`generate`] | a seed's schedule |
//! | [`atlas`] | the FaultAtlas: what is promised under each fault, at each file and route |
//! | [`workload`], [`sql`] | what applications write, as data and as SQL; who can run it |
//! | [`world`] | clients, remote and network in one place, and the steps that happen |
//! | [`client`] | a client's machine and process |
//! | [`network`] | the mailbox between an engine and the world |
//! | [`remote`] | the fake server, with a model of itself |
//! | [`disk`] | a machine's disk: what is durable, what survives a crash |
//! | [`clock`], [`trace`] | virtual time; the events and their rolling hash |
//! | [`fates`], [`snapshot`] | what became of the faults; what can be drawn of a moment |
//! | [`finals`] | the databases as a history left them, for a second opinion |
//! | [`verdict`] | the invariants by name, violations, counts |
//! | [`marks`] | the situations that a sweep must have been in |
//! | [`judging`] | when which invariant is judged |
//! | [`judge`], [`mod@format`] | the page-level checks, and the parsers that they read files with |
//! | [`ledger`] | what was acknowledged to whom, and what follows from it |
//! | [`sweep`] | many seeds over all cores |
//! | [`explore`] | every crash and request fate of short schedules, exhaustively |
//! | [`driver`] | a schedule's steps on any ground, without faults and checkers |
//! | `serve` | the remote over HTTP, on real files (feature `serve`) |
//! | [`shrink`] | a smaller schedule that fails the same way |
//! | [`corpus`] | schedules that broke an invariant once, and what a file of theirs has to be |
//! | [`report`] | summaries, timelines and pages |
//! | [`in_process`] | the remote without a network: for real files and benchmarks |
//! | [`memory`] | files without faults, for benchmarks |
//!
//! Nothing here is shared with the engine but the traits through which it is driven.

/// A history allocates a great deal, in many small pieces.
#[cfg(test)]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

pub mod atlas;
pub mod client;
pub mod clock;
pub mod corpus;
pub mod disk;
pub mod driver;
pub mod explore;
pub mod fates;
pub mod finals;
pub mod format;
pub mod generate;
pub mod in_process;
pub mod judge;
pub mod judging;
pub mod ledger;
mod lock;
pub mod marks;
pub mod memory;
pub mod network;
pub mod remote;
pub mod report;
pub mod run;
pub mod schedule;
#[cfg(feature = "serve")]
pub mod serve;
pub mod shrink;
pub mod snapshot;
pub mod sql;
pub mod sweep;
pub mod trace;
pub mod verdict;
pub mod workload;
pub mod world;
