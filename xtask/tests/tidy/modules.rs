//! Which files of a crate import which. Plain text scanning, as in the rest of these rules.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::code::{is_test_file, product_code};
use super::tree::{read, rust_files};

/// A module's path from its crate's root.
pub(super) type Module = Vec<String>;

/// The files of a crate by module, without its tests.
pub(super) fn modules(src: &Path) -> BTreeMap<Module, PathBuf> {
    let mut modules = BTreeMap::new();
    let root_file = if src.join("lib.rs").exists() { "lib.rs" } else { "main.rs" };
    for file in rust_files(src).into_iter().filter(|file| !is_test_file(file)) {
        let inside = file.strip_prefix(src).unwrap().with_extension("");
        let mut module: Module = inside.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
        if file == src.join(root_file) || module.last().is_some_and(|last| last == "mod") {
            module.pop();
        } else if module == ["main"] || module[0] == "bin" {
            // Another crate, which names this one.
            continue;
        }
        modules.insert(module, file);
    }
    modules
}

/// Which file names items of which other one, be it in a `use` or not. A module and those inside it are one thing: they are
/// left out.
pub(super) fn imports(modules: &BTreeMap<Module, PathBuf>) -> BTreeMap<PathBuf, BTreeSet<PathBuf>> {
    let exported = modules.get(&Module::new()).map(|root| re_exports(&read(root))).unwrap_or_default();
    let mut imports = BTreeMap::new();
    for (module, file) in modules {
        let mut named = BTreeSet::new();
        for mut path in paths(&read(file), module) {
            if let Some(from) = path.first().and_then(|first| exported.get(first)) {
                path.clone_from(from);
            }
            // What follows the module is an item.
            while !modules.contains_key(&path) {
                path.pop();
            }
            if !path.starts_with(module) && !module.starts_with(&path) {
                named.insert(modules[&path].clone());
            }
        }
        imports.insert(file.clone(), named);
    }
    imports
}

/// Items that the root of a crate has from its modules, with the modules.
fn re_exports(root: &str) -> BTreeMap<String, Module> {
    let code: Vec<String> = product_code(root).into_iter().map(|(_, line)| line).collect();
    let mut items = BTreeMap::new();
    for statement in code.join(" ").split(';').filter_map(|statement| statement.split_once("pub use ")) {
        for path in branches(statement.1.trim()) {
            let mut path: Module = path.split("::").map(|part| part.trim().to_owned()).collect();
            let item = path.pop().unwrap_or_default();
            items.insert(item.split(" as ").last().unwrap_or_default().to_owned(), path);
        }
    }
    items
}

/// The paths from `crate` or `super` that a file of `module` names, from the root of the crate.
fn paths(text: &str, module: &Module) -> Vec<Module> {
    let code: Vec<String> = product_code(text).into_iter().map(|(_, line)| line).collect();
    let code = code.join(" ");
    let mut found = Vec::new();
    let mut rest = code.as_str();
    while let Some(at) = ["crate::", "super::"].into_iter().filter_map(|word| rest.find(word)).min() {
        let tree = tree(&rest[at..]);
        rest = &rest[at + tree.len()..];
        for path in branches(tree) {
            let mut absolute = if path.starts_with("super") { module.clone() } else { Module::new() };
            for part in path.split("::").map(str::trim) {
                match part {
                    "crate" => {}
                    "super" => drop(absolute.pop()),
                    part => absolute.push(part.split(' ').next().unwrap_or_default().to_owned()),
                }
            }
            found.push(absolute);
        }
    }
    found
}

/// The path that begins here, with everything in its braces.
fn tree(text: &str) -> &str {
    let mut depth = 0;
    let end = text.find(|c: char| {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        depth <= 0 && !(c.is_alphanumeric() || "_:}".contains(c))
    });
    let tree = &text[..end.unwrap_or(text.len())];
    // A brace that opens after an item is that of a block.
    if tree.contains("::{") { tree } else { tree.split(['{', '}']).next().unwrap_or_default() }
}

/// `a::{b, c::{d, e}}` as `a::b`, `a::c::d` and `a::c::e`.
pub(super) fn branches(tree: &str) -> Vec<String> {
    let Some((head, body)) = tree.split_once('{') else { return vec![tree.trim().to_owned()] };
    let body = body.trim_end().strip_suffix('}').unwrap_or(body);
    let mut depth = 0;
    let parts = body.split(|c: char| {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        c == ',' && depth == 0
    });
    let parts = parts.filter(|part| !part.trim().is_empty());
    parts.flat_map(branches).map(|branch| format!("{}{branch}", head.trim())).collect()
}

/// Everything that is imported from here on.
pub(super) fn reachable(imports: &BTreeMap<PathBuf, BTreeSet<PathBuf>>, from: &Path) -> BTreeSet<PathBuf> {
    let mut reached = BTreeSet::new();
    let mut next: Vec<&PathBuf> = imports[from].iter().collect();
    while let Some(file) = next.pop() {
        if reached.insert(file.clone()) {
            next.extend(&imports[file]);
        }
    }
    reached
}

#[test]
fn paths_are_read_from_imports_and_code() {
    let code =
        "use crate::{A, b::{C, d}};\nuse super::e;\nfn f() -> crate::g::H {\n    super::super::i::j()\n}\n";
    let module = ["k", "l"].map(str::to_owned).to_vec();
    let found: Vec<String> = paths(code, &module).iter().map(|path| path.join("::")).collect();
    assert_eq!(found, ["A", "b::C", "b::d", "k::e", "g::H", "i::j"]);
    let exported = re_exports("mod b;\npub use b::{C, d as D};\n");
    assert_eq!(exported.keys().collect::<Vec<_>>(), ["C", "D"]);
}
