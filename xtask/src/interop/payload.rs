//! What the tests send around: files made from a seed, torrents of them, and the comparison at the end.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use ferri_sim::Chance;
use sha2::{Digest, Sha256};

use crate::clients::{Kind, Tools};

/// One torrent's worth of files: where they are, and what they are.
#[derive(Clone, Debug)]
pub(crate) struct Payload {
    /// The folder that holds the torrent's file or folder.
    pub(crate) dir: PathBuf,
    /// A torrent of it, without trackers.
    pub(crate) torrent: PathBuf,
    /// Relative path to SHA-256, for every file.
    pub(crate) sums: BTreeMap<PathBuf, [u8; 32]>,
}

/// The shape of a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// One file whose last piece and last block are odd.
    Single,
    /// Folders in folders, odd sizes, an empty file, a file smaller than a block, names that are not ASCII.
    Multi,
}

impl Shape {
    /// As reports have it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Single => "single",
            Self::Multi => "multi",
        }
    }

    fn files(self, total: u64) -> Vec<(&'static str, u64)> {
        match self {
            Self::Single => vec![("single file, odd size.bin", total + 12_345)],
            Self::Multi => vec![
                ("multi/a/first.bin", 1),
                ("multi/a/b/c/deep and spaced.bin", total / 4 + 7),
                ("multi/a/b/empty", 0),
                ("multi/b/odd.bin", total / 2 + 16_385),
                ("multi/b/tiny.txt", 5),
                ("multi/\u{fc}n\u{ef}c\u{f6}de \u{4e16}\u{754c}.bin", total / 4 - 4_099),
                ("multi/z.bin", 262_144),
            ],
        }
    }
}

impl Payload {
    /// Writes the files into `dir` and makes a torrent of them with the given client's own tool.
    ///
    /// # Errors
    /// When the disk is full or the tool fails.
    pub(crate) fn make(
        dir: &Path,
        shape: Shape,
        total: u64,
        piece_length: u64,
        maker: Kind,
        tools: &Tools,
    ) -> Result<Self> {
        let payload = dir.join("payload").join(shape.name());
        let mut random = Chance::new(total ^ shape as u64);
        for (name, length) in shape.files(total) {
            write_file(&payload.join(name), length, &mut random)?;
        }
        let top = fs::read_dir(&payload)?.next().context("the payload is empty")??.path();
        let torrent = dir.join(format!("{}.torrent", shape.name()));
        create(&top, &torrent, piece_length, maker, tools)?;
        let sums = sums(&payload)?;
        Ok(Self { dir: payload, torrent, sums })
    }

    /// A copy of the torrent with one tracker, in `out`.
    ///
    /// # Errors
    /// When the torrent cannot be read or `out` cannot be written.
    pub(crate) fn with_tracker(&self, url: &str, out: &Path) -> Result<()> {
        announce(&self.torrent, url, out)
    }

    /// Compares every file under `dir` with what it must be. A client may leave out empty files if `lenient`.
    ///
    /// # Errors
    /// Names the first file that is missing, wrong or not part of the torrent.
    pub(crate) fn compare(&self, dir: &Path, lenient: bool) -> Result<()> {
        let found = sums(dir)?;
        let empty: [u8; 32] = Sha256::digest([]).into();
        for (path, sum) in &self.sums {
            match found.get(path) {
                Some(other) if other == sum => {}
                Some(_) => bail!("{} has the wrong content", path.display()),
                None if lenient && *sum == empty => {}
                None => bail!("{} is missing", path.display()),
            }
        }
        match found.keys().find(|path| !self.sums.contains_key(*path)) {
            Some(path) => bail!("{} is not part of the torrent", path.display()),
            None => Ok(()),
        }
    }

    /// The sum of the files' lengths.
    ///
    /// # Errors
    /// When a file has gone.
    pub(crate) fn length(&self) -> Result<u64> {
        self.sums.keys().map(|path| Ok(fs::metadata(self.dir.join(path))?.len())).sum()
    }
}

/// A torrent of `path`, made by `maker`'s own tool.
///
/// # Errors
/// When the tool fails; with what it said.
pub(crate) fn create(path: &Path, out: &Path, piece_length: u64, maker: Kind, tools: &Tools) -> Result<()> {
    make(path, out, piece_length, maker, tools, None)
}

/// The same of a torrent whose peers come from its trackers only (BEP 27).
///
/// # Errors
/// As `create`.
pub(crate) fn create_private(
    path: &Path,
    out: &Path,
    piece_length: u64,
    maker: Kind,
    tools: &Tools,
) -> Result<()> {
    make(path, out, piece_length, maker, tools, Some("private"))
}

fn make(
    path: &Path,
    out: &Path,
    piece_length: u64,
    maker: Kind,
    tools: &Tools,
    private: Option<&str>,
) -> Result<()> {
    let mut command = if maker == Kind::Ferriswarm {
        let mut command = Command::new(&tools.ferriswarm);
        command.arg("create").arg(path).arg("-o").arg(out);
        command.args(["--piece-length", &format!("{}KiB", piece_length / 1024)]);
        command.args(private.map(|word| format!("--{word}")));
        command
    } else {
        let mut command = Command::new(&tools.python);
        command.arg(&tools.peer_script).arg("create").args([path, out]).arg(piece_length.to_string());
        command.args(private);
        command
    };
    let output = command.output().with_context(|| format!("starting {:?}", command.get_program()))?;
    ensure!(
        output.status.success(),
        "{command:?} failed: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

/// A copy of a torrent with one tracker, in `out`. The info hash stays the same.
///
/// # Errors
/// When the torrent cannot be read or `out` cannot be written.
pub(crate) fn announce(torrent: &Path, url: &str, out: &Path) -> Result<()> {
    let bytes = fs::read(torrent)?;
    fs::write(out, announced(&bytes, url)?).with_context(|| format!("writing {}", out.display()))
}

/// "announce" sorts before every other key that a torrent has.
fn announced(torrent: &[u8], url: &str) -> Result<Vec<u8>> {
    ensure!(
        torrent.starts_with(b"d") && !torrent.starts_with(b"d8:announce"),
        "not a torrent without trackers"
    );
    let mut bytes = format!("d8:announce{}:{url}", url.len()).into_bytes();
    bytes.extend_from_slice(&torrent[1..]);
    Ok(bytes)
}

/// The `info` dictionary as it is in the file.
///
/// # Errors
/// When there is no such dictionary.
pub(crate) fn info_bytes(torrent: &Path) -> Result<Vec<u8>> {
    let bytes = fs::read(torrent).with_context(|| format!("reading {}", torrent.display()))?;
    let at = bytes.windows(7).position(|window| window == b"4:infod").context("no info in the torrent")? + 6;
    let length = value_len(&bytes[at..]).context("the torrent's info is cut off")?;
    Ok(bytes[at..at + length].to_vec())
}

/// SHA-1 of the `info` dictionary, in hex, for tools that want it by name.
///
/// # Errors
/// As `info_bytes`.
pub(crate) fn info_hash(torrent: &Path) -> Result<String> {
    use sha1::Sha1;
    let digest: [u8; 20] = Sha1::digest(info_bytes(torrent)?).into();
    Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Length of the bencoded value at the start of `bytes`. These are our own files: depth is not a concern here.
fn value_len(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    let mut depth = 0_u32;
    loop {
        match *bytes.get(at)? {
            b'd' | b'l' => {
                depth += 1;
                at += 1;
            }
            b'e' => {
                depth = depth.checked_sub(1)?;
                at += 1;
            }
            b'i' => at += bytes[at..].iter().position(|&byte| byte == b'e')? + 1,
            _ => {
                let colon = bytes[at..].iter().position(|&byte| byte == b':')?;
                let length: usize = std::str::from_utf8(&bytes[at..at + colon]).ok()?.parse().ok()?;
                at += colon + 1 + length;
            }
        }
        if depth == 0 {
            return Some(at);
        }
    }
}

/// Writes a file of random bytes, and the folders above it.
///
/// # Errors
/// When the disk is full.
pub(crate) fn write_file(path: &Path, length: u64, random: &mut Chance) -> Result<()> {
    const CHUNK: usize = 1 << 20;
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let mut file = File::create(path).with_context(|| format!("creating {}", path.display()))?;
    let mut left = length;
    let mut buffer = vec![0; CHUNK];
    while left > 0 {
        random.fill(&mut buffer);
        let count = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
        file.write_all(&buffer[..count])?;
        left -= count as u64;
    }
    Ok(())
}

fn sums(dir: &Path) -> Result<BTreeMap<PathBuf, [u8; 32]>> {
    let mut sums = BTreeMap::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            } else {
                sums.insert(entry.path().strip_prefix(dir)?.to_owned(), sum(&entry.path())?);
            }
        }
    }
    Ok(sums)
}

fn sum(path: &Path) -> Result<[u8; 32]> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hash.finalize().into()),
            count => hash.update(&buffer[..count]),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_tracker_is_added_in_front() {
        assert_eq!(announced(b"d4:infodee", "http://a/").unwrap(), b"d8:announce9:http://a/4:infodee");
        assert!(announced(b"d8:announce1:x4:infodee", "http://a/").is_err());
    }

    #[test]
    fn the_length_of_a_nested_value_is_found() {
        assert_eq!(value_len(b"d1:ali1e2:bbee_rest"), Some(14));
        assert_eq!(value_len(b"d1:a"), None);
    }
}
