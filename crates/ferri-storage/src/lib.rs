//! Pieces on disk: layout to files, write, read, verify, resume.
//!
//! [`Storage`] is one torrent's files. A piece comes as blocks in memory, is hashed there once
//! ([`Storage::hash_blocks`]) and, only if it is right, written with one call a file ([`Storage::write_piece`]). A
//! [`Journal`](resume) remembers what is safely on disk, so that the next start believes it without looking
//! ([`Storage::resume`]); [`check::run`] looks at what it cannot believe. [`Pool`] has the threads that do all this,
//! so that no network thread waits for a disk, and [`BlockPool`] the memory. Pieces need not lie in files: [`PieceStore`] is
//! what is asked of any place for them, and [`Store`] what the threads hold.
//!
//! `std::fs`, threads and system calls; no runtime, no sockets, no idea of peers. For Linux.

mod atomic;
mod beneath;
mod buffers;
pub mod check;
mod claims;
mod clock;
mod crc32c;
mod disk;
mod error;
mod faults;
mod finish;
mod folder;
mod guard;
mod halt;
mod held;
mod journal;
mod ledger;
mod lock;
mod neighbors;
mod options;
mod piece_hash;
mod places;
mod pool;
mod prepare;
mod reader;
mod register;
mod relocate;
mod remarks;
mod remove;
pub mod resume;
mod served;
mod slices;
mod stamp;
mod state_files;
mod storage;
mod store;
mod sync;
#[cfg(test)]
mod tests;
mod totals;
mod verified;
mod verify;
mod way;
mod witness;
mod write;

pub use atomic::{
    atomic_write, atomic_write_private, atomic_write_private_in_pieces, create_private_folders,
    create_state_folder, remove_left_overs,
};
pub use buffers::{BUFFER_LENGTH, BlockBuffer, BlockBytes, BlockPool};
pub use check::Progress;
#[doc(hidden)]
pub use claims::intact_claims;
pub use crc32c::crc32c;
pub use disk::{FileCache, OpenFile};
pub use error::{Conflict, StorageError};
pub use faults::{Fault, FaultPlan, Op};
pub use folder::check_folder;
pub use halt::{Halt, RaiseOnDrop};
pub use lock::{LockOwner, TorrentLock, try_lock_file};
pub use options::{Place, StorageOptions};
pub use piece_hash::PieceHash;
pub use places::{Alias, Found, Places, unfinished_beside};
pub use pool::{
    CheckNumber, CheckOrder, CheckPlace, CheckTicket, Closed, Done, Job, Lanes, Pool, PoolOptions, Rejected,
    Reply,
};
pub use relocate::{MoveProgress, Moved};
pub use remove::{Data, Left, Removed};
pub use resume::Resumed;
pub use state_files::{StateFiles, Unsealed, seal, unseal};
pub use storage::Storage;
pub use store::{MemoryStore, PieceStore, PlainStore, Store};
pub use sync::is_out_of_files;
pub use totals::Totals;
pub use witness::{Change, Synced, Witness};
