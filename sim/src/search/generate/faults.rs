//! Draws the faults of a step and their places.

use plimsoll_engine::events::EventName;
use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};

use super::aim::{LikelyState, SpotAccess, is_idle, rebases, spots};
use super::{Mix, pick};
use crate::fault::NetworkFaultKind;
use crate::fault::atlas::{self, FaultKind, Target, is_rot_promised};
use crate::fault::{Arrival, Contradiction, NetworkFault, RequestPlace, Route};
use crate::fault::{
    CrashKind, CrashPoint, DiskError, DiskErrorKind, FileClass, Lasts, Moment, OperationKind, OperationPlace,
    Survival, Tear,
};
use crate::fault::{Damage, Fault};
use crate::schedule::{Action, EngineEvent, Header, PushMode, Wait};

/// The metadata files. After some power losses only unsynced operations on these files survive.
const METADATA: [FileClass; 2] = [FileClass::Metadata, FileClass::MetadataTemporary];
/// The database files. After some power losses only unsynced operations on these files survive.
const DATA: [FileClass; 4] = [FileClass::Draft, FileClass::DraftWal, FileClass::Synced, FileClass::SyncedWal];

/// A crash at a place that the step is likely to reach; `None` if it is likely to reach none.
pub(super) fn crash(rng: &mut impl Rng, mix: &Mix, action: &Action, state: LikelyState) -> Option<Fault> {
    let kind = crash_kind(rng, mix);
    if is_engine_operation(action) && rng.random_ratio(1, 5) {
        return Some(Fault::CrashSuspended { nth: suspension(rng, action, state), kind });
    }
    let places: Vec<(FileClass, OperationKind, u32)> = spots(action, state)
        .into_iter()
        .filter_map(|(file, access, usual_count)| match access {
            SpotAccess::Mutation(operation) => Some((file, operation, usual_count)),
            SpotAccess::Read | SpotAccess::Open => None,
        })
        .collect();
    // A kill loses no data. It does the most harm where a change is visible before it is durable.
    let visible_before_durable = (FileClass::Metadata, OperationKind::SyncDirectory);
    let aimed = places.iter().find(|(file, operation, _)| (*file, *operation) == visible_before_durable);
    if let Some(&(file, operation, usual_count)) =
        aimed.filter(|_| kind == CrashKind::Kill && rng.random_ratio(1, 3))
    {
        let place = OperationPlace { file, operation, nth: nth(rng, usual_count) };
        return Some(Fault::Crash(CrashPoint { place, moment: Moment::Before, kind }));
    }
    let (file, operation, usual_count) = *places.choose(rng)?;
    let place = OperationPlace { file, operation, nth: nth(rng, usual_count) };
    let moment = match rng.random_range(0..3) {
        0 => Moment::Before,
        1 => Moment::Inside { bytes: rng.random_range(0..5000) },
        _ => Moment::After,
    };
    Some(Fault::Crash(CrashPoint { place, moment, kind }))
}

/// The number of an access: at most `usual_count`, and sometimes up to twice as much.
fn nth(rng: &mut impl Rng, usual_count: u32) -> u32 {
    let nth_max = if rng.random_ratio(1, 8) { 2 * usual_count } else { usual_count };
    rng.random_range(1..=nth_max)
}

/// A disk error from the atlas, at a place that the step is likely to reach; `None` if it is likely to
/// reach none.
pub(super) fn disk_error(rng: &mut impl Rng, action: &Action, state: LikelyState) -> Option<Fault> {
    let places: Vec<(FileClass, DiskErrorKind, u32)> = spots(action, state)
        .into_iter()
        .flat_map(|(file, access, usual_count)| {
            let errors = DiskErrorKind::ALL.into_iter().filter(move |error| can_fail_at(*error, access));
            errors.map(move |error| (file, error, usual_count))
        })
        .filter(|(file, error, _)| atlas::row((*error).into(), Target::File(*file)).is_some())
        .collect();
    // Errors of syncs leave changes that are visible but not durable. Later operations must not rely on them.
    let is_aimed_at: fn(&DiskErrorKind) -> bool = match rng.random_range(0..10) {
        0..2 => |error| matches!(error, DiskErrorKind::SyncDirectoryFails),
        2..5 => |error| matches!(error, DiskErrorKind::SyncFails | DiskErrorKind::SyncDrops),
        _ => |_| true,
    };
    let aimed: Vec<_> = places.iter().filter(|(_, error, _)| is_aimed_at(error)).copied().collect();
    let (file, error, usual_count) = aimed.choose(rng).or_else(|| places.choose(rng)).copied()?;
    let error = match error {
        DiskErrorKind::PartialWrite { .. } => {
            DiskErrorKind::PartialWrite { bytes: *pick(rng, &[0, 1, 24, 512, 4096, 4119, 5000]) }
        }
        error => error,
    };
    let lasts = if rng.random_ratio(1, 8) { Lasts::UntilHealed } else { Lasts::Once };
    Some(Fault::Disk(DiskError {
        file,
        nth: nth(rng, usual_count),
        error,
        lasts,
        at_once: rng.random_bool(0.5),
    }))
}

/// Whether an error can be injected into this kind of access.
fn can_fail_at(error: DiskErrorKind, access: SpotAccess) -> bool {
    let operation = match error {
        DiskErrorKind::WriteFails | DiskErrorKind::PartialWrite { .. } | DiskErrorKind::NoSpace => {
            OperationKind::Write
        }
        DiskErrorKind::SyncFails | DiskErrorKind::SyncDrops => OperationKind::Sync,
        DiskErrorKind::TruncateFails => OperationKind::Truncate,
        DiskErrorKind::RenameFails => OperationKind::Rename,
        DiskErrorKind::SyncDirectoryFails => OperationKind::SyncDirectory,
        DiskErrorKind::ReadFails | DiskErrorKind::ShortRead => return access == SpotAccess::Read,
        DiskErrorKind::OpenFails => return access == SpotAccess::Open,
    };
    access == SpotAccess::Mutation(operation)
}

/// The kind of a crash.
pub(super) fn crash_kind(rng: &mut impl Rng, mix: &Mix) -> CrashKind {
    if rng.random_range(0..100) < mix.kill_percent {
        return CrashKind::Kill;
    }
    let survival = match rng.random_range(0..10) {
        0..3 => Survival::Nothing,
        3 => Survival::Everything,
        4 => Survival::Files { keep: METADATA.to_vec() },
        5 => Survival::Files { keep: DATA.to_vec() },
        6..8 => Survival::Prefix { operations: rng.random_range(0..30) },
        _ => Survival::Subset { keep_percent: *pick(rng, &[10, 50, 80, 95]), key: rng.random() },
    };
    let torn = match rng.random_range(0..6) {
        0..2 => Some(Tear::Bytes(*pick(rng, &[1, 24, 512, 1024, 4096, 4119, 4500]))),
        2 => Some(Tear::Sectors { sectors: rng.random() }),
        _ => None,
    };
    CrashKind::PowerLoss { survival, torn }
}

/// Bit rot in a file for which the atlas has a promise.
pub(super) fn rot(rng: &mut impl Rng, client: u8) -> Action {
    let files: Vec<FileClass> = FileClass::ALL.into_iter().filter(|file| is_rot_promised(*file)).collect();
    let damage = if rng.random_bool(0.5) {
        Damage::Bit(rng.random_range(0..8))
    } else {
        Damage::Sector { key: rng.random() }
    };
    let offset = if rng.random_bool(0.5) { rng.random_range(0..64) } else { rng.random_range(0..1 << 20) };
    Action::Rot { client, file: *pick(rng, &files), offset, damage }
}

/// Faults on one request that the operation is likely to send, or on several in a row; empty if it is
/// likely to send none.
pub(super) fn network_faults(
    rng: &mut impl Rng,
    mix: &Mix,
    header: &Header,
    id: u32,
    action: &Action,
    state: LikelyState,
) -> Vec<Fault> {
    let pushes = state.has_pending && matches!(action, Action::Push { .. } | Action::Sync { .. });
    let pulls = !matches!(action, Action::Push { .. });
    let is_rebootstrap = pulls && state.is_severed && rng.random_bool(0.75);
    let (route, nth) = match rng.random_range(0..10) {
        // It finds out what has happened, fetches an export, and walks to the end of the new log.
        0 if is_rebootstrap => (Route::Info, *pick(rng, &[1, 2])),
        1 if is_rebootstrap => (Route::Export, 1),
        _ if is_rebootstrap => (Route::PullFrames, rng.random_range(1..9)),
        0..6 if !state.was_opened => (*pick(rng, &[Route::Info, Route::Export, Route::Export]), 1),
        // These requests decide whether a transaction is lost or applied twice.
        2..9 if pushes || !pulls => match header.push_mode {
            _ if !pushes => return Vec::new(),
            // In a young generation a push sends statements instead of frames.
            PushMode::Frames if rng.random_bool(0.75) => (Route::PushFrames, *pick(rng, &[1, 1, 1, 2, 2, 4])),
            PushMode::Statements | PushMode::Frames => (Route::Pipeline, *pick(rng, &[1, 1, 1, 2])),
        },
        // If the remote can lose transactions, the replica is fetched again.
        9 if mix.independent_writes => (Route::Export, 1),
        _ if !state.has_news => (Route::PullFrames, 1),
        _ => (Route::PullFrames, *pick(rng, &[1, 1, 1, 1, 2, 2, 3, 5])),
    };
    let at = RequestPlace { route, nth };
    // The answers about the remote's state decide what a re-bootstrap gives up.
    let fault = match is_rebootstrap && rng.random_bool(0.5) {
        true => {
            let kind = *pick(rng, &OF_A_STATE);
            network_fault(rng, mix, kind, route, id)
        }
        false => draw_network_fault(rng, mix, route, id),
    };
    // Only a response about the remote's state can be untrue or stale. For another route, the fault moves to
    // a request for frames.
    let has_row = atlas::row(FaultKind::Network(fault.kind(route)), Target::Route(route)).is_some();
    let at = if has_row { at } else { RequestPlace { route: Route::PullFrames, ..at } };
    let is_lagging = matches!(fault, NetworkFault::Stale { .. }) && at.route == Route::PullFrames;
    let in_a_row = if is_lagging { lagging_answers(rng, header) } else { 1 };
    (0..in_a_row)
        .map(|later| Fault::Network { at: RequestPlace { nth: at.nth + later, ..at }, fault: fault.clone() })
        .collect()
}

/// The number of answers in a row of a server that lags behind.
pub(super) fn lagging_answers(rng: &mut impl Rng, header: &Header) -> u32 {
    let is_recognizable = header.remote_names_history || header.has_proofs();
    if is_recognizable { *pick(rng, &[1, 2, 3, 3]) } else { 1 }
}

/// Answers that are wrong about the remote's state. The first is listed twice, because lagging is the usual case.
const OF_A_STATE: [NetworkFaultKind; 3] =
    [NetworkFaultKind::StaleAnswer, NetworkFaultKind::StaleAnswer, NetworkFaultKind::UntrueAnswer];

fn draw_network_fault(rng: &mut impl Rng, mix: &Mix, route: Route, id: u32) -> NetworkFault {
    const OF_A_BODY: [NetworkFaultKind; 5] = [
        NetworkFaultKind::Cut,
        NetworkFaultKind::EndEarly,
        NetworkFaultKind::EndEarly,
        NetworkFaultKind::TinyChunks,
        NetworkFaultKind::Garbage,
    ];
    /// Faults that hide from a client whether the remote has applied a push, or that apply it late.
    const OF_A_PUSH: [NetworkFaultKind; 3] =
        [NetworkFaultKind::LoseResponse, NetworkFaultKind::Delay, NetworkFaultKind::Duplicate];
    let kind = match route {
        // An export is mostly body, and a client fetches few of them.
        Route::Export if rng.random_bool(0.7) => *pick(rng, &OF_A_BODY),
        Route::PushFrames | Route::Pipeline if rng.random_bool(0.3) => *pick(rng, &OF_A_PUSH),
        _ => mix.network.choose_weighted(rng, |(_, weight)| *weight).expect("losses have a weight").0,
    };
    network_fault(rng, mix, kind, route, id)
}

fn network_fault(
    rng: &mut impl Rng,
    mix: &Mix,
    kind: NetworkFaultKind,
    route: Route,
    id: u32,
) -> NetworkFault {
    match kind {
        NetworkFaultKind::LoseRequest => NetworkFault::LoseRequest,
        NetworkFaultKind::LoseResponse => NetworkFault::LoseResponse,
        NetworkFaultKind::RemoteCrash => {
            let operation = *pick(rng, &[1, 2, 3, 4, 8, 100]);
            NetworkFault::RemoteCrash { operation, kind: crash_kind(rng, mix) }
        }
        NetworkFaultKind::Delay => NetworkFault::Delay { until: arrival(rng, id) },
        NetworkFaultKind::Duplicate => {
            let until = if rng.random_bool(0.3) { Arrival::AtOnce } else { arrival(rng, id) };
            NetworkFault::Duplicate { until }
        }
        NetworkFaultKind::Cut => NetworkFault::Cut { bytes: body_bytes(rng, route) },
        NetworkFaultKind::EndEarly => NetworkFault::EndEarly { bytes: body_bytes(rng, route) },
        NetworkFaultKind::TinyChunks => NetworkFault::Chunks { bytes: *pick(rng, &[1, 7, 100, 4119, 4121]) },
        NetworkFaultKind::Garbage => NetworkFault::Garbage { bytes: body_bytes(rng, route) },
        NetworkFaultKind::WrongStatus => NetworkFault::WrongStatus {
            code: *pick(rng, &[404, 408, 429, 500, 502, 503, 504]),
            takes_effect: rng.random_bool(0.5),
        },
        NetworkFaultKind::BlamingStatus => NetworkFault::WrongStatus {
            code: *pick(rng, &[400, 401, 403, 409, 422]),
            takes_effect: rng.random_bool(0.5),
        },
        NetworkFaultKind::UntrueAnswer => NetworkFault::Contradict(match rng.random_range(0..5) {
            0..2 => Contradiction::Generation(*pick(rng, &[-1, 1, 2])),
            2..4 => Contradiction::MaxFrameNo(*pick(rng, &[-3, -1, 1, 2])),
            _ => Contradiction::StatusWord,
        }),
        NetworkFaultKind::StaleAnswer => {
            NetworkFault::Stale { generations: rng.random_range(0..3), transactions: rng.random_range(1..4) }
        }
    }
}

/// The time when a message that was sent in step `id` arrives.
fn arrival(rng: &mut impl Rng, id: u32) -> Arrival {
    match rng.random_range(0..4) {
        0 => Arrival::AfterRequests(rng.random_range(1..8)),
        1 => Arrival::AfterNextStep,
        _ => Arrival::AtStep(id + rng.random_range(1..6)),
    }
}

/// An offset at which to damage a body: around frames and pages, or inside a short text.
fn body_bytes(rng: &mut impl Rng, route: Route) -> u32 {
    let unit = match route {
        Route::PullFrames => 4120,
        Route::Export => 4096,
        Route::Info | Route::PushFrames | Route::Pipeline => return rng.random_range(0..200),
    };
    let from_boundary = *pick(rng, &[0, 0, 1, 24, 100, 4000, 4095]);
    unit * rng.random_range(0..6) + from_boundary
}

/// A wait that an operation is likely to reach.
pub(super) fn wait(rng: &mut impl Rng, header: &Header, action: &Action, state: LikelyState) -> Wait {
    let place = |route: Route, nth: u32| RequestPlace { route, nth };
    let nth = if state.has_news { *pick(rng, &[1, 1, 2, 3]) } else { 1 };
    let frames = place(Route::PullFrames, nth);
    let push = match header.push_mode {
        PushMode::Statements => place(Route::Pipeline, 1),
        PushMode::Frames => place(Route::PushFrames, *pick(rng, &[1, 1, 2])),
    };
    let pushes = state.has_pending && !matches!(action, Action::Pull { .. });
    if rng.random_ratio(1, 3) {
        return reported(rng, header, action, pushes, state);
    }
    match rng.random_range(0..8) {
        0 if pushes => Wait::Request(push),
        1 if pushes => Wait::Response(push),
        2 => Wait::Request(frames),
        3 => Wait::Response(frames),
        4 if state.has_news => Wait::Chunk { of: frames, nth: rng.random_range(1..4) },
        _ => Wait::Suspension { nth: suspension(rng, action, state) },
    }
}

/// An event that an operation is likely to emit.
fn reported(rng: &mut impl Rng, header: &Header, action: &Action, pushes: bool, state: LikelyState) -> Wait {
    const COMPACTION: &[EventName] = &[EventName::CompactionAnnounced, EventName::CompactionCheckpointed];
    const PUSH: &[EventName] = &[EventName::BatchSent, EventName::BatchAcknowledged];
    const PULL: &[EventName] = &[
        EventName::FramesCommitted,
        EventName::GenerationCrossed,
        EventName::RebaseBegins,
        EventName::DraftCommitted,
        EventName::CheckpointAnnounced,
        EventName::RebootstrapBegins,
        EventName::ReplacingSynced,
    ];
    // Listed six times, because most of a pull happens between this event and the next.
    const REBASE: &[EventName] = &[EventName::RebaseBegins; 6];
    const ALWAYS: &[EventName] = &[
        EventName::EndOfHistory,
        EventName::NothingToSend,
        EventName::NothingToPull,
        EventName::MetadataWritten,
    ];
    let compaction_sixths = if header.draft_wal_frames_max <= 10 { 3 } else { 2 };
    let compacts = header.draft_wal_frames_max < 100 && rng.random_ratio(compaction_sixths, 6);
    let events: Vec<EventName> = [
        (compacts, COMPACTION),
        (pushes && !compacts, PUSH),
        (state.has_news && !compacts, PULL),
        (rebases(action, state) && !compacts, REBASE),
        (!compacts, ALWAYS),
    ]
    .into_iter()
    .filter(|(is_likely, _)| *is_likely)
    .flat_map(|(_, events)| events.iter().copied())
    .collect();
    let event = EngineEvent(*events.choose(rng).expect("an operation emits at least one event"));
    Wait::Reported { event, nth: *pick(rng, &[1, 1, 1, 2]) }
}

/// The number of a suspension that an operation is likely to reach. Most operations have few suspensions.
pub(super) fn suspension(rng: &mut impl Rng, action: &Action, state: LikelyState) -> u32 {
    let nth_max = if is_idle(action, state) { 4 } else { *pick(rng, &[6, 15, 40]) };
    rng.random_range(1..=nth_max)
}

/// Whether the action is an operation that sends requests to the remote.
pub(super) fn is_engine_operation(action: &Action) -> bool {
    matches!(action, Action::Pull { .. } | Action::Push { .. } | Action::Sync { .. })
}
