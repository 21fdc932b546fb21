//! Runs one history: from a schedule to its outcome.
//!
//! Each history runs on its own thread. The core keeps page buffers per thread and reuses them, so bytes of
//! an earlier history on the same thread could reach this history's disk.
//!
//! A history that uses far more CPU time than any history needs is a violation. Most hangs are found earlier,
//! by counting suspensions and waits that no file operation interrupts; those counts are the same on every
//! machine. The limit catches code that spins without suspending, waiting or touching a file. It is on the CPU
//! time of the history's thread, not on real time, so that a machine that stands still breaks nothing. The
//! thread of such a history cannot be stopped and is left running. `search::child` runs it in a process that ends.

use std::any::Any;
use std::num::NonZero;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use crate::judge::counts::Counts;
use crate::judge::verdict::{ENDS, Signature, Violation};
use crate::lock::lock;
use crate::schedule::{Schedule, Step, System};
use crate::world::World;
use crate::world::archive_history::ArchiveHistory;
use crate::world::clock;
use crate::world::fault_outcomes::FaultOutcomes;
use crate::world::final_databases::FinalDatabase;
use crate::world::listener::Listener;
use crate::world::pilot::SharedPilot;
use crate::world::remote::archive::ArchiveOptions;
use crate::world::snapshot::Snapshots;
use crate::world::trace::{Event, Lane, SharedTrace, Trace, Verb};

pub const THREAD_NAME: &str = "plimsoll-history";
/// Virtual time at the start of a history, in milliseconds after the clock's epoch.
const BEGIN_MS: u64 = 0;
/// The limit on the CPU time of a history's thread. A typical history takes 20 ms. In a build without
/// optimization, the slowest of 180 generated ones took 0.45 s.
pub const CPU_LIMIT: Duration = Duration::from_secs(300);
/// How often the CPU time is looked at.
const LOOK: Duration = Duration::from_secs(1);
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
    run_limited(schedule, options, CPU_LIMIT)
}

/// Like [`run`], with another limit on the CPU time of the history's thread.
pub fn run_limited(schedule: &Schedule, options: RunOptions, cpu_limit: Duration) -> Outcome {
    let schedule = schedule.clone();
    run_within(cpu_limit, move |step| run_here(&schedule, options, step, |_| ()))
}

/// The violation of a history that has used more CPU time than it may.
pub(crate) fn endless(step: Option<u32>) -> Violation {
    let message = "the history does not end: it has used many times the CPU time that any needs";
    Violation { step, ..Violation::of(ENDS, message) }
}

/// Whether a failure is that of a history that has used more CPU time than it may. To run it in this process again
/// would leave one more thread running.
pub fn is_endless(signature: &Signature) -> bool {
    *signature == endless(None).signature()
}

/// Runs a history on its own thread, and waits until it ends or has used more CPU time than `limit`. The history stores the id of the
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
    let received = loop {
        match ended.recv_timeout(LOOK.min(limit)) {
            Err(mpsc::RecvTimeoutError::Timeout) if cpu_time(&running).is_none_or(|used| used <= limit) => {}
            received => break received,
        }
    };
    match received {
        Err(mpsc::RecvTimeoutError::Timeout) => {
            let step = Some(step.load(Ordering::Relaxed)).filter(|id| *id != NO_STEP);
            Outcome {
                counts: Counts { histories: 1, ..Counts::default() },
                violation: Some(endless(step)),
                ..Outcome::default()
            }
        }
        outcome => match (running.join(), outcome) {
            (Err(panic), _) => of_simulator(panic),
            (Ok(_), outcome) => outcome.expect("a history that does not panic sends its outcome"),
        },
    }
}

/// Panics as the simulator has panicked on a history's thread, where nothing is printed.
fn of_simulator(panic: Box<dyn Any + Send>) -> ! {
    let text = panic.downcast_ref::<String>().cloned();
    match text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())) {
        Some(text) => panic!("the simulator failed: {text}"),
        None => resume_unwind(panic),
    }
}

/// The CPU time that a thread has used; `None` if it has ended or the system cannot say.
fn cpu_time<T>(thread: &thread::JoinHandle<T>) -> Option<Duration> {
    use std::os::unix::thread::JoinHandleExt;
    let mut clock = 0;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the thread has not been joined, so its id is valid; both results are written to locals.
    let is_known = unsafe {
        libc::pthread_getcpuclockid(thread.as_pthread_t(), &mut clock) == 0
            && libc::clock_gettime(clock, &mut time) == 0
    };
    is_known.then(|| Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32))
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
            of_simulator(panic);
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
    if let System::Archive { generation_frames_max, keep_generations } = schedule.header.system {
        let keep_generations = NonZero::new(keep_generations);
        let archive_options = ArchiveOptions { generation_frames_max, keep_generations };
        let mut history = ArchiveHistory::new(&schedule.header, archive_options, trace.clone());
        let violation = history.run(&schedule.steps, step).err();
        let ArchiveHistory { counts, fault_outcomes, .. } = history;
        return finish(&trace, Outcome { counts, fault_outcomes, violation, ..Outcome::default() });
    }
    let (listener, inbox) = Listener::new(trace.clone());
    let mut world = World::new(schedule.header.clone(), trace.clone(), inbox, options.checks);
    prepare(&mut world);
    let violation =
        tracing::subscriber::with_default(listener, || run_steps(&mut world, &schedule.steps, step).err());
    let databases = if options.keep_databases { world.final_databases() } else { Vec::new() };
    let (counts, fault_outcomes, snapshots) = world.finish();
    finish(&trace, Outcome { counts, fault_outcomes, snapshots, databases, violation, ..Outcome::default() })
}

/// Adds the trace to an outcome.
fn finish(trace: &SharedTrace, outcome: Outcome) -> Outcome {
    let mut trace = lock(trace);
    if let Some(violation) = &outcome.violation {
        trace.record(Lane::Verdict, Verb::Violation, &violation.to_string(), &[], &[]);
    }
    Outcome {
        hash: trace.hash(),
        bytes_hash: trace.bytes_hash(),
        event_count: trace.event_count(),
        events: trace.events().to_vec(),
        ..outcome
    }
}

fn run_steps(world: &mut World, steps: &[Step], running: &AtomicU32) -> Result<(), Violation> {
    world.prepare_for(steps);
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
    fn a_spinning_history_is_a_violation_that_names_its_step() {
        let outcome = run_within(Duration::from_millis(50), |step| {
            step.store(7, Ordering::Relaxed);
            loop {
                std::hint::spin_loop();
            }
        });
        let violation = outcome.violation.expect("the history hangs");
        assert_eq!((violation.invariant, violation.step), (ENDS.name, Some(7)));
    }

    /// A machine that stands still does not use CPU time.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "the test needs a thread that waits in real time")]
    fn a_history_that_gets_no_cpu_time_is_waited_for() {
        let outcome = run_within(Duration::from_millis(20), |_| {
            thread::sleep(Duration::from_millis(200));
            Outcome { hash: 6, ..Outcome::default() }
        });
        assert_eq!((outcome.hash, outcome.violation), (6, None));
    }

    #[test]
    fn the_outcome_of_a_history_that_ends_is_returned_unchanged() {
        let outcome = run_within(CPU_LIMIT, |_| Outcome { hash: 5, ..Outcome::default() });
        assert_eq!((outcome.hash, outcome.violation), (5, None));
    }

    #[test]
    #[should_panic(expected = "the simulator contradicts itself")]
    fn a_panic_of_the_simulator_is_propagated() {
        run_within(CPU_LIMIT, |_| panic!("the simulator contradicts itself"));
    }
}
