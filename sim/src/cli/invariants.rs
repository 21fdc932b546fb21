//! `plimsoll invariants`: prints the invariants that every history is judged by.

use plimsoll_sim::judge::verdict::INVARIANTS;

use super::STATUS_CLEAN;
use super::output::outln;

pub fn print() -> u8 {
    for invariant in INVARIANTS {
        let when = format!("{:?}", invariant.expectation).to_lowercase();
        outln!("{:<18}{when:<12}{}", invariant.name, invariant.meaning);
    }
    STATUS_CLEAN
}
