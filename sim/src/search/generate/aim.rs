//! Estimates the places that faults can reach: the file accesses that a step is likely to make, and how many.
//!
//! The estimate follows the earlier steps without running them. The numbers of accesses were measured in
//! histories without faults.

use std::sync::LazyLock;

use strum::{IntoStaticStr, VariantArray};

use crate::fault::{FileClass, OperationKind};
use crate::schedule::{Action, Step, TransactionEnd};

/// The likely state of a client before a step.
#[derive(Clone, Copy, Default)]
pub(super) struct LikelyState {
    /// The client has been opened before and needs no bootstrap.
    pub was_opened: bool,
    pub is_running: bool,
    /// The client has transactions to push.
    pub has_pending: bool,
    /// The remote has frames that the client has not pulled.
    pub has_news: bool,
    /// The remote may have another log than the one that the client replicates.
    pub is_severed: bool,
    /// The client's application holds a transaction open.
    pub holds_open: bool,
    /// The client's application has an open reader.
    pub reads: bool,
}

impl LikelyState {
    /// The assumed state of a client for a step that runs inside an operation. The actual state is unknown
    /// then.
    pub const IN_USE: Self = Self {
        was_opened: true,
        is_running: true,
        has_pending: true,
        has_news: true,
        is_severed: false,
        holds_open: true,
        reads: true,
    };
}

/// Updates the states with the likely effect of a step.
pub(super) fn take_step(states: &mut [LikelyState], step: &Step) {
    let is_injected = !step.faults.is_empty();
    let Some(number) = step.action.client() else {
        let is_news = matches!(
            step.action,
            Action::RemoteTransaction { .. }
                | Action::RemoteProgram { .. }
                | Action::RemoteCheckpoint
                | Action::RemoteRestore { .. }
                | Action::RemoteFork { .. }
                | Action::RemoteJoin { .. }
        );
        let is_other_log = matches!(
            step.action,
            Action::RemoteRestore { .. } | Action::RemoteFork { .. } | Action::RemoteJoin { .. }
        );
        for state in states {
            state.has_news |= is_news;
            state.is_severed |= is_other_log && state.was_opened;
        }
        return;
    };
    if matches!(step.action, Action::SecondProcess { .. }) {
        return;
    }
    let own = &mut states[usize::from(number)];
    let pushes = matches!(step.action, Action::Push { .. } | Action::Sync { .. });
    let is_news_for_others = pushes && own.has_pending;
    own.is_running = !step.faults.iter().any(|fault| fault.crash_kind().is_some());
    own.was_opened |= !is_injected;
    match step.action {
        Action::Transaction { end: TransactionEnd::HeldOpen, .. } => own.holds_open = true,
        Action::Transaction { .. } | Action::Program { .. } => own.has_pending = true,
        Action::EndTransaction { .. } => {
            own.has_pending |= own.holds_open;
            own.holds_open = false;
        }
        Action::OpenReader { .. } => own.reads = true,
        Action::CloseReader { .. } => own.reads = false,
        Action::Pull { .. } | Action::Sync { .. } => {
            own.has_news &= is_injected;
            own.is_severed &= is_injected;
        }
        // The pushed transactions come back with the next pull.
        Action::Push { .. } => own.has_news |= own.has_pending,
        Action::Close { .. }
        | Action::LeftoverConnection { .. }
        | Action::Crash { .. }
        | Action::RestoreDirectory { .. }
        | Action::LoseFile { .. }
        | Action::Rot { .. } => own.is_running = false,
        Action::SecondProcess { .. }
        | Action::Open { .. }
        | Action::Show { .. }
        | Action::Compare
        | Action::RemoteTransaction { .. }
        | Action::RemoteProgram { .. }
        | Action::RemoteCheckpoint
        | Action::RemoteRestart
        | Action::RemoteCrash { .. }
        | Action::RemotePrune
        | Action::RemoteArchive(_)
        | Action::RemoteRestore { .. }
        | Action::RemoteFork { .. }
        | Action::RemoteJoin { .. }
        | Action::RemoteCache { .. }
        | Action::RemoteCacheExpires
        | Action::WrongServer { .. } => {}
    }
    own.has_pending &= !pushes || is_injected;
    own.holds_open &= own.is_running;
    own.reads &= own.is_running;
    if is_news_for_others {
        for (other, state) in states.iter_mut().enumerate() {
            state.has_news |= other != usize::from(number);
        }
    }
}

/// A kind of access to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum SpotAccess {
    Mutation(OperationKind),
    Read,
    Open,
}

/// A file, a kind of access to it, and the usual number of such accesses in a step that makes at least one.
pub(super) type Spot = (FileClass, SpotAccess, u32);

/// A part of a step in which the engine accesses files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, VariantArray, IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
enum Phase {
    /// The first opening.
    Bootstrap,
    Reopening,
    /// The application commits a transaction.
    Commit,
    /// A push with nothing to send walks to the remote's end.
    Walk,
    Push,
    /// A pull or sync that rebases.
    Pull,
}

/// The phases that a step is likely to have.
fn phases(action: &Action, state: LikelyState) -> Vec<Phase> {
    // Without a running process there is no transaction to end and no open reader.
    let opens = !matches!(
        action,
        Action::EndTransaction { .. }
            | Action::CloseReader { .. }
            | Action::SecondProcess { .. }
            | Action::LeftoverConnection { .. }
    );
    let opening = match state {
        LikelyState { was_opened: false, .. } if opens => Some(Phase::Bootstrap),
        LikelyState { is_running: false, .. } if opens => Some(Phase::Reopening),
        _ => None,
    };
    let own = match action {
        Action::Transaction { end: TransactionEnd::Commit, .. } => Some(Phase::Commit),
        Action::EndTransaction { end: TransactionEnd::Commit, .. } if state.holds_open => Some(Phase::Commit),
        _ if rebases(action, state) => Some(Phase::Pull),
        Action::Push { .. } if state.has_pending => Some(Phase::Push),
        Action::Push { .. } if state.has_news => Some(Phase::Walk),
        _ => None,
    };
    opening.into_iter().chain(own).collect()
}

/// The accesses that a step is likely to make; empty for a step that is likely to do nothing.
pub(super) fn spots(action: &Action, state: LikelyState) -> Vec<Spot> {
    let phases = phases(action, state);
    let usual = USUAL.iter().filter(|(phase, _)| phases.contains(phase)).map(|(_, spot)| *spot);
    // The critical places count three times: there are few of them, and faults there do the most harm.
    let critical = if rebases(action, state) { [CRITICAL; 3].concat() } else { Vec::new() };
    usual.chain(critical).collect()
}

/// Whether a step is likely to rebase local transactions onto new remote ones.
pub(super) fn rebases(action: &Action, state: LikelyState) -> bool {
    match action {
        Action::Pull { .. } => state.has_news,
        Action::Sync { .. } => state.has_news || state.has_pending,
        _ => false,
    }
}

/// Whether a step of the engine is likely to find nothing to do.
pub(super) fn is_idle(action: &Action, state: LikelyState) -> bool {
    spots(action, state).is_empty()
}

use FileClass::{Draft, DraftWal, Metadata, Synced, SyncedWal};
use OperationKind::{Sync, SyncDirectory, Write};
use SpotAccess::Mutation;

/// The usual accesses of each phase, from the file `usual.snap`. The test below measures them in histories
/// without faults. After a change of the engine, run it with `INSTA_UPDATE=always` to update the file.
static USUAL: LazyLock<Vec<(Phase, Spot)>> = LazyLock::new(|| {
    let (_, table) = include_str!("usual.snap").rsplit_once("---\n").expect("the file has a heading");
    table.lines().map(|line| parse(line).expect("the test has written this line")).collect()
});

fn parse(line: &str) -> Option<(Phase, Spot)> {
    let mut columns = line.split_whitespace();
    let phase = columns.next()?;
    let phase = Phase::VARIANTS.iter().copied().find(|known| <&str>::from(known) == phase)?;
    let file = columns.next()?;
    let file = FileClass::ALL.into_iter().chain([FileClass::Any]).find(|known| known.name() == file)?;
    let access = columns.next()?;
    let access = ACCESSES.into_iter().find(|known| known.name() == access)?;
    Some((phase, (file, access, columns.next()?.parse().ok()?)))
}

/// The accesses that are counted.
const ACCESSES: [SpotAccess; 10] = [
    SpotAccess::Open,
    SpotAccess::Read,
    Mutation(OperationKind::Create),
    Mutation(OperationKind::Write),
    Mutation(OperationKind::Sync),
    Mutation(OperationKind::Truncate),
    Mutation(OperationKind::Remove),
    Mutation(OperationKind::Rename),
    Mutation(OperationKind::SyncDirectory),
    Mutation(OperationKind::AnyMutation),
];

impl SpotAccess {
    fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Read => "read",
            Self::Mutation(operation) => operation.name(),
        }
    }
}

/// The places where a fault does the most harm: a rebase relies on them, or a checkpoint or a compaction
/// moves a WAL into its main file there. Two syncs are listed twice, so that they are drawn more often: that
/// of Synced, because a checkpoint is rare, and that of Draft's WAL, because it happens before a push, in a
/// rebase and around a compaction.
const CRITICAL: &[Spot] = &[
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fmt::Write as _;
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::search::generate::{Profile, generate};
    use crate::world::listener::Inbox;
    use crate::world::trace::Trace;
    use crate::world::{World, clock};

    /// The number of histories that are measured.
    const HISTORIES: u64 = 40;
    /// An access is usual if at least one step in `ONE_IN` makes it.
    const ONE_IN: usize = 20;

    /// The measurements of steps that consist of a single phase: how many steps there are, and how many times
    /// each step makes each access.
    #[derive(Default)]
    struct Measured {
        steps: BTreeMap<Phase, usize>,
        counts: BTreeMap<(Phase, FileClass, SpotAccess), Vec<u32>>,
    }

    impl Measured {
        fn run(&mut self, seed: u64) {
            let schedule = generate(seed, Profile::Calm);
            let _in_virtual_time = clock::enter(0);
            let trace = Arc::new(Mutex::new(Trace::new(false)));
            let mut world = World::new(schedule.header.clone(), trace, Inbox::default(), false);
            world.prepare_for(&schedule.steps);
            let mut states = vec![LikelyState::default(); schedule.header.clients.into()];
            for step in &schedule.steps {
                let phases = match step.action.client() {
                    Some(number) if step.during.is_empty() => {
                        phases(&step.action, states[usize::from(number)])
                    }
                    _ => Vec::new(),
                };
                world.step(step).expect("a history without faults breaks no invariant");
                take_step(&mut states, step);
                if let ([phase], Some(client)) = (&phases[..], step.action.client()) {
                    self.count(*phase, &world, client);
                }
            }
        }

        fn count(&mut self, phase: Phase, world: &World, client: u8) {
            let disk = world.disk(client);
            *self.steps.entry(phase).or_default() += 1;
            for file in FileClass::ALL.into_iter().chain([FileClass::Any]) {
                for access in ACCESSES {
                    // `AnyMutation` is counted only for `FileClass::Any`, and nothing else is counted for it.
                    if (file == FileClass::Any) != (access == Mutation(OperationKind::AnyMutation)) {
                        continue;
                    }
                    let number = match access {
                        SpotAccess::Open => disk.accesses(file, crate::fault::Access::Open),
                        SpotAccess::Read => disk.accesses(file, crate::fault::Access::Read),
                        SpotAccess::Mutation(operation) => disk.operations(file, operation),
                    };
                    if number > 0 {
                        self.counts.entry((phase, file, access)).or_default().push(number);
                    }
                }
            }
        }

        /// The usual accesses, one per line, each with the upper quartile of its numbers.
        fn table(&mut self) -> String {
            let mut table = String::new();
            for ((phase, file, access), numbers) in &mut self.counts {
                if numbers.len() * ONE_IN < self.steps[phase] {
                    continue;
                }
                numbers.sort_unstable();
                let usual_count = numbers[numbers.len() * 3 / 4];
                let (phase, file, access) = (<&str>::from(*phase), file.name(), access.name());
                writeln!(table, "{phase:<10} {file:<18} {access:<14} {usual_count}").expect("a string grows");
            }
            table
        }
    }

    #[test]
    fn the_table_has_the_accesses_of_histories_without_faults() {
        let mut measured = Measured::default();
        (0..HISTORIES).for_each(|seed| measured.run(seed));
        insta::with_settings!({ snapshot_path => ".", prepend_module_to_snapshot => false, omit_expression => true }, {
            insta::assert_snapshot!("usual", measured.table());
        });
    }
}
