//! The same schedule gives the same trace, byte for byte. A schedule that is printed and parsed stays the
//! same.

use std::sync::atomic::AtomicBool;

use plimsoll_sim::schedule::{Schedule, ScheduleError};
use plimsoll_sim::search::generate::{Profile, generate};
use plimsoll_sim::search::seeds::SeedSet;
use plimsoll_sim::search::sweep::{Shard, Sweep};
use plimsoll_sim::world::run::{RunOptions, run};

#[test]
#[expect(clippy::disallowed_methods, reason = "this test compares runs on several threads")]
fn a_history_has_the_same_trace_alone_and_in_company() {
    let schedule = generate(7, Profile::Swarm);
    let alone = run(&schedule, RunOptions::default());
    let hashes = std::thread::scope(|scope| {
        let company: Vec<_> =
            (0..3).map(|_| scope.spawn(|| run(&schedule, RunOptions::default()).hash)).collect();
        company.into_iter().map(|history| history.join().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(hashes, [alone.hash; 3]);
    assert!(alone.event_count > 100);
}

#[test]
fn keeping_the_events_does_not_change_them() {
    let schedule = generate(11, Profile::Swarm);
    let kept = run(&schedule, RunOptions { keep_events: true, ..RunOptions::default() });
    assert_eq!(kept.hash, run(&schedule, RunOptions::default()).hash);
    assert_eq!(kept.events.len() as u64, kept.event_count);
}

#[test]
fn two_seeds_have_two_traces() {
    let hash = |seed| run(&generate(seed, Profile::Swarm), RunOptions::default()).hash;
    assert_ne!(hash(1), hash(2));
}

#[test]
fn a_bad_line_is_named() {
    let mut text = generate(3, Profile::Calm).print();
    text.push_str("{\"id\": 99, \"action\": {\"pull\": {\"client\": 40}}}\n");
    let error = Schedule::parse(&text).unwrap_err();
    assert!(matches!(error, ScheduleError::Client { line: 22, client: 40, .. }), "{error}");
}

/// The number of seeds of each profile in the short sweep.
const SEEDS: u64 = 25;

/// The first seed of the short sweep. It differs for each commit, so that changes do not always run the same
/// histories.
#[expect(
    clippy::disallowed_methods,
    reason = "the commit determines the seeds, but no history depends on it"
)]
fn first_seed() -> u64 {
    let head = std::process::Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).output();
    let commit = head.ok().and_then(|output| String::from_utf8(output.stdout).ok());
    // There is no commit in an archive of the sources, for example.
    commit.and_then(|commit| u64::from_str_radix(commit.trim(), 16).ok()).unwrap_or(5000)
}

/// A small version of the command's sweep. A failure names the seeds, and `plimsoll run --seeds` repeats it.
#[test]
fn a_short_sweep_of_each_profile_is_clean() {
    let first = first_seed();
    for (profile, power_losses, losses) in [
        (Profile::Calm, false, false),
        (Profile::Crash, true, false),
        (Profile::Network, false, true),
        (Profile::DiskErrors, false, false),
        (Profile::Swarm, true, true),
    ] {
        let (seeds, done) = (first..first + SEEDS, SeedSet::default());
        let sweep =
            Sweep { seeds: seeds.clone(), done, shard: Shard::WHOLE, profile, jobs: 2, keep_going: true };
        let outcome = sweep.run(&AtomicBool::new(false), |_| ());
        assert_eq!(outcome.failure_count(), 0, "{profile:?} seeds {seeds:?}: {:?}", outcome.groups);
        // Kills do not count here, because bit rot in a sector also ends the process.
        assert_eq!(outcome.counts.power_losses > 0, power_losses, "{profile:?} seeds {seeds:?}");
        assert_eq!(outcome.counts.messages_lost() > 0, losses, "{profile:?} seeds {seeds:?}");
    }
}
