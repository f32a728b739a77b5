//! The rules of the tree that the compiler does not check: layers, absence of I/O, file heads, sizes, licences.
//!
//! Plain text scanning, made for code that rustfmt has laid out. It knows strings, comments and test modules, not
//! Rust; a rule that needs more belongs into clippy.

#![allow(clippy::unwrap_used, missing_docs)]

#[path = "tidy/makers.rs"]
mod makers;
#[path = "tidy/modules.rs"]
mod modules;
#[path = "tidy/skipped.rs"]
mod skipped;
#[path = "tidy/wide.rs"]
mod wide;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use modules::{imports, modules, reachable};

/// What each crate of the product may depend on, within the workspace. A new entry is an architectural change.
const LAYERS: &[(&str, &[&str])] = &[
    ("ferri-bencode", &[]),
    ("ferri-hash", &[]),
    ("ferri-metainfo", &["ferri-bencode", "ferri-hash"]),
    ("ferri-wire", &["ferri-bencode", "ferri-hash", "ferri-metainfo"]),
    ("ferri-tracker", &["ferri-bencode", "ferri-metainfo"]),
    ("ferri-dht", &["ferri-bencode", "ferri-hash", "ferri-metainfo"]),
    ("ferri-swarm", &["ferri-metainfo", "ferri-wire"]),
    ("ferri-storage", &["ferri-bencode", "ferri-hash", "ferri-metainfo"]),
    (
        "ferri-engine",
        &["ferri-metainfo", "ferri-wire", "ferri-tracker", "ferri-dht", "ferri-swarm", "ferri-storage"],
    ),
    ("ferri-tracker-server", &["ferri-metainfo", "ferri-storage", "ferri-tracker"]),
    ("ferriswarm", &["ferri-engine", "ferri-metainfo", "ferri-tracker-server"]),
];

/// For development: these may depend on anything, and nothing of the product on them.
const DEVELOPMENT: &[&str] = &["ferri-sim", "ferri-bench", "xtask"];

/// Crates without sockets, files, threads, clocks, runtime or chance, outside their tests.
const NO_IO: &[&str] = &[
    "ferri-bencode",
    "ferri-hash",
    "ferri-metainfo",
    "ferri-wire",
    "ferri-tracker",
    "ferri-dht",
    "ferri-swarm",
];

/// What such a crate does not say. Addresses (`std::net::SocketAddr`) are data and fine.
const IO_WORDS: &[&str] = &[
    "std::fs",
    "std::thread",
    "std::process",
    "std::env",
    "std::os",
    "std::io::stdin",
    "std::io::stdout",
    "std::io::stderr",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "ToSocketAddrs",
    "Instant::now",
    "SystemTime",
    ".elapsed()",
    "thread_rng",
    "rand::rng",
    "rand::random",
    "OsRng",
    "RandomState",
    "tokio",
    "async_std",
    "socket2",
    "rustix",
    "reqwest",
];

/// External crates that such a crate does not depend on.
const IO_CRATES: &[&str] =
    &["tokio", "socket2", "rustix", "libc", "rand", "reqwest", "hyper", "crossbeam-channel"];

/// Who may depend on a runtime: who runs it, and who is run by it.
const ASYNC: &[&str] = &["ferri-engine", "ferriswarm"];

/// How the environment and the command line are read. Libraries are told everything by their callers.
const ENVIRONMENT_WORDS: &[&str] =
    &["std::env", "env::var", "env::var_os", "env::vars", "env::args", "env::args_os"];

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
    "crates/ferri-engine/src/options.rs: SessionOptions",
    "crates/ferri-engine/src/resolve/mod.rs: ResolveStatus",
    "crates/ferri-engine/src/resolve/search.rs: Search",
    "crates/ferri-engine/src/status.rs: TorrentStatus",
    "crates/ferri-engine/src/torrent/disk.rs: Disk",
    "crates/ferri-engine/src/torrent/task.rs: Task",
    "crates/ferri-sim/src/dht/report.rs: Report",
    "crates/ferri-sim/src/dht/scenario.rs: Scenario",
    "crates/ferri-sim/src/dht/world.rs: World",
    "crates/ferri-sim/src/node.rs: Node",
    "crates/ferri-storage/src/storage.rs: Storage",
    "crates/ferri-swarm/src/metadata/peer.rs: Peer",
    "crates/ferri-swarm/src/options.rs: SwarmOptions",
    "crates/ferri-swarm/src/peer.rs: Peer",
    "crates/ferri-swarm/src/picker/mod.rs: Picker",
    "crates/ferri-swarm/src/requests.rs: Requests",
    "crates/ferri-swarm/src/status.rs: PeerStatus",
    "crates/ferri-swarm/src/status.rs: SwarmStats",
    "crates/ferri-swarm/src/swarm.rs: Swarm",
    "crates/ferriswarm/src/args.rs: Network",
    "crates/ferriswarm/src/commands/get/batch.rs: Batch",
    "crates/ferriswarm/src/events.rs: Progress",
    "crates/ferriswarm/src/facts.rs: Facts",
    "crates/ferriswarm/src/facts.rs: Redacted",
    "crates/ferriswarm/src/watch.rs: Watched",
];

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
    "crates/ferri-storage/src/journal.rs",
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
fn crates_depend_downwards_only() {
    let mut problems = Vec::new();
    for crate_dir in crate_dirs() {
        let name = crate_dir.file_name().unwrap().to_str().unwrap().to_owned();
        let dependencies = section(&read(&crate_dir.join("Cargo.toml")), "dependencies");
        let ours = dependencies.iter().filter(|dependency| is_ours(dependency));
        if DEVELOPMENT.contains(&name.as_str()) {
            continue;
        }
        let Some((_, allowed)) = LAYERS.iter().find(|(layer, _)| *layer == name) else {
            problems.push(format!("crate {name} is not in the layering table of {}", file!()));
            continue;
        };
        for dependency in ours {
            if !allowed.contains(&dependency.as_str()) {
                problems.push(format!("{name} must not depend on {dependency} (allowed: {allowed:?})"));
            }
        }
    }
    report("layering", &problems);
}

#[test]
fn crates_without_io_do_not_name_it() {
    let mut problems = Vec::new();
    for name in NO_IO {
        let dir = root().join("crates").join(name);
        for dependency in section(&read(&dir.join("Cargo.toml")), "dependencies") {
            if IO_CRATES.contains(&dependency.as_str()) {
                problems.push(format!("{name} does no I/O and must not depend on {dependency}"));
            }
        }
        for file in rust_files(&dir.join("src")).into_iter().filter(|file| !is_test_file(file)) {
            for (number, line) in product_code(&read(&file)) {
                for word in IO_WORDS.iter().filter(|word| names(&line, word)) {
                    problems
                        .push(format!("{}:{number}: {word} in a crate that does no I/O", relative(&file)));
                }
            }
        }
    }
    report("no I/O", &problems);
}

#[test]
fn only_the_engine_and_the_program_know_a_runtime() {
    let mut problems = Vec::new();
    for (name, _) in LAYERS.iter().filter(|(name, _)| !ASYNC.contains(name)) {
        let manifest = read(&root().join("crates").join(name).join("Cargo.toml"));
        for dependency in section(&manifest, "dependencies") {
            if dependency.starts_with("tokio") || dependency == "hyper" {
                problems.push(format!("{name} must not depend on {dependency}: no runtime below the engine"));
            }
        }
    }
    report("runtime", &problems);
}

#[test]
fn only_the_program_reads_the_environment() {
    let mut problems = Vec::new();
    for (name, _) in LAYERS.iter().filter(|(name, _)| *name != "ferriswarm") {
        let files = rust_files(&root().join("crates").join(name).join("src"));
        for file in files.into_iter().filter(|file| !is_test_file(file)) {
            for (number, line) in product_code(&read(&file)) {
                if ENVIRONMENT_WORDS.iter().any(|word| names(&line, word)) {
                    problems.push(format!("{}:{number}: only the program reads it", relative(&file)));
                }
            }
        }
    }
    report("environment", &problems);
}

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

#[test]
fn no_file_names_the_machine_it_was_written_on() {
    // Put together here so that this file passes its own test.
    let places = [["/wo", "rk/"], ["/ro", "ot/"]].map(|parts| parts.concat());
    let mut problems = Vec::new();
    for file in committed_files() {
        // What is not text names no place that anybody reads.
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

// ---- the tree ----

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn crate_dirs() -> Vec<PathBuf> {
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
fn all_rust_files() -> Vec<PathBuf> {
    ["crates", "xtask", "fuzz"].into_iter().flat_map(|top| rust_files(&root().join(top))).collect()
}

fn rust_files(dir: &Path) -> Vec<PathBuf> {
    files_below(dir).into_iter().filter(|path| path.extension().is_some_and(|ext| ext == "rs")).collect()
}

/// Every file that a commit could hold.
fn committed_files() -> Vec<PathBuf> {
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

fn is_ours(dependency: &str) -> bool {
    dependency.starts_with("ferri") || dependency == "xtask"
}

fn is_test_file(path: &Path) -> bool {
    let path = relative(path);
    path.contains("/tests/")
        || path.contains("/benches/")
        || path.ends_with("/tests.rs")
        || path.starts_with("fuzz/")
}

// ---- manifests ----

/// Names of the dependencies in one section of a manifest, target-specific ones included.
fn section(manifest: &str, wanted: &str) -> Vec<String> {
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

// ---- code ----

/// The lines outside test modules, numbered from 1, without comments and without what strings say.
fn product_code(text: &str) -> Vec<(usize, String)> {
    let tests = test_modules(text);
    blanked(text)
        .into_iter()
        .enumerate()
        .map(|(index, line)| (index + 1, line))
        .filter(|(number, _)| !tests.iter().any(|range| range.contains(number)))
        .collect()
}

/// The text of tests: whole test files, and the test modules of others.
fn test_code(path: &Path, text: &str) -> String {
    if is_test_file(path) {
        return text.to_owned();
    }
    let lines: Vec<&str> = text.lines().collect();
    let modules = test_modules(text);
    modules
        .iter()
        .flat_map(|range| lines[range.start - 1..range.end - 1].iter().map(|line| format!("{line}\n")))
        .collect()
}

/// Line ranges of the items behind `#[cfg(test)]`, in rustfmt's layout: an item at some indent ends with the first
/// line at that indent that closes it.
fn test_modules(text: &str) -> Vec<std::ops::Range<usize>> {
    let lines: Vec<&str> = text.lines().collect();
    let mut ranges = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let line = lines[at].trim_start();
        if !line.starts_with("#[cfg(test)]") && !line.starts_with("#[cfg(all(test") {
            at += 1;
            continue;
        }
        let indent = &lines[at][..lines[at].len() - line.len()];
        let close = [format!("{indent}}}"), format!("{indent}}};")];
        let mut end = at + 1;
        while end < lines.len() {
            let line = lines[end];
            let one_line = line.starts_with(indent)
                && !line[indent.len()..].starts_with([' ', '#'])
                && (line.ends_with(';') || line.ends_with(','));
            if close.iter().any(|close| line == close.as_str()) || one_line {
                break;
            }
            end += 1;
        }
        ranges.push(at + 1..end + 2);
        at = end + 1;
    }
    ranges
}

/// The lines with comments and the contents of strings replaced by spaces.
fn blanked(text: &str) -> Vec<String> {
    #[derive(Clone, Copy, PartialEq)]
    enum In {
        Code,
        Block(u32),
        Text,
        Raw(usize),
    }
    let mut state = In::Code;
    let mut lines = Vec::new();
    for line in text.lines() {
        let bytes = line.as_bytes();
        let mut out = String::with_capacity(line.len());
        let mut at = 0;
        while at < bytes.len() {
            let rest = &line.as_bytes()[at..];
            let (next, step, keep) = match state {
                In::Code if rest.starts_with(b"//") => break,
                In::Code if rest.starts_with(b"/*") => (In::Block(1), 2, false),
                In::Code if rest[0] == b'"' => (In::Text, 1, false),
                In::Code if raw_string(bytes, at).is_some() => {
                    let hashes = raw_string(bytes, at).unwrap();
                    (In::Raw(hashes), hashes + 2, false)
                }
                In::Code if rest.starts_with(b"'") => (In::Code, char_literal_len(rest), false),
                In::Code => (In::Code, 1, true),
                In::Block(1) if rest.starts_with(b"*/") => (In::Code, 2, false),
                In::Block(depth) if rest.starts_with(b"*/") => (In::Block(depth - 1), 2, false),
                In::Block(depth) if rest.starts_with(b"/*") => (In::Block(depth + 1), 2, false),
                In::Text if rest[0] == b'\\' => (In::Text, 2, false),
                In::Text if rest[0] == b'"' => (In::Code, 1, false),
                In::Raw(hashes) if ends_raw(rest, hashes) => (In::Code, hashes + 1, false),
                state => (state, 1, false),
            };
            for byte in bytes.iter().skip(at).take(step) {
                out.push(if keep { char::from(*byte) } else { ' ' });
            }
            state = next;
            at += step;
        }
        lines.push(out);
    }
    lines
}

/// How many `#` a raw string that starts here has, if one does.
fn raw_string(bytes: &[u8], at: usize) -> Option<usize> {
    let before = at.checked_sub(1).map(|before| bytes[before]);
    if before.is_some_and(|byte| byte.is_ascii_alphanumeric() && byte != b'b' || byte == b'_')
        || bytes[at] != b'r'
    {
        return None;
    }
    let hashes = bytes[at + 1..].iter().take_while(|byte| **byte == b'#').count();
    (bytes.get(at + 1 + hashes) == Some(&b'"')).then_some(hashes)
}

fn ends_raw(rest: &[u8], hashes: usize) -> bool {
    rest[0] == b'"' && rest.len() > hashes && rest[1..=hashes].iter().all(|byte| *byte == b'#')
}

/// `'x'`, `'\''`; a lifetime is one quote long.
fn char_literal_len(rest: &[u8]) -> usize {
    if rest.get(1) == Some(&b'\\') {
        return rest.iter().skip(3).position(|byte| *byte == b'\'').map_or(1, |at| at + 4);
    }
    let end = rest.iter().skip(1).take(5).position(|byte| *byte == b'\'');
    match end {
        Some(0) | None => 1,
        // Between the quotes there is one character, of up to four bytes.
        Some(length) => {
            let inside = std::str::from_utf8(&rest[1..=length]);
            if inside.is_ok_and(|inside| inside.chars().count() == 1) { length + 2 } else { 1 }
        }
    }
}

/// Whether a line has the word, not as a part of a longer one.
fn names(line: &str, word: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        let joins_before = before.is_some_and(is_word) && word.starts_with(is_word);
        let joins_after = after.is_some_and(is_word) && word.ends_with(is_word);
        !joins_before && !joins_after
    })
}

/// Whether an absolute path begins here: `"/place`, ` /place`, not `some/place` or `https://host/place`.
fn names_place(line: &str, place: &str) -> bool {
    line.match_indices(place).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || "._-/}$~*>".contains(c))
    })
}

/// Name and length in lines of every function with a body, tests included.
fn functions(text: &str) -> Vec<(String, usize)> {
    let lines = blanked(text);
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let Some(name) = function_name(line) else { continue };
        let indent = &line[..line.len() - line.trim_start().len()];
        let close = format!("{indent}}}");
        let mut end = start;
        // rustfmt closes a body at the indent of its `fn`; a declaration ends with a semicolon.
        while end < lines.len() && lines[end].trim_end() != close {
            let ends_here = lines[end].trim_end();
            if (ends_here.ends_with('}') && end == start)
                || (ends_here.ends_with(';') && !body_began(&lines[start..=end]))
            {
                break;
            }
            end += 1;
        }
        found.push((name, end - start + 1));
    }
    found
}

fn body_began(lines: &[String]) -> bool {
    lines.iter().any(|line| line.trim_end().ends_with('{'))
}

fn function_name(line: &str) -> Option<String> {
    let words = line.trim_start();
    let at = if words.starts_with("fn ") { 0 } else { words.find(" fn ")? + 1 };
    let before = &words[..at];
    let qualifiers = ["pub", "const", "async", "unsafe", "extern"];
    if !before
        .split_whitespace()
        .all(|word| qualifiers.iter().any(|known| word.starts_with(known)) || word.ends_with(')'))
    {
        return None;
    }
    let name: String = words[at + 3..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    (!name.is_empty()).then_some(name)
}

/// The variants of an enum, in rustfmt's layout: four spaces, then the name.
fn variants(text: &str, head: &str) -> Vec<String> {
    let lines = blanked(text);
    let Some(start) = lines.iter().position(|line| line.starts_with(head)) else { return Vec::new() };
    lines[start + 1..]
        .iter()
        .take_while(|line| !line.starts_with('}'))
        .filter_map(|line| line.strip_prefix("    "))
        .filter(|line| line.starts_with(|c: char| c.is_ascii_uppercase()))
        .map(|line| line.chars().take_while(|c| c.is_alphanumeric()).collect())
        .collect()
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

// ---- reports ----

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
            problems.push(format!("{name}: is as it should be; take it off the list in {}", file!()));
        }
    }
    report(rule, &problems);
}

// ---- tests of the scanner itself ----

#[test]
fn comments_and_strings_are_blanked() {
    let code = "let a = \"std::fs\"; // tokio\nlet b = r#\"x \" tokio\"#; c('\"'); d::<'a>(\"\\\"\");\n/* tokio\n*/ e()";
    let lines = blanked(code);
    assert!(!lines.join("\n").contains("tokio") && !lines.join("\n").contains("std::fs"));
    assert!(lines[1].contains("c(") && lines[1].contains("d::<") && lines[3].contains("e()"));
}

#[test]
fn test_modules_are_left_out() {
    let code = "a\n#[cfg(test)]\nmod tests {\n    b\n}\nc\n#[cfg(test)]\nmod more;\nd\n";
    let kept: Vec<usize> = product_code(code).into_iter().map(|(number, _)| number).collect();
    assert_eq!(kept, [1, 6, 9]);
}

#[test]
fn words_are_found_whole() {
    assert!(names("use std::fs;", "std::fs") && names("x.elapsed()", ".elapsed()"));
    assert!(!names("tokiox", "tokio") && !names("my_tokio", "tokio"));
}

#[test]
fn functions_are_measured() {
    let code = "fn a() {\n    b\n}\n\nimpl X {\n    pub(crate) async fn c(\n        d: u8,\n    ) -> u8 {\n        e;\n        f\n    }\n\n    fn g();\n}\n";
    assert_eq!(functions(code), [("a".into(), 3), ("c".into(), 6), ("g".into(), 1)]);
}

#[test]
fn fields_are_counted() {
    let code =
        "pub struct A<T> {\n    /// B: C.\n    #[d]\n    e: u8,\n    pub(crate) f: T,\n}\n\nstruct G(u8);\n";
    assert_eq!(structs(code), [("A".into(), 2)]);
}

#[test]
fn variants_are_listed() {
    let code = "pub enum Misbehavior {\n    /// A.\n    A,\n    B(u8),\n    C { d: u8 },\n}\n";
    assert_eq!(variants(code, "pub enum Misbehavior"), ["A", "B", "C"]);
}

#[test]
fn manifests_are_read() {
    let manifest = "[dependencies]\nanyhow.workspace = true\nx = \"1\"\n[dev-dependencies]\ny = \"1\"\n[dependencies.z]\n";
    assert_eq!(section(manifest, "dependencies"), ["anyhow", "x", "z"]);
}
