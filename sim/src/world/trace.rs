//! The trace: every event of one history, in order, and a rolling hash over all of them.
//!
//! Guarantees: two histories with the same [`Trace::hash`] did the same things to the same places with the
//! same bytes at the same virtual times (up to a 64-bit collision). Recording formats nothing and, unless
//! events are kept, allocates nothing. A sweep runs with the hash alone; a replay keeps the events to print
//! and compare them.
//!
//! The trace judges nothing. It holds no bytes of files or messages, only their count and hash.

use std::fmt;
use std::sync::{Arc, Mutex};

use plimsoll_engine::events::EventName;
use serde::{Deserialize, Serialize};
use strum::IntoStaticStr;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::fault::OperationKind;
use crate::fault::atlas::FaultKind;
use crate::world::clock;

/// The trace of a world, shared by its machines, its network and the code that runs the steps.
pub type SharedTrace = Arc<Mutex<Trace>>;

/// The source of an event: one lane of the timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lane {
    /// Steps and checks.
    World,
    /// A client's machine, by the client's number from 0.
    Client(u8),
    /// The remote and its machine.
    Remote,
    /// The network between the clients and the remote.
    Network,
    /// A client's application and engine, by the client's number from 0. `Client` is the machine under them.
    Application(u8),
    Verdict,
}

impl Lane {
    /// The lane's stable code in hashes.
    pub(crate) fn code(self) -> [u8; 2] {
        match self {
            Self::World => [0, 0],
            Self::Client(index) => [1, index],
            Self::Remote => [2, 0],
            Self::Network => [3, 0],
            Self::Application(index) => [4, index],
            Self::Verdict => [5, 0],
        }
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::World => f.pad("world"),
            Self::Client(index) => f.pad(&format!("client {index}")),
            Self::Remote => f.pad("remote"),
            Self::Network => f.pad("network"),
            Self::Application(index) => f.pad(&format!("app {index}")),
            Self::Verdict => f.pad("verdict"),
        }
    }
}

/// The action of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub enum Verb {
    Step,
    EndOfStep,
    /// A step starts inside another one.
    StepInside,
    EndOfStepInside,
    Heal,
    /// A planned fault was not reached.
    NeverReached,
    /// The generation and frame at which the remote's log ends.
    StandsAt,
    Violation,
    /// A planned fault is reached. The event of its effect follows.
    Fault,
    /// The effect of a fault.
    Injected(FaultKind),
    /// An operation of a machine's file system.
    Operation(OperationKind),
    Restart,
    /// The directory becomes an older copy.
    PutBack,
    Lose,
    Rot,
    Wipe,
    Request,
    Response,
    LateRequest,
    /// A response that no client reads.
    UnreadResponse,
    /// An operation of the engine begins.
    Begin,
    End,
    Abandoned,
    /// A crash ends an operation.
    CutOff,
    Rebootstrap,
    /// An event that the engine reports.
    Engine(EventName),
    Error,
    Transaction,
    /// A statement of a program.
    Statement,
    /// A row that a query shows.
    Row,
    Close,
    /// The user deletes the directory.
    StartsOver,
    /// The user adopts an older copy of the directory.
    Adopts,
}

impl Verb {
    pub fn name(self) -> &'static str {
        match self {
            Self::Injected(kind) => kind.name(),
            Self::Operation(kind) => kind.name(),
            Self::Engine(event) => event.name(),
            plain => plain.into(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Position in the trace, from 0.
    pub index: u64,
    /// Virtual time, in milliseconds since the clock's epoch.
    pub time_ms: u64,
    pub lane: Lane,
    /// The action.
    pub verb: Verb,
    /// The object of the action: a file, a route or a step. May be empty.
    pub place: String,
    /// Offsets, lengths or counts. Their meaning depends on the verb.
    pub numbers: Vec<u64>,
    /// The number of bytes that the event carries.
    pub byte_count: usize,
    /// The xxh3 hash of these bytes.
    pub bytes_hash: u64,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>6} {:>8} ms  {:<8}  {}", self.index, self.time_ms, self.lane, self.verb.name())?;
        if !self.place.is_empty() {
            write!(f, " {}", self.place)?;
        }
        if !self.numbers.is_empty() {
            write!(f, " {:?}", self.numbers)?;
        }
        if self.byte_count > 0 {
            write!(f, " {} bytes #{:016x}", self.byte_count, self.bytes_hash)?;
        }
        Ok(())
    }
}

/// All events so far, as a hash and optionally as a list.
pub struct Trace {
    hasher: Xxh3,
    /// Hash of the bytes that went to disks and over the wire, and of their places. It does not include the
    /// events' verbs.
    bytes_hasher: Xxh3,
    event_count: u64,
    kept: Option<Vec<Event>>,
}

impl Trace {
    /// Creates an empty trace. It keeps its events if `keep_events` is set; the hash is the same either way.
    #[must_use]
    pub fn new(keep_events: bool) -> Self {
        Self {
            hasher: Xxh3::new(),
            bytes_hasher: Xxh3::new(),
            event_count: 0,
            kept: keep_events.then(Vec::new),
        }
    }

    /// Appends an event at the current virtual time.
    ///
    /// # Panics
    /// If the thread is not in virtual time.
    pub fn record(&mut self, lane: Lane, verb: Verb, place: &str, numbers: &[u64], bytes: &[u8]) {
        let time_ms = clock::now_ms();
        // Every variable part is preceded by its length, so two different events never feed the same bytes.
        self.hasher.update(&lane.code());
        let word = verb.name();
        for length in [word.len(), place.len(), numbers.len(), bytes.len()] {
            self.hasher.update(&(length as u64).to_le_bytes());
        }
        self.hasher.update(&time_ms.to_le_bytes());
        self.hasher.update(word.as_bytes());
        self.hasher.update(place.as_bytes());
        for number in numbers {
            self.hasher.update(&number.to_le_bytes());
        }
        self.hasher.update(bytes);
        if !bytes.is_empty() {
            self.bytes_hasher.update(&lane.code());
            for length in [place.len(), numbers.len(), bytes.len()] {
                self.bytes_hasher.update(&(length as u64).to_le_bytes());
            }
            self.bytes_hasher.update(place.as_bytes());
            for number in numbers {
                self.bytes_hasher.update(&number.to_le_bytes());
            }
            self.bytes_hasher.update(bytes);
        }

        if let Some(kept) = &mut self.kept {
            kept.push(Event {
                index: self.event_count,
                time_ms,
                lane,
                verb,
                place: place.to_owned(),
                numbers: numbers.to_vec(),
                byte_count: bytes.len(),
                bytes_hash: xxh3_64(bytes),
            });
        }
        self.event_count += 1;
    }

    #[must_use]
    pub fn hash(&self) -> u64 {
        self.hasher.digest()
    }

    /// The hash of only the bytes that went to disks and over the wire. It stays the same when a verb is
    /// renamed.
    #[must_use]
    pub fn bytes_hash(&self) -> u64 {
        self.bytes_hasher.digest()
    }

    /// The number of recorded events, kept or not.
    #[must_use]
    pub fn event_count(&self) -> u64 {
        self.event_count
    }

    #[must_use]
    pub fn keeps_events(&self) -> bool {
        self.kept.is_some()
    }

    /// The events in order; empty unless the trace keeps them.
    #[must_use]
    pub fn events(&self) -> &[Event] {
        self.kept.as_deref().unwrap_or_default()
    }
}

/// The first position at which two traces differ, with the event of each side. A trace that has ended has no
/// event there.
#[must_use]
pub fn first_difference<'a>(
    a: &'a [Event],
    b: &'a [Event],
) -> Option<(Option<&'a Event>, Option<&'a Event>)> {
    let common = a.iter().zip(b).take_while(|(left, right)| left == right).count();
    let sides = (a.get(common), b.get(common));
    (sides != (None, None)).then_some(sides)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRITE: Verb = Verb::Operation(OperationKind::Write);
    const SYNC: Verb = Verb::Operation(OperationKind::Sync);

    type Recorded<'a> = (Lane, Verb, &'a str, &'a [u64], &'a [u8]);

    fn trace_of(events: &[Recorded<'_>]) -> Trace {
        let mut trace = Trace::new(true);
        for (lane, verb, place, numbers, bytes) in events {
            trace.record(*lane, *verb, place, numbers, bytes);
        }
        trace
    }

    #[test]
    fn every_part_of_an_event_changes_the_hash() {
        let guard = clock::enter(0);
        let base = trace_of(&[(Lane::Client(0), WRITE, "a", &[1], b"x")]).hash();
        assert_eq!(base, trace_of(&[(Lane::Client(0), WRITE, "a", &[1], b"x")]).hash());
        for other in [
            trace_of(&[(Lane::Client(1), WRITE, "a", &[1], b"x")]),
            trace_of(&[(Lane::Client(0), SYNC, "a", &[1], b"x")]),
            trace_of(&[(Lane::Client(0), WRITE, "b", &[1], b"x")]),
            trace_of(&[(Lane::Client(0), WRITE, "a", &[2], b"x")]),
            trace_of(&[(Lane::Client(0), WRITE, "a", &[1], b"y")]),
            trace_of(&[(Lane::Client(0), WRITE, "ax", &[1], b"")]),
        ] {
            assert_ne!(base, other.hash());
        }
        drop(guard);
        let _guard = clock::enter(1);
        assert_ne!(base, trace_of(&[(Lane::Client(0), WRITE, "a", &[1], b"x")]).hash());
    }

    #[test]
    fn keeping_events_does_not_change_the_hash() {
        let _guard = clock::enter(0);
        let mut unkept = Trace::new(false);
        unkept.record(Lane::Remote, SYNC, "log", &[], &[]);
        assert_eq!(unkept.hash(), trace_of(&[(Lane::Remote, SYNC, "log", &[], &[])]).hash());
        assert_eq!((unkept.event_count(), unkept.events().len()), (1, 0));
    }

    #[test]
    fn the_first_difference_is_found_where_one_trace_ends() {
        let _guard = clock::enter(0);
        let short = trace_of(&[(Lane::World, Verb::Step, "1", &[], &[])]);
        let long =
            trace_of(&[(Lane::World, Verb::Step, "1", &[], &[]), (Lane::World, Verb::Step, "2", &[], &[])]);
        assert_eq!(first_difference(short.events(), short.events()), None);
        let (left, right) = first_difference(short.events(), long.events()).expect("one trace is longer");
        assert_eq!((left, right.map(|event| event.index)), (None, Some(1)));
    }

    #[test]
    fn an_event_prints_as_one_line() {
        let _guard = clock::enter(20);
        let trace = trace_of(&[(Lane::Client(0), WRITE, "a-draft-wal", &[32], b"frame")]);
        let line = trace.events()[0].to_string();
        assert!(line.starts_with("     0       20 ms  client 0  write a-draft-wal [32] 5 bytes #"), "{line}");
    }
}
