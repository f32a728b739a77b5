//! Vectors and properties for [`Magnet`].

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

const HEX: &str = "c12fe1c06bba254a9dc9f519b335aa7c1367a88a";
const BASE32: &str = "YEX6DQDLXISUVHOJ6UM3GNNKPQJWPKEK";
const V2: &str = "caf1e1c30e81cb361b9ee167c4aa64228a7fa4fa9f6105232b28ad099f3a302e";

fn parse(parameters: &str) -> Result<Magnet, MagnetError> {
    Magnet::parse(&format!("magnet:?xt=urn:btih:{HEX}{parameters}"))
}

#[track_caller]
fn check_error(link: &str, message: &str) {
    let error = Magnet::parse(link).unwrap_err().to_string();
    assert!(error.contains(message), "{error}");
}

#[test]
fn the_hash_may_be_hex_or_base32_of_any_case() {
    let expected: InfoHash = HEX.parse().unwrap();
    for digits in [HEX, BASE32, &HEX.to_uppercase(), &BASE32.to_lowercase()] {
        for scheme in [
            "magnet:?xt=urn:btih:",
            "MAGNET:?XT=URN:BTIH:",
            "  Magnet:?xt.1=urn:btih:",
            "magnet:?xt=urn%3Abtih%3A",
        ] {
            let magnet = Magnet::parse(&format!("{scheme}{digits}")).unwrap();
            assert_eq!(magnet, Magnet::new(InfoHashes { v1: Some(expected), v2: None }));
        }
    }
}

#[test]
fn a_hybrid_link_names_both_hashes() {
    let link = format!("magnet:?xt=urn:btih:{HEX}&xt=urn:btmh:1220{V2}&xt=urn:sha1:ignored");
    let magnet = Magnet::parse(&link).unwrap();
    assert_eq!(magnet.info_hashes.v1.unwrap().to_string(), HEX);
    assert_eq!(magnet.info_hashes.v2.unwrap().to_string(), V2);
    assert_eq!(magnet.to_string(), link.strip_suffix("&xt=urn:sha1:ignored").unwrap());
}

#[test]
fn names_are_decoded_and_urls_keep_their_plus() {
    let magnet = parse("&dn=a+b%2Bc%20d%C3%A9&tr=http%3A%2F%2Ft%2Fa+b&dn=second").unwrap();
    assert_eq!(magnet.display_name.as_deref(), Some("a b+c dé"));
    assert_eq!(magnet.trackers, ["http://t/a+b"]);
    assert_eq!(parse("&dn=%FF%zz%").unwrap().display_name.as_deref(), Some("\u{fffd}%zz%"));
    assert_eq!(parse("&dn=&dn").unwrap().display_name, None);
}

#[test]
fn lists_keep_their_order_and_lose_repetitions() {
    let magnet = parse("&tr=udp://b:1&tr.1=udp://a:1&tr.2=udp://b:1&tr=&ws=http://w/&TR=http://c").unwrap();
    assert_eq!(magnet.warnings, []);
    assert_eq!(magnet.trackers, ["udp://b:1", "udp://a:1", "http://c"]);
    assert_eq!(magnet.web_seeds, ["http://w/"]);
}

#[test]
fn peers_files_and_length_are_read() {
    let magnet =
        parse("&x.pe=192.0.2.1:5&x.pe=%5B::1%5D:6&x.pe=[::1]:6&x.pe=h.example:7&so=4,0-2&so=3&xl=1234")
            .unwrap();
    let peers: Vec<_> = magnet.peers.iter().map(ToString::to_string).collect();
    assert_eq!(peers, ["192.0.2.1:5", "[::1]:6", "h.example:7"]);
    assert_eq!(magnet.select_only.unwrap().to_string(), "0-4");
    assert_eq!(magnet.length, Some(1234));
}

#[test]
fn links_copied_from_a_page_source_and_unknown_parameters_are_understood() {
    let magnet = parse("&amp;dn=x&amp;tr=udp://a:1&kt=y&xs=http://z&&=&so.x=1#fragment&dn=no").unwrap();
    assert_eq!(magnet.warnings, []);
    let entities = parse("&#38;dn=x&#x26;tr=udp://a:1").unwrap();
    assert_eq!(entities, parse("&dn=x&tr=udp://a:1").unwrap());
    assert_eq!(magnet.display_name.as_deref(), Some("x"));
    assert_eq!(magnet.trackers, ["udp://a:1"]);
}

#[test]
fn errors_name_the_parameter() {
    check_error("http://example.org/", "must begin with");
    check_error("", "must begin with");
    check_error("magnet:", "must begin with");
    check_error("mägnet:?xt=1", "must begin with");
    check_error("magnet:?", "xt: it names no");
    check_error("magnet:?dn=x&xt=urn:sha1:abc", "xt: it names no");
    check_error("magnet:?xt=urn:btih:123", "xt: \"urn:btih:123\" needs 40 hex");
    check_error(&format!("magnet:?xt=urn:btih:{}g", &HEX[1..]), "xt: ");
    check_error(&format!("magnet:?xt=urn:btmh:1114{HEX}"), "xt: ");
    check_error(&format!("magnet:?xt=urn:btmh:1220{}", &V2[1..]), "xt: ");
    check_error(
        &format!("magnet:?xt=urn:btih:{HEX}&xt=urn:btih:{}", HEX.replace('c', "d")),
        "second info hash",
    );
    check_error(&format!("magnet:?xt={}", "%1b".repeat(100)), "xt: ");
}

/// The link without the parameter, and a warning.
#[track_caller]
fn check_left_out(parameter: &str, warning: &str) {
    let magnet = parse(&format!("&dn=x{parameter}&tr=udp://t:1")).unwrap();
    assert_eq!(magnet, parse("&dn=x&tr=udp://t:1").unwrap());
    let [told] = &magnet.warnings[..] else { panic!("{:?}", magnet.warnings) };
    assert!(told.to_string().contains(warning), "{told}");
    assert!(told.to_string().len() < 200, "{told}");
}

#[test]
fn what_makes_no_sense_is_left_out_with_a_warning() {
    check_left_out("&x.pe=nowhere", "x.pe: \"nowhere\" is not an address");
    check_left_out("&x.pe=192.0.2.1", "x.pe: \"192.0.2.1\" is not an address");
    check_left_out("&x.pe=", "x.pe: \"\" is not an address");
    check_left_out("&so=", "so: \"\" is not a list");
    check_left_out("&so=1-0", "so: \"1-0\" has a range");
    check_left_out("&so=0,a", "so: \"0,a\" is not a list");
    check_left_out("&xl=", "xl: \"\" is not a number");
    check_left_out("&xl=+5", "xl: \"+5\" is not a number");
    check_left_out("&xl=18446744073709551616", "xl: ");
    check_left_out("&tr=http://a%0d%0ab", "tr: \"http://a\u{fffd}\u{fffd}b\" has control");
    check_left_out("&tr=<b>udp://t</b>", "is not an address");
    check_left_out("&tr=udp%3A%2F%2Ft%3A1%22%3E%3Ca%20href", "is not an address");
    check_left_out("&tr=tracker.example", "is not an address");
    check_left_out("&ws=://", "ws: \"://\" is not an address");
    check_left_out("&xt.2=urn:btih:abc", "xt: \"urn:btih:abc\" needs 40 hex");
    check_left_out("&xt.2=urn:btmh:1220", "xt: \"urn:btmh:1220\" needs 1220");
    check_left_out(&format!("&so={}", "x".repeat(500)), "so: ");
    // What was good of `so` before stays.
    assert_eq!(parse("&so=0-2&so=9,x").unwrap().select_only.unwrap().to_string(), "0-2");
    let many = parse(&"&xl=".repeat(1000)).unwrap();
    assert_eq!(many.warnings.len(), WARNINGS_MAX);
}

#[test]
fn a_number_sign_begins_no_fragment() {
    let link = format!("magnet:?dn=Track #3&xt=urn:btih:{HEX}&tr=udp://t:1");
    let magnet = Magnet::parse(&link).unwrap();
    assert_eq!(magnet.display_name.as_deref(), Some("Track #3"));
    assert_eq!(
        (magnet.info_hashes.v1.unwrap().to_string(), &magnet.trackers[..]),
        (HEX.to_owned(), &["udp://t:1".to_owned()][..])
    );
    assert_eq!(parse("#top").unwrap(), parse("").unwrap());
}

#[test]
fn links_are_taken_as_people_have_them() {
    let good = format!("magnet:?xt=urn:btih:{HEX}&dn=a b&tr=udp%3A%2F%2Ft%3A1");
    let expected = Magnet::parse(&good).unwrap();
    let escaped = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let once = escaped(&good);
    let behind = |scheme: &str, rest: &str| format!("{scheme}{rest}");
    for link in [
        once.clone(),
        escaped(&once),
        once.to_lowercase(),
        behind("magnet:", &escaped(&good[7..])),
        behind("magnet:?", &escaped(&good[8..])),
        good.replace("magnet:?", "magnet:/?"),
        good.replace("magnet:?", "magnet://?"),
        good.replace("magnet:?", "magnet:"),
        good.replace("magnet:?xt=", ""),
        good.replace("magnet:?xt=", "").replace("urn:btih", "URN:BTIH"),
        good.replace(HEX, &format!("{HEX}/")),
        good.replace(HEX, &format!("{HEX}%20")),
        good.replace(HEX, &format!("%20{HEX} ")),
        good.replace(HEX, &format!("{HEX}+")),
        good.replace('%', "%25").replace("urn:btih:", "urn%253Abtih%253A"),
        format!("\u{feff}<{good}>\r\n"),
        format!(" \"{good}\" "),
    ] {
        assert!(Magnet::is_meant(&link), "{link}");
        let magnet = Magnet::parse(&link).unwrap_or_else(|error| panic!("{link}: {error}"));
        assert_eq!((&magnet, &magnet.warnings[..]), (&expected, &[][..]), "{link}");
    }
    for text in [
        "",
        "a.torrent",
        "magnet",
        "magnet:",
        "magnet:x",
        "magnet.torrent",
        "100%25 magnet:?",
        "urn:sha1:x",
        HEX,
    ] {
        assert!(!Magnet::is_meant(text), "{text}");
    }
}

#[test]
fn urls_that_were_encoded_twice_are_decoded_twice() {
    let magnet = parse("&tr=udp%253A%252F%252Ft%253A80&tr=http%3A%2F%2Fa%2Fx%2520y&dn=50%2525").unwrap();
    assert_eq!(magnet.trackers, ["udp://t:80", "http://a/x%20y"]);
    assert_eq!(magnet.display_name.as_deref(), Some("50%25"));
}

#[test]
fn the_same_hash_twice_is_no_contradiction() {
    assert!(parse(&format!("&xt=urn:btih:{BASE32}")).is_ok());
}

#[test]
fn length_and_counts_are_bounded() {
    check_error(&format!("magnet:?dn={}", "x".repeat(MAGNET_BYTES_MAX)), "more than 65536");
    let crowded = parse(&format!("{}&dn=x", "&".repeat(2000))).unwrap();
    assert_eq!(crowded.display_name, None);
    assert_eq!(crowded.warnings, [MagnetError::TooMany { name: "link", max: PARAMETERS_MAX }]);
    // The hash is found wherever it is.
    assert!(Magnet::parse(&format!("magnet:?{}&xt=urn:btih:{HEX}", "&".repeat(2000))).is_ok());
    let many = |name: &str, value: &str| (0..201).map(|i| format!("&{name}={value}{i}")).collect::<String>();
    for (name, value) in [("tr", "udp://t:"), ("ws", "http://w/"), ("x.pe", "h:1")] {
        let magnet = parse(&format!("{}{}", many(name, value), many(name, value))).unwrap();
        let kept = magnet.trackers.len() + magnet.web_seeds.len() + magnet.peers.len();
        assert_eq!((kept, &magnet.warnings[..]), (200, &[MagnetError::TooMany { name, max: 200 }][..]));
    }
}

#[test]
fn a_bare_hash_is_a_link_of_its_own() {
    let v1 = Magnet::parse_info_hash(&format!(" {HEX}\n")).unwrap();
    assert_eq!(v1, Magnet::parse_info_hash(BASE32).unwrap());
    assert_eq!(v1.to_string(), format!("magnet:?xt=urn:btih:{HEX}"));
    let v2 = Magnet::parse_info_hash(V2).unwrap();
    assert_eq!(v2, Magnet::parse_info_hash(&format!("1220{V2}")).unwrap());
    assert_eq!(v2.to_string(), format!("magnet:?xt=urn:btmh:1220{V2}"));
    for text in
        ["", "abc", &HEX[1..], &format!("{}x", &HEX[1..]), &format!("1114{V2}"), "ünïcödeünïcödeünïcöde1234"]
    {
        assert!(Magnet::parse_info_hash(text).is_err(), "{text}");
    }
}

#[test]
fn printing_escapes_what_would_end_a_parameter() {
    let mut magnet = Magnet::parse_info_hash(HEX).unwrap();
    magnet.display_name = Some("a&b=c #+é".into());
    magnet.trackers.push("http://t/announce?a=b&c".into());
    let expected = format!(
        "magnet:?xt=urn:btih:{HEX}&dn=a%26b%3Dc%20%23%2B%C3%A9&tr=http%3A%2F%2Ft%2Fannounce%3Fa%3Db%26c"
    );
    assert_eq!(magnet.to_string(), expected);
}

fn any_magnet() -> impl Strategy<Value = Magnet> {
    let urls = || prop::collection::btree_set("[a-z]{1,5}://[!#-;=?-~]{1,20}", 0..4);
    let peers = prop::collection::btree_set(
        "(10\\.1\\.2\\.[1-9]|\\[fe80::[1-9]\\]|[a-z]{1,8}):[1-9][0-9]{0,3}",
        0..4,
    );
    let hashes = (any::<Option<[u8; 20]>>(), any::<[u8; 32]>(), any::<bool>());
    let files = prop::collection::vec(0..1000_u32, 0..5);
    (hashes, any::<Option<String>>(), urls(), urls(), peers, any::<Option<u64>>(), files).prop_map(
        |((v1, v2, both), name, trackers, web_seeds, peers, length, files)| {
            let v2 = (both || v1.is_none()).then(|| InfoHashV2::from(v2));
            let mut magnet = Magnet::new(InfoHashes { v1: v1.map(InfoHash::from), v2 });
            magnet.display_name = name.filter(|name| !name.is_empty());
            magnet.trackers = trackers.into_iter().collect();
            magnet.web_seeds = web_seeds.into_iter().collect();
            magnet.peers = peers.iter().map(|peer| peer.parse().unwrap()).collect();
            magnet.length = length;
            for file in files {
                magnet.add_files(&file.to_string()).unwrap();
            }
            magnet
        },
    )
}

proptest! {
    #[test]
    fn what_is_printed_reads_back_the_same(magnet in any_magnet()) {
        let link = magnet.to_string();
        prop_assert!(link.is_ascii());
        prop_assert_eq!(Magnet::parse(&link), Ok(magnet));
    }

    #[test]
    fn no_text_makes_the_parser_panic(
        text in "(?s).{0,80}",
        parameters in "((&|amp;|xt|dn|tr|so|x\\.pe|xl|=|%|[0-9a-f]|urn:btih:|urn:btmh:1220|[,:.\\[\\]-]|é){0,60})",
    ) {
        let _ = Magnet::parse(&text);
        let _ = Magnet::parse_info_hash(&text);
        let _ = Magnet::parse(&format!("magnet:?{text}"));
        if let Ok(magnet) = parse(&format!("&{parameters}")) {
            prop_assert_eq!(Magnet::parse(&magnet.to_string()), Ok(magnet));
        }
    }
}
