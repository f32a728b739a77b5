//! Write tokens: who stores something with us has shown that it receives what we send to its address.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use ferri_hash::Sha256;

use crate::id::NodeId;
use crate::random::Random;

/// BEP 5: the secret changes every five minutes, and tokens up to ten minutes old are accepted.
const ROTATION: Duration = Duration::from_secs(5 * 60);

/// Makes and checks tokens. Each is a keyed hash of an address and of what is to be stored, so that one that was
/// overheard or handed on is of no use elsewhere.
#[derive(Debug)]
pub(crate) struct Tokens {
    /// The current one first.
    secrets: [[u8; 32]; 2],
    rotated: Instant,
}

/// What others return when they store something.
pub(crate) type Token = [u8; 8];

impl Tokens {
    pub(crate) fn new(random: &mut Random, now: Instant) -> Self {
        Self { secrets: [random.bytes(), random.bytes()], rotated: now }
    }

    /// Changes the secret when its time has come.
    pub(crate) fn rotate(&mut self, random: &mut Random, now: Instant) {
        let age = now.saturating_duration_since(self.rotated);
        if age < ROTATION {
            return;
        }
        // After a long sleep both are old.
        let previous = if age < 2 * ROTATION { self.secrets[0] } else { random.bytes() };
        self.secrets = [random.bytes(), previous];
        self.rotated = now;
    }

    pub(crate) fn make(&self, ip: IpAddr, target: NodeId) -> Token {
        token(&self.secrets[0], ip, target)
    }

    pub(crate) fn check(&self, ip: IpAddr, target: NodeId, shown: &[u8]) -> bool {
        // Comparing takes as long whatever differs would matter only to an attacker who measures nanoseconds through a
        // network, for a token that lives ten minutes; the hash costs no less than the comparison.
        self.secrets.iter().any(|secret| token(secret, ip, target) == *shown)
    }
}

fn token(secret: &[u8; 32], ip: IpAddr, target: NodeId) -> Token {
    let mut hash = Sha256::new();
    hash.update(secret);
    match ip {
        IpAddr::V4(ip) => hash.update(&ip.octets()),
        IpAddr::V6(ip) => hash.update(&ip.octets()),
    }
    hash.update(target.as_bytes());
    *hash.finish().first_chunk().expect("a digest has 32 bytes")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_token_is_good_for_its_address_and_target_up_to_ten_minutes() {
        let start = Instant::now();
        let mut random = Random::new([1; 32]);
        let mut tokens = Tokens::new(&mut random, start);
        let ip: IpAddr = "192.0.2.1".parse().unwrap();
        let target = NodeId::from([5; 20]);
        let token = tokens.make(ip, target);
        assert!(tokens.check(ip, target, &token));
        assert!(!tokens.check("192.0.2.2".parse().unwrap(), target, &token));
        assert!(!tokens.check(ip, NodeId::from([6; 20]), &token));
        assert!(!tokens.check(ip, target, &token[..7]));
        tokens.rotate(&mut random, start + ROTATION);
        assert!(tokens.check(ip, target, &token));
        assert_ne!(tokens.make(ip, target), token);
        tokens.rotate(&mut random, start + 2 * ROTATION);
        assert!(!tokens.check(ip, target, &token));
    }

    #[test]
    fn a_long_sleep_voids_all_tokens() {
        let start = Instant::now();
        let mut random = Random::new([1; 32]);
        let mut tokens = Tokens::new(&mut random, start);
        let ip: IpAddr = "::1".parse().unwrap();
        let token = tokens.make(ip, NodeId::from([5; 20]));
        tokens.rotate(&mut random, start + 5 * ROTATION);
        assert!(!tokens.check(ip, NodeId::from([5; 20]), &token));
    }
}
