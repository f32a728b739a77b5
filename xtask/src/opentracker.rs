//! Debian's opentracker. As built there it takes listed torrents only, and IPv4 only.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::lab;

/// A command that serves the torrents of `hashes` (hexadecimal info hashes, a line each) over HTTP and UDP; inside a lab only.
/// `program` makes the command of a program's name, on whatever host.
///
/// # Errors
/// When the list cannot be written.
pub(crate) fn command(
    home: &Path,
    listen: SocketAddr,
    hashes: &str,
    program: impl Fn(&str) -> Command,
) -> Result<Command> {
    fs::create_dir_all(home)?;
    fs::write(home.join("whitelist"), hashes)?;
    // It will not run as root and becomes the user without rights, which a user namespace does not have; there it must
    // look like another user from the start.
    let mut command = if lab::is_inside_as_root() {
        program("opentracker")
    } else {
        let mut command = program("unshare");
        command.args(["--user", "--map-user=1000", "--map-group=1000", "--", "opentracker"]);
        command
    };
    let port = listen.port().to_string();
    // It changes its root to the folder if it can, so the list's name is relative to that.
    command
        .args(["-i", &listen.ip().to_string(), "-p", &port, "-P", &port, "-w", "whitelist", "-d"])
        .arg(home);
    command.current_dir(home);
    Ok(command)
}
