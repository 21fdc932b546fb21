//! `plimsoll shrink`: reduces a schedule to a smaller one that fails in the same way.

use std::num::NonZero;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use plimsoll_sim::search::generate::Profile;
use plimsoll_sim::world::run::is_endless;

use super::failure::{CANDIDATE_CPU_LIMIT, Candidates};
use super::files::Source;
use super::interrupt::Interrupt;
use super::judge::in_child;
use super::output::outln;
use super::{Problem, STATUS_NONDETERMINISM, failure, files, jobs, status_of};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  plimsoll shrink 384                                to findings/seed-384.min.jsonl
  plimsoll shrink findings/seed-384.jsonl -o small.jsonl
  plimsoll shrink edited.jsonl                       beside it, to edited.min.jsonl")]
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
    /// The CPU time in seconds after which a history counts as one that does not end.
    #[arg(long, value_name = "N", default_value = "300", value_parser = super::cpu_time)]
    cpu_seconds: Duration,
}

impl Shrink {
    pub fn execute(self) -> Result<u8, Problem> {
        let schedule = self.source.schedule(self.profile)?;
        let path = self.output.clone().unwrap_or_else(|| self.source.shrunk_path());
        files::prepare_file(&path)?;
        let interrupt = Interrupt::listen()?;
        let nothing = || Problem::Usage(format!("{} does not fail: nothing to shrink", self.source.name()));
        // In a child, because a thread of a history that does not end could not be stopped here.
        let violation = in_child(&schedule, self.cpu_seconds)?.violation.ok_or_else(nothing)?;
        let candidates = if is_endless(&violation.signature()) {
            Candidates::InChildren(self.cpu_seconds.min(CANDIDATE_CPU_LIMIT))
        } else {
            Candidates::Here
        };
        let limit = Duration::from_secs(self.seconds);
        let smaller = failure::shrink(&schedule, path, candidates, jobs(self.jobs), limit, &interrupt)?
            .ok_or_else(nothing)?;
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
