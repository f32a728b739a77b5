//! The path of a request: which of the tracker's addresses it is, and whose passkey is in it.

/// The passkey of `/KEY/announce`, and the rest of the path without it: `/announce`.
pub(super) fn split(path: &[u8]) -> (Option<&[u8]>, &[u8]) {
    let inside = path.strip_prefix(b"/").unwrap_or(path);
    match inside.iter().position(|byte| *byte == b'/') {
        Some(at) => (Some(&inside[..at]), &inside[at..]),
        None => (None, path),
    }
}

/// Path and query. A request to a proxy names the whole URL, of which the host is left out.
pub(super) fn path_and_query(target: &[u8]) -> (&[u8], &[u8]) {
    let rest = [&b"http://"[..], b"https://"].iter().find_map(|scheme| {
        let (start, rest) = target.split_at_checked(scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then_some(rest)
    });
    let target = match rest {
        Some(rest) => {
            let host = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
            &rest[host..]
        }
        None => target,
    };
    let (path, query) = match target.iter().position(|byte| *byte == b'?') {
        Some(at) => (&target[..at], &target[at + 1..]),
        None => (target, &b""[..]),
    };
    // The root of a host may be left out of a URL.
    (if rest.is_some() && path.is_empty() { b"/" } else { path }, query)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_taken_apart() {
        let check = |target: &'static [u8], key: Option<&[u8]>, rest: &[u8], query: &[u8]| {
            let (path, asked) = path_and_query(target);
            assert_eq!((split(path), asked), ((key, rest), query));
        };
        check(b"/announce?a=b?c", None, b"/announce", b"a=b?c");
        check(b"/secret-key/announce", Some(b"secret-key"), b"/announce", b"");
        check(b"//announce", Some(b""), b"/announce", b"");
        check(b"/a/b/announce", Some(b"a"), b"/b/announce", b"");
        check(b"http://tracker.example:80/announce?x", None, b"/announce", b"x");
        check(b"http://tracker.example", None, b"/", b"");
        check(b"HTTP://tracker.example/announce?x", None, b"/announce", b"x");
        check(b"http://tracker.example?a/b", None, b"/", b"a/b");
        check(b"announce", None, b"announce", b"");
        check(b"", None, b"", b"");
    }
}
