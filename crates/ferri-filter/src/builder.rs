//! How a filter is made of lists.

use crate::filter::Filter;
use crate::line::Line;
use crate::ranges::{RangesV4, RangesV6};

/// Ranges of all lists of a filter: four times what the largest shared lists have.
pub(crate) const RANGES_MAX: usize = 2_000_000;

/// IPv4 addresses that are written as IPv6: the first of them.
const MAPPED: u128 = 0xffff << 32;

/// Collects the ranges of [lists](crate::List).
#[derive(Debug, Default)]
pub struct Builder {
    v4: Vec<(u32, u32)>,
    v6: Vec<(u128, u128)>,
}

impl Builder {
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
