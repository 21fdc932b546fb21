//! Hand-written histories for the sync engine, and what they are written with.
//!
//! [`place`] has the places where the same script runs: on a simulated disk and on real files. [`meter`] counts what an engine
//! does to its files and asks of its remote, [`lying`] has a way to a server whose answers are not what the server said. [`scenario`] is the
//! language of histories that the simulator runs, [`planted`] has the bugs that it has to find, [`commands`] what its tools run.

pub mod commands;
pub mod lying;
pub mod meter;
pub mod planted;
pub mod property;
pub mod sandbox;
pub mod scenario;
