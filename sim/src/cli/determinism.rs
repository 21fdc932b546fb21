//! Checks that a history is deterministic: it runs again in this process and once in another.

use plimsoll_sim::schedule::Schedule;
use plimsoll_sim::search::child;
use plimsoll_sim::world::run::{CPU_LIMIT, Outcome, RunOptions, is_endless, run};
use plimsoll_sim::world::trace::Event;

use super::Problem;
use super::judge::{in_child, this_program};

/// Compares `first`, which has kept its events, with further runs of the schedule. Returns a description of
/// the first difference, or `None` if there is none.
///
/// A history that does not end has no trace to compare. It runs again only in another process, which can be ended.
pub fn difference(schedule: &Schedule, first: &Outcome) -> Result<Option<String>, Problem> {
    let is_endless = |outcome: &Outcome| {
        outcome.violation.as_ref().is_some_and(|violation| is_endless(&violation.signature()))
    };
    if is_endless(first) {
        let ends = !is_endless(&in_child(schedule, CPU_LIMIT)?);
        return Ok(ends.then(|| "nondeterministic: the history ends in another process".to_owned()));
    }
    let lines = |events: &[Event]| events.iter().map(ToString::to_string).collect::<Vec<_>>();
    let first_lines = lines(&first.events);
    let second = run(schedule, RunOptions { keep_events: true, ..RunOptions::default() });
    let compare = |where_: &str, other: &[String], other_hash: Option<u64>| {
        first_difference(&first_lines, other)
            .map(|(a, b)| format!("nondeterministic {where_}; first event that differs:\n  {a}\n  {b}"))
            .or_else(|| {
                let hash = other_hash.filter(|hash| *hash != first.hash)?;
                Some(format!(
                    "nondeterministic {where_}: equal events, but the hashes are {:016x} and {hash:016x}",
                    first.hash
                ))
            })
    };
    if let Some(difference) = compare("in one process", &lines(&second.events), Some(second.hash)) {
        return Ok(Some(difference));
    }
    let (other_lines, other_hash) = in_another_process(schedule)?;
    Ok(compare("in another process", &other_lines, Some(other_hash)))
}

/// The first line that differs, from each side.
fn first_difference<'a>(a: &'a [String], b: &'a [String]) -> Option<(&'a str, &'a str)> {
    let common = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    let at = |lines: &'a [String]| lines.get(common).map_or("the end", String::as_str);
    (common < a.len().max(b.len())).then(|| (at(a), at(b)))
}

/// The events and the hash that a child process prints for the schedule.
fn in_another_process(schedule: &Schedule) -> Result<(Vec<String>, u64), Problem> {
    let problem = |error: &dyn std::fmt::Display| Problem::Determinism(error.to_string());
    let mut command = this_program().map_err(|error| problem(&error))?;
    command.args(["replay", "-", "--events"]);
    let output = child::feed(command, schedule).map_err(|error| problem(&error))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let hash = lines.pop().ok_or_else(|| problem(&"the child printed nothing"))?;
    let hash = u64::from_str_radix(&hash, 16)
        .map_err(|error| problem(&format!("the last line of the child is `{hash}`, not a hash: {error}")))?;
    Ok((lines, hash))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_difference_is_found_where_one_side_ends() {
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(first_difference(&lines("a\nb"), &lines("a\nb")), None);
        assert_eq!(first_difference(&lines("a\nb"), &lines("a\nc")), Some(("b", "c")));
        assert_eq!(first_difference(&lines("a"), &lines("a\nc")), Some(("the end", "c")));
    }
}
