//! The filter itself, and how it is made.

use std::net::IpAddr;

use crate::line::Line;
use crate::list::{List, RANGES_MAX};
use crate::ranges::{RangesV4, RangesV6};

/// IPv4 addresses that are written as IPv6: the first of them.
const MAPPED: u128 = 0xffff << 32;

/// Which addresses are not spoken to. Some 4 MiB for 500,000 ranges of IPv4, 8 for as many networks of IPv6, 16 for as many
/// single addresses of IPv6.
#[derive(Debug, Default)]
pub struct Filter {
    v4: RangesV4,
    v6: RangesV6,
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

    /// Ranges, after those that overlap or follow one another were made one.
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

/// Collects the ranges of lists.
#[derive(Debug, Default)]
pub struct Builder {
    v4: Vec<(u32, u32)>,
    v6: Vec<(u128, u128)>,
}

impl Builder {
    /// Begins a list. What it says counts once it is [finished](List::finish).
    pub fn list(&mut self) -> List<'_> {
        List::new(self)
    }

    /// The filter of all lists so far.
    #[must_use]
    pub fn build(self) -> Filter {
        Filter { v4: RangesV4::new(self.v4), v6: RangesV6::new(self.v6) }
    }

    /// `false`: there are too many.
    pub(crate) fn add(&mut self, range: Line) -> bool {
        if RANGES_MAX <= self.v4.len() + self.v6.len() {
            return false;
        }
        match range {
            Line::V4(first, last) => self.v4.push((first, last)),
            Line::V6(first, last) => {
                // What is asked of a mapped address is asked of the IPv4 address.
                let (low, high) = (MAPPED, MAPPED | u128::from(u32::MAX));
                if first <= high && low <= last {
                    let v4 = |address: u128| (address & u128::from(u32::MAX)) as u32;
                    self.v4.push((v4(first.max(low)), v4(last.min(high))));
                }
                self.v6.push((first, last));
            }
            Line::Nothing | Line::Allowed => {}
        }
        true
    }

    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.v4.len(), self.v6.len())
    }

    pub(crate) fn forget_after(&mut self, (v4, v6): (usize, usize)) {
        self.v4.truncate(v4);
        self.v6.truncate(v6);
    }
}
