//! `plimsoll atlas`: prints the engine's promise under each fault.

use plimsoll_sim::fault::atlas::ATLAS;

use super::STATUS_CLEAN;
use super::output::outln;

pub fn print() -> u8 {
    for row in ATLAS {
        outln!("{:<16}{:<20}{:<10}{}", row.kind, row.target, row.promise, row.reason);
    }
    STATUS_CLEAN
}
