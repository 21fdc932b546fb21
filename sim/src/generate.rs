//! From a seed to a schedule.
//!
//! Swarm style: each seed draws, once, which steps and faults are likely in it and which do not occur at all, and how small the
//! limits are, so that a thousand seeds differ in kind and not only in order. All draws happen here; running draws nothing.

use clap::ValueEnum;
use rand::seq::IndexedRandom;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha12Rng;
use serde::{Deserialize, Serialize};

use crate::atlas::{self, FaultKind, Target, rows_of};
use crate::disk::{
    CrashKind, CrashPoint, DiskError, DiskErrorKind, FileClass, Lasts, Moment, OperationKind, Place, Survival,
};
use crate::network::{Arrival, Contradiction, NetworkFault, RequestPlace, Route};
use crate::schedule::{Action, During, Fault, Header, PushMode, Schedule, Step, TransactionEnd, Wait};
use crate::workload::{Key, OwnChange, Table, VOID_BALLAST, Write};

/// Steps of a generated history, before the heal.
const STEPS: u32 = 20;
/// Steps inside step n have ids from here times n on.
const INSIDE_IDS: u32 = 1000;

/// The files of the metadata: durable earlier than the data, or later.
const METADATA: [FileClass; 2] = [FileClass::Metadata, FileClass::MetadataTemporary];
/// The databases' files.
const DATA: [FileClass; 4] = [FileClass::Draft, FileClass::DraftWal, FileClass::Synced, FileClass::SyncedWal];

/// The sorts of disk errors, and up to which number of their operation in a step they are drawn.
const DISK_ERRORS: [(DiskErrorKind, u32); 11] = [
    (DiskErrorKind::WriteFails, 6),
    (DiskErrorKind::PartialWrite { bytes: 0 }, 6),
    (DiskErrorKind::NoSpace, 4),
    (DiskErrorKind::ReadFails, 12),
    (DiskErrorKind::ShortRead, 1),
    (DiskErrorKind::SyncFails, 3),
    (DiskErrorKind::SyncDrops, 3),
    (DiskErrorKind::TruncateFails, 2),
    (DiskErrorKind::OpenFails, 5),
    (DiskErrorKind::RenameFails, 3),
    (DiskErrorKind::SyncDirectoryFails, 3),
];

/// Which faults a sweep's seeds may draw.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// None: the floor of what must work.
    Calm,
    /// Crashes only.
    Crash,
    /// Trouble with the network only.
    Network,
    /// Disk errors only.
    DiskErrors,
    /// All of them, each seed with its own mix.
    #[default]
    Swarm,
}

/// What one seed's history is made of.
struct Mix {
    crash_percent: u32,
    network_percent: u32,
    disk_percent: u32,
    abandon_percent: u32,
    kill_percent: u32,
    big_rows: bool,
    extra_tables: bool,
    own_tables: bool,
    wide_tables: bool,
    temporary_tables: bool,
    rules: bool,
    keys: u8,
    writes_max: u32,
    weights: Vec<(Kind, u32)>,
    /// Only writes whose effect does not depend on what transactions before them have left: those may be forgotten.
    independent_writes: bool,
    network: Vec<(FaultKind, u32)>,
    inside_percent: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Transaction,
    Pull,
    Push,
    Sync,
    Close,
    Crash,
    RemoteTransaction,
    RemoteCheckpoint,
    RemoteRestart,
    RemoteCrash,
    HoldOpen,
    EndTransaction,
    OpenReader,
    CloseReader,
    RemotePrune,
    RemoteRestore,
    RestoreDirectory,
    LoseFile,
}

/// What is likely to hold of a client before a step, so that faults are drawn where they find a place.
#[derive(Clone, Copy, Default)]
struct Standing {
    /// It has been opened before, and needs no more bootstrap.
    was_opened: bool,
    /// It has something to push.
    has_pending: bool,
}

impl Standing {
    fn take_step(&mut self, step: &Step) {
        let is_struck = !step.faults.is_empty();
        match step.action {
            Action::Transaction { .. } | Action::EndTransaction { .. } => self.has_pending = true,
            Action::Push { .. } | Action::Sync { .. } => self.has_pending &= is_struck,
            _ => {}
        }
        self.was_opened |= !is_struck;
    }
}

/// The schedule of `seed`.
pub fn generate(seed: u64, profile: Profile) -> Schedule {
    let mut rng = ChaCha12Rng::seed_from_u64(seed);
    let header = header(&mut rng, seed);
    let mix = Mix::draw(&mut rng, profile);
    let mut steps: Vec<Step> = Vec::new();
    let mut standings = vec![Standing::default(); header.clients.into()];
    for id in 1..=STEPS {
        let crashed = steps.last().and_then(crashing);
        let step = step(&mut rng, &mix, &header, id, crashed, &standings);
        if let Some(number) = step.action.client() {
            standings[usize::from(number)].take_step(&step);
        }
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
        content_length: rng.random_ratio(4, 5),
        remote_names_history: rng.random_ratio(3, 4),
        ..Header::new(seed)
    }
}

fn pick<'a, T>(rng: &mut impl Rng, from: &'a [T]) -> &'a T {
    from.choose(rng).expect("there is something to pick from")
}

impl Mix {
    fn draw(rng: &mut impl Rng, profile: Profile) -> Self {
        let (crashes, network, disk_errors) = match profile {
            Profile::Calm => (false, false, false),
            Profile::Crash => (true, false, false),
            Profile::Network => (false, true, false),
            Profile::DiskErrors => (false, false, true),
            Profile::Swarm => (rng.random_ratio(9, 10), rng.random_ratio(9, 10), rng.random_ratio(1, 2)),
        };
        let mut weights = vec![(Kind::Transaction, rng.random_range(20..40))];
        for (kind, from, to) in [
            (Kind::Pull, 5, 20),
            (Kind::Push, 5, 20),
            (Kind::Sync, 5, 25),
            (Kind::RemoteTransaction, 0, 15),
            (Kind::RemoteCheckpoint, 0, 12),
            (Kind::Close, 0, 4),
        ] {
            weights.push((kind, rng.random_range(from..to)));
        }
        if crashes {
            weights.push((Kind::Crash, rng.random_range(0..8)));
        }
        if network {
            weights.push((Kind::RemoteRestart, rng.random_range(0..4)));
            weights.push((Kind::RemoteCrash, rng.random_range(0..5)));
        }
        let is_concurrent = matches!(profile, Profile::Network | Profile::Swarm) && rng.random_ratio(3, 4);
        if is_concurrent {
            for (kind, to) in [
                (Kind::HoldOpen, 6),
                (Kind::EndTransaction, 12),
                (Kind::OpenReader, 5),
                (Kind::CloseReader, 8),
            ] {
                weights.push((kind, rng.random_range(0..to)));
            }
        }
        if profile == Profile::Swarm {
            // What a server or a directory does not do every day; most seeds have none of it.
            for (kind, in_one_of) in [
                (Kind::RemotePrune, 4),
                (Kind::RemoteRestore, 5),
                (Kind::RestoreDirectory, 8),
                (Kind::LoseFile, 8),
            ] {
                if rng.random_ratio(1, in_one_of) {
                    weights.push((kind, rng.random_range(2..6)));
                }
            }
        }
        let forgetful = [Kind::RemoteRestore, Kind::RestoreDirectory, Kind::LoseFile];
        let independent_writes = weights.iter().any(|(kind, _)| forgetful.contains(kind));
        Self {
            independent_writes,
            crash_percent: if crashes { rng.random_range(15..60) } else { 0 },
            network_percent: if network { rng.random_range(25..80) } else { 0 },
            disk_percent: if disk_errors { rng.random_range(10..50) } else { 0 },
            abandon_percent: if network { *pick(rng, &[0, 0, 5, 20]) } else { 0 },
            kill_percent: *pick(rng, &[0, 20, 50, 100]),
            big_rows: rng.random_ratio(1, 4),
            extra_tables: rng.random_ratio(1, 3),
            own_tables: rng.random_ratio(1, 3),
            wide_tables: rng.random_ratio(1, 4),
            temporary_tables: rng.random_ratio(1, 4),
            rules: rng.random_ratio(1, 4),
            keys: rng.random_range(1..6),
            writes_max: rng.random_range(1..7),
            weights,
            network: network_weights(rng),
            inside_percent: if is_concurrent { rng.random_range(10..60) } else { 0 },
        }
    }

    fn kind(&self, rng: &mut impl Rng) -> Kind {
        let (kind, _) =
            self.weights.choose_weighted(rng, |(_, weight)| *weight).expect("transactions have a weight");
        *kind
    }
}

/// Losses always occur, of the other faults about half in each seed.
fn network_weights(rng: &mut impl Rng) -> Vec<(FaultKind, u32)> {
    let mut weights = vec![(FaultKind::LoseRequest, 4), (FaultKind::LoseResponse, 6)];
    for &kind in &FaultKind::NETWORK[2..] {
        if rng.random_bool(0.5) {
            weights.push((kind, rng.random_range(1..12)));
        }
    }
    weights
}

/// The client that a step may have taken down.
fn crashing(step: &Step) -> Option<u8> {
    let is_crash = |fault: &Fault| matches!(fault, Fault::Crash(_) | Fault::CrashSuspended { .. });
    let crashes = matches!(step.action, Action::Crash { .. }) || step.faults.iter().any(is_crash);
    step.action.client().filter(|_| crashes)
}

/// One step; after one that may have taken the client `crashed` down, often that client's next: an application that writes before
/// the first sync is what shows a wrong recovery, and a crash in the recovery is what it has to stand.
fn step(
    rng: &mut impl Rng,
    mix: &Mix,
    header: &Header,
    id: u32,
    crashed: Option<u8>,
    standings: &[Standing],
) -> Step {
    let follow_up = crashed.filter(|_| rng.random_bool(0.5));
    let client = follow_up.unwrap_or_else(|| rng.random_range(0..header.clients));
    let kind = if follow_up.is_some() && rng.random_bool(0.5) { Kind::Transaction } else { mix.kind(rng) };
    let action = match kind {
        Kind::Transaction => {
            Action::Transaction { client, writes: writes(rng, mix), end: transaction_end(rng) }
        }
        Kind::Pull => Action::Pull { client },
        Kind::Push => Action::Push { client },
        Kind::Sync => Action::Sync { client },
        Kind::Close => Action::Close { client },
        Kind::Crash => Action::Crash { client, kind: crash_kind(rng, mix) },
        Kind::RemoteTransaction => Action::RemoteTransaction { writes: writes(rng, mix) },
        Kind::RemoteCheckpoint => Action::RemoteCheckpoint,
        Kind::RemoteRestart => Action::RemoteRestart,
        Kind::RemoteCrash => Action::RemoteCrash { kind: crash_kind(rng, mix) },
        Kind::HoldOpen => {
            Action::Transaction { client, writes: writes(rng, mix), end: TransactionEnd::HeldOpen }
        }
        Kind::EndTransaction => Action::EndTransaction { client, end: transaction_end(rng) },
        Kind::OpenReader => Action::OpenReader { client },
        Kind::CloseReader => Action::CloseReader { client },
        Kind::RemotePrune => Action::RemotePrune,
        Kind::RemoteRestore => remote_restore(rng, header),
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
    };
    let mut faults = Vec::new();
    let is_operation = !matches!(
        action,
        Action::Close { .. }
            | Action::Crash { .. }
            | Action::RestoreDirectory { .. }
            | Action::LoseFile { .. }
    );
    let can_be_struck = is_operation && action.client().is_some();
    if can_be_struck {
        let has_network = is_of_the_engine(&action);
        if rng.random_range(0..100) < mix.crash_percent {
            faults.push(crash(rng, mix, has_network));
        }
        if has_network && rng.random_range(0..100) < mix.network_percent {
            let standing = standings[usize::from(client)];
            faults.extend(network_fault(rng, mix, header.push_mode, id, &action, standing));
        }
        if has_network && rng.random_range(0..100) < mix.abandon_percent {
            faults.push(Fault::Abandon { nth: suspension(rng), arrives: rng.random_bool(0.5) });
        }
        if rng.random_range(0..100) < mix.disk_percent {
            faults.push(disk_error(rng, has_network));
        }
    }
    for fault in &faults {
        assert!(!rows_of(fault).is_empty(), "{fault:?} was drawn, and the atlas promises nothing about it");
    }
    let is_interrupted = is_of_the_engine(&action) && rng.random_range(0..100) < mix.inside_percent;
    let during = if is_interrupted { during(rng, mix, header, client, id) } else { Vec::new() };
    Step { id, action, faults, during }
}

fn remote_restore(rng: &mut impl Rng, header: &Header) -> Action {
    Action::RemoteRestore {
        // Behind a generation's beginning only a name tells two histories apart: see the engine's documentation.
        generations_back: if header.remote_names_history { rng.random_range(0..3) } else { 0 },
        transactions_back: rng.random_range(0..4),
    }
}

fn is_of_the_engine(action: &Action) -> bool {
    matches!(action, Action::Pull { .. } | Action::Push { .. } | Action::Sync { .. })
}

fn transaction_end(rng: &mut impl Rng) -> TransactionEnd {
    if rng.random_ratio(1, 10) { TransactionEnd::Rollback } else { TransactionEnd::Commit }
}

/// What others do while an operation of `client`'s is under way, mostly at one place of it.
fn during(rng: &mut impl Rng, mix: &Mix, header: &Header, client: u8, id: u32) -> Vec<During> {
    let mut at = wait(rng, header.push_mode);
    let count = *pick(rng, &[1, 1, 1, 2, 3, 5]);
    (1..=count)
        .map(|number| {
            if rng.random_ratio(1, 3) {
                at = wait(rng, header.push_mode);
            }
            let action = action_inside(rng, mix, header, client);
            let id = id * INSIDE_IDS + number;
            let is_struck = is_of_the_engine(&action) && rng.random_range(0..100) < mix.network_percent / 2;
            // Nothing is known of the client by then but that it is likely to have been opened.
            let standing = Standing { was_opened: true, has_pending: true };
            let fault = is_struck.then(|| network_fault(rng, mix, header.push_mode, id, &action, standing));
            let faults = fault.flatten().into_iter().collect();
            During { at, step: Step { faults, ..Step::new(id, action) } }
        })
        .collect()
}

fn action_inside(rng: &mut impl Rng, mix: &Mix, header: &Header, client: u8) -> Action {
    let draws = |kind: Kind| mix.weights.iter().any(|(drawn, _)| *drawn == kind);
    if draws(Kind::RemotePrune) && rng.random_ratio(1, 6) {
        return Action::RemotePrune;
    }
    // Without a name the two halves of one transaction, from before and after, look like a server that contradicts itself.
    if draws(Kind::RemoteRestore) && header.remote_names_history && rng.random_ratio(1, 6) {
        return remote_restore(rng, header);
    }
    let other = (client + rng.random_range(1..header.clients)) % header.clients;
    match rng.random_range(0..18) {
        16 => Action::RemoteRestart,
        17 => Action::RemoteCrash { kind: crash_kind(rng, mix) },
        0..3 => Action::RemoteTransaction { writes: writes(rng, mix) },
        // Longer than a batch of frames.
        3 => Action::RemoteTransaction { writes: vec![Write::Append { payload_bytes: 12_000 }; 4] },
        4..7 => Action::RemoteCheckpoint,
        7..10 => Action::Transaction { client, writes: writes(rng, mix), end: transaction_end(rng) },
        10 => Action::Sync { client: other },
        11 => Action::Sync { client },
        12 => Action::Transaction { client, writes: writes(rng, mix), end: TransactionEnd::HeldOpen },
        13 => Action::EndTransaction { client, end: transaction_end(rng) },
        14 => Action::OpenReader { client },
        _ => Action::CloseReader { client },
    }
}

fn wait(rng: &mut impl Rng, push_mode: PushMode) -> Wait {
    let place = |route: Route, nth: u32| RequestPlace { route, nth };
    let frames = place(Route::PullFrames, *pick(rng, &[1, 1, 2, 3]));
    let push = match push_mode {
        PushMode::Statements => place(Route::Pipeline, 1),
        PushMode::Frames => place(Route::PushFrames, *pick(rng, &[1, 1, 2])),
    };
    match rng.random_range(0..8) {
        0 => Wait::Request(push),
        1 => Wait::Response(push),
        2 => Wait::Request(frames),
        3 => Wait::Response(frames),
        4 => Wait::Chunk { of: frames, nth: rng.random_range(1..4) },
        _ => Wait::Suspension { nth: suspension(rng) },
    }
}

/// A suspension that an operation is likely to reach; few have many.
fn suspension(rng: &mut impl Rng) -> u32 {
    let nth_max = *pick(rng, &[6, 15, 40]);
    rng.random_range(1..=nth_max)
}

fn writes(rng: &mut impl Rng, mix: &Mix) -> Vec<Write> {
    let mut writes: Vec<Write> = (0..rng.random_range(0..=mix.writes_max)).map(|_| write(rng, mix)).collect();
    if mix.independent_writes {
        return writes;
    }
    match rng.random_range(0..24) {
        0 => vec![Write::Void { k: rng.random_range(VOID_BALLAST) }],
        1..4 => {
            writes.retain(|write| write.is_own());
            writes.insert(0, Write::Quiet);
            writes
        }
        _ => writes,
    }
}

fn write(rng: &mut impl Rng, mix: &Mix) -> Write {
    let table = *pick(rng, &Table::ALL);
    let number = rng.random_range(0..mix.keys);
    let other = rng.random_range(0..mix.keys);
    let key = if rng.random_bool(0.5) { Key::Shared(number) } else { Key::Own(number) };
    // The first ones are independent of each other.
    let kinds = if mix.independent_writes { 11 + u32::from(mix.extra_tables) } else { 25 };
    match rng.random_range(0..kinds) {
        0..3 => Write::Append {
            payload_bytes: if mix.big_rows { rng.random_range(0..12_000) } else { rng.random_range(0..60) },
        },
        3..6 => Write::Upsert { table, key },
        6..8 => Write::Update { table, key },
        8 => Write::Replace { table, key },
        9 => Write::Delete { table, own: number },
        10 => Write::Rekey { table, own: number },
        11 if mix.independent_writes => Write::Extra { number: rng.random_range(0..3), own: number },
        11 => Write::Swap { table, own: number, with: other },
        12 => Write::Claim { own: number, label: other },
        13 => Write::Count { n: number },
        14 => Write::Recount { n: number, to: other },
        15 => Write::Uncount { n: number },
        16 if mix.big_rows => Write::Unload,
        17 if mix.extra_tables => Write::Extra { number: rng.random_range(0..3), own: number },
        18 if mix.wide_tables => Write::Widen { table },
        19 if mix.wide_tables => Write::Narrow { table, rename: rng.random_bool(0.4) },
        20 if mix.temporary_tables => Write::Scratch { n: number },
        21 if mix.rules => Write::Rule,
        22..24 if mix.rules => Write::Loose { n: number },
        _ if mix.own_tables => Write::Own(*pick(rng, &OwnChange::drawn(number))),
        _ => Write::Upsert { table, key },
    }
}

fn crash_kind(rng: &mut impl Rng, mix: &Mix) -> CrashKind {
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
    let torn_bytes = rng.random_ratio(1, 3).then(|| *pick(rng, &[1, 24, 512, 1024, 4096, 4119, 4500]));
    CrashKind::PowerLoss { survival, torn_bytes }
}

/// A crash at a place that the step's operation is likely to reach.
fn crash(rng: &mut impl Rng, mix: &Mix, has_network: bool) -> Fault {
    let kind = crash_kind(rng, mix);
    if has_network && rng.random_ratio(1, 5) {
        return Fault::CrashSuspended { nth: suspension(rng), kind };
    }
    let (file, operation, nth_max) = if has_network {
        *pick(
            rng,
            &[
                (FileClass::SyncedWal, OperationKind::Write, 20),
                (FileClass::SyncedWal, OperationKind::Sync, 4),
                (FileClass::SyncedWal, OperationKind::Truncate, 2),
                (FileClass::Synced, OperationKind::AnyMutation, 3),
                (FileClass::DraftWal, OperationKind::Write, 25),
                (FileClass::DraftWal, OperationKind::Sync, 2),
                (FileClass::MetadataTemporary, OperationKind::AnyMutation, 8),
                (FileClass::Metadata, OperationKind::Rename, 4),
                (FileClass::SyncedNext, OperationKind::AnyMutation, 8),
                (FileClass::Any, OperationKind::SyncDirectory, 4),
                (FileClass::Any, OperationKind::Sync, 8),
                (FileClass::Any, OperationKind::AnyMutation, 60),
            ],
        )
    } else {
        *pick(
            rng,
            &[
                (FileClass::DraftWal, OperationKind::Write, 2),
                (FileClass::DraftWal, OperationKind::Sync, 1),
                (FileClass::Any, OperationKind::AnyMutation, 5),
            ],
        )
    };
    let place = Place { file, operation, nth: rng.random_range(1..=nth_max) };
    let moment = match rng.random_range(0..3) {
        0 => Moment::Before,
        1 => Moment::Inside { bytes: rng.random_range(0..5000) },
        _ => Moment::After,
    };
    Fault::Crash(CrashPoint { place, moment, kind })
}

/// An error of one of the atlas's sorts, at a place that the step's operation is likely to reach.
fn disk_error(rng: &mut impl Rng, has_network: bool) -> Fault {
    let places: Vec<(FileClass, DiskErrorKind, u32)> = DISK_ERRORS
        .into_iter()
        .flat_map(|(error, nth_max)| FileClass::ALL.map(|file| (file, error, nth_max)))
        .filter(|(file, error, _)| atlas::row((*error).into(), Target::File(*file)).is_some())
        .filter(|(file, ..)| has_network || *file == FileClass::DraftWal)
        .collect();
    let (file, error, nth_max) = *pick(rng, &places);
    let error = match error {
        DiskErrorKind::PartialWrite { .. } => {
            DiskErrorKind::PartialWrite { bytes: *pick(rng, &[0, 1, 24, 512, 4096, 4119, 5000]) }
        }
        error => error,
    };
    let lasts = if rng.random_ratio(1, 8) { Lasts::UntilHealed } else { Lasts::Once };
    Fault::Disk(DiskError {
        file,
        nth: rng.random_range(1..=nth_max),
        error,
        lasts,
        at_once: rng.random_bool(0.5),
    })
}

/// Something that becomes of a request that the operation is likely to send; `None` if it is likely to send none.
fn network_fault(
    rng: &mut impl Rng,
    mix: &Mix,
    push_mode: PushMode,
    id: u32,
    action: &Action,
    standing: Standing,
) -> Option<Fault> {
    let pushes = standing.has_pending && matches!(action, Action::Push { .. } | Action::Sync { .. });
    let pulls = !matches!(action, Action::Push { .. });
    let (route, nth) = match rng.random_range(0..10) {
        0..4 if !standing.was_opened => (*pick(rng, &[Route::Info, Route::Export]), 1),
        4..8 if pushes || !pulls => match push_mode {
            _ if !pushes => return None,
            PushMode::Statements => (Route::Pipeline, *pick(rng, &[1, 1, 1, 2])),
            PushMode::Frames => (Route::PushFrames, *pick(rng, &[1, 1, 1, 2, 2, 4])),
        },
        _ => (Route::PullFrames, *pick(rng, &[1, 1, 1, 1, 2, 2, 3, 5])),
    };
    let at = RequestPlace { route, nth };
    let fault = what_befalls(rng, mix, route, id);
    // Only what tells of the remote's state can be untrue or stale.
    let has_row = atlas::row(FaultKind::of_message(&fault, route), Target::Route(route)).is_some();
    let at = if has_row { at } else { RequestPlace { route: Route::PullFrames, ..at } };
    Some(Fault::Network { at, fault })
}

fn what_befalls(rng: &mut impl Rng, mix: &Mix, route: Route, id: u32) -> NetworkFault {
    let (kind, _) = mix.network.choose_weighted(rng, |(_, weight)| *weight).expect("losses have a weight");
    match kind {
        FaultKind::LoseRequest => NetworkFault::LoseRequest,
        FaultKind::LoseResponse => NetworkFault::LoseResponse,
        FaultKind::RemoteCrash => {
            let operation = *pick(rng, &[1, 2, 3, 4, 8, 100]);
            NetworkFault::RemoteCrash { operation, kind: crash_kind(rng, mix) }
        }
        FaultKind::Delay => NetworkFault::Delay { until: arrival(rng, id) },
        FaultKind::Duplicate => {
            let until = if rng.random_bool(0.3) { Arrival::AtOnce } else { arrival(rng, id) };
            NetworkFault::Duplicate { until }
        }
        FaultKind::Cut => NetworkFault::Cut { bytes: body_bytes(rng, route) },
        FaultKind::EndEarly => NetworkFault::EndEarly { bytes: body_bytes(rng, route) },
        FaultKind::TinyChunks => NetworkFault::Chunks { bytes: *pick(rng, &[1, 7, 100, 4119, 4121]) },
        FaultKind::Garbage => NetworkFault::Garbage { bytes: body_bytes(rng, route) },
        FaultKind::WrongStatus => NetworkFault::WrongStatus {
            code: *pick(rng, &[404, 408, 429, 500, 502, 503, 504]),
            takes_effect: rng.random_bool(0.5),
        },
        FaultKind::BlamingStatus => NetworkFault::WrongStatus {
            code: *pick(rng, &[400, 401, 403, 409, 422]),
            takes_effect: rng.random_bool(0.5),
        },
        FaultKind::UntrueAnswer => NetworkFault::Contradict(match rng.random_range(0..5) {
            0..2 => Contradiction::Generation(*pick(rng, &[-1, 1, 2])),
            2..4 => Contradiction::MaxFrameNo(*pick(rng, &[-3, -1, 1, 2])),
            _ => Contradiction::Word,
        }),
        FaultKind::StaleAnswer => {
            NetworkFault::Stale { generations: rng.random_range(0..3), transactions: rng.random_range(1..4) }
        }
        kind => unreachable!("{kind} befalls no message"),
    }
}

/// When a message that was sent in step `id` arrives.
fn arrival(rng: &mut impl Rng, id: u32) -> Arrival {
    match rng.random_range(0..4) {
        0 => Arrival::AfterRequests(rng.random_range(1..8)),
        1 => Arrival::AfterNextStep,
        _ => Arrival::AtStep(id + rng.random_range(1..6)),
    }
}

/// Where a body is interesting: around frames and pages, or inside a short text.
fn body_bytes(rng: &mut impl Rng, route: Route) -> u32 {
    let unit = match route {
        Route::PullFrames => 4120,
        Route::Export => 4096,
        Route::Info | Route::PushFrames | Route::Pipeline => return rng.random_range(0..200),
    };
    let from_boundary = *pick(rng, &[0, 0, 1, 24, 100, 4000, 4095]);
    unit * rng.random_range(0..6) + from_boundary
}
