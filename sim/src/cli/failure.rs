//! Keeps one failure in a file, and prints everything that is needed to understand it.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use plimsoll_sim::judge::verdict::Violation;
use plimsoll_sim::report::page::FINDING;
use plimsoll_sim::report::sweep::FailureReport;
use plimsoll_sim::schedule::{Schedule, Step};
use plimsoll_sim::search::shrink::{Progress, RUNS_MAX, Shrink, Shrunk};
use plimsoll_sim::text::counted;
use plimsoll_sim::world::run::{Outcome, RunOptions, is_endless, run};
use plimsoll_sim::world::trace::Event;

use super::interrupt::Interrupt;
use super::judge::in_child;
use super::output::outln;
use super::{Problem, determinism, files, shell_line};

/// How many events of a failing history are printed. They are the last ones.
const LAST_EVENTS: usize = 12;

/// A failing schedule and its file.
pub struct Kept {
    pub schedule: Schedule,
    pub violation: Violation,
    pub path: PathBuf,
    /// Whether the file could be written. If not, the schedule was printed instead.
    pub is_saved: bool,
}

impl Kept {
    /// Writes the schedule's file, with the finding in the comments at its top, or prints it if the
    /// file cannot be written.
    pub fn write(mut schedule: Schedule, violation: Violation, path: PathBuf) -> Self {
        let head = &mut schedule.comments.head;
        // A file that was written by an earlier run already has these lines.
        head.retain(|line| FINDING.iter().all(|beginning| !line.starts_with(beginning)));
        let finding = [violation.to_string(), violation.signature().to_string()];
        head.extend(
            FINDING.iter().zip(finding).map(|(beginning, text)| one_line(&format!("{beginning}{text}"))),
        );
        let is_saved = files::write_or_print(&path, &schedule.print());
        Self { schedule, violation, path, is_saved }
    }

    /// Where the schedule is, and its size.
    pub fn place(&self) -> String {
        let place = if self.is_saved { self.path.display().to_string() } else { "printed above".into() };
        format!("{place}: {}", self.size())
    }

    /// For example "20 steps, 9 faults".
    pub fn size(&self) -> String {
        size(&self.schedule)
    }
}

fn size(schedule: &Schedule) -> String {
    format!(
        "{}, {}",
        counted(schedule.steps.len() as u64, "step"),
        counted(schedule.fault_count() as u64, "fault")
    )
}

/// A comment in a schedule file is one line.
fn one_line(text: &str) -> String {
    text.lines().map(str::trim).collect::<Vec<_>>().join(" ")
}

/// A shrunk schedule with its file. If it did not run deterministically, also the first difference.
pub struct Smaller {
    pub kept: Kept,
    pub runs: u64,
    pub is_cut_short: bool,
    pub nondeterminism: Option<String>,
}

/// Where the candidates of a search run.
#[derive(Debug, Clone, Copy)]
pub enum Candidates {
    /// In this process.
    Here,
    /// Each in a child process, with a limit on its CPU time: the schedule's history does not end, and that of a
    /// candidate may not end either.
    InChildren(Duration),
}

/// The CPU time after which a candidate counts as one that does not end. It is more than twenty times the time of any
/// history, and short enough for a search.
pub const CANDIDATE_CPU_LIMIT: Duration = Duration::from_secs(10);

/// Shrinks a schedule and writes the result. `None` if the schedule does not fail.
pub fn shrink(
    schedule: &Schedule,
    path: PathBuf,
    candidates: Candidates,
    jobs: usize,
    limit: Duration,
    interrupt: &Interrupt,
) -> Result<Option<Smaller>, Problem> {
    let bar = indicatif::ProgressBar::new_spinner();
    bar.enable_steady_tick(Duration::from_millis(100));
    let shrunk = interrupt.within(Some(limit), |stop| {
        let search = Shrink { jobs, runs_max: RUNS_MAX, stop };
        let on_progress = |progress: Progress| {
            let (steps, faults) =
                (counted(progress.steps as u64, "step"), counted(progress.faults as u64, "fault"));
            bar.set_message(format!("shrinking: {steps}, {faults} after {} runs", progress.runs));
        };
        match candidates {
            Candidates::Here => Ok(search.run(schedule, on_progress)),
            Candidates::InChildren(cpu_limit) => {
                let failed = Mutex::new(None);
                let history = |schedule: &Schedule| {
                    in_child(schedule, cpu_limit).unwrap_or_else(|error| {
                        stop.store(true, Ordering::Relaxed);
                        *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                        Outcome::default()
                    })
                };
                let shrunk = search.run_with(schedule, on_progress, history);
                failed.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(shrunk), Err)
            }
        }
    });
    bar.finish_and_clear();
    let Some(Shrunk { schedule: mut smaller, violation, runs, is_cut_short, is_deterministic }) = shrunk?
    else {
        return Ok(None);
    };
    let is_endless = is_endless(&violation.signature());
    smaller.comments.head.push(format!("shrunk from {} to {}", size(schedule), size(&smaller)));
    let nondeterminism = if is_endless {
        // There is no trace to compare, and the step in which the limit is reached depends on the machine.
        None
    } else {
        let outcome = run(&smaller, RunOptions { keep_events: true, ..RunOptions::default() });
        match determinism::difference(&smaller, &outcome)? {
            None if !is_deterministic => {
                Some("the shrunk schedule did not run the same way twice".to_owned())
            }
            difference => difference,
        }
    };
    let kept = Kept::write(smaller, violation, path);
    Ok(Some(Smaller { kept, runs, is_cut_short, nondeterminism }))
}

/// Prints a signature's failures from a report. The paths of their files must be relative to the current
/// directory.
pub fn print_kept(failure: &FailureReport) {
    outln!("\nseed {}: {}", failure.smallest.seed, failure.smallest.violation);
    outln!("  signature  {}", failure.signature);
    print_seeds(failure);
    let paths = [("schedule", &failure.smallest.schedule), ("shrunk", &failure.smallest.shrunk)];
    for (name, path) in paths.into_iter().filter_map(|(name, path)| Some((name, path.as_ref()?))) {
        outln!("  {name:<11}{path}");
    }
    if let Some(path) = failure.smallest.shrunk.as_ref().or(failure.smallest.schedule.as_ref()) {
        outln!("  replay     {}", shell_line(&["replay", path]));
    }
}

/// Prints the seeds that share the signature.
pub fn print_seeds(failure: &FailureReport) {
    if failure.count > 1 {
        let seeds: Vec<String> = failure.seeds.iter().map(u64::to_string).collect();
        let more = if failure.count > failure.seeds.len() as u64 { ", …" } else { "" };
        outln!("  failures   {} with this signature: seeds {}{more}", failure.count, seeds.join(", "));
    }
}

fn print_steps(schedule: &Schedule) {
    if schedule.steps.is_empty() {
        outln!("    no step is needed: syncing all clients once is enough");
    }
    for step in &schedule.steps {
        print_step(step, "    ");
    }
}

fn print_step(step: &Step, margin: &str) {
    outln!("{margin}{step}");
    for fault in &step.faults {
        outln!("{margin}  ! {fault}");
    }
    for during in &step.during {
        outln!("{margin}  meanwhile, {}:", during.at);
        print_step(&during.step, &format!("{margin}    "));
    }
}

/// Prints a shrunk schedule and the cost of shrinking it.
pub fn print_smaller(smaller: &Smaller) {
    let Smaller { kept, runs, is_cut_short, nondeterminism } = smaller;
    let how = if *is_cut_short { ", stopped by the time limit" } else { "" };
    outln!("  shrunk     {} after {runs} runs{how}", kept.place());
    print_steps(&kept.schedule);
    if let Some(difference) = nondeterminism {
        outln!("  {difference}");
    }
}

/// Prints the last events of a history, and the commands to continue with.
pub fn print_next(kept: &Kept, can_be_shrunk: bool) {
    if !is_endless(&kept.violation.signature()) {
        let outcome = run(&kept.schedule, RunOptions { keep_events: true, ..RunOptions::default() });
        print_last_events(&outcome.events);
    }
    if !kept.is_saved {
        return;
    }
    let path = kept.path.display().to_string();
    let page = kept.path.with_extension("html").display().to_string();
    outln!("  replay     {}", shell_line(&["replay", &path]));
    outln!("  page       {}", shell_line(&["replay", &path, "--html", &page]));
    if can_be_shrunk {
        outln!("  shrink     {}", shell_line(&["shrink", &path]));
    }
    outln!("  keep       {}", shell_line(&["corpus", "add", &path]));
}

fn print_last_events(events: &[Event]) {
    let first = events.len().saturating_sub(LAST_EVENTS);
    outln!("  the last {} of {} events:", events.len() - first, events.len());
    for event in &events[first..] {
        outln!("    {event}");
    }
}

/// The path of a seed's schedule file.
pub fn path_of(directory: &Path, seed: u64) -> PathBuf {
    directory.join(format!("seed-{seed}.jsonl"))
}
