//! A test for each row of the table in [`crate::names`] that is about whole paths, and the properties of the
//! mapping. Rows 1 to 8 are also tested, component by component, beside [`local_component`].

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

/// A file of a torrent: its path, and where it links to.
#[derive(Debug, Clone, Default)]
pub(super) struct Fake {
    path: Vec<String>,
    is_pad: bool,
    link: Option<Vec<String>>,
}

fn strings(path: &[&str]) -> Vec<String> {
    path.iter().map(ToString::to_string).collect()
}

pub(super) fn file(path: &[&str]) -> Fake {
    Fake { path: strings(path), ..Fake::default() }
}

fn link(path: &[&str], target: &[&str]) -> Fake {
    Fake { link: Some(strings(target)), ..file(path) }
}

pub(super) fn map_files(name: &str, files: &[Fake]) -> Result<LocalPaths, NameError> {
    let source = |index: FileIndex| {
        let fake = &files[index.as_usize()];
        let path = fake.path.iter().map(String::as_str).collect();
        Source { path, is_pad: fake.is_pad, link: fake.link.as_deref() }
    };
    LocalPaths::folder(name, "0123abcd", u32::try_from(files.len()).unwrap(), source)
}

fn map(paths: &[&[&str]]) -> Result<LocalPaths, NameError> {
    map_files("t", &paths.iter().map(|path| file(path)).collect::<Vec<_>>())
}

fn local(paths: &LocalPaths, at: usize) -> &str {
    paths.0.path(at).unwrap()
}

#[track_caller]
fn check(paths: &[&[&str]], expected: &[&str]) {
    let mapped = map(paths).unwrap();
    let locals: Vec<_> = (0..paths.len()).map(|at| local(&mapped, at).strip_prefix("t/").unwrap()).collect();
    assert_eq!(locals, expected);
}

#[track_caller]
fn check_refused(paths: &[&[&str]], file: u32, reason: NameProblem) {
    let error = map(paths).unwrap_err();
    assert_eq!((error.file, error.reason), (FileIndex(file), reason));
}

#[test]
fn rows_1_to_3_nothing_leads_out() {
    check(&[&["a", "", ".", "b"]], &["a/b"]);
    check(&[&["", "etc", "passwd"]], &["etc/passwd"]);
    check(&[&["/etc/passwd"]], &["_etc_passwd"]);
    check(&[&["..", "..", "x"]], &["_/_/x"]);
    check(&[&["a", ".."]], &["a/_"]);
    check(&[&["../../x"]], &[".._.._x"]);
    check(&[&["C:\\Windows", "system.ini"]], &["C:_Windows/system.ini"]);
}

#[test]
fn rows_4_to_7_names_are_readable_and_otherwise_kept() {
    check(&[&["a\0b"], &["\x1b]0;x\x07"], &["\u{202e}fdp.exe"]], &["a_b", "_]0;x_", "_fdp.exe"]);
    check(&[&["CON"], &["NUL.txt"], &["end."], &["-rf"]], &["CON", "NUL.txt", "end.", "-rf"]);
    check(&[&["\u{e9}"], &["e\u{301}"]], &["\u{e9}", "e\u{301}"]);
}

#[test]
fn row_8_long_names_that_differ_at_their_end_stay_apart() {
    let (a, b) = (format!("{}a.bin", "x".repeat(300)), format!("{}b.bin", "x".repeat(300)));
    let mapped = map(&[&[&a], &[&b], &[&a, "inside"]]).unwrap();
    let names: BTreeSet<_> = (0..3).map(|at| local(&mapped, at)).collect();
    assert_eq!(names.len(), 3);
    assert!(names.iter().all(|path| path.split('/').all(|part| part.len() <= 255)));
    assert!(local(&mapped, 0).ends_with(".bin") && local(&mapped, 1).ends_with(".bin"));
}

#[test]
fn row_9_repeated_paths_are_numbered_before_the_extension() {
    check(&[&["a.txt"], &["a.txt"], &["a.txt"]], &["a.txt", "a.1.txt", "a.2.txt"]);
    check(&[&["d", "a"], &["d", "", "a"], &["e", "a"]], &["d/a", "d/a.1", "e/a"]);
    // The number that is free is taken, whichever files have the others.
    check(&[&["a"], &["a"], &["a.1"]], &["a", "a.2", "a.1"]);
}

#[test]
fn row_9_an_unchanged_path_goes_before_a_changed_one() {
    check(&[&["a\0b"], &["a_b"]], &["a_b.1", "a_b"]);
    check(&[&[".."], &["_"], &["/"]], &["_.1", "_", "_.2"]);
    check(&[&["d\0", "f"], &["d_", "f"]], &["d_/f.1", "d_/f"]);
}

#[test]
fn row_9_numbers_fit_into_long_names() {
    let name = "x".repeat(255);
    let mapped = map(&[&[&name], &[&name]]).unwrap();
    assert_eq!(local(&mapped, 1), format!("t/{}.1", "x".repeat(253)));
}

#[test]
fn row_10_names_that_differ_by_case_are_two() {
    check(&[&["README"], &["readme"], &["D", "x"], &["d", "x"]], &["README", "readme", "D/x", "d/x"]);
}

#[test]
fn row_11_a_file_makes_room_for_a_folder() {
    check(&[&["a"], &["a", "b"]], &["a.1", "a/b"]);
    check(&[&["a", "b", "c"], &["a", "b"], &["a"], &["a.1"]], &["a/b/c", "a/b.1", "a.2", "a.1"]);
    check(&[&["a\0"], &["a_", "b"]], &["a_.1", "a_/b"]);
}

#[test]
fn row_12_a_path_that_is_too_long_is_refused() {
    let part = "x".repeat(250);
    let fits = vec![part.as_str(); 15];
    assert_eq!(local(&map(&[&fits]).unwrap(), 0).len(), 1 + 15 * 251);
    check_refused(&[&["fine"], &[part.as_str(); 16]], 1, NameProblem::TooLong(1 + 16 * 251));
}

#[test]
fn row_13_a_path_without_a_name_is_refused_with_its_place() {
    check_refused(&[&["a"], &["", "."]], 1, NameProblem::Nothing);
    check_refused(&[&[]], 0, NameProblem::Nothing);
    let error = map(&[&["."]]).unwrap_err();
    assert_eq!(error.to_string(), "file 0 of the torrent, \".\", cannot be stored: there is no name in it");
}

#[test]
fn errors_are_short_and_harmless_to_print() {
    let error = NameError { file: FileIndex(7), path: "\x1b[2J".repeat(100), reason: NameProblem::Nothing };
    let text = error.to_string();
    assert!(
        text.starts_with("file 7 ") && text.len() < 400 && !text.contains('\x1b') && text.contains("...")
    );
}

#[test]
fn row_14_the_torrents_own_name_follows_the_same_rules() {
    for (name, top) in [("Album", "Album"), ("..", "_"), ("a/b", "a_b"), ("", "0123abcd"), (".", "0123abcd")]
    {
        let mapped = map_files(name, &[file(&["x"])]).unwrap();
        assert_eq!(mapped.top(), Path::new(top));
        assert_eq!(mapped.path(FileIndex(0)).unwrap(), Path::new(top).join("x"));
        assert_eq!(mapped.changed_top(), Some(name).filter(|name| *name != top));
        assert_eq!(mapped.changed().count(), 0);
    }
}

#[test]
fn row_14_a_single_file_is_called_like_the_torrent() {
    let source = |path| Source { path, is_pad: false, link: None };
    for (path, expected) in
        [(vec!["a.iso"], "a.iso"), (vec!["../x"], ".._x"), (vec![""], "0123abcd"), (vec![".."], "_")]
    {
        let mapped = LocalPaths::single(&source(path.clone()), "0123abcd").unwrap();
        assert_eq!(mapped.path(FileIndex(0)), Some(Path::new(expected)));
        assert_eq!(mapped.top(), Path::new(expected));
        assert_eq!(mapped.changed().next().is_some(), path != [expected]);
        assert_eq!(mapped.path(FileIndex(1)), None);
    }
}

#[test]
fn row_15_padding_has_no_path_and_takes_no_name() {
    let pad = Fake { is_pad: true, ..file(&[".pad", "5"]) };
    let empty_pad = Fake { is_pad: true, ..Fake::default() };
    let mapped = map_files("t", &[file(&["a"]), pad, empty_pad, file(&[".pad", "5"])]).unwrap();
    assert_eq!(mapped.path(FileIndex(1)), None);
    assert_eq!(mapped.path(FileIndex(2)), None);
    assert_eq!(local(&mapped, 3), "t/.pad/5");
    assert_eq!(mapped.iter().map(|(file, _)| file.0).collect::<Vec<_>>(), [0, 3]);
}

#[test]
fn row_16_links_are_relative_to_their_folder() {
    let files = [
        file(&["a", "one"]),
        file(&["b", "c", "two"]),
        link(&["b", "c", "l0"], &["a", "one"]),
        link(&["b", "c", "l1"], &["b", "c", "two"]),
        link(&["l2"], &["b", "c"]),
        link(&["b", "l3"], &["l2", "two"]),
        link(&["l4"], &["", "a", ".", "one"]),
        link(&["e\0", "l5"], &["l2"]),
    ];
    let mapped = map_files("t", &files).unwrap();
    let targets: Vec<_> =
        (2..8).map(|at| mapped.symlink_target(FileIndex(at)).unwrap().to_str().unwrap()).collect();
    assert_eq!(targets, ["../../a/one", "two", "b/c", "../l2/two", "a/one", "../l2"]);
    assert_eq!(mapped.symlink_target(FileIndex(0)), None);
    assert!(mapped.ignored_links().is_empty());
}

#[test]
fn row_16_a_link_follows_its_target_to_its_local_name() {
    let files =
        [file(&["a\0b"]), file(&["a_b"]), link(&["l0"], &["a_b"]), link(&["l1"], &["c\0"]), file(&["c\0"])];
    let mapped = map_files("t", &files).unwrap();
    assert_eq!(mapped.symlink_target(FileIndex(2)), Some(Path::new("a_b")));
    assert_eq!(mapped.symlink_target(FileIndex(3)), Some(Path::new("c_")));
}

#[test]
fn row_17_other_links_are_not_made() {
    use LinkProblem::{Loop, Nothing, Outside};
    for (target, problem) in [
        (&["..", "x"][..], Outside),
        (&["d", "..", "a"], Outside),
        (&["/etc/passwd"], Outside),
        (&["..\\x"], Outside),
        (&["nowhere"], Nothing),
        (&["a", "below"], Nothing),
        (&["etc", "passwd"], Nothing),
        (&[".pad", "1"], Nothing),
        (&["d", "l"], Loop),
        (&["d"], Loop),
        (&[], Loop),
        (&["", "."], Loop),
        // `a\0` is called `a_.1` here, and `a_` is another file.
        (&["a\0"], Nothing),
    ] {
        let pad = Fake { is_pad: true, ..file(&[".pad", "1"]) };
        let files = [file(&["a"]), pad, link(&["d", "l"], target), file(&["a_"]), file(&["a\0"])];
        let mapped = map_files("t", &files).unwrap();
        assert_eq!(mapped.symlink_target(FileIndex(2)), None, "{target:?}");
        assert_eq!(mapped.ignored_links(), [(FileIndex(2), problem)], "{target:?}");
    }
}

#[test]
fn a_link_cannot_stand_where_a_folder_is_needed() {
    let files = [link(&["d"], &["e"]), file(&["d", "f"]), file(&["e", "g"])];
    let mapped = map_files("t", &files).unwrap();
    assert_eq!(local(&mapped, 0), "t/d.1");
    assert_eq!(local(&mapped, 1), "t/d/f");
}

#[test]
fn the_paths_of_a_parsed_torrent_are_mapped() {
    let mut out = ferri_bencode::Encoder::new();
    out.begin_dict().key(b"files").begin_list();
    let files: [(&[u8], &[&[u8]]); 4] =
        [(b"", &[b"..", b"a\0"]), (b"p", &[b".pad", b"9"]), (b"l", &[b"l"]), (b"x", &[b"bin", b"run"])];
    for (attr, path) in files {
        let is_link = attr == b"l";
        out.begin_dict().key(b"attr").bytes(attr).key(b"length").int(if is_link { 0 } else { 9 });
        out.key(b"path").begin_list();
        path.iter().for_each(|part| _ = out.bytes(part));
        out.end();
        if is_link {
            out.key(b"symlink path").begin_list().bytes(b"bin").bytes(b"run").end();
        }
        out.end();
    }
    out.end().key(b"name").bytes(b"/").key(b"piece length").int(16384).key(b"pieces").bytes(&[7; 20]).end();
    let paths = LocalPaths::new(&Info::parse(&out.into_bytes()).unwrap()).unwrap();
    let locals: Vec<_> =
        (0..4).map(|at| paths.path(FileIndex(at)).map(|path| path.to_str().unwrap())).collect();
    assert_eq!(locals, [Some("_/_/a_"), None, Some("_/l"), Some("_/bin/run")]);
    assert_eq!(paths.symlink_target(FileIndex(2)), Some(Path::new("bin/run")));
    assert_eq!((paths.top(), paths.changed_top()), (Path::new("_"), Some("/")));
}

#[test]
fn a_single_file_without_a_usable_name_is_called_by_its_info_hash() {
    for name in ["", "."] {
        let mut out = ferri_bencode::Encoder::new();
        out.begin_dict().key(b"length").int(1).key(b"name").bytes(name.as_bytes());
        out.key(b"piece length").int(16384).key(b"pieces").bytes(&[7; 20]).end();
        let info = Info::parse(&out.into_bytes()).unwrap();
        let paths = LocalPaths::new(&info).unwrap();
        assert_eq!(paths.top().to_str().unwrap(), info.info_hashes().wire().to_string());
        assert_eq!(paths.path(FileIndex(0)), Some(paths.top()));
    }
}

#[test]
fn changes_are_told_with_what_the_torrent_said() {
    let mapped = map(&[&["a"], &["b\0", "c"], &["a"]]).unwrap();
    let changed: Vec<_> =
        mapped.changed().map(|(file, was, is)| (file.0, was, is.to_str().unwrap())).collect();
    assert_eq!(changed, [(1, "b\0/c", "t/b_/c"), (2, "a", "t/a.1")]);
}

/// A debug build takes ten times as long for each.
const MANY: u32 = if cfg!(debug_assertions) { 1 << 17 } else { 1 << 20 };

#[test]
fn a_million_ordinary_files_are_mapped_in_about_a_second() {
    let names: Vec<_> = (0..MANY).map(|at| format!("file number {at}.ext")).collect();
    let source =
        |file: FileIndex| Source { path: vec!["folder", &names[file.as_usize()]], is_pad: false, link: None };
    let mapped = LocalPaths::folder("t", "", MANY, source).unwrap();
    assert_eq!(mapped.iter().count(), MANY as usize);
    assert_eq!(mapped.changed().count(), 0);
}

#[test]
fn a_million_files_of_one_name_are_mapped_in_about_a_second() {
    let count = MANY;
    let source = |_| Source { path: vec!["d", "name.ext"], is_pad: false, link: None };
    let mapped = LocalPaths::folder("t", "", count, source).unwrap();
    assert_eq!(local(&mapped, 0), "t/d/name.ext");
    assert_eq!(local(&mapped, count as usize - 1), format!("t/d/name.{}.ext", count - 1));
}

#[test]
fn paths_that_would_fill_the_memory_are_refused() {
    let part = "x".repeat(255);
    let source = |_| Source { path: vec![&part; 14], is_pad: false, link: None };
    let error = LocalPaths::folder("t", "", 1 << 17, source).unwrap_err();
    assert_eq!(error.reason, NameProblem::TooMuch);
}

/// Few different components, so that they meet; the odd ones often.
fn any_component() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[ab]",
        2 => prop::sample::select(vec!["", ".", "..", "_", "a\0", "a_", "a.1", "a.1.1", "/", "\\", "a/b", "A", "\u{e9}", "e\u{301}"])
            .prop_map(str::to_owned),
        1 => "a{250,260}(\\.x)?",
        1 => any::<String>(),
    ]
}

fn any_files() -> impl Strategy<Value = Vec<Fake>> {
    let path = || prop::collection::vec(any_component(), 1..5);
    let fake = (path(), prop::bool::weighted(0.1), prop::option::weighted(0.3, path()));
    prop::collection::vec(fake.prop_map(|(path, is_pad, link)| Fake { path, is_pad, link }), 1..30)
}

/// What a file system would have after all files were made: every path a file or a folder, never both.
fn check_tree(mapped: &LocalPaths) -> Result<BTreeMap<String, bool>, TestCaseError> {
    let mut tree = BTreeMap::new();
    for (file, path) in mapped.iter() {
        let path = path.to_str().unwrap();
        let parts: Vec<_> = path.split('/').collect();
        prop_assert!(path.len() <= PATH_BYTES_MAX && 2 <= parts.len() && parts[0] == "t", "{path:?}");
        for part in &parts {
            prop_assert!(
                !part.is_empty() && *part != "." && *part != ".." && part.len() <= COMPONENT_BYTES_MAX
            );
            prop_assert!(!part.contains(['\0', '/', '\\']));
        }
        for end in 1..parts.len() {
            let folder = tree.entry(parts[..end].join("/")).or_insert(false);
            prop_assert!(!*folder, "file {file:?} is below another file");
        }
        prop_assert_eq!(tree.insert(path.to_owned(), true), None, "file {:?} has the path of another", file);
    }
    Ok(tree)
}

proptest! {
    #[test]
    fn the_mapping_is_injective_idempotent_and_stays_inside(files in any_files()) {
        let Ok(mapped) = map_files("t", &files) else {
            let named = |fake: &Fake| fake.path.iter().any(|part| local_component(part).is_some());
            prop_assert!(files.iter().any(|fake| !fake.is_pad && !named(fake)));
            return Ok(());
        };
        check_tree(&mapped)?;
        prop_assert_eq!(mapped.iter().count(), files.iter().filter(|fake| !fake.is_pad).count());

        let again: Vec<_> = mapped
            .iter()
            .map(|(_, path)| file(&path.to_str().unwrap().split('/').skip(1).collect::<Vec<_>>()))
            .collect();
        let again = map_files("t", &again).unwrap();
        prop_assert_eq!(again.changed().count(), 0);
        prop_assert!(again.iter().map(|(_, path)| path).eq(mapped.iter().map(|(_, path)| path)));
    }

    #[test]
    fn links_stay_inside_wherever_they_lead(files in any_files()) {
        let Ok(mapped) = map_files("t", &files) else { return Ok(()) };
        let stored = files.iter().filter(|fake| !fake.is_pad && fake.link.is_some()).count();
        let made = (0..files.len()).filter(|&at| mapped.symlink_target(index(at)).is_some()).count();
        prop_assert_eq!(made + mapped.ignored_links().len(), stored);
        for (file, path) in mapped.iter() {
            let Some(target) = mapped.symlink_target(file) else { continue };
            prop_assert!(target.is_relative());
            let mut at: Vec<_> = path.parent().unwrap().iter().collect();
            for part in target {
                if part == ".." {
                    at.pop();
                } else {
                    at.push(part);
                }
                prop_assert!(!at.is_empty() && at[0] == "t");
            }
            prop_assert!(1 < at.len());
        }
    }

    #[test]
    fn a_path_that_needs_no_change_keeps_its_name(files in any_files()) {
        let Ok(mapped) = map_files("t", &files) else { return Ok(()) };
        let tree = check_tree(&mapped)?;
        let mut seen = BTreeSet::new();
        for (at, fake) in files.iter().enumerate().filter(|(_, fake)| !fake.is_pad) {
            let is_clean = fake.path.iter().all(|part| local_component(part).is_some_and(|local| local == *part));
            let whole = format!("t/{}", fake.path.join("/"));
            if is_clean && tree.get(&whole) == Some(&true) && seen.insert(whole.clone()) {
                prop_assert_eq!(local(&mapped, at), whole);
            }
        }
    }
}
