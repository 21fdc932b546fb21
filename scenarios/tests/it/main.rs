//! Scenarios: each test is a sentence about what must or must not happen.

mod determinism;
mod files;
mod flows;
mod histories;
