//! Every crash window of the engine's flows. Each flow crashes at each of its file operations and at each of
//! its suspensions. There are three kinds of crash: a kill, which keeps everything; a power loss that loses
//! every unsynced operation; and a power loss that loses every unsynced operation except those on the
//! metadata, so that the metadata may name missing data. Every invariant must hold, and every window must be
//! reached. Sweeps and `plimsoll explore` cover the other power losses.

use std::collections::BTreeSet;
use std::panic::resume_unwind;
use std::thread;

use plimsoll_scenarios::scenario::{A, KILL, NOTHING_SURVIVES, Scenario, append, crash, note};
use plimsoll_sim::fault::Fault;
use plimsoll_sim::fault::{CrashKind, FileClass, Moment, OperationKind, Survival};
use plimsoll_sim::judge::marks::{MarkCounts, WINDOWS};
use plimsoll_sim::schedule::PushMode;
use plimsoll_sim::world::run::Outcome;

/// A flow and the windows that it passes. Faults are injected into its last step.
struct Flow {
    build: fn() -> Scenario,
    windows: &'static [&'static str],
}

const BOOTSTRAP: Flow = Flow {
    build: || {
        let mut t = Scenario::with_clients(1);
        t.remote().commits([append(5_000)]);
        t.client(A).pulls();
        t
    },
    windows: &[
        "bootstrap, nothing named",
        "bootstrap, snapshot not named",
        "first pull, nothing of it named",
        "first pull, in part named",
    ],
};

const PULL: Flow = Flow {
    build: || {
        let mut t = Scenario::with_clients(1);
        t.client(A).syncs();
        t.remote().commits([append(5_000)]);
        t.client(A).commits([note(1)]);
        t.client(A).pulls();
        t
    },
    windows: &[
        "frames not named",
        "frames just named",
        "replaying on the local tail",
        "pages on Draft, no commit frame",
        "Draft committed, not named",
        "Draft named, tail not cut",
    ],
};

/// The flow ends with a checkpoint of Synced.
const PULL_ACROSS_A_GENERATION: Flow = Flow {
    build: || {
        let mut t = Scenario::with_clients(1).with(|header| header.synced_wal_frames_max = 4);
        t.client(A).syncs();
        t.remote().commits([append(5_000)]);
        t.remote().checkpoints();
        t.remote().commits([append(5_000)]);
        t.client(A).commits([append(10)]);
        t.client(A).pulls();
        t
    },
    windows: &["crossing a generation", "checkpoint announced, log whole", "log emptied, not named"],
};

const PUSH: Flow = Flow {
    build: || {
        let mut t = Scenario::with_clients(1);
        t.client(A).commits([append(10)]);
        t.remote().commits([append(10)]);
        t.client(A).commits([append(10)]);
        t.client(A).syncs();
        t
    },
    windows: &["attempt named, not sent", "awaiting the answer to a push", "push acknowledged, not pulled"],
};

/// The flow takes several requests and follows a generation change.
const PUSH_OF_FRAMES: Flow = Flow {
    build: || {
        let mut t = Scenario::with_clients(1).with(|header| header.push_mode = PushMode::Frames);
        t.client(A).commits([append(10)]);
        t.client(A).pushes();
        t.remote().checkpoints();
        t.remote().commits([append(5_000)]);
        t.client(A).commits([append(10)]);
        t.client(A).commits([append(10)]);
        t.client(A).pushes();
        t
    },
    windows: &["attempt named, not sent", "awaiting the answer to a push"],
};

/// The first compaction finds a watermark in the WAL. The second one, in the last step, finds frame 0 and a
/// set of pages to extend.
const COMPACTION: Flow = Flow {
    build: || {
        let mut t = Scenario::with_clients(1).with(|header| header.draft_wal_frames_max = 1);
        t.client(A).pulls();
        t.client(A).commits([append(10)]);
        t.client(A).pushes();
        t.client(A).commits([append(10)]);
        t.client(A).pushes();
        t
    },
    windows: &["compaction announced, log whole", "Draft's log emptied, not named"],
};

const LOCAL_COMMIT: Flow = Flow {
    build: || {
        let mut t = Scenario::with_clients(1);
        t.client(A).syncs();
        t.client(A).commits([append(5_000)]);
        t
    },
    windows: &["inside a local commit"],
};

/// The previous pull has crashed in its rebase, so Synced ends with local frames.
const RECOVERY: Flow = Flow {
    build: || {
        let mut t = Scenario::with_clients(1);
        t.client(A).syncs();
        t.remote().commits([append(5_000)]);
        t.client(A).commits([note(1)]);
        let in_the_rebase = crash(Moment::After, OperationKind::Write, FileClass::DraftWal, 2, KILL);
        t.client(A).pulls().faults([in_the_rebase]);
        t.client(A).syncs();
        t
    },
    windows: &["reopening", "recovering from a crash", "inside a dirty reset"],
};

const RE_BOOTSTRAP_AFTER_A_PRUNE: Flow = Flow {
    build: || {
        let mut t = Scenario::with_clients(1);
        t.client(A).syncs();
        t.client(A).commits([append(10)]);
        t.remote().commits([append(5_000)]);
        t.remote().checkpoints();
        t.remote().commits([append(5_000)]);
        t.remote().prunes();
        t.client(A).pulls();
        t
    },
    windows: RE_BOOTSTRAP_WINDOWS,
};

const RE_BOOTSTRAP_AFTER_A_RESTORE: Flow = Flow {
    build: || {
        let mut t = Scenario::with_clients(1);
        t.client(A).pulls();
        t.remote().checkpoints();
        t.remote().commits([append(5_000)]);
        t.client(A).commits([append(10)]);
        t.client(A).syncs();
        t.client(A).commits([append(10)]);
        t.remote().is_restored(1, 1);
        t.client(A).pulls();
        t
    },
    windows: RE_BOOTSTRAP_WINDOWS,
};

const RE_BOOTSTRAP_AFTER_A_LOSS: Flow = Flow {
    build: || {
        let mut t = Scenario::with_clients(1);
        t.client(A).syncs();
        t.client(A).commits([append(10)]);
        t.remote().commits([append(5_000)]);
        t.client(A).loses(FileClass::Synced);
        t.client(A).pushes();
        t
    },
    windows: RE_BOOTSTRAP_WINDOWS,
};

const RE_BOOTSTRAP_WINDOWS: &[&str] =
    &["re-bootstrap, export not named", "export named, not in place", "new Synced, Draft of the old one"];

const FLOWS: [Flow; 11] = [
    BOOTSTRAP,
    PULL,
    PULL_ACROSS_A_GENERATION,
    PUSH,
    PUSH_OF_FRAMES,
    COMPACTION,
    LOCAL_COMMIT,
    RECOVERY,
    RE_BOOTSTRAP_AFTER_A_PRUNE,
    RE_BOOTSTRAP_AFTER_A_RESTORE,
    RE_BOOTSTRAP_AFTER_A_LOSS,
];

#[test]
fn a_bootstrap_survives_a_crash_anywhere() {
    survives(&BOOTSTRAP);
}

#[test]
fn a_pull_survives_a_crash_anywhere() {
    survives(&PULL);
}

#[test]
fn a_pull_across_a_generation_survives_a_crash_anywhere() {
    survives(&PULL_ACROSS_A_GENERATION);
}

#[test]
fn a_push_survives_a_crash_anywhere() {
    survives(&PUSH);
}

#[test]
fn a_push_of_frames_survives_a_crash_anywhere() {
    survives(&PUSH_OF_FRAMES);
}

#[test]
fn a_compaction_survives_a_crash_anywhere() {
    survives(&COMPACTION);
}

#[test]
fn a_local_commit_survives_a_crash_anywhere() {
    survives(&LOCAL_COMMIT);
}

#[test]
fn a_recovery_survives_a_crash_anywhere() {
    survives(&RECOVERY);
}

#[test]
fn a_re_bootstrap_after_a_prune_survives_a_crash_anywhere() {
    survives(&RE_BOOTSTRAP_AFTER_A_PRUNE);
}

#[test]
fn a_re_bootstrap_after_a_restore_survives_a_crash_anywhere() {
    survives(&RE_BOOTSTRAP_AFTER_A_RESTORE);
}

#[test]
fn a_re_bootstrap_after_the_loss_of_the_replica_survives_a_crash_anywhere() {
    survives(&RE_BOOTSTRAP_AFTER_A_LOSS);
}

#[test]
fn every_window_is_passed_by_a_flow() {
    let passed: BTreeSet<&str> = FLOWS.iter().flat_map(|flow| flow.windows).copied().collect();
    let all: BTreeSet<&str> = WINDOWS.iter().map(|window| window.name).collect();
    assert_eq!(passed, all);
}

/// Injects a crash everywhere in the flow's last step. Afterwards the application commits a transaction
/// before the client syncs, so that a silent divergence becomes visible.
fn survives(flow: &Flow) {
    let mut marks = MarkCounts::default();
    let at_operation =
        |nth, kind| crash(Moment::After, OperationKind::AnyMutation, FileClass::Any, nth, kind);
    let suspended = |nth, kind| Fault::CrashSuspended { nth, kind };
    inject(flow, &at_operation, &mut marks);
    inject(flow, &suspended, &mut marks);
    let missed = |window: &&&str| {
        ["kill", "power loss"].iter().any(|kind| marks.of(&format!("{kind}: {window}")) == 0)
    };
    let missed: Vec<_> = flow.windows.iter().filter(missed).collect();
    assert!(missed.is_empty(), "windows without a crash: {missed:?}");
}

/// A power loss that loses every unsynced operation except those on the metadata.
fn metadata_survives() -> CrashKind {
    let survival = Survival::Files { keep: vec![FileClass::Metadata, FileClass::MetadataTemporary] };
    CrashKind::PowerLoss { survival, torn: None }
}

/// Runs the flow repeatedly, each time with the next fault, until a fault is not reached.
#[expect(clippy::disallowed_methods, reason = "histories share nothing, and there are many of them")]
fn inject(flow: &Flow, fault: &(dyn Fn(u32, CrashKind) -> Fault + Sync), marks: &mut MarkCounts) {
    let struck = |nth, kind| {
        let mut t = (flow.build)();
        t.inject_into_last([fault(nth, kind)]);
        t.client(A).commits([append(10)]);
        let outcome = t.run();
        assert_eq!(outcome.violation, None, "in {}", t.schedule().print());
        outcome
    };
    for nth in 1.. {
        let outcomes: [Outcome; 3] = thread::scope(|scope| {
            [KILL, NOTHING_SURVIVES, metadata_survives()]
                .map(|kind| scope.spawn(move || struck(nth, kind)))
                .map(|history| history.join().unwrap_or_else(|panic| resume_unwind(panic)))
        });
        if outcomes.iter().any(|outcome| !outcome.fault_outcomes.unreached.is_empty()) {
            return;
        }
        outcomes.iter().for_each(|outcome| marks.add_all(&outcome.counts.marks));
    }
}
