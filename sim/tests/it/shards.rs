//! The merged shards of a sweep, and the sum of its parts, equal the sweep that ran at once.

use std::process::Output;
use std::sync::atomic::AtomicBool;

use plimsoll_sim::judge::counts::Counts;
use plimsoll_sim::judge::marks::MARKS;
use plimsoll_sim::judge::verdict::{CONVERGENCE, MONOTONE, Violation};
use plimsoll_sim::report::sweep::{MergeError, SweepReport};
use plimsoll_sim::schedule::Schedule;
use plimsoll_sim::search::generate::Profile;
use plimsoll_sim::search::seeds::SeedSet;
use plimsoll_sim::search::sweep::{Shard, Sweep};
use plimsoll_sim::world::run::Outcome;

use crate::command::{directory, output, plimsoll, stderr, stdout};

fn sweep(shard: Shard) -> Sweep {
    let done = SeedSet::default();
    Sweep { seeds: 3..250, done, shard, profile: Profile::Swarm, jobs: 2, keep_going: true }
}

/// Pretends that some seeds fail, in two ways and after different steps. Simulates nothing.
fn pretended(schedule: &Schedule) -> Outcome {
    let seed = schedule.header.key;
    let invariant = if seed.is_multiple_of(3) { MONOTONE } else { CONVERGENCE };
    let violation = (seed % 7 < 2).then(|| Violation {
        step: Some(1 + (seed * 5 % 20) as u32),
        ..Violation::of(invariant, format!("went back from {seed} to 0"))
    });
    let counts = Counts { histories: 1, steps: seed, checks: 2, ..Counts::default() };
    Outcome { violation, counts, ..Outcome::default() }
}

fn report(shard: Shard) -> SweepReport {
    let sweep = sweep(shard);
    SweepReport::new(&sweep, &sweep.run_with(&AtomicBool::new(false), |_| (), pretended), 1.0, "a")
}

#[test]
fn merged_shards_equal_one_unsharded_run() {
    let whole = report(Shard::WHOLE);
    assert_eq!((whole.counts.histories, whole.failures.len()), (247, 2));
    assert!(whole.failures.iter().all(|failure| failure.count > 20));
    for count in [2, 3, 8] {
        let shards = (0..count).rev().map(|index| report(Shard { index, count }));
        let merged = SweepReport::merge(shards).expect("the reports are shards of one sweep");
        assert_eq!(merged.missing_shards(), []);
        let (shards, done) = (merged.shards.clone(), merged.done.clone());
        let expected = SweepReport { shards, done, jobs: 2 * count, ..whole.clone() };
        assert_eq!(merged.unfinished(), []);
        assert_eq!(merged, expected, "{count} shards");
    }
}

#[test]
fn a_report_of_another_sweep_is_refused() {
    let half = |index| report(Shard { index, count: 2 });
    assert_eq!(SweepReport::merge([half(1), half(1)]), Err(MergeError::Twice(Shard { index: 1, count: 2 })));
    assert_eq!(SweepReport::merge([]), Err(MergeError::Nothing));
    let other = SweepReport { seeds: (0..9).into(), ..half(1) };
    assert!(matches!(SweepReport::merge([half(0), other]), Err(MergeError::Different { .. })));
    let third = report(Shard { index: 1, count: 3 });
    assert!(matches!(SweepReport::merge([half(0), third]), Err(MergeError::Different { .. })));
    assert_eq!(
        SweepReport::merge([half(1)]).map(|one| one.missing_shards()),
        Ok(vec![Shard { index: 0, count: 2 }])
    );
}

/// The same through the command and its files, with histories that really run.
#[test]
fn the_command_merges_the_reports_of_its_shards() {
    let results = directory("shards");
    let path = |name: &str| results.join(name).display().to_string();
    let run = |out: &str, shard: &str| {
        let output = plimsoll(&["run", "--seeds", "100..121", "--keep-going", "--out", out])
            .env("PLIMSOLL_SHARD", shard)
            .output()
            .expect("the command starts");
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    };
    run(&path("whole"), "0/1");
    let path = |name: &str| results.join("shards").join(name).display().to_string();
    run(&path("0"), "0/2");
    let incomplete = output(&["merge", &path("0")]);
    assert_eq!(incomplete.status.code(), Some(2));
    assert!(stderr(&incomplete).contains("shards without a result: 1/2"));
    run(&path("1"), "1/2");

    let merged = output(&["merge", &path(""), "--json"]);
    assert_eq!(merged.status.code(), Some(0), "{}", stderr(&merged));
    let counts = |json: &str| {
        let report: SweepReport = serde_json::from_str(json).expect("the output is a report");
        (report.counts, report.seeds, report.failures)
    };
    let whole = std::fs::read_to_string(results.join("whole/sweep.json")).expect("the report was written");
    assert_eq!(counts(&stdout(&merged)), counts(&whole));
    assert_eq!(counts(&whole).0.histories, 21);
}

/// The deployment manifests start as many machines as they have shards, everywhere the number appears.
#[test]
fn the_manifests_start_as_many_machines_as_shards() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let read = |path: &str| std::fs::read_to_string(format!("{root}/{path}")).expect("the manifest exists");
    let after = |text: &str, key: &str| {
        let rest = text.split(key).nth(1).unwrap_or_else(|| panic!("no {key}"));
        rest.lines().next().unwrap_or_default().trim().trim_matches('"').to_owned()
    };
    let job = read("deploy/kubernetes/sweep.yaml");
    let completions = after(&job, "\n  completions: ");
    assert_eq!(after(&job, "- name: JOB_COMPLETIONS\n              value: "), completions);
    assert_eq!(after(&job, "\n  parallelism: "), completions);

    let workflow = read(".github/workflows/sweep.yml");
    let shards = after(&workflow, "shard: [").matches(',').count() + 1;
    assert!(workflow.contains(&format!("--shard ${{{{ matrix.shard }}}}/{shards} ")), "{shards} shards");
}

#[test]
fn a_failed_sweep_does_not_list_the_marks_that_it_never_reached() {
    let red = report(Shard::WHOLE);
    assert!(red.failure_count() > 0 && !red.missing_marks().is_empty());
    assert!(!red.to_string().contains("never: "), "{red}");
    let green = SweepReport { failures: Vec::new(), ..red };
    assert!(green.to_string().contains("never: "), "{green}");
}

/// A sweep that ran in parts has the report of one that ran at once.
#[test]
fn the_parts_of_a_sweep_add_up_and_no_seed_counts_twice() {
    for shard in [Shard::WHOLE, Shard { index: 1, count: 3 }] {
        let part = |seeds: std::ops::Range<u64>, earlier: &SweepReport| {
            let sweep = Sweep { seeds, done: earlier.done(shard), ..sweep(shard) };
            earlier.check_continues(&sweep, "a").expect("it is the same sweep");
            let outcome = sweep.run_with(&AtomicBool::new(false), |_| (), pretended);
            earlier.clone().continued(SweepReport::new(&sweep, &outcome, 1.0, "a"))
        };
        let whole = report(shard);
        let first = Sweep { seeds: 3..90, ..sweep(shard) };
        let outcome = first.run_with(&AtomicBool::new(false), |_| (), pretended);
        let first = SweepReport::new(&first, &outcome, 1.0, "a");
        let parts = part(3..250, &part(200..250, &first));
        assert_eq!(parts, SweepReport { seconds: 3.0, ..whole.clone() });
        assert_eq!(part(3..250, &parts), SweepReport { seconds: 4.0, ..whole }, "no seed is left");
    }
}

#[test]
fn the_seed_to_continue_with_is_the_first_that_no_part_has_run() {
    let stop = AtomicBool::new(false);
    let at_30 = |seed: u64| stop.store(seed >= 30, std::sync::atomic::Ordering::Relaxed);
    let sweep = Sweep { jobs: 1, ..sweep(Shard { index: 1, count: 2 }) };
    let outcome = sweep.run_with(&stop, at_30, pretended);
    let report = SweepReport::new(&sweep, &outcome, 1.0, "a");
    assert_eq!(report.unfinished(), [(Shard { index: 1, count: 2 }, 33)]);
}

#[test]
fn a_sweep_does_not_add_to_the_result_of_another_one() {
    let known = report(Shard { index: 1, count: 3 });
    for (what, sweep, build) in [
        ("the shard", sweep(Shard { index: 2, count: 3 }), "a"),
        ("the profile", Sweep { profile: Profile::Calm, ..sweep(Shard { index: 1, count: 3 }) }, "a"),
        ("the build of this program", sweep(Shard { index: 1, count: 3 }), "b"),
    ] {
        let refused = known.check_continues(&sweep, build).expect_err("it is another sweep");
        assert_eq!(refused.what, what);
    }
}

/// The output directory of an interrupted sweep gets the rest of the seeds.
#[test]
fn results_in_one_directory_add_up() {
    let results = directory("parts");
    let out = results.display().to_string();
    let run = |seeds: &str, more: &[&str]| {
        output(&[&["run", "--keep-going", "--json", "--seeds", seeds, "--out", &out], more].concat())
    };
    let report = |output: &Output| -> SweepReport {
        assert_eq!(output.status.code(), Some(0), "{}", stderr(output));
        serde_json::from_str(&stdout(output)).expect("the output is a report")
    };
    report(&run("100..110", &[]));
    let sum = report(&run("105..121", &[]));
    let at_once = output(&["run", "--keep-going", "--json", "--seeds", "100..121"]);
    let whole = report(&at_once);
    assert_eq!((sum.counts.histories, &sum.counts), (21, &whole.counts));
    assert_eq!((&sum.seeds, &sum.done), (&whole.seeds, &whole.done));

    let again = run("100..121", &[]);
    assert!(stderr(&again).contains("adds to 21 results in"), "{}", stderr(&again));
    assert_eq!(report(&again).counts, whole.counts);
    let file = std::fs::read_to_string(results.join("sweep.json")).expect("the report was written");
    assert_eq!(file, stdout(&again));

    let other = run("0..100000", &["--profile", "calm"]);
    let reason = stderr(&other);
    assert_eq!(other.status.code(), Some(2), "{reason}");
    for part in ["sweep.json is the result of another sweep", "the profile is Swarm", "pass another --out"] {
        assert!(reason.contains(part), "{part} is missing: {reason}");
    }
    let after = std::fs::read_to_string(results.join("sweep.json")).expect("the report is still there");
    assert_eq!(after, file);
}

/// An earlier failure must not be forgotten because a later run is clean.
#[test]
fn failures_and_marks_of_earlier_runs_count() {
    let results = directory("earlier");
    let path = results.join("sweep.json");
    let out = results.display().to_string();
    let run = |more: &[&str]| output(&[&["run", "--no-shrink", "--out", &out], more].concat());
    assert_eq!(run(&["--seeds", "0..2"]).status.code(), Some(0));
    let text = std::fs::read_to_string(&path).expect("the report was written");
    let clean: SweepReport = serde_json::from_str(&text).expect("it is a report");
    let write = |report: &SweepReport| {
        let text = serde_json::to_string(report).expect("plain data serializes");
        std::fs::write(&path, text).expect("the report can be replaced");
    };

    assert_eq!(run(&["--seeds", "0..3", "--require-marks"]).status.code(), Some(5));
    let mut marks = clean.clone();
    let reached: serde_json::Map<_, _> = MARKS.iter().map(|mark| (mark.name.clone(), 1.into())).collect();
    marks.counts.marks = serde_json::from_value(reached.into()).expect("a mark has a count");
    write(&marks);
    assert_eq!(run(&["--seeds", "0..3", "--require-marks"]).status.code(), Some(0));

    write(&SweepReport { failures: self::report(Shard::WHOLE).failures, ..clean });
    let output = run(&["--seeds", "2..4"]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stdout(&output).contains("went back from"), "{}", stdout(&output));
}
