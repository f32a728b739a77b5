//! Chance that is the same in every run, for everything that is development only.

/// SplitMix64: one word of state, every seed is as good as another.
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    /// The same seed, the same numbers.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`; 0 if that is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    /// A place in something of this length; 0 if that is 0.
    pub fn index(&mut self, length: usize) -> usize {
        self.below(length as u64) as usize
    }

    /// Bytes that do not compress.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for eight in bytes.chunks_mut(8) {
            let number = self.next().to_le_bytes();
            eight.copy_from_slice(&number[..eight.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Chance;

    #[test]
    fn a_seed_always_gives_the_same() {
        // The first numbers of the reference implementation (Sebastiano Vigna, public domain).
        let mut chance = Chance::new(1_234_567);
        assert_eq!([chance.next(), chance.next()], [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]);
        let (mut bytes, mut more) = ([0; 11], [0; 16]);
        Chance::new(7).fill(&mut bytes);
        Chance::new(7).fill(&mut more);
        assert_eq!(bytes, more[..11]);
    }

    #[test]
    fn every_number_below_the_bound_comes_up() {
        let mut chance = Chance::new(1);
        let mut seen = [false; 5];
        (0..100).for_each(|_| seen[chance.index(5)] = true);
        assert_eq!((seen, chance.below(0)), ([true; 5], 0));
    }
}
