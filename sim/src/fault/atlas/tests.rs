//! Tests one small history per row of the atlas: the fault is injected, and every invariant holds.

use std::collections::BTreeSet;
use std::num::NonZero;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use bytes::Bytes;
use http::Request;

use super::*;
use crate::fault::Damage;
use crate::fault::network::tests::examples;
use crate::fault::{
    CrashKind, CrashPoint, DiskError, DiskErrorKind, Lasts, Moment, OperationKind, OperationPlace, Survival,
};
use crate::fault::{NetworkFaultKind, RequestPlace};
use crate::lock::lock;
use crate::schedule::workload::Write;
use crate::schedule::{Action, Alternation, Header, PushMode, Schedule, ScheduleError, Step, TransactionEnd};
use crate::world::run::{Outcome, RunOptions, run};
use crate::world::trace::{Event, Lane, Verb};

/// The fault of a row, with different parameters, so that at least one variant reaches its place.
fn faults(row: &Row) -> Vec<Fault> {
    let power_loss = || CrashKind::PowerLoss { survival: Survival::Nothing, torn: None };
    let crash = |kind: CrashKind| match row.target {
        Target::File(file) => {
            let place = OperationPlace { file, operation: OperationKind::AnyMutation, nth: 1 };
            vec![Fault::Crash(CrashPoint { place, moment: Moment::After, kind })]
        }
        Target::Suspension => vec![Fault::CrashSuspended { nth: 5, kind }],
        Target::Between | Target::Route(_) => vec![],
    };
    let disk = |error: DiskErrorKind| {
        let Target::File(file) = row.target else { panic!("{} is not a file", row.target) };
        let error = |nth, lasts| Fault::Disk(DiskError { file, nth, error, lasts, at_once: nth == 2 });
        vec![error(1, Lasts::Once), error(2, Lasts::UntilHealed)]
    };
    let request = || match row.target {
        Target::Route(route) => RequestPlace { route, nth: 1 },
        target => panic!("{target} is not a route"),
    };
    match row.kind {
        FaultKind::Kill => crash(CrashKind::Kill),
        FaultKind::PowerLoss => crash(power_loss()),
        FaultKind::Disk(DiskErrorKind::PartialWrite { .. }) => {
            disk(DiskErrorKind::PartialWrite { bytes: 100 })
        }
        FaultKind::Disk(error) => disk(error),
        FaultKind::Abandon => [(1, true), (3, false), (5, true), (9, true)]
            .map(|(nth, arrives)| Fault::Abandon { nth, arrives })
            .to_vec(),
        FaultKind::LoseFile | FaultKind::RestoreDirectory | FaultKind::Rot | FaultKind::StaleCache => vec![],
        FaultKind::Network(kind) => {
            examples(kind).into_iter().map(|fault| Fault::Network { at: request(), fault }).collect()
        }
        FaultKind::RemoteRestart
        | FaultKind::RemoteCrash
        | FaultKind::RemoteFork
        | FaultKind::WrongServer => {
            panic!("{} is injected between operations", row.kind)
        }
    }
}

/// Actions that reach every place in the engine: a bootstrap, local and remote transactions, pushes, pulls
/// and a checkpoint.
fn actions() -> Vec<Action> {
    let writes = || vec![Write::Append { payload_bytes: 100 }];
    let commit = || Action::Transaction { client: 0, writes: writes(), end: TransactionEnd::Commit };
    vec![
        Action::RemoteTransaction { writes: writes() },
        Action::Pull { client: 0 },
        commit(),
        Action::RemoteTransaction { writes: writes() },
        Action::Sync { client: 0 },
        commit(),
        Action::RemoteCheckpoint,
        Action::Sync { client: 0 },
        Action::RemoteTransaction { writes: writes() },
        Action::Close { client: 0 },
        commit(),
        Action::Pull { client: 0 },
        commit(),
        Action::RemoteRestore { generations_back: 1, transactions_back: 1, keeps_name: false },
        Action::Sync { client: 0 },
    ]
}

/// A fault that must be injected before the row's fault can be reached, and the index of its action.
fn earlier(row: &Row) -> Option<(usize, Fault)> {
    let leaves_a_temporary = (row.kind, row.target)
        == (FaultKind::Disk(DiskErrorKind::TruncateFails), Target::File(FileClass::MetadataTemporary));
    let place =
        OperationPlace { file: FileClass::MetadataTemporary, operation: OperationKind::Write, nth: 1 };
    let point = CrashPoint { place, moment: Moment::After, kind: CrashKind::Kill };
    leaves_a_temporary.then_some((4, Fault::Crash(point)))
}

fn header(push_mode: PushMode) -> Header {
    Header { clients: 1, synced_wal_frames_max: 3, push_mode, ..Header::new(1) }
}

/// The form of the clients' pushes in the test of this target.
fn push_mode(target: Target) -> PushMode {
    if target == Target::Route(Route::PushFrames) { PushMode::Frames } else { PushMode::Statements }
}

fn history(row: &Row, fault: &Fault, faulty: usize) -> Outcome {
    let earlier = earlier(row);
    let faults = |index| {
        let earlier = earlier.iter().filter(|(at, _)| *at == index).map(|(_, fault)| fault);
        earlier.chain((index == faulty).then_some(fault)).cloned().collect()
    };
    let steps = actions().into_iter().enumerate().take(faulty + 1 + ACTIONS_AFTER);
    let steps = steps
        .map(|(index, action)| Step { faults: faults(index), ..Step::new(index as u32 + 1, action) })
        .collect();
    run(&Schedule::new(header(push_mode(row.target)), steps), RunOptions::default())
}

/// The events of a history without faults, by action, for both forms of pushes.
struct Quiet(Vec<(PushMode, Vec<Vec<Event>>)>);

impl Quiet {
    fn run() -> Self {
        let by_action = |push_mode| {
            let steps = (1..).zip(actions()).map(|(id, action)| Step::new(id, action)).collect();
            let options = RunOptions { keep_events: true, ..RunOptions::default() };
            let outcome = run(&Schedule::new(header(push_mode), steps), options);
            assert_eq!(outcome.violation, None);
            let steps = outcome.events.split(|event| event.verb == Verb::Step);
            steps.skip(1).map(<[Event]>::to_vec).collect()
        };
        Self([PushMode::Statements, PushMode::Frames].map(|mode| (mode, by_action(mode))).to_vec())
    }

    /// Whether an action reaches the place of the row's fault, according to the trace. The trace does not
    /// contain reads and opens.
    fn has_place(&self, row: &Row, at: usize) -> bool {
        let mode = push_mode(row.target);
        let (_, by_action) = self.0.iter().find(|(of, _)| *of == mode).expect("both forms have run");
        let verb = match row.kind {
            FaultKind::Disk(
                DiskErrorKind::WriteFails | DiskErrorKind::PartialWrite { .. } | DiskErrorKind::NoSpace,
            ) => Verb::Operation(OperationKind::Write),
            FaultKind::Disk(DiskErrorKind::SyncFails | DiskErrorKind::SyncDrops) => {
                Verb::Operation(OperationKind::Sync)
            }
            FaultKind::Disk(DiskErrorKind::RenameFails) => Verb::Operation(OperationKind::Rename),
            FaultKind::Disk(DiskErrorKind::SyncDirectoryFails) => {
                Verb::Operation(OperationKind::SyncDirectory)
            }
            _ if matches!(row.target, Target::Route(_)) => Verb::Request,
            _ => return true,
        };
        let is_place = |event: &&Event| match row.target {
            Target::File(file) => FileClass::of(&event.place) == file,
            Target::Route(route) => {
                let (method, uri) = event.place.split_once(' ').expect("a request has a method and a path");
                let request = Request::builder().method(method).uri(uri).body(Bytes::new()).unwrap();
                Route::of(&request) == Some(route)
            }
            Target::Suspension | Target::Between => true,
        };
        let lane = if verb == Verb::Request { Lane::Network } else { Lane::Client(0) };
        by_action[at]
            .iter()
            .filter(|event| (event.lane, event.verb) == (lane, verb))
            .any(|event| is_place(&event))
    }
}

/// The number of actions after the one with the fault, before the heal.
const ACTIONS_AFTER: usize = 3;

/// Histories of a row in which its fault is injected. Each variant of the fault is injected into the first
/// and the last action that reaches its place; sweeps cover the actions between them.
fn histories(row: &Row, quiet: &Quiet) -> Vec<Outcome> {
    let is_injected = |outcome: &Outcome| outcome.counts.injected.contains_key(&row.name());
    if row.target == Target::Between && row.kind != FaultKind::RestoreDirectory {
        return vec![crashed_between(row)].into_iter().filter(is_injected).collect();
    }
    if let (FaultKind::StaleCache, Target::Route(route)) = (row.kind, row.target) {
        return vec![cached(route)].into_iter().filter(is_injected).collect();
    }
    let places: Vec<usize> = (0..actions().len()).filter(|at| quiet.has_place(row, *at)).collect();
    let first_and_last = |history: &dyn Fn(usize) -> Outcome| {
        let try_at = |at: &usize| Some((*at, history(*at))).filter(|(_, outcome)| is_injected(outcome));
        let first = places.iter().find_map(try_at);
        let later =
            |(first, _): &(usize, Outcome)| places.iter().rev().take_while(|at| *at > first).find_map(try_at);
        let last = first.as_ref().and_then(later);
        [first, last].into_iter().flatten().map(|(_, outcome)| outcome).collect::<Vec<_>>()
    };
    if matches!(row.kind, FaultKind::LoseFile | FaultKind::RestoreDirectory | FaultKind::Rot) {
        return first_and_last(&|at| damaged_after(row, at));
    }
    faults(row).iter().flat_map(|fault| first_and_last(&|at| history(row, fault, at))).collect()
}

/// A history with external damage after one of the actions: a file is lost or rotten, or the directory is as
/// it was after the first pull. A new export exists only in the middle of a sync, so that sync is crashed.
fn damaged_after(row: &Row, step: usize) -> Outcome {
    let renamed = OperationPlace { file: FileClass::Synced, operation: OperationKind::Rename, nth: 1 };
    let damage = match (row.kind, row.target) {
        // This offset is inside a WAL's first frame. In the metadata, which is shorter, it wraps around.
        (FaultKind::Rot, Target::File(file)) => {
            Action::Rot { client: 0, file, offset: 1000, damage: Damage::Bit(3) }
        }
        (_, Target::File(file)) => Action::LoseFile { client: 0, file },
        _ => Action::RestoreDirectory { client: 0, to_step: 2 },
    };
    let mut steps = Vec::new();
    for (index, action) in actions().into_iter().enumerate().take(step + 1 + ACTIONS_AFTER) {
        let point = CrashPoint { place: renamed, moment: Moment::Before, kind: CrashKind::Kill };
        let is_crashed = row.target == Target::File(FileClass::SyncedNext)
            && index == step
            && matches!(action, Action::Sync { .. });
        let faults = if is_crashed { vec![Fault::Crash(point)] } else { vec![] };
        steps.push(Step { faults, ..Step::new(index as u32 + 1, action) });
        if index == step {
            steps.push(Step::new(100, damage.clone()));
        }
    }
    run(&Schedule::new(header(PushMode::Statements), steps), RunOptions::default())
}

fn crashed_between(row: &Row) -> Outcome {
    let power_loss = CrashKind::PowerLoss { survival: Survival::Nothing, torn: None };
    let down = match row.kind {
        FaultKind::Kill => Action::Crash { client: 0, kind: CrashKind::Kill },
        FaultKind::PowerLoss => Action::Crash { client: 0, kind: power_loss },
        FaultKind::RemoteCrash => Action::RemoteCrash { kind: power_loss },
        FaultKind::RemoteRestart => Action::RemoteRestart,
        FaultKind::RemoteFork => Action::RemoteFork { alternates: Alternation::Requests },
        FaultKind::WrongServer => Action::WrongServer { client: 0, times: 1, restarts: false },
        kind => panic!("{kind} is injected inside an operation"),
    };
    let actions = actions().into_iter().flat_map(|action| [action, down.clone()]);
    let steps = (1..).zip(actions).map(|(id, action)| Step::new(id, action)).collect();
    run(&Schedule::new(Header::new(1), steps), RunOptions::default())
}

/// A history with a cache for a route, and with a remote that is restored and reaches the same generation again.
fn cached(route: Route) -> Outcome {
    let append = || vec![Write::Append { payload_bytes: 100 }];
    let remote_commit = || Action::RemoteTransaction { writes: append() };
    let restore = || Action::RemoteRestore { generations_back: 1, transactions_back: 0, keeps_name: false };
    let actions = [
        remote_commit(),
        Action::Pull { client: 0 },
        remote_commit(),
        Action::RemoteCheckpoint,
        remote_commit(),
        Action::Pull { client: 0 },
        Action::RemoteCache { route },
        Action::LoseFile { client: 0, file: FileClass::Synced },
        Action::Sync { client: 0 },
        restore(),
        remote_commit(),
        Action::RemoteCheckpoint,
        remote_commit(),
        Action::Sync { client: 0 },
        Action::RemoteCheckpoint,
        Action::Sync { client: 0 },
        Action::RemoteCacheExpires,
        Action::Sync { client: 0 },
    ];
    let steps = (1..).zip(actions).map(|(id, action)| Step::new(id, action)).collect();
    run(&Schedule::new(Header { clients: 1, ..Header::new(1) }, steps), RunOptions::default())
}

/// The broken promise of a row, if any.
fn broken_promise(row: &Row, quiet: &Quiet) -> Option<String> {
    let name = row.name();
    if row.promise == Promise::Nothing {
        return None;
    }
    let outcomes = histories(row, quiet);
    if outcomes.is_empty() {
        return Some(format!("{name} was never injected"));
    }
    outcomes.into_iter().find_map(|outcome| {
        let (reported, refused) = (outcome.counts.errors_reported, outcome.counts.errors_refused);
        if let Some(violation) = outcome.violation {
            Some(format!("{name}: {violation}"))
        } else if reported > 0 && row.promise != Promise::Reported {
            Some(format!("{name} reported {reported} errors"))
        } else if refused > 0 && row.promise != Promise::Refused {
            Some(format!("{name} was refused {refused} times"))
        } else {
            None
        }
    })
}

#[test]
#[expect(clippy::disallowed_methods, reason = "histories share nothing, so the thread does not matter")]
fn every_rows_fault_is_injected_and_its_promise_kept() {
    let quiet = Quiet::run();
    let next = AtomicUsize::new(0);
    let broken_promises = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, NonZero::get) {
            scope.spawn(|| {
                while let Some(row) = ATLAS.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let broken_promise = broken_promise(row, &quiet);
                    lock(&broken_promises).extend(broken_promise);
                }
            });
        }
    });
    assert_eq!(broken_promises.into_inner().unwrap(), Vec::<String>::new());
}

/// Without this test, a failing row could be made to pass by promising nothing.
#[test]
fn only_rot_in_files_without_checksums_has_no_promise() {
    let rows = ATLAS.iter().filter(|row| row.promise == Promise::Nothing);
    let names: Vec<String> = rows.map(Row::name).collect();
    assert_eq!(names, ["rot/draft", "rot/synced", "rot/synced-next"]);
    for file in [FileClass::Draft, FileClass::Synced, FileClass::SyncedNext, FileClass::MetadataTemporary] {
        let rot = Action::Rot { client: 0, file, offset: 0, damage: Damage::Bit(0) };
        let schedule = Schedule::new(header(PushMode::Statements), vec![Step::new(1, rot)]);
        assert!(matches!(
            Schedule::parse(&schedule.print()),
            Err(ScheduleError::Unpromised { line: 2, field, .. }) if field == "action.rot.file"
        ));
    }
}

#[test]
fn every_row_is_unique() {
    let names: BTreeSet<String> = ATLAS.iter().map(Row::name).collect();
    assert_eq!(names.len(), ATLAS.len());
}

#[test]
fn a_crash_at_any_file_has_the_rows_of_all_files() {
    let place = OperationPlace { file: FileClass::Any, operation: OperationKind::AnyMutation, nth: 1 };
    let point = CrashPoint { place, moment: Moment::Before, kind: CrashKind::Kill };
    assert_eq!(rows_of(&Fault::Crash(point)).len(), 7);
}

#[test]
fn an_error_that_no_injected_row_allows_is_a_broken_promise() {
    let row = |kind, target| row(kind, target).expect("the atlas has the row");
    let kill = row(FaultKind::Kill, Target::Between);
    let lost = row(FaultKind::Network(NetworkFaultKind::LoseRequest), Target::Route(Route::Info));
    let blame = |injected: &[&Row], shown| judge(injected, shown).expect_err("the promise is broken");
    assert_eq!(blame(&[], Promise::Reported), "failed although no fault was injected");
    assert_eq!(
        blame(&[kill], Promise::Reported),
        "ended with an error of the class `reported`, but the atlas promises `masked` under kill/between-operations"
    );
    assert_eq!(
        blame(&[kill, lost], Promise::Refused),
        "ended with an error of the class `refused`, but the atlas promises `masked` under kill/between-operations, \
         `reported` under lose-request/info"
    );
    assert_eq!(judge(&[kill, lost], Promise::Reported), Ok(()));
}
