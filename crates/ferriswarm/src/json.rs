//! JSON that is harmless on a terminal: lossless, and without a raw control or bidi character.

use std::borrow::Cow;
use std::fmt::Write;
use std::io;

use ferri_metainfo::display;
use serde::Serialize;

/// One object on one line, with the line's end.
pub(crate) fn line(value: &impl Serialize) -> Result<String, serde_json::Error> {
    let mut line = escape(&serde_json::to_string(value)?).into_owned();
    line.push('\n');
    Ok(line)
}

/// One object on one line, handed on in portions: what describes a million files is never in memory as a whole.
pub(crate) fn long_line(value: &impl Serialize, write: impl FnMut(&str) -> io::Result<()>) -> io::Result<()> {
    let mut portions = Portions { pending: Vec::new(), write };
    serde_json::to_writer(&mut portions, value)?;
    portions.end()
}

/// The same over several lines, for a person to read.
pub(crate) fn pretty(value: &impl Serialize, write: impl FnMut(&str) -> io::Result<()>) -> io::Result<()> {
    let mut portions = Portions { pending: Vec::new(), write };
    serde_json::to_writer_pretty(&mut portions, value)?;
    portions.end()
}

/// Text that waits until there is enough of it.
struct Portions<W> {
    pending: Vec<u8>,
    write: W,
}

/// Bytes of a portion.
const PORTION: usize = 256 << 10;

impl<W: FnMut(&str) -> io::Result<()>> Portions<W> {
    fn end(mut self) -> io::Result<()> {
        self.pending.push(b'\n');
        self.hand_on()
    }

    fn hand_on(&mut self) -> io::Result<()> {
        // A character may have come in two parts.
        let whole = match std::str::from_utf8(&self.pending) {
            Ok(text) => text,
            Err(error) => std::str::from_utf8(&self.pending[..error.valid_up_to()]).unwrap_or_default(),
        };
        (self.write)(&escape(whole))?;
        let length = whole.len();
        self.pending.drain(..length);
        Ok(())
    }
}

impl<W: FnMut(&str) -> io::Result<()>> io::Write for Portions<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.pending.extend_from_slice(bytes);
        if PORTION <= self.pending.len() {
            self.hand_on()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Characters that a terminal obeys stand only inside strings, where `\u` escapes mean the same; a raw line break
/// is always layout.
fn escape(json: &str) -> Cow<'_, str> {
    if json.is_ascii() && !json.as_bytes().contains(&0x7f) {
        return Cow::Borrowed(json);
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
    Cow::Owned(out)
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
        let mut text = String::new();
        let long = "é".repeat(PORTION);
        pretty(&["é", "\u{85}", &long], |portion| {
            text.push_str(portion);
            Ok(())
        })
        .unwrap();
        assert_eq!(text, format!("[\n  \"é\",\n  \"\\u0085\",\n  \"{long}\"\n]\n"));
    }
}
