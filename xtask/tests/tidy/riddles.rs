//! Comments name their subject: the peer, the caller, the torrent, the user.

use std::collections::BTreeMap;

use super::report;
use super::tree::{all_rust_files, read, relative};

/// Words that stand where a subject should, so that a reader has to guess it.
const RIDDLES: &[&str] = &["whoever", "nobody", "somebody", "everybody", "whom"];

/// Comments that still have one, by the beginning of a path. These numbers only get smaller.
const LEFT: &[(&str, usize)] = &[("crates/ferri-engine/", 70)];

#[test]
fn comments_name_their_subject() {
    let mut found: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for file in all_rust_files() {
        let path = relative(&file);
        let part = LEFT.iter().map(|(part, _)| *part).find(|part| path.starts_with(part)).unwrap_or_default();
        for (number, word) in riddles(&read(&file)) {
            found
                .entry(part)
                .or_default()
                .push(format!("{path}:{number}: {word:?}; say which peer, caller or user"));
        }
    }
    for (part, places) in found {
        let left = LEFT.iter().find(|(known, _)| *known == part).map_or(0, |(_, left)| *left);
        if left < places.len() {
            report(&format!("subjects of comments ({left} are left in {part:?})"), &places);
        }
    }
}

/// Lines whose comment has such a word, from 1 on.
fn riddles(text: &str) -> Vec<(usize, &'static str)> {
    let mut found = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim_start();
        let comment =
            if line.starts_with("//") { Some(line) } else { line.split_once(" // ").map(|(_, rest)| rest) };
        let words = comment.unwrap_or_default().split(|c: char| !c.is_alphabetic()).map(str::to_lowercase);
        let word = words.filter_map(|word| RIDDLES.iter().find(|riddle| **riddle == word)).next();
        found.extend(word.map(|word| (number, *word)));
    }
    found
}

#[test]
fn only_whole_words_of_comments_count() {
    // Put together here so that this file passes its own test.
    let after_code = ["let nobody = 1; /", "/ Nobody."].concat();
    let text = format!("/// Whoever asks.\n{after_code}\nlet whom = \"whom\";\n// Nobodys.\n");
    assert_eq!(riddles(&text), [(1, "whoever"), (2, "nobody")]);
}
