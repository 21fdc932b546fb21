//! Generates a history of the archive behind `plimsoll serve`.

use rand::{Rng, RngExt};

use super::pick;
use crate::fault::{
    CrashKind, CrashPoint, DiskError, DiskErrorKind, Fault, FileClass, Lasts, Moment, OperationKind,
    OperationPlace, Survival, Tear,
};
use crate::schedule::{Action, ArchiveAction, Header, Schedule, Step, System};

const STEPS: u32 = 16;

pub(super) fn generate(rng: &mut impl Rng, seed: u64) -> Schedule {
    let system = System::Archive {
        generation_frames_max: *pick(rng, &[2, 4, 8, 20, 1000]),
        keep_generations: *pick(rng, &[0, 0, 0, 1, 2, 3]),
    };
    let header = Header { system, clients: 1, ..Header::new(seed) };
    let fault_percent = *pick(rng, &[0, 20, 40, 70]);
    let mut steps: Vec<Step> = Vec::new();
    for id in 1..=STEPS {
        // A power loss shows what the step before has left unsynced.
        let is_after_fault = steps.last().is_some_and(|step: &Step| !step.faults.is_empty());
        if is_after_fault && rng.random_ratio(1, 3) {
            steps.push(Step::new(id, Action::RemoteCrash { kind: power_loss(rng) }));
            continue;
        }
        let mut step = Step::new(id, action(rng));
        while rng.random_range(0..100) < fault_percent && step.faults.len() < 3 {
            step.faults.push(if rng.random_bool(0.5) { crash(rng) } else { error(rng) });
        }
        steps.push(step);
    }
    Schedule::new(header, steps)
}

fn action(rng: &mut impl Rng) -> Action {
    use ArchiveAction::{
        AddForeign, Adopt, Backup, Change, Fetch, Import, Lose, MoveWal, RestoreBackup, Write,
    };
    Action::RemoteArchive(match rng.random_range(0..100) {
        0..42 => Write { rows: rng.random_range(1..4), payload_bytes: payload_bytes(rng) },
        42..57 => return Action::RemoteCheckpoint,
        57..64 => return Action::RemoteRestart,
        64..70 => return Action::RemoteCrash { kind: crash_kind(rng) },
        70..74 => return Action::RemotePrune,
        74..76 => Fetch,
        76..80 => Backup,
        80..83 => RestoreBackup,
        83..87 => MoveWal,
        87..90 => Lose { file: rng.random(), second: rng.random_ratio(1, 3).then(|| rng.random()) },
        90..93 => Change { file: rng.random(), offset: rng.random() },
        93..96 => AddForeign { ahead: rng.random_range(0..3), is_snapshot: rng.random() },
        96..98 => Import { rows: rng.random_range(1..4), payload_bytes: payload_bytes(rng) },
        _ => Adopt,
    })
}

fn payload_bytes(rng: &mut impl Rng) -> u16 {
    *pick(rng, &[0, 10, 900, 5000])
}

/// A number from 1 on, small ones more often.
fn nth(rng: &mut impl Rng, max: u32) -> u32 {
    let upper = rng.random_range(1..=max);
    rng.random_range(1..=upper)
}

fn crash(rng: &mut impl Rng) -> Fault {
    let kinds = [
        OperationKind::AnyMutation,
        OperationKind::AnyMutation,
        OperationKind::AnyMutation,
        OperationKind::Write,
        OperationKind::Sync,
        OperationKind::Truncate,
        OperationKind::Create,
        OperationKind::Remove,
        OperationKind::Rename,
        OperationKind::SyncDirectory,
    ];
    let operation = *pick(rng, &kinds);
    let max = match operation {
        OperationKind::AnyMutation => 40,
        OperationKind::Write => 20,
        OperationKind::Sync => 12,
        _ => 4,
    };
    let moment = match rng.random_range(0..3) {
        0 => Moment::Before,
        1 => Moment::Inside { bytes: rng.random_range(0..5000) },
        _ => Moment::After,
    };
    let place = OperationPlace { file: FileClass::Any, operation, nth: nth(rng, max) };
    Fault::Crash(CrashPoint { place, moment, kind: crash_kind(rng) })
}

fn crash_kind(rng: &mut impl Rng) -> CrashKind {
    if rng.random_ratio(1, 3) { CrashKind::Kill } else { power_loss(rng) }
}

fn power_loss(rng: &mut impl Rng) -> CrashKind {
    let survival = match rng.random_range(0..6) {
        0..3 => Survival::Nothing,
        3 => Survival::Everything,
        4 => Survival::Prefix { operations: rng.random_range(0..12) },
        _ => Survival::Subset { keep_percent: *pick(rng, &[10, 50, 90]), key: rng.random() },
    };
    let torn = rng.random_ratio(1, 4).then(|| Tear::Bytes(rng.random_range(0..5000)));
    CrashKind::PowerLoss { survival, torn }
}

fn error(rng: &mut impl Rng) -> Fault {
    let error = match *pick(rng, &DiskErrorKind::ALL) {
        // The core panics when a read of the WAL is short. A local file system returns fewer bytes only at the end of a file.
        DiskErrorKind::ShortRead => DiskErrorKind::ReadFails,
        DiskErrorKind::PartialWrite { .. } => {
            DiskErrorKind::PartialWrite { bytes: rng.random_range(0..5000) }
        }
        error => error,
    };
    let max = match error {
        DiskErrorKind::ReadFails | DiskErrorKind::ShortRead => 60,
        DiskErrorKind::OpenFails => 24,
        DiskErrorKind::WriteFails | DiskErrorKind::PartialWrite { .. } | DiskErrorKind::NoSpace => 20,
        DiskErrorKind::SyncFails | DiskErrorKind::SyncDrops => 12,
        DiskErrorKind::TruncateFails | DiskErrorKind::RenameFails | DiskErrorKind::SyncDirectoryFails => 4,
    };
    let lasts = if rng.random_ratio(1, 6) { Lasts::UntilHealed } else { Lasts::Once };
    Fault::Disk(DiskError { file: FileClass::Any, nth: nth(rng, max), error, lasts, at_once: rng.random() })
}
