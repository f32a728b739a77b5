//! The first word: a command, a source that `get` is meant for, or a slip of the fingers.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use clap::CommandFactory;
use ferri_metainfo::magnet::Magnet;

use super::Cli;
use crate::exit::Failure;

/// The default verb: `get` goes before the first word unless that is a command or asks for help. `dir` is where relative
/// paths start.
///
/// # Errors
/// The word is neither a command nor anything that could be a source.
pub(crate) fn with_verb(args: &[OsString], dir: &Path) -> Result<Vec<OsString>, Failure> {
    let mut words = args.to_vec();
    let is_for_all =
        |word: &OsStr| matches!(word.to_str(), Some("-q" | "-v" | "-vv" | "-vvv" | "--quiet" | "--verbose"));
    let Some(at) = (1..words.len()).find(|at| !is_for_all(&words[*at])) else { return Ok(words) };
    let word = &words[at];
    let is_about_us = matches!(word.to_str(), Some("-h" | "--help" | "-V" | "--version" | "help"));
    if is_about_us || Cli::command().find_subcommand(word).is_some() {
        return Ok(words);
    }
    if !is_flag(word) && !could_be_source(word, dir) {
        return Err(unknown(&word.to_string_lossy()));
    }
    words.insert(at, OsString::from("get"));
    Ok(words)
}

fn is_flag(word: &OsStr) -> bool {
    word.to_str().is_some_and(|word| word.starts_with('-'))
}

/// A path, an address or a link has other characters than a command; a bare word is a source only as a file that is there,
/// or as an info hash.
fn could_be_source(word: &OsStr, dir: &Path) -> bool {
    let Some(text) = word.to_str() else { return true };
    let is_bare = text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    !is_bare || Magnet::parse_info_hash(text).is_ok() || dir.join(text).symlink_metadata().is_ok()
}

fn unknown(word: &str) -> Failure {
    if let Some((command, feature)) = LEFT_OUT.iter().find(|(command, _)| *command == word) {
        let why =
            format!("this build has no command `{command}`: it is made without the feature `{feature}`");
        return Failure::usage(why).hint("build it with its default features");
    }
    let failure = Failure::usage(format!("there is no command `{word}`, and no file of that name here"));
    match command_meant(word) {
        Some(command) => failure.hint(format!("did you mean `ferriswarm {command}`?")),
        None if HASH_LIKE <= word.len() && word.chars().all(|c| c.is_ascii_hexdigit()) => {
            failure.hint(format!("an info hash has 40 or 64 hex digits, this has {}", word.len()))
        }
        None => failure.hint(
            "a source is a .torrent file, its address, a magnet link or an info hash; `ferriswarm --help` lists the commands",
        ),
    }
}

/// Commands that a build may leave out, and the features that they need. Those that are built are commands.
const LEFT_OUT: [(&str, &str); 3] =
    [("demo", "tracker-server"), ("dht", "dht"), ("tracker", "tracker-server")];

/// More hex digits than any word has.
const HASH_LIKE: usize = 20;

/// The command that a word is a slip of: a beginning of it, or few slips away.
pub(crate) fn command_meant(word: &str) -> Option<String> {
    let command = Cli::command();
    let names = command.get_subcommands().map(clap::Command::get_name).chain(["help"]);
    let word = word.to_lowercase();
    let slips_of =
        |name: &str| if BEGINNING <= word.len() && name.starts_with(&word) { 0 } else { slips(&word, name) };
    let (slips, name) = names.map(|name| (slips_of(name), name)).min_by_key(|(slips, _)| *slips)?;
    // Of a short word two slips leave nothing that is like it.
    let allowed = if word.len() < 4 { 1 } else { 2 };
    (slips <= allowed && slips < word.len()).then(|| name.to_owned())
}

/// Fewer letters begin too many words.
const BEGINNING: usize = 2;

/// How many letters have to be added, left out, replaced or swapped with the next one to make `to` of `from`.
fn slips(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().take(WORD_MAX).collect(), to.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=to.len()).collect()];
    for i in 1..=from.len() {
        let mut row = vec![i];
        for j in 1..=to.len() {
            let differs = usize::from(from[i - 1] != to[j - 1]);
            let mut least = (rows[i - 1][j] + 1).min(row[j - 1] + 1).min(rows[i - 1][j - 1] + differs);
            if 1 < i && 1 < j && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows.last().and_then(|row| row.last()).copied().unwrap_or(usize::MAX)
}

/// A longer word is no slip of a command.
const WORD_MAX: usize = 20;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn words(words: &[&str]) -> Result<String, Failure> {
        let args: Vec<OsString> = std::iter::once(&"ferriswarm").chain(words).map(Into::into).collect();
        // A folder in which nothing is.
        let with = with_verb(&args, Path::new("/proc/self/task/0"))?;
        Ok(with.join(OsStr::new(" ")).into_string().unwrap())
    }

    #[track_caller]
    fn check(typed: &[&str], expected: &str) {
        assert_eq!(words(typed).unwrap(), format!("ferriswarm {expected}"));
    }

    #[test]
    fn get_is_the_default_verb() {
        check(&["a.torrent"], "get a.torrent");
        check(&["-o", "show", "a.torrent"], "get -o show a.torrent");
        check(&["-"], "get -");
        check(&["-q", "a.torrent"], "-q get a.torrent");
        check(&["--json", "a.torrent", "b.torrent"], "get --json a.torrent b.torrent");
    }

    #[test]
    fn whatever_could_be_a_source_is_one() {
        let hash = "0123456789abcdef0123456789abcdef01234567";
        for source in
            ["magnet:?xt=urn:btih:1", "http://x/y", "./name", "folder/name", "x.iso", "magnet%3A%3F", hash]
        {
            check(&[source], &format!("get {source}"));
        }
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("bare"), "").unwrap();
        let args = ["ferriswarm".into(), OsString::from("bare")];
        assert_eq!(with_verb(&args, folder.path()).unwrap(), ["ferriswarm", "get", "bare"]);
    }

    #[test]
    fn commands_and_questions_about_the_program_are_left_alone() {
        for typed in [&["show", "x"][..], &["-v", "show", "x"], &["--help"], &["-V"], &["help", "get"]] {
            check(typed, &typed.join(" "));
        }
        assert_eq!(words(&[]).unwrap(), "ferriswarm");
    }

    #[test]
    fn a_mistyped_command_is_no_source() {
        let cases = [
            ("sede", Some("seed")),
            ("shwo", Some("show")),
            ("veri", Some("verify")),
            ("verfiy", Some("verify")),
            ("SHOW", Some("show")),
            ("dowload", None),
            ("gett", Some("get")),
            ("dth", Some("dht")),
            ("x", None),
            ("xyz", None),
            ("hlep", Some("help")),
            ("toretn", Some("torrent")),
        ];
        for (word, expected) in cases {
            let failure = words(&[word, "x"]).unwrap_err();
            assert!(failure.message.contains(&format!("no command `{word}`")), "{}", failure.message);
            let hint = failure.hint.unwrap();
            match expected {
                Some(command) => assert_eq!(hint, format!("did you mean `ferriswarm {command}`?")),
                None => assert!(hint.contains("ferriswarm --help"), "{word}: {hint}"),
            }
        }
        let failure = words(&["0123456789abcdef0123456789abcdef0123456"]).unwrap_err();
        assert!(failure.hint.unwrap().contains("this has 39"));
    }
}
