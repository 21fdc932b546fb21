//! `plimsoll marks`: the situations that a sweep should have been in.

use plimsoll_sim::judge::marks::MARKS;

use super::STATUS_CLEAN;

/// Prints the catalogue.
pub fn print() -> u8 {
    for mark in MARKS.iter() {
        println!("{:<44}{}", mark.name, mark.meaning);
    }
    STATUS_CLEAN
}
