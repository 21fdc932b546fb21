//! Histories of the archive behind `plimsoll serve`, on the simulated disk.

use plimsoll_sim::fault::{CrashKind, DiskError, DiskErrorKind, Fault, FileClass, Lasts, Survival};
use plimsoll_sim::judge::counts::Counts;
use plimsoll_sim::judge::marks::ARCHIVE_MARKS;
use plimsoll_sim::schedule::{Action, ArchiveAction, Header, Schedule, Step, System};
use plimsoll_sim::search::generate::{Profile, generate};
use plimsoll_sim::world::run::{RunOptions, run};

/// The number of generated histories. `plimsoll run --profile archive` runs more.
const SEEDS: u64 = 60;

#[test]
fn generated_histories_are_clean_and_reach_every_kind_of_step() {
    let mut counts = Counts::default();
    for seed in 0..SEEDS {
        let outcome = run(&generate(seed, Profile::Archive), RunOptions::default());
        assert_eq!(outcome.violation, None, "seed {seed}");
        counts.add(&outcome.counts);
    }
    for (name, count) in [
        ("kills", counts.kills),
        ("power losses", counts.power_losses),
        ("crashes inside an operation", counts.crashes_inside),
        ("disk errors", counts.disk_errors),
        ("generations", counts.generations),
        ("prunes", counts.prunes),
        ("restores", counts.remote_restores),
    ] {
        assert!(count > 0, "no {name} in {SEEDS} histories");
    }
    let injected = |fault: &str| {
        let of_fault = counts.injected.iter().filter(|(name, _)| name.starts_with(&format!("{fault}/")));
        of_fault.map(|(_, count)| count).sum::<u64>()
    };
    assert_eq!(injected("kill") + injected("power-loss"), counts.crashes_inside);
    let errors: u64 = DiskErrorKind::ALL.iter().map(|kind| injected(kind.name())).sum();
    assert_eq!(errors, counts.disk_errors);
    for fault in ["lose-file", "rot", "foreign-file", "no-space"] {
        assert!(injected(fault) > 0, "no {fault} in {SEEDS} histories");
    }
    // A long sweep reaches all of them.
    let reached = ARCHIVE_MARKS.len() - counts.marks.missing(&ARCHIVE_MARKS).count();
    assert!(reached > 50, "{reached} of {} marks", ARCHIVE_MARKS.len());
}

#[test]
fn a_history_runs_twice_in_the_same_way_and_its_file_means_the_same() {
    for seed in 0..8 {
        let schedule = generate(seed, Profile::Archive);
        let read = Schedule::parse(&schedule.print()).unwrap();
        assert_eq!(read.steps, schedule.steps);
        let hash = |schedule| run(schedule, RunOptions::default()).hash;
        assert_eq!(hash(&schedule), hash(&read), "seed {seed}");
    }
}

fn error(error: DiskErrorKind, nth: u32) -> Fault {
    Fault::Disk(DiskError { file: FileClass::Any, nth, error, lasts: Lasts::Once, at_once: false })
}

fn write() -> Action {
    Action::RemoteArchive(ArchiveAction::Write { rows: 1, payload_bytes: 0 })
}

fn power_loss() -> Action {
    Action::RemoteCrash { kind: CrashKind::PowerLoss { survival: Survival::Nothing, torn: None } }
}

fn kill() -> Action {
    Action::RemoteCrash { kind: CrashKind::Kill }
}

/// Runs steps, each with its faults.
fn counts_of(steps: Vec<(Action, Vec<Fault>)>) -> Counts {
    let system = System::Archive { generation_frames_max: 1000, keep_generations: 0 };
    let header = Header { system, ..Header::new(1) };
    let steps = (1..).zip(steps).map(|(id, (action, faults))| Step { faults, ..Step::new(id, action) });
    let outcome = run(&Schedule::new(header, steps.collect()), RunOptions::default());
    assert_eq!(outcome.violation, None);
    outcome.counts
}

/// Runs steps, each with its faults. Returns the number of errors that were injected.
fn check(steps: Vec<(Action, Vec<Fault>)>) -> u64 {
    counts_of(steps).disk_errors
}

/// The disk is full, or fails, at every operation of a close in turn. Then the server goes on, and is killed or loses
/// power.
#[test]
fn an_error_at_any_operation_of_a_close_loses_nothing() {
    use DiskErrorKind::{
        NoSpace, OpenFails, ReadFails, RenameFails, SyncDirectoryFails, SyncDrops, SyncFails, TruncateFails,
    };
    for kind in
        [NoSpace, OpenFails, ReadFails, RenameFails, SyncDirectoryFails, SyncDrops, SyncFails, TruncateFails]
    {
        for crash in [kill, power_loss] {
            let mut nth = 1;
            loop {
                let fault = vec![error(kind, nth)];
                let injected = check(vec![
                    (write(), vec![]),
                    (Action::RemoteCheckpoint, fault),
                    (write(), vec![]),
                    (crash(), vec![]),
                    (Action::RemoteCheckpoint, vec![]),
                    (write(), vec![]),
                ]);
                if injected == 0 {
                    break;
                }
                nth += 1;
            }
            assert!(nth > 1, "{} cannot happen in a close", kind.name());
        }
    }
}

/// A read that fails after a commit leaves frames that the server has not recorded. A close must not forget them.
#[test]
fn a_commit_that_could_not_be_recorded_is_in_the_log_of_its_generation() {
    for nth in 1..6 {
        check(vec![
            (write(), vec![error(DiskErrorKind::ReadFails, nth)]),
            (Action::RemoteCheckpoint, vec![]),
            (Action::RemoteRestart, vec![]),
        ]);
    }
}

/// The log follows the WAL without a sync. A sync that has failed must not count as one.
#[test]
fn a_log_whose_sync_has_failed_is_written_again() {
    for nth in 1..8 {
        check(vec![
            (write(), vec![]),
            (Action::RemoteCheckpoint, vec![error(DiskErrorKind::SyncDrops, nth)]),
            (Action::RemoteCheckpoint, vec![]),
            (power_loss(), vec![]),
        ]);
    }
}

#[test]
fn a_backup_is_restored_after_any_crash() {
    let archive = Action::RemoteArchive;
    for crash in [kill, power_loss] {
        check(vec![
            (write(), vec![]),
            (Action::RemoteCheckpoint, vec![]),
            (write(), vec![]),
            (archive(ArchiveAction::Backup), vec![]),
            (write(), vec![]),
            (crash(), vec![]),
            (archive(ArchiveAction::RestoreBackup), vec![]),
            (crash(), vec![]),
            (write(), vec![]),
        ]);
    }
}

/// The log is lost. The next start cannot write it again; the frames are in the WAL.
#[test]
fn a_backup_has_what_the_log_lacks() {
    let archive = Action::RemoteArchive;
    let mut behind = 0;
    for nth in 1..16 {
        behind += check(vec![
            (write(), vec![]),
            // The files are current.db, its WAL, the snapshot, the log and the manifest.
            (
                archive(ArchiveAction::Lose { file: 3, second: None }),
                vec![error(DiskErrorKind::OpenFails, nth)],
            ),
            (archive(ArchiveAction::Backup), vec![]),
            (archive(ArchiveAction::RestoreBackup), vec![]),
        ]);
    }
    assert!(behind > 0);
}

/// The disk is full, or fails, at every operation of a flow in turn.
fn check_every_error(before: &[Action], flow: ArchiveAction) {
    use DiskErrorKind::{NoSpace, ReadFails, RenameFails, SyncDirectoryFails, SyncDrops, SyncFails};
    for kind in [NoSpace, ReadFails, RenameFails, SyncDirectoryFails, SyncDrops, SyncFails] {
        for nth in 1.. {
            let quiet = |action: &Action| (action.clone(), vec![]);
            let mut steps: Vec<_> = before.iter().map(quiet).collect();
            steps.push((Action::RemoteArchive(flow), vec![error(kind, nth)]));
            steps.extend([power_loss(), write(), Action::RemoteCheckpoint, kill()].iter().map(quiet));
            if check(steps) == 0 {
                break;
            }
        }
    }
}

#[test]
fn an_error_at_any_operation_of_an_import_loses_nothing() {
    check_every_error(&[write()], ArchiveAction::Import { rows: 2, payload_bytes: 900 });
}

#[test]
fn an_error_at_any_operation_of_an_adoption_loses_nothing() {
    check_every_error(&[write(), Action::RemoteCheckpoint, write()], ArchiveAction::Adopt);
}

#[test]
fn an_error_at_any_operation_of_a_backup_leaves_the_original_alone() {
    check_every_error(&[write(), Action::RemoteCheckpoint, write()], ArchiveAction::Backup);
}

/// The directory of before has a history id beside its files. If that stayed, a lost manifest would look like none.
#[test]
fn a_manifest_that_is_lost_after_an_adoption_is_missed() {
    let archive = Action::RemoteArchive;
    // The manifest is the last file in alphabetical order.
    for file in 0..=8 {
        let counts = counts_of(vec![
            (write(), vec![]),
            (archive(ArchiveAction::Adopt), vec![]),
            (archive(ArchiveAction::MoveWal), vec![]),
            (Action::RemotePrune, vec![]),
            (archive(ArchiveAction::Lose { file, second: None }), vec![]),
        ]);
        assert_eq!(counts.injected.keys().filter(|name| name.starts_with("lose-file/")).count(), 1);
    }
}
