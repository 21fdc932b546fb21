//! `plimsoll schedule`: prints the schedule of a seed, to look at it or to edit it.

use clap::Args;
use plimsoll_sim::search::generate::Profile;

use super::files::Source;
use super::output::out;
use super::{Problem, STATUS_CLEAN};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  plimsoll schedule 7 > seven.jsonl      then edit it, and run `plimsoll replay seven.jsonl`
  plimsoll schedule seven.jsonl          checks the file, and prints it in the usual form")]
pub struct Show {
    /// A seed, the path of a schedule file, or `-` for standard input.
    source: Source,
    /// The profile of the sweep that the seed is from. Ignored for a file.
    #[arg(long, value_enum, default_value_t)]
    profile: Profile,
}

impl Show {
    pub fn execute(self) -> Result<u8, Problem> {
        out!("{}", self.source.schedule(self.profile)?.print());
        Ok(STATUS_CLEAN)
    }
}
