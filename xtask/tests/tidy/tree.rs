//! The tree: its files, crates and manifests.

use std::fs;
use std::path::{Path, PathBuf};

pub(super) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

pub(super) fn relative(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

pub(super) fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub(super) fn crate_dirs() -> Vec<PathBuf> {
    let mut dirs: Vec<PathBuf> = fs::read_dir(root().join("crates"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("Cargo.toml").exists())
        .collect();
    dirs.push(root().join("xtask"));
    dirs.sort();
    dirs
}

/// Every Rust file of the tree, in order; build output left out.
pub(super) fn all_rust_files() -> Vec<PathBuf> {
    ["crates", "xtask", "fuzz"].into_iter().flat_map(|top| rust_files(&root().join(top))).collect()
}

pub(super) fn rust_files(dir: &Path) -> Vec<PathBuf> {
    files_below(dir).into_iter().filter(|path| path.extension().is_some_and(|ext| ext == "rs")).collect()
}

/// Every file that a commit could hold.
pub(super) fn committed_files() -> Vec<PathBuf> {
    files_below(root()).into_iter().filter(|path| path.extension().is_none_or(|ext| ext != "log")).collect()
}

fn files_below(dir: &Path) -> Vec<PathBuf> {
    const LEFT_OUT: &[&str] = &["target", ".git", ".cache", "artifacts"];
    let mut files = Vec::new();
    let Ok(entries) = fs::read_dir(dir) else { return files };
    for entry in entries {
        let entry = entry.unwrap();
        let name = entry.file_name();
        // A worktree keeps its `.git` in a file.
        if LEFT_OUT.iter().any(|left_out| name == *left_out) {
            continue;
        }
        if entry.file_type().unwrap().is_dir() {
            files.extend(files_below(&entry.path()));
        } else {
            files.push(entry.path());
        }
    }
    files.sort();
    files
}

/// Names of the dependencies in one section of a manifest, target-specific ones included.
pub(super) fn section(manifest: &str, wanted: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut inside = false;
    for line in manifest.lines().map(str::trim) {
        if let Some(header) = line.strip_prefix('[') {
            let header = header.trim_end_matches(']');
            inside = header == wanted || header.ends_with(&format!(".{wanted}"));
            if let Some(name) = header.strip_prefix(&format!("{wanted}.")) {
                found.push(name.to_owned());
            }
        } else if inside && !line.is_empty() && !line.starts_with('#') {
            let name = line.split(['=', '.', ' ']).next().unwrap_or_default();
            found.push(name.trim_matches('"').to_owned());
        }
    }
    found
}

#[test]
fn manifests_are_read() {
    let manifest = "[dependencies]\nanyhow.workspace = true\nx = \"1\"\n[dev-dependencies]\ny = \"1\"\n[dependencies.z]\n";
    assert_eq!(section(manifest, "dependencies"), ["anyhow", "x", "z"]);
}
