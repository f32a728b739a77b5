//! The key exchange of Diffie and Hellman in the group of MSE.

use std::fmt;
use std::sync::LazyLock;

use crypto_bigint::modular::ConstMontyForm;
use crypto_bigint::{CtAssign, CtEq, U768, const_monty_params};

/// Length of a public key, and of the secret that both sides share, in bytes.
pub const PUBLIC_KEY_LEN: usize = 96;
/// Length of a private exponent in bytes. More makes nothing safer in this group (MSE, "Diffie Hellman Parameters").
pub(super) const EXPONENT_LEN: usize = 20;

/// A number of the group, as it travels: big-endian.
pub(super) type Number = [u8; PUBLIC_KEY_LEN];

const_monty_params!(
    P,
    U768,
    "ffffffffffffffffc90fdaa22168c234c4c6628b80dc1cd129024e088a67cc74\
     020bbea63b139b22514a08798e3404ddef9519b3cd3a431b302b0a6df25f1437\
     4fe1356d6d51c245e485b576625e7ec6f44c42e9a63a36210000000000090563",
    "The prime of MSE."
);

type Element = ConstMontyForm<P, { U768::LIMBS }>;

const G: Element = Element::new(&U768::from_u8(2));
const EXPONENT_BITS: u32 = 8 * EXPONENT_LEN as u32;

/// An exponent is cut into so many rows of [`COLUMNS`] bits; one multiplication deals with a bit of each.
const ROWS: usize = 5;
const COLUMNS: usize = 32;

/// Products of the powers of G that belong to rows: of rows 0 and 2 at index 5, because it has bits 0 and 2.
static ROW_POWERS: LazyLock<[Element; 1 << ROWS]> = LazyLock::new(|| {
    let mut products = [Element::ONE; 1 << ROWS];
    let mut power = G;
    for row in 0..ROWS {
        for index in 1 << row..2 << row {
            products[index] = products[index - (1 << row)] * power;
        }
        (0..COLUMNS).for_each(|_| power = power.square());
    }
    products
});

/// A private exponent, and what is told of it.
pub(super) struct KeyPair {
    exponent: U768,
    public: Element,
}

impl KeyPair {
    /// Takes as long for any exponent.
    pub(super) fn new(mut exponent: [u8; EXPONENT_LEN]) -> Self {
        // Even, so that one more is no longer.
        exponent[EXPONENT_LEN - 1] &= !1;
        let mut wide = [0; PUBLIC_KEY_LEN];
        wide[PUBLIC_KEY_LEN - EXPONENT_LEN..].copy_from_slice(&exponent);
        Self { exponent: U768::from_be_slice(&wide), public: power_of_g(&exponent) }
    }

    /// A key that does not begin as a plain handshake does. Transmission looks at the first byte alone, and ends a
    /// connection that begins with the wrong one; the public key is no secret, so this may take a little longer.
    pub(super) fn for_a_dialer(exponent: [u8; EXPONENT_LEN]) -> Self {
        let pair = Self::new(exponent);
        if pair.public()[0] != PLAIN_FIRST_BYTE {
            return pair;
        }
        // One more in the exponent is twice the key, which then begins with 38 or 39.
        Self { exponent: pair.exponent.wrapping_add(&U768::ONE), public: pair.public.double() }
    }

    /// What is sent.
    pub(super) fn public(&self) -> Number {
        to_bytes(&self.public)
    }

    /// The secret shared with the owner of this public key. `None` for keys that do not come of an exponent by chance:
    /// numbers outside the group, and 1 and -1, of which all powers are 1 and -1.
    pub(super) fn shared(&self, theirs: &Number) -> Option<Number> {
        let theirs = U768::from_be_slice(theirs);
        let last = Element::MODULUS.get().wrapping_sub(&U768::ONE);
        if theirs <= U768::ONE || last <= theirs {
            return None;
        }
        Some(to_bytes(&Element::new(&theirs).pow_amm_bounded_exp(&self.exponent, EXPONENT_BITS)))
    }
}

/// Takes as long for any exponent: its bits decide about nothing but values.
fn power_of_g(exponent: &[u8; EXPONENT_LEN]) -> Element {
    let (rows, []) = exponent.as_chunks::<{ COLUMNS / 8 }>() else {
        unreachable!("an exponent is whole rows")
    };
    let mut product = Element::ONE;
    for column in (0..COLUMNS).rev() {
        let bits = rows.iter().fold(0, |bits, row| bits << 1 | (u32::from_be_bytes(*row) >> column & 1));
        let mut factor = ROW_POWERS[0];
        for (index, power) in (0_u32..).zip(ROW_POWERS.iter()).skip(1) {
            factor.ct_assign(power, index.ct_eq(&bits));
        }
        product = product.square() * factor;
    }
    product
}

/// The length of the protocol's name, with which a plain handshake begins.
const PLAIN_FIRST_BYTE: u8 = 19;

fn to_bytes(element: &Element) -> Number {
    let mut bytes = [0; PUBLIC_KEY_LEN];
    bytes.copy_from_slice(element.retrieve().to_be_bytes().as_ref());
    bytes
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyPair").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn exponent(number: u64) -> [u8; EXPONENT_LEN] {
        let mut bytes = [0; EXPONENT_LEN];
        bytes[EXPONENT_LEN - 8..].copy_from_slice(&number.to_be_bytes());
        bytes
    }

    fn number(last: u8) -> Number {
        let mut bytes = [0; PUBLIC_KEY_LEN];
        bytes[PUBLIC_KEY_LEN - 1] = last;
        bytes
    }

    /// P and as much more or less.
    fn near_p(offset: i8) -> Number {
        let mut bytes = [0; PUBLIC_KEY_LEN];
        bytes.copy_from_slice(Element::MODULUS.get().to_be_bytes().as_ref());
        bytes[PUBLIC_KEY_LEN - 1] = bytes[PUBLIC_KEY_LEN - 1].wrapping_add_signed(offset);
        bytes
    }

    #[test]
    fn powers_are_those_of_two_modulo_p() {
        for exponent in [[0; 20], [0xfe; 20], *b"\x80twenty bytes of it\x02", exponent(1 << 32), exponent(4)]
        {
            let wide = KeyPair::new(exponent).exponent;
            assert_eq!(KeyPair::new(exponent).public(), to_bytes(&G.pow(&wide)), "{exponent:x?}");
        }
        assert_eq!(KeyPair::new(exponent(4)).public(), number(16));
        // 2^768 - P, because P begins with 64 ones.
        let wrapped = KeyPair::new(exponent(768)).public();
        let sum = U768::from_be_slice(&wrapped).wrapping_add(&Element::MODULUS.get());
        assert_eq!(sum, U768::ZERO);
        assert_eq!(KeyPair::new(exponent(4)).shared(&number(3)), Some(number(81)));
    }

    #[test]
    fn both_sides_get_the_same_secret_and_others_another() {
        let [a, b, c] = [[0xff; 20], [0xa5; 20], [1; 20]].map(KeyPair::new);
        assert_eq!(a.shared(&b.public()), b.shared(&a.public()));
        assert_ne!(a.shared(&b.public()), a.shared(&c.public()));
    }

    #[test]
    fn keys_whose_secret_anybody_could_tell_are_refused() {
        let ours = KeyPair::new([7; 20]);
        for refused in [number(0), number(1), near_p(-1), near_p(0), near_p(1), [0xff; PUBLIC_KEY_LEN]] {
            assert_eq!(ours.shared(&refused), None, "{refused:x?}");
        }
        for taken in [number(2), near_p(-2)] {
            assert!(ours.shared(&taken).is_some(), "{taken:x?}");
        }
    }

    #[test]
    fn a_dialers_key_never_begins_as_a_plain_handshake() {
        // 19 * 2^760 is no power of two, so it is looked for.
        let begins = |number: &u64| KeyPair::new(exponent(*number)).public()[0] == PLAIN_FIRST_BYTE;
        let unlucky = (0..).step_by(2).find(begins).unwrap();
        let (plain, dialer) = (KeyPair::new(exponent(unlucky)), KeyPair::for_a_dialer(exponent(unlucky)));
        assert!([38, 39].contains(&dialer.public()[0]));
        let other = KeyPair::new([3; 20]);
        assert_eq!(dialer.shared(&other.public()), other.shared(&dialer.public()));
        assert_ne!(dialer.shared(&other.public()), plain.shared(&other.public()));
    }
}
