//! Sequence numbers. They count packets, have 16 bits, and begin anywhere, so they wrap within every long transfer.

/// The number of a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Seq(pub u16);

impl Seq {
    /// The number `count` packets later.
    #[must_use]
    pub fn plus(self, count: u16) -> Self {
        Self(self.0.wrapping_add(count))
    }

    /// The number `count` packets earlier.
    #[must_use]
    pub fn minus(self, count: u16) -> Self {
        Self(self.0.wrapping_sub(count))
    }

    /// How many packets after `earlier` this one is. A large number when it is before it.
    #[must_use]
    pub fn since(self, earlier: Self) -> u16 {
        self.0.wrapping_sub(earlier.0)
    }

    /// Whether this is before `other`, which is less than half of all numbers away.
    #[must_use]
    pub fn is_before(self, other: Self) -> bool {
        0x8000 <= self.since(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_survives_the_wrap() {
        let last = Seq(65_535);
        assert_eq!(last.plus(1), Seq(0));
        assert_eq!(Seq(2).minus(4), Seq(65_534));
        assert_eq!(Seq(3).since(last), 4);
        assert!(last.is_before(Seq(0)) && !Seq(0).is_before(last) && !last.is_before(last));
    }
}
