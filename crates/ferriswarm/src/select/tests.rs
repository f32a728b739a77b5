//! Choices among the files of one torrent.
#![allow(clippy::unwrap_used)]

use super::*;

const PATHS: [&str; 6] =
    ["cd1/01.flac", "cd1/02.flac", "cover.jpg", "cd2/notes.txt", "Subs/en.srt", "[x] (1)/a.mkv"];

fn files(only: &[&str], exclude: &[&str]) -> Files {
    let owned = |words: &[&str]| words.iter().map(ToString::to_string).collect();
    Files { select: None, only: owned(only), exclude: owned(exclude) }
}

fn choose(files: &Files, priorities: &[&str]) -> Result<Vec<FilePriority>, Failure> {
    let wishes = FileWishes { priority: priorities.iter().map(|text| text.parse().unwrap()).collect() };
    let selection = Selection::new(files, &wishes);
    let paths = Paths { name: "album", paths: &PATHS };
    let chosen = selection.chosen(&paths)?;
    selection.levels(&paths, chosen)
}

/// The numbers of the files that are wanted.
fn wanted(files: &Files) -> Vec<usize> {
    let levels = choose(files, &[]).unwrap();
    (1..).zip(levels).filter(|(_, level)| *level != FilePriority::Skip).map(|(number, _)| number).collect()
}

fn by_number(list: &str) -> Result<Vec<FilePriority>, Failure> {
    choose(&Files { select: Some(list.parse().unwrap()), ..Files::default() }, &[])
}

#[track_caller]
fn check(only: &[&str], exclude: &[&str], expected: &[usize]) {
    assert_eq!(wanted(&files(only, exclude)), expected, "--only {only:?} --exclude {exclude:?}");
}

#[track_caller]
fn refused(result: Result<Vec<FilePriority>, Failure>, message: &str, hint: &str) {
    let failure = result.unwrap_err();
    assert_eq!(failure.exit, Exit::Usage);
    assert!(failure.message.contains(message), "{}", failure.message);
    assert!(failure.hint.as_deref().unwrap().contains(hint), "{:?}", failure.hint);
}

#[test]
fn numbers_start_at_one_and_ranges_include_both_ends() {
    let chosen = |list: &str| wanted(&Files { select: Some(list.parse().unwrap()), ..Files::default() });
    assert_eq!(chosen("1-2,4"), [1, 2, 4]);
    assert_eq!(chosen("5-"), [5, 6]);
    assert_eq!(chosen("2-99"), [2, 3, 4, 5, 6]);
}

#[test]
fn numbers_beyond_the_last_file_are_refused() {
    refused(by_number("7"), "there is no file 7; this torrent has 6", "ferriswarm show");
}

#[test]
fn lists_that_are_not_lists_are_refused() {
    for text in ["", "0", "0-3", "a", "3-1", "1,,2", "1--2", "-3"] {
        assert!(text.parse::<Ranges>().is_err(), "{text}");
    }
}

#[test]
fn patterns_match_a_path_or_its_last_component() {
    check(&["*.flac"], &[], &[1, 2]);
    check(&["cd2/**", "cover.*"], &[], &[3, 4]);
    check(&["album/cd1/01.flac"], &[], &[1]);
    check(&["notes.txt"], &[], &[4]);
}

#[test]
fn folders_mean_all_that_is_below_them() {
    check(&["cd1"], &[], &[1, 2]);
    check(&["cd1/"], &[], &[1, 2]);
    check(&["./cd1/"], &[], &[1, 2]);
    check(&["album/cd1/"], &[], &[1, 2]);
    check(&["cd?/"], &[], &[1, 2, 4]);
    check(&["album"], &[], &[1, 2, 3, 4, 5, 6]);
    check(&[], &["Subs", "cd2/"], &[1, 2, 3, 6]);
    // No folder has this name, whatever files have.
    refused(choose(&files(&["cover.jpg/"], &[]), &[]), "no file or folder matches", "ferriswarm show");
}

#[test]
fn names_with_brackets_match_themselves() {
    check(&["[x] (1)"], &[], &[6]);
    check(&["[x] (1)/a.mkv"], &[], &[6]);
    check(&["[x] (1)/"], &["*.jpg"], &[6]);
}

#[test]
fn what_is_excluded_is_taken_from_what_is_chosen() {
    check(&["cd*"], &["02.flac"], &[1, 4]);
    check(&[], &["*.mkv", "*.nfo"], &[1, 2, 3, 4, 5]);
    let selected = Files { select: Some("1-3".parse().unwrap()), ..files(&[], &["*.jpg"]) };
    assert_eq!(wanted(&selected), [1, 2]);
    refused(choose(&files(&["*.jpg"], &["cover*"]), &[]), "no file is left", "ferriswarm show");
}

#[test]
fn a_pattern_that_matches_nothing_is_a_mistake_worth_telling() {
    refused(
        choose(&files(&["*.mp3"], &[]), &[]),
        "--only *.mp3: no file or folder matches",
        "lists the files",
    );
    refused(choose(&files(&["[a"], &[]), &[]), "no file or folder matches", "lists the files");
    refused(choose(&files(&["subs/"], &[]), &[]), "no file or folder matches", "there is Subs");
}

#[test]
fn priorities_are_of_the_chosen_files_and_the_last_one_counts() {
    use FilePriority::{High, Low, Normal, Skip};
    let all = Files::default();
    let levels = choose(&all, &["3=high", "cd1/=low", "2=normal", "5-=skip"]).unwrap();
    assert_eq!(levels, [Low, Normal, High, Normal, Skip, Skip]);
    assert_eq!(choose(&all, &["*=low", "cover.jpg=HIGH"]).unwrap()[2], High);
    refused(choose(&all, &["9=high"]), "--priority 9=high: there is no file 9", "ferriswarm show");
    refused(choose(&all, &["*.mp3=high"]), "--priority *.mp3: no file or folder matches", "lists the files");
    refused(choose(&files(&["*.flac"], &[]), &["3=high"]), "among the chosen ones", "--select or --only");
    refused(choose(&all, &["*=skip"]), "no file is left", "ferriswarm show");
    for text in ["", "3", "3=", "=high", "3=urgent", "3:high"] {
        assert!(text.parse::<Wish>().is_err(), "{text}");
    }
}
