//! JSON that is harmless on a terminal: lossless, and without a raw control or bidi character.

use std::borrow::Cow;
use std::fmt::Write;

use ferri_metainfo::display;
use serde::Serialize;

/// One object on one line, with the line's end.
pub(crate) fn line(value: &impl Serialize) -> Result<String, serde_json::Error> {
    let mut line = escape(&serde_json::to_string(value)?);
    line.push('\n');
    Ok(line)
}

/// One object over several lines, for a person to read.
pub(crate) fn pretty(value: &impl Serialize) -> Result<String, serde_json::Error> {
    let mut text = escape(&serde_json::to_string_pretty(value)?);
    text.push('\n');
    Ok(text)
}

/// Characters that a terminal obeys stand only inside strings, where `\u` escapes mean the same; a raw line break
/// is always layout.
fn escape(json: &str) -> String {
    if json.is_ascii() && !json.contains('\u{7f}') {
        return json.to_owned();
    }
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        let mut utf8 = [0; 4];
        let is_harmless = matches!(display::sanitize(c.encode_utf8(&mut utf8)), Cow::Borrowed(_));
        if c == '\n' || is_harmless {
            out.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            // Writing to a string cannot fail.
            let _ = write!(out, "\\u{unit:04x}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn nothing_is_lost_and_nothing_steers_a_terminal() {
        let name = "a\u{1b}[2J\u{9b}1m\u{7f}\u{202e}gpj.日本\u{e0001}\n";
        let line = line(&name).unwrap();
        assert_eq!(line.trim_end(), "\"a\\u001b[2J\\u009b1m\\u007f\\u202egpj.日本\\udb40\\udc01\\n\"");
        assert_eq!(serde_json::from_str::<String>(&line).unwrap(), name);
    }

    #[test]
    fn the_pretty_form_keeps_its_lines() {
        assert_eq!(pretty(&["é", "\u{85}"]).unwrap(), "[\n  \"é\",\n  \"\\u0085\"\n]\n");
    }
}
