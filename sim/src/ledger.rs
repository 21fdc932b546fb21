//! The ledger: what was acknowledged to whom, and what follows from it for every database.
//!
//! It knows nothing of the engine. A transaction's rows carry tokens; a client's application says which transactions it was told
//! are committed; the remote's `log` says in which order transactions took effect there. From these alone follows the content
//! of every database: the remote's is the fold of all transactions in that order, a client's is the fold of a prefix of it
//! and then of its own transactions that are not in the prefix.
//!
//! A transaction whose COMMIT was interrupted is a *maybe* until its client is up again and shows whether it is there; from then on
//! it has to stay that way.

use std::collections::{BTreeMap, BTreeSet};

use xxhash_rust::xxh3::xxh3_64;

use crate::workload::{Effect, Writer};

/// What became of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It was acknowledged, or seen after a restart.
    Committed,
    /// Its commit was interrupted.
    Maybe,
    /// Its commit failed. It is a maybe as soon as the process has ended: what was written of it can reappear then, and not before.
    Doubtful,
    /// It was rolled back, interrupted before its commit, or seen to be missing after a restart.
    Absent,
}

/// One transaction.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Who wrote it.
    pub writer: Writer,
    /// Its effects, in order.
    pub effects: Vec<Effect>,
    /// What became of it.
    pub fate: Fate,
}

impl Entry {
    /// The tokens that it appends to `log`; every transaction appends at least one.
    fn log_tokens(&self) -> impl Iterator<Item = &str> {
        self.effects.iter().filter_map(|effect| match effect {
            Effect::Appended(token) => Some(token.as_str()),
            Effect::Set(..) | Effect::Gone(_) => None,
        })
    }
}

/// The content of a database, without anybody's internal tables.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Content {
    /// Tokens of `log`, in order.
    pub log: Vec<String>,
    /// Tokens of the rows with keys, by row name.
    pub rows: BTreeMap<String, String>,
}

impl Content {
    fn apply(&mut self, entry: &Entry) {
        for effect in &entry.effects {
            match effect {
                Effect::Appended(token) => self.log.push(token.clone()),
                Effect::Set(row, token) => {
                    self.rows.insert(row.clone(), token.clone());
                }
                Effect::Gone(row) => {
                    self.rows.remove(row);
                }
            }
        }
    }

    /// The first difference to what is expected, in words.
    pub fn difference(&self, expected: &Self) -> Option<String> {
        if let Some(difference) = tokens_differ(&self.log, &expected.log) {
            return Some(difference);
        }
        let names: BTreeSet<&String> = self.rows.keys().chain(expected.rows.keys()).collect();
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

/// What the ledger finds wrong, by the promise that it breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
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
}

impl Ledger {
    /// Writes down a transaction and what became of it so far; its number.
    pub fn enter(&mut self, entry: Entry) -> usize {
        let number = self.entries.len();
        let tokens: Vec<String> = entry.log_tokens().map(str::to_owned).collect();
        assert!(!tokens.is_empty(), "every transaction appends to log");
        for token in tokens {
            let earlier = self.by_token.insert(token, number);
            assert!(earlier.is_none(), "tokens are unique");
        }
        self.entries.push(entry);
        number
    }

    /// What became of a transaction that was still open when it was written down.
    pub fn resolve(&mut self, number: usize, fate: Fate) {
        self.entries[number].fate = fate;
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

    /// How many transactions stand on the remote.
    pub fn remote_count(&self) -> usize {
        self.remote_order.len()
    }

    /// Takes note of the remote's log, which can only have grown.
    ///
    /// # Errors
    /// A [`Finding`] when a transaction is there twice, in part, or must not be there.
    pub fn observe_remote(&mut self, log: &[String]) -> Result<(), Finding> {
        let mut rows = log.get(self.remote_log_rows..).ok_or_else(|| {
            Finding::Unexplained(format!(
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
                    return Err(Finding::NotOnce(format!(
                        "{first} is on the remote, but was never committed"
                    )));
                }
                Fate::Maybe | Fate::Doubtful | Fate::Committed => self.entries[number].fate = Fate::Committed,
            }
            if self.remote_order.contains(&number) {
                return Err(Finding::NotOnce(format!("{first} is on the remote twice")));
            }
            self.remote_order.push(number);
            rows = &rows[tokens.len()..];
        }
        self.remote_log_rows = log.len();
        Ok(())
    }

    fn number_of(&self, token: &str) -> Result<usize, Finding> {
        let unknown = || Finding::Unexplained(format!("{token} was written by nobody"));
        self.by_token.get(token).copied().ok_or_else(unknown)
    }

    fn misplaced(&self, first: &str, number: usize, missing: &str) -> Finding {
        if self.remote_order.contains(&number) {
            return Finding::NotOnce(format!("{first} is on the remote twice"));
        }
        Finding::Torn(format!("{first} is on the remote, {missing} of the same transaction is not behind it"))
    }

    /// Judges what a client's database shows. A maybe of that client's is settled by it.
    ///
    /// # Errors
    /// A [`Finding`] when an own transaction is missing or came back, or when the content is not that of a prefix of the remote's
    /// order with the client's own transactions on top.
    pub fn observe_client(&mut self, client: u8, actual: &Content) -> Result<(), Finding> {
        let writer = Writer::Client(client);
        let mut visible = BTreeSet::new();
        for token in &actual.log {
            visible.insert(self.number_of(token)?);
        }
        for (number, entry) in self.entries.iter_mut().enumerate().filter(|(_, entry)| entry.writer == writer)
        {
            let first = entry.log_tokens().next().unwrap_or_default().to_owned();
            match (entry.fate, visible.contains(&number)) {
                (Fate::Committed, true) | (Fate::Absent | Fate::Doubtful, false) => {}
                (Fate::Committed, false) => {
                    return Err(Finding::Lost(format!("{first} was committed and is gone")));
                }
                (Fate::Absent, true) => {
                    return Err(Finding::Unexplained(format!("{first} was never committed and is there")));
                }
                (Fate::Maybe | Fate::Doubtful, true) => entry.fate = Fate::Committed,
                (Fate::Maybe, false) => entry.fate = Fate::Absent,
            }
        }
        let is_visible_foreign =
            |number: &usize| self.entries[*number].writer != writer && visible.contains(number);
        let remote_prefix =
            self.remote_order.iter().rposition(is_visible_foreign).map_or(0, |index| index + 1);
        let expected = self.content_of(self.client_order(writer, remote_prefix));
        match actual.difference(&expected) {
            Some(difference) => Err(Finding::Unexplained(difference)),
            None => Ok(()),
        }
    }

    /// A prefix of the remote's order, then the client's own transactions that are not in it.
    fn client_order(&self, writer: Writer, remote_prefix: usize) -> Vec<usize> {
        let mut order = self.remote_order[..remote_prefix].to_vec();
        let is_own = |number: &usize| {
            let entry = &self.entries[*number];
            entry.writer == writer && entry.fate == Fate::Committed
        };
        let own: Vec<usize> =
            (0..self.entries.len()).filter(is_own).filter(|number| !order.contains(number)).collect();
        order.extend(own);
        order
    }

    fn content_of(&self, order: impl IntoIterator<Item = usize>) -> Content {
        let mut content = Content::default();
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
        let fates: Vec<u8> = self.entries.iter().map(|entry| entry.fate as u8).collect();
        xxh3_64(&fates)
    }

    /// A committed transaction that the remote does not hold, by its first token.
    pub fn missing_on_remote(&self) -> Option<&str> {
        let is_missing = |(number, entry): &(usize, &Entry)| {
            entry.fate == Fate::Committed && !self.remote_order.contains(number)
        };
        let (_, entry) = self.entries.iter().enumerate().find(is_missing)?;
        entry.log_tokens().next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(writer: Writer, tokens: &[&str], fate: Fate) -> Entry {
        Entry {
            writer,
            effects: tokens.iter().map(|token| Effect::Appended((*token).into())).collect(),
            fate,
        }
    }

    fn log(tokens: &[&str]) -> Vec<String> {
        tokens.iter().map(|token| (*token).into()).collect()
    }

    fn ledger() -> Ledger {
        let mut ledger = Ledger::default();
        ledger.enter(entry(Writer::Client(0), &["a1", "a2"], Fate::Committed));
        ledger.enter(entry(Writer::Client(0), &["b"], Fate::Absent));
        ledger.enter(entry(Writer::Client(0), &["c"], Fate::Maybe));
        ledger.enter(entry(Writer::Remote, &["r"], Fate::Committed));
        ledger
    }

    #[test]
    fn a_transaction_in_part_is_torn() {
        assert!(matches!(ledger().observe_remote(&log(&["a1", "r"])), Err(Finding::Torn(_))));
    }

    #[test]
    fn a_transaction_twice_is_not_once() {
        assert!(matches!(ledger().observe_remote(&log(&["a1", "a2", "a1", "a2"])), Err(Finding::NotOnce(_))));
    }

    #[test]
    fn a_rolled_back_transaction_must_not_appear() {
        assert!(matches!(ledger().observe_remote(&log(&["b"])), Err(Finding::NotOnce(_))));
    }

    #[test]
    fn a_shrinking_remote_is_unexplained() {
        let mut ledger = ledger();
        ledger.observe_remote(&log(&["a1", "a2"])).unwrap();
        assert!(matches!(ledger.observe_remote(&log(&["a1"])), Err(Finding::Unexplained(_))));
    }

    #[test]
    fn a_missing_own_transaction_is_lost() {
        let content = Content { log: log(&["r"]), ..Content::default() };
        assert!(matches!(ledger().observe_client(0, &content), Err(Finding::Lost(_))));
    }

    #[test]
    fn a_maybe_is_settled_by_the_first_look() {
        let mut ledger = ledger();
        let without = Content { log: log(&["a1", "a2"]), ..Content::default() };
        ledger.observe_client(0, &without).unwrap();
        let with = Content { log: log(&["a1", "a2", "c"]), ..Content::default() };
        assert!(matches!(ledger.observe_client(0, &with), Err(Finding::Unexplained(_))));
    }

    #[test]
    fn a_failed_commit_is_open_until_the_next_process_shows_it() {
        let mut ledger = Ledger::default();
        ledger.enter(entry(Writer::Client(0), &["a"], Fate::Doubtful));
        let without = Content::default();
        let with = Content { log: log(&["a"]), ..Content::default() };
        ledger.observe_client(0, &without).unwrap();
        ledger.end_process(0);
        ledger.observe_client(0, &with).unwrap();
        assert!(matches!(ledger.observe_client(0, &without), Err(Finding::Lost(_))));
    }

    #[test]
    fn foreign_transactions_are_seen_in_the_remotes_order() {
        let mut ledger = ledger();
        ledger.enter(entry(Writer::Remote, &["s"], Fate::Committed));
        ledger.observe_remote(&log(&["r", "s"])).unwrap();
        let gap = Content { log: log(&["s", "a1", "a2"]), ..Content::default() };
        assert!(matches!(ledger.observe_client(0, &gap), Err(Finding::Unexplained(_))));
    }

    #[test]
    fn what_never_arrived_is_named() {
        let mut ledger = ledger();
        ledger.observe_remote(&log(&["r"])).unwrap();
        assert_eq!(ledger.missing_on_remote(), Some("a1"));
    }
}
