//! Every error text of the program is followed by what to do next.
#![allow(clippy::unwrap_used, missing_docs)]

use std::fs;
use std::path::{Path, PathBuf};

/// Places where the hint is put on later, by which they are known, and where that is.
const LATER: [(&str, &str); 6] = [
    ("args/useless.rs", "does nothing here"),
    ("args/verb.rs", "there is no command"),
    ("out.rs", "{} {what}"),
    ("select.rs", "no file or folder matches"),
    ("session.rs", "Failure::new(exit, error.to_string())"),
    ("source/content.rs", "Failure::new(Exit::BadTorrent, message)"),
];

/// Ends that need no hint: a fault of the program has one of its own, who pressed Ctrl-C knows what comes next, and a
/// verdict is the answer.
const NO_HINT: [&str; 3] = ["Exit::Internal", "Exit::Interrupted", "Exit::VerifyFailed"];

#[test]
fn every_failure_says_what_to_do_next() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/ferriswarm/src");
    let (mut found, mut bare) = (0, Vec::new());
    for path in sources(&src) {
        let text = fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        let name = path.strip_prefix(&src).unwrap().to_str().unwrap();
        for start in ["Failure::new(", "Failure::usage("].iter().flat_map(|start| code.match_indices(start)) {
            found += 1;
            let call = call(&code[start.0..]);
            let rest = code[start.0 + call.len()..].trim_start_matches([')', '}', '?', ' ', '\n']);
            let is_later = LATER.iter().any(|(file, text)| *file == name && call.contains(text));
            let needs_none = NO_HINT.iter().any(|exit| call.contains(exit));
            if !rest.starts_with(".hint(") && !is_later && !needs_none {
                bare.push(format!("{name}: {call}"));
            }
        }
    }
    assert!(50 < found, "only {found} were found");
    assert!(bare.is_empty(), "no next step:\n{}", bare.join("\n"));
}

/// Up to the parenthesis that closes the first one.
fn call(code: &str) -> &str {
    let (mut depth, mut in_text, mut is_escaped) = (0, false, false);
    for (at, c) in code.char_indices() {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' if in_text => is_escaped = true,
            '"' => in_text = !in_text,
            '(' if !in_text => depth += 1,
            ')' if !in_text => {
                depth -= 1;
                if depth == 0 {
                    return &code[..=at];
                }
            }
            _ => {}
        }
    }
    code
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}
