//! Which files of a torrent: `--select 1-3,7` by number, `--only GLOB` by path.

use std::ops::RangeInclusive;
use std::str::FromStr;

use globset::{Glob, GlobSet, GlobSetBuilder};

use crate::exit::{Exit, Failure};

/// File numbers as `show` prints them, from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ranges(Vec<RangeInclusive<usize>>);

impl FromStr for Ranges {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const HOW: &str = "write numbers and ranges from 1, as in 1-3,7";
        let number = |text: &str| match text.trim().parse::<usize>() {
            Ok(0) | Err(_) => Err(HOW.to_owned()),
            Ok(number) => Ok(number),
        };
        let mut ranges = Vec::new();
        for part in text.split(',') {
            let range = match part.split_once('-') {
                None => {
                    let only = number(part)?;
                    only..=only
                }
                Some((first, "")) => number(first)?..=usize::MAX,
                Some((first, last)) => number(first)?..=number(last)?,
            };
            if range.is_empty() {
                return Err(format!("the range {} runs backwards", part.trim()));
            }
            ranges.push(range);
        }
        Ok(Self(ranges))
    }
}

/// Which files are wanted: all, some by number, some by pattern.
#[derive(Debug)]
pub(crate) enum Selection {
    All,
    Numbers(Ranges),
    Globs { set: GlobSet, typed: Vec<String> },
}

impl Selection {
    /// `typed` are the patterns of `--only`, any number of them.
    pub(crate) fn new(numbers: Option<Ranges>, typed: &[String]) -> Result<Self, Failure> {
        if let Some(numbers) = numbers {
            return Ok(Self::Numbers(numbers));
        }
        if typed.is_empty() {
            return Ok(Self::All);
        }
        let mut builder = GlobSetBuilder::new();
        for pattern in typed {
            let glob = Glob::new(pattern)
                .map_err(|error| Failure::usage(format!("--only: {error}")).hint("as in --only '*.flac'"))?;
            builder.add(glob);
        }
        let set = builder.build().map_err(|error| Failure::usage(format!("--only: {error}")))?;
        Ok(Self::Globs { set, typed: typed.to_vec() })
    }

    /// Whether nothing was chosen.
    pub(crate) fn is_all(&self) -> bool {
        matches!(self, Self::All)
    }

    /// One answer a file. A pattern matches the whole path inside the torrent (with or without its top folder)
    /// or the last component alone. Fails when nothing is left, or a number is beyond the last file.
    pub(crate) fn wanted<'a>(
        &self,
        name: &str,
        paths: impl ExactSizeIterator<Item = &'a str>,
    ) -> Result<Vec<bool>, Failure> {
        let count = paths.len();
        let wanted: Vec<bool> = match self {
            Self::All => return Ok(vec![true; count]),
            Self::Numbers(Ranges(ranges)) => {
                if let Some(range) = ranges.iter().find(|range| count < *range.start()) {
                    return Err(Failure::usage(format!(
                        "--select: there is no file {}; this torrent has {count}",
                        range.start()
                    ))
                    .hint("`ferriswarm show SOURCE` lists the files with their numbers"));
                }
                (1..=count).map(|number| ranges.iter().any(|range| range.contains(&number))).collect()
            }
            Self::Globs { set, .. } => paths
                .map(|path| {
                    let last = path.rsplit('/').next().unwrap_or(path);
                    set.is_match(path) || set.is_match(last) || set.is_match(format!("{name}/{path}"))
                })
                .collect(),
        };
        if !wanted.contains(&true) {
            let Self::Globs { typed, .. } = self else { return Ok(wanted) };
            return Err(Failure::new(Exit::Usage, format!("--only {}: no file matches", typed.join(", ")))
                .hint("`ferriswarm show SOURCE` lists the files"));
        }
        Ok(wanted)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const PATHS: [&str; 4] = ["cd1/01.flac", "cd1/02.flac", "cover.jpg", "cd2/notes.txt"];

    fn by_number(list: &str) -> Result<Vec<bool>, Failure> {
        let selection = Selection::new(Some(list.parse().unwrap()), &[]).unwrap();
        selection.wanted("album", PATHS.iter().copied())
    }

    fn by_glob(globs: &[&str]) -> Result<Vec<bool>, Failure> {
        let typed: Vec<String> = globs.iter().map(ToString::to_string).collect();
        Selection::new(None, &typed)?.wanted("album", PATHS.iter().copied())
    }

    #[test]
    fn numbers_start_at_one_and_ranges_include_both_ends() {
        assert_eq!(by_number("1-2,4").unwrap(), [true, true, false, true]);
        assert_eq!(by_number("3-").unwrap(), [false, false, true, true]);
        assert_eq!(by_number("2-99").unwrap(), [false, true, true, true]);
    }

    #[test]
    fn numbers_beyond_the_last_file_are_refused() {
        assert_eq!(by_number("5").unwrap_err().exit, Exit::Usage);
    }

    #[test]
    fn lists_that_are_not_lists_are_refused() {
        for text in ["", "0", "0-3", "a", "3-1", "1,,2", "1--2", "-3"] {
            assert!(text.parse::<Ranges>().is_err(), "{text}");
        }
    }

    #[test]
    fn patterns_match_a_path_or_its_last_component() {
        assert_eq!(by_glob(&["*.flac"]).unwrap(), [true, true, false, false]);
        assert_eq!(by_glob(&["cd2/**", "cover.*"]).unwrap(), [false, false, true, true]);
        assert_eq!(by_glob(&["album/cd1/01.flac"]).unwrap(), [true, false, false, false]);
    }

    #[test]
    fn a_pattern_that_matches_nothing_is_a_mistake_worth_telling() {
        assert!(by_glob(&["*.mkv"]).unwrap_err().message.contains("no file matches"));
        assert!(by_glob(&["[a"]).is_err());
    }
}
