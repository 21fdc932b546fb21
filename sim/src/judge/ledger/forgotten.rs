//! Transactions that may be lost because the remote is restored, because a client's files become an older
//! copy, or because a user gives up changes.

use std::collections::{BTreeMap, BTreeSet};

use super::losses::Losses;
use super::{CommitState, Discrepancy, Ledger};
use crate::schedule::workload::Writer;

/// The state of the ledger at one moment.
#[derive(Debug, Clone, Default)]
pub struct Moment {
    commit_states: Vec<CommitState>,
    void_count: usize,
}

impl Ledger {
    /// Records that the remote was restored and now has this log and these tokens of `quiet`.
    ///
    /// # Errors
    /// A [`Discrepancy`] if there is a token that no writer has written.
    pub fn begin_epoch(&mut self, log: &[String], quiet: &[String]) -> Result<(), Discrepancy> {
        let mut last_quiet = BTreeMap::new();
        for token in quiet {
            let number = self.number_of(token)?;
            last_quiet.insert(self.entries[number].writer, number);
        }
        let mut order = self.remote_order.clone();
        let rows = |order: &[usize]| -> usize {
            order.iter().map(|&number| self.entries[number].log_tokens().count()).sum()
        };
        while rows(&order) > log.len() {
            order.pop();
        }
        assert_eq!(rows(&order), log.len(), "a remote is restored to the end of a transaction");
        order.retain(|number| {
            let entry = &self.entries[*number];
            entry.quiet_token().is_none() || last_quiet.get(&entry.writer).is_some_and(|last| number <= last)
        });
        let former = std::mem::replace(&mut self.remote_order, order);
        let forgotten: Vec<usize> =
            former.iter().copied().filter(|number| !self.remote_order.contains(number)).collect();
        self.past_orders.push(former);
        self.remote_log_rows = log.len();
        let epoch = self.epoch();
        for number in forgotten {
            self.entries[number].make_optional_from(epoch);
        }
        Ok(())
    }

    /// Records that a second server starts on a copy of the remote's files.
    pub fn fork(&mut self) {
        self.other = Some((self.remote_order.clone(), self.remote_log_rows));
    }

    /// Records that the other server answers from now on.
    pub fn switch(&mut self) {
        let (order, rows) = self.other.as_mut().expect("there are two servers");
        std::mem::swap(&mut self.remote_order, order);
        std::mem::swap(&mut self.remote_log_rows, rows);
        let former = order.clone();
        let missing: Vec<usize> =
            former.iter().copied().filter(|number| !self.remote_order.contains(number)).collect();
        self.past_orders.push(former);
        let epoch = self.epoch();
        for number in missing {
            self.entries[number].make_optional_from(epoch);
        }
    }

    /// Records that the other server has stopped.
    pub fn join(&mut self) {
        self.other = None;
    }

    /// The current state, for [`go_back`](Self::go_back).
    pub fn moment(&self) -> Moment {
        Moment {
            commit_states: self.entries.iter().map(|entry| entry.commit_state).collect(),
            void_count: self.void.len(),
        }
    }

    /// Records that a client's files are again as they were at `moment`.
    pub fn go_back(&mut self, client: u8, moment: &Moment) {
        self.client_epochs.remove(&client);
        self.losses.insert(client, Losses::since(self.entries.len()));
        let is_on_remote = |number: &usize| {
            self.remote_order.contains(number) || self.past_orders.iter().any(|order| order.contains(number))
        };
        let on_remote: BTreeSet<usize> = (0..self.entries.len()).filter(is_on_remote).collect();
        for (number, entry) in self.entries.iter_mut().enumerate() {
            if entry.writer != Writer::Client(client) {
                continue;
            }
            match moment.commit_states.get(number) {
                Some(CommitState::Committed) => {}
                // A transaction whose outcome was open at that moment may be present or not.
                Some(CommitState::Maybe | CommitState::Doubtful) => {
                    entry.make_optional_from(0);
                    if !on_remote.contains(&number) {
                        entry.commit_state = CommitState::Maybe;
                    }
                }
                Some(CommitState::Absent) | None => entry.make_optional_from(0),
            }
        }
        self.forget_void(client, moment);
    }

    /// Records that a client's user gives up the transactions since `moment` that have not reached the
    /// remote.
    pub fn withdraw(&mut self, client: u8, moment: &Moment) {
        let writer = Writer::Client(client);
        self.losses.insert(client, Losses::since(self.entries.len()));
        for entry in
            self.entries.iter_mut().skip(moment.commit_states.len()).filter(|entry| entry.writer == writer)
        {
            entry.make_optional_from(0);
        }
        self.forget_void(client, moment);
    }

    /// Records that a client starts over without files.
    pub fn start_over(&mut self, client: u8) {
        self.client_epochs.remove(&client);
        self.withdraw(client, &Moment::default());
    }

    /// Sets the outcome of withdrawn void transactions back to [`CommitState::Maybe`].
    fn forget_void(&mut self, client: u8, moment: &Moment) {
        let writer = Writer::Client(client);
        let withdrawn = self.void.iter_mut().skip(moment.void_count).filter(|void| void.writer == writer);
        for void in withdrawn.filter(|void| void.commit_state == CommitState::Committed) {
            void.commit_state = CommitState::Maybe;
        }
    }
}
