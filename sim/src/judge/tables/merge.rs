//! The conflict policy as a model: three states in, one out. It knows nothing but contents.
//!
//! `engine/docs/conflict-policy.md` is the policy. The model has what it says about rows and columns. A table
//! is left out where the policy needs more than the rows of that table: another definition on one side,
//! unique values besides the key, foreign keys, collations, and columns that are computed.

use std::collections::{BTreeMap, BTreeSet};

use super::{Cell, Object, Row, Tables};

/// The parts of a table's definition, or of that of an index on it, that are not modelled.
const NOT_MODELLED: [&str; 3] = ["UNIQUE", "COLLATE", " AS("];

impl Tables {
    /// Applies transactions to `remote`: those that have led from each of `states` to the next. Returns the
    /// remote's content and that after each of them, without the tables that are not modelled.
    pub fn rebased(states: &[Self], remote: &Self) -> Vec<Self> {
        let mut known = remote.clone();
        known.rows.retain(|table, _| {
            remote.is_modelled(table) && states.iter().all(|state| state.is_like(remote, table))
        });
        let mut rebased = vec![known];
        for pair in states.windows(2) {
            let mut next = rebased.last().expect("there is the remote's content").clone();
            let [base, local] = [&pair[0], &pair[1]].map(|state| &state.rows);
            next.rows = next
                .rows
                .into_iter()
                .filter_map(|(table, rows)| {
                    let mut merged = merged_rows([&base[&table], &local[&table], &rows], &next.keys[&table])?;
                    merged.sort();
                    Some((table, merged))
                })
                .collect();
            rebased.push(next);
        }
        rebased
    }

    /// The difference from an expected content, in its tables. `None` if there is none.
    pub fn difference_from_expected(&self, expected: &Self) -> Option<String> {
        expected.rows.iter().find_map(|(table, rows)| {
            let found = super::difference_of_rows("the policy", rows, self.rows.get(table)?, "the database")?;
            Some(format!("table {}: {found}", super::quoted(table)))
        })
    }

    /// Whether both have the same definition of a table, and know its rows.
    fn is_like(&self, other: &Self, table: &str) -> bool {
        let object = ("table".to_owned(), table.to_owned());
        let is_known = |tables: &Self| tables.rows.contains_key(table);
        is_known(self) && is_known(other) && self.objects.get(&object) == other.objects.get(&object)
    }

    fn is_modelled(&self, table: &str) -> bool {
        let needs_more = |((kind, _), object): (&(String, String), &Object)| {
            let sql = object.sql.to_ascii_uppercase();
            let is_of_table = object.table == table && matches!(&**kind, "table" | "index");
            sql.contains("REFERENCES") || is_of_table && NOT_MODELLED.iter().any(|part| sql.contains(part))
        };
        !self.objects.iter().any(needs_more)
    }
}

/// The rows of one table; `None` if contents alone do not decide.
fn merged_rows([base, local, remote]: [&[Row]; 3], key: &[usize]) -> Option<Vec<Row>> {
    if key.is_empty() {
        return Some(merged_without_key(base, local, remote));
    }
    let by_key = |rows: &[Row]| -> Option<BTreeMap<Row, Row>> {
        let key_of = |row: &Row| -> Row { key.iter().map(|column| row[*column].clone()).collect() };
        let keyed: BTreeMap<Row, Row> = rows.iter().map(|row| (key_of(row), row.clone())).collect();
        let has_null = keyed.keys().any(|key| key.contains(&Cell::Null));
        (!has_null && keyed.len() == rows.len()).then_some(keyed)
    };
    let (base, local, remote) = (by_key(base)?, by_key(local)?, by_key(remote)?);
    let is_new = local.keys().any(|key| !base.contains_key(key));
    let keys: BTreeSet<&Row> = base.keys().chain(local.keys()).chain(remote.keys()).collect();
    let mut rows = Vec::new();
    for key in keys {
        let states = (base.get(key), local.get(key), remote.get(key));
        // The row may have got another key, and then it takes the remote's columns with it.
        if let (Some(base), None, Some(remote)) = states
            && is_new
            && base != remote
        {
            return None;
        }
        rows.extend(merged_row(states));
    }
    Some(rows)
}

fn merged_row(states: (Option<&Row>, Option<&Row>, Option<&Row>)) -> Option<Row> {
    match states {
        (base, local, remote) if local == base => remote.cloned(),
        (base, local, remote) if remote == base || local == remote => local.cloned(),
        (Some(base), Some(local), Some(remote)) => {
            let column = |((base, local), remote): ((&Cell, &Cell), &Cell)| {
                if local == base { remote.clone() } else { local.clone() }
            };
            Some(base.iter().zip(local).zip(remote).map(column).collect())
        }
        // An inserted row replaces another one; a changed row comes back; a deleted row stays away.
        (_, local, _) => local.cloned(),
    }
}

/// Equal rows are counted.
fn merged_without_key(base: &[Row], local: &[Row], remote: &[Row]) -> Vec<Row> {
    let count = |rows: &[Row], row: &Row| rows.iter().filter(|other| *other == row).count();
    let all: BTreeSet<&Row> = base.iter().chain(local).chain(remote).collect();
    let rows = all.into_iter().flat_map(|row| {
        let with_local = count(remote, row) + count(local, row);
        vec![row.clone(); with_local.saturating_sub(count(base, row))]
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(key: i64, value: i64) -> Row {
        vec![Cell::Integer(key), Cell::Integer(value), Cell::Integer(0)]
    }

    fn with(key: i64, value: i64, other: i64) -> Row {
        vec![Cell::Integer(key), Cell::Integer(value), Cell::Integer(other)]
    }

    #[test]
    fn rows_are_merged_by_column() {
        let base = [row(1, 1)];
        let merge = |local: &[Row], remote: &[Row]| merged_rows([&base, local, remote], &[0]);
        assert_eq!(merge(&[with(1, 2, 0)], &[with(1, 1, 7)]), Some(vec![with(1, 2, 7)]));
        assert_eq!(merge(&[with(1, 2, 0)], &[with(1, 3, 7)]), Some(vec![with(1, 2, 7)]));
        assert_eq!(merge(&[with(1, 2, 0)], &[]), Some(vec![with(1, 2, 0)]));
        assert_eq!(merge(&[], &[with(1, 3, 7)]), Some(vec![]));
        assert_eq!(merge(&base, &[]), Some(vec![]));
        assert_eq!(merge(&[row(1, 1), row(2, 5)], &[row(1, 1), row(2, 6)]), Some(vec![row(1, 1), row(2, 5)]));
        // The row may have moved to key 2.
        assert_eq!(merge(&[row(2, 1)], &[with(1, 3, 7)]), None);
    }

    #[test]
    fn rows_without_a_key_are_counted() {
        let (one, two) = (row(1, 1), row(2, 2));
        let merge =
            |local: &[Row], remote: &[Row]| merged_rows([std::slice::from_ref(&one), local, remote], &[]);
        assert_eq!(
            merge(&[one.clone(), two.clone()], &[one.clone(), one.clone()]),
            Some(vec![one.clone(), one.clone(), two])
        );
        assert_eq!(merge(&[], &[]), Some(vec![]));
        assert_eq!(merge(&[], &[one.clone(), one.clone()]), Some(vec![one.clone()]));
    }
}
