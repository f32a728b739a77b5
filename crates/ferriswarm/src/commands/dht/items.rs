//! Values in the DHT (BEP 44): what was typed becomes an item, and an item becomes what is printed.

use std::ffi::OsStr;
use std::io::Read;

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use ferri_engine::dht::{Dht, Found, Item, ItemKey, SALT_MAX, SigningKey, VALUE_MAX};
use ferri_metainfo::InfoHash;
use serde::Serialize;

use super::entered;
use super::key::{self, Origin};
use crate::args::dht::PutArgs;
use crate::console::Console;
use crate::env::Env;
use crate::exit::{Exit, Failure};
use crate::text::harmless;
use crate::units;

/// By which name an item is asked for.
pub(super) fn key(target: &str, salt: &str) -> Result<ItemKey, Failure> {
    let bytes = HEXLOWER_PERMISSIVE.decode(target.trim().as_bytes()).unwrap_or_default();
    if let Ok(target) = <[u8; 20]>::try_from(bytes.as_slice()) {
        if !salt.is_empty() {
            return Err(Failure::usage("a value under its hash has no salt")
                .hint("give the author's key, 64 hex digits, in place of the hash"));
        }
        return Ok(ItemKey::Immutable(target.into()));
    }
    let public_key = <[u8; 32]>::try_from(bytes.as_slice()).map_err(|_| {
        Failure::usage(format!("{} is neither a hash nor a key", harmless(target)))
            .hint("a hash has 40 hex digits, an author's key 64")
    })?;
    Ok(ItemKey::Mutable { public_key, salt: checked_salt(salt)?.into() })
}

fn checked_salt(salt: &str) -> Result<Vec<u8>, Failure> {
    if SALT_MAX < salt.len() {
        return Err(Failure::usage(format!(
            "the salt has {} bytes; at most {SALT_MAX} are kept",
            salt.len()
        ))
        .hint("give a shorter --salt"));
    }
    Ok(salt.as_bytes().to_vec())
}

/// What is to be stored, bencoded.
pub(super) fn value(env: &mut Env, args: &PutArgs) -> Result<Vec<u8>, Failure> {
    if let Some(info_hash) = &args.info_hash {
        let info_hash: InfoHash = info_hash.parse().map_err(|_| {
            Failure::usage(format!("{} is no info hash", harmless(info_hash))).hint("it has 40 hex digits")
        })?;
        return Ok(Item::torrent_value(info_hash).to_vec());
    }
    let typed = match args.value.as_deref() {
        Some(word) if word == OsStr::new("-") => {
            let mut bytes = Vec::new();
            let read = (&mut env.stdin.0).take(VALUE_MAX as u64 + 1).read_to_end(&mut bytes);
            read.map_err(|error| Failure::stdin(&error))?;
            bytes
        }
        word => word.unwrap_or_default().as_encoded_bytes().to_vec(),
    };
    let value = if args.bencode { typed } else { bencoded(&typed) };
    // The same checks as at the end, before any node is asked.
    Item::immutable(value.clone().into()).map_err(refused)?;
    Ok(value)
}

/// The key that signs, if it is to be signed.
pub(super) fn signer(env: &Env, console: &Console, args: &PutArgs) -> Result<Option<SigningKey>, Failure> {
    checked_salt(&args.salt)?;
    let Some(path) = &args.key else { return Ok(None) };
    let (key, origin) = key::read_or_make(&env.path(path))?;
    if origin == Origin::Made {
        console.line(&format!("made a key in {}; with that file the value can be replaced", path.display()));
    }
    Ok(Some(key))
}

/// Finds the newest version of an item and prints its value.
pub(super) async fn get(console: &Console, dht: &Dht, key: ItemKey) -> Result<Exit, Failure> {
    entered(console, dht).await?;
    let (item, copies) = newest(dht, key).await;
    let Some(item) = item else {
        return Err(Failure::new(Exit::NotFound, "no node has this value")
            .hint("values are forgotten after two hours unless they are stored again"));
    };
    if console.is_json() {
        console.answer_json(&Facts::new(&item, copies))?;
        return Ok(Exit::Done);
    }
    let text = text_of(item.value());
    if console.is_live() {
        let value = String::from_utf8_lossy(text.unwrap_or(item.value())).into_owned();
        console.answer(&format!("{}\n", harmless(&value)))?;
        console.line(&about(&item, copies));
    } else {
        console.answer_bytes(text.unwrap_or(item.value()))?;
    }
    Ok(Exit::Done)
}

fn refused(error: ferri_engine::dht::ItemError) -> Failure {
    Failure::usage(error.to_string()).hint("give a shorter value, or with --bencode one that is bencoded")
}

/// Stores an item and prints by what it is found.
pub(super) async fn put(
    console: &Console,
    dht: &Dht,
    args: &PutArgs,
    value: Vec<u8>,
    signer: Option<SigningKey>,
) -> Result<Exit, Failure> {
    entered(console, dht).await?;
    let item = match signer {
        None => Item::immutable(value.into()).map_err(refused)?,
        Some(key) => {
            let salt = args.salt.as_bytes().to_vec();
            let seq = match args.seq {
                Some(seq) => seq,
                None => next_version(dht, &key, salt.clone()).await?,
            };
            Item::sign(&key, salt.into(), seq, value.into()).map_err(refused)?
        }
    };
    let outcome = dht.put(item.clone(), args.cas).await.outcome().await.unwrap_or_default();
    if outcome.stored == 0 {
        let (why, hint) = match outcome.refused {
            0 => ("no node took the value", "try again, or name a node with --dht-router HOST:PORT"),
            _ => {
                ("the nodes have a newer version of this value", "leave --seq and --cas away, or raise --seq")
            }
        };
        return Err(Failure::new(Exit::Network, why).hint(hint));
    }
    if console.is_json() {
        console.answer_json(&Facts::new(&item, outcome.stored))?;
        return Ok(Exit::Done);
    }
    let name = name_of(&item);
    console.answer(&format!("{name}\n"))?;
    let nodes = units::count(u64::from(outcome.stored), "node", "nodes");
    console.line(&format!("stored with {nodes}; they forget it after two hours unless it is stored again"));
    Ok(Exit::Done)
}

/// One more than what is there.
async fn next_version(dht: &Dht, key: &SigningKey, salt: Vec<u8>) -> Result<i64, Failure> {
    let key = ItemKey::Mutable { public_key: key.public_key(), salt: salt.into() };
    let (found, _) = newest(dht, key).await;
    match found {
        None => Ok(1),
        Some(item) => item.seq().checked_add(1).ok_or_else(|| {
            Failure::usage("the version that is stored is the last one there can be")
                .hint("use another --salt or --key")
        }),
    }
}

async fn newest(dht: &Dht, key: ItemKey) -> (Option<Item>, u32) {
    let mut search = dht.get(key).await;
    let mut newest = None;
    while let Some(found) = search.next().await {
        if let Found::Item(item) = found {
            newest = Some(item);
        }
    }
    let copies = search.outcome().await.map_or(0, |outcome| outcome.copies);
    (newest, copies)
}

/// By what others find it.
fn name_of(item: &Item) -> String {
    match item.author() {
        None => item.target().to_string(),
        Some(author) => HEXLOWER.encode(&author.public_key),
    }
}

fn about(item: &Item, copies: u32) -> String {
    let nodes = units::count(u64::from(copies), "node", "nodes");
    let version = item.author().map_or_else(String::new, |author| format!(", version {}", author.seq));
    let torrent = item.info_hash().map_or_else(String::new, |hash| format!(", names the torrent {hash}"));
    format!("from {nodes}{version}{torrent}")
}

/// An item in JSON.
#[derive(Debug, Serialize)]
struct Facts {
    target: String,
    /// The value, if it is text.
    text: Option<String>,
    /// The value in its bencoded form, in hex.
    bencode: String,
    info_hash: Option<String>,
    public_key: Option<String>,
    salt: Option<String>,
    seq: Option<i64>,
    nodes: u32,
}

impl Facts {
    fn new(item: &Item, nodes: u32) -> Self {
        let author = item.author();
        Self {
            target: item.target().to_string(),
            text: text_of(item.value()).and_then(|text| String::from_utf8(text.to_vec()).ok()),
            bencode: HEXLOWER.encode(item.value()),
            info_hash: item.info_hash().map(|hash| hash.to_string()),
            public_key: author.map(|author| HEXLOWER.encode(&author.public_key)),
            salt: author.map(|author| String::from_utf8_lossy(&author.salt).into_owned()),
            seq: author.map(|author| author.seq),
            nodes,
        }
    }
}

/// A byte string as Bencode has it.
fn bencoded(bytes: &[u8]) -> Vec<u8> {
    [format!("{}:", bytes.len()).as_bytes(), bytes].concat()
}

/// What is in a byte string; `None` for other values.
fn text_of(value: &[u8]) -> Option<&[u8]> {
    let colon = value.iter().position(|byte| *byte == b':')?;
    value[..colon].iter().all(u8::is_ascii_digit).then(|| &value[colon + 1..])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn text_goes_in_and_comes_out() {
        for text in [&b""[..], b"Hello World!", b"a:b", b"\xff"] {
            assert_eq!(text_of(&bencoded(text)), Some(text));
        }
        assert_eq!(bencoded(b"abc"), b"3:abc");
        for other in [&b"i5e"[..], b"d2:ih1:xe", b"l1:ae"] {
            assert_eq!(text_of(other), None);
        }
    }

    #[test]
    fn names_are_told_apart_by_their_length() {
        let hash = "e5f96f6f38320f0f33959cb4d3d656452117aadb";
        assert!(matches!(key(hash, "").unwrap(), ItemKey::Immutable(target) if target.to_string() == hash));
        assert!(matches!(key(&"ab".repeat(32), "x").unwrap(), ItemKey::Mutable { salt, .. } if salt == "x"));
        for (target, salt) in [("", ""), ("xyz", ""), (hash, "salt"), (&"a".repeat(63), "")] {
            assert_eq!(key(target, salt).unwrap_err().exit, Exit::Usage, "{target}");
        }
        assert_eq!(key(&"ab".repeat(32), &"s".repeat(65)).unwrap_err().exit, Exit::Usage);
    }
}
