//! `docs/json.md` names each event with exactly the keys that the code prints. Both are read as text.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

type Kinds = BTreeMap<String, BTreeSet<String>>;

#[test]
fn every_event_is_documented_with_its_keys_and_nothing_else_is() {
    let (code, page) = (of_code(), of_page());
    assert!(10 < code.len(), "{code:?}");
    assert_eq!(page.keys().collect::<Vec<_>>(), code.keys().collect::<Vec<_>>());
    for (kind, keys) in &code {
        assert_eq!(&page[kind], keys, "{kind}");
    }
}

/// The answers of commands that print no events, in the order of the page: which keys they have.
fn answers() -> Vec<(&'static str, BTreeSet<String>)> {
    let (show, create) = ("src/commands/show.rs", "src/commands/create.rs");
    [
        ("show", "src/facts.rs", "Facts"),
        ("show of a link", show, "MagnetFacts"),
        ("show --scrape", "src/commands/show/scrape.rs", "TrackerNumbers"),
        ("create", create, "Created"),
        ("create --dry-run", "src/commands/create/preview.rs", "Preview"),
        ("verify", "src/commands/verify.rs", "Report"),
        ("dht node", "src/commands/dht/table.rs", "Facts"),
        ("dht get", "src/commands/dht/items.rs", "Facts"),
    ]
    .map(|(what, file, name)| {
        (what, fields(&[read(file), read("src/facts.rs")].concat(), name).into_iter().collect())
    })
    .into()
}

#[test]
fn every_other_answer_is_documented_with_its_keys() {
    let page = read("../../docs/json.md");
    let (_, others) = page.split_once("## Others").unwrap();
    let examples = others.lines().filter(|line| line.starts_with('{')).map(top_keys);
    let expected = answers();
    assert_eq!(examples.clone().count(), expected.len());
    for ((what, keys), example) in expected.into_iter().zip(examples) {
        assert_eq!(example, keys, "{what}");
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The variants of `JsonEvent` and their fields; a flattened struct gives its own.
fn of_code() -> Kinds {
    let events = read("src/events.rs");
    let structs = [events.clone(), read("src/facts.rs")].concat();
    let body = item(&events, "pub(crate) enum JsonEvent<'a> {");
    let mut kinds = Kinds::new();
    let mut kind = String::new();
    let mut is_flattened = false;
    for line in body.lines() {
        let text = line.trim();
        let is_variant = line.starts_with("    ") && text.starts_with(|c: char| c.is_ascii_uppercase());
        if is_variant && line.chars().nth(4).is_some_and(|c| c.is_ascii_uppercase()) {
            let (name, rest) = text.split_once(' ').unwrap();
            kind = snake_case(name);
            let keys = rest.trim_matches(|c: char| " {},".contains(c)).split(", ");
            let keys = keys.filter_map(|field| field.split_once(':')).map(|(key, _)| key.to_owned());
            kinds.insert(kind.clone(), keys.collect());
        } else if text == "#[serde(flatten)]" {
            is_flattened = true;
        } else if let Some((key, kept)) = field(text) {
            let keys = kinds.get_mut(&kind).unwrap();
            if std::mem::take(&mut is_flattened) {
                keys.extend(fields(&structs, kept.trim_end_matches(',')));
            } else {
                keys.insert(key.to_owned());
            }
        }
    }
    for keys in kinds.values_mut() {
        keys.insert("event".to_owned());
    }
    kinds
}

/// The fields of the first struct of this name; a flattened one gives its own, one that is skipped none.
fn fields(text: &str, name: &str) -> Vec<String> {
    let name = name.split('<').next().unwrap();
    let head = [" {", "<"].map(|end| format!("struct {name}{end}"));
    let line = text.lines().find(|line| head.iter().any(|head| line.contains(head)));
    let line = line.unwrap_or_else(|| panic!("{name} is not there"));
    let (_, rest) = text.split_once(line).unwrap();
    let indent = &line[..line.len() - line.trim_start().len()];
    let (body, _) = rest.split_once(&format!("\n{indent}}}")).unwrap();
    let mut keys = Vec::new();
    let (mut is_flattened, mut is_skipped) = (false, false);
    for line in body.lines().map(str::trim) {
        match (field(line), line) {
            (None, "#[serde(flatten)]") => is_flattened = true,
            (None, "#[serde(skip)]") => is_skipped = true,
            (None, _) => {}
            (Some(_), _) if std::mem::take(&mut is_skipped) => {}
            (Some((_, kept)), _) if std::mem::take(&mut is_flattened) => {
                keys.extend(fields(text, kept.trim_end_matches(',')));
            }
            (Some((key, _)), _) => keys.push(key.to_owned()),
        }
    }
    keys
}

/// `key: Type,`
fn field(text: &str) -> Option<(&str, &str)> {
    let (key, kept) = text.trim_start_matches("pub(crate) ").split_once(": ")?;
    key.chars().all(|c| c.is_ascii_lowercase() || c == '_' || c.is_ascii_digit()).then_some((key, kept))
}

/// What stands between the braces of an item at the left edge.
fn item<'a>(text: &'a str, head: &str) -> &'a str {
    let (_, rest) = text.split_once(head).unwrap_or_else(|| panic!("{head} is not there"));
    rest.split_once("\n}").unwrap().0
}

fn snake_case(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

/// The examples: one object a line.
fn of_page() -> Kinds {
    let page = read("../../docs/json.md");
    let (events, _) = page.split_once("## Others").unwrap();
    let examples = events.lines().filter(|line| line.starts_with('{'));
    let mut kinds = Kinds::new();
    for example in examples {
        let kind = example.strip_prefix("{\"event\":\"").unwrap().split('"').next().unwrap();
        let before = kinds.insert(kind.to_owned(), top_keys(example));
        assert!(before.is_none(), "{kind} has two examples");
    }
    kinds
}

/// The keys of an object, not those of what is in it.
fn top_keys(object: &str) -> BTreeSet<String> {
    let (mut keys, mut depth, mut text) = (BTreeSet::new(), 0, None::<String>);
    let mut chars = object.chars().peekable();
    while let Some(c) = chars.next() {
        match (&mut text, c) {
            (Some(inside), '"') => {
                if depth == 1 && chars.peek() == Some(&':') {
                    keys.insert(std::mem::take(inside));
                }
                text = None;
            }
            (Some(inside), c) => inside.push(c),
            (None, '"') => text = Some(String::new()),
            (None, '{' | '[') => depth += 1,
            (None, '}' | ']') => depth -= 1,
            (None, _) => {}
        }
    }
    keys
}
