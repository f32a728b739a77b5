//! How long files and functions are, and how many fields structs have.

use std::collections::BTreeSet;

use super::check_shrinking;
use super::code::{functions, is_test_file, product_code};
use super::tree::{all_rust_files, read, relative};

const FILE_LINES_MAX: usize = 800;

const FUNCTION_LINES_MAX: usize = 70;

/// Files that are longer. This list only gets shorter.
const LONG_FILES: &[&str] = &[];

/// Functions that are longer, as `path: name`. This list only gets shorter.
const LONG_FUNCTIONS: &[&str] = &[];

/// What has more is several things.
const FIELDS_MAX: usize = 15;

/// Structs that have more, as `path: name`. This list only gets shorter.
const LARGE_STRUCTS: &[&str] = &[
    "crates/ferri-dht/src/node.rs: Node",
    "crates/ferri-engine/src/status.rs: TorrentStatus",
    "crates/ferri-engine/src/torrent/disk.rs: Disk",
    "crates/ferri-sim/src/dht/report.rs: Report",
    "crates/ferri-sim/src/dht/scenario.rs: Scenario",
    "crates/ferri-sim/src/dht/world.rs: World",
    "crates/ferri-storage/src/storage.rs: Storage",
    "crates/ferri-swarm/src/metadata/peer.rs: Peer",
    "crates/ferri-swarm/src/options.rs: SwarmOptions",
    "crates/ferri-swarm/src/peer.rs: Peer",
    "crates/ferri-swarm/src/picker/mod.rs: Picker",
    "crates/ferri-swarm/src/requests.rs: Requests",
    "crates/ferri-swarm/src/status.rs: PeerStats",
    "crates/ferri-swarm/src/status.rs: SwarmStats",
    "crates/ferri-swarm/src/swarm.rs: Swarm",
    "crates/ferriswarm/src/args.rs: Network",
    "crates/ferriswarm/src/commands/get/batch.rs: Batch",
    "crates/ferriswarm/src/events.rs: Progress",
    "crates/ferriswarm/src/facts.rs: Facts",
    "crates/ferriswarm/src/facts.rs: Redacted",
    "crates/ferriswarm/src/watch.rs: Watched",
];

#[test]
fn files_are_short() {
    let long: BTreeSet<String> = all_rust_files()
        .iter()
        .filter(|file| read(file).lines().count() > FILE_LINES_MAX)
        .map(|file| relative(file))
        .collect();
    check_shrinking("a file has at most 800 lines; split it by concern", &long, LONG_FILES);
}

#[test]
fn functions_fit_a_screen() {
    let mut long = BTreeSet::new();
    for file in all_rust_files() {
        for (name, length) in functions(&read(&file)) {
            if length > FUNCTION_LINES_MAX {
                long.insert(format!("{}: {name}", relative(&file)));
            }
        }
    }
    check_shrinking("a function has at most 70 lines; split it by concern", &long, LONG_FUNCTIONS);
}

#[test]
fn structs_have_few_fields() {
    let mut large = BTreeSet::new();
    for file in all_rust_files().into_iter().filter(|file| !is_test_file(file)) {
        for (name, fields) in structs(&read(&file)) {
            if fields > FIELDS_MAX {
                large.insert(format!("{}: {name}", relative(&file)));
            }
        }
    }
    check_shrinking("a struct has at most 15 fields; some of them are another struct", &large, LARGE_STRUCTS);
}

/// Name and number of fields of every struct outside of test modules, in rustfmt's layout: four spaces, then a field.
fn structs(text: &str) -> Vec<(String, usize)> {
    let lines: Vec<String> = product_code(text).into_iter().map(|(_, line)| line).collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let Some((before, rest)) = line.split_once("struct ") else { continue };
        if !(before.is_empty() || before.starts_with("pub")) || !line.trim_end().ends_with('{') {
            continue;
        }
        let name = rest.chars().take_while(|c| c.is_alphanumeric()).collect();
        let body = lines[start + 1..].iter().take_while(|line| !line.starts_with('}'));
        let is_field = |line: &&String| {
            line.strip_prefix("    ").is_some_and(|field| {
                field.starts_with(|c: char| c.is_alphabetic() || c == '_') && field.contains(": ")
            })
        };
        found.push((name, body.filter(is_field).count()));
    }
    found
}

#[test]
fn fields_are_counted() {
    let code =
        "pub struct A<T> {\n    /// B: C.\n    #[d]\n    e: u8,\n    pub(crate) f: T,\n}\n\nstruct G(u8);\n";
    assert_eq!(structs(code), [("A".into(), 2)]);
}
