//! Trackers, seeds, nodes, dates: odd ones are dropped, never a reason to refuse.

use super::*;

fn list(nodes: Vec<Node>) -> Node {
    Node::List(nodes)
}

#[test]
fn an_announce_list_replaces_announce() {
    let tiers = list(vec![
        path(&["http://a/", " http://b/ "]),
        path(&[]),
        path(&["http://a/", ""]),
        path(&["udp://c"]),
    ]);
    let metainfo = parse(&torrent(single()).with("announce-list", tiers));
    assert_eq!(metainfo.trackers(), [vec!["http://a/", "http://b/"], vec!["udp://c"]]);
    for nothing in [list(vec![]), list(vec![path(&[])]), list(vec![path(&[""])])] {
        let metainfo = parse(&torrent(single()).with("announce-list", nothing));
        assert_eq!(metainfo.trackers(), [["http://tracker.test/announce"]]);
    }
    assert!(parse(&dict([("info", single())])).trackers().is_empty());
}

#[test]
fn a_flat_list_of_trackers_is_a_tier_each() {
    let metainfo = parse(&torrent(single()).with("announce-list", path(&["http://a/", "http://b/"])));
    assert_eq!(metainfo.trackers(), [["http://a/"], ["http://b/"]]);
}

#[test]
fn web_seeds_are_one_or_many() {
    let seeds = |node: Node| parse(&torrent(single()).with("url-list", node)).web_seeds().to_vec();
    assert_eq!(seeds("http://a/".into()), ["http://a/"]);
    assert_eq!(seeds(path(&["http://a/", "http://b/", "http://a/"])), ["http://a/", "http://b/"]);
    assert!(seeds("".into()).is_empty() && seeds(list(vec![])).is_empty() && seeds(7.into()).is_empty());
}

#[test]
fn nodes_are_hosts_with_ports() {
    let node = |host: &str, port: i64| list(vec![host.into(), port.into()]);
    let nodes = list(vec![
        node("a.test", 6881),
        node("", 1),
        node("b", 0),
        node("c", 65_536),
        1.into(),
        node("::1", 1),
    ]);
    let metainfo = parse(&torrent(single()).with("nodes", nodes));
    assert_eq!(metainfo.nodes(), [("a.test".to_owned(), 6881), ("::1".to_owned(), 1)]);
    assert_eq!(metainfo.warnings().len(), 4);
}

#[test]
fn who_made_it_and_when_is_kept() {
    let metainfo = parse(
        &torrent(single())
            .with("comment", "hello")
            .with("created by", "someone")
            .with("creation date", 1_700_000_000),
    );
    assert_eq!((metainfo.comment(), metainfo.created_by()), (Some("hello"), Some("someone")));
    assert_eq!(metainfo.creation_date(), Some(1_700_000_000));
    let odd =
        torrent(single()).with("comment", 1).with("created by", list(vec![])).with("creation date", "now");
    let metainfo = parse(&odd);
    assert_eq!((metainfo.comment(), metainfo.created_by(), metainfo.creation_date()), (None, None, None));
    assert_eq!(metainfo.warnings().len(), 3);
}

#[test]
fn crowds_are_cut() {
    let urls: Vec<String> = (0..5000).map(|n| format!("http://{n}/")).collect();
    let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
    let long = format!("http://{}", "x".repeat(10_000));
    let many = torrent(single()).with("announce-list", list(vec![path(&urls)])).with("url-list", path(&urls));
    let metainfo = parse(&many.with("announce", &long[..]).with("comment", &"ä".repeat(100_000)[..]));
    assert_eq!(metainfo.trackers().iter().map(Vec::len).sum::<usize>(), crate::limits::URLS_MAX);
    assert_eq!(metainfo.web_seeds().len(), crate::limits::URLS_MAX);
    assert_eq!(metainfo.comment().unwrap().len(), 64 << 10);
    let bad = torrent(single()).with("announce-list", list((0..1000).map(Node::from).collect()));
    assert!(parse(&bad).warnings().len() <= crate::limits::WARNINGS_MAX);
}

#[test]
fn unsorted_keys_and_a_tail_leave_a_warning() {
    let info = single().encode();
    let odd = [b"d4:info", &info[..], b"8:announce8:http://ae\r\n"].concat();
    let metainfo = Metainfo::parse(&odd).unwrap();
    assert_eq!(metainfo.trackers(), [["http://a"]]);
    assert_eq!(metainfo.info_bytes(), info);
    let at = 7 + info.len();
    let expected = [
        format!("dictionary keys are not sorted at byte {at}"),
        "2 bytes behind the end are ignored".to_owned(),
    ];
    assert_eq!(warnings(&metainfo), expected);
    let twice = [b"d4:info", &info[..], b"4:info", b"de", b"e"].concat();
    let metainfo = Metainfo::parse(&twice).unwrap();
    let warning = format!("a dictionary key appears twice at byte {at}");
    assert_eq!((metainfo.info_bytes(), warnings(&metainfo)), (&info[..], vec![warning]));
}

#[test]
fn whatever_is_not_zero_is_private() {
    let values: [(Node, bool, usize); 12] = [
        (1.into(), true, 0),
        (0.into(), false, 0),
        (2.into(), true, 1),
        ((-1).into(), true, 1),
        (int("1000000000000"), true, 1),
        (int("99999999999999999999"), true, 2),
        (int("-0"), false, 1),
        ("0".into(), false, 0),
        ("1".into(), true, 1),
        ("".into(), true, 1),
        (list(Vec::new()), true, 1),
        (dict([]), true, 1),
    ];
    for (value, private, warned) in values {
        let info = single().with("private", value.clone());
        let metainfo = parse_info(info.clone());
        assert_eq!((metainfo.info().is_private(), metainfo.warnings().len()), (private, warned), "{value:?}");
        assert_eq!(Info::parse(&info.encode()).unwrap().is_private(), private, "{value:?}");
    }
    assert!(!parse_info(single()).info().is_private());
    // A client that reads the second of a doubled key must not find that we gave peers away.
    let info = single().with("private", int("0")).encode();
    let doubled = [&info[..info.len() - 1], b"7:privatei1ee"].concat();
    assert!(Info::parse(&doubled).unwrap().is_private());
}
