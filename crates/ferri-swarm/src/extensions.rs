//! Our numbers for the messages of extensions (BEP 10). Both machines of a torrent use the same, so that a peer which is handed
//! over may go on with those it was told first.

use std::collections::BTreeMap;

use ferri_wire::extension::{LT_DONTHAVE, UPLOAD_ONLY, UT_METADATA, UT_PEX};

/// Addresses of peers (BEP 11).
pub(crate) const PEX_ID: u8 = 1;
/// Parts of the info dictionary (BEP 9).
pub(crate) const METADATA_ID: u8 = 2;
/// The peer wants nothing any more (BEP 21).
pub(crate) const UPLOAD_ONLY_ID: u8 = 3;
/// A have is taken back (BEP 54).
pub(crate) const DONTHAVE_ID: u8 = 7;

/// What we tell peers that they may send: the small extensions, and those of the others that are on.
pub(crate) fn names(metadata: bool, pex: bool) -> BTreeMap<String, u8> {
    let small = [(LT_DONTHAVE, DONTHAVE_ID), (UPLOAD_ONLY, UPLOAD_ONLY_ID)];
    let metadata = metadata.then_some((UT_METADATA, METADATA_ID));
    let pex = pex.then_some((UT_PEX, PEX_ID));
    small.into_iter().chain(metadata).chain(pex).map(|(name, id)| (name.to_owned(), id)).collect()
}
