//! A history's events as lines to read: each in its lane, in English, runs of the same thing to the same place together.
//!
//! Guarantees: every event is in exactly one row, in order. Left out: layout.

use std::borrow::Cow;

use crate::fault::FileClass;
use crate::text::counted;
use crate::world::trace::{Event, Lane};

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The index of its first event.
    pub first: usize,
    /// How many events it stands for.
    pub count: usize,
    /// Whose they are.
    pub lane: Lane,
    /// What happened.
    pub text: String,
    /// How much attention it deserves.
    pub mark: Mark,
}

/// How much attention a row deserves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// None in particular.
    Plain,
    /// A step or the heal begins here.
    Step,
    /// A fault struck, or what follows from it.
    Fault,
    /// A fault was planned and did not strike.
    Missed,
    /// An invariant was found broken.
    Violation,
}

/// The rows of a history.
pub fn rows(events: &[Event]) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut first = 0;
    for run in events.chunk_by(are_one) {
        let (lane, mark) = (run[0].lane, mark(&run[0]));
        // The end of a step is where the next one begins; the row would say nothing.
        if run[0].verb != "end of step" {
            rows.push(Row { first, count: run.len(), lane, text: text(run), mark });
        }
        first += run.len();
    }
    rows
}

/// Writes to one file in a row are one line.
fn are_one(one: &Event, next: &Event) -> bool {
    one.verb == "write" && (one.lane, one.verb, &one.place) == (next.lane, next.verb, &next.place)
}

fn mark(event: &Event) -> Mark {
    match (event.lane, event.verb) {
        (Lane::Verdict, _) => Mark::Violation,
        (Lane::World, "never reached") => Mark::Missed,
        (Lane::World, "step" | "heal") => Mark::Step,
        (
            _,
            "fault" | "kill" | "power loss" | "cut off" | "request lost" | "response lost" | "write fails"
            | "partial write" | "no space" | "read fails" | "short read" | "sync fails" | "sync drops"
            | "truncate fails" | "open fails" | "rename fails" | "sync dir fails",
        ) => Mark::Fault,
        _ => Mark::Plain,
    }
}

fn text(run: &[Event]) -> String {
    let event = &run[0];
    let number = |index: usize| event.numbers.get(index).copied().unwrap_or(0);
    let place = short(&event.place);
    match (event.lane, event.verb) {
        (Lane::World, "step") => format!("step {}: {place}", number(0)),
        (Lane::World, "never reached") => format!("never reached: {place}"),
        (Lane::World, "step inside") => format!("meanwhile, step {}: {place}", number(0)),
        (Lane::World, "end of step inside") => format!("end of step {}", number(0)),
        (Lane::Verdict, _) | (_, "fault") => event.place.clone(),
        (_, "write") => {
            let bytes = run.iter().map(|event| event.byte_count as u64).sum();
            let times = if run.len() > 1 { format!(" ×{}", run.len()) } else { String::new() };
            format!("write {place}{times}, {}", size(bytes))
        }
        (_, "truncate") => format!("truncate {place} to {}", size(number(0))),
        (_, "kill") => "the process is killed; what it wrote is still there".into(),
        (_, "power loss") => {
            format!("the power fails; {} of {} unsynced operations survive", number(0), number(1))
        }
        (_, "restart") => format!("the machine is up again, {} operations unsynced", number(0)),
        (Lane::Network, "request") => {
            let body = if event.byte_count > 0 {
                format!(", {}", size(event.byte_count as u64))
            } else {
                String::new()
            };
            format!("client {} → {place}{body}", number(0))
        }
        (Lane::Remote, "response") => format!("{} ← {place}, {}", number(0), size(event.byte_count as u64)),
        (Lane::Remote, "stands at") => format!("at generation {}, frame {}", number(0), number(1)),
        (Lane::Application(_), "transaction") => {
            format!("transaction of {}: {place}", counted(number(0), "write"))
        }
        _ => {
            let text = format!("{} {place}", event.verb);
            text.trim_end().to_owned()
        }
    }
}

/// A file by its role, if the whole place is a file's path; a path within a sentence stays as it is.
pub fn short(place: &str) -> Cow<'_, str> {
    match FileClass::of(place) {
        FileClass::Any => Cow::Borrowed(place),
        class => Cow::Owned(class.to_string()),
    }
}

/// A number of bytes, in the unit that reads best.
pub fn size(bytes: u64) -> String {
    match bytes {
        0..1000 => format!("{bytes} B"),
        1000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}
