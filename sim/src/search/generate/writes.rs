//! Draws the writes of applications.

use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};

use super::{Mix, pick};
use crate::schedule::workload::{Key, OwnChange, Table, VOID_BALLAST, Write};
use crate::schedule::{Action, Step};

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

/// The writes of a remote transaction. Sometimes it also deletes one of the shared rows that were `set`, or
/// all of one table, while clients may be changing them.
pub(super) fn remote_writes(rng: &mut impl Rng, mix: &Mix, set: &[(Table, u8)]) -> Vec<Write> {
    let mut writes = writes(rng, mix);
    if !is_own_only(&writes)
        && let Some(&(table, one)) = set.choose(rng)
        && rng.random_ratio(2, 5)
    {
        let shared = if rng.random_bool(0.5) { one..one + 1 } else { 0..mix.keys };
        writes.extend(shared.map(|shared| Write::Erase { table, shared }));
    }
    writes
}

/// Whether the transaction may contain only writes to the writer's own rows.
pub(super) fn is_own_only(writes: &[Write]) -> bool {
    matches!(writes.first(), Some(Write::Quiet | Write::Void { .. }))
}

/// The shared rows that the steps may have set.
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
    let (kind, _) =
        mix.write_weights.choose_weighted(rng, |(_, weight)| *weight).expect("some kinds always occur");
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

/// The kinds of writes that transactions are mixed from.
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

/// Kinds of writes with weights. A seed has all of them or none.
struct Feature {
    kinds: &'static [(WriteKind, u32)],
    /// The percentage of seeds that have it, among those that may.
    percent: u32,
    /// Must equal [`Write::is_independent`] of the writes; a test over generated seeds checks this.
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
    // A trigger takes three writes to create, and the fourth fires it.
    Feature { kinds: &[(WriteKind::Own, 30)], percent: 50, is_independent: false },
];

/// The kinds of writes that one seed draws from. Fewer kinds interact more often.
pub(super) fn features(rng: &mut impl Rng, independent_only: bool) -> Vec<(WriteKind, u32)> {
    FEATURES
        .iter()
        .filter(|feature| feature.is_independent || !independent_only)
        .filter(|feature| rng.random_ratio(feature.percent, 100))
        .flat_map(|feature| feature.kinds.iter().copied())
        .collect()
}
