//! Runs many seeds on all cores until all are done, one has failed, or the sweep is stopped.
//!
//! Guarantees: every seed that has started also finishes, so every seed below [`SweepOutcome::next_seed`]
//! has run. The shards of a sweep partition its seeds. With `keep_going` the outcome depends only on the
//! seeds, not on the number of jobs. No seed of [`Sweep::done`] runs.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::str::FromStr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use serde::{Deserialize, Serialize};

use crate::judge::counts::Counts;
use crate::judge::verdict::{Signature, Violation};
use crate::lock::lock;
use crate::schedule::Schedule;
use crate::search::generate::{Profile, generate};
use crate::search::seeds::SeedSet;
use crate::world::run::{Outcome, RunOptions, run};

/// The options of a sweep.
#[derive(Debug, Clone)]
pub struct Sweep {
    /// The seeds of all shards.
    pub seeds: Range<u64>,
    /// The seeds that an earlier sweep of the same shard has run.
    pub done: SeedSet,
    /// The share of the seeds that this machine runs.
    pub shard: Shard,
    /// The faults that the seeds may draw.
    pub profile: Profile,
    /// The number of histories that run at once.
    pub jobs: usize,
    /// Whether to continue after a failure.
    pub keep_going: bool,
}

/// One of several machines that share a sweep. It runs the seeds whose remainder modulo `count` is `index`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "ShardFields")]
pub struct Shard {
    /// The number of this shard, from 0.
    pub index: u64,
    /// The number of shards.
    pub count: u64,
}

impl Shard {
    /// The shard of a sweep that is not divided.
    pub const WHOLE: Self = Self { index: 0, count: 1 };

    /// This shard's first seed at or above `from`; `None` if there is none up to the largest seed.
    fn first_seed(self, from: u64) -> Option<u64> {
        let missing = (self.count + self.index - from % self.count) % self.count;
        from.checked_add(missing)
    }

    /// This shard's first seed in `seeds` that is not in `done`.
    pub(crate) fn first_missing(self, seeds: &Range<u64>, done: &SeedSet) -> Option<u64> {
        let first = |gap: Range<u64>| self.first_seed(gap.start).filter(|seed| *seed < gap.end);
        done.missing(seeds).into_iter().find_map(first)
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

/// A shard as a report has it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ShardFields {
    index: u64,
    count: u64,
}

impl TryFrom<ShardFields> for Shard {
    type Error = String;

    fn try_from(ShardFields { index, count }: ShardFields) -> Result<Self, String> {
        Self::of(index, count)
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (index, count) =
            text.split_once('/').ok_or("expected I/N, for instance 0/8 for the first of eight")?;
        let number = |text: &str| text.trim().parse::<u64>().map_err(|error| format!("`{text}`: {error}"));
        Self::of(number(index)?, number(count)?)
    }
}

impl Shard {
    /// Shard `index` of `count`.
    ///
    /// # Errors
    /// If `count` is 0 or too large, or `index` is not below `count`.
    pub fn of(index: u64, count: u64) -> Result<Self, String> {
        // Larger counts could overflow the arithmetic on seeds, and no sweep has so many machines.
        const COUNT_MAX: u64 = 1 << 16;
        if count == 0 || count > COUNT_MAX || index >= count {
            return Err(format!("{index}/{count}: shards of N are 0 to N-1, and N is from 1 to {COUNT_MAX}"));
        }
        Ok(Self { index, count })
    }
}

/// A seed whose history broke an invariant.
#[derive(Debug, Clone)]
pub struct Failure {
    pub seed: u64,
    pub violation: Violation,
    /// The number of steps up to the violation plus the number of their faults. A reader has to understand
    /// all of these.
    pub size: usize,
}

/// Failures with the same signature.
#[derive(Debug, Clone)]
pub struct Group {
    /// The example with the fewest steps and faults before the violation; the lowest seed breaks ties.
    pub smallest: Failure,
    /// The number of failures.
    pub count: u64,
    /// The lowest seeds, ascending; at most [`SEEDS_MAX`].
    pub seeds: Vec<u64>,
}

/// The maximum number of seeds that a group keeps.
pub const SEEDS_MAX: usize = 10;

impl Group {
    fn of(failure: Failure) -> Self {
        Self { seeds: vec![failure.seed], count: 1, smallest: failure }
    }

    fn add(&mut self, failure: Failure) {
        self.count += 1;
        self.seeds.push(failure.seed);
        self.seeds.sort_unstable();
        self.seeds.truncate(SEEDS_MAX);
        if (failure.size, failure.seed) < (self.smallest.size, self.smallest.seed) {
            self.smallest = failure;
        }
    }
}

/// The result of a sweep.
#[derive(Debug, Default)]
pub struct SweepOutcome {
    /// The sum of all histories' counters.
    pub counts: Counts,
    /// The failures, grouped by signature.
    pub groups: BTreeMap<Signature, Group>,
    /// The seed to continue with: all of this shard's seeds below it have run. `None` if no seed is left.
    pub next_seed: Option<u64>,
}

impl SweepOutcome {
    /// The number of failed histories.
    pub fn failure_count(&self) -> u64 {
        self.groups.values().map(|group| group.count).sum()
    }

    /// The failure with the lowest seed among the smallest examples of all groups.
    pub fn first_failure(&self) -> Option<&Failure> {
        self.groups.values().map(|group| &group.smallest).min_by_key(|failure| failure.seed)
    }

    fn add(&mut self, seed: u64, schedule: &Schedule, history: Outcome) {
        self.counts.add(&history.counts);
        if let Some(violation) = history.violation {
            let size = size(schedule, violation.step);
            let signature = violation.signature();
            let failure = Failure { seed, violation, size };
            match self.groups.get_mut(&signature) {
                Some(group) => group.add(failure),
                None => {
                    self.groups.insert(signature, Group::of(failure));
                }
            }
        }
    }
}

/// The number of steps up to and including `last` (or of all steps) plus the number of their faults.
fn size(schedule: &Schedule, last: Option<u32>) -> usize {
    let index = schedule.steps.iter().position(|step| Some(step.id) == last);
    let shown = &schedule.steps[..index.map_or(schedule.steps.len(), |index| index + 1)];
    shown.iter().map(|step| 1 + step.faults.len()).sum()
}

impl Sweep {
    /// Runs the seeds in order, `jobs` at a time. Calls `on_done` after each seed, on the thread that ran it.
    /// Starts no further seed once `stop` is set, or after the first failure unless `keep_going` is set.
    pub fn run(&self, stop: &AtomicBool, on_done: impl Fn(u64) + Sync) -> SweepOutcome {
        self.run_with(stop, on_done, |schedule| run(schedule, RunOptions::default()))
    }

    /// Like [`run`](Self::run), with another function that runs a history.
    #[expect(
        clippy::disallowed_methods,
        reason = "histories share nothing, so the thread does not affect the result"
    )]
    pub fn run_with(
        &self,
        stop: &AtomicBool,
        on_done: impl Fn(u64) + Sync,
        history: impl Fn(&Schedule) -> Outcome + Sync,
    ) -> SweepOutcome {
        let next = AtomicU64::new(self.next_seed(self.seeds.start));
        let outcome = Mutex::new(SweepOutcome::default());
        let failed = AtomicBool::new(false);
        let work = || {
            while !stop.load(Ordering::Relaxed) && !failed.load(Ordering::Relaxed) {
                let Some(seed) = self.hand_out(&next) else { break };
                let schedule = generate(seed, self.profile);
                let history = history(&schedule);
                let has_failed = history.violation.is_some();
                lock(&outcome).add(seed, &schedule, history);
                if has_failed && !self.keep_going {
                    failed.store(true, Ordering::Relaxed);
                }
                on_done(seed);
            }
        };
        thread::scope(|scope| {
            for _ in 0..self.jobs.max(1) {
                scope.spawn(work);
            }
        });
        let mut outcome = outcome.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        outcome.next_seed = Some(next.into_inner()).filter(|seed| *seed < self.seeds.end);
        outcome
    }

    /// The number of seeds to run.
    pub fn seed_count(&self) -> u64 {
        let count = |range: Range<u64>| match self.shard.first_seed(range.start) {
            Some(first) if first < range.end => (range.end - first).div_ceil(self.shard.count),
            _ => 0,
        };
        self.done.missing(&self.seeds).into_iter().map(count).sum()
    }

    fn hand_out(&self, next: &AtomicU64) -> Option<u64> {
        let advance = |seed: u64| (seed < self.seeds.end).then(|| self.next_seed(seed + 1));
        next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, advance).ok()
    }

    /// The first seed to run from `from` on; the end of the seeds if there is none.
    fn next_seed(&self, from: u64) -> u64 {
        self.shard.first_missing(&(from..self.seeds.end), &self.done).unwrap_or(self.seeds.end)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::judge::verdict::{MONOTONE, READS};

    fn sweep(seeds: Range<u64>, shard: Shard) -> Sweep {
        let done = SeedSet::default();
        Sweep { seeds, done, shard, profile: Profile::Swarm, jobs: 2, keep_going: true }
    }

    /// Pretends that every fifth seed breaks an invariant. Simulates nothing.
    fn pretended(schedule: &Schedule) -> Outcome {
        let seed = schedule.header.key;
        let violation = (seed.is_multiple_of(5)).then(|| {
            let invariant = if seed.is_multiple_of(10) { MONOTONE } else { READS };
            let step = Some(1 + (seed % 20) as u32);
            Violation { step, ..Violation::of(invariant, format!("{seed} is a multiple of 5")) }
        });
        Outcome { violation, ..Outcome::default() }
    }

    #[test]
    fn shards_partition_the_seeds() {
        for count in [1, 2, 3, 7] {
            let seen = Mutex::new(Vec::new());
            for index in 0..count {
                let sweep = sweep(5..103, Shard { index, count });
                let before = lock(&seen).len() as u64;
                sweep.run_with(&AtomicBool::new(false), |seed| lock(&seen).push(seed), pretended);
                assert_eq!(lock(&seen).len() as u64 - before, sweep.seed_count());
            }
            let seen = seen.into_inner().unwrap();
            let distinct: BTreeSet<u64> = seen.iter().copied().collect();
            assert_eq!((seen.len(), distinct), (98, (5..103).collect()));
        }
    }

    #[test]
    fn a_shard_at_the_end_of_all_seeds_does_not_overflow() {
        let sweep = sweep(u64::MAX - 1..u64::MAX, Shard { index: 1, count: 3 });
        let outcome = sweep.run_with(&AtomicBool::new(false), |_| (), pretended);
        assert_eq!((outcome.next_seed, sweep.seed_count()), (None, 0));
    }

    #[test]
    fn failures_with_one_signature_form_a_group_with_its_smallest_example() {
        let outcome = sweep(0..100, Shard::WHOLE).run_with(&AtomicBool::new(false), |_| (), pretended);
        let groups: Vec<_> = outcome.groups.iter().collect();
        assert_eq!(groups.len(), 2);
        let (signature, group) = groups[0];
        assert_eq!(
            (signature.invariant.as_str(), signature.pattern.as_str()),
            ("monotone", "# is a multiple of #")
        );
        assert_eq!((group.count, &group.seeds[..3]), (10, &[0, 10, 20][..]));
        assert_eq!((group.smallest.seed % 20, group.seeds.len()), (0, SEEDS_MAX));
        assert_eq!(outcome.failure_count(), 20);
    }

    #[test]
    fn seeds_that_are_done_do_not_run_again() {
        for shard in [Shard::WHOLE, Shard { index: 1, count: 3 }] {
            let of_shard = |seed: &u64| seed % shard.count == shard.index;
            let sweep = Sweep { done: vec![0..12, 20..31, 90..200].into(), ..sweep(5..103, shard) };
            let seen = Mutex::new(BTreeSet::new());
            let outcome = sweep.run_with(
                &AtomicBool::new(false),
                |seed| assert!(lock(&seen).insert(seed), "seed {seed} has run twice"),
                pretended,
            );
            let seen = seen.into_inner().unwrap();
            assert_eq!(seen, (12..20).chain(31..90).filter(of_shard).collect());
            assert_eq!((seen.len() as u64, outcome.next_seed), (sweep.seed_count(), None));
        }
    }

    #[test]
    fn an_interrupted_sweep_reports_the_next_seed() {
        let stop = AtomicBool::new(false);
        let done = AtomicU64::new(0);
        let on_done = |seed: u64| {
            done.fetch_add(1, Ordering::Relaxed);
            stop.fetch_or(seed >= 31, Ordering::Relaxed);
        };
        let outcome = Sweep { jobs: 1, ..sweep(1..1000, Shard { index: 1, count: 2 }) }
            .run_with(&stop, on_done, pretended);
        assert_eq!((outcome.next_seed, done.into_inner()), (Some(33), 16));
    }

    #[test]
    fn the_first_failure_ends_a_sweep_that_does_not_keep_going() {
        let sweep = Sweep { keep_going: false, jobs: 1, ..sweep(1..1000, Shard::WHOLE) };
        let outcome = sweep.run_with(&AtomicBool::new(false), |_| (), pretended);
        assert_eq!((outcome.first_failure().unwrap().seed, outcome.next_seed), (5, Some(6)));
    }

    #[test]
    fn a_shard_is_parsed_or_refused() {
        assert_eq!("2/8".parse(), Ok(Shard { index: 2, count: 8 }));
        for wrong in ["", "3", "8/8", "0/0", "-1/3", "a/b"] {
            assert!(wrong.parse::<Shard>().is_err(), "{wrong}");
        }
    }
}
