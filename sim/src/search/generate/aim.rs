//! Places for faults: the file operations that a step is likely to make, and how often.
//!
//! The result is an estimate. It considers the earlier steps, but not the effects of their faults. The
//! numbers are typical for each kind of operation.

use crate::fault::{FileClass, OperationKind};
use crate::schedule::{Action, Step, TransactionEnd};

/// The likely state of a client before a step.
#[derive(Clone, Copy, Default)]
pub(super) struct Standing {
    /// It has been opened before and needs no bootstrap.
    pub was_opened: bool,
    pub is_running: bool,
    /// It has transactions to push.
    pub has_pending: bool,
    /// The remote has frames that it has not pulled.
    pub has_news: bool,
    /// Its application holds a transaction open.
    pub holds_open: bool,
    /// Its application has an open reader.
    pub reads: bool,
}

impl Standing {
    /// The state inside an operation. It is unknown, so the client is assumed to be in use.
    pub const IN_USE: Self = Self {
        was_opened: true,
        is_running: true,
        has_pending: true,
        has_news: true,
        holds_open: true,
        reads: true,
    };
}

/// Updates the states with the likely effect of a step.
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
        // The pushed transactions come back with the next pull.
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

/// A kind of access to a file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Mutation(OperationKind),
    Read,
    Open,
}

/// A file, an access, and its typical number in a step that makes it at all.
pub(super) type Spot = (FileClass, Access, u32);

/// The accesses that a step is likely to make; empty for a step that is likely to do nothing.
pub(super) fn spots(action: &Action, standing: Standing) -> Vec<Spot> {
    // Without a running process there is no transaction to end and no open reader.
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
    // These places count more than once: there are few of them, and faults there do the most harm.
    let moving = if rebases { [MOVING; 3].concat() } else { Vec::new() };
    [opening, own, &moving].concat()
}

/// Whether a step is likely to rebase local transactions onto new remote ones.
pub(super) fn rebases(action: &Action, standing: Standing) -> bool {
    match action {
        Action::Pull { .. } => standing.has_news,
        Action::Sync { .. } => standing.has_news || standing.has_pending,
        _ => false,
    }
}

/// Whether a step of the engine is likely to find nothing to do.
pub(super) fn is_idle(action: &Action, standing: Standing) -> bool {
    spots(action, standing).is_empty()
}

use Access::{Mutation, Open, Read};
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

/// The places that a rebase relies on, and those where a checkpoint or a compaction moves a WAL into its
/// main file. Synced's syncs are listed twice because a checkpoint is rare. So are those of Draft's log,
/// because it is synced before a push, in a rebase and around a compaction.
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
