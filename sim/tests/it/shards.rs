//! The merged shards of a sweep equal the unsharded sweep.

use std::sync::atomic::AtomicBool;

use plimsoll_sim::judge::counts::Counts;
use plimsoll_sim::judge::verdict::{CONVERGENCE, MONOTONE, Violation};
use plimsoll_sim::report::sweep::{MergeError, SweepReport};
use plimsoll_sim::schedule::Schedule;
use plimsoll_sim::search::generate::Profile;
use plimsoll_sim::search::sweep::{Shard, Sweep};
use plimsoll_sim::world::run::Outcome;

use crate::command::{directory, output, plimsoll, stderr, stdout};

fn sweep(shard: Shard) -> Sweep {
    Sweep { seeds: 3..250, shard, profile: Profile::Swarm, jobs: 2, keep_going: true }
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
    SweepReport::new(&sweep, &sweep.run_with(&AtomicBool::new(false), |_| (), pretended), 1.0)
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
        let expected = SweepReport { shards: merged.shards.clone(), jobs: 2 * count, ..whole.clone() };
        assert_eq!(merged, expected, "{count} shards");
    }
}

#[test]
fn a_report_of_another_sweep_is_refused() {
    let half = |index| report(Shard { index, count: 2 });
    assert_eq!(SweepReport::merge([half(1), half(1)]), Err(MergeError::Twice(Shard { index: 1, count: 2 })));
    assert_eq!(SweepReport::merge([]), Err(MergeError::Nothing));
    let other = SweepReport { seeds: 0..9, ..half(1) };
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
    assert!(red.failure_count() > 0 && red.counts.marks.missing().count() > 0);
    assert!(!red.to_string().contains("never: "), "{red}");
    let green = SweepReport { failures: Vec::new(), ..red };
    assert!(green.to_string().contains("never: "), "{green}");
}
