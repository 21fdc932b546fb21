//! A history in lanes, for a terminal. It has one line per row of events, with the virtual time on the left.
//! Each lane has its own indentation.
//!
//! Guarantees: faults and the violation have a mark in the margin, which is visible without colours. After
//! each step the timeline shows the data that a power loss would remove.

use std::fmt::Write;

use super::rows::{Mark, Row, rows, short, size};
use crate::judge::Unsynced;
use crate::world::run::Outcome;
use crate::world::snapshot::{ClientSnapshot, Snapshot};
use crate::world::trace::Lane;

/// The column of each lane, in characters after the time.
const LANES: [(&str, usize); 4] = [("application", 0), ("client files", 24), ("network", 56), ("remote", 88)];
const RED: &str = "\x1b[31m";
const BOLD: &str = "\x1b[1m";
const FAINT: &str = "\x1b[2m";
const PLAIN: &str = "\x1b[0m";

/// The timeline of a history whose events were kept. Uses terminal colours if `in_colour` is set.
pub fn timeline(outcome: &Outcome, in_colour: bool) -> String {
    let mut text = String::from("    time      ");
    for (name, start) in LANES {
        let column = 14 + start;
        while text.chars().count() < column {
            text.push(' ');
        }
        text.push_str(name);
    }
    text.push('\n');
    let rows = rows(&outcome.events);
    let mut snapshots = outcome.snapshots.steps.iter().peekable();
    for row in &rows {
        while let Some(snapshot) = snapshots.next_if(|snapshot| snapshot.event_count <= row.first as u64) {
            at_stake(&mut text, snapshot, in_colour);
        }
        line(&mut text, row, outcome.events[row.first].time_ms, in_colour);
    }
    for snapshot in snapshots {
        at_stake(&mut text, snapshot, in_colour);
    }
    text
}

fn line(text: &mut String, row: &Row, time_ms: u64, in_colour: bool) {
    let (margin, style) = match row.mark {
        Mark::Plain => ("  ", ""),
        Mark::Step => ("  ", BOLD),
        Mark::Missed => ("? ", FAINT),
        Mark::Fault => ("! ", RED),
        Mark::Violation => ("!!", RED),
    };
    let indentation = match row.lane {
        Lane::World | Lane::Verdict => 0,
        Lane::Application(_) => LANES[0].1,
        Lane::Client(_) => LANES[1].1,
        Lane::Network => LANES[2].1,
        Lane::Remote => LANES[3].1,
    };
    let client = match row.lane {
        Lane::Application(number) | Lane::Client(number) => format!("{number}: "),
        Lane::World | Lane::Verdict | Lane::Network | Lane::Remote => String::new(),
    };
    let time = format!("{:>8.3} s", time_ms as f64 / 1e3);
    let content = format!("{client}{}", row.text);
    if row.mark == Mark::Step {
        text.push('\n');
    }
    let (style, plain) = if in_colour { (style, PLAIN) } else { ("", "") };
    push(text, format_args!("{style}{margin}{time}  {:indentation$}{content}{plain}\n", ""));
}

fn at_stake(text: &mut String, snapshot: &Snapshot, in_colour: bool) {
    let (style, plain) = if in_colour { (FAINT, PLAIN) } else { ("", "") };
    for (number, client) in snapshot.clients.iter().enumerate() {
        if !client.at_stake.is_empty() {
            let files = in_words(client);
            push(
                text,
                format_args!(
                    "{style}              power loss now: client {number} could lose {files}{plain}\n"
                ),
            );
        }
    }
}

/// The files at risk, with the amount of data in each.
pub(super) fn in_words(client: &ClientSnapshot) -> String {
    let files = client.at_stake.iter().map(|(path, unsynced)| {
        let much = match unsynced {
            Unsynced::DirectoryEntry => "the directory entry".to_owned(),
            Unsynced::Bytes(ranges) if ranges.iter().any(|range| range.end == u64::MAX) => {
                "its length".to_owned()
            }
            Unsynced::Bytes(ranges) => size(ranges.iter().map(|range| range.end - range.start).sum()),
        };
        format!("{} ({much})", short(path))
    });
    files.collect::<Vec<_>>().join(", ")
}

fn push(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments).expect("writing to a string cannot fail");
}
