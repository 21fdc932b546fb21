//! Where faults find a place: what a step is likely to do to which file, and how often.
//!
//! A guess. It knows the steps before, not what their faults have made of them, and the numbers are what most operations of their sort do.

use crate::fault::{FileClass, OperationKind};
use crate::schedule::{Action, Step, TransactionEnd};

/// What is likely to hold of a client before a step.
#[derive(Clone, Copy, Default)]
pub(super) struct Standing {
    /// It has been opened before, and needs no more bootstrap.
    pub was_opened: bool,
    /// Its process runs.
    pub is_running: bool,
    /// It has something to push.
    pub has_pending: bool,
    /// The remote has something that it has not pulled.
    pub has_news: bool,
    /// Its application holds a transaction open.
    pub holds_open: bool,
    /// Its application is reading.
    pub reads: bool,
}

impl Standing {
    /// Inside an operation of its own or of another's nothing is known of a client but that it is likely to be in use.
    pub const IN_USE: Self = Self {
        was_opened: true,
        is_running: true,
        has_pending: true,
        has_news: true,
        holds_open: true,
        reads: true,
    };
}

/// What holds after a step.
pub(super) fn take_step(standings: &mut [Standing], step: &Step) {
    let is_injected = !step.faults.is_empty();
    let Some(number) = step.action.client() else {
        let is_news = matches!(
            step.action,
            Action::RemoteTransaction { .. } | Action::RemoteCheckpoint | Action::RemoteRestore { .. }
        );
        standings.iter_mut().for_each(|standing| standing.has_news |= is_news);
        return;
    };
    let own = &mut standings[usize::from(number)];
    let pushes = matches!(step.action, Action::Push { .. } | Action::Sync { .. });
    let is_news_for_others = pushes && own.has_pending;
    own.is_running = !step.faults.iter().any(|fault| fault.crash_kind().is_some());
    own.was_opened |= !is_injected;
    match step.action {
        Action::Transaction { end: TransactionEnd::HeldOpen, .. } => own.holds_open = true,
        Action::Transaction { .. } => own.has_pending = true,
        Action::EndTransaction { .. } => {
            own.has_pending |= own.holds_open;
            own.holds_open = false;
        }
        Action::OpenReader { .. } => own.reads = true,
        Action::CloseReader { .. } => own.reads = false,
        Action::Pull { .. } => own.has_news &= is_injected,
        // What was pushed comes back.
        Action::Push { .. } => own.has_news |= own.has_pending,
        Action::Sync { .. } => own.has_news &= is_injected,
        Action::Close { .. }
        | Action::Crash { .. }
        | Action::RestoreDirectory { .. }
        | Action::LoseFile { .. }
        | Action::Rot { .. } => own.is_running = false,
        Action::RemoteTransaction { .. }
        | Action::RemoteCheckpoint
        | Action::RemoteRestart
        | Action::RemoteCrash { .. }
        | Action::RemotePrune
        | Action::RemoteRestore { .. } => {}
    }
    own.has_pending &= !pushes || is_injected;
    own.holds_open &= own.is_running;
    own.reads &= own.is_running;
    if is_news_for_others {
        for (other, standing) in standings.iter_mut().enumerate() {
            standing.has_news |= other != usize::from(number);
        }
    }
}

/// What is done to a file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Doing {
    Mutation(OperationKind),
    Read,
    Open,
}

/// A file, what is done to it, and how often in most steps that do it at all.
pub(super) type Spot = (FileClass, Doing, u32);

/// What a step is likely to do; nothing for one that is likely to do nothing.
pub(super) fn spots(action: &Action, standing: Standing) -> Vec<Spot> {
    // Where nothing runs there is no transaction to end, and nobody who reads.
    let opens = !matches!(action, Action::EndTransaction { .. } | Action::CloseReader { .. });
    let opening = match standing {
        Standing { was_opened: false, .. } if opens => BOOTSTRAP,
        Standing { is_running: false, .. } if opens => REOPENING,
        _ => &[],
    };
    let rebases = rebases(action, standing);
    let own = match action {
        Action::Transaction { end: TransactionEnd::Commit, .. } => COMMIT,
        Action::EndTransaction { end: TransactionEnd::Commit, .. } if standing.holds_open => COMMIT,
        _ if rebases => PULL,
        Action::Push { .. } if standing.has_pending => PUSH,
        Action::Push { .. } if standing.has_news => WALK,
        _ => &[],
    };
    // Each more than once: they are few among many, and nothing else can do so much harm.
    let moving = if rebases { [MOVING; 3].concat() } else { Vec::new() };
    [opening, own, &moving].concat()
}

/// Whether a step is likely to put local transactions on new remote ones.
pub(super) fn rebases(action: &Action, standing: Standing) -> bool {
    match action {
        Action::Pull { .. } => standing.has_news,
        Action::Sync { .. } => standing.has_news || standing.has_pending,
        _ => false,
    }
}

/// Whether a step of the engine's is likely to find that there is nothing to do.
pub(super) fn is_idle(action: &Action, standing: Standing) -> bool {
    spots(action, standing).is_empty()
}

use Doing::{Mutation, Open, Read};
use FileClass::{Any, Draft, DraftWal, Metadata, MetadataTemporary, Synced, SyncedNext, SyncedWal};
use OperationKind::{AnyMutation, Rename, Sync, SyncDirectory, Truncate, Write};

const BOOTSTRAP: &[Spot] = &[
    (Draft, Mutation(Write), 1),
    (Draft, Mutation(Sync), 1),
    (Draft, Open, 2),
    (Draft, Read, 2),
    (DraftWal, Mutation(Write), 25),
    (DraftWal, Mutation(Sync), 4),
    (DraftWal, Open, 3),
    (Synced, Mutation(Write), 1),
    (Synced, Mutation(Sync), 1),
    (Synced, Open, 2),
    (Synced, Read, 2),
    (SyncedWal, Mutation(Write), 25),
    (SyncedWal, Mutation(Sync), 3),
    (SyncedWal, Open, 4),
    (SyncedWal, Read, 4),
    (MetadataTemporary, Mutation(Write), 4),
    (MetadataTemporary, Mutation(Sync), 4),
    (MetadataTemporary, Open, 4),
    (Metadata, Mutation(Rename), 4),
    (Metadata, Mutation(SyncDirectory), 4),
    (Any, Mutation(Sync), 10),
    (Any, Mutation(AnyMutation), 60),
];

const REOPENING: &[Spot] = &[
    (Metadata, Open, 1),
    (Metadata, Read, 1),
    (Metadata, Mutation(SyncDirectory), 1),
    (Draft, Open, 2),
    (Draft, Read, 2),
    (DraftWal, Open, 3),
    (DraftWal, Read, 3),
    (DraftWal, Mutation(Write), 1),
    (DraftWal, Mutation(Sync), 1),
    (Synced, Read, 1),
    (SyncedWal, Open, 2),
    (SyncedWal, Read, 2),
    (SyncedWal, Mutation(Truncate), 1),
    (MetadataTemporary, Mutation(Truncate), 1),
    (Any, Mutation(AnyMutation), 3),
];

const COMMIT: &[Spot] = &[
    (DraftWal, Mutation(Write), 1),
    (DraftWal, Mutation(Sync), 1),
    (DraftWal, Mutation(AnyMutation), 2),
    (DraftWal, Read, 2),
];

const WALK: &[Spot] = &[
    (SyncedWal, Mutation(Write), 5),
    (SyncedWal, Mutation(Sync), 2),
    (SyncedWal, Open, 2),
    (MetadataTemporary, Mutation(Write), 1),
    (MetadataTemporary, Mutation(Sync), 1),
    (Metadata, Mutation(Rename), 1),
    (Metadata, Mutation(SyncDirectory), 1),
    (Any, Mutation(AnyMutation), 10),
];

const PUSH: &[Spot] = &[
    (DraftWal, Mutation(Sync), 1),
    (DraftWal, Open, 1),
    (DraftWal, Read, 4),
    (SyncedWal, Mutation(Write), 5),
    (SyncedWal, Mutation(Sync), 2),
    (MetadataTemporary, Mutation(Write), 2),
    (MetadataTemporary, Mutation(Sync), 2),
    (MetadataTemporary, Open, 2),
    (Metadata, Mutation(Rename), 2),
    (Metadata, Mutation(SyncDirectory), 2),
    (Any, Mutation(AnyMutation), 10),
];

const PULL: &[Spot] = &[
    (SyncedWal, Mutation(Write), 10),
    (SyncedWal, Mutation(Sync), 3),
    (SyncedWal, Mutation(Truncate), 2),
    (SyncedWal, Open, 4),
    (SyncedWal, Read, 6),
    (DraftWal, Mutation(Write), 15),
    (DraftWal, Open, 1),
    (DraftWal, Read, 4),
    (Synced, Mutation(AnyMutation), 2),
    (Synced, Read, 3),
    (SyncedNext, Mutation(AnyMutation), 3),
    (SyncedNext, Mutation(Write), 1),
    (Draft, Mutation(AnyMutation), 2),
    (MetadataTemporary, Mutation(Write), 3),
    (MetadataTemporary, Mutation(Sync), 3),
    (MetadataTemporary, Open, 3),
    (Metadata, Mutation(Rename), 3),
    (Metadata, Mutation(SyncDirectory), 3),
    (Any, Mutation(Sync), 8),
    (Any, Mutation(AnyMutation), 35),
];

/// What a rebase relies on, and where a checkpoint or a compaction moves a WAL into its main file. The syncs of Synced twice, since a checkpoint
/// is seldom due, and those of Draft's log, since it is synced before a push, in a rebase and around a compaction.
const MOVING: &[Spot] = &[
    (SyncedWal, Mutation(Write), 20),
    (DraftWal, Mutation(Sync), 2),
    (DraftWal, Mutation(Sync), 2),
    (Draft, Mutation(Write), 2),
    (Draft, Mutation(Sync), 1),
    (Synced, Mutation(Write), 2),
    (Synced, Mutation(Sync), 1),
    (Synced, Mutation(Sync), 1),
    (Metadata, Mutation(SyncDirectory), 4),
];
