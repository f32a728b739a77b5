//! Reading XML of routers: names and texts, in order. Bounded whatever they send. No I/O.

use xml::ParserConfig;
use xml::reader::XmlEvent;

/// Longer texts are cut: what is of use is short.
const TEXT_MAX: usize = 1_024;
/// No device has longer names and attributes.
const NAME_MAX: usize = 256;
/// Attributes of one element.
const ATTRIBUTES_MAX: usize = 64;
/// Elements inside one another. Descriptions need a dozen; the parser's work grows with the square of it.
const DEPTH_MAX: usize = 64;
/// What entities may grow to, nested as deep as below.
const EXPANSION_MAX: usize = 4_096;
const EXPANSION_DEPTH_MAX: u8 = 2;

/// Something that was read. Names are without their prefixes, which routers mix up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event<'a> {
    /// An element begins.
    Begin(&'a str),
    /// An element ends; its text since the last element that began or ended.
    End(&'a str, &'a str),
}

/// Hands over all elements, as far as the document can be read.
///
/// # Errors
/// What is wrong with it, in words; what was before that has been handed over.
pub(super) fn walk(document: &[u8], mut see: impl FnMut(Event<'_>)) -> Result<(), String> {
    // Names are ASCII, and what else there is does not matter: the declared encoding is as often wrong as right.
    let text = String::from_utf8_lossy(document);
    let text = text.trim_start_matches(|c: char| c.is_whitespace() || c == '\u{feff}').trim_end_matches('\0');
    let config = ParserConfig::new()
        .ignore_invalid_encoding_declarations(true)
        .override_encoding(Some(xml::Encoding::Utf8))
        .cdata_to_characters(true)
        .max_data_length(document.len().max(TEXT_MAX))
        .max_name_length(NAME_MAX)
        .max_attribute_length(TEXT_MAX)
        .max_attributes(ATTRIBUTES_MAX)
        .max_entity_expansion_length(EXPANSION_MAX)
        .max_entity_expansion_depth(EXPANSION_DEPTH_MAX);
    let (mut said, mut depth) = (String::new(), 0);
    for event in config.create_reader(text.as_bytes()) {
        match event.map_err(|error| error.to_string())? {
            XmlEvent::StartElement { name, .. } => {
                depth += 1;
                if DEPTH_MAX < depth {
                    return Err(format!("more than {DEPTH_MAX} elements are inside one another"));
                }
                said.clear();
                see(Event::Begin(&name.local_name));
            }
            XmlEvent::EndElement { name } => {
                depth = depth.saturating_sub(1);
                see(Event::End(&name.local_name, &said));
                said.clear();
            }
            XmlEvent::Characters(more) => {
                said.extend(more.chars().take(TEXT_MAX.saturating_sub(said.len())));
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn texts(document: &str) -> Vec<(String, String)> {
        let mut texts = Vec::new();
        // What can be read is what is looked at.
        let _ = walk(document.as_bytes(), |event| {
            if let Event::End(name, text) = event {
                texts.push((name.to_owned(), text.to_owned()));
            }
        });
        texts
    }

    #[test]
    fn texts_belong_to_their_elements_whatever_the_prefix() {
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        let found = texts("<a xmlns:x=\"y\"><x:b>1 &amp; 2</x:b><c><![CDATA[<3>]]></c></a>");
        assert_eq!(found, [pair("b", "1 & 2"), pair("c", "<3>"), pair("a", "")]);
    }

    #[test]
    fn bombs_and_endless_texts_cost_little() {
        let long = format!("<a>{}</a>", "x".repeat(100_000));
        assert_eq!(texts(&long)[0].1.len(), TEXT_MAX);
        let bomb = "<!DOCTYPE a [<!ENTITY a \"aaaaaaaaaaaaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;\">\
                    <!ENTITY c \"&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;\"><!ENTITY d \"&c;&c;&c;&c;&c;&c;&c;&c;\">]><a>&d;</a>";
        assert!(texts(bomb).iter().all(|(_, text)| text.len() <= TEXT_MAX));
        let deep = "<a>".repeat(50_000);
        assert!(walk(deep.as_bytes(), |_| {}).is_err());
    }
}
