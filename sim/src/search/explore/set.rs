//! The units to explore: the default set, every short sequence of operations, or the steps of a given
//! schedule.

use super::Unit;
use crate::schedule::workload::{Key, Table, Write};
use crate::schedule::{Action, Header, Schedule, Step, TransactionEnd};

/// The client whose steps are explored.
const TARGET: u8 = 0;
/// Another client, whose steps are not explored.
const OTHER: u8 = 1;

/// The default set: one unit for each flow of the engine. Each flow except the bootstrap also has a second
/// unit, in which there are local changes that the remote has not acknowledged.
pub fn default_set() -> Vec<Unit> {
    let flows = [
        ("bootstrap", vec![remote_commit()], pull()),
        (
            "bootstrap into a later generation",
            vec![remote_commit(), Action::RemoteCheckpoint, remote_commit()],
            pull(),
        ),
        ("reopening", vec![sync(TARGET), Action::Close { client: TARGET }], pull()),
        ("local commit", vec![sync(TARGET)], commit(TARGET)),
        ("pull", vec![sync(TARGET), remote_commit(), remote_commit()], pull()),
        ("push", vec![sync(TARGET)], push()),
        ("push after news", vec![sync(TARGET), remote_commit()], push()),
        ("sync", vec![sync(TARGET), commit(OTHER), sync(OTHER)], sync(TARGET)),
        (
            "pull across a generation",
            vec![sync(TARGET), remote_commit(), Action::RemoteCheckpoint, remote_commit()],
            pull(),
        ),
        (
            "push across generations",
            vec![
                sync(TARGET),
                remote_commit(),
                Action::RemoteCheckpoint,
                remote_commit(),
                Action::RemoteCheckpoint,
            ],
            push(),
        ),
        (
            "re-bootstrap",
            vec![
                sync(TARGET),
                remote_commit(),
                Action::RemoteCheckpoint,
                remote_commit(),
                Action::RemotePrune,
            ],
            pull(),
        ),
    ];
    let mut units = Vec::new();
    for (name, before, target) in flows {
        units.push(unit(name.to_owned(), before.clone(), target.clone()));
        // Before the first bootstrap there are no local changes: to make some, the client would have to
        // bootstrap.
        let is_bootstrap = before.iter().all(|action| action.client().is_none());
        if !is_bootstrap {
            let mut before = before;
            before.insert(1, commit(TARGET));
            units.push(unit(format!("{name}, with pending changes"), before, target));
        }
    }
    units
}

/// Every sequence of `length` operations, with the last one as the target. There are six kinds of
/// operations; four of them can be the target.
pub fn of_length(length: u32) -> Vec<Unit> {
    let kinds = [commit(TARGET), pull(), push(), sync(TARGET), remote_commit(), Action::RemoteCheckpoint];
    let mut sequences: Vec<Vec<Action>> = vec![Vec::new()];
    for _ in 0..length {
        sequences = sequences
            .iter()
            .flat_map(|sequence| {
                kinds.iter().map(move |kind| sequence.iter().chain([kind]).cloned().collect())
            })
            .collect();
    }
    let units = sequences.into_iter().filter_map(|mut sequence| {
        let target = sequence.pop().filter(|action| action.client().is_some())?;
        let names: Vec<&str> = sequence.iter().chain([&target]).map(|action| action.kind().name()).collect();
        Some(unit(names.join(" · "), sequence, target))
    });
    units.collect()
}

/// One unit for each step of a client in a schedule. The steps keep their own faults.
pub fn of_schedule(schedule: &Schedule) -> Vec<Unit> {
    let is_client_step = |step: &&Step| {
        step.action.client().is_some() && !matches!(step.action, Action::Crash { .. } | Action::Close { .. })
    };
    let unit = |step: &Step| Unit {
        name: format!("step {}, {}", step.id, step.action.kind().name()),
        schedule: schedule.clone(),
        target_step: step.id,
    };
    schedule.steps.iter().filter(is_client_step).map(unit).collect()
}

/// A unit. After the target step the application commits a transaction before the client syncs, so that a
/// silent divergence of the client's databases becomes visible.
fn unit(name: String, before: Vec<Action>, target: Action) -> Unit {
    let target_step = before.len() as u32 + 1;
    let actions = before.into_iter().chain([target, commit(TARGET), sync(TARGET)]);
    let steps = (1..).zip(actions).map(|(id, action)| Step::new(id, action)).collect();
    let header = Header {
        pull_batch_frames: 3,
        push_batch_statements_max: 3,
        synced_wal_frames_max: 12,
        ..Header::new(u64::from(target_step))
    };
    Unit { name, schedule: Schedule::new(header, steps), target_step }
}

fn commit(client: u8) -> Action {
    let writes = vec![
        Write::Append { payload_bytes: 10 },
        Write::Upsert { table: Table::Note, key: Key::Shared(1) },
        Write::Upsert { table: Table::Item, key: Key::Own(1) },
    ];
    Action::Transaction { client, writes, end: TransactionEnd::Commit }
}

fn remote_commit() -> Action {
    Action::RemoteTransaction {
        writes: vec![
            Write::Append { payload_bytes: 5_000 },
            Write::Upsert { table: Table::Note, key: Key::Shared(1) },
        ],
    }
}

fn pull() -> Action {
    Action::Pull { client: TARGET }
}

fn push() -> Action {
    Action::Push { client: TARGET }
}

fn sync(client: u8) -> Action {
    Action::Sync { client }
}
