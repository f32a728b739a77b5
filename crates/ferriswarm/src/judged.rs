//! What a file on disk is beside the one that the torrent names, as `verify` and `seed` see it.

use ferri_engine::{FilePriority, Found, Halt};
use ferri_metainfo::{FileIndex, Info};
use serde::Serialize;

use crate::exit::Failure;
use crate::facts;
use crate::place::Place;
use crate::units;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum FileStatus {
    Good,
    /// A piece that touches it does not match.
    Bad,
    Missing,
    /// It is not there and has no bytes, so no data is missing: Transmission makes no empty files, others no links.
    Absent,
    Short,
    /// Its pieces match, but bytes follow that are not the torrent's.
    Long,
}

impl FileStatus {
    /// Of a file of this size.
    pub(crate) fn of(found: Found, size: u64, is_link: bool, has_bad_pieces: bool) -> Self {
        match found {
            Found::Nothing if size == 0 => Self::Absent,
            Found::Nothing => Self::Missing,
            _ if is_link => Self::Good,
            Found::File { length, .. } if length < size => Self::Short,
            Found::File { .. } if has_bad_pieces => Self::Bad,
            Found::File { length, .. } if size < length => Self::Long,
            Found::File { .. } => Self::Good,
            _ => Self::Missing,
        }
    }

    pub(crate) fn is_bad(self) -> bool {
        !matches!(self, Self::Good | Self::Absent)
    }

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Bad => "bad",
            Self::Missing => "missing",
            Self::Absent => "absent",
            Self::Short => "too short",
            Self::Long => "too long",
        }
    }
}

/// Files that are not what the torrent says, whatever their pieces hold: the first few, and how many.
#[derive(Debug, Default)]
pub(crate) struct Odd {
    few: Vec<String>,
    count: u64,
}

impl Odd {
    /// Looks at the chosen files.
    pub(crate) fn find(
        info: &Info,
        place: &Place,
        priorities: &[FilePriority],
        halt: &Halt,
    ) -> Result<Self, Failure> {
        let layout = info.layout();
        let is_chosen = |file: &FileIndex| {
            !layout.is_pad(*file) && priorities.get(file.as_usize()) != Some(&FilePriority::Skip)
        };
        let mut odd = Self::default();
        place.look_at(layout.files().filter(is_chosen), halt, |index, found| {
            let Some(file) = info.file(index) else { return };
            let status = FileStatus::of(found, file.length, file.attributes.symlink, false);
            if !status.is_bad() {
                return;
            }
            odd.count += 1;
            if odd.few.len() < FEW {
                let what = if found == Found::Other { "no plain file" } else { status.word() };
                odd.few.push(format!("{} is {what}", facts::path(&file)));
            }
        })?;
        Ok(odd)
    }

    /// In words, if there are any.
    pub(crate) fn words(&self) -> Option<String> {
        let more = self.count.saturating_sub(self.few.len() as u64);
        match (self.few.is_empty(), more) {
            (true, _) => None,
            (false, 0) => Some(self.few.join(", ")),
            (false, more) => Some(format!(
                "{}, and {}",
                self.few.join(", "),
                units::count(more, "more file", "more files")
            )),
        }
    }
}

/// So many are named.
const FEW: usize = 5;
