//! From bencode to [`Info`] and [`Metainfo`]: every rule is checked here, once.

use crate::error::{MetainfoError, MetainfoErrorKind};
use crate::info::Info;
use crate::metainfo::{Metainfo, Warning};

/// A whole .torrent file.
pub(crate) fn metainfo(_bytes: &[u8]) -> Result<Metainfo, MetainfoError> {
    Err(MetainfoError { path: String::new(), offset: None, kind: MetainfoErrorKind::Missing })
}

/// A bare info dictionary.
pub(crate) fn info(_bytes: &[u8], _warnings: &mut Vec<Warning>) -> Result<Info, MetainfoError> {
    Err(MetainfoError { path: String::new(), offset: None, kind: MetainfoErrorKind::Missing })
}
