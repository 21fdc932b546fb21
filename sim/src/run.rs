//! One history: from its schedule to its outcome.
//!
//! Each runs on a thread of its own. The core keeps its page buffers per thread, and once those have run over, bytes of an earlier
//! history on the same thread would reach this one's disk.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::clock;
use crate::explore::SharedPilot;
use crate::fates::Fates;
use crate::finals::FinalDatabase;
use crate::lock::lock;
use crate::marks::Listener;
use crate::schedule::{Schedule, Step};
use crate::snapshot::Snapshots;
use crate::trace::{Event, Lane, Trace};
use crate::verdict::{Counts, Violation};
use crate::world::World;

/// The name of every history's thread.
pub const THREAD_NAME: &str = "plimsoll-history";
/// Where virtual time begins, in milliseconds after the clock's epoch.
const BEGIN_MS: u64 = 0;

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
    /// How many events there were.
    pub event_count: u64,
    /// The events, if they were to be kept.
    pub events: Vec<Event>,
    /// What happened, counted.
    pub counts: Counts,
    /// What became of the faults.
    pub fates: Fates,
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
#[expect(clippy::disallowed_methods, reason = "each history has a thread of its own, and one")]
pub fn run(schedule: &Schedule, options: RunOptions) -> Outcome {
    thread::scope(|scope| {
        let builder = thread::Builder::new().name(THREAD_NAME.into());
        let history = builder
            .spawn_scoped(scope, || run_here(schedule, options, |_| ()))
            .expect("a thread can be started");
        match history.join() {
            Ok(outcome) => outcome,
            Err(panic) => resume_unwind(panic),
        }
    })
}

/// Runs a schedule under a pilot, who forks it. In a forked process this does not return.
///
/// # Panics
/// As [`run`] does, and when a process cannot be forked.
#[expect(clippy::disallowed_methods, reason = "each history has a thread of its own, and one")]
pub(crate) fn run_piloted(schedule: &Schedule, pilot: &SharedPilot, client: u8) {
    thread::scope(|scope| {
        let tell_all = || {
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                run_here(schedule, RunOptions::default(), |world| world.set_pilot(pilot.clone(), client))
            }));
            let mut pilot = lock(pilot);
            match outcome {
                Ok(outcome) => pilot.finish(outcome.violation.is_some()),
                Err(panic) => pilot.fail(panic),
            }
        };
        let builder = thread::Builder::new().name(THREAD_NAME.into());
        let history = builder.spawn_scoped(scope, tell_all).expect("a thread can be started");
        if let Err(panic) = history.join() {
            resume_unwind(panic);
        }
    });
}

fn run_here(schedule: &Schedule, options: RunOptions, prepare: impl FnOnce(&mut World)) -> Outcome {
    // Declared first, dropped last: databases that close still ask for the time.
    let _in_virtual_time = clock::enter(BEGIN_MS);
    let trace = Arc::new(Mutex::new(Trace::new(options.keep_events)));
    let (listener, inbox) = Listener::new(trace.clone());
    let mut world = World::new(schedule.header.clone(), trace.clone(), inbox, options.checks);
    prepare(&mut world);
    let violation = tracing::subscriber::with_default(listener, || tell(&mut world, &schedule.steps).err());
    if let Some(violation) = &violation {
        world.record(Lane::Verdict, "violation", &violation.to_string(), &[]);
    }
    let databases = if options.keep_databases { world.final_databases() } else { Vec::new() };
    let (counts, fates, snapshots) = world.finish();
    let trace = lock(&trace);
    Outcome {
        hash: trace.hash(),
        event_count: trace.event_count(),
        events: trace.events().to_vec(),
        counts,
        fates,
        snapshots,
        databases,
        violation,
    }
}

fn tell(world: &mut World, steps: &[Step]) -> Result<(), Violation> {
    world.keep_copies_for(steps);
    for step in steps {
        world
            .step(step)
            .map_err(|violation| Violation { step: violation.step.or(Some(step.id)), ..violation })?;
    }
    world.heal_and_judge()
}
