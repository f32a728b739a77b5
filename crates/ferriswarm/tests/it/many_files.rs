//! Many tiny files in one piece: what is done with them costs what they are, and not their square.
#![allow(clippy::unwrap_used)]

use std::process::{Command, Output};

use ferriswarm::Exit;

use crate::{ALONE, Desk};

const FILES: usize = 48_000;
/// Seconds of processor time that a command may take before the system ends it. It takes one and a half; a loop over all
/// files for each file took fifteen.
const CPU_SECONDS: u32 = 5;

/// The real program, on a budget of processor time: a loaded machine takes longer, and not more of it.
fn on_a_budget(desk: &Desk, words: &[&str]) -> Output {
    let budget = format!("ulimit -t {CPU_SECONDS}; exec \"$0\" \"$@\"");
    Command::new("sh")
        .args(["-c", &budget, env!("CARGO_BIN_EXE_ferriswarm")])
        .args(words)
        .current_dir(desk.folder.path())
        .env("XDG_STATE_HOME", desk.path("state-home"))
        .output()
        .unwrap()
}

#[test]
fn files_of_one_piece_cost_what_they_are() {
    let desk = Desk::new();
    for n in 0..FILES {
        desk.write(&format!("here/m/{}/f{n}", n / 1_000), "a");
    }
    std::fs::create_dir(desk.path("empty")).unwrap();
    let check = |words: &[&str], exit: Exit| {
        let output = on_a_budget(&desk, words);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(exit.code().into()), "{words:?}: {} {said}", output.status);
    };
    check(&["create", "here/m", "-l", "16M", "-q"], Exit::Done);
    check(&["verify", "m.torrent", "empty", "-q"], Exit::VerifyFailed);
    check(&["verify", "m.torrent", "here", "-q"], Exit::Done);
    // All is there: it is looked at, and that is all.
    check(&[&["get", "m.torrent", "-o", "here", "-q", "--no-trackers"][..], &ALONE].concat(), Exit::Done);
}
