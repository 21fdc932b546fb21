//! Every patch of a planted bug still applies. The `planted` command checks that the bugs are found, because
//! it builds the engine for each.
#![expect(clippy::disallowed_methods, reason = "patches and sources are real files")]

use plimsoll_scenarios::planted::{ARCHIVE, AREAS, all, workspace};

/// The minimum size of the table of planted bugs.
const BUGS_MIN: usize = 24;

#[test]
fn every_planted_bug_applies_to_the_sources_as_they_are() {
    let root = workspace();
    for bug in all().unwrap() {
        let edited = bug
            .apply(|path| std::fs::read_to_string(root.join(path)))
            .unwrap_or_else(|error| panic!("{error}"));
        for file in edited {
            let place = if bug.area == ARCHIVE { "sim/src/world/remote/archive/" } else { "engine/src/" };
            assert!(file.path.starts_with(place), "{}: {} is not in {place}", bug.name, file.path);
        }
    }
}

#[test]
fn there_are_planted_bugs_in_every_area() {
    let bugs = all().unwrap();
    assert!(bugs.len() >= BUGS_MIN, "{} planted bugs", bugs.len());
    for area in AREAS {
        assert!(bugs.iter().any(|bug| bug.area == *area), "no planted bug in {area}");
    }
}
