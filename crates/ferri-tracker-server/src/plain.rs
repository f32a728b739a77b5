//! Files that the operator names when the tracker starts.

use std::fs::{File, FileType};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::OFlags;

/// Opens a plain file to be read. A FIFO may be waited for without an end, a device may have none, and neither says the same when it is
/// read again.
///
/// # Errors
/// Of kind [`io::ErrorKind::InvalidInput`] where something else has that name.
pub(crate) fn open_plain(path: &Path) -> io::Result<File> {
    // NONBLOCK: to open a FIFO must not wait. It means nothing for plain files.
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    let kind = file.metadata()?.file_type();
    if kind.is_file() {
        return Ok(file);
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, format!("it is {}, not a plain file", name(kind))))
}

fn name(kind: FileType) -> &'static str {
    if kind.is_dir() {
        "a folder"
    } else if kind.is_fifo() {
        "a FIFO or pipe"
    } else {
        "a device"
    }
}
