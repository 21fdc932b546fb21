//! The ledger: the acknowledged transactions of every writer, and the content that they imply for every
//! database.
//!
//! The ledger knows nothing of the engine. Each row of a transaction carries a token. Each client's
//! application reports the commits that were acknowledged to it, and the remote's `log` gives the order in
//! which transactions took effect there. These facts determine the content of every database:
//!
//! * The remote's content is all transactions applied in the order of `log`.
//! * A client's content is a prefix of that order, then the client's own transactions that are not in the
//!   prefix.
//!
//! A *quiet* transaction does not write to `log`. It touches only its writer's own rows, so its position
//! among the transactions of other writers does not matter. Each writer has one row in the table `quiet`. A
//! quiet transaction writes its token there. The token proves that the transaction is present, and that all
//! earlier transactions of the same writer are present too.
//!
//! A *void* transaction only deletes rows and leaves no token, so no row shows that the transaction is
//! present. The deleted rows are never created again. If such a row is back, the transaction is lost.
//!
//! Views, triggers, and the names that renames give to tables and columns are content like rows. They arrive
//! with the transaction that made them.
//!
//! When the remote is restored to an older state, a new *epoch* starts: the order of transactions continues
//! from a prefix of the old order. While two servers on copies of the remote's files answer in turn, each has
//! its own order, and each turn starts an epoch. A client may follow an older epoch for a while, but it never returns to
//! one. The remote loses transactions in the restore. Such a transaction may come back once, if its client
//! still holds it and sends it again. *Withdrawn* transactions may come back once, too: those that an older
//! copy of the client's files does not hold, and those that the client's user gave up.
//!
//! A transaction whose COMMIT was interrupted is a *maybe* until its client runs again and shows whether it
//! is present. From then on the outcome must not change.

mod content;
mod difference;
mod entry;
mod forgotten;
mod losses;

use std::collections::{BTreeMap, BTreeSet};

use xxhash_rust::xxh3::xxh3_64;

use crate::schedule::workload::{Effect, Writer};
pub use content::Content;
use entry::VoidDelete;
pub use entry::{CommitState, Entry, EntryNo};
pub use forgotten::Moment;
use losses::Losses;

/// A problem that the ledger found, by the invariant that it breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Discrepancy {
    /// A transaction is on the remote twice, or is there although it must not be.
    NotOnce(String),
    /// Only a part of a transaction is on the remote.
    Torn(String),
    /// An acknowledged transaction is missing.
    Lost(String),
    /// No order of the acknowledged transactions explains the content.
    Unexplained(String),
}

/// Every transaction of one history, with its outcome.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    entries: Vec<Entry>,
    by_token: BTreeMap<String, usize>,
    /// The transactions on the remote, in the order in which they took effect.
    remote_order: Vec<usize>,
    remote_log_rows: usize,
    void: Vec<VoidDelete>,
    /// The orders at the time of each restore of the remote, oldest first.
    past_orders: Vec<Vec<usize>>,
    /// The order on the other server, and the rows of its log, while two servers on copies answer in turn.
    other: Option<(Vec<usize>, usize)>,
    /// The oldest epoch that each client may still follow.
    client_epochs: BTreeMap<u8, usize>,
    /// The own transactions that each client shows, and those that it has lost.
    losses: BTreeMap<u8, Losses>,
}

impl Ledger {
    /// Records a transaction and its outcome so far.
    pub fn enter(&mut self, entry: Entry) -> EntryNo {
        let tokens: Vec<String> = entry.log_tokens().chain(entry.quiet_token()).map(str::to_owned).collect();
        if tokens.is_empty() {
            let Entry { writer, effects, commit_state, .. } = entry;
            let rows = effects.into_iter().map(|effect| match effect {
                Effect::Gone(row) => row,
                other => panic!("a transaction without tokens only deletes, this one has {other:?}"),
            });
            self.void.push(VoidDelete { writer, rows: rows.collect(), commit_state });
            return EntryNo::Void(self.void.len() - 1);
        }
        let number = self.entries.len();
        for token in tokens {
            let earlier = self.by_token.insert(token, number);
            assert!(earlier.is_none(), "tokens are unique");
        }
        self.entries.push(entry);
        EntryNo::Logged(number)
    }

    /// Sets the outcome of a transaction that was open when it was recorded.
    pub fn resolve(&mut self, entry: EntryNo, commit_state: CommitState) {
        match entry {
            EntryNo::Logged(number) => self.entries[number].commit_state = commit_state,
            EntryNo::Void(number) => self.void[number].commit_state = commit_state,
        }
    }

    /// Records that the process of `client` has ended. The next process may find that a commit which failed
    /// has taken effect after all.
    pub fn end_process(&mut self, client: u8) {
        self.drop_report(client);
        for entry in &mut self.entries {
            if entry.writer == Writer::Client(client) && entry.commit_state == CommitState::Doubtful {
                entry.commit_state = CommitState::Maybe;
            }
        }
    }

    /// The number of committed transactions of clients.
    pub fn client_commits(&self) -> usize {
        let is_clients = |entry: &&Entry| {
            matches!(entry.writer, Writer::Client(_)) && entry.commit_state == CommitState::Committed
        };
        self.entries.iter().filter(is_clients).count()
    }

    /// The number of committed transactions of clients that were neither lost by a restore of the remote
    /// nor withdrawn.
    pub fn kept_client_commits(&self) -> usize {
        let is_kept = |entry: &&Entry| {
            matches!(entry.writer, Writer::Client(_))
                && entry.commit_state == CommitState::Committed
                && entry.optional_from.is_none()
        };
        self.entries.iter().filter(is_kept).count()
    }

    /// The number of times the remote was restored, or another server took over.
    pub fn epoch(&self) -> usize {
        self.past_orders.len()
    }

    pub fn remote_count(&self) -> usize {
        self.remote_order.len()
    }

    /// Reads the remote's log, which must only have grown.
    ///
    /// # Errors
    /// A [`Discrepancy`] if a transaction is there twice, in part, or must not be there.
    pub fn observe_remote(&mut self, log: &[String], quiet: &[String]) -> Result<(), Discrepancy> {
        self.observe_remote_log(log)?;
        for token in quiet {
            let number = self.number_of(token)?;
            let writer = self.entries[number].writer;
            match self.entries[number].commit_state {
                CommitState::Absent => {
                    return Err(Discrepancy::NotOnce(format!(
                        "{token} is on the remote, but was never committed"
                    )));
                }
                CommitState::Maybe | CommitState::Doubtful | CommitState::Committed => {
                    self.entries[number].commit_state = CommitState::Committed;
                }
            }
            let is_missing = |earlier: &usize| {
                let entry = &self.entries[*earlier];
                entry.writer == writer
                    && entry.commit_state == CommitState::Committed
                    && entry.optional_from.is_none()
                    && !self.remote_order.contains(earlier)
            };
            let missing: Vec<usize> = (0..=number).filter(is_missing).collect();
            for earlier in missing {
                let entry = &self.entries[earlier];
                if entry.quiet_token().is_none() {
                    let first = entry.first_token();
                    return Err(Discrepancy::Lost(format!(
                        "{token} is on the remote, but {first} before it is not"
                    )));
                }
                let is_later = |other: &usize| *other > earlier && self.entries[*other].writer == writer;
                let place = self.remote_order.iter().position(is_later).unwrap_or(self.remote_order.len());
                self.remote_order.insert(place, earlier);
            }
        }
        let visible = self.remote_order.iter().copied().collect();
        self.check_quiet_order(&visible, None)
    }

    /// Checks that no quiet transaction is missing before a visible one of the same writer: a database that
    /// shows a transaction must show every earlier transaction of its writer. Ignores the writer `except`.
    fn check_quiet_order(
        &self,
        visible: &BTreeSet<usize>,
        except: Option<Writer>,
    ) -> Result<(), Discrepancy> {
        let mut last: BTreeMap<Writer, usize> = BTreeMap::new();
        for &number in visible {
            last.insert(self.entries[number].writer, number);
        }
        for (number, entry) in self.entries.iter().enumerate() {
            let is_expected = entry.commit_state == CommitState::Committed
                && entry.optional_from.is_none()
                && Some(entry.writer) != except
                && last.get(&entry.writer).is_some_and(|last| *last > number);
            if is_expected && !visible.contains(&number) && entry.quiet_token().is_some() {
                let later = self.entries[last[&entry.writer]].first_token();
                return Err(Discrepancy::Lost(format!(
                    "{later} is present, but {} before it is not",
                    entry.first_token()
                )));
            }
        }
        Ok(())
    }

    fn observe_remote_log(&mut self, log: &[String]) -> Result<(), Discrepancy> {
        let mut rows = log.get(self.remote_log_rows..).ok_or_else(|| {
            Discrepancy::Unexplained(format!(
                "the remote's log shrank from {} rows to {}",
                self.remote_log_rows,
                log.len()
            ))
        })?;
        while let Some(first) = rows.first() {
            let number = self.number_of(first)?;
            let tokens: Vec<String> = self.entries[number].log_tokens().map(str::to_owned).collect();
            let present = rows.iter().zip(&tokens).take_while(|(row, token)| row == token).count();
            if present < tokens.len() {
                return Err(self.misplaced(first, number, &tokens[present]));
            }
            match self.entries[number].commit_state {
                CommitState::Absent => {
                    return Err(Discrepancy::NotOnce(format!(
                        "{first} is on the remote, but was never committed"
                    )));
                }
                CommitState::Maybe | CommitState::Doubtful | CommitState::Committed => {
                    self.entries[number].commit_state = CommitState::Committed
                }
            }
            if self.remote_order.contains(&number) {
                return Err(Discrepancy::NotOnce(format!("{first} is on the remote twice")));
            }
            self.remote_order.push(number);
            rows = &rows[tokens.len()..];
        }
        self.remote_log_rows = log.len();
        Ok(())
    }

    fn number_of(&self, token: &str) -> Result<usize, Discrepancy> {
        let unknown = || Discrepancy::Unexplained(format!("no writer wrote {token}"));
        self.by_token.get(token).copied().ok_or_else(unknown)
    }

    fn misplaced(&self, first: &str, number: usize, missing: &str) -> Discrepancy {
        if self.remote_order.contains(&number) {
            return Discrepancy::NotOnce(format!("{first} is on the remote twice"));
        }
        Discrepancy::Torn(format!(
            "{first} is on the remote, but {missing} of the same transaction does not follow it"
        ))
    }

    /// Judges the content that a client's database shows, and settles the maybes of that client.
    ///
    /// # Errors
    /// A [`Discrepancy`] if one of the client's own transactions is missing or came back, or if the content
    /// is not a prefix of the remote's order with the client's own transactions on top.
    pub fn observe_client(&mut self, client: u8, actual: &Content) -> Result<(), Discrepancy> {
        let writer = Writer::Client(client);
        let visible = self.visible(actual)?;
        for (number, entry) in self.entries.iter_mut().enumerate().filter(|(_, entry)| entry.writer == writer)
        {
            match (entry.commit_state, visible.contains(&number)) {
                (CommitState::Maybe | CommitState::Doubtful, true) => {
                    entry.commit_state = CommitState::Committed
                }
                (CommitState::Maybe, false) => entry.commit_state = CommitState::Absent,
                (CommitState::Absent, true) => {
                    let first = entry.first_token();
                    return Err(Discrepancy::Unexplained(format!(
                        "{first} was never committed, but is present"
                    )));
                }
                (CommitState::Committed, _) | (CommitState::Absent | CommitState::Doubtful, false) => {}
            }
        }
        let followed = self.client_epochs.get(&client).copied().unwrap_or(0);
        let mut finding = None;
        for epoch in followed..=self.epoch() {
            match self.explain(writer, epoch, &visible, actual) {
                Ok(()) => {
                    self.client_epochs.insert(client, epoch);
                    let is_own = |number: &usize| self.entries[*number].writer == writer;
                    let own = visible.into_iter().filter(is_own).collect();
                    self.losses.entry(client).or_default().observe(own);
                    return Ok(());
                }
                // The report describes the difference to the newest epoch.
                Err(problem) => finding = Some(problem),
            }
        }
        Err(finding.expect("a client follows an existing epoch"))
    }

    /// Checks that a client that follows `epoch` may have this content.
    fn explain(
        &self,
        writer: Writer,
        epoch: usize,
        visible: &BTreeSet<usize>,
        actual: &Content,
    ) -> Result<(), Discrepancy> {
        let is_missing = |(number, entry): &(usize, &Entry)| {
            entry.writer == writer
                && entry.commit_state == CommitState::Committed
                && !entry.is_optional_in(epoch)
                && !visible.contains(number)
        };
        if let Some((_, entry)) = self.entries.iter().enumerate().find(is_missing) {
            return Err(Discrepancy::Lost(format!("{} was committed, but is missing", entry.first_token())));
        }
        self.check_quiet_order(visible, Some(writer))?;
        self.check_void_of(writer, actual)?;
        match self.difference(actual, &self.client_order(writer, epoch, visible)) {
            Some(difference) => Err(Discrepancy::Unexplained(difference)),
            None => Ok(()),
        }
    }

    fn visible(&self, actual: &Content) -> Result<BTreeSet<usize>, Discrepancy> {
        let mut visible = BTreeSet::new();
        for token in &actual.log {
            visible.insert(self.number_of(token)?);
        }
        for (_, token) in
            actual.rows.range("quiet/".to_owned()..).take_while(|(row, _)| row.starts_with("quiet/"))
        {
            let last = self.number_of(token)?;
            let writer = self.entries[last].writer;
            let is_before = |number: &usize| {
                let entry = &self.entries[*number];
                let is_there = entry.commit_state == CommitState::Committed || *number == last;
                entry.writer == writer && entry.quiet_token().is_some() && is_there
            };
            visible.extend((0..=last).filter(is_before));
        }
        Ok(visible)
    }

    /// The visible part of the remote's order, then the client's own transactions that are not in it.
    fn client_order(&self, writer: Writer, epoch: usize, visible: &BTreeSet<usize>) -> Vec<usize> {
        let remote_order = self.past_orders.get(epoch).unwrap_or(&self.remote_order);
        let is_visible_foreign =
            |number: &usize| self.entries[*number].writer != writer && visible.contains(number);
        let is_visible_in_log =
            |number: &usize| is_visible_foreign(number) && self.entries[*number].quiet_token().is_none();
        let prefix = remote_order.iter().rposition(is_visible_in_log).map_or(0, |index| index + 1);
        // Some of the client's own transactions may be lost in its files, but still be on the remote. The
        // client sees them at their position in the remote's order, so they extend the prefix.
        let is_own_visible = |number: &&usize| {
            self.entries[**number].writer == writer
                && self.entries[**number].quiet_token().is_none()
                && visible.contains(number)
        };
        let prefix = prefix + remote_order[prefix..].iter().take_while(is_own_visible).count();
        let (before, after) = remote_order.split_at(prefix);
        let is_quiet = |number: &usize| self.entries[*number].quiet_token().is_some();
        // A quiet transaction of another writer is visible if that writer's row of `quiet` says so.
        let mut order: Vec<usize> = before
            .iter()
            .filter(|number| {
                self.entries[**number].writer == writer || !is_quiet(number) || visible.contains(number)
            })
            .chain(after.iter().filter(|number| is_quiet(number) && is_visible_foreign(number)))
            .copied()
            .collect();
        let is_own = |number: &usize| {
            let entry = &self.entries[*number];
            entry.writer == writer && entry.commit_state == CommitState::Committed && visible.contains(number)
        };
        let own: Vec<usize> =
            (0..self.entries.len()).filter(is_own).filter(|number| !order.contains(number)).collect();
        order.extend(own);
        order
    }

    /// Checks that the rows that a client has deleted in void transactions stay deleted for that client.
    fn check_void_of(&self, writer: Writer, actual: &Content) -> Result<(), Discrepancy> {
        let mut own = self.void.iter().filter(|void| void.writer == writer);
        match own.find_map(|void| void.row_left_in(actual)) {
            Some(row) => Err(Discrepancy::Lost(format!("{row} was deleted, but is present again"))),
            None => Ok(()),
        }
    }

    /// Judges a database after everything has arrived.
    ///
    /// # Errors
    /// The first difference, in words.
    pub fn judge_final(&self, actual: &Content) -> Result<(), String> {
        let left = |void: &VoidDelete| Some((void.writer, void.row_left_in(actual)?.clone()));
        if let Some((writer, row)) = self.void.iter().find_map(left) {
            return Err(format!("{row} was deleted by {writer}, but is present"));
        }
        self.difference(actual, &self.remote_order).map_or(Ok(()), Err)
    }

    fn content_of(&self, order: impl IntoIterator<Item = usize>) -> Content {
        let mut content = Content::initial();
        for number in order {
            content.apply(&self.entries[number]);
        }
        content
    }

    /// The expected content of the remote.
    pub fn remote_content(&self) -> Content {
        self.content_of(self.remote_order.iter().copied())
    }

    /// A hash over the commit states of all transactions so far, and over the epoch.
    pub fn fingerprint(&self) -> u64 {
        let void = self.void.iter().map(|void| void.commit_state as u8);
        let commit_states = self.entries.iter().map(|entry| entry.commit_state as u8);
        let epoch = u8::try_from(self.epoch()).unwrap_or(u8::MAX);
        let commit_states: Vec<u8> = commit_states.chain(void).chain([epoch]).collect();
        xxh3_64(&commit_states)
    }

    /// Whether the remote lacks a committed transaction of `writer`.
    pub fn has_pending(&self, writer: Writer) -> bool {
        let is_pending = |(number, entry): (usize, &Entry)| {
            entry.writer == writer
                && entry.commit_state == CommitState::Committed
                && entry.optional_from.is_none()
                && !self.remote_order.contains(&number)
        };
        self.entries.iter().enumerate().any(is_pending)
    }

    /// The first token of a committed transaction that the remote does not hold.
    pub fn missing_on_remote(&self) -> Option<&str> {
        let is_missing = |(number, entry): &(usize, &Entry)| {
            entry.commit_state == CommitState::Committed
                && entry.optional_from.is_none()
                && !self.remote_order.contains(number)
        };
        let (_, entry) = self.entries.iter().enumerate().find(is_missing)?;
        Some(entry.first_token())
    }
}

#[cfg(test)]
mod tests;
