//! One history: from its schedule to its outcome.
//!
//! Each runs on a thread of its own. The core keeps its page buffers per thread, and once those have run over, bytes of an earlier
//! history on the same thread would reach this one's disk.
//!
//! A history that has not ended after a time that no history needs is a violation. Most hangs are found earlier and by counting (of
//! suspensions, and of waits without any operation on a file between them): those are the same on every machine. What is left for the clock
//! is code that spins without ever asking for anything. Its thread cannot be stopped, and is left behind.

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
use crate::world::trace::{Event, Lane, Trace};

/// The name of every history's thread.
pub const THREAD_NAME: &str = "plimsoll-history";
/// Where virtual time begins, in milliseconds after the clock's epoch.
const BEGIN_MS: u64 = 0;
/// How long a history may take on the wall's clock. The usual one takes a fiftieth of a second.
const HISTORY_LIMIT: Duration = Duration::from_secs(120);
/// No step's id: none runs yet, or the heal does.
const NO_STEP: u32 = 0;

/// How much of a run to keep and to check.
#[derive(Debug, Clone, Copy)]
pub struct RunOptions {
    /// Keep every event; without it only their hash is kept.
    pub keep_events: bool,
    /// Judge the invariants; only a benchmark's floor does without.
    pub checks: bool,
    /// Keep what the databases hold in the end.
    pub keep_databases: bool,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self { keep_events: false, checks: true, keep_databases: false }
    }
}

/// What a run ends with.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Hash over every event and every byte written.
    pub hash: u64,
    /// Hash over the bytes alone that went to disks and over the wire.
    pub bytes_hash: u64,
    /// How many events there were.
    pub event_count: u64,
    /// The events, if they were to be kept.
    pub events: Vec<Event>,
    /// What happened, counted.
    pub counts: Counts,
    /// What became of the faults.
    pub fault_outcomes: FaultOutcomes,
    /// What can be drawn of the history, if the events were to be kept.
    pub snapshots: Snapshots,
    /// The databases in the end, the remote's first, if they were to be kept.
    pub databases: Vec<FinalDatabase>,
    /// The first broken invariant; the history ends with it.
    pub violation: Option<Violation>,
}

/// Runs a schedule.
///
/// # Panics
/// When the simulator contradicts itself: that is a bug of the simulator's, never a finding about the engine.
pub fn run(schedule: &Schedule, options: RunOptions) -> Outcome {
    let schedule = schedule.clone();
    watched(HISTORY_LIMIT, move |step| run_here(&schedule, options, step, |_| ()))
}

/// Runs a history on its thread, and waits for its end for so long. It tells which step it is in.
#[expect(clippy::disallowed_methods, reason = "each history has a thread of its own, and one")]
fn watched(limit: Duration, history: impl FnOnce(&AtomicU32) -> Outcome + Send + 'static) -> Outcome {
    let step = Arc::new(AtomicU32::new(NO_STEP));
    let (end, ended) = mpsc::channel();
    let running = {
        let step = step.clone();
        let builder = thread::Builder::new().name(THREAD_NAME.into());
        // Nobody listens any more to a history that ends after all.
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
            (Ok(_), outcome) => outcome.expect("a history that does not panic says how it ended"),
        },
    }
}

/// Runs a schedule under a pilot that may fork the process. `end` is called on the history's own thread, the only one that a forked process
/// has, with the outcome or with the simulator's panic.
///
/// # Panics
/// When `end` does.
#[expect(clippy::disallowed_methods, reason = "each history has a thread of its own, and one")]
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
    // Declared first, dropped last: databases that close still ask for the time.
    let _in_virtual_time = clock::enter(BEGIN_MS);
    let trace = Arc::new(Mutex::new(Trace::new(options.keep_events)));
    let (listener, inbox) = Listener::new(trace.clone());
    let mut world = World::new(schedule.header.clone(), trace.clone(), inbox, options.checks);
    prepare(&mut world);
    let violation =
        tracing::subscriber::with_default(listener, || tell(&mut world, &schedule.steps, step).err());
    if let Some(violation) = &violation {
        world.record(Lane::Verdict, "violation", &violation.to_string(), &[]);
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

fn tell(world: &mut World, steps: &[Step], running: &AtomicU32) -> Result<(), Violation> {
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
    fn a_history_that_hangs_is_a_violation_and_its_step_is_named() {
        let outcome = watched(Duration::from_millis(50), |step| {
            step.store(7, Ordering::Relaxed);
            loop {
                thread::park();
            }
        });
        let violation = outcome.violation.expect("it hangs");
        assert_eq!((violation.invariant, violation.step), (ENDS.name, Some(7)));
    }

    #[test]
    fn a_history_that_ends_is_what_it_is() {
        let outcome = watched(HISTORY_LIMIT, |_| Outcome { hash: 5, ..Outcome::default() });
        assert_eq!((outcome.hash, outcome.violation), (5, None));
    }

    #[test]
    #[should_panic(expected = "the simulator contradicts itself")]
    fn a_panic_of_the_simulators_is_passed_on() {
        watched(HISTORY_LIMIT, |_| panic!("the simulator contradicts itself"));
    }
}
