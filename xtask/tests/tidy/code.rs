//! Rust as this test reads it: lines without comments, strings and test modules.

use std::path::Path;

use super::tree::relative;

pub(super) fn is_test_file(path: &Path) -> bool {
    let path = relative(path);
    path.contains("/tests/")
        || path.contains("/benches/")
        || path.ends_with("/tests.rs")
        || path.starts_with("fuzz/")
}

/// The lines outside test modules, numbered from 1, without comments and without what strings say.
pub(super) fn product_code(text: &str) -> Vec<(usize, String)> {
    let tests = test_modules(text);
    blanked(text)
        .into_iter()
        .enumerate()
        .map(|(index, line)| (index + 1, line))
        .filter(|(number, _)| !tests.iter().any(|range| range.contains(number)))
        .collect()
}

/// The text of tests: whole test files, and the test modules of others.
pub(super) fn test_code(path: &Path, text: &str) -> String {
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
pub(super) fn blanked(text: &str) -> Vec<String> {
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
pub(super) fn names(line: &str, word: &str) -> bool {
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
pub(super) fn names_place(line: &str, place: &str) -> bool {
    line.match_indices(place).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || "._-/}$~*>".contains(c))
    })
}

/// Name and length in lines of every function with a body, tests included.
pub(super) fn functions(text: &str) -> Vec<(String, usize)> {
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
pub(super) fn variants(text: &str, head: &str) -> Vec<String> {
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
fn variants_are_listed() {
    let code = "pub enum Misbehavior {\n    /// A.\n    A,\n    B(u8),\n    C { d: u8 },\n}\n";
    assert_eq!(variants(code, "pub enum Misbehavior"), ["A", "B", "C"]);
}
