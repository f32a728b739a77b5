//! Which files of a torrent, and how much: `--select 1-3,7` by number, `--only` and `--exclude` by pattern, `--priority`
//! by either.

mod pattern;

use std::ops::RangeInclusive;
use std::str::FromStr;

use ferri_engine::FilePriority;
use ferri_metainfo::magnet::SelectOnly;
use ferri_metainfo::{FileIndex, Metainfo};

use crate::args::files::{FileWishes, Files};
use crate::exit::{Exit, Failure};
use crate::facts;
use pattern::Pattern;

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

impl Ranges {
    /// One answer a file. Fails when a range begins beyond the last one.
    fn matching(&self, flag: &str, count: usize) -> Result<Vec<bool>, Failure> {
        if let Some(range) = self.0.iter().find(|range| count < *range.start()) {
            let first = range.start();
            let message = format!("{flag}: there is no file {first}; this torrent has {count}");
            return Err(
                Failure::usage(message).hint("`ferriswarm show SOURCE` lists the files with their numbers")
            );
        }
        Ok((1..=count).map(|number| self.0.iter().any(|range| range.contains(&number))).collect())
    }
}

/// `3=high`: files and how much they are wanted.
#[derive(Debug, Clone)]
pub(crate) struct Wish {
    typed: String,
    files: Which,
    level: FilePriority,
}

#[derive(Debug, Clone)]
enum Which {
    Numbers(Ranges),
    Matching(Box<Pattern>),
}

impl FromStr for Wish {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const HOW: &str = "write files, = and high, normal, low or skip, as in 3=high or '*.nfo=skip'";
        let (files, level) = text.rsplit_once('=').ok_or(HOW)?;
        let level = match level.trim().to_ascii_lowercase().as_str() {
            "high" => FilePriority::High,
            "normal" => FilePriority::Normal,
            "low" => FilePriority::Low,
            "skip" => FilePriority::Skip,
            _ => return Err(HOW.to_owned()),
        };
        if files.trim().is_empty() {
            return Err(HOW.to_owned());
        }
        let files =
            files.parse().map_or_else(|_| Which::Matching(Box::new(Pattern::new(files))), Which::Numbers);
        Ok(Self { typed: text.to_owned(), files, level })
    }
}

/// What is wanted of every torrent of a command.
#[derive(Debug, Default)]
pub(crate) struct Selection {
    numbers: Option<Ranges>,
    only: Vec<Pattern>,
    exclude: Vec<Pattern>,
    wishes: Vec<Wish>,
}

/// A torrent's visible files: its name, and their paths in order.
struct Paths<'a> {
    name: &'a str,
    paths: &'a [&'a str],
}

impl Selection {
    pub(crate) fn new(files: &Files, wishes: &FileWishes) -> Self {
        let patterns = |typed: &[String]| typed.iter().map(|typed| Pattern::new(typed)).collect();
        Self {
            numbers: files.select.clone(),
            only: patterns(&files.only),
            exclude: patterns(&files.exclude),
            wishes: wishes.priority.clone(),
        }
    }

    /// One priority for each file of the torrent, padding included. `named`: the files that a magnet link names, which
    /// count unless `--select` or `--only` says otherwise. Fails when nothing is left, and when a flag means nothing here.
    pub(crate) fn priorities(
        &self,
        metainfo: &Metainfo,
        named: Option<&SelectOnly>,
    ) -> Result<Vec<FilePriority>, Failure> {
        if named.is_none() && self.is_all() {
            return Ok(vec![FilePriority::Normal; metainfo.info().files().len()]);
        }
        let files = facts::visible_files(metainfo);
        let paths: Vec<&str> = files.iter().map(|(_, path)| path.as_str()).collect();
        let paths = Paths { name: metainfo.info().name(), paths: &paths };
        let base = match named.filter(|_| self.numbers.is_none() && self.only.is_empty()) {
            Some(named) => of_link(named, &files)?,
            None => self.chosen(&paths)?,
        };
        let levels = self.levels(&paths, base)?;
        let mut priorities = vec![FilePriority::Normal; metainfo.info().files().len()];
        for ((index, _), level) in files.iter().zip(levels) {
            priorities[index.as_usize()] = level;
        }
        Ok(priorities)
    }

    /// Nothing was said about files.
    fn is_all(&self) -> bool {
        self.numbers.is_none() && self.only.is_empty() && self.exclude.is_empty() && self.wishes.is_empty()
    }

    /// What `--select` or `--only` chooses.
    fn chosen(&self, paths: &Paths<'_>) -> Result<Vec<bool>, Failure> {
        if let Some(numbers) = &self.numbers {
            return numbers.matching("--select", paths.paths.len());
        }
        if self.only.is_empty() {
            return Ok(vec![true; paths.paths.len()]);
        }
        let mut chosen = vec![false; paths.paths.len()];
        for pattern in &self.only {
            join(&mut chosen, &pattern.matching(paths.name, paths.paths));
        }
        if chosen.contains(&true) { Ok(chosen) } else { Err(no_match("--only", &self.only, paths)) }
    }

    /// The same without what `--exclude` takes away, and with what `--priority` says.
    fn levels(&self, paths: &Paths<'_>, chosen: Vec<bool>) -> Result<Vec<FilePriority>, Failure> {
        let mut excluded = vec![false; paths.paths.len()];
        for pattern in &self.exclude {
            join(&mut excluded, &pattern.matching(paths.name, paths.paths));
        }
        let level = |(chosen, excluded): (bool, bool)| {
            if chosen && !excluded { FilePriority::Normal } else { FilePriority::Skip }
        };
        let mut levels: Vec<FilePriority> = chosen.into_iter().zip(excluded).map(level).collect();
        let chosen: Vec<bool> = levels.iter().map(|level| *level != FilePriority::Skip).collect();
        for wish in &self.wishes {
            let flag = format!("--priority {}", wish.typed);
            let meant = match &wish.files {
                Which::Numbers(numbers) => numbers.matching(&flag, paths.paths.len())?,
                Which::Matching(pattern) => pattern.matching(paths.name, paths.paths),
            };
            if let (Which::Matching(pattern), false) = (&wish.files, meant.contains(&true)) {
                return Err(no_match("--priority", std::slice::from_ref(pattern.as_ref()), paths));
            }
            let mut is_of_use = false;
            for ((level, chosen), meant) in levels.iter_mut().zip(&chosen).zip(meant) {
                if *chosen && meant {
                    (*level, is_of_use) = (wish.level, true);
                }
            }
            if !is_of_use {
                return Err(Failure::usage(format!("{flag}: none of these files is among the chosen ones"))
                    .hint("choose them with --select or --only too, or leave --priority away"));
            }
        }
        if levels.iter().all(|level| *level == FilePriority::Skip) && !levels.is_empty() {
            return Err(Failure::usage("no file is left: --exclude and --priority take all of them away")
                .hint("`ferriswarm show SOURCE` lists the files"));
        }
        Ok(levels)
    }
}

fn join(all: &mut [bool], some: &[bool]) {
    all.iter_mut().zip(some).for_each(|(all, some)| *all |= some);
}

fn no_match(flag: &str, patterns: &[Pattern], paths: &Paths<'_>) -> Failure {
    let typed: Vec<&str> = patterns.iter().map(Pattern::typed).collect();
    let failure = Failure::usage(format!("{flag} {}: no file or folder matches", typed.join(", ")));
    match patterns.iter().find_map(|pattern| pattern.in_other_case(paths.paths)) {
        Some(path) => failure.hint(format!("capitals count: there is {path}")),
        None => failure.hint("`ferriswarm show SOURCE` lists the files"),
    }
}

/// The files that a magnet link names (BEP 53), one answer a file.
fn of_link(named: &SelectOnly, files: &[(FileIndex, String)]) -> Result<Vec<bool>, Failure> {
    let wanted: Vec<bool> = files.iter().map(|(index, _)| named.contains(*index)).collect();
    if wanted.contains(&true) {
        return Ok(wanted);
    }
    let message = format!("so={named}: the magnet link wants files that the torrent does not have");
    Err(Failure::new(Exit::BadMagnet, message).hint("choose files with --select or --only"))
}

/// The part of a torrent that some of its files are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    /// Pieces that hold a byte of it, ascending.
    pub(crate) pieces: Vec<u32>,
    /// Bytes of those pieces.
    pub(crate) bytes: u64,
}

impl Part {
    /// `None` when nothing is left out.
    pub(crate) fn new(metainfo: &Metainfo, priorities: &[FilePriority]) -> Option<Self> {
        if !priorities.contains(&FilePriority::Skip) {
            return None;
        }
        let layout = metainfo.info().layout();
        let mut pieces: Vec<u32> = layout
            .files()
            .filter(|file| !layout.is_pad(*file))
            .filter(|file| priorities.get(file.as_usize()) != Some(&FilePriority::Skip))
            .flat_map(|file| layout.file_pieces(file))
            .collect();
        pieces.sort_unstable();
        pieces.dedup();
        let lengths =
            pieces.iter().filter_map(|piece| layout.piece(*piece)).map(|piece| layout.piece_len(piece));
        let bytes = lengths.map(u64::from).sum();
        Some(Self { pieces, bytes })
    }
}

#[cfg(test)]
mod tests;
