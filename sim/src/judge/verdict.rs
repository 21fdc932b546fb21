//! What a run ends with: the invariants by name, a violation of one, and the counts of what happened.

use std::fmt;

use serde::{Deserialize, Serialize};

/// When an invariant has to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expectation {
    /// After every step and every recovery.
    Always,
    /// After the faults have ended and everybody has synced until nothing moves.
    Eventually,
}

/// One promise of the engine's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Invariant {
    /// Its name, as it stands in messages.
    pub name: &'static str,
    /// When it has to hold.
    pub expectation: Expectation,
    /// What it says, in one line.
    pub meaning: &'static str,
}

macro_rules! invariants {
    ($($constant:ident = $name:literal, $expectation:ident, $meaning:literal;)*) => {
        $(
            #[doc = $meaning]
            pub const $constant: Invariant =
                Invariant { name: $name, expectation: Expectation::$expectation, meaning: $meaning };
        )*
        /// All of them.
        pub const INVARIANTS: &[Invariant] = &[$($constant),*];
    };
}

invariants! {
    SYNCED_PREFIX = "synced-prefix", Always,
        "I2: Synced as of its last named frame is the remote as of that frame, page by page";
    NO_LOCAL_RESIDUE = "no-local-residue", Always,
        "I4: outside an operation Synced's WAL ends with the last named frame, or the engine knows that it is dirty";
    WATERMARK = "watermark", Always,
        "I1: Draft as of its watermark is Synced as of its own, page by page, page count included";
    DURABLE_FIRST = "durable-first", Always,
        "I3: whatever a version of the metadata names is durable before that version is in place";
    NAMED_INTACT = "named-intact", Always,
        "I3: what any version of the metadata names that a crash at this moment could leave is neither written to nor cut";
    MONOTONE = "monotone", Always,
        "I11: generation, frame within it and highest attempted transaction never decrease";
    EXACTLY_ONCE = "exactly-once", Always,
        "I6: a transaction stands on the remote at most once, and only if it was committed";
    ATOMIC_PUSH = "atomic-push", Always,
        "I12: a transaction stands on the remote whole or not at all";
    LOCAL_DURABILITY = "local-durability", Always,
        "I7: a committed local transaction stays visible to its application";
    READS = "reads", Always,
        "I10: an application sees some commit point of the remote with its own transactions on top, whole";
    CAUGHT_UP = "caught-up", Always,
        "after a pull or a sync that succeeded, Synced is at the end of the remote's history";
    NO_SURPRISE = "no-surprise", Always,
        "an operation fails only where a fault struck, and as the atlas allows: in a way that a retry can help, or by naming what is damaged";
    NO_PANIC = "no-panic", Always,
        "the engine does not panic";
    RESUMES = "resumes", Always,
        "an engine that is started on what a crash at any moment would leave opens it";
    ENDS = "ends", Always,
        "every operation ends within a bound of suspensions and of waits for nothing";
    NOTHING_LOST = "nothing-lost", Eventually,
        "I6: every committed local transaction is on the remote";
    LIVENESS = "liveness", Eventually,
        "I9: once the faults have ended, everybody syncs until nothing moves, within a bound of rounds";
    CONVERGENCE = "convergence", Eventually,
        "I8: all databases hold the same rows, those that the acknowledged transactions explain";
    QUIESCENCE = "quiescence", Eventually,
        "when there is nothing to do, a sync adds no remote frame and writes no byte";
    INTEGRITY = "integrity", Eventually,
        "PRAGMA integrity_check is content with every database";
    NOT_VACUOUS = "not-vacuous", Eventually,
        "what was written is there: a history with committed transactions does not end in empty databases";
}

/// A finding: the engine broke a promise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// The invariant's name.
    pub invariant: &'static str,
    /// When it should have held.
    pub expectation: Expectation,
    /// The step after which it was found broken; `None` after the last one.
    pub step: Option<u32>,
    /// What is wrong, in one sentence.
    pub message: String,
}

impl Violation {
    /// A violation of `invariant`; the world adds the step.
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
            Some(step) => write!(f, "{} broken after step {step}: {}", self.invariant, self.message),
            None => write!(f, "{} broken at the end: {}", self.invariant, self.message),
        }
    }
}

/// What two failures have in common when they have one cause: the broken invariant, and where it was seen to be broken. It
/// stays the same while a schedule shrinks, because what differs from history to history has been struck out of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    /// The invariant's name.
    pub invariant: String,
    /// The violation's message, with `#` for every number and every name with a number in it.
    pub place: String,
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} · {}", self.invariant, self.place)
    }
}

impl Violation {
    /// What it has in common with others of its kind.
    pub fn signature(&self) -> Signature {
        Signature { invariant: self.invariant.to_owned(), place: without_numbers(&self.message) }
    }
}

/// `#` for every word with a digit in it; words go on over dots and colons (`c0.5.1`, `item:o1:3`). A list of such words, whatever
/// its length, is one.
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
    let mut place = String::new();
    for word in words {
        if word.contains(|c: char| c.is_ascii_digit()) {
            place.push('#');
            place.extend(word.chars().rev().take_while(|c| matches!(c, '.' | ':')));
        } else {
            place.push_str(word);
        }
    }
    while place.contains("#, #") {
        place = place.replace("#, #", "#");
    }
    place
}
