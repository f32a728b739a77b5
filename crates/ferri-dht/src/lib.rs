//! A node of the BitTorrent DHT, without I/O: BEP [5], [32], [33], [42], [43], [44], [45], [46] and [51].
//!
//! [`Node`] is a machine: datagrams, wishes and the passing of time go in as [`Input`], datagrams and findings come out
//! as [`Output`]. It owns no socket and no clock. [`krpc`] is the codec, of use to others that speak with nodes.
//!
//! [5]: https://www.bittorrent.org/beps/bep_0005.html
//! [32]: https://www.bittorrent.org/beps/bep_0032.html
//! [33]: https://www.bittorrent.org/beps/bep_0033.html
//! [42]: https://www.bittorrent.org/beps/bep_0042.html
//! [43]: https://www.bittorrent.org/beps/bep_0043.html
//! [44]: https://www.bittorrent.org/beps/bep_0044.html
//! [45]: https://www.bittorrent.org/beps/bep_0045.html
//! [46]: https://www.bittorrent.org/beps/bep_0046.html
//! [51]: https://www.bittorrent.org/beps/bep_0051.html

mod bloom;
mod bucket;
mod id;
mod input;
mod item_store;
mod items;
pub mod krpc;
mod limiter;
mod net;
mod network;
mod node;
mod operation;
mod options;
mod output;
mod peers;
mod random;
mod search;
#[cfg(feature = "serde")]
mod serial;
mod state;
mod status;
mod strangers;
mod table;
mod token;
mod transactions;
mod votes;

pub use bloom::Bloom;
pub use id::{NodeId, NodeIdError};
pub use input::{ContactKind, Input, Lookup};
pub use items::{Author, Item, ItemError, ItemKey, SALT_MAX, SigningKey, VALUE_MAX};
pub use node::Node;
pub use options::Options;
pub use output::{End, Family, NodeEvent, Outcome, Output, Scrape};
pub use state::{State, StateError};
pub use status::{BucketStatus, Counts, FamilyStatus, NodeStatus, Quality, TableNodeStatus};
