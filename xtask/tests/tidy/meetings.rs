//! Types of the same name are told apart by their crate or module. Where two of them meet in one file, a reader has to look
//! twice, so one of them gets a name of its own.

use std::collections::{BTreeMap, BTreeSet};

use super::check_shrinking;
use super::code::{is_test_file, product_code};
use super::modules::branches;
use super::tree::{all_rust_files, read, relative};

/// Where two meet. This list only gets shorter.
const MEETINGS: &[&str] = &[
    "crates/ferri-engine/src/crew/machine.rs: Machine",
    "crates/ferri-engine/src/crew/machine.rs: Role",
    "crates/ferri-hash/src/kernels.rs: Kernel",
    "crates/ferri-metainfo/src/bitfield.rs: Bitfield",
    "crates/ferri-sim/src/node.rs: Node",
    "crates/ferri-sim/src/world.rs: Node",
    "crates/ferri-wire/src/extension.rs: Error",
    "xtask/src/sim.rs: Scenario",
];

#[test]
fn no_two_types_of_one_name_meet_in_a_file() {
    let mut found = BTreeSet::new();
    for file in all_rust_files().into_iter().filter(|file| !is_test_file(file)) {
        let names = meetings(&read(&file));
        found.extend(names.into_iter().map(|name| format!("{}: {name}", relative(&file))));
    }
    check_shrinking("is the name of two types here; give one of them another name", &found, MEETINGS);
}

/// Names of types that a file has from one place and names by its path in another one.
fn meetings(text: &str) -> BTreeSet<String> {
    let code: Vec<String> = product_code(text).into_iter().map(|(_, line)| line).collect();
    let code = code.join(" ");
    let mut imported = BTreeMap::new();
    for statement in code.split(';') {
        let Some((_, tree)) = statement.rsplit_once("use ") else { continue };
        for path in branches(tree.trim()) {
            let path: Vec<&str> = path.split("::").map(str::trim).collect();
            if let Some(last) = path.last().filter(|last| !last.contains(' ')) {
                imported.insert((*last).to_owned(), path.iter().map(|part| (*part).to_owned()).collect());
            }
        }
    }
    for word in ["struct ", "enum ", "trait "] {
        for (at, _) in code.match_indices(word) {
            let name: String = code[at + word.len()..].chars().take_while(|c| c.is_alphanumeric()).collect();
            imported.insert(name.clone(), vec!["here".to_owned(), name]);
        }
    }
    let mut found = BTreeSet::new();
    for path in code.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')) {
        let mut path: Vec<&str> = path.split("::").collect();
        // What follows the type is a constructor, a variant or a constant.
        let Some(at) = path.iter().position(|part| part.starts_with(char::is_uppercase)) else { continue };
        path.truncate(at + 1);
        let (name, Some(first)) = (path[at], path.first().filter(|_| at != 0)) else { continue };
        let root: Vec<String> = imported.get(*first).cloned().unwrap_or_else(|| vec![(*first).to_owned()]);
        let is_ours = ["crate", "super", "self"].contains(&&*root[0]) || root[0].starts_with("ferri_");
        let Some(other): Option<&Vec<String>> = imported.get(name).filter(|_| is_ours) else { continue };
        let is_ours_too =
            ["crate", "super", "self", "here"].contains(&&*other[0]) || other[0].starts_with("ferri_");
        let module = if at == 1 { root.last().map(String::as_str) } else { Some(path[at - 1]) };
        if is_ours_too && other.len().checked_sub(2).map(|before| other[before].as_str()) != module {
            found.insert(name.to_owned());
        }
    }
    found
}

#[test]
fn a_meeting_is_seen() {
    let met = |text: &str| meetings(text).into_iter().collect::<Vec<_>>();
    assert_eq!(met("use crate::status::Event;\nfn f(event: ferri_swarm::Event) {}\n"), ["Event"]);
    assert_eq!(met("use ferri_swarm::{Event, swarm};\nfn f() { let _ = ferri_swarm::Event::A; }\n"), [""; 0]);
    assert_eq!(met("use super::task::Inbox;\nuse crate::crew;\nfn f(inbox: crew::Inbox) {}\n"), ["Inbox"]);
    assert_eq!(met("struct Machine;\nimpl ferri_trace::Machine for Machine {}\n"), ["Machine"]);
    assert_eq!(met("use std::io;\nuse crate::Error;\nfn f() -> io::Error {}\n"), [""; 0]);
}
