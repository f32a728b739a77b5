//! The wanted files of a magnet link (`so`, BEP 53). Ranges only: which files there are is known once the info is.

use std::fmt;
use std::ops::RangeInclusive;

use crate::FileIndex;
use crate::limits::FILES_MAX;

/// A set of file indices, kept as ranges so that `0-1000000` costs no more than `0`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SelectOnly {
    /// First and last index. Ascending, disjoint, never touching; each below [`FILES_MAX`].
    ranges: Vec<(u32, u32)>,
}

impl SelectOnly {
    /// Whether the file is wanted.
    #[must_use]
    pub fn contains(&self, file: FileIndex) -> bool {
        let file = u32::try_from(file.as_usize()).unwrap_or(u32::MAX);
        let after = self.ranges.partition_point(|&(first, _)| first <= file);
        after.checked_sub(1).is_some_and(|at| file <= self.ranges[at].1)
    }

    /// The ranges, ascending and apart.
    pub fn ranges(&self) -> impl Iterator<Item = RangeInclusive<u32>> + '_ {
        self.ranges.iter().map(|&(first, last)| first..=last)
    }

    /// Adds what a list such as `0,2,4,6-8` names.
    pub(super) fn add(&mut self, list: &str) -> Result<(), &'static str> {
        for item in list.split(',') {
            let (first, last) = item.split_once('-').unwrap_or((item, item));
            let (first, last) = (index(first)?, index(last)?);
            if last < first {
                return Err("has a range that ends before it begins");
            }
            if RANGES_MAX <= self.ranges.len() {
                return Err("has too many ranges");
            }
            self.ranges.push((first, last));
        }
        self.merge();
        Ok(())
    }

    fn merge(&mut self) {
        self.ranges.sort_unstable();
        let mut merged: Vec<(u32, u32)> = Vec::with_capacity(self.ranges.len());
        for &(first, last) in &self.ranges {
            match merged.last_mut() {
                // No overflow: indices end far below `u32::MAX`.
                Some(before) if first <= before.1 + 1 => before.1 = before.1.max(last),
                _ => merged.push((first, last)),
            }
        }
        self.ranges = merged;
    }
}

impl fmt::Display for SelectOnly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (first, last)) in self.ranges.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            if first == last {
                write!(f, "{comma}{first}")?;
            } else {
                write!(f, "{comma}{first}-{last}")?;
            }
        }
        Ok(())
    }
}

fn index(digits: &str) -> Result<u32, &'static str> {
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err("is not a list of file indices such as 0,2,4-6");
    }
    let index = digits.parse().ok().filter(|&index: &u32| u64::from(index) < FILES_MAX as u64);
    index.ok_or("has a file index that no torrent can have")
}

/// Far more than a link of readable length; merging makes most lists shorter.
const RANGES_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(list: &str, expected: Result<&str, &str>) {
        let mut selection = SelectOnly::default();
        let result = selection.add(list).map(|()| selection.to_string());
        match expected {
            Ok(text) => assert_eq!(result.unwrap(), text),
            Err(part) => assert!(result.unwrap_err().contains(part)),
        }
    }

    #[test]
    fn lists_are_sorted_and_merged() {
        check("0,2,4,6-8", Ok("0,2,4,6-8"));
        check("8,6-7,0,0-1", Ok("0-1,6-8"));
        check("5-9,6-7", Ok("5-9"));
        check("0-1048575", Ok("0-1048575"));
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for list in ["", ",", "1,", "a", "1-", "-1", "1-2-3", "+1", "1 2"] {
            check(list, Err("is not a list"));
        }
        check("3-1", Err("ends before"));
        check("1048576", Err("no torrent can have"));
        check("99999999999999999999", Err("no torrent can have"));
        check(&(0..5000).map(|i| (i * 2).to_string()).collect::<Vec<_>>().join(","), Err("too many"));
    }

    proptest! {
        #[test]
        fn the_set_is_the_union_of_its_items(items in prop::collection::vec((0..40_u32, 0..5_u32), 1..20)) {
            let list: Vec<_> = items.iter().map(|(first, more)| format!("{first}-{}", first + more)).collect();
            let mut selection = SelectOnly::default();
            selection.add(&list.join(",")).unwrap();
            for file in 0..50 {
                let wanted = items.iter().any(|&(first, more)| (first..=first + more).contains(&file));
                prop_assert_eq!(selection.contains(FileIndex(file)), wanted);
            }
            let mut again = SelectOnly::default();
            again.add(&selection.to_string()).unwrap();
            prop_assert_eq!(again, selection);
        }
    }
}
