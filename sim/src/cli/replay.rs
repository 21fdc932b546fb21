//! `plimsoll replay`: one history again, and whether it is the same again.

use std::process::Command;

use clap::Args;
use plimsoll_sim::generate::Profile;
use plimsoll_sim::run::{Outcome, RunOptions, run};
use plimsoll_sim::schedule::Schedule;
use plimsoll_sim::trace::first_difference;

use super::{Problem, STATUS_CLEAN, STATUS_NONDETERMINISM, Source, status_of};

#[derive(Debug, Args)]
pub struct Replay {
    /// A seed, or the path of a schedule file.
    source: Source,
    /// The profile that the seed was swept with; means nothing for a file.
    #[arg(long, value_enum, default_value_t)]
    profile: Profile,
    /// Print every event.
    #[arg(long)]
    trace: bool,
    /// Print the trace's hash and nothing else.
    #[arg(long)]
    hash: bool,
    /// Run it twice in this process and once in another, and compare.
    #[arg(long)]
    check_determinism: bool,
}

impl Replay {
    pub fn execute(self) -> Result<u8, Problem> {
        let schedule = self.source.schedule(self.profile)?;
        let keep_events = self.trace || self.check_determinism;
        let outcome = run(&schedule, RunOptions { keep_events, ..RunOptions::default() });
        if self.hash {
            println!("{:016x}", outcome.hash);
            return Ok(status(&outcome));
        }
        if self.trace {
            for event in &outcome.events {
                println!("{event}");
            }
        }
        println!("{} events, hash {:016x}", outcome.event_count, outcome.hash);
        let counts = &outcome.counts;
        println!(
            "{} steps, {} crashes, {} requests, {} messages lost, {} faults found no place",
            counts.steps,
            counts.crashes(),
            counts.requests,
            counts.messages_lost(),
            counts.faults_unreached
        );
        match &outcome.violation {
            Some(violation) => println!("{violation}"),
            None => println!("clean"),
        }
        if self.check_determinism && !self.is_deterministic(&schedule, &outcome)? {
            return Ok(STATUS_NONDETERMINISM);
        }
        Ok(status(&outcome))
    }

    fn is_deterministic(&self, schedule: &Schedule, first: &Outcome) -> Result<bool, Problem> {
        let second = run(schedule, RunOptions { keep_events: true, ..RunOptions::default() });
        if let Some((a, b)) = first_difference(&first.events, &second.events) {
            let show = |event: Option<&_>| event.map_or("the end".to_owned(), ToString::to_string);
            println!(
                "nondeterministic in one process; the first event that differs:\n  {}\n  {}",
                show(a),
                show(b)
            );
            return Ok(false);
        }
        let other = self.hash_in_another_process()?;
        if other != first.hash {
            println!("nondeterministic: another process has hash {other:016x}");
            return Ok(false);
        }
        println!("deterministic: twice in this process, and in another");
        Ok(true)
    }

    fn hash_in_another_process(&self) -> Result<u64, Problem> {
        let child = |error: &dyn std::fmt::Display| Problem::Child(error.to_string());
        let program = std::env::current_exe().map_err(|error| child(&error))?;
        let source = match &self.source {
            Source::Seed(seed) => seed.to_string(),
            Source::File(path) => path.clone(),
        };
        let profile =
            clap::ValueEnum::to_possible_value(&self.profile).map(|value| value.get_name().to_owned());
        let output = Command::new(program)
            .args(["replay", &source, "--hash", "--profile", &profile.unwrap_or_default()])
            .output()
            .map_err(|error| child(&error))?;
        let text = String::from_utf8_lossy(&output.stdout);
        u64::from_str_radix(text.trim(), 16)
            .map_err(|error| child(&format!("printed `{}`: {error}", text.trim())))
    }
}

fn status(outcome: &Outcome) -> u8 {
    outcome.violation.as_ref().map_or(STATUS_CLEAN, status_of)
}
