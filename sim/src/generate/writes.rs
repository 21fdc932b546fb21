//! What applications write.

use rand::{Rng, RngExt};

use super::{Mix, pick};
use crate::workload::{Key, OwnChange, VOID_BALLAST, Write};

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

/// Now and then with a row less of everybody's, which clients may be changing.
pub(super) fn remote_writes(rng: &mut impl Rng, mix: &Mix) -> Vec<Write> {
    let mut writes = writes(rng, mix);
    let stands_apart = matches!(writes.first(), Some(Write::Quiet | Write::Void { .. }));
    if !stands_apart && rng.random_ratio(2, 5) {
        writes.push(Write::Erase { table: *pick(rng, &mix.tables), shared: rng.random_range(0..mix.keys) });
    }
    writes
}

fn write(rng: &mut impl Rng, mix: &Mix) -> Write {
    let table = *pick(rng, &mix.tables);
    let number = rng.random_range(0..mix.keys);
    let other = rng.random_range(0..mix.keys);
    let key = if rng.random_bool(0.5) { Key::Shared(number) } else { Key::Own(number) };
    // The first ones are independent of each other.
    let kinds = match mix {
        Mix { independent_writes: true, extra_tables, .. } => 11 + u32::from(*extra_tables),
        // A trigger is made of three writes, and shows with the fourth.
        Mix { own_tables: true, .. } => 41,
        _ => 31,
    };
    match rng.random_range(0..kinds) {
        0..3 => Write::Append {
            payload_bytes: if mix.big_rows { rng.random_range(0..12_000) } else { rng.random_range(0..60) },
        },
        3..6 => Write::Upsert { table, key },
        6..8 => Write::Update { table, key },
        8 => Write::Replace { table, key },
        9 => Write::Delete { table, own: number },
        10 => Write::Rekey { table, own: number },
        11 if mix.independent_writes => Write::Extra { number: rng.random_range(0..3), own: number },
        11 => Write::Swap { table, own: number, with: other },
        12 => Write::Claim { own: number, label: other },
        13..15 => Write::Count { n: number },
        15..17 => Write::Recount { n: number, to: other },
        17..19 => Write::Uncount { n: number },
        19..21 if mix.big_rows => Write::Unload,
        21 if mix.extra_tables => Write::Extra { number: rng.random_range(0..3), own: number },
        22..24 if mix.wide_tables => Write::Widen { table },
        24..26 if mix.wide_tables => Write::Narrow { table, rename: rng.random_bool(0.4) },
        26 if mix.rules => Write::Rule,
        27..29 if mix.rules => Write::Loose { n: number },
        _ if mix.own_tables => Write::Own(*pick(rng, &OwnChange::drawn(number))),
        _ => Write::Upsert { table, key },
    }
}
