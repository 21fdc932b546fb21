//! `plimsoll run`: runs a sweep, and shows its progress, its result and its failures.

use std::num::NonZero;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use plimsoll_sim::report::sweep::{FailureReport, SweepReport};
use plimsoll_sim::search::generate::Profile;
use plimsoll_sim::search::sweep::{Shard, Sweep};
use plimsoll_sim::world::run::{RunOptions, run};

use super::failure::{self, Kept};
use super::files::Source;
use super::interrupt::Interrupt;
use super::output::{out, outln};
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
    /// Exit with status 5 if a mark (see `plimsoll marks`) was not reached.
    #[arg(long)]
    require_marks: bool,
    /// Do not shrink failing schedules.
    #[arg(long)]
    no_shrink: bool,
    /// The directory for the result (sweep.json, or sweep-I-of-N.json) and for the schedules of failing
    /// histories. By default only schedules are written, to `findings`.
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
        let default_seeds = 0..if self.minutes.is_some() { u64::MAX } else { 1000 };
        let sweep = Sweep {
            seeds: self.seeds.clone().unwrap_or(default_seeds),
            shard: self.shard.shard()?,
            profile: self.profile,
            jobs: jobs(self.jobs),
            keep_going: self.keep_going,
        };
        files::prepare(self.directory(), self.out.is_some())?;
        let interrupt = Interrupt::listen()?;
        let bar = progress_bar(&sweep);
        let outcome = interrupt.within(self.minutes, |stop| sweep.run(stop, |_| bar.inc(1)));
        let seconds = bar.elapsed().as_secs_f64();
        bar.finish_and_clear();
        let mut report = SweepReport::new(&sweep, &outcome, seconds);
        if !self.json {
            out!("{report}");
        }
        let mut is_deterministic = true;
        for (number, failure) in report.failures.iter_mut().enumerate() {
            let should_shrink = !self.no_shrink && number < SHRUNK_MAX && !interrupt.is_interrupted();
            is_deterministic &= self.report(failure, should_shrink, &interrupt)?;
        }
        let is_written = self.write_result(&report, &sweep);
        if !self.json {
            self.print_continuation(&report, &sweep);
        }
        let clean = if interrupt.is_interrupted() { STATUS_INTERRUPTED } else { STATUS_CLEAN };
        Ok(match report.worst() {
            _ if !is_deterministic => STATUS_NONDETERMINISM,
            Some(expectation) => status_of(expectation),
            None if !is_written => STATUS_USAGE,
            None if self.require_marks && outcome.counts.marks.missing().next().is_some() => STATUS_MARKS,
            None => clean,
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
        let again = run(&schedule, RunOptions::default());
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
            print_seeds(failure);
            outln!("  replay     {}", shell_line(&words(&Source::Seed(seed).replay(self.profile))));
        }
        let kept = Kept::write(schedule, violation, failure::path_of(self.directory(), seed));
        failure.smallest.schedule = kept.is_saved.then(|| file_name(&kept.path));
        let smaller = if should_shrink {
            let path = kept.path.with_extension("min.jsonl");
            failure::shrink(&kept.schedule, path, jobs(self.jobs), SHRINK_LIMIT, interrupt)?
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

    /// Writes the result to a file, and prints it as JSON, where that was requested. Returns whether the file
    /// could be written.
    fn write_result(&self, report: &SweepReport, sweep: &Sweep) -> bool {
        let json = serde_json::to_string_pretty(report).expect("plain data serializes") + "\n";
        if self.json {
            out!("{json}");
        }
        let path = self.out.as_ref().map(|directory| directory.join(result_name(sweep.shard)));
        path.is_none_or(|path| files::write_or_print(&path, &json))
    }

    /// Prints the command that continues an unfinished sweep.
    fn print_continuation(&self, report: &SweepReport, sweep: &Sweep) {
        if let Some(next) = report.unfinished.get(&sweep.shard.index) {
            let end = if sweep.seeds.end == u64::MAX { String::new() } else { sweep.seeds.end.to_string() };
            let mut words = vec!["run".to_owned(), "--seeds".into(), format!("{next}..{end}")];
            if sweep.profile != Profile::default() {
                words.extend(["--profile".into(), files::profile_name(sweep.profile)]);
            }
            if sweep.shard != Shard::WHOLE {
                words.extend(["--shard".into(), sweep.shard.to_string()]);
            }
            if sweep.keep_going {
                words.push("--keep-going".into());
            }
            if let Some(limit) = self.minutes {
                words.extend(["--minutes".into(), (limit.as_secs_f64() / 60.0).to_string()]);
            }
            if let Some(directory) = &self.out {
                words.extend(["--out".into(), directory.display().to_string()]);
            }
            outln!("\nended before seed {next}; continue with: {}", shell_line(&self::words(&words)));
        }
    }
}

fn result_name(shard: Shard) -> String {
    match shard {
        Shard::WHOLE => "sweep.json".into(),
        Shard { index, count } => format!("sweep-{index}-of-{count}.json"),
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Prints the seeds that share the signature.
pub fn print_seeds(failure: &FailureReport) {
    if failure.count > 1 {
        let seeds: Vec<String> = failure.seeds.iter().map(u64::to_string).collect();
        let more = if failure.count > failure.seeds.len() as u64 { ", …" } else { "" };
        outln!("  failures   {} with this signature: seeds {}{more}", failure.count, seeds.join(", "));
    }
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
