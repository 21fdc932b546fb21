//! The ledger: what was acknowledged to whom, and what follows from it for every database.
//!
//! It knows nothing of the engine. A transaction's rows carry tokens; a client's application says which transactions it was told
//! are committed; the remote's `log` says in which order transactions took effect there. From these alone follows the content
//! of every database: the remote's is the fold of all transactions in that order, a client's is the fold of a prefix of it
//! and then of its own transactions that are not in the prefix.
//!
//! A *quiet* transaction leaves `log` alone. It touches nobody else's rows, so its place among the others' does not matter; that it is
//! there is told by the token in its writer's row of `quiet`, which also says that everything that this writer did before is there.
//! A *void* one only deletes a row that nobody makes again: whether it was that one that did it cannot be told.
//!
//! Views, triggers and new names are content like rows, and come with the transaction that made them.
//!
//! When the remote is restored to an older state, a new *epoch* begins: the order of transactions there goes on from a prefix of what it
//! was. A client may follow an older epoch for a while, and never goes back to one. Its own transactions that the remote has forgotten
//! may come back, once, if the client still had them to send; nobody can tell. The same holds for what was *withdrawn*: a client's
//! transactions that an older copy of its files does not hold, or that its user gave up.
//!
//! A transaction whose COMMIT was interrupted is a *maybe* until its client is up again and shows whether it is there; from then on
//! it has to stay that way.

mod content;
mod entry;
mod forgotten;

use std::collections::{BTreeMap, BTreeSet};

use xxhash_rust::xxh3::xxh3_64;

use crate::schedule::workload::{Effect, Writer};
pub use content::Content;
use entry::VoidDelete;
pub use entry::{Entry, EntryNo, Fate};
pub use forgotten::Moment;

/// What the ledger finds wrong, by the promise that it breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Discrepancy {
    /// A transaction stands on the remote twice, or stands there although it must not.
    NotOnce(String),
    /// A transaction stands there in part.
    Torn(String),
    /// An acknowledged transaction is missing.
    Lost(String),
    /// Content that no order of the acknowledged transactions explains.
    Unexplained(String),
}

/// Everything that was acknowledged in one history.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    entries: Vec<Entry>,
    by_token: BTreeMap<String, usize>,
    /// The transactions on the remote, in the order in which they took effect there.
    remote_order: Vec<usize>,
    remote_log_rows: usize,
    void: Vec<VoidDelete>,
    /// The orders as they were when the remote was restored, oldest first.
    past_orders: Vec<Vec<usize>>,
    /// The epoch that each client follows at least.
    client_epochs: BTreeMap<u8, usize>,
}

impl Ledger {
    /// Writes down a transaction and what became of it so far.
    pub fn enter(&mut self, entry: Entry) -> EntryNo {
        let tokens: Vec<String> = entry.log_tokens().chain(entry.quiet_token()).map(str::to_owned).collect();
        if tokens.is_empty() {
            let Entry { writer, effects, fate, .. } = entry;
            let rows = effects.into_iter().map(|effect| match effect {
                Effect::Gone(row) => row,
                other => panic!("a transaction without tokens only deletes, this one has {other:?}"),
            });
            self.void.push(VoidDelete { writer, rows: rows.collect(), fate });
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

    /// What became of a transaction that was still open when it was written down.
    pub fn resolve(&mut self, entry: EntryNo, fate: Fate) {
        match entry {
            EntryNo::Logged(number) => self.entries[number].fate = fate,
            EntryNo::Void(number) => self.void[number].fate = fate,
        }
    }

    /// The process of `client` has ended: what its failed commits left may show when the next one begins.
    pub fn end_process(&mut self, client: u8) {
        for entry in &mut self.entries {
            if entry.writer == Writer::Client(client) && entry.fate == Fate::Doubtful {
                entry.fate = Fate::Maybe;
            }
        }
    }

    /// How many transactions of clients were committed.
    pub fn client_commits(&self) -> usize {
        let is_clients =
            |entry: &&Entry| matches!(entry.writer, Writer::Client(_)) && entry.fate == Fate::Committed;
        self.entries.iter().filter(is_clients).count()
    }

    /// How many transactions of clients were committed, and neither forgotten by the remote nor withdrawn.
    pub fn client_commits_to_stand(&self) -> usize {
        let stands = |entry: &&Entry| {
            matches!(entry.writer, Writer::Client(_))
                && entry.fate == Fate::Committed
                && entry.optional_from.is_none()
        };
        self.entries.iter().filter(stands).count()
    }

    /// How often the remote was restored.
    pub fn epoch(&self) -> usize {
        self.past_orders.len()
    }

    /// How many transactions stand on the remote.
    pub fn remote_count(&self) -> usize {
        self.remote_order.len()
    }

    /// Takes note of the remote's log, which can only have grown.
    ///
    /// # Errors
    /// A [`Discrepancy`] when a transaction is there twice, in part, or must not be there.
    pub fn observe_remote(&mut self, log: &[String], quiet: &[String]) -> Result<(), Discrepancy> {
        self.observe_remote_log(log)?;
        for token in quiet {
            let number = self.number_of(token)?;
            let writer = self.entries[number].writer;
            match self.entries[number].fate {
                Fate::Absent => {
                    return Err(Discrepancy::NotOnce(format!(
                        "{token} is on the remote, but was never committed"
                    )));
                }
                Fate::Maybe | Fate::Doubtful | Fate::Committed => {
                    self.entries[number].fate = Fate::Committed;
                }
            }
            let is_missing = |earlier: &usize| {
                let entry = &self.entries[*earlier];
                entry.writer == writer
                    && entry.fate == Fate::Committed
                    && entry.optional_from.is_none()
                    && !self.remote_order.contains(earlier)
            };
            let missing: Vec<usize> = (0..=number).filter(is_missing).collect();
            for earlier in missing {
                let entry = &self.entries[earlier];
                if entry.quiet_token().is_none() {
                    let first = entry.first_token();
                    return Err(Discrepancy::Lost(format!(
                        "{token} is on the remote, {first} before it is not"
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

    /// Whoever shows a transaction shows every earlier one of the same writer; a quiet one must not be missing before one that is there.
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
            let is_expected = entry.fate == Fate::Committed
                && entry.optional_from.is_none()
                && Some(entry.writer) != except
                && last.get(&entry.writer).is_some_and(|last| *last > number);
            if is_expected && !visible.contains(&number) && entry.quiet_token().is_some() {
                let later = self.entries[last[&entry.writer]].first_token();
                return Err(Discrepancy::Lost(format!(
                    "{later} is there, {} before it is not",
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
            match self.entries[number].fate {
                Fate::Absent => {
                    return Err(Discrepancy::NotOnce(format!(
                        "{first} is on the remote, but was never committed"
                    )));
                }
                Fate::Maybe | Fate::Doubtful | Fate::Committed => self.entries[number].fate = Fate::Committed,
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
        let unknown = || Discrepancy::Unexplained(format!("{token} was written by nobody"));
        self.by_token.get(token).copied().ok_or_else(unknown)
    }

    fn misplaced(&self, first: &str, number: usize, missing: &str) -> Discrepancy {
        if self.remote_order.contains(&number) {
            return Discrepancy::NotOnce(format!("{first} is on the remote twice"));
        }
        Discrepancy::Torn(format!(
            "{first} is on the remote, {missing} of the same transaction is not behind it"
        ))
    }

    /// Judges what a client's database shows. A maybe of that client's is settled by it.
    ///
    /// # Errors
    /// A [`Discrepancy`] when an own transaction is missing or came back, or when the content is not that of a prefix of the remote's
    /// order with the client's own transactions on top.
    pub fn observe_client(&mut self, client: u8, actual: &Content) -> Result<(), Discrepancy> {
        let writer = Writer::Client(client);
        let visible = self.visible(actual)?;
        for (number, entry) in self.entries.iter_mut().enumerate().filter(|(_, entry)| entry.writer == writer)
        {
            match (entry.fate, visible.contains(&number)) {
                (Fate::Maybe | Fate::Doubtful, true) => entry.fate = Fate::Committed,
                (Fate::Maybe, false) => entry.fate = Fate::Absent,
                (Fate::Absent, true) => {
                    let first = entry.first_token();
                    return Err(Discrepancy::Unexplained(format!(
                        "{first} was never committed and is there"
                    )));
                }
                (Fate::Committed, _) | (Fate::Absent | Fate::Doubtful, false) => {}
            }
        }
        let followed = self.client_epochs.get(&client).copied().unwrap_or(0);
        let mut finding = None;
        for epoch in followed..=self.epoch() {
            match self.explain(writer, epoch, &visible, actual) {
                Ok(()) => {
                    self.client_epochs.insert(client, epoch);
                    return Ok(());
                }
                // What is wrong is told from the newest epoch's point of view.
                Err(problem) => finding = Some(problem),
            }
        }
        Err(finding.expect("a client follows an epoch that there is"))
    }

    /// Whether content is that of a client which follows an epoch.
    fn explain(
        &self,
        writer: Writer,
        epoch: usize,
        visible: &BTreeSet<usize>,
        actual: &Content,
    ) -> Result<(), Discrepancy> {
        let is_missing = |(number, entry): &(usize, &Entry)| {
            entry.writer == writer
                && entry.fate == Fate::Committed
                && !entry.is_optional_in(epoch)
                && !visible.contains(number)
        };
        if let Some((_, entry)) = self.entries.iter().enumerate().find(is_missing) {
            return Err(Discrepancy::Lost(format!("{} was committed and is gone", entry.first_token())));
        }
        self.check_quiet_order(visible, Some(writer))?;
        self.check_void_of(writer, actual)?;
        let expected = self.content_of(self.client_order(writer, epoch, visible));
        match actual.difference(&expected, &self.void_rows()) {
            Some(difference) => Err(Discrepancy::Unexplained(difference)),
            None => Ok(()),
        }
    }

    /// The transactions that a database shows.
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
                let is_there = entry.fate == Fate::Committed || *number == last;
                entry.writer == writer && entry.quiet_token().is_some() && is_there
            };
            visible.extend((0..=last).filter(is_before));
        }
        Ok(visible)
    }

    /// The part of the remote's order that is visible, then the client's own transactions that are not in it.
    fn client_order(&self, writer: Writer, epoch: usize, visible: &BTreeSet<usize>) -> Vec<usize> {
        let remote_order = self.past_orders.get(epoch).unwrap_or(&self.remote_order);
        let is_visible_foreign =
            |number: &usize| self.entries[*number].writer != writer && visible.contains(number);
        let is_visible_in_log =
            |number: &usize| is_visible_foreign(number) && self.entries[*number].quiet_token().is_none();
        let prefix = remote_order.iter().rposition(is_visible_in_log).map_or(0, |index| index + 1);
        // Own transactions of which only the remote knows any more are seen where they stand there.
        let is_own_visible = |number: &&usize| {
            self.entries[**number].writer == writer
                && self.entries[**number].quiet_token().is_none()
                && visible.contains(number)
        };
        let prefix = prefix + remote_order[prefix..].iter().take_while(is_own_visible).count();
        let (before, after) = remote_order.split_at(prefix);
        let is_quiet = |number: &usize| self.entries[*number].quiet_token().is_some();
        // Quiet transactions of others are there as far as their writer's row says.
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
            entry.writer == writer && entry.fate == Fate::Committed && visible.contains(number)
        };
        let own: Vec<usize> =
            (0..self.entries.len()).filter(is_own).filter(|number| !order.contains(number)).collect();
        order.extend(own);
        order
    }

    /// What a client has deleted in a void transaction stays deleted for it.
    fn check_void_of(&self, writer: Writer, actual: &Content) -> Result<(), Discrepancy> {
        let mut own = self.void.iter().filter(|void| void.writer == writer);
        match own.find_map(|void| void.row_left_in(actual)) {
            Some(row) => Err(Discrepancy::Lost(format!("{row} was deleted and is there again"))),
            None => Ok(()),
        }
    }

    /// The rows of which nothing can be said while somebody's void transaction is on its way.
    fn void_rows(&self) -> BTreeSet<&str> {
        let open = self.void.iter().filter(|void| void.fate != Fate::Absent);
        open.flat_map(|void| &void.rows).map(String::as_str).collect()
    }

    /// Judges a database once everything has arrived.
    ///
    /// # Errors
    /// The first difference, in words.
    pub fn judge_final(&self, actual: &Content) -> Result<(), String> {
        let left = |void: &VoidDelete| Some((void.writer, void.row_left_in(actual)?.clone()));
        if let Some((writer, row)) = self.void.iter().find_map(left) {
            return Err(format!("{row} was deleted by {writer} and is there"));
        }
        actual.difference(&self.remote_content(), &self.void_rows()).map_or(Ok(()), Err)
    }

    fn content_of(&self, order: impl IntoIterator<Item = usize>) -> Content {
        let mut content = Content::initial();
        for number in order {
            content.apply(&self.entries[number]);
        }
        content
    }

    /// What the remote has to hold.
    pub fn remote_content(&self) -> Content {
        self.content_of(self.remote_order.iter().copied())
    }

    /// A hash of what was acknowledged to whom so far.
    pub fn fingerprint(&self) -> u64 {
        let void = self.void.iter().map(|void| void.fate as u8);
        let fault_outcomes = self.entries.iter().map(|entry| entry.fate as u8);
        let epoch = u8::try_from(self.epoch()).unwrap_or(u8::MAX);
        let fault_outcomes: Vec<u8> = fault_outcomes.chain(void).chain([epoch]).collect();
        xxh3_64(&fault_outcomes)
    }

    /// Whether the remote lacks a committed transaction of this writer's.
    pub fn has_pending(&self, writer: Writer) -> bool {
        let is_pending = |(number, entry): (usize, &Entry)| {
            entry.writer == writer
                && entry.fate == Fate::Committed
                && entry.optional_from.is_none()
                && !self.remote_order.contains(&number)
        };
        self.entries.iter().enumerate().any(is_pending)
    }

    /// A committed transaction that the remote does not hold, by its first token.
    pub fn missing_on_remote(&self) -> Option<&str> {
        let is_missing = |(number, entry): &(usize, &Entry)| {
            entry.fate == Fate::Committed
                && entry.optional_from.is_none()
                && !self.remote_order.contains(number)
        };
        let (_, entry) = self.entries.iter().enumerate().find(is_missing)?;
        Some(entry.first_token())
    }
}

#[cfg(test)]
mod tests;
