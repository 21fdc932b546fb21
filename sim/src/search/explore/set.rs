//! What is explored: the default set of flows, every short sequence of operations, or the steps of a given schedule.

use super::Unit;
use crate::schedule::workload::{Key, Table, Write};
use crate::schedule::{Action, Header, Schedule, Step, TransactionEnd};

/// The client whose steps are struck.
const TARGET: u8 = 0;
/// The client that only looks on.
const OTHER: u8 = 1;

/// Every flow of the engine, with and without local changes that the remote has not acknowledged.
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
    for (name, before, struck) in flows {
        units.push(unit(name.to_owned(), before.clone(), struck.clone()));
        // A client that was never open bootstraps first.
        let is_bootstrap = before.iter().all(|action| action.client().is_none());
        if !is_bootstrap {
            let mut before = before;
            before.insert(1, commit(TARGET));
            units.push(unit(format!("{name}, with pending changes"), before, struck));
        }
    }
    units
}

/// Every sequence of `length` operations, the last one struck. There are six kinds; of the last one, four.
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
        let struck = sequence.pop().filter(|action| action.client().is_some())?;
        let verbs: Vec<&str> = sequence.iter().chain([&struck]).map(Action::verb).collect();
        Some(unit(verbs.join(" · "), sequence, struck))
    });
    units.collect()
}

/// Each client's step of a schedule in turn. Its own faults stay.
pub fn of_schedule(schedule: &Schedule) -> Vec<Unit> {
    let is_client_step = |step: &&Step| {
        step.action.client().is_some() && !matches!(step.action, Action::Crash { .. } | Action::Close { .. })
    };
    let unit = |step: &Step| Unit {
        name: format!("step {}, {}", step.id, step.action.verb()),
        schedule: schedule.clone(),
        target_step: step.id,
    };
    schedule.steps.iter().filter(is_client_step).map(unit).collect()
}

/// After the struck step the application writes before the first sync: only then does a silent divergence show.
fn unit(name: String, before: Vec<Action>, struck: Action) -> Unit {
    let target_step = before.len() as u32 + 1;
    let actions = before.into_iter().chain([struck, commit(TARGET), sync(TARGET)]);
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
