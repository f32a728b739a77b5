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
//! Only `xt` can make a link unusable. What else makes no sense is left out, and told by [`Magnet::warnings`].
//!
//! Links are taken as people have them: names of parameters in any case and with a number (`tr.1`), the `&amp;`
//! of a page's source, a bare `#` (which begins no fragment), `magnet://?`, percent-encoded as a whole, `urn:btih:` alone.
//!
//! [BEP 9]: https://www.bittorrent.org/beps/bep_0009.html
//! [BEP 52]: https://www.bittorrent.org/beps/bep_0052.html
//! [BEP 53]: https://www.bittorrent.org/beps/bep_0053.html

mod files;
mod peer;
mod text;

use std::fmt;
use std::sync::Arc;

use data_encoding::HEXLOWER_PERMISSIVE;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

pub use self::files::SelectOnly;
pub use self::peer::PeerAddress;
use self::text::{decode, parameter_name, strip_prefix_ignore_case};
use crate::display::{redact_addresses, sanitize};
use crate::limits::URL_BYTES_MAX;
use crate::{Info, InfoHash, InfoHashV2, InfoHashes, Metainfo};

/// What a magnet link says. At least one info hash is there.
///
/// Links are equal when they say the same, whatever was left out of them.
#[derive(Debug, Clone)]
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
    /// What the link also said and made no sense, at most [`WARNINGS_MAX`] of it.
    pub warnings: Vec<MagnetError>,
}

impl PartialEq for Magnet {
    fn eq(&self, other: &Self) -> bool {
        let said = |magnet: &Self| (magnet.info_hashes, magnet.length);
        said(self) == said(other)
            && self.display_name == other.display_name
            && self.trackers == other.trackers
            && self.web_seeds == other.web_seeds
            && self.peers == other.peers
            && self.select_only == other.select_only
    }
}

impl Eq for Magnet {}

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
            warnings: Vec::new(),
        }
    }

    /// Whether a text is meant as a magnet link (or as the `urn:btih:` of one), good or not.
    #[must_use]
    pub fn is_meant(text: &str) -> bool {
        text::query(text).is_some()
    }

    /// Reads a link. White space, quotes and brackets around it are passed over.
    ///
    /// # Errors
    /// When it is no magnet link, is longer than [`MAGNET_BYTES_MAX`], or names no BitTorrent info hash or two different
    /// ones.
    pub fn parse(link: &str) -> Result<Self, MagnetError> {
        if MAGNET_BYTES_MAX < link.trim().len() {
            return Err(MagnetError::TooLong(link.trim().len()));
        }
        let query = text::query(link).ok_or(MagnetError::NotAMagnet)?;
        let pairs = || query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        let mut magnet = Self::new(InfoHashes { v1: None, v2: None });
        // A link whose topic is encoded twice is so in all its parameters.
        let mut rounds = 1;
        let mut bad_topic = None;
        for (_, value) in pairs().filter(|(name, _)| parameter_name(name) == "xt") {
            let (topic, needed) = text::topic(value);
            rounds = rounds.max(needed);
            match magnet.set_topic(&topic) {
                Ok(()) => {}
                Err(error @ MagnetError::Second(_)) => return Err(error),
                Err(error) => bad_topic = bad_topic.or(Some(error)),
            }
        }
        if magnet.info_hashes.v1.is_none() && magnet.info_hashes.v2.is_none() {
            return Err(bad_topic.unwrap_or(MagnetError::NoInfoHash));
        }
        magnet.warnings.extend(bad_topic);
        for (count, (name, value)) in pairs().enumerate() {
            if PARAMETERS_MAX <= count {
                magnet.warn(MagnetError::TooMany { name: "link", max: PARAMETERS_MAX });
                break;
            }
            if let Err(error) = magnet.set(&parameter_name(name), value, rounds) {
                magnet.warn(error);
            }
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

    /// The torrent that this link stands for, with the trackers and web seeds of the link. A link has no tiers: each tracker
    /// is one of its own.
    #[must_use]
    pub fn metainfo(&self, info: impl Into<Arc<Info>>) -> Metainfo {
        let tiers = self.trackers.iter().map(|url| vec![url.clone()]).collect();
        Metainfo::from_info(info, tiers, self.web_seeds.clone())
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

    /// Keeps what is left out, once for each limit that is passed.
    fn warn(&mut self, warning: MagnetError) {
        let is_told = matches!(warning, MagnetError::TooMany { .. }) && self.warnings.contains(&warning);
        if self.warnings.len() < WARNINGS_MAX && !is_told {
            self.warnings.push(warning);
        }
    }

    /// Takes a parameter whose value is percent-encoded `rounds` times.
    fn set(&mut self, name: &str, value: &str, rounds: u32) -> Result<(), MagnetError> {
        let decoded = || decode(value, rounds);
        match name {
            "dn" => {
                if self.display_name.is_none() {
                    let spaced = value.replace('+', " ");
                    self.display_name =
                        Some(decode(&spaced, rounds).into_owned()).filter(|name| !name.is_empty());
                }
                Ok(())
            }
            "tr" => add_url(&mut self.trackers, "tr", &text::url(value, rounds)),
            "ws" => add_url(&mut self.web_seeds, "ws", &text::url(value, rounds)),
            "x.pe" => self.add_peer(decoded().trim()),
            "so" => self.add_files(decoded().trim()),
            "xl" => self.set_length(decoded().trim()),
            _ => Ok(()),
        }
    }

    fn set_topic(&mut self, topic: &str) -> Result<(), MagnetError> {
        if let Some(digits) = strip_prefix_ignore_case(topic, "urn:btih:") {
            let hash: InfoHash = text::digits(digits).parse().map_err(|_| {
                MagnetError::bad("xt", topic, "needs 40 hex or 32 base32 digits after urn:btih:")
            })?;
            return set_once(&mut self.info_hashes.v1, hash, topic);
        }
        if let Some(digits) = strip_prefix_ignore_case(topic, "urn:btmh:") {
            let digits = text::digits(digits).strip_prefix(MULTIHASH_SHA256);
            let hash = digits.and_then(info_hash_v2).ok_or_else(|| {
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
        if PEERS_MAX <= self.peers.len() && !self.peers.contains(&peer) {
            return Err(MagnetError::TooMany { name: "x.pe", max: PEERS_MAX });
        }
        push_new(&mut self.peers, peer);
        Ok(())
    }

    fn add_files(&mut self, value: &str) -> Result<(), MagnetError> {
        let mut selection = self.select_only.clone().unwrap_or_default();
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

/// Why a text is not a magnet link that can be used, or why a parameter of one was left out. The parameter at fault is
/// named; its text is shortened and harmless to print.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MagnetError {
    /// Some other text.
    #[error("it must begin with \"magnet:?\"")]
    NotAMagnet,
    /// Two info hashes of one kind, the second one of which is given: which torrent is meant cannot be told.
    #[error("xt: \"{0}\" is a second info hash of the same kind")]
    Second(String),
    /// Longer than any link that was made in earnest; the length in bytes.
    #[error("it is {0} bytes long, and more than {MAGNET_BYTES_MAX} are not read")]
    TooLong(usize),
    /// No `xt` that BitTorrent knows.
    #[error("xt: it names no BitTorrent info hash (xt=urn:btih:... or xt=urn:btmh:1220...)")]
    NoInfoHash,
    /// A parameter comes up more often than we are willing to keep.
    #[error("{name}: more than {max} of them")]
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
        Self::Parameter { name, value: shown(value), problem }
    }
}

fn shown(value: &str) -> String {
    let value = redact_addresses(value);
    let mut shown = sanitize(&value[..value.floor_char_boundary(SHOWN_BYTES_MAX)]).into_owned();
    if SHOWN_BYTES_MAX < value.len() {
        shown.push_str("...");
    }
    shown
}

fn set_once<T: PartialEq>(slot: &mut Option<T>, hash: T, topic: &str) -> Result<(), MagnetError> {
    if slot.as_ref().is_some_and(|known| *known != hash) {
        return Err(MagnetError::Second(shown(topic)));
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
    let scheme = url.split_once("://").filter(|(_, rest)| !rest.is_empty()).map_or("", |(scheme, _)| scheme);
    let is_url = scheme.bytes().any(|b| b.is_ascii_alphabetic())
        && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
        && !url.contains(|c: char| c.is_whitespace() || matches!(c, '<' | '>' | '"'));
    if !is_url {
        return Err(MagnetError::bad(name, url, "is not an address such as udp://tracker.example:6969"));
    }
    if URL_BYTES_MAX < url.len() {
        return Err(MagnetError::bad(name, url, "is too long for an address"));
    }
    if urls.len() < URLS_MAX || urls.iter().any(|known| known == url) {
        push_new(urls, url.to_owned());
        return Ok(());
    }
    Err(MagnetError::TooMany { name, max: URLS_MAX })
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

fn encode(value: &str) -> impl fmt::Display + '_ {
    utf8_percent_encode(value, ENCODED)
}

/// A longer link is not read. The longest seen in the wild (a hundred trackers) stay below 16 KiB.
pub const MAGNET_BYTES_MAX: usize = 64 * 1024;

/// Parameters beside `xt` that are looked at in one link; each costs work even when it is passed over.
const PARAMETERS_MAX: usize = 1024;

/// Trackers, and web seeds, that one link may bring. Each is a server that we would talk to.
const URLS_MAX: usize = 200;

/// Peers that one link may bring.
const PEERS_MAX: usize = 200;

/// What is kept of the parameters that were left out of one link.
pub const WARNINGS_MAX: usize = 32;

/// So much of a bad value is repeated in the error.
const SHOWN_BYTES_MAX: usize = 80;

/// The multihash prefix of a SHA-256: code 0x12, length 0x20.
const MULTIHASH_SHA256: &str = "1220";

/// Everything but RFC 3986's unreserved characters.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

#[cfg(test)]
mod tests;
