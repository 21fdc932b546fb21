//! `plimsoll fingerprint`: prints one line per history, to compare the behaviour of two builds.
//!
//! A change that only moves or renames code leaves every line unchanged.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZero;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use plimsoll_sim::judge::counts::Counts;
use plimsoll_sim::schedule::Schedule;
use plimsoll_sim::search::corpus;
use plimsoll_sim::search::explore::{self, Options};
use plimsoll_sim::search::generate::{Profile, generate};
use plimsoll_sim::world::run::{Outcome, RunOptions, run};

use super::output::out;
use super::{Problem, STATUS_CLEAN, files, jobs};

#[derive(Debug, Args)]
#[command(after_help = "\
Each line has the history's name, the hash of its trace, the hash of its disk and wire bytes, and its verdict.
A further line per profile has the sums of its counts.

Examples:
  plimsoll fingerprint --out before.txt    on the commit before a refactoring
  plimsoll fingerprint | diff before.txt - on the commit after it")]
pub struct Fingerprint {
    /// The seeds from A up to but not including B, each under every profile.
    #[arg(long, value_name = "A..B", value_parser = super::run::seeds, default_value = "0..2000")]
    seeds: Range<u64>,
    /// Use only this profile.
    #[arg(long, value_enum)]
    profile: Option<Profile>,
    /// Skip the explored histories, which take the longest.
    #[arg(long)]
    no_explore: bool,
    /// The directory of the corpus.
    #[arg(long, value_name = "DIR", default_value = corpus::DIRECTORY)]
    corpus: PathBuf,
    /// The number of histories that run at the same time. Defaults to one per core.
    #[arg(long, value_name = "N", value_parser = super::job_count)]
    jobs: Option<NonZero<usize>>,
    /// Write the lines to a file instead of printing them.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Fingerprint {
    pub fn execute(self) -> Result<u8, Problem> {
        if self.seeds.end == u64::MAX {
            return Err(Problem::Usage("--seeds needs an end here: A..B".into()));
        }
        if let Some(path) = &self.out {
            files::prepare_file(path)?;
        }
        let corpus = files::corpus(&self.corpus)?;
        let mut text = String::new();
        let profiles = match &self.profile {
            Some(profile) => std::slice::from_ref(profile),
            None => Profile::value_variants(),
        };
        for profile in profiles {
            let (name, start) = (profile.name(), self.seeds.start);
            let of_seed = |index: u64| {
                let seed = start + index;
                (format!("{name} {seed}"), generate(seed, *profile))
            };
            text.push_str(&self.lines(&name, self.seeds.end - start, of_seed));
        }
        let of_corpus = |index: u64| corpus[index as usize].clone();
        text.push_str(&self.lines("corpus", corpus.len() as u64, of_corpus));
        if !self.no_explore {
            text.push_str(&self.explored()?);
        }
        match &self.out {
            Some(path) => files::write(path, &text)?,
            None => out!("{text}"),
        }
        Ok(STATUS_CLEAN)
    }

    /// Runs the schedules. Returns one line for each, in order, and one line for the sums of their counts.
    #[expect(clippy::disallowed_methods, reason = "histories share nothing, so the thread does not matter")]
    fn lines(&self, group: &str, count: u64, nth: impl Fn(u64) -> (String, Schedule) + Sync) -> String {
        let bar = progress_bar(group, count);
        let next = AtomicU64::new(0);
        let lines = Mutex::new(BTreeMap::new());
        let counts = Mutex::new(Counts::default());
        thread::scope(|scope| {
            for _ in 0..jobs(self.jobs) {
                scope.spawn(|| {
                    loop {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        if index >= count {
                            break;
                        }
                        let (name, schedule) = nth(index);
                        let outcome = run(&schedule, RunOptions::default());
                        counts.lock().unwrap_or_else(PoisonError::into_inner).add(&outcome.counts);
                        let line = Line { name: &name, outcome: &outcome }.to_string();
                        lines.lock().unwrap_or_else(PoisonError::into_inner).insert(index, line);
                        bar.inc(1);
                    }
                });
            }
        });
        bar.finish_and_clear();
        let counts = counts.into_inner().unwrap_or_else(PoisonError::into_inner);
        let lines: String =
            lines.into_inner().unwrap_or_else(PoisonError::into_inner).into_values().collect();
        let counts = serde_json::to_string(&counts).expect("plain data serializes");
        format!("{lines}{group} counts {counts}\n")
    }

    fn explored(&self) -> Result<String, Problem> {
        let units = explore::default_set();
        let bar = progress_bar("explore", units.len() as u64);
        let options = Options { jobs: jobs(self.jobs), crashes_max: 2 };
        let (progress, _) = explore::explore(&units, options, &AtomicBool::new(false), |progress| {
            bar.set_position(progress.units_done);
        })
        .map_err(Problem::Explore)?;
        bar.finish_and_clear();
        Ok(format!(
            "explore {:016x} {:016x} {} histories, {} variants not rerun, {} violations\n",
            progress.hash,
            progress.bytes_hash,
            progress.histories,
            progress.deduplicated,
            progress.violations
        ))
    }
}

struct Line<'a> {
    name: &'a str,
    outcome: &'a Outcome,
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Outcome { hash, bytes_hash, violation, .. } = self.outcome;
        write!(f, "{} {hash:016x} {bytes_hash:016x} ", self.name)?;
        match violation {
            None => writeln!(f, "clean"),
            Some(violation) => match violation.step {
                Some(step) => writeln!(f, "{} after step {step}", violation.invariant),
                None => writeln!(f, "{} at the end", violation.invariant),
            },
        }
    }
}

fn progress_bar(group: &str, length: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg} {wide_bar} {human_pos}/{human_len}, {eta} left")
        .expect("the template is valid");
    ProgressBar::new(length).with_style(style).with_message(group.to_owned())
}
