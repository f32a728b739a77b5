//! Which crate may depend on which, and which does no I/O, knows no runtime, reads no environment.

use super::code::{is_test_file, names, product_code};
use super::report;
use super::tree::{crate_dirs, read, relative, root, rust_files, section};

/// What each crate of the product may depend on, within the workspace. A new entry is an architectural change.
const LAYERS: &[(&str, &[&str])] = &[
    ("ferri-bencode", &[]),
    ("ferri-hash", &[]),
    ("ferri-metainfo", &["ferri-bencode", "ferri-hash"]),
    ("ferri-wire", &["ferri-bencode", "ferri-hash", "ferri-metainfo"]),
    ("ferri-tracker", &["ferri-bencode", "ferri-metainfo"]),
    ("ferri-dht", &["ferri-bencode", "ferri-hash", "ferri-metainfo"]),
    ("ferri-utp", &[]),
    ("ferri-filter", &[]),
    ("ferri-swarm", &["ferri-metainfo", "ferri-wire"]),
    ("ferri-trace", &["ferri-metainfo", "ferri-tracker", "ferri-dht", "ferri-swarm"]),
    ("ferri-storage", &["ferri-bencode", "ferri-hash", "ferri-metainfo"]),
    (
        "ferri-engine",
        &[
            "ferri-bencode",
            "ferri-metainfo",
            "ferri-wire",
            "ferri-tracker",
            "ferri-dht",
            "ferri-swarm",
            "ferri-storage",
            "ferri-trace",
        ],
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
    "ferri-utp",
    "ferri-filter",
    "ferri-swarm",
    "ferri-trace",
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

/// Crates that may depend on a runtime: the one that runs it, and the one that is run by it.
const ASYNC: &[&str] = &["ferri-engine", "ferriswarm"];

/// How the environment and the command line are read. Libraries are told everything by their callers.
const ENVIRONMENT_WORDS: &[&str] =
    &["std::env", "env::var", "env::var_os", "env::vars", "env::args", "env::args_os"];

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

fn is_ours(dependency: &str) -> bool {
    dependency.starts_with("ferri") || dependency == "xtask"
}
