//! IP filters: lists of addresses that are not spoken to.
//!
//! People share such lists in the formats of older programs. [`Builder`] reads them ([`List`] says which they are), merges
//! their ranges, and makes a [`Filter`], which answers for one address at a time. No files and no network here: the caller
//! brings the bytes.
//!
//! An address of IPv4 that is written as one of IPv6 (`::ffff:1.2.3.4`, RFC 4291 section 2.5.5.2) is the IPv4 address, in
//! lists and in questions: sockets that serve both families show it so.

mod builder;
mod filter;
mod line;
mod list;
mod ranges;

pub use builder::Builder;
pub use filter::Filter;
pub use list::{BadLine, List, ListError, Report};

#[cfg(test)]
mod tests;
