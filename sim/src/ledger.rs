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
//! Views, triggers and new names come to others in a transaction of their own (see [`UNRECORDED`]): they are judged on the client of
//! whoever made them at every step, and everywhere in the end. What a trigger did is judged with the row that fired it.
//!
//! A transaction whose COMMIT was interrupted is a *maybe* until its client is up again and shows whether it is there; from then on
//! it has to stay that way.

use std::collections::{BTreeMap, BTreeSet};

use xxhash_rust::xxh3::xxh3_64;

use crate::workload::{Effect, INITIAL_ROWS, UNRECORDED, Writer, is_unrecorded_of_others, quiet_row};

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
    /// The tokens that it appends to `log`; none for a quiet or void one.
    fn log_tokens(&self) -> impl Iterator<Item = &str> {
        self.effects.iter().filter_map(|effect| match effect {
            Effect::Appended(token) => Some(token.as_str()),
            _ => None,
        })
    }

    fn quiet_token(&self) -> Option<&str> {
        self.effects.iter().find_map(|effect| match effect {
            Effect::Quieted(_, token) => Some(token.as_str()),
            _ => None,
        })
    }

    /// The token by which it is spoken of.
    fn first_token(&self) -> &str {
        self.log_tokens().next().or_else(|| self.quiet_token()).unwrap_or_default()
    }
}

/// A void transaction.
#[derive(Debug, Clone)]
struct VoidDelete {
    writer: Writer,
    rows: Vec<String>,
    fate: Fate,
}

impl VoidDelete {
    /// A row that it has deleted for good and that is there.
    fn row_left_in<'a>(&'a self, content: &Content) -> Option<&'a String> {
        let is_left = |row: &&String| self.fate == Fate::Committed && content.rows.contains_key(*row);
        self.rows.iter().find(is_left)
    }
}

/// Which transaction of the ledger's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryNo {
    /// One that its tokens tell.
    Told(usize),
    /// A void one.
    Void(usize),
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
    /// What every database begins with.
    pub fn initial() -> Self {
        let rows = INITIAL_ROWS.map(|(row, holds)| (row.to_owned(), holds.to_owned()));
        Self { log: Vec::new(), rows: rows.into() }
    }

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
                    let is_there = |name: &str| {
                        name.strip_prefix(UNRECORDED).unwrap_or(name).starts_with(prefix.as_str())
                    };
                    self.rows.retain(|name, _| !is_there(name));
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
            self.rows.remove(row).map_or(0, |count| count.parse().expect("it was written here"));
        if before + more > 0 {
            self.rows.insert(row.to_owned(), (before + more).to_string());
        }
    }

    /// The first difference to what is expected, in words; of the rows that are set `apart` nothing is expected.
    pub fn difference(&self, expected: &Self, apart: impl Fn(&str) -> bool) -> Option<String> {
        if let Some(difference) = tokens_differ(&self.log, &expected.log) {
            return Some(difference);
        }
        let mut names: BTreeSet<&String> = self.rows.keys().chain(expected.rows.keys()).collect();
        names.retain(|name| !apart(name));
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
    void: Vec<VoidDelete>,
}

impl Ledger {
    /// Writes down a transaction and what became of it so far.
    pub fn enter(&mut self, entry: Entry) -> EntryNo {
        let tokens: Vec<String> = entry.log_tokens().chain(entry.quiet_token()).map(str::to_owned).collect();
        if tokens.is_empty() {
            let Entry { writer, effects, fate } = entry;
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
        EntryNo::Told(number)
    }

    /// What became of a transaction that was still open when it was written down.
    pub fn resolve(&mut self, entry: EntryNo, fate: Fate) {
        match entry {
            EntryNo::Told(number) => self.entries[number].fate = fate,
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

    /// How many transactions stand on the remote.
    pub fn remote_count(&self) -> usize {
        self.remote_order.len()
    }

    /// Takes note of the remote's log, which can only have grown.
    ///
    /// # Errors
    /// A [`Finding`] when a transaction is there twice, in part, or must not be there.
    pub fn observe_remote(&mut self, log: &[String], quiet: &[String]) -> Result<(), Finding> {
        self.observe_remote_log(log)?;
        for token in quiet {
            let number = self.number_of(token)?;
            let writer = self.entries[number].writer;
            match self.entries[number].fate {
                Fate::Absent => {
                    return Err(Finding::NotOnce(format!(
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
                    && !self.remote_order.contains(earlier)
            };
            let missing: Vec<usize> = (0..=number).filter(is_missing).collect();
            for earlier in missing {
                let entry = &self.entries[earlier];
                if entry.quiet_token().is_none() {
                    let first = entry.first_token();
                    return Err(Finding::Lost(format!("{token} is on the remote, {first} before it is not")));
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
    fn check_quiet_order(&self, visible: &BTreeSet<usize>, except: Option<Writer>) -> Result<(), Finding> {
        let mut last: BTreeMap<Writer, usize> = BTreeMap::new();
        for &number in visible {
            last.insert(self.entries[number].writer, number);
        }
        for (number, entry) in self.entries.iter().enumerate() {
            let is_expected = entry.fate == Fate::Committed
                && Some(entry.writer) != except
                && last.get(&entry.writer).is_some_and(|last| *last > number);
            if is_expected && !visible.contains(&number) && entry.quiet_token().is_some() {
                let later = self.entries[last[&entry.writer]].first_token();
                return Err(Finding::Lost(format!(
                    "{later} is there, {} before it is not",
                    entry.first_token()
                )));
            }
        }
        Ok(())
    }

    fn observe_remote_log(&mut self, log: &[String]) -> Result<(), Finding> {
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
        let visible = self.visible(actual)?;
        for (number, entry) in self.entries.iter_mut().enumerate().filter(|(_, entry)| entry.writer == writer)
        {
            let first = entry.first_token().to_owned();
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
        self.check_quiet_order(&visible, Some(writer))?;
        self.check_void_of(writer, actual)?;
        let expected = self.content_of(self.client_order(writer, &visible));
        let void = self.void_rows();
        let is_apart = |name: &str| void.contains(name) || is_unrecorded_of_others(name, writer);
        match actual.difference(&expected, is_apart) {
            Some(difference) => Err(Finding::Unexplained(difference)),
            None => Ok(()),
        }
    }

    /// The transactions that a database shows.
    fn visible(&self, actual: &Content) -> Result<BTreeSet<usize>, Finding> {
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
    fn client_order(&self, writer: Writer, visible: &BTreeSet<usize>) -> Vec<usize> {
        let is_visible_foreign =
            |number: &usize| self.entries[*number].writer != writer && visible.contains(number);
        let is_visible_in_log =
            |number: &usize| is_visible_foreign(number) && self.entries[*number].quiet_token().is_none();
        let prefix = self.remote_order.iter().rposition(is_visible_in_log).map_or(0, |index| index + 1);
        let (before, after) = self.remote_order.split_at(prefix);
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
            entry.writer == writer && entry.fate == Fate::Committed
        };
        let own: Vec<usize> =
            (0..self.entries.len()).filter(is_own).filter(|number| !order.contains(number)).collect();
        order.extend(own);
        order
    }

    /// What a client has deleted in a void transaction stays deleted for it.
    fn check_void_of(&self, writer: Writer, actual: &Content) -> Result<(), Finding> {
        let mut own = self.void.iter().filter(|void| void.writer == writer);
        match own.find_map(|void| void.row_left_in(actual)) {
            Some(row) => Err(Finding::Lost(format!("{row} was deleted and is there again"))),
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
        let void = self.void_rows();
        actual.difference(&self.remote_content(), |name| void.contains(name)).map_or(Ok(()), Err)
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
        let fates: Vec<u8> = self.entries.iter().map(|entry| entry.fate as u8).chain(void).collect();
        xxh3_64(&fates)
    }

    /// Whether the remote lacks a committed transaction of this writer's.
    pub fn has_pending(&self, writer: Writer) -> bool {
        let is_pending = |(number, entry): (usize, &Entry)| {
            entry.writer == writer && entry.fate == Fate::Committed && !self.remote_order.contains(&number)
        };
        self.entries.iter().enumerate().any(is_pending)
    }

    /// A committed transaction that the remote does not hold, by its first token.
    pub fn missing_on_remote(&self) -> Option<&str> {
        let is_missing = |(number, entry): &(usize, &Entry)| {
            entry.fate == Fate::Committed && !self.remote_order.contains(number)
        };
        let (_, entry) = self.entries.iter().enumerate().find(is_missing)?;
        Some(entry.first_token())
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
        assert!(matches!(ledger().observe_remote(&log(&["a1", "r"]), &[]), Err(Finding::Torn(_))));
    }

    #[test]
    fn a_transaction_twice_is_not_once() {
        assert!(matches!(
            ledger().observe_remote(&log(&["a1", "a2", "a1", "a2"]), &[]),
            Err(Finding::NotOnce(_))
        ));
    }

    #[test]
    fn a_rolled_back_transaction_must_not_appear() {
        assert!(matches!(ledger().observe_remote(&log(&["b"]), &[]), Err(Finding::NotOnce(_))));
    }

    #[test]
    fn a_shrinking_remote_is_unexplained() {
        let mut ledger = ledger();
        ledger.observe_remote(&log(&["a1", "a2"]), &[]).unwrap();
        assert!(matches!(ledger.observe_remote(&log(&["a1"]), &[]), Err(Finding::Unexplained(_))));
    }

    #[test]
    fn a_missing_own_transaction_is_lost() {
        let content = Content { log: log(&["r"]), ..Content::initial() };
        assert!(matches!(ledger().observe_client(0, &content), Err(Finding::Lost(_))));
    }

    #[test]
    fn a_maybe_is_settled_by_the_first_look() {
        let mut ledger = ledger();
        let without = Content { log: log(&["a1", "a2"]), ..Content::initial() };
        ledger.observe_client(0, &without).unwrap();
        let with = Content { log: log(&["a1", "a2", "c"]), ..Content::initial() };
        assert!(matches!(ledger.observe_client(0, &with), Err(Finding::Unexplained(_))));
    }

    #[test]
    fn a_failed_commit_is_open_until_the_next_process_shows_it() {
        let mut ledger = Ledger::default();
        ledger.enter(entry(Writer::Client(0), &["a"], Fate::Doubtful));
        let without = Content::initial();
        let with = Content { log: log(&["a"]), ..Content::initial() };
        ledger.observe_client(0, &without).unwrap();
        ledger.end_process(0);
        ledger.observe_client(0, &with).unwrap();
        assert!(matches!(ledger.observe_client(0, &without), Err(Finding::Lost(_))));
    }

    #[test]
    fn foreign_transactions_are_seen_in_the_remotes_order() {
        let mut ledger = ledger();
        ledger.enter(entry(Writer::Remote, &["s"], Fate::Committed));
        ledger.observe_remote(&log(&["r", "s"]), &[]).unwrap();
        let gap = Content { log: log(&["s", "a1", "a2"]), ..Content::initial() };
        assert!(matches!(ledger.observe_client(0, &gap), Err(Finding::Unexplained(_))));
    }

    fn quiet(writer: Writer, token: &str, fate: Fate) -> Entry {
        Entry { writer, effects: vec![Effect::Quieted(writer, token.into())], fate }
    }

    fn void(writer: Writer, row: &str, fate: Fate) -> Entry {
        Entry { writer, effects: vec![Effect::Gone(row.into())], fate }
    }

    fn showing(tokens: &[&str], rows: &[(Writer, &str)]) -> Content {
        let mut content = Content { log: log(tokens), ..Content::initial() };
        content.rows.extend(rows.iter().map(|(writer, token)| (quiet_row(*writer), (*token).to_owned())));
        content
    }

    /// A client's transaction, then two quiet ones, then another that is not.
    fn quiet_ledger(writer: Writer) -> Ledger {
        let mut ledger = Ledger::default();
        ledger.enter(entry(writer, &["a"], Fate::Committed));
        ledger.enter(quiet(writer, "q1", Fate::Committed));
        ledger.enter(quiet(writer, "q2", Fate::Committed));
        ledger.enter(entry(writer, &["z"], Fate::Committed));
        ledger
    }

    const CLIENT: Writer = Writer::Client(0);

    #[test]
    fn a_rolled_back_quiet_transaction_must_not_appear() {
        let mut ledger = Ledger::default();
        ledger.enter(quiet(CLIENT, "q", Fate::Absent));
        assert!(matches!(ledger.observe_remote(&[], &log(&["q"])), Err(Finding::NotOnce(_))));
    }

    #[test]
    fn a_quiet_transaction_of_nobody_is_unexplained() {
        assert!(matches!(ledger().observe_remote(&[], &log(&["q"])), Err(Finding::Unexplained(_))));
    }

    #[test]
    fn what_comes_before_a_quiet_transaction_must_not_be_missing_on_the_remote() {
        assert!(matches!(quiet_ledger(CLIENT).observe_remote(&[], &log(&["q1"])), Err(Finding::Lost(_))));
        quiet_ledger(CLIENT).observe_remote(&log(&["a"]), &log(&["q1"])).unwrap();
    }

    #[test]
    fn a_quiet_transaction_must_not_be_missing_on_the_remote_before_a_later_one() {
        let mut ledger = quiet_ledger(CLIENT);
        let later = ledger
            .observe_remote(&log(&["a", "z"]), &[])
            .and_then(|()| ledger.observe_client(1, &showing(&["a", "z"], &[])));
        assert!(matches!(later, Err(Finding::Lost(_))), "{later:?}");
    }

    #[test]
    fn a_quiet_transaction_that_came_back_out_of_turn_is_lost() {
        let mut ledger = quiet_ledger(CLIENT);
        ledger.observe_remote(&log(&["a"]), &log(&["q2"])).unwrap();
        let older = showing(&["a"], &[(CLIENT, "q1")]);
        assert!(matches!(ledger.observe_client(0, &older), Err(Finding::Lost(_))));
        assert_eq!(ledger.observe_client(1, &older), Ok(()), "another client may be behind");
    }

    #[test]
    fn a_quiet_transaction_without_its_rows_is_unexplained() {
        let mut ledger = Ledger::default();
        let mut with_row = quiet(Writer::Remote, "q", Fate::Committed);
        with_row.effects.push(Effect::Set("note/r-1".into(), "q".into()));
        ledger.enter(with_row);
        ledger.observe_remote(&[], &log(&["q"])).unwrap();
        let torn = showing(&[], &[(Writer::Remote, "q")]);
        assert!(matches!(ledger.observe_client(0, &torn), Err(Finding::Unexplained(_))));
    }

    #[test]
    fn a_row_that_a_void_transaction_has_deleted_is_lost_when_its_writer_sees_it_again() {
        let mut ledger = Ledger::default();
        ledger.enter(void(CLIENT, "ballast/3", Fate::Committed));
        assert!(matches!(ledger.observe_client(0, &Content::initial()), Err(Finding::Lost(_))));
        assert_eq!(ledger.observe_client(1, &Content::initial()), Ok(()), "it may be under way");
        assert!(ledger.judge_final(&Content::initial()).is_err(), "it has arrived in the end");
    }

    #[test]
    fn a_row_that_only_a_rolled_back_void_transaction_would_have_deleted_stays() {
        let mut ledger = Ledger::default();
        ledger.enter(void(CLIENT, "ballast/3", Fate::Absent));
        let mut without = Content::initial();
        without.rows.remove("ballast/3");
        assert!(matches!(ledger.observe_client(1, &without), Err(Finding::Unexplained(_))));
        assert!(ledger.judge_final(&without).is_err());
    }

    #[test]
    fn what_the_core_does_not_record_is_judged_where_it_was_made_and_everywhere_in_the_end() {
        let mut ledger = Ledger::default();
        let mut made = entry(CLIENT, &["a"], Fate::Committed);
        let view = ("unrecorded/own_c0_view".to_owned(), "view: id".to_owned());
        made.effects.push(Effect::Replaced { prefix: "own_c0_".into(), rows: vec![view.clone()] });
        ledger.enter(made);
        ledger.observe_remote(&log(&["a"]), &[]).unwrap();
        let without = showing(&["a"], &[]);
        let mut with = without.clone();
        with.rows.extend([view]);
        assert!(matches!(ledger.observe_client(0, &without), Err(Finding::Unexplained(_))));
        assert_eq!(ledger.observe_client(1, &without), Ok(()), "it comes later");
        assert!(ledger.judge_final(&without).is_err());
        assert_eq!(ledger.judge_final(&with), Ok(()));
    }

    #[test]
    fn what_never_arrived_is_named() {
        let mut ledger = ledger();
        ledger.observe_remote(&log(&["r"]), &[]).unwrap();
        assert_eq!(ledger.missing_on_remote(), Some("a1"));
    }
}
