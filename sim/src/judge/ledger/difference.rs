//! The difference between a database and the transactions that it should show.

use std::collections::{BTreeMap, BTreeSet};

use super::{CommitState, Content, Ledger};
use crate::schedule::workload::Effect;

impl Ledger {
    /// Describes the first difference between a database and the transactions in `order`.
    pub(super) fn difference(&self, actual: &Content, order: &[usize]) -> Option<String> {
        let expected = self.content_of(order.iter().copied());
        let mut apart = self.void_rows();
        for prefix in self.unfounded_prefixes(order) {
            let names = actual.rows.keys().chain(expected.rows.keys());
            apart.extend(names.filter(|name| name.starts_with(prefix)).map(String::as_str));
        }
        actual.difference(&expected, &apart)
    }

    /// The prefixes of the writers' own objects for which `order` says too little: a transaction was lost, and a
    /// later one builds on it. What the writer saw when the later one was committed is no longer there, so it says
    /// nothing about a database that lacks the first.
    fn unfounded_prefixes(&self, order: &[usize]) -> BTreeSet<&str> {
        let prefixes = |number: usize| {
            self.entries[number].effects.iter().filter_map(|effect| match effect {
                Effect::Replaced { prefix, .. } => Some(prefix.as_str()),
                _ => None,
            })
        };
        let is_lost = |number: &usize| {
            let entry = &self.entries[*number];
            entry.commit_state == CommitState::Committed
                && entry.optional_from.is_some()
                && !order.contains(number)
        };
        let lost: BTreeMap<&str, usize> = (0..self.entries.len())
            .rev()
            .filter(is_lost)
            .flat_map(|number| prefixes(number).map(move |prefix| (prefix, number)))
            .collect();
        let builds_on_lost =
            |&(prefix, number): &(&str, usize)| lost.get(prefix).is_some_and(|first| *first < number);
        let own = order.iter().flat_map(|&number| prefixes(number).map(move |prefix| (prefix, number)));
        own.filter(builds_on_lost).map(|(prefix, _)| prefix).collect()
    }

    /// The rows that a void transaction has deleted or may have deleted. They may be present or absent,
    /// because a database may not have received the delete yet.
    fn void_rows(&self) -> BTreeSet<&str> {
        let effective = self.void.iter().filter(|void| void.commit_state != CommitState::Absent);
        effective.flat_map(|void| &void.rows).map(String::as_str).collect()
    }
}
