//! Text for a terminal: made harmless, measured in columns, cut to fit, quoted for a shell.

use ferri_metainfo::display;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Outside text without control, C1 and bidi characters.
pub(crate) fn harmless(text: &str) -> String {
    display::sanitize(text).into_owned()
}

/// Columns that the text takes on a terminal.
pub(crate) fn width(text: &str) -> usize {
    text.width()
}

/// At most `columns` wide; what is cut away is shown as `…` in the middle, so that a number or an extension at
/// the end stays.
pub(crate) fn shorten(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    if columns == 0 {
        return String::new();
    }
    let keep = columns - 1;
    let tail_columns = keep / 3;
    let head = take_columns(text.chars(), keep - tail_columns);
    let tail: String = {
        let reversed = take_columns(text.chars().rev(), tail_columns);
        reversed.chars().rev().collect()
    };
    format!("{head}…{tail}")
}

fn take_columns(chars: impl Iterator<Item = char>, columns: usize) -> String {
    let mut used = 0;
    chars
        .take_while(|c| {
            used += c.width().unwrap_or(0);
            used <= columns
        })
        .collect()
}

/// The words as a POSIX shell would have to be given them.
pub(crate) fn shell_quote<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let quoted: Vec<String> = words.into_iter().map(shell_quote_word).collect();
    quoted.join(" ")
}

fn shell_quote_word(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cutting_keeps_the_end_and_the_width() {
        assert_eq!(shorten("debian-13.iso", 20), "debian-13.iso");
        assert_eq!(shorten("a-very-long-name-of-a-file.iso", 16), "a-very-lon…e.iso");
        assert_eq!(width(&shorten("日本語のとても長い名前のファイル.mkv", 15)), 15);
        assert_eq!(shorten("abc", 0), "");
        assert_eq!(shorten("abc", 1), "…");
    }

    #[test]
    fn escape_sequences_do_not_survive() {
        let text = harmless("\u{1b}[2Jevil\u{202e}txt\r\n\u{9b}");
        assert!(!text.chars().any(|c| c.is_control() || c == '\u{202e}'), "{text:?}");
    }

    #[test]
    fn quoting_is_what_a_shell_needs_and_no_more() {
        assert_eq!(
            shell_quote(["ferriswarm", "-o", "my dir", "it's.torrent", ""]),
            r"ferriswarm -o 'my dir' 'it'\''s.torrent' ''"
        );
    }
}
