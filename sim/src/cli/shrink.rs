//! `plimsoll shrink`: reduces a schedule to a smaller one that fails in the same way.

use std::num::NonZero;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use plimsoll_sim::search::generate::Profile;

use super::files::Source;
use super::interrupt::Interrupt;
use super::output::outln;
use super::{Problem, STATUS_NONDETERMINISM, failure, jobs, status_of};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  plimsoll shrink 384                                to findings/seed-384.min.jsonl
  plimsoll shrink findings/seed-384.jsonl -o small.jsonl
  plimsoll shrink scenarios/corpus/lost.jsonl        beside it, to lost.min.jsonl")]
pub struct Shrink {
    /// A seed, the path of a schedule file, or `-` for standard input.
    source: Source,
    /// The file for the smaller schedule. Defaults to a file beside the source, or in `findings` for a seed.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The profile of the sweep that the seed is from. Ignored for a file.
    #[arg(long, value_enum, default_value_t)]
    profile: Profile,
    /// The number of candidates that run at the same time. Defaults to one per core.
    #[arg(long, value_name = "N", value_parser = super::job_count)]
    jobs: Option<NonZero<usize>>,
    /// Stop after this many seconds, with the smallest schedule found so far.
    #[arg(long, value_name = "N", default_value_t = 300)]
    seconds: u64,
}

impl Shrink {
    pub fn execute(self) -> Result<u8, Problem> {
        let schedule = self.source.schedule(self.profile)?;
        let path = self.output.clone().unwrap_or_else(|| self.source.shrunk_path());
        let interrupt = Interrupt::listen()?;
        let limit = Duration::from_secs(self.seconds);
        let smaller =
            failure::shrink(&schedule, path, jobs(self.jobs), limit, &interrupt)?.ok_or_else(|| {
                Problem::Usage(format!("{} does not fail: nothing to shrink", self.source.name()))
            })?;
        outln!("{}: {}", self.source.name(), smaller.kept.violation);
        outln!("  signature  {}", smaller.kept.violation.signature());
        failure::print_smaller(&smaller);
        failure::print_next(&smaller.kept, smaller.is_cut_short);
        Ok(match smaller.nondeterminism {
            Some(_) => STATUS_NONDETERMINISM,
            None => status_of(smaller.kept.violation.expectation),
        })
    }
}
