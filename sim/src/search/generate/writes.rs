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

/// The writes of a remote transaction. Some transactions also delete shared rows that clients may be
/// changing: one of `rows_written`, or all shared rows of its table.
pub(super) fn remote_writes(rng: &mut impl Rng, mix: &Mix, rows_written: &[(Table, u8)]) -> Vec<Write> {
    let mut writes = writes(rng, mix);
    if !is_own_only(&writes)
        && let Some(&(table, one)) = rows_written.choose(rng)
        && rng.random_ratio(2, 5)
    {
        let shared = if rng.random_bool(0.5) { one..one + 1 } else { 0..mix.keys };
        writes.extend(shared.map(|shared| Write::Erase { table, shared }));
    }
    writes
}

/// Whether the transaction is quiet or void. Such a transaction must not write to shared rows.
pub(super) fn is_own_only(writes: &[Write]) -> bool {
    matches!(writes.first(), Some(Write::Quiet | Write::Void { .. }))
}

/// The shared rows that the steps may have written.
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
    kind(&Drawn { table, number, other, key, big_rows: mix.big_rows }, rng)
}

/// The parameters that most kinds of writes use.
pub(super) struct Drawn {
    table: Table,
    /// The number of a key or a value.
    number: u8,
    /// A second number, which may be equal to the first.
    other: u8,
    /// The key with `number`, either shared or the writer's own.
    key: Key,
    big_rows: bool,
}

/// A kind of write, as the function that makes one from the drawn parameters.
pub(super) type WriteKind = fn(&Drawn, &mut dyn Rng) -> Write;

/// Kinds of writes with weights. A seed has all of them or none.
struct Feature {
    kinds: &'static [(WriteKind, u32)],
    /// The percentage of seeds that have the feature, among the seeds that may have it.
    percent: u32,
    /// Must equal [`Write::is_independent`] of the writes; a test over generated seeds checks this.
    is_independent: bool,
}

const APPEND: WriteKind = |drawn, rng| Write::Append {
    payload_bytes: if drawn.big_rows { rng.random_range(0..12_000) } else { rng.random_range(0..60) },
};
const UPSERT: WriteKind = |drawn, _| Write::Upsert { table: drawn.table, key: drawn.key };
const UPDATE: WriteKind = |drawn, _| Write::Update { table: drawn.table, key: drawn.key };
const REPLACE: WriteKind = |drawn, _| Write::Replace { table: drawn.table, key: drawn.key };
const DELETE: WriteKind = |drawn, _| Write::Delete { table: drawn.table, own: drawn.number };
const REKEY: WriteKind = |drawn, _| Write::Rekey { table: drawn.table, own: drawn.number };
const EXTRA: WriteKind = |drawn, rng| Write::Extra { number: rng.random_range(0..3), own: drawn.number };
const SWAP: WriteKind = |drawn, _| Write::Swap { table: drawn.table, own: drawn.number, with: drawn.other };
const CLAIM: WriteKind = |drawn, _| Write::Claim { own: drawn.number, label: drawn.other };
const COUNT: WriteKind = |drawn, _| Write::Count { n: drawn.number };
const RECOUNT: WriteKind = |drawn, _| Write::Recount { n: drawn.number, to: drawn.other };
const UNCOUNT: WriteKind = |drawn, _| Write::Uncount { n: drawn.number };
const UNLOAD: WriteKind = |_, _| Write::Unload;
const WIDEN: WriteKind = |drawn, _| Write::Widen { table: drawn.table };
const NARROW: WriteKind = |drawn, rng| Write::Narrow { table: drawn.table, rename: rng.random_bool(0.4) };
const RULE: WriteKind = |_, _| Write::Rule;
const LOOSE: WriteKind = |drawn, _| Write::Loose { n: drawn.number };
const OWN: WriteKind = |drawn, mut rng| Write::Own(*pick(&mut rng, &OwnChange::drawn(drawn.number)));

const FEATURES: &[Feature] = &[
    Feature { kinds: &[(APPEND, 3), (UPSERT, 4)], percent: 100, is_independent: true },
    Feature { kinds: &[(UPDATE, 4)], percent: 70, is_independent: true },
    Feature { kinds: &[(REPLACE, 2)], percent: 50, is_independent: true },
    Feature { kinds: &[(DELETE, 2), (REKEY, 2)], percent: 50, is_independent: true },
    Feature { kinds: &[(EXTRA, 2)], percent: 33, is_independent: true },
    Feature { kinds: &[(SWAP, 2), (CLAIM, 2)], percent: 50, is_independent: false },
    Feature { kinds: &[(COUNT, 3), (RECOUNT, 3), (UNCOUNT, 3)], percent: 50, is_independent: false },
    Feature { kinds: &[(UNLOAD, 1)], percent: 25, is_independent: false },
    Feature { kinds: &[(WIDEN, 3), (NARROW, 3)], percent: 33, is_independent: false },
    Feature { kinds: &[(RULE, 2), (LOOSE, 4)], percent: 33, is_independent: false },
    // It takes three such writes to create a trigger, and a fourth one to fire it.
    Feature { kinds: &[(OWN, 30)], percent: 50, is_independent: false },
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
