//! No file imports itself by way of others.

use std::collections::BTreeSet;
use std::path::Path;

use super::check_shrinking;
use super::modules::{imports, modules, reachable};
use super::tree::{crate_dirs, relative};

/// Files that import themselves by way of others. This list only gets shorter.
const CIRCULAR_FILES: &[&str] = &[
    "crates/ferri-bencode/src/document.rs",
    "crates/ferri-bencode/src/parse.rs",
    "crates/ferri-metainfo/src/create/encode.rs",
    "crates/ferri-metainfo/src/create/hasher.rs",
    "crates/ferri-metainfo/src/create/plan.rs",
    "crates/ferri-metainfo/src/info.rs",
    "crates/ferri-metainfo/src/metainfo.rs",
    "crates/ferri-metainfo/src/names.rs",
    "crates/ferri-metainfo/src/parse.rs",
    "crates/ferri-metainfo/src/write.rs",
    "crates/ferri-sim/src/dht/probe.rs",
    "crates/ferri-sim/src/dht/world.rs",
    "crates/ferri-storage/src/disk.rs",
    "crates/ferri-storage/src/guard.rs",
    "crates/ferri-storage/src/held.rs",
    "crates/ferri-storage/src/ledger.rs",
    "crates/ferri-storage/src/neighbors.rs",
    "crates/ferri-storage/src/options.rs",
    "crates/ferri-storage/src/piece_hash.rs",
    "crates/ferri-storage/src/pool.rs",
    "crates/ferri-storage/src/resume.rs",
    "crates/ferri-storage/src/served.rs",
    "crates/ferri-storage/src/storage.rs",
    "crates/ferri-tracker/src/server/http.rs",
    "crates/ferri-tracker/src/server/metrics.rs",
    "crates/ferri-tracker/src/server/registry.rs",
    "crates/ferri-tracker/src/server/shard.rs",
    "crates/ferri-tracker/src/server/stats.rs",
    "crates/ferriswarm/src/args/files.rs",
    "crates/ferriswarm/src/console.rs",
    "crates/ferriswarm/src/ends.rs",
    "crates/ferriswarm/src/events.rs",
    "crates/ferriswarm/src/facts.rs",
    "crates/ferriswarm/src/loading.rs",
    "crates/ferriswarm/src/select.rs",
    "crates/ferriswarm/src/source.rs",
    "xtask/src/bench/goals.rs",
    "xtask/src/bench/mod.rs",
    "xtask/src/bench/table.rs",
    "xtask/src/gate.rs",
    "xtask/src/interop/kill.rs",
];

#[test]
fn no_files_import_each_other_in_a_circle() {
    let mut found = BTreeSet::new();
    for crate_dir in crate_dirs() {
        let imports = imports(&modules(&crate_dir.join("src")));
        let reached = |file: &Path| reachable(&imports, file);
        let circular = imports.keys().filter(|file| reached(file).contains(*file));
        found.extend(circular.map(|file| relative(file)));
    }
    check_shrinking("imports itself by way of others; let it call what it is given", &found, CIRCULAR_FILES);
}
