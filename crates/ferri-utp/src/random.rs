//! Chance from a seed, and the keyed hash behind the table of connections.

use std::fmt;
use std::hash::{BuildHasher, DefaultHasher, Hash, Hasher};

/// A keyed function: SipHash of a secret seed and what follows it. Without the seed, its values cannot be told in advance,
/// so strangers can neither guess numbers of ours nor fill one place of a hash table.
#[derive(Clone)]
pub(crate) struct Secret(DefaultHasher);

impl Secret {
    pub(crate) fn new(seed: [u8; 32]) -> Self {
        // `new` is the same in every run, unlike what `RandomState` makes.
        let mut hasher = DefaultHasher::new();
        seed.hash(&mut hasher);
        Self(hasher)
    }

    /// The value for `input`.
    pub(crate) fn hash(&self, input: impl Hash) -> u64 {
        let mut hasher = self.0.clone();
        input.hash(&mut hasher);
        hasher.finish()
    }
}

impl BuildHasher for Secret {
    type Hasher = DefaultHasher;

    fn build_hasher(&self) -> DefaultHasher {
        self.0.clone()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// Numbers that cannot be foretold.
#[derive(Clone, Debug)]
pub(crate) struct Random {
    secret: Secret,
    count: u64,
}

impl Random {
    pub(crate) fn new(secret: Secret) -> Self {
        Self { secret, count: 0 }
    }

    pub(crate) fn u16(&mut self) -> u16 {
        self.count += 1;
        self.secret.hash(("random", self.count)) as u16
    }
}
