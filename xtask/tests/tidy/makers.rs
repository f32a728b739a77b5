//! What makes sockets and files, and looks up names.

use super::code::{is_test_file, names, product_code};
use super::report;
use super::tree::{read, relative, root, rust_files};

/// Makes a socket, or an address of a name.
const SOCKET_WORDS: &[&str] = &[
    "TcpSocket",
    "TcpStream::connect",
    "TcpListener::bind",
    "UdpSocket::bind",
    "UnixStream",
    "UnixListener",
    "UnixDatagram",
    "Socket::new",
    "Socket::pair",
    "from_std",
    "lookup_host",
    "ToSocketAddrs",
    "to_socket_addrs",
    "HttpConnector",
    "GaiResolver",
];

/// The files that do: bytes leave a process in few places.
const SOCKET_MAKERS: &[&str] =
    &["crates/ferri-engine/src/egress/", "crates/ferri-tracker-server/src/bind.rs"];

/// Makes, writes, moves or removes a file or a folder. Options that only read are not among them.
const FILE_WORDS: &[&str] = &[
    "File::create",
    "File::create_new",
    ".append(true)",
    ".create(",
    ".create_new(",
    ".write(true)",
    "OFlags::CREATE",
    "OFlags::RDWR",
    "OFlags::WRONLY",
    "tokio::fs",
    "fs::copy",
    "fs::create_dir",
    "fs::create_dir_all",
    "fs::hard_link",
    "fs::remove_dir",
    "fs::remove_dir_all",
    "fs::remove_file",
    "fs::rename",
    "fs::write",
    "DirBuilder",
    "symlink(",
];

/// The files outside `ferri-storage` that do. This list only gets shorter.
const FILE_MAKERS: &[(&str, &str)] = &[
    ("crates/ferri-engine/src/torrent/resolving/cache.rs", "a damaged description is put aside"),
    ("crates/ferri-engine/src/trace_file.rs", "the trace that was asked for"),
    ("crates/ferri-tracker-server/src/state.rs", "a state that is none is put aside"),
    ("crates/ferriswarm/src/commands/demo/folder.rs", "the demonstration's own folder"),
    ("crates/ferriswarm/src/commands/demo/payload.rs", "what the demonstration shares"),
    ("crates/ferriswarm/src/commands/dht/key.rs", "the key that was asked for"),
    ("crates/ferriswarm/src/log.rs", "the log that was asked for"),
];

/// Crates of the product with a runtime or threads of their own.
const WITH_IO: &[&str] = &["ferri-engine", "ferri-tracker-server", "ferriswarm"];

#[test]
fn sockets_are_made_and_names_looked_up_in_few_places() {
    let problems: Vec<String> = product_lines_with(SOCKET_WORDS)
        .filter(|(file, ..)| !SOCKET_MAKERS.iter().any(|maker| file.starts_with(maker)))
        .map(|(file, number, word)| format!("{file}:{number}: {word}; ask `Egress` for it"))
        .collect();
    report("sockets and names", &problems);
    for maker in SOCKET_MAKERS {
        assert!(
            root().join(maker).exists(),
            "{maker} is not there any more; take it off the list in {}",
            file!()
        );
    }
}

#[test]
fn files_are_made_by_the_storage_and_a_few_that_are_named() {
    let found: Vec<_> = product_lines_with(FILE_WORDS).collect();
    let mut problems: Vec<String> = found
        .iter()
        .filter(|(file, ..)| !FILE_MAKERS.iter().any(|(maker, _)| file == maker))
        .map(|(file, number, word)| format!("{file}:{number}: {word}; files are made by ferri-storage"))
        .collect();
    for (maker, why) in FILE_MAKERS {
        if !found.iter().any(|(file, ..)| file == maker) {
            problems
                .push(format!("{maker} ({why}) makes none any more; take it off the list in {}", file!()));
        }
    }
    report("files", &problems);
}

/// File, line and word wherever a crate with I/O has one of these words, outside its tests.
fn product_lines_with(words: &'static [&'static str]) -> impl Iterator<Item = (String, usize, &'static str)> {
    let files = WITH_IO.iter().flat_map(|name| rust_files(&root().join("crates").join(name).join("src")));
    files.filter(|file| !is_test_file(file)).flat_map(move |file| {
        let lines = product_code(&read(&file)).into_iter();
        let name = relative(&file);
        lines
            .flat_map(move |(number, line)| {
                let found = words.iter().filter(|word| names(&line, word)).copied().collect::<Vec<_>>();
                let name = name.clone();
                found.into_iter().map(move |word| (name.clone(), number, word))
            })
            .collect::<Vec<_>>()
    })
}
