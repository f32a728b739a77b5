//! What ARCHITECTURE.md names is there.

use super::report;
use super::tree::{committed_files, read, relative, root};

#[test]
fn files_that_the_architecture_names_are_there() {
    let files: Vec<String> = committed_files().iter().map(|file| short(&relative(file))).collect();
    let page = read(&root().join("ARCHITECTURE.md"));
    let named = page.split('`').skip(1).step_by(2).filter(|word| is_path(word));
    let problems: Vec<String> = named
        .filter(|word| !files.iter().any(|file| is_meant(file, word)))
        .map(|word| format!("ARCHITECTURE.md: there is no {word}"))
        .collect();
    report("paths in ARCHITECTURE.md", &problems);
}

/// A path as the page writes it: without `crates` and `src`.
fn short(path: &str) -> String {
    path.strip_prefix("crates/").unwrap_or(path).replacen("/src/", "/", 1)
}

/// A file of Rust, or a folder.
fn is_path(word: &str) -> bool {
    let is_name = |c: char| c.is_ascii_alphanumeric() || "_-/.".contains(c);
    word.chars().all(is_name) && (word.ends_with(".rs") || word.ends_with('/'))
}

/// Whether the page's word means this file, or a folder that holds it. A crate may be written without `ferri-`.
fn is_meant(file: &str, word: &str) -> bool {
    let word = short(word);
    file.match_indices(word.as_str()).any(|(at, _)| {
        let starts = at == 0 || file[..at].ends_with(['/', '-']);
        starts && (word.ends_with('/') || at + word.len() == file.len())
    })
}

#[test]
fn paths_are_found_as_the_page_writes_them() {
    assert!(
        is_path("ferri-storage/pool/lanes.rs")
            && is_path("udp/")
            && !is_path("Session::add")
            && !is_path("a b.rs")
    );
    let file = short("crates/ferri-storage/src/pool/lanes.rs");
    for word in ["lanes.rs", "pool/lanes.rs", "storage/pool/lanes.rs", "ferri-storage/src/pool/", "pool/"] {
        assert!(is_meant(&file, word), "{word}");
    }
    for word in ["anes.rs", "lanes", "storage/lanes.rs", "ol/"] {
        assert!(!is_meant(&file, word), "{word}");
    }
}
