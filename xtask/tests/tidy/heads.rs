//! What each file and each crate has: a head, a licence, lints; and what none has.

use std::fs;

use super::code::{is_test_file, names_place, product_code, test_code, variants};
use super::report;
use super::tree::{all_rust_files, committed_files, crate_dirs, read, relative, root, rust_files};

#[test]
fn every_file_opens_with_what_it_is() {
    let files = all_rust_files().into_iter();
    let bare = files.filter(|file| !read(file).starts_with("//! "));
    let problems: Vec<String> =
        bare.map(|file| format!("{}:1: begin with `//! ` and what the file is", relative(&file))).collect();
    report("file heads", &problems);
}

#[test]
fn unwrap_is_for_tests() {
    let mut problems = Vec::new();
    for file in all_rust_files().iter().filter(|file| !is_test_file(file)) {
        for (number, line) in product_code(&read(file)) {
            if line.contains(".unwrap()") {
                problems.push(format!(
                    "{}:{number}: .unwrap() outside tests; say the invariant with expect()",
                    relative(file)
                ));
            }
        }
    }
    report("unwrap", &problems);
}

#[test]
fn no_file_names_the_machine_it_was_written_on() {
    // Put together here so that this file passes its own test.
    let places = [["/wo", "rk/"], ["/ro", "ot/"]].map(|parts| parts.concat());
    let mut problems = Vec::new();
    for file in committed_files() {
        // What is not text names no place that is read.
        let Ok(text) = fs::read_to_string(&file) else { continue };
        for (number, line) in text.lines().enumerate() {
            for place in places.iter().filter(|place| names_place(line, place)) {
                problems.push(format!("{}:{}: names {place}", relative(&file), number + 1));
            }
        }
    }
    report("machine paths", &problems);
}

#[test]
fn every_crate_has_the_licence_and_the_lints() {
    let mut problems = Vec::new();
    let root_manifest = read(&root().join("Cargo.toml"));
    if !root_manifest.contains("license = \"MIT OR Apache-2.0\"") {
        problems.push("Cargo.toml: the workspace's licence is MIT OR Apache-2.0".to_owned());
    }
    for crate_dir in crate_dirs() {
        let manifest = crate_dir.join("Cargo.toml");
        let text = read(&manifest);
        // The one crate with `unsafe`: its kernels, each block with its reason.
        let lints: &[&str] = if crate_dir.ends_with("ferri-hash") {
            &["unsafe_code = \"deny\"", "undocumented_unsafe_blocks = \"deny\""]
        } else {
            &["[lints]\nworkspace = true"]
        };
        for line in ["license.workspace = true", "description = "].iter().chain(lints) {
            if !text.contains(*line) {
                problems.push(format!("{}: lacks {line:?}", relative(&manifest)));
            }
        }
    }
    let fuzz = root().join("fuzz/Cargo.toml");
    if fuzz.exists() && !read(&fuzz).contains("license") {
        problems.push(format!("{}: lacks a licence", relative(&fuzz)));
    }
    for file in ["LICENSE-MIT", "LICENSE-APACHE", "Cargo.lock"] {
        if !root().join(file).exists() {
            problems.push(format!("{file} is missing"));
        }
    }
    let ignored = fs::read_to_string(root().join(".gitignore")).unwrap_or_default();
    if ignored.lines().any(|line| line.trim_start_matches('/') == "Cargo.lock") {
        problems.push("Cargo.lock must be committed, but .gitignore names it".to_owned());
    }
    report("licences and lints", &problems);
}

#[test]
fn every_misbehavior_is_named_in_a_test() {
    let src = root().join("crates/ferri-swarm/src");
    let files = rust_files(&src);
    let mut tests = String::new();
    for file in files.iter().chain(&rust_files(&root().join("crates/ferri-swarm/tests"))) {
        tests.push_str(&test_code(file, &read(file)));
    }
    let mut problems = Vec::new();
    for file in &files {
        for variant in variants(&read(file), "pub enum Misbehavior") {
            if !tests.contains(&format!("Misbehavior::{variant}")) {
                problems.push(format!("Misbehavior::{variant} ({}) is in no test", relative(file)));
            }
        }
    }
    report("misbehaviour", &problems);
}
