//! Generates a schedule from a seed.
//!
//! This is swarm testing: each seed first draws the header, with the sizes of batches and WALs, and then a
//! mix: the kinds of steps, writes and faults that can occur, and how often. So two seeds differ in the kinds
//! of events, not only in their order. All random numbers are drawn here; a running schedule
//! draws none.
//!
//! `profile` limits what a sweep can draw, `mix` draws what a seed can do, `writes` draws the content of
//! transactions, `faults` draws the faults of a step, and `aim` estimates the places that these faults can reach. `episode` draws chains of steps that belong together.
//! `programs` draws applications and their SQL. `archive` draws histories of the archive behind `plimsoll serve`.

mod aim;
mod archive;
mod episode;
mod faults;
mod limits;
mod mix;
mod profile;
mod programs;
mod writes;

pub use limits::is_within_limits;
pub use profile::Profile;

use rand::seq::IndexedRandom;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha12Rng;

use crate::fault::Fault;
use crate::fault::atlas::rows_of;
use crate::fault::{CrashKind, DiskErrorKind, FileClass, Route, Survival};
use crate::schedule::workload::{Key, Table, Write};
use crate::schedule::{
    Action, Alternation, During, Header, PushMode, Schedule, Step, TransactionEnd, Wait, Workload,
};
use aim::{LikelyState, take_step};
use faults::{crash, crash_kind, disk_error, is_engine_operation, network_faults, rot, suspension, wait};
use mix::{Kind, Mix, reveals_restore_after};
use programs::Application;
use writes::{is_own_only, remote_writes, shared_rows, writes};

/// The number of steps before the heal.
const STEPS: u32 = 20;
/// The steps inside step n have ids above n times this number.
const INSIDE_IDS: u32 = 1000;

pub fn generate(seed: u64, profile: Profile) -> Schedule {
    let mut rng = ChaCha12Rng::seed_from_u64(seed);
    if profile == Profile::Archive {
        return archive::generate(&mut rng, seed);
    }
    let mut header = header(&mut rng, seed);
    let mix = Mix::draw(&mut rng, profile, &header);
    let mut steps: Vec<Step> = Vec::new();
    let mut application = None;
    if profile == Profile::Programs {
        header.workload = Workload::TokensAndPrograms;
        let mut drawn = Application::draw(&mut rng);
        steps.push(Step::new(1, Action::RemoteProgram { sql: drawn.schema(&mut rng) }));
        application = Some(drawn);
    }
    let mut states = vec![LikelyState::default(); header.clients.into()];
    let has_episode = mix.crash_percent > 0 && mix.network_percent > 0 && rng.random_bool(0.5);
    let episode_starts = has_episode.then(|| rng.random_range(1..STEPS / 2));
    while steps.len() < STEPS as usize {
        if episode_starts == Some(steps.len() as u32) {
            let id = steps.len() as u32 + 1;
            for step in episode::draw(&mut rng, &mix, &header, id, &states) {
                take_step(&mut states, &step);
                steps.push(step);
            }
        }
        let id = steps.len() as u32 + 1;
        let power_loss_candidate = client_with_unsynced_data(&steps).filter(|_| mix.crash_percent > 0);
        let drawn = power_loss_candidate
            .filter(|(_, (numerator, denominator))| rng.random_ratio(*numerator, *denominator));
        let step = match drawn {
            Some((client, _)) => Step::new(id, Action::Crash { client, kind: blackout() }),
            None => step(&mut rng, &mix, &header, id, &steps, &states),
        };
        let step = match &mut application {
            Some(application) => application.program_instead(&mut rng, step),
            None => step,
        };
        take_step(&mut states, &step);
        steps.push(step);
    }
    Schedule::new(header, steps)
}

fn header(rng: &mut impl Rng, seed: u64) -> Header {
    let clients = if rng.random_ratio(1, 8) { 3 } else { 2 };
    Header {
        clients,
        pull_batch_frames: *pick(rng, &[1, 2, 3, 5, 8, 13, 64, 256]),
        push_batch_statements_max: *pick(rng, &[1, 2, 5, 20, 1000]),
        push_mode: *pick(rng, &[PushMode::Statements, PushMode::Frames]),
        push_batch_frames: *pick(rng, &[1, 2, 3, 8, 256]),
        synced_wal_frames_max: *pick(rng, &[1, 10, 40, 1000]),
        draft_wal_frames_max: *pick(rng, &[1, 10, 40, 1000]),
        change_log_records_max: *pick(rng, &[0, 5, 20, 1000]),
        chunk_bytes: *pick(rng, &[1000, 4096, 4120, 5000, 16 << 10, 64 << 10]),
        content_length: rng.random_ratio(3, 5),
        remote_names_history: rng.random_ratio(3, 4),
        remote_sends_proofs: rng.random_ratio(1, 2),
        remote_sends_checksums: rng.random_ratio(11, 12),
        asks_before_following: rng.random_ratio(1, 8),
        ..Header::new(seed)
    }
}

fn pick<'a, T>(rng: &mut impl Rng, from: &'a [T]) -> &'a T {
    from.choose(rng).expect("the list is not empty")
}

/// An effect of a step that may hide a bug. The next step is chosen to expose the bug.
#[derive(Clone, Copy)]
enum HiddenEffect {
    /// The client's process has crashed.
    Crashed(u8),
    /// The client's process continues after a disk error. Its work may be unfinished, or less durable than
    /// it seems.
    Failed(u8),
    /// The remote has deleted a shared row.
    Erased { table: Table, shared: u8 },
    /// The remote has been replaced by one with an older state, or with a state of its own.
    Replaced,
    /// The client has committed a transaction after the remote was replaced, and has not followed it yet.
    Outdated(u8),
    /// A fault interrupted the client while it followed a replaced remote.
    HalfFollowed(u8),
}

impl HiddenEffect {
    fn of(step: &Step, states: &[LikelyState]) -> Option<Self> {
        if let Action::RemoteTransaction { writes } = &step.action
            && let Some(&Write::Erase { table, shared }) = writes.last()
        {
            return Some(Self::Erased { table, shared });
        }
        if matches!(step.action, Action::RemoteRestore { .. } | Action::RemoteJoin { .. }) {
            return Some(Self::Replaced);
        }
        let client = step.action.client()?;
        if states[usize::from(client)].is_severed {
            if is_engine_operation(&step.action) && !step.faults.is_empty() {
                return Some(Self::HalfFollowed(client));
            }
            if matches!(step.action, Action::Transaction { end: TransactionEnd::Commit, .. }) {
                return Some(Self::Outdated(client));
            }
        }
        if matches!(step.action, Action::Crash { .. })
            || step.faults.iter().any(|fault| fault.crash_kind().is_some())
        {
            Some(Self::Crashed(client))
        } else {
            let is_error = |fault: &Fault| matches!(fault, Fault::Disk(_));
            step.faults.iter().any(is_error).then_some(Self::Failed(client))
        }
    }
}

/// Whether a sync may have failed in the step, and the client's process continues.
fn is_in_doubt(step: &Step) -> bool {
    use DiskErrorKind::{SyncDirectoryFails, SyncDrops, SyncFails};
    let is_of_a_sync = |fault: &Fault| matches!(fault, Fault::Disk(error) if matches!(error.error, SyncFails | SyncDrops | SyncDirectoryFails));
    step.faults.iter().any(is_of_a_sync) && step.faults.iter().all(|fault| fault.crash_kind().is_none())
}

/// The client that may have worked on data that a power loss could still remove: a killed process left the
/// data unsynced, or a sync failed. Also returns the chance, as numerator and denominator, that the next step
/// is a power loss of this client. The chance is higher if the kill or the failed sync was in the step before
/// the last one, because then the whole last step has worked on the data.
fn client_with_unsynced_data(steps: &[Step]) -> Option<(u8, (u32, u32))> {
    let [.., previous, last] = steps else { return None };
    let client = last.action.client().filter(|_| is_engine_operation(&last.action))?;
    let is_killed = previous.faults.iter().any(|fault| fault.crash_kind() == Some(&CrashKind::Kill));
    if previous.action.client() == Some(client) && (is_killed || is_in_doubt(previous)) {
        return Some((client, (1, 2)));
    }
    is_in_doubt(last).then_some((client, (1, 3)))
}

/// A power loss that removes everything that is not durable.
fn blackout() -> CrashKind {
    CrashKind::PowerLoss { survival: Survival::Nothing, torn: None }
}

/// Draws one step. If the last step has a [`HiddenEffect`], half of the drawn steps expose it:
///
/// * After a crash, the same client acts again. A transaction before the client's next pull or push exposes a
///   wrong recovery. Any other step may crash as well, which tests the recovery itself.
/// * After a disk error, the same client pulls, pushes or syncs. If the written data is damaged, this shows.
/// * After a delete on the remote, a client changes the deleted row.
/// * After a replacement of the remote, a client pulls or syncs, before another one brings the remote its state. Or
///   an application first repeats its last transaction, on top of what the remote has lost.
/// * After a fault while a client followed a replaced remote, the remote is replaced again, the client loses its
///   replica, or the client goes on.
fn step(
    rng: &mut impl Rng,
    mix: &Mix,
    header: &Header,
    id: u32,
    before: &[Step],
    states: &[LikelyState],
) -> Step {
    let rows_written = shared_rows(before);
    let follow_up =
        before.last().and_then(|last| HiddenEffect::of(last, states)).filter(|_| rng.random_bool(0.5));
    let (client, kind) = match follow_up {
        Some(HiddenEffect::Crashed(client)) if rng.random_bool(0.5) => (client, Kind::Transaction),
        Some(HiddenEffect::Crashed(client)) => (client, mix.kind(rng)),
        Some(HiddenEffect::Failed(client)) => (client, *pick(rng, &[Kind::Pull, Kind::Push, Kind::Sync])),
        Some(HiddenEffect::Erased { .. }) => (rng.random_range(0..header.clients), Kind::Transaction),
        Some(HiddenEffect::Replaced) => {
            let kinds = [Kind::Pull, Kind::Sync, Kind::Pull, Kind::Sync, Kind::Transaction];
            (rng.random_range(0..header.clients), *pick(rng, &kinds))
        }
        Some(HiddenEffect::Outdated(client)) => (client, *pick(rng, &[Kind::Pull, Kind::Sync])),
        Some(HiddenEffect::HalfFollowed(client)) => {
            let kinds = [Kind::RemoteRestore, Kind::LoseFile, Kind::Pull, Kind::Sync];
            let kind = *pick(rng, &kinds);
            (client, if reveals_restore_after(header, kind) { kind } else { Kind::Sync })
        }
        None => (rng.random_range(0..header.clients), mix.kind(rng)),
    };
    let mut action = match kind {
        Kind::Transaction => {
            Action::Transaction { client, writes: writes(rng, mix), end: transaction_end(rng) }
        }
        Kind::Pull => Action::Pull { client },
        Kind::Push => Action::Push { client },
        Kind::Sync => Action::Sync { client },
        Kind::Close => Action::Close { client },
        Kind::Crash => Action::Crash { client, kind: crash_kind(rng, mix) },
        Kind::RemoteTransaction => {
            Action::RemoteTransaction { writes: remote_writes(rng, mix, &rows_written) }
        }
        Kind::RemoteCheckpoint if mix.keeps_generation => Action::RemoteRestart,
        Kind::RemoteCheckpoint => Action::RemoteCheckpoint,
        Kind::RemoteRestart => Action::RemoteRestart,
        Kind::RemoteCrash => Action::RemoteCrash { kind: crash_kind(rng, mix) },
        Kind::HoldOpen => {
            Action::Transaction { client, writes: writes(rng, mix), end: TransactionEnd::HeldOpen }
        }
        Kind::EndTransaction => Action::EndTransaction { client, end: transaction_end(rng) },
        Kind::OpenReader => Action::OpenReader { client },
        Kind::CloseReader => Action::CloseReader { client },
        Kind::SecondProcess => Action::SecondProcess { client },
        Kind::LeftoverConnection => Action::LeftoverConnection { client },
        Kind::RemotePrune => Action::RemotePrune,
        Kind::RemoteRestore => remote_restore(rng, header),
        Kind::RemoteFork => remote_fork(rng),
        Kind::RemoteJoin => Action::RemoteJoin { keeps_other: rng.random_bool(0.5) },
        Kind::RemoteCache => Action::RemoteCache { route: cached_route(rng, header) },
        Kind::RemoteCacheExpires => Action::RemoteCacheExpires,
        Kind::WrongServer => {
            Action::WrongServer { client, times: *pick(rng, &[1, 2, 3]), restarts: rng.random_bool(0.5) }
        }
        Kind::RestoreDirectory => Action::RestoreDirectory { client, to_step: rng.random_range(1..=id) },
        Kind::LoseFile => Action::LoseFile {
            client,
            file: *pick(
                rng,
                &[
                    FileClass::Synced,
                    FileClass::SyncedWal,
                    FileClass::SyncedNext,
                    FileClass::Draft,
                    FileClass::DraftWal,
                    FileClass::Metadata,
                ],
            ),
        },
        Kind::Rot => rot(rng, client),
    };
    if let (Some(HiddenEffect::Erased { table, shared }), Action::Transaction { writes, .. }) =
        (follow_up, &mut action)
        && !is_own_only(writes)
    {
        writes.insert(0, Write::Update { table, key: Key::Shared(shared) });
    }
    if let (Some(HiddenEffect::Replaced), Action::Transaction { writes, .. }) = (follow_up, &mut action)
        && let Some(last) = last_writes(before, client)
    {
        writes.clone_from(last);
    }
    if let (Some(HiddenEffect::HalfFollowed(_)), Action::LoseFile { file, .. }) = (follow_up, &mut action) {
        *file = *pick(rng, &[FileClass::Synced, FileClass::SyncedWal]);
    }
    let state = states[usize::from(client)];
    let faults = step_faults(rng, mix, header, id, &action, state);
    let is_interrupted = is_engine_operation(&action) && rng.random_range(0..100) < mix.inside_percent;
    let during =
        if is_interrupted { during(rng, mix, header, &action, state, &rows_written, id) } else { Vec::new() };
    Step { id, action, faults, during }
}

/// The writes of the last transaction of a client's application.
fn last_writes(before: &[Step], client: u8) -> Option<&Vec<Write>> {
    before.iter().rev().find_map(|step| match &step.action {
        Action::Transaction { client: writer, writes, .. } if *writer == client => Some(writes),
        _ => None,
    })
}

/// The faults of a step. A step that is no operation of a client's process has none.
fn step_faults(
    rng: &mut impl Rng,
    mix: &Mix,
    header: &Header,
    id: u32,
    action: &Action,
    state: LikelyState,
) -> Vec<Fault> {
    let mut faults = Vec::new();
    let is_operation = !matches!(
        action,
        Action::SecondProcess { .. }
            | Action::LeftoverConnection { .. }
            | Action::WrongServer { .. }
            | Action::Close { .. }
            | Action::Crash { .. }
            | Action::RestoreDirectory { .. }
            | Action::LoseFile { .. }
            | Action::Rot { .. }
    );
    if is_operation && action.client().is_some() {
        let has_network = is_engine_operation(action);
        if rng.random_range(0..100) < mix.crash_percent {
            faults.extend(crash(rng, mix, action, state));
        }
        // A client bootstraps only once, so its first requests get more faults.
        let network_percent = mix.network_percent * if state.was_opened { 1 } else { 2 };
        if has_network && rng.random_range(0..100) < network_percent {
            faults.extend(network_faults(rng, mix, header, id, action, state));
        }
        if has_network && rng.random_range(0..100) < mix.abandon_percent {
            let nth = suspension(rng, action, state);
            faults.push(Fault::Abandon { nth, arrives: rng.random_bool(0.5) });
        }
        // A step that crashes seldom reaches a disk error.
        let has_crash = faults.iter().any(|fault| matches!(fault, Fault::Crash(_)));
        if rng.random_range(0..100) < mix.disk_percent && (!has_crash || rng.random_ratio(1, 4)) {
            faults.extend(disk_error(rng, action, state));
        }
    }
    for fault in &faults {
        assert!(!rows_of(fault).is_empty(), "{fault:?} was drawn, but the atlas has no row for it");
    }
    faults
}

fn remote_restore(rng: &mut impl Rng, header: &Header) -> Action {
    let keeps_name = rng.random_bool(0.5);
    // After a restore to an earlier generation, a client may recognise the server's new log only by its proofs or
    // by another history id: see the limits in the engine's documentation.
    let is_recognizable = header.has_proofs() || header.remote_names_history && !keeps_name;
    Action::RemoteRestore {
        generations_back: if is_recognizable { rng.random_range(0..3) } else { 0 },
        transactions_back: rng.random_range(0..4),
        keeps_name,
    }
}

fn remote_fork(rng: &mut impl Rng) -> Action {
    Action::RemoteFork { alternates: *pick(rng, &[Alternation::Requests, Alternation::Operations]) }
}

/// A route whose answers a cache may keep. Without proofs, a client cannot tell kept frames from those of another
/// log where a generation begins.
fn cached_route(rng: &mut impl Rng, header: &Header) -> Route {
    match header.has_proofs() {
        true => *pick(rng, &[Route::Info, Route::Export, Route::PullFrames]),
        false => Route::Info,
    }
}

fn transaction_end(rng: &mut impl Rng) -> TransactionEnd {
    if rng.random_ratio(1, 10) { TransactionEnd::Rollback } else { TransactionEnd::Commit }
}

/// Steps that run during an operation, mostly at one moment of it.
fn during(
    rng: &mut impl Rng,
    mix: &Mix,
    header: &Header,
    operation: &Action,
    state: LikelyState,
    rows_written: &[(Table, u8)],
    id: u32,
) -> Vec<During> {
    let client = operation.client().expect("an operation belongs to a client");
    let mut at = wait(rng, header, operation, state);
    let count = *pick(rng, &[1, 1, 1, 2, 3, 5]);
    (1..=count)
        .map(|number| {
            if rng.random_ratio(1, 3) {
                at = wait(rng, header, operation, state);
            }
            // The client's own application is most likely to disturb the operation right after the engine has
            // reported an event.
            let is_disturbing =
                state.was_opened && matches!(at, Wait::Reported { .. }) && rng.random_bool(0.5);
            let action = if is_disturbing {
                Action::Transaction { client, writes: writes(rng, mix), end: transaction_end(rng) }
            } else {
                action_inside(rng, mix, header, client, state, rows_written)
            };
            let id = id * INSIDE_IDS + number;
            let is_injected =
                is_engine_operation(&action) && rng.random_range(0..100) < mix.network_percent / 2;
            let faults = if is_injected {
                network_faults(rng, mix, header, id, &action, LikelyState::IN_USE)
            } else {
                Vec::new()
            };
            During { at, step: Step { faults, ..Step::new(id, action) } }
        })
        .collect()
}

fn action_inside(
    rng: &mut impl Rng,
    mix: &Mix,
    header: &Header,
    client: u8,
    state: LikelyState,
    rows_written: &[(Table, u8)],
) -> Action {
    let draws = |kind: Kind| mix.weights.iter().any(|(drawn, _)| *drawn == kind);
    if draws(Kind::RemotePrune) && rng.random_ratio(1, 6) {
        return Action::RemotePrune;
    }
    if draws(Kind::RemoteRestore) && rng.random_ratio(1, 6) {
        return remote_restore(rng, header);
    }
    if draws(Kind::RemoteFork) && rng.random_ratio(1, 6) {
        return if rng.random_bool(0.5) {
            remote_fork(rng)
        } else {
            Action::RemoteJoin { keeps_other: rng.random_bool(0.5) }
        };
    }
    let other = (client + rng.random_range(1..header.clients)) % header.clients;
    match rng.random_range(0..19) {
        16 => Action::RemoteRestart,
        18 => Action::SecondProcess { client },
        17 => Action::RemoteCrash { kind: crash_kind(rng, mix) },
        0..3 => Action::RemoteTransaction { writes: remote_writes(rng, mix, rows_written) },
        // This transaction does not fit into a small batch of frames.
        3 => Action::RemoteTransaction { writes: vec![Write::Append { payload_bytes: 12_000 }; 4] },
        4..7 if mix.keeps_generation => Action::RemoteRestart,
        4..7 => Action::RemoteCheckpoint,
        // Only a client that has been opened has an application that can act.
        7..10 | 11..16 if !state.was_opened => Action::Sync { client: other },
        7..10 => Action::Transaction { client, writes: writes(rng, mix), end: transaction_end(rng) },
        10 => Action::Sync { client: other },
        11 => Action::Sync { client },
        13 if state.holds_open => Action::EndTransaction { client, end: transaction_end(rng) },
        12 | 13 => Action::Transaction { client, writes: writes(rng, mix), end: TransactionEnd::HeldOpen },
        15 if state.reads => Action::CloseReader { client },
        _ => Action::OpenReader { client },
    }
}
