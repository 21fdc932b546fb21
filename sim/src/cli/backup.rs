//! `plimsoll backup`: copies the directory of a server.

use std::path::PathBuf;

use clap::Args;
use plimsoll_sim::serve::{ServeError, backup};

use super::output::outln;
use super::{Problem, STATUS_CLEAN};

#[derive(Debug, Args)]
#[command(after_help = "\
The server may be running. The copy has every transaction that was acknowledged before the command started.
To restore it, start a server on the copy: it begins a new history, and clients fetch the database again.")]
pub struct Backup {
    /// The directory of the server.
    #[arg(long, value_name = "DIR", default_value = "remote")]
    data: PathBuf,
    /// The directory of the copy. It must be new or empty.
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
}

impl Backup {
    pub fn execute(self) -> Result<u8, Problem> {
        backup(&self.data, &self.to).map_err(ServeError::from)?;
        outln!("copied {} to {}", self.data.display(), self.to.display());
        Ok(STATUS_CLEAN)
    }
}
