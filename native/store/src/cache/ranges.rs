//! Which bytes of a file are there.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// Byte ranges of one file: in order, none empty, and none touching the next.
#[derive(Clone, Debug, Default, Eq, PartialEq, Deserialize, Serialize)]
#[serde(try_from = "Vec<(u64, u64)>", into = "Vec<(u64, u64)>")]
pub(crate) struct Ranges(Vec<Range<u64>>);

impl Ranges {
    /// Adds a range, whatever of it was there before.
    pub(crate) fn insert(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let first = self.0.partition_point(|known| known.end < range.start);
        let after = self.0.partition_point(|known| known.start <= range.end);
        let merged = self
            .0
            .drain(first..after)
            .fold(range, |merged, known| merged.start.min(known.start)..merged.end.max(known.end));
        self.0.insert(first, merged);
    }

    /// The end of the bytes that are there from `start` on without a gap; `start` if it is missing.
    pub(crate) fn frontier(&self, start: u64) -> u64 {
        let after = self.0.partition_point(|known| known.start <= start);
        let last = after.checked_sub(1).and_then(|index| self.0.get(index));
        last.map_or(start, |known| known.end.max(start))
    }

    /// What is missing of the first `size` bytes, in order and cut at multiples of `segment`.
    pub(crate) fn missing(&self, size: u64, segment: u64) -> Vec<Range<u64>> {
        let mut missing = Vec::new();
        let mut position = self.frontier(0);
        while position < size {
            let next = self.0.iter().map(|known| known.start).find(|start| *start > position);
            let boundary = (position / segment).saturating_add(1).saturating_mul(segment);
            let end = boundary.min(next.unwrap_or(size)).min(size);
            missing.push(position..end);
            position = self.frontier(end);
        }
        missing
    }

    /// How many bytes are there.
    pub(crate) fn covered(&self) -> u64 {
        self.0.iter().map(|known| known.end - known.start).sum()
    }

    /// The end of the last range.
    pub(crate) fn end(&self) -> u64 {
        self.0.last().map_or(0, |known| known.end)
    }
}

impl TryFrom<Vec<(u64, u64)>> for Ranges {
    type Error = &'static str;

    /// Takes what [`Ranges`] itself wrote, in its one form.
    fn try_from(pairs: Vec<(u64, u64)>) -> Result<Self, Self::Error> {
        let ordered = pairs.iter().all(|(start, end)| start < end)
            && pairs.iter().zip(pairs.iter().skip(1)).all(|(one, next)| one.1 < next.0);
        if ordered {
            Ok(Self(pairs.into_iter().map(|(start, end)| start..end).collect()))
        } else {
            Err("ranges are not in order")
        }
    }
}

impl From<Ranges> for Vec<(u64, u64)> {
    fn from(ranges: Ranges) -> Self {
        ranges.0.into_iter().map(|range| (range.start, range.end)).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Longer than any range below, so that there is a tail.
    const SIZE: u64 = 64;

    fn ranges() -> impl Strategy<Value = Vec<Range<u64>>> {
        prop::collection::vec((0..SIZE, 0..20_u64), 0..12).prop_map(|pairs| {
            pairs.into_iter().map(|(start, length)| start..(start + length).min(SIZE)).collect()
        })
    }

    /// The same in the simplest way: a mark for each byte.
    fn marks(inserted: &[Range<u64>]) -> Vec<bool> {
        (0..SIZE).map(|byte| inserted.iter().any(|range| range.contains(&byte))).collect()
    }

    fn collected(inserted: &[Range<u64>]) -> Ranges {
        let mut ranges = Ranges::default();
        for range in inserted {
            ranges.insert(range.clone());
        }
        ranges
    }

    proptest! {
        #[test]
        fn every_byte_is_accounted_for(inserted in ranges(), segment in 1..80_u64) {
            let (ranges, marks) = (collected(&inserted), marks(&inserted));
            prop_assert_eq!(ranges.covered(), marks.iter().map(|there| u64::from(*there)).sum::<u64>());
            let last = marks.iter().rposition(|there| *there);
            prop_assert_eq!(ranges.end(), last.map_or(0, |last| u64::try_from(last).unwrap() + 1));

            let missing = ranges.missing(SIZE, segment);
            let mut expected: Vec<_> = marks.iter().map(|there| !there).collect();
            for range in &missing {
                prop_assert!(!range.is_empty());
                prop_assert_eq!(range.start / segment, (range.end - 1) / segment, "crosses a boundary");
                for byte in range.clone() {
                    let mark = &mut expected[usize::try_from(byte).unwrap()];
                    prop_assert!(*mark, "byte {} is there or asked for twice", byte);
                    *mark = false;
                }
            }
            prop_assert!(expected.iter().all(|mark| !mark), "a missing byte is not asked for");
            prop_assert!(missing.is_sorted_by(|one, next| one.end <= next.start));
        }

        #[test]
        fn the_frontier_is_the_first_gap(inserted in ranges(), start in 0..SIZE) {
            let marks = marks(&inserted);
            let gap = (start..SIZE).find(|byte| !marks[usize::try_from(*byte).unwrap()]);
            prop_assert_eq!(collected(&inserted).frontier(start), gap.unwrap_or(SIZE));
        }

        #[test]
        fn there_is_one_form(inserted in ranges()) {
            let ranges = collected(&inserted);
            let mut backwards = inserted.clone();
            backwards.reverse();
            prop_assert_eq!(&collected(&backwards), &ranges);
            let json = serde_json::to_string(&ranges).unwrap();
            prop_assert_eq!(serde_json::from_str::<Ranges>(&json).unwrap(), ranges);
        }
    }

    #[test]
    fn other_forms_are_refused() {
        for bad in
            ["[[1,1]]", "[[2,1]]", "[[0,2],[2,3]]", "[[4,5],[0,1]]", "[[0,3],[2,5]]", "[[-1,2]]"]
        {
            assert!(serde_json::from_str::<Ranges>(bad).is_err(), "{bad}");
        }
    }
}
