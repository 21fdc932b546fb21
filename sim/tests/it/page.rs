//! The HTML page of a history: it is complete and self-contained, and it renders if a browser is installed.

use std::path::Path;
use std::process::Command;

use plimsoll_sim::judge::verdict::{MONOTONE, Violation};
use plimsoll_sim::report::page::{Heading, page};
use plimsoll_sim::schedule::{Schedule, Step};
use plimsoll_sim::search::generate::{Profile, generate};
use plimsoll_sim::world::run::{Outcome, RunOptions, run};
use plimsoll_sim::world::trace::Verb;

use crate::command::directory;

fn heading() -> Heading {
    Heading {
        source: "seed 12 </script><b>".into(),
        replay: "plimsoll replay 12".into(),
        shrink: "plimsoll shrink 12".into(),
    }
}

fn history(seed: u64) -> (Schedule, Outcome) {
    let schedule = generate(seed, Profile::Swarm);
    let outcome = run(&schedule, RunOptions { keep_events: true, ..RunOptions::default() });
    (schedule, outcome)
}

/// The history in the page, as the browser would parse it.
fn carried(page: &str) -> serde_json::Value {
    let line = page
        .lines()
        .find_map(|line| line.strip_prefix("const history_ = "))
        .expect("the page contains the history");
    serde_json::from_str(line.trim_end_matches(';')).expect("the history is JSON")
}

/// The number of planned faults in a step and the steps inside it.
fn fault_count(step: &Step) -> usize {
    step.all().iter().map(|step| step.faults.len()).sum()
}

#[test]
fn the_page_contains_every_event_and_every_step() {
    // A schedule with a fault in a step inside another.
    let has_fault_inside =
        |step: &Step| step.all().iter().any(|carried| carried.id != step.id && !carried.faults.is_empty());
    let seed = (12..).find(|&seed| generate(seed, Profile::Swarm).steps.iter().any(has_fault_inside));
    let (schedule, outcome) = history(seed.expect("some seed has such a schedule"));
    let history = carried(&page(&heading(), &schedule, &outcome));
    assert_eq!(history["events"].as_array().map(Vec::len), Some(outcome.events.len()));
    let sections = history["sections"].as_array().expect("sections");
    // The part before the first step, the steps, and the heal.
    assert_eq!(sections.len(), schedule.steps.len() + 2);
    for (section, step) in sections[1..].iter().zip(&schedule.steps) {
        assert_eq!(section["title"], step.action.to_string());
        assert_eq!(section["faults"].as_array().map(Vec::len), Some(fault_count(step)));
        assert_eq!(section["at_stake"].as_array().map(Vec::len), Some(usize::from(schedule.header.clients)));
    }
    let not_run = |step: &Step| outcome.fault_outcomes.not_run.contains(&step.id);
    let faults_not_run: usize = schedule
        .steps
        .iter()
        .flat_map(Step::all)
        .filter(|step| not_run(step))
        .map(|step| step.faults.len())
        .sum();
    let injected = outcome.events.iter().filter(|event| event.verb == Verb::Fault).count();
    assert_eq!(history["fault_events"].as_array().map(Vec::len), Some(injected));
    let injected_in = |section: &serde_json::Value| {
        section["faults"]
            .as_array()
            .map_or(0, |faults| faults.iter().filter(|fault| fault["is_reached"] == true).count())
    };
    assert_eq!(
        sections.iter().map(injected_in).sum::<usize>(),
        schedule.fault_count() - outcome.fault_outcomes.unreached.len() - faults_not_run
    );
    for plot in history["plots"].as_array().expect("plots") {
        assert!(plot["lines"].as_array().is_some_and(|lines| !lines.is_empty()));
    }
    assert_eq!(history["violation"], serde_json::Value::Null);
}

#[test]
fn the_page_makes_no_requests_and_its_script_cannot_be_ended_early() {
    let (schedule, outcome) = history(12);
    let page = page(&heading(), &schedule, &outcome);
    let but_svg = page.replace("http://www.w3.org/2000/svg", "");
    for part in ["http://", "https://", "src=", "@import", "url(", "fetch(", "<link"] {
        assert!(!but_svg.contains(part), "{part}");
    }
    assert_eq!(page.matches("</script>").count(), 1);
    assert_eq!(carried(&page)["heading"]["source"], "seed 12 </script><b>");
}

/// Renders the page of a history that pretends to have failed at the end, if there is a browser.
#[test]
fn the_page_renders() {
    let (schedule, mut outcome) = history(12);
    outcome.violation = Some(Violation::of(MONOTONE, "the generation went back from 2 to 1"));
    let path = directory("page").join("page.html");
    std::fs::write(&path, page(&heading(), &schedule, &outcome)).expect("the page can be written");
    let names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
    let Some(document) = names.into_iter().find_map(|browser| document(browser, &path)) else {
        // The test does not pass silently: its output says what was not tested, and a CI with a browser
        // sets the variable.
        assert!(
            std::env::var_os("PLIMSOLL_BROWSER").is_none(),
            "PLIMSOLL_BROWSER is set and none of {names:?} was found"
        );
        eprintln!("NOT TESTED: none of {names:?} was found, so the page was not rendered");
        return;
    };
    for part in [
        "invariant `monotone` broken at the end: the generation went back from 2 to 1",
        "plimsoll shrink 12",
        "<svg",
        "class=\"step",
    ] {
        assert!(document.contains(part), "{part} is missing from the rendered page");
    }
    assert_eq!(document.matches("<details class=\"step").count(), schedule.steps.len() + 2);
    assert_eq!(document.matches("<section class=\"plot").count(), 2 + usize::from(schedule.header.clients));
}

/// The document that `browser` renders from the page; `None` if there is no such browser.
fn document(browser: &str, page: &Path) -> Option<String> {
    let profile = page.with_file_name("profile");
    let output = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .arg(format!("--user-data-dir={}", profile.display()))
        .args(["--virtual-time-budget=5000", "--dump-dom"])
        .arg(format!("file://{}", page.display()))
        .output()
        .ok()?;
    assert!(output.status.success(), "{browser}: {}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}
