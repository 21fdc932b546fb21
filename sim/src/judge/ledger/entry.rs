//! One transaction and its outcome.

use super::Content;
use crate::schedule::workload::{Effect, Writer};

/// The outcome of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitState {
    /// It was acknowledged, or seen after a restart.
    Committed,
    /// Its commit was interrupted.
    Maybe,
    /// Its commit failed. It becomes `Maybe` when the process ends, because the next process may find the
    /// parts that were written.
    Doubtful,
    /// It was rolled back, interrupted before its commit, or missing after a restart.
    Absent,
}

#[derive(Debug, Clone)]
pub struct Entry {
    pub writer: Writer,
    pub effects: Vec<Effect>,
    pub commit_state: CommitState,
    /// If set: in this epoch and in later ones, the client may lack the transaction.
    pub(super) optional_from: Option<usize>,
}

impl Entry {
    /// A transaction that its client must show in every epoch.
    pub fn new(writer: Writer, effects: Vec<Effect>, commit_state: CommitState) -> Self {
        Self { writer, effects, commit_state, optional_from: None }
    }

    pub(super) fn is_optional_in(&self, epoch: usize) -> bool {
        self.optional_from.is_some_and(|from| from <= epoch)
    }

    pub(super) fn make_optional_from(&mut self, epoch: usize) {
        self.optional_from = Some(self.optional_from.map_or(epoch, |earlier| earlier.min(epoch)));
    }

    /// The tokens that it appends to `log`; none for a quiet or void transaction.
    pub(super) fn log_tokens(&self) -> impl Iterator<Item = &str> {
        self.effects.iter().filter_map(|effect| match effect {
            Effect::Appended(token) => Some(token.as_str()),
            _ => None,
        })
    }

    pub(super) fn quiet_token(&self) -> Option<&str> {
        self.effects.iter().find_map(|effect| match effect {
            Effect::Quieted(_, token) => Some(token.as_str()),
            _ => None,
        })
    }

    /// The token that names the transaction in messages.
    pub(super) fn first_token(&self) -> &str {
        self.log_tokens().next().or_else(|| self.quiet_token()).unwrap_or_default()
    }
}

#[derive(Debug, Clone)]
pub(super) struct VoidDelete {
    pub(super) writer: Writer,
    pub(super) rows: Vec<String>,
    pub(super) commit_state: CommitState,
}

impl VoidDelete {
    /// A row that the transaction deleted permanently, but that `content` holds.
    pub(super) fn row_left_in<'a>(&'a self, content: &Content) -> Option<&'a String> {
        let is_left =
            |row: &&String| self.commit_state == CommitState::Committed && content.rows.contains_key(*row);
        self.rows.iter().find(is_left)
    }
}

/// The number of a transaction in the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryNo {
    /// A transaction with tokens.
    Logged(usize),
    /// A void transaction.
    Void(usize),
}
