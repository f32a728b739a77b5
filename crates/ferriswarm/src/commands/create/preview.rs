//! `create --dry-run`: the torrent that would be made, as far as it is known without reading the files.

use ferri_metainfo::create::Plan;
use serde::Serialize;

use super::walk::LeftOut;
use crate::console::Console;
use crate::exit::{Exit, Failure};
use crate::facts::local_text;
use crate::out::Out;
use crate::text::harmless;
use crate::units;

#[derive(Serialize)]
struct Preview<'a> {
    dry_run: bool,
    /// `null` is standard output.
    output: Option<String>,
    name: &'a str,
    total_size: u64,
    piece_length: u32,
    piece_count: u32,
    files: Vec<FilePreview>,
    left_out: &'a LeftOut,
}

#[derive(Serialize)]
struct FilePreview {
    path: String,
    size: u64,
}

pub(super) fn tell(
    plan: &Plan,
    name: &str,
    out: &Out,
    left_out: &LeftOut,
    console: &Console,
) -> Result<Exit, Failure> {
    let files = plan
        .files()
        .iter()
        .map(|planned| FilePreview { path: planned.file.path.join("/"), size: planned.file.length });
    let files: Vec<FilePreview> = files.collect();
    let (output, typed) = match out {
        Out::Stdout => (None, "standard output".to_owned()),
        Out::File { path, typed, .. } => (Some(local_text(path)), typed.to_string_lossy().into_owned()),
    };
    let (total_size, piece_length, piece_count) =
        (plan.total_length(), plan.piece_length(), plan.piece_count());
    if console.is_json() {
        let preview =
            Preview { dry_run: true, output, name, total_size, piece_length, piece_count, files, left_out };
        console.answer_json(&preview)?;
        return Ok(Exit::Done);
    }
    let mut text = format!(
        "{}  {}  {}  {} of {}\n",
        console.strong(&harmless(name)),
        units::size(total_size),
        units::count(files.len() as u64, "file", "files"),
        units::count(piece_count.into(), "piece", "pieces"),
        units::size(piece_length.into()),
    );
    for file in &files {
        text.push_str(&format!("  {:>9}  {}\n", units::size(file.size), harmless(&file.path)));
    }
    text.push_str(&format!("  would be written to {}\n", harmless(&typed)));
    console.answer(&text)?;
    Ok(Exit::Done)
}
