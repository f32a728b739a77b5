//! Names on disk that are not what the torrent says.
#![allow(clippy::unwrap_used)]

use ferriswarm::Exit;

use crate::{Desk, noise};

/// A folder whose names have composed letters, and its torrent `a.torrent`.
fn desk_with_accents() -> Desk {
    let desk = Desk::new();
    desk.write("Caf\u{e9}/\u{e9}t\u{e9}.bin", noise(100_000, 1));
    desk.write("Caf\u{e9}/plain.bin", noise(50_000, 2));
    desk.run(&["create", "Caf\u{e9}", "-o", "a.torrent"]).is(Exit::Done);
    desk
}

#[test]
fn a_payload_whose_names_were_decomposed_is_found_and_said() {
    let desk = desk_with_accents();
    std::fs::rename(desk.path("Caf\u{e9}"), desk.path("Cafe\u{301}")).unwrap();
    std::fs::rename(
        desk.path("Cafe\u{301}/\u{e9}t\u{e9}.bin"),
        desk.path("Cafe\u{301}/e\u{301}te\u{301}.bin"),
    )
    .unwrap();
    for place in [".", "Cafe\u{301}"] {
        let verified = desk.run(&["verify", "a.torrent", place]).is(Exit::Done).stdout.clone();
        assert!(verified.contains("another Unicode form") && verified.contains("good"), "{verified}");
    }
    let verdict = desk.run(&["verify", "a.torrent", ".", "--json"]).is(Exit::Done).json();
    let file = verdict["files"].as_array().unwrap().iter().find(|file| file["path"] != "plain.bin").unwrap();
    assert!(file["disk_path"].as_str().unwrap().ends_with("Cafe\u{301}/e\u{301}te\u{301}.bin"), "{file}");
    assert!(file["disk_note"].is_string());
    let get = [&["get", "a.torrent", "-o", ".", "--no-trackers"][..], &crate::ALONE].concat();
    let got = desk.run(&get);
    assert!(got.is(Exit::Done).stdout.contains("lies at"), "{}", got.stdout);
    assert!(!desk.path("Caf\u{e9}").exists(), "nothing is fetched beside it");
}

#[test]
fn what_qbittorrent_laid_down_is_found_without_its_folder_and_while_it_was_unfinished() {
    let desk = desk_with_accents();
    std::fs::create_dir(desk.path("save")).unwrap();
    std::fs::rename(desk.path("Caf\u{e9}/\u{e9}t\u{e9}.bin"), desk.path("save/\u{e9}t\u{e9}.bin")).unwrap();
    std::fs::rename(desk.path("Caf\u{e9}/plain.bin"), desk.path("save/plain.bin.!qB")).unwrap();
    let verified = desk.run(&["verify", "a.torrent", "save"]);
    assert!(verified.is(Exit::Done).stdout.contains("unfinished"), "{}", verified.stdout);
}

#[test]
fn show_says_where_each_file_goes_and_why_one_does_not() {
    let desk = Desk::new();
    let file = |path: &str, more: &str| {
        let parts: String = path.split('/').map(|part| format!("{}:{part}", part.len())).collect();
        format!("d{more}4:pathl{parts}ee")
    };
    let files = [
        file("a\u{7}b", "6:lengthi5e"),
        file(".pad/16379", "4:attr1:p6:lengthi16379e"),
        file("link", "4:attr1:l6:lengthi0e"),
        file("_____padding_file_1_x", "6:lengthi3e"),
    ];
    // The link's target comes after its path.
    let link = files[2].replace("4:pathl4:linkee", "4:pathl4:linke12:symlink pathl2:..1:xee");
    let list = [&files[0], &files[1], &link, &files[3]].map(String::as_str).concat();
    let hashes = "h".repeat(40);
    let info = format!("d5:filesl{list}e4:name1:t12:piece lengthi16384e6:pieces40:{hashes}e");
    desk.write("t.torrent", format!("d4:info{info}e"));
    let shown = desk.run(&["show", "--json", "t.torrent"]).is(Exit::Done).json();
    let of = |at: usize, key: &str| shown["files"][at][key].clone();
    assert_eq!((of(0, "disk_path"), of(0, "not_stored")), ("t/a_b".into(), serde_json::Value::Null));
    assert_eq!((of(1, "path"), of(1, "number")), (".pad/16379".into(), serde_json::Value::Null));
    assert_eq!((of(1, "disk_path"), of(1, "not_stored")), (serde_json::Value::Null, "padding".into()));
    assert!(of(2, "disk_path").is_null() && of(2, "not_stored").as_str().unwrap().contains("leads out of"));
    assert_eq!((of(3, "number"), of(3, "disk_path")), (3.into(), "t/_____padding_file_1_x".into()));
}
