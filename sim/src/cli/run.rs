//! `plimsoll run`: the sweep, its progress and its summary.

use std::num::NonZero;
use std::ops::Range;
use std::path::PathBuf;
use std::thread;

use clap::Args;
use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use plimsoll_sim::atlas::FaultKind;
use plimsoll_sim::generate::{Profile, generate};
use plimsoll_sim::run::{RunOptions, run};
use plimsoll_sim::sweep::{Failure, Sweep, SweepOutcome};
use plimsoll_sim::trace::Event;

use super::{Problem, STATUS_CLEAN, status_of, write_schedule};

/// How many of a failing history's last events are printed.
const LAST_EVENTS: usize = 12;

#[derive(Debug, Args)]
pub struct Run {
    /// The seeds, from A to before B.
    #[arg(long, value_name = "A..B", default_value = "0..1000", value_parser = seeds)]
    seeds: Range<u64>,
    /// Which faults the seeds may draw.
    #[arg(long, value_enum, default_value_t)]
    profile: Profile,
    /// How many histories run at once; by default one a core.
    #[arg(long, value_name = "N")]
    jobs: Option<NonZero<usize>>,
    /// Go on after a failure and report all of them.
    #[arg(long)]
    keep_going: bool,
    /// Where the schedules of failing histories are written.
    #[arg(long, value_name = "DIR", default_value = "findings")]
    out: PathBuf,
}

fn seeds(text: &str) -> Result<Range<u64>, String> {
    let (start, end) = text.split_once("..").ok_or("expected A..B, for instance 0..1000")?;
    let number = |text: &str| text.parse::<u64>().map_err(|error| format!("`{text}`: {error}"));
    let (start, end) = (number(start)?, number(end)?);
    if start >= end { Err(format!("{start}..{end} is empty")) } else { Ok(start..end) }
}

impl Run {
    pub fn execute(self) -> Result<u8, Problem> {
        let jobs = self.jobs.or_else(|| thread::available_parallelism().ok()).map_or(1, NonZero::get);
        let sweep =
            Sweep { seeds: self.seeds.clone(), profile: self.profile, jobs, keep_going: self.keep_going };
        let bar = progress_bar(sweep.seeds.end - sweep.seeds.start);
        let outcome = sweep.run(|_| bar.inc(1));
        let seconds = bar.elapsed().as_secs_f64();
        bar.finish_and_clear();
        print_summary(&outcome, &sweep, seconds);
        let mut status = STATUS_CLEAN;
        for failure in outcome.failures.iter().rev() {
            self.report(failure)?;
            status = status_of(&failure.violation);
        }
        Ok(status)
    }

    fn report(&self, failure: &Failure) -> Result<(), Problem> {
        let schedule = generate(failure.seed, self.profile);
        let path = write_schedule(&self.out, &format!("seed-{}.jsonl", failure.seed), &schedule)?;
        let again = run(&schedule, RunOptions { keep_events: true, ..RunOptions::default() });
        println!("\nseed {}: {}", failure.seed, failure.violation);
        print_last_events(&again.events);
        println!("  schedule  {path}");
        println!("  replay    cargo run --release -- replay {path} --trace");
        Ok(())
    }
}

fn print_last_events(events: &[Event]) {
    let first = events.len().saturating_sub(LAST_EVENTS);
    println!("  the last {} of {} events:", events.len() - first, events.len());
    for event in &events[first..] {
        println!("    {event}");
    }
}

fn progress_bar(length: u64) -> ProgressBar {
    let style =
        ProgressStyle::with_template("{wide_bar} {human_pos}/{human_len} histories, {per_sec}, {eta} left")
            .expect("the template is sound");
    ProgressBar::new(length).with_style(style)
}

fn print_summary(outcome: &SweepOutcome, sweep: &Sweep, seconds: f64) {
    let counts = &outcome.counts;
    let share = |part: u64| 100 * part / counts.histories.max(1);
    let struck = |kinds: &[FaultKind]| HumanCount(kinds.iter().map(|&kind| counts.struck_by(kind)).sum());
    let line = |name: &str, text: String| println!("{name:<12}{text}");
    line(
        "histories",
        format!(
            "{} of seeds {}..{}, {:.0} a second on {} threads",
            HumanCount(counts.histories),
            sweep.seeds.start,
            sweep.seeds.end,
            counts.histories as f64 / seconds.max(1e-9),
            sweep.jobs
        ),
    );
    line(
        "steps",
        format!(
            "{}, {} transactions committed by clients",
            HumanCount(counts.steps),
            HumanCount(counts.client_commits)
        ),
    );
    line(
        "",
        format!(
            "{} steps inside others, {} transactions and {} readers held open; {} operations refused as the second, {} busy",
            HumanCount(counts.steps_inside),
            HumanCount(counts.held_open),
            HumanCount(counts.readers_held),
            HumanCount(counts.second_operations),
            HumanCount(counts.busy)
        ),
    );
    line(
        "crashes",
        format!(
            "{} kills, {} power losses; {} of them inside an operation",
            HumanCount(counts.kills),
            HumanCount(counts.power_losses),
            HumanCount(counts.crashes_inside)
        ),
    );
    line(
        "requests",
        format!(
            "{}; {} lost, {} more applied but their response lost",
            HumanCount(counts.requests),
            HumanCount(counts.requests_lost),
            HumanCount(counts.responses_lost)
        ),
    );
    line(
        "",
        format!(
            "{} delayed, {} duplicated; bodies: {} cut, {} in crumbs, {} garbage; {} wrong statuses, {} untrue answers",
            struck(&[FaultKind::Delay]),
            struck(&[FaultKind::Duplicate]),
            struck(&[FaultKind::Cut, FaultKind::EndEarly]),
            struck(&[FaultKind::TinyChunks]),
            struck(&[FaultKind::Garbage]),
            struck(&[FaultKind::WrongStatus]),
            struck(&[FaultKind::UntrueAnswer, FaultKind::StaleAnswer])
        ),
    );
    line(
        "disk errors",
        format!(
            "{}; {} operations reported an error, {} were refused",
            HumanCount(counts.disk_errors),
            HumanCount(counts.errors_reported),
            HumanCount(counts.errors_refused)
        ),
    );
    line(
        "faults",
        format!(
            "{} struck, {} found no place; {}% of the histories saw both a crash and a network fault",
            HumanCount(counts.struck.values().sum()),
            HumanCount(counts.faults_unreached),
            share(counts.histories_struck)
        ),
    );
    line("remote", format!("{} generation changes", HumanCount(counts.generations)));
    let judged = format!(
        "{} times; {} crash images opened; {} violations",
        HumanCount(counts.checks),
        HumanCount(counts.images_opened),
        outcome.failures.len()
    );
    line("judged", judged);
}
