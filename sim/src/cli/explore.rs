//! `plimsoll explore`: injects every crash and every lost message into the units, which are steps of short
//! schedules.

use std::num::NonZero;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use plimsoll_sim::search::explore::{self, ExploredFailure, Options, Progress, Unit};
use plimsoll_sim::search::generate::Profile;
use plimsoll_sim::text::counted;
use plimsoll_sim::world::run::{RunOptions, run};

use super::failure::{self, Kept};
use super::files::Source;
use super::interrupt::Interrupt;
use super::output::outln;
use super::{Problem, STATUS_CLEAN, STATUS_INTERRUPTED, STATUS_SAFETY, files, jobs, status_of};

/// The number of findings that are printed.
const SHOWN_MAX: usize = 10;

#[derive(Debug, Args)]
#[command(after_help = "\
A unit is one step of one schedule. It is explored with every crash and every lost message.")]
pub struct Explore {
    /// A seed or the path of a schedule file. Each step of a client in it is a unit. Defaults to a set of
    /// units that covers all flows of the engine.
    #[arg(conflicts_with = "ops")]
    source: Option<Source>,
    /// Explore the last operation of every sequence of N operations instead.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4))]
    ops: Option<u32>,
    /// Explore only the units whose name contains TEXT.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Start nothing new after N minutes.
    #[arg(long, value_name = "N", value_parser = super::minutes)]
    minutes: Option<Duration>,
    /// The number of processes. Defaults to one per core.
    #[arg(long, value_name = "N", value_parser = super::job_count)]
    jobs: Option<NonZero<usize>>,
    /// The maximum number of crashes in one history. With 2, the recovery is crashed as well.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=3))]
    crashes: u32,
    /// The directory for the schedules of failing histories.
    #[arg(long, value_name = "DIR", default_value = "findings")]
    out: PathBuf,
}

impl Explore {
    pub fn execute(self) -> Result<u8, Problem> {
        let mut units = match (&self.source, self.ops) {
            (Some(source), _) => explore::of_schedule(&source.schedule(Profile::default())?),
            (None, Some(length)) => explore::of_length(length),
            (None, None) => explore::default_set(),
        };
        if units.is_empty() {
            return Err(Problem::Usage(
                "the schedule has no step of a client, so there is nothing to explore".into(),
            ));
        }
        if let Some(text) = &self.only {
            let names: Vec<String> = units.iter().map(|unit| unit.name.clone()).collect();
            units.retain(|unit| unit.name.contains(text.as_str()));
            if units.is_empty() {
                let names = listed(&names);
                return Err(Problem::Usage(format!(
                    "no unit's name contains {text:?}; the units are:{names}"
                )));
            }
        }
        files::prepare(&self.out, false)?;
        let bar = progress_bar(&units);
        let show = |progress: Progress| {
            bar.set_position(progress.units_done);
            bar.set_message(format!("{} histories", HumanCount(progress.histories)));
        };
        let options = Options { jobs: jobs(self.jobs), crashes_max: self.crashes };
        let interrupt = Interrupt::listen()?;
        let (progress, findings) = interrupt
            .within(self.minutes, |stop| explore::explore(&units, options, stop, show))
            .map_err(Problem::Explore)?;
        let seconds = bar.elapsed().as_secs_f64();
        bar.finish_and_clear();
        outln!(
            "explored    {} of {} units: {} histories, {} of them crashed again in the recovery, {:.0} a second",
            progress.units_done,
            units.len(),
            HumanCount(progress.histories),
            HumanCount(progress.crashed_twice),
            progress.histories as f64 / seconds.max(1e-9),
        );
        outln!("not rerun   {} variants whose state had been visited", HumanCount(progress.deduplicated));
        if progress.units_done < units.len() as u64 {
            let left = counted(units.len() as u64 - progress.units_done, "unit");
            outln!("left        {left} not explored for lack of time");
        }
        outln!("found       {}", counted(progress.violations, "violation"));
        let status = self.report(&findings)?;
        Ok(if status == STATUS_CLEAN && interrupt.is_interrupted() { STATUS_INTERRUPTED } else { status })
    }

    fn report(&self, findings: &[ExploredFailure]) -> Result<u8, Problem> {
        let mut status = STATUS_CLEAN;
        for (number, ExploredFailure { unit, schedule }) in findings.iter().enumerate().take(SHOWN_MAX) {
            let path = self.out.join(format!("explored-{number}.jsonl"));
            let Some(violation) = run(schedule, RunOptions::default()).violation else {
                files::write_or_print(&path, &schedule.print());
                return Err(Problem::NotReproduced { path: path.display().to_string() });
            };
            // A broken safety is worse than a broken liveness.
            status = match status {
                STATUS_SAFETY => STATUS_SAFETY,
                _ => status_of(violation.expectation),
            };
            let mut schedule = schedule.clone();
            schedule.comments.head.push(format!("explored: {unit}"));
            outln!("\n{unit}: {violation}");
            outln!("  signature  {}", violation.signature());
            let kept = Kept::write(schedule, violation, path);
            outln!("  schedule   {}", kept.place());
            failure::print_next(&kept, true);
        }
        if findings.len() > SHOWN_MAX {
            outln!("\nand {} more", findings.len() - SHOWN_MAX);
        }
        Ok(status)
    }
}

/// The names, one per line, and how many more there are.
fn listed(names: &[String]) -> String {
    const LISTED_MAX: usize = 40;
    let mut list: String = names.iter().take(LISTED_MAX).map(|name| format!("\n  {name}")).collect();
    if names.len() > LISTED_MAX {
        list += &format!("\n  and {} more", names.len() - LISTED_MAX);
    }
    list
}

fn progress_bar(units: &[Unit]) -> ProgressBar {
    let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} units, {msg}, {elapsed} elapsed")
        .expect("the template is valid");
    ProgressBar::new(units.len() as u64).with_style(style)
}
