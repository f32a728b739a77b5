//! The rules of the tree that the compiler does not check: layers, absence of I/O, file heads, sizes, licences, words.
//!
//! Plain text scanning, made for code that rustfmt has laid out. It knows strings, comments and test modules, not
//! Rust; a rule that needs more belongs into clippy.

#![allow(clippy::unwrap_used, missing_docs)]

mod circles;
mod code;
mod heads;
mod layers;
mod makers;
mod meetings;
mod modules;
mod pages;
mod riddles;
mod size;
mod skipped;
mod tree;
mod wide;

use std::collections::BTreeSet;

fn report(rule: &str, problems: &[String]) {
    assert!(problems.is_empty(), "{rule}: {} problem(s)\n  {}", problems.len(), problems.join("\n  "));
}

fn check_shrinking(rule: &str, found: &BTreeSet<String>, allowed: &[&str]) {
    let mut problems = Vec::new();
    for name in found {
        if !allowed.contains(&name.as_str()) {
            problems.push(format!("{name}: {rule}"));
        }
    }
    for name in allowed {
        if !found.contains(*name) {
            problems.push(format!("{name}: is as it should be; take it off its list in xtask/tests/tidy"));
        }
    }
    report(rule, &problems);
}
