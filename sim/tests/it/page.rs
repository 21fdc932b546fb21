//! The page of a history: that it is whole, self-contained, and renders where a browser is found.

use std::path::Path;
use std::process::Command;

use plimsoll_sim::judge::verdict::{MONOTONE, Violation};
use plimsoll_sim::report::page::{Heading, page};
use plimsoll_sim::schedule::{Schedule, Step};
use plimsoll_sim::search::generate::{Profile, generate};
use plimsoll_sim::world::run::{Outcome, RunOptions, run};

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

/// What the page carries, as the browser would read it.
fn carried(page: &str) -> serde_json::Value {
    let line =
        page.lines().find_map(|line| line.strip_prefix("const history_ = ")).expect("the page carries it");
    serde_json::from_str(line.trim_end_matches(';')).expect("it is JSON")
}

/// How many faults are planned for a step and those inside it.
fn fault_count(step: &Step) -> usize {
    step.all().iter().map(|step| step.faults.len()).sum()
}

#[test]
fn the_page_carries_every_event_and_every_step() {
    // One with a fault in a step inside another.
    let strikes_inside =
        |step: &Step| step.all().iter().any(|carried| carried.id != step.id && !carried.faults.is_empty());
    let seed = (12..).find(|&seed| generate(seed, Profile::Swarm).steps.iter().any(strikes_inside));
    let (schedule, outcome) = history(seed.expect("there is such a seed"));
    let history = carried(&page(&heading(), &schedule, &outcome));
    assert_eq!(history["events"].as_array().map(Vec::len), Some(outcome.events.len()));
    let sections = history["sections"].as_array().expect("sections");
    // What comes before the first step, the steps, the heal.
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
    let struck = outcome.events.iter().filter(|event| event.verb == "fault").count();
    assert_eq!(history["fault_events"].as_array().map(Vec::len), Some(struck));
    let planned_and_struck = |section: &serde_json::Value| {
        section["faults"]
            .as_array()
            .map_or(0, |faults| faults.iter().filter(|fault| fault["is_reached"] == true).count())
    };
    assert_eq!(
        sections.iter().map(planned_and_struck).sum::<usize>(),
        schedule.fault_count() - outcome.fault_outcomes.unreached.len() - faults_not_run
    );
    for plot in history["plots"].as_array().expect("plots") {
        assert!(plot["lines"].as_array().is_some_and(|lines| !lines.is_empty()));
    }
    assert_eq!(history["violation"], serde_json::Value::Null);
}

#[test]
fn the_page_asks_the_network_for_nothing_and_cannot_be_broken_out_of() {
    let (schedule, outcome) = history(12);
    let page = page(&heading(), &schedule, &outcome);
    let but_svg = page.replace("http://www.w3.org/2000/svg", "");
    for part in ["http://", "https://", "src=", "@import", "url(", "fetch(", "<link"] {
        assert!(!but_svg.contains(part), "{part}");
    }
    assert_eq!(page.matches("</script>").count(), 1);
    assert_eq!(carried(&page)["heading"]["source"], "seed 12 </script><b>");
}

/// A history that is said to have failed at the end: its page, in a browser if there is one.
#[test]
fn the_page_renders() {
    let (schedule, mut outcome) = history(12);
    outcome.violation = Some(Violation::of(MONOTONE, "it went back from 2 to 1"));
    let path = directory("page").join("page.html");
    std::fs::write(&path, page(&heading(), &schedule, &outcome)).expect("the page can be written");
    let names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
    let Some(document) = names.into_iter().find_map(|browser| document(browser, &path)) else {
        // Not passed over in silence: whoever reads the test's output sees what was not tested, and a CI that has a browser says so.
        assert!(
            std::env::var_os("PLIMSOLL_BROWSER").is_none(),
            "PLIMSOLL_BROWSER is set and none of {names:?} was found"
        );
        eprintln!("NOT TESTED: none of {names:?} was found, so the page was not rendered");
        return;
    };
    for part in
        ["monotone broken at the end: it went back from 2 to 1", "plimsoll shrink 12", "<svg", "class=\"step"]
    {
        assert!(document.contains(part), "{part} is missing from what the browser made of the page");
    }
    assert_eq!(document.matches("<details class=\"step").count(), schedule.steps.len() + 2);
    assert_eq!(document.matches("<section class=\"plot").count(), 2 + usize::from(schedule.header.clients));
}

/// The document that `browser` makes of the page; `None` if there is no such browser.
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
