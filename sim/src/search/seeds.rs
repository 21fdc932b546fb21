//! A set of seeds as ranges, so that the seeds of a long sweep take a few bytes in its report.
//!
//! Guarantees: the ranges are not empty, ascend, and neither overlap nor touch. Two sets with the same seeds are
//! equal.

use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};

/// A set of seeds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<Range<u64>>", into = "Vec<Range<u64>>")]
pub struct SeedSet(Vec<Range<u64>>);

impl SeedSet {
    /// Adds the seeds of another set.
    pub fn add(&mut self, other: &Self) {
        other.0.iter().cloned().for_each(|range| self.insert(range));
    }

    fn insert(&mut self, range: Range<u64>) {
        self.0.push(range);
        self.0.retain(|range| !range.is_empty());
        self.0.sort_by_key(|range| range.start);
        self.0.dedup_by(|next, range| {
            let is_joined = next.start <= range.end;
            if is_joined {
                range.end = range.end.max(next.end);
            }
            is_joined
        });
    }

    /// The seeds of `range` that are not in the set.
    pub fn missing(&self, range: &Range<u64>) -> Vec<Range<u64>> {
        let inside = self.0.iter().filter(|known| known.start < range.end && range.start < known.end);
        let starts = std::iter::once(range.start).chain(inside.clone().map(|known| known.end));
        let ends = inside.clone().map(|known| known.start).chain(std::iter::once(range.end));
        starts.zip(ends).map(|(start, end)| start..end).filter(|gap| !gap.is_empty()).collect()
    }

    /// The ranges, ascending.
    pub fn ranges(&self) -> &[Range<u64>] {
        &self.0
    }
}

impl From<Range<u64>> for SeedSet {
    fn from(range: Range<u64>) -> Self {
        vec![range].into()
    }
}

impl From<Vec<Range<u64>>> for SeedSet {
    fn from(ranges: Vec<Range<u64>>) -> Self {
        let mut set = Self::default();
        ranges.into_iter().for_each(|range| set.insert(range));
        set
    }
}

impl From<SeedSet> for Vec<Range<u64>> {
    fn from(set: SeedSet) -> Self {
        set.0
    }
}

impl fmt::Display for SeedSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, Range { start, end }) in self.0.iter().enumerate() {
            f.write_str(if number == 0 { "" } else { " and " })?;
            match *end {
                u64::MAX => write!(f, "from {start} on")?,
                end => write!(f, "{start}..{end}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(ranges: &[Range<u64>]) -> SeedSet {
        ranges.to_vec().into()
    }

    #[test]
    fn ranges_that_touch_or_overlap_become_one() {
        assert_eq!(set(&[0..5, 5..9]).ranges(), [0..9; 1]);
        assert_eq!(set(&[20..30, 0..5, 3..9, 22..25]).ranges(), [0..9, 20..30]);
        assert_eq!(set(&[0..5, 6..9, 5..6]), set(&[0..9; 1]));
        assert_eq!(set(&[0..9, 4..4]), set(&[0..9; 1]));
    }

    #[test]
    fn the_missing_seeds_are_the_gaps() {
        let set = set(&[10..20, 30..40]);
        assert_eq!(set.missing(&(0..50)), [0..10, 20..30, 40..50]);
        assert_eq!(set.missing(&(15..35)), [20..30; 1]);
        assert_eq!(set.missing(&(12..18)), []);
        assert_eq!(SeedSet::default().missing(&(3..u64::MAX)), [3..u64::MAX; 1]);
    }

    #[test]
    fn a_set_is_printed_without_the_largest_number() {
        assert_eq!(set(&[0..5, 20..30]).to_string(), "0..5 and 20..30");
        assert_eq!(set(&[7..u64::MAX; 1]).to_string(), "from 7 on");
    }
}
