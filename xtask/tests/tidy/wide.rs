//! Comments and pages can be read without scrolling to the side.

use super::report;
use super::tree::{all_rust_files, committed_files, read, relative};

/// Columns of a comment with its indent. Prose is wrapped near 120; the rest is for the rows of tables, which cannot be.
const COMMENT_COLUMNS_MAX: usize = 160;

/// Columns of a page's prose. Rows of tables cannot be wrapped, and examples are as they are printed.
const PAGE_COLUMNS_MAX: usize = 120;

#[test]
fn comments_are_no_wider_than_a_screen() {
    let mut problems = Vec::new();
    for file in all_rust_files() {
        for (number, columns) in wide(&read(&file)) {
            problems.push(format!(
                "{}:{number}: a comment of {columns} columns; wrap it at 120",
                relative(&file)
            ));
        }
    }
    report("wide comments", &problems);
}

#[test]
fn pages_are_no_wider_than_a_screen() {
    let mut problems = Vec::new();
    for file in committed_files().iter().filter(|file| file.extension().is_some_and(|ext| ext == "md")) {
        for (number, columns) in wide_prose(&read(file)) {
            problems.push(format!("{}:{number}: {columns} columns; wrap prose at 118", relative(file)));
        }
    }
    report("wide pages", &problems);
}

/// Lines of a page that are prose and too wide, from 1 on, with their columns.
fn wide_prose(text: &str) -> Vec<(usize, usize)> {
    let mut is_example = false;
    let mut found = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        is_example ^= line.trim_start().starts_with("```");
        let columns = line.chars().count();
        if !is_example && !line.starts_with('|') && PAGE_COLUMNS_MAX < columns {
            found.push((number, columns));
        }
    }
    found
}

/// Lines that are a comment and too wide, from 1 on, with their columns. What follows code is rustfmt's to look at.
fn wide(text: &str) -> impl Iterator<Item = (usize, usize)> {
    let comments = (1..).zip(text.lines()).filter(|(_, line)| line.trim_start().starts_with("//"));
    comments
        .map(|(number, line)| (number, line.chars().count()))
        .filter(|(_, columns)| COMMENT_COLUMNS_MAX < *columns)
}

#[test]
fn columns_are_letters_and_only_comments_count() {
    let comment = |columns: usize| format!("    // {}", "é".repeat(columns - 7));
    let code = format!("let a = \"{}\";", "a".repeat(200));
    let text = [comment(160), comment(161), code, format!("//! {}", "a".repeat(200))].join("\n");
    assert_eq!(wide(&text).collect::<Vec<_>>(), [(2, 161), (4, 204)]);
}

#[test]
fn of_a_page_only_prose_counts() {
    let wide = "a".repeat(121);
    let text = format!("{wide}\n| {wide} |\n```json\n{wide}\n```\n- {wide}\n{}\n", "a".repeat(120));
    assert_eq!(wide_prose(&text), [(1, 121), (6, 123)]);
}
