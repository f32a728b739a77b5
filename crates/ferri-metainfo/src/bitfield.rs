//! Which pieces someone has: 64 to a word, counted as they change.
//!
//! On the wire (BEP 3) the first piece is the highest bit of the first byte; in memory it is the lowest bit of the first
//! word, so that scans use `trailing_zeros`. Indexes are plain `u32`s: a bitfield knows its length, not its torrent.

/// A set of pieces of a torrent with a fixed number of them.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Bitfield {
    /// Piece `n` is bit `n % 64` of word `n / 64`. Bits from `len` on are 0.
    words: Vec<u64>,
    len: u32,
    /// How many bits are 1.
    ones: u32,
}

/// A bitfield of the wrong length, or with spare bits set (BEP 3: drop the connection).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BitfieldError {
    /// Not one bit for each piece, rounded up to bytes.
    #[error("a bitfield of {got} bytes where {expected} are due")]
    Length {
        /// Bytes that were due.
        expected: usize,
        /// Bytes that came.
        got: usize,
    },
    /// A bit behind the last piece is 1.
    #[error("a bitfield with spare bits set")]
    SpareBits,
}

impl Bitfield {
    /// No piece of `len`.
    pub fn new(len: u32) -> Self {
        Self { words: vec![0; words_for(len)], len, ones: 0 }
    }

    /// Every piece of `len`.
    pub fn full(len: u32) -> Self {
        let mut bitfield = Self::new(len);
        bitfield.set_all();
        bitfield
    }

    /// Takes the payload of a bitfield message for `len` pieces.
    ///
    /// # Errors
    /// A wrong length, before anything is allocated; spare bits that are not 0.
    pub fn from_wire(bytes: &[u8], len: u32) -> Result<Self, BitfieldError> {
        let expected = len.div_ceil(8) as usize;
        if bytes.len() != expected {
            return Err(BitfieldError::Length { expected, got: bytes.len() });
        }
        let (eights, rest) = bytes.as_chunks::<8>();
        let mut words: Vec<u64> = Vec::with_capacity(words_for(len));
        words.extend(eights.iter().map(|bytes| u64::from_be_bytes(*bytes).reverse_bits()));
        if !rest.is_empty() {
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            words.push(u64::from_be_bytes(last).reverse_bits());
        }
        if words.last().is_some_and(|last| last & !last_mask(len) != 0) {
            return Err(BitfieldError::SpareBits);
        }
        let ones = words.iter().map(|word| word.count_ones()).sum();
        Ok(Self { words, len, ones })
    }

    /// The payload of a bitfield message.
    pub fn to_wire(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.words.len() * 8);
        for word in &self.words {
            bytes.extend_from_slice(&word.reverse_bits().to_be_bytes());
        }
        bytes.truncate(self.len.div_ceil(8) as usize);
        bytes
    }

    /// How many pieces the torrent has.
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Whether the torrent has no pieces at all; see [`Bitfield::none`] for having none of them.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether the piece is in the set. `false` for an index from `len` on.
    pub fn get(&self, index: u32) -> bool {
        self.words.get(index as usize / 64).is_some_and(|word| word >> (index % 64) & 1 == 1)
    }

    /// Puts a piece in; whether it was missing. An index from `len` on changes nothing (and is a bug of the caller).
    pub fn set(&mut self, index: u32) -> bool {
        debug_assert!(index < self.len, "piece {index} of {}", self.len);
        if self.len <= index || self.get(index) {
            return false;
        }
        self.words[index as usize / 64] |= 1 << (index % 64);
        self.ones += 1;
        true
    }

    /// Takes a piece out; whether it was in. An index from `len` on changes nothing (and is a bug of the caller).
    pub fn clear(&mut self, index: u32) -> bool {
        debug_assert!(index < self.len, "piece {index} of {}", self.len);
        if !self.get(index) {
            return false;
        }
        self.words[index as usize / 64] &= !(1 << (index % 64));
        self.ones -= 1;
        true
    }

    /// Puts every piece in.
    pub fn set_all(&mut self) {
        self.words.fill(u64::MAX);
        if let Some(last) = self.words.last_mut() {
            *last = last_mask(self.len);
        }
        self.ones = self.len;
    }

    /// How many pieces are in.
    pub fn count_ones(&self) -> u32 {
        self.ones
    }

    /// Whether every piece is in.
    pub fn is_full(&self) -> bool {
        self.ones == self.len
    }

    /// Whether every piece is in. The same as [`Bitfield::is_full`].
    pub fn all(&self) -> bool {
        self.is_full()
    }

    /// Whether no piece is in.
    pub fn none(&self) -> bool {
        self.ones == 0
    }

    /// The pieces that are in, ascending.
    pub fn iter_ones(&self) -> impl Iterator<Item = u32> + '_ {
        Bits::new(self.words.iter().copied())
    }

    /// The pieces that are not in, ascending.
    pub fn iter_zeros(&self) -> impl Iterator<Item = u32> + '_ {
        let len = self.len;
        Bits::new(self.words.iter().map(|word| !word)).take_while(move |index| *index < len)
    }

    /// The pieces that are in here but not in `other`, ascending.
    pub fn iter_and_not<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = u32> + 'a {
        Bits::new(self.and_not(other))
    }

    /// How many pieces are in here but not in `other`.
    pub fn count_and_not(&self, other: &Self) -> u32 {
        self.and_not(other).map(u64::count_ones).sum()
    }

    /// Whether any piece is in here but not in `other`.
    pub fn any_and_not(&self, other: &Self) -> bool {
        self.and_not(other).any(|word| word != 0)
    }

    /// Puts in every piece that is in `other`.
    pub fn union(&mut self, other: &Self) {
        debug_assert_eq!(self.len, other.len, "bitfields of different torrents");
        let mut ones = 0;
        for (word, other) in self.words.iter_mut().zip(&other.words) {
            *word |= other;
            ones += word.count_ones();
        }
        debug_assert!(ones <= self.len, "spare bits are 0 on both sides");
        self.ones = ones;
    }

    fn and_not<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = u64> + 'a {
        debug_assert_eq!(self.len, other.len, "bitfields of different torrents");
        self.words.iter().zip(&other.words).map(|(word, other)| word & !other)
    }
}

impl std::fmt::Debug for Bitfield {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Bitfield({} of {})", self.ones, self.len)
    }
}

/// The positions of 1 bits in a row of words.
struct Bits<I> {
    words: I,
    /// What is left of the current word.
    word: u64,
    /// The position of the next word's first bit.
    next: u32,
}

impl<I: Iterator<Item = u64>> Bits<I> {
    fn new(words: I) -> Self {
        Self { words, word: 0, next: 0 }
    }
}

impl<I: Iterator<Item = u64>> Iterator for Bits<I> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        while self.word == 0 {
            self.word = self.words.next()?;
            self.next += 64;
        }
        let bit = self.word.trailing_zeros();
        self.word &= self.word - 1;
        Some(self.next - 64 + bit)
    }
}

fn words_for(len: u32) -> usize {
    len.div_ceil(64) as usize
}

/// The bits of the last word that belong to pieces.
fn last_mask(len: u32) -> u64 {
    match len % 64 {
        0 if len == 0 => 0,
        0 => u64::MAX,
        used => (1 << used) - 1,
    }
}

/// As `{"len": 10, "hex": "ff40"}`.
#[cfg(feature = "serde")]
mod serde_impls {
    use data_encoding::HEXLOWER;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

    use super::Bitfield;

    #[derive(Serialize, Deserialize)]
    struct Written {
        len: u32,
        hex: String,
    }

    impl Serialize for Bitfield {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            Written { len: self.len, hex: HEXLOWER.encode(&self.to_wire()) }.serialize(serializer)
        }
    }

    impl<'de> Deserialize<'de> for Bitfield {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let written = Written::deserialize(deserializer)?;
            let bytes = HEXLOWER.decode(written.hex.as_bytes()).map_err(de::Error::custom)?;
            Self::from_wire(&bytes, written.len).map_err(de::Error::custom)
        }
    }
}
