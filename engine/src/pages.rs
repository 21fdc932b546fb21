//! A set of page numbers with a bounded size: when it grows too large, its smallest gaps are filled.
//!
//! It holds the pages of Draft that may differ from Synced. An additional page only costs a rebase one more
//! page to write. A missing page would leave a local change in place. So the set may contain too many pages,
//! but never too few.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

/// The maximum number of ranges in a set. They are stored in the metadata, which is written as a whole.
const RANGES_MAX: usize = 512;

/// Page numbers as ranges, in ascending order, with gaps between them. Each range is its first and last page,
/// both inclusive.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PageSet(Vec<(u32, u32)>);

impl PageSet {
    /// Whether the set contains no page.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the ranges satisfy this module's invariants. Ranges from a file may not.
    pub(crate) fn is_ascending(&self) -> bool {
        self.0.iter().all(|(first, last)| first <= last)
            && self.0.windows(2).all(|pair| pair[0].1 < pair[1].0)
    }

    /// The ranges, in ascending order.
    pub fn ranges(&self) -> impl Iterator<Item = RangeInclusive<u32>> {
        self.0.iter().map(|&(first, last)| first..=last)
    }

    /// The number of pages in the set.
    pub fn page_count(&self) -> u64 {
        self.0.iter().map(|&(first, last)| u64::from(last - first) + 1).sum()
    }

    /// The pages up to `last`.
    pub(crate) fn up_to(&self, last: u32) -> impl Iterator<Item = u32> {
        self.ranges().flat_map(move |range| *range.start()..=(*range.end()).min(last))
    }

    /// This set with additional pages.
    pub(crate) fn with(&self, more: impl IntoIterator<Item = RangeInclusive<u32>>) -> Self {
        let mut ranges: Vec<(u32, u32)> =
            more.into_iter().map(RangeInclusive::into_inner).chain(self.0.iter().copied()).collect();
        ranges.retain(|(first, last)| first <= last);
        ranges.sort_unstable();
        let mut joined: Vec<(u32, u32)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match joined.last_mut() {
                Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
                _ => joined.push((first, last)),
            }
        }
        Self(bounded(joined))
    }
}

/// Fills the smallest gaps until no more than [`RANGES_MAX`] ranges are left.
fn bounded(ranges: Vec<(u32, u32)>) -> Vec<(u32, u32)> {
    let Some(excess) = ranges.len().checked_sub(RANGES_MAX).filter(|&excess| excess > 0) else {
        return ranges;
    };
    let mut gaps: Vec<(u32, usize)> =
        ranges.windows(2).enumerate().map(|(index, pair)| (pair[1].0 - pair[0].1, index)).collect();
    gaps.sort_unstable();
    let mut filled = vec![false; ranges.len()];
    for &(_, index) in &gaps[..excess] {
        filled[index] = true;
    }
    let mut bounded: Vec<(u32, u32)> = Vec::with_capacity(RANGES_MAX);
    let mut joins = false;
    for (index, range) in ranges.into_iter().enumerate() {
        match bounded.last_mut() {
            Some(before) if joins => before.1 = range.1,
            _ => bounded.push(range),
        }
        joins = filled[index];
    }
    bounded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(ranges: &[(u32, u32)]) -> PageSet {
        PageSet::default().with(ranges.iter().map(|&(first, last)| first..=last))
    }

    #[test]
    fn neighbours_and_overlaps_become_one_range() {
        assert_eq!(set(&[(5, 5), (1, 2), (3, 3), (2, 2)]), PageSet(vec![(1, 3), (5, 5)]));
        assert_eq!(set(&[(7, u32::MAX), (9, 9)]), PageSet(vec![(7, u32::MAX)]));
    }

    #[test]
    fn a_set_only_grows_and_stays_small() {
        let pages: Vec<u32> = (0..4000).map(|index| 1 + index * 3 + index % 7).collect();
        let all = PageSet::default().with(pages.iter().map(|&page| page..=page));
        assert_eq!(all.0.len(), RANGES_MAX);
        for page in &pages {
            assert!(all.ranges().any(|range| range.contains(page)), "page {page}");
        }
        assert!(all.0.windows(2).all(|pair| pair[0].1 + 1 < pair[1].0));
    }

    #[test]
    fn pages_are_told_up_to_an_end() {
        assert_eq!(set(&[(2, 3), (5, u32::MAX)]).up_to(6).collect::<Vec<_>>(), [2, 3, 5, 6]);
        assert_eq!(set(&[(5, 9)]).up_to(4).count(), 0);
    }
}
