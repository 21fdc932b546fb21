//! The result of a run: the invariants by name, a violation of one, and its signature.

use std::fmt;

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expectation {
    /// After every step and every recovery.
    Always,
    /// After the faults have ended and all clients have synced until nothing moves.
    Eventually,
}

/// A property that the engine promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Invariant {
    /// The name that messages show.
    pub name: &'static str,
    pub expectation: Expectation,
    /// One line that states the property. Planted bugs refer to the property by its number, such as `I4`.
    pub meaning: &'static str,
}

macro_rules! invariants {
    ($($constant:ident = $name:literal, $expectation:ident, $meaning:literal;)*) => {
        $(
            #[doc = $meaning]
            pub const $constant: Invariant =
                Invariant { name: $name, expectation: Expectation::$expectation, meaning: $meaning };
        )*
        /// Every invariant.
        pub const INVARIANTS: &[Invariant] = &[$($constant),*];
    };
}

invariants! {
    SYNCED_PREFIX = "synced-prefix", Always,
        "I2: Synced up to the last frame that the metadata refers to equals the remote up to that frame, page by page";
    NO_LOCAL_RESIDUE = "no-local-residue", Always,
        "I4: between operations, Synced's WAL ends with the last frame that the metadata refers to, or the engine knows that Synced is dirty";
    WATERMARK = "watermark", Always,
        "I1: Draft up to Draft's watermark equals Synced up to Synced's watermark, page by page, page count included";
    DURABLE_FIRST = "durable-first", Always,
        "I3: the bytes that a version of the metadata refers to are durable before that version is put in place";
    NAMED_INTACT = "named-intact", Always,
        "I3: the bytes that a version of the metadata refers to are neither overwritten nor cut off while a crash could still leave that version";
    MONOTONE = "monotone", Always,
        "I11: the generation and frame that Synced has reached and the highest attempted transaction never go back";
    EXACTLY_ONCE = "exactly-once", Always,
        "I6: a transaction is on the remote at most once, and only if it was committed";
    ATOMIC_PUSH = "atomic-push", Always,
        "I12: either all of a transaction is on the remote, or nothing of it";
    LOCAL_DURABILITY = "local-durability", Always,
        "I7: a committed local transaction stays visible to its application";
    READS = "reads", Always,
        "I10: an application sees the remote as of a commit point, with its own transactions on top, each of them complete";
    CAUGHT_UP = "caught-up", Always,
        "after a successful pull or sync, Synced is at the end of the remote's log";
    NO_SURPRISE = "no-surprise", Always,
        "an operation fails only where a fault was injected, and as the atlas allows: with a retryable error, or with an error that names the damage";
    ONE_PROCESS = "one-process", Always,
        "while a process has a client's database open, no other process can open it";
    NO_PANIC = "no-panic", Always,
        "the engine does not panic";
    RESUMES = "resumes", Always,
        "the engine opens every image that a crash at any moment could leave";
    ENDS = "ends", Always,
        "every operation ends: the numbers of its suspensions and of its waits in a row without a file operation are limited";
    ARCHIVE_DURABLE = "archive-durable", Always,
        "a served remote keeps every transaction that it has acknowledged, complete and once";
    ARCHIVE_LOG = "archive-log", Always,
        "the log of a served remote never goes back, and what it has served never changes";
    ARCHIVE_FILES = "archive-files", Always,
        "a served remote that refuses to start changes nothing and names the file; it touches no file that is not its own";
    ARCHIVE_RESUMES = "archive-resumes", Always,
        "a served remote starts on every directory that it and a crash have left";
    PULL_NEUTRAL = "pull-neutral", Always,
        "an operation of a client for which nothing is new leaves all its tables as they were";
    PUSH_FAITHFUL = "push-faithful", Always,
        "after a successful push, if nobody else has written, the remote has the schema and the rows that the client shows";
    MERGED = "merged", Always,
        "after an operation, each row is what the conflict policy makes of base, local and remote";
    EXPLAINED = "explained", Always,
        "a conflict is reported only if somebody else has written";
    AS_EXPECTED = "as-expected", Always,
        "a query with known rows shows them";
    NOTHING_LOST = "nothing-lost", Eventually,
        "I6: every committed local transaction is on the remote";
    LIVENESS = "liveness", Eventually,
        "I9: once the faults have ended, all clients sync until nothing moves, within a bounded number of rounds";
    CONVERGENCE = "convergence", Eventually,
        "I8: all databases hold the same rows, and the acknowledged transactions explain these rows";
    QUIESCENCE = "quiescence", Eventually,
        "when there is nothing to do, a sync adds no remote frame and writes no byte";
    INTEGRITY = "integrity", Eventually,
        "PRAGMA integrity_check reports no error for any database";
    NOT_VACUOUS = "not-vacuous", Eventually,
        "a history with committed transactions does not end with empty databases";
}

/// A finding: the engine broke an invariant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Violation {
    pub invariant: &'static str,
    /// When the invariant had to hold.
    pub expectation: Expectation,
    /// The step after which the check failed; `None` for the checks at the end.
    pub step: Option<u32>,
    /// One sentence that says what is wrong.
    pub message: String,
}

impl Violation {
    /// A violation of `invariant`. The world adds the step.
    pub fn of(invariant: Invariant, message: impl Into<String>) -> Self {
        Self {
            invariant: invariant.name,
            expectation: invariant.expectation,
            step: None,
            message: message.into(),
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.step {
            Some(step) => {
                write!(f, "invariant `{}` broken after step {step}: {}", self.invariant, self.message)
            }
            None => write!(f, "invariant `{}` broken at the end: {}", self.invariant, self.message),
        }
    }
}

/// The parts of a violation that identify its cause: the broken invariant, and the message without its
/// numbers. The signature stays the same while a schedule shrinks, because the parts that vary between
/// histories are removed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    pub invariant: String,
    /// The violation's message, with `#` for every number and for every name that contains a number.
    #[serde(rename = "place")]
    pub pattern: String,
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} · {}", self.invariant, self.pattern)
    }
}

impl Violation {
    /// The signature that this violation shares with others of the same cause.
    pub fn signature(&self) -> Signature {
        Signature { invariant: self.invariant.to_owned(), pattern: without_numbers(&self.message) }
    }
}

/// Replaces every word that contains a digit by `#`. Dots and colons are part of a word (`c0.5.1`,
/// `item:o1:3`). A list of such words becomes one `#`, regardless of its length.
fn without_numbers(message: &str) -> String {
    let is_of_word = |c: char| c.is_alphanumeric() || matches!(c, '.' | ':' | '_');
    let mut words: Vec<&str> = Vec::new();
    let mut rest = message;
    while let Some(first) = rest.chars().next() {
        let is_word = is_of_word(first);
        let length = rest.find(|c| is_of_word(c) != is_word || !is_word).unwrap_or(rest.len());
        let (word, after) = rest.split_at(length.max(first.len_utf8()));
        words.push(word);
        rest = after;
    }
    let mut pattern = String::new();
    for word in words {
        if word.contains(|c: char| c.is_ascii_digit()) {
            pattern.push('#');
            pattern.extend(word.chars().rev().take_while(|c| matches!(c, '.' | ':')));
        } else {
            pattern.push_str(word);
        }
    }
    while pattern.contains("#, #") {
        pattern = pattern.replace("#, #", "#");
    }
    pattern
}
