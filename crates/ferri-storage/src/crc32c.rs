//! The checksum of the resume journal: CRC-32C as in iSCSI (RFC 3720, appendix B.4), a byte at a time.

/// CRC-32C (Castagnoli) of `bytes`, going on from `seed` (0 at the start).
#[must_use]
pub fn crc32c(seed: u32, bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0u32; 256];
        let mut i = 0;
        while i < 256 {
            let mut crc = i as u32;
            let mut bit = 0;
            while bit < 8 {
                crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
                bit += 1;
            }
            table[i] = crc;
            i += 1;
        }
        table
    };
    let step = |crc: u32, byte: &u8| crc >> 8 ^ TABLE[usize::from(crc.to_le_bytes()[0] ^ byte)];
    !bytes.iter().fold(!seed, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_value_is_right_and_a_checksum_goes_on_from_another() {
        assert_eq!(crc32c(0, b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(crc32c(0, b"1234"), b"56789"), 0xe306_9283);
    }
}
