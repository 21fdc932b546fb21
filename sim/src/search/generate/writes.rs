//! What applications write.

use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};

use super::{Mix, pick};
use crate::schedule::workload::{Key, OwnChange, Table, VOID_BALLAST, Write};
use crate::schedule::{Action, Step};

/// The writes of one transaction.
pub(super) fn writes(rng: &mut impl Rng, mix: &Mix) -> Vec<Write> {
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

/// Now and then with a row less of everybody's, of those that were `set`, or without all of a table's, which clients may be changing.
pub(super) fn remote_writes(rng: &mut impl Rng, mix: &Mix, set: &[(Table, u8)]) -> Vec<Write> {
    let mut writes = writes(rng, mix);
    if !stands_apart(&writes)
        && let Some(&(table, one)) = set.choose(rng)
        && rng.random_ratio(2, 5)
    {
        let shared = if rng.random_bool(0.5) { one..one + 1 } else { 0..mix.keys };
        writes.extend(shared.map(|shared| Write::Erase { table, shared }));
    }
    writes
}

/// Whether nothing may be added that is not the writer's own.
pub(super) fn stands_apart(writes: &[Write]) -> bool {
    matches!(writes.first(), Some(Write::Quiet | Write::Void { .. }))
}

/// The rows of everybody's that steps may have set.
pub(super) fn shared_rows(steps: &[Step]) -> Vec<(Table, u8)> {
    let writes = steps.iter().flat_map(|step| match &step.action {
        Action::Transaction { writes, .. } | Action::RemoteTransaction { writes } => writes.as_slice(),
        _ => &[],
    });
    writes
        .filter_map(|write| match *write {
            Write::Upsert { table, key: Key::Shared(shared) }
            | Write::Replace { table, key: Key::Shared(shared) } => Some((table, shared)),
            _ => None,
        })
        .collect()
}

fn write(rng: &mut impl Rng, mix: &Mix) -> Write {
    let table = *pick(rng, &mix.tables);
    let number = rng.random_range(0..mix.keys);
    let other = rng.random_range(0..mix.keys);
    let key = if rng.random_bool(0.5) { Key::Shared(number) } else { Key::Own(number) };
    let (kind, _) = mix.write_weights.choose_weighted(rng, |(_, weight)| *weight).expect("some always occur");
    match kind {
        WriteKind::Append => Write::Append {
            payload_bytes: if mix.big_rows { rng.random_range(0..12_000) } else { rng.random_range(0..60) },
        },
        WriteKind::Upsert => Write::Upsert { table, key },
        WriteKind::Update => Write::Update { table, key },
        WriteKind::Replace => Write::Replace { table, key },
        WriteKind::Delete => Write::Delete { table, own: number },
        WriteKind::Rekey => Write::Rekey { table, own: number },
        WriteKind::Swap => Write::Swap { table, own: number, with: other },
        WriteKind::Claim => Write::Claim { own: number, label: other },
        WriteKind::Count => Write::Count { n: number },
        WriteKind::Recount => Write::Recount { n: number, to: other },
        WriteKind::Uncount => Write::Uncount { n: number },
        WriteKind::Unload => Write::Unload,
        WriteKind::Extra => Write::Extra { number: rng.random_range(0..3), own: number },
        WriteKind::Widen => Write::Widen { table },
        WriteKind::Narrow => Write::Narrow { table, rename: rng.random_bool(0.4) },
        WriteKind::Rule => Write::Rule,
        WriteKind::Loose => Write::Loose { n: number },
        WriteKind::Own => Write::Own(*pick(rng, &OwnChange::drawn(number))),
    }
}

/// The sorts of writes that transactions are mixed from.
#[derive(Clone, Copy)]
pub(super) enum WriteKind {
    Append,
    Upsert,
    Update,
    Replace,
    Delete,
    Rekey,
    Swap,
    Claim,
    Count,
    Recount,
    Uncount,
    Unload,
    Extra,
    Widen,
    Narrow,
    Rule,
    Loose,
    Own,
}

/// Sorts of writes that a seed has all of, or none of, each with a weight.
struct Feature {
    kinds: &'static [(WriteKind, u32)],
    /// In how many of a hundred seeds it occurs, of those that may have it.
    percent: u32,
    /// As [`Write::is_independent`] says of the writes; a test over generated seeds holds the two together.
    is_independent: bool,
}

const FEATURES: &[Feature] = &[
    Feature { kinds: &[(WriteKind::Append, 3), (WriteKind::Upsert, 4)], percent: 100, is_independent: true },
    Feature { kinds: &[(WriteKind::Update, 4)], percent: 70, is_independent: true },
    Feature { kinds: &[(WriteKind::Replace, 2)], percent: 50, is_independent: true },
    Feature { kinds: &[(WriteKind::Delete, 2), (WriteKind::Rekey, 2)], percent: 50, is_independent: true },
    Feature { kinds: &[(WriteKind::Extra, 2)], percent: 33, is_independent: true },
    Feature { kinds: &[(WriteKind::Swap, 2), (WriteKind::Claim, 2)], percent: 50, is_independent: false },
    Feature {
        kinds: &[(WriteKind::Count, 3), (WriteKind::Recount, 3), (WriteKind::Uncount, 3)],
        percent: 50,
        is_independent: false,
    },
    Feature { kinds: &[(WriteKind::Unload, 1)], percent: 25, is_independent: false },
    Feature { kinds: &[(WriteKind::Widen, 3), (WriteKind::Narrow, 3)], percent: 33, is_independent: false },
    Feature { kinds: &[(WriteKind::Rule, 2), (WriteKind::Loose, 4)], percent: 33, is_independent: false },
    // A trigger is made of three writes, and shows with the fourth.
    Feature { kinds: &[(WriteKind::Own, 30)], percent: 50, is_independent: false },
];

/// What one seed's transactions are mixed from: few sorts of writes meet each other more often than many.
pub(super) fn features(rng: &mut impl Rng, independent_only: bool) -> Vec<(WriteKind, u32)> {
    FEATURES
        .iter()
        .filter(|feature| feature.is_independent || !independent_only)
        .filter(|feature| rng.random_ratio(feature.percent, 100))
        .flat_map(|feature| feature.kinds.iter().copied())
        .collect()
}
