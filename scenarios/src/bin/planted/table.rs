//! The table of planted bugs, one row per bug, and its requirements.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use plimsoll_scenarios::planted::PlantedBug;
use serde::Serialize;

use crate::Outcomes;
use crate::hunt::{Hunt, HuntError};

/// The limits for every shrunk finding.
const STEPS_MAX: usize = 8;
const FAULTS_MAX: usize = 2;
const SHRINK_SECONDS_MAX: f64 = 60.0;

#[derive(Debug, Serialize)]
pub struct Table {
    pub seeds_budget: u64,
    pub bases: u64,
    pub jobs: usize,
    /// The unpatched engine's result; `None` if it was not swept.
    pub baseline: Option<Baseline>,
    pub rows: Vec<Row>,
    /// The bugs for which there was no time.
    pub not_reached: Vec<String>,
    /// The bugs that fail without a fault. Any test would find them.
    pub strawmen: Vec<String>,
}

/// The result of the unpatched engine over the same seeds.
#[derive(Debug, Serialize)]
pub struct Baseline {
    /// The violations, at most one per base.
    pub violations: Vec<String>,
}

#[derive(Debug, Serialize)]
pub struct Row {
    pub name: String,
    pub area: String,
    pub like: String,
    /// The number of bases that found the bug.
    pub found_in: usize,
    /// The invariants that found the bug, each with the number of bases.
    pub invariants: BTreeMap<String, usize>,
    /// The median over the bases of the number of seeds; `None` if most bases have not found the bug.
    pub seeds: Option<u64>,
    /// The median over the bases of the time, in seconds.
    pub seconds: Option<f64>,
    /// The largest number of steps in a shrunk finding. The next two fields are also the largest values.
    pub steps: Option<usize>,
    pub faults: Option<usize>,
    pub shrink_seconds: Option<f64>,
    /// An example of a violation.
    pub example: Option<String>,
    #[serde(skip)]
    budget: u64,
}

impl Baseline {
    pub fn of(outcomes: &Outcomes) -> Self {
        Self { violations: outcomes.iter().flatten().map(|found| found.violation.clone()).collect() }
    }
}

impl Row {
    pub fn new(bug: &PlantedBug, outcomes: &Outcomes, budget: u64) -> Self {
        let found = || outcomes.iter().flatten();
        let mut invariants = BTreeMap::new();
        for found in found() {
            *invariants.entry(found.invariant.clone()).or_default() += 1;
        }
        let shrunk = || found().filter_map(|found| found.shrunk.as_ref());
        let median = |mut values: Vec<f64>| {
            values.sort_by(f64::total_cmp);
            values.get(outcomes.len() / 2).copied()
        };
        Self {
            name: bug.name.clone(),
            area: bug.area.clone(),
            like: bug.like.clone(),
            found_in: found().count(),
            invariants,
            seeds: median(found().map(|found| found.seeds as f64).collect()).map(|seeds| seeds as u64),
            seconds: median(found().map(|found| found.seconds).collect()),
            steps: shrunk().map(|shrunk| shrunk.steps).max(),
            faults: shrunk().map(|shrunk| shrunk.faults).max(),
            shrink_seconds: shrunk().map(|shrunk| shrunk.seconds).max_by(f64::total_cmp),
            example: found().next().map(|found| found.violation.clone()),
            budget,
        }
    }

    pub fn line(&self) -> String {
        format!("{} ({}): {} after {}", self.name, self.area, self.found_by(), self.effort())
    }

    fn found_by(&self) -> String {
        if self.invariants.is_empty() {
            return "not found".into();
        }
        let count_of = |(name, count): (&String, &usize)| match count {
            1 => name.clone(),
            count => format!("{name} × {count}"),
        };
        self.invariants.iter().map(count_of).collect::<Vec<_>>().join(", ")
    }

    fn effort(&self) -> String {
        match (self.seeds, self.seconds) {
            (Some(seeds), Some(seconds)) => format!("{seeds} seeds, {seconds:.1} s"),
            _ => format!("more than {} seeds", self.budget),
        }
    }

    fn shrunk(&self) -> String {
        match (self.steps, self.faults, self.shrink_seconds) {
            (Some(steps), Some(faults), Some(seconds)) => {
                let mark = if self.is_small() { "" } else { " (!)" };
                format!("{steps} steps, {faults} faults in {seconds:.0} s{mark}")
            }
            _ => "–".into(),
        }
    }

    fn is_small(&self) -> bool {
        self.steps.is_none_or(|steps| steps <= STEPS_MAX)
            && self.faults.is_none_or(|faults| faults <= FAULTS_MAX)
            && self.shrink_seconds.is_none_or(|seconds| seconds <= SHRINK_SECONDS_MAX)
    }
}

impl Table {
    pub fn new(hunt: &Hunt) -> Self {
        Self {
            seeds_budget: hunt.seeds_budget,
            bases: hunt.bases,
            jobs: hunt.jobs,
            baseline: None,
            rows: Vec::new(),
            not_reached: Vec::new(),
            strawmen: Vec::new(),
        }
    }

    /// Whether most bases found each bug, and the unpatched engine was clean.
    pub fn is_as_it_should_be(&self) -> bool {
        let is_clean = self.baseline.as_ref().is_none_or(|baseline| baseline.violations.is_empty());
        is_clean && self.strawmen.is_empty() && self.rows.iter().all(|row| row.seeds.is_some())
    }

    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("plain data serializes")
    }

    pub fn markdown(&self) -> String {
        let mut text = String::from(
            "| planted bug | area | found by | seeds, seconds (median) | shrunk to |\n|---|---|---|---|---|\n",
        );
        for row in &self.rows {
            let cells = [row.name.clone(), row.area.clone(), row.found_by(), row.effort(), row.shrunk()];
            text += &format!("| {} |\n", cells.join(" | "));
        }
        let found = self.rows.iter().filter(|row| row.seeds.is_some()).count();
        let seeds = self.seeds_budget * self.bases;
        let written = write!(
            text,
            "\n{found} of {} found, each from most of {} bases within {} seeds, {} histories at once.\n",
            self.rows.len(),
            self.bases,
            self.seeds_budget,
            self.jobs
        );
        written.expect("a string takes what is written");
        if !self.not_reached.is_empty() {
            text += &format!("There was no time for {}.\n", self.not_reached.join(", "));
        }
        if !self.strawmen.is_empty() {
            text += &format!(
                "No planted bugs, because they fail without a fault: {}.\n",
                self.strawmen.join(", ")
            );
        }
        match &self.baseline {
            None => text += "The unpatched engine was not swept.\n",
            Some(baseline) if baseline.violations.is_empty() => {
                text += &format!("The unpatched engine is clean over the same {seeds} seeds.\n");
            }
            Some(baseline) => {
                text += "The unpatched engine is NOT clean:\n";
                for violation in &baseline.violations {
                    text += &format!("* {violation}\n");
                }
            }
        }
        for row in self.rows.iter().filter(|row| !row.is_small()) {
            text += &format!(
                "{} was not shrunk to {STEPS_MAX} steps and {FAULTS_MAX} faults in {SHRINK_SECONDS_MAX} s.\n",
                row.name
            );
        }
        text
    }

    /// Writes `planted.md` and `planted.json`.
    pub fn write(&self, directory: &Path) -> Result<(), HuntError> {
        let write = || {
            std::fs::create_dir_all(directory)?;
            std::fs::write(directory.join("planted.md"), self.markdown())?;
            std::fs::write(directory.join("planted.json"), self.json() + "\n")
        };
        write().map_err(|source| HuntError::File { path: directory.display().to_string(), source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hunt::{Found, Shrunk};

    fn row(seeds: &[Option<u64>], steps: usize) -> Row {
        let bug = PlantedBug::parse(
            "p",
            "Area: pull\nLike: fault 9\n\nIt.\n\n--- a/a.rs\n+++ b/a.rs\n@@ -1 +1 @@\n-a\n+b\n",
        );
        let found = |seeds| Found {
            invariant: "reads".into(),
            violation: "reads broken".into(),
            seeds,
            seconds: seeds as f64 / 10.0,
            shrunk: Some(Shrunk { steps, faults: 1, seconds: 2.0 }),
        };
        let outcomes = seeds.iter().map(|seeds| seeds.map(found)).collect();
        Row::new(&bug.unwrap(), &outcomes, 300)
    }

    fn table(rows: Vec<Row>, violations: &[&str]) -> Table {
        let violations = violations.iter().map(|violation| (*violation).to_owned()).collect();
        Table {
            seeds_budget: 300,
            bases: 3,
            jobs: 1,
            baseline: Some(Baseline { violations }),
            rows,
            not_reached: Vec::new(),
            strawmen: Vec::new(),
        }
    }

    #[test]
    fn a_bug_that_any_test_would_find_is_not_as_it_should_be() {
        let mut table = table(vec![row(&[Some(9), Some(2), Some(5)], 3)], &[]);
        assert!(table.is_as_it_should_be());
        table.strawmen.push("straw".into());
        assert!(!table.is_as_it_should_be());
        assert!(table.markdown().contains("they fail without a fault: straw."));
    }

    #[test]
    fn a_base_that_found_nothing_counts_as_the_longest() {
        assert_eq!(row(&[Some(9), Some(2), Some(5)], 3).seeds, Some(5));
        assert_eq!(row(&[None, Some(2), Some(5)], 3).seeds, Some(5));
        assert_eq!(row(&[None, Some(2), None], 3).seeds, None);
    }

    #[test]
    fn what_most_bases_miss_or_the_unpatched_engine_breaks_is_not_as_it_should_be() {
        let found = || row(&[Some(1), Some(2), None], 3);
        assert!(table(vec![found()], &[]).is_as_it_should_be());
        assert!(!table(vec![found(), row(&[None, Some(2), None], 3)], &[]).is_as_it_should_be());
        assert!(!table(vec![found()], &["reads broken"]).is_as_it_should_be());
    }

    #[test]
    fn the_table_tells_who_found_it_and_what_stayed_large() {
        let table = table(vec![row(&[Some(1), Some(2), None], 9)], &[]);
        let markdown = table.markdown();
        assert!(
            markdown.contains("| p | pull | reads × 2 | 2 seeds, 0.2 s | 9 steps, 1 faults in 2 s (!) |"),
            "{markdown}"
        );
        assert!(markdown.contains("p was not shrunk to 8 steps"), "{markdown}");
    }
}
