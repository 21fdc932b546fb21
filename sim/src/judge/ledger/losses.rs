//! The transactions that a client has lost because the remote lost them, and those that it has reported as lost.

use std::collections::BTreeSet;

use super::{Discrepancy, Ledger};

/// The losses of one client since its files were last replaced.
#[derive(Debug, Clone, Default)]
pub(super) struct Losses {
    /// The first entry since then. Earlier transactions may be of another identity of the client. Its reports do
    /// not cover them.
    first: usize,
    /// The client's own transactions that its database shows.
    visible: BTreeSet<usize>,
    /// The transactions that it showed once and lacks now.
    gone: BTreeSet<usize>,
    /// The number of lost transactions in the client's reports.
    reported: u64,
    /// Whether an operation has succeeded and its report was not compared yet. An operation that fails or
    /// crashes cannot report what is gone; the next one does.
    is_due: bool,
}

impl Losses {
    pub(super) fn since(first: usize) -> Self {
        Self { first, ..Self::default() }
    }

    pub(super) fn observe(&mut self, mut visible: BTreeSet<usize>) {
        visible.retain(|number| *number >= self.first);
        self.gone.extend(self.visible.difference(&visible));
        self.gone.retain(|number| !visible.contains(number));
        self.visible = visible;
    }
}

impl Ledger {
    /// Records that a client's process has ended before its report was compared.
    pub(super) fn drop_report(&mut self, client: u8) {
        if let Some(losses) = self.losses.get_mut(&client) {
            losses.is_due = false;
        }
    }

    /// Records that an operation of a client has succeeded and reported this number of lost transactions.
    pub fn accept_report(&mut self, client: u8, forgotten: u64) {
        let losses = self.losses.entry(client).or_default();
        losses.reported += forgotten;
        losses.is_due = true;
    }

    /// Checks that every transaction that a client showed once and lacks now was reported as lost. Does nothing
    /// unless an operation has succeeded since the last check.
    ///
    /// # Errors
    /// A [`Discrepancy`] with the first of them.
    pub fn check_losses_are_reported(&mut self, client: u8) -> Result<(), Discrepancy> {
        let Some(losses) = self.losses.get_mut(&client) else { return Ok(()) };
        if !std::mem::take(&mut losses.is_due) {
            return Ok(());
        }
        let (gone, reported) = (losses.gone.len() as u64, losses.reported);
        let Some(&first) = losses.gone.first().filter(|_| gone > reported) else { return Ok(()) };
        Err(Discrepancy::Lost(format!(
            "{gone} transactions are gone, {} the first of them, but {reported} were reported as lost",
            self.entries[first].first_token()
        )))
    }
}
