//! `plimsoll run`: runs a sweep, and shows its progress, its result and its failures.

use std::num::NonZero;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use plimsoll_sim::report::sweep::{FailureReport, SweepReport};
use plimsoll_sim::search::generate::Profile;
use plimsoll_sim::search::seeds::SeedSet;
use plimsoll_sim::search::sweep::{Shard, Sweep};
use plimsoll_sim::world::run::{CPU_LIMIT, RunOptions, is_endless, run};

use super::failure::{self, CANDIDATE_CPU_LIMIT, Candidates, Kept};
use super::files::Source;
use super::interrupt::Interrupt;
use super::judge::in_child;
use super::output::{note, out, outln};
use super::results::{self, ResultFile};
use super::shard::ShardOption;
use super::{
    Problem, STATUS_CLEAN, STATUS_INTERRUPTED, STATUS_MARKS, STATUS_NONDETERMINISM, STATUS_USAGE, files,
    jobs, shell_line, status_of, words,
};

/// The time limit of the automatic shrink of one failure.
const SHRINK_LIMIT: Duration = Duration::from_secs(60);
/// The number of signatures whose example is shrunk automatically. For each other signature, the command that
/// shrinks its example is printed.
const SHRUNK_MAX: usize = 3;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  plimsoll run --seeds 0..20000 --keep-going           all failures, grouped by signature
  plimsoll run --minutes 30 --out nightly              as many seeds as half an hour allows
  plimsoll run --seeds 0..100000 --shard 2/8 --out r2  this machine's share; see `plimsoll merge`")]
pub struct Run {
    /// The seeds from A up to but not including B, or one seed. Without B there is no end. Defaults to 0..1000; with
    /// --minutes it has no end.
    #[arg(long, value_name = "A..B", value_parser = seeds)]
    seeds: Option<Range<u64>>,
    /// Stop after N minutes. Histories that have started are finished.
    #[arg(long, value_name = "N", value_parser = super::minutes)]
    minutes: Option<Duration>,
    #[command(flatten)]
    shard: ShardOption,
    /// Which faults the seeds may draw.
    #[arg(long, value_enum, default_value_t)]
    profile: Profile,
    /// The number of histories that run at the same time. Defaults to one per core.
    #[arg(long, value_name = "N", value_parser = super::job_count)]
    jobs: Option<NonZero<usize>>,
    /// Continue after a failure, and report all failures, grouped by signature.
    #[arg(long)]
    keep_going: bool,
    /// Exit with status 5 if a mark (see `plimsoll marks`) was not reached, neither now nor by earlier runs into
    /// the same --out.
    #[arg(long)]
    require_marks: bool,
    /// Do not shrink failing schedules.
    #[arg(long)]
    no_shrink: bool,
    /// The directory for the result (sweep.json, or sweep-I-of-N.json) and for the schedules of failing
    /// histories. By default only schedules are written, to `findings`. If the directory has a result of the same
    /// program, profile and shard, this run adds to it: seeds that it covers do not run again, and the output and
    /// the exit status are those of the sum, earlier failures included.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print only the result, as JSON.
    #[arg(long)]
    json: bool,
}

pub fn seeds(text: &str) -> Result<Range<u64>, String> {
    let number = |text: &str| text.parse::<u64>().map_err(|error| format!("`{text}`: {error}"));
    let Some((start, end)) = text.split_once("..") else {
        let seed = number(text)
            .map_err(|error| format!("{error}; expected A..B, for instance 0..1000, or a seed"))?;
        return if seed == u64::MAX { Err("the seed is too large".into()) } else { Ok(seed..seed + 1) };
    };
    let (start, end) = (number(start)?, if end.is_empty() { u64::MAX } else { number(end)? });
    if start >= end { Err(format!("{start}..{end} is empty")) } else { Ok(start..end) }
}

impl Run {
    pub fn execute(self) -> Result<u8, Problem> {
        let mut sweep = self.sweep()?;
        if sweep.seed_count() == 0 {
            let Range { start, end } = sweep.seeds;
            return Err(Problem::Usage(format!("shard {} has no seed of {start}..{end}", sweep.shard)));
        }
        files::prepare(self.directory(), self.out.is_some())?;
        let build = files::build()?;
        let open = |directory: &PathBuf| ResultFile::open(directory, &sweep, &build);
        let file = self.out.as_ref().map(open).transpose()?;
        sweep.done = file.as_ref().map(|file| file.done(sweep.shard)).unwrap_or_default();
        let interrupt = Interrupt::listen()?;
        let bar = progress_bar(&sweep);
        let outcome = interrupt.within(self.minutes, |stop| sweep.run(stop, |_| bar.inc(1)));
        let seconds = bar.elapsed().as_secs_f64();
        bar.finish_and_clear();
        let mut report = SweepReport::new(&sweep, &outcome, seconds, &build);
        let sum =
            |report: &SweepReport| file.as_ref().map_or_else(|| report.clone(), |file| file.sum(report));
        if !self.json {
            out!("{}", sum(&report));
        }
        let mut is_deterministic = true;
        for (number, failure) in report.failures.iter_mut().enumerate() {
            let should_shrink = !self.no_shrink && number < SHRUNK_MAX && !interrupt.is_interrupted();
            is_deterministic &= self.report(failure, should_shrink, &interrupt)?;
        }
        let sum = sum(&report);
        if self.json {
            out!("{}", results::json(&sum));
        } else {
            self.print_earlier(&sum, &report);
        }
        let is_written = file.is_none_or(|file| file.write(&sum));
        if let Some(next) = outcome.next_seed {
            self.print_continuation(next, &sweep);
        }
        Ok(match sum.worst() {
            _ if !is_deterministic => STATUS_NONDETERMINISM,
            Some(expectation) => status_of(expectation),
            None if !is_written => STATUS_USAGE,
            None if interrupt.is_interrupted() => STATUS_INTERRUPTED,
            None if self.require_marks && !sum.missing_marks().is_empty() => STATUS_MARKS,
            None => STATUS_CLEAN,
        })
    }

    fn sweep(&self) -> Result<Sweep, Problem> {
        let default_seeds = 0..if self.minutes.is_some() { u64::MAX } else { 1000 };
        Ok(Sweep {
            seeds: self.seeds.clone().unwrap_or(default_seeds),
            done: SeedSet::default(),
            shard: self.shard.shard()?,
            profile: self.profile,
            jobs: jobs(self.jobs),
            keep_going: self.keep_going,
        })
    }

    fn directory(&self) -> &Path {
        self.out.as_deref().unwrap_or(Path::new("findings"))
    }

    /// Keeps, shrinks and prints the smallest example of one signature. Returns whether it was deterministic.
    fn report(
        &self,
        failure: &mut FailureReport,
        should_shrink: bool,
        interrupt: &Interrupt,
    ) -> Result<bool, Problem> {
        let seed = failure.smallest.seed;
        let schedule = files::schedule_of(seed, self.profile);
        let is_endless = is_endless(&failure.signature);
        let again = if is_endless {
            in_child(&schedule, CPU_LIMIT)
        } else {
            Ok(run(&schedule, RunOptions::default()))
        };
        let again = match again {
            Ok(again) => again,
            Err(error) => {
                outln!("seed {seed}: {}; it could not run again: {error}", failure.smallest.violation);
                return Ok(true);
            }
        };
        let Some(violation) = again.violation.filter(|violation| violation.signature() == failure.signature)
        else {
            outln!(
                "seed {seed} failed ({}) but does not fail in this way when it runs again",
                failure.smallest.violation
            );
            return Ok(false);
        };
        // The finding is printed before anything is written, because writing may fail.
        if !self.json {
            outln!("\nseed {seed}: {violation}");
            outln!("  signature  {}", failure.signature);
            failure::print_seeds(failure);
            outln!("  replay     {}", shell_line(&words(&Source::Seed(seed).replay(self.profile))));
        }
        let kept = Kept::write(schedule, violation, failure::path_of(self.directory(), seed));
        failure.smallest.schedule = kept.is_saved.then(|| file_name(&kept.path));
        let smaller = if should_shrink {
            let path = kept.path.with_extension("min.jsonl");
            let candidates =
                if is_endless { Candidates::InChildren(CANDIDATE_CPU_LIMIT) } else { Candidates::Here };
            failure::shrink(&kept.schedule, path, candidates, jobs(self.jobs), SHRINK_LIMIT, interrupt)?
        } else {
            None
        };
        let shrunk = smaller.as_ref().map(|smaller| &smaller.kept).filter(|kept| kept.is_saved);
        failure.smallest.shrunk = shrunk.map(|kept| file_name(&kept.path));
        if !self.json {
            outln!("  schedule   {}", kept.place());
            match &smaller {
                Some(smaller) => {
                    failure::print_smaller(smaller);
                    failure::print_next(&smaller.kept, smaller.is_cut_short);
                }
                None => failure::print_next(&kept, true),
            }
        }
        Ok(smaller.is_none_or(|smaller| smaller.nondeterminism.is_none()))
    }

    /// Prints the failures in the sum whose signatures only earlier runs have found.
    fn print_earlier(&self, sum: &SweepReport, report: &SweepReport) {
        let is_new = |known: &FailureReport| {
            report.failures.iter().any(|failure| failure.signature == known.signature)
        };
        let located = files::located(sum.clone(), self.directory());
        located.failures.iter().filter(|known| !is_new(known)).for_each(failure::print_kept);
    }

    /// Prints the command that continues an unfinished sweep.
    fn print_continuation(&self, next: u64, sweep: &Sweep) {
        let line = shell_line(&words(&self.continuation(next, sweep)));
        let text = format!("ended before seed {next}; continue with: {line}");
        if self.json {
            note!("plimsoll: {text}");
        } else {
            outln!("\n{text}");
        }
    }

    /// The command line of a sweep with the same options that begins at the seed `next`.
    fn continuation(&self, next: u64, sweep: &Sweep) -> Vec<String> {
        // The pattern lists all fields, so that a new option cannot be forgotten here.
        let Self { seeds: _, minutes, shard, profile, jobs, keep_going, require_marks, no_shrink, out, json } =
            self;
        let end = if sweep.seeds.end == u64::MAX { String::new() } else { sweep.seeds.end.to_string() };
        let has_shard = shard.is_given() || sweep.shard != Shard::WHOLE;
        let values = [
            ("--seeds", Some(format!("{next}..{end}"))),
            ("--minutes", minutes.map(|limit| (limit.as_secs_f64() / 60.0).to_string())),
            ("--shard", has_shard.then(|| sweep.shard.to_string())),
            ("--profile", (*profile != Profile::default()).then(|| profile.name())),
            ("--jobs", jobs.map(|count| count.to_string())),
            ("--out", out.as_ref().map(|directory| directory.display().to_string())),
        ];
        let flags = [
            ("--keep-going", keep_going),
            ("--require-marks", require_marks),
            ("--no-shrink", no_shrink),
            ("--json", json),
        ];
        let values = values.into_iter().filter_map(|(name, value)| Some([name.to_owned(), value?]));
        let flags = flags.into_iter().filter(|(_, is_set)| **is_set).map(|(name, _)| name.to_owned());
        ["run".to_owned()].into_iter().chain(values.flatten()).chain(flags).collect()
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn progress_bar(sweep: &Sweep) -> ProgressBar {
    let (template, bar) = if sweep.seeds.end == u64::MAX {
        ("{spinner} {human_pos} histories, {per_sec}, {elapsed}", ProgressBar::new_spinner())
    } else {
        (
            "{wide_bar} {human_pos}/{human_len} histories, {per_sec}, {eta} left",
            ProgressBar::new(sweep.seed_count()),
        )
    };
    bar.with_style(ProgressStyle::with_template(template).expect("the template is valid"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Arguments, Command};

    fn parsed<'a>(words: impl IntoIterator<Item = &'a str>) -> Run {
        let words = ["plimsoll"].into_iter().chain(words);
        match Arguments::try_parse_from(words).expect("the command line is valid").command {
            Some(Command::Run(run)) => run,
            other => panic!("this is no sweep: {other:?}"),
        }
    }

    /// Every option with a value that is not its default.
    const ALL: &str = "run --seeds 5..90 --minutes 0.5 --shard 1/3 --profile crash --jobs 3 --out results \
                       --keep-going --require-marks --no-shrink --json";

    #[test]
    fn the_command_that_continues_a_sweep_repeats_every_option() {
        let known = Run::augment_args(clap::Command::new("run"));
        for name in known.get_arguments().filter_map(clap::Arg::get_long) {
            assert!(ALL.contains(&format!("--{name}")), "--{name} is missing in this test");
        }
        let run = parsed(ALL.split_whitespace());
        let sweep = run.sweep().expect("the options are valid");
        let again = parsed(words(&run.continuation(40, &sweep)));
        assert_eq!(format!("{again:?}"), format!("{:?}", Run { seeds: Some(40..90), ..run }));
    }

    #[test]
    fn options_that_were_not_given_are_not_added() {
        let run = parsed(["run", "--shard", "0/1"]);
        let sweep = run.sweep().expect("the options are valid");
        assert_eq!(run.continuation(7, &sweep), ["run", "--seeds", "7..1000", "--shard", "0/1"]);
        let run = parsed(["run", "--shard", "0/1", "--seeds", "3.."]);
        let sweep = run.sweep().expect("the options are valid");
        assert_eq!(run.continuation(7, &sweep)[2], "7..");
    }
}
