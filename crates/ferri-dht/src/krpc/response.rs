//! Answers: BEP 5 with the additions of BEP 32, 33, 44 and 51.

use std::net::SocketAddr;

use ferri_bencode::{Dict, Encoder, Value};

use super::{TOKEN_MAX, array, bytes, compact, int};
use crate::bloom::Bloom;
use crate::id::NodeId;

/// An answer. Which of its parts are there depends on the question and on what the other side knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response<'a> {
    /// Who answers.
    pub id: NodeId,
    /// IPv4 nodes, for [`compact::nodes_v4`].
    pub nodes: Option<&'a [u8]>,
    /// IPv6 nodes, for [`compact::nodes_v6`].
    pub nodes6: Option<&'a [u8]>,
    /// With it we may store there.
    pub token: Option<&'a [u8]>,
    /// Peers.
    pub values: Vec<SocketAddr>,
    /// Filters with the addresses of seeds and of leeches (BEP 33).
    pub blooms: Option<Box<[Bloom; 2]>>,
    /// The value of an item in its bencoded form (BEP 44).
    pub value: Option<&'a [u8]>,
    /// The author of a mutable item.
    pub public_key: Option<[u8; 32]>,
    /// The version of a mutable item; without `value` it says only that they have it.
    pub seq: Option<i64>,
    /// Over salt, version and value of a mutable item.
    pub signature: Option<[u8; 64]>,
    /// Info hashes (BEP 51).
    pub sample: Option<Sample<'a>>,
}

/// Some of the info hashes that a node knows (BEP 51).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample<'a> {
    /// 20 bytes each.
    pub info_hashes: &'a [[u8; 20]],
    /// How many it has.
    pub total: u64,
    /// Seconds until it may be asked again, up to 21,600.
    pub interval: u32,
}

/// BEP 51: the longest interval.
const SAMPLE_INTERVAL_MAX: i64 = 21_600;

impl<'a> Response<'a> {
    /// An answer that says who answers and nothing else.
    #[must_use]
    pub fn new(id: NodeId) -> Self {
        Self {
            id,
            nodes: None,
            nodes6: None,
            token: None,
            values: Vec::new(),
            blooms: None,
            value: None,
            public_key: None,
            seq: None,
            signature: None,
            sample: None,
        }
    }

    /// The answer, under `r`.
    pub(super) fn write(&self, encoder: &mut Encoder) {
        encoder.key(b"r").begin_dict();
        if let Some(blooms) = &self.blooms {
            let [seeds, leeches] = &**blooms;
            encoder.key(b"BFpe").bytes(leeches.as_bytes());
            encoder.key(b"BFsd").bytes(seeds.as_bytes());
        }
        encoder.key(b"id").bytes(self.id.as_bytes());
        if let Some(sample) = &self.sample {
            encoder.key(b"interval").int(sample.interval.into());
        }
        write_bytes(encoder, b"k", self.public_key.as_ref().map(|key| &key[..]));
        write_bytes(encoder, b"nodes", self.nodes);
        write_bytes(encoder, b"nodes6", self.nodes6);
        if let Some(sample) = &self.sample {
            encoder.key(b"num").int(i64::try_from(sample.total).unwrap_or(i64::MAX));
            encoder.key(b"samples").bytes(sample.info_hashes.as_flattened());
        }
        if let Some(seq) = self.seq {
            encoder.key(b"seq").int(seq);
        }
        write_bytes(encoder, b"sig", self.signature.as_ref().map(|signature| &signature[..]));
        write_bytes(encoder, b"token", self.token);
        if let Some(value) = self.value {
            encoder.key(b"v").raw(value);
        }
        self.write_values(encoder);
        encoder.end();
    }

    fn write_values(&self, encoder: &mut Encoder) {
        if self.values.is_empty() {
            return;
        }
        encoder.key(b"values").begin_list();
        let mut addr = Vec::with_capacity(18);
        for value in &self.values {
            addr.clear();
            compact::put_addr(&mut addr, *value);
            encoder.bytes(&addr);
        }
        encoder.end();
    }
}

fn write_bytes(encoder: &mut Encoder, key: &[u8], value: Option<&[u8]>) {
    if let Some(value) = value {
        encoder.key(key).bytes(value);
    }
}

/// `None` unless it says who answers. Parts that are malformed are as if they were not there.
pub(super) fn read(inner: Dict<'_>) -> Option<Response<'_>> {
    Some(Response {
        id: array(inner, b"id").map(NodeId::from)?,
        nodes: bytes(inner, b"nodes"),
        nodes6: bytes(inner, b"nodes6"),
        token: bytes(inner, b"token").filter(|token| token.len() <= TOKEN_MAX),
        values: values(inner),
        blooms: blooms(inner),
        value: inner.get(b"v").map(Value::raw),
        public_key: array(inner, b"k"),
        seq: int(inner, b"seq"),
        signature: array(inner, b"sig"),
        sample: sample(inner),
    })
}

/// As many as the datagram has room for. BEP 32: both families may stand side by side.
fn values(inner: Dict<'_>) -> Vec<SocketAddr> {
    let list = inner.get(b"values").and_then(Value::as_list);
    list.into_iter()
        .flat_map(|list| list.iter())
        .filter_map(|value| compact::addr(value.as_bytes()?))
        .collect()
}

fn blooms(inner: Dict<'_>) -> Option<Box<[Bloom; 2]>> {
    let seeds = array(inner, b"BFsd")?;
    let leeches = array(inner, b"BFpe")?;
    Some(Box::new([Bloom::from(seeds), Bloom::from(leeches)]))
}

fn sample(inner: Dict<'_>) -> Option<Sample<'_>> {
    let (info_hashes, _) = bytes(inner, b"samples")?.as_chunks::<20>();
    let total = int(inner, b"num").and_then(|total| u64::try_from(total).ok()).unwrap_or(0);
    let interval = int(inner, b"interval").unwrap_or(0).clamp(0, SAMPLE_INTERVAL_MAX);
    Some(Sample { info_hashes, total, interval: u32::try_from(interval).expect("at most six hours") })
}
