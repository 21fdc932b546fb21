//! A test a row: a small history in which the fault strikes, and which keeps every invariant.

use std::collections::BTreeSet;

use super::*;
use crate::disk::{
    CrashKind, CrashPoint, DiskError, DiskErrorKind, Lasts, Moment, OperationKind, Place, Survival,
};
use crate::network::{Arrival, Contradiction, NetworkFault, RequestPlace};
use crate::run::{Outcome, RunOptions, run};
use crate::schedule::{Action, Header, PushMode, Schedule, Step, TransactionEnd};
use crate::workload::Write;

/// The fault of a row, once for each way in which it might find its place.
fn faults(row: &Row) -> Vec<Fault> {
    let power_loss = || CrashKind::PowerLoss { survival: Survival::Nothing, torn_bytes: None };
    let crash = |kind: CrashKind| match row.target {
        Target::File(file) => {
            let place = Place { file, operation: OperationKind::AnyMutation, nth: 1 };
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
        FaultKind::WriteFails => disk(DiskErrorKind::WriteFails),
        FaultKind::PartialWrite => disk(DiskErrorKind::PartialWrite { bytes: 100 }),
        FaultKind::NoSpace => disk(DiskErrorKind::NoSpace),
        FaultKind::ReadFails => disk(DiskErrorKind::ReadFails),
        FaultKind::ShortRead => disk(DiskErrorKind::ShortRead),
        FaultKind::SyncFails => disk(DiskErrorKind::SyncFails),
        FaultKind::SyncDrops => disk(DiskErrorKind::SyncDrops),
        FaultKind::TruncateFails => disk(DiskErrorKind::TruncateFails),
        FaultKind::OpenFails => disk(DiskErrorKind::OpenFails),
        FaultKind::RenameFails => disk(DiskErrorKind::RenameFails),
        FaultKind::SyncDirectoryFails => disk(DiskErrorKind::SyncDirectoryFails),
        FaultKind::Abandon => [(1, true), (3, false), (5, true), (9, true)]
            .map(|(nth, arrives)| Fault::Abandon { nth, arrives })
            .to_vec(),
        FaultKind::LoseFile | FaultKind::RestoreDirectory => vec![],
        _ if row.target == Target::Between => vec![],
        kind => {
            network_faults(kind).into_iter().map(|fault| Fault::Network { at: request(), fault }).collect()
        }
    }
}

fn network_faults(kind: FaultKind) -> Vec<NetworkFault> {
    let arrivals = [Arrival::AtOnce, Arrival::AfterRequests(2), Arrival::AfterNextStep, Arrival::AtStep(8)];
    let lengths = [0, 30, 4096, 4120, 4121];
    let each_length = |fault: fn(u32) -> NetworkFault| lengths.map(fault).to_vec();
    match kind {
        FaultKind::LoseRequest => vec![NetworkFault::LoseRequest],
        FaultKind::LoseResponse => vec![NetworkFault::LoseResponse],
        FaultKind::RemoteCrash => [1, 2, 3, 100]
            .map(|operation| NetworkFault::RemoteCrash {
                operation,
                kind: CrashKind::PowerLoss { survival: Survival::Nothing, torn_bytes: None },
            })
            .to_vec(),
        FaultKind::Delay => arrivals.map(|until| NetworkFault::Delay { until }).to_vec(),
        FaultKind::Duplicate => arrivals.map(|until| NetworkFault::Duplicate { until }).to_vec(),
        FaultKind::Cut => each_length(|bytes| NetworkFault::Cut { bytes }),
        FaultKind::EndEarly => each_length(|bytes| NetworkFault::EndEarly { bytes }),
        FaultKind::TinyChunks => each_length(|bytes| NetworkFault::Chunks { bytes }),
        FaultKind::Garbage => each_length(|bytes| NetworkFault::Garbage { bytes }),
        FaultKind::WrongStatus => [(429, true), (404, false), (500, true), (503, false)]
            .map(|(code, takes_effect)| NetworkFault::WrongStatus { code, takes_effect })
            .to_vec(),
        FaultKind::BlamingStatus => [(401, true), (403, false), (409, true), (422, false)]
            .map(|(code, takes_effect)| NetworkFault::WrongStatus { code, takes_effect })
            .to_vec(),
        FaultKind::UntrueAnswer => [
            Contradiction::Generation(1),
            Contradiction::Generation(-1),
            Contradiction::MaxFrameNo(1),
            Contradiction::MaxFrameNo(-1),
            Contradiction::Word,
        ]
        .map(NetworkFault::Contradict)
        .to_vec(),
        FaultKind::StaleAnswer => [(0, 1), (1, 0)]
            .map(|(generations, transactions)| NetworkFault::Stale { generations, transactions })
            .to_vec(),
        kind => panic!("{kind} is no fault of the network's"),
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
    let leaves_a_temporary =
        (row.kind, row.target) == (FaultKind::TruncateFails, Target::File(FileClass::MetadataTemporary));
    let place = Place { file: FileClass::MetadataTemporary, operation: OperationKind::Write, nth: 1 };
    let point = CrashPoint { place, moment: Moment::After, kind: CrashKind::Kill };
    leaves_a_temporary.then_some((4, Fault::Crash(point)))
}

fn history(row: &Row, fault: &Fault, struck: usize) -> Outcome {
    let earlier = earlier(row);
    let faults = |index| {
        let earlier = earlier.iter().filter(|(at, _)| *at == index).map(|(_, fault)| fault);
        earlier.chain((index == struck).then_some(fault)).cloned().collect()
    };
    let steps = actions().into_iter().enumerate();
    let steps = steps
        .map(|(index, action)| Step { faults: faults(index), ..Step::new(index as u32 + 1, action) })
        .collect();
    let mut header = Header { synced_wal_frames_max: 3, ..Header::new(1) };
    if matches!(fault, Fault::Network { at, .. } if at.route == Route::PushFrames) {
        header.push_mode = PushMode::Frames;
    }
    run(&Schedule::new(header, steps), RunOptions::default())
}

/// Enough to see a row's fault early and late; the sweeps see it everywhere.
const HISTORIES_MAX: usize = 6;

/// Histories of a row in which its fault struck, each at another action.
fn struck(row: &Row) -> Vec<Outcome> {
    let has_struck = |outcome: &Outcome| outcome.counts.struck.contains_key(&row.name());
    if matches!(row.kind, FaultKind::LoseFile | FaultKind::RestoreDirectory) {
        return (0..actions().len()).map(|step| mishap_after(row, step)).filter(has_struck).collect();
    }
    let between = (row.target == Target::Between).then(|| crashed_between(row));
    let faults = faults(row);
    let inside = faults.iter().flat_map(|fault| (0..actions().len()).map(move |at| history(row, fault, at)));
    between.into_iter().chain(inside).filter(has_struck).take(HISTORIES_MAX).collect()
}

/// A file is lost, or the directory is again as it was after the first pull, behind one of the actions. A new export is only there
/// in the middle of one, so that one is crashed.
fn mishap_after(row: &Row, step: usize) -> Outcome {
    let renamed = Place { file: FileClass::Synced, operation: OperationKind::Rename, nth: 1 };
    let mishap = match row.target {
        Target::File(file) => Action::LoseFile { client: 0, file },
        _ => Action::RestoreDirectory { client: 0, to_step: 2 },
    };
    let mut steps = Vec::new();
    for (index, action) in actions().into_iter().enumerate() {
        let point = CrashPoint { place: renamed, moment: Moment::Before, kind: CrashKind::Kill };
        let is_crashed = row.target == Target::File(FileClass::SyncedNext)
            && index == step
            && matches!(action, Action::Sync { .. });
        let faults = if is_crashed { vec![Fault::Crash(point)] } else { vec![] };
        steps.push(Step { faults, ..Step::new(index as u32 + 1, action) });
        if index == step {
            steps.push(Step::new(100, mishap.clone()));
        }
    }
    let header = Header { synced_wal_frames_max: 3, ..Header::new(1) };
    run(&Schedule::new(header, steps), RunOptions::default())
}

fn crashed_between(row: &Row) -> Outcome {
    let power_loss = CrashKind::PowerLoss { survival: Survival::Nothing, torn_bytes: None };
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

#[test]
fn every_row_strikes_and_keeps_its_promise() {
    for row in ATLAS {
        let outcomes = struck(row);
        assert!(!outcomes.is_empty(), "{} never struck", row.name());
        for outcome in outcomes {
            let name = row.name();
            assert_eq!(outcome.violation, None, "{name}");
            let (reported, refused) = (outcome.counts.errors_reported, outcome.counts.errors_refused);
            assert!(reported == 0 || row.promise == Promise::Reported, "{name} showed {reported} errors");
            assert!(refused == 0 || row.promise == Promise::Refused, "{name} was refused {refused} times");
        }
    }
}

#[test]
fn a_row_stands_once() {
    let names: BTreeSet<String> = ATLAS.iter().map(Row::name).collect();
    assert_eq!(names.len(), ATLAS.len());
}

#[test]
fn a_fault_at_any_file_is_one_of_all_files_rows() {
    let place = Place { file: FileClass::Any, operation: OperationKind::AnyMutation, nth: 1 };
    let point = CrashPoint { place, moment: Moment::Before, kind: CrashKind::Kill };
    assert_eq!(rows_of(&Fault::Crash(point)).len(), 7);
}

#[test]
fn an_error_that_no_struck_row_allows_for_is_blamed() {
    let row = |kind, target| row(kind, target).expect("the atlas has the row");
    let kill = row(FaultKind::Kill, Target::Between);
    let lost = row(FaultKind::LoseRequest, Target::Route(Route::Info));
    let blame = |struck: &[&Row], shown| judge(struck, shown).expect_err("it is to be blamed");
    assert_eq!(blame(&[], Promise::Reported), "failed although no fault struck");
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
