//! Magnet links: the info hash of a torrent and hints where to find it ([BEP 9]; `so=` is [BEP 53], `urn:btmh` [BEP
//! 52]).
//!
//! Parsing and printing only. Fetching the info that the hash stands for belongs to the swarm. Parameters that are
//! about other networks (`urn:sha1`, `xs`, `as`, `kt`) are passed over.
//!
//! | parameter | meaning | more than once |
//! |---|---|---|
//! | `xt` | `urn:btih:` 40 hex or 32 base32 digits (v1), `urn:btmh:1220` 64 hex digits (v2) | one of each kind |
//! | `dn` | name to show until the info is there; `+` is a space | the first counts |
//! | `tr` | tracker URL | yes |
//! | `ws` | web seed URL (BEP 19) | yes |
//! | `x.pe` | a peer: `1.2.3.4:5`, `[2001:db8::1]:5` or `host:5` | yes |
//! | `so` | indices of the wanted files: `0,2,4,6-8` | added up |
//! | `xl` | payload in bytes | the first counts |
//!
//! Names of parameters are compared without regard to case, and may carry a number (`tr.1`). The `&amp;` of links
//! that were copied from a page's source is understood.
//!
//! [BEP 9]: https://www.bittorrent.org/beps/bep_0009.html
//! [BEP 52]: https://www.bittorrent.org/beps/bep_0052.html
//! [BEP 53]: https://www.bittorrent.org/beps/bep_0053.html

mod files;
mod peer;

use std::borrow::Cow;
use std::fmt;

use data_encoding::HEXLOWER_PERMISSIVE;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

pub use self::files::SelectOnly;
pub use self::peer::PeerAddress;
use crate::display::sanitize;
use crate::{InfoHash, InfoHashV2, InfoHashes, Metainfo};

/// What a magnet link says. At least one info hash is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Magnet {
    /// Which torrent (`xt`).
    pub info_hashes: InfoHashes,
    /// What to call it until the info is there (`dn`); text from outside, unchecked.
    pub display_name: Option<String>,
    /// Payload in bytes (`xl`), as claimed.
    pub length: Option<u64>,
    /// Tracker URLs (`tr`) in the order of the link, none twice. A link has no tiers: each is one of its own.
    pub trackers: Vec<String>,
    /// Web seed URLs (`ws`) in the order of the link, none twice.
    pub web_seeds: Vec<String>,
    /// Peers to try (`x.pe`), none twice.
    pub peers: Vec<PeerAddress>,
    /// The only files wanted (`so`); `None` means all.
    pub select_only: Option<SelectOnly>,
}

impl Magnet {
    /// The link that carries only these info hashes.
    #[must_use]
    pub fn new(info_hashes: InfoHashes) -> Self {
        Self {
            info_hashes,
            display_name: None,
            length: None,
            trackers: Vec::new(),
            web_seeds: Vec::new(),
            peers: Vec::new(),
            select_only: None,
        }
    }

    /// Reads a link. Surrounding white space is passed over.
    ///
    /// # Errors
    /// When it is no magnet link, is longer than [`MAGNET_BYTES_MAX`], names no BitTorrent info hash or two
    /// different ones, or a parameter we understand does not say what it should.
    pub fn parse(link: &str) -> Result<Self, MagnetError> {
        let link = link.trim();
        if MAGNET_BYTES_MAX < link.len() {
            return Err(MagnetError::TooLong(link.len()));
        }
        let query = strip_prefix_ignore_case(link, "magnet:?").ok_or(MagnetError::NotAMagnet)?;
        let query = query.split_once('#').map_or(query, |(query, _fragment)| query);
        let mut magnet = Self::new(InfoHashes { v1: None, v2: None });
        for (count, pair) in query.split('&').enumerate() {
            if PARAMETERS_MAX <= count {
                return Err(MagnetError::TooMany { name: "link", max: PARAMETERS_MAX });
            }
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            magnet.set(parameter_name(name), value)?;
        }
        if magnet.info_hashes.v1.is_none() && magnet.info_hashes.v2.is_none() {
            return Err(MagnetError::NoInfoHash);
        }
        Ok(magnet)
    }

    /// Reads what people paste instead of a link: 40 hex or 32 base32 digits (v1), 64 hex digits or `1220` and 64
    /// hex digits (v2).
    ///
    /// # Errors
    /// When it is none of these.
    pub fn parse_info_hash(text: &str) -> Result<Self, MagnetError> {
        let text = text.trim();
        let mut hashes = InfoHashes { v1: None, v2: None };
        match text.len() {
            32 | 40 => hashes.v1 = text.parse().ok(),
            64 => hashes.v2 = info_hash_v2(text),
            68 => hashes.v2 = text.strip_prefix(MULTIHASH_SHA256).and_then(info_hash_v2),
            _ => {}
        }
        if hashes.v1.is_none() && hashes.v2.is_none() {
            return Err(MagnetError::bad(
                "info hash",
                text,
                "is neither 40 hex, 32 base32 nor 64 hex digits",
            ));
        }
        Ok(Self::new(hashes))
    }

    /// The link for this torrent: its hashes, name, size, trackers and web seeds.
    #[must_use]
    pub fn from_metainfo(metainfo: &Metainfo) -> Self {
        let info = metainfo.info();
        let mut magnet = Self::new(info.info_hashes());
        magnet.display_name = Some(info.name().to_owned()).filter(|name| !name.is_empty());
        magnet.length = Some(info.files().iter().filter(|file| !file.is_pad()).map(|file| file.length).sum());
        // What a link cannot say (control characters, more than there is room for) is left out of it.
        for url in metainfo.trackers().iter().flatten() {
            let _ = add_url(&mut magnet.trackers, "tr", url);
        }
        for url in metainfo.web_seeds() {
            let _ = add_url(&mut magnet.web_seeds, "ws", url);
        }
        magnet
    }

    fn set(&mut self, name: Cow<'_, str>, value: &str) -> Result<(), MagnetError> {
        match &*name {
            "xt" => self.set_topic(&decode(value)),
            "dn" => {
                if self.display_name.is_none() {
                    let spaced = value.replace('+', " ");
                    self.display_name = Some(decode(&spaced).into_owned()).filter(|name| !name.is_empty());
                }
                Ok(())
            }
            "tr" => add_url(&mut self.trackers, "tr", &decode(value)),
            "ws" => add_url(&mut self.web_seeds, "ws", &decode(value)),
            "x.pe" => self.add_peer(&decode(value)),
            "so" => self.add_files(&decode(value)),
            "xl" => self.set_length(&decode(value)),
            _ => Ok(()),
        }
    }

    fn set_topic(&mut self, topic: &str) -> Result<(), MagnetError> {
        if let Some(digits) = strip_prefix_ignore_case(topic, "urn:btih:") {
            let hash: InfoHash = digits.parse().map_err(|_| {
                MagnetError::bad("xt", topic, "needs 40 hex or 32 base32 digits after urn:btih:")
            })?;
            return set_once(&mut self.info_hashes.v1, hash, topic);
        }
        if let Some(digits) = strip_prefix_ignore_case(topic, "urn:btmh:") {
            let hash = digits.strip_prefix(MULTIHASH_SHA256).and_then(info_hash_v2).ok_or_else(|| {
                MagnetError::bad("xt", topic, "needs 1220 and 64 hex digits after urn:btmh:")
            })?;
            return set_once(&mut self.info_hashes.v2, hash, topic);
        }
        Ok(())
    }

    fn set_length(&mut self, value: &str) -> Result<(), MagnetError> {
        // `u64::from_str` takes a plus sign; a size has none.
        let digits = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
        let length = digits.then(|| value.parse().ok()).flatten();
        let length = length.ok_or_else(|| MagnetError::bad("xl", value, "is not a number of bytes"))?;
        self.length.get_or_insert(length);
        Ok(())
    }

    fn add_peer(&mut self, value: &str) -> Result<(), MagnetError> {
        let peer = value.parse().map_err(|_| {
            MagnetError::bad("x.pe", value, "is not an address and a port, such as 192.0.2.1:6881")
        })?;
        if PEERS_MAX <= self.peers.len() {
            return Err(MagnetError::TooMany { name: "x.pe", max: PEERS_MAX });
        }
        push_new(&mut self.peers, peer);
        Ok(())
    }

    fn add_files(&mut self, value: &str) -> Result<(), MagnetError> {
        let mut selection = self.select_only.take().unwrap_or_default();
        selection.add(value).map_err(|problem| MagnetError::bad("so", value, problem))?;
        self.select_only = Some(selection);
        Ok(())
    }
}

impl std::str::FromStr for Magnet {
    type Err = MagnetError;

    fn from_str(link: &str) -> Result<Self, Self::Err> {
        Self::parse(link)
    }
}

/// The link, which parses back to the same value. ASCII only.
impl fmt::Display for Magnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "magnet:?";
        let mut parameter = |name: &str, value: &dyn fmt::Display| {
            write!(f, "{separator}{name}={value}")?;
            separator = "&";
            fmt::Result::Ok(())
        };
        if let Some(hash) = &self.info_hashes.v1 {
            parameter("xt", &format_args!("urn:btih:{hash}"))?;
        }
        if let Some(hash) = &self.info_hashes.v2 {
            parameter("xt", &format_args!("urn:btmh:{MULTIHASH_SHA256}{hash}"))?;
        }
        if let Some(name) = &self.display_name {
            parameter("dn", &encode(name))?;
        }
        if let Some(length) = &self.length {
            parameter("xl", length)?;
        }
        for url in &self.trackers {
            parameter("tr", &encode(url))?;
        }
        for url in &self.web_seeds {
            parameter("ws", &encode(url))?;
        }
        for peer in &self.peers {
            parameter("x.pe", peer)?;
        }
        if let Some(selection) = &self.select_only {
            parameter("so", selection)?;
        }
        Ok(())
    }
}

/// Why a text is not a magnet link that can be used. The parameter at fault is named; its text is shortened and
/// harmless to print.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MagnetError {
    /// Some other text.
    #[error("not a magnet link: it must begin with \"magnet:?\"")]
    NotAMagnet,
    /// Longer than any link that was made in earnest; the length in bytes.
    #[error("the magnet link is {0} bytes long, and more than {MAGNET_BYTES_MAX} are not read")]
    TooLong(usize),
    /// No `xt` that BitTorrent knows.
    #[error("xt: the magnet link names no BitTorrent info hash (xt=urn:btih:... or xt=urn:btmh:1220...)")]
    NoInfoHash,
    /// A parameter comes up more often than we are willing to keep.
    #[error("{name}: more than {max} in one magnet link")]
    TooMany {
        /// The parameter.
        name: &'static str,
        /// How many are taken.
        max: usize,
    },
    /// A parameter does not say what it should.
    #[error("{name}: \"{value}\" {problem}")]
    Parameter {
        /// The parameter.
        name: &'static str,
        /// What it said.
        value: String,
        /// What is wrong with that.
        problem: &'static str,
    },
}

impl MagnetError {
    fn bad(name: &'static str, value: &str, problem: &'static str) -> Self {
        let mut shown = sanitize(&value[..value.floor_char_boundary(SHOWN_BYTES_MAX)]).into_owned();
        if SHOWN_BYTES_MAX < value.len() {
            shown.push_str("...");
        }
        Self::Parameter { name, value: shown, problem }
    }
}

fn set_once<T: PartialEq>(slot: &mut Option<T>, hash: T, topic: &str) -> Result<(), MagnetError> {
    if slot.as_ref().is_some_and(|known| *known != hash) {
        return Err(MagnetError::bad("xt", topic, "is a second info hash of the same kind"));
    }
    *slot = Some(hash);
    Ok(())
}

fn add_url(urls: &mut Vec<String>, name: &'static str, url: &str) -> Result<(), MagnetError> {
    let url = url.trim();
    if url.is_empty() {
        return Ok(());
    }
    if url.contains(char::is_control) {
        return Err(MagnetError::bad(name, url, "has control characters in it"));
    }
    if URLS_MAX <= urls.len() {
        return Err(MagnetError::TooMany { name, max: URLS_MAX });
    }
    push_new(urls, url.to_owned());
    Ok(())
}

fn push_new<T: PartialEq>(list: &mut Vec<T>, value: T) {
    if !list.contains(&value) {
        list.push(value);
    }
}

fn info_hash_v2(digits: &str) -> Option<InfoHashV2> {
    let bytes = HEXLOWER_PERMISSIVE.decode(digits.as_bytes()).ok()?;
    Some(InfoHashV2::from(<[u8; 32]>::try_from(bytes).ok()?))
}

/// `tr.1` is `tr`, `amp;dn` is `dn`, `XT` is `xt`.
fn parameter_name(name: &str) -> Cow<'_, str> {
    let name = strip_prefix_ignore_case(name, "amp;").unwrap_or(name);
    let name = match name.rsplit_once('.') {
        Some((stem, number)) if !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()) => stem,
        _ => name,
    };
    if name.bytes().any(|b| b.is_ascii_uppercase()) { name.to_ascii_lowercase().into() } else { name.into() }
}

fn strip_prefix_ignore_case<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let (head, rest) = text.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(rest)
}

/// What is not UTF-8 once decoded shows replacement characters: nothing but names and URLs gets that far.
fn decode(value: &str) -> Cow<'_, str> {
    percent_decode_str(value).decode_utf8_lossy()
}

fn encode(value: &str) -> impl fmt::Display + '_ {
    utf8_percent_encode(value, ENCODED)
}

/// A longer link is not read. The longest seen in the wild (a hundred trackers) stay below 16 KiB.
pub const MAGNET_BYTES_MAX: usize = 64 * 1024;

/// Parameters of any kind in one link; each costs work even when it is passed over.
const PARAMETERS_MAX: usize = 1024;

/// Trackers, and web seeds, that one link may bring. Each is somebody we would talk to.
const URLS_MAX: usize = 200;

/// Peers that one link may bring.
const PEERS_MAX: usize = 200;

/// So much of a bad value is repeated in the error.
const SHOWN_BYTES_MAX: usize = 80;

/// The multihash prefix of a SHA-256: code 0x12, length 0x20.
const MULTIHASH_SHA256: &str = "1220";

/// Everything but RFC 3986's unreserved characters.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

#[cfg(test)]
mod tests;
