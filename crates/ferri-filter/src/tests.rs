//! Lists as people share them, and questions to what was made of them.

#![allow(clippy::unwrap_used)]

use std::net::IpAddr;

use crate::{Builder, Filter, List, ListError, Report};

fn read(text: &[u8]) -> (Filter, Result<Report, ListError>) {
    let mut builder = Builder::default();
    let mut list = List::new(&mut builder);
    list.feed(text);
    let report = list.finish();
    (builder.build(), report)
}

fn blocks(filter: &Filter, address: &str) -> bool {
    filter.blocks(address.parse().unwrap())
}

/// What is blocked and what is not, of these.
#[track_caller]
fn check(line: &str, blocked: &[&str], open: &[&str]) {
    let (filter, report) = read(line.as_bytes());
    let report = report.unwrap();
    assert_eq!((report.ranges, report.bad), (1, 0), "{line}: {report:?}");
    assert!(blocked.iter().all(|address| blocks(&filter, address)), "{line}");
    assert!(!open.iter().any(|address| blocks(&filter, address)), "{line}");
}

#[test]
fn the_lists_that_people_share_are_read() {
    let (inside, outside) = (["1.2.3.4", "1.2.3.100", "1.2.3.255"], ["1.2.3.3", "1.2.4.0", "::1"]);
    for line in [
        "Some Organisation, Inc:1.2.3.4-1.2.3.255",
        "http://x.example/a-b: with colons - and dashes:1.2.3.4-1.2.3.255\r",
        "::1.2.3.4-1.2.3.255",
        "001.002.003.004 - 001.002.003.255 , 000 , an organisation",
        "1.2.3.4-1.2.3.255,127,x,y",
        "1.2.3.4 - 1.2.3.255",
        "\u{feff}x:1.2.3.4-1.2.3.255",
    ] {
        check(line, &inside, &outside);
    }
    check("10.0.0.0/8", &["10.0.0.0", "10.255.255.255"], &["9.255.255.255", "11.0.0.0"]);
    check("010.1.2.3/8 # not its first", &["10.0.0.0", "10.255.255.255"], &["9.255.255.255"]);
    check("1.2.3.4", &["1.2.3.4", "::ffff:1.2.3.4"], &["1.2.3.5", "1.2.3.3", "::1.2.3.4"]);
    check("0.0.0.0/0", &["0.0.0.0", "255.255.255.255", "::ffff:9.9.9.9"], &["::1"]);
    check("2001:db8::/32", &["2001:db8::", "2001:db8:ffff::1"], &["2001:db9::", "1.2.3.4"]);
    check(
        "2001:db8::1-2001:db8::f",
        &["2001:db8::1", "2001:db8::f"],
        &["2001:db8::", "2001:db8::10", "db9::"],
    );
    check("b:2001:db8::1-2001:db8::f", &["2001:db8::1"], &["2001:db8::", "2000::"]);
    check("x:2001:db8::1-2001:db8::f", &["2001:db8::1", "2001:db8::f"], &["2001:db8::", "2001:db8::10"]);
    check("::ffff:1.2.3.0/120", &["1.2.3.0", "1.2.3.255", "::ffff:1.2.3.9"], &["1.2.4.0"]);
    check("::/0", &["::", "ffff::", "0.0.0.0", "255.255.255.255"], &[]);
    // Half of what IPv4 has in IPv6, and more before it.
    check("::1-::ffff:127.255.255.255", &["::1", "0.0.0.0", "127.255.255.255"], &["128.0.0.0", "::"]);
}

#[test]
fn an_access_level_may_allow() {
    let text = b"1.0.0.0 - 1.0.0.9 , 127 , no\n2.0.0.0 - 2.0.0.9 , 128 , yes\n3.0.0.0-3.0.0.9,200,yes";
    let (filter, report) = read(text);
    let report = report.unwrap();
    assert_eq!((report.ranges, report.allowed, report.bad), (1, 2, 0));
    assert!(blocks(&filter, "1.0.0.5") && !blocks(&filter, "2.0.0.5") && !blocks(&filter, "3.0.0.5"));
}

#[test]
fn lines_that_make_no_sense_are_left_out_and_named() {
    let bad = [
        "1.2.3.4-1.2.3",
        "x:1.2.3.9-1.2.3.4",
        "1.2.3.256",
        "1.2.3.4/33",
        "2001:db8::/129",
        "1.2.3.4-::1",
        "1.2.3.4 5.6.7.8",
        "1.2.3.4/",
        "0x1.2.3.4",
        "1.2.3.4.5",
        "1.2.3.4 - 1.2.3.5 , loud , x",
        "\u{0}\u{ff}",
    ];
    for line in bad {
        let text = format!("# a comment\n// one\n; one\n\n4.4.4.4\n5.5.5.5\n{line}\n");
        let (filter, report) = read(text.as_bytes());
        let report = report.unwrap();
        assert_eq!((report.ranges, report.bad), (2, 1), "{line}");
        assert_eq!(report.named[0].number, 7);
        assert_eq!(filter.range_count(), 2, "{line}");
    }
    let text = format!("4.4.4.4\n{}\n5.5.5.5", "x".repeat(1 << 20));
    let (filter, report) = read(text.as_bytes());
    assert_eq!(report.unwrap().bad, 1);
    assert!(blocks(&filter, "4.4.4.4") && blocks(&filter, "5.5.5.5"));
}

#[test]
fn what_is_no_list_changes_nothing() {
    let page = b"<!DOCTYPE html>\n<html>\n<p>404: not found at 1.2.3.4\n</html>\n";
    let mut builder = Builder::default();
    for (text, is_list) in [(&b"1.1.1.1"[..], true), (page, false), (b"", false), (b"# none today\n", true)] {
        let mut list = List::new(&mut builder);
        list.feed(text);
        assert_eq!(list.finish().is_ok(), is_list, "{}", String::from_utf8_lossy(text));
    }
    let half: Vec<u8> =
        (0..9).flat_map(|n| format!("7.7.7.{n}\nnonsense\nnonsense\n").into_bytes()).collect();
    let mut list = List::new(&mut builder);
    list.feed(&half);
    let error = list.finish().unwrap_err();
    assert_eq!(
        error.to_string(),
        "it is no list of addresses: 18 of 27 lines make no sense, the first is line 2"
    );
    let filter = builder.build();
    assert!(blocks(&filter, "1.1.1.1") && filter.range_count() == 1);
}

#[test]
fn a_list_may_come_in_any_portions() {
    let text = b"\xef\xbb\xbfa:1.0.0.0-1.0.0.9\r\n\r\n2.0.0.0/30\n3.0.0.0 - 3.0.0.9 , 1 , x";
    let (whole, expected) = read(text);
    let expected = expected.unwrap();
    for cut in 0..text.len() {
        for step in [1, 2, 7] {
            let mut builder = Builder::default();
            let mut list = List::new(&mut builder);
            list.feed(&text[..cut]);
            text[cut..].chunks(step).for_each(|part| list.feed(part));
            assert_eq!(list.finish().unwrap(), expected, "{cut} {step}");
            assert_eq!(builder.build().range_count(), whole.range_count());
        }
    }
}

/// Numbers that look random (SplitMix64).
fn dice(mut state: u64) -> impl FnMut() -> u64 {
    move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// Of four addresses one is at the end of a network, one at the beginning of the next; order is kept.
fn v6(address: u32) -> std::net::Ipv6Addr {
    let within = [0, 1, u128::from(u64::MAX) - 1, u128::from(u64::MAX)][address as usize % 4];
    std::net::Ipv6Addr::from(u128::from(address / 4) << 64 | within | 1 << 120)
}

#[test]
fn a_filter_answers_as_its_ranges_say() {
    // Few and many ranges, dense and sparse, so that they overlap, touch and leave gaps.
    for (seed, count, spread) in
        [(1, 3, 40), (2, 300, 400), (3, 300, 4_000_000), (4, 9_000, 90_000), (5, 9_000, 1 << 32)]
    {
        let mut roll = dice(seed);
        let mut ranges = Vec::new();
        let mut text = String::new();
        for _ in 0..count {
            let first = roll() % spread;
            let last = (first + [0, 1, 2, 300][(roll() % 4) as usize]).min(spread - 1);
            ranges.push((first as u32, last as u32));
            let [v4, end] = [first, last].map(|address| std::net::Ipv4Addr::from(address as u32));
            let [low, high] = [first, last].map(|address| v6(address as u32));
            text.push_str(&format!("a:{v4}-{end}\nb:{low}-{high}\n"));
        }
        let (filter, report) = read(text.as_bytes());
        assert_eq!(report.unwrap().ranges, 2 * count as usize);
        let ends = ranges
            .clone()
            .into_iter()
            .flat_map(|(first, last)| [first.saturating_sub(1), first, last, last.saturating_add(1)]);
        let asked: Vec<u32> = ends.take(800).chain((0..400).map(|_| (roll() % spread) as u32)).collect();
        for address in asked {
            let expected = ranges.iter().any(|(first, last)| (*first..=*last).contains(&address));
            let v4 = IpAddr::from(std::net::Ipv4Addr::from(address));
            let v6 = IpAddr::from(v6(address));
            assert_eq!(
                (filter.blocks(v4), filter.blocks(v6)),
                (expected, expected),
                "seed {seed}: {v4} {v6}"
            );
        }
    }
}

#[test]
fn half_a_million_ranges_take_what_is_promised() {
    let mut text = String::new();
    for number in 0..500_000u128 {
        let address = std::net::Ipv6Addr::from(0x2001 << 112 | number << 66 | 5);
        text.push_str(&format!("{address}/128\n"));
    }
    let (filter, _) = read(text.as_bytes());
    assert_eq!(filter.range_count(), 500_000);
    assert!(filter.memory() <= 16 << 20, "{} bytes", filter.memory());
}

#[test]
fn there_is_an_end_to_what_is_held() {
    let mut builder = Builder::default();
    let mut list = List::new(&mut builder);
    let text: String = (0..100_000u32).map(|n| format!("{}\n", std::net::Ipv4Addr::from(n * 2))).collect();
    (0..21).for_each(|_| list.feed(text.as_bytes()));
    assert_eq!(list.finish(), Err(ListError::TooMany));
    assert_eq!(builder.build().range_count(), 0);
}
