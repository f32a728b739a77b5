//! Hearing what messages say twice; for tests, inside the crate and outside.

/// Whether a chain of causes, joined by colons, says the same twice in a row.
pub(crate) fn stutters(message: &str) -> bool {
    let parts: Vec<String> = message.split(": ").map(|part| part.trim().to_lowercase()).collect();
    let beginning = |part: &str| part.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
    parts.windows(2).any(|pair| {
        let (outer, inner) = (&pair[0], &pair[1]);
        let is_part = 4 < inner.len() && outer.contains(inner.as_str())
            || 4 < outer.len() && inner.contains(outer.as_str());
        is_part || beginning(outer) == beginning(inner)
    })
}

#[test]
fn a_stutter_is_heard() {
    assert!(stutters("a.torrent: not a usable torrent: not a torrent: the data ends"));
    assert!(stutters("cannot read x: cannot read x: permission denied"));
    assert!(!stutters("a.torrent: not a usable torrent: the file is no bencode: the data ends"));
}
