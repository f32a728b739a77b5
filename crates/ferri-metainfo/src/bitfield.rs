//! Which pieces a peer has: 64 to a word, counted as they change.
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_first_piece_is_the_highest_bit_of_the_first_byte() {
        let bitfield = Bitfield::from_wire(&[0b1010_0000, 0b0100_0000], 10).unwrap();
        assert_eq!(bitfield.iter_ones().collect::<Vec<_>>(), [0, 2, 9]);
        assert_eq!(bitfield.iter_zeros().collect::<Vec<_>>(), [1, 3, 4, 5, 6, 7, 8]);
        assert_eq!(bitfield.to_wire(), [0b1010_0000, 0b0100_0000]);
        assert_eq!(format!("{bitfield:?}"), "Bitfield(3 of 10)");
    }

    #[test]
    fn wrong_lengths_and_spare_bits_are_refused() {
        let length = |expected, got| Err(BitfieldError::Length { expected, got });
        for (bytes, len, expected) in [
            (&[][..], 1, length(1, 0)),
            (&[0; 2], 8, length(1, 2)),
            (&[0; 1], 9, length(2, 1)),
            (&[], u32::MAX, length(536_870_912, 0)),
            (&[0b0000_0001], 7, Err(BitfieldError::SpareBits)),
            (&[255, 255, 0, 0, 0, 0, 0, 0, 1], 65, Err(BitfieldError::SpareBits)),
        ] {
            assert_eq!(Bitfield::from_wire(bytes, len), expected, "{bytes:?} for {len}");
        }
    }

    #[test]
    fn no_pieces_are_none_and_all() {
        let empty = Bitfield::from_wire(&[], 0).unwrap();
        assert!(empty.none() && empty.is_full() && empty.is_empty());
        assert_eq!(empty, Bitfield::full(0));
        assert!(!empty.get(0));
    }

    proptest! {
        #[test]
        fn it_is_a_set_of_numbers(
            len in 1..300_u32,
            ours in prop::collection::btree_set(0..300_u32, 0..100),
            theirs in prop::collection::btree_set(0..300_u32, 0..100),
        ) {
            let make = |set: &std::collections::BTreeSet<u32>| {
                let mut bitfield = Bitfield::new(len);
                for index in set.range(..len) {
                    assert!(bitfield.set(*index) && !bitfield.set(*index) && bitfield.get(*index));
                }
                bitfield
            };
            let (a, b) = (make(&ours), make(&theirs));
            let missing: Vec<u32> = ours.difference(&theirs).copied().filter(|index| *index < len).collect();
            prop_assert_eq!(a.iter_ones().collect::<Vec<_>>(), ours.range(..len).copied().collect::<Vec<_>>());
            prop_assert_eq!(a.count_ones() as usize, a.iter_ones().count());
            prop_assert_eq!(a.iter_and_not(&b).collect::<Vec<_>>(), missing.clone());
            prop_assert_eq!(a.count_and_not(&b) as usize, missing.len());
            prop_assert_eq!(a.any_and_not(&b), !missing.is_empty());
            prop_assert_eq!(Bitfield::from_wire(&a.to_wire(), len), Ok(a.clone()));
            prop_assert_eq!(a.iter_ones().count() + a.iter_zeros().count(), len as usize);

            let mut both = a.clone();
            both.union(&b);
            prop_assert_eq!(both.count_ones() as usize, ours.union(&theirs).filter(|index| **index < len).count());
            for index in a.iter_ones() {
                prop_assert!(both.clear(index) && !both.clear(index));
            }
            prop_assert_eq!(both.count_ones(), b.count_and_not(&a));
            both.set_all();
            prop_assert!(both.is_full() && both == Bitfield::full(len));
        }

        #[test]
        fn whatever_comes_from_the_wire_goes_back_to_it(bytes in prop::collection::vec(any::<u8>(), 0..40), spare in 0..8_u32) {
            let len = (bytes.len() as u32 * 8).saturating_sub(spare);
            if let Ok(bitfield) = Bitfield::from_wire(&bytes, len) {
                prop_assert_eq!(bitfield.to_wire(), bytes);
            }
        }
    }

    #[cfg(feature = "serde")]
    #[test]
    fn it_is_written_as_hex() {
        let bitfield = Bitfield::from_wire(&[0xa0, 0x40], 10).unwrap();
        let text = serde_json::to_string(&bitfield).unwrap();
        assert_eq!(text, r#"{"len":10,"hex":"a040"}"#);
        assert_eq!(serde_json::from_str::<Bitfield>(&text).unwrap(), bitfield);
        assert!(serde_json::from_str::<Bitfield>(r#"{"len":9,"hex":"a040"}"#).is_err());
    }
}
