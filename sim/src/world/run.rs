//! Runs one history: from a schedule to its outcome.
//!
//! Each history runs on its own thread. The core keeps page buffers per thread and reuses them, so bytes of
//! an earlier history on the same thread could reach this history's disk.
//!
//! A history that does not end within a generous time limit is a violation. Most hangs are found earlier,
//! because the number of suspensions and the number of waits in a row are limited. Unlike the time, these
//! numbers are the same on every machine. The time limit catches code that spins without suspending, waiting
//! or touching a file. The thread of such a history cannot be stopped and is left running.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use crate::judge::counts::Counts;
use crate::judge::verdict::{ENDS, Violation};
use crate::lock::lock;
use crate::schedule::{Schedule, Step};
use crate::world::World;
use crate::world::clock;
use crate::world::fault_outcomes::FaultOutcomes;
use crate::world::final_databases::FinalDatabase;
use crate::world::listener::Listener;
use crate::world::pilot::SharedPilot;
use crate::world::snapshot::Snapshots;
use crate::world::trace::{Event, Lane, Trace, Verb};

pub const THREAD_NAME: &str = "plimsoll-history";
/// Virtual time at the start of a history, in milliseconds after the clock's epoch.
const BEGIN_MS: u64 = 0;
/// The limit on a history's real time. A typical history takes 20 ms.
const HISTORY_LIMIT: Duration = Duration::from_secs(120);
/// Stands for no step: the first step has not started yet, or the heal runs.
const NO_STEP: u32 = 0;

/// What to keep of a run, and whether to check it.
#[derive(Debug, Clone, Copy)]
pub struct RunOptions {
    /// Keep every event. Otherwise only their hash is kept.
    pub keep_events: bool,
    /// Judge the invariants. Only the benchmark of a history's lower bound turns this off.
    pub checks: bool,
    /// Keep the contents of the databases at the end.
    pub keep_databases: bool,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self { keep_events: false, checks: true, keep_databases: false }
    }
}

/// The result of a run.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Hash of every event and of every byte written.
    pub hash: u64,
    /// Hash of only the bytes that went to disks and over the wire.
    pub bytes_hash: u64,
    pub event_count: u64,
    /// Empty unless [`RunOptions::keep_events`] is set.
    pub events: Vec<Event>,
    pub counts: Counts,
    pub fault_outcomes: FaultOutcomes,
    /// Material for the timeline page. Empty unless [`RunOptions::keep_events`] is set.
    pub snapshots: Snapshots,
    /// The databases at the end, the remote's first. Empty unless [`RunOptions::keep_databases`] is set.
    pub databases: Vec<FinalDatabase>,
    /// The first broken invariant. The history ends there.
    pub violation: Option<Violation>,
}

/// Runs a schedule.
///
/// # Panics
/// If the simulator contradicts itself. That is a bug of the simulator and never a finding about the engine.
pub fn run(schedule: &Schedule, options: RunOptions) -> Outcome {
    let schedule = schedule.clone();
    run_within(HISTORY_LIMIT, move |step| run_here(&schedule, options, step, |_| ()))
}

/// Runs a history on its own thread and waits at most `limit` for it to end. The history stores the id of the
/// running step, so that the violation of a hanging history can name it.
#[expect(clippy::disallowed_methods, reason = "each history runs on its own single thread")]
fn run_within(limit: Duration, history: impl FnOnce(&AtomicU32) -> Outcome + Send + 'static) -> Outcome {
    let step = Arc::new(AtomicU32::new(NO_STEP));
    let (end, ended) = mpsc::channel();
    let running = {
        let step = step.clone();
        let builder = thread::Builder::new().name(THREAD_NAME.into());
        // After a timeout the receiver is gone, and a result that arrives later is dropped.
        builder.spawn(move || end.send(history(&step)).ok()).expect("a thread can be started")
    };
    match ended.recv_timeout(limit) {
        Err(mpsc::RecvTimeoutError::Timeout) => {
            let message = format!("the history has not ended within {} seconds", limit.as_secs());
            let step = Some(step.load(Ordering::Relaxed)).filter(|id| *id != NO_STEP);
            Outcome {
                counts: Counts { histories: 1, ..Counts::default() },
                violation: Some(Violation { step, ..Violation::of(ENDS, message) }),
                ..Outcome::default()
            }
        }
        outcome => match (running.join(), outcome) {
            (Err(panic), _) => resume_unwind(panic),
            (Ok(_), outcome) => outcome.expect("a history that does not panic sends its outcome"),
        },
    }
}

/// Runs a schedule under a pilot that may fork the process. `end` is called with the outcome or with the
/// simulator's panic, on the history's own thread: a forked process has no other thread.
///
/// # Panics
/// If `end` panics.
#[expect(clippy::disallowed_methods, reason = "each history runs on its own single thread")]
pub(crate) fn run_piloted(
    schedule: &Schedule,
    pilot: &SharedPilot,
    client: u8,
    end: impl FnOnce(thread::Result<Outcome>) + Send,
) {
    thread::scope(|scope| {
        let history = || {
            end(catch_unwind(AssertUnwindSafe(|| {
                let prepare = |world: &mut World| world.set_pilot(pilot.clone(), client);
                run_here(schedule, RunOptions::default(), &AtomicU32::new(NO_STEP), prepare)
            })));
        };
        let builder = thread::Builder::new().name(THREAD_NAME.into());
        let history = builder.spawn_scoped(scope, history).expect("a thread can be started");
        if let Err(panic) = history.join() {
            resume_unwind(panic);
        }
    });
}

fn run_here(
    schedule: &Schedule,
    options: RunOptions,
    step: &AtomicU32,
    prepare: impl FnOnce(&mut World),
) -> Outcome {
    // This guard is declared first and therefore dropped last, because a database reads the time when it
    // closes.
    let _in_virtual_time = clock::enter(BEGIN_MS);
    let trace = Arc::new(Mutex::new(Trace::new(options.keep_events)));
    let (listener, inbox) = Listener::new(trace.clone());
    let mut world = World::new(schedule.header.clone(), trace.clone(), inbox, options.checks);
    prepare(&mut world);
    let violation =
        tracing::subscriber::with_default(listener, || run_steps(&mut world, &schedule.steps, step).err());
    if let Some(violation) = &violation {
        world.record(Lane::Verdict, Verb::Violation, &violation.to_string(), &[]);
    }
    let databases = if options.keep_databases { world.final_databases() } else { Vec::new() };
    let (counts, fault_outcomes, snapshots) = world.finish();
    let trace = lock(&trace);
    Outcome {
        hash: trace.hash(),
        bytes_hash: trace.bytes_hash(),
        event_count: trace.event_count(),
        events: trace.events().to_vec(),
        counts,
        fault_outcomes,
        snapshots,
        databases,
        violation,
    }
}

fn run_steps(world: &mut World, steps: &[Step], running: &AtomicU32) -> Result<(), Violation> {
    world.keep_copies_for(steps);
    for step in steps {
        running.store(step.id, Ordering::Relaxed);
        world
            .step(step)
            .map_err(|violation| Violation { step: violation.step.or(Some(step.id)), ..violation })?;
    }
    running.store(NO_STEP, Ordering::Relaxed);
    world.heal_and_judge()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hanging_history_is_a_violation_that_names_its_step() {
        let outcome = run_within(Duration::from_millis(50), |step| {
            step.store(7, Ordering::Relaxed);
            loop {
                thread::park();
            }
        });
        let violation = outcome.violation.expect("the history hangs");
        assert_eq!((violation.invariant, violation.step), (ENDS.name, Some(7)));
    }

    #[test]
    fn the_outcome_of_a_history_that_ends_is_returned_unchanged() {
        let outcome = run_within(HISTORY_LIMIT, |_| Outcome { hash: 5, ..Outcome::default() });
        assert_eq!((outcome.hash, outcome.violation), (5, None));
    }

    #[test]
    #[should_panic(expected = "the simulator contradicts itself")]
    fn a_panic_of_the_simulator_is_propagated() {
        run_within(HISTORY_LIMIT, |_| panic!("the simulator contradicts itself"));
    }
}
