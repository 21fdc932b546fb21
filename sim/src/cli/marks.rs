//! `plimsoll marks`: prints the situations that a sweep should reach.

use plimsoll_sim::judge::marks::{ARCHIVE_MARKS, MARKS};

use super::STATUS_CLEAN;
use super::output::outln;

pub fn print() -> u8 {
    for mark in MARKS.iter() {
        outln!("{:<44}{}", mark.name, mark.meaning);
    }
    outln!("");
    outln!("of the profile archive:");
    for mark in ARCHIVE_MARKS.iter() {
        outln!("{:<44}{}", mark.name, mark.meaning);
    }
    STATUS_CLEAN
}
