//! Weaker faults and smaller actions.
//!
//! Guarantees: every returned value is simpler than its original, and no value can be simplified without end.

use crate::fault::Fault;
use crate::fault::{Arrival, NetworkFault};
use crate::fault::{CrashKind, CrashPoint, DiskError, DiskErrorKind, Lasts, Moment, Survival, Tear};
use crate::schedule::workload::Write;
use crate::schedule::{Action, ArchiveAction, Step, TransactionEnd};

/// Faults that do less harm than `fault`, the least harmful first.
pub(super) fn weaker_fault(fault: &Fault) -> Vec<Fault> {
    match fault {
        Fault::Crash(point) => weaker_point(point).into_iter().map(Fault::Crash).collect(),
        Fault::CrashSuspended { nth, kind } => {
            weaker_kind(kind).into_iter().map(|kind| Fault::CrashSuspended { nth: *nth, kind }).collect()
        }
        Fault::Abandon { nth, arrives: true } => vec![Fault::Abandon { nth: *nth, arrives: false }],
        Fault::Abandon { arrives: false, .. } => Vec::new(),
        Fault::Disk(error) => weaker_error(error).into_iter().map(Fault::Disk).collect(),
        Fault::Network { at, fault } => {
            weaker_network(fault).into_iter().map(|fault| Fault::Network { at: *at, fault }).collect()
        }
    }
}

/// An error that happens once is simpler than one that lasts. An error of the completion is simpler than one
/// of the call. A plain error is simpler than one that leaves a partial effect or drops data.
fn weaker_error(error: &DiskError) -> Vec<DiskError> {
    let mut weaker = Vec::new();
    if error.lasts == Lasts::UntilHealed {
        weaker.push(DiskError { lasts: Lasts::Once, ..*error });
    }
    if error.at_once {
        weaker.push(DiskError { at_once: false, ..*error });
    }
    let plainer = match error.error {
        DiskErrorKind::PartialWrite { .. } | DiskErrorKind::NoSpace => Some(DiskErrorKind::WriteFails),
        DiskErrorKind::ShortRead => Some(DiskErrorKind::ReadFails),
        DiskErrorKind::SyncDrops => Some(DiskErrorKind::SyncFails),
        DiskErrorKind::WriteFails
        | DiskErrorKind::ReadFails
        | DiskErrorKind::SyncFails
        | DiskErrorKind::TruncateFails
        | DiskErrorKind::OpenFails
        | DiskErrorKind::RenameFails
        | DiskErrorKind::SyncDirectoryFails => None,
    };
    weaker.extend(plainer.map(|plainer| DiskError { error: plainer, ..*error }));
    weaker
}

/// A lost request is the simplest fault, because the remote never receives it. A lost response is the next.
fn weaker_network(fault: &NetworkFault) -> Vec<NetworkFault> {
    let lost = [NetworkFault::LoseRequest, NetworkFault::LoseResponse];
    match fault {
        NetworkFault::LoseRequest => Vec::new(),
        NetworkFault::LoseResponse => vec![NetworkFault::LoseRequest],
        NetworkFault::RemoteCrash { operation, kind } => {
            let weaker = weaker_kind(kind)
                .into_iter()
                .map(|kind| NetworkFault::RemoteCrash { operation: *operation, kind });
            lost.into_iter().chain(weaker).collect()
        }
        NetworkFault::Delay { until } | NetworkFault::Duplicate { until } => {
            let sooner = sooner(*until).into_iter().map(|until| match fault {
                NetworkFault::Delay { .. } => NetworkFault::Delay { until },
                _ => NetworkFault::Duplicate { until },
            });
            lost.into_iter().chain(sooner).collect()
        }
        NetworkFault::WrongStatus { code, takes_effect: true } => {
            let weaker = NetworkFault::WrongStatus { code: *code, takes_effect: false };
            lost.into_iter().chain([weaker]).collect()
        }
        _ => lost.into(),
    }
}

fn sooner(until: Arrival) -> Vec<Arrival> {
    match until {
        Arrival::AtOnce => Vec::new(),
        Arrival::AfterNextStep => vec![Arrival::AtOnce],
        Arrival::AfterRequests(count) => {
            let fewer = (count > 1).then_some(Arrival::AfterRequests(1));
            [Arrival::AtOnce, Arrival::AfterNextStep].into_iter().chain(fewer).collect()
        }
        Arrival::AtStep(_) => vec![Arrival::AtOnce, Arrival::AfterNextStep],
    }
}

fn weaker_point(point: &CrashPoint) -> Vec<CrashPoint> {
    let kinds = weaker_kind(&point.kind).into_iter().map(|kind| CrashPoint { kind, ..point.clone() });
    let moments: &[Moment] = match point.moment {
        Moment::Before | Moment::After => &[],
        Moment::Inside { .. } => &[Moment::Before, Moment::After],
    };
    kinds.chain(moments.iter().map(|moment| CrashPoint { moment: *moment, ..point.clone() })).collect()
}

/// A kill is simpler than a power loss, all or nothing is simpler than a choice, and a short list is
/// simpler than a long one.
fn weaker_kind(kind: &CrashKind) -> Vec<CrashKind> {
    let CrashKind::PowerLoss { survival, torn } = kind else { return Vec::new() };
    let whole = |survival| CrashKind::PowerLoss { survival, torn: None };
    let mut weaker = vec![CrashKind::Kill];
    if let Some(tear) = torn {
        weaker.push(whole(survival.clone()));
        let lesser = lesser_tears(*tear).into_iter();
        weaker
            .extend(lesser.map(|torn| CrashKind::PowerLoss { survival: survival.clone(), torn: Some(torn) }));
    }
    match survival {
        Survival::Nothing => {}
        Survival::Everything => weaker.push(whole(Survival::Nothing)),
        Survival::Prefix { .. } | Survival::Subset { .. } => {
            weaker.extend([whole(Survival::Nothing), whole(Survival::Everything)]);
        }
        Survival::Files { keep } => {
            weaker.extend([whole(Survival::Nothing), whole(Survival::Everything)]);
            let fewer = all_fewer(keep).into_iter().map(|keep| Survival::Files { keep });
            weaker.extend(fewer.map(|survival| CrashKind::PowerLoss { survival, torn: *torn }));
        }
        Survival::List { indices } => {
            weaker.extend([whole(Survival::Nothing), whole(Survival::Everything)]);
            let shorter = all_fewer(indices).into_iter().map(|indices| Survival::List { indices });
            weaker.extend(shorter.map(|survival| CrashKind::PowerLoss { survival, torn: *torn }));
        }
    }
    weaker
}

/// For each lost sector, a tear that keeps this sector as well.
fn lesser_tears(tear: Tear) -> Vec<Tear> {
    let Tear::Sectors { sectors } = tear else { return Vec::new() };
    let lost = (0..64).filter(|nth| sectors >> nth & 1 == 0);
    lost.map(|nth| Tear::Sectors { sectors: sectors | 1 << nth }).collect()
}

/// The kinds of all crashes in a step.
pub(super) fn kinds_mut(step: &mut Step) -> Vec<&mut CrashKind> {
    let of_action = match &mut step.action {
        Action::Crash { kind, .. } | Action::RemoteCrash { kind } => Some(kind),
        Action::Transaction { .. }
        | Action::EndTransaction { .. }
        | Action::OpenReader { .. }
        | Action::CloseReader { .. }
        | Action::Open { .. }
        | Action::Program { .. }
        | Action::RemoteProgram { .. }
        | Action::Show { .. }
        | Action::Compare
        | Action::Pull { .. }
        | Action::Push { .. }
        | Action::Sync { .. }
        | Action::SecondProcess { .. }
        | Action::LeftoverConnection { .. }
        | Action::Close { .. }
        | Action::RemoteTransaction { .. }
        | Action::RemoteCheckpoint
        | Action::RemoteRestart
        | Action::RemotePrune
        | Action::RemoteArchive(_)
        | Action::RemoteRestore { .. }
        | Action::RemoteFork { .. }
        | Action::RemoteJoin { .. }
        | Action::RemoteCache { .. }
        | Action::RemoteCacheExpires
        | Action::WrongServer { .. }
        | Action::RestoreDirectory { .. }
        | Action::LoseFile { .. }
        | Action::Rot { .. } => None,
    };
    let of_faults = step.faults.iter_mut().filter_map(|fault| match fault {
        Fault::Crash(CrashPoint { kind, .. }) | Fault::CrashSuspended { kind, .. } => Some(kind),
        Fault::Network { fault: NetworkFault::RemoteCrash { kind, .. }, .. } => Some(kind),
        Fault::Disk(_) | Fault::Network { .. } | Fault::Abandon { .. } => None,
    });
    of_action.into_iter().chain(of_faults).collect()
}

/// Actions that do less than `action`, the smallest first.
pub(super) fn smaller_action(action: &Action) -> Vec<Action> {
    match action {
        Action::Transaction { client, writes, end } => {
            let with = |writes, end| Action::Transaction { client: *client, writes, end };
            let ended =
                (*end == TransactionEnd::HeldOpen).then(|| with(writes.clone(), TransactionEnd::Commit));
            let smaller = smaller_writes(writes).into_iter().map(|writes| with(writes, *end));
            ended.into_iter().chain(smaller).collect()
        }
        Action::RemoteTransaction { writes } => {
            smaller_writes(writes).into_iter().map(|writes| Action::RemoteTransaction { writes }).collect()
        }
        Action::Program { client, sql } => {
            all_fewer(sql).into_iter().map(|sql| Action::Program { client: *client, sql }).collect()
        }
        Action::RemoteProgram { sql } => {
            all_fewer(sql).into_iter().map(|sql| Action::RemoteProgram { sql }).collect()
        }
        Action::Sync { client } => vec![Action::Pull { client: *client }, Action::Push { client: *client }],
        Action::RemoteRestore { generations_back, transactions_back, keeps_name } => {
            let keeps_name = *keeps_name;
            let to = |generations_back, transactions_back| Action::RemoteRestore {
                generations_back,
                transactions_back,
                keeps_name,
            };
            let fewer_generations =
                (0..*generations_back).map(|generations| to(generations, *transactions_back));
            let fewer_transactions =
                (0..*transactions_back).map(|transactions| to(*generations_back, transactions));
            let renamed = keeps_name.then_some(Action::RemoteRestore {
                generations_back: *generations_back,
                transactions_back: *transactions_back,
                keeps_name: false,
            });
            fewer_generations.chain(fewer_transactions).chain(renamed).collect()
        }
        Action::Crash { client, kind } => {
            weaker_kind(kind).into_iter().map(|kind| Action::Crash { client: *client, kind }).collect()
        }
        Action::RemoteCrash { kind } => {
            let weaker = weaker_kind(kind).into_iter().map(|kind| Action::RemoteCrash { kind });
            std::iter::once(Action::RemoteRestart).chain(weaker).collect()
        }
        Action::RemoteArchive(
            archive @ (ArchiveAction::Write { rows, payload_bytes }
            | ArchiveAction::Import { rows, payload_bytes }),
        ) => {
            let with = |rows, payload_bytes| {
                Action::RemoteArchive(match archive {
                    ArchiveAction::Import { .. } => ArchiveAction::Import { rows, payload_bytes },
                    _ => ArchiveAction::Write { rows, payload_bytes },
                })
            };
            let fewer = (*rows > 1).then(|| with(1, *payload_bytes));
            let shorter = (*payload_bytes > 0).then(|| with(*rows, 0));
            fewer.into_iter().chain(shorter).collect()
        }
        &Action::WrongServer { client, times, restarts } => {
            let fewer = (1..times).map(|times| Action::WrongServer { client, times, restarts });
            let steady = restarts.then_some(Action::WrongServer { client, times, restarts: false });
            fewer.chain(steady).collect()
        }
        Action::EndTransaction { .. }
        | Action::OpenReader { .. }
        | Action::CloseReader { .. }
        | Action::Open { .. }
        | Action::Show { .. }
        | Action::Compare
        | Action::Pull { .. }
        | Action::Push { .. }
        | Action::SecondProcess { .. }
        | Action::LeftoverConnection { .. }
        | Action::Close { .. }
        | Action::RemoteCheckpoint
        | Action::RemoteRestart
        | Action::RemotePrune
        | Action::RemoteArchive(_)
        | Action::RemoteFork { .. }
        | Action::RemoteJoin { .. }
        | Action::RemoteCache { .. }
        | Action::RemoteCacheExpires
        | Action::RestoreDirectory { .. }
        | Action::LoseFile { .. }
        | Action::Rot { .. } => Vec::new(),
    }
}

fn smaller_writes(writes: &[Write]) -> Vec<Vec<Write>> {
    let mut smaller = all_fewer(writes);
    // A quiet or void transaction ignores appends, so it is no use to replace one of its writes by an append.
    if matches!(writes.first(), Some(Write::Quiet | Write::Void { .. })) {
        return smaller;
    }
    for (index, write) in writes.iter().enumerate() {
        for lesser in smaller_write(write) {
            let mut writes = writes.to_vec();
            writes[index] = lesser;
            smaller.push(writes);
        }
    }
    smaller
}

/// An append, which conflicts with nothing, is simpler than a write with a key. Few bytes are simpler than
/// many.
fn smaller_write(write: &Write) -> Vec<Write> {
    let append = |payload_bytes| Write::Append { payload_bytes };
    match write {
        Write::Append { payload_bytes: 0 } => Vec::new(),
        Write::Append { payload_bytes } => vec![append(0), append(payload_bytes / 2)],
        Write::Quiet | Write::Void { .. } => Vec::new(),
        _ => vec![append(0)],
    }
}

/// Shorter versions of `items`: the empty list, then `items` without one half, without one quarter, and so
/// on, down to `items` without one item.
fn all_fewer<T: Clone>(items: &[T]) -> Vec<Vec<T>> {
    let mut chunk = items.len();
    let mut shorter = Vec::new();
    while chunk > 0 {
        shorter.extend(fewer(items, chunk));
        chunk /= 2;
    }
    shorter
}

/// Divides `items` into chunks of `chunk` items from the end. Returns `items` without each chunk in turn.
pub(super) fn fewer<T: Clone>(items: &[T], chunk: usize) -> Vec<Vec<T>> {
    let mut shorter = Vec::new();
    let mut end = items.len();
    while end > 0 {
        let start = end.saturating_sub(chunk);
        shorter.push([&items[..start], &items[end..]].concat());
        end = start;
    }
    shorter
}
