//! `plimsoll replay`: runs one history again, shows what happened, and optionally checks that it is
//! deterministic.

use std::path::{Path, PathBuf};

use clap::Args;
use plimsoll_sim::report::page::{Heading, page};
use plimsoll_sim::report::timeline::timeline;
use plimsoll_sim::schedule::Schedule;
use plimsoll_sim::search::generate::Profile;
use plimsoll_sim::text::counted;
use plimsoll_sim::world::run::{Outcome, RunOptions, run};

use super::files::Source;
use super::output::{note, outln};
use super::{
    Problem, STATUS_CLEAN, STATUS_NONDETERMINISM, determinism, files, in_colour, shell_line, status_of,
};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  plimsoll replay findings/seed-7.min.jsonl     the timeline, in lanes
  plimsoll replay 7 --html seed-7.html          the same as a page
  plimsoll replay 7 --check-determinism         compares two runs here and one in a child process
  plimsoll replay - < edited.jsonl              from standard input")]
pub struct Replay {
    /// A seed, the path of a schedule file, or `-` for standard input.
    source: Source,
    /// The profile of the sweep that the seed is from. Ignored for a file.
    #[arg(long, value_enum, default_value_t)]
    profile: Profile,
    /// Print every event instead of the timeline.
    #[arg(long)]
    trace: bool,
    /// Print only the trace's hash.
    #[arg(long, conflicts_with_all = ["trace", "html", "check_determinism"])]
    hash: bool,
    /// Write the timeline to an HTML page, a single file that needs no network, instead of printing it. `-` prints the page.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Run the history twice in this process and once in another, and compare every event.
    #[arg(long)]
    check_determinism: bool,
    /// Print the events and then the hash, for a parent process that compares them.
    #[arg(long, hide = true)]
    events: bool,
}

impl Replay {
    pub fn execute(self) -> Result<u8, Problem> {
        let schedule = self.source.schedule(self.profile)?;
        let outcome = run(&schedule, RunOptions { keep_events: !self.hash, ..RunOptions::default() });
        let status =
            outcome.violation.as_ref().map_or(STATUS_CLEAN, |violation| status_of(violation.expectation));
        if self.trace || self.events {
            for event in &outcome.events {
                outln!("{event}");
            }
        }
        if self.hash || self.events {
            outln!("{:016x}", outcome.hash);
            return Ok(status);
        }
        if self.html.as_deref() == Some(Path::new("-")) {
            outln!("{}", page(&self.heading(), &schedule, &outcome));
            return Ok(status);
        }
        if let Some(path) = &self.html {
            // The page can be written again. What the history has broken is what the status says.
            match files::write(path, &page(&self.heading(), &schedule, &outcome)) {
                Ok(()) => outln!("wrote {}", path.display()),
                Err(problem) if status == STATUS_CLEAN => return Err(problem),
                Err(problem) => note!("plimsoll: {problem}"),
            }
        } else if !self.trace && !self.check_determinism {
            outln!("{}", timeline(&outcome, in_colour()));
        }
        print_outcome(&schedule, &outcome);
        if self.check_determinism {
            if let Some(difference) = determinism::difference(&schedule, &outcome)? {
                outln!("{difference}");
                return Ok(STATUS_NONDETERMINISM);
            }
            outln!("deterministic: two runs in this process and one in another are the same");
        }
        Ok(status)
    }

    fn heading(&self) -> Heading {
        let arguments = self.source.arguments(self.profile);
        let line = |command| {
            let words: Vec<&str> =
                [command].into_iter().chain(arguments.iter().map(String::as_str)).collect();
            shell_line(&words)
        };
        Heading { source: self.source.name(), replay: line("replay"), shrink: line("shrink") }
    }
}

fn print_outcome(schedule: &Schedule, outcome: &Outcome) {
    let counts = &outcome.counts;
    outln!("{} events, hash {:016x}", outcome.event_count, outcome.hash);
    outln!(
        "{}, {} crashes, {} requests, {} messages lost",
        counted(schedule.steps.len() as u64, "step"),
        counts.crashes(),
        counts.requests,
        counts.messages_lost(),
    );
    for (step, fault) in &outcome.fault_outcomes.unreached {
        outln!("not reached in step {step}: {fault}");
    }
    for step in &outcome.fault_outcomes.not_run {
        outln!(
            "step {step} did not run: its moment inside another step was not reached, or did not allow it"
        );
    }
    let not_run = schedule.steps.len() as u64 - counts.steps;
    if not_run > 0 {
        outln!("{not_run} later steps did not run");
    }
    match &outcome.violation {
        Some(violation) => outln!("{violation}\nsignature: {}", violation.signature()),
        None => outln!("clean"),
    }
}
