//! The filter itself.

use std::net::IpAddr;

use crate::ranges::{RangesV4, RangesV6};

/// Which addresses are not spoken to. Some 4 MiB for 500,000 ranges of IPv4, 8 for as many networks of IPv6, 16 for as many
/// single addresses of IPv6.
#[derive(Debug, Default)]
pub struct Filter {
    pub(crate) v4: RangesV4,
    pub(crate) v6: RangesV6,
}

impl Filter {
    /// Whether an address is in one of the ranges.
    #[must_use]
    pub fn blocks(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(address) => self.v4.contains(address.into()),
            IpAddr::V6(address) => self.v6.contains(address.into()),
        }
    }

    /// Ranges as they are searched: those that overlap or follow one another are one, and one of IPv6 that begins or ends within
    /// a network is up to three.
    #[must_use]
    pub fn range_count(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    /// Bytes that it takes.
    #[must_use]
    pub fn memory(&self) -> usize {
        size_of::<Self>() + self.v4.memory() + self.v6.memory()
    }
}
