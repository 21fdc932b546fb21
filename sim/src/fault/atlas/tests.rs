//! A test a row: a small history in which the fault strikes, and which keeps every invariant.

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
use crate::schedule::{Action, Header, PushMode, Schedule, ScheduleError, Step, TransactionEnd};
use crate::world::run::{Outcome, RunOptions, run};
use crate::world::trace::{Event, Lane};

/// The fault of a row, once for each way in which it might find its place.
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
        let Target::File(file) = row.target else { panic!("{} is no file", row.target) };
        let error = |nth, lasts| Fault::Disk(DiskError { file, nth, error, lasts, at_once: nth == 2 });
        vec![error(1, Lasts::Once), error(2, Lasts::UntilHealed)]
    };
    let request = || match row.target {
        Target::Route(route) => RequestPlace { route, nth: 1 },
        target => panic!("{target} is no route"),
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
        FaultKind::LoseFile | FaultKind::RestoreDirectory | FaultKind::Rot => vec![],
        FaultKind::Network(kind) => {
            examples(kind).into_iter().map(|fault| Fault::Network { at: request(), fault }).collect()
        }
        FaultKind::RemoteRestart | FaultKind::RemoteCrash => {
            panic!("{} strikes between operations", row.kind)
        }
    }
}

/// Actions in which every place of the engine's occurs: a bootstrap, local and remote transactions, pushes, pulls and a checkpoint.
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
        Action::RemoteRestore { generations_back: 1, transactions_back: 1 },
        Action::Sync { client: 0 },
    ]
}

/// A fault that has to strike before the row's can, and at which action.
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

/// In which form the clients push when this strikes.
fn push_mode(target: Target) -> PushMode {
    if target == Target::Route(Route::PushFrames) { PushMode::Frames } else { PushMode::Statements }
}

fn history(row: &Row, fault: &Fault, struck: usize) -> Outcome {
    let earlier = earlier(row);
    let faults = |index| {
        let earlier = earlier.iter().filter(|(at, _)| *at == index).map(|(_, fault)| fault);
        earlier.chain((index == struck).then_some(fault)).cloned().collect()
    };
    let steps = actions().into_iter().enumerate().take(struck + 1 + ACTIONS_AFTER);
    let steps = steps
        .map(|(index, action)| Step { faults: faults(index), ..Step::new(index as u32 + 1, action) })
        .collect();
    run(&Schedule::new(header(push_mode(row.target)), steps), RunOptions::default())
}

/// What happens in a history that nothing strikes, action by action, in either form of pushes.
struct Quiet(Vec<(PushMode, Vec<Vec<Event>>)>);

impl Quiet {
    fn run() -> Self {
        let by_action = |push_mode| {
            let steps = (1..).zip(actions()).map(|(id, action)| Step::new(id, action)).collect();
            let options = RunOptions { keep_events: true, ..RunOptions::default() };
            let outcome = run(&Schedule::new(header(push_mode), steps), options);
            assert_eq!(outcome.violation, None);
            let steps = outcome.events.split(|event| (event.lane, event.verb) == (Lane::World, "step"));
            steps.skip(1).map(<[Event]>::to_vec).collect()
        };
        Self([PushMode::Statements, PushMode::Frames].map(|mode| (mode, by_action(mode))).to_vec())
    }

    /// Whether what the row's fault strikes at happens in an action, as far as the trace tells: reads and opens are not in it.
    fn has_place(&self, row: &Row, at: usize) -> bool {
        let mode = push_mode(row.target);
        let (_, by_action) = self.0.iter().find(|(of, _)| *of == mode).expect("both forms have run");
        let verb = match row.kind {
            FaultKind::Disk(
                DiskErrorKind::WriteFails | DiskErrorKind::PartialWrite { .. } | DiskErrorKind::NoSpace,
            ) => "write",
            FaultKind::Disk(DiskErrorKind::SyncFails | DiskErrorKind::SyncDrops) => "sync",
            FaultKind::Disk(DiskErrorKind::RenameFails) => "rename",
            FaultKind::Disk(DiskErrorKind::SyncDirectoryFails) => "sync dir",
            _ if matches!(row.target, Target::Route(_)) => "request",
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
        let lane = if verb == "request" { Lane::Network } else { Lane::Client(0) };
        by_action[at]
            .iter()
            .filter(|event| (event.lane, event.verb) == (lane, verb))
            .any(|event| is_place(&event))
    }
}

/// How many actions follow the one at which a fault strikes, before the heal.
const ACTIONS_AFTER: usize = 3;

/// Histories of a row in which its fault strikes: in each of its ways at the first and at the last action that it finds a place in. The
/// sweeps see it everywhere.
fn struck(row: &Row, quiet: &Quiet) -> Vec<Outcome> {
    let has_struck = |outcome: &Outcome| outcome.counts.injected.contains_key(&row.name());
    if row.target == Target::Between && row.kind != FaultKind::RestoreDirectory {
        return vec![crashed_between(row)].into_iter().filter(has_struck).collect();
    }
    let places: Vec<usize> = (0..actions().len()).filter(|at| quiet.has_place(row, *at)).collect();
    let first_and_last = |history: &dyn Fn(usize) -> Outcome| {
        let strike = |at: &usize| Some((*at, history(*at))).filter(|(_, outcome)| has_struck(outcome));
        let first = places.iter().find_map(strike);
        let later =
            |(first, _): &(usize, Outcome)| places.iter().rev().take_while(|at| *at > first).find_map(strike);
        let last = first.as_ref().and_then(later);
        [first, last].into_iter().flatten().map(|(_, outcome)| outcome).collect::<Vec<_>>()
    };
    if matches!(row.kind, FaultKind::LoseFile | FaultKind::RestoreDirectory | FaultKind::Rot) {
        return first_and_last(&|at| mishap_after(row, at));
    }
    faults(row).iter().flat_map(|fault| first_and_last(&|at| history(row, fault, at))).collect()
}

/// A file is lost or goes bad, or the directory is again as it was after the first pull, behind one of the actions. A new export is only there
/// in the middle of one, so that one is crashed.
fn mishap_after(row: &Row, step: usize) -> Outcome {
    let renamed = OperationPlace { file: FileClass::Synced, operation: OperationKind::Rename, nth: 1 };
    let damage = match (row.kind, row.target) {
        // Inside a WAL's first frame; metadata is shorter, and the offset is counted on from its beginning.
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
        kind => panic!("{kind} strikes inside an operation"),
    };
    let actions = actions().into_iter().flat_map(|action| [action, down.clone()]);
    let steps = (1..).zip(actions).map(|(id, action)| Step::new(id, action)).collect();
    run(&Schedule::new(Header::new(1), steps), RunOptions::default())
}

/// What is wrong with a row.
fn complaint(row: &Row, quiet: &Quiet) -> Option<String> {
    let name = row.name();
    if row.promise == Promise::Nothing {
        return None;
    }
    let outcomes = struck(row, quiet);
    if outcomes.is_empty() {
        return Some(format!("{name} never struck"));
    }
    outcomes.into_iter().find_map(|outcome| {
        let (reported, refused) = (outcome.counts.errors_reported, outcome.counts.errors_refused);
        if let Some(violation) = outcome.violation {
            Some(format!("{name}: {violation}"))
        } else if reported > 0 && row.promise != Promise::Reported {
            Some(format!("{name} showed {reported} errors"))
        } else if refused > 0 && row.promise != Promise::Refused {
            Some(format!("{name} was refused {refused} times"))
        } else {
            None
        }
    })
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "histories share nothing; which thread runs one makes no difference to it"
)]
fn every_row_strikes_and_keeps_its_promise() {
    let quiet = Quiet::run();
    let next = AtomicUsize::new(0);
    let complaints = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, NonZero::get) {
            scope.spawn(|| {
                while let Some(row) = ATLAS.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let complaint = complaint(row, &quiet);
                    lock(&complaints).extend(complaint);
                }
            });
        }
    });
    assert_eq!(complaints.into_inner().unwrap(), Vec::<String>::new());
}

/// Else a row could be kept quiet about by promising nothing.
#[test]
fn nothing_is_promised_about_rotten_pages_alone() {
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
fn a_row_stands_once() {
    let names: BTreeSet<String> = ATLAS.iter().map(Row::name).collect();
    assert_eq!(names.len(), ATLAS.len());
}

#[test]
fn a_fault_at_any_file_is_one_of_all_files_rows() {
    let place = OperationPlace { file: FileClass::Any, operation: OperationKind::AnyMutation, nth: 1 };
    let point = CrashPoint { place, moment: Moment::Before, kind: CrashKind::Kill };
    assert_eq!(rows_of(&Fault::Crash(point)).len(), 7);
}

#[test]
fn an_error_that_no_struck_row_allows_for_is_blamed() {
    let row = |kind, target| row(kind, target).expect("the atlas has the row");
    let kill = row(FaultKind::Kill, Target::Between);
    let lost = row(FaultKind::Network(NetworkFaultKind::LoseRequest), Target::Route(Route::Info));
    let blame = |injected: &[&Row], shown| judge(injected, shown).expect_err("it is to be blamed");
    assert_eq!(blame(&[], Promise::Reported), "failed although no fault was injected");
    assert_eq!(
        blame(&[kill], Promise::Reported),
        "was reported, but kill/between-operations is to be masked"
    );
    assert_eq!(
        blame(&[kill, lost], Promise::Refused),
        "was refused, but kill/between-operations is to be masked, lose-request/info is to be reported"
    );
    assert_eq!(judge(&[kill, lost], Promise::Reported), Ok(()));
}
