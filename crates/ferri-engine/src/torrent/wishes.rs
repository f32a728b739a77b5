//! Which files the user wants, and what that means for pieces.

use ferri_metainfo::Info;
use ferri_swarm::Priority;

use crate::FilePriority;

/// Whether each file is wanted at all; files without a wish are.
pub(super) fn wanted(info: &Info, files: &[FilePriority]) -> Vec<bool> {
    let wish = |n| files.get(n).copied().unwrap_or_default();
    (0..info.layout().file_count()).map(|n| wish(n) != FilePriority::Skip).collect()
}

/// One priority a piece: the highest of the files it touches.
pub(super) fn piece_priorities(info: &Info, files: &[FilePriority]) -> Vec<Priority> {
    let layout = info.layout();
    let mut pieces = vec![Priority::Skip; layout.piece_count() as usize];
    for file in layout.files().filter(|file| !layout.is_pad(*file)) {
        let wanted = priority(files.get(file.as_usize()).copied().unwrap_or_default());
        for piece in layout.file_pieces(file) {
            let piece = &mut pieces[piece as usize];
            *piece = wanted.max(*piece);
        }
    }
    pieces
}

fn priority(file: FilePriority) -> Priority {
    match file {
        FilePriority::Skip => Priority::Skip,
        FilePriority::Low => Priority::Low,
        FilePriority::Normal => Priority::Normal,
        FilePriority::High => Priority::High,
    }
}
