//! The content of a database, and how a transaction changes it.

use std::collections::{BTreeMap, BTreeSet};

use super::Entry;
use crate::schedule::workload::{Effect, INITIAL_ROWS, quiet_row};

/// The content of a database, without internal tables.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Content {
    /// Tokens of `log`, in order.
    pub log: Vec<String>,
    /// Tokens of the rows with keys, by row name.
    pub rows: BTreeMap<String, String>,
}

impl Content {
    /// The content of a new database.
    pub fn initial() -> Self {
        let rows = INITIAL_ROWS.map(|(row, holds)| (row.to_owned(), holds.to_owned()));
        Self { log: Vec::new(), rows: rows.into() }
    }

    pub(super) fn apply(&mut self, entry: &Entry) {
        for effect in &entry.effects {
            match effect {
                Effect::Appended(token) => self.log.push(token.clone()),
                Effect::Set(row, token) => {
                    self.rows.insert(row.clone(), token.clone());
                }
                Effect::Gone(row) => {
                    self.rows.remove(row);
                }
                Effect::Swapped(one, other) => {
                    let (at_one, at_other) = (self.rows.remove(one), self.rows.remove(other));
                    self.rows.extend(at_one.map(|token| (other.clone(), token)));
                    self.rows.extend(at_other.map(|token| (one.clone(), token)));
                }
                Effect::Claimed { row, label, token } => {
                    let label = format!("{label} ");
                    self.rows.retain(|name, holds| !name.starts_with("badge/") || !holds.starts_with(&label));
                    self.rows.insert(row.clone(), label + token);
                }
                Effect::Counted(row, more) => self.count(row, *more),
                Effect::Replaced { prefix, rows } => {
                    self.rows.retain(|name, _| !name.starts_with(prefix));
                    self.rows.extend(rows.iter().cloned());
                }
                Effect::Quieted(writer, token) => {
                    self.rows.insert(quiet_row(*writer), token.clone());
                }
            }
        }
    }

    fn count(&mut self, row: &str, more: i64) {
        let before: i64 =
            self.rows.remove(row).map_or(0, |count| count.parse().expect("a count is a number"));
        if before + more > 0 {
            self.rows.insert(row.to_owned(), (before + more).to_string());
        }
    }

    /// Describes the first difference to the expected content. Ignores the rows in `apart`.
    pub fn difference(&self, expected: &Self, apart: &BTreeSet<&str>) -> Option<String> {
        if let Some(difference) = tokens_differ(&self.log, &expected.log) {
            return Some(difference);
        }
        let mut names: BTreeSet<&String> = self.rows.keys().chain(expected.rows.keys()).collect();
        names.retain(|name| !apart.contains(name.as_str()));
        names.into_iter().find_map(|name| match (self.rows.get(name), expected.rows.get(name)) {
            (actual, expected) if actual == expected => None,
            (actual, expected) => Some(format!(
                "row {name} holds {}, expected {}",
                actual.map_or("nothing", String::as_str),
                expected.map_or("nothing", String::as_str)
            )),
        })
    }
}

fn tokens_differ(actual: &[String], expected: &[String]) -> Option<String> {
    if actual == expected {
        return None;
    }
    let index = actual.iter().zip(expected).take_while(|(a, b)| a == b).count();
    let at = |tokens: &[String]| tokens.get(index).cloned().unwrap_or_else(|| "its end".into());
    Some(format!("log differs at row {}: {} where {} is expected", index + 1, at(actual), at(expected)))
}
