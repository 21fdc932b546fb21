//! Histories that do not end run again, and are shrunk, in child processes that end.

use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use plimsoll_sim::schedule::workload::Write;
use plimsoll_sim::schedule::{Action, Header, Schedule, Step, TransactionEnd};
use plimsoll_sim::search::child;
use plimsoll_sim::search::shrink::Shrink;
use plimsoll_sim::world::run::is_endless;

use crate::command::{directory, output, stderr, stdout};

/// A history with the busy step needs several times as much, and one without it needs less.
const CPU_LIMIT: Duration = Duration::from_millis(300);
/// The id of the busy step.
const BUSY: u32 = 2;

/// A schedule with a row so large that writing and judging it takes more CPU time than the limit. No schedule makes
/// the engine spin, so a busy history stands for one that does not end.
fn busy() -> Schedule {
    let transaction = |payload_bytes| {
        let writes = vec![Write::Append { payload_bytes }];
        Action::Transaction { client: 0, writes, end: TransactionEnd::Commit }
    };
    let step = |id| Step::new(id, transaction(if id == BUSY { 16_000_000 } else { 10 }));
    Schedule::new(Header { clients: 1, ..Header::new(7) }, (1..=8).map(step).collect())
}

fn in_child(schedule: &Schedule) -> plimsoll_sim::world::run::Outcome {
    let mut command = Command::new(env!("CARGO_BIN_EXE_plimsoll"));
    command.args(["judge", "--cpu-seconds", &CPU_LIMIT.as_secs_f64().to_string()]);
    child::run_in(command, schedule, CPU_LIMIT).expect("the child prints a verdict")
}

/// The threads of this process that run a history over the limit, as the system describes them. The histories of
/// other tests need less.
#[cfg(target_os = "linux")]
fn endless_histories_here() -> Vec<String> {
    /// The unit of CPU times in these descriptions is 10 ms.
    const TICKS_PER_SECOND: u64 = 100;
    // The system keeps 15 bytes of a name.
    let name = format!("({})", &plimsoll_sim::world::run::THREAD_NAME[..15]);
    let threads = std::fs::read_dir("/proc/self/task").expect("Linux lists the threads");
    // A thread may end meanwhile.
    let threads = threads.filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("stat")).ok());
    let is_over_the_limit = |thread: &String| {
        let (_, fields) = thread.split_once(&name)?;
        let fields: Vec<u64> =
            fields.split_whitespace().skip(11).map_while(|field| field.parse().ok()).collect();
        Some(Duration::from_millis((fields[0] + fields[1]) * 1000 / TICKS_PER_SECOND) >= CPU_LIMIT)
    };
    threads.filter(|thread| is_over_the_limit(thread) == Some(true)).collect()
}

#[test]
fn an_endless_history_is_shrunk_in_children_that_end() {
    // Each history here would leave a thread in this process.
    let search = Shrink { jobs: 2, runs_max: 9, stop: &AtomicBool::new(false) };
    let shrunk = search.run_with(&busy(), |_| (), in_child).expect("the history does not end in time");
    assert!(is_endless(&shrunk.violation.signature()), "{}", shrunk.violation);
    let ids: Vec<u32> = shrunk.schedule.steps.iter().map(|step| step.id).collect();
    assert!(ids.contains(&BUSY) && ids.len() < 8, "{ids:?}");
    #[cfg(target_os = "linux")]
    assert_eq!(endless_histories_here(), [""; 0]);
}

#[test]
fn the_command_shrinks_an_endless_history() {
    let directory = directory("endless");
    let path = |name: &str| directory.join(name).display().to_string();
    std::fs::write(path("busy.jsonl"), busy().print()).expect("the file can be written");
    let limits = ["--cpu-seconds", "0.3", "--seconds", "8", "--jobs", "2"];
    let output =
        output(&[&["shrink", &path("busy.jsonl"), "-o", &path("small.jsonl")][..], &limits].concat());
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let text = stdout(&output);
    assert!(text.contains("ends · the history does not end") && text.contains("shrunk "), "{text}");
    let small = std::fs::read_to_string(path("small.jsonl")).expect("the file was written");
    let small = Schedule::parse(&small).expect("it is a schedule");
    assert!(small.steps.iter().any(|step| step.id == BUSY), "{}", small.print());
}
