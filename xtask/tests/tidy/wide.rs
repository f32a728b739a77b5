//! Comments can be read without scrolling to the side.

use super::{all_rust_files, read, relative, report};

/// Columns of a comment with its indent. Prose is wrapped near 120; the rest is for the rows of tables, which cannot be.
const COMMENT_COLUMNS_MAX: usize = 160;

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
