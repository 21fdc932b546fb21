//! The profile of a sweep.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// The faults that the seeds of a sweep may draw.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// No faults
    Calm,
    /// Crashes only
    Crash,
    /// Network faults only
    Network,
    /// Disk errors only
    DiskErrors,
    /// All faults, in a different mix for each seed
    #[default]
    Swarm,
    /// Applications with ordinary SQL, and all faults but those that lose transactions
    Programs,
    /// The directory of a served remote instead of the engine: crashes, disk errors, missing and foreign
    /// files, backups
    Archive,
}

impl Profile {
    /// The profile's name on the command line.
    ///
    /// # Panics
    /// Never: no profile is hidden.
    pub fn name(self) -> String {
        self.to_possible_value().expect("no profile is hidden").get_name().to_owned()
    }
}
