//! What a torrent is, gathered once for `show`, `get`, `seed` and `verify`.

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

use ferri_engine::Places;
use ferri_metainfo::display::redact_url;
use ferri_metainfo::magnet::Magnet;
use ferri_metainfo::names::{LinkProblem, LocalPaths, NameError};
use ferri_metainfo::{File, FileIndex, Info, Metainfo};
use serde::{Serialize, Serializer};

use crate::console::Console;
use crate::text::harmless;
use crate::units;

/// The answer of `show --json`, key for key.
#[derive(Debug, Serialize)]
pub(crate) struct Facts {
    pub(crate) name: String,
    /// Lower-case hex.
    pub(crate) info_hash_v1: Option<String>,
    pub(crate) info_hash_v2: Option<String>,
    pub(crate) piece_length: u32,
    pub(crate) piece_count: u32,
    /// Bytes of the files a person sees: without padding.
    pub(crate) total_size: u64,
    pub(crate) private: bool,
    pub(crate) files: FileList,
    /// Tiers, first asked first.
    pub(crate) trackers: Vec<Vec<String>>,
    pub(crate) web_seeds: Vec<String>,
    pub(crate) comment: Option<String>,
    pub(crate) created_by: Option<String>,
    /// Seconds since 1970.
    pub(crate) creation_date: Option<i64>,
    pub(crate) source: Option<String>,
    pub(crate) magnet: String,
    /// What was odd in it and could be understood.
    pub(crate) warnings: Vec<String>,
    /// What a person should know who wants to download it.
    pub(crate) note: Option<String>,
}

/// Until they are there.
pub(crate) const NO_WEB_SEEDS: &str = "its web seeds are not asked, which this version cannot do yet";

/// [`Facts`] without what only the user may know: for events, which end up in logs.
#[derive(Debug, Serialize)]
pub(crate) struct Redacted<'a> {
    name: &'a str,
    info_hash_v1: Option<&'a str>,
    info_hash_v2: Option<&'a str>,
    piece_length: u32,
    piece_count: u32,
    total_size: u64,
    private: bool,
    files: &'a FileList,
    pub(crate) trackers: Vec<Vec<String>>,
    pub(crate) web_seeds: Vec<String>,
    comment: Option<&'a str>,
    created_by: Option<&'a str>,
    creation_date: Option<i64>,
    source: Option<&'a str>,
    pub(crate) magnet: String,
    warnings: &'a [String],
    note: Option<&'a str>,
}

#[derive(Debug, Serialize)]
pub(crate) struct FileFacts<'a> {
    /// What `--select` takes, from 1; padding has none.
    pub(crate) number: Option<usize>,
    /// Inside the torrent, without the torrent's own name; `/` between components.
    pub(crate) path: String,
    pub(crate) size: u64,
    /// BEP 47 letters: `p` padding, `h` hidden, `x` executable, `l` symbolic link.
    pub(crate) attr: String,
    /// Where it was found beneath the folder of the download; where nothing was looked for, where it goes on a disk that keeps
    /// all names.
    pub(crate) disk_path: Option<Cow<'a, str>>,
    /// Why it is not stored.
    pub(crate) not_stored: Option<String>,
}

/// The files of a torrent, each described when it is asked for: a torrent may have a million.
#[derive(Clone)]
pub(crate) struct FileList {
    info: Arc<Info>,
    names: Result<LocalPaths, NameError>,
    /// Where they were found on this disk.
    places: Option<Arc<Places>>,
    /// Which are padding, ascending.
    pads: Vec<FileIndex>,
}

impl FileList {
    pub(crate) fn new(info: Arc<Info>) -> Self {
        let pads = info.files().iter().filter(|file| file.is_pad()).map(|file| file.index).collect();
        Self { names: LocalPaths::new(&info), places: None, pads, info }
    }

    /// What `--select` takes for this file; `None` for padding.
    pub(crate) fn number(&self, file: FileIndex) -> Option<usize> {
        let before = self.pads.binary_search(&file).err()?;
        Some(file.as_usize() + 1 - before)
    }

    /// Names on disk.
    pub(crate) fn names(&self) -> Result<&LocalPaths, &NameError> {
        self.names.as_ref()
    }

    /// How many files a person sees.
    fn visible(&self) -> impl Iterator<Item = File<'_>> {
        self.info.files().iter().filter(|file| !file.is_pad())
    }

    /// The path of one.
    pub(crate) fn path(&self, index: FileIndex) -> Option<String> {
        self.info.file(index).map(|file| path(&file))
    }

    /// Those that a person sees, with their numbers.
    pub(crate) fn numbered(&self) -> impl Iterator<Item = (usize, File<'_>)> {
        (1..).zip(self.visible())
    }

    fn iter(&self) -> impl Iterator<Item = FileFacts<'_>> {
        self.info.files().iter().map(|file| FileFacts {
            number: self.number(file.index),
            path: path(&file),
            size: file.length,
            attr: file.attributes.to_string(),
            disk_path: self.disk_path(file.index),
            not_stored: self.not_stored(&file),
        })
    }

    fn disk_path(&self, file: FileIndex) -> Option<Cow<'_, str>> {
        let names = self.names.as_ref().ok()?;
        if self.link_problem(file).is_some() {
            return None;
        }
        match &self.places {
            Some(places) => match places.lies_at(file)? {
                Cow::Borrowed(path) => Some(path.to_string_lossy()),
                Cow::Owned(path) => Some(Cow::Owned(local_text(&path))),
            },
            None => names.path(file).map(Path::to_string_lossy),
        }
    }

    fn not_stored(&self, file: &File<'_>) -> Option<String> {
        match &self.names {
            _ if file.is_pad() => Some("padding".to_owned()),
            Ok(_) => self
                .link_problem(file.index)
                .map(|problem| format!("a symbolic link that is not made: {problem}")),
            Err(error) if error.file == file.index => Some(error.reason.to_string()),
            Err(error) => Some(format!("file {} of the torrent has no place on a disk", error.file.0 + 1)),
        }
    }

    fn link_problem(&self, file: FileIndex) -> Option<LinkProblem> {
        let ignored = self.names.as_ref().ok()?.ignored_links();
        let at = ignored.binary_search_by_key(&file, |(link, _)| *link).ok()?;
        Some(ignored[at].1)
    }
}

impl std::fmt::Debug for FileList {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileList").field("files", &self.info.files().len()).finish_non_exhaustive()
    }
}

impl Serialize for FileList {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl Facts {
    pub(crate) fn new(metainfo: &Metainfo) -> Self {
        let info = metainfo.info();
        let hashes = info.info_hashes();
        let files = FileList::new(metainfo.shared_info());
        Self {
            name: info.name().to_owned(),
            info_hash_v1: hashes.v1.map(|hash| hash.to_string()),
            info_hash_v2: hashes.v2.map(|hash| hash.to_string()),
            piece_length: info.piece_length(),
            piece_count: info.layout().piece_count(),
            total_size: files.visible().map(|file| file.length).sum(),
            private: info.is_private(),
            files,
            trackers: metainfo.trackers().to_vec(),
            web_seeds: metainfo.web_seeds().to_vec(),
            comment: metainfo.comment().map(ToOwned::to_owned),
            created_by: metainfo.created_by().map(ToOwned::to_owned),
            creation_date: metainfo.creation_date(),
            source: info.source().map(ToOwned::to_owned),
            magnet: Magnet::from_metainfo(metainfo).to_string(),
            warnings: metainfo.warnings().iter().map(ToString::to_string).collect(),
            note: note(metainfo),
        }
    }

    /// The same of files that were looked for on this disk.
    pub(crate) fn found_at(mut self, places: Arc<Places>) -> Self {
        self.files.places = Some(places);
        self
    }

    /// The same with addresses redacted. The magnet link is left with what it is about.
    pub(crate) fn redacted(&self) -> Redacted<'_> {
        let all = |urls: &[String]| urls.iter().map(|url| redact_url(url)).collect::<Vec<_>>();
        Redacted {
            name: &self.name,
            info_hash_v1: self.info_hash_v1.as_deref(),
            info_hash_v2: self.info_hash_v2.as_deref(),
            piece_length: self.piece_length,
            piece_count: self.piece_count,
            total_size: self.total_size,
            private: self.private,
            files: &self.files,
            trackers: self.trackers.iter().map(|tier| all(tier)).collect(),
            web_seeds: all(&self.web_seeds),
            comment: self.comment.as_deref(),
            created_by: self.created_by.as_deref(),
            creation_date: self.creation_date,
            source: self.source.as_deref(),
            magnet: without_addresses(&self.magnet),
            warnings: &self.warnings,
            note: self.note.as_deref(),
        }
    }

    /// How many files a person sees.
    pub(crate) fn file_count(&self) -> u64 {
        (self.files.info.files().len() - self.files.pads.len()) as u64
    }

    /// `debian-13.iso  3.75 GiB  1 file  v1  2 trackers`, and the info hash below it.
    pub(crate) fn headline(&self, console: &Console) -> String {
        let tracker_count = self.trackers.iter().map(Vec::len).sum::<usize>() as u64;
        format!(
            "{}  {}  {}  {}  {}",
            console.strong(&harmless(&self.name)),
            units::size(self.total_size),
            units::count(self.file_count(), "file", "files"),
            self.version(),
            units::count(tracker_count, "tracker", "trackers"),
        )
    }

    pub(crate) fn version(&self) -> &'static str {
        match (&self.info_hash_v1, &self.info_hash_v2) {
            (Some(_), Some(_)) => "v1 and v2",
            (None, Some(_)) => "v2",
            (_, None) => "v1",
        }
    }
}

/// A magnet link with what it is about, and without the addresses of trackers and web seeds, which may hold secrets.
pub(crate) fn without_addresses(magnet: &str) -> String {
    let is_harmless = |part: &&str| !["tr=", "ws=", "xs=", "as="].iter().any(|name| part.starts_with(name));
    magnet.split('&').filter(is_harmless).collect::<Vec<_>>().join("&")
}

fn note(metainfo: &Metainfo) -> Option<String> {
    let is_alone = !metainfo.web_seeds().is_empty() && metainfo.trackers().is_empty();
    is_alone.then(|| {
        let others = if metainfo.info().is_private() {
            "no peers can be found"
        } else {
            "peers come from the DHT, if at all"
        };
        format!("it names no tracker, and {NO_WEB_SEEDS}: {others}")
    })
}

/// The path of a file inside its torrent, without the torrent's name.
pub(crate) fn path(file: &File<'_>) -> String {
    let mut path = String::new();
    file.write_path(&mut path);
    path
}

/// Files that a person sees, in the torrent's order; `--select` counts them from 1.
pub(crate) fn visible_files(metainfo: &Metainfo) -> Vec<(FileIndex, String)> {
    let files = metainfo.info().files().iter().filter(|file| !file.is_pad());
    files.map(|file| (file.index, path(&file))).collect()
}

/// JSON has no bytes: a path that is no UTF-8 is shown as well as it can be.
pub(crate) fn local_text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
